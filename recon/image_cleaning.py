"""Cleaning of reconstructed images: masks, residual water, scalp lipid."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import InputError
from pulsespec.recon.image_b0 import field_of
from pulsespec.recon.image_masks import Mask, Masks, masks_of, read_mask
from pulsespec.recon.image_water import remove_image_water
from pulsespec.recon.lipid_operator import LipidOperator
from pulsespec.recon.lipid_removal import BAND_PPM, LipidLimits, TradeOff, remove_scalp_lipid
from pulsespec.recon.lipid_voxels import VoxelOperators
from pulsespec.recon.transients import Scan, Transients

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_DRIFT_HZ = 5.0
"""Beyond the field of the brain, that metabolites are judged in."""


@dataclass(frozen=True)
class CleaningSettings:
    """Which steps are taken, and how."""

    water_removal: bool = True
    """Subtract residual water."""
    water_half_width_ppm: float = 0.4
    """Half the width of the window about 4.65 ppm in which signal counts as water."""
    water_components: int = 24
    """Exponentials that stand for all but water in a voxel."""
    lipid_removal: bool = True
    """Remove scalp lipid from the brain by the L2 method."""
    lipid_survival: float = 0.93
    """Share of NAA, creatine and choline that the lipid removal must leave."""
    lipid_goal: float = 0.02
    """Peak of scalp lipid over that of NAA that may be left, in 95 % of the brain's voxels."""
    lipid_by_place: bool = False
    """Subtract first what the point-spread function carried in from the scalp, where it is known."""
    lipid_band_ppm: tuple[float, float] | None = BAND_PPM
    """Where scalp lipid is recognised; `None`: everywhere, the method as published."""
    lipid_weight: float | None = None
    """Weight of the penalty in place of those that are chosen (beta times the largest eigenvalue)."""
    lipid_guard: bool = True
    """Guard metabolites at the field of each voxel, as water shows it, and weigh each voxel by the lipid in it."""
    brain_mask: Path | None = None
    """NIfTI mask of the brain in the scanner's coordinates, in place of the one that is found."""

    def __post_init__(self) -> None:
        """Check the numbers, before anything is read."""
        for name, low, high in (
            ("lipid_survival", 0.0, 1.0),
            ("lipid_goal", 0.0, float("inf")),
            ("water_half_width_ppm", 0.05, 2.0),
            ("water_components", 1, 512),
            ("lipid_weight", 0.0, float("inf")),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{name}: got {value}, expected {low:g} to {high:g}")


@dataclass(frozen=True)
class CleanImages:
    """Images that are clean, and what was found on the way."""

    scan: Scan
    masks: Masks
    operator: LipidOperator | None
    """What took the scalp's lipid away, of a typical voxel: `lipid_operator.survival` passes any signal through it."""
    trade_off: TradeOff | None
    """The choice of its weight; `None` where each voxel has its own."""
    lipid_voxels: Mask
    """Where it was applied: elsewhere in the brain a lesion's own lipid is all there; shape (x, y, z)."""
    by_voxel: VoxelOperators | None = None
    """What was applied to each of `lipid_voxels`: its `survival` and `apply`, and `lipid_voxels.surviving_basis`."""


def clean_images(
    scan: Scan, settings: CleaningSettings | None = None, brain: Mask | None = None, jobs: int = 1
) -> CleanImages:
    """Return images without residual water and, in the brain, without scalp lipid; water stays as it is.

    What the scalp has cast into a voxel has the scalp's frequency, whatever the field in the voxel. So lipid is best
    removed before voxels are aligned by their water; an alignment that is on record is undone for it and done again.

    Parameters
    ----------
    scan
        Metabolite images and their water reference on one grid, dims ("x", "y", "z", "t").
    settings
        Which steps, and how.
    brain
        Mask of the brain on the grid, in place of what the settings name; shape (x, y, z).
    jobs
        Processes that blocks of voxels are spread over.

    Raises
    ------
    InputError
        There are no metabolite images, or neither water nor a mask of the brain.
    MismatchError
        Grids differ, or the mask lies elsewhere.

    """
    settings = settings or CleaningSettings()
    data = scan.metabolite
    if data is None:
        raise InputError("cleaning: the scan has no metabolite images")
    if brain is None and settings.brain_mask is not None:
        brain = read_mask(settings.brain_mask, data)
    masks = masks_of(data, scan.water, brain)
    outside = data.data[~masks.head]
    data = replace(data, records=(*data.records, masks.record))
    offsets = _field_hz(scan.water, masks)
    moved = _alignment_hz(data)
    if settings.water_removal:
        data = _shifted(data, offsets)
        data = remove_image_water(
            data, masks.head, settings.water_half_width_ppm, settings.water_components, jobs
        )
        data = _shifted(data, -offsets)
        data.data[~masks.head] = outside
    if not settings.lipid_removal:
        return CleanImages(replace(scan, metabolite=data), masks, None, None, np.zeros_like(masks.brain))
    limits = LipidLimits(
        settings.lipid_survival,
        settings.lipid_goal,
        settings.lipid_band_ppm,
        settings.lipid_weight,
        _offsets_hz(-(offsets + moved)[masks.brain]),
        settings.lipid_by_place,
        settings.lipid_guard,
    )
    shifts = None if scan.water is None else -(offsets + moved)
    done = remove_scalp_lipid(_shifted(data, -moved), masks, limits, jobs, shifts)
    data = _shifted(done.data, moved)
    data.data[~masks.head] = outside
    clean = replace(scan, metabolite=data)
    return CleanImages(clean, masks, done.operator, done.curve, done.voxels, done.by_voxel)


def _offsets_hz(of_brain: NDArray[np.float64]) -> tuple[float, ...]:
    """Return by how much metabolites of the brain may be shifted: from its 5th to its 95th percentile, and a margin."""
    low, *middle, high = (float(value) for value in np.quantile(of_brain, _QUANTILES))
    return (low - _DRIFT_HZ, *middle, high + _DRIFT_HZ)


def _field_hz(water: Transients | None, masks: Masks) -> NDArray[np.float64]:
    """Return by how much water lies off 4.65 ppm in each voxel, positive where the field is higher; (x, y, z)."""
    if water is None:
        return np.zeros(masks.head.shape)
    centre_hz = (RECEIVER_PPM - water.reference_ppm) * water.f0_hz * 1e-6
    return field_of(np.asarray(swap_sense(water.data)), water.dwell_s, water.f0_hz, centre_hz).offset_hz


def _alignment_hz(data: Transients) -> NDArray[np.float64]:
    """Return by how much the voxels were shifted already, by their record."""
    known = [record.figures["b0_hz"] for record in data.records if "b0_hz" in record.figures]
    return np.asarray(sum(known)) if known else np.zeros(data.data.shape[:3])


def _shifted(data: Transients, offsets_hz: NDArray[np.float64]) -> Transients:
    """Return images as if the field were lower by `offsets_hz` in each voxel."""
    if not offsets_hz.any():
        return data
    t = np.arange(data.samples) * data.dwell_s
    made = np.empty_like(data.data)
    for x, plane in enumerate(data.data):
        made[x] = plane * np.exp(2j * np.pi * offsets_hz[x][..., None] * t)
    return data.with_data(made)
