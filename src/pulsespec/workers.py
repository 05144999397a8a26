"""Processes of this machine that compute blocks, each by itself: one that dies takes no other with it."""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from multiprocessing import get_context, parent_process
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
    """A crew of processes, started as they are needed. Each has a pool of its own, for a pool breaks as a whole."""

    def __init__(self, function: Callable[[Any], Any], jobs: int) -> None:
        self._function = pickle.dumps(function, 5)
        self._jobs = jobs
        self._idle: SimpleQueue[ProcessPoolExecutor | None] = SimpleQueue()
        self._pools: set[ProcessPoolExecutor] = set()
        for _ in range(jobs):
            self._idle.put(None)

    def capacity(self) -> int:
        """Return the number of processes."""
        return self._jobs

    def submit(self, block: bytes) -> "Future[bytes]":
        """Begin a block in a process that has none."""
        pool = self._idle.get() or self._started()
        try:
            future = pool.submit(_compute, block)
        except BrokenProcessPool:  # it died with nothing to do
            self._gone(pool)
            pool = self._started()
            future = pool.submit(_compute, block)
        future.add_done_callback(lambda done: self._back(pool, done))
        return future

    def lost(self, error: BaseException) -> bool:
        """Return whether the process is gone."""
        return isinstance(error, BrokenProcessPool)

    def close(self) -> None:
        """End all processes, at once where they still compute."""
        for pool in self._pools:
            _end(pool)

    def _started(self) -> ProcessPoolExecutor:
        context = get_context("spawn")
        pool = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(self._function,))
        self._pools.add(pool)
        return pool

    def _back(self, pool: ProcessPoolExecutor, done: "Future[bytes]") -> None:
        broken = not done.cancelled() and self.lost(done.exception() or Exception())
        self._idle.put(None if broken else pool)

    def _gone(self, pool: ProcessPoolExecutor) -> None:
        self._pools.discard(pool)
        pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop a pool without waiting for the block that it computes."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    pool.shutdown()


_SHARED: list[bytes] = []


def _prepare(function: bytes) -> None:
    """Set a new process up: one BLAS thread, no part in Ctrl-C, an end when its parent ends."""
    for name in _BLAS_THREADS:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _SHARED[:] = [function]


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute(block: bytes) -> bytes:
    return compute(_SHARED[0], block)


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
