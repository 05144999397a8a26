"""Tissues: what is in a voxel, how it relaxes and how broad its lines are, with the source of every number.

The data are in `tissues.toml`; `tissue_library` reads them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulsespec.errors import DataError

WATER, DEFAULT, BROAD = "water", "default", "broad"
"""Rows of a table of relaxation times that are no metabolites; `default` serves what has no row of its own."""


@dataclass(frozen=True)
class Amount:
    """A concentration as it varies between people."""

    mm: float
    """Mean in mM (broad components: in units of their lines)."""
    sd_mm: float
    """Standard deviation between people, in mM."""
    source: str
    """Key in the table of sources."""


@dataclass(frozen=True)
class Relaxation:
    """Relaxation times at one field."""

    t1_s: float
    t2_s: float
    source: str
    """Keys in the table of sources, of T1 and T2."""


@dataclass(frozen=True)
class Linewidth:
    """Gaussian width that the inhomogeneity of the field adds to the natural width 1 / (pi T2)."""

    gauss_hz: float
    """Full width at half maximum in Hz."""
    sd_hz: float
    source: str


@dataclass(frozen=True)
class Source:
    """Where a number comes from."""

    citation: str
    doi: str
    """Digital object identifier, or an address; empty where there is none."""
    read: str
    """What was read: "paper", "abstract", "database" (a transcription), "derived", "recalled" or "assumed"."""


@dataclass(frozen=True)
class Tissue:
    """What a voxel of one tissue holds."""

    name: str
    description: str
    notes: str
    """What is left out, derived or assumed."""
    concentrations: Mapping[str, Amount]
    """Metabolites by name."""
    broad: Mapping[str, Amount]
    """Macromolecules and lipids by name, in units of their lines without relaxation."""
    water: Amount
    """Water that gives signal."""
    relaxation: Mapping[float, Mapping[str, Relaxation]]
    """Times by nominal field in tesla, then by metabolite or sum, `water`, `broad` and `default`."""
    linewidth: Mapping[float, Linewidth]
    """Widths by nominal field in tesla."""
    snr_ppm: tuple[float, float]
    """Range of the peak whose height defines the signal-to-noise ratio, low to high."""
    sources: Mapping[str, Source]
    """Every source of the table, by its key."""
    sums: Mapping[str, tuple[str, ...]]
    """Parts of each sum, such as tNAA."""
    aliases: Mapping[str, tuple[str, ...]]
    """Other names under which a basis may have a metabolite."""

    def at_field(self, field_t: float) -> float:
        """Return the nominal field nearest to `field_t` for which this tissue has relaxation times."""
        return nearest(self.relaxation, field_t)

    def width(self, field_t: float) -> Linewidth:
        """Return the width of the nearest nominal field."""
        return self.linewidth[nearest(self.linewidth, field_t)]

    def times(self, name: str, field_t: float) -> Relaxation:
        """Return relaxation times of a metabolite, of a sum that it is part of, or the default's."""
        table = self.relaxation[self.at_field(field_t)]
        sums = [total for total, parts in self.sums.items() if name in parts]
        for key in (name, *sums, BROAD if name in self.broad else DEFAULT, DEFAULT):
            if key in table:
                return table[key]
        raise DataError(f"tissue {self.name}: has neither times of {name} nor a default")


def nearest(table: Mapping[float, Any], field_t: float) -> float:
    """Return the key of `table` that is nearest to a field in the sense of ratios."""
    return min(table, key=lambda nominal: abs(math.log(nominal / field_t)))


def used_sources(tissue: Tissue) -> dict[str, Source]:
    """Return the sources that a tissue's own numbers name, by key."""
    amounts = [*tissue.concentrations.values(), *tissue.broad.values(), tissue.water]
    words = [amount.source for amount in amounts]
    words += [row.source for rows in tissue.relaxation.values() for row in rows.values()]
    words += [width.source for width in tissue.linewidth.values()]
    keys = dict.fromkeys(key for word in words for key in word.split())
    return {key: tissue.sources[key] for key in keys}


def assumed(tissue: Tissue) -> tuple[str, ...]:
    """Return the metabolites and broad components whose amount nobody measured."""
    amounts = {**tissue.concentrations, **tissue.broad}
    return tuple(
        name
        for name, amount in amounts.items()
        if any(tissue.sources[key].read == "assumed" for key in amount.source.split())
    )
