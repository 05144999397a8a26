"""Siemens spectroscopy in DICOM: private CSA objects of VB to VE, and MR Spectroscopy Storage of XA."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.siemens import affine_of
from pulsespec.recon.transients import Geometry, Record, Transients

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel calls its DICOM package experimental on import
    from nibabel.nicom import csareader

_CSA = "1.3.12.2.1107.5.9.1"
_ENHANCED = "1.2.840.10008.5.1.4.1.1.4.2"
_PREAMBLE, _UNDEFINED = 128, 0xFFFFFFFF
_CSA_DATA, _CSA_IMAGE, _ENHANCED_DATA = (0x7FE1, 0x1010), (0x0029, 0x1010), (0x5600, 0x0020)
_NAMED = ("SOPClassUID", "Manufacturer")


def is_siemens_dicom(path: Path) -> bool:
    """Return whether the file is DICOM with spectroscopy of a Siemens scanner."""
    with path.open("rb") as file:
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            return False
    found, _ = attempt(lambda: _open(path, list(_NAMED)))
    if found is None:
        return False
    kind = str(found.get("SOPClassUID", ""))
    made_by = str(found.get("Manufacturer", "")).lower()
    return kind == _CSA or (kind == _ENHANCED and "siemens" in made_by)


def read_siemens_dicom(path: Path) -> Transients:
    """Read one DICOM file of a single voxel.

    The data of MR Spectroscopy Storage have the opposite sense to those of CSA files, which is that of
    NIfTI-MRS (as in spec2nii, and in the XA60 file at hand).

    Raises
    ------
    DataError
        The file is damaged, lacks what is needed, or is an imaging scan.

    """
    # What a library says of a damaged header may quote it, names and all: only the kind of error is passed on.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _open(path)
            return (_read_csa if found.get("SOPClassUID") == _CSA else _read_enhanced)(path, found)
    except DataError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise DataError(
            f"{path}: DICOM spectroscopy that is damaged or lacks what is needed ({kind})"
        ) from None


def read_siemens_series(paths: Sequence[Path]) -> list[Transients]:
    """Read several files; those of one series that are alike become averages, in the order of their instances."""
    series: dict[Any, list[tuple[int, Transients]]] = {}
    for path in paths:
        data = read_siemens_dicom(path)
        found = _open(path, ["SeriesInstanceUID", "InstanceNumber"])
        alike = (str(found.get("SeriesInstanceUID", path)), data.dims, data.data.shape, data.dwell_s)
        series.setdefault(alike, []).append((int(found.get("InstanceNumber", 0) or 0), data))
    return [
        _averages([data for _, data in sorted(members, key=lambda m: m[0])]) for members in series.values()
    ]


def _averages(members: Sequence[Transients]) -> Transients:
    first = members[0]
    if len(members) == 1:
        return first
    shots = np.concatenate([member.data.reshape(-1, member.samples) for member in members])
    record = Record(
        "Joining of files", f"{len(members)} files of one series, in the order of their instances"
    )
    return Transients(
        data=shots,
        dims=("average", "t"),
        dwell_s=first.dwell_s,
        f0_hz=first.f0_hz,
        nucleus=first.nucleus,
        te_s=first.te_s,
        tr_s=first.tr_s,
        geometry=first.geometry,
        sequence=first.sequence,
        source=first.source,
        header=first.header,
        records=(*first.records, record),
    )


def _open(path: Path, tags: list[str] | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on values that break rules of DICOM which do not matter here
        found = pydicom.dcmread(path, specific_tags=tags)
        for tag in tags or ():
            found.get(tag)
        return found


def _bytes(path: Path, dataset: Any, tag: tuple[int, int]) -> bytes:
    """Return the bytes of an element, as many as it says it has."""
    said = getattr(dataset.get_item(tag), "length", None)
    value = bytes(dataset[tag].value)
    if said is not None and said != len(value) and said != _UNDEFINED:
        raise DataError(f"{path}: {len(value)} bytes in an element of {said}: truncated or damaged")
    return value


def _complex(path: Path, raw: bytes, frames: int, samples: int) -> NDArray[np.complex64]:
    if samples < 1 or frames < 1 or len(raw) != 8 * frames * samples:
        raise DataError(
            f"{path}: {len(raw)} bytes of data, expected {8 * frames * samples}: truncated or damaged"
        )
    return np.frombuffer(raw, dtype="<c8").reshape(frames, samples)


def _read_csa(path: Path, dataset: Any) -> Transients:
    parse: Any = csareader.read
    tags = parse(_bytes(path, dataset, _CSA_IMAGE))["tags"]

    def numbers(name: str) -> list[float]:
        return [float(item) for item in tags[name]["items"] if item not in ("", None)] if name in tags else []

    matrix = [int((numbers(name) or [1])[0]) for name in ("Rows", "Columns", "NumberOfFrames")]
    if max(matrix) > 1:
        raise DataError(f"{path}: is an imaging scan (matrix {matrix}), expected a single voxel")
    raw = _bytes(path, dataset, _CSA_DATA)
    samples = int((numbers("DataPointColumns") or [len(raw) // 8])[0])
    orientation = numbers("ImageOrientationPatient")
    size = [*numbers("VoiReadoutFoV"), *numbers("VoiPhaseFoV"), *numbers("VoiThickness")]
    return _transients(
        path,
        _complex(path, raw, 1, samples),
        dwell_s=_one(path, "RealDwellTime", numbers("RealDwellTime")) * 1e-9,
        f0_hz=_one(path, "ImagingFrequency", numbers("ImagingFrequency")) * 1e6,
        nucleus=str((tags.get("ImagedNucleus", {}).get("items") or ["1H"])[0]),
        te_s=_one(path, "EchoTime", numbers("EchoTime")) * 1e-3,
        tr_s=_one(path, "RepetitionTime", numbers("RepetitionTime")) * 1e-3,
        geometry=_geometry(numbers("VoiPosition"), orientation, size),
        sequence=str((tags.get("SequenceName", {}).get("items") or [""])[0]),
        patient_position=str(dataset.get("PatientPosition", "")),
    )


def _read_enhanced(path: Path, dataset: Any) -> Transients:
    matrix = [int(dataset.get(name, 1) or 1) for name in ("Rows", "Columns")]
    if max(matrix) > 1:
        raise DataError(f"{path}: is an imaging scan (matrix {matrix}), expected a single voxel")
    frames, samples = int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.DataPointColumns)
    values = _complex(path, _bytes(path, dataset, _ENHANCED_DATA), frames, samples)
    echo, timing = _group(dataset, "MREchoSequence"), _group(dataset, "MRTimingAndRelatedParametersSequence")
    measures, plane = _group(dataset, "PixelMeasuresSequence"), _group(dataset, "PlaneOrientationSequence")
    place = _group(dataset, "PlanePositionSequence")
    row_mm, column_mm = [float(value) for value in measures.PixelSpacing]
    suppressed = "WATER" in str(dataset.get("SpectrallySelectedSuppression", ""))
    return _transients(
        path,
        values.conj(),
        dwell_s=1.0 / float(dataset.SpectralWidth),
        f0_hz=float(np.ravel(dataset.TransmitterFrequency)[0]) * 1e6,
        nucleus=str(np.ravel(dataset.ResonantNucleus)[0]),
        te_s=float(echo.EffectiveEchoTime) * 1e-3,
        tr_s=float(timing.RepetitionTime) * 1e-3,
        geometry=_geometry(
            [float(value) for value in place.ImagePositionPatient],
            [float(value) for value in plane.ImageOrientationPatient],
            [column_mm, row_mm, float(measures.SliceThickness)],
        ),
        sequence=str(dataset.get("PulseSequenceName", "")),
        patient_position=str(dataset.get("PatientPosition", "")),
        water_suppressed=True if suppressed else None,
    )


def _group(dataset: Any, name: str) -> Any:
    """Return a functional group, of the first frame or shared by all."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if groups in dataset and name in dataset[groups].value[0]:
            return dataset[groups].value[0][name].value[0]
    raise KeyError(name)


def _one(path: Path, name: str, values: Sequence[float]) -> float:
    if not values or not values[0] > 0:
        raise DataError(f"{path}: {name} is {list(values)}, expected a number above 0")
    return values[0]


def _geometry(
    position: Sequence[float], orientation: Sequence[float], size: Sequence[float]
) -> Geometry | None:
    if len(position) != 3 or len(orientation) != 6 or len(size) != 3 or not min(size) > 0:
        return None
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return affine_of(position, row, column, size) if np.linalg.norm(np.cross(row, column)) > 0 else None


def _transients(
    path: Path,
    values: NDArray[np.complex64],
    *,
    patient_position: str,
    water_suppressed: bool | None = None,
    **facts: Any,
) -> Transients:
    if not (facts["dwell_s"] > 0 and facts["f0_hz"] > 0):
        raise DataError(
            f"{path}: dwell time {facts['dwell_s']} s and frequency {facts['f0_hz']} Hz, expected above 0"
        )
    header = {
        "manufacturer": "Siemens",
        "patient_position": patient_position,
        "water_suppressed": water_suppressed,
    }
    single = len(values) == 1
    return Transients(
        data=values[0] if single else values,
        dims=("t",) if single else ("average", "t"),
        source=path.name,
        header=header,
        **facts,
    )
