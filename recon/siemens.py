"""What Siemens headers say, in whatever file: the voxel in the patient, names of sequences and their counters."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.transients import Geometry

Vector = NDArray[np.float64]

_CLOSE = 1e-5
EDITED_BY_COUNTER = (
    (r"edit_529|eja_svs_(mpress|mslaser)|svs_edit$", "Eco"),
    (r"edit_859", "Ide"),
)
"""Names of sequences and the counter of their editing condition, as FID-A's `io_loadspec_twix` knows them."""
EDITED_IN_TURN = ((r"jn_.*(mega|special)|[rv][mq]_special", 2), (r"mgs_svs_ed|smm_svs_herc$", 4))
"""Names of sequences that play their conditions one after the other without counting them, and how many at most:
FID-A; the universal editing sequence has 2 (MEGA-PRESS) where its `alFree[7]` is 0, else a Hadamard scheme
of 4, as spec2nii has it."""


def affine_of(
    position_mm: Sequence[float], row: Vector, column: Vector, size_mm: Sequence[float]
) -> Geometry:
    """Return the voxel in RAS+ coordinates from what DICOM says of it in left, posterior, superior.

    Parameters
    ----------
    position_mm
        Centre of the voxel; (3,).
    row, column
        Directions along a row (of increasing column) and along a column; (3,) each.
    size_mm
        Edges along row, column and normal; (3,).

    """
    axes = np.stack([row, column, np.cross(row, column)])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    affine = np.eye(4)
    affine[:3, :3] = axes.T * np.asarray(size_mm)
    affine[:3, 3] = position_mm
    affine[:2] *= -1
    return Geometry(affine)


def voxel_of(value: Callable[..., float], prefix: Sequence[str]) -> Geometry | None:
    """Return the voxel that a protocol describes under `prefix`, such as ("sSpecPara", "sVoI").

    Parameters
    ----------
    value
        Gives the number at a key of the protocol, 0 where it has none.
    prefix
        Where the voxel stands in the protocol.

    """
    size = [value(*prefix, name) for name in ("dReadoutFOV", "dPhaseFOV", "dThickness")]
    if not all(length > 0 for length in size):
        return None
    normal = np.array([value(*prefix, "sNormal", f"d{name}") for name in ("Sag", "Cor", "Tra")])
    if not np.linalg.norm(normal) > 0:
        return None
    table = [value(f"lScanRegionPos{name}") for name in ("Sag", "Cor", "Tra")]
    position = [
        value(*prefix, "sPosition", f"d{name}") + moved
        for name, moved in zip(("Sag", "Cor", "Tra"), table, strict=True)
    ]
    read, phase = directions(normal, value(*prefix, "dInPlaneRot"))
    return affine_of(position, read, phase, size)


def directions(normal: Vector, rotation_rad: float) -> tuple[Vector, Vector]:
    """Return the read and phase directions of a slice, as the Siemens scanner derives them.

    The phase direction lies in the slice, has no sagittal component in a transverse one, no transverse
    component in the others, and is then turned about the normal (IDEA, `fGSLCalcPRS`; the rule as spec2nii
    has it).
    """
    s = normal / np.linalg.norm(normal)
    kind = _orientation(s)
    if kind == "transverse":
        phase = np.array([0.0, s[2], -s[1]]) / np.hypot(s[1], s[2])
    else:
        sign = 1.0 if kind == "coronal" else -1.0
        phase = sign * np.array([s[1], -s[0], 0.0]) / np.hypot(s[0], s[1])
    read = np.cross(s, phase)
    turned = np.cos(rotation_rad) * phase - np.sin(rotation_rad) * read
    return np.cross(s, turned), turned


def _orientation(normal: Vector) -> str:
    """Return which plane a slice is nearest to; of equal components transverse wins, then coronal."""
    sagittal, coronal, transverse = np.abs(normal)
    if transverse >= max(sagittal, coronal) - _CLOSE:
        return "transverse"
    return "coronal" if coronal >= sagittal - _CLOSE else "sagittal"


def protocol_sequence(text: Any) -> str:
    """Return the bare name of a sequence file."""
    return re.split(r"[\\/]", str(text or "").strip('"'))[-1]


def editing(sequence: str, mode: float) -> tuple[str | None, int]:
    """Return the counter of the editing condition and how many are played in turn without one (else 1)."""
    name = sequence.lower()
    counter = next((counter for pattern, counter in EDITED_BY_COUNTER if re.search(pattern, name)), None)
    count = next((count for pattern, count in EDITED_IN_TURN if re.search(pattern, name)), 1)
    return counter, 2 if count == 4 and mode == 0 else count
