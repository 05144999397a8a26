"""NIfTI-MRS: the format at the edge of the project (Clarke et al. 2022, doi:10.1002/mrm.29418)."""

import gzip
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nifti_mrs.create_nmrs import gen_nifti_mrs_hdr_ext
from nifti_mrs.definitions import standard_defined
from nifti_mrs.hdr_ext import Hdr_Ext

import pulsespec
from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError
from pulsespec.files import atomic_path, attempt, now
from pulsespec.recon import nifti_header, nifti_series
from pulsespec.recon.edit_header import dynamic_header, read_editing, write_editing
from pulsespec.recon.sequence_header import read_sequence, write_sequence
from pulsespec.recon.transients import DIMENSIONS, Geometry, Record, Transients

_TAGS = {
    "DIM_COIL": "coil",
    "DIM_DYN": "average",
    "DIM_MEAS": "average",
    "DIM_PHASE_CYCLE": "average",
    "DIM_EDIT": "edit",
}
"""What a dimension becomes; repeats of the sequence and steps of a phase cycle are shots like any other."""
_NAMES = {"coil": "DIM_COIL", "average": "DIM_DYN", "edit": "DIM_EDIT", "series": nifti_series.TAG}
_REFUSED = {
    "DIM_ISIS": "ISIS shots must be added and subtracted first",
    "DIM_METCYCLE": "metabolite-cycled shots must be added and subtracted first",
    "DIM_INDIRECT": "a second spectral dimension is not processed",
    "DIM_USER": "nobody but its author knows what it counts",
}
_UNLOCALISED_MM = 1e4
_SECONDS = {"msec": 1e-3, "usec": 1e-6}
_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}
_MAGIC = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))


def is_nifti(path: Path) -> bool:
    """Return whether the file begins as NIfTI does, plain or compressed; a broken .gz that is called .nii does."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] != b"\x1f\x8b":
        return start in _MAGIC
    try:
        with gzip.open(path) as file:
            return file.read(4) in _MAGIC
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return ".nii" in path.name.lower()


def read_nifti(
    path: Path, keep_identifiers: bool = False, series: bool = False, dimension: str | None = None
) -> Transients:
    """Read a NIfTI-MRS file; spatial dimensions of one voxel are dropped.

    Coils apart and images keep the precision of the file; what is small is widened to complex128.

    Parameters
    ----------
    path
        The file, .nii or .nii.gz.
    keep_identifiers
        Carry what names the person or the device, so that it is written again; by default it is not even kept.
    series
        Keep the dimension along which spectra differ by design as "series"; else a file that has one is refused.
    dimension
        Tag of that dimension, where the header does not say it.

    Raises
    ------
    DataError
        The file is damaged, is no NIfTI-MRS, has a dimension that cannot be used, or shots that differ in a
        setting such as the echo time.

    """
    path = Path(path)
    found, words = attempt(lambda: _load(path))
    if found is None:
        raise DataError(f"{path}: cannot be read as NIfTI: damaged or truncated ({words})")
    image, data, (space, time) = found
    header = nifti_header.extension(image, path)
    _refuse_scaled(image, path)
    if not np.iscomplexobj(data) or data.ndim < 4 or not data.size:
        raise DataError(
            f"{path}: {data.dtype} data of shape {data.shape}, expected complex with 4 to 7 dimensions"
        )
    tagged = _tagged(header, data.shape)
    kept = nifti_series.series_numbers(header, tagged, data.shape, path, dimension) if series else []
    fids, dims = _ordered(path, data, header, kept)
    dwell_s = float(image.header["pixdim"][4]) * _SECONDS.get(time, 1.0)
    nifti_header.check_width(header, dwell_s, path)
    facts: dict[str, Any] = nifti_header.kept(header)
    facts |= {
        "water_suppressed": header.get("WaterSuppressed"),
        "protocol": header.get("ProtocolName"),
        "tx_offset_ppm": nifti_header.one_number(header, "TxOffset", path) or 0.0,
        "processing_applied": nifti_header.earlier_steps(header, keep_identifiers),
        "edit_conditions": _conditions(header, data.shape, path) if "edit" in dims else None,
        "series_values": nifti_series.values_of(header, kept, data.shape, path) or None,
        "identifiers": nifti_header.identifiers(header) if keep_identifiers else None,
    }
    fids = fids if {"coil", "x", "y", "z"} & set(dims) else _widened(fids)
    facts |= read_editing(header, fids.shape[dims.index("edit")] if "edit" in dims else 1)
    facts |= read_sequence(header)
    return Transients(
        data=fids,
        dims=dims,
        dwell_s=dwell_s,
        f0_hz=nifti_header.spectrometer_mhz(header, path) * 1e6,
        nucleus=nifti_header.nucleus(header, path),
        te_s=nifti_header.seconds(header, "EchoTime", path),
        tr_s=nifti_header.seconds(header, "RepetitionTime", path),
        reference_ppm=nifti_header.centre_ppm(header, path),
        geometry=_geometry(image, _MM.get(space, 1.0)),
        sequence=str(header.get("SequenceName", header.get("ProtocolName", ""))),
        source=path.name,
        sign_is_defined=True,
        header={key: value for key, value in facts.items() if value is not None},
        records=_merged_record([tag for number, tag in tagged if number not in kept]),
    )


def _load(path: Path) -> tuple[Any, Any, tuple[str, str]]:
    with nibabel.imageglobals.LoggingOutputSuppressor():  # what it would repair is refused below
        image: Any = nibabel.load(path)
    data = np.asarray(image.dataobj)
    data = data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))
    return image, data, image.header.get_xyzt_units()


def _refuse_scaled(image: Any, path: Path) -> None:
    """Refuse a header that scales the samples; one that moves them loses its extension or is too short."""
    proxy = image.dataobj
    if (proxy.slope, proxy.inter) != (1.0, 0.0):
        raise DataError(
            f"{path}: scales its samples by {proxy.slope:g}, expected complex samples as they are"
        )


def _widened(fids: Any) -> Any:
    """Return complex128; what is not finite stays so, and is refused where files are read."""
    with np.errstate(all="ignore"):
        return fids.astype(np.complex128)


def _tagged(header: dict[str, Any], shape: Sequence[int]) -> list[tuple[int, str]]:
    """Return number and tag of each dimension beyond time that has more than one entry."""
    return [(n, str(header.get(f"dim_{n}"))) for n in range(5, len(shape) + 1) if shape[n - 1] > 1]


def _ordered(
    path: Path, data: Any, header: dict[str, Any], series: Sequence[int] = ()
) -> tuple[Any, tuple[str, ...]]:
    """Return FIDs with the axes in the order of `DIMENSIONS`; several dimensions of shots become one."""
    for number, tag in _tagged(header, data.shape):
        if number in series:
            continue
        if tag not in _TAGS:
            why = next((words for start, words in _REFUSED.items() if tag.startswith(start)), "no such tag")
            raise DataError(
                f"{path}: dimension {number} is {tag[:40]} ({why}), expected one of {', '.join(_TAGS)}"
            )
        _refuse_changing(path, number, tag, header)
    names = ["x", "y", "z", "t"]
    names += [
        "series" if n in series else _TAGS.get(str(header.get(f"dim_{n}")), f"single-{n}")
        for n in range(5, data.ndim + 1)
    ]
    for name in ("coil", "edit"):
        if names.count(name) > 1:
            raise DataError(f"{path}: has {names.count(name)} dimensions {_NAMES[name]}, expected one")
    dims: list[str] = []
    order: list[int] = []
    shape: list[int] = []
    for name in DIMENSIONS:
        axes = [axis for axis, other in enumerate(names) if other == name]
        length = int(np.prod([data.shape[axis] for axis in axes])) if axes else 0
        if axes and not (length == 1 and name in ("x", "y", "z", "edit")):
            dims, shape = [*dims, name], [*shape, length]
        order += axes
    order = [axis for axis, name in enumerate(names) if name.startswith("single")] + order
    return np.transpose(data, order).reshape(shape), tuple(dims)


def _refuse_changing(path: Path, number: int, tag: str, header: dict[str, Any]) -> None:
    """Refuse shots whose settings differ: their mean is the spectrum of none of them."""
    changes = header.get(f"dim_{number}_header")
    if _TAGS[tag] == "edit" or not isinstance(changes, dict):
        return
    for key, values in changes.items():
        values = values.get("Value", values) if isinstance(values, dict) else values
        if isinstance(values, dict):
            values = [0, values.get("increment", 0)]
        if isinstance(values, list) and any(value != values[0] for value in values):
            raise DataError(
                f"{path}: {str(key)[:40]} differs along dimension {number} ({tag}), expected shots of one setting; "
                "write each setting into a file of its own, or fit all together with `pulsespec series`"
            )


def _conditions(header: dict[str, Any], shape: Sequence[int], path: Path) -> list[str] | None:
    """Return the names of the editing conditions, where the file has them."""
    number = next(n for n, tag in _tagged(header, shape) if tag == "DIM_EDIT")
    changes = header.get(f"dim_{number}_header")
    names = changes.get("EditCondition") if isinstance(changes, dict) else None
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != shape[number - 1]:
        raise DataError(
            f"{path}: EditCondition does not name the {shape[number - 1]} entries of dimension {number}"
        )
    return [str(name) for name in names]


def _merged_record(tags: Sequence[str]) -> tuple[Record, ...]:
    shots = [tag for tag in tags if _TAGS.get(tag) == "average"]
    if shots in ([], ["DIM_DYN"]):
        return ()
    return (Record("Reading", f"the entries of {', '.join(shots)} are taken as shots of one kind"),)


def _geometry(image: Any, unit_mm: float) -> Geometry | None:
    """Return where the voxel lies; `None` where the file says that it has no place (all sides of 10 m)."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= unit_mm
    geometry = Geometry(affine)
    return None if np.all(geometry.voxel_mm >= _UNLOCALISED_MM) else geometry


def write_nifti(data: Transients, path: Path, overwrite: bool = False) -> None:
    """Write NIfTI-MRS with what was done in `ProcessingApplied`, after what the file that was read says of itself.

    Identifiers are written only where the reader was told to keep them.
    """
    shaped, tags = data.data, [name for name in data.dims if name in _NAMES]
    for axis, name in enumerate(("x", "y", "z")):
        if name not in data.dims:
            shaped = np.expand_dims(shaped, axis)
    order = [0, 1, 2, shaped.ndim - 1, *range(3, shaped.ndim - 1)]
    shaped = np.transpose(shaped, order)
    shaped = shaped if shaped.dtype in (np.complex64, np.complex128) else shaped.astype(np.complex128)
    header = header_extension(data, tags)
    image = gen_nifti_mrs_hdr_ext(shaped, data.dwell_s, header, affine=place(data), no_conj=True)
    if data.geometry is None:
        for code in ("qform_code", "sform_code"):
            image.header[code] = 0
    with atomic_path(path, overwrite) as temporary:
        image.save(temporary)


def place(data: Transients) -> Any:
    """Return the affine that says where the voxel lies, sides of 10 m where that is not known; shape (4, 4)."""
    return np.diag([_UNLOCALISED_MM] * 3 + [1.0]) if data.geometry is None else data.geometry.affine


def header_extension(data: Transients, tags: Sequence[str]) -> Any:
    """Return the header extension of data whose dimensions after time are `tags`, names of `DIMENSIONS`."""
    header = Hdr_Ext(data.f0_hz * 1e-6, data.nucleus)
    conditions = list(data.header.get("edit_conditions") or ())
    for number, name in enumerate(tags):
        named = name == "edit" and len(conditions) == data.size("edit")
        changes = dynamic_header(data.header) or ({"EditCondition": conditions} if named else None)
        if name == "series":
            changes = nifti_series.dynamic_header(data.header.get("series_values") or {})
        header.set_dim_info(number, _NAMES[name], hdr=changes if name in ("edit", "series") else None)
    known = {
        **nifti_header.kept(data.header),
        "SpectralWidth": 1 / float(np.float32(data.dwell_s)) if data.dwell_s else None,
        "SpecFreqChemShift": data.reference_ppm if data.reference_ppm != RECEIVER_PPM else None,
        "EchoTime": data.te_s,
        "RepetitionTime": data.tr_s,
        "SequenceName": data.sequence or None,
        "ProcessingApplied": _applied(data),
    }
    for key, value in known.items():
        if value is not None:
            header.set_standard_def(key, value)
    write_editing(data.header, header)
    write_sequence(data.header, header)
    for key, value in (data.header.get("identifiers") or {}).items():
        if key in standard_defined:
            header.set_standard_def(key, value)
        else:
            header.set_user_def(key, value, "kept on request")
    return header


def _applied(data: Transients) -> list[dict[str, Any]] | None:
    """Return the steps as the standard lists them: Time, Program, Version, Method and Details of each."""
    ours = [
        {
            "Time": _utc(record.time),
            "Program": record.program,
            "Version": record.version or pulsespec.__version__,
            "Method": record.method,
            "Details": record.details,
        }
        for record in data.records
    ]
    return [*data.header.get("processing_applied", ()), *ours] or None


def _utc(time: str) -> str:
    """Return an ISO 8601 time, or now, as YYYY-MM-DDThh:mm:ss.sss in UTC."""
    at = datetime.fromisoformat(time) if time else now()
    at = at if at.tzinfo is None else at.astimezone(UTC)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds")
