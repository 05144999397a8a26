"""Macromolecules and lipids through a sequence: each peak with what localisation and editing leave of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.engine import Plan, simulate_system
from pulsespec.simulator.simulate import Settings, plan_shots
from pulsespec.simulator.timeline import Timeline, read_timeline
from pulsespec.simulator.tissue_lines import tissue_lines

_TOLERANCE = 1e-3
"""Of the amplitude of a peak: far below what is known of it."""


def broad_through(
    sequence: Path, bases: Mapping[int, Basis], names: Sequence[str]
) -> dict[int, dict[str, Lines]]:
    """Return the lines of broad components through a `.seq`, by editing condition.

    Each peak counts as an uncoupled spin at its place, so that a sequence that halves metabolites halves it too,
    and an editing pulse acts on it. Couplings of macromolecules are not known well enough to play: what
    co-edits with GABA (1.7 to 3.0 ppm) stays the same in all conditions. Phases are those of the bases.
    """
    if not names:
        return {condition: {} for condition in bases}
    basis = bases[min(bases)]
    timeline = read_timeline(sequence, basis.f0_hz)
    lines = tissue_lines(basis.f0_hz, names, basis.reference_ppm)
    carrier_ppm = float(np.ravel(timeline.definitions.get("CarrierPPM", basis.reference_ppm))[0])
    carrier_hz = (carrier_ppm - basis.reference_ppm) * basis.f0_hz * 1e-6
    turn = 1.0 + 0j
    found: dict[int, dict[str, Lines]] = {}
    for condition in sorted(bases):
        plans = _plans(sequence, timeline, condition)
        if not found:
            turn = np.exp(-1j * np.angle(_amplitude(plans, carrier_hz)))
        places = np.unique(np.concatenate([one.frequency_hz for one in lines.values()]))
        factors = np.array([turn * _amplitude(plans, float(hz)) for hz in places])
        found[condition] = {name: _scaled(one, places, factors) for name, one in lines.items()}
    return found


def _plans(sequence: Path, timeline: Timeline, condition: int) -> tuple[Plan, ...]:
    shots = timeline.select(water_reference=False, condition=condition)
    return plan_shots(sequence, timeline, shots, Settings(tolerance=_TOLERANCE))


def _amplitude(plans: Sequence[Plan], offset_hz: float) -> complex:
    """Return the signal of one uncoupled proton, the mean over shots; 1 where nothing is lost."""
    repeats = np.array([len(plan.shot.phases) for plan in plans], dtype=float)
    spin, alone = np.array([offset_hz]), np.zeros((1, 1))
    amplitudes = [2.0 * simulate_system(plan, (0.5,), spin, alone).amplitude.sum() for plan in plans]
    return complex(repeats @ np.array(amplitudes) / repeats.sum())


def _scaled(lines: Lines, places: NDArray[np.float64], factors: NDArray[np.complex128]) -> Lines:
    return replace(lines, amplitude=lines.amplitude * factors[np.searchsorted(places, lines.frequency_hz)])
