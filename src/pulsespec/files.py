"""Writing files so that nothing is lost: no silent overwriting, no half-written file."""

import gc
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pulsespec.errors import InputError

Result = TypeVar("Result")


def now() -> datetime:
    """Return the time that files are stamped with: `SOURCE_DATE_EPOCH` of the environment (seconds), where it is set.

    With it the same input makes the same file to the bit (https://reproducible-builds.org/specs/source-date-epoch).
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch and not epoch.isdigit():
        raise InputError(f"SOURCE_DATE_EPOCH: got {epoch!r}, expected whole seconds since 1970")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)


def attempt(function: Callable[[], Result]) -> tuple[Result | None, str]:
    """Call a library's reader; return its result, or `None` and what went wrong.

    Readers raise errors of every kind on damaged files and leave them open; what they left is closed here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return function(), ""
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
        gc.collect()
        return None, " ".join(words.split())


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise `InputError` where `path` exists and `overwrite` is not set; a missing parent folder too."""
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; pass --overwrite to replace it")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: its folder {path.absolute().parent} does not exist")


@contextmanager
def atomic_path(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffixes) that takes its place once the body succeeds.

    Whatever happens in the body, `path` is either what it was before or complete.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder whose files move into the folder `path` once the body succeeds.

    An existing non-empty `path` is refused without `overwrite`; with it, files of the same names are
    replaced and all others are left alone.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise InputError(f"{path}: folder exists and is not empty; pass --overwrite to write into it")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, expected a folder")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{path}: its folder {parent} does not exist")
    temporary = parent / f".{secrets.token_hex(4)}.{path.name}"
    temporary.mkdir()
    try:
        yield temporary
        path.mkdir(exist_ok=True)
        for source in sorted(p for p in temporary.rglob("*") if p.is_file()):
            target = path / source.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
