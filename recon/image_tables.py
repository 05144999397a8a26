"""What fits of many spectra found, as arrays: the numbers of `quantify` and the verdict of `fit_words` for all at once.

Rows are the components and then the sums (`quantify.parts_of`); v spectra, k components, r rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulsespec.recon import fit_known, fit_words
from pulsespec.recon.fit import SUMS, BatchResult
from pulsespec.recon.fit_model import Problem, evaluate
from pulsespec.recon.quantify import parts_of
from pulsespec.recon.spline import baseline
from pulsespec.recon.water_scaling import weights

Real = NDArray[np.float64]
Whole = NDArray[np.uint8]

VERDICTS = {
    0: "fitted",
    1: "the search stopped before it converged",
    2: "the basis leaves too much of the signal unexplained",
    3: "nothing above the noise",
    4: "no match with the basis near the reference",
}
"""What the numbers of a verdict mean."""
_LINES = ("Cr", "PCr", "NAA", "GPC", "PCh", "Cho")
"""Components whose tallest line is a singlet, the first that is fitted gives the linewidth."""
_CLEAR = 2.0
_LEVEL = 0.95
_TRADE = -0.8


@dataclass(frozen=True)
class Amplitudes:
    """Amplitudes with their uncertainty; all of shape (v, r)."""

    value: Real
    sd: Real
    """Of the fit and of what its model has no parameters for, as in the table of a single spectrum."""
    bound: Real
    """Cramer-Rao bound."""
    upper_95: Real
    ratio: Real
    """To total creatine; NaN where that is not there."""
    ratio_sd: Real

    @property
    def crlb_percent(self) -> Real:
        """Cramer-Rao bound in percent of the value, NaN where that is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.value != 0, 100 * self.bound / np.abs(self.value), np.nan)


def rows_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the components of each row: those of a single spectrum, then sums of lipids.

    `Lip13` is methylene at 1.3 ppm, `tLip` all lipids: their parts can hardly be told apart.
    """
    lipids = {
        total: tuple(name for name in names if name.startswith(start))
        for total, start in (("Lip13", "Lip13"), ("tLip", "Lip"))
    }
    return parts_of(names) | {total: of for total, of in lipids.items() if len(of) > 1 and total not in names}


def amplitudes_of(batch: BatchResult) -> Amplitudes:
    """Return the numbers of all rows."""
    parts = weights(rows_of(batch.names), batch.names)
    value = batch.amplitudes @ parts.T
    all_parts = np.broadcast_to(parts, (len(value), *parts.shape))
    bound = _bound(all_parts, batch.covariance)
    sd = np.hypot(_bound(all_parts, batch.covariance + batch.beyond), batch.settings.line_sd * value)
    ratio, ratio_sd = ratios(batch, SUMS["tCr"])
    return Amplitudes(value, sd, bound, upper_limits(value, sd), ratio, ratio_sd)


def ratios(batch: BatchResult, to: tuple[str, ...]) -> tuple[Real, Real]:
    """Return the ratio of every row to a sum and its standard deviation to first order; NaN where the sum is 0."""
    parts = weights(rows_of(batch.names), batch.names)
    below = np.array([float(name in to) for name in batch.names])
    total = (batch.amplitudes @ below)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(total > 0, batch.amplitudes @ parts.T / total, np.nan)
        slopes = (parts - ratio[..., None] * below) / total[..., None]
    usable = np.where(np.isfinite(slopes), slopes, 0.0)
    return ratio, np.where(np.isfinite(ratio), _bound(usable, batch.covariance + batch.beyond), np.nan)


def _bound(slopes: Real, covariance: Real) -> Real:
    """Return the standard deviation of linear combinations; slopes (v, r, k), covariance (v, k, k)."""
    return np.asarray(np.sqrt(np.maximum(((slopes @ covariance) * slopes).sum(axis=-1), 0.0)))


def upper_limits(value: Real, sd: Real) -> Real:
    """Return the bound that each is below with 95 % probability (`fit_words.upper_limit`).

    What was found to be negative may be so: nothing is cut off there.
    """
    safe = np.where(sd > 0, sd, 1.0)
    below = np.where(value < 0, 0.0, ndtr(-value / safe))
    return np.where(sd > 0, value + sd * ndtri(below + _LEVEL * (1.0 - below)), value)


def verdicts(batch: BatchResult) -> Whole:
    """Return a number of `VERDICTS` for each spectrum; shape (v,)."""
    found = np.where(batch.converged, 0, 1)
    noise = batch.noise_sd
    smooth = baseline(batch.problem.ppm)
    points = batch.data.shape[1]
    freedom = points - np.sum(batch.amplitudes != 0, axis=1) - smooth.kept(batch.log_weight).sum(axis=-1) - 4
    spread = batch.residual_over_noise * noise * np.sqrt(np.maximum(freedom, 1) / points)
    share = spread / np.maximum(np.std(batch.data, axis=1), 1e-300)
    _, high = fit_known.bounds(batch.problem, batch.settings)
    moved = np.abs(batch.theta[:, batch.problem.layout.shift])
    far = np.abs(batch.shift_ppm) > batch.settings.largest_shift_ppm
    far |= moved >= (1 - 1e-6) * high[batch.problem.layout.shift]
    found = np.where(far, 4, found)
    found = np.where(significance(batch) < fit_words.LEAST_SIGNIFICANCE, 3, found)
    lost = (share > fit_words.MOST_UNEXPLAINED) & (spread > fit_words.OVER_NOISE * noise)
    return np.where(lost, 2, found).astype(np.uint8)


def significance(batch: BatchResult) -> Real:
    """Return in standard deviations how far all amplitudes together are from zero, as `fit_words`; shape (v,)."""
    scale = np.sqrt(np.diagonal(batch.covariance, axis1=1, axis2=2))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = batch.covariance / (scale[:, :, None] * scale[:, None, :])
    inverse = np.linalg.pinv(scaled, rcond=1e-10, hermitian=True)
    size = batch.amplitudes / scale
    return np.asarray(np.sqrt(np.maximum(np.einsum("vk,vkl,vl->v", size, inverse, size), 0.0)))


def linewidths(batch: BatchResult) -> tuple[Real, str]:
    """Return the full width at half height in Hz of a singlet as it was fitted, shape (v,), and which it is.

    It is measured on the line of the model, without noise, so that a weak spectrum has no narrow line by chance.
    """
    problem = batch.problem
    narrow = [name for name, broad in zip(problem.names, problem.broad, strict=True) if not broad]
    name = next((one for one in _LINES if one in narrow), narrow[0] if narrow else "")
    if not name:
        return np.full(len(batch.theta), np.nan), ""
    k, at = problem.names.index(name), problem.layout
    shared = batch.theta[:, : at.own_shift.start].copy()
    shared[:, [at.phase0, at.phase1]] = 0.0
    own = batch.theta[:, [at.own_shift.start + k, at.own_width.start + k]]
    alone = _alone(problem, k)
    lines = evaluate(alone, np.hstack([shared, own])).columns[:, 0]
    step_hz = float(np.abs(np.diff(problem.ppm)).min()) * problem.f0_hz * 1e-6
    return step_hz * half_widths(lines), name


def _alone(problem: Problem, k: int) -> Problem:
    from dataclasses import replace

    part = slice(k, k + 1)
    return replace(problem, basis=problem.basis[part], names=problem.names[part], broad=problem.broad[part])


def half_widths(lines: Real) -> Real:
    """Return the width at half height of the tallest line of each spectrum, in points, edges interpolated.

    NaN where an edge lies beyond the spectrum. Shape (v, n) to (v,).
    """
    rows, peak = np.arange(len(lines)), lines.argmax(axis=1)
    half = lines[rows, peak] / 2
    below, at = lines < half[:, None], np.arange(lines.shape[1])
    edges = []
    for step in (-1, 1):
        beyond = below & (step * (at - peak[:, None]) > 0)
        near = np.where(beyond, step * (at - peak[:, None]), lines.shape[1]).min(axis=1)
        here = np.clip(peak + step * near, 0, lines.shape[1] - 1)
        inner = here - step
        rise = lines[rows, inner] - lines[rows, here]
        with np.errstate(divide="ignore", invalid="ignore"):
            edge = inner + step * (lines[rows, inner] - half) / rise
        edges.append(np.where(beyond.any(axis=1), edge, np.nan))
    return np.asarray(edges[1] - edges[0])


def trading(batch: BatchResult) -> Mapping[str, NDArray[np.bool_]]:
    """Return for each component in a sum in which spectra it trades against another part; each of shape (v,)."""
    sd = np.sqrt(np.diagonal(batch.covariance, axis1=1, axis2=2)) + 1e-300
    found: dict[str, NDArray[np.bool_]] = {}
    for of in SUMS.values():
        at = [batch.names.index(part) for part in of if part in batch.names]
        for i in at:
            others = [k for k in at if k != i]
            both = sd[:, [i]] * sd[:, others]
            if others:
                found[batch.names[i]] = np.any(batch.covariance[:, i, others] < _TRADE * both, axis=1)
    return found
