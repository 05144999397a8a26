"""What a fit says of itself: whether it can be believed, and what its numbers do not show."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

if TYPE_CHECKING:
    from pulsespec.recon.fit_result import FitResult

LEAST_SIGNIFICANCE = 4.5
"""Standard deviations: measured in 300 spectra of noise, fitted by 23 components, were at most 4.05 (median 2.26)."""
MOST_UNEXPLAINED = 0.3
OVER_NOISE = 3.0
_NOTABLE_SHIFT_PPM = 0.05
_NOTABLE_MISFIT = 1.5
_TRADE = -0.95
_LEVEL = 0.95
_TCR = ("Cr", "PCr")
_CLEAR = 3.0


def upper_limit(value: float, sd: float, level: float = _LEVEL) -> float:
    """Return the bound that an amplitude is below with probability `level`, given that it is not negative.

    The quantile of a normal distribution cut off at zero: a flat prior on what is possible. At an estimate of zero
    this is 1.96 standard deviations at 95 %, never less than the one-sided bound without the cut, 1.64.
    """
    if not sd > 0:
        return value
    below = ndtr(-value / sd)
    return float(value + sd * ndtri(below + level * (1.0 - below)))


def significance(found: "FitResult") -> float:
    """Return in standard deviations how far all amplitudes together are from zero (square root of Wald's statistic).

    Wald 1943, doi:10.1090/S0002-9947-1943-0012401-3 (recalled).
    """
    scale = np.sqrt(np.diag(found.covariance))
    scale[scale == 0] = 1.0
    inverse: NDArray[np.float64] = np.linalg.pinv(
        found.covariance / np.outer(scale, scale), rcond=1e-10, hermitian=True
    )
    size = found.amplitudes / scale
    return float(np.sqrt(max(float(size @ inverse @ size), 0.0)))


def judged(found: "FitResult") -> "FitResult":
    """Return the result with its verdict and its warnings: not converged where it has nothing to stand on."""
    against = _against(found)
    if against:
        found = replace(found, converged=False, message=against)
    return replace(found, warnings=words(found))


def _against(found: "FitResult") -> str:
    """Return why the fit cannot be believed, or nothing."""
    spread, noise = float(np.std(found.residual)), found.noise_sd
    unexplained = spread / max(float(np.std(found.data)), 1e-300)
    if unexplained > MOST_UNEXPLAINED and spread > OVER_NOISE * noise:
        return f"the basis leaves {unexplained:.0%} of the signal unexplained"
    sure = significance(found)
    if sure < LEAST_SIGNIFICANCE:
        return (
            f"nothing above the noise: all components together are {sure:.1f} standard deviations from zero"
        )
    largest = found.settings.largest_shift_ppm
    if abs(found.parameters["shift_ppm"]) > largest or "reference shift" in _bounds(found):
        return f"no match with the basis within {largest} ppm of the reference"
    return ""


def _bounds(found: "FitResult") -> Sequence[str]:
    """Return the nonlinear parameters that ended at a bound: "reference shift", "own shift of NAA", ..."""
    return tuple(found.parameters.get("at_bound", ()))


def words(found: "FitResult") -> tuple[str, ...]:
    """Return a warning for each thing that the table does not show."""
    said = []
    if not found.converged:
        return (f"the fit did not converge: {found.message}",)
    shift_ppm = found.parameters["shift_ppm"]
    if abs(shift_ppm) > _NOTABLE_SHIFT_PPM:
        said.append(f"the spectrum was off the reference by {shift_ppm:+.3f} ppm; this was corrected")
    over = found.parameters["residual_over_noise"]
    if over > _NOTABLE_MISFIT:
        said.append(
            f"the residual is {over:.1f} times the noise: something is in the spectrum that the model has not; "
            "standard deviations were raised by as much"
        )
    if found.parameters.get("left_out"):
        low, high = found.settings.ppm_range
        said.append(
            f"not fitted, as their signal lies outside {low:g} to {high:g} ppm: "
            + ", ".join(found.parameters["left_out"])
        )
    if _bounds(found):
        said.append(f"at a bound of the search: {', '.join(_bounds(found))}")
    return (*said, *_at_zero(found), *_alike(found))


def _at_zero(found: "FitResult") -> list[str]:
    """Return one word on all components that were found to be zero, with what the data still allow."""
    zero = [name for name, size in zip(found.names, found.amplitudes, strict=True) if size == 0]
    if not zero:
        return []
    total, total_sd = found.combine(dict.fromkeys(_TCR, 1.0))
    limits = [(name, upper_limit(*found.combine({name: 1.0}))) for name in zero]
    shown = [
        f"{name} {limit:.3g}" + (f" ({limit / total:.3g} of tCr)" if total > _CLEAR * total_sd else "")
        for name, limit in limits
    ]
    return [f"found at zero; at {_LEVEL:.0%} the data allow at most: {', '.join(shown)}"]


def _alike(found: "FitResult") -> list[str]:
    """Return a word on each pair that the data cannot tell apart."""
    correlation = found.correlation
    pairs = zip(*np.nonzero(np.triu(correlation, 1) < _TRADE), strict=True)
    return [
        f"{found.names[i]} and {found.names[k]} can hardly be told apart (correlation {correlation[i, k]:.2f})"
        for i, k in pairs
    ]
