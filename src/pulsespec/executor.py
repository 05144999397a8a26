"""One way to spread blocks of work: in this process, over processes of this machine, over a cluster.

Numbers do not depend on where a block is computed: it carries its own seed, and every place has one BLAS thread. A
worker that dies costs the block that it had; finished blocks may be kept, so that an interrupted job resumes.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pulsespec.errors import WorkerError
from pulsespec.kept import Kept
from pulsespec.progress import Course, Watch
from pulsespec.workers import Processes, one_thread

Block = TypeVar("Block")
Result = TypeVar("Result")

TRIES = 3
"""Times that the worker of a block may die before the block is given up."""


class Crew(Protocol):
    """Who computes blocks, each handed over and given back as bytes."""

    def capacity(self) -> int:
        """Return how many blocks it may hold at once."""

    def submit(self, block: bytes) -> "Future[bytes]":
        """Begin a block."""

    def lost(self, error: BaseException) -> bool:
        """Return whether `error` says that a worker is gone, not that the block failed."""

    def close(self) -> None:
        """Stop all that still runs."""


class Cluster(Protocol):
    """Machines that can be asked for a crew (`pulsespec.cluster`)."""

    def crew(self, function: Any) -> Crew:
        """Return a crew that knows `function`."""


@dataclass(frozen=True)
class Spread:
    """Where blocks go, and who hears of it."""

    cluster: Cluster | None = None
    """Machines that take the place of processes."""
    keep: Path | None = None
    """Folder in which finished blocks are kept."""
    watch: Watch | None = None
    """Hears how far the blocks are."""


_CURRENT: ContextVar[Spread] = ContextVar("spread", default=Spread())  # noqa: B039 - frozen


@contextmanager
def spread(chosen: Spread) -> Iterator[None]:
    """Send the blocks of all that runs in the body where `chosen` says."""
    token = _CURRENT.set(chosen)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Spread:
    """Return where blocks go at present."""
    return _CURRENT.get()


def map_blocks(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    jobs: int = 1,
    *,
    keep: Path | None = None,
    watch: Watch | None = None,
    name: str = "blocks",
    label: Callable[[Block], str] | None = None,
    instead: Callable[[Block, WorkerError], Result] | None = None,
) -> list[Result]:
    """Apply `function` to each block, in order; results do not depend on where that happens.

    Parameters
    ----------
    function, blocks
        What is done to what. Both must survive pickling where they leave this process; what all blocks share belongs
        into the function (`functools.partial`), which is handed over once.
    jobs
        Processes, each with one BLAS thread; 1 is this process. A cluster, where `spread` names one, takes their place.
    keep
        Folder in which finished blocks are kept until the job is done, by default that of `spread`.
    watch
        Hears how far the blocks are, by default that of `spread`.
    name
        What the blocks are, for those who watch.
    label
        What an error calls a block, by default its number.
    instead
        Gives what stands for a block that is given up; by default the job ends with an error.

    Raises
    ------
    WorkerError
        The worker of one block died `TRIES` times, or the cluster is gone.

    """
    blocks = list(blocks)
    if len(blocks) <= 1 and current().cluster is None:
        jobs = 1
    workers = min(jobs, len(blocks))
    told: dict[str, Any] = {"keep": keep, "watch": watch, "name": name, "label": label, "instead": instead}
    return list(iter_blocks(function, blocks, workers, **told, ahead=len(blocks)))


def iter_blocks(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    jobs: int = 1,
    *,
    keep: Path | None = None,
    watch: Watch | None = None,
    name: str = "blocks",
    label: Callable[[Block], str] | None = None,
    instead: Callable[[Block, WorkerError], Result] | None = None,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yield `function` of each block, in order, as `map_blocks` does.

    No more than `ahead` results are held, by default 2 for each block that is computed at once.
    """
    chosen = current()
    total = len(blocks) if isinstance(blocks, Sized) else None
    folder = keep or chosen.keep
    kept = Kept(folder, function) if folder is not None and total != 1 else None
    course = Course(watch or chosen.watch, name, total)
    tasks = (_Task(number, block, label) for number, block in enumerate(blocks))
    if jobs <= 1 and chosen.cluster is None:
        yield from _here(function, tasks, kept, course)
        return
    crew = Processes(function, jobs) if chosen.cluster is None else chosen.cluster.crew(function)
    try:
        yield from _Stream(crew, tasks, kept, course, ahead, instead).results()
    finally:
        crew.close()


@dataclass
class _Task:
    """A block on its way."""

    number: int
    block: Any
    label: Callable[[Any], str] | None
    tries: int = 0

    @property
    def words(self) -> str:
        """What a person calls it."""
        return f"block {self.number + 1}" if self.label is None else self.label(self.block)


def _here(
    function: Callable[[Any], Any], tasks: Iterable[_Task], kept: Kept | None, course: Course
) -> Iterator[Any]:
    """Compute in this process. Blocks that a block spreads are computed within it, in silence."""
    for task in tasks:
        key = kept.key(pickle.dumps(task.block, 5)) if kept else ""
        found = kept.read(key) if kept else None
        if found is None:
            with spread(Spread()), one_thread():
                result = function(task.block)
            if kept:
                kept.write(key, pickle.dumps(result, 5))
        else:
            result = found.result
        course.step(found is not None)
        yield result


@dataclass
class _Stream:
    """Blocks with a crew: which ones run, which are done and wait for their turn."""

    crew: Crew
    tasks: Iterator[_Task]
    kept: Kept | None
    course: Course
    ahead: int | None
    instead: Callable[[Any, WorkerError], Any] | None
    running: dict["Future[bytes]", tuple[_Task, bytes, str]] = field(default_factory=dict)
    again: deque[tuple[_Task, bytes, str]] = field(default_factory=deque)
    ready: dict[int, Any] = field(default_factory=dict)
    given: int = 0
    """Results that were yielded."""
    taken: int = 0
    """Blocks that were begun."""

    def results(self) -> Iterator[Any]:
        """Yield results in the order of the blocks."""
        more = True
        while more or self.running or self.again or self.ready:
            more = self._fill(more)
            while self.given in self.ready:
                yield self.ready.pop(self.given)
                self.given += 1
            if self.running:
                for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                    self._finish(future)

    def _fill(self, more: bool) -> bool:
        """Hand over as many blocks as the crew may hold; return whether there are more."""
        capacity = self.crew.capacity()
        ahead = max(self.ahead or 2 * capacity, capacity)
        while len(self.running) < capacity:
            if self.again:
                self._submit(*self.again.popleft())
                continue
            if not more or self.taken - self.given >= ahead:
                break
            task = next(self.tasks, None)
            if task is None:
                return False
            self.taken += 1
            self._begin(task)
        return more

    def _begin(self, task: _Task) -> None:
        block = pickle.dumps(task.block, 5)
        key = self.kept.key(block) if self.kept else ""
        found = self.kept.read(key) if self.kept else None
        if found is None:
            self._submit(task, block, key)
        else:
            self.ready[task.number] = found.result
            self.course.step(True)

    def _submit(self, task: _Task, block: bytes, key: str) -> None:
        self.running[self.crew.submit(block)] = task, block, key

    def _finish(self, future: "Future[bytes]") -> None:
        task, block, key = self.running.pop(future)
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            result = future.result()
            if self.kept:
                self.kept.write(key, result)
            self.ready[task.number] = pickle.loads(result)
            self.course.step(False)
            return
        if not self.crew.lost(error):
            raise error
        task = replace(task, tries=task.tries + 1)
        if task.tries >= TRIES:
            self._give_up(task)
            return
        self.course.say(f"{task.words}: its worker died; it is computed again")
        self.again.append((task, block, key))

    def _give_up(self, task: _Task) -> None:
        error = WorkerError(f"{task.words}: its worker died {TRIES} times (killed, or out of memory)")
        if self.instead is None:
            raise error
        self.ready[task.number] = self.instead(task.block, error)
        self.course.step(False)
