"""Philips SDAT/SPAR: a text header and VAX floating-point numbers.

Our own few lines, since the library that reads it (spec2nii) brings a hundred megabytes of others; its
NIfTI-MRS files of the same data are the independent check in the tests.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.transients import Geometry, Transients


def is_sdat(path: Path) -> bool:
    """Return whether the file is called SDAT or SPAR: the data themselves are bare numbers."""
    return path.suffix.lower() in (".sdat", ".spar")


def read_sdat(path: Path) -> Transients:
    """Read an SDAT file (or its SPAR); more than one row is a dimension "average".

    Raises
    ------
    DataError
        The partner file is missing, the header lacks a value, or there are fewer samples than it says.

    """
    path = Path(path)
    data_path, header_path = _partner(path, ".sdat"), _partner(path, ".spar")
    header = _read_spar(header_path)
    samples, rows = int(_number(header, "samples", header_path)), int(_number(header, "rows", header_path))
    raw = data_path.read_bytes()
    expected = samples * rows * 8
    if samples < 1 or rows < 1 or len(raw) != expected:
        raise DataError(
            f"{data_path}: {len(raw)} bytes, expected {expected} ({rows} rows of {samples} complex numbers, "
            f"as {header_path.name} says): truncated or damaged"
        )
    values = _vax_floats(raw)
    fids = swap_sense((values[::2] + 1j * values[1::2]).reshape(rows, samples))
    return Transients(
        data=fids if rows > 1 else fids[0],
        dims=("average", "t") if rows > 1 else ("t",),
        dwell_s=1.0 / _number(header, "sample_frequency", header_path),
        f0_hz=_number(header, "synthesizer_frequency", header_path),
        nucleus=header.get("nucleus", "1H").strip('" '),
        te_s=_number(header, "echo_time", header_path) * 1e-3,
        tr_s=_number(header, "repetition_time", header_path) * 1e-3,
        geometry=_geometry(header, header_path),
        sequence=header.get("scan_id", "").strip('" '),
        source=data_path.name,
        header={"averages": int(float(header.get("averages", "1") or 1)), "manufacturer": "Philips"},
    )


def _partner(path: Path, suffix: str) -> Path:
    if path.suffix.lower() == suffix:
        found = path
    else:
        names = [
            other for other in path.parent.glob(f"{_escaped(path.stem)}.*") if other.suffix.lower() == suffix
        ]
        found = names[0] if names else path.with_suffix(suffix)
    if not found.is_file():
        raise DataError(f"{path}: its partner {found.name} is not in the same folder")
    return found


def _escaped(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)


def _read_spar(path: Path) -> dict[str, str]:
    header: dict[str, str] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if ":" in line and not line.startswith("!"):
            key, value = line.split(":", 1)
            header.setdefault(key.strip().lower(), value.strip())
    if "samples" not in header:
        raise DataError(f"{path}: is not a SPAR header (no line 'samples')")
    return header


def _number(header: dict[str, str], key: str, path: Path) -> float:
    try:
        value = float(header[key])
    except KeyError as error:
        raise DataError(f"{path}: has no line {key!r}") from error
    except ValueError as error:
        raise DataError(f"{path}: {key} is {header[key]!r}, expected a number") from error
    if key != "echo_time" and not value > 0:
        raise DataError(f"{path}: {key} is {value}, expected a number above 0")
    return value


def _vax_floats(raw: bytes) -> NDArray[np.float64]:
    """Decode VAX F floats: words swapped, exponent biased by 128, mantissa 0.1f (VAX architecture manual)."""
    words = np.frombuffer(raw, dtype="<u2").astype(np.uint32)
    bits = (words[::2] << 16) | words[1::2]
    exponent = ((bits >> 23) & 0xFF).astype(int)
    mantissa = ((bits & 0x7FFFFF) | 0x800000).astype(float) / 2.0**24
    value = np.ldexp(mantissa, exponent - 128) * np.where(bits >> 31, -1.0, 1.0)
    return np.where(exponent == 0, 0.0, value)


def _geometry(header: dict[str, str], path: Path) -> Geometry | None:
    """Return the voxel in RAS+ world coordinates; the header's are left, posterior, superior."""
    if "lr_size" not in header:
        return None
    size, offset, angle = (
        [_float(header, f"{axis}_{what}", path) for axis in ("lr", "ap", "cc")]
        for what in ("size", "off_center", "angulation")
    )
    rotation = Rotation.from_euler("xyz", [-angle[0], -angle[1], angle[2]], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(size)
    affine[:3, 3] = [-offset[0], -offset[1], offset[2]]
    return Geometry(affine)


def _float(header: dict[str, str], key: str, path: Path) -> float:
    try:
        return float(header[key])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: {key} is {header.get(key)!r}, expected a number") from error
