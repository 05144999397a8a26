"""What the whole repetition of a `.seq` leaves of T1, and where in its slab a voxel lies: for the mM of images.

An inversion that nulls lipid and a water pulse in the same repetition leave other shares of T1 than
exp(-TE / T2) (1 - exp(-TR / T1)); a basis of a slab has the mean over it, and a voxel its own part of the profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import SequenceError
from pulsespec.recon.constants import BRAIN, TISSUES, Constants
from pulsespec.recon.image_plan import Grid, grid_of
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, kept_shares
from pulsespec.simulator.basis_names import house_name
from pulsespec.simulator.head import tissue_of
from pulsespec.simulator.image_response import relaxation_shares
from pulsespec.simulator.image_slab import Box, Slab, boxes_of_file
from pulsespec.simulator.timeline import read_played, read_timeline
from pulsespec.simulator.tissue import WATER
from pulsespec.simulator.tissue_library import load_tissue

Real = NDArray[np.float64]

_METABOLITES_PPM = (0.5, 4.3)
"""Where signal tells how much of a component there is."""
_SAMPLES, _RESOLVED_HZ = 512, 10.0
"""Samples and broadening with which it is looked for."""
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
    names: tuple[str, ...]
    """The n components."""

    def columns(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of some of the components."""
        return [self.names.index(name) for name in names]

    def at(self, places: NDArray[np.integer]) -> Real:
        """Return the profile in voxels, of which `places` has the numbers along x, y, z; (v, 3) to (v, n)."""
        x, y, z = np.minimum(places.T, np.array(self.profile.shape[1:])[:, None] - 1)
        return np.asarray(self.profile[:, x, y, z].T)


def played_shares(
    path: Path, basis: Any, image: Transients, constants: Constants, acquisition: Acquisition
) -> PlayedShares:
    """Return what a `.seq` leaves of components and water, relative to what `water_scaling` takes without it.

    Parameters
    ----------
    path
        The `.seq` that was played.
    basis
        What is fitted; anything with `names`, `reference_ppm` and `fid(name, samples, dwell_s)`.
    image
        The image.
    constants, acquisition
        What `water_scaling` has.

    Raises
    ------
    SequenceError
        The file cannot be read, or selects along what is no axis of its image.

    """
    names = tuple(basis.names)
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
    profile = _profile(path, basis, image)
    span = ", ".join(f"{t} {v:.2f}" for t, v in zip(TISSUES, water, strict=True))
    words = (
        f"T1 as the whole repetition of {path.name} leaves it, over 1 - exp(-TR / T1): water {span}, metabolites "
        f"{np.nanmin(metabolite):.2f} to {np.nanmax(metabolite):.2f}; slab: metabolites over water "
        f"{np.nanmin(profile):.2f} to {np.nanmax(profile):.2f}, by the frequencies of each"
    )
    return PlayedShares(metabolite, water, profile, words, names)


def _profile(path: Path, basis: Any, image: Transients) -> Real:
    """Return components over water by slab or box at each place of an image; shape (n, x, y, z), 1 where all are alike.

    A component has the mean over its spectrum by power, as least squares weigh it: slices move with the frequency.
    """
    boxes = boxes_of_file(path)
    if all(slab is None for box in boxes for slab in box):
        return np.ones((len(basis.names), 1, 1, 1))
    timeline = read_timeline(path, image.f0_hz)
    grid = grid_of(read_played(path, image.f0_hz), path.name)
    to_hz, reference = timeline.f0_hz * 1e-6, timeline.reference_ppm
    ppm, weights = _where(basis, image)
    frequency, water = (ppm - reference) * to_hz, (_WATER_PPM - reference) * to_hz
    sizes = [_along(grid, axis, image.size("xyz"[axis]), boxes, frequency, water) for axis in range(3)]
    found = np.einsum("nf,fx,fy,fz->nxyz", weights, *(one for one, _ in sizes))
    reference = np.einsum("x,y,z->xyz", *(one for _, one in sizes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(_edges(found) & _edges(reference), found / reference, np.nan)


def _edges(profile: Real) -> NDArray[np.bool_]:
    """Return where a profile is not beside its slab or box: of the last three axes."""
    largest = profile.max(axis=(-3, -2, -1), keepdims=True)
    return np.asarray(profile > _EDGE * largest)


def _where(basis: Any, image: Transients) -> tuple[Real, Real]:
    """Return ppm, and the share of each component's power that lies there; shapes (n_ppm,) and (n, n_ppm)."""
    decay = np.exp(-np.pi * _RESOLVED_HZ * np.arange(_SAMPLES) * image.dwell_s)
    fids = np.array([basis.fid(name, _SAMPLES, image.dwell_s) * decay for name in basis.names])
    ppm = ppm_axis(_SAMPLES, image.dwell_s, image.f0_hz, basis.reference_ppm)
    kept = (ppm > _METABOLITES_PPM[0]) & (ppm < _METABOLITES_PPM[1])
    power = np.abs(to_spectrum(fids))[:, kept] ** 2
    return ppm[kept], power / np.maximum(power.sum(axis=1, keepdims=True), 1e-300)


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
    """Return the size of a profile at frequencies and places; 1 without one."""
    if slab is None:
        return np.ones((frequency_hz.size, places.size))
    size = np.abs(slab.at(places, width))[slab.nearest(frequency_hz)]
    if not size.any():
        raise SequenceError("slab: lies wholly outside the image")
    return np.asarray(size)
