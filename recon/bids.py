"""MRS-BIDS: spectra found in and written to a dataset of the Brain Imaging Data Structure.

The specification: bids-specification.readthedocs.io, "Magnetic Resonance Spectroscopy" (BIDS 1.10), of which the
suffixes `svs`, `unloc`, `mrsref`, the entities and the sidecar's fields are used. What we write is a derivative
dataset (`desc-preproc`).
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulsespec
from pulsespec.conventions import GAMMA_HZ_PER_T, field_from_larmor
from pulsespec.errors import DataError, InputError
from pulsespec.files import atomic_path, refuse_existing
from pulsespec.recon.edit_header import WEIGHTS
from pulsespec.recon.edited import combined
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Scan, Transients
from pulsespec.recon.verdict import Assessment

VERSION = "1.10.0"
_METABOLITE = ("svs", "unloc")
_LABEL = re.compile(r"^[0-9a-zA-Z]+$")
_NAME = re.compile(r"^((?:[a-z]+-[0-9a-zA-Z]+_)+)([a-z]+)\.nii(\.gz)?$")


@dataclass(frozen=True)
class Entry:
    """One metabolite scan of a dataset with its water reference."""

    metabolite: Path
    water: Path | None
    entities: tuple[tuple[str, str], ...]
    """Entities of the file's name in order, such as (("sub", "01"), ("acq", "press"))."""
    suffix: str = "svs"

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read of it: data, reference and what is written beside them."""
        named = [self.metabolite, *([self.water] if self.water else [])]
        beside = [path.with_name(path.name.split(".nii")[0] + ".json") for path in named]
        return (*named, *(path for path in beside if path.is_file()))

    @property
    def label(self) -> str:
        """Name without suffix, such as sub-01_acq-press."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)


def is_bids(path: Path) -> bool:
    """Return whether `path` is a folder of a BIDS dataset: it has a description or subjects with spectra."""
    return path.is_dir() and ((path / "dataset_description.json").is_file() or bool(_scans(path)))


def _scans(folder: Path) -> list[Path]:
    found = [p for pattern in ("sub-*/mrs/*", "sub-*/ses-*/mrs/*") for p in folder.glob(pattern)]
    return sorted(p for p in found if (match := _NAME.match(p.name)) and match[2] in _METABOLITE)


def entries(folder: Path) -> tuple[Entry, ...]:
    """Return every single-voxel scan of a dataset, each with the water reference that belongs to it.

    The reference is what the sidecar calls `ReferenceSignal`; else the `mrsref` whose name differs from the scan's
    in the suffix alone; else the only one in the same folder.

    Raises
    ------
    DataError
        The dataset has no single-voxel scan, a named reference is missing, or it is not clear which one belongs.

    """
    scans = _scans(folder)
    if not scans:
        raise DataError(f"{folder}: a BIDS dataset without *_svs.nii.gz in sub-*/mrs or sub-*/ses-*/mrs")
    return tuple(_entry(path, folder) for path in scans)


def sorted_entries(folder: Path) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Return what `entries` does, and by label why a scan has none: one unclear reference does not stop the others.

    Raises
    ------
    DataError
        The dataset has no single-voxel scan.

    """
    scans, found, failed = _scans(folder), [], {}
    if not scans:
        entries(folder)
    for path in scans:
        try:
            found.append(_entry(path, folder))
        except DataError as error:
            failed["_".join("-".join(pair) for pair in _entities(path))] = str(error)
    return tuple(found), failed


def participants(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of `participants.tsv` by label of the subject, without "sub-"; empty where there is none."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    return {row["participant_id"].removeprefix("sub-"): row for row in read_rows(path, ("participant_id",))}


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table of BIDS; `DataError` where a column is missing or a row is cut."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t")
        columns = reader.fieldnames or []
        rows = list(reader)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column {', '.join(missing)}, only {', '.join(columns) or 'none'}")
    if any(None in row or None in row.values() for row in rows):
        raise DataError(
            f"{path}: a row has more or fewer cells than the header has columns, separated by tabs"
        )
    return rows


def _entry(path: Path, folder: Path) -> Entry:
    match = _NAME.match(path.name)
    assert match is not None
    reference = _reference(path, folder, len(_scans_beside(path)))
    return Entry(path, reference, _entities(path), match[2])


def _entities(path: Path) -> tuple[tuple[str, str], ...]:
    parts = path.name.rsplit("_", 1)[0].split("_")
    return tuple((part.split("-")[0], part.split("-")[1]) for part in parts)


def _scans_beside(path: Path) -> list[Path]:
    return [p for p in path.parent.iterdir() if (match := _NAME.match(p.name)) and match[2] in _METABOLITE]


def _reference(path: Path, folder: Path, scans: int) -> Path | None:
    named = _named_reference(path, folder)
    if named is not None:
        return named
    stem = path.name.rsplit("_", 1)[0]
    all_of = sorted(path.parent.glob("*_mrsref.nii*"))
    own = [p for p in all_of if p.name.rsplit("_", 1)[0] == stem]
    if own or (len(all_of) == 1 and scans == 1):
        return (own or all_of)[0]
    if not all_of or scans > 1:
        return None
    names = ", ".join(p.name for p in all_of)
    raise DataError(
        f"{path}: which of {names} is its water reference? Name it as ReferenceSignal in its .json"
    )


def _named_reference(path: Path, folder: Path) -> Path | None:
    """Return the file that the sidecar calls `ReferenceSignal`: a BIDS URI or a path from the dataset or subject."""
    sidecar = path.with_name(path.name.split(".nii")[0] + ".json")
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{sidecar}: is not JSON") from error
    value = content.get("ReferenceSignal") if isinstance(content, dict) else None
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, str):
        return None
    relative = value.removeprefix("bids::")
    inside = folder.resolve()
    for base in (folder, path.parent, *[p for p in path.parents if p.name.startswith("sub-")]):
        found = (base / relative).resolve()
        if found.is_file() and found.is_relative_to(inside):
            return found
    raise DataError(f"{sidecar}: ReferenceSignal is {value!r}, which is not in the dataset")


def named(subject: str, session: str | None = None) -> tuple[tuple[str, str], ...]:
    """Return the entities of a scan that is of no dataset yet; `InputError` for a label that BIDS does not allow."""
    given = [("sub", subject), *([("ses", session)] if session is not None else [])]
    for key, value in given:
        if not _LABEL.match(value):
            raise InputError(
                f"--{'subject' if key == 'sub' else 'session'}: got {value!r}, expected letters and digits"
            )
    return tuple(given)


def outputs(folder: Path, entities: Sequence[tuple[str, str]], suffix: str, desc: str = "preproc") -> Path:
    """Return where the NIfTI-MRS file of a processed scan lies in the dataset `folder`."""
    known = dict(entities)
    place = folder / f"sub-{known['sub']}"
    place = place / f"ses-{known['ses']}" if "ses" in known else place
    stem = "_".join(f"{key}-{value}" for key, value in entities if key != "desc")
    return place / "mrs" / f"{stem}_desc-{desc}_{suffix}.nii.gz"


def prepare(folder: Path) -> None:
    """Make the folder a derivative dataset; `InputError` where it is another sort of dataset already."""
    description = folder / "dataset_description.json"
    if description.is_file():
        try:
            kind = json.loads(description.read_text(encoding="utf-8")).get("DatasetType", "raw")
        except (ValueError, AttributeError) as error:
            raise InputError(f"{description}: is no description of a BIDS dataset") from error
        if kind != "derivative":
            raise InputError(
                f"{folder}: is a BIDS dataset of type {kind!r}, expected a folder for results such as "
                f"{folder / 'derivatives' / 'pulsespec'}"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": "Spectra processed by pulsespec",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "pulsespec", "Version": pulsespec.__version__}],
    }
    _write_json(content, description, overwrite=False)


def write(
    folder: Path,
    entities: Sequence[tuple[str, str]],
    done: Scan,
    raw: Scan,
    judged: Assessment,
    *,
    suffix: str = "svs",
    overwrite: bool = False,
) -> list[Path]:
    """Write a processed scan and its water reference with their sidecars; return the NIfTI-MRS files.

    Of edited data `desc-preproc` has all conditions; `desc-diff`, or `desc-diffgaba` and so on, and `desc-sum` are
    what is made of them (the label of an entity has no hyphen).
    """
    prepare(folder)
    written = []
    reference = outputs(folder, entities, "mrsref") if done.water is not None else None
    parts = [
        (done.metabolite, raw.metabolite, suffix, "preproc"),
        (done.water, raw.water, "mrsref", "preproc"),
    ]
    if done.metabolite is not None and "edit" in done.metabolite.dims:
        parts += [
            (part, raw.metabolite, suffix, name.replace("-", "").replace(".", "p"))
            for name, part in combined(done.metabolite).items()
        ]
    paths = [outputs(folder, entities, kind, desc) for data, _, kind, desc in parts if data is not None]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_existing(path, overwrite)
    for data, source, kind, desc in parts:
        if data is None:
            continue
        path = outputs(folder, entities, kind, desc)
        content = sidecar(data, source)
        if kind != "mrsref":
            content["Quality"] = judged.as_dict()
            if reference is not None:
                content["ReferenceSignal"] = f"bids::{reference.relative_to(folder).as_posix()}"
        write_nifti(data, path, overwrite)
        _write_json(content, path.with_name(path.name.removesuffix(".nii.gz") + ".json"), overwrite)
        written.append(path)
    return written


def sidecar(data: Transients, raw: Transients | None = None) -> dict[str, Any]:
    """Return the fields of MRS-BIDS that are known: required, recommended, and what was done."""
    known = {
        "ResonantNucleus": data.nucleus,
        "SpectrometerFrequency": data.f0_hz * 1e-6,
        "SpectralWidth": 1 / data.dwell_s,
        "EchoTime": data.te_s,
        "RepetitionTime": data.tr_s,
        "NumberOfSpectralPoints": data.samples,
        "NumberOfTransients": _transients(raw),
        "AcquisitionVoxelSize": None if data.geometry is None else data.geometry.voxel_mm.tolist(),
        "MagneticFieldStrength": _field_t(data),
        "SequenceName": data.sequence or None,
        "WaterSuppression": data.header.get("water_suppressed"),
        "WaterSuppressionTechnique": data.header.get("WaterSuppressionType"),
        "InversionTime": data.header.get("InversionTime"),
        "MixingTime": data.header.get("MixingTime"),
        "FlipAngle": data.header.get("ExcitationFlipAngle"),
        "Manufacturer": data.header.get("Manufacturer", data.header.get("manufacturer")),
        "SoftwareVersions": data.header.get("SoftwareVersions"),
        "ReceiveCoilName": data.header.get("RxCoil"),
        "ChemicalShiftReference": data.reference_ppm,
        "EditCondition": data.header.get("edit_conditions"),
        "EditPulse": data.header.get("EditPulse"),
        WEIGHTS: data.header.get("condition_weights"),
        "Processing": [f"{record.method}: {record.details}" for record in data.records],
    }
    return {key: value for key, value in known.items() if value is not None}


def _field_t(data: Transients) -> float | None:
    return round(field_from_larmor(data.f0_hz, data.nucleus), 4) if data.nucleus in GAMMA_HZ_PER_T else None


def _transients(raw: Transients | None) -> int | None:
    """Return how many shots were measured, where the file has them one by one or says how many it sums."""
    if raw is None:
        return None
    shots = raw.size("average") * raw.size("edit")
    said = raw.header.get("averages")
    return shots if shots > 1 else int(said) if said else None


def _write_json(content: Mapping[str, Any], path: Path, overwrite: bool) -> None:
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
