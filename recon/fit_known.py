"""What is known before a fit: priors and bounds of the parameters, soft ratios of amplitudes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_model import ORDERS, Problem
from pulsespec.recon.fit_settings import FitSettings, RatioPrior
from pulsespec.recon.priors import metabolite_priors
from pulsespec.simulator.basis_names import house_name

Real = NDArray[np.float64]

_BROAD_SHIFT = 2.5
"""Own shifts of broad components over those of metabolites: their peaks are known to 0.01 ppm."""
_FIXED = 1e12
"""Precision of a parameter that does not move."""
_UNKNOWN_T2 = 3.0
"""Times the prior width of a line, where its natural width is not known."""
_HARDLY = 1e-4
"""A bound below which a parameter does not move at all."""
_WIDEST_HZ = 30.0
_WIDEST_SHIFT_PPM = 0.1
"""What is left of the reference shift once it is found."""
_FREEDOM = 3
"""Of Student's t."""
_NO_AMPLITUDE = 1e-9
"""In units of the noise: added where nothing was found, so that a ratio to it has a number."""
_LEAST_SHARE = 0.05
"""Of the largest amplitude: what a reference of a ratio counts at least."""


def precision(problem: Problem, settings: FitSettings) -> Real:
    """Return the precision of the Gaussian priors of all parameters, whose mean is zero; shape (n_parameters,)."""
    at = problem.layout
    found = np.zeros(at.size)
    found[at.phase1] = _of(np.deg2rad(settings.phase1_sd_deg_per_ppm))
    unknown = 1.0 if problem.least_natural_hz > 0 else _UNKNOWN_T2
    found[at.width.start] = _of(unknown * settings.lorentz_sd_hz)
    found[at.width.stop - 1] = _of(settings.broad_width_sd_hz)
    found[at.hermite] = _of(settings.lineshape_sd)
    shift = settings.shift_sd_ppm * problem.f0_hz * 1e-6
    found[at.own_shift] = np.where(problem.broad, _of(_BROAD_SHIFT * shift), _of(shift))
    found[at.own_width] = np.where(problem.broad, _of(settings.broad_width_sd_hz), _of(settings.width_sd_hz))
    if problem.broad.all():
        found[at.width.start] = _FIXED
    return found


def _of(sd: float) -> float:
    return 1 / sd**2 if sd > 0 else _FIXED


def bounds(problem: Problem, settings: FitSettings) -> tuple[Real, Real]:
    """Return the lowest and highest value of all parameters; shapes (n_parameters,)."""
    at = problem.layout
    high = 6 / np.sqrt(np.maximum(precision(problem, settings), 1e-12))
    low = -high
    high[at.phase0], low[at.phase0] = 2 * np.pi, -2 * np.pi
    high[at.phase1], low[at.phase1] = 0.5, -0.5
    high[at.shift] = _WIDEST_SHIFT_PPM * problem.f0_hz * 1e-6
    low[at.shift] = -high[at.shift]
    high[at.gauss], low[at.gauss] = _WIDEST_HZ, 0.1
    high[at.width], low[at.width] = _WIDEST_HZ, 0.0
    low[at.width.start] = -problem.least_natural_hz
    return low, high


def at_bound(problem: Problem, settings: FitSettings, theta: Real) -> tuple[str, ...]:
    """Return the names of the parameters of one spectrum that ended at a bound (no broadening is none)."""
    at = problem.layout
    low, high = bounds(problem, settings)
    there = (theta >= high - 1e-6 * np.abs(high)) | (theta <= low + 1e-6 * np.abs(low))
    there &= high > _HARDLY
    there[at.gauss : at.width.stop] = theta[at.gauss : at.width.stop] >= 0.999 * _WIDEST_HZ
    labels = [
        "phase",
        "first-order phase",
        "reference shift",
        *["linewidth"] * 3,
        *["lineshape"] * len(ORDERS),
    ]
    labels += [f"own {what} of {name}" for what in ("shift", "width") for name in problem.names]
    return tuple(dict.fromkeys(label for label, here in zip(labels, there, strict=True) if here))


def soft_ratios(
    names: Sequence[str], amplitudes: Real, priors: Sequence[RatioPrior], tails: bool = True
) -> Real:
    """Return the precision of ratio priors, scaled by the amplitude that their reference has so far.

    The priors have the tails of Student's t with three degrees of freedom (by reweighting; Lange, Little and Taylor
    1989, doi:10.1080/01621459.1989.10478852): they shrink what the data leave open towards the expected, and let go
    of a metabolite that the data show to be far from it, as in a tumour.

    Parameters
    ----------
    names
        Of the components.
    amplitudes
        In units of the noise; shape (v, k).
    priors
        Those whose component and at least one reference are fitted are used.
    tails
        Without, all are Gaussian: for the first round, when amplitudes have not felt a prior yet.

    Returns
    -------
    Shape (v, k, k).

    """
    rows, weights = ratio_rows(names, amplitudes, priors, tails)
    return np.asarray(np.einsum("vr,rk,rl->vkl", weights, rows, rows))


def ratio_rows(
    names: Sequence[str], amplitudes: Real, priors: Sequence[RatioPrior], tails: bool = True
) -> tuple[Real, Real]:
    """Return priors as sums of amplitudes that are zero, and the precision of each; as for `soft_ratios`.

    Shapes (n_priors, k) and (v, n_priors).
    """
    least = _LEAST_SHARE * amplitudes.max(axis=1, initial=0.0) + _NO_AMPLITUDE
    rows, weights = [], []
    for name, references, ratio, sd in priors:
        against = _weights(names, references)
        if name in names and against.any():
            row = -ratio * against
            row[list(names).index(name)] += 1.0
            size = np.maximum(np.abs(amplitudes @ against), least)
            away = amplitudes @ row / (sd * size)
            weight = (_FREEDOM + 1) / (_FREEDOM + away**2) if tails else np.ones(len(amplitudes))
            rows.append(row)
            weights.append(weight / (sd * size) ** 2)
    return np.array(rows).reshape(-1, len(names)), np.array(weights).T.reshape(len(amplitudes), -1)


def expected(names: Sequence[str], settings: FitSettings) -> tuple[RatioPrior, ...]:
    """Return the soft ratios of metabolites that a fit of these components uses."""
    found = metabolite_priors(names) if settings.metabolite_priors else ()
    return tuple(prior for prior in found if house_name(prior[0]) not in settings.without_prior)


def _weights(names: Sequence[str], references: str) -> Real:
    """Return the weight of each component in a sum such as "NAA+NAAG+3*GPC"."""
    found = np.zeros(len(names))
    for term in references.split("+"):
        factor, _, name = term.rpartition("*")
        if name in names:
            found[list(names).index(name)] += float(factor or 1)
    return found
