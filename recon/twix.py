"""Siemens raw data (twix), sorted by the labels of a `.seq` where one was played, else by flags and counters."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pulsespec.errors import DataError
from pulsespec.recon.siemens import protocol_sequence, voxel_of
from pulsespec.recon.sorting import sort_by_sequence
from pulsespec.recon.stream import AdcStream
from pulsespec.recon.transients import Record, Scan
from pulsespec.recon.twix_file import (
    HPFEEDBACK,
    NOISEADJSCAN,
    RTFEEDBACK,
    Mdh,
    Measurement,
    is_twix,
    read_measurements,
)
from pulsespec.recon.twix_sorting import sort_by_counters
from pulsespec.simulator.timeline import Played

__all__ = ["is_twix", "played_by_pulseq", "read_twix"]

_HEAD = 1 << 24


def played_by_pulseq(path: Path) -> bool:
    """Return whether the header names a Pulseq interpreter as the sequence."""
    with path.open("rb") as file:
        found = re.search(rb'tSequenceFileName\s*=\s*"*([^"\r\n]*)', file.read(_HEAD))
    return found is not None and b"pulseq" in found.group(1).lower()


def read_twix(path: Path, played: Played | None = None, name: str = "the sequence") -> Scan:
    """Read a twix file; oversampling is left as it is and samples stay complex64.

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
        The file is damaged, truncated, not single-voxel data, or has another number of ADCs than the `.seq`.

    """
    measurement, stream = _open(path)
    if played is not None:
        return sort_by_sequence(stream, played, name)
    if "pulseq" in stream.facts["sequence"].lower():
        raise DataError(
            f"{path}: was acquired with a Pulseq sequence, whose timing the header does not know; "
            "pass the .seq that was played (--seq)"
        )
    return sort_by_counters(stream, measurement)


def twix_stream(path: Path) -> AdcStream:
    """Return all readouts of the measurement in a twix file as they came; `DataError` where it is damaged."""
    return _open(path)[1]


def _open(path: Path) -> tuple[Measurement, AdcStream]:
    try:
        found = read_measurements(path)
    except DataError:
        raise
    except Exception as error:  # whatever a parser of damaged text raises
        raise DataError(f"{path}: damaged or truncated twix file ({type(error).__name__})") from error
    return _stream(path, found)


def _stream(path: Path, measurements: Sequence[Measurement]) -> tuple[Measurement, AdcStream]:
    """Return the last measurement that has a signal, with the noise of any: adjustments come first."""
    with_signal = [m for m in measurements if any(not _is_noise(mdh) for mdh in m.readouts)]
    if not with_signal:
        raise DataError(f"{path}: truncated twix file: it has a header but no complete measurement")
    whole = with_signal[-1]
    rows = [n for n, mdh in enumerate(whole.readouts) if not mdh.flags & (RTFEEDBACK | HPFEEDBACK)]
    chosen = replace(whole, readouts=tuple(whole.readouts[row] for row in rows))
    if not any(not _is_noise(mdh) for mdh in chosen.readouts):
        raise DataError(f"{path}: has no readout but noise and navigators")
    stream = AdcStream(
        path,
        np.array([(mdh.coils, mdh.samples) for mdh in chosen.readouts], dtype=np.int64),
        chosen.fetch,
        _facts(path, chosen),
        np.array([_is_noise(mdh) for mdh in chosen.readouts], dtype=bool),
        _other_noise(measurements, whole),
        _records(measurements, whole, len(whole.readouts) - len(rows)),
    )
    return chosen, stream


def _is_noise(mdh: Mdh) -> bool:
    return bool(mdh.flags & NOISEADJSCAN)


def _other_noise(measurements: Sequence[Measurement], chosen: Measurement) -> Any:
    """Return noise readouts of an adjustment with as many coils, where the chosen measurement has none."""
    coils = chosen.readouts[-1].coils
    for other in measurements:
        rows = [n for n, mdh in enumerate(other.readouts) if _is_noise(mdh) and mdh.coils == coils]
        if other is not chosen and rows:
            return np.concatenate([shot.conj() for shot in other.fetch(rows)], axis=1)
    return None


def _records(measurements: Sequence[Measurement], chosen: Measurement, feedback: int) -> tuple[Record, ...]:
    words = []
    if len(measurements) > 1:
        names = ", ".join(
            f"{number} {protocol_sequence(m.value('tSequenceFileName')) or 'without a name'}"
            for number, m in enumerate(measurements, 1)
        )
        number = [m is chosen for m in measurements].index(True) + 1
        words.append(f"measurement {number} of {len(measurements)} is read ({names})")
    if feedback:
        words.append(f"{feedback} navigator readouts are left out")
    return (Record("Selection of readouts", "; ".join(words)),) if words else ()


def _facts(path: Path, measurement: Measurement) -> dict[str, Any]:
    frequency = measurement.number("sTXSPEC", "asNucleusInfo", "0", "lFrequency")
    if not frequency > 0:
        raise DataError(f"{path}: its header has no spectrometer frequency")
    nucleus = str(measurement.value("sTXSPEC", "asNucleusInfo", "0", "tNucleus") or "1H").strip('"')
    return {
        "f0_hz": frequency,
        "nucleus": nucleus,
        "dwell_s": measurement.number("sRXSPEC", "alDwellTime", "0") * 1e-9,
        "te_s": measurement.number("alTE", "0") * 1e-6 or None,
        "tr_s": measurement.number("alTR", "0") * 1e-6 or None,
        "sequence": protocol_sequence(measurement.value("tSequenceFileName")),
        "geometry": voxel_of(measurement.number, ("sSpecPara", "sVoI"))
        or voxel_of(measurement.number, ("sSliceArray", "asSlice", "0")),
        "header": {
            "manufacturer": "Siemens",
            "patient_position": str(measurement.header.get("Dicom", {}).get("tPatientPosition", "")).strip(
                '"'
            ),
        },
    }
