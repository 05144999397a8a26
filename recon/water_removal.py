"""Removal of residual water by its damped exponentials.

The FID is modelled as a sum of damped exponentials by a state-space method: the signal subspace of its Hankel
matrix is shift-invariant (HSVD: Barkhuijsen et al. 1987, doi:10.1016/0022-2364(87)90023-0), found with a
few Lanczos steps (Pijnappel et al. 1992, doi:10.1016/0022-2364(92)90241-X; products by FFT); the components near
water are subtracted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, svds

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.recon.pictures import before_after
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_LONGEST = 1024
"""Points of the FID that the model is made from; damped water is gone by then."""


@dataclass(frozen=True)
class Exponentials:
    """Damped exponentials: sum_k amplitude_k exp((2 pi i frequency_k - damping_k) t)."""

    frequency_hz: Real
    """In the sense of the FID; shape (n,)."""
    damping_per_s: Real
    amplitude: Complex

    def fid(self, samples: int, dwell_s: float) -> Complex:
        """Return their sum; shape (samples,)."""
        rate = 2j * np.pi * self.frequency_hz - self.damping_per_s
        return np.asarray(np.exp(np.outer(np.arange(samples) * dwell_s, rate)) @ self.amplitude)


def hsvd(fid: Complex, dwell_s: float, components: int) -> Exponentials:
    """Model an FID as at most `components` damped exponentials."""
    part = fid[:_LONGEST]
    rows = part.size // 2
    columns = part.size - rows + 1
    size = 1 << int(np.ceil(np.log2(part.size + columns)))
    transformed = np.fft.fft(part, size)
    conjugate = np.fft.fft(part.conj(), size)

    def times(vector: Complex) -> Complex:
        product = np.fft.ifft(transformed * np.fft.fft(vector.ravel()[::-1], size))
        return np.asarray(product[columns - 1 : columns - 1 + rows])

    def adjoint_times(vector: Complex) -> Complex:
        product = np.fft.ifft(conjugate * np.fft.fft(vector.ravel()[::-1], size))
        return np.asarray(product[rows - 1 : rows - 1 + columns])

    hankel = LinearOperator((rows, columns), matvec=times, rmatvec=adjoint_times, dtype=complex)
    start = np.random.default_rng(0).normal(size=min(rows, columns)) + 0j
    left, _, _ = svds(hankel, k=min(components, rows - 2), v0=start, tol=1e-8)
    shift, *_ = np.linalg.lstsq(left[:-1], left[1:], rcond=None)
    poles = np.linalg.eigvals(shift)
    rate = np.log(poles) / dwell_s
    rate = np.minimum(rate.real, 0.0) + 1j * rate.imag
    design = np.exp(np.outer(np.arange(fid.size) * dwell_s, rate))
    amplitude = np.linalg.lstsq(design, fid, rcond=None)[0].astype(np.complex128)
    return Exponentials(rate.imag / (2 * np.pi), -rate.real, amplitude)


def remove_water(
    data: Transients, half_width_ppm: float = 0.4, components: int = 32, centre_ppm: float = 4.65
) -> Transients:
    """Subtract all exponentials within `half_width_ppm` of water from every FID.

    The record says how much was in that window before and after, relative to the largest metabolite peak
    between 1.8 and 3.4 ppm.
    """
    return _remove(data, (centre_ppm - half_width_ppm, centre_ppm + half_width_ppm), components, "water")


def remove_lipid(
    data: Transients, low_ppm: float = 0.5, high_ppm: float = 1.75, components: int = 32
) -> Transients:
    """Subtract all exponentials between two shifts, where lipid lies: macromolecules and lactate go with it."""
    return _remove(data, (low_ppm, high_ppm), components, "lipid")


def _remove(data: Transients, window_ppm: tuple[float, float], components: int, what: str) -> Transients:
    flat = np.asarray(data.data.reshape(-1, data.samples), dtype=np.complex128)
    cleaned = np.array([_without(fid, data, window_ppm, components) for fid in flat])
    result = cleaned.reshape(data.data.shape)
    before, after = (_over_metabolites(fids, data, window_ppm) for fids in (flat, cleaned))
    left = "" if after < 1.0 else "; what is left is larger than the metabolites: look at the spectrum"
    low, high = window_ppm
    record = Record(
        "Nuisance peak removal",
        f"{what} by HSVD, {components} components, {low:.2f} to {high:.2f} ppm; {what} over the largest metabolite "
        f"peak {before:.2f} before, {after:.2f} after{left}",
        {"before": before, "after": after, "spectra": before_after(data, flat, cleaned)},
    )
    return data.with_data(result, record)


def _without(fid: Complex, data: Transients, window_ppm: tuple[float, float], components: int) -> Complex:
    model = hsvd(fid, data.dwell_s, components)
    high, low = (ppm_to_hz(ppm, data.f0_hz, data.reference_ppm) for ppm in window_ppm)
    near = (model.frequency_hz > low) & (model.frequency_hz < high)
    chosen = Exponentials(model.frequency_hz[near], model.damping_per_s[near], model.amplitude[near])
    return np.asarray(fid - chosen.fid(fid.size, data.dwell_s))


def _over_metabolites(fids: Complex, data: Transients, window_ppm: tuple[float, float]) -> float:
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    magnitude = np.abs(to_spectrum(fids)).mean(axis=0)
    found = magnitude[(ppm > window_ppm[0]) & (ppm < window_ppm[1])].max(initial=0.0)
    return float(found / max(magnitude[(ppm > 1.8) & (ppm < 3.4)].max(initial=0.0), 1e-300))
