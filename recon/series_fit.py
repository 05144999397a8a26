"""Dynamic fit of a series: all spectra at once, their concentrations linked by a model of the user's.

The idea of one model for all spectra of a series, and its gain in precision, are those of Tal 2023
(doi:10.1002/mrm.29456) and Clarke et al. 2024 (doi:10.1002/mrm.30001); the solver is `series_search`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from pulsespec.errors import InputError
from pulsespec.recon import fit_known
from pulsespec.recon.fit import FitResult, FitSettings
from pulsespec.recon.fit_baseline import choose_log_weight
from pulsespec.recon.fit_model import named
from pulsespec.recon.fit_search import solve
from pulsespec.recon.fit_words import judged
from pulsespec.recon.nonnegative import solve_nonnegative
from pulsespec.recon.series_links import Plan, links_of, plan_of, start_of
from pulsespec.recon.series_schema import SeriesModel
from pulsespec.recon.series_search import Links, Part, Point, Search
from pulsespec.recon.series_stack import (
    Nuisance,
    Place,
    fit_alone,
    nuisances_of,
    parts_of,
    place_of,
    problems_of,
    sharing_of,
)
from pulsespec.recon.series_values import constants_of
from pulsespec.recon.transients import Transients
from pulsespec.workers import one_thread

Real = NDArray[np.float64]

_IMPROBABLE = 1e-3
_ROUNDS = 3
"""Of the search with soft ratios, as for a single fit."""


@dataclass(frozen=True)
class Verdict:
    """Whether the model of the concentrations holds, beside concentrations that are free in every spectrum."""

    chi_square: float
    """What freeing all concentrations takes from the sum of squares, noise being one, at the same nuisances."""
    freedom: int
    """How many more unknowns the free concentrations are."""
    noise: float
    """Residual over noise with free concentrations: squares are counted in units of it where it is above one."""

    @property
    def probability(self) -> float:
        """Chance of at least this much where the model holds; concentrations at zero make it too large."""
        return float(chi2.sf(self.chi_square, self.freedom))

    @property
    def aic(self) -> float:
        """Akaike criterion of the model minus that of free concentrations: negative favours the model."""
        return self.chi_square - 2.0 * self.freedom

    @property
    def words(self) -> str:
        """One line for the reader."""
        holds = "holds" if self.probability > _IMPROBABLE else "does not hold"
        return (
            f"the model {holds}: freeing all concentrations takes {self.chi_square:.0f} from chi-square for "
            f"{self.freedom} unknowns more (p = {self.probability:.2g}; Akaike {self.aic:+.0f}, negative "
            "favours the model)"
        )


@dataclass(frozen=True, eq=False)
class JointFit:
    """What the search over all spectra found; spectra are real, on `ppm`."""

    values: Real
    """Linear unknowns, then the nonlinear parameters of the model; shape (n_unknowns + n_psi,)."""
    covariance: Real
    """Of `values`, all else and the baselines marginalised."""
    n_unknowns: int
    phi: Real
    """Nuisances that were searched, see `series_search.Sharing`; shape (n_phi,)."""
    phi_sd: Real
    theta: Real
    """Nuisances of each spectrum; shape (n_spectra, n_theta)."""
    amplitudes: Real
    """Of each component in each spectrum; shape (n_spectra, n_components)."""
    ppm: Real
    data: Real
    """Shape (n_spectra, n_points), as are `fit` and `baseline`."""
    fit: Real
    baseline: Real
    curves: Real
    """Each component in each spectrum; shape (n_spectra, n_components, n_points)."""
    noise_sd: Real
    residual_over_noise: Real
    stiffness: Real
    """Effective dimension of the baseline per ppm; these three of shape (n_spectra,)."""
    parameters: tuple[Mapping[str, Any], ...]
    """Nuisances of each spectrum by name."""
    converged: bool
    message: str

    @property
    def unknowns(self) -> Real:
        """The linear unknowns; shape (n_unknowns,)."""
        return self.values[: self.n_unknowns]


@dataclass(frozen=True, eq=False)
class SeriesResult:
    """What a dynamic fit found."""

    model: SeriesModel
    plan: Plan
    joint: JointFit
    alone: tuple[FitResult, ...]
    """Each spectrum fitted for itself; empty where signals may be inverted, as a single fit knows no sign."""
    nuisances: tuple[Nuisance, ...]
    """How nuisances follow the variable, where they do by a linear model."""
    released: Real
    """Amplitudes where each spectrum is free, at the nuisances of the joint fit; shape (n_spectra, n_components)."""
    verdict: Verdict
    warnings: tuple[str, ...]
    reference: int
    """Spectrum in which the signal is strong."""
    settings: FitSettings

    @property
    def names(self) -> tuple[str, ...]:
        """Of the components."""
        return self.plan.names

    @property
    def psi(self) -> Real:
        """Nonlinear parameters of all sets."""
        return self.joint.values[self.joint.n_unknowns :]

    def combine(self, weights: Real) -> tuple[float, float]:
        """Return a weighted sum of all values (unknowns, then parameters) and its standard deviation."""
        variance = float(weights @ self.joint.covariance @ weights)
        return float(weights @ self.joint.values), float(np.sqrt(max(variance, 0.0)))

    def one(self, index: int) -> FitResult:
        """Return the joint fit as seen in one spectrum."""
        joint = self.joint
        gradient = self._gradient(np.eye(len(self.names)))[:, index]
        return FitResult(
            self.names,
            joint.amplitudes[index],
            np.asarray(gradient @ joint.covariance @ gradient.T),
            joint.ppm,
            joint.data[index],
            joint.fit[index],
            joint.baseline[index],
            dict(zip(self.names, joint.curves[index], strict=True)),
            joint.parameters[index],
            float(joint.noise_sd[index]),
            joint.converged,
            joint.message,
            (),
            self.settings,
        )

    def curve(self, weights: Mapping[int, float]) -> tuple[Real, Real]:
        """Return the course of a weighted sum of components and its standard deviation; shapes (n_spectra,)."""
        row = np.array([weights.get(k, 0.0) for k in range(len(self.names))])
        gradient = self._gradient(row[np.newaxis])[0]
        variance = np.einsum("na,ab,nb->n", gradient, self.joint.covariance, gradient)
        return self.joint.amplitudes @ row, np.sqrt(np.maximum(variance, 0.0))

    def _gradient(self, rows: Real) -> Real:
        """Return the derivatives of sums of components by all values; shape (n_sums, n_spectra, n_values)."""
        links = links_of(self.plan, self.psi)
        by_unknown = np.einsum("sk,nku->snu", rows, links.matrix(self.psi))
        moved = links.slope(self.psi) @ self.joint.unknowns
        return np.concatenate([by_unknown, np.einsum("sk,pnk->snp", rows, moved)], axis=-1)


@one_thread()
def series_fit(
    spectra: Transients,
    bases: Sequence[Any],
    model: SeriesModel,
    x: Real,
    design: Mapping[str, Real] | None = None,
    settings: FitSettings | None = None,
    columns: Mapping[str, Real] | None = None,
) -> SeriesResult:
    """Fit all spectra of a series together.

    Parameters
    ----------
    spectra
        Clean FIDs, dims ("series", "t").
    bases
        One basis for all spectra, or one for each.
    model
        How concentrations, phase, frequency and widths follow the variable.
    x
        Values of the variable in the unit of the model; shape (n_spectra,).
    design
        Regressors by name; shape (n_spectra,) each.
    settings
        Range, components, baseline and priors, as for one spectrum. Ratio priors hold in the spectrum in which the
        signal is strong.
    columns
        What else is known of each spectrum, by name, where the model uses it; shape (n_spectra,) each.

    Raises
    ------
    InputError
        Shapes or components do not agree, or the model has more unknowns than the series can tell.

    """
    settings, design = settings or FitSettings(), design or {}
    settings.refuse_signed("a fit of a series")
    _check(spectra, bases, x)
    names = settings.names or tuple(bases[0].names)
    reference = int(np.argmin(x) if model.reference == "smallest" else np.argmax(x))
    plan = plan_of(
        model,
        names,
        tuple(getattr(bases[0], "broad", ())),
        x,
        design,
        reference,
        constants_of(model, spectra, columns or {}),
    )
    _identifiable(plan)
    which = np.array([reference]) if model.signed else np.arange(x.size)
    alone = fit_alone(spectra, bases, which, settings)
    singles = [batch.one(k) for batch in alone.batches for k in range(len(batch.theta))]
    sound = np.ones(x.size, dtype=bool) if model.signed else np.array([one.converged for one in singles])
    place = place_of(alone, spectra, sound, reference, model)
    parts, noise = parts_of(spectra, problems_of(spectra, bases, settings), place, settings)
    sharing = sharing_of(parts[0].task, x, design, model, place, reference)
    links = links_of(plan, np.zeros(sum(len(one.course.nonlinear) for one in plan.sets)))
    search = Search(parts, _scaled(links, noise[reference] / noise), sharing)
    if model.signed:
        point = search.point(np.concatenate([sharing.start, links.start]))
        first, spread, _ = released(point, signed=True)
        first, spread = first * noise[:, None], spread * noise[:, None]
    else:
        first = alone.gathered("amplitudes", x.size)
        spread = np.sqrt(np.diagonal(alone.gathered("covariance", x.size), axis1=1, axis2=2))
    start = np.concatenate([sharing.start, links_of(plan, start_of(plan, first, spread)).start])
    point, converged, steps = _rounds(search, start, names, reference, settings)
    joint = _joint(search, point, noise, reference, place, settings, converged, steps)
    free, _, squares = released(point, model.signed)
    verdict = _verdict(point, squares, joint, plan)
    found = SeriesResult(
        model,
        plan,
        joint,
        () if model.signed else tuple(singles),
        tuple(nuisances_of(parts[0].task.problem, model, x, design)),
        free * noise[:, None],
        verdict,
        (),
        reference,
        settings,
    )
    return replace(found, warnings=_warnings(found, search))


def _scaled(links: Links, scale: Real) -> Links:
    """Return links to amplitudes in units of the noise of each spectrum, from unknowns in that of the reference."""
    return replace(
        links,
        matrix=lambda psi: links.matrix(psi) * scale[:, None, None],
        slope=lambda psi: links.slope(psi) * scale[:, None, None],
    )


def _check(spectra: Transients, bases: Sequence[Any], x: Real) -> None:
    if spectra.dims != ("series", "t"):
        raise InputError(f"spectra: dims {spectra.dims}, expected ('series', 't')")
    if x.shape != (spectra.size("series"),):
        raise InputError(f"series: {x.size} values for {spectra.size('series')} spectra")
    if len(bases) not in (1, x.size):
        raise InputError(
            f"series: {len(bases)} basis sets for {x.size} spectra, expected one, or one for each"
        )
    if any(tuple(basis.names) != tuple(bases[0].names) for basis in bases):
        raise InputError("series: basis sets with different components, expected the same in all")


def _identifiable(plan: Plan) -> None:
    """Refuse a course that has more parameters than there are spectra, or that the values cannot tell."""
    for one in plan.sets:
        count = len(one.course.nonlinear) + len(one.course.linear)
        if count > plan.x.size:
            raise InputError(f"{one.name}: {count} parameters for {plan.x.size} spectra")
        columns = one.course.design
        if columns is not None and np.linalg.matrix_rank(columns) < columns.shape[1]:
            raise InputError(
                f"{one.name}: columns {', '.join(one.course.linear)} of the design cannot be told apart"
            )
        known = one.course.expression.known.values() if one.course.expression is not None else ()
        distinct = np.unique(np.stack([plan.x, *known]), axis=1).shape[1]
        if columns is None and count > distinct:
            raise InputError(
                f"{one.name}: {count} parameters for {distinct} different values of the variable"
            )


def _rounds(
    search: Search, start: Real, names: tuple[str, ...], reference: int, settings: FitSettings
) -> tuple[Point, bool, int]:
    """Search with soft ratios and stiffness that follow what has been found, as the fit of one spectrum does."""
    ratios = (*settings.ratio_priors, *fit_known.expected(names, settings))
    point, total = search.point(start), 0
    for turn in range(_ROUNDS):
        amplitudes = point.amplitudes[[reference]]
        soft = fit_known.soft_ratios(names, amplitudes, ratios, tails=turn > 0)[0]
        there = point.links[reference]
        search.soft = there.T @ soft @ there
        if settings.stiffness is None:
            search.parts = [_restiffened(part, search, point) for part in search.parts]
        point, converged, steps = search.run(point.at)
        total += steps
    return point, converged, total


def _restiffened(part: Part, search: Search, point: Point) -> Part:
    """Return spectra with the stiffness of the baseline that is most likely, amplitudes being free."""
    theta = search.theta(point.at)
    weights = np.empty(part.members.size)
    for chunk in Search([part], search.links, search.sharing).chunks():
        at = np.searchsorted(part.members, chunk.members)
        weights[at] = choose_log_weight(chunk.task, solve(chunk.task, theta[chunk.members]))
    return Part(part.members, replace(part.task, log_weight=weights))


def released(point: Point, signed: bool = False) -> tuple[Real, Real, Real]:
    """Return amplitudes that are free in each spectrum at given nuisances, their deviations and chi square.

    Shapes (n_spectra, n_components) twice and (n_spectra,), in units of the noise. Standard deviations are those of
    the linear part alone.
    """
    inverse = np.linalg.pinv(point.gram, rcond=1e-12, hermitian=True)
    signless = solve_nonnegative(point.gram, point.right)[0]
    values = np.einsum("nkl,nl->nk", inverse, point.right) if signed else signless
    fitted = np.einsum("nk,nk->n", values, np.einsum("nkl,nl->nk", point.gram, values) - 2 * point.right)
    spread = np.sqrt(np.maximum(np.diagonal(inverse, axis1=1, axis2=2), 0.0))
    return values, spread, point.squares + fitted


def _joint(
    search: Search,
    point: Point,
    noise: Real,
    reference: int,
    place: Place,
    settings: FitSettings,
    converged: bool,
    steps: int,
) -> JointFit:
    """Return what was found in units of the data, with its covariance and curves."""
    theta, n = search.theta(point.at), noise.size
    size = search.parts[0].task.problem.ppm.size
    k = point.amplitudes.shape[1]
    data, drift, curves = np.empty((n, size)), np.empty((n, size)), np.empty((n, k, size))
    over, stiffness = np.empty(n), np.empty(n)
    parameters: list[Mapping[str, Any]] = [{}] * n
    for chunk in search.chunks():
        m, task = chunk.members, chunk.task
        columns = solve(task, theta[m]).state.columns
        data[m], curves[m] = task.data, columns * point.amplitudes[m][..., None]
        held = task.smooth.kept(task.log_weight)
        rest = task.data - curves[m].sum(axis=1)
        drift[m] = ((rest @ task.smooth.vectors) * held) @ task.smooth.vectors.T
        freedom = size - held.sum(axis=1) - (point.at.size + point.unknowns.size) / n
        over[m] = np.sqrt(np.sum((rest - drift[m]) ** 2, axis=1) / np.maximum(freedom, 1))
        stiffness[m] = task.smooth.dimension_per_ppm(task.log_weight)
        for at in m:
            parameters[at] = _parameters(task, theta[at], place, int(at), settings) | {
                "baseline_dimension_per_ppm": float(stiffness[at]),
                "residual_over_noise": float(over[at]),
            }
    u, phi = point.unknowns.size, search.n_phi
    units = np.concatenate([np.full(u, noise[reference]), np.ones(point.at.size)])
    covariance = search.covariance(point, np.maximum(over, 1.0)) * np.outer(units, units)
    kept = np.r_[:u, u + phi : u + point.at.size]
    return JointFit(
        np.concatenate([point.unknowns * noise[reference], point.at[phi:]]),
        covariance[np.ix_(kept, kept)],
        u,
        point.at[:phi],
        np.sqrt(np.maximum(np.diagonal(covariance)[u : u + phi], 0.0)),
        theta,
        point.amplitudes * noise[:, None],
        search.parts[0].task.problem.ppm,
        data * noise[:, None],
        (curves.sum(axis=1) + drift) * noise[:, None],
        drift * noise[:, None],
        curves * noise[:, None, None],
        noise,
        over,
        stiffness,
        tuple(parameters),
        converged,
        f"{'converged' if converged else 'stopped'} after {steps} steps",
    )


def _parameters(task: Any, theta: Real, place: Place, index: int, settings: FitSettings) -> dict[str, Any]:
    """Return the nuisances of one spectrum by name, what was undone before the search included."""
    found = named(task.problem, theta)
    phase = np.rad2deg(place.phase_rad[index]) + found["phase0_deg"]
    shift = place.shift_hz[index] * -1e6 / task.problem.f0_hz
    return found | {
        "phase0_deg": float((phase + 180) % 360 - 180),
        "shift_ppm": float(shift + found["shift_ppm"]),
        "at_bound": fit_known.at_bound(task.problem, settings, theta),
    }


def _verdict(point: Point, squares: Real, joint: JointFit, plan: Plan) -> Verdict:
    """Compare the linked concentrations with free ones; squares have the penalty of the baseline in them."""
    points = joint.data.size - joint.stiffness.sum() * np.ptp(joint.ppm) - joint.phi.size - squares.size
    noise = max(1.0, float(squares.sum()) / points)
    count = plan.x.size * len(plan.names)
    used = sum(len(one.course.nonlinear) + len(one.members) * len(one.course.linear) for one in plan.sets)
    gain = float(np.sum(point.chi_square - squares))
    return Verdict(max(gain, 0.0) / noise, max(count - used, 1), float(np.sqrt(noise)))


def _warnings(found: SeriesResult, search: Search) -> tuple[str, ...]:
    joint, verdict, links = found.joint, found.verdict, search.links
    words = [] if joint.converged else [f"the joint fit did not converge: {joint.message}"]
    strong = judged(found.one(found.reference))
    words += [f"spectrum {found.reference + 1}: {one}" for one in strong.warnings if one not in words]
    edge = 1e-4 * (links.upper - links.lower)
    inside = (found.psi > links.lower + edge) & (found.psi < links.upper - edge)
    at_bound = [name for name, good in zip(links.model_names, inside, strict=True) if not good]
    if at_bound:
        words.append("at its bound, so not determined: " + ", ".join(at_bound))
    if verdict.probability < _IMPROBABLE:
        words.append(verdict.words)
    return tuple(words)
