"""How far two basis sets agree, metabolite by metabolite, whatever programs they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.signal import ZoomFFT

from pulsespec.errors import InputError, MismatchError
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.sampled import Complex, SampledBasis, sampled

AnyBasis = Basis | SampledBasis


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What is compared, and how much the second basis may move to meet the first."""

    ppm: tuple[float, float] = (0.5, 4.2)
    """Range of chemical shift."""
    linewidth_hz: float = 2.0
    """Lorentzian width that both are broadened by, so that lines without width have a spectrum."""
    max_shift_ppm: float = 0.05
    """Largest common shift of a metabolite that is looked for."""
    match_width: bool = True
    """Whether the narrower of the two is broadened to meet the other."""


@dataclass(frozen=True)
class Agreement:
    """First basis against second for one metabolite: a(f) = ratio exp(i phase) b(f - shift), broadened."""

    name: str
    correlation: float
    """|<a, b>| / (|a| |b|) of the complex spectra over the range, at the best shift and width."""
    ratio: float
    """Amplitude of the first over that of the second."""
    relative: float
    """`ratio` over the median ratio of all metabolites: 1 where only the unit differs."""
    phase_deg: float
    shift_hz: float
    """How far the first lies upfield of the second, at the frequency of the first."""
    width_hz: float
    """How much wider (Lorentzian) the first is; 0 where widths were not matched."""
    first: Complex
    """Spectrum of the first, on `Comparison.ppm`."""
    second: Complex
    """Spectrum of the second, shifted, broadened, phased and scaled onto the first."""


@dataclass(frozen=True)
class Comparison:
    """All metabolites that two basis sets share."""

    rows: tuple[Agreement, ...]
    ppm: NDArray[np.float64]
    """Chemical shift of the spectra, descending."""
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    median_ratio: float
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    """One basis at the common readout, with its transform onto the common axis."""

    basis: SampledBasis
    zoom: ZoomFFT
    t: NDArray[np.float64]

    def spectrum(self, name: str, shift_hz: float = 0.0, width_hz: float = 0.0) -> Complex:
        factor = np.exp((2j * np.pi * shift_hz - np.pi * width_hz) * self.t)
        factor[0] /= 2  # the trapezoidal rule: without it the baseline depends on the dwell time
        return np.asarray(self.zoom(self.basis.fid(name) * factor) * self.basis.dwell_s)


def compare(first: AnyBasis, second: AnyBasis, settings: CompareSettings | None = None) -> Comparison:
    """Compare two basis sets over the metabolites that both have.

    Raises
    ------
    InputError
        They share no metabolite, or the range of chemical shift is empty or outside the readout.
    MismatchError
        They are for different nuclei.

    """
    chosen = settings or CompareSettings()
    if first.nucleus != second.nucleus:
        raise MismatchError(f"bases for different nuclei: {first.nucleus} and {second.nucleus}")
    names = [name for name in first.names if name in second.names]
    if not names:
        raise InputError(
            f"the bases share no metabolite: {', '.join(first.names)} and {', '.join(second.names)}"
        )
    a, b = _readouts(first.subset(names), second.subset(names), chosen.linewidth_hz)
    ppm = _axis(a, b, chosen)
    sides = _side(a, ppm), _side(b, ppm)
    found = [_agreement(name, *sides, chosen) for name in names]
    ratios = [row.ratio for row in found if row.correlation > 0]
    median = float(np.median(ratios)) if ratios else 1.0
    return Comparison(
        rows=tuple(replace(row, relative=row.ratio / median) for row in found),
        ppm=ppm,
        only_first=tuple(name for name in first.names if name not in names),
        only_second=tuple(name for name in second.names if name not in names),
        median_ratio=median,
        notices=_differences(first, second),
    )


def _readouts(first: AnyBasis, second: AnyBasis, width_hz: float) -> tuple[SampledBasis, SampledBasis]:
    """Return both as FIDs of equal length in time: lines at the readout of the other, FIDs cut."""
    if isinstance(first, Basis) and isinstance(second, SampledBasis):
        b = sampled(second, linewidth_hz=width_hz)
        return sampled(first, b.samples, b.dwell_s, width_hz), b
    a = sampled(first, linewidth_hz=width_hz)
    if isinstance(second, Basis):
        return a, sampled(second, a.samples, a.dwell_s, width_hz)
    b = sampled(second, linewidth_hz=width_hz)
    end_s = min(a.samples * a.dwell_s, b.samples * b.dwell_s)
    return sampled(a, round(end_s / a.dwell_s)), sampled(b, round(end_s / b.dwell_s))


def _axis(basis: SampledBasis, other: SampledBasis, settings: CompareSettings) -> NDArray[np.float64]:
    low, high = sorted(settings.ppm)
    for side in (basis, other):
        half = 0.5 / side.dwell_s / side.f0_hz * 1e6
        bottom, top = side.reference_ppm - half, side.reference_ppm + half
        if not bottom < low < high < top:
            raise InputError(
                f"range {low} to {high} ppm: expected two shifts within {bottom:.2f} to {top:.2f} ppm, "
                "the band of the readout"
            )
    span_hz = (high - low) * basis.f0_hz * 1e-6
    points = max(16, int(np.ceil(4 * span_hz * basis.samples * basis.dwell_s)))
    return np.asarray(high - (high - low) / points * np.arange(points))


def _side(basis: SampledBasis, ppm: NDArray[np.float64]) -> _Side:
    start, step = ppm[0], ppm[1] - ppm[0]
    edges = [(basis.reference_ppm - shift) * basis.f0_hz * 1e-6 for shift in (start, start + step * ppm.size)]
    zoom = ZoomFFT(basis.samples, edges, ppm.size, fs=1 / basis.dwell_s)
    return _Side(basis, zoom, np.arange(basis.samples, dtype=np.float64) * basis.dwell_s)


def _agreement(name: str, first: _Side, second: _Side, settings: CompareSettings) -> Agreement:
    limit_hz = settings.max_shift_ppm * first.basis.f0_hz * 1e-6
    steps = np.arange(-np.floor(limit_hz), np.floor(limit_hz) + 1)
    a = first.spectrum(name)
    start = max(steps, key=lambda shift: _correlation(a, second.spectrum(name, shift)))
    shift_hz, width_hz = _refined(name, first, second, float(start), settings.match_width, limit_hz)
    a, b = first.spectrum(name, 0, max(0, -width_hz)), second.spectrum(name, shift_hz, max(0, width_hz))
    overlap, power = complex(np.vdot(b, a)), float(np.vdot(b, b).real)
    factor = overlap / power if power > 0 else 0j
    phase = float(np.degrees(np.angle(factor)))
    return Agreement(name, _correlation(a, b), abs(factor), 1.0, phase, shift_hz, width_hz, a, factor * b)


def _refined(
    name: str, first: _Side, second: _Side, start_hz: float, match_width: bool, limit_hz: float
) -> tuple[float, float]:
    """Return the shift and width in Hz of the highest correlation near a shift."""

    def loss(parameters: Sequence[float]) -> float:
        shift, width = parameters[0], parameters[1] if match_width else 0.0
        if abs(shift) > limit_hz + 1:
            return 1.0
        a = first.spectrum(name, 0.0, max(0.0, -width))
        return 1 - _correlation(a, second.spectrum(name, shift, max(0.0, width)))

    simplex = (
        [[start_hz, 0.0], [start_hz + 0.5, 0.0], [start_hz, 0.5]]
        if match_width
        else [[start_hz], [start_hz + 0.5]]
    )
    found = minimize(
        loss,
        simplex[0],
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-12, "maxiter": 200},
    )
    return float(found.x[0]), float(found.x[1]) if match_width else 0.0


def _correlation(a: Complex, b: Complex) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(complex(np.vdot(b, a))) / norm if norm > 0 else 0.0


def _differences(first: AnyBasis, second: AnyBasis) -> tuple[str, ...]:
    notices: list[str] = []
    if abs(first.f0_hz / second.f0_hz - 1) > 1e-3:
        notices.append(f"frequencies differ: {first.f0_hz * 1e-6:.4f} and {second.f0_hz * 1e-6:.4f} MHz")
    if first.te_s is None or second.te_s is None:
        notices.append("echo time of one is not known")
    elif abs(first.te_s - second.te_s) > 1e-4:
        notices.append(f"echo times differ: {first.te_s * 1e3:.2f} and {second.te_s * 1e3:.2f} ms")
    return tuple(notices)
