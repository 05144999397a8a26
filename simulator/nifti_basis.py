"""Basis sets as NIfTI-MRS (Clarke et al. 2022, doi:10.1002/mrm.29418), read and written.

The standard defines no basis set. What is written is one valid file: a single voxel whose fifth dimension,
`DIM_USER_0`, runs over the functions, with their names in `dim_5_header`. What is read besides is a folder of one
NIfTI-MRS file for each function, as spant writes. The sense is the standard's, so nothing is conjugated:
`gen_nifti_mrs_hdr_ext` would conjugate unless told otherwise. The receiver's shift is `SpecFreqChemShift`.
"""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nifti_mrs.create_nmrs import gen_nifti_mrs_hdr_ext
from nifti_mrs.hdr_ext import Hdr_Ext

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError
from pulsespec.files import atomic_path, attempt
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.lcmodel import broad_names
from pulsespec.simulator.sampled import SampledBasis, joined

_EXTENSION_CODE = 44
_NAMES_KEY = "BasisFunction"
_OURS_KEY = "PulsespecBasis"


def is_nifti(path: Path) -> bool:
    """Return whether a file begins as NIfTI does, plain or compressed, or a folder holds some."""
    if path.is_dir():
        return bool(_files(path))
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"\x1f\x8b" or start in (b"\x5c\x01\x00\x00", b"\x1c\x02\x00\x00")


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz")))


def read(path: Path, given: Given) -> SampledBasis:
    """Read one NIfTI-MRS file of many functions, or a folder of files of one each.

    Raises
    ------
    DataError
        A file is damaged, no NIfTI-MRS, or does not name its functions.

    """
    files = _files(path) if path.is_dir() else [path]
    return joined(path, [_one(file, given, alone=path.is_file()) for file in files])


def _one(path: Path, given: Given, alone: bool) -> SampledBasis:
    found, words = attempt(lambda: _load(path))
    if found is None:
        raise DataError(f"{path}: cannot be read as NIfTI-MRS ({words})")
    image, data, header = found
    if not np.iscomplexobj(data) or data.ndim < 4 or data.shape[:3] != (1, 1, 1):
        raise DataError(
            f"{path}: {data.dtype} data of shape {data.shape}, expected complex FIDs of one voxel"
        )
    flat = data.reshape(data.shape[3], -1)
    names = _names(path, header, flat.shape[1], alone)
    ours = header.get(_OURS_KEY, {})
    te_s = header.get("EchoTime")
    return SampledBasis(
        fids={name: fid.astype(complex) for name, fid in zip(names, flat.T, strict=True)},
        dwell_s=needed(path, "dwell_s", float(image.header["pixdim"][4]) * _time_unit(image), given),
        f0_hz=needed(path, "f0_hz", float(np.ravel(header["SpectrometerFrequency"])[0]) * 1e6, given),
        te_s=known(path, "te_s", None if te_s is None else float(np.ravel(te_s)[0]), given),
        tr_s=header.get("RepetitionTime"),
        nucleus=str(np.ravel(header["ResonantNucleus"])[0]),
        reference_ppm=known(path, "reference_ppm", _shift(header), given) or RECEIVER_PPM,
        linewidth_hz=ours.get("linewidth_hz"),
        broad=tuple(ours.get("broad", broad_names(names))),
        sequence=str(header.get("SequenceName", "")),
        sequence_hash=ours.get("sequence_hash", ""),
    )


def _shift(header: dict[str, Any]) -> float | None:
    value = header.get("SpecFreqChemShift")
    return None if value is None else float(np.ravel(value)[0])


def _load(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    image: Any = nibabel.load(path)
    found = [e for e in getattr(image.header, "extensions", ()) if e.get_code() == _EXTENSION_CODE]
    header = json.loads(found[0].get_content()) if found else {}
    for key in ("SpectrometerFrequency", "ResonantNucleus"):
        if key not in header:
            raise DataError(f"no {key} in a NIfTI-MRS header extension")
    return image, np.asarray(image.dataobj), header


def _time_unit(image: Any) -> float:
    return {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)


def _names(path: Path, header: dict[str, Any], count: int, alone: bool) -> list[str]:
    stored = header.get("dim_5_header", {}).get(_NAMES_KEY, {}).get("Value")
    if stored is not None and len(stored) == count:
        return [str(name) for name in stored]
    if count == 1 and not alone:
        return [path.name.removesuffix(".gz").removesuffix(".nii")]
    raise DataError(f"{path}: has {count} FIDs without names in dim_5_header.{_NAMES_KEY}: not a basis set")


def write(basis: SampledBasis, path: Path, overwrite: bool = False) -> None:
    """Write one NIfTI-MRS file with the functions along `DIM_USER_0`."""
    header = Hdr_Ext(basis.f0_hz * 1e-6, basis.nucleus, dimensions=5)
    names = {_NAMES_KEY: {"Value": list(basis.names), "Description": "Metabolite of each basis function"}}
    header.set_dim_info(0, "DIM_USER_0", info="Functions of a basis set", hdr=names)
    for key, value in (("EchoTime", basis.te_s), ("RepetitionTime", basis.tr_s)):
        if value is not None:
            header.set_standard_def(key, value)
    header.set_standard_def("SpecFreqChemShift", basis.reference_ppm)
    header.set_standard_def("SequenceName", basis.sequence)
    facts = {key: getattr(basis, key) for key in ("linewidth_hz", "broad", "sequence_hash")}
    header.set_user_def(
        key=_OURS_KEY, value=facts, doc="Linewidth in Hz, broad functions, SHA-256 of the .seq"
    )
    data = np.stack([basis.fid(name) for name in basis.names], axis=-1)[None, None, None]
    image = gen_nifti_mrs_hdr_ext(data, basis.dwell_s, header, affine=np.eye(4), no_conj=True)
    with atomic_path(path, overwrite) as temporary:
        image.save(temporary)
