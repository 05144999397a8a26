"""A spectroscopic image as an array of voxels, and which of them are fitted."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon.label_shares import mask_shares
from pulsespec.recon.transients import Geometry, Scan, Transients
from pulsespec.recon.volumes import Volume

SPACE = ("x", "y", "z")
_METABOLITES_PPM = (1.8, 3.4)
_LINE_HZ = 6.0
"""Width of the line that is looked for."""
_LEAST_SIGNAL = 5.0
"""Standard deviations: the largest of some hundred points of noise is seldom beyond 3.5."""
_HALF = 0.5
_CHUNK = 512


@dataclass(frozen=True)
class Chosen:
    """Voxels that are fitted."""

    index: NDArray[np.intp]
    """Where each is along x, y and z, in C order; shape (v, 3)."""
    words: str
    """How they were chosen."""


def as_image(data: Transients) -> Transients:
    """Return data with dims ("x", "y", "z", "t"), shots averaged.

    Raises
    ------
    InputError
        Coils or editing conditions are apart.

    """
    for name, verb in (("coil", "combines them"), ("edit", "subtracts them"), ("series", "takes one")):
        if name in data.dims and data.size(name) > 1:
            raise InputError(
                f"{data.source or 'image'}: has {data.size(name)} entries along {name!r}, expected an image that "
                f"`recon` has made: it {verb}"
            )
    fids, dims = data.data, list(data.dims)
    if "average" in dims:
        fids = fids.mean(axis=dims.index("average"))
        dims.remove("average")
    sizes = [data.size(name) for name in SPACE]
    return replace(data, data=fids.reshape(*sizes, data.samples), dims=(*SPACE, "t"))


def image_scan(scan: Scan) -> Scan:
    """Return a scan of images on one grid.

    Raises
    ------
    MismatchError
        The water reference has other voxels or lies elsewhere.

    """
    assert scan.metabolite is not None
    image = as_image(scan.metabolite)
    if scan.water is None:
        return Scan(image, None)
    water = as_image(scan.water)
    shape, other = image.data.shape[:3], water.data.shape[:3]
    if shape != other:
        raise MismatchError(
            f"{water.source or 'water'}: dims {scan.water.dims} of shape {scan.water.data.shape}, expected the "
            f"voxels of {image.source or 'the data'}: {', '.join(map(str, shape))} along x, y, z"
        )
    if image.geometry is not None and water.geometry is not None:
        apart = np.abs(image.geometry.affine - water.geometry.affine).max()
        if apart > 0.1 * float(image.geometry.voxel_mm.min()):
            raise MismatchError(
                f"{water.source or 'water'}: its grid lies up to {apart:.1f} mm from that of "
                f"{image.source or 'the data'}, expected the same voxels"
            )
    return Scan(image, water)


def grid_of(image: Transients) -> tuple[int, int, int]:
    """Return the number of voxels along x, y and z."""
    return image.size("x"), image.size("y"), image.size("z")


def placed(image: Transients, what: str) -> Geometry:
    """Return where the grid lies; `DataError` where the file does not say it, though `what` needs it."""
    if image.geometry is None:
        raise DataError(
            f"{image.source or 'image'}: has no position in the scanner, which {what} cannot do without"
        )
    return image.geometry


def chosen_voxels(image: Transients, mask: Volume | None, brain: NDArray[np.bool_] | None = None) -> Chosen:
    """Return the voxels that are fitted.

    Those of which more than half lies in a mask; without one, those of the brain, where it was found on the grid, shape
    (x, y, z), else those with signal of metabolites.

    Raises
    ------
    DataError
        There are none.

    """
    signal = _with_samples(image)
    if mask is None and brain is not None:
        found, words = signal & brain, "brain, found from water and lipid"
    elif mask is None:
        found = signal & _with_metabolites(image)
        words = f"signal at {_METABOLITES_PPM[0]} to {_METABOLITES_PPM[1]} ppm above {_LEAST_SIGNAL:g} times the noise"
    else:
        inside = mask_shares(placed(image, "a mask"), grid_of(image), mask) > _HALF
        found = signal & inside
        lost = int(np.count_nonzero(inside & ~signal))
        words = f"more than half in {mask.name}" + (f"; {lost} of them without any signal" if lost else "")
    index = np.argwhere(found)
    if not len(index):
        raise DataError(f"{image.source or 'image'}: no voxel can be fitted ({words})")
    return Chosen(index, f"{len(index)} of {found.size} voxels: {words}")


def _with_samples(image: Transients) -> NDArray[np.bool_]:
    """Return which voxels have finite samples that are not all zero; shape (x, y, z)."""
    finite = np.isfinite(image.data).all(axis=-1)
    return np.asarray(finite & np.any(image.data, axis=-1))


def _with_metabolites(image: Transients) -> NDArray[np.bool_]:
    fids = image.data.reshape(-1, image.samples)
    found = [_stands_out(fids[first : first + _CHUNK], image) for first in range(0, len(fids), _CHUNK)]
    return np.concatenate(found).reshape(image.data.shape[:3])


def _stands_out(fids: NDArray[np.complexfloating], image: Transients) -> NDArray[np.bool_]:
    """Return whether spectra, under a matched filter, have a point above the noise where metabolites are."""
    decay = np.exp(-np.pi * _LINE_HZ * np.arange(image.samples) * image.dwell_s)
    with np.errstate(all="ignore"):
        filtered = to_spectrum(fids.astype(np.complex128) * decay)
    ppm = ppm_axis(image.samples, image.dwell_s, image.f0_hz, image.reference_ppm)
    inside = (ppm > _METABOLITES_PPM[0]) & (ppm < _METABOLITES_PPM[1])
    tail = fids[:, -max(16, image.samples // 8) :]
    noise = np.sqrt(np.mean(np.abs(tail) ** 2, axis=1) / 2 * np.sum(decay**2))
    return np.asarray(np.abs(filtered[:, inside]).max(axis=1, initial=0.0) > _LEAST_SIGNAL * noise)
