"""NIfTI-MRS: the format at the edge of the project (Clarke et al. 2022, doi:10.1002/mrm.29418)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nifti_mrs.create_nmrs import gen_nifti_mrs_hdr_ext
from nifti_mrs.hdr_ext import Hdr_Ext

from pulsespec.errors import DataError
from pulsespec.files import atomic_path, attempt
from pulsespec.recon.transients import DIMENSIONS, Geometry, Transients

_EXTENSION_CODE = 44
_TAGS = {"DIM_COIL": "coil", "DIM_DYN": "average", "DIM_EDIT": "edit"}
_NAMES = {name: tag for tag, name in _TAGS.items()}


def is_nifti(path: Path) -> bool:
    """Return whether the file begins as NIfTI does, plain or compressed."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"\x1f\x8b" or start in (b"\x5c\x01\x00\x00", b"\x1c\x02\x00\x00")


def read_nifti(path: Path) -> Transients:
    """Read a NIfTI-MRS file; spatial dimensions of one voxel are dropped.

    Raises
    ------
    DataError
        The file is damaged, is no NIfTI-MRS, or has a dimension that is not known.

    """
    path = Path(path)
    found, words = attempt(lambda: _load(path))
    if found is None:
        raise DataError(f"{path}: cannot be read as NIfTI: damaged or truncated ({words})")
    image, data = found
    header = _extension(image, path)
    if not np.iscomplexobj(data) or data.ndim < 4:
        raise DataError(
            f"{path}: {data.dtype} data with {data.ndim} dimensions, expected complex with 4 or more"
        )
    fids, dims = _ordered(path, data, header)
    dwell_s = float(image.header["pixdim"][4]) * _time_unit(image)
    if not dwell_s > 0:
        raise DataError(f"{path}: dwell time is {dwell_s} s, expected a number above 0")
    return Transients(
        data=fids.astype(np.complex128),
        dims=dims,
        dwell_s=dwell_s,
        f0_hz=float(np.ravel(header["SpectrometerFrequency"])[0]) * 1e6,
        nucleus=str(np.ravel(header["ResonantNucleus"])[0]),
        te_s=_seconds(header, "EchoTime"),
        tr_s=_seconds(header, "RepetitionTime"),
        geometry=Geometry(np.asarray(image.affine, dtype=np.float64)),
        sequence=str(header.get("SequenceName", header.get("ProtocolName", ""))),
        source=path.name,
        sign_is_defined=True,
        header={
            "water_suppressed": header.get("WaterSuppressed"),
            "tx_offset_ppm": header.get("TxOffset", 0.0),
            "protocol": header.get("ProtocolName"),
        },
    )


def _load(path: Path) -> tuple[Any, Any]:
    image: Any = nibabel.load(path)
    return image, np.asarray(image.dataobj)


def _extension(image: Any, path: Path) -> dict[str, Any]:
    found = [e for e in getattr(image.header, "extensions", ()) if e.get_code() == _EXTENSION_CODE]
    if not found:
        raise DataError(f"{path}: is NIfTI but has no NIfTI-MRS header extension (code {_EXTENSION_CODE})")
    content = found[0].get_content()
    try:
        header: dict[str, Any] = json.loads(content)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: its NIfTI-MRS header extension is not JSON ({error})") from error
    for key in ("SpectrometerFrequency", "ResonantNucleus"):
        if key not in header:
            raise DataError(f"{path}: its NIfTI-MRS header extension lacks {key}")
    return header


def _ordered(path: Path, data: Any, header: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    names = ["x", "y", "z", "t"]
    for number in range(5, data.ndim + 1):
        tag = str(header.get(f"dim_{number}"))
        if tag not in _TAGS and data.shape[number - 1] > 1:
            raise DataError(f"{path}: dimension {number} is {tag}, expected one of {', '.join(_TAGS)}")
        names.append(_TAGS.get(tag, f"single-{number}"))
    drop = tuple(
        axis
        for axis, name in enumerate(names)
        if data.shape[axis] == 1 and (name in ("x", "y", "z", "edit") or name.startswith("single"))
    )
    kept = [name for axis, name in enumerate(names) if axis not in drop]
    data = np.squeeze(data, axis=drop)
    order = [kept.index(name) for name in DIMENSIONS if name in kept]
    return np.transpose(data, order), tuple(kept[axis] for axis in order)


def _seconds(header: dict[str, Any], key: str) -> float | None:
    return None if header.get(key) is None else float(np.ravel(header[key])[0])


def _time_unit(image: Any) -> float:
    return {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)


def write_nifti(data: Transients, path: Path, overwrite: bool = False) -> None:
    """Write NIfTI-MRS with what was done in `ProcessingApplied`; no identifiers are written."""
    shaped, tags = data.data, [name for name in data.dims if name in _NAMES]
    for axis, name in enumerate(("x", "y", "z")):
        if name not in data.dims:
            shaped = np.expand_dims(shaped, axis)
    order = [0, 1, 2, shaped.ndim - 1, *range(3, shaped.ndim - 1)]
    header = Hdr_Ext(data.f0_hz * 1e-6, data.nucleus)
    for number, name in enumerate(tags):
        header.set_dim_info(number, _NAMES[name])
    for key, value in (("EchoTime", data.te_s), ("RepetitionTime", data.tr_s)):
        if value is not None:
            header.set_standard_def(key, value)
    if data.records:
        header.set_standard_def("ProcessingApplied", [_applied(asdict(r)) for r in data.records])
    affine = np.diag([10.0, 10.0, 10.0, 1.0]) if data.geometry is None else data.geometry.affine
    image = gen_nifti_mrs_hdr_ext(
        np.transpose(shaped, order).astype(np.complex128), data.dwell_s, header, affine=affine, no_conj=True
    )
    with atomic_path(path, overwrite) as temporary:
        image.save(temporary)


def _applied(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "Time": record["time"],
        "Program": record["program"],
        "Version": record["version"],
        "Method": record["method"],
        "Details": record["details"],
    }
