"""Coils of images combined with weights from water: per voxel, or from the neighbourhood of each voxel.

Both take the strongest signal vector of whitened coils (Rodgers and Robson 2010, doi:10.1002/mrm.22230), which is
the combination of most SNR (Roemer et al. 1990, doi:10.1002/mrm.1910160203): "svd" from the voxel alone, "walsh" from
the covariance about it (Walsh et al. 2000, doi:10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G,
recalled), whose maps are smooth where a voxel's own water is weak.
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.transients import Record

COIL_METHODS = ("walsh", "svd")
"""Ways to weigh the coils of each voxel."""

Samples = NDArray[np.complex64]

_NEIGHBOURS_VOXELS = 1.0
"""Standard deviation of the neighbourhood, in voxels of the matrix without zero filling."""
_BLOCK = 4096


def coil_weights(
    reference: Samples, method: str, fill: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Samples:
    """Return weights of unit length for the coils of each voxel, such that the reference begins with phase 0.

    Parameters
    ----------
    reference
        Spectra of water (or of what is strong) of whitened coils; shape (x, y, z, n_coils, n_columns).
    method
        One of `COIL_METHODS`.
    fill
        By how much the grid is finer than the matrix along x, y, z.

    Returns
    -------
    Shape (x, y, z, n_coils): the combined signal is the plain product over coils.

    Raises
    ------
    InputError
        The method is not known.

    """
    if method not in COIL_METHODS:
        raise InputError(f"coil combination: got {method!r}, expected one of {', '.join(COIL_METHODS)}")
    gram = np.matmul(reference, np.conj(np.swapaxes(reference, -1, -2)))
    if method == "walsh":
        gram = _smoothed(gram, fill)
    coils = reference.shape[3]
    flat = gram.reshape(-1, coils, coils)
    found = np.empty(flat.shape[:2], np.complex64)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = np.linalg.eigh(flat[block])[1][..., -1]
    sensitivity = found.reshape(reference.shape[:4])
    begin = np.sum(np.conj(sensitivity) * reference.mean(axis=-1), axis=-1, keepdims=True)
    size = np.abs(begin)
    turn = np.where(size > 0, np.conj(begin) / np.maximum(size, 1e-30), 1.0)
    return np.asarray(np.conj(sensitivity) * turn, np.complex64)


def _smoothed(gram: Samples, fill: tuple[float, float, float]) -> Samples:
    """Return covariances averaged over the neighbourhood of each voxel."""
    from scipy.ndimage import gaussian_filter  # only where maps are smoothed

    sigma = [_NEIGHBOURS_VOXELS * f if n > 1 else 0.0 for n, f in zip(gram.shape[:3], fill, strict=True)]
    out = np.empty_like(gram)
    for index in np.ndindex(gram.shape[3:]):
        at = (slice(None), slice(None), slice(None), *index)
        out[at].real = gaussian_filter(gram[at].real, sigma, mode="nearest")
        out[at].imag = gaussian_filter(gram[at].imag, sigma, mode="nearest")
    return out


def weights_record(weights: Samples, method: str, reference: str, whitened: bool) -> Record:
    """Return what the combination says of itself."""
    words = {
        "walsh": "strongest vector of the coils' covariance about each voxel (Walsh)",
        "svd": "strongest vector of the coils in each voxel (SVD)",
    }[method]
    noise = "whitened" if whitened else "noise not known, taken as equal"
    return Record(
        "RF coil combination",
        f"{weights.shape[-1]} coils, {noise}: {words}, from {reference}; all data with the same weights",
        {"method": method, "coils": int(weights.shape[-1])},
    )
