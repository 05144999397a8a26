"""Figures of merit of a processed spectrum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.transients import Transients

_SINGLETS_PPM = {"NAA": (1.85, 2.15), "Cr": (2.9, 3.12)}
_ZERO_FILLING = 8
_EMPTY_PPM = (-0.5, 9.0)
_LEAST_POINTS = 64


@dataclass(frozen=True)
class Quality:
    """Signal-to-noise ratio and linewidth."""

    snr: float
    """Height of the NAA singlet over the standard deviation of the noise (Kreis et al. 2021, 10.1002/nbm.4347)."""
    linewidth_hz: float
    """Full width at half height of the taller of the NAA and Cr singlets, in Hz."""
    linewidth_of: str
    """Which singlet the width was measured on."""


def quality(spectrum: Transients) -> Quality:
    """Measure a single FID, dims ("t",), on its magnitude-phased spectrum without apodisation."""
    samples = _ZERO_FILLING * spectrum.samples
    fid = np.concatenate([spectrum.data, np.zeros(samples - spectrum.samples)])
    values = to_spectrum(fid)
    ppm = ppm_axis(samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm)
    axis = ppm_axis(spectrum.samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm)
    noise = _noise(to_spectrum(spectrum.data).real, axis)
    heights, widths = {}, {}
    for name, (low, high) in _SINGLETS_PPM.items():
        inside = np.flatnonzero((ppm > low) & (ppm < high))
        if inside.size < 3:
            continue
        peak = inside[np.argmax(np.abs(values[inside]))]
        real = (values * np.exp(-1j * np.angle(values[peak]))).real
        peak = inside[np.argmax(real[inside])]
        heights[name], widths[name] = float(real[peak]), _width(real, int(peak))
    if not heights:
        return Quality(float("nan"), float("nan"), "")
    tallest = max(heights, key=lambda name: heights[name])
    step_hz = 1.0 / (spectrum.dwell_s * samples)
    return Quality(heights.get("NAA", float("nan")) / noise, widths[tallest] * step_hz, tallest)


def _noise(spectrum: NDArray[np.float64], ppm: NDArray[np.float64]) -> float:
    """Return the standard deviation where protons have no signal, detrended in pieces."""
    empty = [spectrum[ppm > _EMPTY_PPM[1]], spectrum[ppm < _EMPTY_PPM[0]]]
    if sum(part.size for part in empty) < _LEAST_POINTS:
        empty = [spectrum[: spectrum.size // 8], spectrum[-(spectrum.size // 8) :]]
    squares, freedom = 0.0, 0
    for piece in (piece for part in empty for piece in np.array_split(part, max(1, part.size // 64))):
        if piece.size > 8:
            at = np.linspace(-1, 1, piece.size)
            squares += float(np.sum((piece - np.polyval(np.polyfit(at, piece, 2), at)) ** 2))
            freedom += piece.size - 3
    return float(np.sqrt(squares / max(freedom, 1))) + 1e-300


def _width(real: NDArray[np.float64], peak: int) -> float:
    """Return the width at half height in bins, edges interpolated."""
    half = real[peak] / 2
    edges = []
    for step in (-1, 1):
        at = peak
        while 0 < at < real.size - 1 and real[at] > half:
            at += step
        inner = at - step
        rise = real[inner] - real[at]
        edges.append(inner + step * (real[inner] - half) / rise if rise > 0 else float(at))
    return edges[1] - edges[0]
