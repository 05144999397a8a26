"""What lies in the voxel of the virtual scanner."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from pulsespec.errors import InputError


@dataclass(frozen=True)
class Phantom:
    """A uniform voxel of tissue."""

    name: str
    concentrations_mm: Mapping[str, float]
    """Metabolites in mM."""
    water_mm: float
    """Water that gives signal, in mM."""
    broad_mm: Mapping[str, float] = field(default_factory=dict)
    """Macromolecules and lipids, in units of their components."""
    source: str = ""


def _table() -> dict[str, Any]:
    return tomllib.loads(files("pulsespec.simulator").joinpath("phantoms.toml").read_text())


def list_phantoms() -> list[str]:
    """Return the names of the shipped phantoms."""
    return list(_table())


def load_phantom(name: str) -> Phantom:
    """Return a shipped phantom; `InputError` where there is none of that name."""
    table = _table()
    if name not in table:
        raise InputError(f"phantom {name!r}: expected one of {', '.join(table)}")
    entry = table[name]
    return Phantom(name, entry["concentrations_mm"], entry["water_mm"], entry["broad_mm"], entry["source"])
