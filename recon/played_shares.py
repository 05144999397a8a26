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
    """Signal of each component over that of water in the voxels of the image, by slab or box alone: slices move with
    the frequency. NaN beside them; shape (x, y, z, n), 1 along axes on which nothing is selected."""
    words: str
    names: tuple[str, ...]
    """The n components."""

    def columns(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of some of the components."""
        return [self.names.index(name) for name in names]

    def at(self, places: NDArray[np.integer]) -> Real:
        """Return the profile in voxels, of which `places` has the numbers along x, y, z; (v, 3) to (v, n)."""
        x, y, z = np.minimum(places.T, np.array(self.profile.shape[:3])[:, None] - 1)
        return np.asarray(self.profile[x, y, z])


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
    whole = profile[np.isfinite(profile).all(axis=-1)]
    if not whole.size:
        whole = profile[np.isfinite(profile)]
    words = (
        f"T1 as the whole repetition of {path.name} leaves it, over 1 - exp(-TR / T1): water {span}, metabolites "
        f"{np.nanmin(metabolite):.2f} to {np.nanmax(metabolite):.2f}; slab: metabolites over water "
        f"{whole.min():.2f} to {whole.max():.2f}, by the frequencies of each"
    )
    return PlayedShares(metabolite, water, profile, words, names)


def _profile(path: Path, basis: Any, image: Transients) -> Real:
    """Return components over water in slab or box; shape (x, y, z, n), 1 along axes on which nothing is selected."""
    boxes = boxes_of_file(path)
    if all(slab is None for box in boxes for slab in box):
        return np.ones((1, 1, 1, len(basis.names)))
    timeline = read_timeline(path, image.f0_hz)
    grid = grid_of(read_played(path, image.f0_hz), path.name)
    ppm, weights = _where(basis, image)
    to_hz, reference = timeline.f0_hz * 1e-6, timeline.reference_ppm
    water_hz = np.array([_WATER_PPM - reference]) * to_hz
    along = [_along(grid, axis, image.size("xyz"[axis]), boxes) for axis in range(3)]
    metabolite, water = (
        [_sizes(one, k, at_hz) for one in along]
        for k, at_hz in ((0, (ppm - reference) * to_hz), (1, water_hz))
    )
    of_components = np.abs(np.einsum("nf,fx,fy,fz->xyzn", weights, *metabolite, optimize=True))
    of_water = np.abs(np.einsum("fx,fy,fz->xyz", *water))[..., None]
    if not of_components.any(axis=(0, 1, 2)).all() or not of_water.any():
        raise SequenceError("slab: lies wholly outside the image")
    least = np.minimum(of_components / of_components.max(axis=(0, 1, 2)), of_water / of_water.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(least > _EDGE, of_components / of_water, np.nan)


_Along = tuple[tuple[Slab | None, Slab | None], Real, float]
"""Profiles of metabolites and water along an axis, its voxels and their width in m."""


def _along(grid: Grid, axis: int, points: int, boxes: tuple[Box, Box]) -> _Along:
    """Return what is selected along an axis; nothing where all of a slab is in one voxel."""
    width = float(grid.fov_m[axis]) / points
    middle = float(grid.centre_m @ grid.axes[:, axis])
    places = np.asarray(middle + (np.arange(points) - points // 2) * width, dtype=np.float64)
    return (boxes[0][axis], boxes[1][axis]) if points > 1 else (None, None), places, width


def _sizes(along: _Along, kind: int, at_hz: Real) -> NDArray[np.complex128]:
    """Return a profile at frequencies and voxels of an axis; shape (n_frequencies, points), (n_frequencies, 1) of 1."""
    slabs, places, width = along
    slab = slabs[kind]
    if slab is None:
        return np.ones((at_hz.size, places.size if any(slabs) else 1), complex)
    return np.asarray(slab.at(places, width)[slab.nearest(at_hz)])


def _where(basis: Any, image: Transients) -> tuple[Real, Real]:
    """Return ppm, and the share of each component's signal that lies there; shapes (n_ppm,) and (n, n_ppm)."""
    decay = np.exp(-np.pi * _RESOLVED_HZ * np.arange(_SAMPLES) * image.dwell_s)
    fids = np.array([basis.fid(name, _SAMPLES, image.dwell_s) * decay for name in basis.names])
    ppm = ppm_axis(_SAMPLES, image.dwell_s, image.f0_hz, basis.reference_ppm)
    kept = (ppm > _METABOLITES_PPM[0]) & (ppm < _METABOLITES_PPM[1])
    size = np.abs(to_spectrum(fids))[:, kept] ** 2
    return ppm[kept], size / np.maximum(size.sum(axis=1, keepdims=True), 1e-300)
