"""What it costs to spread blocks: a process, a pool of processes, a cluster of dask over loopback; and a lost worker.

    python benchmarks/scale.py
    python benchmarks/scale.py --spectra 960 --workers 2

1. Blocks that sleep: what a block costs beside its work, which no other load of the machine changes.
2. Blocks that fit: the same spectra everywhere, the time they take, and whether the results are the same to the bit.
3. A worker killed mid-run from outside: what was computed twice, what it cost, and the bits again.
"""

import argparse
import hashlib
import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scores import table

from pulsespec import commands
from pulsespec.cluster import connect
from pulsespec.executor import Spread, map_blocks, spread
from pulsespec.progress import Step
from pulsespec.recon.fit import FitSettings, fit_batch
from pulsespec.recon.transients import Transients

PROTOCOL, METABOLITES = (
    "press-3t-te30",
    ("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Ins", "Glu", "Gln", "GSH"),
)
AMOUNTS = (10.0, 1.5, 5.0, 4.0, 1.0, 0.5, 6.0, 9.0, 3.0, 1.2)


def sleep(seconds: float, number: int) -> int:
    """Do nothing for so long."""
    time.sleep(seconds)
    return number


def traced(folder: str, seconds: float, number: int) -> tuple[int, bytes]:
    """Leave a trace with the process, then compute for about so long; the result is the same for each number."""
    (Path(folder) / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    rng = np.random.default_rng(number)
    square = rng.normal(size=(200, 200))
    until = time.monotonic() + seconds
    found = np.linalg.inv(square)
    while time.monotonic() < until:
        found = np.linalg.inv(square)
    return number, found.tobytes()


@contextmanager
def places(workers: int) -> Iterator[dict[str, Callable[..., Any]]]:
    """Yield ways to set the place of blocks, by name: context managers with the number of jobs."""
    from distributed import LocalCluster

    with ExitStack() as stack:
        options = {"host": "127.0.0.1", "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        start = time.perf_counter()
        cluster = stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, **options))
        machines = stack.enter_context(connect(cluster.scheduler_address, print))
        print(f"LocalCluster of {workers} workers started in {time.perf_counter() - start:.1f} s\n")
        yield {
            "this process": lambda watch=None: (spread(Spread(watch=watch)), 1),
            f"{workers} processes": lambda watch=None: (spread(Spread(watch=watch)), workers),
            f"{workers} workers of dask": lambda watch=None: (spread(Spread(machines, watch=watch)), 1),
        }


def sleeping(ways: dict[str, Callable[..., Any]], workers: int, count: int, seconds: float) -> None:
    """Print what a block costs beside its work: the second of two runs, so that workers have begun."""
    rows = []
    for name, way in ways.items():
        lanes = 1 if name == "this process" else workers
        times = []
        for n in (2 * lanes, count):
            where, jobs = way()
            with where:
                start = time.perf_counter()
                map_blocks(partial(sleep, seconds), range(n), jobs)
                times.append(time.perf_counter() - start)
        begin = times[0] - 2 * seconds
        ideal = count * seconds / lanes
        each = (times[1] - times[0] - (ideal - 2 * seconds)) / (count - 2 * lanes) * lanes
        rows.append([name, f"{begin:.2f}", f"{times[1]:.2f}", f"{ideal:.2f}", f"{1e3 * each:.2f}"])
    print(f"{count} blocks that sleep {1e3 * seconds:.0f} ms")
    print(table([["", "to begin / s", "took / s", "work alone / s", "a block more / ms"], *rows]))


def spectra(count: int) -> tuple[Transients, Any]:
    """Return noisy spectra and their basis."""
    with tempfile.TemporaryDirectory() as folder:
        path = commands.sequence_of(PROTOCOL, Path(folder), None, None)
        basis = commands.basis_of(path, list(METABOLITES), None)
    rng = np.random.default_rng(0)
    fids = [
        sum(
            amount * rng.uniform(0.7, 1.3) * basis.fid(name, linewidth_hz=rng.uniform(3, 8))
            for name, amount in zip(METABOLITES, AMOUNTS, strict=True)
        )
        for _ in range(count)
    ]
    noise = rng.normal(size=(count, fids[0].size, 2)) @ [1, 1j]
    return Transients(
        data=np.array(fids) + 0.3 * noise, dims=("x", "t"), dwell_s=basis.dwell_s, f0_hz=basis.f0_hz
    ), basis


def fitting(ways: dict[str, Callable[..., Any]], count: int) -> bool:
    """Print the time of the same fits everywhere; return whether all bits are the same."""
    data, basis = spectra(count)
    rows, digests = [], set()
    for name, way in ways.items():
        where, jobs = way()
        with where:
            start = time.perf_counter()
            found = fit_batch(data, basis, FitSettings(), jobs)
            took = time.perf_counter() - start
        digest = hashlib.sha256(
            b"".join(part.tobytes() for part in (found.amplitudes, found.covariance, found.theta))
        ).hexdigest()
        digests.add(digest)
        rows.append([name, f"{took:.1f}", f"{count / took:.1f}", digest[:16]])
    print(f"\n{count} spectra of {len(METABOLITES)} metabolites, in blocks of 32")
    print(table([["", "took / s", "spectra a second", "bits"], *rows]))
    return len(digests) == 1


def killing(ways: dict[str, Callable[..., Any]], count: int, seconds: float) -> bool:
    """Kill the worker of a block mid-run; print what it cost, return whether results are the same to the bit."""
    rows, digests = [], set()
    for name, way in ways.items():
        for kill in (False, True):
            if name == "this process" and kill:
                continue
            with tempfile.TemporaryDirectory() as folder:
                killed: list[int] = []

                def strike(
                    step: Step, folder: str = folder, kill: bool = kill, killed: list[int] = killed
                ) -> None:
                    if kill and step.done == count // 2 and not killed:
                        newest = max(Path(folder).iterdir(), key=lambda p: int(p.name.split("-")[2]))
                        killed.append(int(newest.name.split("-")[1]))
                        os.kill(killed[0], signal.SIGKILL)

                where, jobs = way(strike)
                with where:
                    start = time.perf_counter()
                    found = map_blocks(partial(traced, folder, seconds), range(count), jobs)
                    took = time.perf_counter() - start
                begun = len(list(Path(folder).iterdir()))
            digests.add(hashlib.sha256(b"".join(part for _, part in found)).hexdigest())
            assert [number for number, _ in found] == list(range(count))
            rows.append([name, "one" if kill else "none", f"{took:.1f}", str(begun - count)])
    print(f"\n{count} blocks of {1e3 * seconds:.0f} ms; a worker killed half-way")
    print(table([["", "killed", "took / s", "blocks begun again"], *rows]))
    return len(digests) == 1


def main() -> None:
    """Measure."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--spectra", type=int, default=320)
    parser.add_argument("--blocks", type=int, default=200, help="that sleep")
    options = parser.parse_args()
    with places(options.workers) as ways:
        sleeping(ways, options.workers, options.blocks, 0.02)
        same = fitting(ways, options.spectra)
        survived = killing(ways, 40, 0.1)
    print(f"\nfits the same to the bit everywhere: {same}; results the same after a kill: {survived}")
    if not (same and survived):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
