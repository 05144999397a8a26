"""The receiver of the virtual scanner: coils, their noise, the ADC's full scale and its first samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.chances import stream
from pulsespec.simulator.faults import Faults

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Raw = NDArray[np.complex64]


@dataclass(frozen=True)
class Coils:
    """An array of receive coils."""

    sensitivity: Complex
    """Complex sensitivity to the voxel; 0 of a dead coil; shape (n_coils,)."""
    outside: Complex
    """What is added to it for sources outside the voxel; shape (n_coils,)."""
    shape: Real
    """Covariance of the noise of one sample, before it is scaled to the SNR; shape (n_coils, n_coils)."""

    @property
    def gain(self) -> float:
        """Square of the SNR over that of a coil of sensitivity 1 and noise 1: what optimal combination reaches.

        s^H C^-1 s (Roemer et al. 1990, doi:10.1002/mrm.1910160203).
        """
        weights = np.linalg.solve(self.shape, self.sensitivity)
        return float(np.real(self.sensitivity.conj() @ weights))


def draw_coils(faults: Faults, seed: int) -> Coils:
    """Draw sensitivities and the covariance of the noise."""
    rng = stream(faults, seed, "coils")
    n = faults.coils
    draws = rng.uniform(size=(n, 2))
    size = faults.least_sensitivity + (1 - faults.least_sensitivity) * draws[:, 0]
    sensitivity = size * np.exp(2j * np.pi * draws[:, 1])
    sensitivity[n - faults.dead_coils :] = 0
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    correlation = np.where(distance == 0, 1.0, faults.noise_correlation**distance)
    spread = np.exp(faults.noise_spread * rng.standard_normal(n))
    shape = correlation * np.outer(spread, spread)
    scatter = rng.standard_normal((n, 2)) @ np.array([1, 1j]) / np.sqrt(2) * np.abs(sensitivity)
    weights = np.linalg.solve(shape, sensitivity)
    scatter -= sensitivity * (weights.conj() @ scatter) / (weights.conj() @ sensitivity)
    return Coils(sensitivity, faults.elsewhere * scatter, shape)


def add_noise(data: Raw, factor: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add circular noise of covariance factor factor^T to data (n_coils, samples), in place."""
    white = rng.standard_normal((*data.shape, 2), dtype=np.float32)
    parts = data.view(np.float32)
    parts += factor @ white.reshape(data.shape[0], -1) * np.float32(np.sqrt(0.5))


def clip(data: Raw, full_scale: float) -> int:
    """Limit real and imaginary parts to the ADC's full scale, in place; return how many samples were."""
    parts = data.view(np.float32)
    beyond = np.abs(parts) > full_scale
    np.clip(parts, -full_scale, full_scale, out=parts)
    return int(np.count_nonzero(beyond.reshape(*data.shape, 2).any(axis=-1)))


def first_samples(samples: int, faults: Faults) -> Complex:
    """Return the factor of each sample that the receiver's filter gives; shape (samples,)."""
    factor = np.ones(samples, dtype=complex)
    n = min(faults.spoiled_points, samples)
    start = faults.spoiled_gain * np.exp(1j * np.deg2rad(faults.spoiled_phase_deg))
    factor[:n] = 1 - (1 - start) * (1 - np.arange(n) / max(n, 1))
    return factor
