"""How LCModel scales by water, so that what is written for it brings out our concentrations.

Read from its source (`AREABA`, `AREAWA` and `WATER_SCALE` in `LCModel.f`, BSD-3; the program: Provencher 1993,
doi:10.1002/mrm.1910300604): data are multiplied by

    FCALIB = (area of a singlet of the basis / N1HMET / ATTMET) / (area of water / (2 ATTH2O WCONC)).

The singlet is summed over HWDSCA = RFWBAS FWHMBA / 2 to each side of WSPPM, less the mean of the bordering PPMBAS(1);
the area of water is that of a line as high, at time zero, as the logarithm of its FID says, a straight line from
sample NWSST to NWSEND continued to one sample before the first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.simulator.sampled import SampledBasis

CENTRE_PPM = 4.65
HALF_WIDTH_PPM = 0.1
BORDER_PPM = 0.02
WATER_SAMPLES = (5, 41)
"""NWSST and NWSEND, counted from 1: near those that our own reading of water rests on."""
_SINGLETS = (("Cr", 3.027, 3), ("PCr", 3.029, 3), ("NAA", 2.008, 3))
"""Reference peaks in the order of preference: name, shift (Govindaraju 2000, 2015) and protons."""
_SEARCH_PPM = 0.03


@dataclass(frozen=True)
class Singlet:
    """The peak of the basis that water is compared with."""

    name: str
    """WSMET"""
    ppm: float
    """WSPPM: where it is highest."""
    protons: int
    """N1HMET"""
    fwhm_ppm: float
    area: float
    """What `AREABA` returns for ATTMET = 1: area per proton, on the axis in ppm."""
    amplitude: float
    """FID of one proton at time zero that has that area; one, where nothing is lost and the tails are whole."""


def reference_singlet(basis: SampledBasis) -> Singlet | None:
    """Return the first of creatine, phosphocreatine and NAA that the basis has with an upright singlet.

    The functions are those of a `.basis` whose centre is 4.65 ppm.
    """
    for name, ppm, protons in _SINGLETS:
        if name in basis.names:
            found = _singlet(basis, name, ppm, protons)
            if found is not None:
                return found
    return None


def _singlet(basis: SampledBasis, name: str, ppm: float, protons: int) -> Singlet | None:
    spectrum = _spectrum(basis, name)
    step = _ppm_a_point(basis, spectrum.size)
    window = max(1, round(_SEARCH_PPM / step))
    around = round((CENTRE_PPM - ppm) / step) + np.arange(-window, window + 1)
    top = int(around[np.argmax(spectrum[around])])
    height = float(spectrum[top])
    if height <= 0.3 * np.abs(spectrum).max():
        return None  # inverted, subtracted or dephased
    area = _area(spectrum, top, step) / protons
    if area <= 0:
        return None
    amplitude = 2 * area / (step * np.sqrt(spectrum.size))
    width = step * _points_above_half(spectrum, top)
    return Singlet(name, CENTRE_PPM - top * step, protons, width, float(area), float(amplitude))


def _spectrum(basis: SampledBasis, name: str) -> NDArray[np.float64]:
    """Return the real spectrum as a `.basis` has it; index 0 is the centre, upfield follows."""
    points = 2 * basis.samples
    return np.asarray((np.fft.fft(basis.fid(name), points) / np.sqrt(points)).real)


def _ppm_a_point(basis: SampledBasis, points: int) -> float:
    return 1e6 / (points * basis.dwell_s * basis.f0_hz)


def _points_above_half(spectrum: NDArray[np.float64], top: int) -> float:
    """Return the full width at half of the maximum, in points, between them by straight lines."""
    half, width = spectrum[top] / 2, 0.0
    for step in (-1, 1):
        at = top
        while spectrum[at] > half and abs(at - top) < spectrum.size // 4:
            at += step
        inner, outer = spectrum[at - step], spectrum[at]
        width += abs(at - top) - (half - outer) / (inner - outer)
    return float(width)


def _area(spectrum: NDArray[np.float64], top: int, step: float) -> float:
    """Return the area about `top` as `AREABA` sums it."""
    reach, border = round(HALF_WIDTH_PPM / step), max(1, round(BORDER_PPM / step))
    left, right = spectrum[top - reach : top], spectrum[top + 1 : top + reach + 1]
    reach = max(reach - int(np.argmin(left)), 1 + int(np.argmin(right)))
    outside = [
        spectrum[top - reach - border : top - reach],
        spectrum[top + reach + 1 : top + reach + 1 + border],
    ]
    level = np.mean([part.mean() for part in outside])
    return float(step * (spectrum[top - reach : top + reach + 1] - level).sum())


def water_area(fid: NDArray[np.complex128], dwell_s: float, f0_hz: float) -> float:
    """Return the area of water on the axis in ppm, as `AREAWA` finds it from the FID.

    Raises
    ------
    DataError
        The FID is too short, or zero where it is read.

    """
    first, last = WATER_SAMPLES
    size = np.abs(fid[first - 1 : last])
    if size.size < last - first + 1 or size.min() <= 0:
        raise DataError(f"water reference: {fid.size} samples, expected {last} above zero to find its height")
    _, logarithm = np.polyfit(np.arange(first, last + 1), np.log(size), 1)
    points = 2 * fid.size
    return float(0.5 * 1e6 / (points * dwell_s * f0_hz) * np.exp(logarithm) * np.sqrt(points))


def calibration(singlet: Singlet, basis_points: int, area: float, points: int, water_mm: float) -> float:
    """Return FCALIB as LCModel finds it for WCONC = `water_mm` and no attenuation.

    The area of the singlet is brought from the points of the basis to those of the data, since LCModel's
    Fourier transforms carry the square root of their number.
    """
    return singlet.area * 2 * water_mm / area
