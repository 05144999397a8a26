"""What LCModel found, read from its `.coord`, `.table`, `.csv` and PostScript files.

The layouts are those of real files of LCModel 6.3 (Provencher 1993, doi:10.1002/mrm.1910300604). A `.coord` has the
curves too; a `.csv` has one row a voxel and nothing but concentrations. None of the three holds the correlations
of the metabolites, which LCModel writes into its detailed output alone. Titles, owners and names of files, which
may name a person, are not kept.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError

Real = NDArray[np.float64]

_ROW = re.compile(r"^\s*(\S+)\s+(\d+|\*+)%(?:\s+(\S+))?\s+(\S+)\s*$")
_HEAD = re.compile(r"^\s*Conc\.\s+%SD(?:\s*/(\S+))?\s+Metabolite")
_POINTS = re.compile(r"^\s*(\d+) points on ppm-axis")
_CURVES = {
    "NY phased data points follow": "data",
    "NY points of the fit to the data follow": "fit",
    "NY background values follow": "baseline",
}
_COMPONENT = re.compile(r"^\s*(\S+)\s+Conc\. =\s*\S+\s*$")
_TABLE = re.compile(r"^\s*(?:\$\$[A-Z]{4})?\s*(\d+) lines? in following (\w+)")
_VERSION = re.compile(r"LCModel \(Version ([^)\s]+)")
_NUMBER = r"\s*([-+.\dEe]+)"
_SHOWN = re.compile(r"^\{\((.*)\)s\}[lcr]st", re.MULTILINE)
"""A line of text in the PostScript that LCModel writes."""
_MISC = {
    "fwhm_ppm": re.compile(r"FWHM =" + _NUMBER),
    "snr": re.compile(r"S/N =" + _NUMBER),
    "shift_ppm": re.compile(r"Data shift =" + _NUMBER),
    "phase0_deg": re.compile(r"Ph:" + _NUMBER + r"\s*deg\b"),
    "phase1_deg_per_ppm": re.compile(r"Ph:.*deg" + _NUMBER + r"\s*deg/ppm"),
}
_SETTING = re.compile(r"^ ?(\w+(?:\(\d+\))?)\s*=\s*(.*?)\s*$")  # what is indented more continues a name
_PERSONAL = re.compile(r"^(fil|src|sav|title|owner|key)", re.IGNORECASE)


@dataclass(frozen=True)
class LCModelRow:
    """One line of the table of concentrations."""

    name: str
    """As LCModel writes it; a sum is "Cr+PCr"."""
    concentration: float
    sd_percent: float
    """Cramer-Rao bound as LCModel states it, in percent; 999 where the concentration is zero."""
    ratio: float
    """To `LCModelResult.ratio_to`; NaN where the file has none."""


@dataclass(frozen=True, kw_only=True)
class LCModelResult:
    """What one file says of one voxel; curves are real spectra on `ppm`, as LCModel phased them."""

    rows: tuple[LCModelRow, ...]
    ratio_to: str = ""
    """Denominator of the ratios, such as "Cr+PCr"."""
    source: str = ""
    """Name of the file."""
    version: str = ""
    voxel: tuple[int, int] | None = None
    """Row and column, counted from 1, in a `.csv`."""
    fwhm_ppm: float | None = None
    snr: float | None = None
    """Height of the highest peak over twice the root mean square of the residual, LCModel's "S/N"."""
    shift_ppm: float | None = None
    phase0_deg: float | None = None
    phase1_deg_per_ppm: float | None = None
    ppm: Real | None = None
    """Chemical shift of each point, descending; shape (n_points,)."""
    data: Real | None = None
    fit: Real | None = None
    baseline: Real | None = None
    components: Mapping[str, Real] = field(default_factory=dict)
    """Spectrum of each metabolite above zero, the baseline taken off; each of shape (n_points,)."""
    diagnostics: tuple[str, ...] = ()
    """What LCModel complained of."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Control parameters that were changed, as text, without names of files."""

    def row(self, name: str) -> LCModelRow:
        """Return the line of `name`; a sum is found whatever the order of its parts.

        Raises
        ------
        InputError
            There is no such line.

        """
        wanted = sorted(name.split("+"))
        for row in self.rows:
            if sorted(row.name.split("+")) == wanted:
                return row
        raise InputError(f"{self.source}: has no {name}, only {', '.join(row.name for row in self.rows)}")


def read_lcmodel_results(path: Path) -> tuple[LCModelResult, ...]:
    """Read a `.coord`, `.table`, `.csv` or `.ps` of LCModel, told apart by content; one result a voxel.

    Raises
    ------
    DataError
        The file cannot be read, is none of these, or is damaged.

    """
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    if re.match(r"\s*Row,\s*Col,", first):
        return _csv(path, text)
    if first.startswith("%!PS"):
        return (_postscript(path, text),)
    if not any(_HEAD.match(line) for line in text.splitlines()):
        raise DataError(f"{path}: is no .coord, .table, .csv or .ps of LCModel (no table of concentrations)")
    return (_pages(path, text),)


def _postscript(path: Path, text: str) -> LCModelResult:
    """Return what the page says in words; its last table is read, since the first may cut long names."""
    lines = [re.sub(r"\\([()\\])", r"\1", line) for line in _SHOWN.findall(text)]
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    if not heads:
        raise DataError(f"{path}: is PostScript, but not of LCModel (no table of concentrations)")
    table = [lines[heads[-1]]]
    for line in lines[heads[-1] + 1 :]:
        if _ROW.match(line) is None:
            break
        table.append(line)
    if len(table) == 1:
        raise DataError(f"{path}: has no line of results below its heading: truncated")
    ratio_to, rows = _concentrations(path, table)
    version = _VERSION.search("\n".join(lines))
    return LCModelResult(
        rows=rows,
        ratio_to=ratio_to,
        source=path.name,
        version=version.group(1) if version else "",
        settings=_settings([line for line in lines if "=" in line and not _is_measure(line)]),
        **_misc(path, lines),
    )


def _is_measure(line: str) -> bool:
    return any(pattern.search(line) for pattern in _MISC.values())


def _csv(path: Path, text: str) -> tuple[LCModelResult, ...]:
    lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    head = [cell.strip() for cell in lines[0]]
    head = head[: len(head) - (head[-1] == "")]
    ratio_to = head[4].removeprefix(f"{head[2]}/") if len(head) > 4 else ""
    if (
        len(head) < 5
        or (len(head) - 2) % 3
        or any(
            head[k + 1] != f"{head[k]} %SD" or head[k + 2] != f"{head[k]}/{ratio_to}"
            for k in range(2, len(head), 3)
        )
    ):
        raise DataError(f"{path}: columns are not a name, its %SD and its ratio in turn: damaged")
    results = []
    for number, cells in enumerate(lines[1:], 2):
        values = [_real(path, cell, f"line {number}") for cell in cells if cell.strip()]
        if not values:
            continue
        if len(values) != len(head):
            raise DataError(
                f"{path}: line {number} has {len(values)} numbers, expected {len(head)}: truncated"
            )
        rows = tuple(LCModelRow(head[k], *values[k : k + 3]) for k in range(2, len(head), 3))
        if not np.isfinite(values[:2]).all():
            raise DataError(f"{path}: line {number} does not say its row and column: damaged")
        voxel = (int(values[0]), int(values[1]))
        results.append(LCModelResult(rows=rows, ratio_to=ratio_to, source=path.name, voxel=voxel))
    if not results:
        raise DataError(f"{path}: has no line of results below its heading: truncated")
    return tuple(results)


def _real(path: Path, text: str, where: str) -> float:
    """Return a number as Fortran prints it; stars, where it did not fit its column, are NaN."""
    word = text.strip()
    if word and not word.strip("*"):
        return float("nan")
    try:
        return float(word.upper().replace("D", "E"))
    except ValueError as error:
        raise DataError(f"{path}: {where}: {word[:20]!r} is no number: damaged") from error


def _pages(path: Path, text: str) -> LCModelResult:
    lines = text.splitlines()
    tables = dict(_tables(path, lines))
    ratio_to, rows = _concentrations(path, tables.get("concentration", []))
    version = _VERSION.search(text)
    ppm, curves, components = _curves(path, lines)
    baseline = curves.get("baseline")
    if baseline is not None:
        components = {name: values - baseline for name, values in components.items()}
    return LCModelResult(
        rows=rows,
        ratio_to=ratio_to,
        source=path.name,
        version=version.group(1) if version else "",
        ppm=ppm,
        data=curves.get("data"),
        fit=curves.get("fit"),
        baseline=baseline,
        components=components,
        diagnostics=tuple(" ".join(line.split()) for line in tables.get("diagnostic", [])),
        settings=_settings(tables.get("table", [])),
        **_misc(path, tables.get("misc", [])),
    )


def _tables(path: Path, lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the first word of what each table is called ("table" is of input changes), and its lines."""
    for number, line in enumerate(lines):
        found = _TABLE.match(line)
        if found:
            count = int(found.group(1))
            body = lines[number + 1 : number + 1 + count]
            if len(body) < count:
                raise DataError(f"{path}: {len(body)} lines of {found.group(2)}, expected {count}: truncated")
            yield found.group(2), body


def _concentrations(path: Path, lines: list[str]) -> tuple[str, tuple[LCModelRow, ...]]:
    head = _HEAD.match(lines[0]) if lines else None
    if head is None:
        raise DataError(f"{path}: its table of concentrations has no heading: damaged")
    rows = []
    for line in lines[1:]:
        found = _ROW.match(line)
        if found is None:
            raise DataError(f"{path}: a line of its concentrations is not value, %SD, ratio, name: damaged")
        value, sd, ratio, name = found.groups()
        rows.append(
            LCModelRow(
                name,
                _real(path, value, name),
                _real(path, sd, name),
                float("nan") if ratio is None else _real(path, ratio, name),
            )
        )
    return head.group(1) or "", tuple(rows)


def _misc(path: Path, lines: list[str]) -> dict[str, Any]:
    text = "\n".join(lines)
    found = {name: pattern.search(text) for name, pattern in _MISC.items()}
    return {name: None if m is None else _real(path, m.group(1), name) for name, m in found.items()}


def _curves(path: Path, lines: list[str]) -> tuple[Real | None, dict[str, Real], dict[str, Real]]:
    """Return the axis, data, fit and baseline, and the spectra of metabolites (on the baseline) of a `.coord`."""
    start = next((k for k, line in enumerate(lines) if _POINTS.match(line)), None)
    if start is None:
        return None, {}, {}
    found = _POINTS.match(lines[start])
    assert found is not None
    points = int(found.group(1))
    curves: dict[str, Real] = {}
    components: dict[str, Real] = {}
    for number in range(start, len(lines)):
        component = _COMPONENT.match(lines[number])
        kind = "ppm" if number == start else _CURVES.get(lines[number].strip())
        if kind:
            curves[kind] = _column(path, lines, number, points, kind)
        elif component:
            name = component.group(1)
            components[name] = _column(path, lines, number, points, name)
    return curves.pop("ppm"), curves, components


def _column(path: Path, lines: list[str], number: int, points: int, what: str) -> Real:
    values: list[float] = []
    for line in lines[number + 1 :]:
        if len(values) >= points:
            break
        values += [_real(path, cell, what) for cell in line.split()]
    if len(values) != points:
        raise DataError(f"{path}: {what}: {len(values)} numbers, expected {points}: truncated or damaged")
    return np.array(values)


def _settings(lines: list[str]) -> dict[str, str]:
    """Return what was changed in the control file, without what may name a person or a place."""
    found = [_SETTING.match(line) for line in lines]
    pairs = {m.group(1).lower(): m.group(2) for m in found if m}
    return {key: value for key, value in pairs.items() if not _PERSONAL.match(key)}
