"""What the whole repetition of a `.seq` leaves of T1, and where in its slab a voxel lies: for the mM of images.

An inversion that nulls lipid and a water pulse in the same repetition leave other shares of T1 than
exp(-TE / T2) (1 - exp(-TR / T1)); a basis of a slab has the mean over it, and a voxel its own part of the profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.recon.constants import BRAIN, TISSUES, Constants
from pulsespec.recon.image_plan import grid_of
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, kept_shares
from pulsespec.simulator.basis_names import house_name
from pulsespec.simulator.head import tissue_of
from pulsespec.simulator.image_response import relaxation_shares
from pulsespec.simulator.image_slab import Slab, slabs_of_file
from pulsespec.simulator.timeline import read_played, read_timeline
from pulsespec.simulator.tissue import WATER
from pulsespec.simulator.tissue_library import load_tissue

Real = NDArray[np.float64]

_METABOLITES_PPM = (1.9, 4.1)
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
    """Signal of metabolites over that of water along z of the image, by the slab alone; NaN beside it; shape (z,)."""
    words: str


def played_shares(
    path: Path, names: Sequence[str], image: Transients, constants: Constants, acquisition: Acquisition
) -> PlayedShares:
    """Return what a `.seq` leaves of components and water, relative to what `water_scaling` takes without it.

    Raises
    ------
    SequenceError
        The file cannot be read, or selects a slab that does not lie along z of its image.

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
    profile = _profile(path, image)
    span = ", ".join(f"{t} {v:.2f}" for t, v in zip(TISSUES, water, strict=True))
    words = (
        f"T1 as the whole repetition of {path.name} leaves it, over 1 - exp(-TR / T1): water {span}, metabolites "
        f"{np.nanmin(metabolite):.2f} to {np.nanmax(metabolite):.2f}; slab: metabolites over water "
        f"{np.nanmin(profile):.2f} to {np.nanmax(profile):.2f} along z"
    )
    return PlayedShares(metabolite, water, profile, words)


def _profile(path: Path, image: Transients) -> Real:
    """Return metabolites over water in the slab at each plane of an image; shape (z,)."""
    slabs = slabs_of_file(path)
    points = image.size("z")
    if slabs[0] is None and slabs[1] is None:
        return np.ones(points)
    timeline = read_timeline(path, image.f0_hz)
    grid = grid_of(read_played(path, image.f0_hz), path.name)
    width = float(grid.fov_m[2]) / points
    middle = float(grid.centre_m @ grid.axes[:, 2])
    places = np.asarray(middle + (np.arange(points) - points // 2) * width, dtype=np.float64)
    hz_a_ppm, reference = timeline.f0_hz * 1e-6, timeline.reference_ppm
    of_metabolites = _seen(
        slabs[0], [(ppm - reference) * hz_a_ppm for ppm in _METABOLITES_PPM], places, width
    )
    of_water = _seen(slabs[1], [(_WATER_PPM - reference) * hz_a_ppm], places, width)
    low = np.minimum(of_metabolites / of_metabolites.max(), of_water / of_water.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(low > _EDGE, of_metabolites / of_water, np.nan)


def _seen(slab: Slab | None, between_hz: Sequence[float], places: Real, width: float) -> Real:
    """Return the mean size of the profile between frequencies at places; 1 without a slab."""
    if slab is None:
        return np.ones(places.size)
    rows = slab.nearest(np.array(between_hz))
    size = np.abs(slab.at(places, width))[rows.min() : rows.max() + 1].mean(axis=0)
    if not size.any():
        raise SequenceError("slab: lies wholly outside the image")
    return np.asarray(size)
