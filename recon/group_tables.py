"""The tables of a study: every number of every scan in long form, and a scan a row in wide form."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pulsespec.recon.quantify import COLUMNS

FIGURES = (
    "snr",
    "linewidth_ppm",
    "residual_water_percent",
    "drift_ppm",
    "rejected_percent",
    "lipid_over_naa",
    "phase_difference_deg",
)
"""Measures of quality that the tables have, of `quality.toml`."""
WHO = ("subject", "session", "scan", "run", "group")
"""Columns that say whose scan it is; `scan` is what tells scans of a subject apart, such as acq-press."""
SCANS = (*WHO, "status", "verdict", "outlier", *FIGURES, "reason")
LONG = (*WHO, *COLUMNS, "flag", "outlier", "verdict", *FIGURES[:2])
WIDE = (
    "ratio_tCr",
    "concentration_mM",
    "concentration_molal_mmol_per_kg",
    "amplitude",
    "crlb_percent",
)
"""Quantities that the wide table has a column of for each metabolite."""
SUMMARY = (
    *(
        "scan",
        "metabolite",
        "quantity",
        "group",
        "n",
        "mean",
        "sd",
        "cv_percent",
        "median",
        "lowest",
        "highest",
    ),
    *("weighted_mean", "weighted_mean_sd", "between_sd", "fit_sd", "within_subject_sd", "not_detected"),
)
COMPARISON = (
    *(
        "scan",
        "metabolite",
        "quantity",
        "group_a",
        "group_b",
        "n_a",
        "n_b",
        "difference",
        "low_95",
        "high_95",
    ),
    *("t", "df", "p", "p_adjusted", "hedges_g", "weighted_difference", "weighted_p"),
)


def long_rows(scans: Sequence[Mapping[str, Any]], far: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each metabolite of each scan; `outlier` lists the quantities in which it stands out."""
    known: dict[tuple[str, str, str], list[str]] = {}
    for one in far:
        known.setdefault((one["scan"], one["subject"], one["metabolite"]), []).append(one["quantity"])
    shared = (*WHO, "verdict", *FIGURES)
    return [
        {key: scan[key] for key in shared}
        | dict(row)
        | {"outlier": ",".join(known.get((scan["scan"], scan["subject"], row["metabolite"]), []))}
        for scan in scans
        for row in scan["concentrations"]
    ]


def wide_rows(scans: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return columns and rows with a scan a row, `NAA_ratio_tCr` and so on; a scan that failed has empty cells."""
    names = list(dict.fromkeys(row["metabolite"] for scan in scans for row in scan["concentrations"]))
    columns = (*WHO, "status", "verdict", *FIGURES, *(f"{name}_{key}" for key in WIDE for name in names))
    rows = []
    for scan in scans:
        row = {key: scan.get(key, math.nan) for key in columns}
        for one in scan["concentrations"]:
            row |= {f"{one['metabolite']}_{key}": one.get(key, math.nan) for key in WIDE}
        rows.append(row)
    return columns, rows
