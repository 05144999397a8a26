"""Weights of coherence pathways: integrals of order profiles over groups of axes."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.geometry import Axis, Layout
from pulsespec.simulator.order_tables import Table, together
from pulsespec.simulator.orders import LARGEST_ORDER, Orders, remaining

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_FINE = 1024
_FINE_TOGETHER = {2: 96, 3: 40}
_NEGLIGIBLE = 1e-9


class Weigher:
    """Integrals of order profiles over groups of axes, on a fine grid made once."""

    def __init__(self, layout: Layout, tables: list[Table], shifts_hz: Real) -> None:
        self._layout, self._tables, self._shifts_hz = layout, tables, shifts_hz
        self._profiles: dict[tuple[int, int], Complex] = {}
        self._products: dict[tuple[object, ...], tuple[Complex, Real]] = {}
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
                alone, added = self._integral(group, at, steps, moment_per_m, effective_per_m)
                kept = kept * np.array([alone, alone + added])
            best = np.maximum(best, kept)
        return float(best[0]), float(best[1])

    def _unselective(self, at: int, index: int, order: int, start: int, coupled: bool) -> tuple[float, float]:
        """Return what a pulse that selects along no axis keeps of single and of coupled spins; 1 for any other."""
        table = self._tables[index].everywhere
        if table is None:
            return 1.0, 1.0
        alone, both = table[:, order + LARGEST_ORDER, start + LARGEST_ORDER, at]
        return float(alone), float(both if coupled else alone)

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
        if not coupled or not self._tables[index].late:
            return alone, np.zeros(len(profile))
        return alone, together(np.abs(profile), order, start)
