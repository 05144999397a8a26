"""Non-negative least squares for many small problems at once."""

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]

_RIDGE = 1e-11
_FULL_EXCHANGES = 3
_MOST_STEPS = 20
"""For each variable, of an active set."""
_LEAST = 1e-12
"""Of the way that a variable would have gone: what counts as zero."""


def solve_nonnegative(
    gram: Real, right: Real, free: Bool | None = None, signed: Bool | None = None
) -> tuple[Real, Bool]:
    """Minimise x' gram x / 2 - right' x over x >= 0 for each problem.

    Block principal pivoting (Portugal, Judice and Vicente 1994, doi:10.1090/S0025-5718-1994-1250776-4): all
    variables that break a condition change sides at once, as long as that makes them fewer. Where columns are so much
    alike that it goes round in circles, an active set goes downhill from there (Lawson and Hanson 1974, Solving Least
    Squares Problems, chapter 23, recalled).

    Parameters
    ----------
    gram
        Symmetric, positive definite; shape (v, k, k).
    right
        Shape (v, k).
    free
        Variables that are likely to be above zero; shape (v, k).
    signed
        Variables that may be below zero; shape (k,).

    Returns
    -------
    x, and which of its elements are free to move; shapes (v, k).

    """
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-300))
    gram = gram * scale[:, :, None] * scale[:, None, :]
    diagonal = np.arange(gram.shape[1])
    gram[:, diagonal, diagonal] += _RIDGE
    right = right * scale
    either = np.zeros(right.shape[1], dtype=bool) if signed is None else signed
    inside = np.ones(right.shape, dtype=bool) if free is None else free | either
    x = np.zeros_like(right)
    fewest = np.full(len(right), right.shape[1] + 1)
    tries = np.full(len(right), _FULL_EXCHANGES)
    open_ = np.arange(len(right))
    limit = 1e-12 * (1 + np.abs(right).max(axis=1, initial=0.0))[:, None]
    circling: list[NDArray[np.int64]] = []
    while open_.size:
        x[open_], slope = _pivot(gram[open_], right[open_], inside[open_])
        wrong = np.where(inside[open_], (x[open_] < -limit[open_]) & ~either, slope < -limit[open_])
        count = wrong.sum(axis=1)
        open_, wrong, count = open_[count > 0], wrong[count > 0], count[count > 0]
        better = count < fewest[open_]
        fewest[open_] = np.where(better, count, fewest[open_])
        tries[open_] = np.where(better, _FULL_EXCHANGES, tries[open_] - 1)
        lost = tries[open_] < 0
        circling.append(open_[lost])
        open_ = open_[~lost]
        inside[open_] ^= wrong[~lost]
    stuck = np.concatenate(circling) if circling else np.zeros(0, dtype=np.int64)
    if stuck.size:
        x[stuck], inside[stuck] = _downhill(
            gram[stuck], right[stuck], np.where(inside, x, 0.0)[stuck], limit[stuck], either
        )
    x = np.where(inside, x, 0.0)
    return np.where(either, x, np.maximum(x, 0.0)) * scale, inside


def _downhill(gram: Real, right: Real, start: Real, limit: Real, either: Bool) -> tuple[Real, Bool]:
    """Return the solutions and their free variables, by an active set from near them."""
    x = np.where(either, start, np.maximum(start, 0.0))
    inside = (x > 0) | either
    open_ = np.arange(len(x))
    for _ in range(_MOST_STEPS * right.shape[1]):
        aim, slope = _pivot(gram[open_], right[open_], inside[open_])
        low = inside[open_] & (aim < -limit[open_]) & ~either
        away = x[open_] - aim
        reach = np.where(low, x[open_] / np.where(low, away, 1.0), 1.0).min(axis=1)
        blocked: Bool = np.asarray(low.any(axis=1))
        x[open_] = np.where(inside[open_], x[open_] - reach[:, None] * away, 0.0)
        out = low & (x[open_] <= _LEAST * np.maximum(away, limit[open_]))
        inside[open_] = inside[open_] & ~out
        x[open_] = np.where(out, 0.0, x[open_])
        slope = np.where(inside[open_] | blocked[:, None], np.inf, slope)
        enters = np.argmin(slope, axis=1)
        more = np.asarray(slope[np.arange(open_.size), enters] < -limit[open_, 0])
        inside[open_[more], enters[more]] = True
        open_ = open_[blocked | more]
        if not open_.size:
            break
    return x, inside


def _pivot(gram: Real, right: Real, inside: Bool) -> tuple[Real, Real]:
    """Return the solution with all other variables at zero, and the slope of the cost along those."""
    both = inside[:, :, None] & inside[:, None, :]
    held = np.where(both, gram, 0.0)
    diagonal = np.arange(gram.shape[1])
    held[:, diagonal, diagonal] += ~inside
    x = np.linalg.solve(held, np.where(inside, right, 0.0)[..., None])[..., 0]
    slope = (gram @ x[..., None])[..., 0] - right
    return x, slope
