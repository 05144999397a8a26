"""jMRUI text files: a header, then columns of real and imaginary parts; read and written.

The FID is in the sense of the scanner (Pulseq's): the jMRUI files of the ISMRM fitting challenge are the complex
conjugates of its LCModel RAW files, and FSL-MRS and spant conjugate on reading too. The sampling interval is in ms,
the transmitter's frequency in Hz; the format has no chemical shift of the receiver, which is taken as 4.65 ppm.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pulsespec.conventions import RECEIVER_PPM, field_from_larmor, swap_sense
from pulsespec.errors import DataError
from pulsespec.files import atomic_directory
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.lcmodel import broad_names
from pulsespec.simulator.sampled import Complex, SampledBasis, joined

_TITLE = "jMRUI Data Textfile"
_SIGNAL = re.compile(r"^\s*Signal\s+\d+\s+out of\s+\d+\s+in file\s*$", re.MULTILINE)
_HEADER = re.compile(r"^(\w+):[ \t]*(.*?)\s*$", re.MULTILINE)
_OURS = "pulsespec "


def is_jmrui(path: Path) -> bool:
    """Return whether a file is jMRUI text, or a folder holds some."""
    if path.is_dir():
        return bool(_files(path))
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(_TITLE.encode())


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".txt" and is_jmrui(p))


def read(path: Path, given: Given) -> SampledBasis:
    """Read one jMRUI text file, of one or several signals, or a folder of them.

    Raises
    ------
    DataError
        A file is damaged or lacks sampling interval or frequency.

    """
    files = _files(path) if path.is_dir() else [path]
    return joined(path, [_one(file, given) for file in files])


def signals(path: Path) -> tuple[dict[str, str], list[Complex]]:
    """Return the header of a file as it stands and its FIDs in the NIfTI-MRS sense.

    Raises
    ------
    DataError
        The file has no signal, or one of another length than its header says, or that begins late.

    """
    parts = _SIGNAL.split(path.read_text(encoding="latin-1"))
    header = dict(_HEADER.findall(parts[0]))
    if len(parts) < 2:
        raise DataError(f"{path}: is jMRUI text without a signal: truncated or damaged")
    points = int(_number(path, header, "PointsInDataset") or 0)
    fids = [_fid(path, part, points) for part in parts[1:]]
    if _number(path, header, "BeginTime"):
        raise DataError(f"{path}: BeginTime is {header['BeginTime']} ms, expected FIDs that begin at 0")
    return header, fids


def facts(path: Path, header: dict[str, str]) -> tuple[float | None, float | None, float | None]:
    """Return sampling interval in s, frequency in Hz and field in T, each `None` where the header has none."""
    interval_ms = _number(path, header, "SamplingInterval")
    interval_s = None if interval_ms is None else interval_ms * 1e-3
    f0_hz, field_t = _number(path, header, "TransmitterFrequency"), _number(path, header, "MagneticField")
    return interval_s or None, f0_hz or None, field_t or None


def _one(path: Path, given: Given) -> SampledBasis:
    header, fids = signals(path)
    names = [n.removesuffix(".txt").strip() for n in header.get("SignalNames", "").split(";") if n.strip()]
    names = [path.stem] if len(fids) == 1 else names
    if len(names) != len(fids):
        raise DataError(f"{path}: names {len(names)} signals ({', '.join(names)}) but holds {len(fids)}")
    interval_s, f0_hz, _ = facts(path, header)
    ours = _ours(header.get("AdditionalInfo", ""))
    return SampledBasis(
        fids=dict(zip(names, fids, strict=True)),
        dwell_s=needed(path, "dwell_s", interval_s, given),
        f0_hz=needed(path, "f0_hz", f0_hz, given),
        te_s=known(path, "te_s", ours.get("te_s"), given),
        reference_ppm=known(path, "reference_ppm", ours.get("reference_ppm"), given) or RECEIVER_PPM,
        linewidth_hz=ours.get("linewidth_hz"),
        broad=broad_names(names),
        sequence=ours.get("sequence", ""),
        sequence_hash=ours.get("sequence_hash", ""),
    )


def _ours(text: str) -> dict[str, Any]:
    """Return what `write` put into the line for additional information; nothing where another program wrote it."""
    if not text.startswith(_OURS):
        return {}
    try:
        facts = json.loads(text.removeprefix(_OURS))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _number(path: Path, header: dict[str, str], key: str) -> float | None:
    if not header.get(key):
        return None
    try:
        return float(header[key])
    except ValueError as error:
        raise DataError(f"{path}: {key} is {header[key]!r}, expected a number") from error


def _fid(path: Path, text: str, points: int) -> Complex:
    """Return a FID in the NIfTI-MRS sense; columns after the second are its Fourier transform."""
    try:
        rows = np.array([line.split()[:2] for line in text.splitlines() if line.strip()], dtype=float)
    except ValueError as error:
        raise DataError(f"{path}: data are not two columns of numbers ({error})") from error
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) != points:
        raise DataError(f"{path}: {len(rows)} points, expected {points}: truncated or damaged")
    return swap_sense(rows[:, 0] + 1j * rows[:, 1])


def write(basis: SampledBasis, path: Path, overwrite: bool = False) -> None:
    """Write a folder with one text file for each metabolite."""
    with atomic_directory(path, overwrite) as folder:
        for name, fid in basis.fids.items():
            (folder / f"{name}.txt").write_text(_text(basis, name, fid), encoding="ascii")


def _text(basis: SampledBasis, name: str, fid: Complex) -> str:
    facts = {
        key: getattr(basis, key)
        for key in ("te_s", "reference_ppm", "linewidth_hz", "sequence", "sequence_hash")
    }
    header = [
        f"{_TITLE}\n\nFilename: {name}.txt\n",
        f"PointsInDataset: {fid.size}\nDatasetsInFile: 1\nSamplingInterval: {basis.dwell_s * 1e3:.9E}",
        f"ZeroOrderPhase: 0E0\nBeginTime: 0E0\nTransmitterFrequency: {basis.f0_hz:.9E}",
        f"MagneticField: {field_from_larmor(basis.f0_hz, basis.nucleus):.6E}\nTypeOfNucleus: 0E0",
        f"NameOfPatient: {name}\nDateOfExperiment: \nSpectrometer: \nAdditionalInfo: {_OURS}{json.dumps(facts)}",
        f"SignalNames: {name}.txt;\n\n\nSignal and FFT\nsig(real)\tsig(imag)\nSignal 1 out of 1 in file",
    ]
    rows = (f"{value.real:.8E}\t{value.imag:.8E}" for value in swap_sense(fid))
    return "\n".join([*header, *rows]) + "\n"
