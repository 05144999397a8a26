"""Images of one number a voxel, in and out as NIfTI: masks, atlases, maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import atomic_path, attempt
from pulsespec.recon.transients import Geometry

Real = NDArray[np.float64]

_SHEAR = 1e-4
_MOST_WORDS = 79
"""Characters that a NIfTI header has for a description."""


@dataclass(frozen=True)
class Volume:
    """An image of one number a voxel."""

    values: NDArray[Any]
    """Shape (x, y, z)."""
    affine: Real
    """Indices to millimetres in the space of the scanner, RAS+; shape (4, 4)."""
    name: str
    """Name of the file, without its folder."""


def read_volume(path: Path) -> Volume:
    """Read an image.

    Raises
    ------
    InputError
        There is no such file.
    DataError
        It is no image of one real number a voxel, is damaged, or does not say where it lies.

    """
    from pulsespec.recon.segmentation import open_volume, volume_affine

    path = Path(path)
    image = open_volume(path)
    affine = volume_affine(image, path)
    values, words = attempt(lambda: np.asarray(image.dataobj))
    if values is None:
        raise DataError(f"{path}: cannot be read, damaged or cut short ({words})")
    return Volume(values.reshape(values.shape[:3]), affine, path.name)


def read_labels(path: Path) -> Volume:
    """Read an image of whole numbers from 0 (0 is nothing): an atlas, or a mask; `DataError` where it has others."""
    volume = read_volume(path)
    whole = np.round(volume.values)
    if (
        not np.isfinite(whole).all()
        or whole.min(initial=0) < 0
        or np.abs(whole - volume.values).max(initial=0) > 1e-3
    ):
        raise DataError(f"{path}: holds numbers that are not whole or below 0, expected labels from 0")
    return Volume(whole.astype(np.int64), volume.affine, volume.name)


def write_volume(
    values: NDArray[Any], geometry: Geometry | None, path: Path, words: str = "", overwrite: bool = False
) -> None:
    """Write a map as NIfTI, float32, or uint8 for whole numbers of one byte.

    Without a place (`geometry` is `None`) both codes of the header are 0, so that no reader takes one for granted.

    Parameters
    ----------
    values
        Shape (x, y, z).
    geometry
        Of the grid.
    path
        File to write, .nii or .nii.gz.
    words
        What it is and in which unit; at most 79 characters are kept.
    overwrite
        Replace a file that exists.

    """
    import nibabel

    kind = np.uint8 if values.dtype in (np.uint8, np.bool_) else np.float32
    affine = np.eye(4) if geometry is None else geometry.affine
    make: Any = nibabel.Nifti1Image
    image = make(values.astype(kind), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = words.encode("ascii", "replace")[:_MOST_WORDS]
    placed = geometry is not None
    image.set_sform(affine, code=int(placed))
    image.set_qform(affine, code=int(placed and _orthogonal(affine)))
    with atomic_path(path, overwrite) as temporary:
        nibabel.save(image, temporary)


def _orthogonal(affine: Real) -> bool:
    """Return whether the axes are at right angles, as the quaternion of a header needs them."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < _SHEAR)
