"""How far the frequency has drifted over an image, from water that is read in every repetition.

The mean frequency of an encode is that of its water, which its own k weighs; for a real object it is the same at k and
-k. So what k and -k of the same scan differ by, over the time between them, is the drift. Drift that is linear in time
is found; what is even in k is not told from the object, nor what is odd in k of the axis that is encoded slowest, which
coils and field make: on coarse grids it has looked like 6 to 12 Hz. Hence an option.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.recon.image_plan import Encodes, Indices
from pulsespec.recon.image_read import Samples, Source, shots
from pulsespec.recon.transients import Record

Floats = NDArray[np.float64]

_ENCODES = 160
_HEARD_S = 0.1
_BAND_PPM = 1.3
"""Half the band about the receiver's centre in which signal is water; lipid begins 3.3 ppm away."""
_LEAST = 8
"""Pairs of encodes that it takes."""
_FOLLOWS = 0.9
"""Correlation of an axis of k with time from which they are not told apart."""
_SIGNIFICANT = 4.0
"""Drift over its own standard deviation from which it is corrected."""
METHOD = "Frequency drift"


@dataclass(frozen=True)
class _Course:
    hz: Floats
    weight: Floats
    time_s: Floats


def without_drift(source: Source) -> tuple[Source, Record | None]:
    """Return a source whose readouts have no linear drift of frequency, and a record; none without water."""
    water = source.plan.water
    if water is None or source.plan.metabolite is None:
        return source, None
    if not _interleaved(source):
        words = "not looked for: water was not read in every repetition"
        return source, Record(METHOD, words)
    chosen = _pairs(water, source)
    if len(chosen) < _LEAST:
        return source, Record(METHOD, "not looked for: too few encodes have their opposite")
    course = _course(source, water, np.unique(chosen.ravel()))
    hz_per_s, error = _slope(course, chosen, np.unique(chosen.ravel()), water.k_per_m)
    begins = source.trajectory.begins_s
    span_s = float(np.ptp(begins))
    found = f"{hz_per_s * span_s:+.2f} +- {error * span_s:.2f} Hz over {span_s / 60:.1f} min, from water of k and -k"
    figures = {"drift_hz": hz_per_s * span_s, "drift_sd_hz": error * span_s}
    if abs(hz_per_s) < _SIGNIFICANT * error:
        return source, Record(METHOD, f"{found}: not corrected", figures)
    middle_s = float((begins.min() + begins.max()) / 2)
    corrected = replace(source, frequency_hz=hz_per_s * (begins - middle_s))
    return corrected, Record(METHOD, f"{found}: corrected", figures)


def _interleaved(source: Source) -> bool:
    """Return whether metabolites and water were read over the same time."""
    spans = []
    for kind in source.plan.kinds:
        times = source.trajectory.begins_s[np.concatenate([shot.ravel() for shot in kind.readouts])]
        spans.append((times.min(), times.max()))
    whole = max(high for _, high in spans) - min(low for low, _ in spans)
    common = min(high for _, high in spans) - max(low for low, _ in spans)
    return bool(common > 0.9 * whole)


def _pairs(encodes: Encodes, source: Source) -> Indices:
    """Return the numbers of encodes and of their opposites, the innermost ones; shape (n, 2)."""
    grid = source.plan.grid
    keys = np.round(encodes.k_per_m * grid.fov_m).astype(np.int64)
    where = {tuple(key): number for number, key in enumerate(keys.tolist())}
    radius = np.linalg.norm(keys / np.array(grid.matrix), axis=1)
    found = []
    for number in np.argsort(radius, kind="stable"):
        other = where.get(tuple((-keys[number]).tolist()))
        if other is not None and number < other:
            found.append((int(number), int(other)))
        if 2 * len(found) >= _ENCODES:
            break
    return np.array(found, np.int64).reshape(-1, 2)


def _course(source: Source, encodes: Encodes, numbers: Indices) -> _Course:
    """Return the mean frequency of the water of encodes, with its weight and time."""
    hz, weight, times = [], [], []
    f0_hz = float(source.stream.facts["f0_hz"])
    spacing_s = encodes.dwell_s * encodes.readouts[0].shape[1]
    for number, raw in zip(numbers, shots(source, encodes, numbers), strict=True):
        power = sum(_power(raw, comb.index, spacing_s) for comb in encodes.combs)
        axis_hz = np.fft.fftfreq(np.size(power), spacing_s)
        near = np.abs(axis_hz) < _BAND_PPM * f0_hz * 1e-6
        weight.append(float(np.sum(power * near)))
        hz.append(float(np.sum(power * near * axis_hz) / max(weight[-1], 1e-30)))
        times.append(float(source.trajectory.begins_s[encodes.readouts[int(number)]].mean()))
    return _Course(np.array(hz), np.array(weight), np.array(times))


def _power(raw: Samples, index: Indices, spacing_s: float) -> Floats:
    """Return the power over frequency of all samples of the echoes of one polarity."""
    count = max(8, min(len(index), round(_HEARD_S / spacing_s)))
    window = np.cos(np.pi / 2 * np.arange(count) / count) ** 2
    series = raw[..., index[:count]] * window[:, None].astype(np.float32)
    spectrum = scipy.fft.fft(series, n=4 * count, axis=-2)
    return np.asarray(np.sum(np.abs(spectrum) ** 2, axis=(0, 1, 3)), np.float64)


def _slope(course: _Course, pairs: Indices, numbers: Indices, k_per_m: Floats) -> tuple[float, float]:
    """Return drift in Hz/s and its standard deviation, each pair with its own mean; outlying pairs count less.

    What an object that is not quite real adds is odd in k: it is fitted along axes whose k does not follow time.
    """
    place = {int(number): row for row, number in enumerate(numbers)}
    first, second = (np.array([place[int(n)] for n in column]) for column in pairs.T)
    apart_s = course.time_s[second] - course.time_s[first]
    change = course.hz[second] - course.hz[first]
    weight = course.weight[first] * course.weight[second] / (course.weight[first] + course.weight[second])
    columns = [apart_s]
    for k in k_per_m[pairs[:, 1]].T:
        if np.ptp(k) > 0 and abs(_likeness(k, apart_s, weight)) < _FOLLOWS:
            columns += [k / np.abs(k).max(), (k / np.abs(k).max()) ** 3]
    design = np.stack(columns, axis=1)
    used = weight.copy()
    rest = change
    found = np.zeros(len(columns))
    for _ in range(10):
        root = np.sqrt(used)[:, None]
        found = np.linalg.lstsq(design * root, change * root[:, 0])[0]
        rest = change - design @ found
        scale = 1.5 * 1.4826 * float(np.median(np.abs(rest))) + 1e-12
        used = weight / np.maximum(1.0, np.abs(rest) / scale)
    levers = np.linalg.pinv(design * np.sqrt(used)[:, None])[0] * np.sqrt(used)
    return float(found[0]), float(np.sqrt(np.sum((levers * rest) ** 2)))


def _likeness(first: Floats, second: Floats, weight: Floats) -> float:
    return float(
        np.sum(weight * first * second)
        / np.sqrt(np.sum(weight * first**2) * np.sum(weight * second**2) + 1e-300)
    )
