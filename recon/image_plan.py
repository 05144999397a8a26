"""What a `.seq` says of a spectroscopic image: grid, encodes, and where and when every sample of an echo lies.

One description serves an echo-planar train and plain phase encoding: the FID of the latter is a train whose echoes
have one sample each. k, positions and times are those of the trajectory (Pulseq's sense, signal exp(+i 2 pi k.r)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.timeline import Played
from pulsespec.simulator.trajectory import Echo, Train, Trajectory, echoes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_SAME = 0.05
"""Difference of k, in steps of the grid, that does not count: files have six digits of each gradient."""
_SAME_S = 1e-7
_SHORTER = 0.75
"""Lobes with fewer samples than this share of the others' fly back: nothing is read from them."""


@dataclass(frozen=True)
class Grid:
    """The box that is imaged."""

    matrix: tuple[int, int, int]
    """Encoded points along x, y, z of the box."""
    fov_m: Floats
    """Its edges; shape (3,)."""
    axes: Floats
    """Directions of its edges in gradient coordinates, columns; shape (3, 3)."""
    centre_m: Floats
    """From the isocentre, in gradient coordinates; shape (3,)."""

    def positions_m(self, axis: int, points: int | None = None) -> Floats:
        """Return the centres of voxels along an edge, from the middle of the box; shape (points,).

        Voxel n // 2 lies in the middle, as a discrete Fourier transform with k = 0 at n // 2 has it.
        """
        points = points or self.matrix[axis]
        return np.asarray((np.arange(points) - points // 2) * self.fov_m[axis] / points)


@dataclass(frozen=True)
class Comb:
    """The echoes of one polarity: the same samples of k-space again and again."""

    index: Indices
    """Samples of the ADC event that are its echoes; shape (n_echoes, n_samples)."""
    k_per_m: Floats
    """k of the samples along x of the box; shape (n_samples,)."""
    gradient_hz_per_m: Floats
    """Along x of the box; shape (n_samples,)."""
    delays_s: Floats
    """Time of the samples of the first echo after the first point of the time axis; shape (n_samples,)."""
    direction: int
    """+1 where k grows, -1 where it falls, 0 without a gradient."""

    @property
    def samples(self) -> int:
        """Samples of one echo."""
        return int(self.k_per_m.size)


@dataclass(frozen=True)
class Encodes:
    """All readouts of one kind, metabolites or water."""

    readouts: tuple[Indices, ...]
    """Numbers of the ADC events of each encode; each of shape (n_averages, n_interleaves)."""
    k_per_m: Floats
    """k of each encode along x, y, z of the box, x only where it is phase-encoded; shape (n_encodes, 3)."""
    centre_turns: Floats
    """Phase of each encode at the middle of the box, in turns; shape (n_encodes,)."""
    combs: tuple[Comb, ...]
    dwell_s: float
    """Between points of the time axis, interleaves merged."""
    points: int
    te_s: float
    """From the excitation to the first point of the time axis."""
    precession_s: float
    """For how long an offset of the field has turned the signal by then: 0 at an echo of pulses."""
    is_water: bool


@dataclass(frozen=True)
class ImagePlan:
    """What is needed to reconstruct the images of a file."""

    grid: Grid
    metabolite: Encodes | None
    water: Encodes | None
    train: bool
    """Whether x is read under a gradient."""

    @property
    def kinds(self) -> tuple[Encodes, ...]:
        """The kinds that there are, metabolites first."""
        return tuple(kind for kind in (self.metabolite, self.water) if kind is not None)


def encodes_space(played: Played, trajectory: Trajectory) -> bool:
    """Return whether a file makes images: its readouts start at several k, or cross k-space, in a defined box."""
    fov = played.numbers("FOV")
    if fov.size != 3:
        return False
    steps = 1 / fov.max()
    used = [n for n, readout in enumerate(played.readouts) if not readout.labels.get("NOISE")]
    spread = np.ptp(trajectory.offsets_per_m[used], axis=0).max()
    crossed = max(np.ptp(train.k_per_m, axis=0).max() for train in trajectory.trains)
    return bool(max(spread, crossed) > steps / 2)


def plan_image(played: Played, trajectory: Trajectory, name: str) -> ImagePlan:
    """Return how the readouts of a `.seq` make images.

    Parameters
    ----------
    played, trajectory
        Of the file; metabolites and water (label `REF`) may be interleaved or one after the other.
    name
        Of the file, for messages.

    Raises
    ------
    SequenceError
        Matrix or field of view are not defined, the trajectory is neither echo-planar along x of the box nor plain
        phase encoding, echoes or interleaves are not evenly spaced, or there are editing conditions.

    """
    grid = grid_of(played, name)
    left = ("NOISE", "NAV")
    chosen = [n for n, one in enumerate(played.readouts) if not any(one.labels.get(key) for key in left)]
    if len({played.readouts[n].condition for n in chosen}) > 1:
        raise SequenceError(f"{name}: has editing conditions (SET), expected an image of one")
    kinds = []
    for water in (False, True):
        members = np.array([n for n in chosen if played.readouts[n].is_water_reference == water], np.int64)
        kinds.append(_encodes(members, played, trajectory, grid, name, water) if members.size else None)
    train = any(comb.direction for kind in kinds if kind is not None for comb in kind.combs)
    return ImagePlan(grid, kinds[0], kinds[1], train)


def grid_of(played: Played, name: str) -> Grid:
    """Return the box that a file defines; `SequenceError` where it has no `Matrix` or `FOV`."""
    matrix, fov = played.numbers("Matrix"), played.numbers("FOV")
    if matrix.size != 3 or fov.size != 3 or (matrix < 1).any() or (fov <= 0).any():
        raise SequenceError(
            f"{name}: an image needs the definitions Matrix (three counts) and FOV (three lengths in m), got "
            f"{matrix.tolist() or 'none'} and {fov.tolist() or 'none'}"
        )
    axes, centre = played.numbers("VoxelOrientation"), played.numbers("VoxelPosition")
    x, y, z = (int(n) for n in matrix)
    return Grid(
        (x, y, z),
        fov,
        axes.reshape(3, 3) if axes.size == 9 else np.eye(3),
        centre if centre.size == 3 else np.zeros(3),
    )


def _encodes(
    members: Indices, played: Played, trajectory: Trajectory, grid: Grid, name: str, water: bool
) -> Encodes:
    kinds = np.unique(trajectory.kinds[members])
    train = trajectory.trains[kinds[0]]
    for kind in kinds[1:]:
        if not _same(train, trajectory.trains[kind], grid):
            raise SequenceError(f"{name}: readouts of one kind differ, expected one train or FID")
    offsets = trajectory.offsets_per_m[members] @ grid.axes
    read = _reads(train, grid, name)
    if read:
        if np.ptp(offsets[:, 0]) * grid.fov_m[0] > _SAME:
            raise SequenceError(f"{name}: x of the box is both read and phase-encoded")
        start = float(offsets[:, 0].mean())
        offsets = offsets * [0.0, 1.0, 1.0]
        combs, middle_s, spacing_s = _combs(train, start, grid, name)
    else:
        combs, middle_s, spacing_s = _fid(train, played.readouts[members[0]].dwell_s)
    segments = trajectory.labels["SEG"][members]
    dwell_s = _interleaved(trajectory.starts_s[members], segments, spacing_s, name)
    first = members[segments == segments.min()][0]
    keys = np.round(offsets * grid.fov_m / _SAME).astype(np.int64)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    found, k, turns = [], [], []
    for number in _in_time(inverse, len(unique)):
        own = members[inverse == number]
        found.append(_shots(own, trajectory.labels["SEG"], name))
        k.append(offsets[inverse == number].mean(axis=0))
        turns.append(float(np.mean(trajectory.offsets_per_m[own] @ grid.centre_m)))
    interleaves = found[0].shape[1]
    centre_turns = np.array(turns) - (start * (grid.axes[:, 0] @ grid.centre_m) if read else 0.0)
    return Encodes(
        tuple(found),
        np.array(k),
        centre_turns,
        combs,
        dwell_s,
        interleaves * len(combs[0].index),
        float(trajectory.starts_s[first] + middle_s),
        float(trajectory.evolution_s[first] + middle_s),
        water,
    )


def _same(first: Train, second: Train, grid: Grid) -> bool:
    """Return whether two trains have the same samples."""
    return first.k_per_m.shape == second.k_per_m.shape and bool(
        np.abs(first.k_per_m - second.k_per_m).max() * grid.fov_m.max() < _SAME
        and np.abs(first.times_s - second.times_s).max() < _SAME_S
    )


def _in_time(inverse: Indices, count: int) -> list[int]:
    """Return the numbers of encodes in the order in which they were first played."""
    first = [int(np.flatnonzero(inverse == number)[0]) for number in range(count)]
    return [int(n) for n in np.argsort(first)]


def _reads(train: Train, grid: Grid, name: str) -> bool:
    """Return whether samples are taken under a gradient, which must be along x of the box."""
    extent = np.ptp(train.k_per_m @ grid.axes, axis=0) * grid.fov_m
    if extent.max() < 0.5:
        return False
    if extent[0] < 0.5 or extent[1:].max() > 0.5:
        raise SequenceError(
            f"{name}: its readout crosses {extent[0]:.1f}, {extent[1]:.1f} and {extent[2]:.1f} steps of k-space along "
            "x, y and z of the box, expected x alone (echo-planar)"
        )
    return True


def _fid(train: Train, dwell_s: float) -> tuple[tuple[Comb, ...], float, float]:
    zero = np.zeros(1)
    index = np.arange(train.times_s.size, dtype=np.int64)[:, None]
    return (Comb(index, zero, zero, zero, 0),), float(train.times_s[0]), dwell_s


def _combs(train: Train, start: float, grid: Grid, name: str) -> tuple[tuple[Comb, ...], float, float]:
    """Return the echoes of each polarity, the time of the first one's centre and the time between them."""
    k, gradient = train.k_per_m @ grid.axes[:, 0] + start, train.gradient_hz_per_m @ grid.axes[:, 0]
    found = echoes(train, grid.axes[:, 0])
    longest = max(echo.samples.stop - echo.samples.start for echo in found)
    read = [e for e in found if e.samples.stop - e.samples.start >= _SHORTER * longest]
    first = read[0].direction
    groups = [[e for e in read if e.direction == sign] for sign in (first, -first)]
    groups = [group for group in groups if group]
    count = min(len(group) for group in groups)
    middle_s, spacing_s = 0.0, 0.0
    combs: list[Comb] = []
    for group in groups:
        index = _regular(group[:count], name)
        if np.ptp(k[index], axis=0).max() * grid.fov_m[0] > _SAME:
            raise SequenceError(f"{name}: echoes of one polarity lie at different k, expected the same")
        times, own_k = train.times_s[index[0]], k[index].mean(axis=0)
        if not combs:
            middle_s = float(np.interp(0.0, first * own_k, times))
            spacing_s = float(np.diff(train.times_s[index[:, 0]]).mean()) if count > 1 else 0.0
        combs.append(Comb(index, own_k, gradient[index[0]], times - middle_s, group[0].direction))
    return tuple(combs), middle_s, spacing_s


def _regular(group: list[Echo], name: str) -> Indices:
    starts = np.array([echo.samples.start for echo in group], np.int64)
    lengths = {echo.samples.stop - echo.samples.start for echo in group}
    if len(lengths) > 1 or np.unique(np.diff(starts)).size > 1:
        raise SequenceError(
            f"{name}: echoes of one polarity are not evenly spaced or differ in length: {sorted(lengths)} samples"
        )
    return starts[:, None] + np.arange(lengths.pop(), dtype=np.int64)


def _interleaved(starts_s: Floats, segments: Indices, spacing_s: float, name: str) -> float:
    """Return the time between points once interleaves are merged, whose readouts must start that much later."""
    numbers = np.unique(segments)
    dwell_s = spacing_s / numbers.size
    later = np.array([starts_s[segments == n].mean() for n in numbers])
    uneven = np.abs(later - later[0] - np.arange(numbers.size) * dwell_s).max()
    spread = max(float(np.ptp(starts_s[segments == n])) for n in numbers)
    if max(uneven, spread) > _SAME_S:
        raise SequenceError(
            f"{name}: {numbers.size} interleaves (SEG) start {np.round((later - later[0]) * 1e6, 2).tolist()} us later "
            f"than the first, expected steps of {dwell_s * 1e6:.2f} us"
        )
    return dwell_s


def _shots(own: Indices, segments: Indices, name: str) -> Indices:
    """Return the readouts of one encode by average and interleave."""
    numbers = np.unique(segments[own])
    columns = [own[segments[own] == n] for n in numbers]
    if len({column.size for column in columns}) > 1:
        raise SequenceError(f"{name}: an encode lacks one of its interleaves (SEG)")
    return np.stack(columns, axis=1)
