"""Figures of merit of a spectrum: signal-to-noise ratio, linewidth, lipids, residual water."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.coils import coil_weights
from pulsespec.recon.transients import Transients

_SINGLETS_PPM = {"NAA": (1.85, 2.15), "Cr": (2.9, 3.12)}
_LIPIDS_PPM = (0.8, 1.5)
_WATER_PPM = (4.25, 5.05)
_ZERO_FILLING = 8
_EMPTY_PPM = (-0.5, 9.0)
_WEAK_PPM = (0.0, 5.5)
_INNER = 0.8
_LEAST_POINTS = 64
_BELL_S = 0.25
_STANDS_OUT = 10.0

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Signal-to-noise ratio and linewidth."""

    snr: float
    """Height of the NAA singlet over the standard deviation of the noise, both in the real part of the spectrum
    without apodisation (Kreis et al. 2021, doi:10.1002/nbm.4347, and Near et al. 2021, doi:10.1002/nbm.4257;
    recalled: one standard deviation, not two)."""
    linewidth_hz: float
    """Full width at half height of the narrower of the NAA and Cr singlets that stand out, in Hz: overlap with
    coupled lines and macromolecules only ever broadens."""
    linewidth_of: str
    """Which singlet the width was measured on."""


def quality(spectrum: Transients) -> Quality:
    """Measure a single FID, dims ("t",), phased on each singlet, without apodisation."""
    values, ppm = _zero_filled(spectrum)
    noise = noise_sd(spectrum)
    heights, widths = {}, {}
    for name, window in _SINGLETS_PPM.items():
        found = _singlet(values, ppm, window)
        if found is not None:
            real, peak = found
            heights[name], widths[name] = float(real[peak]), _width(real, peak)
    if not heights:
        return Quality(float("nan"), float("nan"), "")
    tallest = max(heights.values())
    clear = [n for n, h in heights.items() if h == tallest or h > max(_STANDS_OUT * noise, tallest / 3)]
    narrowest = min(clear, key=lambda name: widths[name])
    step_hz = 1.0 / (spectrum.dwell_s * values.size)
    return Quality(heights.get("NAA", float("nan")) / noise, widths[narrowest] * step_hz, narrowest)


def noise_sd(spectrum: Transients) -> float:
    """Return the standard deviation of the noise in the real part of a spectrum, dims ("t",)."""
    axis = ppm_axis(spectrum.samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm)
    return _noise(to_spectrum(spectrum.data).real, axis)


def one_fid(data: Transients) -> Transients:
    """Return the mean over shots and editing conditions, coils combined; dims ("t",)."""
    across = tuple(i for i, name in enumerate(data.dims) if name in ("average", "edit"))
    mean = data.data.mean(axis=across, dtype=np.complex128) if across else data.data
    dims = tuple(name for i, name in enumerate(data.dims) if i not in across)
    small = replace(data, data=mean, dims=dims)
    if "coil" in dims:
        combined = np.tensordot(coil_weights(small), mean, axes=(0, dims.index("coil")))
        small = replace(small, data=combined, dims=tuple(name for name in dims if name != "coil"))
    return small


def linewidth_of_water(data: Transients) -> float:
    """Return the full width at half height of water in Hz, of a FID with dims ("t",)."""
    values, ppm = _zero_filled(data)
    found = _singlet(values, ppm, _WATER_PPM)
    if found is None:
        return float("nan")
    return _width(*found) / (data.dwell_s * values.size)


def water_height(data: Transients) -> float:
    """Return the height of water in the magnitude spectrum of all coils together, mean over shots.

    Root of the sum of squares over coils and mean over all else of the magnitude between 4.25 and 5.05 ppm, so
    that neither phases nor combination weights matter; what is compared must have the same receiver gain.
    """
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    inside = (ppm > _WATER_PPM[0]) & (ppm < _WATER_PPM[1])
    if not inside.any():
        return float("nan")
    coil = "coil" in data.dims
    shots = np.moveaxis(data.data, data.axis("coil"), -2) if coil else data.data[..., np.newaxis, :]
    shots = shots.reshape(-1, *shots.shape[-2:])
    tops = [float(np.sqrt(np.sum(np.abs(to_spectrum(shot)[:, inside]) ** 2, axis=0)).max()) for shot in shots]
    return float(np.mean(tops)) / data.samples


def water_over_naa(data: Transients, naa_in: Transients | None = None) -> float:
    """Return the height of water over that of NAA, dims ("t",), under a sine bell that takes off water's tails.

    NAA is that of `naa_in` where an editing pulse may have taken it out of `data`.
    """
    n = min(data.samples, max(16, round(_BELL_S / data.dwell_s)))
    bell = np.zeros(data.samples)
    bell[:n] = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    values, ppm = _zero_filled(replace(data, data=data.data * bell))
    other, _ = _zero_filled(replace(data, data=(naa_in or data).data * bell))
    water = _top(np.abs(values), ppm, _WATER_PPM)
    naa = _top(np.abs(other), ppm, _SINGLETS_PPM["NAA"])
    return water / max(naa, 1e-300)


def lipid_over_naa(spectrum: Transients) -> float:
    """Return the height between 0.8 and 1.5 ppm over that of NAA, dims ("t",), phased on NAA."""
    values, ppm = _zero_filled(spectrum)
    found = _singlet(values, ppm, _SINGLETS_PPM["NAA"])
    if found is None:
        return float("nan")
    real, peak = found
    inside = (ppm > _LIPIDS_PPM[0]) & (ppm < _LIPIDS_PPM[1])
    return float(np.abs(real[inside]).max(initial=0.0) / real[peak])


def phase_difference_deg(spectrum: Transients) -> float:
    """Return the difference of phase between the NAA and Cr singlets at their tops, in degrees; dims ("t",).

    NaN where one of them is below ten times the noise. Tails of neighbours and macromolecules turn it by up to 30
    degrees in good spectra at short TE.
    """
    values, ppm = _zero_filled(spectrum)
    noise = noise_sd(spectrum)
    phases = []
    for window in _SINGLETS_PPM.values():
        inside = np.flatnonzero((ppm > window[0]) & (ppm < window[1]))
        if inside.size < 3:
            return float("nan")
        top = values[inside[np.argmax(np.abs(values[inside]))]]
        if np.abs(top) < _STANDS_OUT * noise:
            return float("nan")
        phases.append(top)
    return float(np.rad2deg(np.abs(np.angle(phases[0] / phases[1]))))


def _zero_filled(spectrum: Transients) -> tuple[Complex, Real]:
    samples = _ZERO_FILLING * spectrum.samples
    fid = np.concatenate([spectrum.data, np.zeros(samples - spectrum.samples)])
    return to_spectrum(fid), ppm_axis(samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm)


def _top(values: Real, ppm: Real, window: tuple[float, float]) -> float:
    return float(values[(ppm > window[0]) & (ppm < window[1])].max(initial=0.0))


def _singlet(values: Complex, ppm: Real, window: tuple[float, float]) -> tuple[Real, int] | None:
    """Return the real spectrum phased on the strongest line in the window, and the bin of its top."""
    inside = np.flatnonzero((ppm > window[0]) & (ppm < window[1]))
    if inside.size < 3:
        return None
    peak = inside[np.argmax(np.abs(values[inside]))]
    real = (values * np.exp(-1j * np.angle(values[peak]))).real
    return real, int(inside[np.argmax(real[inside])])


def _noise(spectrum: Real, ppm: Real) -> float:
    """Return the standard deviation where protons have no signal, detrended in pieces.

    The outer tenths of the band are left out: the receiver's filter takes noise away there (down to a half, in data
    at hand). A band too narrow to reach beyond 9 ppm is measured where signals are weak and smooth, and the median of
    the pieces counts.
    """
    regions, length, pooled = noise_regions(ppm)
    found = np.array(noise_pieces([spectrum[region] for region in regions], length))
    if not found.size:
        return float("nan")
    if pooled:
        return float(np.sqrt(found[:, 0].sum() / found[:, 1].sum())) + 1e-300
    return float(np.sqrt(np.median(found[:, 0] / found[:, 1]))) + 1e-300


def noise_regions(ppm: Real) -> tuple[list[NDArray[np.intp]], int, bool]:
    """Return the points of a band to measure noise on, the length of pieces, and whether these are pooled.

    Those that are not pooled have signal: the median of them counts.
    """
    inner = np.abs(np.linspace(-1, 1, ppm.size)) < _INNER

    def beyond(limits: tuple[float, float]) -> list[NDArray[np.intp]]:
        return [np.flatnonzero(inner & (ppm > limits[1])), np.flatnonzero(inner & (ppm < limits[0]))]

    empty, weak = beyond(_EMPTY_PPM), beyond(_WEAK_PPM)
    if sum(part.size for part in empty) >= _LEAST_POINTS:
        return empty, 64, True
    if sum(part.size for part in weak) < _LEAST_POINTS:
        edge, every = ppm.size // 8, np.arange(ppm.size)
        weak = [every[:edge], every[-edge:]]
    return weak, 24, False


def noise_pieces(parts: list[Real], length: int) -> list[tuple[Any, int]]:
    """Return the sum of squares about a parabola, and its degrees of freedom, of each piece of about `length`.

    Parts have shape (..., n); sums have shape (...).
    """
    found = []
    for piece in (
        p for part in parts for p in np.array_split(part, max(1, part.shape[-1] // length), axis=-1)
    ):
        size = piece.shape[-1]
        if size > 8:
            curves = np.linalg.qr(np.vander(np.linspace(-1, 1, size), 3))[0]
            rest = piece - (piece @ curves) @ curves.T
            found.append((np.sum(rest**2, axis=-1), size - 3))
    return found


def _width(real: Real, peak: int) -> float:
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
