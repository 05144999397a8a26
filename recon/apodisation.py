"""What is done to a FID only on request: truncation, apodisation, zero-filling. None of them adds information."""

import numpy as np

from pulsespec.errors import InputError
from pulsespec.recon.pictures import before_after
from pulsespec.recon.transients import Record, Transients

_MOST_POINTS = 1 << 20


def truncate(data: Transients, points: int) -> Transients:
    """Keep the first `points` samples; `InputError` unless they are from 8 to those there are."""
    if not 8 <= points <= data.samples:
        raise InputError(f"truncation: got {points} points, expected from 8 to {data.samples}")
    record = Record("Truncation", f"{data.samples} samples cut to {points}, as asked for")
    return data.with_data(data.data[..., :points].copy(), record)


def apodise(data: Transients, lorentz_hz: float = 0.0, gauss_hz: float = 0.0) -> Transients:
    """Multiply by a decay that broadens all lines by these full widths at half maximum, in Hz, from 0 on.

    Lorentzian exp(-pi w t), Gaussian exp(-(pi w t)^2 / (4 ln 2)).
    """
    for name, value in (("lorentz_hz", lorentz_hz), ("gauss_hz", gauss_hz)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"apodisation: {name} is {value}, expected a width in Hz from 0 on")
    t = np.arange(data.samples) * data.dwell_s
    window = np.exp(-np.pi * lorentz_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2)))
    shaped = data.data * window
    record = Record(
        "Apodization",
        f"lines broadened by {lorentz_hz:g} Hz (Lorentz) and {gauss_hz:g} Hz (Gauss), as asked for",
        {"spectra": before_after(data, data.data, shaped)},
    )
    return data.with_data(shaped, record)


def zero_fill(data: Transients, points: int) -> Transients:
    """Append zeros up to `points` samples; `InputError` where that is fewer than there are."""
    if not data.samples <= points <= _MOST_POINTS:
        raise InputError(f"zero-filling: got {points} points, expected from {data.samples} to {_MOST_POINTS}")
    filled = np.zeros((*data.data.shape[:-1], points), dtype=data.data.dtype)
    filled[..., : data.samples] = data.data
    return data.with_data(
        filled, Record("Zero-filling", f"{data.samples} samples filled to {points}, as asked for")
    )
