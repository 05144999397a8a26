"""What the command line says: results on standard output, everything else on standard error."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pulsespec.progress import Step, Watch

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
        with self._voices() as (notify, _):
            yield notify

    @contextmanager
    def work(
        self, output: Path | None, cluster: str | None = None, dry_run: bool = False
    ) -> Iterator[Notify]:
        """Yield a `Notify` as `progress` does, for work in blocks that ends in `output`.

        Blocks go to the `cluster` where one is named, those that are finished are kept beside `output` until all are,
        and how far they are is shown with an estimate of the time left.
        """
        from pulsespec.executor import Spread, spread
        from pulsespec.kept import work_on

        with self._voices() as (notify, watch), ExitStack() as stack:
            if not dry_run:
                keep = None if output is None else stack.enter_context(work_on(output, notify))
                machines = stack.enter_context(_connected(cluster, notify)) if cluster else None
                stack.enter_context(spread(Spread(machines, keep, watch)))
            elif cluster:
                _check_cluster(cluster)
            yield notify

    @contextmanager
    def _voices(self) -> "Iterator[tuple[Notify, Watch | None]]":
        """Yield what says one line, and what shows how far blocks are."""
        screen = RichConsole(stderr=True, highlight=False)
        if self.quiet:
            yield silent, None
        elif screen.is_terminal:
            with screen.status("starting") as status:

                def notify(text: str) -> None:
                    screen.print(text, markup=False)
                    status.update("working")

                def watch(step: "Step") -> None:
                    if step.words:
                        screen.print(step.words, markup=False)
                    else:
                        status.update(escape(f"{_bar(step)}{step.line()}"))

                yield notify, watch
        else:

            def say(text: str) -> None:
                print(text, file=sys.stderr, flush=True)  # noqa: T201

            yield say, PlainLines(say)

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


@dataclass
class PlainLines:
    """Shows how far blocks are in lines that a log can hold: one at most every `every_s`."""

    say: Notify
    every_s: float = 10.0
    _said: tuple[str, float] = ("", 0.0)

    def __call__(self, step: "Step") -> None:
        """Say a step that is due, or what a person should know."""
        since = step.elapsed_s - (self._said[1] if self._said[0] == step.name else 0.0)
        ended = step.done == step.total and self._said[0] == step.name
        if step.words:
            self.say(step.words)
        elif since >= self.every_s or ended:
            self._said = (step.name, step.elapsed_s)
            self.say(step.line())
        if step.done == step.total:
            self._said = ("", 0.0)


def _bar(step: "Step", width: int = 20) -> str:
    """Return a bar for a terminal; nothing where it is not known how many blocks there are."""
    if not step.total:
        return ""
    full = round(width * step.done / step.total)
    return "━" * full + "╌" * (width - full) + " "


def _connected(cluster: str, notify: Notify) -> AbstractContextManager[Any]:
    from pulsespec.cluster import connect

    return connect(cluster, notify)


def _check_cluster(cluster: str) -> None:
    from pulsespec.cluster import check_name

    check_name(cluster)


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
