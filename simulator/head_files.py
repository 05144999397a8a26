"""A head from a user's segmentation: shares of tissues from NIfTI images, at points in world coordinates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError
from pulsespec.files import attempt

Real = NDArray[np.float64]
Shares = dict[str, NDArray[np.float32]]

_ABOVE_ONE = 1.02
"""Largest sum of shares that rounding explains."""


def segmented(labels: str, tissues: Mapping[str, int | list[int] | str], points_mm: Real) -> Shares:
    """Return the share of each tissue at points, trilinear between the voxels of the segmentation.

    Parameters
    ----------
    labels
        An image of labels; empty where `tissues` names an image of shares for each.
    tissues
        Labels or images, by tissue.
    points_mm
        World coordinates as of the images; shape (..., 3).

    Raises
    ------
    InputError
        A file is missing, or a label is in none of its voxels.
    DataError
        An image cannot be read, is not three-dimensional, or shares sum to more than 1.

    """
    if labels:
        values, affine = _image(Path(labels))
        found = {
            name: _sampled(_of_labels(labels, values, name, which), affine, points_mm)
            for name, which in tissues.items()
        }
    else:
        found = {name: _sampled(*_image(Path(str(path))), points_mm) for name, path in tissues.items()}
    total = np.sum(list(found.values()), axis=0)
    if total.max(initial=0.0) > _ABOVE_ONE or min(share.min() for share in found.values()) < -0.02:
        raise DataError(
            f"segmentation: shares sum to {total.max():.2f} at most, expected 1 and none below 0 (images of "
            "shares, not of percent)"
        )
    return {name: np.clip(share, 0, 1).astype(np.float32) for name, share in found.items()}


def segmentation_extent_mm(labels: str, tissues: Mapping[str, int | list[int] | str]) -> tuple[Real, Real]:
    """Return the lowest and highest world coordinates at which a segmentation has any tissue; shape (3,) each."""
    corners = []
    for path in [labels] if labels else [str(one) for one in tissues.values()]:
        values, affine = _image(Path(path))
        index = np.argwhere(values > 0)
        if index.size:
            ends = np.array([index.min(axis=0) - 1, index.max(axis=0) + 1])
            grid = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1).T
            corners.append(grid @ affine[:3, :3].T + affine[:3, 3])
    if not corners:
        raise DataError("segmentation: has no tissue in any voxel")
    all_corners = np.concatenate(corners)
    return all_corners.min(axis=0), all_corners.max(axis=0)


def _image(path: Path) -> tuple[Real, Real]:
    import nibabel  # takes longer than the rest of a virtual scan's imports

    if not path.is_file():
        raise InputError(f"segmentation {path.name}: no such file")
    image, words = attempt(lambda: nibabel.load(path))
    values, why = (
        attempt(lambda: np.asarray(_volume(image), dtype=float)) if image is not None else (None, words)
    )
    if values is None or image is None:
        raise DataError(f"segmentation {path.name}: cannot be read as NIfTI ({why})")
    if values.ndim != 3:
        raise DataError(f"segmentation {path.name}: has shape {values.shape}, expected three dimensions")
    return values, np.array(getattr(image, "affine", np.eye(4)), dtype=np.float64)


def _volume(image: Any) -> NDArray[Any]:
    values = np.asarray(image.dataobj)
    return values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values


def _of_labels(path: str, values: Real, name: str, which: int | list[int] | str) -> Real:
    if isinstance(which, str):
        raise InputError(f"head: tissues.{name} = {which!r}: expected a label or a list of labels")
    chosen = np.isin(np.rint(values), np.atleast_1d(which))
    if not chosen.any():
        raise InputError(
            f"segmentation {Path(path).name}: no voxel of {name} (labels {which}); it has "
            f"{sorted({int(one) for one in np.unique(np.rint(values))})[:20]}"
        )
    return chosen.astype(float)


def _sampled(values: Real, affine: Real, points_mm: Real) -> Real:
    """Return an image at points, 0 outside of it."""
    from scipy.ndimage import map_coordinates

    inverse = np.linalg.inv(affine)
    index = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
    found = map_coordinates(values, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=0.0)
    return np.asarray(found)
