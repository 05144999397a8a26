"""Spectroscopic images from samples at any k: rings, spirals, or what else a trajectory says.

A readout that runs through the same part of k-space again and again samples each position once a turn: position j at
t_j + n dwell. Its spectrum is brought to the common time t = 0 by the phase exp(-i 2 pi f t_j) at each frequency f,
exact at a line's centre, as for echo-planar trains. What a position would have had before its own first sample is not
known: as many of the first points as the longest t_j spans wrap round from the end of the FID. Then each spectral
point is an image by itself, the weighted sum of its samples times exp(-i 2 pi k . r), by a non-uniform FFT (FINUFFT:
Barnett et al. 2019, doi:10.1137/18M120885X).

All here is in the sense of the scanner: the signal is exp(+i 2 pi f t) exp(+i 2 pi k . r).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError, MismatchError, SequenceError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_TOLERANCE = 1e-3
"""Of the extent of k-space: positions that are nearer are the same."""
_PRECISION = 1e-9
_RIM = 64


@dataclass(frozen=True)
class KSpace:
    """Positions that are sampled once a turn."""

    k_per_m: Real
    """Shape (n, 3), along the axes of the grid."""
    times_s: Real
    """When each is sampled first, after the first sample of all; shape (n,)."""
    dwell_s: float
    """Time between samples of one position: that of the FIDs."""
    weights: Real
    """Part of k-space that each stands for, in cycles/m to the power of the encoded axes; shape (n,)."""


@dataclass(frozen=True)
class ImageGrid:
    """Where voxels lie along the axes of k."""

    centre_m: Real
    """Centre of the grid; shape (3,)."""
    voxel_m: Real
    """Shape (3,)."""
    shape: tuple[int, int, int]

    def axis_m(self, axis: int) -> Real:
        """Return the centres of voxels along an axis, the grid's centre in their middle."""
        n = self.shape[axis]
        return np.asarray(self.centre_m[axis] + (np.arange(n) - (n - 1) / 2) * self.voxel_m[axis])

    @property
    def encoded(self) -> tuple[int, ...]:
        """Axes with several voxels."""
        return tuple(axis for axis, n in enumerate(self.shape) if n > 1)


def at_one_time(data: NDArray[np.complexfloating], times_s: Real, dwell_s: float) -> Complex:
    """Return the spectra of positions as if all were sampled from t = 0; bins as of `numpy.fft.fft`.

    Parameters
    ----------
    data
        FIDs; shape (n, n_coils, n_turns).
    times_s
        First sample of each; shape (n,).
    dwell_s
        Of the FIDs.

    """
    frequency = np.fft.fftfreq(data.shape[-1], dwell_s)
    phase = np.exp(-2j * np.pi * times_s[:, None, None] * frequency)
    return np.asarray(np.fft.fft(data, axis=-1) * phase)


def reconstruct_samples(data: NDArray[np.complexfloating], k: KSpace, grid: ImageGrid) -> Complex:
    """Return the FID of each voxel and coil; shape (x, y, z, n_coils, n_turns).

    A homogeneous object of unit density in a voxel has unit signal.

    Parameters
    ----------
    data
        FIDs of the positions; shape (n, n_coils, n_turns).
    k
        Where and when they are sampled.
    grid
        Voxels that are made.

    Raises
    ------
    MismatchError
        There is not one FID for each position.

    """
    if data.ndim != 3 or data.shape[0] != k.k_per_m.shape[0]:
        raise MismatchError(
            f"samples: shape {data.shape}, expected ({k.k_per_m.shape[0]}, n_coils, n_turns), one row a position of k"
        )
    spectra = at_one_time(data, k.times_s, k.dwell_s)
    rows = spectra.reshape(data.shape[0], -1).T
    images = voxels(rows, k, grid)
    shaped = images.reshape(*data.shape[1:], *grid.shape)
    return np.asarray(np.fft.ifft(np.moveaxis(shaped, (0, 1), (3, 4)), axis=-1))


def voxels(rows: Complex, k: KSpace, grid: ImageGrid) -> Complex:
    """Return the images of sets of samples, (m, n), by a non-uniform FFT; shape (m, x, y, z)."""
    import finufft  # only where an image is made

    axes = grid.encoded
    if not axes:
        raise InputError(f"grid: {grid.shape} voxels, expected several along one axis or more")
    first = np.array([grid.axis_m(axis)[grid.shape[axis] // 2] for axis in range(3)])
    weighted = rows * (k.weights * _volume(grid) * np.exp(-2j * np.pi * k.k_per_m @ first))
    angles = [np.ascontiguousarray(2 * np.pi * k.k_per_m[:, axis] * grid.voxel_m[axis]) for axis in axes]
    modes = tuple(grid.shape[axis] for axis in axes)
    transform = {1: finufft.nufft1d1, 2: finufft.nufft2d1, 3: finufft.nufft3d1}[len(axes)]
    wrapped = [np.mod(angle + np.pi, 2 * np.pi) - np.pi for angle in angles]
    made = transform(*wrapped, np.ascontiguousarray(weighted), modes, eps=_PRECISION, isign=-1, nthreads=1)
    return np.asarray(made).reshape(len(rows), *grid.shape)


def voxels_direct(rows: Complex, k: KSpace, grid: ImageGrid) -> Complex:
    """Return what `voxels` does by the plain sum, for tests and for few voxels."""
    made = rows * (k.weights * _volume(grid))
    waves = [np.exp(-2j * np.pi * np.outer(grid.axis_m(axis), k.k_per_m[:, axis])) for axis in range(3)]
    return np.asarray(np.einsum("mn,xn,yn,zn->mxyz", made, *waves, optimize=True))


def _volume(grid: ImageGrid) -> float:
    return float(np.prod([grid.voxel_m[axis] for axis in grid.encoded]))


def point_spread(k: KSpace, offsets_m: Real, voxel_m: Real | None = None) -> Complex:
    """Return the image of a point at offsets from it, 1 at the point itself; offsets (m, 3), result (m,)."""
    waves = np.exp(-2j * np.pi * offsets_m @ k.k_per_m.T) @ k.weights
    return np.asarray(waves / np.sum(k.weights))


def width_m(k: KSpace, axis: int = 0) -> float:
    """Return the full width at half maximum of the point-spread function along an axis, in m."""
    extent = float(np.max(np.abs(k.k_per_m[:, axis])))
    if not extent > 0:
        raise InputError(f"axis {axis}: is not encoded, so a point has no width along it")
    offsets = np.zeros((2001, 3))
    offsets[:, axis] = np.linspace(0, 1.5 / extent, 2001)
    size = np.abs(point_spread(k, offsets))
    first = int(np.argmax(size < 0.5))
    share = (size[first - 1] - 0.5) / (size[first - 1] - size[first])
    return float(2 * np.interp(first - 1 + share, np.arange(2001), offsets[:, axis]))


def density_weights(k_per_m: Real) -> Real:
    """Return the area of k-space that each sample of a plane stands for, by Voronoi cells; shape (n,).

    Equal positions share a cell (Rasche et al. 1999, doi:10.1109/42.774166). A circle of points outside, as
    far as neighbours are apart at the rim, closes the outermost cells.

    Raises
    ------
    InputError
        The samples do not lie in one plane of k-space.

    """
    from scipy.spatial import Voronoi  # only where weights are not known otherwise

    extent = np.ptp(k_per_m, axis=0)
    axes = np.flatnonzero(extent > _TOLERANCE * extent.max())
    if axes.size != 2:
        raise InputError(
            f"density of k-space: samples extend along {axes.size} axes, expected 2; pass weights of your own"
        )
    plane = k_per_m[:, axes]
    rounded = np.round(plane / (_TOLERANCE * extent.max())).astype(np.int64)
    _, one, which, count = np.unique(
        rounded, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    points = plane[one]
    radius = float(np.max(np.linalg.norm(points, axis=1)))
    spacing = np.sqrt(np.pi * radius**2 / len(points))
    angles = (
        2
        * np.pi
        * np.arange(max(_RIM, round(2 * np.pi * radius / spacing)))
        / max(_RIM, round(2 * np.pi * radius / spacing))
    )
    rim = (radius + spacing) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cells = Voronoi(np.concatenate([points, rim, 3 * rim]))
    areas = np.array(
        [_area(cells.vertices[cells.regions[cells.point_region[n]]]) for n in range(len(points))]
    )
    return np.asarray((areas / count)[which.ravel()])


def _area(corners: Real) -> float:
    """Return the area of a convex polygon whose corners come in order."""
    x, y = corners.T
    return float(0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def fold(
    k_per_m: Sequence[Real], times_s: Sequence[Real], data: Sequence[NDArray[np.complexfloating]]
) -> tuple[KSpace, NDArray[np.complexfloating]]:
    """Return positions and their FIDs of readouts that turn in k-space, whatever they run through.

    The period is what repeats k; a readout that stays where it is takes that of the others. Readouts with the same k at
    different times are temporal interleaves of one FID.

    Parameters
    ----------
    k_per_m
        k of every sample of each readout, such as `Trajectory.k_per_m`; (n_samples, 3) each.
    times_s
        Time of every sample from the excitation, such as `Trajectory.times_s`; (n_samples,) each.
    data
        Samples, sense of the scanner; (n_coils, n_samples) each.

    Returns
    -------
    Positions, weighted by `density_weights`, and FIDs of shape (n, n_coils, n_turns), as long as the shortest.

    Raises
    ------
    SequenceError
        A readout does not repeat its k, or interleaves do not lie evenly in time.

    """
    first_s = min(float(times[0]) for times in times_s)
    extent = max(float(np.ptp(k, axis=0).max()) for k in k_per_m)
    turns = _turns(k_per_m, times_s, extent)
    groups: list[list[int]] = []
    for number, turn in enumerate(turns):
        like = (
            g
            for g in groups
            if turns[g[0]] == turn and _same(k_per_m[g[0]][:turn], k_per_m[number][:turn], extent)
        )
        found = next(like, None)
        if found is None:
            groups.append([number])
        else:
            found.append(number)
    parts = [
        _merged(sorted(group, key=lambda n: times_s[n][0]), turns[group[0]], times_s, data)
        for group in groups
    ]
    dwells = np.array([dwell for *_, dwell in parts])
    if np.ptp(dwells) > 1e-6 * dwells[0]:
        raise SequenceError(
            f"readouts: spectral dwell times from {dwells.min():g} to {dwells.max():g} s, expected one"
        )
    shortest = min(fids.shape[-1] for fids, *_ in parts)
    positions = np.concatenate([k_per_m[group[0]][: turns[group[0]]] for group in groups])
    times = np.concatenate([times for _, times, _ in parts]) - first_s
    folded = np.concatenate([fids[..., :shortest] for fids, *_ in parts])
    return KSpace(positions, times, float(dwells[0]), density_weights(positions)), folded


def _same(one: Real, other: Real, extent: float) -> bool:
    return bool(np.max(np.abs(one - other)) < _TOLERANCE * extent)


def _turns(k_per_m: Sequence[Real], times_s: Sequence[Real], extent: float) -> list[int]:
    """Return after how many samples each readout repeats its k."""
    turns = [0 if _same(k, k[:1], extent) else _turn(k, number, extent) for number, k in enumerate(k_per_m)]
    periods_s = [float(times[turn] - times[0]) for turn, times in zip(turns, times_s, strict=True) if turn]
    if not periods_s:
        return [1] * len(turns)
    return [
        turn or max(1, round(periods_s[0] / float(times[1] - times[0])))
        for turn, times in zip(turns, times_s, strict=True)
    ]


def _turn(k: Real, number: int, extent: float) -> int:
    """Return after how many samples k repeats."""
    for period in range(2, k.shape[0] // 2 + 1):
        if np.max(np.abs(k[period] - k[0])) < _TOLERANCE * extent and _same(k[period:], k[:-period], extent):
            return period
    raise SequenceError(f"readout {number + 1}: its k does not repeat, so no position has an FID")


def _merged(
    group: list[int], turn: int, times_s: Sequence[Real], data: Sequence[NDArray[np.complexfloating]]
) -> tuple[NDArray[np.complexfloating], Real, float]:
    """Return FIDs (turn, n_coils, n_turns), first times and dwell of the interleaves of one path."""
    count = len(group)
    period_s = float(times_s[group[0]][turn] - times_s[group[0]][0])
    starts = np.array([times_s[number][0] for number in group])
    if np.max(np.abs(np.diff(starts) - period_s / count), initial=0.0) > 1e-3 * period_s:
        raise SequenceError(
            f"readouts {[number + 1 for number in group]}: begin at {starts.tolist()} s, expected steps of "
            f"{period_s / count:g} s, a turn over their number"
        )
    turns = min(data[number].shape[-1] // turn for number in group)
    fids = [data[number][:, : turns * turn].reshape(-1, turns, turn) for number in group]
    merged = np.stack(fids, axis=2).reshape(fids[0].shape[0], turns * count, turn)
    return np.moveaxis(merged, 2, 0), times_s[group[0]][:turn], period_s / count
