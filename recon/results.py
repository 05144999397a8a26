"""Tables on disk."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.recon.quantify import COLUMNS

_FLAG = "flag"
_WORDS = ("metabolite", _FLAG)


def write_table(rows: Sequence[Mapping[str, Any]], path: Path, overwrite: bool = False) -> None:
    """Write the table of concentrations as tab-separated text; what could not be had is an empty cell.

    The last column, `flag`, is what `table_flags` says of the row.
    """
    columns = (*COLUMNS, _FLAG)
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
        if tuple(reader.fieldnames or ()) != (*COLUMNS, _FLAG):
            raise DataError(f"{path}: columns {reader.fieldnames}, expected {[*COLUMNS, _FLAG]}")
        return [
            {key: cell if key in _WORDS else float(cell or "nan") for key, cell in row.items()}
            for row in reader
        ]
