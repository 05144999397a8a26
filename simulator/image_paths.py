"""The signal of a head along readouts that leave one axis: rings, spirals, whatever a trajectory says.

The sums are those of `image_signal`: the image under them is worked out at nodes in time, here taken to the very k
that the samples about a node have, and read between nodes. Rings come back to the same k each turn, which is worked
out once a node. Along an axis that no readout moves along, the sum is taken for the few k of their starts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.image_signal import SAME_PER_M, Evolution, Stage, images, waves

Real = NDArray[np.float64]
Raw = NDArray[np.complex64]
Single = NDArray[np.float32]
Indices = NDArray[np.int64]

_STILL_PER_M = 0.05
"""k that a readout may have along z and yet stay: a field of view of 1 m is turned by 0.05."""
_K_AT_ONCE = 4096


@dataclass(frozen=True)
class Paths:
    """Which k the readouts have: one of several trains from one of several places, sampled at the same times."""

    trains_per_m: Real
    """From the start of the readout, along the axes of the field of view; shape (n_trains, n_samples, 3)."""
    starts_per_m: Real
    """Distinct places at which readouts start; shape (n_starts, 3)."""
    of: Indices
    """Numbers of train and place of each readout; shape (n_readouts, 2)."""


@dataclass(frozen=True)
class _Places:
    """The distinct k of all samples."""

    k_per_m: Real
    """Shape (n_k, 3)."""
    number: Indices
    """Which of them each sample has; shape (n_readouts, n_samples)."""
    heights: Real
    """Distinct k along z where no readout moves along it, else none; shape (n_heights,)."""
    height: Indices
    """Which of those each distinct k has; shape (n_k,)."""


@dataclass(frozen=True)
class _Known:
    """What each coil receives at some k, as the image is at one node."""

    of: Indices
    """Numbers of those k, rising; shape (n,)."""
    values: Raw
    """Shape (n, n_coils)."""


def along_paths(stage: Stage, found: Evolution, paths: Paths) -> Iterator[tuple[slice, Raw]]:
    """Yield runs of samples and what each coil receives there in each readout; shape (n_readouts, n_coils, n)."""
    places = _places(paths)
    first, weights = found.nodes.first, found.nodes.weights
    taps = weights.shape[1]
    recent: list[_Known] = []
    for node, image in enumerate(images(stage, found)):
        begin, end = np.searchsorted(first, [node - taps + 1, node + 1])
        used = np.unique(places.number[:, begin:end])
        recent = [*recent[-(taps - 1) :], _Known(used, _received(stage, image, places, used))]
        end = int(np.searchsorted(first, node - taps + 2))
        if len(recent) == taps and end > begin:
            part = slice(int(begin), end)
            yield part, _read(recent, weights[part], places.number[:, part], found.carrier[part])


def _places(paths: Paths) -> _Places:
    """Return the distinct k, those that differ by less than `SAME_PER_M` taken for one."""
    k = np.stack([paths.trains_per_m[train] + paths.starts_per_m[start] for train, start in paths.of])
    still = bool(np.ptp(k[:, :, 2], axis=1).max(initial=0.0) < _STILL_PER_M)
    if still:
        k[:, :, 2] = k[:, :1, 2]
    keys = np.rint(k / SAME_PER_M).astype(np.int64).reshape(-1, 3)
    low = keys.min(axis=0)
    sizes = keys.max(axis=0) - low + 1
    _, at, inverse = np.unique(
        np.ravel_multi_index(tuple((keys - low).T), tuple(sizes.tolist())),
        return_index=True,
        return_inverse=True,
    )
    distinct = keys[at] * SAME_PER_M
    heights, height = np.unique(distinct[:, 2], return_inverse=True)
    return _Places(
        np.asarray(distinct, float),
        inverse.reshape(k.shape[:2]).astype(np.int64),
        heights if still else np.zeros(0),
        height.reshape(-1).astype(np.int64),
    )


def _received(stage: Stage, image: Raw, places: _Places, used: Indices) -> Raw:
    """Return what each coil receives at the distinct k that are used; shape (n_used, n_coils)."""
    x, y, z = stage.places_m
    found = np.zeros((used.size, len(stage.coils)), np.complex64)
    still = bool(places.heights.size)
    levels = waves(places.heights, z) if still else None
    for coil, sensitivity in enumerate(stage.coils):
        seen = sensitivity * image if levels is None else levels @ (sensitivity * image)
        flat = np.zeros((len(seen), x.size * y.size), np.complex64)
        flat[:, stage.columns] = seen
        plane = flat.reshape(len(seen), x.size, y.size)
        for low in range(0, used.size, _K_AT_ONCE):
            some = slice(low, low + _K_AT_ONCE)
            k = places.k_per_m[used[some]]
            across, along = waves(k[:, 0], x), waves(k[:, 1], y)
            if still:
                level = places.height[used[some]]
                for height in np.unique(level):
                    mine = level == height
                    lines = plane[height] @ along[mine].T
                    found[some, coil][mine] = np.einsum("kx,xk->k", across[mine], lines)
            else:
                upwards = waves(k[:, 2], z)
                for height, level_plane in enumerate(plane):
                    lines = level_plane @ along.T
                    found[some, coil] += upwards[:, height] * np.einsum("kx,xk->k", across, lines)
    return found


def _read(recent: list[_Known], weights: Single, number: Indices, carrier: Raw) -> Raw:
    """Return samples between nodes, by readout and coil; shape (n_readouts, n_coils, n)."""
    total = np.zeros((*number.shape, recent[0].values.shape[1]), np.complex64)
    for tap, known in enumerate(recent):
        total += weights[:, tap, None] * known.values[np.searchsorted(known.of, number)]
    total *= carrier[:, None]
    return np.ascontiguousarray(np.moveaxis(total, 2, 1))
