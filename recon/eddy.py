"""Eddy-current correction with the phase of an unsuppressed water signal."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import DataError
from pulsespec.recon.pictures import before_after
from pulsespec.recon.transients import Record, Transients

Real = NDArray[np.float64]

_TRUSTED_OVER_NOISE = 8.0
_SMOOTHING_S = 0.004
_SHORTEST = 32
_SAME_TE_S = 1e-3
_WATER_PPM = 4.65
_FASTEST_RAD = 2.5
"""Phase from sample to sample beyond which an unwrapped phase cannot be trusted."""


def water_phase(water: Transients) -> Real:
    """Return the phase of a water FID over time in rad, extrapolated where it drowns; shape (samples,).

    Where |FID| is below eight times its noise, the phase is continued with the frequency it had at the
    end of the trusted part. The water's own frequency is taken away before the phase is unwrapped and smoothed,
    so that a large offset does not wrap between samples.
    """
    return _phase(water)[0]


def _phase(water: Transients) -> tuple[Real, int]:
    """Return the phase, and how many samples of it were measured."""
    fid = np.asarray(water.data.reshape(-1, water.samples).mean(axis=0), dtype=np.complex128)
    return phase_of_fid(fid, water.dwell_s, water.source or "water reference")


def phase_of_fid(fid: NDArray[np.complex128], dwell_s: float, name: str) -> tuple[Real, int]:
    """Return the phase of one water FID as `water_phase` has it, and how many samples of it were measured.

    Raises
    ------
    DataError
        There is too little signal, or the phase cannot be followed; `name` is said.

    """
    size = np.abs(fid)
    noise = float(np.std(fid[-max(16, fid.size // 10) :]))
    window = max(5, round(_SMOOTHING_S / dwell_s) // 2 * 2 + 1)
    level = np.convolve(np.pad(size, window // 2, mode="edge"), np.ones(window) / window, mode="valid")
    lost = np.flatnonzero(level < _TRUSTED_OVER_NOISE * noise)
    end = int(lost[0]) if lost.size else fid.size
    if end < _SHORTEST:
        raise DataError(f"{name}: no water signal above the noise to correct with")
    offset = float(np.angle(np.vdot(fid[: end - 1], fid[1:end])))
    at = np.arange(fid.size)
    phase = np.unwrap(np.angle(fid[:end] * np.exp(-1j * offset * at[:end])))
    if np.max(np.abs(np.diff(phase))) > _FASTEST_RAD:
        raise DataError(f"{name}: the phase of water jumps from sample to sample, so it cannot be followed")
    if end > 2 * window:
        phase[window:] = smooth(phase, window)[window:]
    tail = slice(max(0, end - max(32, end // 4)), end)
    slope = np.polyfit(at[tail], phase[tail], 1)[0]
    whole = np.concatenate([phase, phase[-1] + slope * np.arange(1, fid.size - end + 1)])
    return whole + offset * at, end


def smooth(values: Real, window: int) -> Real:
    """Return at each point the parabola fitted to the `window` points about it, at the ends to the first or last.

    Savitzky and Golay 1964, doi:10.1021/ac60214a047. Here, since `scipy.signal` takes a third of a second to import.
    """
    half = window // 2
    parabola = np.vander(np.linspace(-1.0, 1.0, window), 3)
    fitted = parabola @ np.linalg.pinv(parabola)
    middle = np.convolve(values, fitted[half], mode="valid")  # symmetric: no need to turn it round
    start, end = fitted[:half] @ values[:window], fitted[half + 1 :] @ values[-window:]
    return np.concatenate([start, middle, end])


def _resampled(phase: Real, water: Transients, data: Transients) -> Real:
    """Return a phase at the sampling times of the data, continued with its last slope where it is too short."""
    if abs(water.dwell_s / data.dwell_s - 1) < 1e-3 and phase.size >= data.samples:
        return phase[: data.samples]
    known, wanted = np.arange(phase.size) * water.dwell_s, np.arange(data.samples) * data.dwell_s
    last = max(8, phase.size // 8)
    slope, start = np.polyfit(known[-last:], phase[-last:], 1)
    return np.asarray(np.where(wanted <= known[-1], np.interp(wanted, known, phase), start + slope * wanted))


def correct_eddy_currents(data: Transients, water: Transients) -> Transients:
    """Subtract the phase of water from every FID (Klose 1990, doi:10.1002/mrm.1910140104).

    The water's offset from its place and its zero-order phase go with it, so water lies at 4.65 ppm on the
    axis of the data afterwards; a water reference with another carrier is compared on its own axis. Another
    dwell time or length is interpolated or continued, and the record says so.

    Raises
    ------
    DataError
        The echo times differ, so that gradients lie elsewhere and eddy currents with them; the water has too
        little signal; or its phase cannot be followed.

    """
    name = water.source or "water reference"
    if water.te_s is not None and data.te_s is not None and abs(water.te_s - data.te_s) > _SAME_TE_S:
        raise DataError(
            f"{name}: its echo time is {water.te_s * 1e3:g} ms, expected {data.te_s * 1e3:g} ms as in the "
            "metabolite data: eddy currents differ"
        )
    phase, trusted = _phase(water)
    place, own = (
        float(ppm_to_hz(_WATER_PPM, one.f0_hz, one.reference_ppm)) if one.nucleus == "1H" else 0.0
        for one in (data, water)
    )
    phase = phase - 2 * np.pi * own * np.arange(phase.size) * water.dwell_s
    phase = _resampled(phase, water, data)
    t = np.arange(data.samples) * data.dwell_s
    heard = max(8, min(data.samples, round(trusted * water.dwell_s / data.dwell_s)))
    offset_hz, start = np.polyfit(t[:heard], phase[:heard], 1) / (2 * np.pi)
    shape = phase[:heard] - 2 * np.pi * (offset_hz * t[:heard] + start)
    corrected = data.data * np.exp(-1j * phase)
    record = Record(
        "Eddy current correction",
        f"phase of {name} (Klose), measured for {trusted * water.dwell_s * 1e3:.0f} ms and continued after that; mean "
        f"offset {offset_hz:.2f} Hz and its phase are removed too; eddy currents of "
        f"{np.rad2deg(np.ptp(shape)):.0f} degrees{_remarks(data, water, place, own)}",
        {
            "phase_rad": phase,
            "offset_hz": float(offset_hz),
            "eddy_deg": float(np.rad2deg(np.ptp(shape))),
            "spectra": before_after(data, data.data, corrected),
        },
    )
    return data.with_data(corrected, record)


def _remarks(data: Transients, water: Transients, place: float, own: float) -> str:
    """Return what is unusual about the reference, in words."""
    notes = []
    if abs(water.dwell_s / data.dwell_s - 1) >= 1e-3:
        notes.append(f"interpolated from {water.dwell_s * 1e6:.1f} to {data.dwell_s * 1e6:.1f} us")
    if water.samples * water.dwell_s < 0.999 * data.samples * data.dwell_s:
        notes.append(f"continued beyond its {water.samples * water.dwell_s * 1e3:.0f} ms")
    if abs(place - own) > 0.5:
        notes.append(
            f"its carrier is {own - place:.1f} Hz from that of the metabolites, which was allowed for"
        )
    return "".join(f"; {note}" for note in notes)
