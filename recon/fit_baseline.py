"""How stiff the baseline is, from the data.

The penalised spline is a mixed model, whose smoothing parameter has a likelihood: that of the data with amplitudes
and baseline integrated out (restricted maximum likelihood; Patterson and Thompson 1971, doi:10.1093/biomet/58.3.545;
Wahba 1985, doi:10.1214/aos/1176349743). Against the Akaike criterion it seldom takes noise for a baseline.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_search import Solved, Task
from pulsespec.recon.spline import Baseline

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]
Indices = NDArray[np.int64]

_DIMENSIONS_PER_PPM = np.geomspace(0.55, 8.0, 15)
"""Effective dimensions among which the baseline's is chosen."""
_NOTHING = 1e-13
"""Of the squares of the data: what a fit is taken to leave at least, or rounding might make it negative."""
_RIDGE = 1e-11
"""Of each diagonal element: two components that are the same still have an inverse."""


def choose_log_weight(task: Task, solved: Solved, near: bool = False) -> Real:
    """Return the most likely smoothing parameter of each spectrum, all else as it is; shape (v,).

    Parameters
    ----------
    task, solved
        Spectra and their fits.
    near
        Go on from the parameters that the task has, as far as the likelihood rises.

    """
    grid, products = _grid(task.smooth), _products(task, solved)
    every = np.arange(len(task.data))
    if not near:
        scores = np.stack([_score(products, every, float(one)) for one in grid], axis=1)
        return np.asarray(grid[np.argmin(scores, axis=1)])
    scores = np.full((every.size, grid.size), np.inf)
    at = np.argmin(np.abs(grid - task.log_weight[:, None]), axis=1)
    while True:
        beside = np.clip(at[:, None] + np.array([-1, 0, 1]), 0, grid.size - 1)
        lacks = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(lacks, beside, np.isinf(np.take_along_axis(scores, beside, axis=1)), axis=1)
        for number in np.flatnonzero(lacks.any(axis=0)):
            these = np.flatnonzero(lacks[:, number])
            scores[these, number] = _score(products, these, float(grid[number]))
        best = np.argmin(scores, axis=1)
        if np.array_equal(best, at):
            return np.asarray(grid[at])
        at = best


@lru_cache(maxsize=8)
def _grid(smooth: Baseline) -> Real:
    """Return the smoothing parameters that are tried, for a baseline that is itself kept."""
    return np.array([smooth.log_weight(one) for one in _DIMENSIONS_PER_PPM])


def likely_log_weight(smooth: Baseline, rest: Real) -> float:
    """Return the most likely smoothing parameter of a baseline that is all there is but noise; shape (n_points,)."""
    rough = smooth.roughness[smooth.roughness > 0]
    curves = rest @ smooth.vectors
    scores = []
    for log_weight in (grid := [smooth.log_weight(one) for one in _DIMENSIONS_PER_PPM]):
        squares = float(rest @ rest - curves**2 @ smooth.kept(np.asarray(log_weight)))
        spread = float(np.sum(np.log1p(np.exp(-log_weight) / rough)))
        scores.append((rest.size - 2) * np.log(max(squares, 1e-300)) + spread)
    return grid[int(np.argmin(scores))]


@dataclass(frozen=True)
class _Products:
    """Of columns and data, which are the last column, with each other: all that a likelihood needs."""

    smooth: Baseline
    n_points: int
    whole: Real
    """Without a baseline, soft constraints included; shape (v, k + 1, k + 1)."""
    curves: Real
    """In the coordinates of the baseline, zero for amplitudes that are held at zero; shape (v, k + 1, n_splines)."""
    free: Bool
    """Shape (v, k + 1)."""


def _products(task: Task, solved: Solved) -> _Products:
    n, k = solved.free.shape
    free = np.concatenate([solved.free, np.ones((n, 1), dtype=bool)], axis=1)
    data_curves = task.data @ task.smooth.vectors
    curves = np.concatenate([solved.curves, data_curves[:, None]], axis=1)
    kept = curves[:, :k] * task.smooth.kept(task.log_weight)[:, None]
    whole = np.zeros((n, k + 1, k + 1))
    whole[:, :k, :k] = solved.gram + kept @ solved.curves.transpose(0, 2, 1)
    whole[:, k, :k] = (solved.state.columns @ task.data[..., None])[..., 0]
    whole[:, :k, k] = whole[:, k, :k]
    whole[:, k, k] = (1 + _NOTHING) * np.einsum("vn,vn->v", task.data, task.data)
    whole = np.where(free[:, :, None] & free[:, None, :], whole, 0.0)
    diagonal = np.arange(k)
    whole[:, diagonal, diagonal] *= 1 + _RIDGE
    diagonal = np.arange(k + 1)
    whole[:, diagonal, diagonal] += ~free
    return _Products(task.smooth, task.data.shape[1], whole, np.where(free[..., None], curves, 0.0), free)


def _score(products: _Products, at: Indices, log_weight: float) -> Real:
    """Return -2 times the logarithm of the restricted likelihood of some spectra but for a constant; shape (n,).

    The last pivot of Cholesky's factor, that of the data, is what the fit leaves; the others make the determinant.
    """
    smooth, curves, free = products.smooth, products.curves[at], products.free[at]
    held = smooth.kept(np.asarray(log_weight))
    logs = _log_pivots(products.whole[at] - (curves * held) @ curves.transpose(0, 2, 1))
    rough = smooth.roughness[smooth.roughness > 0]
    spread = np.sum(np.log1p(np.exp(-log_weight) / rough))
    freedom = products.n_points - (free.sum(axis=1) - 1) - 2
    return np.asarray(freedom * logs[:, -1] + spread + logs[:, :-1].sum(axis=1))


def _log_pivots(matrices: Real) -> Real:
    """Return the logarithms of the pivots of symmetric matrices; shapes (n, k, k) and (n, k)."""
    try:
        return np.asarray(2 * np.log(np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)))
    except np.linalg.LinAlgError:
        # Rounding left one indefinite: a soft constraint outweighs all else.
        values = np.linalg.slogdet(matrices[:, :-1, :-1])[1]
        found = np.zeros(matrices.shape[:2])
        found[:, 0], found[:, -1] = values, np.linalg.slogdet(matrices)[1] - values
        return found
