"""ISMRMRD raw data (Inati et al. 2017, doi:10.1002/mrm.26089), also as our virtual scanner writes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.transients import Scan, Transients

WATER_FLAG = ismrmrd.ACQ_USER1
"""Acquisitions of unsuppressed water carry this flag."""


def is_mrd(path: Path) -> bool:
    """Return whether the file is HDF5 with an ISMRMRD header in one of its groups."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return any(
            isinstance(group, h5py.Group) and "xml" in group and "data" in group for group in file.values()
        )


def read_mrd(path: Path) -> Scan:
    """Read an ISMRMRD file: noise, metabolite and water acquisitions.

    Raises
    ------
    DataError
        The file is damaged, or its acquisitions differ in coils, samples or dwell time.

    """
    found, words = attempt(lambda: _load(path))
    if found is None:
        raise DataError(f"{path}: damaged ISMRMRD file ({words})")
    header, acquisitions = found
    noise = [a for a in acquisitions if a.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)]
    signal = [a for a in acquisitions if not a.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)]
    if not signal:
        raise DataError(f"{path}: has no acquisition but noise")
    facts = _facts(header, signal, path)
    if noise:
        facts["noise"] = swap_sense(np.concatenate([np.asarray(a.data) for a in noise], axis=1))
    water = [a for a in signal if a.is_flag_set(WATER_FLAG)]
    metabolite = [a for a in signal if not a.is_flag_set(WATER_FLAG)]
    return Scan(_transients(metabolite, facts), _transients(water, facts))


def _load(path: Path) -> tuple[Any, list[Any]]:
    with h5py.File(path, "r") as file:
        names = [name for name, group in file.items() if "xml" in group and "data" in group]
    with ismrmrd.Dataset(str(path), names[0], create_if_needed=False) as dataset:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        count = dataset.number_of_acquisitions()
        return header, [dataset.read_acquisition(index) for index in range(count)]


def _facts(header: Any, signal: Sequence[Any], path: Path) -> dict[str, Any]:
    shapes = {(a.data.shape, round(a.sample_time_us, 4)) for a in signal}
    if len(shapes) > 1:
        raise DataError(f"{path}: acquisitions differ in coils, samples or dwell time: {sorted(shapes)}")
    conditions = getattr(header, "experimentalConditions", None)
    frequency = getattr(conditions, "H1resonanceFrequency_Hz", None)
    if not frequency:
        raise DataError(f"{path}: its header has no H1resonanceFrequency_Hz")
    timing = getattr(header, "sequenceParameters", None)
    return {
        "f0_hz": _parameter(header, "f0_hz") or float(frequency),
        "dwell_s": float(signal[0].sample_time_us) * 1e-6,
        "te_s": _first_ms(getattr(timing, "TE", None)),
        "tr_s": _first_ms(getattr(timing, "TR", None)),
        "sequence": str(getattr(timing, "sequence_type", None) or ""),
        "source": path.name,
    }


def _parameter(header: Any, name: str) -> float | None:
    """Return a user parameter of the header; the frequency is a whole number in the standard field."""
    parameters = getattr(header, "userParameters", None)
    for parameter in getattr(parameters, "userParameterDouble", None) or ():
        if parameter.name == name:
            return float(parameter.value)
    return None


def _first_ms(values: Sequence[float] | None) -> float | None:
    return float(values[0]) * 1e-3 if values else None


def _transients(acquisitions: Sequence[Any], facts: dict[str, Any]) -> Transients | None:
    if not acquisitions:
        return None
    conditions = sorted({int(a.idx.set) for a in acquisitions})
    groups = [[a for a in acquisitions if a.idx.set == condition] for condition in conditions]
    if len({len(group) for group in groups}) > 1:
        counts = {c: len(g) for c, g in zip(conditions, groups, strict=True)}
        raise DataError(f"{facts['source']}: editing conditions have different numbers of shots: {counts}")
    data: NDArray[np.complex128] = np.array([[np.asarray(a.data) for a in group] for group in groups])
    fids = swap_sense(data.astype(np.complex128))
    if len(conditions) == 1:
        return Transients(data=fids[0], dims=("average", "coil", "t"), **facts)
    return Transients(data=fids, dims=("edit", "average", "coil", "t"), **facts)
