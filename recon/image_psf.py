"""The point-spread function of an image, from the very samples, weights and filters that it was made with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_fourier import Fourier
from pulsespec.recon.image_plan import Floats
from pulsespec.recon.image_regrid import density

Complex = NDArray[np.complex128]

_FINE = 16
"""Points in a voxel of the curves along the axes."""
_FAR_VOXELS = 5.0


@dataclass(frozen=True)
class PointSpread:
    """How a point is spread, 1 at its own place."""

    offsets_m: tuple[Floats, Floats, Floats]
    """Distance from the point along x, y, z; where an axis is not encoded a single 0."""
    curves: tuple[Complex, Complex, Complex]
    """At those distances along each axis, the others 0."""
    fwhm_m: Floats
    """Full width at half maximum of the magnitude along each axis, the box where it is not encoded; shape (3,)."""
    volume_m3: float
    """Effective voxel volume: energy of the point-spread function over its peak squared."""


def spread_at(transform: Fourier, k_x: Floats, weights_x: Floats, offsets_m: Floats) -> Complex:
    """Return the point-spread function at distances from the point.

    Parameters
    ----------
    transform
        Of the encodes, with their weights.
    k_x, weights_x
        Samples along the readout, one of k = 0 and weight 1 where x is phase-encoded; shape (n_samples,).
    offsets_m
        Shape (n, 3).

    Returns
    -------
    Sum over all samples of weight x exp(-i 2 pi k.r); shape (n,).

    """
    k = transform.encodes.k_per_m
    encoded = np.exp(-2j * np.pi * offsets_m @ k.T) @ transform.weights
    read = np.exp(-2j * np.pi * np.outer(offsets_m[:, 0], k_x)) @ weights_x
    return np.asarray(encoded * read)


def point_spread(transform: Fourier, k_x: Floats, weights_x: Floats) -> PointSpread:
    """Return curves, widths and effective volume of the point-spread function of an image."""
    grid = transform.grid
    offsets, curves, widths = [], [], []
    for axis in range(3):
        voxel = grid.fov_m[axis] / grid.matrix[axis]
        if grid.matrix[axis] == 1:
            offsets.append(np.zeros(1))
            curves.append(np.ones(1, np.complex128))
            widths.append(float(grid.fov_m[axis]))
            continue
        reach = min(_FAR_VOXELS, grid.matrix[axis] / 2)
        at = np.arange(-int(reach * _FINE), int(reach * _FINE) + 1) * voxel / _FINE
        points = np.zeros((at.size, 3))
        points[:, axis] = at
        curve = spread_at(transform, k_x, weights_x, points)
        offsets.append(at)
        curves.append(curve)
        widths.append(width(at, np.abs(curve)))
    return PointSpread(
        (offsets[0], offsets[1], offsets[2]),
        (curves[0], curves[1], curves[2]),
        np.array(widths),
        volume(transform, k_x, weights_x),
    )


def width(offsets: Floats, size: Floats) -> float:
    """Return the full width at half maximum of a curve about its largest value."""
    top = int(np.argmax(size))
    half = size[top] / 2
    right = next((n for n in range(top, size.size) if size[n] < half), None)
    left = next((n for n in range(top, -1, -1) if size[n] < half), None)
    if right is None or left is None:
        return float(offsets[-1] - offsets[0])
    high = np.interp(half, [size[right], size[right - 1]], [offsets[right], offsets[right - 1]])
    low = np.interp(half, [size[left], size[left + 1]], [offsets[left], offsets[left + 1]])
    return float(high - low)


def volume(transform: Fourier, k_x: Floats, weights_x: Floats) -> float:
    """Return the energy of the point-spread function; its peak is 1 since all weights have the sum 1.

    By Parseval: of encodes on the grid of the box, whose point-spread function repeats, in one box: its volume times
    the sum of squared weights; along a readout over all x, the integral over k of the squared weight of k.
    """
    grid = transform.grid
    encoded = float(np.sum(transform.weights**2) * np.prod(grid.fov_m))
    if not transform.reads_x:
        return encoded
    cells = density(k_x, grid.matrix[0] / (2 * grid.fov_m[0]))
    used = cells > 0
    return encoded / float(grid.fov_m[0]) * float(np.sum(weights_x[used] ** 2 / cells[used]))
