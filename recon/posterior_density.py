"""The density that a posterior is drawn from: that of amplitudes and nonlinear parameters, baseline integrated out.

What cannot be negative is a softplus of a coordinate that can, with the volume that this takes along, so that the
density has a slope everywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from pulsespec.recon import fit_known
from pulsespec.recon.fit import BatchResult
from pulsespec.recon.fit_model import Problem, evaluate, slopes
from pulsespec.recon.spline import baseline

Real = NDArray[np.float64]

_MOVES = 1e11
"""Parameters of a higher prior precision do not move."""
_LEAST_START = 0.5
"""Standard deviations from zero at which what cannot be negative starts."""


@dataclass(frozen=True, eq=False)
class Density:
    """Minus the logarithm of the posterior density, in coordinates without bounds: k amplitudes, then what moves."""

    problem: Problem
    vectors: Real
    held: Real
    data: Real
    """In units of the noise; shape (n_points,)."""
    soft: Real
    precision: Real
    theta: Real
    """Of the fit: what does not move stays there."""
    moves: NDArray[np.int64]
    variance: float
    """Of the data: above one where the fit left more than noise."""
    positive: NDArray[np.bool_]
    low: Real
    scale: Real
    start: Real
    metric: Real

    def values(self, at: Real) -> tuple[Real, Real, Real]:
        """Return amplitudes, parameters and the slope of both by the coordinates."""
        with_floor = self.low + self.scale * np.logaddexp(0.0, at / self.scale)
        x = np.where(self.positive, with_floor, at)
        slope = np.where(self.positive, expit(at / self.scale), 1.0)
        k = len(self.problem.names)
        theta = self.theta.copy()
        theta[self.moves] = x[k:]
        return x[:k], theta, slope

    def slope(self, at: Real) -> tuple[Real, float]:
        """Return the slope and the value."""
        amplitudes, theta, inner = self.values(at)
        by_x, value = self.by_values(amplitudes, theta)
        volume = np.where(self.positive, log_expit(at / self.scale), 0.0)
        by_volume = np.where(self.positive, (1.0 - inner) / self.scale, 0.0)
        return by_x * inner - by_volume, value - float(volume.sum())

    def by_values(self, amplitudes: Real, theta: Real) -> tuple[Real, float]:
        """Return slope and value without the volume, by amplitudes and moving parameters."""
        state = evaluate(self.problem, theta[None])
        rest = self.data - amplitudes @ state.columns[0]
        left = rest - self.vectors @ (self.held * (rest @ self.vectors))
        by_theta = slopes(self.problem, theta[None], state, amplitudes[None])[0][self.moves]
        pull = self.precision * theta
        value = 0.5 * (rest @ left / self.variance + amplitudes @ self.soft @ amplitudes)
        value += 0.5 * float(pull @ theta)
        by_amplitude = -state.columns[0] @ left / self.variance + self.soft @ amplitudes
        return np.concatenate([by_amplitude, -by_theta @ left / self.variance + pull[self.moves]]), float(
            value
        )


def density_of(fits: BatchResult, index: int) -> Density:
    """Return the density of one fit, its baseline's stiffness and its priors as they are, about what was found."""
    problem, settings = fits.problem, fits.settings
    smooth, at, noise = baseline(problem.ppm), problem.layout, float(fits.noise_sd[index])
    amplitudes, theta = fits.amplitudes[index] / noise, fits.theta[index]
    precision = fit_known.precision(problem, settings)
    low, high = fit_known.bounds(problem, settings)
    moves = np.flatnonzero((precision < _MOVES) & (high > low))
    held = smooth.kept(np.asarray(fits.log_weight[index]))
    variance = max(1.0, float(fits.residual_over_noise[index])) ** 2
    soft = _soft(fits, amplitudes)
    information = _information(problem, theta, amplitudes, moves, smooth.vectors, held) / variance
    k = amplitudes.size
    information[:k, :k] += soft
    information[range(k, len(information)), range(k, len(information))] += precision[moves]
    sd = _spread(information)
    is_width = (moves >= at.gauss) & (moves < at.width.stop)
    positive = np.concatenate([np.ones(k, dtype=bool), is_width])
    floor = np.where(positive, np.concatenate([np.zeros(k), low[moves]]), 0.0)
    x = np.concatenate([amplitudes, theta[moves]])
    above = np.maximum(x - floor, _LEAST_START * sd) / sd
    start = np.where(positive, sd * (above + np.log(-np.expm1(-above))), x)
    inner = np.where(positive, expit(start / sd), 1.0)
    metric = information * np.outer(inner, inner)
    metric += np.diag(np.where(positive, inner * (1 - inner), 0.0) / sd**2 + 1e-9 * np.diag(metric))
    data = fits.data[index] / noise
    return Density(
        problem, smooth.vectors, held, data, soft, precision, theta, moves, variance,
        positive, floor, sd, start, metric,
    )  # fmt: skip


def _soft(fits: BatchResult, amplitudes: Real) -> Real:
    """Return the precision of the soft ratios as the last round of the fit had it; shape (k, k)."""
    names, settings = fits.problem.names, fits.settings
    priors = (*settings.ratio_priors, *fit_known.expected(names, settings))
    return np.asarray(fit_known.soft_ratios(names, amplitudes[None], priors)[0])


def _information(
    problem: Problem, theta: Real, amplitudes: Real, moves: NDArray[np.int64], vectors: Real, held: Real
) -> Real:
    """Return the information on amplitudes and moving parameters, baseline integrated out, noise at one."""
    state = evaluate(problem, theta[None])
    slope = slopes(problem, theta[None], state, np.maximum(amplitudes, 1e-9)[None])[0][moves]
    rows = np.concatenate([state.columns[0], slope])
    curves = rows @ vectors
    return np.asarray(rows @ rows.T - (curves * held) @ curves.T)


def _spread(information: Real) -> Real:
    """Return the standard deviation of each, all others free."""
    size = np.sqrt(np.diag(information)) + 1e-12
    inverse = np.linalg.pinv(information / np.outer(size, size), rcond=1e-10, hermitian=True)
    return np.asarray(np.sqrt(np.maximum(np.diag(inverse), 1e-12)) / size)
