"""Spectra before and after a step, for the report."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.transients import Transients

_SHOWN_PPM = (0.0, 5.5)


def before_after(
    data: Transients, before: NDArray[Any], after: NDArray[Any], magnitude: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Return the mean spectrum of FIDs before and after a step, where protons are seen.

    Parameters
    ----------
    data
        Gives the axis.
    before, after
        FIDs of any shape, time last, with the dwell time of `data`.
    magnitude
        Show magnitudes, where the step is about phase and real spectra would mislead.

    """
    shown = {"before": before, "after": after}
    samples = max(before.shape[-1], after.shape[-1])
    ppm = ppm_axis(samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    low, high = _SHOWN_PPM if data.nucleus == "1H" else (ppm.min(), ppm.max())
    inside = (ppm >= low) & (ppm <= high)
    curves = {"ppm": ppm[inside]}
    for name, fids in shown.items():
        mean = fids.reshape(-1, fids.shape[-1]).mean(axis=0)
        values = to_spectrum(np.pad(mean, (0, samples - mean.size)))[inside]
        curves[name] = np.abs(values) if magnitude else values.real
    return curves
