"""The voxel of the `.seq` beside that of the raw data's header: what differs, and which of them counts."""

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import DEVICE_FROM_LPS
from pulsespec.recon.transients import Geometry, Record, Transients
from pulsespec.simulator.timeline import Played

_SAME_MM = 0.5
_SAME_DEG = 1.0
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
COMPARISON = "Comparison of the voxel"


@dataclass(frozen=True)
class Difference:
    """How far two boxes are apart, whatever their axes are called."""

    size_mm: float
    """Largest difference of an edge."""
    distance_mm: float
    """Between the centres."""
    angle_deg: float
    """Largest angle between an axis and its partner."""

    @property
    def words(self) -> tuple[str, ...]:
        """What differs by more than the accuracy of a header."""
        found = []
        if self.size_mm > _SAME_MM:
            found.append(f"size (by up to {self.size_mm:.1f} mm)")
        if self.distance_mm > _SAME_MM:
            found.append(f"position (by {self.distance_mm:.1f} mm)")
        if self.angle_deg > _SAME_DEG:
            found.append(f"orientation (by up to {self.angle_deg:.1f} degrees)")
        return tuple(found)


def difference(first: Geometry, second: Geometry) -> Difference:
    """Return how two voxels differ: axes are paired so that they are as parallel as can be, sign aside."""
    axes = [geometry.affine[:3, :3] / geometry.voxel_mm for geometry in (first, second)]
    likeness = np.abs(axes[0].T @ axes[1])
    best = max(permutations(range(3)), key=lambda order: float(likeness[range(3), order].sum()))
    cosines = np.clip(likeness[range(3), best], 0.0, 1.0)
    return Difference(
        size_mm=float(np.abs(first.voxel_mm - second.voxel_mm[list(best)]).max()),
        distance_mm=float(np.linalg.norm(first.affine[:3, 3] - second.affine[:3, 3])),
        angle_deg=float(np.rad2deg(np.arccos(cosines)).max()),
    )


def sequence_voxel(played: Played, vendor: str, patient_position: str) -> Geometry | None:
    """Return the voxel of a `.seq` in the patient (RAS+, millimetres from the isocentre).

    `None` where the file defines no voxel, or where it is not known how the vendor's gradients lie in a patient
    in this position.
    """
    turn = DEVICE_FROM_LPS.get((vendor, patient_position))
    size_m = played.numbers("VoxelSize")
    if turn is None or size_m.size != 3:
        return None
    to_ras = _LPS_FROM_RAS @ turn.T
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ _axes(played) * size_m * 1e3
    position_m = played.numbers("VoxelPosition")
    affine[:3, 3] = to_ras @ (position_m if position_m.size == 3 else np.zeros(3)) * 1e3
    return Geometry(affine)


def _axes(played: Played) -> NDArray[np.float64]:
    axes = played.numbers("VoxelOrientation")
    return axes.reshape(3, 3) if axes.size == 9 else np.eye(3)


def check_voxel(data: Transients, played: Played, name: str) -> Transients:
    """Return data with the voxel that counts, and one record that says what differs.

    Where the file sets `NOPOS` and `NOROT`, an interpreter may neither move nor turn its voxel, so that the
    file's is the one; else the interpreter applies what was drawn on the console, and the header's is kept.
    """
    vendor, place = str(data.header.get("manufacturer", "")), str(data.header.get("patient_position", ""))
    ours = sequence_voxel(played, vendor, place)
    if ours is None:
        return data
    labels = played.readouts[0].labels
    unset = [flag for flag in ("NOPOS", "NOROT") if not labels.get(flag)]
    if data.geometry is None:
        if unset:
            return data
        record = Record(COMPARISON, f"the header has no voxel; that of {name} is taken")
        return replace(data, geometry=ours, records=(*data.records, record))
    words = difference(ours, data.geometry).words
    if not words:
        return data
    apart = f"the voxel in the header differs from that of {name} in {', '.join(words)}"
    if unset:
        details = f"{apart}; {name} does not set {' and '.join(unset)}, so an interpreter follows the header"
        return replace(data, records=(*data.records, Record(COMPARISON, details)))
    details = (
        f"{apart}; {name} sets NOPOS and NOROT, so its own is taken: check that the interpreter honours them"
    )
    return replace(data, geometry=ours, records=(*data.records, Record(COMPARISON, details)))
