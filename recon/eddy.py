"""Eddy-current correction with the phase of an unsuppressed water signal."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from pulsespec.errors import DataError
from pulsespec.recon.transients import Record, Transients

_TRUSTED_OVER_NOISE = 8.0
_SMOOTHING_S = 0.004


def water_phase(water: Transients) -> NDArray[np.float64]:
    """Return the phase of a water FID over time in rad, extrapolated where it drowns; shape (samples,).

    Where |FID| is below eight times its noise, the phase is continued with the frequency it had at the
    end of the trusted part.
    """
    fid = water.data.reshape(-1, water.samples).mean(axis=0)
    size = np.abs(fid)
    noise = np.std(fid[-max(16, fid.size // 10) :])
    lost = np.flatnonzero(size < _TRUSTED_OVER_NOISE * noise)
    end = int(lost[0]) if lost.size else fid.size
    if end < 32:
        raise DataError(
            f"{water.source or 'water reference'}: no water signal above the noise to correct with"
        )
    window = max(5, round(_SMOOTHING_S / water.dwell_s) // 2 * 2 + 1)
    phase = np.unwrap(np.angle(fid[:end]))
    if end > 2 * window:
        phase[window:] = savgol_filter(phase, window, 2)[window:]
    tail = slice(max(0, end - max(32, end // 4)), end)
    slope = np.polyfit(np.arange(end)[tail], phase[tail], 1)[0]
    return np.concatenate([phase, phase[-1] + slope * np.arange(1, fid.size - end + 1)])


def correct_eddy_currents(data: Transients, water: Transients) -> Transients:
    """Subtract the phase of water from every FID (Klose 1990, doi:10.1002/mrm.1910140104).

    The water's frequency offset and zero-order phase go with it, so water lies at 4.65 ppm afterwards.

    Raises
    ------
    DataError
        Dwell times differ, or the water reference is the shorter one.

    """
    if abs(water.dwell_s - data.dwell_s) > 1e-3 * data.dwell_s or water.samples < data.samples:
        raise DataError(
            f"{water.source or 'water reference'}: {water.samples} points at {water.dwell_s * 1e6:.1f} us, expected "
            f"at least {data.samples} at {data.dwell_s * 1e6:.1f} us as in the metabolite data"
        )
    phase = water_phase(water)[: data.samples]
    offset_hz = float(np.polyfit(np.arange(data.samples) * data.dwell_s, phase, 1)[0] / (2 * np.pi))
    record = Record(
        "Eddy current correction",
        f"phase of the water reference (Klose); mean offset {offset_hz:.2f} Hz and its phase are removed too",
        {"phase_rad": phase, "offset_hz": offset_hz},
    )
    return data.with_data(data.data * np.exp(-1j * phase), record)
