"""What each pulse makes of each coherence order: of a single spin exactly, of coupled spins as a bound."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.orders import LARGEST_ORDER
from pulsespec.simulator.rotations import order_matrix, whole

Real = NDArray[np.float64]

COARSE = 32
"""Cells along each slab in which only the largest magnitude is known."""
_WITHIN = 16
_HIGH_ORDERS = 20_000
"""Orders beyond one are followed through the last pulses of a shot, as many as have not more pathways than this."""


@dataclass(frozen=True)
class Table:
    """What one pulse makes of each order: of a single spin, and of coupled ones; indexed by new and old order + 3."""

    everywhere: Real | None
    """Of a pulse that selects along no axis: magnitude for each shift; shape (2, 7, 7, n_shifts)."""
    along: Real | None
    """Of any other: largest magnitude in each cell of its slab; shape (2, 7, 7, n_cells)."""
    slab: int
    late: bool
    """Whether coherence is followed into couplings: from the first pulse after which orders beyond one are."""
    largest: int
    """Highest order that is followed after the pulse."""


def order_tables(layout: Layout, shifts_hz: Real) -> list[Table]:
    """Return the table of each pulse of a layout, at some shifts."""
    largest = _largest_orders(layout)
    first_late = next((index for index, order in enumerate(largest) if order > 1), len(largest))
    made: dict[tuple[object, ...], Table] = {}  # equal pulses have one table
    found = []
    for index, (axes, order) in enumerate(zip(layout.axes_of, largest, strict=True)):
        rf, late = layout.pulses[index], index >= first_late
        key = (rf.key, rf.offset_hz, rf.gradient_peak.tobytes(), late, order)
        if key not in made:
            made[key] = (_selective if axes else _unselective)(layout, index, shifts_hz, late, order)
        found.append(made[key])
    return found


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


_EVERY = range(-LARGEST_ORDER, LARGEST_ORDER + 1)


def _unselective(layout: Layout, index: int, shifts_hz: Real, late: bool, largest: int) -> Table:
    rf, bins = layout.pulses[index], layout.profile_bins[index]
    magnitude = np.abs(order_matrix(whole(rf, shifts_hz, np.zeros(1), bins)))
    alone = np.array([[_alone(magnitude, new, old) for old in _EVERY] for new in _EVERY])
    # Coupled spins have different shifts.
    several = magnitude.max(axis=0, keepdims=True) if late else 0 * magnitude[:1]
    coupled = np.array([[together(several, new, old) for old in _EVERY] for new in _EVERY])
    return Table(np.stack([alone, np.maximum(alone, coupled)]), None, -1, late, largest)


def _selective(layout: Layout, index: int, shifts_hz: Real, late: bool, largest: int) -> Table:
    rf, bins = layout.pulses[index], layout.profile_bins[index]
    number = next(k for k, slab in enumerate(layout.slabs) if index in slab.pulses)
    slab = layout.slabs[number]
    at = slab.low_m + (np.arange(COARSE * _WITHIN) + 0.5) * slab.extent_m / (COARSE * _WITHIN)
    cells = np.zeros((2, len(_EVERY), len(_EVERY), COARSE))
    for shift in (shifts_hz[0], shifts_hz[-1]):
        magnitude = np.abs(layout.profiles.of(rf, at[:, None] * slab.direction, bins, float(shift)))
        alone, coupled = (
            np.array([[share(magnitude, new, old) for old in _EVERY] for new in _EVERY])
            for share in (_alone, together)
        )
        both = np.stack([alone, np.maximum(alone, coupled if late else alone)])
        cells = np.maximum(cells, both.reshape(*cells.shape, _WITHIN).max(axis=-1))
    return Table(None, cells.astype(np.float32), number, late, largest)


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


def together(magnitude: Real, new: int, old: int) -> Real:
    """Return a bound of what coupled spins keep on a change of order, from magnitudes (n, 3, 3); shape (n,).

    It is the largest product of what single spins do that changes the order of two or three of them in that way.
    """
    flat = magnitude.reshape(-1, 9)
    ways = _products().get((new, old), [])
    return np.asarray(np.max([flat[:, way].prod(axis=1) for way in ways], axis=0))
