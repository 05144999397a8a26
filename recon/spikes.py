"""Single samples that the receiver or the link spoiled: found where a spectrum has no signal, and repaired.

A spike of one sample is as large at every frequency, the signal of protons is not: outside its band there are only
noise and spikes. The height of a spike is what leaves least energy there, which is what it replaces.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pulsespec.conventions import ppm_axis
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]

METHOD = "Spike removal"
_BAND_PPM = (-1.5, 7.0)
"""Protons of tissue and water with their feet; what is beyond is noise."""
_LEAST_OUTSIDE = 0.15
_OVER_NOISE = 7.0
"""Of the standard deviation of the real part: noise does so in 1 of 4e10 samples."""
_FIRST, _LAST = 24, 8
"""Samples at the ends, where the cut of a FID rings."""
_MOST = 16
_NEIGHBOURS = 25


def remove_spikes(data: Transients) -> Transients:
    """Return proton FIDs without single spoiled samples; the record counts them. Nothing is done where none are.

    A FID with more than 16 is left as it is, and said to be.
    """
    whole = data.data.reshape(-1, data.samples)
    measured = np.flatnonzero(np.any(whole, axis=0))
    flat = whole[:, : int(measured[-1]) + 1 if measured.size else 0]  # zero filling is no measurement
    outside = _outside(data, flat.shape[1])
    if outside is None:
        return data
    found: dict[int, list[int]] = {}
    for row, fid in enumerate(flat):
        at = _spikes(fid, outside)
        if at:
            found[row] = at
    if not found:
        return data
    many = [row for row, at in found.items() if len(at) > _MOST]
    repaired = whole.copy()
    for row, at in found.items():
        if row not in many:
            repaired[row, : flat.shape[1]] = _without(flat[row], at, outside)
    count = sum(len(at) for row, at in found.items() if row not in many)
    first = found[next(iter(found))][0] * data.dwell_s * 1e3
    words = f"{count} samples in {len(found) - len(many)} of {len(flat)} FIDs, the first at {first:.1f} ms, stood out "
    words += f"of the noise by more than {_OVER_NOISE:g} times; each was replaced by what leaves least outside the band"
    if many:
        words += f"; {len(many)} FIDs with more than {_MOST} were left as they are"
    record = Record(METHOD, words, {"samples": count, "left": len(many)})
    return data.with_data(repaired.reshape(data.data.shape).astype(data.data.dtype), record)


def _outside(data: Transients, samples: int) -> NDArray[np.bool_] | None:
    """Return which bins of the unshifted spectrum hold no signal; `None` where too few do."""
    if data.nucleus != "1H" or samples < 4 * (_FIRST + _LAST):
        return None
    ppm = np.fft.ifftshift(ppm_axis(samples, data.dwell_s, data.f0_hz, data.reference_ppm))
    outside = (ppm < _BAND_PPM[0]) | (ppm > _BAND_PPM[1])
    return outside if outside.mean() >= _LEAST_OUTSIDE else None


def _spikes(fid: Complex, outside: NDArray[np.bool_]) -> list[int]:
    """Return the spoiled samples, largest first taken out before the next is looked for."""
    kernel = np.fft.ifft(outside.astype(float))
    rest = np.fft.ifft(np.fft.fft(fid) * outside)
    at: list[int] = []
    left = rest
    while True:
        noise, size = _noise(left), np.abs(left)
        size[:_FIRST] = size[len(size) - _LAST :] = 0.0
        size[at] = 0.0
        worst = int(np.argmax(size / (noise + 1e-300)))
        if not size[worst] > _OVER_NOISE * noise[worst]:
            return sorted(at)
        at = _moved([*at, worst], rest, kernel)
        if len(at) > _MOST:
            return at
        left = np.fft.ifft(np.fft.fft(_without(fid, at, outside, kernel)) * outside)


def _noise(rest: Complex) -> NDArray[np.float64]:
    """Return the standard deviation of the real part about each sample: it rises where strong water rings."""
    size = np.abs(rest)
    scale = np.maximum(median_filter(size, _NEIGHBOURS, mode="nearest"), np.median(size))
    return np.asarray(scale / np.sqrt(np.log(4)))  # the median of a Rayleigh distribution


def _moved(at: list[int], rest: Complex, kernel: Complex) -> list[int]:
    """Return the samples, each moved by one while that explains more: of two in a row one beside may come first."""

    def explained(samples: list[int]) -> float:
        index = np.array(samples)
        gram = kernel[(index[:, None] - index[None, :]) % rest.size]
        return float(np.vdot(rest[index], np.linalg.solve(gram, rest[index])).real)

    best, moved = explained(at), True
    while moved:
        moved = False
        for n, step in product(range(len(at)), (-1, 1)):
            trial = [*at[:n], at[n] + step, *at[n + 1 :]]
            if (
                len(set(trial)) == len(at)
                and 0 <= trial[n] < rest.size
                and explained(trial) > best * (1 + 1e-9)
            ):
                at, best, moved = trial, explained(trial), True
    return at


def _without(
    fid: Complex, at: list[int], outside: NDArray[np.bool_], kernel: Complex | None = None
) -> Complex:
    """Return the FID with those samples changed so that the least energy is left outside the band."""
    kernel = np.fft.ifft(outside.astype(float)) if kernel is None else kernel
    rest = np.fft.ifft(np.fft.fft(fid) * outside)
    index = np.array(at)
    gram = kernel[(index[:, None] - index[None, :]) % fid.size]
    done = fid.astype(np.complex128)
    done[index] -= np.linalg.solve(gram, rest[index])
    return done
