"""The truth of a head on the grid of the acquisition: concentrations, tissues, field, linewidth, masks.

Maps are means over voxels. `image_seen` gives what of such a map an image without filter can show.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.files import atomic_directory
from pulsespec.simulator.grid import Grid, on_coarse
from pulsespec.simulator.head import Head
from pulsespec.simulator.image_noise import NAA_PPM, ppm_hz
from pulsespec.simulator.image_play import ImagePerformance
from pulsespec.simulator.image_response import FAT_LINES
from pulsespec.simulator.image_seen import seen_by_image
from pulsespec.simulator.simulate import WATER_PPM
from pulsespec.simulator.tissue_table import shipped_table

Real = NDArray[np.float64]

_MASK = 0.5
"""Least share of brain, or of the lesion, of a voxel of its mask."""
_LIPIDS = "Lip"


@dataclass(frozen=True)
class TruthMap:
    """One map."""

    values: Real
    unit: str
    about: str


def truth_maps(show: ImagePerformance, coils: bool = False) -> dict[str, TruthMap]:
    """Return what is known of the head in each voxel of the acquisition.

    Parameters
    ----------
    show
        The scan.
    coils
        Whether the magnitude of each coil's sensitivity is among it.

    Returns
    -------
    By name: every metabolite and sum in mM of the whole voxel, water, lipids of tissue and of the scalp, the share of
    each tissue, `b0` in Hz, `linewidth` of NAA in Hz, `brain_mask`, `lesion_mask` and `slab` (the local signal of NAA's
    frequency over that in the middle of the slab).

    """
    head, grid = show.setup.head, show.setup.grid
    found = dict(_amounts(head, grid))
    for name, share in head.shares.items():
        found[f"share_{name}"] = TruthMap(
            on_coarse(share, head.grid, grid), "1", f"share of {name} in the voxel"
        )
    found["b0"] = TruthMap(
        _weighted(head.field_hz, head, grid), "Hz", "offset of the field, downfield positive"
    )
    found["linewidth"] = TruthMap(
        _linewidth(head, grid), "Hz", "width of a line of NAA, full width at half maximum"
    )
    masks = {"brain_mask": head.brain, "lesion_mask": head.lesion}
    for name, share in masks.items():
        inside = (on_coarse(share, head.grid, grid) >= _MASK).astype(float)
        found[name] = TruthMap(inside, "1", f"at least half {name.partition('_')[0]}")
    profile = np.broadcast_to(slab_profile(show, grid), grid.shape)
    found["slab"] = TruthMap(profile, "1", "signal at NAA over that in the middle of the slab")
    if coils:
        for number, one in enumerate(show.sensitivities):
            mean = on_coarse(one.real, head.grid, grid) + 1j * on_coarse(one.imag, head.grid, grid)
            found[f"coil_{number + 1}"] = TruthMap(np.abs(mean), "1", "magnitude of the sensitivity")
    return found


def concentrations(head: Head) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Return each metabolite, sum, water and lipid on the head's grid in mM, and what it is."""
    found: dict[str, NDArray[np.float32]] = {}
    kinds: dict[str, str] = {}

    def add(name: str, about: str, tissue: str, mm: float) -> None:
        kinds[name] = about
        found[name] = found.get(name, np.float32(0)) + head.shares[tissue] * np.float32(mm)

    for name, tissue in head.tissues.items():
        for metabolite, amount in tissue.concentrations.items():
            add(metabolite, "metabolite", name, amount.mm)
        add("water", "water that gives signal", name, tissue.water.mm)
        for component, amount in tissue.broad.items():
            if component == FAT_LINES:
                add("scalp_lipid", "protons of fat", name, amount.mm * head.settings.lipid)
            elif component.startswith(_LIPIDS):
                add(
                    "lipid", "lipid of tissue, all components", name, amount.mm * head.settings.macromolecules
                )
    for total, share in shipped_table().sums.items():
        parts = [found[one] for one in share.parts if one in found]
        if parts:
            found[total], kinds[total] = np.sum(parts, axis=0), f"sum of {', '.join(share.parts)}"
    return {name: (np.asarray(values, np.float32), kinds[name]) for name, values in found.items()}


def _amounts(head: Head, grid: Grid) -> Mapping[str, TruthMap]:
    return {
        name: TruthMap(on_coarse(values, head.grid, grid), "mM", f"{about}, mean over the whole voxel")
        for name, (values, about) in concentrations(head).items()
    }


def _weighted(values: NDArray[np.float32], head: Head, grid: Grid) -> Real:
    """Return the mean over what gives signal in a voxel, 0 where nothing does."""
    weight = head.total(list(head.tissues))
    share = on_coarse(weight, head.grid, grid)
    mean = on_coarse(values * weight, head.grid, grid)
    return np.where(share > 1e-3, mean / np.maximum(share, 1e-3), 0.0)


def _linewidth(head: Head, grid: Grid) -> Real:
    """Return the width of NAA: that of the settings, and what the field's spread over the voxel adds in squares.

    A spread of standard deviation s is taken for a Gaussian of 2.355 s.
    """
    mean = _weighted(head.field_hz, head, grid)
    square = _weighted(head.field_hz**2, head, grid)
    spread = 2.3548 * np.sqrt(np.maximum(square - mean**2, 0.0))
    inside = on_coarse(head.total(list(head.tissues)), head.grid, grid) > 1e-3
    return np.where(inside, np.hypot(head.settings.linewidth_hz, spread), 0.0)


def slab_profile(show: ImagePerformance, grid: Grid, water: bool = False) -> Real:
    """Return the profile of slab or box over its largest value, at water or NAA; broadcastable to the grid."""
    setup, found = show.setup, np.ones((1, 1, 1))
    for axis, slab in enumerate(setup.water_box if water else setup.box):
        if slab is not None:
            places = grid.along(axis) + float(grid.centre_m @ grid.axes[:, axis])
            row = slab.nearest(np.array([ppm_hz(setup, WATER_PPM if water else NAA_PPM)]))[0]
            size = np.abs(slab.at(places, float(grid.spacing_m[axis]))[row])
            others = tuple({0, 1, 2} - {axis})
            found = found * np.expand_dims(size / np.abs(slab.values[row]).max(), others)
    return found


def write_truth(
    show: ImagePerformance, folder: Path, *, coils: bool = False, overwrite: bool = False
) -> list[str]:
    """Write the truth of a scan as NIfTI images into a folder; return their names.

    Maps of concentrations lie there as means over voxels. Below `psf/` they and the shares of tissues are as an image
    without filter shows them, times the profile of the slab over its largest value: concentrations per litre of tissue
    are quotients of these. Below `fine/` are the shares on the grid that the head was drawn on, as a segmentation of an
    anatomical image would have them.
    """
    import nibabel  # takes longer than the rest of a virtual scan's imports

    head, grid = show.setup.head, show.setup.grid
    names: list[str] = []
    with atomic_directory(folder, overwrite) as temporary:
        for part in ("psf", "fine"):
            (temporary / part).mkdir()

        def save(name: str, one: TruthMap, on: Grid = grid) -> None:
            _save(nibabel, temporary / f"{name}.nii.gz", one.values, on, one)
            names.append(f"{name}.nii.gz")

        for name, one in truth_maps(show, coils).items():
            save(name, one)
        for name, (values, about) in concentrations(head).items():
            profile = slab_profile(show, head.grid, water=name == "water")
            save(f"psf/{name}", _seen(show, values * profile, about, "mM"))
        for name, share in head.shares.items():
            about = f"share of {name}"
            save(f"psf/share_{name}", _seen(show, share * slab_profile(show, head.grid), about, "1"))
            save(f"fine/share_{name}", TruthMap(share.astype(float), "1", about), head.grid)
    return names


def _seen(show: ImagePerformance, values: NDArray[np.floating], about: str, unit: str) -> TruthMap:
    seen = seen_by_image(show.setup, values, show.setup.head.grid)
    return TruthMap(seen, unit, f"{about}, as an image without filter shows it")


def _save(nibabel: object, path: Path, values: Real, grid: Grid, one: TruthMap) -> None:
    image = nibabel.Nifti1Image(values.astype(np.float32), grid.affine)  # type: ignore[attr-defined]
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{one.about} [{one.unit}]"[:79].encode()
    image.to_filename(path)
