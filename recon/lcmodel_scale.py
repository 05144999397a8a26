"""How LCModel scales by water, so that what is written for it brings out our concentrations.

Read from its source (`AREABA`, `AREAWA` and `WATER_SCALE` in `LCModel.f`, BSD-3; the program: Provencher 1993,
doi:10.1002/mrm.1910300604): data are multiplied by

    FCALIB = (area of a singlet of the basis / N1HMET / ATTMET) / (area of water / (2 ATTH2O WCONC)).

The singlet is summed over RFWBAS FWHMBA / 2 to each side of WSPPM (less, where it is lowest before), minus the mean of
PPMBAS(1) at either border. The area of water is that of a line whose FID has the height at time zero that a straight
line through its logarithm from sample NWSST to NWSEND gives, continued to one sample before the first. Both are given
here as the FID at time zero that has such an area, at the readout that basis and data share.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.fit_result import FitResult
from pulsespec.recon.quantify import QuantifySettings, quantify
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis
from pulsespec.simulator.sampled import SampledBasis

Value = bool | int | float | str
"""What a parameter of the control file can be."""

CENTRE_PPM = 4.65
"""PPMCEN, to which basis and data are brought."""
HALF_WIDTH_PPM = 0.3
"""Of the sum over the singlet, which RFWBAS is chosen for: wide enough for most of its tails, clear of other peaks."""
BORDER_PPM = 0.02
"""PPMBAS(1)"""
WATER_SAMPLES = (5, 41)
"""NWSST and NWSEND, counted from 1: those that our own reading of water rests on."""
_SINGLETS = (("Cr", 3.027, 3), ("PCr", 3.029, 3), ("NAA", 2.008, 3))
"""Reference peaks in the order of preference: name, shift (as in the table of spin systems) and protons."""
_SEARCH_PPM = 0.03
_LEAST_HEIGHT = 0.3
_LORENTZIAN = 2.4
"""Width at a tenth of the height over that at half: 3 of a Lorentzian line, 1.82 of a Gaussian."""


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
    amplitude: float
    """FID of one proton at time zero as LCModel sees it: its sum lacks the tails of the line."""
    whole: float
    """The same with the tails, where the line is as wide at a tenth of its height as a Lorentzian."""


def reference_singlet(basis: SampledBasis) -> Singlet | None:
    """Return the first of creatine, phosphocreatine and NAA that the basis has with an upright singlet.

    The centre of the basis is 4.65 ppm, as a `.basis` has it.
    """
    for name, ppm, protons in _SINGLETS:
        if name in basis.names:
            found = _singlet(basis, name, ppm, protons)
            if found is not None:
                return found
    return None


def _singlet(basis: SampledBasis, name: str, ppm: float, protons: int) -> Singlet | None:
    points = 2 * basis.samples
    step = 1e6 / (points * basis.dwell_s * basis.f0_hz)
    spectrum = np.fft.fft(basis.fid(name), points).real  # index 0 is the centre, upfield follows
    expected, reach = round((CENTRE_PPM - ppm) / step), max(1, round(_SEARCH_PPM / step))
    top = expected - reach + int(np.argmax(spectrum[expected - reach : expected + reach + 1]))
    if spectrum[top] <= _LEAST_HEIGHT * np.abs(spectrum).max():
        return None  # inverted, subtracted or dephased
    half, border = round(HALF_WIDTH_PPM / step), round(BORDER_PPM / step)
    if min(half, border) < 1:
        return None
    amplitude = 2 * _sum(spectrum, top, half, border) / points / protons
    if amplitude <= 0:
        return None
    width = step * _points_above(spectrum, top, 0.5)
    lorentzian = step * _points_above(spectrum, top, 0.1) > _LORENTZIAN * width
    whole = amplitude / (_caught(width) if lorentzian else 1.0)
    return Singlet(name, CENTRE_PPM - top * step, protons, width, amplitude, whole)


def _caught(fwhm_ppm: float) -> float:
    """Return what the sum less its border catches of a Lorentzian line of area one."""
    near, far = (np.arctan(2 * at / fwhm_ppm) for at in (HALF_WIDTH_PPM, HALF_WIDTH_PPM + BORDER_PPM))
    return float((2 * near - 2 * HALF_WIDTH_PPM * (far - near) / BORDER_PPM) / np.pi)


def _points_above(spectrum: NDArray[np.float64], top: int, share: float) -> float:
    """Return the full width at a share of the maximum, in points."""
    level, width = share * spectrum[top], 0.0
    for step in (-1, 1):
        at = top
        while spectrum[at] > level and abs(at - top) < spectrum.size // 4:
            at += step
        inner, outer = spectrum[at - step], spectrum[at]
        width += abs(at - top) - (level - outer) / (inner - outer)
    return float(width)


def _sum(spectrum: NDArray[np.float64], top: int, half: int, border: int) -> float:
    """Return the sum about `top`, the mean of both borders taken off each point, as `AREABA` forms it."""
    left, right = spectrum[top - half : top], spectrum[top + 1 : top + half + 1]
    reach = max(half - int(np.argmin(left)), 1 + int(np.argmin(right)))
    before = spectrum[top - reach - border : top - reach]
    after = spectrum[top + reach + 1 : top + reach + 1 + border]
    level = (before.mean() + after.mean()) / 2
    return float((spectrum[top - reach : top + reach + 1] - level).sum())


def water_height(fid: NDArray[np.complex128]) -> float:
    """Return the height of a water FID at time zero as `AREAWA` finds it.

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
    return float(np.exp(logarithm))


def water_concentration(millimolar: float, singlet: Singlet, height: float) -> float:
    """Return the WCONC, with ATTH2O and ATTMET at 1, for which FCALIB is `millimolar`: mM a unit of amplitude."""
    return millimolar * height / (2 * singlet.amplitude)


def scaling(
    metabolite: Transients,
    water: Transients | None,
    basis: Basis | SampledBasis,
    singlet: Singlet | None,
    functions: SampledBasis,
    amounts: QuantifySettings,
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Return the control parameters that make LCModel's scale ours, and words on what they mean.

    Parameters
    ----------
    metabolite, water
        The spectrum and its reference; `None` where there is none.
    basis
        As it is fitted with, lines or FIDs.
    singlet
        Of `functions`; `None` where LCModel could use none.
    functions
        The basis as LCModel reads it.
    amounts
        What mM rest on.

    """
    unscaled: dict[str, Value] = {"dows": False, "doecc": False}
    if water is None:
        return unscaled, (
            "No water reference: LCModel's concentrations are amplitudes in units of the basis, as ours are.",
        )
    if basis.water is None and amounts.basis_water is None and singlet is not None:
        amounts = replace(amounts, basis_water=2 * singlet.whole)
        assumed = f" The basis has no water: it is taken to be excited as {singlet.name} is."
    else:
        assumed = ""
    name = singlet.name if singlet is not None else functions.names[0]
    millimolar = _millimolar(name, metabolite, water, basis, amounts)
    if not np.isfinite(millimolar):
        return unscaled, (
            "There is no scale to mM here, so LCModel's concentrations are left in units of the basis.",
        )
    if singlet is None:
        return unscaled | {"fcalib": millimolar}, (
            f"FCALIB = {millimolar:.6g} is mM a unit of amplitude of {name} here. The basis has no upright singlet "
            "that LCModel's own water scaling could use.",
        )
    height = water_height(water.data)
    wconc = water_concentration(millimolar, singlet, height)
    return {
        **unscaled,
        "dows": True,
        "iareaw": 1,
        "nwsst": WATER_SAMPLES[0],
        "nwsend": WATER_SAMPLES[1],
        "wsmet": singlet.name,
        "wsppm": round(singlet.ppm, 5),
        "n1hmet": singlet.protons,
        "r_areaba": 0.0,
        "rfwbas": 2 * HALF_WIDTH_PPM / _fwhm_ppm(functions),
        "ppmbas(1)": BORDER_PPM,
        "atth2o": 1.0,
        "attmet": 1.0,
        "wconc": wconc,
    }, (_wconc_words(wconc, millimolar, singlet, height, assumed),)


def _fwhm_ppm(functions: SampledBasis) -> float:
    assert functions.linewidth_hz
    return functions.linewidth_hz / functions.f0_hz * 1e6


def _wconc_words(wconc: float, millimolar: float, singlet: Singlet, height: float, assumed: str) -> str:
    return (
        f"WCONC = {wconc:.6g} with ATTH2O = ATTMET = 1 is the concentration of water in mM for which LCModel "
        f"multiplies the data by FCALIB = {millimolar:.6g}, which is mM a unit of amplitude of {singlet.name} here. It "
        "holds all that our factor holds: water of the tissues, their T1 and T2, those of the metabolite, CSF, and "
        "what the sequence leaves of metabolite and water. It also makes up for how LCModel reads areas: the singlet "
        f"of {singlet.name} as {singlet.amplitude:.4g} a proton without the tails of its line, water as "
        f"{height:.6g}.{assumed} One factor serves all metabolites, so those whose relaxation is corrected otherwise "
        f"here differ by that. DOWS = F with FCALIB = {millimolar:.6g} gives the same."
    )


def _millimolar(
    name: str, spectrum: Transients, water: Transients, basis: Basis | SampledBasis, amounts: QuantifySettings
) -> float:
    """Return the concentration in mM that an amplitude of one stands for, whatever `quantify` corrects for."""
    nothing = np.zeros(0)
    names = basis.names
    unit = FitResult(
        names=names,
        amplitudes=np.ones(len(names)),
        covariance=np.eye(len(names)),
        ppm=nothing,
        data=nothing,
        fit=nothing,
        baseline=nothing,
        components={},
        parameters={},
        noise_sd=0.0,
        converged=True,
        message="",
    )
    rows = quantify(unit, spectrum, water, basis, amounts).rows
    return float(next(row["concentration_mM"] for row in rows if row["metabolite"] == name))
