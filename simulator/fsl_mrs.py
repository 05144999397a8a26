"""FSL-MRS basis folders: one JSON file for each metabolite; read and written.

`basis` holds `basis_re`, `basis_im`, `basis_dwell` (s), `basis_centre` (MHz), `basis_width` (Hz) and `basis_name`.
The FID in the file is in the sense of the scanner (Pulseq's): FSL-MRS conjugates it on reading and on writing (read
from `fsl_mrs/utils/mrs_io/fsl_io.py`, of which nothing is copied here). Its receiver is at 4.65 ppm for protons.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import pulsespec
from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError
from pulsespec.files import atomic_directory
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.lcmodel import broad_names
from pulsespec.simulator.sampled import Complex, SampledBasis, joined

_KEYS = ("basis_re", "basis_im", "basis_dwell", "basis_centre", "basis_name")
_OURS = ("te_s", "tr_s", "reference_ppm", "nucleus", "sequence", "sequence_hash")


def is_fsl_mrs(path: Path) -> bool:
    """Return whether a file is an FSL-MRS basis function, or a folder holds one."""
    files = _files(path) if path.is_dir() else [path]
    return any(file.suffix.lower() == ".json" and b'"basis_re"' in file.read_bytes() for file in files)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".json" and p.is_file())


def read(path: Path, given: Given) -> SampledBasis:
    """Read an FSL-MRS basis folder, or one file of it.

    Raises
    ------
    DataError
        A file is damaged or lacks a key.

    """
    files = _files(path) if path.is_dir() else [path]
    return joined(path, [_one(file, given) for file in files])


def _one(path: Path, given: Given) -> SampledBasis:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stored = content["basis"]
        values = {key: stored[key] for key in _KEYS}
        fid = np.array(values["basis_re"], dtype=float) + 1j * np.array(values["basis_im"], dtype=float)
        dwell_s, centre_mhz = float(values["basis_dwell"]), float(values["basis_centre"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DataError(f"{path}: is not an FSL-MRS basis file, or damaged ({error!r})") from error
    if fid.ndim != 1 or fid.size == 0:
        raise DataError(f"{path}: its FID has shape {fid.shape}, expected one dimension")
    ours = content.get("pulsespec", {})
    name, width = str(values["basis_name"]), stored.get("basis_width")
    return SampledBasis(
        fids={name: swap_sense(fid)},
        dwell_s=needed(path, "dwell_s", dwell_s, given),
        f0_hz=needed(path, "f0_hz", centre_mhz * 1e6, given),
        te_s=known(path, "te_s", ours.get("te_s"), given),
        tr_s=ours.get("tr_s"),
        nucleus=ours.get("nucleus", "1H"),
        reference_ppm=known(path, "reference_ppm", ours.get("reference_ppm"), given) or RECEIVER_PPM,
        linewidth_hz=None if width is None else float(width),
        broad=broad_names([name]),
        sequence=ours.get("sequence", ""),
        sequence_hash=ours.get("sequence_hash", ""),
    )


def write(basis: SampledBasis, path: Path, overwrite: bool = False) -> None:
    """Write a folder with one JSON file for each metabolite."""
    with atomic_directory(path, overwrite) as folder:
        for name, fid in basis.fids.items():
            (folder / f"{name}.json").write_text(
                json.dumps(_content(basis, name, fid)) + "\n", encoding="utf-8"
            )


def _content(basis: SampledBasis, name: str, fid: Complex) -> dict[str, Any]:
    stored = swap_sense(fid)
    return {
        "basis": {
            "basis_re": stored.real.tolist(),
            "basis_im": stored.imag.tolist(),
            "basis_dwell": basis.dwell_s,
            "basis_centre": basis.f0_hz * 1e-6,
            "basis_width": basis.linewidth_hz,
            "basis_name": name,
        },
        "meta": {"SimVersion": f"pulsespec {pulsespec.__version__}"},
        "pulsespec": {key: getattr(basis, key) for key in _OURS},
    }
