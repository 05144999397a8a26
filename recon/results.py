"""Tables on disk, and what `result.json` says of a fit."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.recon.fit import FitResult
from pulsespec.recon.quantify import COLUMNS

TABLE = (*COLUMNS, "flag")
"""Columns of `concentrations.tsv`."""
_WORDS = ("metabolite", "flag")


def write_table(
    rows: Sequence[Mapping[str, Any]], path: Path, overwrite: bool = False, columns: Sequence[str] = TABLE
) -> None:
    """Write a table, by default that of concentrations, as tab-separated text; what could not be had is empty.

    The last column of concentrations, `flag`, is what `table_flags` says of the row.
    """
    with (
        atomic_path(path, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read a table that `write_table` wrote; empty cells become NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != TABLE:
            raise DataError(f"{path}: columns {reader.fieldnames}, expected {list(TABLE)}")
        return [
            {key: cell if key in _WORDS else float(cell or "nan") for key, cell in row.items()}
            for row in reader
        ]


def fit_facts(found: FitResult) -> dict[str, Any]:
    """Return everything that a fit found but its curves: amplitudes and how they hang together, parameters, words.

    Covariance and correlation are of the amplitudes in the order of `components`, with baseline, shifts and
    lineshape free; `covariance_beyond` is what places of multiplets and T2 unlike the basis' add to it. The
    correlation with an amplitude that has no variance is given as 0.
    """
    sd = np.sqrt(np.clip(np.diag(found.covariance), 0, None))
    both = np.outer(sd, sd)
    correlation = np.divide(found.covariance, both, out=np.zeros_like(both), where=both > 0)
    np.fill_diagonal(correlation, 1.0)
    return {
        "converged": found.converged,
        "message": found.message,
        "warnings": list(found.warnings),
        **dict(found.parameters),
        "noise_sd": found.noise_sd,
        "points": int(found.ppm.size),
        "components": list(found.names),
        "amplitudes": found.amplitudes,
        "covariance": found.covariance,
        "covariance_beyond": found.whole_covariance - found.covariance,
        "correlation": correlation,
    }
