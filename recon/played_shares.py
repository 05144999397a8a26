"""What the whole repetition of a `.seq` leaves of T1, and where in its slab a voxel lies: for the mM of images.

An inversion that nulls lipid and a water pulse in the same repetition leave other shares of T1 than
exp(-TE / T2) (1 - exp(-TR / T1)); a basis of a slab has the mean over it, and a voxel its own part of the profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.recon.constants import BRAIN, TISSUES, Constants
from pulsespec.recon.image_plan import Grid, grid_of
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, kept_shares
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.basis_names import house_name
from pulsespec.simulator.head import tissue_of
from pulsespec.simulator.image_response import relaxation_shares
from pulsespec.simulator.image_slab import Box, Slab, boxes_of_file
from pulsespec.simulator.timeline import read_played, read_timeline
from pulsespec.simulator.tissue import WATER
from pulsespec.simulator.tissue_library import load_tissue

Real = NDArray[np.float64]

_METABOLITES_PPM = (0.5, 4.2)
_STEP_PPM = 0.05
_WATER_PPM = 4.65
_NULLED = 0.1
"""Share of a metabolite below which an inversion leaves too little of it for a concentration."""
_EDGE = 0.5
"""Of the middle of the slab: voxels with less are beside it."""


@dataclass(frozen=True)
class PlayedShares:
    """Factors beside those of the echo time and the repetition time alone."""

    metabolite: Real
    """Of each component in grey and white matter; 1 where nothing is known, NaN where it is nulled; shape (n, 2)."""
    water: Real
    """Of water in grey matter, white matter and CSF; shape (3,)."""
    profile: Real
    """Signal of each component over that of water in the voxels of the image, by slab or box alone; NaN beside it;
    shape (n, x, y, z), of one place where all are alike."""
    words: str

    def at(self, places: NDArray[np.integer]) -> Real:
        """Return the profile in voxels, of which `places` has the numbers along x, y, z; (v, 3) to (v, n)."""
        x, y, z = np.minimum(places.T, np.array(self.profile.shape[1:])[:, None] - 1)
        return np.asarray(self.profile[:, x, y, z].T)


def played_shares(
    path: Path,
    names: Sequence[str],
    lines: Mapping[str, Lines],
    image: Transients,
    constants: Constants,
    acquisition: Acquisition,
) -> PlayedShares:
    """Return what a `.seq` leaves of components and water, relative to what `water_scaling` takes without it.

    `lines` are those of the components' basis.

    Raises
    ------
    SequenceError
        The file cannot be read, or selects along what is no axis of its image.

    """
    metabolite = np.ones((len(names), 2))
    water = np.ones(3)
    formula = kept_shares(constants, names, acquisition)
    for k, tissue in enumerate(("gm", "wm")):
        found = relaxation_shares(path, load_tissue(BRAIN[tissue]))
        for number, name in enumerate(names):
            share = found.get(house_name(name))
            if share is not None and acquisition.metabolite is not None:
                metabolite[number, k] = abs(share) / formula[0][number, k] if abs(share) > _NULLED else np.nan
        if WATER in found and acquisition.water is not None:
            water[k] = found[WATER] / formula[1][k]
    csf = relaxation_shares(path, tissue_of("csf"))
    if WATER in csf and acquisition.water is not None:
        water[2] = csf[WATER] / formula[1][2]
    profile = _profile(path, names, lines, image)
    span = ", ".join(f"{t} {v:.2f}" for t, v in zip(TISSUES, water, strict=True))
    words = (
        f"T1 as the whole repetition of {path.name} leaves it, over 1 - exp(-TR / T1): water {span}, metabolites "
        f"{np.nanmin(metabolite):.2f} to {np.nanmax(metabolite):.2f}; slab: metabolites over water "
        f"{np.nanmin(profile):.2f} to {np.nanmax(profile):.2f}"
    )
    return PlayedShares(metabolite, water, profile, words)


def _profile(path: Path, names: Sequence[str], lines: Mapping[str, Lines], image: Transients) -> Real:
    """Return components over water by slab or box at each place of an image; shape (n, x, y, z), 1 where all are alike.

    A component has the mean over its lines by their power, as least squares weigh them.
    """
    boxes = boxes_of_file(path)
    if all(slab is None for box in boxes for slab in box):
        return np.ones((len(names), 1, 1, 1))
    timeline = read_timeline(path, image.f0_hz)
    grid = grid_of(read_played(path, image.f0_hz), path.name)
    low, high, water = (
        (ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 for ppm in (*_METABOLITES_PPM, _WATER_PPM)
    )
    frequency = np.arange(low, high, _STEP_PPM * timeline.f0_hz * 1e-6)
    weights = np.array([_weights(lines.get(name), frequency) for name in names])
    sizes = [_along(grid, axis, image.size("xyz"[axis]), boxes, frequency, water) for axis in range(3)]
    found = np.einsum("nf,fx,fy,fz->nxyz", weights, *(one for one, _ in sizes))
    reference = np.einsum("x,y,z->xyz", *(one for _, one in sizes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(_edges(found) & _edges(reference), found / reference, np.nan)


def _edges(profile: Real) -> NDArray[np.bool_]:
    """Return where a profile is not beside its slab or box: of the last three axes."""
    largest = profile.max(axis=(-3, -2, -1), keepdims=True)
    return np.asarray(profile > _EDGE * largest)


def _weights(lines: Lines | None, frequency_hz: Real) -> Real:
    """Return the share of a component's power at frequencies; all alike where it has no lines among them."""
    found = np.zeros(frequency_hz.size)
    if lines is not None:
        step = frequency_hz[1] - frequency_hz[0]
        at = np.rint((lines.frequency_hz - frequency_hz[0]) / step).astype(np.int64)
        inside = (at >= 0) & (at < found.size)
        np.add.at(found, at[inside], np.abs(lines.amplitude[inside]) ** 2)
    return found / found.sum() if found.any() else np.full(found.size, 1 / found.size)


def _along(
    grid: Grid, axis: int, points: int, boxes: tuple[Box, Box], frequency_hz: Real, water_hz: float
) -> tuple[Real, Real]:
    """Return the sizes of profiles along an axis at its voxels: (n_frequencies, points) and, of water, (points,)."""
    width = float(grid.fov_m[axis]) / points
    middle = float(grid.centre_m @ grid.axes[:, axis])
    places = np.asarray(middle + (np.arange(points) - points // 2) * width, dtype=np.float64)
    return (
        _size(boxes[0][axis], frequency_hz, places, width),
        _size(boxes[1][axis], np.array([water_hz]), places, width)[0],
    )


def _size(slab: Slab | None, frequency_hz: Real, places: Real, width: float) -> Real:
    """Return the size of a profile at frequencies and places; 1 without one, and where all of it is in one voxel."""
    if slab is None or places.size == 1:
        return np.ones((frequency_hz.size, places.size))
    size = np.abs(slab.at(places, width))[slab.nearest(frequency_hz)]
    if not size.any():
        raise SequenceError("slab: lies wholly outside the image")
    return np.asarray(size)
