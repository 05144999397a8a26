"""Readouts sorted by the labels of the `.seq` that was played, whatever the scanner's counters say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError
from pulsespec.recon.stream import AdcStream, Indices, gather
from pulsespec.recon.transients import Record, Scan
from pulsespec.recon.voxel_check import check_voxel
from pulsespec.simulator.timeline import LabelledReadout, Played

SORTED = "Sorting of readouts by the sequence"
"""Name of the step that data sorted here carry."""

_ENCODED = ("LIN", "PAR", "SLC", "PHS", "SEG")
_LEFT_OUT = ("NAV",)
_IN_TIME = ("AVG", "REP")
_SAME_DWELL = 1e-6


@dataclass(frozen=True)
class Kind:
    """Readouts of one kind, alike in length, dwell time and frequency."""

    indices: Indices
    """Numbers of the readouts in the sequence: a row for each editing condition; shape (n_edit, n_average)."""
    first: LabelledReadout


def sort_by_sequence(stream: AdcStream, played: Played, name: str) -> Scan:
    """Return metabolite and water readouts as the labels of a sequence have them.

    Parameters
    ----------
    stream
        All readouts as they came.
    played
        What the `.seq` says; `REF` marks water, `SET` the editing condition, `NOISE` noise, `NAV` navigators,
        and `AVG` and `REP` count averages, which are otherwise in the order of time.
    name
        Of the `.seq`, for messages.

    Raises
    ------
    DataError
        The readouts are not those of the sequence, in number or in length, or the sequence encodes space.

    """
    rows = matched(stream, played.readouts, name)
    noise = np.array([bool(readout.labels.get("NOISE")) for readout in played.readouts])
    left = np.array([any(readout.labels.get(key) for key in _LEFT_OUT) for readout in played.readouts])
    water = np.array([readout.is_water_reference for readout in played.readouts])
    kinds = [
        _kind(stream, played.readouts, np.flatnonzero(chosen), name)
        for chosen in (~noise & ~left & ~water, ~noise & ~left & water)
    ]
    if not any(kinds):
        raise DataError(f"{stream.path}: {name} has no readout but noise and navigators")
    stream = with_noise(stream, rows[noise])
    record = Record(SORTED, _words(played, kinds, noise, left, name))
    parts = [
        None if kind is None else gather(stream, rows[kind.indices], **_facts(stream, kind, played, record))
        for kind in kinds
    ]
    return Scan(*(None if part is None else check_voxel(part, played, name) for part in parts))


def matched(stream: AdcStream, readouts: Sequence[LabelledReadout], name: str) -> Indices:
    """Return the number in the stream of each readout of the sequence; `DataError` where they are not the same."""
    own = np.flatnonzero(~stream.is_noise)
    rows = own if len(own) == len(readouts) else np.arange(len(stream))
    if len(rows) != len(readouts):
        raise DataError(
            f"{stream.path}: has {len(own)} ADCs, but the sequence has {len(readouts)}: not played from {name}"
        )
    for number, (row, readout) in enumerate(zip(rows, readouts, strict=True), 1):
        samples = int(stream.shapes[row, 1])
        if samples != readout.samples:
            raise DataError(
                f"{stream.path}: {samples} samples in ADC {number}, but {readout.samples} in {name}"
            )
    return rows.astype(np.int64)


def _kind(stream: AdcStream, readouts: Sequence[LabelledReadout], members: Indices, name: str) -> Kind | None:
    """Return the readouts `members` by condition and average."""
    if not members.size:
        return None
    first = readouts[members[0]]
    lengths = sorted({(readouts[m].samples, round(readouts[m].dwell_s * 1e9)) for m in members})
    if len(lengths) > 1:
        listed = ", ".join(f"{samples} at {dwell} ns" for samples, dwell in lengths)
        raise DataError(
            f"{stream.path}: {'water' if first.is_water_reference else 'metabolite'} readouts of {name} differ: "
            f"{listed}; expected one length, or labels that tell them apart"
        )
    encoded = {key: len({readouts[m].labels.get(key, 0) for m in members}) for key in _ENCODED}
    encoded = {key: count for key, count in encoded.items() if count > 1}
    if encoded and _repeats(readouts, members):
        raise DataError(f"{stream.path}: {name} encodes space (labels {encoded}), expected a single voxel")
    conditions = sorted({readouts[m].condition for m in members})
    groups = [[m for m in members if readouts[m].condition == condition] for condition in conditions]
    if len({len(group) for group in groups}) > 1:
        counts = {c: len(g) for c, g in zip(conditions, groups, strict=True)}
        raise DataError(
            f"{stream.path}: conditions (SET) of {name} have different numbers of shots: {counts}"
        )
    return Kind(np.array([_in_order(readouts, group) for group in groups], dtype=np.int64), first)


def _repeats(readouts: Sequence[LabelledReadout], members: Indices) -> bool:
    """Return whether more than one label encodes, or one does so along with averages: not a mere series."""
    seen = [tuple(readouts[m].labels.get(key, 0) for key in _ENCODED) for m in members]
    varied = sum(len(set(column)) > 1 for column in zip(*seen, strict=True))
    return varied > 1 or len(set(seen)) < len(seen)


def _in_order(readouts: Sequence[LabelledReadout], group: Sequence[int]) -> list[int]:
    return sorted(group, key=lambda m: tuple(readouts[m].labels.get(key, 0) for key in _IN_TIME))


def with_noise(stream: AdcStream, rows: Indices) -> AdcStream:
    """Return the stream with further readouts taken for noise."""
    is_noise = stream.is_noise.copy()
    is_noise[rows] = True
    return AdcStream(
        stream.path, stream.shapes, stream.fetch, stream.facts, is_noise, stream.extra_noise, stream.records
    )


def facts_of(
    played: Played, is_water: bool, f0_hz: float, te_s: float | None, tr_s: float | None
) -> dict[str, Any]:
    """Return what a sequence knows better than a header, as fields of `Transients`; else what was known."""
    ours = [readout for readout in played.readouts if readout.is_water_reference == is_water]
    centre = float(next(iter(played.numbers("ReceiverPPM")), RECEIVER_PPM))
    found: dict[str, Any] = {
        "te_s": next(iter(played.numbers("TE").tolist()), te_s),
        "tr_s": next(iter(played.numbers("TR").tolist()), tr_s),
        "reference_ppm": centre + (ours or played.readouts)[0].offset_hz / f0_hz * 1e6,
    }
    name = str(played.definitions.get("Name", ""))
    return found | ({"sequence": name} if name else {})


def _facts(stream: AdcStream, kind: Kind, played: Played, record: Record) -> dict[str, Any]:
    """Return what holds for readouts of one kind; what a header says of timing is not the sequence's."""
    f0_hz = float(stream.facts["f0_hz"])
    return {
        **facts_of(played, kind.first.is_water_reference, f0_hz, None, None),
        "dwell_s": kind.first.dwell_s,
        "nucleus": str(played.definitions.get("Nucleus", stream.facts.get("nucleus", "1H"))),
        "records": (record,),
    }


def _words(played: Played, kinds: Sequence[Kind | None], noise: Any, left: Any, name: str) -> str:
    parts = []
    for kind, what in zip(kinds, ("metabolite", "water"), strict=True):
        if kind is not None:
            edit, average = kind.indices.shape
            parts.append(f"{edit} conditions of {average} {what}" if edit > 1 else f"{average} {what}")
    for flags, what in ((noise, "noise"), (left, "navigator")):
        parts += [f"{int(flags.sum())} {what}"] if flags.any() else []
    series = [key for key in _ENCODED if len({readout.labels.get(key, 0) for readout in played.readouts}) > 1]
    note = f"; {series[0]} counts a series of shots, for none is repeated" if series else ""
    return f"{len(played.readouts)} readouts by the labels of {name}: {', '.join(parts)}{note}"
