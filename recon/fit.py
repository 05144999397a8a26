"""Linear-combination fit of one spectrum by variable projection.

Amplitudes (non-negative) and baseline are solved linearly inside a nonlinear search over phase, shifts and
widths (Golub and Pereyra 1973, doi:10.1137/0710036, with Kaufman's Jacobian 1975, doi:10.1007/BF01932995).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from pulsespec.conventions import ppm_to_hz, to_spectrum
from pulsespec.errors import DataError, InputError
from pulsespec.recon.fit_model import Problem, bins_in_range, chain, evaluate, unpack
from pulsespec.recon.fit_start import Start, find_start
from pulsespec.recon.fit_words import judged
from pulsespec.recon.spline import Baseline, baseline
from pulsespec.recon.transients import Transients
from pulsespec.simulator.broad import ratio_priors

Real = NDArray[np.float64]

STIFFNESSES = (0.5, 0.8, 1.3, 2.0, 3.2, 5.0)
"""Effective dimensions per ppm among which the baseline's is chosen by the Akaike criterion."""
SUMS: Mapping[str, tuple[str, ...]] = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr"),
    "tCho": ("GPC", "PCh", "PCho", "Cho"),
    "Glx": ("Glu", "Gln"),
}
"""Sums that are always reported where one of their parts was fitted."""


@dataclass(frozen=True)
class FitSettings:
    """How a spectrum is fitted."""

    ppm_range: tuple[float, float] = (0.2, 4.0)
    """Fitted range of chemical shift, low to high; above 4 ppm water and its suppression distort."""
    exclude_ppm: tuple[tuple[float, float], ...] = ()
    """Ranges inside `ppm_range` that are left out."""
    names: tuple[str, ...] | None = None
    """Components to fit; by default all of the basis."""
    stiffness: float | None = None
    """Effective dimension of the baseline per ppm; chosen from the data where `None`."""
    shift_sd_ppm: float = 0.004
    """Prior standard deviation of a component's own shift (LCModel's default, Provencher 1993)."""
    broad_width_sd_hz: float = 3.0
    """Prior standard deviation of the width added to macromolecules and lipids."""
    phase1_sd_deg_per_ppm: float = 1.0
    """Prior standard deviation of the first-order phase."""
    largest_shift_ppm: float = 0.3
    """Widest reference shift that is looked for."""
    ratio_priors: tuple[tuple[str, str, float, float], ...] = field(default_factory=ratio_priors)
    """Soft constraints: component, references joined by "+", ratio, standard deviation of the ratio."""


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

    @property
    def residual(self) -> Real:
        """Data minus fit (baseline included); shape (n_points,)."""
        return np.asarray(self.data - self.fit)

    def combine(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Return value and standard deviation of a weighted sum of amplitudes."""
        w = np.array([weights.get(name, 0.0) for name in self.names])
        return float(w @ self.amplitudes), float(np.sqrt(max(w @ self.covariance @ w, 0.0)))

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
    settings = settings or FitSettings()
    _check(spectrum, basis, settings)
    names = settings.names or tuple(basis.names)
    problem = _problem(spectrum, basis, names, settings)
    start = find_start(spectrum, problem, settings.largest_shift_ppm)
    turned = spectrum.data * start.correction(spectrum.dwell_s, spectrum.samples)
    data = problem.spectrum(turned).real
    noise_sd = _noise_sd(problem, turned)
    search = _Search(problem, data, noise_sd, settings, tuple(getattr(basis, "broad", ())))
    theta, smooth, outcome = search.run(start)
    return _result(search, theta, smooth, outcome, start)


def _check(spectrum: Transients, basis: Any, settings: FitSettings) -> None:
    if spectrum.dims != ("t",):
        raise InputError(f"spectrum: dims {spectrum.dims}, expected a single FID with dims ('t',)")
    if not np.all(np.isfinite(spectrum.data)) or not np.any(spectrum.data):
        raise DataError(f"{spectrum.source or 'spectrum'}: the FID is zero or not finite: nothing to fit")
    missing = [name for name in settings.names or () if name not in basis.names]
    if missing:
        raise InputError(f"basis: has no component {', '.join(missing)}, only {', '.join(basis.names)}")


def _problem(spectrum: Transients, basis: Any, names: tuple[str, ...], settings: FitSettings) -> Problem:
    t = np.arange(spectrum.samples) * spectrum.dwell_s
    moved_hz = ppm_to_hz(basis.reference_ppm, spectrum.f0_hz, spectrum.reference_ppm)
    move = np.exp(2j * np.pi * moved_hz * t)
    fids = np.array([basis.fid(name, spectrum.samples, spectrum.dwell_s) * move for name in names])
    low, high = settings.ppm_range
    cuts = sorted(settings.exclude_ppm)
    edges = [low, *[edge for cut in cuts for edge in cut], high]
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    keep = bins_in_range(spectrum.samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm, ranges)
    if keep.size < 4 * len(names):
        raise InputError(
            f"ppm_range: {settings.ppm_range} holds {keep.size} points, too few for {len(names)}"
        )
    broad = tuple(getattr(basis, "broad", ()))
    width_of = np.array([int(name in broad) for name in names])
    width_of -= width_of.min()
    return Problem(fids, names, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm, keep, width_of)


def _noise_sd(problem: Problem, fid: NDArray[np.complex128]) -> float:
    """Return the noise of the real spectrum from its quietest tenth, detrended."""
    spectrum = to_spectrum(fid).real / np.sqrt(2 * fid.size)
    pieces = np.array_split(spectrum, 10)
    spread = [
        np.std(piece - np.polyval(np.polyfit(np.arange(piece.size), piece, 1), np.arange(piece.size)))
        for piece in pieces
    ]
    return float(np.median(np.sort(spread)[:3]))


@dataclass
class _Outcome:
    converged: bool
    message: str


class _Search:
    """The search over nonlinear parameters of one problem."""

    def __init__(
        self, problem: Problem, data: Real, noise_sd: float, settings: FitSettings, broad: tuple[str, ...]
    ) -> None:
        self.problem, self.data, self.noise_sd, self.settings = problem, data, noise_sd, settings
        self.is_broad = np.array([name in broad for name in problem.names])
        n = problem.n_widths
        n_components = len(problem.names)
        f0 = problem.f0_hz * 1e-6
        own = np.full(n_components, settings.shift_sd_ppm * f0)
        own[self.is_broad] *= 2.5
        self.own_sd = own
        self.lower = np.concatenate([[-np.pi, -0.5, -0.1 * f0, 0.0], np.zeros(n), -6 * own])
        self.upper = np.concatenate([[np.pi, 0.5, 0.1 * f0, 30.0], np.full(n, 30.0), 6 * own])
        self.soft = np.zeros((0, n_components))

    def run(self, start: Start) -> tuple[Real, Baseline, _Outcome]:
        """Return the best parameters, the baseline in use and how the search ended."""
        theta = self._initial(start)
        stiffness = self.settings.stiffness
        smooth = baseline(self.problem.ppm, stiffness or 1.3)
        theta, outcome = self._minimise(theta, smooth)
        self._set_soft(theta, smooth)
        if stiffness is None:
            stiffness = self._choose_stiffness(theta)
            smooth = baseline(self.problem.ppm, stiffness)
        theta, outcome = self._minimise(theta, smooth)
        self.stiffness = stiffness
        return theta, smooth, outcome

    def _initial(self, start: Start) -> Real:
        n = self.problem.n_widths
        theta = np.zeros(4 + n + len(self.problem.names))
        theta[3] = 0.6 * start.width_hz
        theta[4 : 4 + n] = 0.4 * start.width_hz
        return np.clip(theta, self.lower + 1e-9, self.upper - 1e-9)

    def solve(self, theta: Real, smooth: Baseline) -> tuple[Real, Real, Real]:
        """Return amplitudes, the projected columns and the projected residual, noise at one."""
        columns, _ = evaluate(self.problem, theta)
        left = np.concatenate([smooth.residual(columns) / self.noise_sd, self.soft])
        right = smooth.residual(self.data) / self.noise_sd
        right = np.concatenate([right, np.zeros(len(self.soft))])
        scale = np.linalg.norm(left, axis=0) + 1e-300
        amplitudes = nnls(left / scale, right, maxiter=20 * left.shape[1])[0] / scale
        return amplitudes, left, right - left @ amplitudes

    def _priors(self, theta: Real) -> tuple[Real, Real]:
        """Return the residuals of the priors and their Jacobian."""
        n = self.problem.n_widths
        rows, values = [], []

        def add(index: int, sd: float) -> None:
            row = np.zeros(theta.size)
            row[index] = 1 / sd
            rows.append(row)
            values.append(theta[index] / sd)

        add(1, np.deg2rad(self.settings.phase1_sd_deg_per_ppm))
        for width in range(n):
            if np.all(self.is_broad[self.problem.width_of == width]):
                add(4 + width, self.settings.broad_width_sd_hz)
        for k, sd in enumerate(self.own_sd):
            add(4 + n + k, sd)
        return np.array(values), np.array(rows)

    def _minimise(self, theta: Real, smooth: Baseline) -> tuple[Real, _Outcome]:
        def residual(at: Real) -> Real:
            return np.concatenate([self.solve(at, smooth)[2], self._priors(at)[0]])

        def jacobian(at: Real) -> Real:
            amplitudes, left, _ = self.solve(at, smooth)
            active = left[:, amplitudes > 0]
            slope = self._slope(at, smooth, amplitudes)
            if active.shape[1]:
                q, _ = np.linalg.qr(active)
                slope = slope - q @ (q.T @ slope)
            return np.concatenate([slope, self._priors(at)[1]])

        found = least_squares(
            residual,
            theta,
            jacobian,
            bounds=(self.lower, self.upper),
            x_scale="jac",
            xtol=1e-6,
            ftol=1e-7,
            max_nfev=60,
        )
        words = "converged" if found.status > 0 else "stopped at the limit of 60 evaluations"
        return found.x, _Outcome(found.status > 0, f"{words} after {found.nfev} evaluations")

    def _slope(self, theta: Real, smooth: Baseline, amplitudes: Real) -> Real:
        """Return d(residual)/d(theta) at fixed amplitudes, soft rows included."""
        _, derivatives = evaluate(self.problem, theta, jacobian=True)
        assert derivatives is not None
        slope = -smooth.residual(chain(self.problem, derivatives, amplitudes)) / self.noise_sd
        return np.concatenate([slope, np.zeros((len(self.soft), theta.size))])

    def _set_soft(self, theta: Real, smooth: Baseline) -> None:
        """Turn ratio priors into rows, scaled by the amplitude that their reference has so far."""
        amplitudes, _, _ = self.solve(theta, smooth)
        names = self.problem.names
        rows = []
        for name, references, ratio, sd in self.settings.ratio_priors:
            against = np.array([float(other in references.split("+")) for other in names])
            if name in names and against.any():
                row = -ratio * against
                row[names.index(name)] = 1.0
                size = max(float(amplitudes @ against), 0.05 * amplitudes.max(initial=0.0), 1e-300)
                rows.append(row / (sd * size))
        if rows:
            self.soft = np.array(rows)

    def _choose_stiffness(self, theta: Real) -> float:
        """Return the effective dimension with the least Akaike criterion."""
        length = float(np.ptp(self.problem.ppm))
        scores = []
        for dimension in STIFFNESSES:
            smooth = baseline(self.problem.ppm, dimension)
            amplitudes, _, _ = self.solve(theta, smooth)
            rest = self.data - evaluate(self.problem, theta)[0] @ amplitudes
            squares = float(np.sum((rest - smooth.explain(rest)) ** 2))
            scores.append(self.data.size * np.log(squares) + 2 * dimension * length)
        return STIFFNESSES[int(np.argmin(scores))]

    def covariance(self, theta: Real, smooth: Baseline, amplitudes: Real, noise: float) -> Real:
        """Return the covariance of the amplitudes from the Fisher information of the whole model."""
        _, left, _ = self.solve(theta, smooth)
        slope = -self._slope(theta, smooth, amplitudes)
        priors = self._priors(theta)[1]
        ratio = self.noise_sd / noise
        n = amplitudes.size
        data_rows = len(left) - len(self.soft)
        rows = np.concatenate([left, slope], axis=1)
        rows[:data_rows] *= ratio
        bottom = np.concatenate([np.zeros((len(priors), n)), priors], axis=1)
        design = np.concatenate([rows, bottom])
        scale = np.linalg.norm(design, axis=0) + 1e-300
        information = (design / scale).T @ (design / scale)
        inverse = np.linalg.pinv(information, rcond=1e-12, hermitian=True)
        return np.asarray((inverse / np.outer(scale, scale))[:n, :n])


def _result(search: _Search, theta: Real, smooth: Baseline, outcome: _Outcome, start: Start) -> FitResult:
    problem = search.problem
    amplitudes, _, _ = search.solve(theta, smooth)
    columns, _ = evaluate(problem, theta)
    explained = columns @ amplitudes
    drift = smooth.explain(search.data - explained)
    residual = search.data - explained - drift
    spread = float(np.sqrt(np.sum(residual**2) / max(residual.size - theta.size - amplitudes.size, 1)))
    covariance = search.covariance(theta, smooth, amplitudes, max(search.noise_sd, spread))
    shape = unpack(problem, theta)
    shift_hz = start.shift_hz + theta[2]
    shift_ppm = -shift_hz / problem.f0_hz * 1e6
    parameters = {
        "phase0_deg": float((np.rad2deg(start.phase + theta[0]) + 180) % 360 - 180),
        "phase1_deg_per_ppm": float(np.rad2deg(theta[1])),
        "shift_ppm": float(shift_ppm),
        "gauss_hz": float(theta[3]),
        "lorentz_hz": {name: float(w) for name, w in zip(problem.names, shape.lorentz_hz, strict=True)},
        "own_shift_ppm": {
            name: float(-(s - theta[2]) / problem.f0_hz * 1e6)
            for name, s in zip(problem.names, shape.shift_hz, strict=True)
        },
        "baseline_dimension_per_ppm": float(search.stiffness),
        "residual_over_noise": spread / search.noise_sd,
        "at_bound": _at_bound(search, theta),
    }
    found = FitResult(
        problem.names,
        amplitudes,
        covariance,
        problem.ppm,
        search.data,
        explained + drift,
        drift,
        {name: columns[:, k] * amplitudes[k] for k, name in enumerate(problem.names)},
        parameters,
        search.noise_sd,
        outcome.converged,
        outcome.message,
        settings=search.settings,
    )
    return judged(found)


def _at_bound(search: _Search, theta: Real) -> tuple[str, ...]:
    """Return the names of the parameters that ended at a bound (no broadening is none)."""
    n, names = search.problem.n_widths, search.problem.names
    labels = ["phase", "first-order phase", "reference shift", "linewidth", *["linewidth"] * n]
    labels += [f"own shift of {name}" for name in names]
    at = (theta <= search.lower + 1e-6) | (theta >= search.upper - 1e-6)
    at[3 : 4 + n] = theta[3 : 4 + n] >= search.upper[3 : 4 + n] - 1e-6
    return tuple(dict.fromkeys(label for label, there in zip(labels, at, strict=True) if there))
