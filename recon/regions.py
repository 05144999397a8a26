"""Regional statistics of maps against an atlas or a mask.

A voxel belongs to a region by the share s of it that the region's label covers; voxels of less than `least_share` are
left out, others count by their share. With a value v and its standard deviation d in each voxel:

    mean            sum(s v) / sum(s)
    sd              between voxels: the square root of sum(s (v - mean)^2) / (sum(s) - sum(s^2) / sum(s))
    median          by the shares
    mean_weighted   sum(s v / d^2) / sum(s / d^2), by precision
    se_weighted     sqrt(sum(s^2 / d^2)) / sum(s / d^2): what the stated standard deviations make of it, if voxels are
                    independent, which neighbours in an image of a wide point-spread function are not

In weights by precision d is at least its median over the region, so that voxels with a small amount do not count for
more because theirs is small.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.label_shares import label_shares
from pulsespec.recon.map_files import MapFolder
from pulsespec.recon.volumes import Volume

Real = NDArray[np.float64]

COLUMNS = (
    *("region", "label", "metabolite", "quantity", "voxels", "voxels_failing", "coverage"),
    *("mean", "sd", "median", "mean_weighted", "se_weighted"),
)
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Region:
    """A region of an atlas."""

    label: int
    name: str


def regions_of(labels: Volume, names: Mapping[int, str] | None = None) -> list[Region]:
    """Return the regions of an image of labels; those without a name are called by their number.

    Raises
    ------
    InputError
        The image has no label above 0.

    """
    present = np.unique(labels.values)
    present = present[present > 0]
    if not present.size:
        raise InputError(f"{labels.name}: has no label above 0, expected regions")
    known = names or {}
    return [Region(int(label), known.get(int(label), str(int(label)))) for label in present]


def read_names(path: Path) -> dict[int, str]:
    """Read names of labels: two columns, number and name, apart by tabs (or blanks); a header is skipped.

    Raises
    ------
    InputError
        A row has no number and name.

    """
    found: dict[int, str] = {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        text = file.read()
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else " ", skipinitialspace=True))
    for number, row in enumerate(rows):
        cells = [cell.strip() for cell in row if cell.strip()]
        if not cells:
            continue
        if not cells[0].isdigit() or len(cells) < 2:
            if number == 0:
                continue
            raise InputError(
                f"{path}: line {number + 1} is {' '.join(cells)[:60]!r}, expected number and name"
            )
        found[int(cells[0])] = " ".join(cells[1:]) if "\t" not in text else cells[1]
    return found


def statistics(
    maps: MapFolder,
    labels: Volume,
    regions: Sequence[Region],
    metabolites: Sequence[str],
    quantity: str = "",
    least_share: float = _LEAST_SHARE,
) -> list[dict[str, Any]]:
    """Return a row for each region and metabolite: see the head of this module.

    Parameters
    ----------
    maps
        What `fit` wrote.
    labels, regions
        The atlas.
    metabolites
        Names of maps.
    quantity
        Suffix of the maps: "" for amplitudes, "_mM", "_molal", "_ratio_tCr", ...
    least_share
        Voxels of which less than this lies in a region do not belong to it.

    """
    if not 0 < least_share <= 1:
        raise InputError(f"least share: got {least_share}, expected above 0, at most 1")
    wanted = np.array([region.label for region in regions])
    shares = label_shares(maps.geometry, maps.shape, labels, wanted)
    volume = float(abs(np.linalg.det(maps.geometry.affine[:3, :3])))
    cell = float(abs(np.linalg.det(labels.affine[:3, :3])))
    rows = []
    for name in metabolites:
        values, sds = maps.read(f"{name}{quantity}"), maps.read(f"{name}{quantity}_sd")
        for k, region in enumerate(regions):
            inside = shares[..., k] >= least_share
            used = inside & maps.quality & np.isfinite(values) & np.isfinite(sds)
            whole = cell * float(np.count_nonzero(labels.values == region.label))
            rows.append(
                {
                    "region": region.name,
                    "label": str(region.label),
                    "metabolite": name,
                    "quantity": quantity.lstrip("_") or "amplitude",
                    "voxels": int(used.sum()),
                    "voxels_failing": int(inside.sum() - used.sum()),
                    "coverage": volume * float(shares[..., k][used].sum()) / whole,
                    **weighted(values[used], sds[used], shares[..., k][used]),
                }
            )
    return rows


def weighted(values: Real, sds: Real, shares: Real) -> dict[str, float]:
    """Return mean, sd, median, mean by precision and its standard error; NaN where there are no voxels."""
    if not values.size:
        return dict.fromkeys(COLUMNS[-5:], float("nan"))
    total = shares.sum()
    mean = float(shares @ values / total)
    freedom = float(total - (shares @ shares) / total)
    spread = float(np.sqrt(shares @ (values - mean) ** 2 / freedom)) if values.size > 1 else float("nan")
    floor = np.maximum(sds, np.median(sds))
    safe = floor > 0
    precision = np.where(safe, shares / np.where(safe, floor, 1.0) ** 2, 0.0)
    at = precision.sum()
    return {
        "mean": mean,
        "sd": spread,
        "median": weighted_median(values, shares),
        "mean_weighted": float(precision @ values / at) if at > 0 else float("nan"),
        "se_weighted": float(np.sqrt(((precision * sds) ** 2).sum()) / at) if at > 0 else float("nan"),
    }


def weighted_median(values: Real, weights: Real) -> float:
    """Return the value below and above which half of the weight lies."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    k = int(np.searchsorted(share, 0.5 - 1e-12))
    exact = abs(share[k] - 0.5) < 1e-9 and k + 1 < values.size
    return float((values[order[k]] + values[order[k + 1]]) / 2) if exact else float(values[order[k]])
