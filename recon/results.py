"""Tables on disk."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.recon.quantify import COLUMNS


def write_table(
    rows: Sequence[Mapping[str, Any]], path: Path, overwrite: bool = False, columns: Sequence[str] = COLUMNS
) -> None:
    """Write a table, by default that of concentrations, as tab-separated text; what could not be had is empty."""
    with (
        atomic_path(path, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read a table that `write_table` wrote; empty cells become NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path}: columns {reader.fieldnames}, expected {list(COLUMNS)}")
        return [
            {key: cell if key == "metabolite" else float(cell or "nan") for key, cell in row.items()}
            for row in reader
        ]
