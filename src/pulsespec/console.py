"""What the command line says: results on standard output, everything else on standard error."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

Notify = Callable[[str], None]
"""Takes one line that tells a person what is going on."""


def silent(_: str) -> None:
    """Say nothing: the default of the Python functions behind the verbs."""


@dataclass(frozen=True)
class Console:
    """How one run of the command line speaks."""

    as_json: bool = False
    """Print the result as one JSON document."""
    quiet: bool = False
    """Print results and errors only."""

    @contextmanager
    def progress(self) -> Iterator[Notify]:
        """Yield a `Notify` that shows a moving line on a terminal and plain lines elsewhere."""
        screen = RichConsole(stderr=True, highlight=False)
        if self.quiet:
            yield silent
        elif screen.is_terminal:
            with screen.status("starting") as status:

                def notify(text: str) -> None:
                    screen.print(text, markup=False)
                    status.update("working")

                yield notify
        else:
            yield lambda text: print(text, file=sys.stderr, flush=True)  # noqa: T201

    def result(self, data: Any, text: str = "") -> None:
        """Print `data` as JSON if that was asked for, else `text`."""
        print(to_json(data) if self.as_json else text, flush=True)  # noqa: T201

    def table(self, rows: Sequence[Mapping[str, Any]], data: Any = None) -> None:
        """Print rows that have the same keys as a table, or `data` (by default the rows) as JSON."""
        if self.as_json:
            self.result(rows if data is None else data)
            return
        table = Table(box=None, pad_edge=False)
        for key in rows[0] if rows else ():
            numeric = all(isinstance(row[key], int | float) for row in rows)
            table.add_column(key, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        RichConsole(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200).print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_json(value: Any) -> str:
    """Return `value` as JSON that every reader takes: numbers that are not finite become null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return what JSON knows for what it does not: arrays and numbers of numpy, paths, tuples, infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
