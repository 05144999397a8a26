"""A smooth baseline as a penalised spline, in the coordinates in which its penalty is diagonal.

Cubic B-splines on even knots with a penalty on the second difference of their coefficients (Eilers and Marx
1996, doi:10.1214/ss/1038425655). Orthonormal on the axis and ordered by roughness (the Demmler-Reinsch basis,
doi:10.1007/BF01389448) the spline is eliminated from a least-squares problem by one projection, whatever its
stiffness; and its stiffness can be chosen without another. Stiffness is stated as effective dimension (degrees of
freedom) per ppm, as in ABfit (Wilson 2021, doi:10.1002/mrm.28385).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from scipy.optimize import brentq

Real = NDArray[np.float64]

_KNOTS_PER_PPM = 12.0
_DEGREE = 3
_LEAST_DIMENSION = 2.05
"""A straight line has two and costs nothing."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """A spline, ready to be eliminated from least-squares problems."""

    vectors: Real
    """Orthonormal curves on the axis, the smoothest first; shape (n_points, n_splines)."""
    roughness: Real
    """Penalty of each, zero for the two straight lines; shape (n_splines,)."""
    length_ppm: float
    """Extent of the axis."""

    def kept(self, log_weight: Real) -> Real:
        """Return the share of each curve that a smoother keeps; shape (..., n_splines)."""
        return np.asarray(1.0 / (1.0 + np.exp(np.asarray(log_weight)[..., None]) * self.roughness))

    def residual(self, values: Real, log_weight: float) -> Real:
        """Return what a smoother cannot explain of (n_points, ...) values, with its penalty.

        The squared norm of the result is the least of |values - baseline|^2 + penalty.
        """
        away = 1 - np.sqrt(1 - self.kept(np.asarray(log_weight)))
        return np.asarray(values - self.vectors @ (away * (self.vectors.T @ values).T).T)

    def explain(self, values: Real, log_weight: float) -> Real:
        """Return the baseline that fits `values`; shape (n_points,)."""
        return np.asarray(self.vectors @ (self.kept(np.asarray(log_weight)) * (self.vectors.T @ values)))

    def dimension_per_ppm(self, log_weight: Real) -> Real:
        """Return the effective dimension of a smoother per ppm; shape (...)."""
        return np.asarray(self.kept(log_weight).sum(axis=-1) / self.length_ppm)

    def log_weight(self, dimension_per_ppm: float) -> float:
        """Return the logarithm of the smoothing parameter that has an effective dimension per ppm."""
        most = 0.95 * self.roughness.size
        wanted = min(max(_LEAST_DIMENSION, dimension_per_ppm * self.length_ppm), most)
        return float(brentq(lambda at: float(self.kept(np.asarray(at)).sum()) - wanted, -40.0, 60.0))


def baseline(ppm: Real) -> Baseline:
    """Return the spline over the points of an axis, which may have gaps; shape (n_points,)."""
    return _baseline(np.ascontiguousarray(ppm).tobytes())


@lru_cache(maxsize=8)
def _baseline(axis: bytes) -> Baseline:
    ppm = np.frombuffer(axis)
    low, high = float(ppm.min()), float(ppm.max())
    n_inner = max(4, int(np.ceil((high - low) * _KNOTS_PER_PPM)))
    step = (high - low) / n_inner
    knots = low + step * np.arange(-_DEGREE, n_inner + _DEGREE + 1)
    splines = BSpline.design_matrix(np.clip(ppm, low, high - 1e-12), knots, _DEGREE).toarray()
    difference = np.diff(np.eye(splines.shape[1]), 2, axis=0)
    gram = splines.T @ splines
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    roughness, coefficients = eigh(difference.T @ difference, gram)
    roughness = np.maximum(roughness, 0.0)
    roughness[:2] = 0.0  # straight lines are free
    return Baseline(splines @ coefficients, roughness, high - low)
