"""The noise of the receive coils: from a noise scan, or from where the FIDs themselves have no signal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis
from pulsespec.errors import DataError
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]

_SAMPLES_A_COIL = 10
_SIGNAL_PPM = (-2.0, 11.0)
"""Protons of the body lie inside; wide enough for the tails of what is left late in a FID."""
_FLAT_BAND = 0.8
"""Share of the bandwidth in which the receiver's filter is flat."""
_TAIL = 4
_MOST_SHOTS = 64
_SINGULAR = 1e8


@dataclass(frozen=True)
class CoilNoise:
    """Covariance of the noise of the coils, and how it is known."""

    covariance: Complex
    """Of one complex sample; Hermitian, shape (n_coils, n_coils)."""
    samples: int
    """Independent samples it was estimated from."""
    origin: str
    """Words for the record."""

    @property
    def factor(self) -> Complex:
        """Lower Cholesky factor of the covariance; `DataError` where a coil is silent or doubled."""
        try:
            return np.asarray(np.linalg.cholesky(self.covariance))
        except np.linalg.LinAlgError as error:
            raise DataError(
                "noise: its covariance is not positive definite (a silent or doubled coil)"
            ) from error

    @property
    def largest_correlation(self) -> float:
        """Largest correlation between two coils, 0 for one coil."""
        spread = np.sqrt(np.diag(self.covariance).real)
        correlation = np.abs(self.covariance) / np.outer(spread, spread)
        return float(np.max(correlation - np.eye(spread.size), initial=0.0))


def scanned_noise(noise: NDArray[np.complexfloating], n_coils: int) -> CoilNoise:
    """Return the covariance of noise-only samples of shape (n_coils, n_noise).

    Raises
    ------
    DataError
        The noise has another number of coils, or fewer than ten samples a coil.

    """
    if noise.ndim != 2 or noise.shape[0] != n_coils:
        raise DataError(f"noise: shape {noise.shape}, expected ({n_coils}, n) for data with {n_coils} coils")
    if noise.shape[1] < _SAMPLES_A_COIL * n_coils:
        raise DataError(f"noise: {noise.shape[1]} samples for {n_coils} coils, expected at least ten a coil")
    covariance = np.cov(noise).reshape(n_coils, n_coils).astype(np.complex128)
    return CoilNoise(covariance, noise.shape[1], f"{noise.shape[1]} noise samples")


def noise_of_tails(data: Transients) -> CoilNoise | None:
    """Return the covariance of the coils from the last quarter of the FIDs, away from proton signals.

    Only frequencies outside -2 to 11 ppm and inside the flat part of the receiver's band count, so neither
    long-lived signals nor the filter's edges do. At most 64 shots are looked at. `None` where that leaves
    fewer than ten samples a coil (short FIDs of few shots, or a narrow band), or where coils are silent or doubled.
    """
    n_coils, points = data.size("coil"), data.samples // _TAIL
    if "coil" not in data.dims or points < 16:
        return None
    window = np.hanning(points + 2)[1:-1]
    ppm = ppm_axis(points, data.dwell_s, data.f0_hz, data.reference_ppm)
    frequency = np.fft.fftshift(np.fft.fftfreq(points))
    empty = ((ppm < _SIGNAL_PPM[0]) | (ppm > _SIGNAL_PPM[1])) & (np.abs(frequency) < _FLAT_BAND / 2)
    shots = list(np.ndindex(data.data.shape[:-2]))
    shots = shots[:: max(1, -(-len(shots) // _MOST_SHOTS))]
    independent = round(empty.sum() * len(shots) * 2 / 3)  # a Hann window correlates neighbouring bins
    if independent < _SAMPLES_A_COIL * n_coils:
        return None
    total = np.zeros((n_coils, n_coils), dtype=np.complex128)
    for index in shots:
        tail = data.data[index][:, -points:] * window
        bins = np.fft.fftshift(np.fft.fft(tail, axis=-1), axes=-1)[:, empty]
        total += bins @ bins.conj().T
    covariance = total / (empty.sum() * len(shots) * np.sum(window**2))
    size = np.diag(covariance).real
    if np.any(size <= 0) or np.linalg.cond(covariance / np.sqrt(np.outer(size, size))) > _SINGULAR:
        return None
    return CoilNoise(covariance, independent, f"the tails of {len(shots)} FIDs ({independent} samples)")


def coil_noise(data: Transients) -> CoilNoise | None:
    """Return the noise of the coils of `data`: of its noise scan where it has one, else of its tails."""
    if "coil" not in data.dims:
        return None
    if data.noise is not None:
        return scanned_noise(data.noise, data.size("coil"))
    return noise_of_tails(data)
