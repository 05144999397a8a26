"""The signal of a head along a trajectory: sums over its points, worked out at nodes in time.

A sample at time t and k is

    sum_r C_j(r) exp(2 pi i k.r) exp(2 pi i b(r) T - (pi g(r) T)^2 / (4 ln 2)) sum_c f_c(r) s_c(z, t)  dV / V

with the sensitivity C_j, the field b, the Gaussian width g, the share f_c of tissue c, its signal s_c at the height
z in the slab, the time T for which the field has turned the phase, and dV / V the volume of a point over that of a
voxel. k and t are those of the sample itself. The image under the sum evolves with its bandwidth, far slower than a
readout gradient is sampled: it is worked out at nodes, taken to the k that the samples have along each axis in turn,
and read between nodes (`interpolation`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Lines
from pulsespec.simulator.image_slab import Slab
from pulsespec.simulator.interpolation import Nodes, nodes_for

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Single = NDArray[np.float32]
Raw = NDArray[np.complex64]
Indices = NDArray[np.int64]

_GAUSS = np.pi**2 / (4 * np.log(2))
_MARGIN_HZ = 30.0
"""What T2 adds to the band of a line."""
SAME_PER_M = 1e-4
"""k that differ by less are worked out once."""
_LINES_AT_ONCE = 512
_ANCHOR = 16


@dataclass(frozen=True)
class Stage:
    """A head as the sums need it: columns of points along the slab's axis."""

    columns: Indices
    """Number of each column in the plane of the other axes, x slower than y; shape (n_columns,)."""
    shares: Single
    """Share of each tissue at each point, times the volume of a point over that of a voxel;
    (n_z, n_columns, n_tissues)."""
    field_hz: Single
    """(n_z, n_columns)."""
    gauss_hz: Single
    """(n_z, n_columns)."""
    coils: Raw
    """Sensitivities; (n_coils, n_z, n_columns)."""
    places_m: tuple[Real, Real, Real]
    """Of the points along the axes of the field of view."""


@dataclass(frozen=True)
class Evolution:
    """How the tissues' signals evolve in readouts of one kind."""

    nodes: Nodes
    """In time from the first sample or echo."""
    field_s: Real
    """Time for which the field has turned the phase at each node; shape (n_nodes,)."""
    signals: Raw
    """Of each tissue at each height, without carrier; shape (n_nodes, n_z, n_tissues)."""
    carrier: Raw
    """Of each sample; shape (n_samples,)."""


@dataclass(frozen=True)
class Encodes:
    """Which k the readouts have: the same train from several places."""

    train_per_m: Real
    """k along x of each sample, from the start of the readout; shape (n_samples,)."""
    x_per_m: Real
    """Distinct places along x at which readouts start; along y and z those that they stay at."""
    y_per_m: Real
    z_per_m: Real
    of: Indices
    """Numbers of those places along x, y and z of each readout; shape (n_readouts, 3)."""


def evolution(
    lines: Mapping[str, Lines],
    slab: Slab | None,
    heights_m: Real,
    thickness_m: float,
    times_s: Real,
    later_s: float,
    widest_hz: float,
) -> Evolution:
    """Return how tissues evolve in readouts of one kind.

    Parameters
    ----------
    lines
        Of each tissue, at the first sample or echo.
    slab
        The profile of the shot.
    heights_m
        Of the points, from the isocentre along the slab's axis.
    thickness_m
        Of a point.
    times_s
        Of the samples from the first sample or echo, rising.
    later_s
        What the field's time is more than that.
    widest_hz
        Largest offset of the field, and half of the widest line.

    """
    used = [one for one in lines.values() if one.frequency_hz.size]
    low = min((float(one.frequency_hz.min()) for one in used), default=0.0)
    high = max((float(one.frequency_hz.max()) for one in used), default=0.0)
    broad = max((float(_column(one.gauss_hz, one).max()) for one in used), default=0.0)
    centre = (low + high) / 2
    nodes = nodes_for(times_s, (high - low) / 2 + widest_hz + broad + _MARGIN_HZ)
    rows = [_at_heights(one, slab, heights_m, thickness_m, nodes.times_s, centre) for one in lines.values()]
    carrier = np.exp(2j * np.pi * centre * times_s).astype(np.complex64)
    signals = np.stack(rows, axis=-1) if rows else np.zeros((nodes.times_s.size, heights_m.size, 0))
    return Evolution(nodes, nodes.times_s + later_s, signals.astype(np.complex64), carrier)


def _at_heights(
    lines: Lines, slab: Slab | None, heights_m: Real, thickness_m: float, times_s: Real, centre_hz: float
) -> Raw:
    """Return the signal of lines at times and heights; shape (n_times, n_heights)."""
    if slab is None:
        everything = rendered(lines, times_s, centre_hz)
        return np.repeat(everything[:, None], heights_m.size, axis=1).astype(np.complex64)
    row = slab.nearest(lines.frequency_hz)
    profile = slab.at(heights_m, thickness_m)
    total = np.zeros((times_s.size, heights_m.size), complex)
    for number in np.unique(row):
        chosen = row == number
        some = Lines(
            lines.frequency_hz[chosen],
            lines.amplitude[chosen],
            _column(lines.lorentz_hz, lines)[chosen],
            _column(lines.gauss_hz, lines)[chosen],
        )
        total += rendered(some, times_s, centre_hz)[:, None] * profile[number]
    return total.astype(np.complex64)


def rendered(lines: Lines, times_s: Real, centre_hz: float) -> Complex:
    """Return the sum of lines at any times, those before the first sample included."""
    total = np.zeros(times_s.size, complex)
    for start in range(0, lines.frequency_hz.size, _LINES_AT_ONCE):
        part = slice(start, start + _LINES_AT_ONCE)
        rate = (
            2j * np.pi * (lines.frequency_hz[part] - centre_hz)
            - np.pi * _column(lines.lorentz_hz, lines)[part]
        )
        exponent = rate[:, None] * times_s
        gauss = _column(lines.gauss_hz, lines)[part]
        if gauss.any():
            exponent = exponent - _GAUSS * (gauss[:, None] * times_s) ** 2
        total += lines.amplitude[part] @ np.exp(exponent)
    return total


def _column(values: Real | None, lines: Lines) -> Real:
    return np.zeros(lines.frequency_hz.size) if values is None else values


def encoded(stage: Stage, found: Evolution, encodes: Encodes) -> Iterator[tuple[slice, Raw]]:
    """Yield runs of samples and what each coil receives there in each readout; shape (n_readouts, n_coils, n)."""
    starts = encodes.x_per_m
    keys = np.rint(np.add.outer(starts, encodes.train_per_m) / SAME_PER_M).astype(np.int64)
    distinct, inverse = np.unique(keys, return_inverse=True)
    number = inverse.reshape(keys.shape)
    along = [
        waves(k, places)
        for k, places in zip(
            (np.asarray(distinct * SAME_PER_M, float), encodes.y_per_m, encodes.z_per_m),
            stage.places_m,
            strict=True,
        )
    ]
    first, weights = found.nodes.first, found.nodes.weights
    taps = weights.shape[1]
    recent: list[Raw] = []
    for node, image in enumerate(images(stage, found)):
        recent = [*recent[-(taps - 1) :], _transformed(stage, image, along)]
        begin, end = np.searchsorted(first, [node - taps + 1, node - taps + 2])
        if len(recent) == taps and end > begin:
            part = slice(int(begin), int(end))
            yield part, _read(recent, weights[part], number[:, part], found.carrier[part], encodes, stage)


def images(stage: Stage, found: Evolution) -> Iterator[Raw]:
    """Yield the transverse magnetisation at each node; shape (n_z, n_columns)."""
    times = found.field_s
    step = np.exp(2j * np.pi * stage.field_hz * (times[1] - times[0])).astype(np.complex64)
    even = float(np.ptp(stage.gauss_hz)) == 0.0 if stage.gauss_hz.size else True
    turn = step
    for node, time_s in enumerate(times):
        if node % _ANCHOR == 0:
            turn = np.exp(2j * np.pi * (stage.field_hz.astype(float) * time_s)).astype(np.complex64)
        signal = np.ascontiguousarray(found.signals[node])
        if even:
            signal = signal * np.float32(np.exp(-_GAUSS * (float(stage.gauss_hz.flat[0]) * time_s) ** 2))
        parts = np.stack([signal.real, signal.imag], axis=-1)  # (n_z, n_tissues, 2)
        image = np.matmul(stage.shares, parts).view(np.complex64)[..., 0] * turn
        if not even:
            image *= np.exp(np.float32(-_GAUSS * time_s**2) * stage.gauss_hz**2)
        yield image
        turn = turn * step


def waves(k_per_m: Real, places_m: Real) -> Raw:
    """Return exp(2 pi i k.r); shape (n_k, n_places)."""
    return np.exp(2j * np.pi * np.multiply.outer(k_per_m, places_m)).astype(np.complex64)


def _transformed(stage: Stage, image: Raw, along: list[Raw]) -> Raw:
    """Return an image at the distinct k of each axis, by coil; shape (n_kx, n_coils, n_kz, n_ky)."""
    x, y, z = along
    plane = np.zeros((len(stage.coils), z.shape[0], x.shape[1] * y.shape[1]), np.complex64)
    for coil, sensitivity in enumerate(stage.coils):
        plane[coil][:, stage.columns] = z @ (sensitivity * image)
    lines = plane.reshape(-1, y.shape[1]) @ y.T  # (n_coils n_kz n_x, n_ky)
    lines = lines.reshape(-1, x.shape[1], y.shape[0]).transpose(1, 0, 2).reshape(x.shape[1], -1)
    return (x @ lines).reshape(x.shape[0], len(stage.coils), z.shape[0], y.shape[0])


def _read(
    recent: list[Raw], weights: Single, number: Indices, carrier: Raw, encodes: Encodes, stage: Stage
) -> Raw:
    """Return samples between nodes, by readout and coil; shape (n_readouts, n_coils, n)."""
    found = np.empty((len(encodes.of), len(stage.coils), len(weights)), np.complex64)
    for start in np.unique(encodes.of[:, 0]):
        total = np.zeros((len(weights), *recent[0].shape[1:]), np.complex64)
        for tap, known in enumerate(recent):
            total += weights[:, tap, None, None, None] * known[number[start]]
        total *= carrier[:, None, None, None]
        mine = np.flatnonzero(encodes.of[:, 0] == start)
        chosen = total[:, :, encodes.of[mine, 2], encodes.of[mine, 1]]
        found[mine] = chosen.transpose(2, 1, 0)
    return found
