"""Which spectrum of a series each shot belongs to, and the values of its variable: from a table or a list."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError

Real = NDArray[np.float64]
Index = NDArray[np.int64]

_MOST_SPECTRA = 2000


@dataclass(frozen=True)
class Table:
    """A table of numbers with named columns, one row for each spectrum or each shot."""

    columns: Mapping[str, Real]
    source: str

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Order:
    """How shots make up a series."""

    entry: Index
    """Spectrum of each shot; shape (n_shots,)."""
    columns: Mapping[str, Real]
    """What is known of each spectrum, the variable among it; shape (n_spectra,) each."""
    words: str
    """For the record."""
    rule: tuple[str, int] = ("", 0)
    """`cycle` or `block` and its length, where that is how shots follow each other."""

    @property
    def size(self) -> int:
        """Number of spectra."""
        return int(self.entry.max()) + 1

    @property
    def counts(self) -> Index:
        """Shots of each spectrum; shape (n_spectra,)."""
        return np.bincount(self.entry, minlength=self.size)


def read_values(text: str, variable: str) -> Table:
    """Return the table that `text` names, or the numbers that it lists: "0,907,2155".

    A table has a header and columns separated by tabs, commas or spaces; a file of numbers alone is one column.

    Raises
    ------
    InputError
        It is neither a file nor a list of numbers.
    DataError
        The file has cells that are not numbers, or rows of different length.

    """
    path = Path(text)
    try:
        if not path.is_file():
            values = np.array([float(one) for one in text.split(",")])
            if np.all(np.isfinite(values)):
                return Table({variable: values}, "the command line")
            raise ValueError("not finite")
    except (ValueError, OSError) as error:
        raise InputError(
            f"--values: {text[:80]!r} is neither a file nor numbers separated by commas"
        ) from error
    return _read_table(path, variable)


def _read_table(path: Path, variable: str) -> Table:
    rows = _cells(path)
    head = rows[0]
    named = not all(_is_number(cell) for cell in head)
    names = [cell.strip() for cell in head] if named else [variable] if len(head) == 1 else []
    if not named and len(rows) == 1:
        return Table({variable: np.array([float(cell) for cell in head])}, path.name)
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path}: expected a header with the names of its {len(head)} columns")
    body = rows[1:] if named else rows
    if not body:
        raise DataError(f"{path}: has a header and no rows")
    columns = {}
    for k, name in enumerate(names):
        if any(len(row) != len(names) for row in body):
            raise DataError(f"{path}: rows of different length, expected {len(names)} cells in each")
        cells = [row[k] for row in body]
        wrong = next((n for n, cell in enumerate(cells) if not _is_number(cell)), None)
        if wrong is not None and name == variable:
            raise DataError(f"{path}: {name} of row {wrong + 1} is no number")
        if wrong is None:
            columns[name] = np.array([float(cell) for cell in cells])
        else:  # words, such as a direction or a condition, tell rows apart
            labels = list(dict.fromkeys(cells))
            columns[name] = np.array([float(labels.index(cell)) for cell in cells])
    return Table(columns, path.name)


def _cells(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise DataError(f"{path}: is empty")
    mark = "\t" if "\t" in lines[0] else "," if "," in lines[0] else None
    if mark is None:
        return [line.split() for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def ordered(
    n_shots: int, variable: str, table: Table | None, cycle: int | None = None, block: int | None = None
) -> Order:
    """Return the order of `n_shots` shots of one scan.

    Parameters
    ----------
    n_shots
        Shots in the order in which they were acquired.
    variable
        Name of the column of `table` with the variable.
    table
        Values of each spectrum, or of each shot: then shots with equal rows are one spectrum.
    cycle
        Shot n belongs to spectrum n modulo `cycle`.
    block
        This many shots in a row are one spectrum.

    Raises
    ------
    InputError
        Shots, values and rule do not go together.

    """
    if cycle is not None and block is not None:
        raise InputError("got both --cycle and --block, expected one of them")
    if table is not None and variable not in table.columns and cycle is None and block is None:
        raise InputError(
            f"{table.source}: has columns {', '.join(table.columns)}, expected one called {variable}"
        )
    number = np.arange(n_shots)
    if cycle is not None or block is not None:
        return _ruled(n_shots, table, cycle, block)
    if table is None:
        return Order(number, {}, f"each of {n_shots} shots is a spectrum")
    if table.rows == n_shots:
        rows = np.stack(list(table.columns.values()), axis=1)
        _, first, entry = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))  # in the order of their first shots
        entry = rank[entry.reshape(-1)]
        at = np.sort(first)
        columns = {name: values[at] for name, values in table.columns.items()}
        return _checked(Order(entry, columns, f"shots with equal rows of {table.source} are one spectrum"))
    raise InputError(
        f"{table.source}: {table.rows} rows of values for {n_shots} shots; say how shots follow each other: --cycle N "
        "(every N-th shot is alike) or --block N (N alike in a row)"
    )


def _ruled(n_shots: int, table: Table | None, cycle: int | None, block: int | None) -> Order:
    name, length = ("cycle", cycle) if cycle is not None else ("block", block)
    assert length is not None
    if length < 1 or n_shots % length:
        raise InputError(f"--{name} {length}: does not divide {n_shots} shots")
    number = np.arange(n_shots)
    entry = number % length if cycle is not None else number // length
    size = int(entry.max()) + 1
    if table is not None and table.rows != size:
        raise InputError(
            f"{table.source}: {table.rows} rows of values, but --{name} {length} makes {size} spectra"
        )
    words = f"every {length}th shot is alike" if cycle is not None else f"{length} shots in a row are alike"
    return _checked(
        Order(entry, dict(table.columns) if table else {}, f"{words}: {size} spectra", (name, length))
    )


def _checked(order: Order) -> Order:
    if not 2 <= order.size <= _MOST_SPECTRA:
        raise InputError(f"series: {order.size} spectra, expected 2 to {_MOST_SPECTRA}")
    return order


def of_dimension(n_members: int, n_shots: int, columns: Mapping[str, Real], table: Table | None) -> Order:
    """Return the order of shots whose file counts the members of the series by a dimension of its own.

    Values are those of the table where there is one, beside those of the header.

    Raises
    ------
    InputError
        The table has another number of rows.

    """
    if table is not None and table.rows != n_members:
        raise InputError(f"{table.source}: {table.rows} rows of values for {n_members} spectra")
    entry = np.repeat(np.arange(n_members), n_shots)
    words = f"{n_members} spectra of {n_shots} shot{'s' if n_shots > 1 else ''} by a dimension of the file"
    return Order(entry, dict(columns) | (dict(table.columns) if table else {}), words)


def of_one(n_shots: int, columns: Mapping[str, Real]) -> Order:
    """Return the order of a file that holds one member of a series."""
    return Order(np.zeros(n_shots, dtype=np.int64), columns, "one spectrum of the series")


def of_water(order: Order, n_water: int) -> Index | None:
    """Return the spectrum of the series that each shot of a water reference belongs to, or `None` for one of all."""
    name, length = order.rule
    if name == "cycle" and n_water % length == 0 and n_water > 1:
        return np.arange(n_water) % length
    return None


def with_columns(order: Order, columns: Mapping[str, Real]) -> Order:
    """Return an order of which more is known."""
    return replace(order, columns={**order.columns, **columns})


def joined(orders: Sequence[Order]) -> Order:
    """Return the order of several scans one after the other."""
    starts = np.cumsum([0, *(order.size for order in orders)])[:-1]
    entry = np.concatenate([order.entry + start for order, start in zip(orders, starts, strict=True)])
    names = [name for name in orders[0].columns if all(name in order.columns for order in orders)]
    columns = {name: np.concatenate([order.columns[name] for order in orders]) for name in names}
    return _checked(Order(entry, columns, f"{len(orders)} files in order, {int(entry.max()) + 1} spectra"))
