"""Basis sets in every format that is read or written: found by content, written by the name of the format."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError, InputError
from pulsespec.simulator import fsl_mrs, jmrui, lcmodel, lcmodel_raw, nifti_basis, osprey
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.basis_guard import guard
from pulsespec.simulator.basis_names import LCMODEL_CHARACTERS, program_name, renamed
from pulsespec.simulator.sampled import (
    SampledBasis,
    at_reference,
    conjugated,
    sampled,
    with_whole_first_points,
)

AnyBasis = Basis | SampledBasis


@dataclass(frozen=True)
class Format:
    """One format of basis files."""

    suffix: str
    """Of the file; empty where the basis is a folder of files."""
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Given], AnyBasis]
    write: Callable[[SampledBasis, Path, bool], None] | None
    """`None` where lines are written, by `Basis.write`."""
    part: str = ""
    """Suffix of the files in the folder, where the basis is one."""


def _is_ours(path: Path) -> bool:
    return path.is_file() and h5py.is_hdf5(path) and not osprey.is_mat(path)


def _read_ours(path: Path, given: Given) -> Basis:
    basis = Basis.read(path)
    for fact in ("f0_hz", "te_s", "reference_ppm"):
        known(path, fact, getattr(basis, fact), given)
    return basis


def _is_lcmodel(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(65536).upper()
    return b"$BASIS1" in start or (b"$SEQPAR" in start and b"$NMID" not in start)


def _read_lcmodel(path: Path, given: Given) -> SampledBasis:
    basis = lcmodel.read_basis(path)
    return replace(
        basis,
        f0_hz=needed(path, "f0_hz", basis.f0_hz, given),
        dwell_s=needed(path, "dwell_s", basis.dwell_s, given),
        te_s=known(path, "te_s", basis.te_s, given),
        reference_ppm=needed(path, "reference_ppm", basis.reference_ppm, given),
    )


FORMATS: Mapping[str, Format] = {
    "pulsespec": Format(".h5", _is_ours, _read_ours, None),
    "lcmodel": Format(".basis", _is_lcmodel, _read_lcmodel, lcmodel.write_basis),
    "lcmodel-raw": Format("", lcmodel_raw.is_raw, lcmodel_raw.read, lcmodel_raw.write, ".RAW"),
    "fsl-mrs": Format("", fsl_mrs.is_fsl_mrs, fsl_mrs.read, fsl_mrs.write, ".json"),
    "jmrui": Format("", jmrui.is_jmrui, jmrui.read, jmrui.write, ".txt"),
    "osprey": Format(".mat", osprey.is_mat, osprey.read, osprey.write),
    "nifti-mrs": Format(".nii.gz", nifti_basis.is_nifti, nifti_basis.read, nifti_basis.write),
}
"""Formats by the name that `--format` takes; they are tried in this order on what is read."""


def format_of(path: Path) -> str:
    """Return the name of the format that a file or folder is in, by its content.

    Raises
    ------
    InputError
        There is no such file.
    DataError
        It is none of `FORMATS`.

    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    for name, form in FORMATS.items():
        if form.recognises(path):
            return name
    raise DataError(f"{path}: is not a basis set of a known format ({', '.join(FORMATS)})")


def format_named(path: Path) -> str:
    """Return the name of the format that the suffix of `path` stands for; `InputError` where it is of none."""
    named = [name for name, form in FORMATS.items() if form.suffix and path.name.endswith(form.suffix)]
    if not named:
        suffixes = ", ".join(form.suffix for form in FORMATS.values() if form.suffix)
        raise InputError(f"{path}: expected a name that ends in {suffixes}")
    return named[0]


@dataclass(frozen=True)
class ReadBasis:
    """A basis set as read, checked and renamed."""

    basis: AnyBasis
    format: str
    notices: tuple[str, ...]
    """What a user should know: singlets off their place, names that were changed."""


def read_basis(path: Path, given: Given | None = None, conjugate: bool = False) -> ReadBasis:
    """Read a basis set of any format; metabolites get their house names.

    Parameters
    ----------
    path
        File, or folder of files.
    given
        Facts that the format may lack.
    conjugate
        Take the complex conjugate of every FID.

    Raises
    ------
    DataError
        It is damaged, of no known format, or lacks a fact that `given` lacks too.
    MismatchError
        Its frequencies are mirrored, or it contradicts `given`.

    """
    path = Path(path)
    name = format_of(path)
    basis = FORMATS[name].read(path, given or Given())
    if conjugate:
        if isinstance(basis, Basis):
            raise InputError(f"{path}: stores lines, whose sense is defined: --conjugate does not apply")
        basis = conjugated(basis)
    notices: list[str] = []
    if isinstance(basis, SampledBasis):
        _refuse_not_finite(path, basis)
        changed = renamed(basis.names)
        basis = _renamed(basis, changed)
        if changed:
            notices.append("renamed " + ", ".join(f"{old} to {new}" for old, new in changed.items()))
        basis, words = with_whole_first_points(basis)
        notices += words
    notices += guard(basis, path.name, conjugate)
    return ReadBasis(basis, name, tuple(notices))


def _refuse_not_finite(path: Path, basis: SampledBasis) -> None:
    damaged = [name for name, fid in basis.fids.items() if not np.isfinite(fid).all()]
    if damaged:
        raise DataError(f"{path}: {', '.join(damaged)}: holds numbers that are not finite")


def _renamed(basis: SampledBasis, names: Mapping[str, str]) -> SampledBasis:
    fids = {names.get(name, name): fid for name, fid in basis.fids.items()}
    return replace(basis, fids=fids, broad=tuple(names.get(name, name) for name in basis.broad))


def write_basis(
    basis: AnyBasis,
    path: Path,
    name: str,
    *,
    overwrite: bool = False,
    samples: int | None = None,
    dwell_s: float | None = None,
    linewidth_hz: float | None = None,
    gauss_hz: float = 0.0,
) -> tuple[str, ...]:
    """Write a basis set in the format of that name; return notices.

    Every format but `pulsespec` stores FIDs: lines are rendered at `samples` and `dwell_s`, broadened by
    `linewidth_hz` (1 Hz unless given, as lines never decay), sampled FIDs by 0 unless given. Protons are written
    with the receiver at 4.65 ppm, which is what most programs take for granted.

    Raises
    ------
    InputError
        There is no such format; lines cannot be made of sampled FIDs; the file exists.
    MismatchError
        Sampled FIDs cannot be brought to that readout.

    """
    if name not in FORMATS:
        raise InputError(f"--format: got {name!r}, expected one of {', '.join(FORMATS)}")
    write = FORMATS[name].write
    if write is None:
        return _write_lines(basis, path, overwrite, (samples, dwell_s, linewidth_hz, gauss_hz or None))
    width_hz = linewidth_hz if linewidth_hz is not None else 1.0 if isinstance(basis, Basis) else 0.0
    written = sampled(basis, samples, dwell_s, width_hz, gauss_hz)
    if written.nucleus == "1H":
        written = at_reference(written, RECEIVER_PPM)
    written = _renamed(written, {old: program_name(old, name) for old in written.names})
    _refuse_names(written)
    guard(written, path.name)
    _refuse_others(path, written, FORMATS[name].part)
    write(written, path, overwrite)
    return (*_long_names(written, name), *_forgotten(basis, name))


def _refuse_others(path: Path, basis: SampledBasis, part: str) -> None:
    """Raise where a folder holds functions that are not written now: old and new would become one basis."""
    if not part or not path.is_dir():
        return
    files = [p for p in path.iterdir() if p.suffix.lower() == part.lower()]
    others = sorted(p.name for p in files if p.name not in {f"{name}{part}" for name in basis.names})
    if others:
        raise InputError(
            f"{path}: holds {', '.join(others)} of another basis; remove them or choose another folder"
        )


_PLAIN = re.compile(r"[A-Za-z0-9_+\-,()][A-Za-z0-9_+\-,(). ]*")
"""Names that can be file names and words of a Fortran namelist."""


def _refuse_names(basis: SampledBasis) -> None:
    odd = [name for name in basis.names if not _PLAIN.fullmatch(name)]
    if odd:
        raise InputError(
            f"metabolites {', '.join(map(repr, odd))}: expected letters, digits and _ + - , ( ) . only"
        )


def _write_lines(
    basis: AnyBasis, path: Path, overwrite: bool, choices: tuple[float | None, ...]
) -> tuple[str, ...]:
    if isinstance(basis, SampledBasis):
        raise InputError(
            f"{path}: pulsespec's own format stores lines, which sampled FIDs are not; choose one of "
            f"{', '.join(name for name in FORMATS if name != 'pulsespec')}, or simulate the sequence"
        )
    if any(choice is not None for choice in choices):
        raise InputError(
            f"{path}: lines have no points, dwell time or linewidth; they are chosen on conversion"
        )
    basis.write(path, overwrite)
    return ()


def _forgotten(basis: AnyBasis, name: str) -> tuple[str, ...]:
    """Return a word on each thing that changes what a fit must do and that FIDs alone do not say."""
    words = []
    if basis.provenance.get("relaxation"):
        words.append(
            f"the functions hold T1 and T2 already, which {name} files do not say: do not correct for relaxation again"
        )
    conditions = basis.provenance.get("conditions") or {"0": 1.0}
    if dict(conditions) != {"0": 1.0}:
        combined = ", ".join(f"{factor:+g} x condition {number}" for number, factor in conditions.items())
        words.append(f"the functions are {combined}, which {name} files do not say: fit data combined alike")
    return tuple(words)


def _long_names(basis: SampledBasis, name: str) -> tuple[str, ...]:
    long = [n for n in basis.names if len(n) > LCMODEL_CHARACTERS] if name == "lcmodel" else []
    return (f"LCModel reads the first {LCMODEL_CHARACTERS} characters of {', '.join(long)}",) if long else ()
