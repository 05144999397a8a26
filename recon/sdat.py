"""Philips SDAT/SPAR: a text header and VAX floating-point numbers.

Our own few lines, since the library that reads it (spec2nii) brings a hundred megabytes of others; its
NIfTI-MRS files of the same data are the independent check in the tests.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.transients import Geometry, Transients

_BLOCK_ROWS = 16
_AXES = ("lr", "ap", "cc")


def is_sdat(path: Path) -> bool:
    """Return whether the file is called SDAT or SPAR: the data themselves are bare numbers."""
    return path.suffix.lower() in (".sdat", ".spar")


def read_sdat(path: Path) -> Transients:
    """Read an SDAT file (or its SPAR); more than one row is a dimension "average".

    Raises
    ------
    DataError
        The partner file is missing, the header is incomplete or contradicts itself, or there are fewer or more
        samples than it says.

    """
    path = Path(path)
    data_path, header_path = _partner(path, ".sdat"), _partner(path, ".spar")
    header = read_spar(header_path)
    samples, rows = header.integer("samples"), header.integer("rows")
    expected, there = samples * rows * 8, data_path.stat().st_size
    if there != expected:
        raise DataError(
            f"{data_path}: {there} bytes, expected {expected} ({rows} rows of {samples} complex numbers, "
            f"as {header_path.name} says): truncated or damaged"
        )
    fids = swap_sense(_rows(data_path, rows, samples), in_place=True)
    return Transients(
        data=fids if rows > 1 else fids[0],
        dims=("average", "t") if rows > 1 else ("t",),
        source=data_path.name,
        **facts(header),
    )


@dataclass(frozen=True)
class Spar:
    """The lines of a SPAR header."""

    path: Path
    lines: dict[str, str]

    def number(self, key: str, above: float | None = 0.0) -> float:
        """Return a number, above `above` unless that is `None`; `DataError` where the line has none."""
        try:
            value = float(self.lines[key])
        except KeyError as error:
            raise DataError(f"{self.path}: has no line {key!r}: truncated or damaged") from error
        except ValueError as error:
            raise DataError(f"{self.path}: {key} is {self.lines[key]!r}, expected a number") from error
        if not math.isfinite(value) or (above is not None and value <= above):
            raise DataError(f"{self.path}: {key} is {value}, expected a number above {above or 0:g}")
        return value

    def integer(self, key: str) -> int:
        """Return a whole number above 0."""
        value = self.number(key)
        if value != round(value):
            raise DataError(f"{self.path}: {key} is {value}, expected a whole number")
        return int(value)

    def text(self, key: str) -> str:
        """Return text without its quotes; empty where there is none."""
        return self.lines.get(key, "").strip('" ')


_LAST = "placeholder2"
"""The line that every SPAR ends with: those of releases 2.5 to 6.0 at hand, and FID-A's."""


def read_spar(path: Path) -> Spar:
    """Read a SPAR header.

    Raises
    ------
    DataError
        It is not one, is cut off before its last line, or says one thing in two ways that differ.

    """
    lines: dict[str, str] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if ":" in line and not line.startswith("!"):
            key, value = line.split(":", 1)
            lines.setdefault(key.strip().lower(), value.strip())
    if "samples" not in lines:
        raise DataError(f"{path}: is not a SPAR header (no line 'samples')")
    if _LAST not in lines:
        raise DataError(f"{path}: ends before its last line {_LAST!r}: truncated")
    header = Spar(path, lines)
    for first, second in (("samples", "spec_num_col"), ("samples", "dim1_pnts"), ("rows", "spec_num_row")):
        if second in lines and header.integer(first) != header.integer(second):
            raise DataError(f"{path}: {first} is {lines[first]}, but {second} is {lines[second]}: damaged")
    return header


def facts(header: Spar) -> dict[str, Any]:
    """Return what a SPAR says of its data, as arguments of `Transients`."""
    return {
        "dwell_s": 1.0 / header.number("sample_frequency"),
        "f0_hz": header.number("synthesizer_frequency"),
        "nucleus": header.text("nucleus") or "1H",
        "te_s": header.number("echo_time", above=None) * 1e-3 or None,
        "tr_s": header.number("repetition_time") * 1e-3,
        "geometry": _geometry(header),
        "sequence": header.text("scan_id"),
        "header": {"averages": _averages(header), "manufacturer": "Philips"},
    }


def _averages(header: Spar) -> int:
    return header.integer("averages") if header.text("averages") else 1


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


def _rows(path: Path, rows: int, samples: int) -> NDArray[np.complex64]:
    """Return the samples as they stand, some rows at a time; shape (rows, samples)."""
    found = np.empty((rows, samples), dtype=np.complex64)
    with path.open("rb") as file:
        for first in range(0, rows, _BLOCK_ROWS):
            block = found[first : first + _BLOCK_ROWS]
            values = _vax_floats(file.read(block.size * 8)).reshape(*block.shape, 2)
            block.real, block.imag = values[..., 0], values[..., 1]
    return found


def _vax_floats(raw: bytes) -> NDArray[np.float64]:
    """Decode VAX F floats: words swapped, exponent biased by 128, mantissa 0.1f (VAX architecture manual)."""
    words = np.frombuffer(raw, dtype="<u2").astype(np.uint32)
    bits = (words[::2] << 16) | words[1::2]
    exponent = ((bits >> 23) & 0xFF).astype(int)
    mantissa = ((bits & 0x7FFFFF) | 0x800000).astype(float) / 2.0**24
    value = np.ldexp(mantissa, exponent - 128) * np.where(bits >> 31, -1.0, 1.0)
    return np.where(exponent == 0, 0.0, value)


def _geometry(header: Spar) -> Geometry | None:
    """Return the voxel in RAS+ world coordinates; the header's are left, posterior, superior."""
    if header.text("volume_selection_enable") == "no":
        return None
    size = [header.number(f"{axis}_size") for axis in _AXES]
    offset, angle = (
        [header.number(f"{axis}_{what}", above=None) for axis in _AXES]
        for what in ("off_center", "angulation")
    )
    return Geometry(affine_of_angles(size, offset, angle))


def affine_of_angles(size: list[float], centre: list[float], angle: list[float]) -> NDArray[np.float64]:
    """Return the affine, RAS+, of sizes and centre in mm and angles in degrees about left, posterior, superior.

    The rotations are intrinsic, about x first: so spec2nii from release 0.6.11 on (its pull request 84, compared
    with DICOM of the same voxels); files that earlier releases wrote are off where two angles are not 0.
    """
    rotation = Rotation.from_euler("XYZ", [-angle[0], -angle[1], angle[2]], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(size)
    affine[:3, 3] = [-centre[0], -centre[1], centre[2]]
    return affine
