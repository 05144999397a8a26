"""The basis of a voxel at its height in a slab: each line as the slab lets it pass there.

A `Basis` has the mean over the slab. Slices move with the frequency, at 7 T by centimetres within one metabolite: at
one end of a slab creatine has lost its CH2, at the other NAA its CH3, and no factor makes that the mean again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_plan import grid_of
from pulsespec.recon.transients import Transients
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.image_slab import Slab, boxes_of_file
from pulsespec.simulator.timeline import read_played

Real = NDArray[np.float64]

_LEAST = 0.05
"""Of the largest of a profile: with less, a line counts as so much, for a basis needs some of all."""


@dataclass(frozen=True, eq=False)
class PlaneBasis:
    """A basis, and the slab that its planes lie in."""

    basis: Basis
    slab: Slab
    places_m: Real
    """Middles of the planes from the isocentre; shape (z,)."""
    width_m: float

    def at(self, plane: int) -> Basis:
        """Return the basis of a plane of the image."""
        profile = self.slab.at(self.places_m[plane : plane + 1], self.width_m)[:, 0]
        least = _LEAST * float(np.abs(self.slab.values).max(axis=1).min())
        size = np.abs(profile)
        passed = np.where(size > least, profile, least)

        def here(lines: Lines) -> Lines:
            return replace(lines, amplitude=lines.amplitude * passed[self.slab.nearest(lines.frequency_hz)])

        return replace(self.basis, lines={name: here(lines) for name, lines in self.basis.lines.items()})


def plane_basis(path: Path, basis: object, image: Transients) -> PlaneBasis | None:
    """Return the bases of the planes of an image; `None` where all planes are alike, or a basis has no lines.

    Of a box (PRESS) too: its edges are not followed voxel by voxel.

    Raises
    ------
    SequenceError
        The file cannot be read, or selects along what is no axis of its image.

    """
    if not isinstance(basis, Basis) or image.size("z") == 1:
        return None
    x, y, slab = boxes_of_file(path)[0]
    if slab is None or x is not None or y is not None:
        return None
    grid, points = grid_of(read_played(path, image.f0_hz), path.name), image.size("z")
    width = float(grid.fov_m[2]) / points
    places = float(grid.centre_m @ grid.axes[:, 2]) + (np.arange(points) - points // 2) * width
    return PlaneBasis(basis, slab, np.asarray(places, np.float64), width)
