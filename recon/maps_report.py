"""One self-contained HTML page of an image: maps, single voxels with their fits, tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.map_pictures import Panel, map_picture, upper_end
from pulsespec.recon.map_quality import limits
from pulsespec.recon.maps import Maps
from pulsespec.recon.page import fill
from pulsespec.recon.report import flatten, show
from pulsespec.recon.transients import Record

MAIN = ("tNAA", "tCr", "tCho", "Ins", "Glx", "Lac", "tLip")
"""Metabolites that are shown, those of them that were fitted."""


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    title: str
    picture: str = ""
    """PNG, base64."""
    table: Sequence[Mapping[str, Any]] = ()
    note: str = ""


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    title: str
    parts: Sequence[Part]
    figures: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    records: Sequence[Record] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def render_page(page: Page) -> str:
    """Return the page as the text of one HTML file that refers to nothing outside itself."""
    return fill(
        "maps_report.html",
        show,
        title=page.title,
        warnings=page.warnings,
        tiles=page.figures,
        page=page,
        records=page.records,
        provenance=list(flatten(page.provenance)),
    )


def write_page(page: Page, path: Path) -> None:
    """Write the page as one HTML file, which is replaced if it exists."""
    path.write_text(render_page(page), encoding="utf-8")


def metabolite_parts(maps: Maps) -> list[Part]:
    """Return maps of amounts and of their quality."""
    unit, quantity = ("mM", "mM") if maps.has_water() else ("units of the basis", "value")
    shown = [name for name in MAIN if name in maps.found.rows]
    passing = maps.on_grid(maps.passing, 0)
    amounts = [_panel(maps, f"{name} / {unit}", maps.row(name, quantity), passing) for name in shown]
    ratios = [
        _panel(maps, f"{name} / tCr", maps.row(name, "ratio"), passing) for name in shown if name != "tCr"
    ]
    bounds = [
        Panel(f"{name} CRLB / %", maps.on_grid(maps.row(name, "crlb")), 0.0, 50.0, "magma_r")
        for name in shown
    ]
    parts = [("Metabolites", amounts), ("Ratios to total creatine", ratios), ("Cramér-Rao bounds", bounds)]
    note = "Right of the patient on the right of the picture where the file says where it lies, anterior up."
    drawn = [
        Part(title, map_picture(panels, maps.geometry, passing), note=note)
        for title, panels in parts
        if panels
    ]
    return [*drawn, Part("Quality", map_picture(_quality(maps), maps.geometry, passing), note=_limit_words())]


def _panel(maps: Maps, title: str, values: NDArray[np.float64], passing: NDArray[np.bool_]) -> Panel:
    grid = maps.on_grid(values)
    return Panel(title, grid, 0.0, upper_end(grid, passing))


def _quality(maps: Maps) -> list[Panel]:
    passing = maps.on_grid(maps.passing, 0)
    shift = maps.on_grid(maps.of_voxel("b0_hz"))
    most = float(np.nanpercentile(np.abs(shift), 98)) if np.isfinite(shift).any() else 1.0
    width = maps.on_grid(maps.of_voxel("linewidth"))
    limit_hz = float(limits()["linewidth_ppm"]["most"]) * maps.f0_hz * 1e-6
    snr = maps.on_grid(maps.of_voxel("snr"))
    rest = maps.on_grid(maps.of_voxel("residual_over_noise"))
    return [
        Panel("SNR of NAA", snr, 0.0, upper_end(snr, passing)),
        Panel("linewidth / Hz", width, 0.0, 1.5 * limit_hz, "magma_r"),
        Panel("shift / Hz", shift, -most or -1.0, most or 1.0, "RdBu_r"),
        Panel("residual over noise", rest, 0.0, upper_end(rest, passing), "magma_r"),
        Panel("quality mask", passing.astype(float), 0.0, 1.0, "gray"),
    ]


def _limit_words() -> str:
    said = []
    for entry in limits().values():
        sign, value = ("at most", entry["most"]) if "most" in entry else ("at least", entry["least"])
        said.append(f"{entry['label']} {sign} {value:g} {entry['unit']}".strip())
    return "A voxel passes with a fit that can be believed and: " + "; ".join(said) + "."
