"""Removal of residual water and of lipid.

The FID is modelled as a sum of damped exponentials by a state-space method: the signal subspace of its Hankel
matrix is shift-invariant (HSVD: Barkhuijsen et al. 1987, doi:10.1016/0022-2364(87)90023-0), found with a
few Lanczos steps (Pijnappel et al. 1992, doi:10.1016/0022-2364(92)90241-X; products by FFT); the components near
water are subtracted.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.recon.pictures import before_after
from pulsespec.recon.subspace import band, coordinates, exponentials
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_WIDTHS_PPM = (0.14, 0.18, 0.22, 0.26, 0.3, 0.35)
_CHANCE = 3.0
_RCOND = 1e-3
_TOLERANCE = 1e-6
"""Relative, of the singular values: what is left of water changes by 1e-9 of it."""
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
        return np.asarray(exponentials(rate, samples, dwell_s).T @ self.amplitude)


def hsvd(fid: Complex, dwell_s: float, components: int) -> Exponentials:
    """Model an FID as at most `components` damped exponentials."""
    rate = decay_rates(fid, dwell_s, components)
    amplitude = np.linalg.lstsq(exponentials(rate, fid.size, dwell_s).T, fid, rcond=None)[0]
    return Exponentials(rate.imag / (2 * np.pi), -rate.real, amplitude.astype(np.complex128))


def decay_rates(fid: Complex, dwell_s: float, components: int) -> Complex:
    """Return the rates of at most `components` exponentials exp(rate t) of an FID in 1/s; none of them grows."""
    part = fid[:_LONGEST]
    rows = part.size // 2
    columns = part.size - rows + 1
    size = scipy.fft.next_fast_len(part.size)  # no element of the matrix lies beyond, so nothing wraps round
    transformed = scipy.fft.fft(part, size)

    def times_conjugate(vector: Complex) -> Complex:
        """Return the product of the Hankel matrix, or of its transpose, with the conjugate of a vector."""
        return np.asarray(scipy.fft.ifft(transformed * scipy.fft.fft(vector, size).conj()))

    def squared(vector: Complex) -> Complex:
        return times_conjugate(times_conjugate(vector.ravel())[:columns])[:rows]

    start = np.random.default_rng(0).normal(size=rows) + 0j
    square = LinearOperator((rows, rows), matvec=squared, dtype=complex)
    _, left = eigsh(square, k=min(components, rows - 2), v0=start, tol=_TOLERANCE)
    shift, *_ = np.linalg.lstsq(left[:-1], left[1:], rcond=None)
    rate = np.log(np.linalg.eigvals(shift)) / dwell_s
    return np.asarray(np.minimum(rate.real, 0.0) + 1j * rate.imag)


def remove_water(
    data: Transients, half_width_ppm: float = 0.4, components: int = 48, centre_ppm: float = 4.65
) -> Transients:
    """Subtract residual water from every FID.

    Few lines cannot stand for residual water, whose parts differ in place, width and phase. So it may be any
    sum of decaying signals in a band about `centre_ppm` (see `subspace.band`), fitted together with the
    exponentials that the state-space method finds outside `half_width_ppm`, so that it does not take what
    belongs to the tails of metabolites. The band is widened, at most to `half_width_ppm`, until more width
    explains no more than noise.

    The record says how much was in the window before and after, relative to the largest metabolite peak
    between 1.8 and 3.4 ppm, and how much is noise.
    """
    window = (centre_ppm - half_width_ppm, centre_ppm + half_width_ppm)
    flat = np.asarray(data.data.reshape(-1, data.samples), dtype=np.complex128)
    found = [water_fit(fid, data, half_width_ppm, components, centre_ppm) for fid in flat]
    cleaned = np.array([fit.without(fid) for fit, fid in zip(found, flat, strict=True)])
    widths = sorted({fit.half_width_ppm for fit in found})
    words = f"least squares in +- {' / '.join(f'{w:g}' for w in widths)} ppm beside {components} exponentials (HSVD)"
    return _recorded(data, flat, cleaned, window, "water", words)


@dataclass(frozen=True)
class WaterFit:
    """What may be water in a FID, and what may not."""

    water: Complex
    """Orthonormal signals of the band, shape (samples, n)."""
    others: Complex
    """Exponentials outside the window, of norm 1, shape (samples, m)."""
    half_width_ppm: float
    """Half the width of the band."""

    @cached_property
    def _solver(self) -> Complex:
        """What makes coefficients of the products of a FID with all columns."""
        vectors = _halves(self.others.conj().T @ self.water, self.others.conj().T @ self.others)
        return np.asarray(vectors @ vectors.conj().T)

    def coefficients(self, fid: Complex) -> Complex:
        """Return those of `water` and then those of `others`, by least squares; shape (n + m,)."""
        products = [(fid.conj() @ columns).conj() for columns in (self.water, self.others)]
        return np.asarray(self._solver @ np.concatenate(products))

    def without(self, fid: Complex) -> Complex:
        """Return a FID without its water: linear, so it shows what becomes of each part of a FID."""
        return np.asarray(fid - self.water @ self.coefficients(fid)[: self.water.shape[1]])


def _halves(cross: Complex, own: Complex) -> Complex:
    """Return a matrix whose product with its conjugate transpose is the pseudo-inverse, truncated, of a Gram matrix.

    That of the signals of a band, which are orthonormal, and `m` others; `cross` are products of these with those,
    shape (m, n), `own` those among themselves, (m, m).
    """
    gram = np.block([[np.eye(cross.shape[1]), cross.conj().T], [cross, own]])
    values, vectors = np.linalg.eigh(gram)
    kept = values > _RCOND**2 * values[-1]
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


def water_fit(
    fid: Complex,
    data: Transients,
    half_width_ppm: float = 0.4,
    components: int = 48,
    centre_ppm: float = 4.65,
) -> WaterFit:
    """Return what is fitted to water and to the rest of one FID: see `remove_water`."""
    rates = decay_rates(fid, data.dwell_s, components)
    centre_hz, hz_a_ppm = ppm_to_hz(centre_ppm, data.f0_hz, data.reference_ppm), data.f0_hz * 1e-6
    far = np.abs(rates.imag / (2 * np.pi) - centre_hz) >= half_width_ppm * hz_a_ppm
    others = exponentials(rates[far], fid.size, data.dwell_s).T
    others /= np.linalg.norm(others, axis=0)
    noise = float(np.mean(np.abs(fid[-max(8, fid.size // 8) :]) ** 2))
    products = np.vstack([fid, others.T])
    own = others.conj().T @ products.T
    best, size, energy = 0.0, 0, np.inf
    for half in (*(w for w in _WIDTHS_PPM if w < half_width_ppm), half_width_ppm):
        low, high = (float(centre_hz + sign * half * hz_a_ppm) for sign in (-1, 1))
        inside = coordinates(products, data.dwell_s, low, high)
        right = np.concatenate([inside[0], own[:, 0]])
        explained = _halves(inside[1:].conj(), own[:, 1:]).conj().T @ right
        left = float(np.linalg.norm(fid) ** 2 - np.linalg.norm(explained) ** 2)
        more = inside.shape[1] - size
        if best and energy - left < noise * (more + _CHANCE * np.sqrt(more)):
            break
        best, size, energy = half, inside.shape[1], left
    low, high = (float(centre_hz + sign * best * hz_a_ppm) for sign in (-1, 1))
    return WaterFit(band(fid.size, data.dwell_s, low, high).T, others, best)


def remove_lipid(
    data: Transients, low_ppm: float = 0.5, high_ppm: float = 1.75, components: int = 32
) -> Transients:
    """Subtract all exponentials between two shifts, where lipid lies: macromolecules and lactate go with it."""
    return _remove(data, (low_ppm, high_ppm), components, "lipid")


def _remove(data: Transients, window_ppm: tuple[float, float], components: int, what: str) -> Transients:
    flat = np.asarray(data.data.reshape(-1, data.samples), dtype=np.complex128)
    cleaned = np.array([_without(fid, data, window_ppm, components) for fid in flat])
    return _recorded(data, flat, cleaned, window_ppm, what, f"HSVD, {components} components")


def _recorded(
    data: Transients, flat: Complex, cleaned: Complex, window_ppm: tuple[float, float], what: str, words: str
) -> Transients:
    before, after = (_over_metabolites(fids, data, window_ppm) for fids in (flat, cleaned))
    tail = cleaned[:, -max(8, data.samples // 8) :]
    noise = float(np.sqrt(np.mean(np.abs(tail) ** 2) * data.samples))
    floor = noise / max(_metabolites(cleaned, data), 1e-300)
    left = "" if after < 1.0 else "; what is left is larger than the metabolites: look at the spectrum"
    low, high = window_ppm
    record = Record(
        "Nuisance peak removal",
        f"{what} at {low:.2f} to {high:.2f} ppm by {words}; largest point there over the largest metabolite peak "
        f"{before:.3f} before, {after:.3f} after, with noise of {floor:.3f}{left}",
        {
            "before": before,
            "after": after,
            "noise": floor,
            "spectra": before_after(data, flat, cleaned),
        },
    )
    return data.with_data(cleaned.reshape(data.data.shape), record)


def _without(fid: Complex, data: Transients, window_ppm: tuple[float, float], components: int) -> Complex:
    return without_window(fid, hsvd(fid, data.dwell_s, components), data, window_ppm)


def without_window(
    fid: Complex, model: Exponentials, data: Transients, window_ppm: tuple[float, float]
) -> Complex:
    """Return an FID without those exponentials of its model that lie between two chemical shifts."""
    high, low = (ppm_to_hz(ppm, data.f0_hz, data.reference_ppm) for ppm in window_ppm)
    near = (model.frequency_hz > low) & (model.frequency_hz < high)
    chosen = Exponentials(model.frequency_hz[near], model.damping_per_s[near], model.amplitude[near])
    return np.asarray(fid - chosen.fid(fid.size, data.dwell_s))


def _over_metabolites(fids: Complex, data: Transients, window_ppm: tuple[float, float]) -> float:
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    magnitude = np.abs(to_spectrum(fids)).mean(axis=0)
    found = magnitude[(ppm > window_ppm[0]) & (ppm < window_ppm[1])].max(initial=0.0)
    return float(found / max(_metabolites(fids, data), 1e-300))


def _metabolites(fids: Complex, data: Transients) -> float:
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    return float(np.abs(to_spectrum(fids)).mean(axis=0)[(ppm > 1.8) & (ppm < 3.4)].max(initial=0.0))
