"""The voxel of a `.seq`: which axis each pulse selects along, and how it turns orders of coherence there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.sequences.slr import cayley_klein
from pulsespec.simulator.timeline import Pulse, Timeline

GRID_M = 5e-5
"""Length of a cell along an axis."""
_OBJECT_M = 0.2
"""Extent of the smooth object, of the size of a head."""
_SPAN_M = 0.3

Vector = NDArray[np.float64]
Profile = NDArray[np.complex128]
Transfer = dict[tuple[int, int], Profile]
"""What a pulse makes of each order, by (new, old) order."""


def wanted_pathway(timeline: Timeline) -> tuple[int, ...]:
    """Return the wanted order after each localisation pulse, the last ones before the readout.

    Raises `SequenceError` where the file does not say it (definition `Pathway`).
    """
    if "Pathway" not in timeline.definitions:
        raise SequenceError(f"{timeline.name or 'sequence'}: has no Pathway definition")
    return tuple(int(order) for order in np.ravel(timeline.definitions["Pathway"]))


@dataclass(frozen=True)
class Voxel:
    """The axes along which pulses select, and the object along each of them."""

    axes: Vector
    """Axes of the voxel in gradient coordinates, columns; (3, 3)."""
    positions: Vector
    """Cell centres along each axis in m from the isocentre; (3, n)."""
    density: Vector
    """Of the object along an axis, times the length of a cell; (n,)."""

    @classmethod
    def of(cls, timeline: Timeline) -> "Voxel":
        """Return the voxel that the definitions of a file describe."""
        axes, centre = timeline.voxel_axes, timeline.voxel_centre_m
        n = round(_SPAN_M / GRID_M)
        line = (np.arange(n) + 0.5) * GRID_M - _SPAN_M / 2
        density = np.asarray(np.exp(-((2 * line / _OBJECT_M) ** 4)) * GRID_M)
        return cls(axes, (axes.T @ centre)[:, None] + line, density)

    def axis_of(self, pulse: Pulse) -> int | None:
        """Return the axis of the voxel along which a pulse selects; `None` for a pulse without a gradient."""
        size = np.abs(pulse.rf.gradient_hz_per_m @ self.axes).max(axis=0)
        if size.max() < 1.0:
            return None
        axis = int(np.argmax(size))
        if np.delete(size, axis).max() > 1e-3 * size[axis]:
            raise SequenceError("a pulse selects along no axis of the voxel")
        return axis

    def transfer(self, pulse: Pulse, spin_hz: float) -> Transfer:
        """Return T for (new, old) order: along the axis of the pulse (n,), or (1,) for a pulse without."""
        axis, rf = self.axis_of(pulse), pulse.rf
        shift_hz, step_s = spin_hz - rf.offset_hz, rf.duration_s / rf.b1_hz.size
        if axis is None:
            a, b = cayley_klein(rf.b1_hz, step_s, np.zeros(1), shift_hz=shift_hz)
        else:
            gradient = rf.gradient_hz_per_m @ self.axes[:, axis]
            peak = gradient[int(np.argmax(np.abs(gradient)))]
            offset = self.positions[axis] * peak
            a, b = cayley_klein(rf.b1_hz, step_s, offset, modulation=gradient / peak, shift_hz=shift_hz)
        excite, store = 2 * np.conj(a) * b, -np.conj(a * b)
        return {
            (-1, -1): np.conj(a) ** 2,
            (-1, 0): excite,
            (-1, 1): -(b**2),
            (0, -1): store,
            (0, 0): (np.abs(a) ** 2 - np.abs(b) ** 2).astype(complex),
            (0, 1): np.conj(store),
            (1, -1): -np.conj(b**2),
            (1, 0): np.conj(excite),
            (1, 1): a**2,
        }
