"""Fit of all conditions of an edited scan together, with one concentration of each component.

On and off have independent noise, so fitting both, each with its noise, is fitting the difference and a sum, and loses
nothing. Baselines belong to difference and sum, not to on and off: what is broad in both cancels in the difference,
whose baseline may be stiffer. Beside it each difference is fitted alone, as is usual.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from pulsespec.conventions import to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.edited import scheme_of
from pulsespec.recon.edited_model import (
    APART,
    Components,
    check,
    components,
    held,
    links,
    problem,
    told,
    without_macromolecule,
)
from pulsespec.recon.editing import combinations
from pulsespec.recon.fit import FitResult, FitSettings
from pulsespec.recon.fit_model import named
from pulsespec.recon.fit_start import find_start
from pulsespec.recon.joint import JointResult, Stack, independent, joint_fit, shared, whitened
from pulsespec.recon.transients import Transients
from pulsespec.simulator.coedited import MM3CO

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_LEAST_IN_DIFFERENCE = 0.01
"""Size of a component in a difference, over the largest, to be fitted in it alone."""
_LEAST_SNR = 6.0
_MOST_UNEXPLAINED = 0.3
_TOGETHER = -0.8
"""Correlation of GABA and macromolecule below which only their sum is known."""


@dataclass(frozen=True)
class EditedFit:
    """What the fit of an edited scan found."""

    joint: JointResult
    views: Mapping[str, FitResult]
    """The joint fit as seen in each difference and in the sum: amplitudes are the same, curves differ."""
    alone: Mapping[str, FitResult]
    """Each difference fitted by itself."""
    warnings: tuple[str, ...]
    gaba_model: str
    """As used: "gaba+" where no co-edited macromolecule could be fitted, "apart" where GABA is not edited."""

    @property
    def first(self) -> FitResult:
        """The joint fit as seen in the first difference."""
        return next(iter(self.views.values()))


def fit_edited(
    data: Transients, bases: Sequence[Any], gaba_model: str = "soft", settings: FitSettings | None = None
) -> EditedFit:
    """Fit the conditions of an edited scan together, and each difference alone.

    Parameters
    ----------
    data
        Mean FIDs of the conditions in one frame, dims ("edit", "t"), as `recon` makes them.
    bases
        What the sequence makes of the components in each condition, in the order of the data; same components.
    gaba_model
        One of `edited_model.GABA_MODELS`.
    settings
        How to fit.

    Raises
    ------
    InputError
        Dimensions, the number of bases or their components do not fit, or the model is not known.
    DataError
        Nothing says what the conditions are, or the data are zero or not finite.

    """
    check(data, bases, gaba_model)
    scheme = scheme_of(data)
    if scheme is None:
        raise DataError(f"{data.source or 'data'}: nothing says what its editing conditions are")
    found = combinations(scheme)
    rows = {one.name: np.array(one.weights) for one in found}
    asked = settings or FitSettings()
    difference = next((rows[one.name] for one in found if one.edits_gaba(scheme)), None)
    model, words = components(data, bases, gaba_model, difference, asked)
    run = _Run(data, model, held(model, asked), rows)
    joint = run.together()
    said = (*words, *_warnings(joint, run))
    views = {name: run.view(joint, model, row, said) for name, row in rows.items()}
    alone = {name: run.alone(row) for name, row in rows.items() if min(row) < 0}
    return EditedFit(joint, views, alone, said, model.gaba)


def noise_of(fid: Complex) -> float:
    """Return the noise of the real spectrum of `Problem.spectrum`, from its quietest tenths, detrended."""
    from scipy.signal import detrend  # brings scipy.stats: only where edited spectra are fitted

    spectrum = to_spectrum(fid).real / np.sqrt(2 * fid.size)
    spread = [np.std(detrend(piece)) for piece in np.array_split(spectrum, 10)]
    return float(np.median(np.sort(spread)[:3]))


def square(rows: Sequence[Real]) -> Real:
    """Return differences, what they leave, and the sum last; as many as there are conditions."""
    *differences, whole = rows
    return np.array([*differences, *null_space(np.array(rows)).T, whole])


class _Run:
    """Data and components in the frame where searches start."""

    def __init__(
        self, data: Transients, model: Components, settings: FitSettings, rows: Mapping[str, Real]
    ) -> None:
        self.data, self.model, self.settings, self.rows = data, model, settings, rows
        whole = problem(model, model.fids.sum(axis=0), data, settings)
        summed = data.data.sum(axis=0, keepdims=True)
        start = find_start(whole, summed, data.dwell_s, settings.largest_shift_ppm)
        self.shift_hz, self.phase, self.width_hz = (
            float(one[0, 0]) for one in (start.shift_hz, start.phase, start.width_hz)
        )
        t = np.arange(data.samples) * data.dwell_s
        self.fids = data.data * np.exp(-2j * np.pi * self.shift_hz * t - 1j * self.phase)
        self.noise_sd = np.array([noise_of(fid) for fid in self.fids])

    def together(self) -> JointResult:
        """Fit all conditions with one concentration each."""
        model, count = self.model, len(self.fids)
        problems = tuple(problem(model, own, self.data, self.settings) for own in model.fids)
        spectra = np.array([one.spectrum(fid).real for one, fid in zip(problems, self.fids, strict=True)])
        blocks = whitened(square(list(self.rows.values())), self.noise_sd)
        sharing = shared(problems[0], count, self.width_hz, self.settings)
        stack = Stack(problems, spectra, self.noise_sd, blocks)
        return joint_fit(stack, links(model, count), sharing, self.settings)

    def alone(self, row: Real) -> FitResult:
        """Fit one difference by itself, with the components that are seen in it."""
        fids = np.tensordot(row, self.model.fids, 1)
        sizes = np.linalg.norm(problem(self.model, fids, self.data, self.settings).spectrum(fids), axis=1)
        keep = np.flatnonzero(sizes > _LEAST_IN_DIFFERENCE * sizes.max())
        model = self.model.chosen(list(keep))
        if "GABA" not in model.names:
            model = replace(model, gaba=APART)
        elif model.gaba == "gaba+" or (model.gaba != APART and MM3CO not in model.names):
            model = without_macromolecule(model)
        chosen = [self.model.names.index(name) for name in model.names]
        one = problem(model, fids[chosen], self.data, self.settings)
        noise = np.sqrt([row**2 @ self.noise_sd**2])
        stack = Stack((one,), one.spectrum(row @ self.fids).real[None], noise, independent(noise))
        settings = replace(self.settings, metabolite_priors=False)  # what they refer to, subtraction cancels
        found = joint_fit(stack, links(model, 1), shared(one, 1, self.width_hz, settings), settings)
        words = () if found.converged else (f"the fit of the difference alone: {found.message}",)
        return self.view(found, model, np.ones(1), words)

    def view(self, found: JointResult, model: Components, row: Real, words: Sequence[str]) -> FitResult:
        """Return a joint fit as the fit of one combination of its spectra."""
        n = found.n_unknowns
        names, rows = told(model, found.names[:n])
        converged, message = judged(found, row)
        return FitResult(
            names=names,
            amplitudes=rows @ found.unknowns,
            covariance=rows @ found.covariance[:n, :n] @ rows.T,
            ppm=found.ppm,
            data=row @ found.data,
            fit=row @ found.fit,
            baseline=row @ found.baseline,
            components={name: row @ curve for name, curve in found.curves.items()},
            parameters=self.parameters(found, model),
            noise_sd=float(np.sqrt(row**2 @ found.noise_sd**2)),
            converged=converged,
            message=message,
            warnings=tuple(words),
            settings=self.settings,
        )

    def parameters(self, found: JointResult, model: Components) -> dict[str, Any]:
        """Return the nonlinear parameters in units for people, means over conditions, and their differences."""
        theta = found.theta.mean(axis=0)
        whole = problem(model, model.fids[0], self.data, self.settings)
        shift_ppm = (self.shift_hz + theta[whole.layout.shift]) * -1e6 / self.data.f0_hz
        return named(whole, theta) | {
            "phase0_deg": float((np.rad2deg(self.phase + theta[0]) + 180) % 360 - 180),
            "shift_ppm": float(shift_ppm),
            "condition_phase_deg": np.rad2deg(found.theta[:, 0] - theta[0]).tolist(),
            "condition_shift_hz": (found.theta[:, 2] - theta[2]).tolist(),
            "baseline_dimension_per_ppm": list(found.stiffness),
            "residual_over_noise": float(np.max(found.residual_over_noise)),
        }


def judged(found: JointResult, row: Real) -> tuple[bool, str]:
    """Return whether a fit has something to stand on in one combination of its spectra, in words too."""
    data, residual = row @ found.data, row @ (found.data - found.fit)
    noise = float(np.sqrt(row**2 @ found.noise_sd**2))
    if np.abs(data - np.median(data)).max() < _LEAST_SNR * noise:
        return False, f"no peak above {_LEAST_SNR:g} times the noise"
    unexplained = float(np.std(residual) / np.std(data))
    if unexplained > _MOST_UNEXPLAINED and np.std(residual) > 3 * noise:
        return False, f"the components leave {unexplained:.0%} of the signal unexplained"
    return found.converged, found.message


def _warnings(joint: JointResult, run: _Run) -> tuple[str, ...]:
    found = []
    for name, row in run.rows.items():
        sound, words = judged(joint, row)
        if not sound:
            found.append(f"the fit did not converge ({name}): {words}")
    shift_ppm = -(run.shift_hz + joint.theta[:, 2].mean()) / run.data.f0_hz * 1e6
    if abs(shift_ppm) > 0.05:
        found.append(f"the spectrum was off the reference by {shift_ppm:+.3f} ppm; this was corrected")
    names = joint.names[: joint.n_unknowns]
    if "GABA" in names and MM3CO in names:
        pair = np.ix_(*[[names.index("GABA"), names.index(MM3CO)]] * 2)
        block = joint.covariance[pair]
        correlation = float(block[0, 1] / np.sqrt(block[0, 0] * block[1, 1]))
        if correlation < _TOGETHER:
            found.append(
                f"GABA and the macromolecule under it trade against each other (correlation {correlation:.2f}): "
                "report GABA+"
            )
    return tuple(found)
