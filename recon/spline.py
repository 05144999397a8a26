"""A smooth baseline as a penalised spline, and the linear algebra that eliminates it from a fit.

Cubic B-splines on even knots with a penalty on the second difference of their coefficients (Eilers and Marx
1996, doi:10.1214/ss/1038425655). The stiffness is stated as effective dimension (degrees of freedom) per
ppm, as in ABfit (Wilson 2021, doi:10.1002/mrm.28385).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import eigh, qr
from scipy.optimize import brentq

Real = NDArray[np.float64]

_KNOTS_PER_PPM = 12.0
_DEGREE = 3


@dataclass(frozen=True)
class Baseline:
    """A penalised spline, ready to be eliminated from least-squares problems."""

    splines: Real
    """B-splines on the axis; shape (n_points, n_splines)."""
    penalty: Real
    """Rows that are added to the design, square root of the smoothing parameter included."""
    orthogonal: Real
    """Orthonormal columns of the augmented design; shape (n_points + n_penalties, n_splines)."""

    def residual(self, values: Real) -> Real:
        """Return what the baseline cannot explain of (n_points, ...) values, augmented by penalty rows.

        The squared norm of the result is the least of |values - baseline|^2 + penalty.
        """
        padding = np.zeros((self.penalty.shape[0], *values.shape[1:]))
        padded = np.concatenate([values, padding])
        return np.asarray(padded - self.orthogonal @ (self.orthogonal.T @ padded))

    def explain(self, values: Real) -> Real:
        """Return the baseline that fits `values`; shape (n_points,)."""
        n = self.splines.shape[0]
        return np.asarray(self.orthogonal[:n] @ (self.orthogonal[:n].T @ values))


def baseline(ppm: Real, dimension_per_ppm: float) -> Baseline:
    """Return a baseline over an even axis with the given effective dimension per ppm (at least 2 in all)."""
    low, high = float(ppm.min()), float(ppm.max())
    n_inner = max(4, int(np.ceil((high - low) * _KNOTS_PER_PPM)))
    step = (high - low) / n_inner
    knots = low + step * np.arange(-_DEGREE, n_inner + _DEGREE + 1)
    splines = BSpline.design_matrix(np.clip(ppm, low, high - 1e-12), knots, _DEGREE).toarray()
    difference = np.diff(np.eye(splines.shape[1]), 2, axis=0)
    weight = _weight(splines, difference, max(2.05, dimension_per_ppm * (high - low)))
    penalty = np.sqrt(weight) * difference
    orthogonal, _ = qr(np.concatenate([splines, penalty]), mode="economic")
    return Baseline(splines, penalty, orthogonal)


def _weight(splines: Real, difference: Real, dimension: float) -> float:
    """Return the smoothing parameter at which the smoother has a trace of `dimension`."""
    gram = splines.T @ splines
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    roughness = np.maximum(eigh(difference.T @ difference, gram, eigvals_only=True), 0.0)
    roughness[:2] = 0.0  # straight lines are free
    dimension = min(dimension, 0.95 * splines.shape[1])

    def excess(log_weight: float) -> float:
        return float(np.sum(1.0 / (1.0 + np.exp(log_weight) * roughness))) - dimension

    return float(np.exp(brentq(excess, -40.0, 60.0)))
