"""Frequency and phase alignment of shots, rejection of outliers, averaging."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_ITERATIONS = 12
_PASSES = 4
_LARGEST_HZ = 30.0  # drift and breathing at 7 T stay below; a wider search finds noise in weak shots
_LONGEST_S = 0.25
_OUTLIER = 6.0
_STRONGER = 1.5  # times the median shot: motion and spoiling only ever lose signal


def spectral_registration(fids: Complex, dwell_s: float) -> tuple[Real, Real]:
    """Return frequency (Hz) and phase (rad) of each FID against their robust mean; each of shape (n,).

    Least squares in the time domain (Near et al. 2015, doi:10.1002/mrm.25094), for all FIDs at once by
    Gauss-Newton from a start on a grid; the reference is renewed from what has been aligned.
    """
    n = min(fids.shape[1], max(16, round(_LONGEST_S / dwell_s)))
    t = np.arange(n) * dwell_s
    part = fids[:, :n]
    reference = part[_most_typical(part)]
    for _ in range(_PASSES):
        frequency, phase = _register(part, reference, t)
        aligned = part * np.exp(-2j * np.pi * frequency[:, None] * t - 1j * phase[:, None])
        reference = np.median(aligned.real, axis=0) + 1j * np.median(aligned.imag, axis=0)
    return frequency - np.median(frequency), phase - np.angle(np.mean(np.exp(1j * phase)))


def _most_typical(fids: Complex) -> int:
    power = np.linalg.norm(fids, axis=1) + 1e-300
    likeness = np.abs(fids @ fids.conj().T) / np.outer(power, power)
    return int(np.argmax(np.median(likeness, axis=1)))


def _register(fids: Complex, reference: Complex, t: Real) -> tuple[Real, Real]:
    size = 8 * t.size
    grid = np.fft.fftfreq(size, t[1])
    near = np.flatnonzero(np.abs(grid) <= _LARGEST_HZ)
    overlap = np.fft.fft(fids * reference.conj(), size, axis=1)[:, near]
    frequency = grid[near][np.argmax(np.abs(overlap), axis=1)]
    phase = np.angle(np.sum(fids * np.exp(-2j * np.pi * frequency[:, None] * t) * reference.conj(), axis=1))
    weight = np.abs(reference) ** 2
    centre = np.sum(weight * t) / weight.sum()
    spread = np.sum(weight * (t - centre) ** 2)
    for _ in range(_ITERATIONS):
        turned = fids * np.exp(-2j * np.pi * frequency[:, None] * t - 1j * phase[:, None])
        error = np.imag(turned * reference.conj())
        step_frequency = error @ (t - centre) / spread / (2 * np.pi)
        step_phase = error.sum(axis=1) / weight.sum() - 2 * np.pi * step_frequency * centre
        frequency, phase = frequency + step_frequency, phase + step_phase
    return frequency, phase


def align(data: Transients) -> Transients:
    """Align the shots (dimension "average") in frequency and phase; nothing is done to a single shot."""
    if data.size("average") < 2 or data.dims != ("average", "t"):
        return data
    frequency, phase = spectral_registration(data.data, data.dwell_s)
    t = np.arange(data.samples) * data.dwell_s
    aligned = data.data * np.exp(-2j * np.pi * frequency[:, None] * t - 1j * phase[:, None])
    record = Record(
        "Frequency and phase correction",
        f"spectral registration of {len(frequency)} shots; drift {np.ptp(frequency):.2f} Hz, phase "
        f"{np.rad2deg(np.std(phase)):.1f} degrees (standard deviation)",
        {"frequency_hz": frequency, "phase_rad": phase},
    )
    return data.with_data(aligned, record)


def average(data: Transients) -> Transients:
    """Return the mean over shots without those that are unlike the rest, and say which were left out.

    A shot is left out where its distance from the median shot is more than six robust standard deviations
    above the median distance. Shots much stronger than the rest are no accidents but another condition
    (such as b = 0): then all are kept and the record says so.
    """
    if "average" not in data.dims:
        return data
    axis = data.axis("average")
    shots = np.moveaxis(data.data, axis, 0)
    distance = np.array([float(np.linalg.norm(shot)) for shot in shots - _median(shots)])
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle)) + 1e-3 * middle
    keep = distance <= middle + _OUTLIER * spread
    strength = np.abs(np.vdot(_median(shots), _median(shots)))
    gain = np.array([np.vdot(_median(shots), shot).real for shot in shots]) / max(strength, 1e-300)
    left_out = [int(index) for index in np.flatnonzero(~keep)]
    why = f"; left out as unlike the rest: {left_out}" if left_out else ""
    if np.any(gain[~keep] > _STRONGER):
        keep[:] = True
        why = f"; {left_out} are stronger than the rest: several conditions in one average? All were kept"
        left_out = []
    record = Record(
        "Signal averaging",
        f"mean of {int(keep.sum())} of {len(shots)} shots{why}",
        {"distance": distance, "left_out": left_out},
    )
    return data.with_data(shots[keep].mean(axis=0), record, drop=("average",))


def _median(shots: Complex) -> Complex:
    return np.asarray(np.median(shots.real, axis=0) + 1j * np.median(shots.imag, axis=0))
