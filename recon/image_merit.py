"""Signal-to-noise ratio of many spectra at once: what `quality` measures of one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.quality import noise_pieces, noise_regions
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SINGLETS_PPM = {"NAA": (1.85, 2.15), "Cr": (2.9, 3.12), "Cho": (3.12, 3.32)}
_ZERO_FILLING = 8


@dataclass(frozen=True)
class Merit:
    """Figures of merit of v spectra."""

    snr: Real
    """Height of the NAA singlet over the standard deviation of the noise (Kreis et al. 2021, doi:10.1002/nbm.4347),
    as `Quality.snr`; shape (v,)."""
    best_snr: Real
    """The same of the tallest of NAA, creatine and choline: a tumour has no NAA; shape (v,)."""
    noise_sd: Real
    """Of the noise in the real part of the spectrum; shape (v,)."""


def merits(fids: Complex, like: Transients) -> Merit:
    """Return the figures of merit of FIDs without apodisation, phased on each singlet.

    Parameters
    ----------
    fids
        Shape (v, samples).
    like
        What says dwell time, frequency and reference.

    """
    noise = _noise(to_spectrum(fids).real, like)
    samples = _ZERO_FILLING * fids.shape[1]
    spectra = to_spectrum(np.pad(fids, ((0, 0), (0, samples - fids.shape[1]))))
    ppm = ppm_axis(samples, like.dwell_s, like.f0_hz, like.reference_ppm)
    heights = np.stack([_height(spectra, ppm, window) for window in _SINGLETS_PPM.values()])
    return Merit(heights[0] / noise, heights.max(axis=0) / noise, noise)


def _height(spectra: Complex, ppm: Real, window: tuple[float, float]) -> Real:
    part = spectra[:, (ppm > window[0]) & (ppm < window[1])]
    if part.shape[1] < 3:
        return np.full(len(spectra), np.nan)
    peak = np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, None], axis=1)
    return np.asarray((part * np.exp(-1j * np.angle(peak))).real.max(axis=1))


def _noise(spectra: Real, like: Transients) -> Real:
    """Return the noise of real spectra where protons have no signal, as `quality.noise_sd` does."""
    ppm = ppm_axis(spectra.shape[1], like.dwell_s, like.f0_hz, like.reference_ppm)
    regions, length, pooled = noise_regions(ppm)
    pieces = noise_pieces([spectra[:, region] for region in regions], length)
    if not pieces:
        return np.full(len(spectra), np.nan)
    squares, freedom = np.array([p[0] for p in pieces]), np.array([p[1] for p in pieces], dtype=float)
    if pooled:
        return np.asarray(np.sqrt(squares.sum(axis=0) / freedom.sum()) + 1e-300)
    return np.asarray(np.sqrt(np.median(squares / freedom[:, None], axis=0)) + 1e-300)
