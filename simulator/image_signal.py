"""The signal of a head along a trajectory: sums over its points, worked out at nodes in time.

A sample at time t and k is

    sum_r C_j(r) exp(2 pi i k.r) exp(2 pi i b(r) T - (pi g(r) T)^2 / (4 ln 2)) sum_c f_c(r) s_c(z, t)  dV / V

with the sensitivity C_j, the field b, the Gaussian width g, the share f_c of tissue c, its signal s_c at the height
z in the slab, the time T for which the field has turned the phase, and dV / V the volume of a point over that of a
voxel. k and t are those of the sample itself. The image under the sum evolves with its bandwidth, far slower than a
readout gradient is sampled: it is worked out at nodes, taken to the k that the samples have along each axis in turn,
and read between nodes (`interpolation`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Lines
from pulsespec.simulator.image_slab import Box, Slab
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
_IN_BAND = 1e-5
"""Share of a tissue's strongest line below which a line does not widen the band: combinations of strongly coupled spins
lie far outside."""
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
    """Of each tissue at each height, without carrier; shape (n_nodes, n_z, n_tissues), of groups of lines
    (n_nodes, n_z, n_tissues, n_groups) where there is a profile across."""
    carrier: Raw
    """Of each sample; shape (n_samples,)."""
    across: Raw | None = None
    """Profile of each group of lines over the columns of points; shape (n_groups, n_columns)."""


@dataclass(frozen=True)
class Profiles:
    """What the pulses select, on the points of a head."""

    heights: int
    """Number of points along the third axis."""
    slab: Slab | None
    """Along the third axis."""
    upwards: Complex | None
    """Its values there; shape (n_frequencies, n_z)."""
    sides: tuple[Slab, Raw] | None
    """A slab that says which row a frequency has, and the product of the profiles along the first two axes over the
    columns of points; shape (n_frequencies, n_columns)."""


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


def profiles_at(box: Box, places_m: Sequence[Real], spacing_m: Real, columns: Indices) -> Profiles:
    """Return profiles on points: their places along each axis from the isocentre, and their spacing."""
    along = [
        None if slab is None else slab.at(places, float(width))
        for slab, places, width in zip(box, places_m, spacing_m, strict=True)
    ]
    sides = None
    for axis in (0, 1):
        slab, values = box[axis], along[axis]
        if slab is not None and values is not None:
            x_y = np.unravel_index(columns, (places_m[0].size, places_m[1].size))
            mine = values[:, x_y[axis]].astype(np.complex64)
            sides = (slab, mine if sides is None else sides[1] * mine)
    return Profiles(places_m[2].size, box[2], along[2], sides)


def evolution(
    lines: Mapping[str, Lines], profiles: Profiles, times_s: Real, later_s: float, widest_hz: float
) -> Evolution:
    """Return how tissues evolve in readouts of one kind.

    Parameters
    ----------
    lines
        Of each tissue, at the first sample or echo.
    profiles
        What the pulses of the shot select.
    times_s
        Of the samples from the first sample or echo, rising.
    later_s
        What the field's time is more than that.
    widest_hz
        Largest offset of the field, and half of the widest line.

    """
    used = [one for one in lines.values() if one.frequency_hz.size]
    strong = [np.abs(one.amplitude) > _IN_BAND * np.abs(one.amplitude).max() for one in used]
    low = min((float(one.frequency_hz[k].min()) for one, k in zip(used, strong, strict=True)), default=0.0)
    high = max((float(one.frequency_hz[k].max()) for one, k in zip(used, strong, strict=True)), default=0.0)
    broad = max((float(_column(one.gauss_hz, one).max()) for one in used), default=0.0)
    centre = (low + high) / 2
    nodes = nodes_for(times_s, (high - low) / 2 + widest_hz + broad + _MARGIN_HZ)
    groups, across = _groups(used, profiles)
    shape = (nodes.times_s.size, profiles.heights, len(lines), len(groups))
    signals = np.zeros(shape, np.complex64)
    for number, one in enumerate(lines.values()):
        of = _rows(one, profiles)
        for place, group in enumerate(groups):
            some = _chosen(one, of == group)
            if some.frequency_hz.size:
                signals[:, :, number, place] = _at_heights(some, profiles, nodes.times_s, centre)
    carrier = np.exp(2j * np.pi * centre * times_s).astype(np.complex64)
    kept = signals if across is not None else signals[..., 0]
    return Evolution(nodes, nodes.times_s + later_s, kept, carrier, across)


def _rows(lines: Lines, profiles: Profiles) -> Indices:
    """Return which row of the profile across each line has; 0 without one."""
    if profiles.sides is None:
        return np.zeros(lines.frequency_hz.size, np.int64)
    return profiles.sides[0].nearest(lines.frequency_hz)


def _groups(used: Sequence[Lines], profiles: Profiles) -> tuple[Indices, Raw | None]:
    """Return the rows that lines have, and the profile across of each."""
    if profiles.sides is None:
        return np.zeros(1, np.int64), None
    rows = np.unique(np.concatenate([_rows(one, profiles) for one in used]))
    return rows, profiles.sides[1][rows]


def _chosen(lines: Lines, chosen: NDArray[np.bool_]) -> Lines:
    return Lines(
        lines.frequency_hz[chosen],
        lines.amplitude[chosen],
        _column(lines.lorentz_hz, lines)[chosen],
        _column(lines.gauss_hz, lines)[chosen],
    )


def _at_heights(lines: Lines, profiles: Profiles, times_s: Real, centre_hz: float) -> Raw:
    """Return the signal of lines at times and heights; shape (n_times, n_heights)."""
    if profiles.slab is None or profiles.upwards is None:
        everything = rendered(lines, times_s, centre_hz)
        return np.repeat(everything[:, None], profiles.heights, axis=1).astype(np.complex64)
    row = profiles.slab.nearest(lines.frequency_hz)
    total = np.zeros((times_s.size, profiles.heights), complex)
    for number in np.unique(row):
        some = _chosen(lines, row == number)
        total += rendered(some, times_s, centre_hz)[:, None] * profiles.upwards[number]
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
        image = _mixed(stage, signal, found.across) * turn
        if not even:
            image *= np.exp(np.float32(-_GAUSS * time_s**2) * stage.gauss_hz**2)
        yield image
        turn = turn * step


def _mixed(stage: Stage, signal: Raw, across: Raw | None) -> Raw:
    """Return the signals of all tissues by their shares, each group of lines by its profile; (n_z, n_columns)."""
    flat = signal.reshape(*signal.shape[:2], -1)
    parts = np.concatenate([flat.real, flat.imag], axis=-1)  # (n_z, n_tissues, 2 n_groups)
    both = np.matmul(stage.shares, parts)
    half = both.shape[-1] // 2
    made = both[..., :half] + 1j * both[..., half:]
    return made[..., 0] if across is None else np.asarray(np.einsum("zng,gn->zn", made, across))


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
