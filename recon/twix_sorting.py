"""Readouts of a twix file that no `.seq` describes: sorted by flags, counters and what the protocol says."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.siemens import editing
from pulsespec.recon.stream import AdcStream, Indices, gather
from pulsespec.recon.transients import Record, Scan
from pulsespec.recon.twix_file import COUNTERS, PATREFSCAN, PHASCOR, Measurement

_LOUD = 5.0
"""Unsuppressed water over suppressed shots, by size at the start of the FID."""
_START_SAMPLES = 64
_DEELCHAND, _BOTH_KINDS = r"svs_slaser(voi)?_dkd2?$", 8.0
_PRODUCT = r"^svs_(se|st|slaser)$"


def sort_by_counters(stream: AdcStream, measurement: Measurement) -> Scan:
    """Return metabolite and water shots of a single voxel, in the order of time.

    Water is what carries the flags of a reference (PHASCOR, PATREFSCAN), what the product sequences count as
    the first `Phs`, and the automatic references that the protocol asks for. Conditions are counted by the
    counter that the sequence is known to use, else by `Eco`, else by a `Set` beside other averages.

    Raises
    ------
    DataError
        The scan encodes space, or its references cannot be told apart.

    """
    name = stream.facts["sequence"]
    if not stream.facts["dwell_s"] > 0:
        raise DataError(f"{stream.path}: its header has no dwell time")
    _refuse_encoded(stream, measurement)
    signal = np.flatnonzero(~stream.is_noise)
    water, words = _water(stream, measurement, signal, name)
    notes = [words] if words else []
    references = signal[water]
    without = _without_gradients(measurement, references.size, name)
    if without.any():
        references = references[~without]
        notes.append(f"{int(without.sum())} of them were played without gradients and are left out")
    shots, note = _conditions(measurement, signal[~water], name)
    notes += [note] if note else []
    leading = _before_echo(measurement, shots)
    if leading:
        notes.append(f"{leading} samples before the top of the echo are left out")
    records = (Record("Sorting of readouts", "; ".join(notes)),) if notes else ()
    metabolite = gather(stream, shots, leading, records=records)
    reference = gather(stream, references[None], leading, records=records) if references.size else None
    return Scan(metabolite, reference)


def _column(measurement: Measurement, counter: str, rows: Indices) -> NDArray[np.int64]:
    return np.array([measurement.readouts[row][counter] for row in rows], dtype=np.int64)


def _refuse_encoded(stream: AdcStream, measurement: Measurement) -> None:
    matrix = {
        name: int(measurement.number("sSpecPara", f"lFinalMatrixSize{name}"))
        for name in ("Phase", "Read", "Slice")
    }
    rows = np.arange(len(stream))[~stream.is_noise]
    encoded = {name: np.unique(_column(measurement, name, rows)).size for name in ("Lin", "Par", "Sli")}
    found = {name: count for name, count in (*encoded.items(), *matrix.items()) if count > 1}
    if found:
        raise DataError(f"{stream.path}: is an imaging scan (counters {found}), expected a single voxel")


def _water(
    stream: AdcStream, measurement: Measurement, rows: Indices, name: str
) -> tuple[NDArray[np.bool_], str]:
    """Return which of the readouts are water references, and how that was known."""
    flagged = np.array([bool(measurement.readouts[row].flags & (PHASCOR | PATREFSCAN)) for row in rows])
    if flagged.any() and not flagged.all():
        return flagged, f"{int(flagged.sum())} water references by their flags"
    phase = _column(measurement, "Phs", rows)
    if measurement.is_vd and np.unique(phase).size > 1 and re.search(_PRODUCT, name):
        first = phase == phase.min()
        return first, f"{int(first.sum())} water references by the counter Phs"
    extra = _automatic(measurement, rows, name)
    if not extra:
        return np.zeros(rows.size, dtype=bool), ""
    size = _sizes(stream, rows)
    order = np.argsort(size)
    loudest = np.zeros(rows.size, dtype=bool)
    loudest[order[-extra:]] = True
    if size[loudest].min() < _LOUD * size[~loudest].max():
        raise DataError(
            f"{stream.path}: the protocol asks for {extra} water references among {rows.size} shots, but they "
            f"do not stand out: {size[loudest].min():.3g} after {size[~loudest].max():.3g}"
        )
    return loudest, f"{extra} automatic water references, by the protocol and their size"


def _without_gradients(measurement: Measurement, count: int, name: str) -> NDArray[np.bool_]:
    """Return which references have other eddy currents than the metabolites.

    The semi-LASER of Deelchand in its mode 8 plays, before and after, as many references with the gradients of
    suppression as without (spec2nii, `identify_integrated_references`).
    """
    each = int(measurement.number("sSpecPara", "lAutoRefScanNo"))
    mode = measurement.number("sSpecPara", "lAutoRefScanMode")
    if mode != _BOTH_KINDS or not re.search(_DEELCHAND, name.lower()) or not each or count != 4 * each:
        return np.zeros(count, dtype=bool)
    return np.asarray(np.arange(count) // each % 2 == 1)


def _automatic(measurement: Measurement, rows: Indices, name: str) -> int:
    """Return how many shots there are beyond the averages of the protocol, where it asks for references."""
    mode = measurement.number("sSpecPara", "lAutoRefScanMode")
    averages = int(measurement.number("lAverages"))
    if mode in (0.0, 1.0) or not averages:
        return 0
    counter, in_turn = editing(name, measurement.number("sWipMemBlock", "alFree", "7"))
    conditions = np.unique(_column(measurement, counter, rows)).size if counter else in_turn
    extra = rows.size - averages * conditions
    return extra if 0 < extra < rows.size else 0


def _sizes(stream: AdcStream, rows: Indices) -> NDArray[np.float64]:
    """Return the root-mean-square of the start of each shot over all coils."""
    shots = stream.fetch([int(row) for row in rows])
    return np.array([float(np.sqrt(np.mean(np.abs(shot[:, :_START_SAMPLES]) ** 2))) for shot in shots])


def _conditions(measurement: Measurement, rows: Indices, name: str) -> tuple[Indices, str]:
    """Return the shots with a row for each editing condition, and how that was known."""
    counter, in_turn = editing(name, measurement.number("sWipMemBlock", "alFree", "7"))
    values: NDArray[np.int64] | None = None
    words = ""
    if in_turn > 1 and rows.size >= in_turn:
        values, words = np.arange(rows.size) % in_turn, f"{in_turn} conditions in turn, as {name} plays them"
    else:
        counter = counter or _counting(measurement, rows)
        if counter is not None:
            values = _column(measurement, counter, rows)
            words = f"{np.unique(values).size} conditions by the counter {counter}"
    if values is None or np.unique(values).size < 2:
        return rows[None], ""
    return _rows(rows, values, words)


def _counting(measurement: Measurement, rows: Indices) -> str | None:
    """Return the counter that tells conditions from averages; `None` where there is one condition."""
    several = {name for name in COUNTERS if np.unique(_column(measurement, name, rows)).size > 1}
    if "Eco" in several:
        return "Eco"
    if "Set" in several and several & {"Ave", "Rep"}:
        return "Set"
    return None


def _rows(rows: Indices, values: NDArray[Any], words: str) -> tuple[Indices, str]:
    """Return shots by condition, as many of each as all of them have."""
    groups: Sequence[Indices] = [rows[values == value] for value in np.unique(values)]
    fewest = min(group.size for group in groups)
    lost = sum(group.size - fewest for group in groups)
    if lost:
        words += f"; the last {lost} shots are left out, for not every condition has them"
    return np.array([group[:fewest] for group in groups], dtype=np.int64), words


def _before_echo(measurement: Measurement, shots: Indices) -> int:
    """Return how many samples come before the top of the echo.

    The centre column says so where the readout is longer than what is stored of it after oversampling is
    removed; in other scans the column is half the readout and says nothing.
    """
    if not shots.size:
        return 0
    first = measurement.readouts[int(shots.flat[0])]
    vector = int(measurement.number("sSpecPara", "lVectorSize"))
    spare = min((first.samples - f * vector for f in (1, 2) if f * vector <= first.samples), default=0)
    return first.centre_column if vector and 0 < first.centre_column <= spare else 0
