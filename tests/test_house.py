"""The house rules: who may import whom, what is packaged, and how errors hang together."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pulsespec import errors

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("protocols", "simulator", "sequences", "recon")
FRONT_DOOR = (
    "analysis", "basis_cli", "basis_verbs", "cli", "commands", "console", "demo", "edited_verbs", "expect_cli",
    "expect_verbs", "head_verbs", "imaging_verbs", "lcmodel_cli", "lcmodel_verbs", "map_cli", "map_verbs",
    "quantify_cli", "region_verbs", "series_cli", "series_verbs", "training_verbs",
)  # fmt: skip
"""Modules of src/pulsespec that are the command line, which may import every room."""

MAY_IMPORT = {
    "shared": {"shared"},
    "protocols": {"shared", "protocols"},
    "simulator": {"shared", "protocols", "simulator"},
    "sequences": {"shared", "protocols", "simulator", "sequences"},
    "recon": {"shared", "protocols", "simulator", "recon"},
    "front door": {"shared", "front door", *ROOMS},
}
"""The import table of the design: room -> what its files may import from this project."""


def room_of(module: str) -> str:
    """Return the room that the dotted `module` below `pulsespec` belongs to."""
    parts = module.split(".")
    if len(parts) == 1:
        return "shared"
    if parts[1] in ROOMS:
        return parts[1]
    return "front door" if parts[1] in FRONT_DOOR else "shared"


def imported_modules(source: str) -> set[str]:
    """Return the dotted names that `source` imports, wherever in the file it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "pulsespec" else {base}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return names


def offences(source: str, room: str) -> list[str]:
    """Return what in `source`, a file of `room`, is imported against the table."""
    found = []
    for name in sorted(imported_modules(source)):
        top = name.split(".")[0]
        if name.startswith("."):
            found.append(f"relative import {name!r}")
        elif top in ROOMS:
            found.append(f"bare import {name!r}; write 'pulsespec.{name}'")
        elif top == "pulsespec" and room_of(name) not in MAY_IMPORT[room]:
            found.append(f"{room} imports {name!r} of {room_of(name)}")
    return found


def python_files() -> list[Path]:
    front = sorted((ROOT / "src" / "pulsespec").glob("*.py"))
    return front + [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def room_of_file(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if relative.parts[0] in ROOMS else room_of(f"pulsespec.{path.stem}")


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_table(path):
    assert offences(path.read_text(encoding="utf-8"), room_of_file(path)) == []


def test_tests_and_examples_import_the_installed_package():
    for folder in ("tests", "examples", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            bare = [n for n in imported_modules(path.read_text(encoding="utf-8")) if n.split(".")[0] in ROOMS]
            assert bare == [], f"{path}: bare imports {bare}"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("recon", "from pulsespec.sequences import build"),
        ("recon", "def f():\n    import pulsespec.sequences.press"),
        ("simulator", "from pulsespec import recon"),
        ("simulator", "from importlib import import_module\nimport_module('pulsespec.recon.fit')"),
        ("protocols", "from pulsespec.simulator.basis import Basis"),
        ("shared", "from pulsespec.protocols import load_protocol"),
        ("sequences", "from pulsespec.cli import main"),
        ("recon", "import simulator"),
        ("recon", "from simulator.basis import Basis"),
        ("recon", "from . import transients"),
    ],
)
def test_the_scan_sees_an_offence(room, source):
    assert len(offences(source, room)) == 1


def test_the_scan_lets_the_table_pass():
    source = "import numpy\nfrom pulsespec.simulator.basis import Basis\nfrom pulsespec import errors\n"
    assert offences(source, "recon") == []


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_declared_packages_are_those_on_disk():
    setup = pyproject()["tool"]["setuptools"]
    on_disk = {"pulsespec"}
    for room in ROOMS:
        for init in sorted((ROOT / room).rglob("__init__.py")):
            on_disk.add(".".join(("pulsespec", *init.parent.relative_to(ROOT).parts)))
    for init in sorted((ROOT / "src" / "pulsespec").glob("*/__init__.py")):
        on_disk.add(f"pulsespec.{init.parent.name}")
    assert set(setup["packages"]) == on_disk, "a package that is not declared is left out of the wheel"
    for package in setup["packages"]:
        assert (ROOT / setup["package-dir"][package] / "__init__.py").is_file()


def test_every_top_folder_with_modules_is_a_room():
    known = {*ROOMS, "src", "tests", "docs", "examples", "benchmarks", "build", "dist"}
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    stray = {name for name in folders - known if any((ROOT / name).glob("*.py"))}
    assert stray == set()


def test_data_beside_modules_are_packaged():
    setup = pyproject()["tool"]["setuptools"]
    for package, folder in setup["package-dir"].items():
        patterns = setup["package-data"].get(package, [])
        for path in sorted((ROOT / folder).iterdir()):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".md"):
                assert any(fnmatch(path.name, p) for p in patterns), (
                    f"{path}: not in package-data of {package}"
                )


@pytest.mark.parametrize("room", ROOMS)
def test_static_tools_find_the_rooms(room):
    link = ROOT / "src" / "pulsespec" / room
    if link.is_file():
        pytest.fail(
            f"{link} is a plain file: git wrote its symbolic links as text. Only static tools suffer "
            "(mypy, editors); the installed package does not. To repair: enable symbolic links "
            "(on Windows: Developer Mode), then `git config core.symlinks true` and "
            "`git checkout -- src/pulsespec`."
        )
    assert link.is_symlink()
    assert link.resolve() == ROOT / room


def public_errors() -> list[type[BaseException]]:
    return [
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if member.__module__ == errors.__name__
    ]


def test_errors_form_one_tree_in_one_place():
    assert errors.PulsespecError in public_errors()
    for error in public_errors():
        assert issubclass(error, errors.PulsespecError)
        assert error.__doc__
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and path.name != "errors.py":
                bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                raised = {b for b in bases if b.endswith(("Error", "Exception"))}
                assert not raised, f"{path}: {node.name} is an error outside errors.py"


def test_no_bare_exception_is_raised():
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                assert name not in ("Exception", "BaseException"), f"{path}:{node.lineno}: raise {name}"


def test_the_version_is_said_once_and_logged():
    version = pyproject()["project"]["version"]
    assert re.search(rf"^## \[(Unreleased|{re.escape(version)})\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()


def test_starting_is_light():
    """`import pulsespec.cli` must not load what only a few verbs need, so that `--help` answers at once."""
    heavy = ("pypulseq", "plotly", "scipy.optimize", "matplotlib", "ismrmrd", "mapvbvd", "sympy", "nibabel")
    code = f"import sys, pulsespec.cli; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_fitting_is_light():
    """A spectrum is fitted without what takes longer to import than the fit: the readers of raw data, pyplot."""
    heavy = ("pypulseq", "matplotlib.pyplot", "scipy.stats", "scipy.signal", "ismrmrd", "mapvbvd")
    used = ", ".join(
        f"pulsespec.recon.{name}" for name in ("pipeline", "read", "fit", "quantify", "pdf_report")
    )
    code = f"import sys, {used}; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
