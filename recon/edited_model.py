"""Components of an edited scan in all its conditions, and how GABA and the macromolecule under it are held."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import DataError, InputError
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.fit_model import Problem, problem_of
from pulsespec.recon.joint import Links, identical
from pulsespec.recon.natural_widths import natural_widths
from pulsespec.recon.transients import Transients
from pulsespec.simulator.coedited import MM09CO, MM3CO

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

GABA_MODELS = {
    "gaba+": "only the sum of GABA and macromolecule is told; in a difference alone GABA stands for both",
    "fixed": "as much area of macromolecule as of GABA in the difference of the usual MEGA-PRESS",
    "soft": "the area of macromolecule is 0.9 +- 0.3 times that of GABA in the difference of the usual MEGA-PRESS",
    "free": "macromolecule and GABA are free",
}
"""How the co-edited macromolecule at 3.0 ppm is held, in words."""
_RATIO, _RATIO_SD = 0.9, 0.3
"""Area of macromolecule over that of GABA in the difference at 3.0 ppm: 0.7 to 0.96 (41 to 49 % of GABA+ in three
regions, Shungu et al. 2016, NMR Biomed, PMC4909570, abstract), 1 (Zollner et al. 2022, doi:10.1002/nbm.4618), 1.2
(55 %, in Gannet's quantification)."""
_FIXED_RATIO = 1.0
"""The model `1to1GABA` of Zollner et al. 2022, doi:10.1002/nbm.4618."""
_METHYL = ("MM09", "MM0.90", "MM0.95", "MM0.92")
"""What M0.94 is called in models of macromolecules; others are measured by it."""
_USUAL = 0.62
"""Area of a proton of M3.00 over that of one of GABA in the difference of the MEGA-PRESS that the ratios are from:
14 ms pulses at 1.9 and 7.46 ppm, TE 68 ms, as this project simulates them (`mega-press-3t-gaba`)."""
APART = "apart"
"""GABA is not what is edited: nothing is said of the macromolecule beside it."""
_GABA_PPM = (2.6, 3.4)
_AREA_WIDTH_HZ = 5.0
_LEAST_COEDITED = 0.1
"""Co-edited area over GABA's; below, the sequence is one that suppresses macromolecules."""


@dataclass(frozen=True)
class Components:
    """What is fitted in all conditions."""

    names: tuple[str, ...]
    fids: Complex
    """NIfTI-MRS sense, about the reference of the data; shape (n_conditions, n_components, samples)."""
    broad: tuple[str, ...]
    gaba: str
    """How GABA and the macromolecule are held: one of `GABA_MODELS`, or `APART`."""
    editing: float = 1.0
    """How well the macromolecule is edited, over the usual MEGA-PRESS: what is expected of its area goes with it."""

    def chosen(self, keep: Sequence[int]) -> "Components":
        """Return some of the components."""
        names = tuple(self.names[k] for k in keep)
        broad = tuple(name for name in self.broad if name in names)
        return replace(self, names=names, broad=broad, fids=self.fids[:, list(keep)])


def check(data: Transients, bases: Sequence[Any], gaba_model: str) -> None:
    """Raise `InputError` or `DataError` where data and bases are not those of one edited scan."""
    if data.dims != ("edit", "t"):
        raise InputError(f"data: dims {data.dims}, expected one FID a condition with dims ('edit', 't')")
    if gaba_model not in GABA_MODELS:
        raise InputError(f"GABA model: got {gaba_model!r}, expected one of {', '.join(GABA_MODELS)}")
    if len(bases) != len(data.data):
        raise InputError(f"bases: got {len(bases)}, expected one for each of {len(data.data)} conditions")
    if any(set(one.names) != set(bases[0].names) for one in bases):
        raise InputError("bases: their components differ, expected the same in all conditions")
    if not np.all(np.isfinite(data.data)) or not np.all(np.any(data.data, axis=-1)):
        raise DataError(f"{data.source or 'data'}: a condition is zero or not finite: nothing to fit")


def components(
    data: Transients, bases: Sequence[Any], gaba_model: str, difference: Real | None, settings: FitSettings
) -> tuple[Components, tuple[str, ...]]:
    """Return the components of all conditions and what must be said of GABA.

    One unit of the macromolecule `MM3co` has as much area at 3.0 ppm in the `difference` (factors of the conditions
    that edit GABA, `None` where GABA is not edited) as one of GABA, so that GABA+ is their sum. It is left out where
    the sequence edits GABA but not it.
    """
    names = settings.names or tuple(bases[0].names)
    t = np.arange(data.samples) * data.dwell_s
    move = np.exp(2j * np.pi * ppm_to_hz(bases[0].reference_ppm, data.f0_hz, data.reference_ppm) * t)
    fids = np.array([[one.fid(name, data.samples, data.dwell_s) * move for name in names] for one in bases])
    broad = tuple(name for name in getattr(bases[0], "broad", ()) if name in names)
    if settings.t2_widths:
        fids *= np.exp(-np.pi * natural_widths(names, broad, bases[0], data.f0_hz)[:, None] * t)
    found = Components(names, fids, broad, gaba_model)
    if "GABA" not in names or difference is None:
        return replace(found, gaba=APART), ()
    if MM3CO in names:
        area = {name: _area(data, difference @ fids[:, names.index(name)]) for name in ("GABA", MM3CO)}
        if area[MM3CO] > _LEAST_COEDITED * area["GABA"] > 0:
            fids[:, names.index(MM3CO)] *= area["GABA"] / area[MM3CO]
            return replace(found, editing=area[MM3CO] / area["GABA"] / _USUAL), ()
    words = "no macromolecule that is edited with GABA is fitted, so GABA+ is all that is found at its place"
    return without_macromolecule(found), (words,)


def without_macromolecule(model: Components) -> Components:
    """Return a model in which GABA stands for what is at 3.0 ppm."""
    keep = [k for k, name in enumerate(model.names) if name != MM3CO]
    return replace(model.chosen(keep), gaba="gaba+")


def _area(data: Transients, fid: Complex) -> float:
    """Return the area at 3.0 ppm, a little broadened so that lines do not fall between points."""
    t = np.arange(data.samples) * data.dwell_s
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    seen = (ppm > _GABA_PPM[0]) & (ppm < _GABA_PPM[1])
    weight = np.exp(-np.pi * _AREA_WIDTH_HZ * t)
    weight[0] *= 0.5
    return float(to_spectrum(fid * weight).real[seen].sum())


def problem(model: Components, fids: Complex, data: Transients, settings: FitSettings) -> Problem:
    """Return the fixed parts of the model of one spectrum whose components are `fids` (n_components, samples)."""
    found = problem_of(
        fids, model.names, model.broad, data.dwell_s, data.f0_hz, data.reference_ppm, settings.ranges
    )
    if found.ppm.size < 4 * len(model.names):
        count, points = len(model.names), found.ppm.size
        raise InputError(f"ppm_range: {settings.ppm_range} holds {points} points, too few for {count}")
    return found


def links(model: Components, count: int) -> Links:
    """Return one concentration of each component in all spectra, or one of two whose ratio is fixed."""
    names, weights = model.names, np.eye(len(model.names))
    if model.gaba != "fixed":
        return identical(names, count)
    weights[names.index(MM3CO), names.index("GABA")] = _FIXED_RATIO * model.editing
    keep = [k for k, name in enumerate(names) if name != MM3CO]
    return identical([names[k] for k in keep], count, weights[:, keep])


def told(model: Components, unknowns: Sequence[str]) -> tuple[tuple[str, ...], Real]:
    """Return the names of a table and its rows in terms of the unknowns: GABA+ is GABA with its macromolecule."""
    rows = dict(zip(unknowns, np.eye(len(unknowns)), strict=True))
    if "GABA" in rows and model.gaba != APART:
        share = _FIXED_RATIO * model.editing if model.gaba == "fixed" else 0.0
        macromolecule = rows.get(MM3CO, share * rows["GABA"])
        both = rows["GABA"] + macromolecule
        if model.gaba == "fixed":
            rows[MM3CO] = macromolecule
        if model.gaba == "gaba+":
            rows = {name: row for name, row in rows.items() if name not in ("GABA", MM3CO)}
        if model.gaba == "gaba+" or MM3CO in rows:
            rows["GABA+"] = both
    return tuple(rows), np.array(list(rows.values()))


def held(model: Components, settings: FitSettings) -> FitSettings:
    """Return settings with what is known of macromolecules: M0.94 is in two parts, and their share of GABA+."""
    priors = settings.ratio_priors
    if MM09CO in model.names:
        priors = tuple(
            (of, f"{to}+{MM09CO}" if to in _METHYL else to, ratio, sd) for of, to, ratio, sd in priors
        )
    if model.gaba == "soft" and MM3CO in model.names:
        priors = (*priors, (MM3CO, "GABA", _RATIO * model.editing, _RATIO_SD * model.editing))
    return replace(settings, ratio_priors=priors)
