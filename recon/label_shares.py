"""Which share of each spectroscopic voxel each label of another image covers.

Each voxel, oblique or not, is divided into cells of at most a quarter of the other image's voxel; a cell has the label
of the image voxel that its centre lies in.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.transients import Geometry
from pulsespec.recon.volumes import Volume

Real = NDArray[np.float64]

_FINER = 4
_MOST_CELLS = 64


def label_shares(
    geometry: Geometry, shape: tuple[int, int, int], labels: Volume, wanted: NDArray[np.int64]
) -> Real:
    """Return the share of each voxel that each label covers.

    Parameters
    ----------
    geometry, shape
        Of the spectroscopic grid.
    labels
        An image of labels, on any grid.
    wanted
        Labels, each above 0; shape (n,).

    Returns
    -------
    Shares from 0 to 1, shape (x, y, z, n).

    Raises
    ------
    DataError
        The image lies wholly outside the grid.

    """
    to_image = np.linalg.inv(labels.affine) @ geometry.affine
    cells = _cells(to_image)
    axes = [(np.arange(n * c) + 0.5) / c - 0.5 for n, c in zip(shape, cells, strict=True)]
    place = np.searchsorted(wanted, labels.values)
    place = np.where(wanted[np.minimum(place, wanted.size - 1)] == labels.values, place, wanted.size)
    of_yz = (np.arange(axes[1].size) // cells[1])[:, None] * shape[2] + np.arange(axes[2].size) // cells[2]
    counts = np.zeros((shape[0], shape[1] * shape[2], wanted.size + 1))
    reached = False
    for number, first in enumerate(axes[0]):
        found, inside = _plane(to_image, first, axes[1], axes[2], place, wanted.size)
        reached = reached or inside
        flat = of_yz.ravel() * (wanted.size + 1) + found.ravel()
        counts[number // cells[0]] += np.bincount(flat, minlength=counts[0].size).reshape(counts.shape[1:])
    if not reached:
        raise DataError(
            f"{labels.name}: lies wholly outside the spectroscopic image; is it of the same session?"
        )
    return np.asarray(counts.reshape(*shape, -1)[..., :-1] / math.prod(cells))


def mask_shares(geometry: Geometry, shape: tuple[int, int, int], mask: Volume) -> Real:
    """Return the share of each voxel that lies in a mask (what is above a half); shape (x, y, z)."""
    ones = Volume((mask.values > 0.5).astype(np.int64), mask.affine, mask.name)
    return np.asarray(label_shares(geometry, shape, ones, np.array([1]))[..., 0])


def _cells(to_image: Real) -> tuple[int, int, int]:
    """Return into how many cells a voxel is divided along each of its axes."""
    edges = np.abs(to_image[:3, :3]).max(axis=0)  # of a voxel, in image voxels
    x, y, z = (max(2, math.ceil(min(_FINER * edge, _MOST_CELLS))) for edge in edges)
    return x, y, z


def _plane(
    to_image: Real, first: float, second: Real, third: Real, place: NDArray[np.int64], outside: int
) -> tuple[NDArray[np.int64], bool]:
    """Return the label number of each cell of one plane, and whether any lies in the image; shape (n, m)."""
    inside = np.ones((second.size, third.size), dtype=bool)
    index = []
    for row, size in zip(to_image[:3], place.shape, strict=True):
        at = np.floor(row[0] * first + row[1] * second[:, None] + row[2] * third + row[3] + 0.5).astype(
            np.int64
        )
        inside &= (at >= 0) & (at < size)
        index.append(np.clip(at, 0, size - 1))
    return np.where(inside, place[index[0], index[1], index[2]], outside), bool(inside.any())
