"""Non-negative least squares for many small problems at once."""

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]

_RIDGE = 1e-11
_FULL_EXCHANGES = 3


def solve_nonnegative(
    gram: Real, right: Real, free: Bool | None = None, signed: Bool | None = None
) -> tuple[Real, Bool]:
    """Minimise x' gram x / 2 - right' x over x >= 0 for each problem.

    Block principal pivoting (Portugal, Judice and Vicente 1994, doi:10.1090/S0025-5718-1994-1250776-4): all
    variables that break a condition change sides at once as long as that makes them fewer, else one alone.

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
    for _ in range(20 * right.shape[1]):
        x[open_], slope = _pivot(gram[open_], right[open_], inside[open_])
        wrong = np.where(inside[open_], (x[open_] < -limit[open_]) & ~either, slope < -limit[open_])
        count = wrong.sum(axis=1)
        open_, wrong, count = open_[count > 0], wrong[count > 0], count[count > 0]
        if not open_.size:
            break
        better = count < fewest[open_]
        fewest[open_] = np.where(better, count, fewest[open_])
        tries[open_] = np.where(better, _FULL_EXCHANGES, tries[open_] - 1)
        single = tries[open_] < 0
        last = right.shape[1] - 1 - np.argmax(wrong[single][:, ::-1], axis=1)
        alone = np.zeros((int(single.sum()), right.shape[1]), dtype=bool)
        alone[np.arange(len(alone)), last] = True
        wrong[single] = alone
        inside[open_] ^= wrong
    x = np.where(inside, x, 0.0)
    return np.where(either, x, np.maximum(x, 0.0)) * scale, inside


def _pivot(gram: Real, right: Real, inside: Bool) -> tuple[Real, Real]:
    """Return the solution with all other variables at zero, and the slope of the cost along those."""
    both = inside[:, :, None] & inside[:, None, :]
    held = np.where(both, gram, 0.0)
    diagonal = np.arange(gram.shape[1])
    held[:, diagonal, diagonal] += ~inside
    x = np.linalg.solve(held, np.where(inside, right, 0.0)[..., None])[..., 0]
    slope = (gram @ x[..., None])[..., 0] - right
    return x, slope
