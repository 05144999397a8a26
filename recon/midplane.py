"""The plane that divides a head into left and right: the one about which an image is most like its mirror image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.volumes import Volume

Real = NDArray[np.float64]

_MOST_POINTS = 8_000
_SMOOTHING_MM = 6.0
_STARTS_DEG = (-8.0, 0.0, 8.0)
_LARGEST_TILT_DEG = 30.0


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of the scanner: points r in mm with normal . r = offset."""

    normal: Real
    """Of length one, towards the patient's right (+x, RAS) as nearly as it can be; shape (3,)."""
    offset_mm: float
    likeness: float
    """Correlation of the image with its mirror image, up to 1."""
    words: str
    """Where it comes from."""

    @property
    def reflection(self) -> Real:
        """Return the matrix that mirrors a point in homogeneous coordinates; shape (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] -= 2 * np.outer(self.normal, self.normal)
        matrix[:3, 3] = 2 * self.offset_mm * self.normal
        return matrix


def mirrored(volume: Volume, plane: Plane) -> Volume:
    """Return the mirror image of a volume: the same numbers at mirrored places."""
    return Volume(volume.values, plane.reflection @ volume.affine, f"{volume.name} mirrored")


def symmetry_plane(volume: Volume) -> Plane:
    """Return the plane of symmetry of an image near the sagittal plane through its centre.

    Parameters
    ----------
    volume
        A brain mask, a segmentation (what is above 0 counts) or an image of a head.

    Raises
    ------
    DataError
        Nothing in it is above 0.

    """
    from scipy.ndimage import gaussian_filter
    from scipy.optimize import minimize

    weights = np.clip(np.nan_to_num(volume.values.astype(np.float64)), 0, None)
    if volume.values.dtype.kind in "biu":
        weights = np.minimum(weights, 1.0)
    if not weights.any():
        raise DataError(f"{volume.name}: is empty, expected a brain whose plane of symmetry can be found")
    size_mm = np.linalg.norm(volume.affine[:3, :3], axis=0)
    pad = np.ceil(2 * _SMOOTHING_MM / size_mm).astype(int)
    smooth = gaussian_filter(np.pad(weights, [(int(p), int(p)) for p in pad]), _SMOOTHING_MM / size_mm)
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ pad
    points = np.argwhere(smooth > 0.01 * smooth.max())
    points = points[:: max(1, len(points) // _MOST_POINTS)]
    values = smooth[tuple(points.T)]
    places = points @ affine[:3, :3].T + affine[:3, 3]
    centre = values @ places / values.sum()
    inverse = np.linalg.inv(affine)

    def likeness(found: Real) -> float:
        normal, offset = _plane(found, centre)
        there = places - 2 * ((places @ normal) - offset)[:, None] * normal
        return _correlation(values, _at(smooth, there @ inverse[:3, :3].T + inverse[:3, 3]))

    tried = [
        minimize(
            lambda at: -likeness(at),
            [0.0, yaw, 0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-3, "fatol": 1e-7},
        )
        for yaw in _STARTS_DEG
    ]
    best = min(tried, key=lambda one: float(one.fun))
    normal, offset = _plane(np.asarray(best.x), centre)
    words = f"plane of symmetry of {volume.name} (correlation with its mirror image {-best.fun:.3f})"
    return Plane(normal, float(offset), float(-best.fun), words)


def _plane(found: Real, centre: Real) -> tuple[Real, float]:
    """Return normal and offset from mm beside the centre and tilts about z and y in degrees."""
    yaw, roll = np.deg2rad(np.clip(found[1:], -_LARGEST_TILT_DEG, _LARGEST_TILT_DEG))
    normal = np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])
    return normal, float(normal @ centre + found[0])


def _at(image: Real, places: Real) -> Real:
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(image, places.T, order=1, mode="constant"))


def _correlation(first: Real, second: Real) -> float:
    """Return the cosine of two images: zero outside counts as it is."""
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-300))
