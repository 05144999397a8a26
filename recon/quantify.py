"""From amplitudes to concentrations: ratios to total creatine and millimolar by the water of the same voxel.

Metabolite and water went through the same simulated sequence, so the ratio of their amplitudes in units of
the basis is the ratio of their concentrations, once relaxation and the water content of the tissue are
accounted for (Gasparovic et al. 2006, doi:10.1002/mrm.20901).
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import DataError, InputError
from pulsespec.recon.fit import SUMS, FitResult
from pulsespec.recon.transients import Transients
from pulsespec.simulator.relaxation import WATER

_WATER_SAMPLES = slice(4, 41)


@dataclass(frozen=True)
class QuantifySettings:
    """Assumptions that turn amplitudes into millimolar."""

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

    def __post_init__(self) -> None:
        """Check that the fractions are those of a voxel."""
        fractions = (self.gm, self.wm, self.csf)
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 0.01 or self.csf >= 1:
            raise InputError(
                f"tissue fractions: got {fractions}, expected shares of gm, wm and csf that sum to 1"
            )


@dataclass(frozen=True)
class Amounts:
    """The table of concentrations and what it rests on."""

    rows: Sequence[Mapping[str, Any]]
    """One row a component and sum; NaN where a number could not be had."""
    warnings: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Assumptions and constants that were used, with their sources."""


COLUMNS = (
    "metabolite",
    "amplitude",
    "sd",
    "crlb_percent",
    "ratio_tCr",
    "ratio_tCr_sd",
    "concentration_mM",
    "concentration_mM_sd",
)
"""Columns of the table, in order."""


def water_amplitude(water: Transients) -> tuple[float, float]:
    """Return the magnitude of a water FID at time zero and its standard deviation.

    The logarithm of samples 4 to 40 is continued to time zero by a quadratic, which a Lorentzian, Gaussian or
    Voigt line follows exactly; the first samples, which receivers spoil, are not used.

    Raises
    ------
    DataError
        There is no water signal above the noise.

    """
    fid = water.data.reshape(-1, water.samples).mean(axis=0)
    size = np.abs(fid)[_WATER_SAMPLES]
    noise = np.std(fid[-max(16, fid.size // 10) :]) / np.sqrt(2) + 1e-12 * size.max(initial=0.0)
    if size.size < 8 or size.min() < 5 * noise or noise == 0:
        raise DataError(f"{water.source or 'water reference'}: no water signal above the noise to scale with")
    at = np.arange(fid.size)[_WATER_SAMPLES] / _WATER_SAMPLES.stop
    design = np.vander(at, 3) * (size / noise)[:, None]
    target = np.log(size) * size / noise
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    spread = max(1.0, float(np.std(target - design @ solution)))
    relative = spread * float(np.sqrt(np.linalg.inv(design.T @ design)[2, 2]))
    start = float(np.exp(solution[2]))
    return start, start * relative


def quantify(
    found: FitResult,
    spectrum: Transients,
    water: Transients | None,
    basis: Any,
    settings: QuantifySettings | None = None,
) -> Amounts:
    """Return amplitudes, bounds, ratios to tCr and concentrations.

    Without a water reference (or water in the basis) concentrations are NaN and a warning says why.
    """
    settings = settings or QuantifySettings()
    factor, factor_sd, words, used = _millimolar(spectrum, water, basis, settings)
    parts: dict[str, tuple[str, ...]] = {name: (name,) for name in found.names}
    sums = {name: tuple(p for p in of if p in found.names) for name, of in SUMS.items()}
    parts |= {name: of for name, of in sums.items() if of}
    rows = [_row(found, name, of, factor, factor_sd) for name, of in parts.items()]
    return Amounts(rows, (*words, *_inseparable(found)), used)


def _row(found: FitResult, name: str, of: Sequence[str], factor: float, factor_sd: float) -> dict[str, Any]:
    value, sd = found.combine(dict.fromkeys(of, 1.0))
    ratio, ratio_sd = found.ratio(of, [p for p in SUMS["tCr"] if p in found.names])
    relative = math.hypot(sd / value, factor_sd) if value > 0 else float("nan")
    concentration_sd = value * factor * relative if value > 0 else sd * factor
    bound = 100 * sd / value if value > 0 else float("nan")
    numbers = (value, sd, bound, ratio, ratio_sd, value * factor, concentration_sd)
    return dict(zip(COLUMNS, (name, *numbers), strict=True))


def _millimolar(
    spectrum: Transients, water: Transients | None, basis: Any, settings: QuantifySettings
) -> tuple[float, float, tuple[str, ...], dict[str, Any]]:
    """Return mM per unit of amplitude, its relative SD, warnings and what was used."""
    if water is None:
        return float("nan"), 0.0, ("no water reference: concentrations in mM are not given",), {}
    if basis.water is None:
        words = "the basis has no water of its own sequence: concentrations in mM are not given"
        return float("nan"), 0.0, (words,), {}
    size, size_sd = water_amplitude(water)
    unit = size / float(np.abs(basis.water.amplitude.sum()))
    table = tomllib.loads(files("pulsespec.recon").joinpath("quantification.toml").read_text())
    te_s, tr_s = water.te_s or spectrum.te_s, water.tr_s or spectrum.tr_s
    nominal = _nearest(table["water_relaxation"], field_from_larmor(spectrum.f0_hz, spectrum.nucleus))
    used = {"assumptions": asdict(settings), "field_of_relaxation_times_t": float(nominal)}
    warnings = []
    relaxation = settings.relaxation
    if relaxation and (te_s is None or tr_s is None):
        warnings.append("TE or TR is not known: concentrations are not corrected for relaxation")
        relaxation = False
    times = getattr(basis, "provenance", {}).get("relaxation") or {}
    relaxed, water_relaxed = bool(times), WATER in times  # then the basis holds what is left
    seen_mm = (
        _visible_water_mm(table, nominal, settings, te_s, tr_s)
        if relaxation and not water_relaxed
        else _water_mm(table, settings)
    )
    kept = _kept(table["metabolite_relaxation"][nominal], te_s, tr_s) if relaxation and not relaxed else 1.0
    tissue = 1.0 - settings.csf if settings.water_mm is None else 1.0
    used |= {
        "basis_includes_relaxation": relaxed,
        "visible_water_mm": seen_mm,
        "metabolite_relaxation_factor": kept,
        "constants": table,
    }
    return seen_mm / unit / kept / tissue, size_sd / size, tuple(warnings), used


def _nearest(table: Mapping[str, Any], field_t: float) -> str:
    return min(table, key=lambda nominal: abs(float(nominal) - field_t))


def _kept(times: Mapping[str, float], te_s: float | None, tr_s: float | None) -> float:
    """Return what saturation and decay leave of a signal."""
    assert te_s is not None
    assert tr_s is not None
    return math.exp(-te_s / times["t2_s"]) * (1 - math.exp(-tr_s / times["t1_s"]))


def _shares(table: Mapping[str, Any], settings: QuantifySettings) -> dict[str, float]:
    """Return the water of each tissue in mM of voxel volume (1 g of water is 1/18.015 mol)."""
    molar = 1e6 / table["water"]["molar_mass_g_per_mol"]
    fractions = {"gm": settings.gm, "wm": settings.wm, "csf": settings.csf}
    return {tissue: share * table["content"][tissue] * molar for tissue, share in fractions.items()}


def _water_mm(table: Mapping[str, Any], settings: QuantifySettings) -> float:
    return settings.water_mm if settings.water_mm is not None else sum(_shares(table, settings).values())


def _visible_water_mm(
    table: Mapping[str, Any], nominal: str, settings: QuantifySettings, te_s: float | None, tr_s: float | None
) -> float:
    times = {**table["water_relaxation"][nominal], "csf": table["csf_relaxation"]}
    shares = _shares(table, settings)
    total = sum(shares.values())
    seen = sum(share * _kept(times[tissue], te_s, tr_s) for tissue, share in shares.items())
    return seen if settings.water_mm is None else settings.water_mm * seen / total


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
