"""From the courses of a model to the links of a joint fit: unknown amplitudes and the parameters that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pulsespec.errors import InputError
from pulsespec.recon.series_courses import Follow, follow
from pulsespec.recon.series_schema import SeriesModel
from pulsespec.recon.series_search import Links

Real = NDArray[np.float64]

BROAD = "broad"
"""Member of a group that stands for all macromolecules and lipids."""
_MOST_STARTS = 300


@dataclass(frozen=True)
class Set:
    """Components that share the nonlinear parameters of one course."""

    name: str
    members: tuple[int, ...]
    """Indices of the components."""
    course: Follow


@dataclass(frozen=True)
class Unknown:
    """One linear unknown."""

    component: int
    linear: int
    """Index among the linear parameters of its course."""
    sign: float


@dataclass(frozen=True)
class Plan:
    """All sets of a model, and how unknowns and parameters are numbered."""

    names: tuple[str, ...]
    """Of the components."""
    sets: tuple[Set, ...]
    x: Real

    @property
    def of(self) -> dict[int, Set]:
        """Set of each component."""
        return {k: one for one in self.sets for k in one.members}

    @property
    def unknowns(self) -> list[Unknown]:
        """Linear unknowns: a parameter that may be negative is the difference of two."""
        return [
            Unknown(k, j, sign)
            for k in range(len(self.names))
            for j, nonnegative in enumerate(self.of[k].course.nonnegative)
            for sign in ((1.0,) if nonnegative else (1.0, -1.0))
        ]

    @property
    def starts(self) -> list[int]:
        """Where the nonlinear parameters of each set begin among all."""
        return [0, *np.cumsum([len(one.course.nonlinear) for one in self.sets]).tolist()]

    def label(self, unknown: Unknown) -> str:
        """Return the name of an unknown: the component's own for its amplitude, so that ratio priors hold for it."""
        name = self.names[unknown.component]
        if unknown.linear == 0:
            return name
        linear = self.of[unknown.component].course.linear[unknown.linear]
        return f"{name}.{linear}" + ("" if unknown.sign > 0 else ".minus")

    def weights(self, component: int, linear: int) -> Real:
        """Return the row that gives one linear parameter from the unknowns; shape (n_unknowns,)."""
        return np.array(
            [one.sign * (one.component == component and one.linear == linear) for one in self.unknowns]
        )


def plan_of(
    model: SeriesModel,
    names: Sequence[str],
    broad: Sequence[str],
    x: Real,
    design: Mapping[str, Real],
    reference: int,
    constants: Mapping[str, float | Real] | None = None,
) -> Plan:
    """Return which components follow which course; groups without a component in the basis are left out."""
    sets, taken = [], set()
    for group in model.groups:
        members = [
            k
            for k, name in enumerate(names)
            if name in group.members or (BROAD in group.members and name in broad)
        ]
        members = [k for k in members if k not in taken]
        taken |= set(members)
        if members:
            course = group.course(model.concentrations)
            made = follow(course, model.variable.name, x, design, reference, f"group {group.name}", constants)
            sets.append(Set(group.name, tuple(members), made))
    if len(taken) < len(names):
        made = follow(
            model.concentrations, model.variable.name, x, design, reference, "concentrations", constants
        )
        sets += [Set(name, (k,), made) for k, name in enumerate(names) if k not in taken]
    return Plan(tuple(names), tuple(sets), x)


def links_of(plan: Plan, start: Real) -> Links:
    """Return the links of a joint fit whose search starts at the nonlinear parameters `start`."""
    unknowns, sets, starts = plan.unknowns, plan.sets, plan.starts
    place = {(one.component, one.linear, one.sign): u for u, one in enumerate(unknowns)}
    shape = (plan.x.size, len(plan.names), len(unknowns))

    def put(found: Real, members: Sequence[int], columns: Real) -> None:
        """Write the columns of a course, shape (..., n_spectra, n_linear), for all members."""
        for k in members:
            for j in range(columns.shape[-1]):
                for sign in (1.0, -1.0):
                    u = place.get((k, j, sign))
                    if u is not None:
                        found[..., k, u] = sign * columns[..., j]

    def matrix(psi: Real) -> Real:
        found = np.zeros(shape)
        for n, one in enumerate(sets):
            put(found, one.members, one.course.columns(psi[starts[n] : starts[n + 1]]))
        return found

    def slope(psi: Real) -> Real:
        found = np.zeros((psi.size, *shape))
        for n, one in enumerate(sets):
            part = slice(starts[n], starts[n + 1])
            put(found[part], one.members, one.course.slopes(psi[part]))
        return found

    lower = np.concatenate([one.course.lower for one in sets])
    upper = np.concatenate([one.course.upper for one in sets])
    margin = 1e-6 * (upper - lower)
    return Links(
        tuple(plan.label(one) for one in unknowns),
        matrix,
        slope,
        tuple(f"{one.name}.{name}" for one in sets for name in one.course.nonlinear),
        np.clip(start, lower + margin, upper - margin),
        lower,
        upper,
        np.concatenate([one.course.mean for one in sets]),
        np.concatenate([one.course.sd for one in sets]),
    )


def start_of(plan: Plan, amplitudes: Real, sd: Real) -> Real:
    """Return nonlinear parameters that explain amplitudes found apart, (n_spectra, n_components), from a grid.

    Each set is looked at alone, its members weighted by their standard deviations.
    """
    found = [
        _best(one.course, amplitudes[:, list(one.members)], sd[:, list(one.members)]) for one in plan.sets
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _best(course: Follow, values: Real, sd: Real) -> Real:
    if not course.nonlinear:
        return np.zeros(0)
    axes = [
        np.array([given]) if np.isfinite(given) else _thinned(course, name)
        for name, given in zip(course.nonlinear, course.start, strict=True)
    ]
    tries = [np.array(one) for one in product(*axes)]
    scores = [_misfit(course, psi, values, sd) for psi in tries]
    if not np.isfinite(min(scores)):
        raise InputError(f"{', '.join(course.nonlinear)}: no values between their bounds give finite signals")
    return tries[int(np.argmin(scores))]


def _thinned(course: Follow, name: str) -> Real:
    """Return the grid of a parameter, coarser where several are searched."""
    grid = course.grid(name)
    most = max(3, int(_MOST_STARTS ** (1 / len(course.nonlinear))))
    return grid[:: max(1, -(-grid.size // most))]


def _misfit(course: Follow, psi: Real, values: Real, sd: Real) -> float:
    columns = course.columns(psi)
    if not np.all(np.isfinite(columns)):
        return np.inf
    signs = [columns] + [-columns[:, [j]] for j, known in enumerate(course.nonnegative) if not known]
    design = np.concatenate(signs, axis=1)
    total = 0.0
    for value, spread in zip(values.T, np.maximum(sd.T, 1e-12 * np.abs(values).max() + 1e-300), strict=True):
        weight = 1 / np.where(np.isfinite(spread), spread, np.inf)
        total += nnls(design * weight[:, None], value * weight)[1] ** 2
    return float(total)
