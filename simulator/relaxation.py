"""T1 and T2 of a metabolite, and what they do between pulses."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsespec.errors import InputError

ANY = "*"
"""The name under which a table has the times of all metabolites that it does not name."""
WATER = "Water"
"""The name by which a table means the water reference."""


@dataclass(frozen=True)
class Relaxation:
    """Relaxation times, one pair for all spins of a molecule."""

    t1_s: float = math.inf
    t2_s: float = math.inf

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.t1_s > 0 or not self.t2_s > 0:
            raise InputError(f"relaxation: got T1 {self.t1_s} s, T2 {self.t2_s} s, expected times above 0")

    def kept(self, order: int, time_s: float) -> float:
        """Return what is left of a coherence order after a time: T1 for order 0, T2 for any other."""
        return math.exp(-time_s / (self.t2_s if order else self.t1_s))


NONE = Relaxation()
"""No relaxation."""


def relaxation_of(table: Mapping[str, Relaxation] | None, name: str) -> Relaxation:
    """Return the times of a metabolite from a table: its own, those of all others, or none."""
    if not table:
        return NONE
    return table.get(name, table.get(ANY, NONE))


def require_times(table: Mapping[str, Relaxation], names: Iterable[str]) -> None:
    """Raise `InputError` where a table has times for some of the metabolites and none for others.

    A basis holds relaxation or it does not: what is quantified with it is corrected for relaxation or is not.
    """
    without = [name for name in names if name not in table and ANY not in table]
    if table and without:
        raise InputError(
            f"relaxation: has no T1 and T2 for {', '.join(without)}; name them too, or give times for "
            f'"{ANY}", all others'
        )


def read_relaxation(path: Path) -> dict[str, Relaxation]:
    """Read a TOML table of relaxation times: `NAA = { t1_s = 1.4, t2_s = 0.25 }`, `"*"` for all others.

    Raises
    ------
    InputError
        The file is damaged, or an entry is not a pair of times above 0.

    """
    try:
        entries: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of relaxation times ({error})") from error
    found = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not set(entry) <= {"t1_s", "t2_s"}:
            raise InputError(f"{path}: {name}: got {entry!r}, expected {{ t1_s = ..., t2_s = ... }}")
        try:
            found[name] = Relaxation(**{key: float(value) for key, value in entry.items()})
        except (TypeError, ValueError, InputError) as error:
            raise InputError(f"{path}: {name}: {error}") from error
    return found
