"""ISMRMRD raw data (Inati et al. 2017, doi:10.1002/mrm.26089), also as our virtual scanner writes it.

Headers of all acquisitions are read first, samples one by one into their place.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.siemens import affine_of
from pulsespec.recon.sorting import sort_by_sequence
from pulsespec.recon.stream import AdcStream, Indices, gather
from pulsespec.recon.transients import Geometry, Record, Scan
from pulsespec.simulator.timeline import Played

WATER_FLAG = 57
"""Acquisitions of unsuppressed water carry this flag: ACQ_USER1."""

_OURS = "pulsespec"
_NOISE, _PHASE_CORRECTION = 19, 24
_LEFT_OUT = (23, 28, 26, 27)
"""Navigators, feedback in real time and of the HP kind, dummy scans: from ISMRMRD_AcquisitionFlags in `ismrmrd.h`."""
_LOUD = 5.0
_START_SAMPLES = 64


def is_mrd(path: Path) -> bool:
    """Return whether the file is HDF5 with an ISMRMRD header in one of its groups."""
    if not h5py.is_hdf5(path):
        return False
    return bool(attempt(lambda: _names(path))[0])


def _names(path: Path) -> list[str]:
    with h5py.File(path, "r") as file:
        return _groups(file)


def _groups(file: Any) -> list[str]:
    return [n for n, group in file.items() if isinstance(group, h5py.Group) and {"xml", "data"} <= set(group)]


def read_mrd(path: Path, played: Played | None = None, name: str = "the sequence") -> Scan:
    """Read an ISMRMRD file: noise, metabolite and water acquisitions; samples stay complex64.

    Water carries the flag `WATER_FLAG` or that of phase correction. Editing conditions are counted by
    `contrast`, else by `set` where each has several shots or the file is our own.

    Parameters
    ----------
    path
        The file.
    played
        Readouts and definitions of the `.seq` that was played, whose labels and timing then count.
    name
        Of the `.seq`, for messages.

    Raises
    ------
    DataError
        The file is damaged, its acquisitions differ in coils, samples or dwell time, or are not those of the
        sequence.

    """
    stream, header, heads = _open(path)
    if played is not None:
        return sort_by_sequence(stream, played, name)
    return _sorted(stream, header, heads)


def mrd_stream(path: Path) -> AdcStream:
    """Return all readouts of an ISMRMRD file as they came; `DataError` where it is damaged."""
    return _open(path)[0]


def _open(path: Path) -> tuple[AdcStream, Any, NDArray[Any]]:
    """Return the readouts that count, the header and the heads of their acquisitions."""
    found, words = attempt(lambda: _load(path))
    if found is None:
        raise DataError(f"{path}: damaged ISMRMRD file ({words})")
    group, header, heads = found
    if not _sane(heads):
        raise DataError(f"{path}: damaged ISMRMRD file (the header of an acquisition says what none can)")
    kept = np.flatnonzero(~_any_flag(heads, _LEFT_OUT))
    heads = heads[kept]
    is_noise = _any_flag(heads, (_NOISE,))
    if is_noise.all():
        raise DataError(f"{path}: has no acquisition but noise")
    pre, post = heads["discard_pre"].astype(int), heads["discard_post"].astype(int)
    samples = heads["number_of_samples"].astype(int) - pre - post
    coils = heads["active_channels"].astype(int)
    if (samples < 1).any() or (coils < 1).any():
        raise DataError(f"{path}: damaged ISMRMRD file (an acquisition without samples or coils)")
    stream = AdcStream(
        path,
        np.stack([coils, samples], axis=1).astype(np.int64),
        partial(_fetch, path, group, kept, coils, pre, post),
        _facts(path, header, heads[~is_noise]),
        is_noise,
    )
    return stream, header, heads


def _load(path: Path) -> tuple[str, Any, NDArray[Any]]:
    import ismrmrd  # takes longer than a fit's other readers together

    with h5py.File(path, "r") as file:
        names = _groups(file)
        name = "dataset" if "dataset" in names else names[0]
        header = ismrmrd.xsd.CreateFromDocument(bytes(file[name]["xml"][0]))
        # Whole elements, one at a time: HDF5 2.0 never frees the samples of elements whose head alone is asked for.
        data = file[name]["data"]
        return name, header, np.array([data[number]["head"].copy() for number in range(len(data))])


def _sane(heads: NDArray[Any]) -> bool:
    """Return whether every acquisition's header can be one, whatever its flags: a shifted one cannot."""
    times = np.isfinite(heads["sample_time_us"]) & (heads["sample_time_us"] >= 0)
    counts = (heads["number_of_samples"] >= 1) & (heads["active_channels"] >= 1)
    alike = heads["version"] == heads["version"][:1]
    return bool(heads.size and np.all(times & counts & alike))


def _any_flag(heads: NDArray[Any], flags: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.uint64(sum(1 << (flag - 1) for flag in flags))
    return np.asarray((heads["flags"].astype(np.uint64) & mask) != 0)


def _fetch(
    path: Path,
    group: str,
    kept: Indices,
    coils: NDArray[Any],
    pre: NDArray[Any],
    post: NDArray[Any],
    rows: Sequence[int],
) -> Iterator[NDArray[Any]]:
    with h5py.File(path, "r") as file:
        values = file[group]["data"]
        for row in rows:
            shot = np.asarray(values[int(kept[row])]["data"], dtype=np.float32).view(np.complex64)
            if shot.size % coils[row] or shot.size // coils[row] <= pre[row] + post[row]:
                raise DataError(f"{path}: damaged ISMRMRD file ({shot.size} samples of {coils[row]} coils)")
            shot = shot.reshape(coils[row], -1)
            yield shot[:, pre[row] : shot.shape[1] - post[row]]


def _facts(path: Path, header: Any, signal: NDArray[Any]) -> dict[str, Any]:
    conditions = getattr(header, "experimentalConditions", None)
    frequency = getattr(conditions, "H1resonanceFrequency_Hz", None)
    if not frequency:
        raise DataError(f"{path}: its header has no H1resonanceFrequency_Hz")
    dwells = sorted({round(float(us), 4) for us in signal["sample_time_us"]})
    timing = getattr(header, "sequenceParameters", None)
    system = getattr(header, "acquisitionSystemInformation", None)
    measured = getattr(header, "measurementInformation", None)
    position = getattr(measured, "patientPosition", None)
    return {
        "f0_hz": _parameter(header, "f0_hz") or float(frequency),
        "dwell_s": dwells[0] * 1e-6 if len(dwells) == 1 else 0.0,
        "te_s": _first_ms(getattr(timing, "TE", None)),
        "tr_s": _first_ms(getattr(timing, "TR", None)),
        "sequence": str(getattr(timing, "sequence_type", None) or ""),
        "geometry": _geometry(header, signal[0]),
        "header": {
            "manufacturer": _vendor(str(getattr(system, "systemVendor", None) or "")),
            "patient_position": str(getattr(position, "value", None) or ""),
        },
    }


def _vendor(name: str) -> str:
    return "Siemens" if "siemens" in name.lower() else name


def _geometry(header: Any, head: Any) -> Geometry | None:
    """Return the voxel: directions and position of the first acquisition, edges of the reconstructed space."""
    encoding = list(getattr(header, "encoding", None) or ())
    space = int(head["encoding_space_ref"])
    directions = [np.asarray(head[f"{name}_dir"], dtype=float) for name in ("read", "phase", "slice")]
    if space >= len(encoding) or any(abs(np.linalg.norm(axis) - 1) > 1e-3 for axis in directions):
        return None
    fov = encoding[space].reconSpace.fieldOfView_mm
    position = [float(value) for value in head["position"]]
    found = affine_of(position, directions[0], directions[1], (fov.x, fov.y, fov.z))
    return found if np.isfinite(found.affine).all() else None


def _parameter(header: Any, name: str) -> float | None:
    """Return a user parameter of the header; the frequency is a whole number in the standard field."""
    parameters = getattr(header, "userParameters", None)
    for parameter in getattr(parameters, "userParameterDouble", None) or ():
        if parameter.name == name:
            return float(parameter.value)
    return None


def _first_ms(values: Sequence[float] | None) -> float | None:
    return float(values[0]) * 1e-3 if values else None


def _sorted(stream: AdcStream, header: Any, heads: NDArray[Any]) -> Scan:
    """Return the acquisitions as flags and counters have them."""
    rows = np.flatnonzero(~stream.is_noise)
    water = _any_flag(heads, (WATER_FLAG, _PHASE_CORRECTION))[rows]
    records: tuple[Record, ...] = ()
    spaces = heads["encoding_space_ref"][rows]
    if not water.any() and np.unique(spaces).size == 2:
        water, details = _louder(stream, rows, spaces == spaces.max())
        records = (Record("Sorting of readouts", details),)
    vendor = str(getattr(getattr(header, "acquisitionSystemInformation", None), "systemVendor", ""))
    return Scan(
        *(
            gather(
                stream,
                _by_condition(stream, heads, part, vendor == _OURS),
                dwell_s=_dwell(stream, heads, part),
                records=records,
            )
            for part in (rows[~water], rows[water])
        )
    )


def _dwell(stream: AdcStream, heads: NDArray[Any], rows: Indices) -> float:
    if not rows.size:
        return 0.0
    shapes = {(int(c), int(s)) for c, s in stream.shapes[rows]}
    dwells = {round(float(us), 4) for us in heads["sample_time_us"][rows]}
    if len(shapes) > 1 or len(dwells) > 1:
        raise DataError(
            f"{stream.path}: acquisitions differ in coils, samples or dwell time: coils and samples "
            f"{sorted(shapes)}, dwell time in us {sorted(dwells)}"
        )
    return float(heads["sample_time_us"][rows[0]]) * 1e-6


def _louder(stream: AdcStream, rows: Indices, second: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """Return which acquisitions of two encoding spaces are unsuppressed water: the far stronger ones."""
    sizes = np.array([float(np.abs(shot[:, :_START_SAMPLES]).mean()) for shot in stream.fetch(list(rows))])
    ratio = sizes[second].mean() / max(sizes[~second].mean(), 1e-300)
    if not (ratio > _LOUD or ratio < 1 / _LOUD):
        raise DataError(
            f"{stream.path}: has two encoding spaces and no flag of water, and neither is {_LOUD:g} times "
            "the other, expected one to be unsuppressed water"
        )
    water = second if ratio > 1 else ~second
    return water, f"{int(water.sum())} water references: the stronger of two encoding spaces"


def _by_condition(stream: AdcStream, heads: NDArray[Any], rows: Indices, ours: bool) -> Indices:
    """Return acquisitions with a row for each editing condition, in the order of their counter."""
    if not rows.size:
        return np.empty((0, 0), dtype=np.int64)
    index = heads["idx"]
    encoded = {
        key: np.unique(index[key][rows]).size
        for key in ("kspace_encode_step_1", "kspace_encode_step_2", "slice")
    }
    encoded = {key: count for key, count in encoded.items() if count > 1}
    if encoded:
        raise DataError(
            f"{stream.path}: is an imaging scan (counters {encoded}), expected a single voxel, or the "
            ".seq that was played (--seq)"
        )
    values = index["contrast"][rows]
    if np.unique(values).size == 1:
        values = index["set"][rows]
        counts = np.unique(values, return_counts=True)[1]
        if not ours and counts.max() == 1:  # some scanners count averages by it
            values = np.zeros_like(values)
    groups = {int(value): rows[values == value] for value in np.unique(values)}
    if len({group.size for group in groups.values()}) > 1:
        counted = {value: int(group.size) for value, group in groups.items()}
        raise DataError(f"{stream.path}: editing conditions have different numbers of shots: {counted}")
    return np.array(list(groups.values()), dtype=np.int64)
