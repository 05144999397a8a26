"""How far the frequency has drifted over an image, from water that is read in every repetition.

Drift that is linear in time turns encode n by exp(i 2 pi rate T_n t), T_n the time since the middle of the scan: the image
moves, further the later the point of the FID is, along the axes that were encoded slowly. An image of one coil can do
that by itself. Several coils cannot: what a voxel has of each, up to a common factor, is its vector of sensitivities,
which neither field nor decay of the voxel changes, but a move does. So the rate is what takes the vectors of later points
back to those of the first, in the least-squares sense over all voxels, with the derivative of the very transform by the
rate. Within a voxel a gradient of the field shifts the centre of what each coil sees by an imaginary length (the
phases of both sides turn apart), the drift by a real one: the former is not counted.
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
_WINDOWS = 8
_STRONG = 0.05
"""Least signal of a voxel, over the largest, in all windows."""
_ROUNDS = 4
_GROUPS = 12
"""Sets of voxels, apart from each other, whose own rates tell how sure that of all is."""
_LEAST = 20
"""Strong voxels that it takes."""
_SIGNIFICANT = 4.0
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
    """Return the rate of drift in Hz/s and its standard deviation; `None` where too little is strong."""
    rate, error = 0.0, 0.0
    turns = np.multiply.outer(water.played_s, water.times_s)
    for _ in range(_ROUNDS):
        values = water.values * np.exp(-2j * np.pi * rate * turns)[:, None, :, None].astype(np.complex64)
        slope = values * (2j * np.pi * turns)[:, None, :, None].astype(np.complex64)
        image, changed = (_image(part, water.transform) for part in (values, slope))
        found = _step(image, changed)
        if found is None:
            return None
        rate, error = rate + found[0], found[1]
    return rate, error


def _image(values: Samples, transform: Fourier) -> Samples:
    """Return the image of each coil in each window; shape (x, y, z, n_coils, n_windows)."""
    blocks = plane_blocks(transform.encodes, transform.grid, len(values))
    return combined(((numbers, values[numbers]) for numbers in blocks), transform, None)


def _step(image: Samples, changed: Samples) -> tuple[float, float] | None:
    """Return by how much the rate is to change, and its standard deviation between groups of voxels."""
    first = image[..., 0]
    largest = np.linalg.norm(first, axis=-1).max()
    strong = np.linalg.norm(image, axis=-2)[..., 1:].max(axis=-1) > _STRONG * largest
    if np.count_nonzero(strong) < _LEAST:
        return None
    own = (first / np.linalg.norm(first, axis=-1, keepdims=True))[strong]
    late, moved = image[strong][..., 1:], changed[strong]
    common = np.einsum("vc,vcw->vw", own.conj(), late)
    part = np.einsum("vc,vcw->vw", own.conj(), moved)
    across = moved - own[:, :, None] * part[:, None]
    per_first = across[..., 0] / np.linalg.norm(first[strong], axis=-1, keepdims=True)
    seen = late / common[:, None] - own[:, :, None]
    expected = across[..., 1:] / common[:, None] - per_first[..., None]
    weight = np.abs(common) ** 2 * (np.abs(common) > _STRONG * largest)
    top = (weight * np.sum(expected.conj() * seen, axis=1).real).sum(axis=1)
    bottom = (weight * np.sum(np.abs(expected) ** 2, axis=1)).sum(axis=1)
    group = _group(strong)
    many = [(top[group == k].sum(), bottom[group == k].sum()) for k in range(_GROUPS) if np.any(group == k)]
    tops, bottoms = (np.array(column) for column in zip(*many, strict=True))
    rate = float(tops.sum() / bottoms.sum())
    left = tops - rate * bottoms
    spread = float(np.sqrt(np.sum(left**2) * len(many) / (len(many) - 1)) / bottoms.sum())
    return rate, spread


def _group(strong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a number for each strong voxel: of the sector about the middle that it lies in; shape (n_strong,)."""
    places = np.argwhere(strong) - np.argwhere(strong).mean(axis=0)
    angle = np.arctan2(places[:, 1], places[:, 0])
    sector = np.floor((angle / (2 * np.pi) + 0.5) * (_GROUPS // 2)).astype(np.int64) % (_GROUPS // 2)
    return np.asarray(2 * sector + (places[:, 2] > 0), np.int64)
