"""A lesion beside the tissue of the other side and beside all tissue that looks normal.

Each measure is positive where there is more of something: a lesion with more choline and less NAA has a positive z of
`tCho/tNAA` and of `tCho - b tNAA`, a negative one of `tNAA`. Amounts are never negative: lactate that is upside down in
a spectrum of TE 144 is so in the basis, too, and has a positive amount.

z of a voxel is its distance from the median of the normal-appearing voxels over their robust standard deviation,
1.4826 times the median absolute deviation, which is taken to be no less than the median of what the fits state: amounts
that are zero in most voxels have no deviation at all.

`tCho - b tNAA`, with b the median of tCho/tNAA in normal-appearing voxels, is what the choline-to-NAA index of McKnight
et al. 2001 (doi:10.1002/1522-2586(200102)13:2<167::AID-JMRI1026>3.0.CO;2-K, recalled) is, on a line through the origin:
it has no pole where NAA is gone, as a ratio has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.image_tables import upper_limits
from pulsespec.recon.label_shares import mask_shares
from pulsespec.recon.map_files import MapFolder
from pulsespec.recon.midplane import Plane, mirrored
from pulsespec.recon.regions import weighted
from pulsespec.recon.volumes import Volume, write_volume

Real = NDArray[np.float64]
Mask = NDArray[np.bool_]

RATIO, CONTRAST = "tCho/tNAA", "tCho - b tNAA"
AMOUNTS = ("tCho", "tNAA", "tCr", "Lac", "tLip", "Lip13", "Lip09")
"""Amounts that are compared, those of them that were fitted."""
COLUMNS = (
    *(
        "measure",
        "unit",
        "voxels",
        "lesion",
        "lesion_se",
        "contralateral_voxels",
        "contralateral",
        "contralateral_se",
    ),
    *(
        "lesion_over_contralateral",
        "difference_over_se",
        "normal_voxels",
        "normal_median",
        "normal_robust_sd",
    ),
    *("z_mean", "z_least", "z_largest", "voxels_beyond_3", "lower_bounds"),
)
_MAD = 1.4826
_HALF = 0.5
_ONE_SIDED = 1.645
_LEAST_NORMAL = 10
_FAR = 3.0


@dataclass(frozen=True, eq=False)
class Measure:
    """Something that is compared, on the grid of the image."""

    name: str
    unit: str
    value: Real
    sd: Real
    at_least: Mask
    """Where the value is a lower bound, as NAA is not seen."""

    @property
    def file_name(self) -> str:
        """Return what its map of z is called."""
        return {RATIO: "tCho_over_tNAA", CONTRAST: "tCho_minus_b_tNAA"}.get(self.name, self.name)


@dataclass(frozen=True, eq=False)
class Sides:
    """Which voxels are what; masks of shape (x, y, z)."""

    lesion: Mask
    contralateral: Mask
    normal: Mask
    """Normal-appearing: passes the quality mask, is not in the lesion nor beside it."""
    lesion_share: Real
    contralateral_share: Real
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Lesion:
    """What is different in a lesion."""

    sides: Sides
    measures: Mapping[str, Measure]
    z: Mapping[str, Real]
    """By measure; shape (x, y, z), NaN where nothing was fitted."""
    rows: Sequence[Mapping[str, Any]]
    """The table, see `COLUMNS`."""


def sides_of(
    maps: MapFolder,
    lesion: Volume,
    plane: Plane | None = None,
    contralateral: Volume | None = None,
    normal: Volume | None = None,
) -> Sides:
    """Return which voxels are lesion, its mirror image, and normal-appearing.

    Parameters
    ----------
    maps
        What `fit` wrote.
    lesion
        A mask on any grid.
    plane
        About which the lesion is mirrored, where no `contralateral` mask is given.
    contralateral
        A mask of tissue on the other side.
    normal
        A mask that normal-appearing voxels are taken from; else all voxels away from the lesion are.

    Raises
    ------
    DataError
        No voxel that can be believed is half in the lesion, or too few voxels are normal.

    """
    from scipy.ndimage import binary_dilation

    share = mask_shares(maps.geometry, maps.shape, lesion)
    inside = (share >= _HALF) & maps.believed
    if not inside.any():
        raise DataError(
            f"{lesion.name}: no fitted voxel has half of its volume or more in it (largest share {share.max():.2f})"
        )
    near = binary_dilation(share > 0, np.ones((3, 3, 3)))
    words = []
    if contralateral is None and plane is not None:
        contralateral = mirrored(lesion, plane)
        words.append(
            f"contralateral tissue is the mirror image of the lesion about {plane.words}: normal "
            f"{', '.join(f'{n:.3f}' for n in plane.normal)}, {plane.offset_mm:.1f} mm from the origin"
        )
    other_share = np.zeros(maps.shape) if contralateral is None else _or_zero(maps, contralateral)
    other = (other_share >= _HALF) & maps.quality & ~(share > 0)
    if not other.any():
        words.append(
            "no voxel of contralateral tissue passes the quality mask (or the lesion crosses the midline)"
        )
    usual = maps.quality & ~near
    if normal is not None:
        usual &= mask_shares(maps.geometry, maps.shape, normal) >= _HALF
    if np.count_nonzero(usual) < _LEAST_NORMAL:
        raise DataError(
            f"{lesion.name}: {np.count_nonzero(usual)} normal-appearing voxels, expected {_LEAST_NORMAL} or more"
        )
    lost = int(np.count_nonzero((share >= _HALF) & ~maps.believed))
    if lost:
        words.append(f"{lost} voxels of the lesion have no fit that can be believed")
    failing = int(np.count_nonzero(inside & ~maps.quality))
    if failing:
        words.append(
            f"{failing} of {inside.sum()} voxels of the lesion do not pass the quality mask; they are used"
        )
    return Sides(inside, other, usual, share, other_share, tuple(words))


def _or_zero(maps: MapFolder, mask: Volume) -> Real:
    """Return the shares of a mask; none where its mirror image lies outside the grid."""
    try:
        return mask_shares(maps.geometry, maps.shape, mask)
    except DataError:
        return np.zeros(maps.shape)


def compare(maps: MapFolder, sides: Sides) -> Lesion:
    """Return table and maps of z of all measures."""
    measures = measures_of(maps, sides.normal)
    z, rows = {}, []
    for name, measure in measures.items():
        middle, spread = normal_range(measure, sides.normal)
        z[name] = (measure.value - middle) / spread
        rows.append(_row(measure, sides, middle, spread, z[name]))
    return Lesion(sides, measures, z, rows)


def normal_range(measure: Measure, normal: Mask) -> tuple[float, float]:
    """Return median and robust standard deviation over normal-appearing voxels."""
    known = normal & np.isfinite(measure.value) & np.isfinite(measure.sd)
    values = measure.value[known]
    if not values.size:
        return float("nan"), float("nan")
    middle = float(np.median(values))
    spread = _MAD * float(np.median(np.abs(values - middle)))
    floor = float(np.median(measure.sd[known]))
    return middle, max(spread, floor) or float("nan")


def measures_of(maps: MapFolder, normal: Mask) -> dict[str, Measure]:
    """Return all that can be compared: the two of choline and NAA, then amounts."""
    suffix, unit = ("_mM", "mM") if maps.has("tCr_mM") else ("", "units of the basis")

    def amount(name: str) -> Measure:
        value, sd = maps.read(f"{name}{suffix}"), maps.read(f"{name}{suffix}_sd")
        return Measure(name, unit, value, sd, np.zeros(maps.shape, dtype=bool))

    amounts = {name: amount(name) for name in AMOUNTS if maps.has(f"{name}{suffix}")}
    found: dict[str, Measure] = {}
    if {"tCho", "tNAA"} <= set(amounts):
        ratio = choline_over_naa(amounts["tCho"], amounts["tNAA"], maps.read("tCho_ratio_tNAA_sd"))
        factor = float(np.nanmedian(ratio.value[normal])) if normal.any() else float("nan")
        difference = amounts["tCho"].value - factor * amounts["tNAA"].value
        sd = np.hypot(amounts["tCho"].sd, factor * amounts["tNAA"].sd)
        found[RATIO] = ratio
        found[CONTRAST] = Measure(
            CONTRAST, f"{unit}, b = {factor:.3g}", difference, sd, ratio.at_least & False
        )
    return found | amounts


def choline_over_naa(choline: Measure, naa: Measure, ratio_sd: Real) -> Measure:
    """Return tCho/tNAA; where NAA is not seen, what it is at least: choline over the upper 95 % bound of NAA."""
    unseen = np.isfinite(naa.value) & ~(naa.value > _ONE_SIDED * naa.sd)
    below = np.where(unseen, upper_limits(naa.value, naa.sd), naa.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(below > 0, choline.value / below, np.nan)
        sd = np.where(unseen, choline.sd / below, ratio_sd)
    return Measure(RATIO, "", value, sd, unseen)


def _row(measure: Measure, sides: Sides, middle: float, spread: float, z: Real) -> dict[str, Any]:
    lesion = sides.lesion & np.isfinite(measure.value)
    other = sides.contralateral & np.isfinite(measure.value)
    here = weighted(measure.value[lesion], measure.sd[lesion], sides.lesion_share[lesion])
    there = weighted(measure.value[other], measure.sd[other], sides.contralateral_share[other])
    se = float(np.hypot(here["se_weighted"], there["se_weighted"]))
    inside = z[lesion] if lesion.any() else np.array([np.nan])
    return {
        "measure": measure.name,
        "unit": measure.unit,
        "voxels": int(lesion.sum()),
        "lesion": here["mean"],
        "lesion_se": here["se_weighted"],
        "contralateral_voxels": int(other.sum()),
        "contralateral": there["mean"],
        "contralateral_se": there["se_weighted"],
        "lesion_over_contralateral": here["mean"] / there["mean"]
        if there["mean"] > 0 and measure.name != CONTRAST
        else float("nan"),
        "difference_over_se": (here["mean"] - there["mean"]) / se if se > 0 else float("nan"),
        "normal_voxels": int(np.count_nonzero(sides.normal & np.isfinite(measure.value))),
        "normal_median": middle,
        "normal_robust_sd": spread,
        "z_mean": float(np.mean(inside)),
        "z_least": float(np.min(inside)),
        "z_largest": float(np.max(inside)),
        "voxels_beyond_3": int(np.count_nonzero(np.abs(inside) > _FAR)),
        "lower_bounds": int(np.count_nonzero(measure.at_least & lesion)),
    }


def write_z(found: Lesion, maps: MapFolder, folder: Path, overwrite: bool = False) -> list[str]:
    """Write `lesion_z_NAME.nii.gz` of every measure and `lesion_sides.nii.gz`: 1 lesion, 2 contralateral, 3 normal."""
    names = []
    for name, measure in found.measures.items():
        target = folder / f"lesion_z_{measure.file_name}.nii.gz"
        words = f"robust z of {name} against normal-appearing voxels"
        write_volume(found.z[name], maps.geometry, target, words, overwrite)
        names.append(target.name)
    sides = np.zeros(maps.shape, dtype=np.uint8)
    for number, mask in ((3, found.sides.normal), (2, found.sides.contralateral), (1, found.sides.lesion)):
        sides[mask] = number
    write_volume(
        sides,
        maps.geometry,
        folder / "lesion_sides.nii.gz",
        "1 lesion, 2 contralateral, 3 normal-appearing",
        overwrite,
    )
    return [*names, "lesion_sides.nii.gz"]
