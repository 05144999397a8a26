"""How an amplitude follows the variable of a series: columns that unknowns are multiplied by, and their derivatives."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.series_expressions import Expression, parse
from pulsespec.recon.series_schema import Course, Parameter

Real = NDArray[np.float64]

NAMED: Mapping[str, str] = {
    "linear": "A + slope * x",
    "exponential": "A * exp(-x * D)",
    "biexponential": "A * (fraction * exp(-x * D_fast) + (1 - fraction) * exp(-x * D_slow))",
    "kurtosis": "A * exp(-x * D + (x * D) ** 2 * K / 6)",
    "inversion_recovery": "A * (1 - 2 * efficiency * exp(-x / T1))",
    "saturation_recovery": "A * (1 - exp(-x / T1))",
    "t2": "A * exp(-x / T2)",
}
"""Courses that have names, x being the variable. Kurtosis: Jensen et al. 2005, doi:10.1002/mrm.20508."""
PLAIN = ("free", "fixed", "polynomial", "glm")
_FIXED_BOUNDS = {"fraction": (0.0, 1.0), "K": (0.0, 3.0), "efficiency": (0.5, 1.0)}
_GRID = 12


@dataclass(frozen=True)
class Follow:
    """One course at the values of a series."""

    linear: tuple[str, ...]
    """Names of what is solved linearly; the first is the amplitude."""
    nonnegative: tuple[bool, ...]
    nonlinear: tuple[str, ...]
    lower: Real
    upper: Real
    start: Real
    """Of the nonlinear parameters, NaN where it is to be found; shape (n_nonlinear,)."""
    mean: Real
    """Prior means of the nonlinear parameters, and their standard deviations, infinite where there is no prior."""
    sd: Real
    units: Mapping[str, str]
    x: Real
    expression: Expression | None = None
    design: Real | None = None
    """Columns, where nothing nonlinear is in them; shape (n_spectra, n_linear)."""
    derived: Mapping[str, Expression] | None = None

    def columns(self, psi: Real) -> Real:
        """Return what the linear parameters are multiplied by; shape (n_spectra, n_linear)."""
        if self.design is not None:
            return self.design
        assert self.expression is not None
        return self.expression.columns(self.x, list(psi))

    def slopes(self, psi: Real) -> Real:
        """Return their derivatives by the nonlinear parameters; shape (n_nonlinear, n_spectra, n_linear)."""
        if self.design is not None:
            return np.zeros((0, *self.design.shape))
        assert self.expression is not None
        return self.expression.slopes(self.x, list(psi))

    def grid(self, name: str) -> Real:
        """Return values between the bounds of a parameter, even in its logarithm where both are positive."""
        k = self.nonlinear.index(name)
        low, high = self.lower[k], self.upper[k]
        inner = (np.arange(_GRID) + 0.5) / _GRID
        if low > 0:
            return np.asarray(low * (high / low) ** inner)
        return np.asarray(low + (high - low) * inner**2)  # denser near zero, where rates are


def follow(
    course: Course,
    variable: str,
    x: Real,
    design: Mapping[str, Real],
    reference: int,
    where: str,
    constants: Mapping[str, float | Real] | None = None,
) -> Follow:
    """Return a course at the values of a series.

    Parameters
    ----------
    course
        What the model says.
    variable, x
        Name and values of the variable; shape (n_spectra,).
    design
        Regressors by name; shape (n_spectra,) each.
    reference
        Index of the spectrum in which the signal is strong.
    where
        What errors call it.
    constants
        Numbers that expressions use by name.

    Raises
    ------
    InputError
        The expression is none, is not proportional to any parameter, or its parameters lack bounds.

    """
    if course.model in PLAIN:
        return _plain(course, x, design, reference, where)
    named = NAMED.get(course.model)
    expression = parse(course.model if named is None else named, "x" if named else variable, where, constants)
    if not expression.linear:
        raise InputError(
            f"{where}: {course.model!r} is proportional to none of its parameters, expected an amplitude in it"
        )
    unknown = sorted(set(course.parameters) - set(expression.parameters))
    if unknown:
        raise InputError(
            f"{where}: parameter {unknown[0]!r} is not in {expression.text!r} "
            f"({', '.join(expression.parameters)})"
        )
    if not named and variable not in {str(symbol) for symbol in expression.tree.free_symbols}:
        raise InputError(f"{where}: {course.model!r} does not depend on {variable}; write 'fixed' if so")
    given = {name: course.parameters.get(name, Parameter()) for name in expression.parameters}
    bounds = np.array([_bounds(name, given[name], x, bool(named), where) for name in expression.nonlinear])
    bounds = bounds.reshape(-1, 2)
    own = [given[name] for name in expression.nonlinear]
    linear = expression.linear
    return Follow(
        linear,
        tuple(_is_nonnegative(k, name, given[name], where) for k, name in enumerate(linear)),
        expression.nonlinear,
        bounds[:, 0],
        bounds[:, 1],
        np.array([np.nan if one.start is None else one.start for one in own], dtype=float),
        np.array([0.0 if one.mean is None else one.mean for one in own], dtype=float),
        np.array([np.inf if one.sd is None else one.sd for one in own], dtype=float),
        {name: one.unit for name, one in given.items()},
        x,
        expression,
        None,
        _derived(course, linear + expression.nonlinear, where),
    )


def _bounds(name: str, given: Parameter, x: Real, named: bool, where: str) -> tuple[float, float]:
    low, high = given.lower, given.upper
    if named:
        low = _usual_bounds(name, x)[0] if low is None else low
        high = _usual_bounds(name, x)[1] if high is None else high
    if low is None or high is None:
        raise InputError(f"{where}: parameter {name!r} needs lower and upper bounds")
    return low, high


def _usual_bounds(name: str, x: Real) -> tuple[float, float]:
    """Return bounds in which a series of these values can tell anything of a rate or a time."""
    if name in _FIXED_BOUNDS:
        return _FIXED_BOUNDS[name]
    sizes = np.abs(x[x != 0])
    smallest, largest = (float(sizes.min()), float(sizes.max())) if sizes.size else (1.0, 1.0)
    return (0.05 * smallest, 20 * largest) if name.startswith("T") else (0.0, 10 / smallest)


def _is_nonnegative(k: int, name: str, given: Parameter, where: str) -> bool:
    """Return whether a linear parameter cannot be negative: the first one, and those whose lower bound is 0."""
    if (given.upper, given.start, given.mean) != (None,) * 3 or (given.lower or 0.0) > 0:
        raise InputError(f"{where}: {name!r} is solved linearly: only unit and lower = 0 can be given")
    return k == 0 if given.lower is None else given.lower == 0.0


def _plain(course: Course, x: Real, design: Mapping[str, Real], reference: int, where: str) -> Follow:
    if course.parameters:
        raise InputError(f"{where}: model {course.model!r} takes no parameters")
    columns = _columns(course, x, design, reference)
    signed = course.model in ("polynomial", "glm")
    names = tuple(columns)
    return Follow(
        names,
        tuple(k == 0 or not signed for k in range(len(names))),
        (),
        *(np.zeros(0),) * 5,
        {},
        x,
        None,
        np.stack(list(columns.values()), axis=1),
        _derived(course, names, where),
    )


def _columns(course: Course, x: Real, design: Mapping[str, Real], reference: int) -> dict[str, Real]:
    if course.model == "fixed":
        return {"A": np.ones(x.size)}
    if course.model == "free":
        order = [reference, *(k for k in range(x.size) if k != reference)]
        return {f"A{k + 1}": np.eye(x.size)[k] for k in order}
    if course.model == "polynomial":
        return {"A": np.ones(x.size)} | {f"c{k}": (x - x[reference]) ** k for k in range(1, course.order + 1)}
    return {name: design[name] for name in course.regressors}


def _derived(course: Course, names: tuple[str, ...], where: str) -> dict[str, Expression]:
    found = {}
    for name, text in course.derived.items():
        expression = parse(text, "", f"{where}, derived {name}")
        unknown = sorted(set(expression.parameters) - set(names))
        if unknown:
            raise InputError(
                f"{where}, derived {name}: {unknown[0]!r} is none of its parameters ({', '.join(names)})"
            )
        found[name] = expression
    return found
