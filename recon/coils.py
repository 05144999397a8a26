"""Noise whitening and coil combination."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from pulsespec.errors import DataError
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]

_FIRST_PART_S = 0.1
"""Weights come from the start of the FID, where the signal is (about one T2* of water at 3 T)."""


def whiten(data: Transients, noise: Complex) -> Transients:
    """Return data whose coils have independent noise of unit variance.

    Parameters
    ----------
    data
        FIDs with a dimension "coil".
    noise
        Noise-only samples; shape (n_coils, n_noise), at least ten times as many samples as coils.

    Raises
    ------
    DataError
        The noise has another number of coils, too few samples, or a silent coil.

    """
    axis = data.axis("coil")
    n_coils = data.data.shape[axis]
    if noise.ndim != 2 or noise.shape[0] != n_coils:
        raise DataError(f"noise: shape {noise.shape}, expected ({n_coils}, n) for data with {n_coils} coils")
    if noise.shape[1] < 10 * n_coils:
        raise DataError(f"noise: {noise.shape[1]} samples for {n_coils} coils, expected at least ten a coil")
    covariance = np.cov(noise)
    covariance = covariance.reshape(n_coils, n_coils)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "noise: its covariance is not positive definite (a silent or doubled coil)"
        ) from error
    moved = np.moveaxis(data.data, axis, 0)
    white = solve_triangular(factor, moved.reshape(n_coils, -1), lower=True).reshape(moved.shape)
    spread = np.sqrt(np.diag(covariance).real)
    correlation = np.abs(covariance / np.outer(spread, spread))
    largest = float(np.max(correlation - np.eye(n_coils))) if n_coils > 1 else 0.0
    record = Record(
        "Noise whitening",
        f"{n_coils} coils from {noise.shape[1]} noise samples; largest correlation {largest:.2f}",
        {"largest_correlation": largest},
    )
    return data.with_data(np.moveaxis(white, 0, axis), record)


def coil_weights(data: Transients) -> Complex:
    """Return the weights of the coils by singular value decomposition; shape (n_coils,), unit norm.

    With white noise the first singular vector of the signal maximises the signal-to-noise ratio (Rodgers
    and Robson 2010, doi:10.1002/mrm.22230). All other dimensions are averaged first, so the data should
    be a water reference, or have shots of about one phase. The sum of the weights is real and positive.
    """
    moved = np.moveaxis(data.data, data.axis("coil"), 0)
    mean = moved.reshape(moved.shape[0], -1, moved.shape[-1]).mean(axis=1)
    part = mean[:, : max(8, round(_FIRST_PART_S / data.dwell_s))]
    left, _, _ = np.linalg.svd(part, full_matrices=False)
    weights = left[:, 0].conj()
    return np.asarray(weights * np.exp(-1j * np.angle(np.vdot(np.abs(weights), weights))))


def combine_coils(data: Transients, weights: Complex) -> Transients:
    """Return the weighted sum over coils.

    Raises
    ------
    DataError
        There is not one weight for each coil.

    """
    axis = data.axis("coil")
    n_coils = data.data.shape[axis]
    if weights.shape != (n_coils,):
        raise DataError(
            f"weights: shape {weights.shape}, expected ({n_coils},) for data with {n_coils} coils"
        )
    combined = np.tensordot(weights, data.data, axes=(0, axis))
    best = float(np.max(np.abs(weights)))
    record = Record(
        "RF coil combination",
        f"singular value decomposition, {n_coils} coils; SNR gain over the best coil {1 / best:.2f}",
        {"weights": np.abs(weights), "snr_gain": 1 / best},
    )
    return data.with_data(combined, record, drop=("coil",))
