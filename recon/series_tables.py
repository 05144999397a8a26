"""Tables of a dynamic fit: parameters of the model, and amplitudes of every spectrum with and without it."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from pulsespec.files import atomic_path
from pulsespec.recon.fit import SUMS
from pulsespec.recon.series_courses import Follow
from pulsespec.recon.series_expressions import Expression, evaluate
from pulsespec.recon.series_fit import SeriesResult
from pulsespec.recon.series_links import Set

Real = NDArray[np.float64]
Row = dict[str, Any]

AMPLITUDE = "amplitude of the basis"
MODEL_COLUMNS = ("metabolite", "parameter", "value", "sd", "unit")


def model_rows(found: SeriesResult) -> list[Row]:
    """Return the parameters of the model: of each component, of sums whose parts follow one course, of nuisances."""
    rows: list[Row] = []
    for one in found.plan.sets:
        rows += _set_rows(found, one)
    for name, parts in SUMS.items():
        members = [found.names.index(part) for part in parts if part in found.names]
        if len(members) > 1 and not any(one.name == name for one in found.plan.sets):
            rows += _sum_rows(found, name, members)
    return rows + _nuisance_rows(found)


def _set_rows(found: SeriesResult, one: Set) -> list[Row]:
    course, several = one.course, len(one.members) > 1
    rows = []
    for k in one.members:
        rows += _linear_rows(found, found.names[k], [k], course, derived=not course.nonlinear)
    if several and one.name not in found.names:
        rows += _linear_rows(found, one.name, list(one.members), course, derived=False)
    rows += [_nonlinear_row(found, one, name) for name in course.nonlinear]
    if course.nonlinear:
        rows += _derived_rows(found, one.name, list(one.members), course, one)
    return rows


def _sum_rows(found: SeriesResult, name: str, members: list[int]) -> list[Row]:
    """Return the sum of components whose courses are the same columns, so that it has parameters of its own."""
    courses = [found.plan.of[k].course for k in members]
    if any(one.nonlinear or one.linear != courses[0].linear for one in courses):
        return []
    return _linear_rows(found, name, members, courses[0], derived=True)


def _linear_rows(
    found: SeriesResult, name: str, members: list[int], course: Follow, derived: bool
) -> list[Row]:
    rows = []
    for j, parameter in enumerate(course.linear):
        value, sd = found.combine(_weights(found, members, j))
        rows.append(_row(name, parameter, value, sd, course.units.get(parameter) or AMPLITUDE))
    return rows + (_derived_rows(found, name, members, course, None) if derived else [])


def _weights(found: SeriesResult, members: Sequence[int], linear: int) -> Real:
    unknowns = sum((found.plan.weights(k, linear) for k in members), np.zeros(found.joint.n_unknowns))
    return np.concatenate([unknowns, np.zeros(found.psi.size)])


def _place(found: SeriesResult, one: Set, name: str) -> int:
    """Return where a nonlinear parameter stands among all values."""
    start = found.plan.starts[found.plan.sets.index(one)]
    return found.joint.n_unknowns + start + one.course.nonlinear.index(name)


def _nonlinear_row(found: SeriesResult, one: Set, name: str) -> Row:
    """Return a nonlinear parameter; NaN where no member has any signal that could tell it."""
    at = _place(found, one, name)
    seen = any(found.joint.amplitudes[:, k].any() for k in one.members)
    value = float(found.joint.values[at]) if seen else math.nan
    sd = float(np.sqrt(max(found.joint.covariance[at, at], 0.0))) if seen else math.nan
    return _row(one.name, name, value, sd, one.course.units.get(name, ""))


def _derived_rows(
    found: SeriesResult, name: str, members: list[int], course: Follow, one: Set | None
) -> list[Row]:
    """Return quantities that expressions make of the parameters; deviations to first order."""
    rows = []
    vectors = {p: _weights(found, members, j) for j, p in enumerate(course.linear)}
    if one is not None:
        size = found.joint.values.size
        vectors |= {p: np.eye(size)[_place(found, one, p)] for p in course.nonlinear}
    values = {p: float(vector @ found.joint.values) for p, vector in vectors.items()}
    for quantity, expression in (course.derived or {}).items():
        value = _at(expression, expression.tree, values)
        gradient = sum(
            _at(expression, expression.derivative(p), values) * vectors[p] for p in expression.parameters
        )
        sd = found.combine(np.asarray(gradient))[1] if math.isfinite(value) else math.nan
        rows.append(_row(name, quantity, value, sd, "percent" if quantity.endswith("percent") else ""))
    return rows


def _at(expression: Expression, tree: Any, values: Mapping[str, float]) -> float:
    return float(evaluate(sympy.sympify(tree), expression.variable, np.zeros(1), values)[0])


def _nuisance_rows(found: SeriesResult) -> list[Row]:
    """Return what follows the variable by a linear model besides the concentrations."""
    joint = found.joint
    return [
        _row(
            one.name,
            one.parameter,
            float(one.factor * joint.phi[one.at]),
            float(abs(one.factor) * joint.phi_sd[one.at]),
            one.unit,
        )
        for one in found.nuisances
    ]


def _row(metabolite: str, parameter: str, value: float, sd: float, unit: str) -> Row:
    return dict(zip(MODEL_COLUMNS, (metabolite, parameter, value, sd, unit), strict=True))


def amplitude_rows(found: SeriesResult) -> list[Row]:
    """Return the amplitude of every component and sum in every spectrum: linked, and fitted alone.

    `linked` is the course of the model, `alone` the fit of each spectrum for itself (NaN where signals may be
    inverted), `released` free amplitudes at the nuisances of the joint fit.
    """
    parts = {name: {k: 1.0} for k, name in enumerate(found.names)}
    for name, of in SUMS.items():
        members = {found.names.index(part): 1.0 for part in of if part in found.names}
        parts |= {name: members} if members else {}
    rows = []
    for name, weights in parts.items():
        linked, linked_sd = found.curve(weights)
        for k, x in enumerate(found.plan.x):
            alone, alone_sd = _alone(found, k, weights)
            rows.append(
                {
                    "spectrum": k + 1,
                    found.model.variable.name: float(x),
                    "metabolite": name,
                    "linked": float(linked[k]),
                    "linked_sd": float(linked_sd[k]),
                    "alone": alone,
                    "alone_sd": alone_sd,
                    "released": float(sum(w * found.released[k, at] for at, w in weights.items())),
                }
            )
    return rows


def _alone(found: SeriesResult, index: int, weights: Mapping[int, float]) -> tuple[float, float]:
    if not found.alone:
        return math.nan, math.nan
    return found.alone[index].combine({found.names[k]: w for k, w in weights.items()})


def spectrum_rows(found: SeriesResult) -> list[Row]:
    """Return what differs from spectrum to spectrum besides concentrations: phase, shift and width."""
    return [
        {
            "spectrum": k + 1,
            found.model.variable.name: float(x),
            **{key: one[key] for key in ("phase0_deg", "shift_ppm", "gauss_hz", "residual_over_noise")},
            "lorentz_hz": float(np.median(list(one["lorentz_hz"].values()))),
            "baseline_dimension_per_ppm": one["baseline_dimension_per_ppm"],
        }
        for k, (x, one) in enumerate(zip(found.plan.x, found.joint.parameters, strict=True))
    ]


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, overwrite: bool = False) -> None:
    """Write rows as tab-separated text with a header; what is not a finite number is an empty cell."""
    with (
        atomic_path(path, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
