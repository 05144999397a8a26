"""What an image without filter shows of a map: the object through the k-space that was sampled."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.grid import Grid
from pulsespec.simulator.image_noise import plays_rings, ring_edges
from pulsespec.simulator.image_setup import ImageSetup
from pulsespec.simulator.image_signal import waves

Real = NDArray[np.float64]


def seen_by_image(setup: ImageSetup, values: NDArray[np.floating], fine: Grid) -> Real:
    """Return a map on the fine grid as an image without filter has it, on the grid of the acquisition.

    The sum over the k that metabolite shots have, each with the part of k-space that it stands for: encodes that were
    left out are missing, and rings are weighed by their areas.
    """
    if plays_rings(setup.played):
        return _through_rings(setup, values, fine)
    return through_point_spread(values, fine, setup.grid, encoded_points(setup))


def encoded_points(setup: ImageSetup) -> NDArray[np.bool_]:
    """Return which k = (n - N // 2) / FOV of each axis metabolite shots have; shape of the grid."""
    grid, trajectory = setup.grid, setup.trajectory
    shots = np.flatnonzero(~setup.is_water)
    train = trajectory.trains[trajectory.kinds[shots[0]]].k_per_m @ grid.axes
    fov = grid.spacing_m * grid.shape
    read = np.ptp(train, axis=0) * fov > 1.0
    at = np.rint(trajectory.offsets_per_m[shots] @ grid.axes * fov).astype(int) + np.array(grid.shape) // 2
    found = np.zeros(grid.shape, bool)
    x, y, z = (slice(None) if read[axis] else at[:, axis] for axis in range(3))
    found[x, y, z] = True
    return found


def through_point_spread(
    values: NDArray[np.floating], fine: Grid, grid: Grid, encoded: NDArray[np.bool_] | None = None
) -> Real:
    """Return what an image of the acquisition's k-space, without filter, has of a map on the fine grid.

    The sum over the N k = (n - N // 2) / FOV of each axis of the map's Fourier transform, those alone that are
    `encoded`: the object through its point-spread function, which a mean over voxels leaves out.
    """
    found = np.asarray(values, dtype=complex)
    k = [(np.arange(n) - n // 2) / (n * step) for n, step in zip(grid.shape, grid.spacing_m, strict=True)]
    for axis in range(3):
        forth = np.exp(2j * np.pi * np.outer(k[axis], fine.along(axis)))
        share = fine.spacing_m[axis] / grid.spacing_m[axis]
        found = np.moveaxis(np.tensordot(forth * share, found, axes=(1, axis)), 0, axis)
    if encoded is not None:
        found = found * encoded
    for axis in range(3):
        back = np.exp(-2j * np.pi * np.outer(grid.along(axis), k[axis])) / grid.shape[axis]
        found = np.moveaxis(np.tensordot(back, found, axes=(1, axis)), 0, axis)
    return np.asarray(found.real)


def _through_rings(setup: ImageSetup, values: NDArray[np.floating], fine: Grid) -> Real:
    """Return the sum over the samples of a turn of every ring, partition by partition."""
    grid, trajectory = setup.grid, setup.trajectory
    turn = int(setup.played.numbers("TurnSamples")[0])
    labels = trajectory.labels
    share = float(np.prod(fine.spacing_m / grid.spacing_m))
    first: dict[int, dict[int, int]] = {}
    for shot in np.flatnonzero(~setup.is_water):
        first.setdefault(int(labels["PAR"][shot]), {}).setdefault(int(labels["LIN"][shot]), int(shot))
    found = np.zeros(grid.shape, complex)
    for rings in first.values():
        k = np.array([trajectory.k_per_m(shot)[:turn] @ grid.axes for shot in rings.values()])
        radii = np.linalg.norm(k[:, 0, :2], axis=1)
        order = np.argsort(radii)
        areas = np.empty(radii.size)
        areas[order] = np.diff(np.pi * ring_edges(radii[order]) ** 2) * np.prod(grid.spacing_m[:2])
        x, y = (waves(k[..., axis].ravel(), fine.along(axis)) for axis in (0, 1))
        level = waves(k[0, :1, 2], fine.along(2))[0]
        sums = ((x @ (values @ level)) * y).sum(axis=1) * share * np.repeat(areas / turn, turn)
        back = [waves(-k[..., axis].ravel(), grid.along(axis)) for axis in (0, 1)]
        plane = (back[0] * sums[:, None]).T @ back[1]
        found += plane[..., None] * waves(-k[0, :1, 2], grid.along(2))[0] / grid.shape[2]
    return np.asarray(found.real, float)
