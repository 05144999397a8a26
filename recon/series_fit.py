"""Dynamic fit of a series: all spectra at once, their concentrations linked by a model of the user's.

The idea of one model for all spectra of a series, and its gain in precision, are those of Tal 2023
(doi:10.1002/mrm.29456) and Clarke et al. 2024 (doi:10.1002/mrm.30001); the solver is `joint`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import chi2

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitResult, FitSettings, fit
from pulsespec.recon.fit_model import evaluate
from pulsespec.recon.joint import JointResult, Stack, joint_fit
from pulsespec.recon.series_links import Plan, links_of, plan_of, start_of
from pulsespec.recon.series_schema import SeriesModel
from pulsespec.recon.series_stack import (
    Nuisance,
    Place,
    member,
    nuisances_of,
    phase_deg,
    place_of,
    sharing_of,
    shift_ppm,
    stack_of,
)
from pulsespec.recon.spline import baseline
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]

_IMPROBABLE = 1e-3


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


@dataclass(frozen=True)
class SeriesResult:
    """What a dynamic fit found."""

    model: SeriesModel
    plan: Plan
    joint: JointResult
    place: Place
    alone: tuple[FitResult, ...]
    """Each spectrum fitted for itself; empty where signals may be inverted, as a single fit knows no sign."""
    f0_hz: float
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

    def combine(self, weights: Real) -> tuple[float, float]:
        """Return a weighted sum of all values (unknowns, then parameters) and its standard deviation."""
        variance = float(weights @ self.joint.covariance @ weights)
        return float(weights @ self.joint.values), float(np.sqrt(max(variance, 0.0)))

    @property
    def psi(self) -> Real:
        """Nonlinear parameters of all sets."""
        return self.joint.values[self.joint.n_unknowns :]

    def one(self, index: int) -> FitResult:
        """Return the joint fit as seen in one spectrum."""
        joint = self.joint
        theta = joint.theta
        return FitResult(
            self.names,
            joint.amplitudes[index],
            self._covariance(index),
            joint.ppm,
            joint.data[index],
            joint.fit[index],
            joint.baseline[index],
            {name: joint.curves[name][index] for name in self.names},
            {
                "phase0_deg": float(phase_deg(self.place, theta)[index]),
                "shift_ppm": float(shift_ppm(self.place, theta, self.f0_hz)[index]),
                "baseline_dimension_per_ppm": float(joint.stiffness[index]),
                "residual_over_noise": float(joint.residual_over_noise[index]),
            },
            float(joint.noise_sd[index]),
            joint.converged,
            joint.message,
            (),
            self.settings,
        )

    def _covariance(self, index: int) -> Real:
        """Return the covariance of the linked amplitudes of one spectrum; shape (n_components, n_components)."""
        gradient = self._gradient(np.eye(len(self.names)))[:, index]
        return np.asarray(gradient @ self.joint.covariance @ gradient.T)

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
        by_psi = np.zeros((len(rows), self.plan.x.size, self.psi.size))
        if self.psi.size and links.slope is not None:
            moved = links.slope(self.psi) @ self.joint.unknowns
            by_psi = np.einsum("sk,pnk->snp", rows, moved)
        return np.concatenate([by_unknown, by_psi], axis=-1)


def series_fit(
    spectra: Transients,
    bases: Sequence[Any],
    model: SeriesModel,
    x: Real,
    design: Mapping[str, Real] | None = None,
    settings: FitSettings | None = None,
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
        Range, components, baseline and priors, as for one spectrum.

    Raises
    ------
    InputError
        Shapes or components do not agree, or the model has more unknowns than there are spectra.

    """
    settings, design = settings or FitSettings(), design or {}
    _check(spectra, bases, x)
    names = settings.names or tuple(bases[0].names)
    broad = tuple(getattr(bases[0], "broad", ()))
    reference = int(np.argmin(x) if model.reference == "smallest" else np.argmax(x))
    plan = plan_of(model, names, broad, x, design, reference)
    _identifiable(plan)
    alone = _alone(spectra, bases, model, reference, settings)
    place = place_of(alone if len(alone) > 1 else alone * x.size, reference, model, spectra.f0_hz)
    stack = stack_of(spectra, bases, place, settings)
    sharing = sharing_of(stack.problems[0], x.size, x, design, model, place, broad, settings)
    if model.signed:
        theta = np.array([matrix @ sharing.start for matrix in sharing.matrix])
        first, spread, _ = released(stack, theta, (1.3,) * x.size, signed=True)
    else:
        first = np.array([one.amplitudes for one in alone])
        spread = np.array([np.sqrt(np.diag(one.covariance)) for one in alone])
    links = links_of(plan, start_of(plan, first, spread))
    found = joint_fit(stack, links, sharing, settings)
    free, _, squares = released(stack, found.theta, found.stiffness, model.signed)
    verdict = _verdict(stack, found, squares, plan)
    return SeriesResult(
        model,
        plan,
        found,
        place,
        () if model.signed else tuple(alone),
        spectra.f0_hz,
        tuple(nuisances_of(stack.problems[0], model, x, design)),
        free,
        verdict,
        _warnings(plan, links.lower, links.upper, found, verdict),
        reference,
        settings,
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
        distinct = np.unique(plan.x).size
        if columns is None and count > distinct:
            raise InputError(
                f"{one.name}: {count} parameters for {distinct} different values of the variable"
            )


def _alone(
    spectra: Transients, bases: Sequence[Any], model: SeriesModel, reference: int, settings: FitSettings
) -> list[FitResult]:
    """Return the fit of each spectrum for itself; of the reference only, where others may be inverted."""
    which = [reference] if model.signed else range(spectra.size("series"))
    return [fit(member(spectra, k), bases[k if len(bases) > 1 else 0], settings) for k in which]


def released(
    stack: Stack, theta: Real, stiffness: Sequence[float], signed: bool = False
) -> tuple[Real, Real, Real]:
    """Return amplitudes that are free in each spectrum at given nuisances, their deviations and the sums of squares.

    Shapes (n_spectra, n_components) twice and (n_spectra,); squares are in units of the noise. Standard deviations
    are those of the linear part alone.
    """
    amplitudes, spread, squares = [], [], []
    for k, problem in enumerate(stack.problems):
        smooth = baseline(problem.ppm)
        weight = smooth.log_weight(stiffness[k])
        columns = evaluate(problem, theta[[k]]).columns[0].T
        left = smooth.residual(columns, weight) / stack.noise_sd[k]
        right = smooth.residual(stack.data[k], weight) / stack.noise_sd[k]
        scale = np.linalg.norm(left, axis=0) + 1e-300
        small = np.asarray(np.linalg.qr(np.concatenate([left / scale, right[:, None]], axis=1), mode="r"))
        if signed:
            values = np.linalg.lstsq(small[:, :-1], small[:, -1], rcond=None)[0]
        else:
            values = nnls(small[:, :-1], small[:, -1], maxiter=20 * left.shape[1])[0]
        inverse = np.linalg.pinv(small[:, :-1].T @ small[:, :-1], rcond=1e-12, hermitian=True)
        amplitudes.append(values / scale)
        spread.append(np.sqrt(np.diag(inverse)) / scale)
        squares.append(float(np.sum((right - left @ amplitudes[-1]) ** 2)))
    return np.array(amplitudes), np.array(spread), np.array(squares)


def _verdict(stack: Stack, found: JointResult, squares: Real, plan: Plan) -> Verdict:
    """Compare the linked concentrations with free ones; squares have the penalty of the baseline in them."""
    linked = 0.0
    for k, problem in enumerate(stack.problems):
        smooth = baseline(problem.ppm)
        weight = smooth.log_weight(found.stiffness[k])
        rest = found.data[k] - found.amplitudes[k] @ evaluate(problem, found.theta[[k]]).columns[0]
        linked += float(np.sum((smooth.residual(rest, weight) / stack.noise_sd[k]) ** 2))
    noise = max(1.0, float(squares.sum()) / found.data.size)
    count = plan.x.size * len(plan.names)
    used = sum(len(one.course.nonlinear) + len(one.members) * len(one.course.linear) for one in plan.sets)
    return Verdict(
        max(linked - float(squares.sum()), 0.0) / noise, max(count - used, 1), float(np.sqrt(noise))
    )


def _warnings(plan: Plan, lower: Real, upper: Real, found: JointResult, verdict: Verdict) -> tuple[str, ...]:
    words = [] if found.converged else [f"the joint fit did not converge: {found.message}"]
    psi = found.values[found.n_unknowns :]
    names = found.names[found.n_unknowns :]
    edge = 1e-4 * (upper - lower)
    at_bound = [
        name
        for name, value, low, high, near in zip(names, psi, lower, upper, edge, strict=True)
        if not low + near < value < high - near
    ]
    if at_bound:
        words.append("at its bound, so not determined: " + ", ".join(at_bound))
    if verdict.probability < _IMPROBABLE:
        words.append(verdict.words)
    return tuple(words)
