"""One way to spread blocks of work: in this process, over a pool of processes, later over a cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from threadpoolctl import threadpool_limits

Block = TypeVar("Block")
Result = TypeVar("Result")


def _one_thread() -> None:
    threadpool_limits(1)


def map_blocks(function: Callable[[Block], Result], blocks: Iterable[Block], jobs: int = 1) -> list[Result]:
    """Apply `function` to each block, in order, over `jobs` processes with one BLAS thread each.

    With `jobs=1` all runs in this process. Results do not depend on `jobs`: a block carries its own seed.
    """
    blocks = list(blocks)
    if jobs <= 1 or len(blocks) <= 1:
        with threadpool_limits(1):
            return [function(block) for block in blocks]
    workers = min(jobs, len(blocks))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        return list(pool.map(function, blocks))


def iter_blocks(
    function: Callable[[Block], Result], blocks: Iterable[Block], jobs: int = 1
) -> Iterator[Result]:
    """Yield `function` of each block, in order, as `map_blocks` does, with no more than 2 `jobs` results held."""
    if jobs <= 1:
        with threadpool_limits(1):
            yield from map(function, blocks)
        return
    waiting = iter(blocks)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        running: deque[Future[Result]] = deque(
            pool.submit(function, block) for block in islice(waiting, 2 * jobs)
        )
        while running:
            done = running.popleft().result()
            running.extend(pool.submit(function, block) for block in islice(waiting, 1))
            yield done
