"""Several spectra fitted together: parameters shared or their own, amplitudes linked by a model.

Spectrum s is Re[columns_s(theta_s)] a_s + baseline_s, with a_s = links.matrix(psi)[s] @ x and theta_s =
sharing.matrix[s] @ free. The unknowns x (non-negative) and the baselines are solved linearly inside a search over
`free` and `psi`, as `fit` does for one spectrum (variable projection, Golub and Pereyra 1973, doi:10.1137/0710036).
Edited conditions have one x with a constant matrix; a series (diffusion, inversion recovery) has a psi.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from pulsespec.errors import InputError
from pulsespec.recon import fit_known
from pulsespec.recon.fit_baseline import likely_log_weight
from pulsespec.recon.fit_model import Problem, State, evaluate, slopes
from pulsespec.recon.fit_settings import FitSettings
from pulsespec.recon.spline import baseline
from pulsespec.workers import one_thread

Real = NDArray[np.float64]

_FIRST_STIFFNESS = 1.3
_EVALUATIONS = 60
_KNOWS = 1e6
"""A standard deviation beyond which nothing is known."""


@dataclass(frozen=True)
class Links:
    """How the amplitudes of all spectra follow from fewer unknowns x and a model's parameters psi."""

    names: tuple[str, ...]
    """Names of the unknowns x, which are not negative."""
    matrix: Callable[[Real], Real]
    """From psi, shape (n_psi,), to the matrices M of a_s = M_s x; shape (n_spectra, n_components, n_unknowns)."""
    slope: Callable[[Real], Real] | None = None
    """Derivatives of `matrix`; shape (n_psi, n_spectra, n_components, n_unknowns). Needed where there is a psi."""
    model_names: tuple[str, ...] = ()
    """Names of psi."""
    start: Real = field(default_factory=lambda: np.zeros(0))
    lower: Real = field(default_factory=lambda: np.zeros(0))
    upper: Real = field(default_factory=lambda: np.zeros(0))
    mean: Real = field(default_factory=lambda: np.zeros(0))
    """Prior means of psi; shape (n_psi,)."""
    sd: Real = field(default_factory=lambda: np.zeros(0))
    """Prior standard deviations of psi, infinite where there is none; shape (n_psi,)."""


@dataclass(frozen=True)
class Sharing:
    """Nonlinear parameters of all spectra from those that are searched: theta_s = matrix[s] @ free."""

    matrix: Real
    """Shape (n_spectra, n_theta, n_free); theta is that of `fit_model.Layout`."""
    start: Real
    lower: Real
    upper: Real
    priors: Real
    """Rows whose products with `free` are standard normal a priori; shape (n_priors, n_free)."""


@dataclass(frozen=True)
class Stack:
    """What is fitted."""

    problems: tuple[Problem, ...]
    """One for each spectrum; components and fitted points are the same for all."""
    data: Real
    """Real spectra, phased and shifted to where the search starts; shape (n_spectra, n_points)."""
    noise_sd: Real
    """Noise of each spectrum; shape (n_spectra,)."""
    blocks: Real
    """Combinations of spectra that have a baseline of their own each, rows; see `whitened`. (n_spectra, n_spectra)."""

    def __post_init__(self) -> None:
        """Check shapes."""
        count, points = len(self.problems), self.problems[0].keep.size
        shapes = (self.data.shape, self.noise_sd.shape, self.blocks.shape)
        if shapes != ((count, points), (count,), (count, count)):
            raise InputError(
                f"Stack: {count} problems of {points} points with data, noise, blocks of {shapes}"
            )
        if any(one.names != self.problems[0].names for one in self.problems):
            raise InputError("Stack: problems differ in their components, expected the same in all")


@dataclass(frozen=True)
class JointResult:
    """What a joint fit found; spectra are real, on `ppm`."""

    names: tuple[str, ...]
    """Of the unknowns, then of the model's parameters."""
    values: Real
    """Unknowns, then the model's parameters; shape (n_unknowns + n_psi,)."""
    covariance: Real
    """Of `values`, all else and the baselines marginalised; shape (n_unknowns + n_psi, n_unknowns + n_psi)."""
    n_unknowns: int
    ppm: Real
    data: Real
    """Shape (n_spectra, n_points), as are `fit` and `baseline`."""
    fit: Real
    baseline: Real
    curves: Mapping[str, Real]
    """Each component in each spectrum; shape (n_spectra, n_points)."""
    amplitudes: Real
    """Of each component in each spectrum; shape (n_spectra, n_components)."""
    theta: Real
    """Nonlinear parameters of each spectrum; shape (n_spectra, n_theta)."""
    free: Real
    """Nonlinear parameters that were searched, see `Sharing`; shape (n_free,)."""
    free_sd: Real
    """Their standard deviations, all else marginalised; shape (n_free,)."""
    stiffness: tuple[float, ...]
    """Effective dimension per ppm of the baseline of each block."""
    noise_sd: Real
    residual_over_noise: Real
    """Of each block; shape (n_spectra,)."""
    converged: bool
    message: str

    @property
    def unknowns(self) -> Real:
        """The linear unknowns; shape (n_unknowns,)."""
        return self.values[: self.n_unknowns]


def whitened(combinations: Real, noise_sd: Real) -> Real:
    """Return combinations of spectra whose noise is independent and one, from those that are asked for.

    The rows of `combinations` (n_spectra, n_spectra), first ones first, are freed of the noise they share with those
    before. The fit of on and off weighted by their noise is thereby that of difference and a weighted sum.
    """
    rows: list[Real] = []
    for asked in combinations:
        row = np.array(asked, dtype=float)
        for _ in range(2):
            for done in rows:
                row = row - (row * noise_sd**2) @ done * done
        size = float(np.sqrt((row * noise_sd) @ (row * noise_sd)))
        if size < 1e-9 * float(np.sqrt((asked * noise_sd) @ (asked * noise_sd))):
            raise InputError(f"combinations: {combinations.tolist()} are not independent")
        rows.append(row / size)
    return np.array(rows)


def independent(noise_sd: Real) -> Real:
    """Return blocks in which each spectrum has a baseline of its own."""
    return np.diag(1.0 / noise_sd)


def identical(names: Sequence[str], n_spectra: int, weights: Real | None = None) -> Links:
    """Return links in which all spectra have the amplitudes x, or `weights` (n_components, n_unknowns) @ x."""
    matrix = np.eye(len(names)) if weights is None else weights
    stacked = np.broadcast_to(matrix, (n_spectra, *matrix.shape))
    return Links(tuple(names), lambda _: stacked)


@dataclass(frozen=True)
class Differences:
    """Prior standard deviations of what spectra have of their own beside what they share."""

    phase_deg: float = 3.0
    shift_hz: float = 0.5
    width_hz: float = 0.5


def shared(
    problem: Problem,
    n_spectra: int,
    width_hz: float,
    settings: FitSettings | None = None,
    differences: Differences | None = None,
) -> Sharing:
    """Return parameters that all spectra share, with small differences in phase, frequency and width.

    Bounds and priors of what is shared are those of the fit of one spectrum; `width_hz` is the line width that the
    basis lacks at the start.
    """
    settings, differences = settings or FitSettings(), differences or Differences()
    at = problem.layout
    lower, upper = fit_known.bounds(problem, settings)
    start = np.zeros(at.size)
    start[at.gauss], start[at.width] = 0.6 * width_hz, 0.4 * width_hz
    sd = 1 / np.sqrt(np.maximum(fit_known.precision(problem, settings), 1e-300))
    spread = np.array([np.deg2rad(differences.phase_deg), differences.shift_hz, differences.width_hz])
    extra = np.tile(spread, n_spectra if n_spectra > 1 else 0)
    matrix = np.zeros((n_spectra, lower.size, lower.size + extra.size))
    matrix[:, :, : lower.size] = np.eye(lower.size)
    for s in range(n_spectra if n_spectra > 1 else 0):
        for k, place in enumerate((at.phase0, at.shift, at.width.start)):
            matrix[s, place, lower.size + 3 * s + k] = 1.0
    sd = np.concatenate([sd, extra])
    finite = np.flatnonzero(sd < _KNOWS)
    low, high = np.concatenate([lower, -6 * extra]), np.concatenate([upper, 6 * extra])
    start = np.concatenate([np.clip(start, lower + 1e-9, upper - 1e-9), np.zeros(extra.size)])
    return Sharing(matrix, start, low, high, np.eye(sd.size)[finite] / sd[finite, None])


@one_thread()
def joint_fit(
    stack: Stack, links: Links, sharing: Sharing, settings: FitSettings | None = None
) -> JointResult:
    """Fit all spectra of a stack together.

    Of `settings`, the baselines' stiffness (chosen for each block where `None`) and the ratio priors count.
    """
    settings = settings or FitSettings()
    settings.refuse_signed("a joint fit")
    search = _Search(stack, links, sharing, settings)
    return search.result(*search.run())


@dataclass(frozen=True)
class _State:
    """One evaluation of the model."""

    models: tuple[State, ...]
    """Of each spectrum."""
    columns: Real
    """Shape (n_spectra, n_points, n_components)."""
    links: Real
    left: Real
    """Projected and whitened columns of the unknowns, soft rows below; shape (n_rows, n_unknowns)."""
    residual: Real
    unknowns: Real


class _Search:
    """The search over `free` and `psi`, which are one vector."""

    def __init__(self, stack: Stack, links: Links, sharing: Sharing, settings: FitSettings) -> None:
        self.stack, self.links, self.sharing, self.settings = stack, links, sharing, settings
        self.n_free = sharing.start.size
        self.soft = np.zeros((0, len(links.names)))
        self.smooth = baseline(stack.problems[0].ppm)
        self.weights = np.zeros(len(stack.problems))
        self._seen: tuple[bytes, _State] | None = None
        sd = links.sd if links.sd.size else np.full(links.start.size, np.inf)
        known = np.flatnonzero(np.isfinite(sd))
        self.priors = np.zeros((len(sharing.priors) + known.size, self.n_free + links.start.size))
        self.priors[: len(sharing.priors), : self.n_free] = sharing.priors
        self.priors[len(sharing.priors) + np.arange(known.size), self.n_free + known] = 1 / sd[known]
        self.centre = np.concatenate([np.zeros(len(sharing.priors)), links.mean[known] / sd[known]])

    def run(self) -> tuple[Real, bool, str]:
        """Return the best parameters, whether the search converged, and how it ended in words."""
        at = np.concatenate([self.sharing.start, self.links.start])
        fixed = self.settings.stiffness
        self._use(np.full(len(self.stack.problems), self.smooth.log_weight(fixed or _FIRST_STIFFNESS)))
        at, *_ = self._minimise(at)
        self._set_soft(at)
        if fixed is None:
            self._use(self._choose_stiffness(at))
        return self._minimise(at)

    def _use(self, weights: Real) -> None:
        self.weights, self._seen = weights, None

    @property
    def stiffness(self) -> tuple[float, ...]:
        """Effective dimension per ppm of each baseline."""
        return tuple(float(one) for one in self.smooth.dimension_per_ppm(self.weights))

    def theta(self, at: Real) -> Real:
        """Return the parameters of each spectrum; shape (n_spectra, n_theta)."""
        return np.asarray(self.sharing.matrix @ at[: self.n_free])

    def _project(self, values: Real) -> Real:
        """Return what the baselines cannot explain of (n_spectra, n_points, ...), whitened; shape (n_rows, ...)."""
        mixed = np.tensordot(self.stack.blocks, values, 1)
        return np.concatenate(
            [self.smooth.residual(block, weight) for weight, block in zip(self.weights, mixed, strict=True)]
        )

    def state(self, at: Real) -> _State:
        """Solve the linear part at given parameters."""
        key = at.tobytes()
        if self._seen is None or self._seen[0] != key:
            self._seen = (key, self._solve(at))
        return self._seen[1]

    def _solve(self, at: Real) -> _State:
        pairs = zip(self.stack.problems, self.theta(at), strict=True)
        models = tuple(evaluate(problem, theta[np.newaxis]) for problem, theta in pairs)
        columns = np.array([model.columns[0].T for model in models])
        links = self.links.matrix(at[self.n_free :])
        left = np.concatenate([self._project(columns @ links), self.soft])
        right = np.concatenate([self._project(self.stack.data), np.zeros(len(self.soft))])
        scale = np.linalg.norm(left, axis=0) + 1e-300
        small = np.asarray(np.linalg.qr(np.concatenate([left / scale, right[:, None]], axis=1), mode="r"))
        unknowns = nnls(small[:, :-1], small[:, -1], maxiter=20 * left.shape[1])[0] / scale
        return _State(models, columns, links, left, right - left @ unknowns, unknowns)

    def _slope(self, at: Real) -> Real:
        """Return d(model)/d(parameters) at fixed unknowns, projected, soft rows included."""
        state, theta = self.state(at), self.theta(at)
        amplitudes = state.links @ state.unknowns
        by_free = [
            slopes(problem, one[np.newaxis], model, own[np.newaxis])[0].T @ matrix
            for problem, one, model, own, matrix in zip(
                self.stack.problems, theta, state.models, amplitudes, self.sharing.matrix, strict=True
            )
        ]
        parts = [np.array(by_free)]
        if self.links.start.size:
            assert self.links.slope is not None
            moved = self.links.slope(at[self.n_free :]) @ state.unknowns
            parts.append(np.einsum("snc,psc->snp", state.columns, moved))
        slope = self._project(np.concatenate(parts, axis=-1))
        return np.concatenate([slope, np.zeros((len(self.soft), at.size))])

    def _minimise(self, at: Real) -> tuple[Real, bool, str]:
        def residual(at: Real) -> Real:
            return np.concatenate([self.state(at).residual, self.priors @ at - self.centre])

        def jacobian(at: Real) -> Real:
            state, slope = self.state(at), -self._slope(at)
            active = state.left[:, state.unknowns > 0]
            if active.shape[1]:
                q, _ = np.linalg.qr(active)
                slope = slope - q @ (q.T @ slope)
            return np.concatenate([slope, self.priors])

        found = least_squares(
            residual,
            at,
            jacobian,
            bounds=(
                np.concatenate([self.sharing.lower, self.links.lower]),
                np.concatenate([self.sharing.upper, self.links.upper]),
            ),
            x_scale="jac",
            xtol=1e-6,
            ftol=1e-7,
            max_nfev=_EVALUATIONS,
        )
        words = "converged" if found.status > 0 else f"stopped at the limit of {_EVALUATIONS} evaluations"
        return found.x, found.status > 0, f"{words} after {found.nfev} evaluations"

    def _set_soft(self, at: Real) -> None:
        """Turn ratio priors into rows, scaled by the amplitude that their reference has so far."""
        unknowns, names = self.state(at).unknowns, self.links.names
        priors = (*self.settings.ratio_priors, *fit_known.expected(names, self.settings))
        rows, weights = fit_known.ratio_rows(names, unknowns[np.newaxis], priors, tails=False)
        self.soft, self._seen = rows * np.sqrt(weights[0])[:, None], None

    def _choose_stiffness(self, at: Real) -> Real:
        """Return the most likely smoothing parameter of each block's baseline."""
        state = self.state(at)
        rest = self.stack.data - np.einsum("snc,sc->sn", state.columns, state.links @ state.unknowns)
        return np.array([likely_log_weight(self.smooth, block) for block in self.stack.blocks @ rest])

    def _covariance(self, at: Real, spread: Real) -> tuple[Real, Real]:
        """Return the covariance of unknowns and psi, and the deviations of `free`, by the Fisher information of all."""
        state = self.state(at)
        rows = np.concatenate([state.left, self._slope(at)], axis=1)
        count, points = self.stack.data.shape
        rows[: count * points] /= np.repeat(np.maximum(spread, 1.0), points)[:, None]
        n = state.unknowns.size
        bottom = np.concatenate([np.zeros((len(self.priors), n)), self.priors], axis=1)
        design = np.concatenate([rows, bottom])
        scale = np.linalg.norm(design, axis=0) + 1e-300
        information = (design / scale).T @ (design / scale)
        inverse = np.linalg.pinv(information, rcond=1e-12, hermitian=True) / np.outer(scale, scale)
        kept = [*range(n), *range(n + self.n_free, n + at.size)]
        deviations = np.sqrt(np.maximum(np.diag(inverse)[n : n + self.n_free], 0.0))
        return np.asarray(inverse[np.ix_(kept, kept)]), deviations

    def result(self, at: Real, converged: bool, message: str) -> JointResult:
        """Return what was found at the end of a search."""
        stack, state = self.stack, self.state(at)
        amplitudes = state.links @ state.unknowns
        curves = state.columns * amplitudes[:, None, :]
        explained = curves.sum(axis=-1)
        rest = stack.blocks @ (stack.data - explained)
        drift = np.array(
            [self.smooth.explain(one, weight) for weight, one in zip(self.weights, rest, strict=True)]
        )
        freedom = max(rest.shape[1] - (at.size + state.unknowns.size) / len(rest), 1)
        spread = np.sqrt(np.sum((rest - drift) ** 2, axis=1) / freedom)
        lines = np.linalg.solve(stack.blocks, drift)
        covariance, free_sd = self._covariance(at, spread)
        return JointResult(
            (*self.links.names, *self.links.model_names),
            np.concatenate([state.unknowns, at[self.n_free :]]),
            covariance,
            state.unknowns.size,
            stack.problems[0].ppm,
            stack.data,
            explained + lines,
            lines,
            {name: curves[..., k] for k, name in enumerate(stack.problems[0].names)},
            amplitudes,
            self.theta(at),
            at[: self.n_free],
            free_sd,
            self.stiffness,
            stack.noise_sd,
            spread,
            converged,
            message,
        )


def settings_of(result: JointResult) -> dict[str, Any]:
    """Return how the search ended, as JSON knows it."""
    return {
        "converged": result.converged,
        "message": result.message,
        "baseline_dimension_per_ppm": list(result.stiffness),
        "residual_over_noise": [float(one) for one in result.residual_over_noise],
    }
