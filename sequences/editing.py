"""Frequency-selective 180-degree pulses with one band or two, for editing."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from pulsespec.errors import SequenceError
from pulsespec.sequences.pulse import Pulse
from pulsespec.sequences.slr import longitudinal, width_hz

_TRUNCATION = 0.01
"""B1 of the Gaussian at its ends over that in its middle."""


def editing_pulse(bands_hz: tuple[float, ...], duration_s: float, step_s: float, max_b1_hz: float) -> Pulse:
    """Design a Gaussian inversion of one band, or of two at once.

    Two bands are the sum of two Gaussians; their B1 is tuned again, for the one disturbs what the other does
    (dual-band editing: Chan et al., Magn Reson Med 2016;76:11-19).

    Parameters
    ----------
    bands_hz
        Centres of the bands from the carrier; one, or two.
    duration_s, step_s
        Length of the pulse and of its steps.
    max_b1_hz
        Largest gamma B1 / 2 pi.

    Raises
    ------
    SequenceError
        The pulse needs more B1 than `max_b1_hz`; the message gives the shortest that does not.

    """
    samples = round(duration_s / step_s)
    time = ((np.arange(samples) + 0.5) / samples - 0.5) * duration_s
    spread = duration_s / 2 / np.sqrt(-2 * np.log(_TRUNCATION))
    bands = np.asarray(bands_hz, float)
    shape = np.exp(-0.5 * (time / spread) ** 2) * np.exp(2j * np.pi * bands[:, None] * time).sum(axis=0)
    one_hz = 0.5 / (np.exp(-0.5 * (time / spread) ** 2).sum() * step_s)
    b1_hz = shape * _tuned(shape, one_hz, step_s, bands)
    peak = float(np.abs(b1_hz).max())
    if peak > max_b1_hz:
        raise SequenceError(
            f"editing pulse: {duration_s * 1e3:g} ms need {peak:.0f} Hz of B1, and there are {max_b1_hz:.0f}: "
            f"expected at least {duration_s * peak / max_b1_hz * 1e3:.1f} ms"
        )
    name = "editing" if bands.size == 1 else "dual-band editing"
    return Pulse(name, "refocusing", b1_hz, duration_s, _band_width(time, spread, one_hz), duration_s / 2)


def _tuned(
    shape: NDArray[np.complex128], start_hz: float, step_s: float, bands: NDArray[np.float64]
) -> float:
    """Return the factor of B1 at which the bands are inverted best."""

    def left(factor: float) -> float:
        return float(longitudinal(factor * start_hz * shape, step_s, bands).sum())

    return start_hz * float(minimize_scalar(left, bounds=(0.8, 1.2), method="bounded").x)


def _band_width(time: NDArray[np.float64], spread: float, peak_hz: float) -> float:
    """Return the full width at half maximum of the inversion of one band."""
    step_s = float(time[1] - time[0])
    offset = np.linspace(-3, 3, 1201) / (2 * spread)
    alone = peak_hz * np.exp(-0.5 * (time / spread) ** 2)
    return width_hz(offset, (1 - longitudinal(alone, step_s, offset)) / 2)
