"""Ways through the pulses of a shot that may end at the ADC: grown from both ends and joined in the middle.

A pulse cannot dephase or rephase by more than the area of its own gradient: as a function of position it is a
trigonometric polynomial. A pathway whose moment exceeds the sum of those areas, over the pulses that change its
order, along any direction is therefore gone. What can lead up to a pulse in the middle is joined with what can
follow it where their moments cancel within that reach.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.order_tables import COARSE, Table
from pulsespec.simulator.orders import LARGEST_ORDER, Orders
from pulsespec.simulator.timeline import Pulse, Shot

Real = NDArray[np.float64]
Rows = NDArray[np.int64]

_MOST_HALVES = 8_000
_MOST_JOINED = 60_000
_AT_ONCE = 500
_PAIRS_AT_ONCE = 10_000
_SLACK_CYCLES = 15.0
"""Dephasing across the nominal extent of a direction that no pulse selects, at which nothing is left."""


@dataclass(frozen=True)
class Ways:
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

    def __getitem__(self, rows: Any) -> "Ways":
        return Ways(*(column[rows] for column in self.columns))

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
    def all_of(parts: list["Ways"]) -> "Ways":
        """Return several sets of ways as one."""
        columns = zip(*[ways.columns for ways in parts], strict=True)
        return Ways(*(np.concatenate(column) for column in columns))


def _start(layout: Layout, shifts: int, orders: Orders) -> Ways:
    none, profile = np.zeros((1, 3)), np.ones((1, len(layout.slabs), COARSE), np.float32)
    return Ways(orders, none, none, none, np.ones((1, shifts)), profile)


def reaching(shot: Shot, layout: Layout, tables: list[Table], shifts: int, least: float) -> tuple[Ways, int]:
    """Return the ways through all pulses that may reach the ADC, and how many were too many to be looked at.

    Parameters
    ----------
    shot, layout, tables
        The pulses, and what each makes of each order at so many `shifts`.
    shifts
        Number of shifts in the tables.
    least
        Ways whose bound falls below it are given up.

    """
    middle = next((index for index, table in enumerate(tables) if table.largest > 1), len(tables) - 1)
    first, lost = _Grower(layout, least).grown(
        _start(layout, shifts, np.zeros((1, 0), np.int64)), tables[:middle], shot.pulses[:middle]
    )
    ends = first.orders[:, -1] if middle else np.zeros(1, np.int64)
    begun = (first.orders != 0).any(axis=1)
    found = [_start(layout, shifts, np.zeros((1, len(tables)), np.int64))[:0]]
    for order, is_begun in sorted(set(zip(ends.tolist(), begun.tolist(), strict=True))):
        start = _start(layout, shifts, np.array([[order if is_begun else 0]]))
        second, missed = _Grower(layout, least, is_begun).grown(start, tables[middle:], shot.pulses[middle:])
        second = second[second.orders[:, -1] == -1]
        joined, cut = _joined(layout, first[(ends == order) & (begun == is_begun)], second, least)
        found.append(joined)
        lost += missed + cut
    return Ways.all_of(found), lost


@dataclass(frozen=True)
class _Grower:
    """Continues ways through more pulses."""

    layout: Layout
    least: float
    begun: bool = False
    """Whether the ways have been transverse before."""

    def grown(self, ways: Ways, tables: list[Table], pulses: Sequence[Pulse]) -> tuple[Ways, int]:
        """Return all continuations, and how many were too many.

        Equilibrium turns into orders up to one; only what has been transverse before goes beyond. Where the ways
        have orders, the last is that before the first of the pulses, and does not count as one of theirs.
        """
        lost, given = 0, ways.orders.shape[1]
        for number, (table, pulse) in enumerate(zip(tables, pulses, strict=True)):
            last = number == len(tables) - 1 and given > 0
            orders = (-1,) if last else range(-table.largest, table.largest + 1)
            ways = Ways.all_of([self._turned(ways, table, new, pulse) for new in orders])
            if len(ways.moment) > _MOST_HALVES:
                ranked = np.argsort(-ways.bound(self.layout), kind="stable")
                lost += ranked.size - _MOST_HALVES
                ways = ways[ranked[:_MOST_HALVES]]
        return replace(ways, orders=ways.orders[:, given:]), lost

    def _turned(self, ways: Ways, table: Table, new: int, pulse: Pulse) -> Ways:
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
        grown = Ways(
            orders,
            ways.moment + added,
            ways.centred + added + 0.5 * (new + old[:, None]) * own,
            ways.reach + change * np.abs(own),
            kept,
            profile,
        )
        return grown[grown.bound(self.layout) > self.least]


def _joined(layout: Layout, first: Ways, second: Ways, least: float) -> tuple[Ways, int]:
    """Return the pairs whose moments cancel within reach, and how many were too many: those of the weakest firsts."""
    first = first[np.argsort(-first.bound(layout), kind="stable")]
    found, lost, room = [_paired(first[:0], second[:0])], 0, _MOST_JOINED
    for one, other in _cancelling(layout, first, second):
        strong = (first.kept[one] * second.kept[other]).max(axis=1) > least
        one, other = one[strong], other[strong]
        lost += max(one.size - room, 0)
        pairs = _paired(first[one[:room]], second[other[:room]])
        room -= len(pairs.moment)
        found.append(pairs[pairs.bound(layout) > least])
    return Ways.all_of(found), lost


def _cancelling(layout: Layout, first: Ways, second: Ways) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows of firsts and seconds whose moments cancel within reach, some thousands at once."""
    if not len(first.moment) or not len(second.moment):
        return
    directions = np.array([axis.direction for axis in layout.axes] + [d for d, _ in layout.unselected])
    slack = np.array(
        [1 / axis.nominal_m for axis in layout.axes]
        + [_SLACK_CYCLES / extent_m for _, extent_m in layout.unselected]
    )
    one_reach, other_reach = (ways.reach @ np.abs(directions).T for ways in (first, second))
    scale = 1 / (one_reach.max(axis=0) + other_reach.max(axis=0) + slack)
    tree = cKDTree(second.centred @ directions.T * scale)
    at = -(first.centred @ directions.T)
    for start in range(0, len(at), _AT_ONCE):
        near = tree.query_ball_point(at[start : start + _AT_ONCE] * scale, 1.0, p=np.inf)
        ones = start + np.repeat(np.arange(len(near)), [len(rows) for rows in near])
        others = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in near])
        for part in range(0, ones.size, _PAIRS_AT_ONCE):
            one, other = ones[part : part + _PAIRS_AT_ONCE], others[part : part + _PAIRS_AT_ONCE]
            apart = np.abs(at[one] - second.centred[other] @ directions.T)
            close = (apart <= one_reach[one] + other_reach[other] + slack).all(axis=1)
            yield one[close], other[close]


def _paired(first: Ways, second: Ways) -> Ways:
    """Return each first followed by its second."""
    return Ways(
        np.concatenate([first.orders, second.orders], axis=1),
        first.moment + second.moment,
        first.centred + second.centred,
        first.reach + second.reach,
        first.kept * second.kept,
        first.profile * second.profile,
    )
