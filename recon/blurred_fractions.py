"""Tissue fractions as the point-spread function of an image sees them.

A voxel of an image is not a box: it is the sum over k-space, as far as it was sampled, with the weights of the filter.
Fractions are taken on cells of a quarter of a voxel, transformed, cut and weighted as the image was, and transformed
back. Lobes of the point-spread function reach far and are negative in places: what comes out below zero is taken as 0.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_regrid import filter_of
from pulsespec.recon.segmentation import Segmentation
from pulsespec.recon.transients import Geometry, Transients
from pulsespec.recon.voxel_fractions import Fractions, voxel_fractions

Real = NDArray[np.float64]

_CELLS = 4
_ROUND = 0.01
"""Difference of the edges of a field of view that rings allow."""
_STEP = "Spatial Fourier transform"
_ENCODED = re.compile(r"(\d+) encodes of .* on (\d+) x (\d+) x (\d+), made .*, filter (\w+)")
_TRAIN = "echo-planar train"
_RINGS = re.compile(r"(\d+) concentric rings of ([\d.]+) to ([\d.]+) cycles/m, .*, filter (\w+)")


@dataclass(frozen=True)
class Blur:
    """How far k-space was sampled, and with which weights."""

    matrix: tuple[int, int, int]
    """Encoded points along x, y, z."""
    filter: str
    """One of `image_regrid.FILTERS`."""
    ellipse: tuple[int, ...] = ()
    """Axes over which encodes outside an ellipsoid were left out."""
    rings: tuple[float, float] | None = None
    """Radius of the outermost ring, and of the disc that rings stand for, in steps of 1 / field of view."""

    @property
    def words(self) -> str:
        """What it is, for the reader."""
        x, y, z = self.matrix
        if self.rings is not None:
            return f"rings out to {self.rings[0]:.1f} / field of view, filter {self.filter}"
        return f"{x} x {y} x {z} encodes{' in an ellipsoid' if self.ellipse else ''}, filter {self.filter}"


def blur_of(image: Transients) -> Blur | None:
    """Return how an image that this program made was sampled, by its records; `None` where it does not say."""
    said = [record.details for record in image.records if record.method == _STEP]
    said += [
        str(step.get("Details", ""))
        for step in image.header.get("processing_applied", ())
        if step.get("Method") == _STEP and step.get("Program") == "pulsespec"
    ]
    found = _ENCODED.search(said[-1]) if said else None
    if found is None:
        return _blur_of_rings(image, said[-1]) if said else None
    count, x, y, z = (int(found[k]) for k in range(1, 5))
    axes = (1, 2) if said[-1].startswith(_TRAIN) else (0, 1, 2)
    matrix = (x, y, z)
    whole = int(np.prod([matrix[axis] for axis in axes]))
    return Blur(matrix, found[5], axes if count < whole else ())


def _blur_of_rings(image: Transients, said: str) -> Blur | None:
    """Return the disc that concentric rings stand for, weighed by |k|."""
    found = _RINGS.search(said)
    if found is None or image.geometry is None or image.size("z") > 1:
        return None
    count, low, high = int(found[1]), float(found[2]), float(found[3])
    steps = [float(image.geometry.voxel_mm[k]) * 1e-3 * image.size("xy"[k]) for k in (0, 1)]
    if count < 2 or abs(steps[0] / steps[1] - 1) > _ROUND:
        return None
    edge = steps[0] * (high + (high - low) / (count - 1) / 2)
    across = 2 * int(edge) + 1
    return Blur((across, across, 1), found[4], rings=(steps[0] * high, edge))


def blurred_fractions(
    geometry: Geometry, segmentation: Segmentation, shape: tuple[int, int, int], blur: Blur
) -> Fractions:
    """Return what each voxel of an image holds, weighted by its point-spread function.

    Parameters
    ----------
    geometry, shape
        Of the image, which may have more voxels than were encoded.
    segmentation
        Shares of tissue on an image's grid.
    blur
        How the image was sampled.

    """
    cells = tuple(1 if points == 1 else _CELLS for points in blur.matrix)
    fine = np.diag([1 / cells[0], 1 / cells[1], 1 / cells[2], 1.0])
    fine[:3, 3] = [0.5 / c - 0.5 for c in cells]
    affine = geometry.affine @ fine
    layer = (cells[0], shape[1] * cells[1], shape[2] * cells[2])
    parts = []
    for first in range(shape[0]):  # one layer of voxels at a time: memory
        moved = affine.copy()
        moved[:3, 3] += affine[:3, 0] * first * cells[0]
        found = voxel_fractions(Geometry(moved), segmentation, layer)
        parts.append(np.concatenate([found.tissue, found.inside[..., None]], axis=-1))
    seen = _sampled(np.concatenate(parts), shape, cells, blur)
    tissue, inside = np.clip(seen[..., :3], 0, None), np.clip(seen[..., 3], 0, 1)
    return Fractions(tissue, inside, np.zeros_like(tissue))


def _sampled(cells: Real, shape: tuple[int, int, int], per_voxel: tuple[int, ...], blur: Blur) -> Real:
    """Return cells (x, y, z, n) as the image has them: transformed, cut, weighted and transformed back."""
    spectrum = np.fft.fftn(cells, axes=(0, 1, 2)) / np.prod(cells.shape[:3])
    orders = [np.arange(m) - m // 2 for m in blur.matrix]
    for axis, (order, n, c) in enumerate(zip(orders, shape, per_voxel, strict=True)):
        spectrum = np.take(spectrum, order % (n * c), axis=axis)
        weight = np.ones(order.size)
        if blur.rings is None:
            weight = filter_of(blur.filter)(np.abs(order) / max(blur.matrix[axis] / 2, 1.0))
        factor = weight * np.exp(-2j * np.pi * order * (0.5 / c - 0.5) / n)
        spectrum = spectrum * factor.reshape([-1 if k == axis else 1 for k in range(4)])
    if blur.ellipse:
        radius = np.zeros(blur.matrix)
        for axis in blur.ellipse:
            share = orders[axis] / max(blur.matrix[axis] / 2, 1.0)
            radius = radius + (share**2).reshape([-1 if k == axis else 1 for k in range(3)])
        spectrum = spectrum * (radius <= 1)[..., None]
    if blur.rings is not None:
        outermost, edge = blur.rings
        radius = np.hypot(orders[0][:, None], orders[1])
        disc = (radius <= edge) * filter_of(blur.filter)(np.minimum(radius / outermost, 1.0))
        spectrum = spectrum * disc[..., None, None]
    for axis, (order, n) in enumerate(zip(orders, shape, strict=True)):
        back = np.exp(2j * np.pi * np.outer(np.arange(n), order) / n)
        spectrum = np.moveaxis(np.tensordot(back, spectrum, axes=(1, axis)), 0, axis)
    return np.asarray(spectrum.real)
