"""The size of unsuppressed water at time zero, for one FID or any number."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]

_SAMPLES = slice(4, 41)
_LEAST_SNR = 5.0


def water_amplitude(water: Transients) -> tuple[float, float]:
    """Return the magnitude of a water FID at time zero and its standard deviation; all shots are averaged.

    Raises
    ------
    DataError
        There is no water signal above the noise.

    """
    size, sd = water_sizes(water.data.reshape(-1, water.samples).mean(axis=0))
    if not np.isfinite(size):
        raise DataError(f"{water.source or 'water reference'}: no water signal above the noise to scale with")
    return float(size), float(sd)


def water_sizes(fids: NDArray[np.complexfloating]) -> tuple[Real, Real]:
    """Return the magnitudes of water FIDs at time zero and their standard deviations.

    The logarithm of samples 4 to 40 is continued to time zero by a quadratic, which a Lorentzian, Gaussian or
    Voigt line follows exactly; the first samples, which receivers spoil, are not used.

    Parameters
    ----------
    fids
        Shape (..., samples).

    Returns
    -------
    Two arrays of shape (...); NaN where there is no water above the noise.

    """
    samples = fids.shape[-1]
    size = np.abs(fids)[..., _SAMPLES].astype(np.float64)
    if size.shape[-1] < 8:
        return np.full(fids.shape[:-1], np.nan), np.full(fids.shape[:-1], np.nan)
    noise = (_noise_sd(fids[..., -max(16, samples // 10) :]) + 1e-12 * size.max(axis=-1))[..., np.newaxis]
    seen = (size.min(axis=-1) >= _LEAST_SNR * noise[..., 0]) & (noise[..., 0] > 0)
    size, noise = np.where(seen[..., np.newaxis], size, 1.0), np.where(seen[..., np.newaxis], noise, 1.0)
    at = np.arange(samples)[_SAMPLES] / _SAMPLES.stop
    design = np.vander(at, 3)
    weight = (size / noise) ** 2
    inverse = np.linalg.inv(np.einsum("ti,...t,tj->...ij", design, weight, design))
    solution = np.einsum("...ij,tj,...t->...i", inverse, design, weight * np.log(size))
    left = (np.log(size) - solution @ design.T) * size / noise
    relative = np.maximum(1.0, np.std(left, axis=-1)) * np.sqrt(inverse[..., 2, 2])
    start = np.where(seen, np.exp(solution[..., 2]), np.nan)
    return start, start * relative


def _noise_sd(tail: NDArray[np.complexfloating]) -> Real:
    """Return the standard deviation of real and imaginary part about a parabola, for what is left of water."""
    n = tail.shape[-1]
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, n), 3))[0]
    left = tail - (tail @ basis) @ basis.T
    return np.asarray(np.sqrt((np.abs(left) ** 2).sum(axis=-1) / (2 * max(n - 3, 1))))
