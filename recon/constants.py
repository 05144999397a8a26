"""Constants of water scaling: those of the shipped tables, with single entries set by the user.

Grey and white matter are the tissues of `simulator/tissues.toml`; CSF is in `quantification.toml`.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pulsespec.errors import InputError
from pulsespec.files import atomic_path
from pulsespec.simulator import list_metabolites
from pulsespec.simulator.basis_names import house_name
from pulsespec.simulator.relaxation import ANY
from pulsespec.simulator.tissue import BROAD, DEFAULT, Relaxation, Tissue, nearest
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.tissue_lines import known_broad

TISSUES = ("gm", "wm", "csf")
"""Order of the tissues wherever an array has an axis of them."""
BRAIN = {"gm": "grey-matter", "wm": "white-matter"}
"""Names of the shipped tissues that grey and white matter are."""
_ALSO = {"tCho": ("Cho",)}
"""Names of bases that are part of a sum, or all of it, and that the tables do not have."""
_FAR = 1.25

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StatedTimes(_Section):
    """Relaxation times as a user states them; what is left out stays as shipped."""

    t1_s: Positive | None = None
    t1_sd_s: NotNegative | None = None
    t1_source: str | None = None
    t2_s: Positive | None = None
    t2_sd_s: NotNegative | None = None
    t2_source: str | None = None


class StatedWater(StatedTimes):
    """Water of one tissue as a user states it."""

    kg_per_l: Annotated[float, Field(gt=0, le=1.0)] | None = None
    kg_per_l_sd: NotNegative | None = None
    kg_per_l_source: str | None = None


class Stated(_Section):
    """Everything that a user can state."""

    water_g_per_mol: Positive | None = None
    water: dict[Literal["gm", "wm", "csf"], StatedWater] = {}
    metabolites: dict[str, dict[Literal["gm", "wm"], StatedTimes]] = {}
    """By metabolite, by sum, `*` (all metabolites), `broad`, or `default` (those that the tables do not have)."""


@dataclass(frozen=True)
class Times:
    """Relaxation times with what is stated of their uncertainty."""

    t1_s: float
    t2_s: float
    t1_source: str
    t2_source: str
    t1_sd_s: float = 0.0
    t2_sd_s: float = 0.0


@dataclass(frozen=True)
class Water(Times):
    """Water of one tissue."""

    kg_per_l: float = 0.0
    """MR-visible water in kg a litre of tissue."""
    kg_per_l_source: str = ""
    kg_per_l_sd: float = 0.0


Constant = TypeVar("Constant", bound=Times)


@dataclass(frozen=True)
class Constants:
    """Constants at one field."""

    field_t: float
    """Nominal field of the tables that is nearest to that of the data."""
    water_g_per_mol: float
    water: Mapping[str, Water]
    """By tissue: gm, wm, csf."""
    metabolites: Mapping[str, Mapping[str, Times]]
    """By metabolite, then by tissue: gm, wm."""

    @property
    def mm_per_kg(self) -> float:
        """Molality of water in mmol/kg."""
        return 1e6 / self.water_g_per_mol


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(files("pulsespec.recon").joinpath("quantification.toml").read_text(encoding="utf-8"))


def read_constants(path: Path) -> Stated:
    """Read a TOML file of constants that replace the shipped ones.

    Raises
    ------
    InputError
        The file cannot be read, or has an entry that is unknown or out of range, which is named.

    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of constants ({error})") from error
    try:
        return Stated.model_validate(entries)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        known = "expected water_g_per_mol, water.{gm,wm,csf}.{kg_per_l,t1_s,t2_s}, metabolites.NAME.{gm,wm}.{t1_s,t2_s}"
        raise InputError(
            f"{path}: {where}: {first['msg']}, got {first['input']!r}; {known}, each with _sd and source"
        ) from error


def constants_at(
    field_t: float, names: Sequence[str], stated: Stated | None = None, broad: Sequence[str] = ()
) -> tuple[Constants, tuple[str, ...]]:
    """Return the constants for components `names`, of which some are `broad`, at a field in tesla, and warnings.

    Raises
    ------
    InputError
        The user states times of a metabolite that is neither fitted nor in the tables.

    """
    stated = stated or Stated()
    tissues = {key: load_tissue(name) for key, name in BRAIN.items()}
    nominal = tissues["gm"].at_field(field_t)
    _refuse_unknown(stated, names, tissues["gm"])
    grams = stated.water_g_per_mol or float(_table()["molar_mass"]["water_g_per_mol"])
    water = {key: _water(tissues.get(key), field_t, grams) for key in TISSUES}
    own = {str(key): entry for key, entry in stated.water.items()}
    water = {key: _with(one, own.get(key), "water") for key, one in water.items()}
    metabolites = {
        name: {
            key: _metabolite(name, tissue, field_t, _of(stated, key), name in broad)
            for key, tissue in tissues.items()
        }
        for name in names
    }
    far = max(nominal / field_t, field_t / nominal) > _FAR
    words = f"relaxation times are those of {nominal:g} T, the data were measured at {field_t:.2f} T"
    return Constants(nominal, grams, water, metabolites), (words,) if far else ()


def _of(stated: Stated, tissue: str) -> dict[str, StatedTimes]:
    """Return what the user states of metabolites in one tissue."""
    return {
        name: times
        for name, entry in stated.metabolites.items()
        for key, times in entry.items()
        if key == tissue
    }


def _refuse_unknown(stated: Stated, names: Sequence[str], tissue: Tissue) -> None:
    if not stated.metabolites:
        return
    rows = {name for table in tissue.relaxation.values() for name in table} - {"water"}
    known = {*names, *rows, *list_metabolites(), *known_broad(), *tissue.sums, DEFAULT, BROAD, ANY}
    unknown = sorted(set(stated.metabolites) - known)
    if unknown:
        near = [other for name in unknown for other in difflib.get_close_matches(name, known, n=1)]
        raise InputError(
            f"constants: metabolites.{', metabolites.'.join(unknown)}: neither fitted nor known, expected names of "
            f"metabolites, sums, {DEFAULT}, {BROAD} or {ANY}{f'; did you mean {near[0]!r}?' if near else ''}"
        )


def _water(tissue: Tissue | None, field_t: float, grams: float) -> Water:
    """Return the water of a shipped tissue, of CSF where there is none."""
    if tissue is not None:
        times = _times(tissue.times("water", field_t), tissue)
        content, source = tissue.water.mm * grams * 1e-6, _cited(tissue, tissue.water.source)
    else:
        fluid = _table()["csf"]
        by_field = {float(nominal): entry for nominal, entry in fluid["relaxation"].items()}
        times = Times(**by_field[nearest(by_field, field_t)])
        content, source = fluid["kg_per_l"], fluid["source"]
    return Water(**asdict(times), kg_per_l=content, kg_per_l_source=source)


def _times(row: Relaxation, tissue: Tissue) -> Times:
    keys = row.source.split()
    first, second = (keys[0], keys[1]) if len(keys) == 2 else (row.source, row.source)
    return Times(row.t1_s, row.t2_s, _cited(tissue, first), _cited(tissue, second))


def _cited(tissue: Tissue, keys: str) -> str:
    """Return the citation, the DOI and what was read, for keys of the table of sources."""
    found = [tissue.sources[key] for key in keys.split()]
    return "; ".join(
        f"{s.citation}{f', doi:{s.doi}' if s.doi.startswith('10.') else ''} ({s.read})" for s in found
    )


def _metabolite(
    name: str, tissue: Tissue, field_t: float, stated: Mapping[str, StatedTimes], broad: bool
) -> Times:
    """Return the times of a component: its own, of the sum that it is part of, or of all that have none.

    What the user states of a component goes before what he states of its sum, that before what he states of all
    metabolites (`*`), and that before the tables; his `default` and `broad` replace those of the tables alone.
    """
    rows = tissue.relaxation[tissue.at_field(field_t)]
    own = house_name(name)
    sums = [total for total, parts in tissue.sums.items() if own in (*parts, *_ALSO.get(total, ()))]
    kind = BROAD if broad and BROAD in rows else DEFAULT
    row = next((key for key in (own, *sums) if key in rows), kind)
    times = _times(rows[row], tissue)
    for key in (
        *([kind] if row == kind else []),
        *([] if broad else [ANY]),
        *sums,
        *dict.fromkeys((own, name)),
    ):
        times = _with(times, stated.get(key), f"metabolites.{key}")
    return times


def _with(one: Constant, stated: StatedTimes | None, where: str) -> Constant:
    """Return the constants with what the user states of them."""
    given = {} if stated is None else {key: v for key, v in stated.model_dump().items() if v is not None}
    names = {"t1_s": "t1_source", "t2_s": "t2_source", "kg_per_l": "kg_per_l_source"}
    said = {source: f"given by the user ({where})" for key, source in names.items() if key in given}
    return replace(one, **{**said, **given})


def write_constants(constants: Constants, path: Path, overwrite: bool = False) -> None:
    """Write constants as TOML that `read_constants` takes: what was used, and a start for what is to be changed."""
    lines = [
        f"# Constants of water scaling as they were used, from the tables of {constants.field_t:g} T. Times in s.",
        f"water_g_per_mol = {constants.water_g_per_mol!r}",
    ]
    groups = {"water": constants.water} | {
        f"metabolites.{_key(n)}": t for n, t in constants.metabolites.items()
    }
    for group, tissues in groups.items():
        for tissue, times in tissues.items():
            lines += ["", f"[{group}.{tissue}]", *(f"{key} = {_toml(v)}" for key, v in asdict(times).items())]
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "_").isidentifier() else json.dumps(name)


def _toml(value: float | str) -> str:
    return json.dumps(value, ensure_ascii=True) if isinstance(value, str) else repr(float(value))
