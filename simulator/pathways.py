"""Which coherence pathways a shot lets through, from its gradient moments and phases alone.

A pathway is the coherence order after each pulse, from 0 (equilibrium) to -1 (what the receiver sees). Its
weight for a single spin is exact: along every axis that a pulse selects, the integral of the pulses' order
profiles times the phase ramp of its gradient moments; across all other directions the dephasing over the
nominal extent; and the mean over the phase cycle. Orders beyond one exist in coupled spins only; their
profile is bounded by the product of single-spin ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.geometry import Axis, Layout, order_profile
from pulsespec.simulator.rotations import order_matrix, whole
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Orders = NDArray[np.int64]

LARGEST_ORDER = 3
"""Highest coherence order that is followed; beyond it a pathway needs four spins to turn at once."""
UNSELECTED_M = 0.1
"""Extent along directions that no pulse selects, where the file defines no voxel: what a coil sees."""
DEPHASED_CYCLES = 0.5
"""Dephasing across what a pulse touches, beyond which what it lets pass cancels outside of it."""
_MOST_PATHWAYS = 4_000_000
_FINE = 2048
_VARIATION = 4.0  # total variation of a profile that the bound assumes: up and down, with overshoot
_LARGEST = np.array([[1.0, 0.5, 1.0], [1.0, 1.0, 1.0], [1.0, 0.5, 1.0]])  # of |order_matrix|


@dataclass(frozen=True)
class Pathway:
    """One way through the pulses."""

    orders: tuple[int, ...]
    """Coherence order after each pulse."""
    weight: float
    """Amplitude for one fully excited single spin; an upper bound where an order is beyond one."""
    cycle: complex
    """Mean of the phase factors over the repetitions of the shot; of modulus 1 where all add up."""


@dataclass(frozen=True)
class Selection:
    """Pathways that are simulated, strongest first, and what was left out."""

    kept: tuple[Pathway, ...]
    dropped: float
    """Sum of the weights (or bounds) of all that were dropped, relative to the strongest."""


def select_pathways(shot: Shot, layout: Layout, shifts_hz: Real, tolerance: float) -> Selection:
    """Return the pathways whose weight is at least `tolerance` of the strongest one.

    Raises
    ------
    SequenceError
        No signal is left at the ADC, or there are more pathways than can be judged.

    """
    orders = _enumerate(layout)
    before = np.concatenate([np.zeros((len(orders), 1), dtype=np.int64), orders[:, :-1]], axis=1)
    cycle = _cycle(orders - before, shot.phases)
    tables = [_bounds(layout, index, shifts_hz) for index in range(orders.shape[1])]
    amplitude = 2.0 * np.abs(cycle)
    for index, table in enumerate(tables):
        amplitude *= table[orders[:, index] + LARGEST_ORDER, before[:, index] + LARGEST_ORDER]
    gaps = orders @ np.array([pulse.moment_per_m for pulse in shot.pulses])
    amplitude *= _across(gaps, layout)
    bound = amplitude * _dephasing_bound(orders, shot, layout)
    weigher = _Weigher(layout, float(np.median(shifts_hz)))
    candidates = np.flatnonzero(bound > 0.1 * tolerance * np.partition(bound, -1)[-1])
    effective = moments(orders[candidates], shot)
    strengths = np.array(
        [
            amplitude[row] * weigher.along(orders[row], before[row], gaps[row], moment, tables)
            for row, moment in zip(candidates, effective, strict=True)
        ]
    )
    strongest = strengths.max(initial=0.0)
    if strongest < 1e-6:
        raise SequenceError(
            "the sequence leaves no signal at its ADC: gradients or phases cancel every coherence pathway"
        )
    kept = strengths >= tolerance * strongest
    dropped = (bound.sum() - bound[candidates].sum() + strengths[~kept].sum()) / strongest
    ranked = sorted(np.flatnonzero(kept), key=lambda at: -strengths[at])
    rows = [candidates[at] for at in ranked]
    weights = [strengths[at] / max(abs(cycle[row]), 1e-300) for at, row in zip(ranked, rows, strict=True)]
    paths = [
        Pathway(tuple(int(p) for p in orders[row]), float(weight), complex(cycle[row]))
        for row, weight in zip(rows, weights, strict=True)
    ]
    return Selection(tuple(paths), float(dropped))


def _enumerate(layout: Layout) -> Orders:
    """Return all orders: up to one until the first selective pulse has been played, up to three after."""
    n_pulses = len(layout.axis_of)
    first = next((index for index, axis in enumerate(layout.axis_of) if axis is not None), 0)
    largest = [1 if index <= first else LARGEST_ORDER for index in range(n_pulses - 1)]
    count = np.prod([2.0 * order + 1 for order in largest])
    if count > _MOST_PATHWAYS:
        raise SequenceError(
            f"a shot of {n_pulses} pulses has {count:.0f} coherence pathways: too many to judge"
        )
    choices = [np.arange(-order, order + 1) for order in largest] + [np.array([-1])]
    return np.stack([grid.ravel() for grid in np.meshgrid(*choices, indexing="ij")], axis=1)


def _cycle(change: Orders, phases: Real) -> Complex:
    distinct, counts = np.unique(np.round(phases, 9), axis=0, return_counts=True)
    total: Complex = np.zeros(len(change), dtype=complex)
    for row, count in zip(distinct, counts, strict=True):
        total += count * np.exp(-1j * (change @ row[:-1] + row[-1]))
    return np.asarray(total / len(phases), dtype=np.complex128)


def _bounds(layout: Layout, index: int, shifts_hz: Real) -> Real:
    """Return bounds of |amplitude| from each order to each other, indexed by order + 3; shape (7, 7)."""
    single = _LARGEST
    if layout.axis_of[index] is None:
        rf = layout.pulses[index]
        single = np.abs(order_matrix(whole(rf, shifts_hz, np.zeros(1), layout.profile_bins[index]))).max(
            axis=0
        )
    orders = np.arange(-LARGEST_ORDER, LARGEST_ORDER + 1)
    table = _envelope(single, np.abs(orders[:, None] - orders[None, :]))
    middle = slice(LARGEST_ORDER - 1, LARGEST_ORDER + 2)
    table[middle, middle] = single
    return table


def _envelope(single: Real, change: NDArray[np.int64]) -> Real:
    """Return how much a change of order can keep, from single-spin amplitudes (..., 3, 3)."""
    one = np.minimum(2 * single[..., 0, 1], 1.0)
    two = np.maximum(single[..., 0, 2], one**2)
    steps, rest = np.divmod(change, 2)
    return np.asarray(two**steps * one**rest)


def _across(moments_per_m: Real, layout: Layout) -> Real:
    """Return the dephasing along directions that no pulse selects: (n, 3) moments to (n,) factors."""
    rest = moments_per_m.astype(float)
    for axis in layout.axes:
        rest = rest - (rest @ axis.direction)[:, None] * axis.direction
    extent = np.full(3, UNSELECTED_M) if layout.voxel_m is None else layout.voxel_m
    return np.asarray(np.abs(np.prod(np.sinc(rest * extent), axis=1)))


def moments(orders: Orders, shot: Shot) -> Real:
    """Return the moment of each pathway in cycles/m, pulses counted as turning in their middle: (n, 3)."""
    before = np.concatenate([np.zeros((len(orders), 1), dtype=np.int64), orders[:, :-1]], axis=1)
    halves = _half_moments(shot)
    gaps = np.array([pulse.moment_per_m for pulse in shot.pulses])
    return np.asarray(orders @ (gaps + halves) + before @ halves)


def _half_moments(shot: Shot) -> Real:
    return np.array([p.rf.gradient_hz_per_m.mean(axis=0) * p.rf.duration_s / 2 for p in shot.pulses])


def _dephasing_bound(orders: Orders, shot: Shot, layout: Layout) -> Real:
    """Return a bound of the integrals along the selected axes, from the total variation of profiles."""
    moment = moments(orders, shot)
    slack = np.abs(_half_moments(shot)).sum(axis=0)
    bound = np.ones(len(orders))
    for axis in layout.axes:
        cycles_per_m = np.abs(moment @ axis.direction) - slack @ np.abs(axis.direction)
        cycles = np.maximum(cycles_per_m * axis.nominal_m, 1e-12)
        bound *= np.minimum(axis.extent_m / axis.nominal_m, _VARIATION / (2 * np.pi * cycles))
    return bound


class _Weigher:
    """Integrals of order profiles along the axes, on a fine grid made once."""

    def __init__(self, layout: Layout, shift_hz: float) -> None:
        self._layout, self._shift_hz = layout, shift_hz
        self._grids = [self._grid(axis, shift_hz) for axis in layout.axes]
        self._profiles = {
            index: order_profile(
                layout.pulses[index], axis.direction, grid, layout.profile_bins[index], shift_hz
            )
            for axis, grid in zip(layout.axes, self._grids, strict=True)
            for index in axis.pulses
        }

    def _passing(self, index: int, axis: Axis, grid: Real, order: int) -> Complex:
        rf = self._layout.pulses[index]
        moment = float(rf.gradient_hz_per_m.mean(axis=0) @ axis.direction) * rf.duration_s
        return np.asarray(np.exp(-2j * np.pi * order * (moment * grid + self._shift_hz * rf.duration_s)))

    @staticmethod
    def _grid(axis: Axis, shift_hz: float) -> Real:
        moves = [move * shift_hz for move in axis.displacement_m_per_hz]
        low, high = axis.low_m + min(moves), axis.high_m + max(moves)
        return np.asarray(low + (np.arange(_FINE) + 0.5) * (high - low) / _FINE)

    def along(
        self, orders: Orders, before: Orders, moment_per_m: Real, effective_per_m: Real, tables: list[Real]
    ) -> float:
        """Return the product of the integrals over all axes, relative to the bounds in `tables`.

        What a pulse lets pass untouched is not confined to its slice. Where gradients dephase it (by
        `effective_per_m`), it cancels over any object that is larger, so the integral is that of the
        difference from it.
        """
        total = 1.0
        for axis, grid in zip(self._layout.axes, self._grids, strict=True):
            ramp = np.exp(-2j * np.pi * float(moment_per_m @ axis.direction) * grid)
            values, passing = np.ones_like(ramp), np.ones_like(ramp)
            for index in axis.pulses:
                order, start = int(orders[index]), int(before[index])
                profile = self._profiles[index]
                if max(abs(order), abs(start)) <= 1:
                    values = values * profile[:, 1 + order, 1 + start]
                else:
                    values = values * _envelope(np.abs(profile), np.array(abs(order - start)))
                passing = passing * self._passing(index, axis, grid, order) * (order == start)
                total /= tables[index][order + LARGEST_ORDER, start + LARGEST_ORDER]
            if abs(effective_per_m @ axis.direction) * axis.extent_m > DEPHASED_CYCLES:
                values = values - passing
            total *= abs((ramp * values).mean()) * (grid[1] - grid[0]) * _FINE / axis.nominal_m
        return total
