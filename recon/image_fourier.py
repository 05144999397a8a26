"""From spectra of phase encodes to voxels: the Fourier transform over what was encoded, coils combined on the way.

The sum over encodes is taken at their own k, so encodes may be missing (an ellipse) or off the grid. Encodes of one
z are transformed in the plane and added to all slices, so that no array of all coils is ever held.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_plan import Encodes, Floats, Grid, Indices
from pulsespec.recon.image_regrid import filter_of

Samples = NDArray[np.complex64]

_SAME_PLANE = 0.05
"""Difference of k along z, in steps of the grid, within which encodes are of one plane."""


@dataclass(frozen=True)
class Fourier:
    """Where the voxels are and what each encode weighs."""

    grid: Grid
    encodes: Encodes
    matrix: tuple[int, int, int]
    """Voxels along x, y, z that are made, zero filling included."""
    weights: Floats
    """Filter of each encode, of sum 1; shape (n_encodes,)."""

    @property
    def reads_x(self) -> bool:
        """Whether x is read under a gradient and comes transformed."""
        return self.encodes.combs[0].direction != 0

    def plane(self, numbers: Indices) -> Samples:
        """Return the operator of encodes to voxels in the plane, weighted; shape (n_voxels, n_encodes)."""
        k = self.encodes.k_per_m[numbers]
        y = np.exp(-2j * np.pi * np.outer(self.grid.positions_m(1, self.matrix[1]), k[:, 1]))
        turn = self.weights[numbers] * np.exp(-2j * np.pi * self.encodes.centre_turns[numbers])
        if self.reads_x:
            return np.asarray(y * turn, np.complex64)
        x = np.exp(-2j * np.pi * np.outer(self.grid.positions_m(0, self.matrix[0]), k[:, 0]))
        both = x[:, None, :] * y[None, :, :] * turn
        return np.asarray(both.reshape(-1, k.shape[0]), np.complex64)

    def slices(self, numbers: Indices) -> Samples:
        """Return the phase of a plane of k-space at each slice; shape (n_z,)."""
        k_z = float(self.encodes.k_per_m[numbers, 2].mean())
        return np.asarray(np.exp(-2j * np.pi * self.grid.positions_m(2, self.matrix[2]) * k_z), np.complex64)


def fourier(encodes: Encodes, grid: Grid, filter_name: str, matrix: tuple[int, int, int]) -> Fourier:
    """Return the transform of encodes with a filter along each encoded axis."""
    weights = np.ones(len(encodes.k_per_m))
    shape = filter_of(filter_name)
    for axis in range(3):
        if np.ptp(encodes.k_per_m[:, axis]) > 0:
            edge = grid.matrix[axis] / (2 * grid.fov_m[axis])
            weights = weights * shape(np.clip(encodes.k_per_m[:, axis] / edge, -1.0, 1.0))
    return Fourier(grid, encodes, matrix, weights / weights.sum())


def plane_blocks(encodes: Encodes, grid: Grid, most: int) -> Iterator[Indices]:
    """Yield the numbers of encodes, those of one plane together, at most `most` at a time."""
    keys = np.round(encodes.k_per_m[:, 2] * grid.fov_m[2] / _SAME_PLANE).astype(np.int64)
    for key in dict.fromkeys(keys.tolist()):
        members = np.flatnonzero(keys == key)
        for start in range(0, members.size, most):
            yield members[start : start + most]


def combined(
    parts: Iterable[tuple[Indices, Samples]], transform: Fourier, weights: Samples | None
) -> Samples:
    """Return voxels of spectra along x of all encodes.

    Parameters
    ----------
    parts
        Numbers of encodes of one plane and their data, shape (n, n_coils, n_columns, n_x); n_x is 1 where x is
        phase-encoded.
    transform
        From `fourier`.
    weights
        Of the coils in each voxel; shape (x, y, z, n_coils). `None` keeps the coils apart.

    Returns
    -------
    Shape (x, y, z, n_columns), or (x, y, z, n_coils, n_columns).

    """
    nx, ny, nz = transform.matrix
    out: Samples | None = None
    for numbers, data in parts:
        _, coils, columns, read = data.shape
        flat = transform.plane(numbers) @ data.reshape(len(numbers), -1)
        if transform.reads_x:
            plane = flat.reshape(ny, coils, columns, read).transpose(3, 0, 1, 2)
        else:
            plane = flat.reshape(nx, ny, coils, columns)
        phase = transform.slices(numbers)
        if out is None:
            shape = (nx, ny, nz, columns) if weights is not None else (nx, ny, nz, coils, columns)
            out = np.zeros(shape, np.complex64)
        for x in range(nx):
            if weights is None:
                out[x] += phase[:, None, None] * plane[x][:, None]
            else:
                out[x] += (weights[x] * phase[:, None]) @ np.ascontiguousarray(plane[x])
    assert out is not None
    return out
