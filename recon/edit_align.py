"""One frame for the sub-spectra of edited data, so that what must cancel in their difference does.

The difference of two conditions is noise, plus what editing changes, plus what an offset in frequency and phase leaves
of everything else. The offsets are the most likely ones where noise and edited signal are both Gaussian with known
covariance: the singlets of choline and creatine decide, and the tails of edited lines under them do not. (Others
minimise the size of the difference: Cleve et al. 2017, doi:10.1016/j.jmr.2017.04.004 (recalled), or of its choline
range: Mikkelsen et al. 2020, doi:10.1002/nbm.4368; both take edited lines for misalignment.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.edit_pairs import NEAR_PPM, Group, pairs, shared
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

SINGLETS_PPM = ((2.01, 0.14), (3.03, 0.09), (3.21, 0.09), (3.925, 0.09))
"""NAA, creatine, choline and creatine, with half the width in ppm in which conditions are compared."""
_EDITED = (
    (1.9, ((2.15, 2.55, 0.2), (2.75, 3.15, 0.04), (3.6, 3.85, 0.2))),
    (4.56, ((2.4, 2.85, 0.2), (2.85, 3.05, 0.04), (3.6, 3.85, 0.2))),
    (4.1, ((1.2, 1.45, 0.1),)),
)
"""What an editing pulse changes far from itself, in ppm, and how large a line it may be there, relative to the largest
singlet: GABA and Glx; aspartyl groups and glutathione; lactate. Orders of magnitude, for a prior: 2 mM of GABA or
glutathione and 10 mM of glutamate or NAA, spread over their multiplets, beside the three protons of 9 mM creatine. They
were chosen with the phantom of benchmarks/edited.py in view; docs/methods.md says what hangs on them."""
_TARGETS_PPM = tuple(target for target, _ in _EDITED)
_OWN_PPM, _OWN_SIZE = 0.45, 0.5
"""What an editing pulse changes about itself."""
_UNTOUCHED_PPM = 0.8
"""Distance from the centre of an editing pulse at which singlets are still the same (14 ms at 1.5 T: 51 Hz)."""
_GRID_PPM = 0.03
_LINE_HZ = 5.0
_TREND = 0.1
_FARTHEST_HZ = 15.0
_PRIOR_HZ, _PRIOR_RAD = 5.0, 1.0  # drift between conditions that were measured one after the other
_SHIFT_PPM, _SHIFT_STEP_PPM = 0.15, 0.005
_FINER = 4
_STEPS = 8
_HUBER = 2.0
_MODEL_ERROR = 0.004
"""Least noise over the first sample of the FID: edited lines are not known better than that."""
_FEWEST = 8
_LEAST_SD_HZ = 0.02
_OF_MEDIAN = 1.2533  # standard deviation of a median over that of a mean


def windows(bands_ppm: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    """Return the ranges in ppm whose singlets are the same in all conditions with these editing pulses."""
    bands = _all(bands_ppm)
    return tuple(
        (centre - half, centre + half)
        for centre, half in SINGLETS_PPM
        if all(abs(centre - band) > _UNTOUCHED_PPM for band in bands)
    )


def _all(bands_ppm: Sequence[Sequence[float]]) -> list[float]:
    return sorted({band for condition in bands_ppm for band in condition})


def _edited_lines(bands_ppm: Sequence[Sequence[float]], same: Sequence[float] = ()) -> tuple[Real, Real]:
    """Return where lines may differ between conditions, in ppm, and by how much; each of shape (n,).

    What pulses at the targets `same`, which both sides have alike, change far from themselves cancels.
    """
    spans = [(band - _OWN_PPM, band + _OWN_PPM, _OWN_SIZE) for band in _all(bands_ppm)]
    for target, changed in _EDITED:
        if target not in same and any(abs(band - target) < NEAR_PPM for band in _all(bands_ppm)):
            spans += list(changed)
    grids = [np.arange(low, high, _GRID_PPM) for low, high, _ in spans]
    sizes = [np.full(len(grid), size) for grid, (_, _, size) in zip(grids, spans, strict=True)]
    return np.concatenate(grids), np.concatenate(sizes)


def between(
    means: Complex,
    data: Transients,
    bands_ppm: Sequence[Sequence[float]],
    noise: Real,
    expected: tuple[Real, Real] | None = None,
) -> tuple[Real, Real]:
    """Return frequency (Hz) and phase (rad) of the mean FID of each condition against the first; shape (n,).

    Conditions are compared by halves that one pulse tells apart: of HERMES first those that edit GABA with each
    other, and those that do not, then the mean of the ones with that of the others. So nothing that GABA's pulse
    changes stands between the conditions whose difference is glutathione.

    Parameters
    ----------
    means
        One FID a condition; shape (n, samples).
    data
        Where they come from: dwell time, frequency, reference.
    bands_ppm
        Where the editing pulses of each condition stand.
    noise
        Standard deviation of one complex point of each FID; shape (n,).
    expected
        Frequency of each condition against the first, and its standard deviation, where something else knows it
        (`continued`); shape (n,) each.

    Raises
    ------
    DataError
        The editing pulses leave no singlet that is the same in all conditions.

    """
    if expected is None:
        expected = np.zeros(len(means)), np.full(len(means), _PRIOR_HZ)
    frequency, phase = np.zeros(len(means)), np.zeros(len(means))
    for pair in pairs(tuple(range(len(means))), bands_ppm, _TARGETS_PPM):
        groups = [list(group) for group in pair]
        here = [
            turned(means[g], frequency[g, None], phase[g, None], data.dwell_s).mean(axis=0) for g in groups
        ]
        sd = float(np.linalg.norm([np.linalg.norm(noise[g]) / len(g) for g in groups]))
        hz = [float((expected[0][g] - frequency[g]).mean()) for g in groups]
        prior = hz[1] - hz[0], float(np.hypot(*(expected[1][g].mean() for g in groups)))
        bands, same = _bands(*pair, bands_ppm)
        moved = _offset(here[1], here[0], _view(_centred(here[0], data, bands), bands, same), sd, prior)
        frequency[groups[1]] += moved[0]
        phase[groups[1]] += moved[1]
    return frequency - frequency[0], phase - phase[0]


def _bands(
    first: Group, second: Group, bands_ppm: Sequence[Sequence[float]]
) -> tuple[list[Sequence[float]], list[float]]:
    """Return the bands of these conditions, of all where they are not known, and the targets that they share."""
    own = [bands_ppm[k] for k in (*first, *second) if k < len(bands_ppm)]
    return (own if any(own) else list(bands_ppm)), shared(first, second, bands_ppm, _TARGETS_PPM)


def continued(frequency_hz: Real, keep: NDArray[np.bool_]) -> tuple[Real, Real] | None:
    """Return what drift says of the frequency of each condition against the first, and its deviation; (n,) each.

    Shots of conditions that alternate share one drift: what a condition's shots differ by from the neighbours of
    the first is where its frame lies. `None` where there are too few shots to say.

    Parameters
    ----------
    frequency_hz
        What alignment found within each condition; shape (n, shots).
    keep
        Which shots count; shape (n, shots).

    """
    count, shots = frequency_hz.shape
    if shots < _FEWEST or keep.sum(axis=1).min() < _FEWEST:
        return None
    mean, sd = np.zeros(count), np.full(count, _LEAST_SD_HZ)
    times = np.arange(shots) + np.arange(count)[:, None] / count
    for index in range(1, count):
        known = times[0][keep[0]]
        own = keep[index] & (times[index] < known[-1]) & (times[index] > known[0])
        if own.sum() < _FEWEST:
            return None
        rest = frequency_hz[index][own] - np.interp(times[index][own], known, frequency_hz[0][keep[0]])
        mean[index] = -np.median(rest)
        spread = 1.4826 * np.median(np.abs(rest + mean[index]))
        sd[index] = np.hypot(_OF_MEDIAN * spread / np.sqrt(own.sum()), _LEAST_SD_HZ)
    return mean, sd


def turned(fid: Complex, frequency_hz: float | Real, phase_rad: float | Real, dwell_s: float) -> Complex:
    """Return an FID without an offset in frequency and phase."""
    t = np.arange(fid.shape[-1]) * dwell_s
    return np.asarray(fid * np.exp(-1j * (2 * np.pi * frequency_hz * t + phase_rad)))


@dataclass(frozen=True)
class _View:
    """The points of the spectrum in which conditions are compared, and what varies there beside noise."""

    points: NDArray[np.int64]
    filter: Real
    """Matched to a line; shape (samples,)."""
    noise: Complex
    """Covariance of the points for noise of one complex unit a sample; shape (points, points)."""
    trends: Complex
    """Straight lines in each window; shape (points, n)."""
    edited: Complex
    """Lines that may differ, times their sizes; shape (points, n)."""
    unit: float
    """Height of a line of amplitude 1."""
    dwell_s: float

    def __call__(self, fid: Complex) -> Complex:
        return np.asarray(to_spectrum(fid * self.filter)[self.points])


def _centred(fid: Complex, data: Transients, bands_ppm: Sequence[Sequence[float]]) -> Transients:
    """Return data whose axis has the singlets of this FID at their places: drift moves a scan by its mean."""
    t = np.arange(data.samples) * data.dwell_s
    samples = _FINER * data.samples
    size = np.abs(to_spectrum(np.pad(fid * np.exp(-np.pi * _LINE_HZ * t), (0, samples - data.samples))))
    ppm = ppm_axis(samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    order = np.argsort(ppm)
    shifts = np.arange(-_SHIFT_PPM, _SHIFT_PPM + _SHIFT_STEP_PPM / 2, _SHIFT_STEP_PPM)
    centres = np.array([np.mean(span) for span in windows(bands_ppm)])
    heights = np.interp(centres[:, None] + shifts, ppm[order], size[order]).sum(axis=0)
    return replace(data, reference_ppm=data.reference_ppm - float(shifts[np.argmax(heights)]))


def _view(data: Transients, bands_ppm: Sequence[Sequence[float]], same: Sequence[float] = ()) -> _View:
    t = np.arange(data.samples) * data.dwell_s
    decay = np.exp(-np.pi * _LINE_HZ * t)
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    groups = [np.flatnonzero((ppm > low) & (ppm < high)) for low, high in windows(bands_ppm)]
    if not groups:
        raise DataError(
            f"editing pulses at {_all(bands_ppm)} ppm touch NAA, creatine and choline alike: nothing to align with"
        )
    points = np.concatenate(groups)
    trends = np.zeros((points.size, 2 * len(groups)), complex)
    for number, group in enumerate(groups):
        inside = np.isin(points, group)
        trends[inside, 2 * number] = 1
        trends[inside, 2 * number + 1] = np.linspace(-1, 1, len(group))
    bins = (points - data.samples // 2) / (data.samples * data.dwell_s)
    kernel = np.exp(-2j * np.pi * np.outer(bins, t))
    where, sizes = _edited_lines(bands_ppm, same)
    lines = decay * np.exp(2j * np.pi * np.outer(ppm_to_hz(where, data.f0_hz, data.reference_ppm), t))
    edited = kernel @ (decay * lines).T * sizes
    return _View(
        points,
        decay,
        (kernel * decay**2) @ kernel.conj().T,
        trends,
        edited,
        float(np.sum(decay**2)),
        data.dwell_s,
    )


def _offset(
    fid: Complex, rest: Complex, view: _View, noise: float, prior: tuple[float, float]
) -> tuple[float, float]:
    """Return frequency and phase of an FID against another, noise being that of their difference."""
    largest = float(np.abs([view(fid), view(rest)]).max() / view.unit)
    sd = max(noise, _MODEL_ERROR * float(np.abs(rest).max()))
    return _registered(fid, rest, view, _whitener(view, sd, largest), prior)


def _whitener(view: _View, sd: float, size: float) -> Complex:
    """Return the Cholesky factor of the covariance of a difference: noise, edited lines and trends."""
    edited, trends = size * view.edited, _TREND * size * view.unit * view.trends
    covariance = sd**2 * view.noise + edited @ edited.conj().T + trends @ trends.conj().T
    floor = 1e-9 * np.trace(covariance).real / len(covariance)
    return np.asarray(np.linalg.cholesky(covariance + floor * np.eye(len(covariance))))


def _registered(
    fid: Complex, rest: Complex, view: _View, factor: Complex, prior: tuple[float, float]
) -> tuple[float, float]:  # fmt: skip
    """Gauss-Newton with Huber's weights on the whitened difference of two FIDs."""
    t, dwell_s = np.arange(fid.size) * view.dwell_s, view.dwell_s
    mean, precision = np.array([prior[0], 0.0]), np.array([prior[1] ** -2, _PRIOR_RAD**-2])

    def white(fid: Complex) -> Complex:
        return np.asarray(solve_triangular(factor, view(fid), lower=True))

    target = white(rest)
    now = np.array(_search(fid, target, white, dwell_s))
    for _ in range(_STEPS):
        moved = turned(fid, now[0], now[1], dwell_s)
        slopes = np.stack([white(-2j * np.pi * t * moved), white(-1j * moved)], axis=1)
        error = white(moved) - target
        weight = np.minimum(1.0, _HUBER / np.maximum(np.abs(error), 1e-300))
        scaled = 2 * weight * slopes.conj().T
        normal = (scaled @ slopes).real + np.diag(precision)
        now = now - np.linalg.solve(normal, (scaled @ error).real + precision * (now - mean))
    return float(now[0]), float(now[1])


def _search(
    fid: Complex, target: Complex, white: Callable[[Complex], Complex], dwell_s: float
) -> tuple[float, float]:
    """Return frequency and phase on a grid at which an FID is most like the target."""
    grid = np.arange(-_FARTHEST_HZ, _FARTHEST_HZ + 1)
    parts = [white(turned(fid, hz, 0.0, dwell_s)) for hz in grid]
    likeness = np.array([np.vdot(target, part) / np.linalg.norm(part) for part in parts])
    best = int(np.argmax(np.abs(likeness)))
    return float(grid[best]), float(np.angle(likeness[best]))
