"""One way to spread blocks of work: in this process, over a pool of processes, later over a cluster."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
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
