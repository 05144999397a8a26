"""Faults of the receiver and of the localisation that show in the samples themselves."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis
from pulsespec.recon.transients import Transients

_LEAST_RUN = 3
_SAME = 1e-6
_WINDOW_S = 0.04
_LATE_S = 0.08
_GROWTH = 2.0
_OVER_NOISE = 8.0
_WATER_HALF_WIDTH_PPM = 0.45
_METABOLITES_PPM = (-0.5, 9.0)
_TAIL = 0.25
_STEADY = 0.15


def clipped_samples(data: Transients) -> int:
    """Return how many samples lie in flat tops: runs of three or more that are equal and the extreme of their shot.

    Real and imaginary parts are looked at apart, each ADC by itself, and at least two runs are needed: a coarse
    converter may repeat the top of one slow oscillation. What was clipped before the receiver's mixer and filter
    leaves no flat top in the samples and cannot be seen here.
    """
    runs = samples = 0
    for block in data.data.reshape(-1, data.samples):
        for part in (block.real, block.imag):
            for extreme in (part.max(), part.min()):
                if abs(extreme) > 0.5 * np.abs(part).max() > 0:
                    lengths = _runs(np.abs(part - extreme) <= _SAME * abs(extreme))
                    runs += lengths.size
                    samples += int(lengths.sum())
    return samples if runs >= 2 else 0


def _runs(mask: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return the lengths of the runs of at least three true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return lengths[lengths >= _LEAST_RUN]


def offset_over_noise(data: Transients) -> float:
    """Return the height over noise of the spike that a constant offset makes; 0 where the tail is no constant.

    dims ("t",), before water removal. The last quarter of the FID is halved: signal decays and turns from one half
    to the next, an offset of the receiver does not.
    """
    tail = data.data[-max(32, round(_TAIL * data.samples)) :]
    first, second = np.array_split(tail, 2)
    means = np.array([first.mean(), second.mean()])
    noise = np.std(np.diff(tail)) / 2
    error = noise / np.sqrt(first.size / 2)
    if abs(means[1] - means[0]) > _STEADY * abs(means.mean()) + 2 * error:
        return 0.0
    return float(abs(means.mean()) * np.sqrt(data.samples) / max(noise, 1e-300))


def spurious_echo(spectrum: Transients) -> float:
    """Return the height of a late burst over the strongest line's start, 0 where nothing grows.

    dims ("t",), water removed. In a sliding window of 40 ms each frequency of a FID decays; an echo from outside
    the voxel grows where there was less before (twice as much, eight times the noise). Bins about water are left
    out, since removing water leaves something of every shape there.
    """
    window = max(8, round(_WINDOW_S / spectrum.dwell_s))
    starts = np.arange(0, spectrum.samples - window, max(1, window // 4))
    if starts.size < 8:
        return 0.0
    shape = np.sin(np.pi * (np.arange(window) + 0.5) / window)
    pieces = np.stack([spectrum.data[start : start + window] * shape for start in starts])
    heights = np.abs(np.fft.fftshift(np.fft.fft(pieces, axis=1), axes=1))
    ppm = ppm_axis(window, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm)
    inside = (ppm > _METABOLITES_PPM[0]) & (ppm < _METABOLITES_PPM[1])
    inside &= np.abs(ppm - 4.65) > _WATER_HALF_WIDTH_PPM
    if not inside.any():
        return 0.0
    heights = heights[:, inside]
    earlier = np.maximum.accumulate(heights, axis=0)
    gap = 4  # windows that do not overlap
    late = starts[gap:] * spectrum.dwell_s > _LATE_S
    now, before = heights[gap:][late], earlier[:-gap][late]
    noise = float(np.median(heights[-max(4, starts.size // 5) :]))
    grows = (now > _GROWTH * before) & (now > _OVER_NOISE * noise)
    return float(np.max(now * grows, initial=0.0) / max(float(heights[:gap].max()), 1e-300))
