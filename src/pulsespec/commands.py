"""The verbs of the command line that make things: protocols in, sequences and basis sets out.

Each is a Python function that returns what the verb prints. Rooms are imported inside the functions, so that
`pulsespec --help` answers at once.
"""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from pulsespec.console import Notify, silent
from pulsespec.conventions import field_from_larmor, larmor_hz
from pulsespec.errors import InputError, SequenceError
from pulsespec.files import refuse_existing

if TYPE_CHECKING:
    from pulsespec.protocols import Protocol
    from pulsespec.sequences import Scanner
    from pulsespec.simulator import Basis
    from pulsespec.simulator.molecule import Metabolite
    from pulsespec.simulator.relaxation import Relaxation
    from pulsespec.simulator.sampled import SampledBasis

PICTURES = (".png", ".svg", ".pdf")
"""Suffixes of the pictures that can be drawn."""

DESIGN_SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
"""The scanner whose limits pulses are designed for where none is named, by nominal field in tesla."""


def list_protocols() -> list[dict[str, Any]]:
    """Return what the shipped protocols are, one row each."""
    from pulsespec.protocols import list_protocols, load_protocol

    loaded = [(name, load_protocol(name)) for name in list_protocols()]
    return [
        {
            "name": name,
            "sequence": p.sequence,
            "field_t": p.field_t,
            "te_ms": p.te_ms,
            "tr_ms": p.tr_ms,
            "averages": p.averages,
            "voxel_mm": " x ".join(f"{edge:g}" for edge in p.voxel_mm),
            "description": p.description,
        }
        for name, p in loaded
    ]


def list_scanners() -> list[dict[str, Any]]:
    """Return what the scanners in the table can do, one row each."""
    from pulsespec.sequences import list_scanners, load_scanner

    columns = ("name", "vendor", "b0_t", "max_grad_mt_per_m", "max_slew_t_per_m_per_s", "max_b1_ut")
    scanners = [load_scanner(name) for name in list_scanners()]
    return [{column: getattr(scanner, column) for column in columns} for scanner in scanners]


def list_metabolites(spins: Path | None = None) -> list[dict[str, Any]]:
    """Return the spin systems, shipped and in the table `spins`, and where their numbers are from, one row each."""
    from pulsespec.simulator.spinsystem import brain_metabolites

    usual = brain_metabolites()
    return [
        {"name": m.name, "molecule": m.full_name, "default": m.name in usual, "source": m.source}
        for m in _all_metabolites(spins)
    ]


def describe_metabolites(spins: Path | None = None) -> list[dict[str, Any]]:
    """Return every number of the spin systems with its source, what is left out and what tables differ in."""
    from pulsespec.simulator.spinsystem import brain_metabolites

    usual = brain_metabolites()
    return [
        {"name": m.name, "default": m.name in usual, "source": m.source, "protons": m.protons} | _described(m)
        for m in _all_metabolites(spins)
    ]


def _all_metabolites(spins: Path | None) -> "list[Metabolite]":
    from pulsespec.simulator.spinsystem import list_metabolites, load_metabolites

    own = load_metabolites(extra=spins) if spins is not None else {}
    return list(load_metabolites(list(dict.fromkeys([*list_metabolites(), *own])), spins).values())


def _described(metabolite: "Metabolite") -> dict[str, Any]:
    """Return a metabolite as JSON knows it; each system names its sources by the index in `sources`."""
    found = dataclasses.asdict(metabolite)
    sources = list(metabolite.sources)
    for entry, system in zip(found["systems"], metabolite.systems, strict=True):
        entry["shifts_source"] = sources.index(system.shifts_source)
        entry["couplings_source"] = sources.index(system.couplings_source)
    return found


def scanner_for(protocol: "Protocol", name: str | None = None, f0_hz: float | None = None) -> "Scanner":
    """Return the named scanner, else the usual one of the protocol's field; tuned to `f0_hz` if given."""
    from pulsespec.sequences import load_scanner

    if name is None:
        field = min(DESIGN_SCANNERS, key=lambda tesla: abs(tesla - protocol.field_t))
        name = DESIGN_SCANNERS[field]
    scanner = load_scanner(name)
    if f0_hz is None:
        return scanner
    return dataclasses.replace(scanner, b0_t=field_from_larmor(f0_hz, protocol.nucleus))


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where a voxel is to be, in the place of what the protocol says; `None` leaves that."""

    voxel_mm: tuple[float, ...] | None = None
    position_mm: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    """Three angles in degrees or nine numbers: see `pulsespec.sequences.geometry`."""
    image: Path | None = None
    """A NIfTI mask or spectrum that gives all three."""
    patient_position: str = "HFS"
    matrix: tuple[float, ...] | None = None
    """Points of an image along x, y, z; whole numbers."""
    fov_mm: tuple[float, ...] | None = None


def place(protocol: "Protocol", geometry: Geometry, vendor: str) -> "Protocol":
    """Return a protocol with the geometry that was asked for."""
    from pulsespec.protocols import change
    from pulsespec.sequences.geometry import frame_from_image, frame_from_numbers

    changes: dict[str, Any] = {}
    if geometry.image is not None:
        if geometry.position_mm or geometry.orientation:
            raise InputError("--from-image: got --position-mm or --orientation too, expected one of them")
        frame, size_mm = frame_from_image(
            geometry.image, vendor=vendor, patient_position=geometry.patient_position
        )
        changes = {"voxel_mm": size_mm}
    else:
        position_mm = geometry.position_mm or protocol.position_mm
        orientation = geometry.orientation or [value for axis in protocol.orientation for value in axis]
        frame = frame_from_numbers(orientation, position_mm)
    changes["orientation"] = [[float(value) for value in axis] for axis in frame.rotation.T]
    changes["position_mm"] = [float(m) * 1e3 for m in frame.position_m]
    if geometry.voxel_mm:
        changes["voxel_mm"] = geometry.voxel_mm
    if geometry.matrix or geometry.fov_mm:
        changes["encoding"] = _encoding(protocol, geometry)
    return change(protocol, changes)


def _encoding(protocol: "Protocol", geometry: Geometry) -> dict[str, Any]:
    """Return the encoding of an image with the matrix and field of view that were asked for."""
    option, asked = ("--matrix", geometry.matrix) if geometry.matrix else ("--fov-mm", geometry.fov_mm)
    if protocol.encoding is None:
        raise InputError(
            f"{option}: got {asked} for {protocol.name}, which measures a single voxel; expected a protocol "
            "with an encoding"
        )
    values = protocol.encoding.model_dump(mode="json")
    if geometry.fov_mm:
        values["fov_mm"] = list(geometry.fov_mm)
    if geometry.matrix:
        values["matrix"] = [int(points) if points.is_integer() else points for points in geometry.matrix]
    return values


def export(
    protocol: str,
    scanner: str,
    output: Path,
    *,
    geometry: Geometry | None = None,
    field_t: float | None = None,
    max_b1_ut: float | None = None,
    v141: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Build a protocol for a scanner, check it and write it as a Pulseq `.seq` file.

    Raises
    ------
    SequenceError
        The sequence cannot be built, breaks a rule of the scanner, or lets through more of unwanted coherence
        pathways than it may.

    """
    from pulsespec.protocols import changed_keys, load_protocol
    from pulsespec.sequences import (
        build,
        check,
        displacement,
        load_scanner,
        purity,
        require_pure,
        write_sequence,
    )

    original = chosen = load_protocol(protocol)
    machine = load_scanner(scanner, field_t=field_t, max_b1_ut=max_b1_ut)
    if machine.b0_t is None:
        machine = dataclasses.replace(machine, b0_t=chosen.field_t)
    chosen = chosen if geometry is None else place(chosen, geometry, machine.vendor)
    refuse_existing(output, overwrite)
    sequence = build(chosen, machine)
    changed = changed_keys(original, chosen)
    if changed:  # else the name in the file would say more than is true
        sequence.set_definition("Changed", " ".join(changed))
    broken = check(sequence, machine)
    if broken:
        listed = "; ".join(f"{violation.rule}: {violation.message}" for violation in broken[:3])
        raise SequenceError(f"{protocol} on {scanner}: {listed}")
    pathways = purity(chosen, machine)
    require_pure(pathways, f"{protocol} on {scanner}")
    if not dry_run:
        write_sequence(sequence, output, overwrite=overwrite, v141=v141)
    return {
        "protocol": chosen.name,
        "scanner": machine.name,
        "output": str(output),
        "changed": changed,
        "te_ms": chosen.te_ms,
        "duration_s": float(sum(sequence.block_durations.values())),
        "displacement": [dataclasses.asdict(pulse) for pulse in displacement(chosen, machine)],
        "pathways": {
            "unwanted_metabolites": pathways.metabolite_sum,
            "unwanted_water": pathways.water_sum,
            "suppressed_water": pathways.water_residual,
            "largest": [dataclasses.asdict(row) for row in pathways.rows[:5]],
        },
    }


def check(
    sequence: Path, scanner: str, *, field_t: float | None = None, gradient_file: Path | None = None
) -> list[dict[str, Any]]:
    """Return every rule of `scanner` that the `.seq` file breaks, one row each."""
    from pulsespec.sequences import check, load_scanner

    require_file(sequence)
    if gradient_file is not None:
        require_file(gradient_file)
    machine = load_scanner(scanner, field_t=field_t)
    return [dataclasses.asdict(one) for one in check(sequence, machine, gradient_file=gradient_file)]


def pulses(
    protocol: str, scanner: str, output: Path | None = None, *, overwrite: bool = False
) -> list[dict[str, Any]]:
    """Return what each pulse of a protocol needs on a scanner, one row each; draw them into `output` if given."""
    from pulsespec.files import atomic_path
    from pulsespec.protocols import load_protocol
    from pulsespec.sequences import load_scanner, pulses_of
    from pulsespec.sequences.pulse_table import describe, figure

    machine = load_scanner(scanner)
    made = pulses_of(load_protocol(protocol), machine)
    if output is not None:
        require_picture(output)
        refuse_existing(output, overwrite)
        drawn = figure(made, machine.nucleus)
        with atomic_path(output, overwrite) as temporary:
            drawn.savefig(temporary, format=output.suffix[1:], dpi=110)
    return [dataclasses.asdict(describe(pulse, machine.nucleus)) for pulse in made]


def require_picture(output: Path) -> None:
    """Raise `InputError` where `output` has no suffix of a picture."""
    if output.suffix not in PICTURES:
        raise InputError(f"{output}: expected a name that ends in {' or '.join(PICTURES)}")


def plot(
    sequence: Path, output: Path, *, report: bool = False, shot: int = 0, overwrite: bool = False
) -> None:
    """Draw one shot of a `.seq` file, or with `report` write one page about it."""
    from pulsespec.files import atomic_path
    from pulsespec.sequences.diagram import figure
    from pulsespec.sequences.report import write_report

    require_file(sequence)
    if report and output.suffix != ".html":
        raise InputError(f"{output}: expected a name that ends in .html")
    if report:
        write_report(sequence, output, overwrite=overwrite)
        return
    require_picture(output)
    refuse_existing(output, overwrite)
    drawn = figure(sequence, shot=shot)
    with atomic_path(output, overwrite) as temporary:
        drawn.savefig(temporary, format=output.suffix[1:], dpi=130)


def calibrate(raw: Path, sequence: Path) -> dict[str, Any]:
    """Return what a calibration says: frequency and linewidth of water, or the B1 in the voxel."""
    from pulsespec.recon.calibration import calibrate

    require_file(raw)
    require_file(sequence)
    return calibrate(raw, sequence)


def require_file(path: Path) -> None:
    """Raise `InputError` where `path` is not a file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")


def require_data(path: Path) -> None:
    """Raise `InputError` where `path` is neither a file nor a folder: some formats are folders."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")


def frequency(field_t: float | None, f0_mhz: float | None) -> float | None:
    """Return the Larmor frequency in Hz that one of the two options asks for, if any."""
    if field_t is not None and f0_mhz is not None:
        raise InputError("--field and --f0-mhz: got both, expected one of them")
    for option, value in (("--field", field_t), ("--f0-mhz", f0_mhz)):
        if value is not None and not value > 0:
            raise InputError(f"{option}: got {value}, expected a number above 0")
    if f0_mhz is not None:
        return f0_mhz * 1e6
    return None if field_t is None else larmor_hz(field_t)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What a basis is computed for, as the command line has it."""

    tolerance: float = 1e-4
    conditions: tuple[tuple[float, float], ...] = ((0, 1.0),)
    """Editing conditions and their factors."""
    relaxation: Path | None = None
    """A TOML table of T1 and T2."""
    tissue: str | None = None
    """A tissue whose T1 and T2 are taken, at the nearest field for which it has them."""
    b1: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    b0_hz: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    arrays: str = "numpy"
    cached: bool = False
    """Whether bases are kept in the user's cache folder, or where `PULSESPEC_CACHE` points."""


def simulate(
    source: str,
    output: Path,
    *,
    f0_hz: float | None = None,
    scanner: str | None = None,
    metabolites: list[str] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    spins: Path | None = None,
    macromolecules: str | None = None,
    conditions: "Conditions | None" = None,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Simulate a `.seq` file, or a protocol by name or file, and write the basis set.

    `output` ends in `.h5` (transition lines, nothing lost) or as a file of another program does; `spins` is a table
    of spin systems that adds to the shipped one; `macromolecules` names a model whose components are added;
    `conditions` say what else the basis is computed for.
    """
    from pulsespec.simulator.basis_files import format_named
    from pulsespec.simulator.broad import load_model
    from pulsespec.simulator.broad_phase import lines_for

    if macromolecules is not None:
        load_model(macromolecules)
    format_named(output)
    refuse_existing(output, overwrite)
    with tempfile.TemporaryDirectory() as scratch:
        path = sequence_of(source, Path(scratch), scanner, f0_hz, notify)
        if dry_run:
            return {"source": source, "output": str(output), "metabolites": metabolites or "default"}
        notify(f"simulating {source}")
        basis = basis_of(path, metabolites, f0_hz, jobs, spins, conditions or Conditions())
    if macromolecules is not None:
        basis = basis.with_broad(lines_for(basis, macromolecules))
    write_basis(basis, output, overwrite, notify)
    return describe(basis) | {"output": str(output)}


def sequence_of(
    source: str, folder: Path, scanner: str | None, f0_hz: float | None, notify: Notify = silent
) -> Path:
    """Return the path of a sequence: `source` itself (`.seq`, `.json`), or the protocol's, built into `folder`."""
    if source.endswith((".seq", ".json")):
        require_file(Path(source))
        return Path(source)
    from pulsespec.protocols import load_protocol
    from pulsespec.sequences import build, write_sequence

    protocol = load_protocol(source)
    machine = scanner_for(protocol, scanner, f0_hz)
    if scanner is None:
        notify(
            f"{protocol.name}: pulses designed for the limits of {machine.name}; name another by --scanner"
        )
    path = folder / "sequence.seq"
    write_sequence(build(protocol, machine), path)
    return path


def basis_of(
    path: Path,
    names: list[str] | None,
    f0_hz: float | None,
    jobs: int = 1,
    spins: Path | None = None,
    conditions: Conditions | None = None,
) -> "Basis":
    """Return what the `.seq` file makes of the named metabolites, by default the brain's and those in `spins`."""
    from pulsespec.simulator import simulate
    from pulsespec.simulator.simulate import Settings

    chosen = conditions or Conditions()
    settings = Settings(
        f0_hz=f0_hz,
        tolerance=chosen.tolerance,
        conditions=_whole(chosen.conditions),
        relaxation=_relaxation(chosen, path, names, spins, f0_hz),
        b1=chosen.b1,
        b0_hz=chosen.b0_hz,
        arrays=chosen.arrays,
    )
    cache = _cache_folder() if chosen.cached else None
    return simulate(path, names, extra=spins, jobs=jobs, cache=cache, settings=settings)


def _whole(rows: tuple[tuple[float, float], ...]) -> dict[int, float]:
    if any(not float(number).is_integer() for number, _ in rows):
        raise InputError(f"conditions: got {rows}, expected whole numbers of editing conditions (label SET)")
    return {int(number): factor for number, factor in rows}


def _cache_folder() -> Path:
    named = os.environ.get("PULSESPEC_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("pulsespec")) / "bases"


def _relaxation(
    chosen: Conditions, path: Path, names: list[str] | None, spins: Path | None, f0_hz: float | None
) -> "dict[str, Relaxation]":
    """Return T1 and T2 by metabolite, from a table or from a tissue."""
    from pulsespec.simulator import load_metabolites, read_timeline
    from pulsespec.simulator.relaxation import Relaxation, read_relaxation
    from pulsespec.simulator.tissue_library import load_tissue

    if chosen.relaxation is not None and chosen.tissue is not None:
        raise InputError("--relaxation and --tissue: give one of them")
    if chosen.relaxation is not None:
        return read_relaxation(chosen.relaxation)
    if chosen.tissue is None:
        return {}
    tissue, timeline = load_tissue(chosen.tissue), read_timeline(path, f0_hz)
    field_t = field_from_larmor(timeline.f0_hz, timeline.nucleus)
    times = {name: tissue.times(name, field_t) for name in load_metabolites(names, spins)}
    return {name: Relaxation(row.t1_s, row.t2_s) for name, row in times.items()}


def write_basis(basis: "Basis", output: Path, overwrite: bool, notify: Notify = silent) -> None:
    """Write the basis in the format that the suffix of `output` says."""
    from pulsespec.simulator.basis_files import format_named, write_basis

    for notice in write_basis(basis, output, format_named(output), overwrite=overwrite):
        notify(f"basis: {notice}")


def describe(basis: "Basis | SampledBasis") -> dict[str, Any]:
    """Return what a reader wants to know of a basis set in a few words."""
    return {
        "sequence": basis.sequence,
        "sequence_hash": basis.sequence_hash,
        "f0_mhz": basis.f0_hz * 1e-6,
        "te_ms": None if basis.te_s is None else basis.te_s * 1e3,
        "metabolites": list(basis.names),
    }
