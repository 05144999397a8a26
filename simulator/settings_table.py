"""Named sets of settings in TOML: read, put over each other, and checked against a dataclass."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pulsespec.errors import InputError


def shipped_sets(resource: str) -> dict[str, dict[str, Any]]:
    """Return the sets of a TOML file of the simulator by name, without what they say about themselves."""
    text = files("pulsespec.simulator").joinpath(resource).read_text(encoding="utf-8")
    return {
        name: {key: value for key, value in row.items() if key != "about"}
        for name, row in tomllib.loads(text).items()
    }


def settings_of(name_or_path: str | Path, resource: str, what: str) -> dict[str, Any]:
    """Return the keys of a shipped set or of a TOML file, the latter over the set that its key `base` names.

    Raises
    ------
    InputError
        There is no such set or file, or it is not TOML.

    """
    shipped = shipped_sets(resource)
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.is_file():
        raise InputError(
            f"{what} {str(name_or_path)!r}: expected a .toml file or one of {', '.join(shipped)}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid TOML ({error})") from error
    base = values.pop("base", None)
    if base is not None and base not in shipped:
        raise InputError(f"{path}: base = {base!r}: expected one of {', '.join(shipped)}")
    return values if base is None else {**shipped[base], **values}


def check_settings(kind: type, origin: str, values: Mapping[str, Any]) -> None:
    """Check values against the annotations of a dataclass; `InputError` names key, value and what is allowed."""
    try:
        _schema(kind).model_validate(dict(values))
    except ValidationError as error:
        raise InputError("; ".join(_explain(kind, origin, one) for one in error.errors())) from error


@lru_cache(maxsize=8)
def _schema(kind: type) -> type[BaseModel]:
    hints = get_type_hints(kind, include_extras=True)
    columns: dict[str, Any] = {one.name: (hints[one.name], None) for one in fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **columns)


def _explain(kind: type, origin: str, error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = [one.name for one in fields(kind)]
        near = get_close_matches(key, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
        return f"{origin}: {key}: unknown key{hint}"
    return f"{origin}: {key} = {error['input']!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"
