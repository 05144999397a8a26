"""Philips spectroscopy in DICOM: the private class of older releases, and MR Spectroscopy Storage.

Tags as in spec2nii's `philips_dcm.py` (doi:10.1002/mrm.29418) and Vespa's `dicom_philips.py`; the public ones are of
DICOM PS3.3, C.8.14. The samples are in the sense of the scanner and are conjugated. No attribute of the patient is
asked for.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydicom
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.sdat import affine_of_angles
from pulsespec.recon.transients import Geometry, Scan, Transients

Result = TypeVar("Result")

_PRIVATE, _ENHANCED = "1.3.46.670589.11.0.0.12.1", "1.2.840.10008.5.1.4.1.1.4.2"
_PREAMBLE = 128
_DATA = {_PRIVATE: (0x2005, 0x1270), _ENHANCED: (0x5600, 0x0020)}
_VOXEL, _WIDTH, _ECHO, _MHZ, _NUCLEUS = 0x1085, 0x1357, 0x1310, 0x1083, 0x1087
_SECTION = {
    "angulation": (0x1056, 0x1054, 0x1055),
    "size": (0x1059, 0x1057, 0x1058),
    "centre": (0x105C, 0x105A, 0x105B),
}
_EDITED, _FRAMES, _IS_REFERENCE, _CONDITION = 0x1597, 0x140F, 0x1304, 0x1598


def is_philips_dicom(path: Path) -> bool:
    """Return whether the file is DICOM with spectroscopy of a Philips scanner."""
    with path.open("rb") as file:
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            return False
    found, _ = _quietly(lambda: _kind(path))
    if found is None:
        return False
    kind, made_by = found
    return kind == _PRIVATE or (kind == _ENHANCED and "philips" in made_by)


def _kind(path: Path) -> tuple[str, str]:
    """Return class and manufacturer of a DICOM file."""
    dataset = pydicom.dcmread(path, specific_tags=["SOPClassUID", "Manufacturer"])
    return str(dataset.get("SOPClassUID", "")), str(dataset.get("Manufacturer", "")).lower()


def _quietly(function: Callable[[], Result]) -> tuple[Result | None, str]:
    """Call a function as `attempt` does, without warnings on values that break rules which do not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attempt(function)


def read_philips_dicom(path: Path) -> Scan:
    """Read one file of a single voxel; the water reference in it is kept apart.

    Raises
    ------
    DataError
        The file is damaged, lacks what is needed, or is of an image.

    """
    dataset, words = _quietly(lambda: pydicom.dcmread(path))
    if dataset is None:
        raise DataError(f"{path}: damaged or truncated DICOM file ({words})")
    read = _private if str(dataset.get("SOPClassUID", "")) == _PRIVATE else _enhanced
    scan, words = _quietly(lambda: read(path, dataset))
    if scan is None:
        said = words.removeprefix("DataError: ")
        raise DataError(said if said != words else f"{path}: lacks what is needed, or is damaged ({words})")
    return scan


def _fids(path: Path, dataset: Any, tag: tuple[int, int], frames: int, points: int) -> NDArray[np.complex64]:
    raw = bytes(dataset[tag].value)
    expected = frames * points * 8
    if len(raw) != expected or not expected:
        raise DataError(
            f"{path}: {len(raw)} bytes of samples, expected {expected} ({frames} frames of {points} points): "
            "truncated or damaged"
        )
    return swap_sense(np.frombuffer(raw, "<c8").reshape(frames, points))


def _positive(path: Path, what: str, value: Any) -> float:
    number = float(value)
    if not 0 < number < float("inf"):
        raise DataError(f"{path}: {what} is {number:g}, expected a number above 0")
    return number


def _seconds(value: Any) -> float | None:
    return float(value) * 1e-3 if value is not None and float(value) > 0 else None


def _private(path: Path, dataset: Any) -> Scan:
    data = dataset[_DATA[_PRIVATE]].value
    points = len(bytes(data)) // 8
    frequency = dataset.get("TransmitterFrequency") or dataset[0x2001, _MHZ].value
    nucleus = dataset.get("ResonantNucleus") or dataset.get((0x2001, _NUCLEUS))
    echo = dataset.get((0x2005, _ECHO))
    fids = _fids(path, dataset, _DATA[_PRIVATE], 1, points)
    return Scan(
        Transients(
            data=fids[0],
            dims=("t",),
            dwell_s=1 / _positive(path, "spectral width", dataset[0x2005, _WIDTH].value),
            f0_hz=_positive(path, "frequency", frequency) * 1e6,
            nucleus=str(getattr(nucleus, "value", nucleus) or "1H"),
            te_s=_seconds(echo.value if echo is not None else None),
            tr_s=_seconds(dataset.get("RepetitionTime")),
            geometry=_private_geometry(dataset),
            source=path.name,
            header={"manufacturer": "Philips"},
        )
    )


def _private_geometry(dataset: Any) -> Geometry | None:
    if (0x2005, _VOXEL) not in dataset:
        return None
    section = dataset[0x2005, _VOXEL][0]
    angle, size, centre = (
        [float(section[0x2005, element].value) for element in _SECTION[what]] for what in _SECTION
    )
    return Geometry(affine_of_angles(size, centre, angle))


def _enhanced(path: Path, dataset: Any) -> Scan:
    frames, points = int(dataset.get("NumberOfFrames", 1)), int(dataset.SpectroscopyAcquisitionDataColumns)
    grid = [int(dataset.get(name, 1) or 1) for name in ("Rows", "Columns")]
    if max(grid) > 1:
        raise DataError(f"{path}: is an imaging scan of {grid[0]}x{grid[1]}, expected a single voxel")
    fids = _fids(path, dataset, _DATA[_ENHANCED], frames, points)
    common = {
        "dwell_s": 1 / _positive(path, "spectral width", dataset.SpectralWidth),
        "f0_hz": _positive(path, "frequency", dataset.TransmitterFrequency) * 1e6,
        "nucleus": str(dataset.get("ResonantNucleus") or "1H"),
        "te_s": _seconds(_grouped(dataset, "MREchoSequence", "EffectiveEchoTime")),
        "tr_s": _seconds(_grouped(dataset, "MRTimingAndRelatedParametersSequence", "RepetitionTime")),
        "geometry": _slabs(dataset),
        "sequence": str(dataset.get("PulseSequenceName") or ""),
        "source": path.name,
    }
    water, edit = _kinds(path, dataset, frames)
    return Scan(_part(fids, ~water, edit, True, common), _part(fids, water, None, False, common))


def _grouped(dataset: Any, group: str, name: str) -> Any:
    """Return an attribute of the first frame's functional groups, or of the shared ones."""
    for where in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        first = (dataset.get(where) or [None])[0]
        inner = first.get(group) if first is not None else None
        if inner and inner[0].get(name) is not None:
            return inner[0].get(name)
    return None


def _kinds(path: Path, dataset: Any, frames: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
    """Return which frames are water references and, of an edited scan, the condition of each (0 on, 1 off)."""
    edited = dataset.get((0x2005, _EDITED))
    private = dataset.get((0x2005, _FRAMES))
    if edited is not None and edited.value == "Y" and private is not None:
        items = list(private.value)
        if len(items) != frames:
            raise DataError(f"{path}: {len(items)} descriptions of {frames} frames: damaged")
        water = np.array([bool(item[0x2005, _IS_REFERENCE].value) for item in items])
        return water, np.array([0 if str(item[0x2005, _CONDITION].value) == "1" else 1 for item in items])
    water = np.zeros(frames, dtype=bool)
    if str(dataset.get((0x0018, 0x9199), "") and dataset[0x0018, 0x9199].value) == "YES" and frames > 1:
        water[-1] = True
    return water, None


def _part(
    fids: NDArray[np.complex64],
    which: NDArray[np.bool_],
    edit: NDArray[np.int64] | None,
    suppressed: bool,
    common: dict[str, Any],
) -> Transients | None:
    if not which.any():
        return None
    header = {"manufacturer": "Philips"} | (
        {} if suppressed and which.all() else {"water_suppressed": suppressed}
    )
    if edit is not None:
        conditions = [fids[which & (edit == n)] for n in (0, 1)]
        if len(conditions[0]) != len(conditions[1]):
            counts = f"{len(conditions[0])} frames on and {len(conditions[1])} off"
            raise DataError(f"{common['source']}: {counts}, expected as many of each")
        return Transients(data=np.stack(conditions), dims=("edit", "average", "t"), header=header, **common)
    shots = fids[which]
    alone = len(shots) == 1
    data, dims = (shots[0], ("t",)) if alone else (shots, ("average", "t"))
    return Transients(data=data, dims=dims, header=header, **common)


def _slabs(dataset: Any) -> Geometry | None:
    """Return the voxel that three slabs cut out; DICOM's axes are left, posterior, superior."""
    slabs = dataset.get("VolumeLocalizationSequence") or []
    if len(slabs) != 3:
        return None
    flip = np.array([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    for column, slab in enumerate(slabs):
        axis = flip * np.array([float(value) for value in slab.SlabOrientation])
        affine[:3, column] = axis / np.linalg.norm(axis) * float(slab.SlabThickness)
    affine[:3, 3] = flip * np.array([float(value) for value in slabs[0].MidSlabPosition])
    return Geometry(affine)
