"""Processes of this machine that compute blocks, each by itself: one that dies takes no other with it."""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from threadpoolctl import threadpool_limits

_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Give BLAS one thread in the body: on several it would sum in another order."""
    import_module("scipy.linalg")  # a BLAS of its own, on which there is no limit before it is loaded
    with threadpool_limits(1):
        yield


class Processes:
    """A crew of processes, started as they are needed. Each is watched by a thread over a pipe of its own.

    Pools of `concurrent.futures` break as a whole, and wait for ever for the rest of a result whose sender was killed.
    """

    def __init__(self, function: Callable[[Any], Any], jobs: int) -> None:
        self._function = pickle.dumps(function, 5)
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="blocks")
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        for _ in range(jobs):
            self._idle.put(None)

    def capacity(self) -> int:
        """Return the number of processes."""
        return self._jobs

    def submit(self, block: bytes) -> "Future[bytes]":
        """Begin a block in a process that has none."""
        return self._threads.submit(self._run, block)

    def lost(self, error: BaseException) -> float:
        """Return 1 where the process is gone: it had this block alone."""
        return float(isinstance(error, BrokenExecutor))

    def look(self) -> str:
        """Return nothing: a process that is gone says so by itself."""
        return ""

    def close(self) -> None:
        """End all processes, at once where they still compute."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.process.terminate()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _run(self, block: bytes) -> bytes:
        worker = self._idle.get()
        try:
            worker = worker or self._started()
            answer = worker.ask(block)
        except (EOFError, OSError) as error:
            self._idle.put(None)
            raise BrokenExecutor("the process is gone") from error
        self._idle.put(worker)
        if answer[:1] == _DONE:
            return answer[1:]
        raise pickle.loads(answer[1:])

    def _started(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise BrokenExecutor("closed")
            worker = _Worker()
            self._workers.add(worker)
        worker.pipe.send_bytes(self._function)
        return worker


class _Worker:
    """A process and the pipe to it, whose other end is its alone: it breaks where the process dies."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, block: bytes) -> bytes:
        """Return what the process makes of a block; `EOFError` or `OSError` where it is gone."""
        self.pipe.send_bytes(block)
        return self.pipe.recv_bytes()

    def end(self) -> None:
        """Wait for the process, which was told to end."""
        self.process.join()
        self.process.close()
        self.pipe.close()


_DONE, _ERROR = b"d", b"e"


def _serve(pipe: Connection) -> None:
    """Compute blocks until the other end of the pipe is closed: one BLAS thread, no part in Ctrl-C."""
    for name in _BLAS_THREADS:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    function = pipe.recv_bytes()
    while True:
        try:
            block = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(_answer(function, block))


def _answer(function: bytes, block: bytes) -> bytes:
    try:
        return _DONE + compute(function, block)
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            content = pickle.dumps(error)
            pickle.loads(content)
        except Exception:
            content = pickle.dumps(RuntimeError(f"{error!r}\n{traceback.format_exc()}"))
        return _ERROR + content


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def compute(function: bytes, block: bytes) -> bytes:
    """Apply a pickled function to a pickled block; the pickled result."""
    import_module("scipy.linalg")
    threadpool_limits(1)
    return pickle.dumps(_function(function)(pickle.loads(block)), 5)


@lru_cache(maxsize=2)
def _function(pickled: bytes) -> Callable[[Any], Any]:
    """Return the function, unpickled once for all blocks that a worker has."""
    found: Callable[[Any], Any] = pickle.loads(pickled)
    return found
