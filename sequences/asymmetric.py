"""Excitations of minimum phase, whose centre lies near their end: for the shortest echo times."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.sequences import slr
from pulsespec.sequences.pulse import Pulse


def asymmetric_excitation(
    flip_rad: float,
    time_bandwidth: float,
    transition: float,
    *,
    step_s: float,
    max_b1_hz: float,
) -> Pulse:
    """Design the shortest excitation of minimum phase that stays below `max_b1_hz`.

    The polynomial B is the minimum-phase factor of a linear-phase filter of twice the length (Pauly et al.
    1991, doi:10.1109/42.75611), turned around in time so that the largest lobe is the last one; used for STEAM
    of very short echo time since Tkac et al. (MRM 1999;41:649-656). The phase along the slice is not quite
    linear; `centre_s` is that of the line through it.

    Raises `SequenceError` where no pulse of less than 20 ms stays below the limit.
    """
    samples = max(64, int(8 * time_bandwidth))
    while True:
        rotation = slr.minimum_phase_rotation(flip_rad, time_bandwidth, transition, samples)
        b1_hz = rotation / (2 * np.pi * step_s)
        peak = float(np.abs(b1_hz).max())
        if peak <= max_b1_hz:
            break
        samples = 2 * int(np.ceil(max(samples * peak / max_b1_hz, samples + 2) / 2))
        if samples * step_s > 20e-3:
            raise SequenceError(f"asymmetric excitation: {max_b1_hz:.0f} Hz of B1 are too few for it")
    duration_s = samples * step_s
    bandwidth_hz = _bandwidth(b1_hz, step_s, time_bandwidth / duration_s)
    after_s = _isodelay_s(b1_hz, step_s, bandwidth_hz)
    return Pulse(
        "excitation", "excitation", b1_hz.astype(complex), duration_s, bandwidth_hz, duration_s - after_s
    )


def _bandwidth(b1_hz: NDArray[np.float64], step_s: float, guess_hz: float) -> float:
    offset = np.linspace(-2, 2, 2001) * guess_hz
    return slr.width_hz(offset, slr.excited(b1_hz, step_s, offset))


def _isodelay_s(b1_hz: NDArray[np.float64], step_s: float, bandwidth_hz: float) -> float:
    offset = np.linspace(-0.5, 0.5, 201) * bandwidth_hz
    profile = slr.excited(b1_hz, step_s, offset)
    return float(np.polyfit(offset, np.unwrap(np.angle(profile)), 1, w=np.abs(profile))[0] / (2 * np.pi))
