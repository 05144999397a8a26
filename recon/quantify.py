"""From amplitudes to concentrations: ratios, and molar and molal amounts by the water of the same voxel.

Metabolite and water went through the same simulated sequence, so the ratio of their amplitudes in units of
the basis is the ratio of their concentrations, once relaxation and the water content of the tissue are
accounted for (`water_scaling`; Gasparovic et al. 2006, doi:10.1002/mrm.20901).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import InputError
from pulsespec.recon.constants import TISSUES, Constants, Stated, constants_at
from pulsespec.recon.fit import SUMS, FitResult
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, Factors, Timing, factors, scaled, weights
from pulsespec.recon.water_size import water_amplitude
from pulsespec.simulator.relaxation import WATER

Real = NDArray[np.float64]

_ASSUMED = "assumed: half grey and half white matter, no CSF"


@dataclass(frozen=True)
class QuantifySettings:
    """Assumptions that turn amplitudes into concentrations."""

    gm: float = 0.5
    """Volume fraction of grey matter in the voxel; without a segmentation half and half is assumed."""
    wm: float = 0.5
    """Volume fraction of white matter."""
    csf: float = 0.0
    """Volume fraction of cerebrospinal fluid, which has no metabolites."""
    relaxation: bool = True
    """Correct for T1 and T2 of water and metabolites."""
    water_mm: float | None = None
    """Concentration of water that gives signal; from tissue fractions where `None`. For phantoms."""
    fraction_sd: float = 0.0
    """Standard deviation of each fraction, which the uncertainty of concentrations then includes."""
    constants: Stated | None = None
    """Constants in place of shipped ones."""
    basis_water: float | None = None
    """Signal at time zero of 1 mM of water in units of a basis that has no water: 2 where one proton gives 1."""
    fractions_from: str = ""
    """Where the fractions come from; empty where nobody said."""

    def __post_init__(self) -> None:
        """Check that the fractions are those of a voxel, and that numbers are positive."""
        fractions = (self.gm, self.wm, self.csf)
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 0.01 or self.csf >= 1:
            raise InputError(
                f"tissue fractions: got {fractions}, expected shares of gm, wm and csf that sum to 1, csf below 1"
            )
        for name, value in (("water_mm", self.water_mm), ("basis_water", self.basis_water)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name}: got {value}, expected a number above 0")
        if not 0 <= self.fraction_sd < 1:
            raise InputError(f"fraction_sd: got {self.fraction_sd}, expected 0 or more, below 1")

    @property
    def assumed(self) -> bool:
        """Whether the fractions are nobody's but this program's."""
        return not self.fractions_from and (self.gm, self.wm, self.csf) == (0.5, 0.5, 0.0)


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


@dataclass(frozen=True)
class _Scale:
    """What amplitudes are multiplied by."""

    factors: Factors
    unit: float
    """Amplitude of water of 1 mM over its amplitude in the basis."""
    relative_sd: float
    warnings: tuple[str, ...]
    settings: Mapping[str, Any]
    constants: Constants


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
    settings = settings or QuantifySettings()
    parts = parts_of(found.names)
    scale = _scale(found.names, spectrum, water, basis, settings)
    if isinstance(scale, str):
        return Amounts(
            _rows(found, parts, None), (scale, *_inseparable(found)), ratios=_ratios(found, parts, None)
        )
    return Amounts(
        _rows(found, parts, scale),
        (*scale.warnings, *_inseparable(found)),
        scale.settings,
        _ratios(found, parts, scale),
        scale.constants,
    )


def parts_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the components of each row of the table: every component, then the sums that have one of them."""
    sums = {name: tuple(p for p in of if p in names) for name, of in SUMS.items()}
    return {name: (name,) for name in names} | {name: of for name, of in sums.items() if of}


def _rows(found: FitResult, parts: Mapping[str, Sequence[str]], scale: _Scale | None) -> list[dict[str, Any]]:
    reference = [p for p in SUMS["tCr"] if p in found.names]
    molar, molal = _concentrations(found, parts, scale)
    rows = []
    for k, (name, of) in enumerate(parts.items()):
        value, sd = found.combine(dict.fromkeys(of, 1.0))
        bound = 100 * sd / value if value > 0 else float("nan")
        numbers = (value, sd, bound, *found.ratio(of, reference), *molar[k], *molal[k])
        rows.append(dict(zip(COLUMNS, (name, *numbers), strict=True)))
    return rows


def _concentrations(
    found: FitResult, parts: Mapping[str, Sequence[str]], scale: _Scale | None
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
            found.covariance,
            factor / scale.unit,
            effects,
            weights(parts, found.names),
            scale.relative_sd,
        )
        both.append([(float(v), float(s)) for v, s in zip(value, sd, strict=True)])
    return both[0], both[1]


def _ratios(
    found: FitResult, parts: Mapping[str, Sequence[str]], scale: _Scale | None
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return ratios that the table does not have; none of them is corrected for relaxation."""
    reference = [p for p in SUMS["tNAA"] if p in found.names]
    ratios = {"tNAA": {name: found.ratio(of, reference) for name, of in parts.items()}} if reference else {}
    if scale is not None:
        n = len(found.names)
        value, sd = scaled(
            found.amplitudes,
            found.covariance,
            np.full(n, 1 / scale.unit),
            np.zeros((0, n)),
            weights(parts, found.names),
            scale.relative_sd,
        )
        ratios["water"] = {name: (float(value[k]), float(sd[k])) for k, name in enumerate(parts)}
    return ratios


def _scale(
    names: Sequence[str],
    spectrum: Transients,
    water: Transients | None,
    basis: Any,
    settings: QuantifySettings,
) -> _Scale | str:
    """Return what amplitudes are multiplied by, or why there is nothing to scale with."""
    if water is None:
        return "no water reference: concentrations in mM are not given"
    if basis.water is None and settings.basis_water is None:
        return (
            "the basis has no water of its own sequence: concentrations in mM are not given; where a proton that "
            "is fully excited gives a signal of 1 in it, --basis-water 2 says so"
        )
    in_basis = settings.basis_water if basis.water is None else float(np.abs(basis.water.amplitude.sum()))
    assert in_basis is not None
    size, size_sd = water_amplitude(water)
    field_t = field_from_larmor(spectrum.f0_hz, spectrum.nucleus)
    broad = tuple(getattr(basis, "broad", ()))
    constants, words = constants_at(field_t, names, settings.constants, broad)
    acquisition, more, relaxed = _acquisition(spectrum, water, basis, settings)
    words = (*words, *more, *_assumptions(settings))
    fractions = np.array([settings.gm, settings.wm, settings.csf])
    found = factors(
        constants,
        names,
        fractions,
        acquisition,
        fraction_sd=settings.fraction_sd,
        water_mm=settings.water_mm,
    )
    used = _used(names, settings, constants, acquisition, found, (size, size_sd, in_basis))
    return _Scale(
        found,
        size / in_basis,
        size_sd / size,
        words,
        used | {"basis_includes_relaxation": relaxed},
        constants,
    )


def _assumptions(settings: QuantifySettings) -> tuple[str, ...]:
    """Return a word on what nobody said of the voxel."""
    if settings.water_mm is not None:
        if settings.relaxation and settings.constants is None:
            return (
                "water of a stated concentration is corrected with relaxation times of brain; a phantom has its own: "
                "give them with --constants, or --no-relaxation",
            )
        return ()
    if settings.assumed:
        return (
            "tissue fractions are not known: half grey and half white matter without CSF are assumed for mM "
            "(--segmentation, or --gm, --wm and --csf)",
        )
    return ()


def _acquisition(
    spectrum: Transients, water: Transients, basis: Any, settings: QuantifySettings
) -> tuple[Acquisition, tuple[str, ...], bool]:
    """Return the timings to correct with, a warning where one is not known, and whether the basis has relaxation."""
    times = getattr(basis, "provenance", {}).get("relaxation") or {}
    mine, its = _timing(spectrum, water), _timing(water, spectrum)
    if settings.relaxation and (mine is None or its is None):
        words = "TE or TR is not known: concentrations are not corrected for relaxation"
        return Acquisition(None, None), (words,), bool(times)
    if not settings.relaxation:
        return Acquisition(None, None), (), bool(times)
    return Acquisition(None if WATER in times else its, None if times else mine), (), bool(times)


def _timing(data: Transients, other: Transients) -> Timing | None:
    """Return when data were measured; what their header does not say is as in the `other`."""
    te_s, tr_s = data.te_s or other.te_s, data.tr_s or other.tr_s
    tm_s = data.header.get("MixingTime") or other.header.get("MixingTime")
    if te_s is None or tr_s is None:
        return None
    return Timing(te_s, tr_s, float(tm_s) if isinstance(tm_s, (int, float)) and 0 < tm_s < tr_s else None)


def _used(
    names: Sequence[str],
    settings: QuantifySettings,
    constants: Constants,
    acquisition: Acquisition,
    found: Factors,
    water: tuple[float, float, float],
) -> dict[str, Any]:
    """Return the summary that stands in the result."""
    size, size_sd, in_basis = water
    still = replace(acquisition, metabolite=None)
    fractions = np.array([settings.gm, settings.wm, settings.csf])
    plain = factors(constants, names[:1], fractions, still, water_mm=settings.water_mm)
    tissue = 1.0 if settings.water_mm is not None else (settings.gm + settings.wm) / fractions.sum()
    contents = fractions * [constants.water[t].kg_per_l for t in TISSUES]
    return {
        "fractions": {
            **dict(zip(TISSUES, fractions.tolist(), strict=True)),
            "sd": settings.fraction_sd,
            "from": settings.fractions_from or (_ASSUMED if settings.assumed else "given"),
            "of_water": dict(zip(TISSUES, (contents / contents.sum()).tolist(), strict=True)),
        },
        "relaxation": settings.relaxation,
        "field_of_relaxation_times_t": constants.field_t,
        "timing": {"water": _stated(acquisition.water), "metabolites": _stated(acquisition.metabolite)},
        "water": {
            "amplitude": size,
            "amplitude_sd": size_sd,
            "amplitude_of_1_mm_in_basis": in_basis,
            "stated_mm": settings.water_mm,
        },
        "visible_water_mm": float(plain.molar[0]) * tissue,
        "mm_per_amplitude": dict(zip(names, (found.molar * in_basis / size).tolist(), strict=True)),
        "mmol_per_kg_per_amplitude": dict(zip(names, (found.molal * in_basis / size).tolist(), strict=True)),
        "sd_includes": ["fit", "amplitude of water", *found.uncertain],
    }


def _stated(timing: Timing | None) -> dict[str, float | None] | str:
    if timing is None:
        return "not corrected here"
    return {"te_s": timing.te_s, "tr_s": timing.tr_s, "tm_s": timing.tm_s}


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
