"""A series as a stack for the joint fit: one problem for each spectrum, and nuisances that follow the variable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit import FitResult, FitSettings, noise_sd, problem_for
from pulsespec.recon.fit_model import Layout, Problem
from pulsespec.recon.joint import Sharing, Stack, independent
from pulsespec.recon.joint import shared as shared_parameters
from pulsespec.recon.series_schema import Linked, SeriesModel
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]

_PHASE, _SHIFT, _GAUSS, _WIDTH = Layout.phase0, Layout.shift, Layout.gauss, Layout.width.start
_COMMON = Linked(model="fixed")


@dataclass(frozen=True)
class Place:
    """Where the spectra of a series lie before the search: what is undone in the data."""

    shift_hz: Real
    """Shape (n_spectra,), in the sense of NIfTI-MRS."""
    phase_rad: Real
    width_hz: float


def member(spectra: Transients, index: int) -> Transients:
    """Return one spectrum of a series, dims ("t",)."""
    return replace(spectra, data=spectra.data[index], dims=("t",), records=())


def place_of(found: Sequence[FitResult], reference: int, model: SeriesModel, f0_hz: float) -> Place:
    """Return shifts and phases from fits of single spectra; those of the reference where they are common to all."""
    shift = np.array([-one.parameters["shift_ppm"] * f0_hz * 1e-6 for one in found])
    phase = np.deg2rad([one.parameters["phase0_deg"] for one in found])
    one = found[reference]
    width = one.parameters["gauss_hz"] + min(one.parameters["lorentz_hz"].values())
    common_shift = np.full(shift.size, shift[reference])
    common_phase = np.full(phase.size, phase[reference])
    return Place(
        shift if model.shift.model == "free" else common_shift,
        phase if model.phase.model == "free" else common_phase,
        float(max(width, 1.0)),
    )


def stack_of(spectra: Transients, bases: Sequence[Any], place: Place, settings: FitSettings) -> Stack:
    """Return what is fitted; `bases` are one for all spectra or one for each."""
    problems = [problem_for(spectra, basis, settings) for basis in bases]
    count = spectra.size("series")
    of = tuple(problems[0] if len(problems) == 1 else problems[k] for k in range(count))
    t = np.arange(spectra.samples) * spectra.dwell_s
    turned = spectra.data * np.exp(-2j * np.pi * place.shift_hz[:, None] * t - 1j * place.phase_rad[:, None])
    noise = noise_sd(turned)
    data = np.array([problem.spectrum(fid).real for problem, fid in zip(of, turned, strict=True)])
    return Stack(of, data, noise, independent(noise))


@dataclass(frozen=True)
class Nuisance:
    """One parameter of how a nuisance follows the variable, and where it stands among those that are searched."""

    name: str
    parameter: str
    unit: str
    at: int
    factor: float
    """From the unit of the search to `unit`."""


def nuisances_of(problem: Problem, model: SeriesModel, x: Real, design: Mapping[str, Real]) -> list[Nuisance]:
    """Return the parameters of all nuisances that follow the variable by a linear model, in the order of the search."""
    to_ppm = -1e6 / problem.f0_hz
    kinds = {
        _PHASE: ("phase", "degrees", float(np.rad2deg(1.0))),
        _SHIFT: ("shift", "ppm", to_ppm),
        _GAUSS: ("gauss", "Hz", 1.0),
        _WIDTH: ("lorentz", "Hz", 1.0),
    }
    found, start = [], 0
    for k in range(problem.layout.size):
        rule = _rules(problem, model).get(k, _COMMON)
        count = _columns(rule, x, design).shape[1]
        if k in kinds and rule.model not in ("fixed", "free"):
            name, unit, factor = kinds[k]
            words = rule.regressors if rule.model == "glm" else [f"c{n}" for n in range(count)]
            found += [Nuisance(name, word, unit, start + n, factor) for n, word in enumerate(words)]
        start += count
    return found


def _rules(problem: Problem, model: SeriesModel) -> dict[int, Linked]:
    return {
        _PHASE: model.phase,
        _SHIFT: model.shift,
        _GAUSS: model.gauss,
        _WIDTH: model.lorentz,
    }


def sharing_of(
    problem: Problem,
    count: int,
    x: Real,
    design: Mapping[str, Real],
    model: SeriesModel,
    place: Place,
    broad: Sequence[str],
    settings: FitSettings,
) -> Sharing:
    """Return nonlinear parameters that follow the variable as the model says; all others are common."""
    common = shared_parameters(problem, 1, place.width_hz, settings)
    rules = _rules(problem, model)
    places: list[tuple[int, Real, float, float, float]] = []
    for k, (low, high, start) in enumerate(zip(common.lower, common.upper, common.start, strict=True)):
        made = _columns(rules.get(k, _COMMON), x, design)
        first = made[:, 0].any() and np.ptp(made[:, 0]) == 0
        for n, column in enumerate(made.T):
            level = (first and n == 0) or np.array_equal(made, np.eye(count))
            begin = start if level else 0.0
            reach = high - low
            places.append((k, column, begin, low if level else -reach, high if level else reach))
    matrix = np.zeros((count, common.lower.size, len(places)))
    for n, (k, column, *_rest) in enumerate(places):
        matrix[:, k, n] = column
    # each prior of one spectrum holds once for what is common, and for each of what is free
    rows = [row @ matrix[s] for row in common.priors for s in _distinct(row, matrix)]
    scaled = np.array(rows).reshape(-1, len(places))
    start, lower, upper = (np.array([one[n] for one in places]) for n in (2, 3, 4))
    return Sharing(matrix, start, lower, upper, scaled)


def _distinct(row: Real, matrix: Real) -> list[int]:
    """Return spectra in which what a prior is about differs; the first where it is common to all."""
    seen: list[Real] = []
    found = []
    for s in range(len(matrix)):
        value = row @ matrix[s]
        if not any(np.array_equal(value, other) for other in seen):
            seen.append(value)
            found.append(s)
    return found


def _columns(rule: Linked, x: Real, design: Mapping[str, Real]) -> Real:
    """Return what the parameters of a nuisance are multiplied by; shape (n_spectra, n_parameters)."""
    if rule.model == "fixed":
        return np.ones((x.size, 1))
    if rule.model == "free":
        return np.eye(x.size)
    if rule.model == "glm":
        return np.stack([design[name] for name in rule.regressors], axis=1)
    span = float(np.ptp(x)) or 1.0
    scaled = (x - x.mean()) / span
    return np.stack([scaled**k for k in range((1 if rule.model == "linear" else rule.order) + 1)], axis=1)


def shift_ppm(place: Place, theta: Real, f0_hz: float) -> Real:
    """Return the shift of each spectrum against the basis in ppm; shape (n_spectra,)."""
    return np.asarray(-(place.shift_hz + theta[:, _SHIFT]) / f0_hz * 1e6)


def phase_deg(place: Place, theta: Real) -> Real:
    """Return the zero-order phase of each spectrum in degrees; shape (n_spectra,)."""
    return np.asarray((np.rad2deg(place.phase_rad + theta[:, _PHASE]) + 180) % 360 - 180)


__all__ = [
    "Place",
    "member",
    "phase_deg",
    "place_of",
    "sharing_of",
    "shift_ppm",
    "stack_of",
]
