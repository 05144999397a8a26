"""Protocols as TOML: the shipped library, files of one's own, and errors that say what to change."""

import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pulsespec.errors import ProtocolError
from pulsespec.protocols.schema import SCHEMES, SORTS, Protocol


def list_protocols() -> list[str]:
    """Return the names of all shipped protocols, sorted."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("pulsespec.protocols").iterdir()
        if entry.name.endswith(".toml") and entry.name != SCHEMES
    )


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Return a protocol: the shipped one of that name, or that in the file.

    Raises
    ------
    ProtocolError
        There is none of that name; the file cannot be read or is not TOML; a key, unit or value is wrong. The
        message names the file, the key, what came and what is allowed.

    """
    if str(name_or_path) in list_protocols():
        origin = f"{name_or_path}.toml"
        return _parse((files("pulsespec.protocols") / origin).read_text(encoding="utf-8"), origin)
    path = Path(name_or_path)
    if not path.is_file():
        near = difflib.get_close_matches(str(name_or_path), list_protocols(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ProtocolError(
            f"{name_or_path}: is neither a file nor a shipped protocol ({', '.join(list_protocols())}){hint}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: cannot be read as text ({error})") from error
    return _parse(text, str(path))


def change(protocol: Protocol, changes: Mapping[str, Any]) -> Protocol:
    """Return a protocol with other values, validated as a file of its own would be.

    Raises `ProtocolError` where a value is not allowed.
    """
    values = protocol.model_dump(mode="json") | dict(changes)
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        raise ProtocolError("; ".join(_explain(protocol.name, one) for one in error.errors())) from error


def changed_keys(protocol: Protocol, other: Protocol) -> list[str]:
    """Return the keys in which two protocols differ, those of sections as `section.key`, sorted."""
    one, two = _flat(protocol.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    return sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those of sections in one table, under `section.key`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = (
            {f"{key}.{k}": v for k, v in _flat(value).items()} if isinstance(value, dict) else {key: value}
        )
        flat |= inner
    return flat


def protocol_hash(protocol: Protocol) -> str:
    """Return the SHA-256 of all values of a protocol, equal for equal protocols whatever their layout."""
    canonical = json.dumps(protocol.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse(text: str, origin: str) -> Protocol:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{origin}: is not valid TOML ({error})") from error
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        raise ProtocolError("; ".join(_explain(origin, one) for one in error.errors())) from error


def _explain(origin: str, error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if part not in SORTS)
    if error["type"] == "extra_forbidden":
        allowed = _keys_beside(error["loc"])
        near = _nearest(str(error["loc"][-1]), allowed)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"{origin}: {key} = {error['input']!r}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if error["type"] == "missing":
        return f"{origin}: {key}: is missing"
    if not key or isinstance(error["input"], dict):
        where = f"{key}: " if key else ""
        return f"{origin}: {where}{error['msg'].removeprefix('Value error, ')}"
    return f"{origin}: {key} = {error['input']!r}: {_lower(error['msg'])}"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _nearest(key: str, allowed: Sequence[str]) -> str | None:
    """Return the key that was probably meant: the same quantity in another unit first, then by spelling."""
    stem = key.rsplit("_", 1)[0]
    same = [name for name in allowed if name.rsplit("_", 1)[0] in (stem, key) and "_" in name]
    return next(iter(same or difflib.get_close_matches(key, allowed, n=1)), None)


@functools.cache
def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Protocol
    for part in location[:-1]:
        if part in SORTS:
            model = SORTS[str(part)]
            continue
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        found = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = found[0] if found else model
    return sorted(model.model_fields)
