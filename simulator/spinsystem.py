"""Spin systems of metabolites: shifts, couplings, untouched partner nuclei and where the numbers come from."""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pulsespec.errors import InputError

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Partner:
    """A nucleus that no pulse touches: its m is conserved and only moves the lines of the protons."""

    nucleus: str
    spin: float
    """Spin quantum number: 0.5 for 31P, 1.0 for 14N."""
    j_hz: Real
    """Coupling to each proton of the system; shape (n,)."""


@dataclass(frozen=True)
class SpinSystem:
    """Protons that belong together, possibly several equal copies of them."""

    name: str
    shifts_ppm: Real
    """Chemical shifts; shape (n,)."""
    j_hz: Real
    """Couplings, symmetric with a zero diagonal; shape (n, n)."""
    scale: float = 1.0
    """Number of equal copies in the molecule, or the share of an anomer."""
    partners: tuple[Partner, ...] = ()


@dataclass(frozen=True)
class Metabolite:
    """A molecule as the spectrometer sees it."""

    name: str
    full_name: str
    systems: tuple[SpinSystem, ...]
    source: str
    """Literature from which the numbers are."""
    notes: str = ""
    """Which protons are left out, and why."""

    @property
    def protons(self) -> float:
        """Number of protons that give signal."""
        return float(sum(system.scale * system.shifts_ppm.size for system in self.systems))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Partner(_Strict):
    nucleus: str
    spin: Annotated[float, Field(gt=0, multiple_of=0.5)]
    j_hz: list[float]


class _System(_Strict):
    name: str = ""
    scale: Annotated[float, Field(gt=0)] = 1.0
    shifts_ppm: Annotated[list[float], Field(min_length=1, max_length=12)]
    couplings_hz: list[tuple[int, int, float]] = []
    partners: list[_Partner] = []


class _Metabolite(_Strict):
    full_name: str = ""
    source: str
    notes: str = ""
    systems: Annotated[list[_System], Field(min_length=1)]


def load_metabolites(names: Sequence[str] | None = None, extra: Path | None = None) -> dict[str, Metabolite]:
    """Return metabolites by name, in the order asked for.

    Parameters
    ----------
    names
        Which ones; by default all that are shipped (and those in `extra`).
    extra
        A user's own TOML in the format of the shipped table; it adds metabolites or overrides them.

    Raises
    ------
    InputError
        A name is not known, or `extra` is damaged; the message says which and what is allowed.

    """
    table = _read(files("pulsespec.simulator").joinpath("metabolites.toml").read_bytes(), "metabolites.toml")
    if extra is not None:
        try:
            table |= _read(extra.read_bytes(), str(extra))
        except OSError as error:
            raise InputError(f"{extra}: cannot be read ({error.strerror})") from error
    if names is None:
        return table
    for name in names:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise InputError(f"metabolite {name!r}: not in the table of {', '.join(table)}{hint}")
    return {name: table[name] for name in names}


def list_metabolites() -> list[str]:
    """Return the names of all shipped metabolites."""
    return list(load_metabolites())


def _read(raw: bytes, origin: str) -> dict[str, Metabolite]:
    try:
        entries = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{origin}: is not a TOML file ({error})") from error
    return {name: _metabolite(name, entry, origin) for name, entry in entries.items()}


def _metabolite(name: str, entry: object, origin: str) -> Metabolite:
    try:
        read = _Metabolite.model_validate(entry)
        systems = tuple(_system(system) for system in read.systems)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{origin}: {name}.{key}: got {first['input']!r}, {first['msg']}") from error
    except ValueError as error:
        raise InputError(f"{origin}: {name}: {error}") from error
    return Metabolite(name, read.full_name or name, systems, read.source, read.notes)


def _system(read: _System) -> SpinSystem:
    n = len(read.shifts_ppm)
    j_hz = np.zeros((n, n))
    for first, second, value in read.couplings_hz:
        if not (0 <= first < n and 0 <= second < n and first != second):
            raise ValueError(f"couplings_hz names spins {first} and {second}, expected two of 0 to {n - 1}")
        j_hz[first, second] = j_hz[second, first] = value
    for partner in read.partners:
        if len(partner.j_hz) != n:
            raise ValueError(f"partner {partner.nucleus} has {len(partner.j_hz)} couplings, expected {n}")
    partners = tuple(Partner(p.nucleus, p.spin, np.array(p.j_hz)) for p in read.partners)
    return SpinSystem(read.name, np.array(read.shifts_ppm), j_hz, read.scale, partners)
