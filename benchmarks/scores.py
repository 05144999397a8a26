"""Scores of the ISMRM fitting challenge and plain tables, shared by benchmarks.

Errors are 100 (estimate / truth - 1), of concentrations or of ratios to tCr; a truth of zero is left out of them, but
not of the coverage. An estimate is inside where it is within 1.96 standard deviations of the truth; that of a ratio has
the standard deviations of both parts, as if independent. A group is the mean over its metabolites.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

METABOLITES = (
    *("tNAA", "NAA", "NAAG", "tCr", "Cr", "PCr", "tCho", "Ins", "Glu", "Gln", "Glx", "GSH", "GABA", "Asp"),
    *("Tau", "Lac", "Ala", "Asc", "PE", "sIns", "Gly", "Glc"),
)
GROUPS = {
    "major": ("tNAA", "tCho", "Ins", "Glu", "Glx"),
    "mid": ("NAA", "Gln", "GSH", "GABA", "NAAG", "Asp", "Tau", "PE"),
    "all": METABOLITES,
}
TOTALS = {"tNAA": ("NAA", "NAAG"), "tCr": ("Cr", "PCr"), "tCho": ("GPC", "PCho"), "Glx": ("Glu", "Gln")}
_NAMES = {"NAA+NAAG": "tNAA", "Cr+PCr": "tCr", "GPC+PCho": "tCho", "GPC+PCh": "tCho", "Glu+Gln": "Glx"}
_NAMES |= {"PCh": "PCho", "Scyllo": "sIns", "mI": "Ins"}
_SDS = 1.96


@dataclass(frozen=True)
class Entry:
    """One concentration as some program found it."""

    dataset: int
    metabolite: str
    value_mm: float | None
    ratio_tcr: float | None
    sd_mm: float | None


@dataclass(frozen=True)
class Scored:
    """One concentration beside its truth; errors in percent, `None` where they have no meaning."""

    dataset: int
    metabolite: str
    truth: float
    value_mm: float | None
    sd_mm: float | None
    error: Mapping[str, float | None]
    """Of "ratio" and "mM"."""
    inside: Mapping[str, bool | None]


def read_csv(path: Path) -> list[Entry]:
    """Read columns dataset, metabolite, value_mM, ratio_tCr and sd; totals that lack are summed, without sd."""

    def number(text: str | None) -> float | None:
        return float(text) if text not in (None, "") else None

    with path.open(newline="") as file:
        found = {
            (int(row["dataset"]), _NAMES.get(row["metabolite"], row["metabolite"])): Entry(
                int(row["dataset"]),
                _NAMES.get(row["metabolite"], row["metabolite"]),
                number(row.get("value_mM")),
                number(row.get("ratio_tCr")),
                number(row.get("sd")),
            )
            for row in csv.DictReader(file)
        }
    for dataset in {key[0] for key in found}:
        for total, parts in TOTALS.items():
            values = [found[dataset, p].value_mm for p in parts if (dataset, p) in found]
            known = [value for value in values if value is not None]
            if (dataset, total) not in found and len(known) == len(parts):
                found[dataset, total] = Entry(dataset, total, sum(known), None, None)
    return list(found.values())


def score(rows: Iterable[Entry], truth: Mapping[tuple[int, str], float]) -> list[Scored]:
    """Return every concentration that has a truth beside it."""
    found = {(row.dataset, row.metabolite): row for row in rows}
    scored = []
    for (dataset, name), row in sorted(found.items()):
        true = truth.get((dataset, name))
        if name not in METABOLITES or true is None:
            continue
        creatine = found.get((dataset, "tCr"))
        scored.append(_scored(row, true, creatine, truth[dataset, "tCr"]))
    return scored


def _scored(row: Entry, true: float, creatine: Entry | None, true_creatine: float) -> Scored:
    below = creatine.value_mm if creatine is not None else None
    ratio = row.value_mm / below if row.value_mm is not None and below else row.ratio_tcr
    true_ratio = true / true_creatine
    error = {
        "mM": 100 * (row.value_mm / true - 1) if row.value_mm is not None and true > 0 else None,
        "ratio": 100 * (ratio / true_ratio - 1) if ratio is not None and true > 0 else None,
    }
    inside: dict[str, bool | None] = {"mM": None, "ratio": None}
    if row.sd_mm and row.value_mm is not None:
        inside["mM"] = abs(row.value_mm - true) <= _SDS * row.sd_mm
    if row.sd_mm and below and row.metabolite != "tCr" and ratio is not None and creatine is not None:
        sd = math.hypot(row.sd_mm, ratio * (creatine.sd_mm or 0.0)) / below
        inside["ratio"] = abs(ratio - true_ratio) <= _SDS * sd
    return Scored(row.dataset, row.metabolite, true, row.value_mm, row.sd_mm, error, inside)


def mean_error(scored: Iterable[Scored], metabolite: str, what: str, signed: bool = False) -> float:
    """Return the mean absolute (or signed) error of a metabolite in percent; NaN where there is none."""
    errors = [one.error[what] for one in scored if one.metabolite == metabolite]
    known = [error if signed else abs(error) for error in errors if error is not None]
    return sum(known) / len(known) if known else math.nan


def group_mean(errors: Mapping[str, float], group: str, what: str) -> float:
    """Return the mean over the metabolites of a group; tCr has no ratio to itself."""
    kept = [errors[name] for name in GROUPS[group] if not (what == "ratio" and name == "tCr")]
    known = [value for value in kept if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def share_inside(scored: Iterable[Scored], names: Sequence[str], what: str) -> float:
    """Return the percentage of 95 % intervals of the named metabolites that hold the truth."""
    inside = [one.inside[what] for one in scored if one.metabolite in names]
    known = [value for value in inside if value is not None]
    return 100 * sum(known) / len(known) if known else math.nan


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of text, the first flush left."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
