"""Which coherence pathways a shot lets through, from its gradient moments and phases alone.

A pathway is the coherence order after each pulse, from 0 (equilibrium) to -1 (what the receiver sees). Its
weight for a single spin is exact: over everything that its pulses excite, the integral of the pulses' order profiles
times the phase ramp of its gradient moments; across all other directions the dephasing over the nominal extent; and
the mean over the phase cycle. Orders beyond one exist in coupled spins only; their profile is bounded by the product
of single-spin ones.

A pulse cannot dephase or rephase by more than the area of its own gradient: as a function of position it is a
trigonometric polynomial. A pathway whose moment between pulses exceeds the sum of those areas along any direction is
therefore gone exactly, and only the others are looked at. They are found by joining what can lead up to a pulse in
the middle with what can follow it.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pulsespec.errors import SequenceError
from pulsespec.simulator.geometry import Axis, Layout, order_profile
from pulsespec.simulator.rotations import order_matrix, whole
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Orders = NDArray[np.int64]

LARGEST_ORDER = 3
"""Highest coherence order that is followed; beyond it a pathway needs four spins to turn at once."""
DEPHASED_CYCLES = 0.5
"""Dephasing across what a pulse touches, beyond which what it lets pass cancels outside of it."""
_HIGH_ORDERS = 200_000
"""Orders beyond one are followed through the last pulses of a shot, as many as have not more pathways than this."""
_MOST_HALVES = 100_000
_MOST_JOINED = 1_000_000
_MOST_WEIGHED = 2_000
_AT_ONCE = 500
_SLACK_CYCLES = 15.0
"""Dephasing across the nominal extent of a direction that no pulse selects, at which nothing is left."""
_FINE = 2048
_FINE_TOGETHER = {2: 96, 3: 40}
_COARSE = 512
_NEGLIGIBLE = 1e-9
_WEIGHED_AT = (0.05, 0.25, 0.5, 0.75)
"""Where in the range of shifts pathways are weighed: from 1 to 4.3 ppm, not where suppression acts."""


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
    unjudged: int = 0
    """Number of pathways, or beginnings and ends of them, that were too many to be looked at: the weakest."""


def select_pathways(shot: Shot, layout: Layout, shifts_hz: Real, tolerance: float) -> Selection:
    """Return the pathways whose weight is at least `tolerance` of the strongest one.

    Raises
    ------
    SequenceError
        No signal is left at the ADC.

    """
    tables = [_bounds(layout, index, shifts_hz) for index in range(len(layout.axes_of))]
    least = 0.1 * tolerance
    found, unjudged = _reaching(shot, layout, tables, least)
    amplitude = 2.0 * found.amplitude
    for direction, extent_m in layout.unselected:
        amplitude = amplitude * np.abs(of_object(found.moment @ direction * extent_m))
    orders, gaps, amplitude = (part[amplitude > least] for part in (found.orders, found.moment, amplitude))
    before = _before(orders)
    cycle = _cycle(orders - before, shot.phases)
    amplitude = amplitude * np.abs(cycle)
    ranked = np.argsort(-amplitude, kind="stable")
    ranked = ranked[amplitude[ranked] > least]
    weighed = ranked[:_MOST_WEIGHED]
    left_out = float(amplitude[ranked[_MOST_WEIGHED:]].sum())
    effective = moments(orders[weighed], shot)
    weigher = _Weigher(layout, np.quantile(shifts_hz, _WEIGHED_AT))
    strengths = np.array(
        [
            amplitude[row] * weigher.along(orders[row], before[row], gaps[row], moment, tables)
            for row, moment in zip(weighed, effective, strict=True)
        ]
    )
    strongest = strengths.max(initial=0.0)
    if strongest < 1e-6:
        raise SequenceError(
            "the sequence leaves no signal at its ADC: gradients or phases cancel every coherence pathway"
        )
    kept = strengths >= tolerance * strongest
    paths = tuple(
        Pathway(
            tuple(int(p) for p in orders[weighed[at]]),
            float(strengths[at] / max(abs(cycle[weighed[at]]), 1e-300)),
            complex(cycle[weighed[at]]),
        )
        for at in sorted(np.flatnonzero(kept), key=lambda at: -strengths[at])
    )
    return Selection(paths, float((left_out + strengths[~kept].sum()) / strongest), unjudged)


@dataclass(frozen=True)
class _Ways:
    """Ways through a stretch of pulses."""

    orders: Orders
    """After each pulse of the stretch; shape (n, n_pulses)."""
    amplitude: Real
    """Bound of what a single spin keeps; shape (n,)."""
    moment: Real
    """Sum of order times moment in cycles/m; shape (n, 3)."""

    def __getitem__(self, rows: Any) -> "_Ways":
        return _Ways(self.orders[rows], self.amplitude[rows], self.moment[rows])


def _reaching(shot: Shot, layout: Layout, tables: list[Real], least: float) -> tuple[_Ways, int]:
    """Return the pathways that may reach the ADC, and how many were too many to be looked at."""
    largest = _largest_orders(layout)
    middle = next((index for index, order in enumerate(largest) if order > 1), len(largest) - 1)
    gaps = np.array([pulse.moment_per_m for pulse in shot.pulses])
    stretches = slice(0, middle), slice(middle, None)
    none = _Ways(np.zeros((1, 0), np.int64), np.ones(1), np.zeros((1, 3)))
    first, lost = _grown(none, tables[stretches[0]], largest[stretches[0]], gaps[stretches[0]], least)
    ends = first.orders[:, -1] if middle else np.zeros(1, np.int64)
    begun = (first.orders != 0).any(axis=1)
    found = []
    for order, is_begun in sorted(set(zip(ends.tolist(), begun.tolist(), strict=True))):
        start = _Ways(np.array([[order if is_begun else 0]]), np.ones(1), np.zeros((1, 3)))
        second, missed = _grown(start, tables[middle:], largest[middle:], gaps[middle:], least, is_begun)
        second = second[second.orders[:, -1] == -1]
        mine = first[(ends == order) & (begun == is_begun)]
        joined, cut = _joined(mine, second, _reach_per_m(shot, layout), least)
        found.append(joined)
        lost += missed + cut
    parts = [(ways.orders, ways.amplitude, ways.moment) for ways in found]
    return _Ways(*(np.concatenate(column) for column in zip(*parts, strict=True))), lost


def _largest_orders(layout: Layout) -> list[int]:
    """Return the highest order that is followed after each pulse: beyond one only after a selective pulse."""
    count = len(layout.axes_of)
    first = next((index for index, axes in enumerate(layout.axes_of) if axes), 0)
    largest, pathways = [1] * count, 1
    for index in range(count - 2, first, -1):
        pathways *= 2 * LARGEST_ORDER + 1
        if pathways > _HIGH_ORDERS:
            break
        largest[index] = LARGEST_ORDER
    return largest


def _grown(
    ways: _Ways, tables: list[Real], largest: list[int], gaps: Real, least: float, begun: bool = False
) -> tuple[_Ways, int]:
    """Return all continuations of ways through more pulses, and how many were too many.

    Equilibrium turns into orders up to one; only what has been transverse before goes beyond. Where the ways
    have orders, the last is that before the first of the pulses, and does not count as one of theirs.
    """
    lost, given = 0, ways.orders.shape[1]
    for table, highest, gap in zip(tables, largest, gaps, strict=True):
        old = ways.orders[:, -1] if ways.orders.shape[1] else np.zeros(len(ways.amplitude), np.int64)
        turned = (ways.orders != 0).any(axis=1) | begun
        grown = []
        for new in range(-highest, highest + 1):
            amplitude = ways.amplitude * table[new + LARGEST_ORDER, old + LARGEST_ORDER]
            alive = (amplitude > least) & (turned | (abs(new) <= 1))
            column = np.full((int(alive.sum()), 1), new)
            grown.append(
                (
                    np.concatenate([ways.orders[alive], column], axis=1),
                    amplitude[alive],
                    ways.moment[alive] + new * gap,
                )
            )
        ways = _Ways(*(np.concatenate(column) for column in zip(*grown, strict=True)))
        if len(ways.amplitude) > _MOST_HALVES:
            ranked = np.argsort(-ways.amplitude, kind="stable")
            lost += ranked.size - _MOST_HALVES
            ways = ways[ranked[:_MOST_HALVES]]
    return _Ways(ways.orders[:, given:], ways.amplitude, ways.moment), lost


def _reach_per_m(shot: Shot, layout: Layout) -> tuple[Real, Real]:
    """Return directions, (3, 3), and how far pulses and the object's ends reach along each: cycles/m, (3,).

    The reach is that of orders up to one; it grows with the order.
    """
    own = np.array([np.abs(p.rf.gradient_hz_per_m).mean(axis=0) * p.rf.duration_s for p in shot.pulses])
    directions = [axis.direction for axis in layout.axes] + [d for d, _ in layout.unselected]
    slack = [1 / axis.nominal_m for axis in layout.axes]
    slack += [_SLACK_CYCLES / extent_m for _, extent_m in layout.unselected]
    total = own.sum(axis=0)
    return np.array(directions), np.array([np.abs(d) @ total for d in directions]) + np.array(slack)


def _joined(
    first: _Ways, second: _Ways, reach: tuple[Real, Real], least: float
) -> tuple[_Ways, int]:
    """Return the pairs whose moments cancel within reach, and how many were too many."""
    directions, within = reach
    found, lost, room = [], 0, _MOST_JOINED
    highest = np.abs(second.orders).max(axis=1, initial=1)
    ranked = first[np.argsort(-first.amplitude, kind="stable")]
    for order in np.unique(highest):
        some = second[highest == order]
        scale = 1 / (within * order)
        tree = cKDTree(some.moment @ directions.T * scale)
        at = -(ranked.moment @ directions.T) * scale
        for start in range(0, len(at), _AT_ONCE):
            if room <= 0:
                lost += len(at) - start
                break
            near = tree.query_ball_point(at[start : start + _AT_ONCE], 1.0, p=np.inf)
            one = start + np.repeat(np.arange(len(near)), [len(rows) for rows in near])
            other = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in near])
            amplitude = ranked.amplitude[one] * some.amplitude[other]
            one, other, amplitude = (part[amplitude > least] for part in (one, other, amplitude))
            room -= one.size
            orders = np.concatenate([ranked.orders[one], some.orders[other]], axis=1)
            found.append((orders, amplitude, ranked.moment[one] + some.moment[other]))
    return _Ways(*(np.concatenate(column) for column in zip(*found, strict=True))), lost


def _before(orders: Orders) -> Orders:
    return np.concatenate([np.zeros((len(orders), 1), dtype=np.int64), orders[:, :-1]], axis=1)


def _cycle(change: Orders, phases: Real) -> Complex:
    distinct, counts = np.unique(np.round(phases, 9), axis=0, return_counts=True)
    total: Complex = np.zeros(len(change), dtype=complex)
    for row, count in zip(distinct, counts, strict=True):
        total += count * np.exp(-1j * (change @ row[:-1] + row[-1]))
    return np.asarray(total / len(phases), dtype=np.complex128)


def _bounds(layout: Layout, index: int, shifts_hz: Real) -> Real:
    """Return bounds of |amplitude| from each order to each other, indexed by order + 3; shape (7, 7)."""
    rf, bins = layout.pulses[index], layout.profile_bins[index]
    if not layout.axes_of[index]:
        single = order_matrix(whole(rf, shifts_hz, np.zeros(1), bins))
    else:
        slab = next(slab for slab in layout.slabs if index in slab.pulses)
        at = slab.low_m + (np.arange(_COARSE) + 0.5) * slab.extent_m / _COARSE
        single = order_profile(rf, at[:, None] * slab.direction, bins)
    orders = range(-LARGEST_ORDER, LARGEST_ORDER + 1)
    magnitude = np.abs(single)
    return np.array([[_largest_share(magnitude, new, old).max() for old in orders] for new in orders])


@lru_cache(maxsize=1)
def _products() -> dict[tuple[int, int], list[tuple[int, ...]]]:
    """Return, for each change of order of three spins, the ways in which single spins make it.

    A way is a sorted tuple of 3 (new + 1) + (old + 1) for each spin that is not idle; a key is (new, old).
    """
    found: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    steps = [(new, old) for new in (-1, 0, 1) for old in (-1, 0, 1)]
    for spins in range(1, LARGEST_ORDER + 1):
        for way in combinations_with_replacement(steps, spins):
            key = (sum(new for new, _ in way), sum(old for _, old in way))
            found.setdefault(key, set()).add(tuple(3 * (new + 1) + old + 1 for new, old in way))
    return {key: sorted(ways) for key, ways in found.items()}


def _largest_share(magnitude: Real, new: int, old: int) -> Real:
    """Return a bound of what three spins keep on a change of order, from magnitudes (n, 3, 3); shape (n,).

    It is the largest product of what single spins do that changes the order in that way.
    """
    flat = magnitude.reshape(-1, 9)
    if max(abs(new), abs(old)) <= 1:
        single = flat[:, 3 * (new + 1) + old + 1]
        return np.asarray(single)
    return np.asarray(np.max([flat[:, way].prod(axis=1) for way in _products()[new, old]], axis=0))


def of_object(cycles: Any) -> Any:
    """Return what so many cycles across the object leave: a raised cosine that is half as high at its width."""
    across = 2 * np.asarray(cycles, dtype=float)
    edge = np.abs(np.abs(across) - 1) < 1e-6
    return np.where(edge, 0.5, np.sinc(across) / (1 - np.where(edge, 0.0, across) ** 2))


def moments(orders: Orders, shot: Shot) -> Real:
    """Return the moment of each pathway in cycles/m, pulses counted as turning in their middle: (n, 3)."""
    halves = np.array([p.rf.gradient_hz_per_m.mean(axis=0) * p.rf.duration_s / 2 for p in shot.pulses])
    gaps = np.array([pulse.moment_per_m for pulse in shot.pulses])
    return np.asarray(orders @ (gaps + halves) + _before(orders) @ halves)


class _Weigher:
    """Integrals of order profiles over groups of axes, on a fine grid made once."""

    def __init__(self, layout: Layout, shifts_hz: Real) -> None:
        self._layout, self._shifts_hz = layout, shifts_hz
        self._profiles: dict[tuple[int, int], Complex] = {}
        self._products: dict[tuple[object, ...], Complex] = {}
        self._points = {
            (group, at): self._grid([layout.axes[axis] for axis in group], group, shift)
            for group in layout.groups
            for at, shift in enumerate(shifts_hz)
        }

    def _grid(self, axes: list[Axis], group: tuple[int, ...], shift_hz: float) -> tuple[Real, float]:
        """Return points, (n, 3), and the share of the nominal voxel that each stands for."""
        fine = _FINE if len(axes) == 1 else _FINE_TOGETHER[len(axes)]
        positions, weight = [], 1.0
        for axis in axes:
            moves = [move * shift_hz for move in axis.displacement_m_per_hz]
            low, high = axis.low_m + min(moves), axis.high_m + max(moves)
            positions.append(low + (np.arange(fine) + 0.5) * (high - low) / fine)
            weight *= (high - low) / fine / axis.nominal_m
        return self._layout.points(group, positions), weight

    def along(
        self, orders: Orders, before: Orders, moment_per_m: Real, effective_per_m: Real, tables: list[Real]
    ) -> float:
        """Return the product of the integrals over all groups, relative to the bounds in `tables`.

        What pulses let pass untouched is not confined to their slices. It is that of an object as large as the
        nominal voxel where no gradient dephases it (by `effective_per_m`), and nothing where one does.
        """
        changes = [
            (index, int(order), int(start)) for index, (order, start) in enumerate(zip(orders, before, strict=True))
        ]
        bound = np.prod([tables[i][new + LARGEST_ORDER, old + LARGEST_ORDER] for i, new, old in changes])
        strongest = 0.0
        for at in range(len(self._shifts_hz)):
            total = float(np.prod([self._unselective(at, *change) for change in changes]))
            for group in self._layout.groups:
                if total < _NEGLIGIBLE:
                    break
                members = set(self._layout.members(group))
                steps = tuple(change for change in changes if change[0] in members)
                total *= self._integral(group, at, steps, moment_per_m, effective_per_m)
            strongest = max(strongest, total)
        return strongest / float(bound)

    def _unselective(self, at: int, index: int, order: int, start: int) -> float:
        """Return what a pulse that selects along no axis keeps; 1 for any other."""
        if self._layout.axes_of[index]:
            return 1.0
        key = ("everywhere", at, index)
        if key not in self._products:
            bins, shift = self._layout.profile_bins[index], self._shifts_hz[at : at + 1]
            self._products[key] = order_matrix(whole(self._layout.pulses[index], shift, np.zeros(1), bins))
        return float(_largest_share(np.abs(self._products[key]), order, start)[0])

    def _integral(
        self,
        group: tuple[int, ...],
        at: int,
        steps: tuple[tuple[int, int, int], ...],
        moment_per_m: Real,
        effective_per_m: Real,
    ) -> float:
        points, weight = self._points[group, at]
        key = (group, at, steps)
        if key not in self._products:
            factors = [self._factor(at, points, *step) for step in steps]
            self._products[key] = np.prod(factors, axis=0)
        total = weight * complex(np.exp(-2j * np.pi * (points @ moment_per_m)) @ self._products[key])
        if all(order == start for _, order, start in steps):
            turned = sum(
                order * self._layout.pulses[index].duration_s * self._shifts_hz[at]
                for index, order, _ in steps
            )
            share = weight * np.exp(-2j * np.pi * (points @ effective_per_m)).sum()
            passing = remaining(self._layout, group, effective_per_m) - share
            total += complex(passing * np.exp(-2j * np.pi * turned))
        return abs(total)

    def _factor(self, at: int, points: Real, index: int, order: int, start: int) -> Complex:
        if (index, at) not in self._profiles:
            bins = self._layout.profile_bins[index]
            self._profiles[index, at] = order_profile(
                self._layout.pulses[index], points, bins, float(self._shifts_hz[at])
            )
        profile = self._profiles[index, at]
        if max(abs(order), abs(start)) <= 1:
            return np.asarray(profile[:, 1 + order, 1 + start])
        return _largest_share(np.abs(profile), order, start).astype(complex)


def remaining(layout: Layout, group: tuple[int, ...], effective_per_m: Real) -> float:
    """Return what is left along a group's axes of what its pulses let pass, relative to the nominal voxel."""
    cycles = [effective_per_m @ layout.axes[axis].direction * layout.axes[axis].nominal_m for axis in group]
    return float(np.prod([of_object(k) if abs(k) <= DEPHASED_CYCLES else 0.0 for k in cycles]))
