"""Where the voxels of an image lie in the patient."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import DEVICE_FROM_LPS
from pulsespec.recon.image_plan import Grid
from pulsespec.recon.image_read import Source
from pulsespec.recon.transients import Geometry, Record
from pulsespec.recon.voxel_check import COMPARISON, difference

Floats = NDArray[np.float64]

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
_VIRTUAL = ("Siemens", "HFS")
"""How the virtual scanner lies in its patient, and what is assumed where nothing is known."""


def image_geometry(source: Source, matrix: tuple[int, int, int]) -> tuple[Geometry, tuple[Record, ...]]:
    """Return the affine of a grid of voxels, and what had to be decided.

    Box, axes and centre are those of the `.seq`. How its gradients lie in the patient is known by vendor and patient
    position; else the axes of the raw data's header are taken for those of the box; else head first and supine is
    assumed, as on Siemens and our virtual scanner.
    """
    grid, facts = source.plan.grid, source.stream.facts
    header = facts.get("header", {})
    known = (str(header.get("manufacturer", "")), str(header.get("patient_position", "")))
    theirs: Geometry | None = facts.get("geometry")
    records: list[Record] = []
    if known in DEVICE_FROM_LPS or known[0] == "pulsespec":
        to_ras = _RAS_FROM_LPS @ DEVICE_FROM_LPS.get(known, DEVICE_FROM_LPS[_VIRTUAL]).T
    elif theirs is not None:
        axes = theirs.affine[:3, :3] / theirs.voxel_mm
        to_ras = axes @ grid.axes.T
        records.append(Record(COMPARISON, "the axes of the box are those of the raw data's header"))
    else:
        to_ras = _RAS_FROM_LPS @ DEVICE_FROM_LPS[_VIRTUAL].T
        words = "the raw data do not say how the patient lies: head first and supine is assumed"
        records.append(Record(COMPARISON, words))
    geometry = Geometry(affine(grid, to_ras, matrix))
    return geometry, (*records, *_compared(source, to_ras, theirs))


def affine(grid: Grid, to_ras: Floats, matrix: tuple[int, int, int]) -> Floats:
    """Return the affine from indices of voxels to millimetres, the middle of the box in voxel n // 2."""
    size_mm = grid.fov_m * 1e3 / np.array(matrix)
    found = np.eye(4)
    found[:3, :3] = to_ras @ grid.axes * size_mm
    found[:3, 3] = to_ras @ grid.centre_m * 1e3 - found[:3, :3] @ (np.array(matrix) // 2)
    return found


def _compared(source: Source, to_ras: Floats, theirs: Geometry | None) -> tuple[Record, ...]:
    """Return a record where the header's box is not the sequence's, and which of them an interpreter follows."""
    grid = source.plan.grid
    if theirs is None:
        return ()
    box = np.eye(4)
    box[:3, :3] = to_ras @ grid.axes * grid.fov_m * 1e3
    box[:3, 3] = to_ras @ grid.centre_m * 1e3
    words = [w for w in difference(Geometry(box), theirs).words if not w.startswith("size")]
    if not words:
        return ()
    labels = source.played.readouts[0].labels
    fixed = labels.get("NOPOS") and labels.get("NOROT")
    why = "which sets NOPOS and NOROT" if fixed else "though it does not set NOPOS and NOROT: check it"
    return (
        Record(
            COMPARISON,
            f"the box in the header differs from that of {source.name} in {', '.join(words)}; the sequence's is "
            f"taken, {why}",
        ),
    )
