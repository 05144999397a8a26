"""Which coherence pathways a shot lets through, from its gradient moments and phases alone.

A pathway is the coherence order after each pulse, from 0 (equilibrium) to -1 (what the receiver sees). Its
weight for a single spin is exact: over everything that its pulses excite, the integral of the pulses' order profiles
times the phase ramp of its gradient moments; across all other directions the dephasing over the nominal extent; and
the mean over the phase cycle. Orders beyond one exist in coupled spins only; their profile is bounded by the product
of single-spin ones.
"""

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.order_tables import Table, order_tables
from pulsespec.simulator.orders import LARGEST_ORDER, Orders, before, moments, of_object, over_cycle
from pulsespec.simulator.timeline import Shot
from pulsespec.simulator.ways import reaching
from pulsespec.simulator.weights import Weigher

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_MOST_WEIGHED = 2_000
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

    Where a shot states its pathway, only the orders that it leaves open are weighed.

    Raises
    ------
    SequenceError
        No signal is left at the ADC.

    """
    shifts = np.unique(np.quantile(shifts_hz, _WEIGHED_AT))
    tables = order_tables(layout, shifts)
    found = (
        _candidates(shot, layout, tables, shifts.size, 0.1 * tolerance)
        if shot.orders is None
        else _Candidates(_orders_stated(shot.orders), np.ones(1))
    )
    cycle = over_cycle(found.orders, shot.phases)
    alone, bound = _strengths(shot, found, Weigher(layout, tables, shifts)) * np.abs(cycle)
    either = np.where(alone > 0, alone, bound)
    strongest = _strongest(shot, found, alone, bound)
    kept = (bound >= tolerance * strongest) | (shot.orders is not None and len(found.orders) == 1)
    paths = tuple(
        Pathway(
            tuple(int(p) for p in found.orders[at]),
            float(either[at] / max(abs(cycle[at]), 1e-300)),
            complex(cycle[at]),
        )
        for at in sorted(np.flatnonzero(kept), key=lambda at: (-alone[at], -bound[at]))
    )
    return Selection(paths, float((found.left_out + bound[~kept].sum()) / strongest), found.unjudged)


@dataclass(frozen=True)
class _Candidates:
    """Pathways to be weighed."""

    orders: Orders
    across: Real
    """What is left of each across the directions that no pulse selects, or one number for all."""
    left_out: float = 0.0
    """Sum of the bounds of those that are too weak to be weighed."""
    unjudged: int = 0


def _candidates(shot: Shot, layout: Layout, tables: list[Table], shifts: int, least: float) -> _Candidates:
    """Return the strongest of the pathways that gradients, profiles and phases may let through."""
    found, unjudged = reaching(shot, layout, tables, shifts, least)
    across = np.ones(len(found.moment))
    for direction, extent_m in layout.unselected:
        across = across * np.abs(of_object(found.moment @ direction * extent_m))
    amplitude = 2.0 * found.bound(layout) * across * np.abs(over_cycle(found.orders, shot.phases))
    ranked = np.argsort(-amplitude, kind="stable")
    ranked = ranked[amplitude[ranked] > least]
    weighed, rest = ranked[:_MOST_WEIGHED], ranked[_MOST_WEIGHED:]
    return _Candidates(found.orders[weighed], across[weighed], float(amplitude[rest].sum()), unjudged)


def _strengths(shot: Shot, found: _Candidates, weigher: Weigher) -> Real:
    """Return the amplitude of a single spin on each pathway, and the bound of coupled ones; shape (2, n)."""
    gaps = found.orders @ np.array([pulse.moment_per_m for pulse in shot.pulses])
    rows = zip(found.orders, before(found.orders), gaps, moments(found.orders, shot), strict=True)
    weights = np.array([weigher.along(*row) for row in rows]).reshape(-1, 2)
    return np.asarray(2.0 * found.across * weights.T)


def _strongest(shot: Shot, found: _Candidates, alone: Real, bound: Real) -> float:
    """Return the amplitude that others are compared with; `SequenceError` where no signal is left."""
    strongest = float(alone.max(initial=0.0))
    if shot.orders is not None:
        strongest = strongest if strongest > 0 else float(bound.max())
        if strongest < _NO_SIGNAL and np.abs(found.orders).max() <= 1:
            raise SequenceError("the sequence leaves no signal on the coherence pathway that it states")
        return max(strongest, _NO_SIGNAL)
    if strongest < _NO_SIGNAL:
        raise SequenceError(
            "the sequence leaves no signal at its ADC: gradients or phases cancel every coherence pathway"
        )
    return strongest


def _orders_stated(stated: tuple[int | None, ...]) -> Orders:
    """Return all pathways that agree with what a shot states; `SequenceError` where they are too many."""
    last = len(stated) - 1
    free = [range(-1, 2) if index == 0 else range(-LARGEST_ORDER, LARGEST_ORDER + 1) for index in range(last)]
    free.append(range(-1, 0))
    choices = [any_ if order is None else (order,) for order, any_ in zip(stated, free, strict=True)]
    count = prod(len(choice) for choice in choices)
    if count > _MOST_WEIGHED:
        raise SequenceError(
            f"the coherence orders {stated} leave {count} pathways open, "
            f"more than {_MOST_WEIGHED}: state more of them"
        )
    return np.array(list(product(*choices)), dtype=np.int64)
