"""Linear-combination fits, of one spectrum or of many at once.

Amplitudes (non-negative) and baseline are solved linearly inside a search over phase, shifts, widths and lineshape:
`fit_model` is the model, `fit_search` the search, `fit_known` what is known beforehand, `fit_baseline` chooses how
stiff the baseline is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import DataError, InputError
from pulsespec.executor import map_blocks
from pulsespec.recon import fit_known
from pulsespec.recon.anchors import anchored
from pulsespec.recon.fit_baseline import choose_log_weight
from pulsespec.recon.fit_beyond import considered_multiplets, considered_widths
from pulsespec.recon.fit_model import Problem, named, problem_of, slopes
from pulsespec.recon.fit_noise import noise_sd, samples_to_fit
from pulsespec.recon.fit_result import FitResult
from pulsespec.recon.fit_search import ENOUGH, Found, Solved, Task, search, solve
from pulsespec.recon.fit_settings import SUMS, FitSettings
from pulsespec.recon.fit_start import find_start
from pulsespec.recon.fit_words import judged
from pulsespec.recon.natural_widths import natural_widths
from pulsespec.recon.spline import Baseline, baseline
from pulsespec.recon.transients import Transients

__all__ = ["SUMS", "BatchResult", "FitResult", "FitSettings", "fit", "fit_batch"]

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_BLOCK = 32
"""Spectra that are fitted at once: some ten megabytes of signals."""
_FIRST_DIMENSION = 1.5
"""Effective dimension of the baseline per ppm until it is chosen from the data."""
_FIRST_STEPS = 12
_EARLY_S = 0.2
"""Least length of the FID in which the first search looks."""
_AMBIGUOUS = 1.5
"""A second guess that leaves less than this times what the first leaves is followed too."""
_ROUNDS = 3
"""Of the search with priors, after which reweighting changes nothing of note."""
_ROUGH = 10.0
"""Of chi square: where searches end that are not the last."""
_RANGE_HZ, _LEAST_IN_RANGE = 5.0, 0.05
"""Broadening, and share of the energy of a component in the fitted range, below which it is not fitted."""
_RIDGE = 1e-11
"""Of the information on each unknown, which is added so that it has an inverse where two components are the same."""
_LEAST_NOISE = 1e-6
"""Of the largest point: noise that is taken to be there at least."""


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What the fits of v spectra found; k components."""

    problem: Problem
    settings: FitSettings
    amplitudes: Real
    """In units of the basis; shape (v, k)."""
    covariance: Real
    """Of the amplitudes, all else marginalised; shape (v, k, k)."""
    beyond: Real
    """What places of multiplets and T2 unlike the basis' add to it; shape (v, k, k)."""
    theta: Real
    """Nonlinear parameters, see `fit_model.Layout`, after `shift_hz` and `phase` are undone; shape (v, p)."""
    shift_hz: Real
    phase: Real
    """Of the start; shapes (v,)."""
    log_weight: Real
    """Of the baseline's penalty; shape (v,)."""
    data: Real
    """Real spectra, with shift and phase of the start undone; shape (v, n_points)."""
    noise_sd: Real
    residual_over_noise: Real
    converged: NDArray[np.bool_]
    steps: NDArray[np.int64]
    left_out: tuple[str, ...] = ()
    """Components of the basis that have next to nothing in the fitted range."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components."""
        return self.problem.names

    @property
    def shift_ppm(self) -> Real:
        """Shift of each spectrum against the basis; shape (v,)."""
        return (self.shift_hz + self.theta[:, self.problem.layout.shift]) * -1e6 / self.problem.f0_hz

    def one(self, index: int) -> FitResult:
        """Return the result of one spectrum with its curves."""
        problem, smooth = self.problem, baseline(self.problem.ppm)
        task = _task(problem, smooth, self.data[[index]], self.settings, self.log_weight[[index]])
        columns = solve(task, self.theta[[index]]).state.columns[0]
        components = columns * self.amplitudes[index][:, None]
        explained = components.sum(axis=0)
        rest = (self.data[index] - explained) @ smooth.vectors
        drift = smooth.vectors @ (smooth.kept(self.log_weight[index]) * rest)
        ended = f"converged after {self.steps[index]} steps"
        found = FitResult(
            problem.names,
            self.amplitudes[index],
            self.covariance[index],
            problem.ppm,
            self.data[index],
            explained + drift,
            drift,
            dict(zip(problem.names, components, strict=True)),
            self._parameters(index),
            float(self.noise_sd[index]),
            bool(self.converged[index]),
            ended if self.converged[index] else f"stopped after {self.steps[index]} steps",
            settings=self.settings,
            beyond=self.beyond[index],
        )
        return judged(found)

    def combine(self, weights: Mapping[str, float]) -> tuple[Real, Real]:
        """Return weighted sums of amplitudes and their standard deviations, as `FitResult.combine`; shapes (v,)."""
        w = np.array([weights.get(name, 0.0) for name in self.names])
        value = self.amplitudes @ w
        variance = np.einsum("k,vkl,l->v", w, self.covariance + self.beyond, w)
        return value, np.sqrt(np.maximum(variance, 0.0) + (self.settings.line_sd * value) ** 2)

    def _parameters(self, index: int) -> dict[str, Any]:
        found = named(self.problem, self.theta[index])
        phase = np.rad2deg(self.phase[index]) + found["phase0_deg"]
        dimension = baseline(self.problem.ppm).dimension_per_ppm(self.log_weight[index])
        return found | {
            "phase0_deg": float((phase + 180) % 360 - 180),
            "shift_ppm": float(self.shift_ppm[index]),
            "baseline_dimension_per_ppm": float(dimension),
            "fitted_samples": self.problem.samples,
            "residual_over_noise": float(self.residual_over_noise[index]),
            "left_out": self.left_out,
            "at_bound": fit_known.at_bound(self.problem, self.settings, self.theta[index]),
        }


def fit(spectrum: Transients, basis: Any, settings: FitSettings | None = None) -> FitResult:
    """Fit one spectrum.

    Parameters
    ----------
    spectrum
        A single FID, dims ("t",), water removed.
    basis
        A `Basis` or anything with `names`, `broad` and `fid(name, samples, dwell_s)`.
    settings
        How to fit.

    Raises
    ------
    InputError
        The data are not a single FID, or a component is not in the basis.
    DataError
        The data are not finite, or all zero.

    """
    if spectrum.dims != ("t",):
        raise InputError(f"spectrum: dims {spectrum.dims}, expected a single FID with dims ('t',)")
    return fit_batch(spectrum, basis, settings).one(0)


def fit_batch(
    spectra: Transients,
    basis: Any,
    settings: FitSettings | None = None,
    jobs: int = 1,
    samples: int | None = None,
) -> BatchResult:
    """Fit many spectra with one basis, each for itself; in blocks, so that memory does not grow with them.

    Parameters
    ----------
    spectra
        FIDs, water removed; dims (..., "t"), the others are taken as one in C order.
    basis, settings
        As for `fit`.
    jobs
        Processes over which the blocks are spread.
    samples
        How many of each FID are fitted, as `fitted_samples` says of all spectra; by default of these alone. One number
        for all parts of an image, or a voxel would depend on those that it is fitted with.

    Raises
    ------
    InputError
        A component is not in the basis, or there are too few points for it.
    DataError
        The data are not finite, or those of a spectrum all zero.

    """
    settings = settings or FitSettings()
    fids = spectra.data.reshape(-1, spectra.samples)
    _check(spectra, fids, basis, settings)
    settings, signals, everything, left_out = _within_range(spectra, basis, settings)
    needed = samples or _needed(everything, fids, spectra.dwell_s, settings)
    problem = problem_for(_first_samples(spectra, needed), basis, settings, signals)
    settings = replace(settings, ratio_priors=anchored(settings.ratio_priors, problem.names))
    early = _first_samples(spectra, _early(problem, spectra.dwell_s))
    rough = problem_for(early, basis, settings, signals)
    one_block = partial(_fit_block, problem, rough, spectra.dwell_s, settings)
    name = f"fits of {_BLOCK} spectra"
    blocks = map_blocks(one_block, _blocks(fids[:, :needed]), jobs, keep=True, name=name)
    arrays = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return BatchResult(problem, settings, **arrays, left_out=left_out)


def fitted_samples(spectra: Transients, basis: Any, settings: FitSettings) -> int:
    """Return how many samples of FIDs `fit_batch` fits: beyond, the signal of all has gone; arguments as there."""
    fids = spectra.data.reshape(-1, spectra.samples)
    _check(spectra, fids, basis, settings)
    settings, _, everything, _ = _within_range(spectra, basis, settings)
    return _needed(everything, fids, spectra.dwell_s, settings)


def _needed(everything: Problem, fids: Complex, dwell_s: float, settings: FitSettings) -> int:
    return samples_to_fit(everything, fids, dwell_s) if settings.shorten else fids.shape[1]


def _within_range(
    spectra: Transients, basis: Any, settings: FitSettings
) -> tuple[FitSettings, Complex, Problem, tuple[str, ...]]:
    """Return settings and FIDs of the components that are fitted, the problem of all samples, and who is left out."""
    signals = _signals(spectra, basis, settings)
    everything = problem_for(spectra, basis, settings, signals)
    if settings.names is not None:
        return settings, signals, everything, ()
    left_out = _out_of_range(everything, signals, spectra.dwell_s)
    kept = tuple(name for name in everything.names if name not in left_out)
    signals = signals[[name in kept for name in everything.names]]
    return replace(settings, names=kept) if left_out else settings, signals, everything, left_out


def _early(problem: Problem, dwell_s: float) -> int:
    """Return how many samples tell where a search should begin, at half the work."""
    least = max(round(_EARLY_S / dwell_s), 4 * len(problem.names) * problem.samples // problem.ppm.size)
    return min(max(problem.samples // 2, least + 1), problem.samples)


def _blocks(fids: Complex) -> Iterator[Complex]:
    for first in range(0, len(fids), _BLOCK):
        yield fids[first : first + _BLOCK].astype(complex)


def _check(spectra: Transients, fids: Complex, basis: Any, settings: FitSettings) -> None:
    if spectra.dims[-1] != "t" or not len(fids):
        raise InputError(f"spectra: dims {spectra.dims} of shape {spectra.data.shape}, expected time last")
    if not np.all(np.isfinite(fids)) or not np.all(np.any(fids, axis=1)):
        raise DataError(f"{spectra.source or 'spectrum'}: the FID is zero or not finite: nothing to fit")
    missing = [name for name in settings.names or () if name not in basis.names]
    if missing:
        raise InputError(f"basis: has no component {', '.join(missing)}, only {', '.join(basis.names)}")


def _first_samples(spectra: Transients, samples: int) -> Transients:
    return spectra.with_data(spectra.data[..., :samples])


def _out_of_range(problem: Problem, signals: Complex, dwell_s: float) -> tuple[str, ...]:
    """Return the components whose signal lies outside the fitted range: tails would be traded for baseline."""
    fids = signals * np.exp(-np.pi * _RANGE_HZ * np.arange(signals.shape[1]) * dwell_s)
    whole = np.sum(np.abs(fids) ** 2, axis=1)
    inside = np.sum(np.abs(problem.spectrum(fids)) ** 2, axis=1)
    outside = np.flatnonzero(inside < _LEAST_IN_RANGE * whole)
    return tuple(problem.names[k] for k in outside) if outside.size < len(problem.names) else ()


def _signals(spectra: Transients, basis: Any, settings: FitSettings) -> Complex:
    """Return the components' FIDs about the centre of the data; shape (n_components, samples)."""
    t = np.arange(spectra.samples) * spectra.dwell_s
    moved_hz = ppm_to_hz(basis.reference_ppm, spectra.f0_hz, spectra.reference_ppm)
    names = settings.names or tuple(basis.names)
    fids = np.array([basis.fid(name, spectra.samples, spectra.dwell_s) for name in names])
    return np.asarray(fids * np.exp(2j * np.pi * moved_hz * t))


def problem_for(
    spectra: Transients, basis: Any, settings: FitSettings, signals: Complex | None = None
) -> Problem:
    """Return the problem of fitting spectra with a basis, whose FIDs may be known already and longer."""
    names = settings.names or tuple(basis.names)
    fids = (_signals(spectra, basis, settings) if signals is None else signals)[:, : spectra.samples]
    broad = tuple(getattr(basis, "broad", ()))
    natural = None
    if settings.t2_widths and spectra.nucleus == "1H":
        natural = natural_widths(names, broad, basis, spectra.f0_hz)
    problem = problem_of(
        fids, names, broad, spectra.dwell_s, spectra.f0_hz, spectra.reference_ppm, settings.ranges, natural
    )
    if problem.ppm.size < 4 * len(names):
        raise InputError(
            f"ppm_range: {settings.ppm_range} holds {problem.ppm.size} points, too few for {len(names)}"
        )
    return problem


def _task(problem: Problem, smooth: Baseline, data: Real, settings: FitSettings, log_weight: Real) -> Task:
    k = len(problem.names)
    return Task(
        problem,
        smooth,
        data,
        log_weight,
        np.zeros((len(data), k, k)),
        fit_known.precision(problem, settings),
        *fit_known.bounds(problem, settings),
        np.array([name in settings.signed for name in problem.names]),
    )


def _fit_block(
    problem: Problem, rough: Problem, dwell_s: float, settings: FitSettings, fids: Complex
) -> dict[str, Any]:
    """Return the fields of a `BatchResult` for some spectra; shape (v, samples). `rough` is of fewer samples."""
    sized = fids / np.abs(fids).max(axis=1, keepdims=True)  # limits below are of numbers about one
    start = find_start(rough, sized[:, : rough.samples], dwell_s, settings.largest_shift_ppm)
    t = np.arange(fids.shape[-1]) * dwell_s
    second = np.flatnonzero(start.unexplained[:, 1] < _AMBIGUOUS * start.unexplained[:, 0])
    of = np.concatenate([np.arange(len(fids)), second])
    guess = np.concatenate([np.zeros(len(fids), int), np.ones(second.size, int)])
    shift, phase, width = (one[of, guess] for one in (start.shift_hz, start.phase, start.width_hz))
    turned = fids[of] * np.exp(-2j * np.pi * shift[:, None] * t - 1j * phase[:, None])
    data = problem.spectrum(turned).real
    noise = noise_sd(turned)
    noise = np.maximum(noise, _LEAST_NOISE * np.abs(data).max(axis=1))
    early = rough.spectrum(turned[:, : rough.samples]).real
    theta, cost = _first(rough, early / noise[:, None], width, settings)
    best = _best_attempt(of, cost, len(fids))
    task, found, unit = _second(problem, (data / noise[:, None])[best], theta[best], settings)
    return _fields(task, found, noise[best], unit, settings) | {"shift_hz": shift[best], "phase": phase[best]}


def _first(problem: Problem, data: Real, width: Real, settings: FitSettings) -> tuple[Real, Real]:
    """Search with a Voigt line, a baseline of middle stiffness and without ratios; return parameters and cost."""
    smooth = baseline(problem.ppm)
    log_weight = np.full(len(data), smooth.log_weight(settings.stiffness or _FIRST_DIMENSION))
    task = _task(problem, smooth, data, replace(settings, lineshape_sd=0.0), log_weight)
    theta = np.zeros((len(data), problem.layout.size))
    theta[:, problem.layout.gauss] = 0.6 * width
    theta[:, problem.layout.width] = 0.4 * width[:, None]
    found = search(task, theta, _FIRST_STEPS, _ROUGH)
    return _rounded(_task(problem, smooth, data, settings, log_weight), found)


def _best_attempt(of: NDArray[np.int64], cost: Real, n: int) -> NDArray[np.int64]:
    """Return the index of the attempt of least cost of each spectrum."""
    order = np.lexsort((cost, of))
    return np.asarray(order[np.searchsorted(of[order], np.arange(n))])


def _second(problem: Problem, data: Real, theta: Real, settings: FitSettings) -> tuple[Task, Found, Real]:
    """Search with soft ratios, the whole lineshape and the stiffness that the data ask for.

    What the model cannot follow counts as noise, or it would outweigh all that is known beforehand: the data of the
    task that is returned are in units of noise times what is returned with it.
    """
    names, smooth = problem.names, baseline(problem.ppm)
    ratios = (*settings.ratio_priors, *fit_known.expected(names, settings))
    log_weight = np.full(len(data), smooth.log_weight(settings.stiffness or _FIRST_DIMENSION))
    task = _task(problem, smooth, data, settings, log_weight)
    solved = solve(task, theta)
    amplitudes, unit = solved.amplitudes, np.ones(len(theta))
    for turn in range(_ROUNDS):
        soft = fit_known.soft_ratios(names, amplitudes, ratios, tails=turn > 0)
        task = replace(task, soft=soft)
        if settings.stiffness is None:
            solved = solve(task, theta, solved.free, solved.state)
            task = replace(task, log_weight=choose_log_weight(task, solved, near=turn > 0))
        enough = _ROUGH if turn < _ROUNDS - 1 else ENOUGH
        found = search(task, theta, enough=enough, state=solved.state)
        theta, solved = found.theta, found.solved
        amplitudes = solved.amplitudes
        if turn < _ROUNDS - 1:
            more = np.maximum(_spread(task, found.solved), 1.0)
            task, amplitudes, unit = task.scaled(1 / more), amplitudes / more[:, None], unit * more
    return task, found, unit


def _spread(task: Task, solved: Solved) -> Real:
    """Return the residual of each spectrum in units of its noise."""
    rest = task.data - solved.explained
    held = task.smooth.kept(task.log_weight)
    rest = rest - ((rest @ task.smooth.vectors) * held) @ task.smooth.vectors.T
    freedom = task.data.shape[1] - solved.free.sum(axis=1) - held.sum(axis=1) - 4
    return np.asarray(np.sqrt(np.sum(rest**2, axis=1) / np.maximum(freedom, 1)))


def _rounded(task: Task, found: Found) -> tuple[Real, Real]:
    """Give a Gaussian width to lines that ended without one, where the lineshape has no freedom, and look again.

    Return parameters and cost.
    """
    at, theta, cost = task.problem.layout, found.theta.copy(), found.solved.cost.copy()
    sharp = np.flatnonzero(theta[:, at.gauss] < theta[:, at.width.start])
    if not sharp.size:
        return theta, cost
    other = theta[sharp]
    other[:, at.gauss] = 0.7 * other[:, at.width.start]
    other[:, at.width.start] *= 0.3
    both = search(task.part(np.tile(sharp, 2)), np.concatenate([theta[sharp], other]), _FIRST_STEPS, _ROUGH)
    costs = both.solved.cost.reshape(2, -1)
    better = np.where(costs[1] < costs[0], np.arange(sharp.size) + sharp.size, np.arange(sharp.size))
    theta[sharp], cost[sharp] = both.theta[better], costs.min(axis=0)
    return theta, cost


def _fields(task: Task, found: Found, noise: Real, unit: Real, settings: FitSettings) -> dict[str, Any]:
    """Return amplitudes and what else is said of the fits, in units of the data."""
    spread, size = _spread(task, found.solved), noise * unit
    covariance, beyond = _covariance(task, found, np.maximum(spread, 1.0), settings)
    return {
        "amplitudes": found.solved.amplitudes * size[:, None],
        "covariance": covariance * size[:, None, None] ** 2,
        "beyond": beyond * size[:, None, None] ** 2,
        "theta": found.theta,
        "log_weight": task.log_weight,
        "data": task.data * size[:, None],
        "noise_sd": noise,
        "residual_over_noise": spread * unit,
        "converged": found.converged,
        "steps": found.steps,
    }


def _covariance(task: Task, found: Found, spread: Real, settings: FitSettings) -> tuple[Real, Real]:
    """Return the covariance of the amplitudes: by Fisher information of the whole model, and of what it has not.

    Both of shape (v, k, k); see `fit_beyond` for the second.
    """
    solved, theta, problem = found.solved, found.theta, task.problem
    rows = np.concatenate(
        [solved.state.columns, slopes(problem, theta, solved.state, solved.amplitudes)], axis=1
    )
    curves = rows @ task.smooth.vectors
    held = task.smooth.kept(task.log_weight)[:, None]
    information = rows @ rows.transpose(0, 2, 1) - (curves * held) @ curves.transpose(0, 2, 1)
    information /= spread[:, None, None] ** 2
    k = solved.amplitudes.shape[1]
    information[:, :k, :k] += task.soft
    diagonal = np.arange(k, rows.shape[1])
    information[:, diagonal, diagonal] += task.precision
    scale = np.sqrt(np.maximum(np.diagonal(information, axis1=1, axis2=2), 1e-12))
    information /= scale[:, :, None] * scale[:, None, :]
    diagonal = np.arange(rows.shape[1])
    information[:, diagonal, diagonal] += _RIDGE
    first = np.broadcast_to(np.eye(rows.shape[1])[:, :k], (len(rows), rows.shape[1], k))
    inverse = np.linalg.solve(information, first).transpose(0, 2, 1)
    gain = inverse / (scale[:, :k, None] * scale[:, None, :])
    sd_hz = settings.multiplet_sd_ppm * problem.f0_hz * 1e-6
    beyond = considered_multiplets(task, theta, solved, rows, gain / spread[:, None, None] ** 2, sd_hz)
    return gain[:, :, :k], beyond + considered_widths(task, gain, settings.t2_relative_sd)
