"""Time and memory of a basis set, beside a plain reference in the same run."""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.linalg import expm
from threadpoolctl import threadpool_limits

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import load_metabolites, read_timeline, simulate
from pulsespec.simulator.operators import operators


def dense_seconds(path: Path) -> float:
    """CPU time of one refocusing pulse on myo-inositol at one position, a dense exponential a sample."""
    timeline = read_timeline(path)
    rf = timeline.select(water_reference=False)[0].pulses[-1].rf
    system = load_metabolites(["Ins"])["Ins"].systems[0]
    spins = operators((0.5,) * 6)
    shift = (system.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    free = spins.shift(shift) + spins.coupling(system.j_hz)
    fx, fy, _ = spins.single.sum(axis=0)
    start = time.process_time()
    u = np.eye(spins.dimension)
    for b1 in rf.b1_hz[:40]:
        u = expm(-2j * np.pi * rf.duration_s / rf.b1_hz.size * (free + b1.real * fx + b1.imag * fy)) @ u
    return (time.process_time() - start) * rf.b1_hz.size / 40


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = Path(folder) / "press.seq"
        write_sequence(build(load_protocol("press-3t-te30"), load_scanner("siemens-prisma")), path)
        names = list(load_metabolites())
        for run in ("first", "again"):
            start, wall = time.process_time(), time.perf_counter()
            basis = simulate(path, names)
            cpu, took = time.process_time() - start, time.perf_counter() - wall
            print(f"{run}: {len(names)} metabolites in {cpu:.2f} s CPU, {took:.2f} s wall")
        points = basis.provenance["shots"][0]["positions"]
        ours = time.process_time()
        simulate(path, ["Ins"])
        ours = time.process_time() - ours
        dense = dense_seconds(path) * sum(points)
        print(f"positions per axis: {points}")
        print(
            f"Ins alone: {ours:.2f} s CPU for all pulses; one dense exponential a sample, extrapolated from"
        )
        print(
            f"40 samples at one position to its three slice pulses: {dense:.0f} s; ratio {dense / ours:.0f}"
        )
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
