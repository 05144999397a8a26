"""Grids of an image: the acquisition's own, and a finer one on which an object is drawn.

Points are given along the axes of the field of view from its centre, with the voxel N // 2 of the acquisition there,
as a discrete Fourier transform of k-space with k = 0 at N // 2 has it. World coordinates are those of NIfTI (right,
anterior, superior, in mm) for a patient head first and supine on a Siemens scanner, as for single voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import DEVICE_FROM_LPS
from pulsespec.errors import SequenceError
from pulsespec.simulator.timeline import Played

Real = NDArray[np.float64]

_MM = 1e3
RAS_FROM_GRADIENT = np.diag([-1.0, -1.0, 1.0]) @ np.linalg.inv(DEVICE_FROM_LPS["Siemens", "HFS"])
"""World axes (right, anterior, superior) from gradient axes."""


@dataclass(frozen=True)
class Grid:
    """A regular grid along the axes of a field of view."""

    shape: tuple[int, int, int]
    spacing_m: Real
    """Distance of points along each axis; shape (3,)."""
    first_m: Real
    """Place of the first point, along the axes from the centre of the field of view; shape (3,)."""
    centre_m: Real
    """Centre of the field of view in gradient coordinates; shape (3,)."""
    axes: Real
    """Directions of the axes in gradient coordinates, columns; shape (3, 3)."""

    def along(self, axis: int) -> Real:
        """Return the places of the points along an axis, from the centre of the field of view."""
        return np.asarray(self.first_m[axis] + np.arange(self.shape[axis]) * self.spacing_m[axis])

    @property
    def affine(self) -> Real:
        """World coordinates in mm (right, anterior, superior) from indices; shape (4, 4)."""
        found = np.eye(4)
        world = RAS_FROM_GRADIENT @ self.axes
        found[:3, :3] = world * self.spacing_m * _MM
        found[:3, 3] = (RAS_FROM_GRADIENT @ self.centre_m + world @ self.first_m) * _MM
        return found

    def points_mm(self) -> Real:
        """Return the world coordinates of all points in mm; shape (*shape, 3)."""
        grids = np.meshgrid(*(self.along(axis) for axis in range(3)), indexing="ij")
        world = RAS_FROM_GRADIENT @ self.axes
        return np.asarray((np.stack(grids, axis=-1) @ world.T + RAS_FROM_GRADIENT @ self.centre_m) * _MM)


def acquisition_grid(played: Played, path: Path) -> Grid:
    """Return the grid of the images that a `.seq` encodes.

    Raises
    ------
    SequenceError
        The file does not say matrix and field of view.

    """
    matrix, fov = played.numbers("Matrix"), played.numbers("FOV")
    if matrix.size != 3 or fov.size != 3:
        raise SequenceError(
            f"{path}: makes no images (its definitions Matrix and FOV have {matrix.size} and {fov.size} numbers, "
            "expected three each), and the phantom is a head: expected a tissue (--phantom grey-matter)"
        )
    shape = (int(matrix[0]), int(matrix[1]), int(matrix[2]))
    centre, axes = played.numbers("VoxelPosition"), played.numbers("VoxelOrientation")
    spacing = fov / matrix
    return Grid(
        shape,
        spacing,
        -np.array([n // 2 for n in shape]) * spacing,
        centre if centre.size == 3 else np.zeros(3),
        axes.reshape(3, 3) if axes.size == 9 else np.eye(3),
    )


def finer_grid(coarse: Grid, factors: Sequence[int], low_m: Real, high_m: Real) -> Grid:
    """Return a grid that divides each voxel of another by `factors` and covers at least the given ranges.

    Voxels of the coarse grid, those beyond its ends too, consist of whole voxels of the fine one.
    """
    many = np.asarray(factors)
    edge = coarse.first_m - coarse.spacing_m / 2
    first = np.floor((low_m - edge) / coarse.spacing_m + 1e-9).astype(int)
    last = np.maximum(np.ceil((high_m - edge) / coarse.spacing_m - 1e-9).astype(int), first + 1)
    spacing = coarse.spacing_m / many
    counts = (last - first) * many
    return Grid(
        (int(counts[0]), int(counts[1]), int(counts[2])),
        spacing,
        edge + first * coarse.spacing_m + spacing / 2,
        coarse.centre_m,
        coarse.axes,
    )


def on_coarse(values: NDArray[np.floating], fine: Grid, coarse: Grid) -> Real:
    """Return the means of a fine map over the voxels of the coarse grid, 0 where the fine one has nothing."""
    many = np.rint(coarse.spacing_m / fine.spacing_m).astype(int)
    edge = coarse.first_m - coarse.spacing_m / 2
    start = np.rint((fine.first_m - fine.spacing_m / 2 - edge) / coarse.spacing_m).astype(int)
    counts = np.asarray(fine.shape) // many
    shape = [size for pair in zip(counts, many, strict=True) for size in pair]
    means = np.asarray(values, dtype=float).reshape(shape).mean(axis=(1, 3, 5))
    found = np.zeros(coarse.shape)
    begin, end = np.maximum(start, 0), np.minimum(start + counts, coarse.shape)
    if np.all(end > begin):
        to = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        taken = tuple(slice(b - s, e - s) for b, e, s in zip(begin, end, start, strict=True))
        found[to] = means[taken]
    return found
