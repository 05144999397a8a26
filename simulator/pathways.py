"""Which coherence pathways a shot lets through, from its gradient moments and phases alone.

A pathway is the coherence order after each pulse, from 0 (equilibrium) to -1 (what the receiver sees). Its
weight for a single spin is exact: over everything that its pulses excite, the integral of the pulses' order profiles
times the phase ramp of its gradient moments; across all other directions the dephasing over the nominal extent; and
the mean over the phase cycle. Orders beyond one exist in coupled spins only; their profile is bounded by the product
of single-spin ones.

A pulse cannot dephase or rephase by more than the area of its own gradient: as a function of position it is a
trigonometric polynomial. A pathway whose moment exceeds the sum of those areas, over the pulses that change its
order, along any direction is therefore gone, and only the others are looked at. They are found by joining what can
lead up to a pulse in the middle with what can follow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations_with_replacement, product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pulsespec.errors import SequenceError
from pulsespec.simulator.geometry import Axis, Layout
from pulsespec.simulator.rotations import order_matrix, whole
from pulsespec.simulator.timeline import Pulse, Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Orders = NDArray[np.int64]

LARGEST_ORDER = 3
"""Highest coherence order that is followed; beyond it a pathway needs four spins to turn at once."""
DEPHASED_CYCLES = 0.5
"""Dephasing across what a pulse touches, beyond which what it lets pass cancels outside of it."""
_HIGH_ORDERS = 20_000
"""Orders beyond one are followed through the last pulses of a shot, as many as have not more pathways than this."""
_MOST_HALVES = 8_000
_MOST_JOINED = 60_000
_MOST_WEIGHED = 2_000
_AT_ONCE = 500
_PAIRS_AT_ONCE = 10_000
_SLACK_CYCLES = 15.0
"""Dephasing across the nominal extent of a direction that no pulse selects, at which nothing is left."""
_FINE = 1024
_FINE_TOGETHER = {2: 96, 3: 40}
_COARSE = 32
_WITHIN = 16
_NEGLIGIBLE = 1e-9
_NO_SIGNAL = 1e-6
_WEIGHED_AT = (0.05, 0.4, 0.75)
"""Where in the range of shifts pathways are weighed: from 1 to 4.3 ppm, not where suppression acts."""


@dataclass(frozen=True)
class Pathway:
    """One way through the pulses."""

    orders: tuple[int, ...]
    """Coherence order after each pulse."""
    weight: float
    """Amplitude for one fully excited single spin; an upper bound for coupled ones where an order is beyond one."""
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
    least = 0.1 * tolerance
    shifts = np.quantile(shifts_hz, _WEIGHED_AT)
    if shot.orders is not None:
        return _stated(shot, layout, shifts, tolerance)
    found, unjudged = _reaching(
        shot, layout, [_table(layout, i, shifts) for i in range(len(shot.pulses))], least
    )
    amplitude = 2.0 * found.bound(layout)
    for direction, extent_m in layout.unselected:
        amplitude = amplitude * np.abs(of_object(found.moment @ direction * extent_m))
    found, amplitude = found[amplitude > least], amplitude[amplitude > least]
    orders, gaps = found.orders, found.moment
    before = _before(orders)
    cycle = _cycle(orders - before, shot.phases)
    amplitude = amplitude * np.abs(cycle)
    ranked = np.argsort(-amplitude, kind="stable")
    ranked = ranked[amplitude[ranked] > least]
    weighed = ranked[:_MOST_WEIGHED]
    left_out = float(amplitude[ranked[_MOST_WEIGHED:]].sum())
    effective = moments(orders[weighed], shot)
    weigher = _Weigher(layout, shifts)
    across = np.ones(len(weighed))
    for direction, extent_m in layout.unselected:
        across = across * np.abs(of_object(gaps[weighed] @ direction * extent_m))
    strengths = np.array(
        [
            2.0
            * abs(cycle[row])
            * part
            * np.array(weigher.along(orders[row], before[row], gaps[row], moment))
            for row, moment, part in zip(weighed, effective, across, strict=True)
        ]
    ).reshape(-1, 2)
    alone, bound = strengths.T
    strongest = alone.max(initial=0.0)
    if strongest < _NO_SIGNAL:
        raise SequenceError(
            "the sequence leaves no signal at its ADC: gradients or phases cancel every coherence pathway"
        )
    kept = bound >= tolerance * strongest
    paths = tuple(
        Pathway(
            tuple(int(p) for p in orders[weighed[at]]),
            float((alone if alone[at] else bound)[at] / max(abs(cycle[weighed[at]]), 1e-300)),
            complex(cycle[weighed[at]]),
        )
        for at in sorted(np.flatnonzero(kept), key=lambda at: (-alone[at], -bound[at]))
    )
    return Selection(paths, float((left_out + bound[~kept].sum()) / strongest), unjudged)


def _stated(shot: Shot, layout: Layout, shifts: Real, tolerance: float) -> Selection:
    """Return the pathways that a shot states; only where it leaves an order open are they weighed against another."""
    orders = _orders_stated(shot)
    before, cycle = _before(orders), _cycle(orders - _before(orders), shot.phases)
    weigher, gaps = _Weigher(layout, shifts), orders @ np.array([p.moment_per_m for p in shot.pulses])
    alone, bound = (
        2.0
        * np.array(
            [weigher.along(*row) for row in zip(orders, before, gaps, moments(orders, shot), strict=True)]
        ).T
    )
    strength = np.where(alone > 0, alone, bound)
    strongest = alone.max() if alone.max() > 0 else bound.max()
    if strongest < _NO_SIGNAL and np.abs(orders).max() <= 1:
        raise SequenceError("the sequence leaves no signal on the coherence pathway that it states")
    kept = (bound >= tolerance * strongest) | (len(orders) == 1)
    paths = tuple(
        Pathway(tuple(int(p) for p in orders[at]), float(strength[at]), complex(cycle[at]))
        for at in sorted(np.flatnonzero(kept), key=lambda at: (-alone[at], -bound[at]))
    )
    return Selection(paths, float(bound[~kept].sum() / max(strongest, _NO_SIGNAL)))


def _orders_stated(shot: Shot) -> Orders:
    """Return all pathways that agree with what a shot states; `SequenceError` where they are too many."""
    assert shot.orders is not None
    last = len(shot.orders) - 1
    free = [range(-1, 2) if index == 0 else range(-LARGEST_ORDER, LARGEST_ORDER + 1) for index in range(last)]
    free.append(range(-1, 0))
    choices = [any_ if order is None else (order,) for order, any_ in zip(shot.orders, free, strict=True)]
    count = prod(len(choice) for choice in choices)
    if count > _MOST_WEIGHED:
        raise SequenceError(
            f"the coherence orders {shot.orders} leave {count} pathways open, "
            f"more than {_MOST_WEIGHED}: state more of them"
        )
    return np.array(list(product(*choices)), dtype=np.int64)


@dataclass(frozen=True)
class _Table:
    """What one pulse makes of each order: of a single spin, and of coupled ones; indexed by new and old order + 3."""

    everywhere: Real | None
    """Of a pulse that selects along no axis: magnitude for each shift; shape (2, 7, 7, n_shifts)."""
    along: Real | None
    """Of any other: largest magnitude in each cell of its slab; shape (2, 7, 7, n_cells)."""
    slab: int
    late: bool
    """Whether coherence is followed into couplings."""


@dataclass(frozen=True)
class _Ways:
    """Ways through a stretch of pulses."""

    orders: Orders
    """After each pulse of the stretch; shape (n, n_pulses)."""
    moment: Real
    """Sum of order times moment between pulses in cycles/m; shape (n, 3)."""
    centred: Real
    """The same with pulses counted as turning in their middle; shape (n, 3)."""
    reach: Real
    """How far pulses that change the order may add to that, along x, y and z; shape (n, 3)."""
    kept: Real
    """Magnitude that pulses without an axis keep at each shift; shape (n, n_shifts)."""
    profile: NDArray[np.float32]
    """Magnitude along each slab; shape (n, n_slabs, n_cells)."""

    def __getitem__(self, rows: Any) -> "_Ways":
        return _Ways(*(column[rows] for column in self.columns))

    @property
    def columns(self) -> tuple[Any, ...]:
        """All arrays, one row a way."""
        return (self.orders, self.moment, self.centred, self.reach, self.kept, self.profile)

    def bound(self, layout: Layout) -> Real:
        """Return a bound of what a single spin keeps, relative to the nominal voxel; shape (n,)."""
        bound = self.kept.max(axis=1)
        separate = all(len(axes) <= 1 for axes in layout.axes_of)
        for number, slab in enumerate(layout.slabs):
            profile = self.profile[:, number]
            highest = profile.max(axis=1)
            within = profile.mean(axis=1) * (slab.extent_m / slab.nominal_m) if separate else highest
            bound = bound * np.minimum(highest, within)
        return np.asarray(bound)

    @staticmethod
    def all_of(parts: list["_Ways"]) -> "_Ways":
        """Return several sets of ways as one."""
        columns = zip(*[ways.columns for ways in parts], strict=True)
        return _Ways(*(np.concatenate(column) for column in columns))


def _start(layout: Layout, orders: Orders) -> _Ways:
    none, profile = np.zeros((1, 3)), np.ones((1, len(layout.slabs), _COARSE), np.float32)
    return _Ways(orders, none, none, none, np.ones((1, len(_WEIGHED_AT))), profile)


def _reaching(shot: Shot, layout: Layout, tables: list[_Table], least: float) -> tuple[_Ways, int]:
    """Return the pathways that may reach the ADC, and how many were too many to be looked at."""
    largest = _largest_orders(layout)
    middle = next((index for index, order in enumerate(largest) if order > 1), len(largest) - 1)
    first, lost = _Grower(layout, least).grown(
        _start(layout, np.zeros((1, 0), np.int64)), tables[:middle], largest[:middle], shot.pulses[:middle]
    )
    ends = first.orders[:, -1] if middle else np.zeros(1, np.int64)
    begun = (first.orders != 0).any(axis=1)
    found = []
    for order, is_begun in sorted(set(zip(ends.tolist(), begun.tolist(), strict=True))):
        start = _start(layout, np.array([[order if is_begun else 0]]))
        second, missed = _Grower(layout, least, is_begun).grown(
            start, tables[middle:], largest[middle:], shot.pulses[middle:]
        )
        second = second[second.orders[:, -1] == -1]
        mine = first[(ends == order) & (begun == is_begun)]
        joined, cut = _joined(layout, mine, second, least)
        found += joined
        lost += missed + cut
    if not found:
        return _start(layout, np.zeros((1, len(tables)), np.int64))[:0], lost
    return _Ways.all_of(found), lost


def _largest_orders(layout: Layout) -> list[int]:
    """Return the highest order that is followed after each pulse: beyond one only from the first selective pulse on."""
    count = len(layout.axes_of)
    first = next((index for index, axes in enumerate(layout.axes_of) if axes), 0)
    largest, pathways = [1] * count, 1
    for index in range(count - 2, max(first, 1) - 1, -1):
        pathways *= 2 * LARGEST_ORDER + 1
        if pathways > _HIGH_ORDERS:
            break
        largest[index] = LARGEST_ORDER
    return largest


@dataclass(frozen=True)
class _Grower:
    """Continues ways through more pulses."""

    layout: Layout
    least: float
    begun: bool = False
    """Whether the ways have been transverse before."""

    def grown(
        self, ways: _Ways, tables: list[_Table], largest: list[int], pulses: Sequence[Pulse]
    ) -> tuple[_Ways, int]:
        """Return all continuations, and how many were too many.

        Equilibrium turns into orders up to one; only what has been transverse before goes beyond. Where the ways
        have orders, the last is that before the first of the pulses, and does not count as one of theirs.
        """
        lost, given = 0, ways.orders.shape[1]
        for number, (table, highest, pulse) in enumerate(zip(tables, largest, pulses, strict=True)):
            last = number == len(tables) - 1 and given > 0
            orders = (-1,) if last else range(-highest, highest + 1)
            ways = _Ways.all_of([self._turned(ways, table, new, pulse) for new in orders])
            if len(ways.moment) > _MOST_HALVES:
                ranked = np.argsort(-ways.bound(self.layout), kind="stable")
                lost += ranked.size - _MOST_HALVES
                ways = ways[ranked[:_MOST_HALVES]]
        return replace(ways, orders=ways.orders[:, given:]), lost

    def _turned(self, ways: _Ways, table: _Table, new: int, pulse: Pulse) -> _Ways:
        """Return the ways that a pulse turns to one order and that are still strong enough."""
        count = len(ways.moment)
        old = ways.orders[:, -1] if ways.orders.shape[1] else np.zeros(count, np.int64)
        turned = (ways.orders != 0).any(axis=1) | self.begun
        able = turned | (abs(new) <= 1)
        ways, old, coupled = ways[able], old[able], turned[able].astype(np.int64)
        kept, profile = ways.kept, ways.profile
        if table.everywhere is not None:
            kept = kept * table.everywhere[coupled, new + LARGEST_ORDER, old + LARGEST_ORDER]
        elif table.along is not None:
            profile = profile.copy()
            profile[:, table.slab] *= table.along[coupled, new + LARGEST_ORDER, old + LARGEST_ORDER]
        orders = np.concatenate([ways.orders, np.full((len(old), 1), new)], axis=1)
        own = pulse.rf.gradient_hz_per_m.mean(axis=0) * pulse.rf.duration_s
        added = new * pulse.moment_per_m
        # Coupled spins may change places in an order that stays.
        active = (old != new) | (coupled.astype(bool) & table.late)
        change = active[:, None] * np.maximum(np.maximum(np.abs(old), abs(new)), 1)[:, None]
        grown = _Ways(
            orders,
            ways.moment + added,
            ways.centred + added + 0.5 * (new + old[:, None]) * own,
            ways.reach + change * np.abs(own),
            kept,
            profile,
        )
        return grown[grown.bound(self.layout) > self.least]


def _joined(layout: Layout, first: _Ways, second: _Ways, least: float) -> tuple[list[_Ways], int]:
    """Return the pairs whose moments cancel within reach, and how many were too many."""
    directions = np.array([axis.direction for axis in layout.axes] + [d for d, _ in layout.unselected])
    slack = np.array(
        [1 / axis.nominal_m for axis in layout.axes]
        + [_SLACK_CYCLES / extent_m for _, extent_m in layout.unselected]
    )
    found: list[_Ways] = []
    lost, room = 0, _MOST_JOINED
    if not len(first.moment) or not len(second.moment):
        return found, lost
    first = first[np.argsort(-first.bound(layout), kind="stable")]
    one_reach, other_reach = (ways.reach @ np.abs(directions).T for ways in (first, second))
    scale = 1 / (one_reach.max(axis=0) + other_reach.max(axis=0) + slack)
    tree = cKDTree(second.centred @ directions.T * scale)
    at = -(first.centred @ directions.T)
    for start in range(0, len(at), _AT_ONCE):
        near = tree.query_ball_point(at[start : start + _AT_ONCE] * scale, 1.0, p=np.inf)
        one = start + np.repeat(np.arange(len(near)), [len(rows) for rows in near])
        other = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in near])
        apart = np.abs(at[one] - second.centred[other] @ directions.T)
        close = (apart <= one_reach[one] + other_reach[other] + slack).all(axis=1)
        close &= (first.kept[one] * second.kept[other]).max(axis=1) > least
        one, other = one[close][:room], other[close][:room]
        lost, room = lost + int(close.sum()) - one.size, room - one.size
        pairs = _Ways(
            np.concatenate([first.orders[one], second.orders[other]], axis=1),
            *(
                getattr(first, key)[one] + getattr(second, key)[other]
                for key in ("moment", "centred", "reach")
            ),
            *(getattr(first, key)[one] * getattr(second, key)[other] for key in ("kept", "profile")),
        )
        found.append(pairs[pairs.bound(layout) > least])
    return found, lost


def _before(orders: Orders) -> Orders:
    return np.concatenate([np.zeros((len(orders), 1), dtype=np.int64), orders[:, :-1]], axis=1)


def _cycle(change: Orders, phases: Real) -> Complex:
    distinct, counts = np.unique(np.round(phases, 9), axis=0, return_counts=True)
    total: Complex = np.zeros(len(change), dtype=complex)
    for row, count in zip(distinct, counts, strict=True):
        total += count * np.exp(-1j * (change @ row[:-1] + row[-1]))
    return np.asarray(total / len(phases), dtype=np.complex128)


def _table(layout: Layout, index: int, shifts_hz: Real) -> _Table:
    rf, bins = layout.pulses[index], layout.profile_bins[index]
    every = range(-LARGEST_ORDER, LARGEST_ORDER + 1)
    late = _is_late(layout, index)
    if not layout.axes_of[index]:
        magnitude = np.abs(order_matrix(whole(rf, shifts_hz, np.zeros(1), bins)))
        alone = np.array([[_alone(magnitude, new, old) for old in every] for new in every])
        # Coupled spins have different shifts.
        several = magnitude.max(axis=0, keepdims=True) if late else 0 * magnitude[:1]
        together = np.array([[_together(several, new, old) for old in every] for new in every])
        return _Table(np.stack([alone, np.maximum(alone, together)]), None, -1, late)
    number = next(k for k, slab in enumerate(layout.slabs) if index in slab.pulses)
    slab = layout.slabs[number]
    at = slab.low_m + (np.arange(_COARSE * _WITHIN) + 0.5) * slab.extent_m / (_COARSE * _WITHIN)
    cells = np.zeros((2, len(every), len(every), _COARSE))
    for shift in (shifts_hz[0], shifts_hz[-1]):
        magnitude = np.abs(layout.profiles.of(rf, at[:, None] * slab.direction, bins, float(shift)))
        alone, together = (
            np.array([[share(magnitude, new, old) for old in every] for new in every])
            for share in (_alone, _together)
        )
        both = np.stack([alone, np.maximum(alone, together if late else alone)])
        cells = np.maximum(cells, both.reshape(*cells.shape, _WITHIN).max(axis=-1))
    return _Table(None, cells.astype(np.float32), number, late)


def _is_late(layout: Layout, index: int) -> bool:
    """Return whether coherence is followed into couplings from a pulse on: where orders beyond one are."""
    return any(order > 1 for order in _largest_orders(layout)[: index + 1])


@lru_cache(maxsize=1)
def _products() -> dict[tuple[int, int], list[tuple[int, ...]]]:
    """Return, for each change of order of two or three spins, the ways in which they make it, none idle in all.

    A way is a sorted tuple of 3 (new + 1) + (old + 1) for each spin; a key is (new, old).
    """
    found: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    steps = [(new, old) for new in (-1, 0, 1) for old in (-1, 0, 1)]
    for spins in range(2, LARGEST_ORDER + 1):
        for way in combinations_with_replacement(steps, spins):
            if any(new != old for new, old in way) or abs(sum(old for _, old in way)) > 1:
                key = (sum(new for new, _ in way), sum(old for _, old in way))
                found.setdefault(key, set()).add(tuple(3 * (new + 1) + old + 1 for new, old in way))
    return {key: sorted(ways) for key, ways in found.items()}


def _alone(magnitude: Real, new: int, old: int) -> Real:
    """Return what a single spin keeps on a change of order, from magnitudes (n, 3, 3); shape (n,)."""
    if max(abs(new), abs(old)) > 1:
        return np.zeros(len(magnitude))
    return np.asarray(magnitude[:, new + 1, old + 1])


def _together(magnitude: Real, new: int, old: int) -> Real:
    """Return a bound of what coupled spins keep on a change of order, from magnitudes (n, 3, 3); shape (n,).

    It is the largest product of what single spins do that changes the order of two or three of them in that way.
    """
    flat = magnitude.reshape(-1, 9)
    ways = _products().get((new, old), [])
    return np.asarray(np.max([flat[:, way].prod(axis=1) for way in ways], axis=0))


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
        self._products: dict[tuple[object, ...], tuple[Complex, Real]] = {}
        self._tables: dict[int, _Table] = {}
        self._points = {
            (group, at): self._grid([layout.axes[axis] for axis in group], group, shift)
            for group in layout.groups
            for at, shift in enumerate(shifts_hz)
        }

    def _grid(self, axes: list[Axis], group: tuple[int, ...], shift_hz: float) -> tuple[Real, float]:
        """Return points, (n, 3), and the share of the nominal voxel that each stands for."""
        positions, weight = [], 1.0
        for axis in axes:
            fine = _FINE_TOGETHER.get(len(axes), max(_FINE, int(axis.extent_m / axis.step_m)))
            moves = [move * shift_hz for move in axis.displacement_m_per_hz]
            low, high = axis.low_m + min(moves), axis.high_m + max(moves)
            positions.append(low + (np.arange(fine) + 0.5) * (high - low) / fine)
            weight *= (high - low) / fine / axis.nominal_m
        return self._layout.points(group, positions), weight

    def along(
        self, orders: Orders, before: Orders, moment_per_m: Real, effective_per_m: Real
    ) -> tuple[float, float]:
        """Return what the pulses keep of a single spin, and a bound of it in coupled spins, at the best of the shifts.

        It is the product of the integrals over all groups. What pulses let pass untouched is not confined to their
        slices: it is that of an object as large as the nominal voxel where no gradient dephases it (by
        `effective_per_m`), and nothing where one does.
        """
        begun = int(np.flatnonzero(before)[0]) if before.any() else len(before)
        changes = [
            (index, int(order), int(start), index >= begun)
            for index, (order, start) in enumerate(zip(orders, before, strict=True))
        ]
        best = np.zeros(2)
        for at in range(len(self._shifts_hz)):
            kept = np.prod([self._unselective(at, *change) for change in changes], axis=0)
            for group in self._layout.groups:
                if kept[1] < _NEGLIGIBLE:
                    break
                members = set(self._layout.members(group))
                steps = tuple(change for change in changes if change[0] in members)
                alone, together = self._integral(group, at, steps, moment_per_m, effective_per_m)
                kept = kept * np.array([alone, alone + together])
            best = np.maximum(best, kept)
        return float(best[0]), float(best[1])

    def _unselective(self, at: int, index: int, order: int, start: int, coupled: bool) -> tuple[float, float]:
        """Return what a pulse that selects along no axis keeps of single and of coupled spins; 1 for any other."""
        if self._layout.axes_of[index]:
            return 1.0, 1.0
        if index not in self._tables:
            self._tables[index] = _table(self._layout, index, self._shifts_hz)
        table = self._tables[index].everywhere
        assert table is not None
        alone, together = table[:, order + LARGEST_ORDER, start + LARGEST_ORDER, at]
        return float(alone), float(together if coupled else alone)

    def _integral(
        self,
        group: tuple[int, ...],
        at: int,
        steps: tuple[tuple[int, int, int, bool], ...],
        moment_per_m: Real,
        effective_per_m: Real,
    ) -> tuple[float, float]:
        """Return what is left of single spins, and a bound of what couplings add to it."""
        points, weight = self._points[group, at]
        key = (group, at, steps)
        if key not in self._products:
            pairs = [self._factor(at, points, *step) for step in steps]
            alone = np.prod([one for one, _ in pairs], axis=0)
            most = np.prod([np.maximum(np.abs(one), other) for one, other in pairs], axis=0)
            self._products[key] = alone, most - np.abs(alone)
        alone, added = self._products[key]
        ramp = weight * np.exp(-2j * np.pi * (points @ moment_per_m))
        total = complex(ramp @ alone)
        if all(order == start for _, order, start, _ in steps):
            turned = sum(
                order * self._layout.pulses[index].duration_s * self._shifts_hz[at]
                for index, order, _, _ in steps
            )
            share = weight * np.exp(-2j * np.pi * (points @ effective_per_m)).sum()
            passing = remaining(self._layout, group, effective_per_m) - share
            total += complex(passing * np.exp(-2j * np.pi * turned))
        return abs(total), float(abs(ramp @ added))

    def _factor(
        self, at: int, points: Real, index: int, order: int, start: int, coupled: bool
    ) -> tuple[Complex, Real]:
        if (index, at) not in self._profiles:
            bins = self._layout.profile_bins[index]
            self._profiles[index, at] = self._layout.profiles.of(
                self._layout.pulses[index], points, bins, float(self._shifts_hz[at])
            )
        profile = self._profiles[index, at]
        alone = np.zeros(len(profile), dtype=complex)
        if max(abs(order), abs(start)) <= 1:
            alone = profile[:, 1 + order, 1 + start]
        if not coupled or not _is_late(self._layout, index):
            return alone, np.zeros(len(profile))
        return alone, _together(np.abs(profile), order, start)


def remaining(layout: Layout, group: tuple[int, ...], effective_per_m: Real) -> float:
    """Return what is left along a group's axes of what its pulses let pass, relative to the nominal voxel."""
    cycles = [effective_per_m @ layout.axes[axis].direction * layout.axes[axis].nominal_m for axis in group]
    return float(np.prod([of_object(k) if abs(k) <= DEPHASED_CYCLES else 0.0 for k in cycles]))
