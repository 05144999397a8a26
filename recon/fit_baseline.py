"""How stiff the baseline is, from the data.

The penalised spline is a mixed model, whose smoothing parameter has a likelihood: that of the data with amplitudes
and baseline integrated out (restricted maximum likelihood; Patterson and Thompson 1971, doi:10.1093/biomet/58.3.545;
Wahba 1985, doi:10.1214/aos/1176349743). Against the Akaike criterion it seldom takes noise for a baseline.
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_search import Solved, Task
from pulsespec.recon.spline import Baseline

Real = NDArray[np.float64]

_DIMENSIONS_PER_PPM = np.geomspace(0.55, 8.0, 15)
"""Effective dimensions among which the baseline's is chosen."""


def choose_log_weight(task: Task, solved: Solved, near: bool = False) -> Real:
    """Return the most likely smoothing parameter of each spectrum, all else as it is; shape (v,).

    Parameters
    ----------
    task, solved
        Spectra and their fits.
    near
        Go on from the parameters that the task has, as far as the likelihood rises.

    """
    grid = np.array([task.smooth.log_weight(one) for one in _DIMENSIONS_PER_PPM])
    scores = np.full((len(task.data), grid.size), np.inf)
    if not near:
        for number, one in enumerate(grid):
            scores[:, number] = _score(task, solved, float(one))
        return np.asarray(grid[np.argmin(scores, axis=1)])
    at = np.argmin(np.abs(grid - task.log_weight[:, None]), axis=1)
    while True:
        beside = np.clip(at[:, None] + np.array([-1, 0, 1]), 0, grid.size - 1)
        for number in np.unique(beside[np.isinf(np.take_along_axis(scores, beside, axis=1))]):
            scores[:, number] = _score(task, solved, float(grid[number]))
        best = np.argmin(scores, axis=1)
        if np.array_equal(best, at):
            return np.asarray(grid[at])
        at = best


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


def _score(task: Task, solved: Solved, log_weight: float) -> Real:
    """Return -2 times the logarithm of the restricted likelihood but for a constant; shape (v,)."""
    smooth, columns, curves = task.smooth, solved.state.columns, solved.curves
    held = smooth.kept(np.asarray(log_weight))
    before = smooth.kept(task.log_weight)
    data_curves = task.data @ smooth.vectors
    # Only what the baseline takes changes with its stiffness.
    gram = solved.gram + (curves * (before[:, None] - held)) @ curves.transpose(0, 2, 1)
    right = np.einsum("vkn,vn->vk", columns, task.data) - np.einsum("vks,vs->vk", curves, held * data_curves)
    inside = solved.free[:, :, None] & solved.free[:, None, :]
    gram = np.where(inside, gram, 0.0)
    diagonal = np.arange(gram.shape[1])
    gram[:, diagonal, diagonal] *= 1 + 1e-11
    gram[:, diagonal, diagonal] += ~solved.free
    right = np.where(solved.free, right, 0.0)
    amplitudes = np.linalg.solve(gram, right[..., None])[..., 0]
    squares = np.sum(task.data**2, axis=1) - data_curves**2 @ held - np.sum(amplitudes * right, axis=1)
    rough = smooth.roughness[smooth.roughness > 0]
    spread = np.sum(np.log1p(np.exp(-log_weight) / rough))
    freedom = task.data.shape[1] - solved.free.sum(axis=1) - 2
    return np.asarray(freedom * np.log(np.maximum(squares, 1e-300)) + spread + np.linalg.slogdet(gram)[1])
