"""How far the frequency has drifted over an image, from water that is read in every repetition.

Drift that is linear in time turns encode n by exp(i 2 pi rate T_n t), T_n the time since the middle of the scan: the
image moves, further the later the point of the FID is, along the axis that was encoded slowest. An image of one coil
can do that by itself. Several coils cannot: what a voxel has of each, up to a common factor, is its vector of
sensitivities, which neither field nor decay of the voxel changes, but a move does. So the rate is what takes the
vectors of later points back to those of the first, by least squares over all voxels, with the derivative of the very
transform by the rate. Within a voxel a gradient of the field shifts the centre of what each coil sees by an imaginary
length (both sides turn apart), the drift by a real one along the slowest axis: nothing else is counted.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_echoes import chosen_combs, readout
from pulsespec.recon.image_fourier import Fourier, combined, fourier, plane_blocks
from pulsespec.recon.image_plan import Comb, Encodes
from pulsespec.recon.image_read import Source, shots
from pulsespec.recon.transients import Record

Floats = NDArray[np.float64]
Samples = NDArray[np.complex64]

_HEARD_S = 0.1
_LIPID_PPM = 3.35
"""Distance of lipid from water (methylene at 1.3 ppm), which the windows in time do not let pass."""
_WINDOWS = 16
_STRONG = 0.1
"""Least signal of a voxel at first, over the largest."""
_LEFT = 0.5
"""Share of the first signal, over all voxels, that later windows must have: what has turned apart within a voxel leaves
a vector that is not that of its middle."""
_ROUNDS = 12
_ENOUGH = 0.02
"""Step over its standard deviation at which the search ends."""
_GROUPS = 12
"""Sectors of voxels, from end to end of the slab, whose own rates tell how sure that of all is."""
_LEAST = 20
"""Strong voxels that it takes."""
_SIGNIFICANT = 2.0
"""Drift over its own standard deviation from which it is corrected."""
METHOD = "Frequency drift"


@dataclass(frozen=True)
class _Water:
    """Water of all encodes at a few times."""

    values: Samples
    """Shape (n_encodes, n_coils, n_windows, n_x)."""
    times_s: Floats
    """For which an offset has turned it; shape (n_windows,)."""
    played_s: Floats
    """Of each encode, from the middle of the scan; shape (n_encodes,)."""
    transform: Fourier


def without_drift(source: Source, whitening: Samples | None = None) -> tuple[Source, Record | None]:
    """Return a source whose readouts have no linear drift of frequency, and a record; none without water.

    Parameters
    ----------
    source
        Raw data.
    whitening
        Whitener of the coils; shape (n_coils, n_coils).

    """
    water = source.plan.water
    if water is None or source.plan.metabolite is None:
        return source, None
    if not _interleaved(source):
        words = "not looked for: water was not read in every repetition"
        return source, Record(METHOD, words)
    if source.coils < 2:
        return source, Record(METHOD, "not looked for: one coil does not tell it from the object")
    found = _rate(_heard(source, water, whitening))
    if found is None:
        return source, Record(METHOD, "not looked for: too few voxels have enough water")
    rate, error = found
    begins = source.trajectory.begins_s
    span_s = float(np.ptp(begins))
    words = (
        f"{rate * span_s:+.2f} +- {error * span_s:.2f} Hz over {span_s / 60:.1f} min, from what coils see of water "
        "early and late in its FID"
    )
    figures = {"drift_hz": rate * span_s, "drift_sd_hz": error * span_s}
    if abs(rate) < _SIGNIFICANT * error:
        return source, Record(METHOD, f"{words}: not corrected", figures)
    middle_s = float((begins.min() + begins.max()) / 2)
    corrected = replace(source, frequency_hz=rate * (begins - middle_s))
    return corrected, Record(METHOD, f"{words}: corrected", figures)


def _interleaved(source: Source) -> bool:
    """Return whether metabolites and water were read over the same time."""
    spans = []
    for kind in source.plan.kinds:
        times = source.trajectory.begins_s[np.concatenate([shot.ravel() for shot in kind.readouts])]
        spans.append((times.min(), times.max()))
    whole = max(high for _, high in spans) - min(low for low, _ in spans)
    common = min(high for _, high in spans) - max(low for low, _ in spans)
    return bool(common > 0.9 * whole)


def _heard(source: Source, water: Encodes, whitening: Samples | None) -> _Water:
    """Return what is left of the FIDs of water in windows of time, at each x where x is read."""
    grid, begins = source.plan.grid, source.trajectory.begins_s
    comb = chosen_combs(water.combs, "even")[0]
    made = readout(water, grid, filter_name="hamming", echo_mode="even", untilt=False)
    windows, centres = _windows(water, comb, float(source.stream.facts["f0_hz"]))
    regrid = made.operators[0].regrid
    found = []
    for raw in shots(source, water, np.arange(len(water.readouts))):
        series = np.moveaxis(raw[..., comb.index], 0, 2)  # coil, echo, interleave, sample
        series = series.reshape(raw.shape[1], -1, comb.samples)[:, : windows.shape[1]]
        kept = windows @ (series @ regrid)
        if whitening is not None:
            kept = np.tensordot(whitening, kept, axes=1)
        found.append(kept.astype(np.complex64))
    played = np.array([begins[one].mean() for one in water.readouts])
    middle_s = float((begins.min() + begins.max()) / 2)
    transform = fourier(water, grid, "hamming", grid.matrix)
    return _Water(np.stack(found), centres + water.precession_s, played - middle_s, transform)


def _windows(water: Encodes, comb: Comb, f0_hz: float) -> tuple[Samples, Floats]:
    """Return windows in time without lipid, shape (n_windows, points), and their centres in s."""
    points = water.points // len(comb.index) * len(comb.index)
    wide = max(3, round(2 / (_LIPID_PPM * f0_hz * 1e-6) / water.dwell_s))
    heard = max(2 * wide, min(points, round(_HEARD_S / water.dwell_s)))
    starts = np.unique(np.linspace(0, min(heard, points) - wide, _WINDOWS).astype(int))
    shape = np.hanning(wide + 2)[1:-1]
    rows = np.zeros((starts.size, points), np.complex64)
    for row, start in zip(rows, starts, strict=True):
        row[start : start + wide] = shape / shape.sum()
    return rows, np.asarray((starts + (wide - 1) / 2) * water.dwell_s)


def _rate(water: _Water) -> tuple[float, float] | None:
    """Return the rate of drift in Hz/s and its standard deviation; `None` where too little is strong.

    That at which what is left of the derivative vanishes, by secants.
    """
    unit = 1 / (np.ptp(water.played_s) * np.ptp(water.times_s) * 2 * np.pi)
    rates = [0.0, unit]
    tops: list[Floats] = []
    for _ in range(_ROUNDS):
        found = _products(water, rates[len(tops)])
        if found is None:
            return None
        tops.append(found)
        if len(tops) < 2:
            continue
        slope = (tops[-1].sum() - tops[-2].sum()) / (rates[-1] - rates[-2])
        if not slope < 0:
            return None
        error = float(
            np.sqrt(np.sum((tops[-1] - tops[-1].mean()) ** 2) * tops[-1].size / (tops[-1].size - 1)) / -slope
        )
        step = float(-tops[-1].sum() / slope)
        if abs(step) < _ENOUGH * error:
            return rates[-1] + step, error
        rates.append(rates[-1] + float(np.clip(step, -10 * unit, 10 * unit)))
    return None


def _products(water: _Water, rate: float) -> Floats | None:
    """Return what is left along the derivative by the rate in each group of voxels; `None` where too few are strong."""
    turns = np.multiply.outer(water.played_s, water.times_s)
    values = water.values * np.exp(-2j * np.pi * rate * turns)[:, None, :, None].astype(np.complex64)
    slope = values * (2j * np.pi * turns)[:, None, :, None].astype(np.complex64)
    image, changed = (_image(part, water.transform) for part in (values, slope))
    size = np.linalg.norm(image, axis=-2)
    strong = size[..., 0] > _STRONG * size[..., 0].max()
    if np.count_nonzero(strong) < _LEAST:
        return None
    left = np.sqrt((size[strong] ** 2).sum(axis=0))
    heard = np.flatnonzero(left > _LEFT * left[0])
    image, changed = image[..., heard], changed[..., heard]
    own = image[..., 0][strong] / size[strong][:, :1]
    late, moved = image[strong][..., 1:], changed[strong]
    common = np.einsum("vc,vcw->vw", own.conj(), late)
    seen = late / common[:, None] - own[..., None]
    first = _across(own, moved[..., :1]) / size[strong][:, None, :1]
    expected = _across(own, moved[..., 1:]) / common[:, None] - first
    aside = _aside(water, image[..., 0], strong, own)
    seen, expected = (_without(one, aside) for one in (seen, expected))
    weight = np.abs(common) ** 2
    top = (weight * np.sum(expected.conj() * seen, axis=1).real).sum(axis=1)
    return np.asarray(np.bincount(_group(strong), top, _GROUPS), np.float64)


def _across(own: Samples, values: Samples) -> Samples:
    """Return what of (v, n_coils, n) is across the voxels' own vectors (v, n_coils)."""
    return np.asarray(values - own[..., None] * np.einsum("vc,vcw->vw", own.conj(), values)[:, None])


def _aside(water: _Water, image: Samples, strong: NDArray[np.bool_], own: Samples) -> Samples:
    """Return how vectors change along the axes that were not encoded slowest: (v, n_coils, n) of length 1."""
    k = water.transform.encodes.k_per_m
    slow = int(np.argmax([abs(_likeness(column, water.played_s)) for column in k.T]))
    axes = [axis for axis in range(3) if axis != slow and image.shape[axis] > 1]
    moved = [(np.roll(image, -1, axis) - np.roll(image, 1, axis))[strong] for axis in axes]
    if not moved:
        return np.zeros((*own.shape, 0), np.complex64)
    return np.linalg.qr(_across(own, np.stack(moved, axis=-1)))[0]


def _without(values: Samples, aside: Samples) -> Samples:
    """Return values (v, n_coils, n) without what lies along some directions."""
    return np.asarray(values - aside @ (aside.conj().swapaxes(1, 2) @ values))


def _likeness(first: Floats, second: Floats) -> float:
    if not np.ptp(first) > 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _image(values: Samples, transform: Fourier) -> Samples:
    """Return the image of each coil in each window; shape (x, y, z, n_coils, n_windows)."""
    blocks = plane_blocks(transform.encodes, transform.grid, len(values))
    return combined(((numbers, values[numbers]) for numbers in blocks), transform, None)


def _group(strong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a number for each strong voxel: of the sector about the middle that it lies in; shape (n_strong,)."""
    places = np.argwhere(strong) - np.argwhere(strong).mean(axis=0)
    angle = np.arctan2(places[:, 1], places[:, 0])
    return np.asarray(np.floor((angle / (2 * np.pi) + 0.5) * _GROUPS).astype(np.int64) % _GROUPS)
