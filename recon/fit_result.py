"""What fits found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_settings import FitSettings

Real = NDArray[np.float64]


@dataclass(frozen=True)
class FitResult:
    """What a fit found; spectra are real, phased to the data, on `ppm`."""

    names: tuple[str, ...]
    amplitudes: Real
    """Amplitude of each component in units of the basis; shape (n,)."""
    covariance: Real
    """Of the amplitudes, all other parameters and the baseline marginalised; shape (n, n)."""
    ppm: Real
    """Chemical shift of the fitted points, referenced by the fit; shape (n_points,)."""
    data: Real
    fit: Real
    baseline: Real
    components: Mapping[str, Real]
    parameters: Mapping[str, Any]
    """Phases in degrees, shift in ppm, widths in Hz, stiffness of the baseline."""
    noise_sd: float
    """Standard deviation of the noise on `data`, from outside the fitted range."""
    converged: bool
    message: str
    warnings: tuple[str, ...] = ()
    settings: FitSettings = field(default_factory=FitSettings)
    beyond: Real | None = None
    """What places of multiplets and T2 unlike the basis' add to the covariance; shape (n, n)."""

    @property
    def residual(self) -> Real:
        """Data minus fit (baseline included); shape (n_points,)."""
        return np.asarray(self.data - self.fit)

    def combine(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Return value and standard deviation of a weighted sum of amplitudes.

        The standard deviation has in it what the model has no parameters for: multiplets elsewhere and other T2
        (`beyond`), and lines unlike the model's (`FitSettings.line_sd`), whose cost all amplitudes have in common, so
        that it leaves their ratios alone.
        """
        w = self._row(weights)
        value = float(w @ self.amplitudes)
        variance = float(w @ self.whole_covariance @ w)
        return value, math.sqrt(max(variance, 0.0) + (self.settings.line_sd * value) ** 2)

    def bounded(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Return value and Cramer-Rao bound of a weighted sum of amplitudes."""
        w = self._row(weights)
        return float(w @ self.amplitudes), math.sqrt(max(float(w @ self.covariance @ w), 0.0))

    @property
    def whole_covariance(self) -> Real:
        """Covariance of the amplitudes with what the model has no parameters for; shape (n, n)."""
        return self.covariance if self.beyond is None else self.covariance + self.beyond

    def _row(self, weights: Mapping[str, float]) -> Real:
        return np.array([weights.get(name, 0.0) for name in self.names], dtype=np.float64)

    @property
    def correlation(self) -> Real:
        """Correlation of the amplitudes, from their covariance; shape (n, n)."""
        sd = np.sqrt(np.diag(self.covariance))
        sd = np.where(sd > 0, sd, 1.0)
        return np.asarray(self.covariance / np.outer(sd, sd))

    def ratio(self, names: Sequence[str], to: Sequence[str]) -> tuple[float, float]:
        """Return the ratio of two sums of amplitudes and its standard deviation to first order."""
        above, _ = self.combine(dict.fromkeys(names, 1.0))
        below, _ = self.combine(dict.fromkeys(to, 1.0))
        if below <= 0:
            return float("nan"), float("nan")
        ratio = above / below
        gradient = {name: (name in names) / below - (name in to) * ratio / below for name in self.names}
        return ratio, self.combine(gradient)[1]
