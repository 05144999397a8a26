"""The part of a page that shows a lesion."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsespec.recon.lesion import CONTRAST, RATIO, Lesion, Measure
from pulsespec.recon.map_files import MapFolder
from pulsespec.recon.map_pictures import Panel, map_picture, upper_end
from pulsespec.recon.maps_report import Part

SHOWN = (RATIO, CONTRAST, "tNAA", "tCho", "Lac", "tLip", "Lip13", "Lip09")
_LARGEST_Z = 8.0
_COLUMNS = (
    *("measure", "unit", "voxels", "lesion", "lesion_se", "contralateral", "contralateral_se"),
    *("normal_median", "normal_robust_sd", "z_mean", "z_least", "z_largest", "voxels_beyond_3"),
)
SIGNS = (
    "z is positive where there is more than in normal-appearing voxels. It is the distance from their median over "
    "1.4826 times their median absolute deviation, or the median of stated standard deviations where that is larger; "
    "tCho - b tNAA has b = median of tCho/tNAA of normal-appearing voxels. Red frame: the lesion."
)


def lesion_parts(found: Lesion, maps: MapFolder) -> list[Part]:
    """Return pictures of the measures, of their z, and the table."""
    shown = [found.measures[name] for name in SHOWN if name in found.measures]
    anywhere = found.sides.lesion | found.sides.contralateral
    amounts = [_amount(measure, found) for measure in shown]
    scores = [
        Panel(f"z of {one.name}", found.z[one.name], -_LARGEST_Z, _LARGEST_Z, "RdBu_r", found.sides.lesion)
        for one in shown
    ]
    note = " ".join([*(f"{words[0].upper()}{words[1:]}." for words in found.sides.words), SIGNS])
    return [
        Part("Lesion", map_picture(amounts, maps.geometry, anywhere)),
        Part(
            "Lesion: z against normal-appearing voxels",
            map_picture(scores, maps.geometry, anywhere),
            note=note,
        ),
        Part("Lesion beside contralateral tissue", table=[_short(row) for row in found.rows]),
    ]


def _amount(measure: Measure, found: Lesion) -> Panel:
    values = measure.value
    low = float(np.nanmin(values)) if measure.name == CONTRAST and np.isfinite(values).any() else 0.0
    high = max(upper_end(values, found.sides.normal), upper_end(values, found.sides.lesion))
    title = f"{measure.name} / {measure.unit}" if measure.unit else measure.name
    return Panel(title, values, low, high, outline=found.sides.lesion)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in _COLUMNS}
