"""The verbs `pulsespec basis info|convert|plot|compare`: what a basis file holds, and what it can become."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec import commands
from pulsespec.console import Notify, silent
from pulsespec.errors import InputError
from pulsespec.files import refuse_existing

if TYPE_CHECKING:
    from pulsespec.simulator import Basis, SampledBasis
    from pulsespec.simulator.basis_compare import CompareSettings
    from pulsespec.simulator.basis_facts import Given
    from pulsespec.simulator.basis_files import ReadBasis


def info(path: Path, given: "Given | None" = None, conjugate: bool = False) -> dict[str, Any]:
    """Return what is in a basis file: readout, sequence, metabolites, where the singlets lie, sources."""
    found = _read(path, given, conjugate)
    basis = found.basis
    return {
        "file": str(path),
        "format": found.format,
        **commands.describe(basis),
        "tr_ms": None if basis.tr_s is None else basis.tr_s * 1e3,
        "nucleus": basis.nucleus,
        "points": basis.samples,
        "dwell_us": basis.dwell_s * 1e6,
        "reference_ppm": basis.reference_ppm,
        "linewidth_hz": getattr(basis, "linewidth_hz", 0.0),
        "water": basis.water is not None,
        "components": [_component(found, name) for name in basis.names],
        "singlets": _singlets(found),
        "notices": list(found.notices),
        "provenance": dict(basis.provenance),
    }


def _component(found: "ReadBasis", name: str) -> dict[str, Any]:
    basis = found.basis
    made: dict[str, Any] = {
        "name": name,
        "kind": "broad" if name in basis.broad else "metabolite",
        "first_point": float(abs(basis.fid(name, 1)[0])),
    }
    lines = getattr(basis, "lines", {}).get(name)
    if lines is not None:
        spins = basis.provenance.get("spin_systems", {}).get(name, {})
        made |= {"lines": int(lines.frequency_hz.size), "source": spins.get("source", "")}
    return made


def _singlets(found: "ReadBasis") -> list[dict[str, Any]]:
    from pulsespec.simulator.basis_guard import find_singlets

    return [
        {"name": s.name, "expected_ppm": s.expected_ppm, "found_ppm": s.found_ppm}
        for s in find_singlets(found.basis)
    ]


def _read(path: Path, given: "Given | None", conjugate: bool, notify: Notify = silent) -> "ReadBasis":
    from pulsespec.simulator.basis_files import read_basis

    found = read_basis(path, given, conjugate)
    for notice in found.notices:
        notify(notice)
    return found


def convert(
    source: Path,
    output: Path,
    *,
    form: str | None = None,
    given: "Given | None" = None,
    conjugate: bool = False,
    metabolites: Sequence[str] | None = None,
    water: bool = False,
    points: int | None = None,
    dwell_s: float | None = None,
    linewidth_hz: float | None = None,
    gauss_hz: float = 0.0,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Write a basis set in another format, read it back and return what it holds.

    `form` is a name of `FORMATS`, by default the one that the suffix of `output` says. Lines are rendered at
    `points` and `dwell_s`, broadened by `linewidth_hz` (1 Hz unless given); sampled FIDs are cut, thinned or,
    once decayed, zero-filled, and refused where that would spoil them. `water` adds the unsuppressed water that a
    simulated basis has, as `H2O`, which Osprey fits water references with.
    """
    from pulsespec.simulator.basis_files import write_basis

    chosen = form or _form_of(output)
    if output.suffix or not output.is_dir():
        refuse_existing(output, overwrite)
    found = _read(source, given, conjugate, notify)
    basis = found.basis.subset(metabolites) if metabolites else found.basis
    if water:
        basis = _with_water(source, basis)
    if dry_run:
        return {
            "input": str(source),
            "output": str(output),
            "format": chosen,
            "metabolites": list(basis.names),
        }
    readout: dict[str, Any] = {"samples": points, "dwell_s": dwell_s, "linewidth_hz": linewidth_hz}
    for notice in write_basis(basis, output, chosen, overwrite=overwrite, gauss_hz=gauss_hz, **readout):
        notify(notice)
    made = info(output)
    return made | {"input": str(source), "output": str(output)}


def _with_water(source: Path, basis: "Basis | SampledBasis") -> "Basis":
    from pulsespec.simulator import Basis

    if not isinstance(basis, Basis) or basis.water is None:
        raise InputError(f"{source}: has no water of the same sequence; simulate one that has")
    return replace(basis, lines={**basis.lines, "H2O": basis.water})


def _form_of(output: Path) -> str:
    from pulsespec.simulator.basis_files import FORMATS, format_named

    try:
        return format_named(output)
    except InputError as error:
        raise InputError(f"{error}; or give --format, one of {', '.join(FORMATS)}") from error


def plot(
    source: Path,
    output: Path,
    *,
    given: "Given | None" = None,
    conjugate: bool = False,
    metabolites: Sequence[str] | None = None,
    ppm: tuple[float, float] = (0.2, 4.2),
    linewidth_hz: float = 2.0,
    overwrite: bool = False,
) -> None:
    """Draw a page of the spectra of a basis set (.png, .svg, .pdf)."""
    from pulsespec.simulator.basis_picture import page, require_picture, save

    require_picture(output)
    refuse_existing(output, overwrite)
    found = _read(source, given, conjugate)
    basis = found.basis.subset(metabolites) if metabolites else found.basis
    te = "" if basis.te_s is None else f", TE {basis.te_s * 1e3:.1f} ms"
    title = f"{source.name}: {basis.sequence or found.format}, {basis.f0_hz * 1e-6:.4f} MHz{te}"
    save(page(basis, title, ppm, linewidth_hz), output, overwrite)


def compare(
    first: Path,
    second: Path,
    *,
    given: "Given | None" = None,
    settings: "CompareSettings | None" = None,
    picture: Path | None = None,
    overwrite: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Compare two basis sets metabolite by metabolite, and draw them over each other where that is asked for.

    What is `given` fills what either file lacks.
    """
    from pulsespec.simulator.basis_compare import compare
    from pulsespec.simulator.basis_picture import overlay, require_picture, save

    if picture is not None:
        require_picture(picture)
        refuse_existing(picture, overwrite)
    facts = None if given is None else replace(given, only_missing=True)
    read = [_read(path, facts, False, notify) for path in (first, second)]
    found = compare(read[0].basis, read[1].basis, settings)
    for notice in found.notices:
        notify(notice)
    if picture is not None:
        save(
            overlay(found, f"{first.name} (line) and {second.name} (dashes), with difference"),
            picture,
            overwrite,
        )
    columns = ("name", "correlation", "ratio", "relative", "phase_deg", "shift_hz", "width_hz")
    return {
        "first": str(first),
        "second": str(second),
        "rows": [{column: getattr(row, column) for column in columns} for row in found.rows],
        "median_ratio": found.median_ratio,
        "only_first": list(found.only_first),
        "only_second": list(found.only_second),
        "notices": list(found.notices),
    }
