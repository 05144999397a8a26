"""Osprey basis files (`.mat` with a struct BASIS) and FID-A structures; BASIS is read and written, FID-A read.

Fields, read from Osprey's `io_LCMBasis.m` and `fit_makeBasis.m` (nothing is copied here): `fids` of shape (points,
functions[, sub-spectra]), `name`, `dwelltime` (s), `Bo` (T, proton frequency Bo x 42.577 MHz), `centerFreq` (ppm),
`te` (ms), `linewidth` (Hz), `nMets` functions of metabolites before `nMM` of macromolecules, and `scale`, by which
the FIDs were divided. The sense is that of the scanner (Pulseq's): ppm = f / (Bo x 42.577) + centerFreq with f from
the FFT. Sets of MRSCloud v2 keep metabolites at 4.68 ppm whatever `centerFreq` says (`osp_recalculate_basis_specs.m`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError, InputError
from pulsespec.files import atomic_path, attempt
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.lcmodel import broad_names
from pulsespec.simulator.sampled import Complex, SampledBasis, at_reference, joined

_GAMMA_HZ_PER_T = 42.577e6
"""Frequency of protons per tesla that Osprey and FID-A use throughout."""
_MRSCLOUD_PPM = 4.68
_VERSION_7_3 = b"MATLAB 7.3"
_UNKNOWN = "unknown"


def is_mat(path: Path) -> bool:
    """Return whether a file is a MATLAB file, or a folder holds some."""
    if path.is_dir():
        return bool(_files(path))
    with path.open("rb") as file:
        return file.read(10) in (b"MATLAB 5.0", _VERSION_7_3)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".mat" and p.is_file())


def read(path: Path, given: Given) -> SampledBasis:
    """Read an Osprey basis file, a FID-A structure or a folder of them.

    Raises
    ------
    DataError
        A file is damaged or holds neither.
    InputError
        It has several sub-spectra and `given.part` names none of them.

    """
    files = _files(path) if path.is_dir() else [path]
    return joined(path, [_one(file, given) for file in files])


def _one(path: Path, given: Given) -> SampledBasis:
    with path.open("rb") as file:
        if file.read(10) == _VERSION_7_3:
            raise DataError(f"{path}: is a MATLAB 7.3 file, which is not read; save it in MATLAB with -v7")
    content, words = attempt(lambda: scipy.io.loadmat(str(path), struct_as_record=False, squeeze_me=True))
    if content is None:
        raise DataError(f"{path}: cannot be read as a MATLAB file ({words})")
    if hasattr(content.get("BASIS"), "_fieldnames"):
        return _basis(path, vars(content["BASIS"]), given)
    one = {"name": path.stem, "nMets": 1}
    if "fids" in content:
        return _basis(path, content | one, given)
    return _basis(path, _sub_spectrum(path, content, given) | one, replace(given, part=None))


def _sub_spectrum(path: Path, content: dict[str, Any], given: Given) -> dict[str, Any]:
    """Return the structure of a FID-A file that has one for each sub-spectrum."""
    found: dict[str, dict[str, Any]] = {
        key: vars(value) for key, value in content.items() if hasattr(getattr(value, "fids", None), "shape")
    }
    if not found:
        raise DataError(f"{path}: is a MATLAB file with neither BASIS nor a FID-A structure")
    return found[list(found)[_part(path, len(found), given)]]


def _part(path: Path, count: int, given: Given) -> int:
    if count == 1 and given.part in (None, 1):
        return 0
    if given.part is None or not 1 <= given.part <= count:
        raise InputError(
            f"{path}: has {count} sub-spectra; choose with --part 1 to {count} (got {given.part})"
        )
    return given.part - 1


def _basis(path: Path, fields: dict[str, Any], given: Given) -> SampledBasis:
    missing = [key for key in ("fids", "name", "dwelltime", "Bo") if key not in fields]
    if missing:
        raise DataError(f"{path}: its basis structure lacks {', '.join(missing)}")
    names = [str(name) for name in np.atleast_1d(fields["name"])]
    fids = _fids(path, np.asarray(fields["fids"], dtype=complex), len(names), given)
    scale, te_ms = _number(path, fields, "scale") or 1.0, _number(path, fields, "te") or 0.0
    basis = SampledBasis(
        fids={name: swap_sense(fid * scale) for name, fid in zip(names, fids.T, strict=True)},
        dwell_s=needed(path, "dwell_s", _number(path, fields, "dwelltime"), given),
        f0_hz=needed(path, "f0_hz", (_number(path, fields, "Bo") or 0.0) * _GAMMA_HZ_PER_T, given),
        te_s=known(path, "te_s", te_ms * 1e-3 if te_ms > 0 else None, given),
        reference_ppm=needed(path, "reference_ppm", _centre(path, fields), given),
        linewidth_hz=_number(path, fields, "linewidth") or None,
        broad=_broad(names, fields),
        sequence=_word(fields, "seq").removeprefix(_UNKNOWN),
        sequence_hash=_word(fields, "pulsespec_sequence_hash"),
    )
    return _mrscloud(basis) if str(fields.get("mrsCloudVersion", "")).lower() == "v2" else basis


def _number(path: Path, fields: dict[str, Any], key: str) -> float | None:
    """Return the first number of a field; `None` where it is missing or empty."""
    try:
        values = np.ravel(fields.get(key, ())).astype(float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {key} is {fields[key]!r}, expected a number") from error
    return float(values[0]) if values.size else None


def _word(fields: dict[str, Any], key: str) -> str:
    values = np.atleast_1d(fields.get(key, ""))
    return str(values[0]) if values.size else ""


def _centre(path: Path, fields: dict[str, Any]) -> float | None:
    """Return the receiver's shift in ppm: as stated, or as the middle of the stated axis."""
    stated = _number(path, fields, "centerFreq")
    axis = np.ravel(fields.get("ppm", ()))
    return float(axis[0] + axis[-1]) / 2 if stated is None and axis.size else stated


def _fids(path: Path, fids: Any, count: int, given: Given) -> Complex:
    """Return the FIDs of one sub-spectrum; shape (points, count)."""
    cube = fids.reshape(fids.shape[0], count, -1) if fids.size % (fids.shape[0] * count) == 0 else None
    if cube is None:
        raise DataError(f"{path}: FIDs have shape {fids.shape}, which does not go with {count} names")
    return np.asarray(cube[:, :, _part(path, cube.shape[2], given)])


def _broad(names: list[str], fields: dict[str, Any]) -> tuple[str, ...]:
    metabolites = int(np.append(np.ravel(fields.get("nMets", ())), len(names))[0])
    return tuple(dict.fromkeys([*broad_names(names), *names[metabolites:]]))


def _mrscloud(basis: SampledBasis) -> SampledBasis:
    """Return a set of MRSCloud v2 with its metabolites at the reference that its macromolecules have."""
    metabolites = {name: fid for name, fid in basis.fids.items() if name not in basis.broad}
    stored = SampledBasis(
        fids=metabolites, dwell_s=basis.dwell_s, f0_hz=basis.f0_hz, te_s=None, reference_ppm=_MRSCLOUD_PPM
    )
    moved = at_reference(stored, basis.reference_ppm).fids
    return basis.with_fids({**basis.fids, **moved})


def write(basis: SampledBasis, path: Path, overwrite: bool = False) -> None:
    """Write an Osprey basis file; macromolecules and lipids come last, as Osprey expects."""
    ordered = [name for name in basis.names if name not in basis.broad] + list(basis.broad)
    fids = swap_sense(np.stack([basis.fid(name) for name in ordered])).T
    spectra = np.fft.fftshift(np.fft.fft(fids, axis=0), axes=0)
    scale = float(np.abs(spectra.real).max())
    width_hz = 1 / basis.dwell_s
    field_t = basis.f0_hz / _GAMMA_HZ_PER_T
    bins = (np.arange(basis.samples) + 0.5) / basis.samples - 0.5
    content = {
        "spectralwidth": width_hz,
        "dwelltime": basis.dwell_s,
        "n": float(basis.samples),
        "linewidth": basis.linewidth_hz or 0.0,
        "Bo": field_t,
        "seq": _cells([basis.sequence or _UNKNOWN]),
        "te": (basis.te_s or 0.0) * 1e3,
        "centerFreq": basis.reference_ppm,
        "ppm": bins * width_hz / basis.f0_hz * 1e6 + basis.reference_ppm,
        "t": np.arange(basis.samples) * basis.dwell_s,
        "flags": _FLAGS | {"addedMM": float(bool(basis.broad))},
        "nMM": float(len(basis.broad)),
        "fids": fids / scale,
        "specs": spectra / scale,
        "name": _cells(ordered),
        "dims": {"t": 1.0, "coils": 0.0, "averages": 0.0, "subSpecs": 0.0, "extras": 0.0},
        "nMets": float(len(ordered) - len(basis.broad)),
        "sz": np.array([float(basis.samples), float(len(ordered))]),
        "scale": scale,
        "pulsespec_sequence_hash": basis.sequence_hash,
    }
    with atomic_path(path, overwrite) as temporary, temporary.open("wb") as file:
        scipy.io.savemat(file, {"BASIS": content}, oned_as="row")


_FLAGS = dict.fromkeys(
    ("writtentostruct", "gotparams", "averaged", "addedrcvrs", "subtracted"), 1.0
) | dict.fromkeys(
    ("leftshifted", "filtered", "zeropadded", "freqcorrected", "phasecorrected", "downsampled", "isISIS"), 0.0
)


def _cells(words: list[str]) -> Any:
    """Return a MATLAB cell array (row) of strings."""
    cells = np.empty((1, len(words)), dtype=object)
    cells[0, :] = words
    return cells
