"""One self-contained page about a study: how good its scans are, what they hold, who stands out, what failed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulsespec.recon.group import ALL, QUANTITIES, Values
from pulsespec.recon.group_picture import strip
from pulsespec.recon.group_tables import FIGURES
from pulsespec.recon.page import fill

_BROAD = ("MM", "Lip")
_LEAST_KNOWN = 0.5
"""Share of scans in which a metabolite has to be known by itself to be drawn."""
_FIRST = ("tNAA", "tCr", "tCho", "Ins", "Glx", "Glu", "Gln", "GABA", "GSH")


@dataclass(frozen=True)
class Page:
    """What the page shows."""

    scans: Sequence[Mapping[str, Any]]
    """What became of each scan, see `group_tables.SCANS`; with `concentrations` and `warnings`."""
    values: Sequence[Values]
    summary: Sequence[Mapping[str, Any]]
    compared: Sequence[Mapping[str, Any]]
    far: Sequence[Mapping[str, Any]]
    settings: Mapping[str, str]
    counted: int
    """Scans that count in the statistics."""


@dataclass(frozen=True)
class Picture:
    """The panels of one quantity of scans of one kind."""

    title: str
    panels: Sequence[str]
    folded: bool
    """Whether a reader has to ask for it."""


def render(page: Page) -> str:
    """Return the page as HTML; it needs nothing beside itself."""
    shown = {name: _shown(page, name) for name in dict.fromkeys(scan["scan"] for scan in page.scans)}
    return fill(
        "group.html",
        figure,
        page=page,
        tiles=_tiles(page),
        troubled=[scan for scan in page.scans if scan["status"] != "done"],
        warnings=_warnings(page.scans),
        figures=FIGURES,
        pictures=_pictures(page, shown),
        summary=[row for row in page.summary if row["metabolite"] in shown[row["scan"]]],
        compared=[row for row in page.compared if row["metabolite"] in shown[row["scan"]]],
        far=page.far,
        quantities=QUANTITIES,
        everybody=ALL,
    )


def figure(value: Any) -> str:
    """Return a number in the figures that a reader can use; a dash for none."""
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else "–"
    return str(value)


def _tiles(page: Page) -> dict[str, int]:
    states = [scan["status"] for scan in page.scans]
    verdicts = [scan["verdict"] for scan in page.scans]
    return {
        "subjects": len({scan["subject"] for scan in page.scans}),
        "scans": len(page.scans),
        "count in the statistics": page.counted,
        "fit refused": states.count("refused"),
        "failed": states.count("failed"),
        **{f"of {word} quality": verdicts.count(word) for word in ("good", "usable", "poor")},
    }


def _warnings(scans: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return what was warned of in several scans, the most frequent first."""
    found: dict[str, int] = {}
    for scan in scans:
        for words in scan["warnings"]:
            found[words] = found.get(words, 0) + 1
    common = [(words, n) for words, n in found.items() if n > 1]
    return sorted(common, key=lambda one: -one[1])


def _shown(page: Page, kind: str) -> list[str]:
    """Return the metabolites that most scans of a kind know by themselves, in a reader's order."""
    rows = [
        row for s in page.scans if s["scan"] == kind and s["status"] == "done" for row in s["concentrations"]
    ]
    known: dict[str, list[bool]] = {}
    for row in rows:
        if not row["metabolite"].startswith(_BROAD):
            alone = "see-" not in row["flag"] and "not-detected" not in row["flag"]
            known.setdefault(row["metabolite"], []).append(alone)
    names = [name for name, alone in known.items() if sum(alone) >= _LEAST_KNOWN * len(alone)]
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def _pictures(page: Page, shown: Mapping[str, Sequence[str]]) -> list[Picture]:
    found = []
    for kind, names in shown.items():
        for quantity, words in QUANTITIES.items():
            some = {
                one.metabolite: one for one in page.values if (one.kind, one.quantity) == (kind, quantity)
            }
            drawn = [some[name] for name in names if name in some and not _is_constant(some[name])]
            if drawn:
                title = f"{words[0].upper()}{words[1:]}" + (f", {kind}" if kind else "")
                panels = [strip(one, _far_from(page, one)) for one in drawn]
                found.append(Picture(title, panels, quantity not in tuple(QUANTITIES)[:2]))
    return found


def _is_constant(values: Values) -> bool:
    """Return whether a quantity is the same by definition, as the ratio of tCr to itself."""
    return values.quantity == "ratio_tCr" and values.metabolite == "tCr"


def _far_from(page: Page, values: Values) -> set[str]:
    of = (values.kind, values.metabolite, values.quantity)
    return {row["subject"] for row in page.far if (row["scan"], row["metabolite"], row["quantity"]) == of}
