"""From amplitudes to concentrations: ratios, and molar and molal amounts by the water of the same voxel.

Metabolite and water went through the same simulated sequence, so the ratio of their amplitudes in units of
the basis is the ratio of their concentrations, once relaxation and the water content of the tissue are
accounted for (`water_scaling`; Gasparovic et al. 2006, doi:10.1002/mrm.20901).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pulsespec.recon.constants import BRAIN, Constants
from pulsespec.recon.editing import is_difference
from pulsespec.recon.fit import SUMS, FitResult
from pulsespec.recon.in_voxel import in_the_voxel
from pulsespec.recon.quantify_settings import QuantifySettings
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scale import Scale, water_scale
from pulsespec.recon.water_scaling import scaled, weights
from pulsespec.recon.water_size import water_amplitude
from pulsespec.simulator.tissue_library import load_tissue

_FAR = 4.0
"""Beyond so many times less or more creatine than healthy brain has, the scale is doubted."""

__all__ = ["COLUMNS", "Amounts", "QuantifySettings", "parts_of", "quantify", "water_amplitude"]


@dataclass(frozen=True)
class Amounts:
    """The table of concentrations and what it rests on."""

    rows: Sequence[Mapping[str, Any]]
    """One row a component and sum; NaN where a number could not be had."""
    warnings: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Assumptions, factors and what the standard deviations include."""
    ratios: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """Ratios of amplitudes and their standard deviations: to tNAA and, as concentrations, to water."""
    constants: Constants | None = None
    """Constants that were used; `None` where nothing was scaled by water."""


COLUMNS = (
    "metabolite",
    "amplitude",
    "sd",
    "crlb_percent",
    "ratio_tCr",
    "ratio_tCr_sd",
    "concentration_mM",
    "concentration_mM_sd",
    "concentration_molal_mmol_per_kg",
    "concentration_molal_mmol_per_kg_sd",
)
"""Columns of the table, in order."""


def quantify(
    found: FitResult,
    spectrum: Transients,
    water: Transients | None,
    basis: Any,
    settings: QuantifySettings | None = None,
) -> Amounts:
    """Return amplitudes, bounds, ratios and concentrations.

    Without a water reference (or water in the basis) concentrations are NaN and a warning says why.
    """
    settings, words = in_the_voxel(settings or QuantifySettings(), spectrum)
    parts = parts_of(found.names)
    scale = water_scale(found.names, spectrum, water, basis, settings)
    if isinstance(scale, str):
        return Amounts(
            _rows(found, parts, None),
            (*words, scale, *_inseparable(found)),
            ratios=_ratios(found, parts, None),
        )
    rows = _rows(found, parts, scale)
    doubts = () if is_difference(spectrum.header) else _implausible(rows, settings)
    return Amounts(
        rows,
        (*words, *scale.warnings, *doubts, *_inseparable(found)),
        scale.settings,
        _ratios(found, parts, scale),
        scale.constants,
    )


def parts_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the components of each row of the table: every component, then the sums that have one of them."""
    sums = {name: tuple(p for p in of if p in names) for name, of in SUMS.items()}
    return {name: (name,) for name in names} | {name: of for name, of in sums.items() if of}


def _rows(found: FitResult, parts: Mapping[str, Sequence[str]], scale: Scale | None) -> list[dict[str, Any]]:
    reference = [p for p in SUMS["tCr"] if p in found.names]
    molar, molal = _concentrations(found, parts, scale)
    rows = []
    for k, (name, of) in enumerate(parts.items()):
        value, sd = found.combine(dict.fromkeys(of, 1.0))
        bound = 100 * found.bounded(dict.fromkeys(of, 1.0))[1] / value if value > 0 else float("nan")
        numbers = (value, sd, bound, *found.ratio(of, reference), *molar[k], *molal[k])
        rows.append(dict(zip(COLUMNS, (name, *numbers), strict=True)))
    return rows


def _concentrations(
    found: FitResult, parts: Mapping[str, Sequence[str]], scale: Scale | None
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return molar and molal concentration with standard deviation of each row."""
    if scale is None:
        nothing = [(float("nan"), float("nan"))] * len(parts)
        return nothing, nothing
    both = []
    for factor, effects in (
        (scale.factors.molar, scale.factors.molar_effects),
        (scale.factors.molal, scale.factors.molal_effects),
    ):
        value, sd = scaled(
            found.amplitudes,
            found.whole_covariance,
            factor / scale.unit,
            effects,
            weights(parts, found.names),
            math.hypot(scale.relative_sd, found.settings.line_sd),
        )
        both.append([(float(v), float(s)) for v, s in zip(value, sd, strict=True)])
    return both[0], both[1]


def _ratios(
    found: FitResult, parts: Mapping[str, Sequence[str]], scale: Scale | None
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return ratios that the table does not have; none of them is corrected for relaxation."""
    reference = [p for p in SUMS["tNAA"] if p in found.names]
    ratios = {"tNAA": {name: found.ratio(of, reference) for name, of in parts.items()}} if reference else {}
    if scale is not None:
        n = len(found.names)
        value, sd = scaled(
            found.amplitudes,
            found.whole_covariance,
            np.full(n, 1 / scale.unit),
            np.zeros((0, n)),
            weights(parts, found.names),
            math.hypot(scale.relative_sd, found.settings.line_sd),
        )
        ratios["water"] = {name: (float(value[k]), float(sd[k])) for k, name in enumerate(parts)}
    return ratios


def _implausible(rows: Sequence[Mapping[str, Any]], settings: QuantifySettings) -> tuple[str, ...]:
    """Return a word where creatine is there but so far from a brain's that the scale of water must be another."""
    total = next((row for row in rows if row["metabolite"] == "tCr"), None)
    if total is None or settings.water_mm is not None or not total["amplitude"] > 5 * total["sd"]:
        return ()
    brain = [sum(load_tissue(name).concentrations[p].mm for p in ("Cr", "PCr")) for name in BRAIN.values()]
    value, sd = total["concentration_mM"], total["concentration_mM_sd"]
    if min(brain) / _FAR < value + 2 * sd and value - 2 * sd < max(brain) * _FAR:
        return ()
    return (
        f"tCr is {value:.3g} mM, {min(brain):.3g} to {max(brain):.3g} in healthy brain: water and metabolites may have "
        "been stored with different receiver gains or numbers of averages; ratios do not suffer from that",
    )


def _inseparable(found: FitResult) -> list[str]:
    """Return a word on each sum whose parts trade against each other."""
    words = []
    sd = np.sqrt(np.diag(found.covariance)) + 1e-300
    correlation = found.covariance / np.outer(sd, sd)
    for name, parts in SUMS.items():
        at = [found.names.index(part) for part in parts if part in found.names]
        pairs = [(i, k) for i in at for k in at if i < k and correlation[i, k] < -0.8]
        words += [
            f"{found.names[i]} and {found.names[k]} trade against each other "
            f"(correlation {correlation[i, k]:.2f}): report their sum {name}"
            for i, k in pairs
        ]
    return words
