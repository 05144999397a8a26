"""A series for the search: spectra with what is known beforehand, and nuisances that follow the variable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon import fit_known
from pulsespec.recon.fit import BatchResult, FitSettings, fit_batch, problem_for
from pulsespec.recon.fit_model import Layout, Problem
from pulsespec.recon.fit_noise import noise_sd
from pulsespec.recon.fit_search import Task
from pulsespec.recon.series_schema import Linked, SeriesModel
from pulsespec.recon.series_search import Part, Sharing
from pulsespec.recon.spline import baseline
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]

_EARLY_S = 0.1
_COMMON = Linked(model="fixed")


@dataclass(frozen=True)
class Place:
    """Where the spectra of a series lie before the search: what is undone in the data."""

    shift_hz: Real
    """Shape (n_spectra,), in the sense of NIfTI-MRS."""
    phase_rad: Real
    theta: Real
    """Parameters of each spectrum to start from; shape (n_spectra, n_theta)."""


@dataclass(frozen=True)
class Alone:
    """The fit of each spectrum for itself, or of the reference only."""

    batches: tuple[BatchResult, ...]
    members: tuple[NDArray[np.int64], ...]
    """Spectra of each batch."""

    def gathered(self, name: str, count: int) -> Real:
        """Return a field of all batches in the order of the series; spectra that were not fitted get the first."""
        first = np.asarray(getattr(self.batches[0], name))
        found = np.repeat(first[:1], count, axis=0)
        for batch, members in zip(self.batches, self.members, strict=True):
            found[members] = getattr(batch, name)
        return found


def fit_alone(
    spectra: Transients, bases: Sequence[Any], which: NDArray[np.int64], settings: FitSettings
) -> Alone:
    """Fit some spectra of a series each for itself."""
    groups = [which] if len(bases) == 1 else [np.array([k]) for k in which]
    batches = []
    for members in groups:
        part = replace(spectra, data=spectra.data[members], records=())
        batches.append(fit_batch(part, bases[0 if len(bases) == 1 else int(members[0])], settings))
    return Alone(tuple(batches), tuple(groups))


def place_of(alone: Alone, spectra: Transients, sound: Bool, reference: int, model: SeriesModel) -> Place:
    """Return shifts and phases from fits of single spectra; those of the reference where they are common to all.

    A spectrum whose own fit stands on nothing (`sound`, shape (n_spectra,)) starts from the shift and widths of the
    reference, at the phase at which it is most like it.
    """
    count = spectra.size("series")
    shift, phase, theta = (alone.gathered(name, count) for name in ("shift_hz", "phase", "theta"))
    at = alone.batches[0].problem.layout
    fitted = np.concatenate(alone.members)
    theta = theta.copy()
    if fitted.size < count:
        shift[:], phase[:], theta[:] = shift[fitted[0]], phase[fitted[0]], theta[fitted[0]]
    else:
        lost = np.flatnonzero(~sound & (np.arange(count) != reference))
        shift[lost], theta[lost] = shift[reference], theta[reference]
        phase[lost] = phase[reference] + _turned(spectra, reference)[lost]
    if model.phase.model != "free":
        common = phase[reference] + theta[reference, at.phase0]
        phase, theta[:, at.phase0] = np.full(count, common), 0.0
    if model.shift.model != "free":
        moved = shift[reference] + theta[reference, at.shift]
        shift, theta[:, at.shift] = np.full(count, moved), 0.0
    return Place(shift, phase, theta)


def problems_of(spectra: Transients, bases: Sequence[Any], settings: FitSettings) -> list[Problem]:
    """Return the problem of each basis."""
    return [problem_for(spectra, basis, settings) for basis in bases]


def _turned(spectra: Transients, reference: int) -> Real:
    """Return the phase of each spectrum over that of the reference, by their first tenth of a second, in rad."""
    early = spectra.data[:, : max(16, round(_EARLY_S / spectra.dwell_s))]
    return np.asarray(np.angle(early @ early[reference].conj()))


def parts_of(
    spectra: Transients, problems: Sequence[Problem], place: Place, settings: FitSettings
) -> tuple[list[Part], Real]:
    """Return the spectra by their basis in units of their noise, and that noise; `problems` one for all or each."""
    count = spectra.size("series")
    t = np.arange(spectra.samples) * spectra.dwell_s
    turned = spectra.data * np.exp(-2j * np.pi * place.shift_hz[:, None] * t - 1j * place.phase_rad[:, None])
    noise = noise_sd(turned)
    groups = [np.arange(count)] if len(problems) == 1 else [np.array([k]) for k in range(count)]
    parts = []
    for problem, members in zip(problems, groups, strict=True):
        data = problem.spectrum(turned[members]).real
        noise[members] = np.maximum(noise[members], 1e-6 * np.abs(data).max(axis=1))
        k = len(problem.names)
        smooth = baseline(problem.ppm)
        parts.append(
            Part(
                members,
                Task(
                    problem,
                    smooth,
                    data / noise[members, None],
                    np.full(members.size, smooth.log_weight(settings.stiffness or 1.5)),
                    np.zeros((members.size, k, k)),
                    fit_known.precision(problem, settings),
                    *fit_known.bounds(problem, settings),
                    np.zeros(k, dtype=bool),
                ),
            )
        )
    return parts, noise


def _rules(at: Layout, model: SeriesModel) -> dict[int, Linked]:
    """Return what follows the variable; the width is that of metabolites, that of broad components is common."""
    return {
        at.phase0: model.phase,
        at.shift: model.shift,
        at.gauss: model.gauss,
        at.width.start: model.lorentz,
    }


def sharing_of(
    task: Task,
    x: Real,
    design: Mapping[str, Real],
    model: SeriesModel,
    place: Place,
    reference: int,
) -> Sharing:
    """Return nonlinear parameters that follow the variable as the model says; all others are common.

    Priors and bounds are those of a single fit. What is common, or follows a course, has its prior once, what is free
    once in each spectrum.
    """
    count, size = x.size, task.precision.size
    rules = _rules(task.problem.layout, model)
    made = [_columns(rules.get(k, _COMMON), x, design) for k in range(size)]
    ends = np.cumsum([columns.shape[1] for columns in made])
    matrix = np.zeros((count, size, int(ends[-1])))
    precision = np.zeros((int(ends[-1]),) * 2)
    start, lower, upper = (np.zeros(int(ends[-1])) for _ in range(3))
    for k, columns in enumerate(made):
        own = slice(int(ends[k]) - columns.shape[1], int(ends[k]))
        matrix[:, k, own] = columns
        free = rules.get(k, _COMMON).model == "free"
        precision[own, own] = task.precision[k] * columns.T @ columns / (1 if free else count)
        low, high = task.lower[k], task.upper[k]
        level = np.all(columns == columns[:1], axis=0) & columns.any(axis=0) | free
        lower[own] = np.where(level, low, low - high)
        upper[own] = np.where(level, high, high - low)
        start[own] = place.theta[:, k] if free else np.where(level, place.theta[reference, k], 0.0)
    return Sharing(matrix, start, lower, upper, precision, np.zeros(start.size))


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
    at = problem.layout
    kinds = {
        at.phase0: ("phase", "degrees", float(np.rad2deg(1.0))),
        at.shift: ("shift", "ppm", -1e6 / problem.f0_hz),
        at.gauss: ("gauss", "Hz", 1.0),
        at.width.start: ("lorentz", "Hz", 1.0),
    }
    found, start = [], 0
    for k in range(at.size):
        rule = _rules(at, model).get(k, _COMMON)
        count = _columns(rule, x, design).shape[1]
        if rule.model not in ("fixed", "free"):
            name, unit, factor = kinds[k]
            words = rule.regressors if rule.model == "glm" else [f"c{n}" for n in range(count)]
            found += [Nuisance(name, word, unit, start + n, factor) for n, word in enumerate(words)]
        start += count
    return found
