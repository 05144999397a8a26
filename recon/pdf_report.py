"""One page of PDF with the fit and its numbers, in the manner of LCModel's one-page output.

Drawn with matplotlib alone, in the fonts that every reader of PDF has, so that it is small and can be searched.
The page bears no date: the same result gives the same bytes.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from pulsespec import __version__
from pulsespec.errors import InputError
from pulsespec.files import atomic_path
from pulsespec.recon.constants import TISSUES
from pulsespec.recon.fit_settings import SUMS
from pulsespec.recon.report import Report, flatten, show

_A4_LANDSCAPE_IN = (11.69, 8.27)
_STYLE = {
    "font.family": "Helvetica",
    "font.size": 8.0,
    "pdf.use14corefonts": True,
    "axes.linewidth": 0.6,
    "path.simplify": True,
}
_STYLE_PICTURE = {key: value for key, value in _STYLE.items() if not key.startswith(("pdf", "font.family"))}
_COLOURS = {"data": "#1a1a1a", "fit": "#d1242f", "baseline": "#8250df", "residual": "#57606a"}
_WIDTHS = {"data": 0.7, "fit": 0.9, "baseline": 0.8}
_PLOT = (0.045, 0.335, 0.575, 0.445)
_RESIDUAL = (0.045, 0.785, 0.575, 0.11)
_TABLE_LEFT, _TABLE_RIGHT, _TABLE_TOP, _TABLE_BOTTOM = 0.655, 0.985, 0.895, 0.045
_LARGEST_PITCH = 0.0155
_NOTES_TOP, _NOTES_BOTTOM, _NOTES_PITCH = 0.255, 0.025, 0.0143
_SHOWN = (
    ("data.source", "data"),
    ("data.sequence", "sequence"),
    ("data.f0_mhz", "frequency / MHz"),
    ("data.te_ms", "TE / ms"),
    ("data.tr_ms", "TR / ms"),
    ("data.voxel_mm", "voxel / mm"),
    ("data.samples", "points"),
    ("data.dwell_s", "dwell time / s"),
    ("basis.sequence", "basis"),
    ("basis.sequence_hash", "basis of .seq"),
    ("fit.ppm_range", "fitted / ppm"),
    ("fit.baseline_dimension_per_ppm", "baseline / dimensions per ppm"),
    ("fit.search", "search"),
)
"""Leaves of the provenance that the page has room for, and what it calls them."""


def write_pdf(report: Report, path: Path, overwrite: bool = False) -> None:
    """Write the page as PDF, or as PNG where `path` says so.

    Raises
    ------
    InputError
        The name ends in neither, the file exists, or its folder does not.

    """
    if path.suffix not in (".pdf", ".png"):
        raise InputError(f"{path}: expected a name that ends in .pdf or .png")
    picture = path.suffix == ".png"
    style: Any = _STYLE_PICTURE if picture else _STYLE
    with mpl.rc_context(style), atomic_path(path, overwrite) as temporary:
        facts = {"CreationDate": None, "Title": report.title, "Creator": f"pulsespec {__version__}"}
        metadata: Any = {"Software": None} if picture else facts
        draw(report).savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)


def draw(report: Report) -> Figure:
    """Return the page: residual and spectrum on the left, table on the right, notes below."""
    page = Figure(figsize=_A4_LANDSCAPE_IN)
    facts = dict(flatten(report.provenance)) | _digits(report.provenance)
    _title(page, report)
    _spectrum(page, report)
    _table(page, report.table)
    _notes(page, 0.045, "Warnings", _warnings(report), 66, "#a40e26" if report.warnings else "black")
    _notes(page, 0.345, "Data, basis and settings", _facts(report, facts), 64)
    page.text(0.985, 0.012, f"pulsespec {__version__}", ha="right", size=6, color="#57606a")
    for text in page.findobj(Text):
        if isinstance(text, Text) and text.get_fontweight() == "normal":
            text.set_fontweight("medium")  # what Helvetica has, or matplotlib says so on standard error
    return page


def _digits(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts that four digits are too few for."""
    data = provenance.get("data", {})
    return {
        f"data.{key}": f"{data[key]:.8g}" for key in ("f0_mhz", "dwell_s") if isinstance(data.get(key), float)
    }


def _title(page: Figure, report: Report) -> None:
    page.text(
        0.045, 0.955, _plain(textwrap.shorten(report.title, 80, placeholder="...")), size=12, weight="bold"
    )
    figures = [f"{name} {show(value)}" for name, value in report.quality.items() if name != "verdict"]
    page.text(0.045, 0.932, _plain(textwrap.shorten("; ".join(figures), 170, placeholder=" ...")), size=7)
    if report.judged is not None:
        line = textwrap.shorten(report.judged.line(), 230, placeholder=" ...")
        page.text(0.045, 0.912, _plain(line), size=7, weight="bold")


def _plain(text: str) -> str:
    """Return text without what matplotlib would take for mathematics, in characters that the fonts have."""
    return text.encode("cp1252", "replace").decode("cp1252").replace("$", r"\$")


def _spectrum(page: Figure, report: Report) -> None:
    """Draw data, fit and baseline, and the residual above them on the same scale."""
    ppm, layers = _with_gaps(report.ppm, report.layers)
    low, high = sorted(report.fit_range_ppm or (float(report.ppm.min()), float(report.ppm.max())))
    main = page.add_axes(_PLOT)
    for name in ("data", "fit", "baseline"):
        if name in layers:
            main.plot(ppm, layers[name], color=_COLOURS[name], lw=_WIDTHS[name], label=name)
    bottom, top = _limits([layers[name] for name in ("data", "fit", "baseline") if name in layers])
    main.set_ylim(bottom, top)
    main.legend(
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.035),  # left of what the axis is called, where no curve can be
        ncols=3,
        frameon=False,
        fontsize=7,
        handlelength=1.4,
        columnspacing=1.2,
        borderpad=0,
    )
    _axis(main, low, high)
    main.set_xlabel("chemical shift / ppm", labelpad=2)
    if "residual" in layers:
        above = page.add_axes(_RESIDUAL)
        above.plot(ppm, layers["residual"], color=_COLOURS["residual"], lw=0.5)
        above.axhline(0, color="black", lw=0.3)
        middle = 0.5 * sum(_limits([layers["residual"]]))
        half = 0.5 * (top - bottom) * _RESIDUAL[3] / _PLOT[3]  # the same scale as below
        largest = float(np.nanmax(np.abs(layers["residual"] - middle), initial=0.0))
        zoom = max(1.0, largest / half) if half > 0 else 1.0
        above.set_ylim(middle - zoom * half, middle + zoom * half)
        words = "residual" if zoom == 1 else f"residual, drawn {1 / zoom:.2g} times as high"
        above.text(
            0.012, 0.96, words, transform=above.transAxes, va="top", size=7, color=_COLOURS["residual"]
        )
        _axis(above, low, high)
        above.tick_params(labelbottom=False)


def _with_gaps(
    ppm: NDArray[np.float64], layers: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the curves in the order of the axis, with a hole wherever a range was left out of the fit."""
    order = np.argsort(ppm)
    axis = ppm[order]
    steps = np.diff(axis)
    holes = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if steps.size else np.array([], dtype=int)
    curves = {name: np.insert(np.asarray(values)[order], holes, np.nan) for name, values in layers.items()}
    return np.insert(axis, holes, np.nan), curves


def _limits(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low = min((float(np.nanmin(c)) for c in curves), default=0.0)
    high = max((float(np.nanmax(c)) for c in curves), default=1.0)
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xlim(high, low)
    axes.set_yticks([])
    step = 0.2 if high - low < 5 else 0.5
    axes.set_xticks(np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step)
    axes.tick_params(labelsize=7, length=2.5, width=0.6, pad=2)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str], float, str]]:
    """Return heading, cells, place of the edge from 0 to 1 and alignment of each column."""
    molar = any(math.isfinite(row["concentration_mM"]) for row in rows)
    amount, sd = ("concentration_mM", "concentration_mM_sd") if molar else ("amplitude", "sd")
    of = {key: [float(row[key]) for row in rows] for key in (amount, sd, "ratio_tCr", "ratio_tCr_sd")}
    return [
        ("", [_plain(str(row["metabolite"])) for row in rows], 0.0, "left"),
        ("mM" if molar else "amplitude", _numbers(of[amount]), 0.42, "right"),
        ("SD", _numbers(of[sd], of[amount]), 0.58, "right"),
        ("SD %", [_percent(row["crlb_percent"]) for row in rows], 0.71, "right"),
        ("/ tCr", _numbers(of["ratio_tCr"]), 0.86, "right"),
        ("SD", _numbers(of["ratio_tCr_sd"], of["ratio_tCr"]), 1.0, "right"),
    ]


def _numbers(values: Sequence[float], like: Sequence[float] | None = None) -> list[str]:
    """Return three decimals where the largest value (of `like`) suits them, else powers of ten."""
    largest = max((abs(value) for value in like or values if math.isfinite(value)), default=0.0)
    plain = 0.05 <= largest < 1e5
    return [_number(value, plain) for value in values]


def _number(value: float, plain: bool) -> str:
    if not math.isfinite(value):
        return "-"
    if not plain or abs(value) >= 1e5:
        return f"{value:.2e}" if value else "0"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if not math.isfinite(value) else ">999" if value > 999 else f"{value:.0f}"


def _table(page: Figure, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table, its lines as close as their number demands."""
    if not rows:
        return
    pitch = min(_LARGEST_PITCH, (_TABLE_TOP - _TABLE_BOTTOM) / (len(rows) + 2))
    size = min(8.0, pitch * _A4_LANDSCAPE_IN[1] * 72 / 1.15)
    width = _TABLE_RIGHT - _TABLE_LEFT
    for number in range(1, len(rows) + 1, 2):
        corner = (_TABLE_LEFT - 0.004, _TABLE_TOP - (number + 0.45) * pitch)
        page.add_artist(Rectangle(corner, width + 0.008, pitch, color="#f0f2f4", lw=0, zorder=-1))
    for heading, cells, edge, side in _columns(rows):
        x = _TABLE_LEFT + edge * width
        page.text(x, _TABLE_TOP, heading, ha=side, va="baseline", size=size, weight="bold")
        for number, (cell, row) in enumerate(zip(cells, rows, strict=True), 1):
            weight = "bold" if row["metabolite"] in SUMS else None
            y = _TABLE_TOP - (number + 0.2) * pitch
            page.text(x, y, cell, ha=side, va="baseline", size=size, weight=weight)


def _warnings(report: Report) -> list[str]:
    return [f"- {text}" for text in report.warnings] or ["none"]


def _facts(report: Report, facts: Mapping[str, str]) -> list[str]:
    nothing = show(None)
    known = [
        f"{label}: {facts[key][:16] if key.endswith('hash') else facts[key]}"
        for key, label in _SHOWN
        if facts.get(key) not in (None, "", nothing)
    ]
    shares = [
        f"{key} {facts[name]}" for key in TISSUES if (name := f"quantification.fractions.{key}") in facts
    ]
    if shares:
        known.append(f"tissue: {', '.join(shares)} ({facts.get('quantification.fractions.from', nothing)})")
    if "quantification.relaxation" in facts:
        known.append(f"corrected for relaxation: {facts['quantification.relaxation']}")
    return known


def _notes(
    page: Figure, left: float, heading: str, paragraphs: Sequence[str], characters: int, colour: str = "black"
) -> None:
    """Write wrapped paragraphs below the plot; what there is no room for is counted."""
    page.text(left, _NOTES_TOP + 0.018, heading, size=8, weight="bold")
    room = int((_NOTES_TOP - _NOTES_BOTTOM) / _NOTES_PITCH)
    lines: list[str] = []
    for number, paragraph in enumerate(paragraphs):
        wrapped = textwrap.wrap(paragraph, characters, subsequent_indent="  ")
        last = number == len(paragraphs) - 1
        if len(lines) + len(wrapped) > room - (not last):
            lines.append(f"... and {len(paragraphs) - number} more in result.json")
            break
        lines += wrapped
    for number, line in enumerate(lines):
        page.text(left, _NOTES_TOP - number * _NOTES_PITCH, _plain(line), size=7, color=colour)
