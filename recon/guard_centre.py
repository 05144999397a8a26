"""Is the spectrum where its header puts it? A receiver centred elsewhere moves every line by the same ppm."""

from dataclasses import replace

import numpy as np

from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.editing import is_difference
from pulsespec.recon.guards import judge
from pulsespec.recon.transients import Record, Transients

_WATER_PPM = 4.68
"""Water at 37 degrees Celsius and pH 7, as FID-A and others have it; singlets then correct it by up to 0.3 ppm."""
_LIKE, _UNLIKE = 0.55, 0.3
_STRONGER = 2.0
_LEAST_PPM = 0.3


def check_centre(data: Transients) -> Transients:
    """Correct the centre of the receiver where the spectrum contradicts the header beyond doubt.

    Only where NAA, Cr and Cho are not seen at their places, and are seen once the tallest line is taken for water.

    Raises
    ------
    DataError
        The format defines its sign, and the lines are seen in the mirror image alone.

    """
    if is_difference(data.header):
        return data
    if data.nucleus != "1H" or data.dims[-1:] != ("t",) or any(name in data.dims for name in ("x", "y", "z")):
        return data
    now = judge(data)
    if max(now.as_read, now.mirrored) > _UNLIKE:
        return data
    peak = _tallest(data)
    upright = data.reference_ppm + _WATER_PPM - peak
    turned = data.reference_ppm + _WATER_PPM - (2 * data.reference_ppm - peak)
    as_read = judge(replace(data, reference_ppm=upright)).as_read
    mirrored = judge(replace(data, reference_ppm=turned)).mirrored
    if max(as_read, mirrored) < _LIKE or max(as_read, mirrored) < _STRONGER * min(as_read, mirrored):
        return data
    centre, words = (upright, "") if as_read > mirrored else (turned, " of the mirror image")
    if abs(centre - data.reference_ppm) < _LEAST_PPM:
        return data
    seen = (
        f"NAA, Cr and Cho are not seen at their places; they are (likeness {max(as_read, mirrored):.2f}) where the "
        f"tallest line{words} is water: the receiver's centre is at {centre:.2f} ppm"
    )
    record = Record("Frequency reference", f"{seen}, not at {data.reference_ppm:g} ppm")
    if as_read > mirrored:
        return replace(data, reference_ppm=centre, records=(*data.records, record))
    if data.sign_is_defined:
        raise DataError(
            f"{data.source or 'data'}: looks conjugated: {seen}. Its format defines the sign, so it is refused; pass "
            "--conjugate if the file is wrong"
        )
    sign = Record(
        "Conjugation", "its format does not define the sign, and the mirror image has NAA, Cr and Cho"
    )
    return replace(
        data, data=swap_sense(data.data), reference_ppm=centre, records=(*data.records, sign, record)
    )


def _tallest(data: Transients) -> float:
    """Return the chemical shift of the tallest line of the mean magnitude spectrum."""
    size = np.abs(to_spectrum(data.data.reshape(-1, data.samples))).mean(axis=0)
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    return float(ppm[np.argmax(size)])
