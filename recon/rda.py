"""Siemens RDA: a text header, then an averaged FID of 64-bit floats."""

from pathlib import Path

import numpy as np

from pulsespec.errors import DataError
from pulsespec.recon.siemens import affine_of
from pulsespec.recon.transients import Geometry, Transients

_BEGIN, _END = b">>> Begin of header <<<", b">>> End of header <<<"
_LONGEST_HEADER, _LONGEST_NUMBER = 1 << 20, 16


def is_rda(path: Path) -> bool:
    """Return whether the file begins with the header line of RDA."""
    with path.open("rb") as file:
        return file.read(len(_BEGIN)) == _BEGIN


def read_rda(path: Path) -> Transients:
    """Read an RDA file of a single voxel; its dwell time is rounded to whole microseconds by the scanner.

    The sense of frequency is that of NIfTI-MRS in the files at hand, but nothing defines it.

    Raises
    ------
    DataError
        The header is incomplete or holds what is not a number, the data have another length than it says, or
        it is an imaging scan.

    """
    raw = path.read_bytes()
    end = raw.find(_END, 0, _LONGEST_HEADER)
    start = raw.find(b"\n", end) + 1
    if end < 0 or start == 0:
        raise DataError(f"{path}: truncated RDA file: its header does not end")
    header = _header(raw[:end])
    matrix = [int(_number(path, header, f"CSIMatrixSize[{axis}]")) for axis in range(3)]
    if max(matrix) > 1:
        raise DataError(f"{path}: is an imaging scan (matrix {matrix}), expected a single voxel")
    samples = int(_number(path, header, "VectorSize"))
    if len(raw) - start != 16 * samples or samples < 1:
        raise DataError(
            f"{path}: {len(raw) - start} bytes of data, expected {16 * samples}: truncated or damaged"
        )
    return Transients(
        data=np.frombuffer(raw, dtype="<c16", offset=start),
        dims=("t",),
        dwell_s=_positive(path, header, "DwellTime") * 1e-6,
        f0_hz=_positive(path, header, "MRFrequency") * 1e6,
        nucleus=header.get("Nucleus", "1H") or "1H",
        te_s=_number(path, header, "TE") * 1e-3,
        tr_s=_positive(path, header, "TR") * 1e-3,
        geometry=_geometry(path, header),
        sequence=header.get("SequenceName", ""),
        source=path.name,
        header={
            "manufacturer": "Siemens",
            "averages": int(_number(path, header, "NumberOfAverages")) if "NumberOfAverages" in header else 1,
            "patient_position": header.get("PatientPosition", ""),
        },
    )


def _header(raw: bytes) -> dict[str, str]:
    found = {}
    for line in raw.decode("latin-1").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found[key.strip()] = value.strip()
    return found


def _number(path: Path, header: dict[str, str], key: str) -> float:
    """Return a number, whose decimal sign follows the scanner's language."""
    try:
        value = float(header[key].replace(",", "."))
    except (KeyError, ValueError) as error:
        said = header.get(key, "missing")[:_LONGEST_NUMBER]
        raise DataError(f"{path}: {key} is {said!r}, expected a number") from error
    if not np.isfinite(value):
        raise DataError(f"{path}: {key} is {value}, expected a finite number")
    return value


def _positive(path: Path, header: dict[str, str], key: str) -> float:
    value = _number(path, header, key)
    if not value > 0:
        raise DataError(f"{path}: {key} is {value}, expected a number above 0")
    return value


def _geometry(path: Path, header: dict[str, str]) -> Geometry | None:
    """Return the voxel; a file without one (unlocalised) has no `VOIPositionSag`."""
    if "VOIPositionSag" not in header:
        return None
    position = [_number(path, header, f"VOIPosition{axis}") for axis in ("Sag", "Cor", "Tra")]
    row, column = (
        np.array([_number(path, header, f"{name}Vector[{axis}]") for axis in range(3)])
        for name in ("Row", "Column")
    )
    size = [_number(path, header, key) for key in ("PixelSpacingCol", "PixelSpacingRow", "SliceThickness")]
    if not (np.linalg.norm(np.cross(row, column)) > 0 and min(size) > 0):
        return None
    return affine_of(position, row, column, size)
