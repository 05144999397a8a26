"""Two fits of one spectrum beside each other: ours and LCModel's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pulsespec.errors import DataError
from pulsespec.recon.fit import SUMS
from pulsespec.recon.lcmodel_results import LCModelResult, LCModelRow
from pulsespec.simulator.basis_names import house_name

_NOTHING = 999.0
"""Bound that LCModel prints where a concentration is zero."""


def beside(ours: Sequence[Mapping[str, Any]], theirs: LCModelResult) -> list[dict[str, Any]]:
    """Return a row for each metabolite and sum that both fitted.

    Parameters
    ----------
    ours
        Rows as `quantify` makes them.
    theirs
        What LCModel found. Its names become house names, its sums tNAA, tCr, tCho and Glx.

    Returns
    -------
    rows
        Ratios to tCr of both (LCModel's formed anew from its concentrations, whatever it divided by), with
        standard deviations, the difference in percent of LCModel's, and over the standard deviation of the
        two together; mM where ours has them, and amplitudes, which LCModel's concentrations are without water.

    Raises
    ------
    DataError
        LCModel has no creatine above zero to divide by, or nothing is in both.

    """
    named = _named(theirs)
    reference = named.get("tCr")
    if reference is None or not reference.concentration > 0:
        raise DataError(f"{theirs.source}: has no creatine above zero to form ratios with")
    rows = [
        _row(row, named[row["metabolite"]], reference.concentration)
        for row in ours
        if row["metabolite"] in named
    ]
    if not rows:
        raise DataError(f"{theirs.source}: has no metabolite that was fitted here too")
    return rows


def _house(name: str) -> str:
    """Return the house name of a metabolite, or of the sum that "A+B" is."""
    parts = {house_name(part) for part in name.split("+")}
    if len(parts) == 1:
        return parts.pop()
    return next((total for total, of in SUMS.items() if parts <= set(of)), name)


def _named(theirs: LCModelResult) -> dict[str, LCModelRow]:
    """Return LCModel's lines by house name; where it fitted one part of a sum, that is the sum too."""
    named = {_house(row.name): row for row in theirs.rows}
    for total, of in SUMS.items():
        parts = [named[part] for part in of if part in named]
        if total not in named and len(parts) == 1:
            named[total] = parts[0]
    return named


def _row(ours: Mapping[str, Any], theirs: LCModelRow, reference: float) -> dict[str, Any]:
    ratio, sd = float(ours["ratio_tCr"]), float(ours["ratio_tCr_sd"])
    other = theirs.concentration / reference
    bounded = 0 < theirs.sd_percent < _NOTHING
    other_sd = other * theirs.sd_percent / 100 if bounded else math.nan
    return {
        "metabolite": ours["metabolite"],
        "ratio_tCr": ratio,
        "ratio_tCr_sd": sd,
        "lcmodel_ratio_tCr": other,
        "lcmodel_sd": other_sd,
        "difference_percent": 100 * (ratio / other - 1) if other > 0 else math.nan,
        "difference_over_sd": (ratio - other) / math.hypot(sd, other_sd),
        "amplitude": float(ours["amplitude"]),
        "concentration_mM": float(ours["concentration_mM"]),
        "lcmodel_concentration": theirs.concentration,
    }
