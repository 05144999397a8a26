"""Which share of a spectroscopic voxel is grey matter, white matter and CSF, by the segmentation of an image.

Each voxel, oblique or not, is divided into cells of at most a quarter of an image voxel; a cell belongs to the image
voxel that its centre lies in. The error of that is stated: the spread of eight interleaved grids of cells.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.recon.constants import TISSUES
from pulsespec.recon.segmentation import Segmentation
from pulsespec.recon.transients import Geometry

Real = NDArray[np.float64]

_FINER = 4
"""Cells to the edge of the smaller voxel."""
_MOST_CELLS = 160
_LEAST_TISSUE = 0.95
_LEAST_INSIDE = 0.99


@dataclass(frozen=True)
class Fractions:
    """What spectroscopic voxels hold, as shares of their volume."""

    tissue: Real
    """Shares of gm, wm and csf as the segmentation has them, before they are made to sum to 1; shape (x, y, z, 3)."""
    inside: Real
    """Share of each voxel that lies in the image; shape (x, y, z)."""
    error: Real
    """Standard deviation between eight coarser grids of cells, an upper bound of the error; shape (x, y, z, 3)."""

    @property
    def whole(self) -> Real:
        """Shares that sum to 1, NaN where a voxel holds no tissue; shape (x, y, z, 3)."""
        total = self.tissue.sum(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.tissue / total)


def voxel_fractions(
    geometry: Geometry, segmentation: Segmentation, shape: tuple[int, int, int] = (1, 1, 1)
) -> Fractions:
    """Return what each voxel of a spectroscopic grid holds.

    Parameters
    ----------
    geometry
        Affine of the grid: the centre of voxel (0, 0, 0) and the edges of one voxel.
    segmentation
        Shares of tissue on an image's grid.
    shape
        Number of voxels of the spectroscopic grid along each axis.

    """
    to_image = np.linalg.inv(segmentation.affine) @ geometry.affine
    cells = _cells(to_image)
    axes = [(np.arange(n * c) + 0.5) / c - 0.5 for n, c in zip(shape, cells, strict=True)]
    where = _part(to_image, shape, segmentation.shape)
    shares = segmentation.shares(where)
    start = np.array([one.start for one in where])
    sums = np.zeros((2, 2, 2, *shape, len(TISSUES) + 1))
    for number, first in enumerate(axes[0]):
        found = _plane(to_image, first, axes[1], axes[2], shares, start)
        blocks = found.reshape(len(TISSUES) + 1, shape[1], cells[1] // 2, 2, shape[2], cells[2] // 2, 2)
        at = number // cells[0]
        sums[number % 2, :, :, at] += np.moveaxis(blocks.sum(axis=(2, 5)), (0, 1, 3), (4, 2, 3))
    each = sums / (math.prod(cells) / 8)
    mean = each.mean(axis=(0, 1, 2))
    spread = each.reshape(8, *mean.shape).std(axis=0)
    return Fractions(mean[..., :3], mean[..., 3], spread[..., :3])


def _cells(to_image: Real) -> tuple[int, int, int]:
    """Return into how many cells, an even number, a voxel is divided along each of its axes."""
    edges = np.abs(to_image[:3, :3]).max(axis=0)  # of a voxel, in image voxels
    counts = [2 * math.ceil(min(_FINER * edge, _MOST_CELLS) / 2) for edge in edges]
    return max(counts[0], 2), max(counts[1], 2), max(counts[2], 2)


def _part(
    to_image: Real, shape: tuple[int, int, int], image: tuple[int, int, int]
) -> tuple[slice, slice, slice]:
    """Return the part of the image that the whole grid reaches into."""
    low, high = np.full(3, -0.5), np.array(shape) - 0.5
    corners = np.array(
        [[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i, j, k in np.ndindex(2, 2, 2)]
    )
    reached = corners @ to_image[:3, :3].T + to_image[:3, 3]
    first = np.clip(np.floor(reached.min(axis=0) + 0.5), 0, image).astype(int)
    last = np.clip(np.floor(reached.max(axis=0) + 0.5) + 1, first, image).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return x, y, z


def _plane(
    to_image: Real,
    first: float,
    second: Real,
    third: Real,
    shares: NDArray[np.float32],
    start: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return shares of tissue, and 1 inside the image, at the centres of one plane of cells; shape (4, n, m)."""
    found = np.zeros((len(TISSUES) + 1, second.size, third.size), dtype=np.float32)
    if not shares[0].size:
        return found
    inside = np.ones((second.size, third.size), dtype=bool)
    index = []
    for row, offset, size in zip(to_image[:3], start, shares.shape[1:], strict=True):
        at = row[0] * first + row[1] * second[:, np.newaxis] + row[2] * third + row[3]
        whole = np.floor(at + 0.5).astype(np.intp) - offset
        inside &= (whole >= 0) & (whole < size)
        index.append(np.clip(whole, 0, size - 1))
    found[:3] = shares[:, index[0], index[1], index[2]] * inside
    found[3] = inside
    return found


def fraction_warnings(fractions: Fractions, name: str) -> tuple[str, ...]:
    """Return a word on each way in which a segmentation does not cover the voxels.

    Raises
    ------
    DataError
        The voxels lie outside the image, or hold no tissue.

    """
    if not (fractions.inside > 0).any():
        raise DataError(
            f"{name}: the spectroscopic voxel lies wholly outside the image; is it of the same session?"
        )
    total = fractions.tissue.sum(axis=-1)
    if not (total > 0).any():
        raise DataError(f"{name}: the spectroscopic voxel holds no grey matter, white matter or CSF")
    words = []
    if fractions.inside.min() < _LEAST_INSIDE:
        words.append(
            f"{name}: {100 * (1 - fractions.inside.min()):.0f} % of the voxel lies outside the image"
        )
    share = (total / np.maximum(fractions.inside, 1e-9)).min()
    if share < _LEAST_TISSUE:
        words.append(
            f"{name}: {100 * (1 - share):.0f} % of the voxel is neither grey matter, white matter nor CSF; left out"
        )
    if total.max() > 2 - _LEAST_TISSUE:
        words.append(
            f"{name}: shares of tissue sum to {total.max():.2f} in the voxel, expected 1; scaled to that"
        )
    return tuple(words)


def write_mask(
    geometry: Geometry,
    segmentation: Segmentation,
    path: Path,
    shape: tuple[int, int, int] = (1, 1, 1),
    overwrite: bool = False,
) -> None:
    """Write on the segmentation's grid which share of each image voxel the spectroscopic voxels cover, as NIfTI."""
    where = _part(np.linalg.inv(segmentation.affine) @ geometry.affine, shape, segmentation.shape)
    mask = np.zeros(segmentation.shape, dtype=np.float32)
    mask[where] = _covered(np.linalg.inv(geometry.affine) @ segmentation.affine, where, shape)
    make: Any = nibabel.Nifti1Image
    image = make(mask, segmentation.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(segmentation.affine, code=1)
    image.set_sform(segmentation.affine, code=1)
    with atomic_path(path, overwrite) as temporary:
        nibabel.save(image, temporary)


def _covered(
    to_voxel: Real, where: tuple[slice, slice, slice], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return which share of the image voxels in a part of the image lies in the grid of spectroscopic voxels."""
    size = [one.stop - one.start for one in where]
    x, y, z = (
        (np.arange(n * _FINER) + 0.5) / _FINER - 0.5 + one.start for n, one in zip(size, where, strict=True)
    )
    found = np.zeros(size, dtype=np.float32)
    for number, first in enumerate(x):
        inside = np.ones((y.size, z.size), dtype=bool)
        for row, most in zip(to_voxel[:3], shape, strict=True):
            at = row[0] * first + row[1] * y[:, np.newaxis] + row[2] * z + row[3]
            inside &= (at >= -0.5) & (at < most - 0.5)
        blocks = inside.reshape(size[1], _FINER, size[2], _FINER)
        found[number // _FINER] += blocks.sum(axis=(1, 3)) / np.float32(_FINER**3)
    return found
