"""Models of series: those that ship with the project, and files of one's own."""

import tomllib
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from pulsespec.errors import InputError
from pulsespec.recon.series_schema import SeriesModel

_PREFIX, _SUFFIX = "series-", ".toml"


def list_models() -> list[str]:
    """Return the names of the models that ship with the project, sorted."""
    names = (entry.name for entry in files("pulsespec.recon").iterdir())
    return sorted(
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        for name in names
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    )


def load_model(name_or_path: str | Path) -> SeriesModel:
    """Return a model: the shipped one of that name, or that in the file.

    Raises
    ------
    InputError
        There is none; it cannot be read; a key or value is wrong, with file, key and what is allowed.

    """
    if str(name_or_path) in list_models():
        origin = f"{_PREFIX}{name_or_path}{_SUFFIX}"
        return parse_model((files("pulsespec.recon") / origin).read_text(encoding="utf-8"), origin)
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"{name_or_path}: is neither a file nor a model of a series ({', '.join(list_models())})"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text") from error
    return parse_model(text, str(path))


def parse_model(text: str, origin: str) -> SeriesModel:
    """Return the model that TOML text states; `InputError` names `origin` and key."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: is not valid TOML ({error})") from error
    try:
        return SeriesModel.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(_words(origin, dict(one)) for one in error.errors())) from error


def _words(origin: str, error: dict[str, object]) -> str:
    location = error.get("loc")
    key = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    message = str(error.get("msg")).removeprefix("Value error, ")
    came = error.get("input")
    shown = f", got {came!r:.60}" if isinstance(came, str | int | float) else ""
    return f"{origin}: {key}{': ' if key else ''}{message}{shown}"
