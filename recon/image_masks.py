"""Which voxels of an image are head, brain and scalp lipid: from the data themselves, or from a user's image.

Water shows the head, whatever its B0, by the size of its FID before it dephases; subcutaneous fat shows as a rim of
strong signal between 0.5 and 1.8 ppm at the edge of the head. Lipid deep in the head, such as that of necrosis, is
not taken for scalp.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.files import atomic_path, attempt
from pulsespec.recon.transients import Record, Transients

Mask = NDArray[np.bool_]
Real = NDArray[np.float64]

GRID = ("x", "y", "z", "t")
LIPID_PPM = (0.5, 1.8)
"""CH3 and CH2 of fat; the edge of 2 ppm is left to NAA."""
_EARLY_S = 0.01
_HEAD_SHARE = 0.3
"""Of the median water of the head: dim voxels of a coil's far side are above, ringing outside the head is below."""
_DEPTH_MM = 25.0
"""Scalp and skull, with what a voxel blurs, are no thicker: 4 to 8 mm of scalp and 6 to 7 mm of skull (recalled)."""
_BONE_MM, _TOUCHING = 6.0, 1.01
"""The brain is no nearer to the scalp than the bone is thick (6 to 7 mm, recalled), and is not the next voxel."""
_CONTRAST = 3.0
_BINS = 64
_SUBVOXELS = 5


@dataclass(frozen=True)
class Masks:
    """Voxels by what they are; each of shape (x, y, z)."""

    head: Mask
    """Where there is signal of the head at all."""
    brain: Mask
    scalp: Mask
    """Subcutaneous fat: what the lipid signals are learnt from."""
    record: Record


def require_images(data: Transients, what: str) -> None:
    """Raise `InputError` where data are not images of one FID a voxel."""
    if data.dims != GRID:
        raise InputError(f"{what}: dimensions {data.dims}, expected {GRID}: coils combined, one FID a voxel")


def water_image(water: Transients, smooth: bool = False) -> Real:
    """Return the size of the FID in its first 10 ms, the first sample left out; shape (x, y, z).

    With `smooth` a Hann window over k-space takes the ringing away first.
    """
    require_images(water, "water image")
    points = min(water.samples, max(3, round(_EARLY_S / water.dwell_s)))
    early = water.data[..., 1:points]
    return np.asarray(np.linalg.norm(_without_ringing(early) if smooth else early, axis=-1), np.float64)


def _without_ringing(images: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Return images (x, y, z, n) whose k-space has a Hann window along every axis of several voxels."""
    axes = tuple(axis for axis in range(3) if images.shape[axis] > 1)
    spectra = scipy.fft.fftn(images, axes=axes)
    for axis in axes:
        window = np.cos(np.pi * np.fft.fftfreq(images.shape[axis])) ** 2
        spectra = spectra * window.reshape([-1 if a == axis else 1 for a in range(4)])
    return np.asarray(scipy.fft.ifftn(spectra, axes=axes))


def rings(data: Transients) -> bool:
    """Return whether images have no filter over k-space, by their record, so that strong edges ring."""
    filters = [record.figures["filter"] for record in data.records if "filter" in record.figures]
    return not filters or filters[-1] == "none"


def band_image(data: Transients, window_ppm: tuple[float, float] = LIPID_PPM, smooth: bool = False) -> Real:
    """Return the size of the signal between two chemical shifts; shape (x, y, z).

    A squared cosine over the FID keeps the tails of strong water out of the band; `smooth` as in `water_image`.
    """
    require_images(data, "spectroscopic image")
    bell = np.cos(0.5 * np.pi * np.arange(data.samples) / data.samples) ** 2
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    inside = (ppm > window_ppm[0]) & (ppm < window_ppm[1])
    bins = np.stack([to_spectrum(plane * bell)[..., inside] for plane in data.data])
    bins = _without_ringing(bins) if smooth else bins
    return np.asarray(np.linalg.norm(bins, axis=-1) / np.sqrt(data.samples), np.float64)


def masks_of(data: Transients, water: Transients | None, brain: Mask | None = None) -> Masks:
    """Return the masks of images.

    Images without a filter over k-space are smoothed first, for looking at only. The head is where water exceeds 0.3 of
    its own median, holes filled. The scalp is where lipid is strong (Otsu's threshold of its logarithm, Otsu 1979,
    doi:10.1109/TSMC.1979.4310076) within 25 mm of the head's edge, or a voxel more where none is found so. The brain is
    what lies deeper than the middle of the scalp and does not touch it, its largest piece. Where lipid at the edge is
    less than three times what the middle of the head has, there is no scalp: a phantom, or lipids were suppressed.

    Parameters
    ----------
    data
        Images with dims ("x", "y", "z", "t") of which lipid is looked at.
    water
        Water reference on the same grid; `None` only where `brain` is given.
    brain
        The user's brain, which is then believed; shape (x, y, z).

    Raises
    ------
    DataError
        No head is found.
    InputError
        There is neither a water reference nor a brain.
    MismatchError
        The grids differ.

    """
    smooth = rings(data)
    lipid = band_image(data, smooth=smooth)
    for name, shape in (
        ("water", water and water.data.shape[:3]),
        ("brain", brain is not None and brain.shape),
    ):
        if shape and shape != lipid.shape:
            raise MismatchError(
                f"{name}: grid {shape}, expected {lipid.shape}, that of the spectroscopic image"
            )
    if water is None and brain is None:
        raise InputError("masks: no water reference, which shows the head, and no brain mask (--brain-mask)")
    voxel_mm = np.ones(3) * 10.0 if data.geometry is None else data.geometry.voxel_mm
    strong = lipid > _otsu(lipid)
    head = strong if brain is None else brain | strong
    wet = head
    if water is not None:
        wet = _head(water_image(water, smooth))
        near = scipy.ndimage.binary_dilation(wet, iterations=2)
        head = wet | (near & strong) | (False if brain is None else brain)
    head = _filled(head)
    padded = np.pad(
        head, ((1, 1), (1, 1), (0, 0))
    )  # the edge of the field of view is one of the head, not a slab's
    depth = np.asarray(
        scipy.ndimage.distance_transform_edt(padded, sampling=voxel_mm)[1:-1, 1:-1], np.float64
    )
    blur = max((mm for mm, n in zip(voxel_mm[:2], head.shape[:2], strict=True) if n > 1), default=0.0)
    for limit in (_DEPTH_MM, _DEPTH_MM + blur):  # coarse images of the head reach a voxel beyond it
        rim = head & (depth <= limit) if brain is None else head & ~brain
        scalp, words = _scalp(lipid, rim, head & ~rim if brain is None else brain)
        if scalp.any():
            break
    found = brain if brain is not None else _brain(head & _filled(wet), scalp, depth, voxel_mm)
    if not found.any():
        raise DataError(f"{data.source or 'images'}: no brain is found in a head of {int(head.sum())} voxels")
    origin = "given" if brain is not None else "found from water and lipid"
    details = (
        f"head {int(head.sum())}, brain {int(found.sum())} ({origin}), scalp lipid {int(scalp.sum())} "
        f"of {head.size} voxels{words}"
    )
    return Masks(head, found, scalp, Record("Masking", details))


def _head(image: Real) -> Mask:
    loud = image > _otsu(image, logarithm=False)
    if not loud.any():
        raise DataError("water image: is the same everywhere, so no head is found")
    return _largest(image > _HEAD_SHARE * float(np.median(image[loud])))


def _scalp(lipid: Real, rim: Mask, inner: Mask) -> tuple[Mask, str]:
    """Return the strong part of the rim, and words where there is none."""
    none = np.zeros_like(rim)
    if not rim.any():
        return none, ""
    scalp = rim & (lipid > _otsu(lipid[rim]))
    core = float(np.median(lipid[inner])) if inner.any() else float(np.median(lipid[rim]))
    if not scalp.any() or float(np.median(lipid[scalp])) < _CONTRAST * core:
        return none, "; no rim of lipid stands out"
    return scalp, ""


def _brain(head: Mask, scalp: Mask, depth: Real, voxel_mm: Real) -> Mask:
    if not scalp.any():
        return head
    away = scipy.ndimage.distance_transform_edt(~scalp, sampling=voxel_mm)
    several = [mm for mm, n in zip(voxel_mm, head.shape, strict=True) if n > 1]
    near = away <= max(_BONE_MM, _TOUCHING * max(several[:2], default=0.0))
    return _filled(_largest(head & ~near & (depth > np.median(depth[scalp])))) & ~scalp


def _largest(mask: Mask) -> Mask:
    labels, count = scipy.ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _filled(mask: Mask) -> Mask:
    """Return a mask without holes, closed plane by plane: slabs are open above and below."""
    return np.stack([scipy.ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[2])], axis=2)


def _otsu(values: Real, logarithm: bool = True) -> float:
    """Return the threshold that parts values into the two classes of least variance within them."""
    kept = values[values > 0]
    if kept.size == 0 or kept.min() == kept.max():
        return float(np.max(values, initial=0.0))
    used = np.log(kept) if logarithm else kept
    counts, edges = np.histogram(used, bins=_BINS)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1].astype(float)
    first = np.cumsum(counts * centres)
    above = counts.sum() - below
    apart = first[:-1] / np.maximum(below, 1) - (first[-1] - first[:-1]) / np.maximum(above, 1)
    threshold = float(edges[1 + int(np.argmax(below * above * apart**2))])
    return float(np.exp(threshold)) if logarithm else threshold


def read_mask(path: Path, data: Transients) -> Mask:
    """Return a user's NIfTI mask on the grid of images: voxels of which half or more lies in it.

    World coordinates of both join them, so the mask may be of any resolution and orientation.

    Raises
    ------
    DataError
        The file is no image, or has more than one volume.
    MismatchError
        The images have no place, or no voxel of them lies in the mask.

    """
    import nibabel

    image: Any
    image, words = attempt(lambda: nibabel.load(path))
    if image is None:
        raise DataError(f"{path}: cannot be read as an image ({words})")
    values = np.squeeze(np.asarray(image.dataobj))
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3:
        raise DataError(f"{path}: shape {image.shape}, expected one volume")
    if data.geometry is None:
        raise MismatchError(
            f"{data.source or 'images'}: have no place in the scanner, so {path} cannot be laid on them"
        )
    to_mask = np.linalg.inv(image.affine) @ data.geometry.affine
    x, y, z = data.data.shape[:3]
    corners = np.stack(np.meshgrid(np.arange(x), np.arange(y), np.arange(z), indexing="ij"))
    steps = (np.arange(_SUBVOXELS) + 0.5) / _SUBVOXELS - 0.5
    share = np.zeros((x, y, z))
    for step in np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1).T:
        at = np.einsum("ij,jxyz->ixyz", to_mask[:3, :3], corners + step[:, None, None, None])
        at += to_mask[:3, 3][:, None, None, None]
        nearest = np.floor(at + 0.5).astype(int)
        outside = np.any((nearest < 0) | (nearest >= np.reshape(values.shape, (3, 1, 1, 1))), axis=0)
        share += np.where(outside, False, values[tuple(np.where(outside, 0, nearest))] > 0)
    found = share >= 0.5 * _SUBVOXELS**3
    if not found.any():
        raise MismatchError(f"{path}: no voxel of {data.source or 'the images'} lies in this mask")
    return np.asarray(found)


def write_mask(mask: Mask, data: Transients, path: Path, overwrite: bool = False) -> None:
    """Write a mask as NIfTI on the grid of `data`."""
    import nibabel

    affine = np.eye(4) if data.geometry is None else data.geometry.affine
    image: Any = nibabel.Nifti1Image(mask.astype(np.uint8), affine)  # type: ignore[no-untyped-call]
    with atomic_path(path, overwrite) as temporary:
        nibabel.save(image, temporary)
