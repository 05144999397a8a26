"""Simple peaks in edited spectra, as Gannet fits them: numbers to hold beside those of the literature.

Three Gaussians for GABA+ and Glx in the difference, two Lorentzians for creatine and choline without editing, a
Lorentzian times a Gaussian for water (Edden et al. 2014, doi:10.1002/jmri.24478). Models, ranges and constants are
those of Gannet's functions FitGABAGlx, FitCrNAAGlu, FitWater and CalcIU, as its repository has them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from scipy.optimize import least_squares

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]

BROADENING_HZ = 3.0
"""Line broadening before the fit (Gannet's default)."""
_ZERO_FILLING = 8
_GABA_PPM, _CHOLINE_PPM, _LEAST_WEIGHT = (2.79, 4.1), (3.16, 3.285), 1e-3
_CREATINE_PPM, _DISTANCE_PPM = (2.6, 3.6), 0.18
_WATER_PPM = (3.8, 5.6)
_WIGGLE_PPM = 1.31 * 4

COLUMNS = (
    "peak", "area", "area_sd", "fit_error_percent", "ppm", "fwhm_hz", "ratio_Cr", "ratio_Cr_sd", "concentration_iu",
    "concentration_iu_sd",
)  # fmt: skip
"""Columns of the table, in order."""

PURE_WATER_MM, WATER_VISIBILITY, WATER_T1_S, WATER_T2_S = 55.51e3, 0.65, 1.100, 0.095
"""Visibility: Ernst, Kreis, Ross 1993; T1 and T2: mean of white and grey matter, Wansapura et al. 1999; as Gannet."""


@dataclass(frozen=True)
class Constants:
    """What turns the area of an edited peak into institutional units."""

    efficiency: float
    t1_s: float
    t2_s: float
    protons: int
    share: float
    """Of the peak that is the metabolite."""


CONSTANTS = {"GABA+": Constants(0.5, 1.31, 0.088, 2, 0.45), "Glx": Constants(0.4, 1.23, 0.18, 1, 1.0)}
"""As Gannet at TE 68 ms: T1 from Puts et al. 2013 and Posse et al. 2007, T2 from Edden et al. 2012 and Ganji et al.
2012, 45 % of GABA+ is GABA. They hold for no other echo time."""


@dataclass(frozen=True)
class Peak:
    """One fitted peak, on an axis in ppm."""

    name: str
    area: float
    """Height times ppm."""
    area_sd: float
    """From the residual of the fit and all its parameters."""
    fit_error_percent: float
    """Standard deviation of the residual over the height, in percent (Gannet's fit error)."""
    ppm: float
    fwhm_hz: float


@dataclass(frozen=True)
class Shown:
    """A real spectrum as it is looked at: broadened, zero-filled."""

    ppm: Real
    values: Real
    f0_hz: float
    lag: Real
    """Correlation of the noise of a point with that of the next ones, from 1; shape (n_lags,)."""


def difference_peaks(spectrum: Shown) -> tuple[Peak, Peak]:
    """Return GABA+ and Glx of a difference spectrum: three Gaussians on a line, a sine and a cosine.

    The range of choline, where subtraction leaves most, counts a thousandth.
    """
    x, y = _within(spectrum, _GABA_PPM)
    weight = np.where((x >= _CHOLINE_PPM[0]) & (x <= _CHOLINE_PPM[1]), math.sqrt(_LEAST_WEIGHT), 1.0)
    angle = math.pi * x / _WIGGLE_PPM
    floor = np.stack([x - 3.71, np.sin(angle), np.cos(angle)], axis=1)

    def columns(at: Real) -> Real:
        gauss = np.exp(-at[:3] * (x[:, None] - at[3:]) ** 2)
        return np.concatenate([gauss, floor], axis=1)

    start = np.array([700.0, 700.0, 90.0, 3.71, 3.79, 3.02])
    bounds = ([40, 40, 40, 3.69, 3.77, 2.97], [1000, 1000, 200, 3.73, 3.81, 3.07])
    at, sizes, sd, area_of = _separable(columns, start, bounds, y, weight, spectrum.lag)
    left = (y - columns(at) @ sizes) * weight
    areas = sizes[:3] * np.sqrt(np.pi / at[:3])
    slope = np.zeros((2, sd.shape[0]))
    for row, places in enumerate(([2], [0, 1])):
        for k in places:
            slope[row, k] = -areas[k] / (2 * at[k])
            slope[row, area_of + k] = math.sqrt(math.pi / at[k])
    spread = np.sqrt(np.einsum("ij,jk,ik->i", slope, sd, slope))
    width = 2 * np.sqrt(math.log(2) / at[:3]) * spectrum.f0_hz * 1e-6
    near = {"GABA+": (x <= 3.55), "Glx": (x >= 3.45)}
    height = {"GABA+": sizes[2], "Glx": max(sizes[:2])}
    error = {key: 100 * float(np.std(left[seen]) / abs(height[key])) for key, seen in near.items()}
    return (
        Peak("GABA+", float(areas[2]), float(spread[0]), error["GABA+"], float(at[5]), float(width[2])),
        Peak("Glx", float(areas[:2].sum()), float(spread[1]), error["Glx"], float(at[3:5].mean()),
             float(width[:2].mean())),
    )  # fmt: skip


def creatine_peaks(spectrum: Shown) -> tuple[Peak, Peak]:
    """Return creatine and choline of a spectrum without editing: two Lorentzians of one width and phase on a line."""
    x, y = _within(spectrum, _CREATINE_PPM)
    floor = np.stack([np.ones(x.size), x - 3.02], axis=1)

    def line(at: Real, place: float) -> Real:
        off = (x - place) / at[0]
        return np.asarray((math.cos(at[2]) + math.sin(at[2]) * off) / (1 + off**2))

    def columns(at: Real) -> Real:
        pair = np.stack([line(at, at[1]), line(at, at[1] + _DISTANCE_PPM)], axis=1)
        return np.concatenate([pair, floor], axis=1)

    start, bounds = np.array([0.025, 3.02, 0.0]), ([0.005, 2.92, -1.5], [0.15, 3.12, 1.5])
    at, sizes, sd, area_of = _separable(columns, start, bounds, y, np.ones(x.size), spectrum.lag)
    step = abs(float(x[1] - x[0]))
    error = 100 * float(np.std(y - columns(at) @ sizes))

    def areas(values: Real) -> Real:
        return np.asarray(columns(values[:area_of]).sum(axis=0)[:2] * values[area_of : area_of + 2] * step)

    values = np.concatenate([at, sizes])
    slope = np.stack(
        [(areas(values + d) - areas(values - d)) / (2 * d.max()) for d in _steps(values)], axis=1
    )
    spread = np.sqrt(np.einsum("ij,jk,ik->i", slope, sd, slope))
    found = areas(values)
    width = 2 * float(at[0]) * spectrum.f0_hz * 1e-6
    creatine, choline = (
        Peak(
            name,
            float(found[k]),
            float(spread[k]),
            error / abs(float(sizes[k])),
            float(at[1]) + k * _DISTANCE_PPM,
            width,
        )
        for k, name in enumerate(("Cr", "Cho"))
    )
    return creatine, choline


def water_peak(spectrum: Shown) -> Peak:
    """Return water: a Lorentzian times a Gaussian, of any phase, on a line."""
    x, y = _within(spectrum, _WATER_PPM)
    place = float(x[np.argmax(np.abs(y))])
    floor = np.stack([np.ones(x.size), x - place], axis=1)

    def line(at: Real) -> Real:
        off = (x - at[2]) * at[0]
        phased = math.cos(at[3]) + math.sin(at[3]) * off
        return np.asarray(phased / (1 + off**2) * np.exp(-at[1] * (x - at[2]) ** 2))

    def columns(at: Real) -> Real:
        return np.concatenate([line(at)[:, None], floor], axis=1)

    start = np.array([20.0, 10.0, place, 0.0])
    bounds = ([1, 0, place - 0.1, -math.pi], [200, 2000, place + 0.1, math.pi])
    at, sizes, sd, area_of = _separable(columns, start, bounds, y, np.ones(x.size), spectrum.lag)
    step = abs(float(x[1] - x[0]))

    def area(values: Real) -> float:
        upright = values[:area_of].copy()
        upright[3] = 0.0
        return float(values[area_of] * line(upright).sum() * step)

    values = np.concatenate([at, sizes])
    slope = np.array([(area(values + d) - area(values - d)) / (2 * d.max()) for d in _steps(values)])
    shape = line(np.array([*at[:3], 0.0]))
    width = float(np.ptp(x[shape >= 0.5 * shape.max()])) * spectrum.f0_hz * 1e-6
    error = 100 * float(np.std(y - columns(at) @ sizes) / abs(sizes[0]))
    return Peak("water", area(values), float(np.sqrt(slope @ sd @ slope)), error, float(at[2]), width)


def institutional(peak: Peak, water: Peak, te_s: float, tr_s: float) -> tuple[float, float]:
    """Return GABA or Glx in institutional units and its standard deviation; formula and constants of Gannet."""
    one = CONSTANTS[peak.name]
    saturation = (1 - math.exp(-tr_s / WATER_T1_S)) / (1 - math.exp(-tr_s / one.t1_s))
    decay = math.exp(-te_s / WATER_T2_S) / math.exp(-te_s / one.t2_s)
    factor = (
        PURE_WATER_MM * WATER_VISIBILITY * saturation * decay * 2 / one.protons * one.share / one.efficiency
    )
    value = factor * peak.area / water.area
    return value, abs(value) * math.hypot(peak.area_sd / peak.area, water.area_sd / water.area)


def table(peaks: Sequence[Peak], te_s: float | None, tr_s: float | None) -> list[dict[str, Any]]:
    """Return one row a peak: ratios are those of areas, to creatine; NaN where a number could not be had."""
    named = {peak.name: peak for peak in peaks}
    rows = []
    for peak in peaks:
        ratio = sd = iu = iu_sd = float("nan")
        if "Cr" in named and named["Cr"].area > 0 and peak.name not in ("Cr", "water"):
            ratio = peak.area / named["Cr"].area
            sd = abs(ratio) * math.hypot(peak.area_sd / peak.area, named["Cr"].area_sd / named["Cr"].area)
        if "water" in named and peak.name in CONSTANTS and te_s is not None and tr_s is not None:
            iu, iu_sd = institutional(peak, named["water"], te_s, tr_s)
        numbers = (
            peak.area,
            peak.area_sd,
            peak.fit_error_percent,
            peak.ppm,
            peak.fwhm_hz,
            ratio,
            sd,
            iu,
            iu_sd,
        )
        rows.append(dict(zip(COLUMNS, (peak.name, *numbers), strict=True)))
    return rows


def peaks_of(
    data: Transients,
    weights: Real,
    water: Transients | None = None,
    *,
    phase_deg: float = 0.0,
    shift_ppm: float = 0.0,
) -> list[Peak]:
    """Return all peaks of an edited scan.

    Parameters
    ----------
    data
        Mean FIDs of the conditions in one frame, dims ("edit", "t").
    weights
        Factors of the conditions in the difference of GABA; the spectrum without editing is the mean of those below 0.
    water
        Unsuppressed water, dims ("t",).
    phase_deg, shift_ppm
        What the data are off by.

    Raises
    ------
    DataError
        A spectrum has nothing that could be fitted.

    """
    t = np.arange(data.samples) * data.dwell_s
    shift_hz = -shift_ppm * data.f0_hz * 1e-6
    fids = data.data * np.exp(-1j * np.deg2rad(phase_deg) - 2j * np.pi * shift_hz * t)
    difference = shown(data, weights @ fids / len(weights))
    found = [*difference_peaks(difference), *creatine_peaks(shown(data, fids[weights < 0].mean(axis=0)))]
    if water is not None:
        fid = water.data.reshape(-1, water.samples).mean(axis=0)
        upright = fid * np.exp(-1j * np.angle(fid[: max(1, water.samples // 256)].sum()))
        found.append(water_peak(shown(water, upright)))
    if not all(np.isfinite(peak.area_sd) for peak in found):
        raise DataError(f"{data.source or 'data'}: peaks could not be fitted")
    return found


def shown(data: Transients, fid: NDArray[np.complex128]) -> Shown:
    """Return the spectrum of a FID as it is fitted; its sum times the step is an area.

    The first sample counts half, so the spectrum has no offset.
    """
    t = np.arange(data.samples) * data.dwell_s
    window = np.exp(-np.pi * BROADENING_HZ * t)
    window[0] *= 0.5
    count = _ZERO_FILLING * data.samples
    padded, power = np.zeros(count, dtype=complex), np.zeros(count)
    padded[: data.samples], power[: data.samples] = fid * window, window**2
    lag = np.fft.fft(power).real / power.sum()
    ppm = ppm_axis(count, data.dwell_s, data.f0_hz, data.reference_ppm)
    return Shown(ppm, to_spectrum(padded).real, data.f0_hz, lag[: count // 2])


def _within(spectrum: Shown, span: tuple[float, float]) -> tuple[Real, Real]:
    seen = (spectrum.ppm >= span[0]) & (spectrum.ppm <= span[1])
    if np.count_nonzero(seen) < 32 or not np.any(spectrum.values[seen]):
        raise DataError(f"spectrum: nothing between {span[0]:g} and {span[1]:g} ppm to fit peaks to")
    return spectrum.ppm[seen], spectrum.values[seen]


def _steps(values: Real) -> Real:
    return np.diag(1e-5 * (np.abs(values) + 1e-3 * np.abs(values).max() * (values == 0)))


def _separable(
    columns: Callable[[Real], Real], start: Real, bounds: Any, y: Real, weight: Real, lag: Real
) -> tuple[Real, Real, Real, int]:
    """Fit columns(at) @ sizes; return `at`, `sizes`, the covariance of both together, and where sizes begin in it.

    The covariance is that of this estimator in noise that broadening and zero-filling correlate, whose size is the
    residual's: what the model cannot follow counts as noise.
    """
    scale = float(np.abs(y).max())

    def sizes(at: Real) -> Real:
        left = columns(at) * weight[:, None]
        return np.asarray(np.linalg.lstsq(left, y * weight / scale, rcond=None)[0])

    def residual(at: Real) -> Real:
        return np.asarray((columns(at) @ sizes(at) - y / scale) * weight)

    found = least_squares(residual, start, bounds=bounds, x_scale="jac", xtol=1e-9, ftol=1e-9, max_nfev=200)
    at, linear = found.x, sizes(found.x)
    moved = [(columns(at + d) - columns(at - d)) @ linear / (2 * d.max()) for d in _steps(at)]
    design = np.concatenate([np.array(moved).T, columns(at)], axis=1) * weight[:, None]
    norm = np.linalg.norm(design, axis=0) + 1e-300
    estimator = np.linalg.pinv(design / norm, rcond=1e-9) * weight / norm[:, None]
    noise = toeplitz(lag[: y.size])
    taken = float(np.trace(estimator @ noise @ (design / weight[:, None])))
    spread = float(np.sum(found.fun**2)) / max(float(np.sum(weight**2)) - taken, 1.0)
    covariance = spread * estimator @ noise @ estimator.T
    unit = np.concatenate([np.ones(at.size), np.full(linear.size, scale)])
    return at, linear * scale, covariance * np.outer(unit, unit), at.size


def constants() -> Mapping[str, Any]:
    """Return the constants of institutional units, for the record."""
    water = {"pure_mm": PURE_WATER_MM, "visibility": WATER_VISIBILITY, "t1_s": WATER_T1_S, "t2_s": WATER_T2_S}
    return {"water": water, **{name: vars(one) for name, one in CONSTANTS.items()}}
