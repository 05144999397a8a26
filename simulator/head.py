"""A numerical head on a grid: tissues, field, linewidth and lesion, from settings.

settings = load_head_settings("brain-tumour")
head = make_head(settings, grid, f0_hz)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import InputError
from pulsespec.simulator.grid import Grid
from pulsespec.simulator.head_field import field_hz
from pulsespec.simulator.head_files import segmentation_extent_mm, segmented
from pulsespec.simulator.head_settings import HeadSettings
from pulsespec.simulator.head_shapes import BONE, FAT, FLUID, GREY, NO_BRAIN, SKIN, WHITE, drawn
from pulsespec.simulator.tissue import Tissue
from pulsespec.simulator.tissue_library import list_tissues, load_tissue, resolve
from pulsespec.simulator.tissue_table import Table, parse_table, shipped_table

Real = NDArray[np.float64]
Single = NDArray[np.float32]

_LEAST_MM = 60.0
"""Half of the smallest head that coils are built for: a segmentation may be of a part of the brain."""
_FWHM_LORENTZ, _FWHM_SQUARE = 0.5346, 0.2166


@dataclass(frozen=True)
class Head:
    """A head on a grid; maps have the shape of the grid."""

    settings: HeadSettings
    grid: Grid
    shares: Mapping[str, Single]
    """Share of each tissue in the volume at each point; what is missing to 1 is air."""
    field_hz: Single
    """Offset of the field, positive downfield."""
    gauss_hz: Single
    """Gaussian width that the field within a point's volume adds to lines, full width at half maximum."""
    tissues: Mapping[str, Tissue]
    """What gives signal, by the names of `shares`; bone is not among it."""

    @property
    def brain(self) -> Single:
        """Share of brain: all but fluid, scalp and bone."""
        return self.total([name for name in self.shares if name not in NO_BRAIN])

    @property
    def lesion(self) -> Single:
        """Share of the lesion."""
        return self.total([self.settings.lesion] if self.settings.lesion in self.shares else [])

    def total(self, names: list[str]) -> Single:
        """Return the share of some tissues together."""
        found = np.zeros(self.grid.shape, np.float32)
        for name in names:
            found += self.shares[name]
        return found


def make_head(settings: HeadSettings, grid: Grid, f0_hz: float) -> Head:
    """Draw a head on a grid.

    Parameters
    ----------
    settings
        What it is made of.
    grid
        The points.
    f0_hz
        Larmor frequency, which the field of the air goes with.

    Raises
    ------
    InputError
        A tissue is not known, or nothing of the head lies on the grid.

    """
    points = grid.points_mm()
    if settings.tissues:
        shares = segmented(settings.labels, settings.tissues, points)
    else:
        shares = drawn(settings, points, float(grid.spacing_m.mean()) * 1e3)
    tissues = {name: tissue_of(name) for name in tissues_in(settings)}
    brain = np.sum([share for name, share in shares.items() if name not in NO_BRAIN], axis=0)
    if not np.any(brain > 0):
        raise InputError(
            "head: no brain lies in the field of view; see centre_mm, or the segmentation's place"
        )
    field = settings.offset_hz + field_hz(
        points,
        brain,
        f0_hz,
        centre_mm=middle_mm(settings)[0],
        hot_spot_hz=settings.hot_spot_hz,
        shim_order=settings.shim_order,
        residue_hz=settings.shim_residue_hz,
        seed=settings.shim_seed,
    )
    width = np.full(grid.shape, gauss_of(settings, f0_hz), np.float32)
    return Head(settings, grid, shares, field.astype(np.float32), width, tissues)


def tissues_in(settings: HeadSettings) -> list[str]:
    """Return the names of what gives signal in a head."""
    if settings.tissues:
        return [name for name in settings.tissues if name != BONE]
    thickness = {SKIN: settings.skin_mm, FAT: settings.fat_mm}
    lesion = [settings.lesion] if settings.lesion else []
    return [*(name for name, mm in thickness.items() if mm), FLUID, WHITE, GREY, *lesion]


def extent_mm(settings: HeadSettings) -> tuple[Real, Real]:
    """Return the lowest and highest world coordinates of a head; shape (3,) each."""
    if settings.tissues:
        return segmentation_extent_mm(settings.labels, settings.tissues)
    centre, outer = np.asarray(settings.centre_mm), np.asarray(settings.outer_mm)
    return centre - outer, centre + outer


def middle_mm(settings: HeadSettings) -> tuple[Real, Real]:
    """Return the centre of a head and half its edges in mm, for what lies around it: air and coils."""
    low, high = extent_mm(settings)
    return (low + high) / 2, np.maximum((high - low) / 2, _LEAST_MM)


def gauss_of(settings: HeadSettings, f0_hz: float) -> float:
    """Return the Gaussian width that makes NAA of white matter `linewidth_hz` wide, T2 included.

    A Voigt line is 0.5346 L + sqrt(0.2166 L^2 + G^2) wide (Olivero and Longbothum 1977,
    doi:10.1016/0022-4073(77)90161-3, recalled). Without relaxation L is zero.
    """
    natural = 0.0
    if settings.relaxation:
        natural = 1 / (math.pi * load_tissue(WHITE).times("NAA", field_from_larmor(f0_hz)).t2_s)
    rest = settings.linewidth_hz - _FWHM_LORENTZ * natural
    return math.sqrt(max(rest, 0.0) ** 2 - _FWHM_SQUARE * natural**2) if rest > natural else 0.0


def tissue_of(name: str) -> Tissue:
    """Return what a part of a head consists of: a shipped tissue, or one of `head_tissues.toml`.

    Raises
    ------
    InputError
        There is none of that name.

    """
    own = _own_table()
    if name in own.tissues:
        return resolve(own, name)
    if name not in list_tissues():
        known = ", ".join([*list_tissues(), *own.tissues, BONE])
        raise InputError(f"head: tissue {name!r}: expected one of {known}")
    return load_tissue(name)


@lru_cache(maxsize=1)
def _own_table() -> Table:
    text = files("pulsespec.simulator").joinpath("head_tissues.toml").read_text(encoding="utf-8")
    own = parse_table(text, "head_tissues.toml")
    shared = shipped_table()
    return own.model_copy(update={"sums": shared.sums, "aliases": shared.aliases})
