"""Where a voxel is and how it is turned, in the coordinates of the gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pulsespec.conventions import DEVICE_FROM_LPS
from pulsespec.errors import InputError

_ANGLES, _AXES = 3, 9


@dataclass(frozen=True)
class Frame:
    """The axes and the centre of a voxel."""

    rotation: NDArray[np.float64]
    """Columns are the voxel's x, y and z in gradient coordinates; shape (3, 3)."""
    position_m: NDArray[np.float64]
    """Centre in gradient coordinates; shape (3,)."""

    @classmethod
    def identity(cls) -> "Frame":
        """Return a voxel in the isocentre along the gradients."""
        return cls(np.eye(3), np.zeros(3))

    def to_gradient(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a vector along the voxel's axes in gradient coordinates."""
        return np.asarray(self.rotation @ vector)


_SQUARE = 1e-3


def frame_from_numbers(orientation: Sequence[float], position_mm: Sequence[float]) -> Frame:
    """Return a frame from Euler angles or axes, and a centre in mm, all in gradient coordinates.

    Three numbers are angles in degrees: turns about the fixed axes x, y and z, in this order. Nine are the axes
    x, y and z of the voxel, one after another.

    Raises
    ------
    InputError
        There are neither three nor nine numbers, or the axes are no right-handed set of unit vectors.

    """
    if len(orientation) == _ANGLES:
        rotation = Rotation.from_euler("xyz", orientation, degrees=True).as_matrix()
    elif len(orientation) == _AXES:
        rotation = np.reshape(np.asarray(orientation, float), (3, 3)).T
    else:
        raise InputError(f"orientation: got {len(orientation)} numbers, expected 3 angles or 9 of the axes")
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise InputError(f"orientation: got {list(orientation)}, expected right-handed unit vectors")
    return Frame(_orthonormal(rotation), np.asarray(position_mm, float) * 1e-3)


def frame_from_image(
    path: Path, *, vendor: str, patient_position: str = "HFS"
) -> tuple[Frame, tuple[float, float, float]]:
    """Return frame and extent in mm of a voxel that a NIfTI image gives.

    A mask gives the smallest box along the axes of the image that holds all of its voxels; a spectrum
    (NIfTI-MRS of a single voxel) gives that voxel. The image's world coordinates must have their origin in the
    isocentre, as those of an image acquired in the same table position have.

    Raises
    ------
    InputError
        The file is no NIfTI image, its axes are not at right angles, the mask is empty, or it is not known how
        this vendor's gradients lie in this patient position.

    """
    if (vendor, patient_position) not in DEVICE_FROM_LPS:
        known = ", ".join(f"{v} {p}" for v, p in DEVICE_FROM_LPS)
        raise InputError(
            f"{path}: how the gradients of {vendor} lie in a patient in position {patient_position} is not known "
            f"(known: {known}): give --position-mm and --orientation in gradient coordinates instead"
        )
    try:
        image: Any = nibabel.load(path)
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path}: cannot be read as NIfTI ({error})") from error
    if not isinstance(image, nibabel.nifti1.Nifti1Pair):
        raise InputError(f"{path}: got an image of type {type(image).__name__}, expected NIfTI")
    if not int(image.header["sform_code"]) and not int(image.header["qform_code"]):
        raise InputError(f"{path}: does not say where it lies (sform and qform are unset)")
    affine: NDArray[np.float64] = np.asarray(image.affine, np.float64)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    # An axis without length is at right angles to nothing.
    axes = affine[:3, :3] / np.where(size > 0, size, 1.0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SQUARE:
        raise InputError(f"{path}: the axes of the image are not at right angles")
    shape = image.shape[:3]
    low, high = np.zeros(3), np.array(shape) - 1.0
    if shape != (1, 1, 1):
        if len([n for n in image.shape if n > 1]) > len(shape):
            raise InputError(
                f"{path}: got an image of shape {image.shape}, expected a mask of three dimensions"
            )
        inside = np.argwhere(np.reshape(np.asarray(image.dataobj), shape) != 0)
        if not inside.size:
            raise InputError(f"{path}: the mask is empty")
        low, high = inside.min(axis=0), inside.max(axis=0)
    centre_ras_mm: NDArray[np.float64] = np.asarray(affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3])
    to_device = DEVICE_FROM_LPS[(vendor, patient_position)] @ np.diag([-1.0, -1.0, 1.0])
    rotation = to_device @ axes
    if np.linalg.det(rotation) < 0:
        rotation[:, 2] *= -1  # a box is the same with an axis turned around
    x_mm, y_mm, z_mm = (float(mm) for mm in (high - low + 1) * size)
    return Frame(_orthonormal(rotation), np.asarray(to_device @ centre_ras_mm * 1e-3, np.float64)), (
        x_mm,
        y_mm,
        z_mm,
    )


def _orthonormal(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation nearest to a matrix that has few digits."""
    u, _, v = np.linalg.svd(rotation)
    return np.asarray(u @ v)
