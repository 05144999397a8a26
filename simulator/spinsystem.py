"""Spin systems of metabolites by name: shifts, couplings, untouched partner nuclei and their sources."""

import difflib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from pulsespec.errors import InputError
from pulsespec.simulator.molecule import Metabolite, Partner, Source, SpinSystem
from pulsespec.simulator.spin_table import read_brain_set, read_metabolites, read_sources

__all__ = [
    "Metabolite",
    "Partner",
    "Source",
    "SpinSystem",
    "brain_metabolites",
    "list_metabolites",
    "load_metabolites",
    "load_sources",
]

_TABLE = "metabolites.toml"


def load_metabolites(names: Sequence[str] | None = None, extra: Path | None = None) -> dict[str, Metabolite]:
    """Return metabolites by name, in the order asked for.

    Parameters
    ----------
    names
        Which ones; by default those of `brain_metabolites` and all in `extra`.
    extra
        A user's own TOML in the format of the shipped table; it adds metabolites or overrides them.

    Raises
    ------
    InputError
        A name is not known, or `extra` is damaged; the message says which and what is allowed.

    """
    own = {} if extra is None else _own(extra)
    table = {**_shipped(), **own}
    if names is None:
        return {name: table[name] for name in dict.fromkeys([*brain_metabolites(), *own])}
    for name in names:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise InputError(f"metabolite {name!r}: not in the table of {', '.join(table)}{hint}")
    return {name: table[name] for name in names}


def list_metabolites() -> list[str]:
    """Return the names of all shipped metabolites."""
    return list(_shipped())


@cache
def brain_metabolites() -> tuple[str, ...]:
    """Return the names of the metabolites that are simulated unless others are named."""
    return read_brain_set(_raw(), _TABLE)


def load_sources() -> dict[str, Source]:
    """Return the sources of the shipped table by key."""
    return dict(_sources())


@cache
def _sources() -> dict[str, Source]:
    return read_sources(_raw(), _TABLE)


@cache
def _shipped() -> dict[str, Metabolite]:
    return read_metabolites(_raw(), _TABLE, load_sources())


def _raw() -> bytes:
    return files("pulsespec.simulator").joinpath(_TABLE).read_bytes()


def _own(path: Path) -> dict[str, Metabolite]:
    """Return a user's table; its sources come before ours, and it has no sets."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if read_brain_set(raw, str(path)):
        raise InputError(f"{path}: sets: only the shipped table has sets; all that is in yours is simulated")
    return read_metabolites(raw, str(path), load_sources() | read_sources(raw, str(path)))
