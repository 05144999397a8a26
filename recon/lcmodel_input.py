"""What LCModel needs to fit a spectrum that was fitted here: control file, RAW, water and basis.

Parameters of the control file are those of its manual and of `nml_lcmodl.inc` in its source (BSD-3). FIDs are in the
sense of NIfTI-MRS and so not conjugated: LCModel takes the plain Fourier transform of RAW, and upfield follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError
from pulsespec.recon.editing import is_difference
from pulsespec.recon.fit_settings import SUMS, FitSettings
from pulsespec.recon.lcmodel_scale import CENTRE_PPM, Value, reference_singlet, scaling
from pulsespec.recon.quantify import QuantifySettings
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis
from pulsespec.simulator.basis_files import write_basis
from pulsespec.simulator.basis_names import LCMODEL_CHARACTERS
from pulsespec.simulator.lcmodel import flushed, word
from pulsespec.simulator.sampled import SampledBasis, at_reference, sampled

CONTROL, RAW, WATER, BASIS, NOTES = (
    "control.file",
    "metab.RAW",
    "water.H2O",
    "metabolites.basis",
    "README.txt",
)
_KEY = 210387309
"""With it LCModel, which is free, asks for no licence (as in the control file that its source comes with)."""
_DECAYED = 0.01
_LEAST_WIDTH_HZ = 1.0
_BAND = 0.48
_UNITS = {"lps": (8, "filps", "ps"), "ltable": (7, "filtab", "table"), "lcoord": (9, "filcoo", "coord")}
_UNITS |= {"lcsv": (11, "filcsv", "csv"), "lprint": (6, "filpri", "print")}


@dataclass(frozen=True)
class LCModelInput:
    """Everything that is written."""

    metabolite: Transients
    """One FID, its centre at 4.65 ppm."""
    water: Transients | None
    basis: SampledBasis
    control: Mapping[str, Value]
    notes: tuple[str, ...]
    """What was decided, one paragraph each."""


def lcmodel_input(
    spectrum: Transients,
    water: Transients | None,
    basis: Basis | SampledBasis,
    fit: FitSettings | None = None,
    amounts: QuantifySettings | None = None,
) -> LCModelInput:
    """Return what LCModel needs to fit `spectrum` as it is fitted here.

    Parameters
    ----------
    spectrum
        A single FID, dims ("t",), as it would be fitted.
    water
        Its water reference, a single FID.
    basis
        What it would be fitted with. Where it has no macromolecules, LCModel's own are left to it.
    fit
        Range, exclusions and components.
    amounts
        What concentrations in mM rest on.

    Raises
    ------
    InputError
        The spectrum is not one FID, or a component is not in the basis.
    DataError
        The water reference has another dwell time, or is no single FID that can be used.
    MismatchError
        A sampled basis cannot be brought to the dwell time of the data.

    """
    fit, amounts = fit or FitSettings(), amounts or QuantifySettings()
    if spectrum.dims != ("t",):
        raise InputError(f"{spectrum.source or 'spectrum'}: dims {spectrum.dims}, expected a single FID")
    metabolite = _centred(spectrum)
    reference = None if water is None else _fitting(_centred(water), metabolite)
    functions = _functions(basis, metabolite, fit)
    singlet = reference_singlet(functions)
    if not functions.linewidth_hz and singlet is not None:
        functions = replace(functions, linewidth_hz=singlet.fwhm_ppm * functions.f0_hz * 1e-6)
    subtracted = is_difference(spectrum.header)
    scale, words = scaling(metabolite, reference, basis, None if subtracted else singlet, functions, amounts)
    control = _control(metabolite, reference, functions, fit) | scale
    return LCModelInput(metabolite, reference, functions, control, (*_explained(functions), *words))


def _centred(data: Transients) -> Transients:
    """Return the data with their centre at 4.65 ppm."""
    shift_hz = (CENTRE_PPM - data.reference_ppm) * data.f0_hz * 1e-6
    turn = np.exp(2j * np.pi * shift_hz * data.dwell_s * np.arange(data.samples))
    return replace(data, data=data.data * turn, reference_ppm=CENTRE_PPM)


def _fitting(water: Transients, spectrum: Transients) -> Transients:
    """Return the water reference with as many points as the spectrum has, which LCModel demands."""
    name = water.source or "water reference"
    if water.dims != ("t",) or abs(water.dwell_s / spectrum.dwell_s - 1) > 1e-4:
        raise DataError(
            f"{name}: dims {water.dims}, dwell time {water.dwell_s:g} s, expected a single FID at "
            f"{spectrum.dwell_s:g} s"
        )
    if water.samples < spectrum.samples:
        raise DataError(f"{name}: {water.samples} points, expected {spectrum.samples} or more")
    return replace(water, data=water.data[: spectrum.samples])


def _functions(basis: Basis | SampledBasis, data: Transients, fit: FitSettings) -> SampledBasis:
    """Return the fitted components at the readout of the data.

    Lines are broadened until 1 % is left at the end of the readout: LCModel zero-fills them.
    """
    chosen = basis if fit.names is None else basis.subset(fit.names)
    if isinstance(chosen, Basis):
        width_hz = max(_LEAST_WIDTH_HZ, np.log(1 / _DECAYED) / (np.pi * data.samples * data.dwell_s))
        made = sampled(chosen, data.samples, data.dwell_s, float(width_hz))
    else:
        made = sampled(
            chosen,
            min(data.samples, int(chosen.samples * chosen.dwell_s / data.dwell_s + 1e-3)),
            data.dwell_s,
        )
    return at_reference(made, CENTRE_PPM)


def _control(
    data: Transients, water: Transients | None, functions: SampledBasis, fit: FitSettings
) -> dict[str, Value]:
    half_band_ppm = _BAND / data.dwell_s / data.f0_hz * 1e6
    low, high = fit.ppm_range
    values: dict[str, Value] = {
        "key": _KEY,
        "title": " ".join(filter(None, (word(data.source), word(data.sequence)))) or "pulsespec",
        "filraw": RAW,
        **({} if water is None else {"filh2o": WATER}),
        "filbas": BASIS,
        "nunfil": data.samples,
        "deltat": data.dwell_s,
        "hzpppm": data.f0_hz * 1e-6,
        **({} if data.te_s is None else {"echot": data.te_s * 1e3}),
        "ppmst": min(high, CENTRE_PPM + half_band_ppm),
        "ppmend": max(low, CENTRE_PPM - half_band_ppm),
        "neach": 99,
    }
    for number, (start, end) in enumerate(sorted(fit.exclude_ppm, reverse=True), 1):
        values |= {f"ppmgap(1,{number})": end, f"ppmgap(2,{number})": start}
    values |= _components(functions)
    if functions.broad:
        values["nsimul"] = 0
    if not fit.ratio_priors and not fit.metabolite_priors:
        values["nratio"] = 0
    for unit, (number, key, suffix) in _UNITS.items():
        values |= {unit: number, key: f"lcmodel.{suffix}"}
    return values


def _components(functions: SampledBasis) -> dict[str, Value]:
    """Return what keeps every function of the basis in the fit, and the sums and ratios that are ours."""
    names = [name[:LCMODEL_CHARACTERS] for name in functions.names]
    values: dict[str, Value] = {"nomit": 0, "nkeep": len(names)}
    values |= {f"chkeep({number})": name for number, name in enumerate(names, 1)}
    sums = ["+".join(part for part in of if part in names) for of in SUMS.values()]
    combined = [total for total in sums if "+" in total]
    values["ncombi"] = len(combined)
    values |= {f"chcomb({number})": total for number, total in enumerate(combined, 1)}
    creatine = next((total for total in sums if total.split("+")[0] in SUMS["tCr"]), "")
    return values | ({"namrel": creatine} if creatine else {})


def _explained(functions: SampledBasis) -> tuple[str, ...]:
    broad = (
        "The basis has macromolecules or lipids, so LCModel simulates none (NSIMUL = 0)."
        if functions.broad
        else "The basis has no macromolecules: those that LCModel simulates by default are left to it, as the fit here "
        "adds its own."
    )
    return (
        f"Start LCModel in this folder:  lcmodel < {CONTROL}\n"
        "and put its result beside ours:  pulsespec lcmodel compare FOLDER-OF-FIT lcmodel.coord",
        "FIDs are as NIfTI-MRS has them, without conjugation, their centre at 4.65 ppm. Eddy currents, coils and "
        "residual water were dealt with before (DOECC = F).",
        broad,
    )


def write_input(made: LCModelInput, folder: Path) -> tuple[str, ...]:
    """Write all files into an empty `folder`; return notices, such as names that LCModel cuts."""
    (folder / CONTROL).write_text(namelist("LCMODL", made.control), encoding="ascii")
    (folder / RAW).write_text(raw_text(made.metabolite), encoding="ascii")
    if made.water is not None:
        (folder / WATER).write_text(raw_text(made.water), encoding="ascii")
    notices = write_basis(made.basis, folder / BASIS, "lcmodel")
    paragraphs = [*made.notes, *notices]
    (folder / NOTES).write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return notices


def raw_text(data: Transients) -> str:
    """Return one FID as LCModel RAW: group SEQPAR, group NMID, then real and imaginary parts."""
    sequence: dict[str, Value] = {"hzpppm": data.f0_hz * 1e-6}
    if data.te_s is not None:
        sequence["echot"] = data.te_s * 1e3
    nmid: dict[str, Value] = {
        "id": word(data.source) or "pulsespec",
        "fmtdat": "(2E16.8)",
        "volume": 1.0,
        "tramp": 1.0,
    }
    return namelist("SEQPAR", sequence) + namelist("NMID", nmid) + _pairs(data.data)


def _pairs(fid: NDArray[Any]) -> str:
    parts = flushed(np.stack([fid.real, fid.imag], axis=-1).astype(np.float64))
    return "".join(f"{real:16.8E}{imaginary:16.8E}\n" for real, imaginary in parts)


def namelist(name: str, values: Mapping[str, Value]) -> str:
    """Return a group of a Fortran namelist, one value a line."""
    lines = [f" {key} = {_value(value)}" for key, value in values.items()]
    return "\n".join([f" ${name}", *lines, " $END"]) + "\n"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return f"'{value}'"
    return str(value) if isinstance(value, int) else f"{value:.9g}"
