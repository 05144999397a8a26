"""The search over the nonlinear parameters of many spectra at once.

Variable projection: amplitudes and baseline are solved inside (Golub and Pereyra 1973, doi:10.1137/0710036), with
Kaufman's Jacobian (1975, doi:10.1007/BF01932995) and Levenberg-Marquardt steps. All is done on products of columns
(normal equations), in units in which the noise is one, so that a step is judged by how much it lowers chi square.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_model import Problem, State, evaluate, slopes
from pulsespec.recon.nonnegative import solve_nonnegative
from pulsespec.recon.spline import Baseline

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]
Indices = NDArray[np.int64]

MOST_STEPS = 60
_ROUGH_STEPS = 15
"""Steps in single precision, after which a search that has not ended goes on in double precision."""
ENOUGH = 1e-2
"""Of chi square: where no step is expected to lower it by more, parameters stand within a tenth of their errors."""
_ENOUGH_RELATIVE = 1e-10
_FIRST_DAMPING = 1e-2
_LEAST_DAMPING = 1e-6
_MOST_DAMPING = 1e8
_STUCK = 0.1
"""Of `ENOUGH`: a step that gains less, though ten times `ENOUGH` were expected, has met an amplitude's edge at zero."""
_HARDLY = 1e-4
"""Between the bounds of a parameter that is not to move."""
_OF_STATE = tuple(one.name for one in fields(State))
_OF_SOLVED = ("gram", "curves", "amplitudes", "free", "cost")


@dataclass(frozen=True, eq=False)
class Task:
    """What is fitted: v spectra in units of their noise, and what is known beforehand."""

    problem: Problem
    smooth: Baseline
    data: Real
    """Real spectra; shape (v, n_points)."""
    log_weight: Real
    """Of the baseline's penalty; shape (v,)."""
    soft: Real
    """Precision of soft constraints on amplitudes; shape (v, k, k)."""
    precision: Real
    """Of the priors of the parameters, whose mean is zero; shape (n_parameters,)."""
    lower: Real
    upper: Real
    signed: Bool
    """Amplitudes that may be negative; shape (k,)."""

    def part(self, at: Indices) -> "Task":
        """Return the task of some of the spectra."""
        return replace(self, data=self.data[at], log_weight=self.log_weight[at], soft=self.soft[at])

    def scaled(self, factor: Real) -> "Task":
        """Return the task with its data multiplied, each spectrum by its factor."""
        return replace(self, data=self.data * factor[:, None])


@dataclass(frozen=True, eq=False)
class Solved:
    """Amplitudes at given parameters."""

    state: State
    gram: Real
    """Products of columns, baseline eliminated, soft constraints included; shape (v, k, k)."""
    curves: Real
    """Columns in the coordinates of the baseline; shape (v, k, n_splines)."""
    amplitudes: Real
    """Shape (v, k)."""
    free: Bool
    """Amplitudes that are not held at zero; shape (v, k)."""
    cost: Real
    """Chi square with all priors; shape (v,)."""

    @property
    def explained(self) -> Real:
        """The components together; shape (v, n_points)."""
        return np.asarray((self.amplitudes[:, None, :] @ self.state.columns)[:, 0])


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search ended."""

    theta: Real
    """Shape (v, n_parameters)."""
    solved: Solved
    converged: Bool
    """Shape (v,)."""
    steps: Indices
    """Shape (v,)."""


def solve(task: Task, theta: Real, free: Bool | None = None, state: State | None = None) -> Solved:
    """Return the best amplitudes at the parameters.

    Parameters
    ----------
    task
        What is fitted.
    theta
        Shape (v, n_parameters).
    free
        Amplitudes that are likely to be above zero; shape (v, k).
    state
        The model at `theta`, where it is known already.

    """
    state = state or evaluate(task.problem, theta)
    columns = state.columns
    curves = columns @ task.smooth.vectors
    held = task.smooth.kept(task.log_weight)
    data_curves = task.data @ task.smooth.vectors
    gram = columns @ columns.transpose(0, 2, 1) - (curves * held[:, None]) @ curves.transpose(0, 2, 1)
    gram += task.soft
    right = (columns @ task.data[..., None] - curves @ (held * data_curves)[..., None])[..., 0]
    amplitudes, free = solve_nonnegative(gram, right, free, task.signed)
    squares = np.einsum("vn,vn->v", task.data, task.data) - np.einsum("vs,vs->v", held, data_curves**2)
    fitted = np.einsum("vk,vk->v", amplitudes, (gram @ amplitudes[..., None])[..., 0] - 2 * right)
    prior = theta**2 @ task.precision
    return Solved(state, gram, curves, amplitudes, free, squares + fitted + prior)


def derivatives(
    task: Task, theta: Real, solved: Solved, moving: Indices | None = None, rough: bool = False
) -> tuple[Real, Real, Real]:
    """Return products of slopes with themselves, with the columns and with the residual, baseline eliminated.

    Shapes (v, p, p), (v, p, k) and (v, p); priors of the parameters are not in them. Of the parameters `moving` alone
    where they are given; `rough` ones in single precision.
    """
    slope = slopes(task.problem, theta, solved.state, solved.amplitudes, rough)
    if moving is not None and moving.size < slope.shape[1]:
        slope = slope[:, moving]
    kind = slope.dtype
    vectors, columns = task.smooth.vectors.astype(kind), solved.state.columns.astype(kind)
    curves = slope @ vectors
    kept = curves * task.smooth.kept(task.log_weight)[:, None].astype(kind)
    itself = slope @ slope.transpose(0, 2, 1) - kept @ curves.transpose(0, 2, 1)
    crossed = slope @ columns.transpose(0, 2, 1) - kept @ solved.curves.transpose(0, 2, 1).astype(kind)
    rest = task.data - solved.explained
    against = slope @ rest[..., None].astype(kind) - kept @ (rest @ task.smooth.vectors)[..., None].astype(
        kind
    )
    return itself.astype(float), crossed.astype(float), against[..., 0].astype(float)


def search(
    task: Task,
    theta: Real,
    most_steps: int = MOST_STEPS,
    enough: float = ENOUGH,
    state: State | None = None,
) -> Found:
    """Return the parameters of least chi square of each spectrum.

    Parameters
    ----------
    task
        What is fitted.
    theta
        Where the search starts; shape (v, n_parameters).
    most_steps
        After which it ends without having converged.
    enough
        Of chi square: where no step is expected to lower it by more, it has converged.
    state
        The model at `theta`, where it is known already.

    """
    theta = np.clip(theta, task.lower, task.upper)
    n = len(theta)
    damping = np.full(n, _FIRST_DAMPING)
    converged, steps = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64)
    open_ = np.arange(n)
    here = solve(task, theta, state=state)
    ended: list[tuple[Indices, Solved]] = []
    moving = np.flatnonzero(task.upper - task.lower > _HARDLY)
    for number in range(most_steps):
        part = task.part(open_)
        information, gradient = _projected(part, theta[open_], here, moving, number < _ROUGH_STEPS)
        step, expected = _step(part, theta[open_], information, gradient, damping[open_], moving)
        least = np.maximum(enough, _ENOUGH_RELATIVE * np.abs(here.cost))
        trial = np.clip(theta[open_] + step, task.lower, task.upper)
        there = solve(part, trial, here.free)
        gain = here.cost - there.cost
        better = gain >= 0
        steps[open_] += 1
        theta[open_] = np.where(better[:, None], trial, theta[open_])
        ratio = gain / np.maximum(expected, 1e-300)
        damping[open_] *= np.where(better, np.where(ratio > 0.5, 0.2, 1.0), 8.0)
        damping[open_] = np.maximum(damping[open_], _LEAST_DAMPING)
        stuck = better & (gain < _STUCK * least) & (expected < least / _STUCK)
        converged[open_] = ((expected < least) | stuck) & (damping[open_] <= 1)
        done = converged[open_] | (damping[open_] > _MOST_DAMPING)
        here = _merged(here, there, better)
        if done.any():
            ended.append((open_[done], _select(here, done)))
            here, open_ = _select(here, ~done), open_[~done]
        if not open_.size:
            break
    return Found(theta, _joined([*ended, (open_, here)]), converged, steps)


def _joined(parts: Sequence[tuple[Indices, Solved]]) -> Solved:
    """Return what was found of all spectra from that of some and their numbers."""
    order = np.argsort(np.concatenate([numbers for numbers, _ in parts]))
    found = [solved for _, solved in parts]
    if len(parts) == 1:
        return found[0]

    def together(name: str, of: Sequence[Any]) -> Any:
        return np.concatenate([getattr(one, name) for one in of])[order]

    states = [one.state for one in found]
    return Solved(
        State(**{name: together(name, states) for name in _OF_STATE}),
        **{name: together(name, found) for name in _OF_SOLVED},
    )


def _projected(task: Task, theta: Real, solved: Solved, moving: Indices, rough: bool) -> tuple[Real, Real]:
    """Return the information on the moving parameters and the descent, amplitudes eliminated; priors included."""
    itself, crossed, against = derivatives(task, theta, solved, moving, rough)
    inside = solved.free[:, :, None] & solved.free[:, None, :]
    gram = np.where(inside, solved.gram, 0.0)
    diagonal = np.arange(gram.shape[1])
    gram[:, diagonal, diagonal] *= 1 + 1e-11
    gram[:, diagonal, diagonal] += ~solved.free
    crossed = np.where(solved.free[:, None], crossed, 0.0)
    itself = itself - crossed @ np.linalg.solve(gram, crossed.transpose(0, 2, 1))
    diagonal = np.arange(itself.shape[1])
    itself[:, diagonal, diagonal] += task.precision[moving]
    return itself, against - (task.precision * theta)[:, moving]


def _step(
    task: Task, theta: Real, information: Real, gradient: Real, damping: Real, moving: Indices
) -> tuple[Real, Real]:
    """Return a damped step of the moving parameters and the decrease of chi square that a linear model expects."""
    here, low, high = theta[:, moving], task.lower[moving], task.upper[moving]
    at_edge = ((here <= low) & (gradient < 0)) | ((here >= high) & (gradient > 0))
    size = np.sqrt(np.maximum(np.diagonal(information, axis1=1, axis2=2), 1e-12))
    scaled = information / size[:, :, None] / size[:, None, :]
    move = ~at_edge[:, :, None] & ~at_edge[:, None, :]
    scaled = np.where(move, scaled, 0.0)
    diagonal = np.arange(moving.size)
    scaled[:, diagonal, diagonal] = 1.0 + damping[:, None]
    down = np.where(at_edge, 0.0, gradient / size)
    step = np.linalg.solve(scaled, down[..., None])[..., 0]
    expected = np.einsum("vp,vp->v", step, down + damping[:, None] * step)
    whole = np.zeros_like(theta)
    whole[:, moving] = step / size
    return whole, expected


def _merged(here: Solved, there: Solved, better: Bool) -> Solved:
    """Return what was found at the new parameters where they are better, else at the old ones: `there`, overwritten."""
    worse = np.flatnonzero(~better)

    def pick(old: Any, new: Any) -> Any:
        new[worse] = old[worse]
        return new

    return _map(pick, here, there) if worse.size else there


def _select(solved: Solved, at: Bool) -> Solved:
    if at.all():
        return solved
    return _map(lambda one, _: one[at], solved, solved)


def _map(function: Callable[[Any, Any], Any], one: Solved, other: Solved) -> Solved:
    states = {name: function(getattr(one.state, name), getattr(other.state, name)) for name in _OF_STATE}
    rest = {name: function(getattr(one, name), getattr(other, name)) for name in _OF_SOLVED}
    return Solved(State(**states), **rest)
