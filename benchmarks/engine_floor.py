"""How far a basis set is from the floating-point work that its propagators need, and how it grows with points.

    OMP_NUM_THREADS=1 python benchmarks/engine_floor.py [PROTOCOL ...]

The floor counts complex matrix products alone: for each pulse, position and block of a reduced spin part, those of
each Magnus step (of half the pulse where it is the same backwards), one with the rotation, and two for each coherence
pathway that goes through it; large systems count with their clusters and what joins those. A product of two d x d
matrices is 8 d^3 operations. It divides by the rate that numpy's batched product of complex64 matrices of that size
reaches on this machine in this run. All else (rotations, moments, sums of exponentials, eigenvectors) is not in the
floor. Sequences are played without water suppression.
"""

import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import load_metabolites, read_timeline, simulate
from pulsespec.simulator.clusters import division
from pulsespec.simulator.equivalence import reduce_system, swap_symmetry
from pulsespec.simulator.operators import blocks, operators
from pulsespec.simulator.propagators import Accuracy, coupling_steps, pulse_propagators
from pulsespec.simulator.simulate import Settings, plan_shots

PROTOCOLS = ("press-3t-te30", "steam-3t-te20-tm10", "mega-press-3t-gaba", "semi-laser-3t-te30")
TOLERANCE = 1e-4
PRODUCTS_PER_STEP = 4
"""Commutator, square and fourth power of the exponential, and the product with what was before."""
POINTS = (32, 64, 128, 256, 512)


@cache
def rate(d):
    """Return the operations a second of batched d x d complex64 products, the best of several tries."""
    n = max(8, 2**22 // d**3)
    random = np.random.default_rng(1)
    a, b = (random.normal(size=(2, n, d, d, 2)).astype(np.float32).view(np.complex64)[..., 0] for _ in "ab")
    out = np.empty_like(a[0])
    took = []
    for _ in range(7):
        start = time.process_time()
        np.matmul(a[0], b[0], out=out)
        took.append(time.process_time() - start)
    return 8 * d**3 * n / max(min(took), 1e-9)


def products(plan, system, part, shift_hz):
    """Return the number of d x d products that one shot needs for one block of a reduced spin part, by d."""
    used = Counter(index for pathway in plan.selection.kept for index in range(len(pathway.orders)))
    distinct, total = set(), Counter()
    low, high = float(shift_hz.min()), float(shift_hz.max())
    for index, pathways in used.items():
        rf, axes = plan.layout.pulses[index], plan.layout.axes_of[index]
        points = int(np.prod([plan.layout.axes[axis].positions(low, high).size for axis in axes]))
        total[system.dimension] += 2 * points * pathways
        key = (rf.key, rf.offset_hz, points)
        if key not in distinct:
            distinct.add(key)
            for d, count in of_pulse(system, part, shift_hz, rf, plan.accuracy).items():
                total[d] += points * count
    return total


def of_pulse(system, part, shift_hz, rf, accuracy):
    """Return the number of products for the propagator of a pulse at one position, by dimension."""
    parted = None
    if system.basis is None:
        parted = division(system.spins, part.j_hz, rf.duration_s, accuracy.tolerance)
    every = [tuple(range(len(system.spins)))] if parted is None else parted.clusters
    total = Counter()
    steps = 0
    for spins in every:
        j_hz = part.j_hz[np.ix_(spins, spins)]
        one = system if parted is None else operators(tuple(system.spins[spin] for spin in spins))
        if np.any(j_hz):
            strength = one.strength(j_hz)
            steps = max(steps, coupling_steps(rf, shift_hz[list(spins)], j_hz, strength, accuracy))
        total[one.dimension] += 1
    halves = 2 if rf.has_constant_gradient and rf.is_mirrored else 1
    total = Counter({d: count * (steps * PRODUCTS_PER_STEP / halves + halves) for d, count in total.items()})
    if parted is not None:
        total[system.dimension] += 2 ** len(parted.middle) / system.dimension  # to join them
    return total


def plans_of(path, timeline):
    shots = timeline.select(water_reference=False, condition=0)
    return plan_shots(path, timeline, shots, Settings(tolerance=TOLERANCE))


def floor_seconds(path, metabolites):
    """Return the seconds of the matrix products of a basis set, by dimension."""
    timeline = read_timeline(path)
    plans = plans_of(path, timeline)
    seconds = Counter()
    for metabolite in metabolites.values():
        for part in (part for system in metabolite.systems for part in reduce_system(system)):
            shift_hz = (part.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 + part.offset_hz
            for system in blocks(part.spins, swap_symmetry(part.spins, shift_hz, part.j_hz)):
                for plan in plans:
                    for d, count in products(plan, system, part, shift_hz).items():
                        seconds[d] += 8 * d**3 * count / rate(d)
    return seconds


def growth(path):
    """Print the time of one refocusing pulse on myo-inositol at more and more points, and the exponent."""
    timeline = read_timeline(path)
    plan = plans_of(path, timeline)[0]
    index = max(i for i, axes in enumerate(plan.layout.axes_of) if axes)
    (part,) = reduce_system(load_metabolites(["Ins"])["Ins"].systems[0])
    shift_hz = (part.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    (number,) = plan.layout.axes_of[index]
    axis = plan.layout.axes[number]
    took = []
    for n in POINTS:
        at = axis.low_m + (np.arange(n) + 0.5) * axis.extent_m / n
        arguments = (
            plan.layout.pulses[index],
            shift_hz,
            part.j_hz,
            plan.layout.gradient_hz(index, at[:, None] * axis.direction),
        )
        tries = []
        for _ in range(3):
            start = time.process_time()
            pulse_propagators(operators(part.spins), *arguments, plan.layout.bins[index], Accuracy(TOLERANCE))
            tries.append(time.process_time() - start)
        took.append(min(tries))
    exponent = np.polyfit(np.log(POINTS), np.log(took), 1)[0]
    print(f"  points {POINTS}: {', '.join(f'{t:.2f}' for t in took)} s; time grows as points^{exponent:.2f}")


def report(name, folder):
    """Print floor, time and their ratio for one protocol."""
    path = Path(folder) / f"{name}.seq"
    protocol = load_protocol(name).model_copy(update={"water_suppression": None})
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path)
    metabolites = load_metabolites()
    simulate(path, ["Cr"])
    start = time.process_time()
    simulate(path, tolerance=TOLERANCE)
    took = time.process_time() - start
    seconds = floor_seconds(path, metabolites)
    floor = sum(seconds.values())
    print(
        f"{name}: {len(metabolites)} metabolites in {took:.2f} s CPU, floor {floor:.2f} s: {took / floor:.1f} x"
    )
    largest = sorted(seconds, key=seconds.get)[-4:]
    print("  " + ", ".join(f"d = {d}: {seconds[d]:.2f} s at {rate(d) * 1e-9:.1f} GFlop/s" for d in largest))
    growth(path)


def main():
    """Report on each protocol."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for name in sys.argv[1:] or PROTOCOLS:
            report(name, folder)


if __name__ == "__main__":
    main()
