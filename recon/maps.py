"""Maps and the table of a fitted image on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.files import atomic_path
from pulsespec.recon.image_fit import ImageFit
from pulsespec.recon.image_tables import VERDICTS
from pulsespec.recon.map_quality import REASONS
from pulsespec.recon.results import TABLE
from pulsespec.recon.table_flags import NOT_DETECTED, ONE_SIDED, REFUSED, SEE_SUM, SUM_OF
from pulsespec.recon.transients import Geometry
from pulsespec.recon.volumes import write_volume

Real = NDArray[np.float64]

LOW_QUALITY = "low-quality"
"""The voxel does not pass the quality mask."""
OF_ROWS = {
    "": ("value", "amplitude in units of the basis"),
    "_sd": ("sd", "standard deviation of the amplitude"),
    "_crlb": ("crlb", "Cramer-Rao bound in percent"),
    "_ratio_tCr": ("ratio", "over tCr"),
    "_ratio_tCr_sd": ("ratio_sd", "standard deviation of the ratio to tCr"),
    "_ratio_tNAA": ("tnaa_ratio", "over tNAA"),
    "_ratio_tNAA_sd": ("tnaa_ratio_sd", "standard deviation of the ratio to tNAA"),
    "_mM": ("mM", "concentration in mmol per litre of tissue"),
    "_mM_sd": ("mM_sd", "its standard deviation"),
    "_molal": ("molal", "concentration in mmol per kg of tissue water"),
    "_molal_sd": ("molal_sd", "its standard deviation"),
}
"""What is appended to a metabolite's name: which number that map has, and in words."""
OF_VOXELS = {
    "snr": "height of NAA over the noise's SD (nbm.4347)",
    "linewidth": "full width at half height in Hz of the fitted line",
    "shift_ppm": "shift in ppm of the spectrum against the basis",
    "b0_hz": "the same shift in Hz, positive downfield: field higher than the reference",
    "phase_deg": "zero-order phase in degrees",
    "residual_over_noise": "residual of the fit over noise",
}
_CHUNK = 1000
"""Voxels of the table that are held as text at once."""
_WATER_ONLY = ("mM", "mM_sd", "molal", "molal_sd")
_COLUMNS = (
    *("value", "sd", "crlb", "ratio", "ratio_sd"),
    *("mM", "mM_sd", "molal", "molal_sd"),
)


@dataclass(frozen=True, eq=False)
class Maps:
    """A fitted image with its verdicts, and where it lies."""

    found: ImageFit
    bits: NDArray[np.uint8]
    """Which limits each voxel does not keep, see `map_quality.REASONS`; shape (v,)."""
    geometry: Geometry | None
    f0_hz: float
    fractions: Real | None = None
    """Volume fractions of gm, wm and csf in each voxel, where a segmentation was given; shape (v, 3)."""

    @property
    def believed(self) -> NDArray[np.bool_]:
        """Which fits can be believed; shape (v,)."""
        return np.asarray(self.found.voxel["verdict"] == 0)

    @property
    def passing(self) -> NDArray[np.bool_]:
        """Which voxels pass the quality mask; shape (v,)."""
        return np.asarray(self.bits == 0)

    def on_grid(self, values: NDArray[Any], fill: float = np.nan) -> NDArray[Any]:
        """Return numbers of the voxels, shape (v,), on the grid, shape (x, y, z); `fill` where nothing was fitted."""
        whole = np.full(self.found.shape, fill, dtype=values.dtype)
        whole[tuple(self.found.index.T)] = values
        return whole

    def row(self, name: str, quantity: str = "value") -> Real:
        """Return a quantity of a metabolite or sum, NaN where the fit cannot be believed; shape (v,)."""
        numbers = self.found.numbers[quantity][:, self.found.rows.index(name)]
        return np.where(self.believed & np.isfinite(numbers), numbers, np.nan)

    def of_voxel(self, name: str) -> Real:
        """Return a figure of `OF_VOXELS`; shape (v,)."""
        if name == "b0_hz":
            return np.asarray(self.found.voxel["shift_ppm"] * self.f0_hz * 1e-6)
        return self.found.voxel[name]

    def has_water(self) -> bool:
        """Whether concentrations could be had."""
        return bool(np.isfinite(self.found.numbers["mM"]).any())


def write_maps(maps: Maps, folder: Path) -> list[str]:
    """Write every map as NAME.nii.gz into a folder, which is made, and return their names.

    Maps have NaN where nothing was fitted or the fit cannot be believed. `quality` is 1 where a voxel passes, 0
    elsewhere; `quality_reasons` has the bits of `map_quality.REASONS`, 255 outside; `verdict` the numbers of
    `image_tables.VERDICTS`, 255 outside.
    """
    folder.mkdir(exist_ok=True)
    names = []
    for name, values, words in _all(maps):
        write_volume(values, maps.geometry, folder / f"{name}.nii.gz", words)
        names.append(name)
    return names


def _all(maps: Maps) -> Iterator[tuple[str, NDArray[Any], str]]:
    water = maps.has_water()
    for row in maps.found.rows:
        for suffix, (quantity, words) in OF_ROWS.items():
            if quantity not in _WATER_ONLY or water:
                yield f"{row}{suffix}", maps.on_grid(maps.row(row, quantity)), f"{row}: {words}"
    for name, words in OF_VOXELS.items():
        yield name, maps.on_grid(maps.of_voxel(name)), words
    for k, tissue in enumerate(("gm", "wm", "csf") if maps.fractions is not None else ()):
        assert maps.fractions is not None
        yield f"fraction_{tissue}", maps.on_grid(maps.fractions[:, k]), f"volume fraction of {tissue}"
    passing = maps.passing.astype(np.uint8)
    verdict = maps.found.voxel["verdict"].astype(np.uint8)
    yield "quality", maps.on_grid(passing, 0), "1: passes the quality mask"
    bits = ", ".join(f"{bit} {words.split()[-1]}" for bit, words in REASONS.items())
    yield "quality_reasons", maps.on_grid(maps.bits, 255), f"bits: {bits}"
    numbers = ", ".join(f"{number} {words.split()[-1]}" for number, words in VERDICTS.items())
    yield "verdict", maps.on_grid(verdict, 255), numbers


def write_long_table(maps: Maps, path: Path) -> None:
    """Write `concentrations.tsv` in long form: where the voxel is (x, y, z from 0), then as for a single voxel."""
    found = maps.found
    flags = flag_words(maps)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write("\t".join(("x", "y", "z", *TABLE)) + "\n")
        for first in range(0, len(found.index), _CHUNK):
            part = slice(first, first + _CHUNK)
            columns = np.stack([found.numbers[name][part] for name in _COLUMNS], axis=-1)
            columns[~maps.believed[part]] = np.nan
            for place, numbers, said in zip(
                found.index[part].tolist(), columns.tolist(), flags, strict=False
            ):
                where = "\t".join(map(str, place))
                file.writelines(
                    f"{where}\t{name}\t{_cells(row)}\t{flag}\n"
                    for name, row, flag in zip(found.rows, numbers, said, strict=True)
                )


def _cells(numbers: list[float]) -> str:
    return "\t".join("" if value - value != 0 else f"{value:.6g}" for value in numbers)  # NaN and infinity


def flag_words(maps: Maps) -> Iterator[list[str]]:
    """Yield the flags of the rows of each voxel, as `table_flags` words them."""
    found = maps.found
    absent = ~(np.abs(found.numbers["value"]) > ONE_SIDED * found.numbers["sd"])
    of_sum: Mapping[str, str] = {name: SEE_SUM + SUM_OF[name] for name in found.rows if name in SUM_OF}
    sums = [of_sum.get(name, "") for name in found.rows]
    codes = absent + 2 * found.trades
    words = [["", NOT_DETECTED, sums[k], f"{NOT_DETECTED},{sums[k]}"] for k in range(len(sums))]
    for row, believed, passing in zip(codes, maps.believed, maps.passing, strict=True):
        if not believed:
            yield [f"{REFUSED},{LOW_QUALITY}"] * len(sums)
            continue
        own = [words[k][code] for k, code in enumerate(row)]
        yield own if passing else [f"{one},{LOW_QUALITY}" if one else LOW_QUALITY for one in own]


def summary(maps: Maps) -> list[dict[str, Any]]:
    """Return a row for each metabolite and sum: the median over the voxels that pass the quality mask."""
    rows = []
    for name in maps.found.rows:
        row: dict[str, Any] = {"metabolite": name, "voxels": int(maps.passing.sum())}
        for label, quantity in (
            ("amplitude", "value"),
            ("crlb_percent", "crlb"),
            ("ratio_tCr", "ratio"),
            ("concentration_mM", "mM"),
        ):
            values = maps.row(name, quantity)[maps.passing]
            values = values[np.isfinite(values)]
            row[f"median_{label}"] = float(np.median(values)) if values.size else float("nan")
        rows.append(row)
    return rows
