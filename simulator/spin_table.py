"""Reading tables of spin systems in TOML, the shipped one and a user's own."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pulsespec.errors import InputError
from pulsespec.simulator.molecule import Metabolite, Partner, Source, SpinSystem

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Strict):
    text: Annotated[str, Field(min_length=1)]
    doi: str = ""
    doi_verified: bool = False
    read: bool = False
    through: str = ""
    temperature_c: float | None = None
    ph: Annotated[float, Field(ge=0, le=14)] | None = None


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
    shifts_source: str = ""
    couplings_source: str = ""


class _Metabolite(_Strict):
    full_name: str = ""
    source: Annotated[str, Field(min_length=1)]
    shifts_source: str = ""
    couplings_source: str = ""
    notes: str = ""
    left_out: list[str] = []
    ch_protons: Annotated[int, Field(ge=0)] | None = None
    nh_protons: Annotated[int, Field(ge=0)] = 0
    temperature_c: float | None = None
    ph: Annotated[float, Field(ge=0, le=14)] | None = None
    systems: Annotated[list[_System], Field(min_length=1)]


class _Sets(_Strict):
    brain: list[str]


def read_sources(raw: bytes, origin: str) -> dict[str, Source]:
    """Return the sources of a table by key; `InputError` names `origin` and what is wrong in it."""
    table = _parse(raw, origin).get("sources", {})
    if not isinstance(table, dict):
        raise InputError(f"{origin}: sources: got {table!r}, expected tables [sources.KEY]")
    found = {}
    for key, entry in table.items():
        read = _validate(_Source, entry, f"{origin}: sources.{key}")
        found[key] = Source(key, **read.model_dump())
    return found


def read_metabolites(raw: bytes, origin: str, sources: Mapping[str, Source]) -> dict[str, Metabolite]:
    """Return the metabolites of a table by name; their sources are looked up in `sources`."""
    entries = {name: entry for name, entry in _parse(raw, origin).items() if name not in ("sources", "sets")}
    return {name: _metabolite(name, entry, origin, sources) for name, entry in entries.items()}


def read_brain_set(raw: bytes, origin: str) -> tuple[str, ...]:
    """Return the names that are simulated unless others are given; empty where the table has no [sets]."""
    sets = _parse(raw, origin).get("sets")
    return () if sets is None else tuple(_validate(_Sets, sets, f"{origin}: sets").brain)


def _parse(raw: bytes, origin: str) -> dict[str, object]:
    try:
        return tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{origin}: is not a TOML file ({error})") from error


def _validate(model: type[Model], entry: object, where: str) -> Model:
    try:
        return model.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}.{key}: got {first['input']!r}, {first['msg']}") from error


def _metabolite(name: str, entry: object, origin: str, sources: Mapping[str, Source]) -> Metabolite:
    read = _validate(_Metabolite, entry, f"{origin}: {name}")
    try:
        systems = tuple(_system(system, read, sources) for system in read.systems)
    except ValueError as error:
        raise InputError(f"{origin}: {name}: {error}") from error
    return Metabolite(
        name,
        read.full_name or name,
        systems,
        _citation(systems),
        read.notes,
        tuple(read.left_out),
        read.ch_protons,
        read.nh_protons,
        _distinct(systems),
    )


def _system(read: _System, molecule: _Metabolite, sources: Mapping[str, Source]) -> SpinSystem:
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
    whole = sources.get(molecule.source, Source("", molecule.source))
    shifts = _source(read.shifts_source or molecule.shifts_source, whole, molecule, sources)
    couplings = _source(read.couplings_source or molecule.couplings_source, shifts, molecule, sources)
    return SpinSystem(read.name, np.array(read.shifts_ppm), j_hz, read.scale, partners, shifts, couplings)


def _source(key: str, default: Source, molecule: _Metabolite, sources: Mapping[str, Source]) -> Source:
    """Return the named source, with the conditions that the molecule states for itself."""
    if key and key not in sources:
        raise ValueError(f"source {key!r} is not among the sources {', '.join(sources) or '(none)'}")
    found = sources[key] if key else default
    temperature = found.temperature_c if molecule.temperature_c is None else molecule.temperature_c
    return replace(found, temperature_c=temperature, ph=found.ph if molecule.ph is None else molecule.ph)


def _distinct(systems: tuple[SpinSystem, ...]) -> tuple[Source, ...]:
    used = [source for system in systems for source in (system.shifts_source, system.couplings_source)]
    return tuple(dict.fromkeys(used))


def _citation(systems: tuple[SpinSystem, ...]) -> str:
    shifts = list(dict.fromkeys(system.shifts_source.text for system in systems))
    couplings = [system.couplings_source.text for system in systems if system.j_hz.any() or system.partners]
    others = [text for text in dict.fromkeys(couplings) if text not in shifts]
    return "; ".join(shifts) + "".join(f"; couplings: {text}" for text in others)
