"""The search over a series: all spectra at once, from products of their columns.

Each spectrum gives products of columns, slopes and data, its baseline eliminated, as for a single fit (`fit_search`).
Amplitudes a_n = M_n(psi) x and parameters theta_n = S_n phi are linear or smooth in what is common, so the products
of the whole series are sums of small matrices, and no large one is ever made. Unknowns x (non-negative) are solved
inside the search over phi and psi (variable projection, Golub and Pereyra 1973, doi:10.1137/0710036).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_search import Solved, Task, derivatives, solve
from pulsespec.recon.nonnegative import solve_nonnegative

Real = NDArray[np.float64]

MOST_STEPS = 100
_CHUNK = 16
"""Spectra whose signals are in memory at once."""
_ENOUGH = 1e-2
"""Of chi square, as for a single fit."""
_FIRST_DAMPING = 1e-2
_LEAST_DAMPING = 1e-4
_MOST_DAMPING = 1e8


@dataclass(frozen=True, eq=False)
class Links:
    """How the amplitudes of all spectra follow from fewer unknowns x and a model's parameters psi."""

    names: tuple[str, ...]
    """Of the unknowns, which are not negative."""
    matrix: Callable[[Real], Real]
    """From psi to the matrices M of a_n = M_n x; shape (n_spectra, n_components, n_unknowns)."""
    slope: Callable[[Real], Real]
    """Derivatives of `matrix`; shape (n_psi, n_spectra, n_components, n_unknowns)."""
    model_names: tuple[str, ...]
    """Of psi."""
    start: Real
    lower: Real
    upper: Real
    mean: Real
    """Prior means of psi; shape (n_psi,)."""
    sd: Real
    """Prior standard deviations, infinite where there is none; shape (n_psi,)."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """Nonlinear parameters of all spectra from those that are searched: theta_n = matrix[n] @ phi."""

    matrix: Real
    """Shape (n_spectra, n_theta, n_phi); theta is that of `fit_model.Layout`."""
    start: Real
    lower: Real
    upper: Real
    precision: Real
    """Of the Gaussian priors of phi; shape (n_phi, n_phi)."""
    mean: Real
    """Where the priors have their maximum; shape (n_phi,)."""


@dataclass(frozen=True, eq=False)
class Part:
    """Spectra of the series that have one basis."""

    members: NDArray[np.int64]
    task: Task


@dataclass(frozen=True, eq=False)
class Point:
    """The series at given parameters; n spectra, k components, u unknowns."""

    at: Real
    """phi, then psi."""
    gram: Real
    """Products of the columns of each spectrum, without soft constraints; shape (n, k, k)."""
    right: Real
    """Products with the data; shape (n, k)."""
    squares: Real
    """Of the data that no baseline explains; shape (n,)."""
    links: Real
    """Shape (n, k, u)."""
    whole: Real
    """Products of the unknowns' columns, soft constraints included; shape (u, u)."""
    unknowns: Real
    free: NDArray[np.bool_]
    """Unknowns that are not held at zero; shape (u,)."""
    cost: float
    """Chi square with all priors."""

    @property
    def amplitudes(self) -> Real:
        """Of all components in all spectra; shape (n, k)."""
        return np.asarray(self.links @ self.unknowns)

    @property
    def chi_square(self) -> Real:
        """Of each spectrum, the penalty of its baseline included; shape (n,)."""
        a = self.amplitudes
        return np.asarray(
            self.squares + np.einsum("nk,nk->n", a, np.einsum("nkl,nl->nk", self.gram, a) - 2 * self.right)
        )


class Search:
    """The search over phi and psi."""

    def __init__(self, parts: list[Part], links: Links, sharing: Sharing) -> None:
        self.parts, self.links, self.sharing = parts, links, sharing
        self.n_phi = sharing.start.size
        self.lower = np.concatenate([sharing.lower, links.lower])
        self.upper = np.concatenate([sharing.upper, links.upper])
        self.soft = np.zeros((len(links.names),) * 2)
        size = self.lower.size
        self.precision, self.mean = np.zeros((size, size)), np.zeros(size)
        self.precision[: self.n_phi, : self.n_phi] = sharing.precision
        self.mean[: self.n_phi] = sharing.mean
        psi = np.arange(self.n_phi, size)
        self.precision[psi, psi], self.mean[self.n_phi :] = 1 / links.sd**2, links.mean

    def theta(self, at: Real) -> Real:
        """Return the parameters of each spectrum; shape (n_spectra, n_theta)."""
        return np.asarray(self.sharing.matrix @ at[: self.n_phi])

    def chunks(self) -> Iterator[Part]:
        """Yield spectra in numbers that memory holds."""
        for part in self.parts:
            for first in range(0, part.members.size, _CHUNK):
                which = np.arange(first, min(first + _CHUNK, part.members.size))
                yield Part(part.members[which], part.task.part(which))

    def point(self, at: Real, free: NDArray[np.bool_] | None = None) -> Point:
        """Return the series at given parameters, unknowns solved."""
        theta = self.theta(at)
        n, k = len(theta), self.parts[0].task.soft.shape[-1]
        gram, right, squares = np.empty((n, k, k)), np.empty((n, k)), np.empty(n)
        for chunk in self.chunks():
            found = _products(chunk.task, theta[chunk.members])
            gram[chunk.members], right[chunk.members], squares[chunk.members] = found
        links = self.links.matrix(at[self.n_phi :])
        return self.solved(at, gram, right, squares, links, free)

    def solved(
        self,
        at: Real,
        gram: Real,
        right: Real,
        squares: Real,
        links: Real,
        free: NDArray[np.bool_] | None,
    ) -> Point:
        """Return a point whose products are known, with the unknowns that fit best."""
        whole = np.einsum("nku,nkv->uv", links, gram @ links, optimize=True) + self.soft
        against = np.einsum("nku,nk->u", links, right)
        start = None if free is None else free[np.newaxis]
        x, inside = (one[0] for one in solve_nonnegative(whole[np.newaxis], against[np.newaxis], start))
        away = at - self.mean
        cost = squares.sum() + x @ (whole @ x - 2 * against) + away @ self.precision @ away
        return Point(at, gram, right, squares, links, whole, x, inside, float(cost))

    def products(self, point: Point, weights: Real | None = None) -> tuple[Real, Real, Real]:
        """Return products of slopes by phi and psi: with themselves, with the unknowns' columns, with the residual.

        Shapes (p, p), (p, u) and (p,); priors are not in them. `weights` count each spectrum, by default one.
        """
        weight = np.ones(len(point.gram)) if weights is None else weights
        amplitudes, theta = point.amplitudes, self.theta(point.at)
        moved = self.links.slope(point.at[self.n_phi :]) @ point.unknowns  # (n_psi, n, k)
        rest = point.right - np.einsum("nkl,nl->nk", point.gram, amplitudes)
        p = self.lower.size
        itself, crossed, against = np.zeros((p, p)), np.zeros((p, len(self.links.names))), np.zeros(p)
        phi, psi = slice(0, self.n_phi), slice(self.n_phi, p)
        for chunk in self.chunks():
            solved = _at(chunk.task, theta[chunk.members], amplitudes[chunk.members])
            own, by_columns, by_rest = derivatives(chunk.task, theta[chunk.members], solved)
            for m, n in enumerate(chunk.members):
                share, w = self.sharing.matrix[n], weight[n]
                itself[phi, phi] += w * share.T @ own[m] @ share
                columns = share.T @ by_columns[m]  # (n_phi, k)
                itself[phi, psi] += w * columns @ moved[:, n].T
                crossed[phi] += w * columns @ point.links[n]
                against[phi] += w * share.T @ by_rest[m]
        weighted = weight[:, None, None] * point.gram
        by_gram = np.einsum("pnk,nkl->pnl", moved, weighted, optimize=True)
        itself[psi, phi] = itself[phi, psi].T
        itself[psi, psi] = np.einsum("pnl,qnl->pq", by_gram, moved, optimize=True)
        crossed[psi] = np.einsum("pnl,nlu->pu", by_gram, point.links, optimize=True)
        against[psi] = np.einsum("pnk,nk,n->p", moved, rest, weight, optimize=True)
        return itself, crossed, against

    def run(self, at: Real, most_steps: int = MOST_STEPS) -> tuple[Point, bool, int]:
        """Return the point of least cost from `at` on, whether the search converged, and its steps."""
        here = self.point(np.clip(at, self.lower, self.upper))
        damping, steps = _FIRST_DAMPING, 0
        information, gradient = self._projected(here)
        for steps in range(1, most_steps + 1):
            step, expected = self._step(here, information, gradient, damping)
            trial = np.clip(here.at + step, self.lower, self.upper)
            there = self.point(trial, here.free)
            gain = here.cost - there.cost
            done = expected < max(_ENOUGH, 1e-10 * abs(here.cost)) and damping <= 1
            if np.isfinite(there.cost) and gain >= 0:
                here = there
                damping = max(_LEAST_DAMPING, damping * (0.2 if gain > 0.5 * expected else 1.0))
                if done:
                    return here, True, steps
                information, gradient = self._projected(here)
            else:
                damping *= 8.0
            if done or damping > _MOST_DAMPING:
                return here, done, steps
        return here, False, steps

    def _projected(self, point: Point) -> tuple[Real, Real]:
        """Return the information on the parameters and the descent, unknowns eliminated; priors included."""
        itself, crossed, against = self.products(point)
        free = np.flatnonzero(point.free)
        inner = point.whole[np.ix_(free, free)]
        inner[np.diag_indices(free.size)] *= 1 + 1e-11
        kept = crossed[:, free]
        itself = itself - kept @ np.linalg.lstsq(inner, kept.T, rcond=1e-13)[0]
        return itself + self.precision, against - self.precision @ (point.at - self.mean)

    def _step(self, point: Point, information: Real, gradient: Real, damping: float) -> tuple[Real, float]:
        """Return a damped step and the decrease of chi square that a linear model expects of it."""
        at_edge = ((point.at <= self.lower) & (gradient < 0)) | ((point.at >= self.upper) & (gradient > 0))
        size = np.sqrt(np.maximum(np.diagonal(information), 1e-12))
        scaled = information / np.outer(size, size)
        scaled[at_edge], scaled[:, at_edge] = 0.0, 0.0
        np.fill_diagonal(scaled, 1.0 + damping)
        down = np.where(at_edge, 0.0, gradient / size)
        step = np.linalg.solve(scaled, down)
        return step / size, float(step @ (down + damping * step))

    def covariance(self, point: Point, spread: Real) -> Real:
        """Return the covariance of unknowns, phi and psi; the noise of each spectrum is `spread` times its own."""
        weight = 1 / spread**2
        itself, crossed, _ = self.products(point, weight)
        u, p = point.unknowns.size, self.lower.size
        information = np.empty((u + p, u + p))
        weighted = weight[:, None, None] * (point.gram @ point.links)
        information[:u, :u] = np.einsum("nku,nkv->uv", point.links, weighted, optimize=True) + self.soft
        information[u:, u:] = itself + self.precision
        information[u:, :u], information[:u, u:] = crossed, crossed.T
        scale = np.sqrt(np.maximum(np.diagonal(information), 1e-300))
        inverse = np.linalg.pinv(information / np.outer(scale, scale), rcond=1e-12, hermitian=True)
        return np.asarray(inverse / np.outer(scale, scale))


def _products(task: Task, theta: Real) -> tuple[Real, Real, Real]:
    """Return products of columns with themselves and with the data, and the squares of the data."""
    found = solve(replace(task, soft=np.zeros_like(task.soft)), theta)
    held = task.smooth.kept(task.log_weight)
    data_curves = task.data @ task.smooth.vectors
    right = np.einsum("vkn,vn->vk", found.state.columns, task.data)
    right -= np.einsum("vks,vs->vk", found.curves, held * data_curves)
    squares = np.einsum("vn,vn->v", task.data, task.data) - np.einsum("vs,vs->v", held, data_curves**2)
    return found.gram, right, squares


def _at(task: Task, theta: Real, amplitudes: Real) -> Solved:
    """Return the state of spectra at given amplitudes."""
    return replace(solve(task, theta), amplitudes=amplitudes, free=amplitudes != 0)
