"""Samples at any k to voxels: density weights, their operator, and the same by a non-uniform FFT.

Regridding of echo-planar ramps: Bruder et al. 1992, doi:10.1002/mrm.1910230211. The non-uniform FFT is FINUFFT:
Barnett, Magland and af Klinteberg 2019, doi:10.1137/18M120885X.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

Filter = Callable[[Floats], Floats]
"""Weight of k over the largest |k| of an axis, -1 to 1."""

GAUSS_AT_EDGE = 0.1
"""Of the Gaussian filter at the largest k."""

FILTERS: dict[str, Filter] = {
    "none": lambda u: np.ones_like(u),
    "hamming": lambda u: 0.54 + 0.46 * np.cos(np.pi * u),
    "hann": lambda u: 0.5 + 0.5 * np.cos(np.pi * u),
    "cosine": lambda u: np.cos(np.pi * u / 2),
    "gaussian": lambda u: GAUSS_AT_EDGE ** (u**2),
}
"""Filters over k by name (windows: Harris 1978, doi:10.1109/PROC.1978.10837)."""


def filter_of(name: str) -> Filter:
    """Return a filter by its name; `InputError` where it is not known."""
    if name not in FILTERS:
        raise InputError(f"filter: got {name!r}, expected one of {', '.join(FILTERS)}")
    return FILTERS[name]


def density(k_per_m: Floats, edge_per_m: float) -> Floats:
    """Return the length of k-space that each sample stands for, within -edge to edge; shape of `k_per_m`.

    Cells end half-way to the neighbours; those at both ends reach as far outwards as inwards, but not past the edge.
    What lies outside (the ramps of a lobe whose flat top is the field of k) weighs nothing.
    """
    order = np.argsort(k_per_m)
    ascending = k_per_m[order]
    middle = (ascending[1:] + ascending[:-1]) / 2
    first, last = 2 * ascending[0] - middle[0], 2 * ascending[-1] - middle[-1]
    borders = np.clip(np.concatenate([[first], middle, [last]]), -edge_per_m, edge_per_m)
    weights = np.empty_like(ascending)
    weights[order] = np.diff(borders)
    return weights


def direct(k_per_m: Floats, weights: Floats, positions_m: Floats) -> Complex:
    """Return the operator that makes voxels of samples, sum over samples of weight x exp(-i 2 pi k x).

    Returns
    -------
    Shape (n_samples, n_positions): `samples @ operator` are the voxels.

    """
    return np.asarray(weights[:, None] * np.exp(-2j * np.pi * np.outer(k_per_m, positions_m)))


def adjoint(
    samples: NDArray[np.complexfloating],
    k_per_m: Floats,
    weights: Floats,
    matrix: tuple[int, ...],
    fov_m: Floats,
    tolerance: float = 1e-6,
) -> NDArray[np.complexfloating]:
    """Return voxels of samples in one, two or three dimensions by a non-uniform FFT of type 1.

    Parameters
    ----------
    samples
        Of any leading shape, samples last, complex64 or complex128: the result has that precision.
    k_per_m
        Shape (n_samples, n_dimensions).
    weights
        Density and filter; shape (n_samples,).
    matrix, fov_m
        Voxels and edges of the box along each dimension; voxels lie as those of `Grid.positions_m`.
    tolerance
        Relative, of the transform.

    Returns
    -------
    Shape (*leading, *matrix): the sum over samples of weight x sample x exp(-i 2 pi k.x).

    """
    import finufft  # loads a compiled library: only where it is used

    count = len(matrix)
    k = np.reshape(k_per_m, (-1, count))
    single = samples.dtype == np.complex64
    leading = samples.shape[:-1]
    values = np.ascontiguousarray((samples * weights).reshape(-1, samples.shape[-1]))
    values = values.astype(np.complex64 if single else np.complex128)
    step = 2 * np.pi * np.asarray(fov_m) / np.array(matrix)
    points = [_wrapped(k[:, axis] * step[axis], single) for axis in range(count)]
    transform = (finufft.nufft1d1, finufft.nufft2d1, finufft.nufft3d1)[count - 1]
    found = transform(*points, values, tuple(matrix), eps=tolerance, isign=-1)
    return np.asarray(found).reshape(*leading, *matrix)


def _wrapped(angle: Floats, single: bool) -> NDArray[np.floating]:
    wrapped = np.mod(angle + np.pi, 2 * np.pi) - np.pi
    return np.ascontiguousarray(wrapped.astype(np.float32 if single else np.float64))
