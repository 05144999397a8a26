"""Where the signal of a selective shot comes from: its profile through a slab or a box, by frequency.

A `Basis` holds the integral over the slab, over its nominal thickness. A voxel sees its own part of the profile: in
the middle of the slab that is more than the mean, and at its edges it depends on the frequency, since a slice moves
with it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.engine import Plan
from pulsespec.simulator.geometry import Axis
from pulsespec.simulator.orders import before
from pulsespec.simulator.simulate import Settings, plan_shots
from pulsespec.simulator.timeline import Timeline, read_timeline

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_STEP_PPM = 0.1
"""Distance of the frequencies at which the profile is worked out."""
_RANGE_PPM = (0.5, 5.5)
_POINTS = 800
_BEYOND = 2.0
"""Extent that is looked at, over that which the pulses touch."""
_FINER = 4
"""Bins of a pulse over those that resolve it within its slab, since beyond it too few would show a slab again."""
_REACHED = 0.02
"""Share of the largest signal of a slab below which a frequency is not reached: beyond the bandwidth of its pulses."""
_LEAST = 2e-3
"""Share of the largest below which there is no slab."""


@dataclass(frozen=True)
class Slab:
    """The profile of a shot through its slab; without one, everything counts alike."""

    frequency_hz: Real
    """Offsets from the receiver's reference, downfield positive; shape (n_frequencies,)."""
    places_m: Real
    """From the isocentre along an axis of the field of view; shape (n_places,)."""
    values: Complex
    """Local signal over that of the whole slab over its nominal thickness; shape (n_frequencies, n_places)."""
    whole: Real
    """Signal of the whole slab at each frequency, over the largest; shape (n_frequencies,)."""

    @property
    def range_m(self) -> tuple[float, float]:
        """Places between which there is signal, of frequencies that the pulses reach."""
        size = np.abs(self.values[self.whole > _REACHED]).max(axis=0)
        kept = self.places_m[size > _LEAST * size.max()]
        return float(kept.min()), float(kept.max())

    def nearest(self, frequency_hz: Real) -> NDArray[np.int64]:
        """Return the number of the row for each frequency."""
        step = self.frequency_hz[1] - self.frequency_hz[0] if self.frequency_hz.size > 1 else 1.0
        found = np.rint((frequency_hz - self.frequency_hz[0]) / step).astype(np.int64)
        return np.asarray(np.clip(found, 0, self.frequency_hz.size - 1))

    def at(self, places_m: Real, width_m: float) -> Complex:
        """Return the means of the profile over cells about places; shape (n_frequencies, n)."""
        inner = (np.arange(8) + 0.5) / 8 - 0.5
        at = places_m[:, None] + inner * width_m
        rows = [
            np.interp(at, self.places_m, row.real, 0.0, 0.0)
            + 1j * np.interp(at, self.places_m, row.imag, 0.0, 0.0)
            for row in self.values
        ]
        return np.asarray(np.mean(rows, axis=-1))


Box = tuple[Slab | None, Slab | None, Slab | None]
"""Profiles along the axes of the field of view; `None` where nothing selects along it."""
NO_BOX: Box = (None, None, None)


def boxes_of_file(path: Path) -> tuple[Box, Box]:
    """Return the profiles of metabolite and of water shots of a `.seq`: `NO_BOX` without water shots.

    A voxel has the product of `values` at its place times the amplitude that a `Basis` of the file has, which is the
    mean over slab or box: in the middle more, and not the same for metabolites and water.
    """
    timeline = read_timeline(path)
    found: list[Box] = []
    for water in (False, True):
        shots = timeline.select(water_reference=water)
        plan = plan_shots(path, timeline, shots, Settings(tolerance=1e-3))[0] if shots else None
        low, high = ((ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 for ppm in _RANGE_PPM)
        found.append(NO_BOX if plan is None else box_of(path, plan, timeline, low, high))
    return found[0], found[1]


def box_of(path: Path, plan: Plan, timeline: Timeline, low_hz: float, high_hz: float) -> Box:
    """Return the profiles of a shot for frequencies in a range, by the axes of the field of view.

    They are those of an uncoupled spin along the strongest pathway, pulses without a slice left out: what they do
    does not depend on the place. Where several axes are selected along, the signal has the product of their profiles.

    Raises
    ------
    SequenceError
        Slices do not lie along axes of the field of view.

    """
    found: list[Slab | None] = [None, None, None]
    for axis in plan.layout.axes:
        if axis.pulses:
            along = np.abs(axis.direction @ timeline.voxel_axes)
            if along.max() < 1 - 1e-6:
                raise SequenceError(
                    f"{path}: a slice lies along {np.round(axis.direction, 4).tolist()}, which is no axis of its field "
                    "of view; the virtual scanner makes images of slabs and boxes along these"
                )
            number = int(along.argmax())
            found[number] = _slab(plan, axis, timeline, timeline.voxel_axes[:, number], low_hz, high_hz)
    return found[0], found[1], found[2]


def _slab(plan: Plan, axis: Axis, timeline: Timeline, direction: Real, low_hz: float, high_hz: float) -> Slab:
    sign = float(np.sign(axis.direction @ direction))
    count = int(np.ceil((high_hz - low_hz) / (_STEP_PPM * timeline.f0_hz * 1e-6))) + 1
    frequency = np.linspace(low_hz, high_hz, max(count, 2))
    places = _places(axis, frequency)
    values = np.array([_profile(plan, axis, places, float(hz)) for hz in frequency])
    whole = values.sum(axis=1) * (places[1] - places[0]) / axis.nominal_m
    order = np.argsort(sign * places)
    strength = np.abs(whole) / np.abs(whole).max()
    return Slab(frequency, (sign * places)[order], (values / whole[:, None])[:, order], strength)


def _places(axis: Axis, frequency_hz: Real) -> Real:
    moves = [move * hz for move in axis.displacement_m_per_hz for hz in (frequency_hz[0], frequency_hz[-1])]
    low, high = axis.low_m + min(moves), axis.high_m + max(moves)
    middle, half = (low + high) / 2, (high - low) / 2 * _BEYOND
    return np.asarray(middle + half * (2 * (np.arange(_POINTS) + 0.5) / _POINTS - 1))


def _profile(plan: Plan, axis: Axis, places_m: Real, shift_hz: float) -> Complex:
    """Return what single spins at places along an axis give; shape (n_places,)."""
    layout, orders = plan.layout, np.array([plan.selection.kept[0].orders])
    starts = before(orders)
    points = places_m[:, None] * axis.direction
    gaps = orders[0] @ np.array([pulse.moment_per_m for pulse in plan.shot.pulses])
    found = np.exp(-2j * np.pi * (points @ gaps))
    for index in axis.pulses:
        bins = _FINER * layout.bins[index]
        profile = layout.profiles.of(layout.pulses[index], points, bins, shift_hz)
        found = found * profile[:, 1 + orders[0, index], 1 + starts[0, index]]
    return np.asarray(found)
