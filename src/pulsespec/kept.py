"""Finished blocks on disk, so that an interrupted job resumes.

A kept block is found by a hash of all that went into it: the pickled function and block, the code of this program, and
the versions of what it computes with. A file that is damaged is as if it were not there. Files are pickles, but read
with arrays, numbers, text and the data classes of this program alone: nothing in them can run.
"""

import hashlib
import inspect
import io
import pickle
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, is_dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pulsespec
from pulsespec.errors import InputError, PulsespecError, WorkerError

_MAGIC = b"pulsespec block 1\n"
ROOMS = ("protocols", "recon", "sequences", "simulator")
_SUFFIX = ".block"
_NOTE = "README.txt"
_WORDS = (
    "Finished blocks of a job of pulsespec that has not ended. The same command resumes from them and removes\n"
    "this folder at its end; it may be deleted at any time.\n"
)


@dataclass(frozen=True)
class Found:
    """A block that was kept."""

    result: Any


class Kept:
    """The blocks of one function in a folder."""

    def __init__(self, folder: Path, function: Callable[[Any], Any]) -> None:
        self._folder = folder
        facts = "\n".join((fingerprint(), _outside(function))).encode()
        self._of_function = hashlib.sha256(facts + pickle.dumps(function, 5)).digest()

    def key(self, block: bytes) -> str:
        """Return the name under which the result of a pickled block is kept."""
        return hashlib.sha256(self._of_function + block).hexdigest()

    def read(self, key: str) -> Found | None:
        """Return a kept result; `None` where there is none, or none that is whole."""
        try:
            content = (self._folder / f"{key}{_SUFFIX}").read_bytes()
        except OSError:
            return None
        head, body = content[: len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
        if head != _MAGIC + hashlib.sha256(body).digest():
            return None
        try:
            return Found(_Reader(io.BytesIO(body)).load())
        except Exception:
            return None

    def write(self, key: str, result: bytes) -> None:
        """Keep a pickled result; the file is whole or not there."""
        make_folder(self._folder)
        path = self._folder / f"{key}{_SUFFIX}"
        temporary = path.with_suffix(f".{secrets.token_hex(4)}.part")
        temporary.write_bytes(_MAGIC + hashlib.sha256(result).digest() + result)
        temporary.replace(path)


def make_folder(folder: Path) -> None:
    """Make a folder for blocks; `InputError` where something else is there."""
    if folder.is_dir():
        if not (folder / _NOTE).is_file():
            raise InputError(f"{folder}: is needed for unfinished work, but is a folder of something else")
        return
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(f"{folder}: cannot be made to keep unfinished work: {error.strerror}") from error
    (folder / _NOTE).write_text(_WORDS, encoding="utf-8")


def count(folder: Path) -> int:
    """Return how many blocks are kept in a folder."""
    return sum(1 for _ in folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else 0


def clear(folder: Path) -> None:
    """Remove kept blocks and their folder; what else may lie in it stays."""
    if not (folder / _NOTE).is_file():
        return
    for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob("*.part"), folder / _NOTE]:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def beside(output: Path) -> Path:
    """Return the folder in which the unfinished work on `output` is kept."""
    return output.with_name(f"{output.name}.partial")


@contextmanager
def work_on(output: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Yield the folder for unfinished work on `output`: gone at the end, left where the job was interrupted.

    Wrong input (`PulsespecError`) leaves nothing behind; the loss of workers, Ctrl-C and faults leave what is finished.
    """
    folder = beside(output)
    before = count(folder)
    if before:
        say(f"resuming: {folder} has {before} finished blocks of a job that was interrupted")
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, PulsespecError) and not isinstance(error, WorkerError):
            clear(folder)
        elif left := count(folder):
            say(f"interrupted: {left} finished blocks are kept in {folder}; the same command resumes")
        raise
    clear(folder)


@cache
def fingerprint() -> str:
    """Return a hash of this program's code and of the versions that numbers depend on."""
    found = hashlib.sha256(pulsespec.__version__.encode())
    for name in ("pulsespec", *(f"pulsespec.{room}" for room in ROOMS)):
        spec = find_spec(name)
        folder = Path(str(spec.origin if spec else "")).parent
        for path in sorted((*folder.glob("*.py"), *folder.glob("*.toml"))):
            found.update(path.name.encode() + path.read_bytes())
    versions = [f"{name} {version(name)}" for name in ("numpy", "scipy", "pypulseq")]
    return " ".join([found.hexdigest(), "python " + platform.python_version().rpartition(".")[0], *versions])


def _outside(function: Callable[[Any], Any]) -> str:
    """Return a hash of the file of a function that is not of this program, else nothing."""
    while isinstance(function, partial):
        function = function.func
    if getattr(function, "__module__", "").startswith("pulsespec."):
        return ""
    try:
        source = Path(str(inspect.getsourcefile(function))).read_bytes()
    except (TypeError, OSError):
        return ""
    return hashlib.sha256(source).hexdigest()


_ALLOWED = {
    "builtins": {"complex", "set", "frozenset", "range", "slice", "bytearray"},
    "collections": {"OrderedDict"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}
"""What a kept block may be made of, beside data classes of this program."""


class _Reader(pickle.Unpickler):
    """Reads data, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return getattr(import_module(module), name)
        if module.startswith("pulsespec."):
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and is_dataclass(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not data")
