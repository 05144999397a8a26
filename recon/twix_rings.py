"""Concentric rings in Siemens raw data, as the FID-MRSI sequences of Vienna store them.

What each readout says, found in files and agreeing with two public reconstructions (MRSI.jl of K. Eckstein and the
Matlab functions of B. Strasser, read, not copied):

- `Lin`: the ring; `Idb`: the temporal interleave; `Ida`: the number of the ADC within the train, in which they follow
  each other without a gap; `Ave` and `Rep`: repetitions;
- PATREFSCAN: the water reference, by another excitation in the same TR; NOISEADJSCAN: noise;
- IceProgramPara 1 to 4: gradient moment at the first sample of the ring along read and phase in mT/m us, each as whole
  part and ten-thousandths; 6 (or `Idc`): samples of one turn without oversampling.

The FID's dwell time is `alDwellTime[0]` times the oversampling factor; a ring of n interleaves takes n of them for a
turn. The time stamps of the readouts must agree with it. Assumed: rings turn from the read towards the phase direction,
as Siemens derives these from the slice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import DataError
from pulsespec.recon.rings import Ring
from pulsespec.recon.siemens import protocol_sequence, voxel_of
from pulsespec.recon.transients import Geometry
from pulsespec.recon.twix_file import (
    NOISEADJSCAN,
    PATREFSCAN,
    Mdh,
    Measurement,
    is_twix,
    read_measurements,
)

Samples = NDArray[np.complex64]

_HEAD = 1 << 24
_NAME = re.compile(r"crt|concept|conc_?ring", re.IGNORECASE)
_PER_M = 1e-9
"""mT/m us to T s/m."""
_PARTS = 1e4
_STAMP_MS = 2.5
_POINTS = 5


@dataclass(frozen=True)
class RingData:
    """FIDs of the positions on all rings, of one kind."""

    rings: tuple[Ring, ...]
    fids: Samples
    """Sense of the scanner; shape (n_positions, n_coils, n_turns)."""


@dataclass(frozen=True)
class RingScan:
    """A measurement with rings."""

    metabolite: RingData
    water: RingData | None
    noise: Samples | None
    """Shape (n_coils, n), sense of the scanner."""
    dwell_s: float
    """Of the FIDs."""
    matrix: tuple[int, int]
    """Voxels along read and phase."""
    volume: Geometry
    """The field of view as one voxel: axes are read, phase and the slice's normal."""
    facts: Mapping[str, Any]
    """What the header says, by the names of the fields of `Transients`."""
    centred: bool = False
    """Whether the middle of the field of view is that of a voxel, n // 2, as of images of our own `.seq`; else that of
    the grid."""


def is_rings(path: Path) -> bool:
    """Return whether a file is a twix file whose header names a sequence with concentric rings."""
    if not path.is_file() or not is_twix(path):
        return False
    with path.open("rb") as file:
        found = re.search(rb'tSequenceFileName\s*=\s*"*([^"\r\n]*)', file.read(_HEAD))
    return found is not None and _NAME.search(found.group(1).decode("latin-1")) is not None


def read_rings(path: Path) -> RingScan:
    """Read concentric rings.

    Raises
    ------
    DataError
        The file is damaged, is a stack of rings, or lacks what the reconstruction needs; the error says what.

    """
    try:
        found = read_measurements(path)
    except DataError:
        raise
    except Exception as error:  # whatever a parser of damaged text raises
        raise DataError(f"{path}: damaged or truncated twix file ({type(error).__name__})") from error
    measurement = found[-1]
    kinds = _kinds(measurement)
    if not kinds["metabolite"]:
        raise DataError(f"{path}: has no readout but noise and references")
    _refuse_stacks(path, measurement, kinds["metabolite"])
    oversampling = _oversampling(path, measurement)
    dwell_s = measurement.number("sRXSPEC", "alDwellTime", "0") * 1e-9 * oversampling
    volume = voxel_of(measurement.number, ("sSpecPara", "sVoI"))
    matrix = tuple(
        int(measurement.number("sKSpace", key)) for key in ("lBaseResolution", "lPhaseEncodingLines")
    )
    if not dwell_s > 0 or volume is None or min(matrix) < 2:
        raise DataError(
            f"{path}: dwell time {dwell_s:g} s, matrix {matrix}, volume {'given' if volume else 'missing'}: expected "
            "all three in the header (alDwellTime, lBaseResolution and lPhaseEncodingLines, sSpecPara.sVoI)"
        )
    _check_stamps(path, measurement, kinds["metabolite"], dwell_s, oversampling)
    sets = {
        kind: _ring_data(path, measurement, kinds[kind], oversampling) if kinds[kind] else None
        for kind in ("metabolite", "water")
    }
    metabolite = sets["metabolite"]
    assert metabolite is not None
    return RingScan(
        metabolite,
        sets["water"],
        _noise(measurement, kinds["noise"]),
        dwell_s,
        (matrix[0], matrix[1]),
        volume,
        _facts(path, measurement),
    )


def _kinds(measurement: Measurement) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {"noise": [], "water": [], "metabolite": []}
    for number, mdh in enumerate(measurement.readouts):
        kind = "noise" if mdh.flags & NOISEADJSCAN else "water" if mdh.flags & PATREFSCAN else "metabolite"
        kinds[kind].append(number)
    return kinds


def _refuse_stacks(path: Path, measurement: Measurement, rows: Sequence[int]) -> None:
    counters = {
        name: {measurement.readouts[row][name] for row in rows}
        for name in ("Seg", "Par", "Sli", "Set", "Eco")
    }
    several = {name: len(values) for name, values in counters.items() if len(values) > 1}
    if several or measurement.number("sKSpace", "lPartitions") > 1:
        raise DataError(
            f"{path}: stack of rings, or several kinds of them (counters {several}, partitions "
            f"{measurement.number('sKSpace', 'lPartitions'):g}), expected one plane of rings"
        )


def _oversampling(path: Path, measurement: Measurement) -> float:
    factor = float(measurement.header.get("Dicom", {}).get("flReadoutOSFactor", 0) or 0)
    if not factor >= 1:
        raise DataError(f"{path}: its header has no oversampling factor (Dicom flReadoutOSFactor)")
    return factor


def _points(mdh: Mdh, oversampling: float) -> int:
    return round(max(mdh["Idc"], mdh.ice[_POINTS] if len(mdh.ice) > _POINTS else 0) * oversampling)


def _ring(path: Path, mdh: Mdh, oversampling: float, interleaves: int, gamma: float) -> Ring:
    points = _points(mdh, oversampling)
    if points < 2 or not any(mdh.ice[:4]):
        raise DataError(
            f"{path}: ring {mdh['Lin'] + 1} has no first point of k-space or number of samples (IceProgramPara 1 to 4 "
            "and 6), so its trajectory is not known"
        )
    x, y = (whole + part / _PARTS for whole, part in (mdh.ice[0:2], mdh.ice[2:4]))
    return Ring((x * _PER_M * gamma, y * _PER_M * gamma), points, interleaves)


def _ring_data(path: Path, measurement: Measurement, rows: Sequence[int], oversampling: float) -> RingData:
    """Return the FIDs of all rings, cut to the shortest."""
    gamma = gamma_hz_per_t(_nucleus(measurement))
    heads = measurement.readouts
    rings, fids = [], []
    for number in sorted({heads[row]["Lin"] for row in rows}):
        own = [row for row in rows if heads[row]["Lin"] == number]
        interleaves = 1 + max(heads[row]["Idb"] for row in own)
        ring = _ring(path, heads[own[0]], oversampling, interleaves, gamma)
        rings.append(ring)
        fids.append(_turns(path, measurement, own, ring))
    shortest = min(one.shape[-1] for one in fids)
    return RingData(tuple(rings), np.concatenate([one[..., :shortest] for one in fids]))


def _turns(path: Path, measurement: Measurement, rows: Sequence[int], ring: Ring) -> Samples:
    """Return the FIDs of one ring: its ADCs in a row, cut into turns, interleaves in turn; (points, coils, turns)."""
    heads = measurement.readouts
    trains: dict[int, dict[int, list[int]]] = {}
    for row in rows:
        trains.setdefault(heads[row]["Idb"], {}).setdefault(heads[row]["Ida"], []).append(row)
    shapes = {(heads[row].coils, heads[row].samples) for row in rows}
    lengths = {tuple(sorted(train)) for train in trains.values()}
    repeats = {len(same) for train in trains.values() for same in train.values()}
    if len(trains) != ring.interleaves or len(shapes) + len(lengths) + len(repeats) > 3:
        raise DataError(
            f"{path}: ring {heads[rows[0]]['Lin'] + 1} has {len(trains)} of {ring.interleaves} interleaves, ADCs of "
            f"{sorted(shapes)} coils x samples, {sorted(map(len, lengths))} ADCs a train: truncated, or not whole"
        )
    parts = []
    for interleave in sorted(trains):
        train = trains[interleave]
        adcs = [np.mean(list(measurement.fetch(train[number])), axis=0) for number in sorted(train)]
        whole = np.concatenate(adcs, axis=1)
        turns = whole.shape[1] // ring.points
        parts.append(whole[:, : turns * ring.points].reshape(whole.shape[0], turns, ring.points))
    merged = np.stack(parts, axis=2)  # coils, turns, interleaves, points
    return np.moveaxis(merged.reshape(merged.shape[0], -1, ring.points), 2, 0).astype(np.complex64)


def _check_stamps(
    path: Path, measurement: Measurement, rows: Sequence[int], dwell_s: float, oversampling: float
) -> None:
    """Refuse a dwell time that the time stamps of the ADCs in a train contradict: they count steps of 2.5 ms."""
    heads = measurement.readouts
    for number in {heads[row]["Lin"] for row in rows}:
        own = [heads[row] for row in rows if heads[row]["Lin"] == number]
        interleaves = 1 + max(mdh["Idb"] for mdh in own)
        train = [
            mdh
            for mdh in own
            if mdh["Idb"] == 0 and mdh["Ave"] == own[0]["Ave"] and mdh["Rep"] == own[0]["Rep"]
        ]
        points = _points(own[0], oversampling)
        if len(train) < 2 or not points:
            continue
        expected = 1e3 * dwell_s * interleaves * train[0].samples / points * (len(train) - 1)
        found = train[-1].time_ms - train[0].time_ms
        if abs(found - expected) > _STAMP_MS + 0.02 * expected:
            raise DataError(
                f"{path}: the {len(train)} ADCs of ring {number + 1} take {found:g} ms by their time stamps, expected "
                f"{expected:.1f} ms of a dwell time of {1e6 * dwell_s:g} us: another layout than is known here"
            )


def _noise(measurement: Measurement, rows: Sequence[int]) -> Samples | None:
    return np.concatenate(list(measurement.fetch(rows)), axis=1) if rows else None


def _nucleus(measurement: Measurement) -> str:
    return str(measurement.value("sTXSPEC", "asNucleusInfo", "0", "tNucleus") or "1H").strip('"')


def _facts(path: Path, measurement: Measurement) -> dict[str, Any]:
    f0_hz = measurement.number("sTXSPEC", "asNucleusInfo", "0", "lFrequency")
    if not f0_hz > 0:
        raise DataError(f"{path}: its header has no spectrometer frequency")
    return {
        "f0_hz": f0_hz,
        "te_s": measurement.number("alTE", "0") * 1e-6 or None,
        "tr_s": measurement.number("alTR", "0") * 1e-6 or None,
        "sequence": protocol_sequence(measurement.value("tSequenceFileName")),
        "header": {
            "manufacturer": "Siemens",
            "patient_position": str(measurement.header.get("Dicom", {}).get("tPatientPosition", "")).strip(
                '"'
            ),
        },
    }
