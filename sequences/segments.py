"""Rules of the GE interpreter about segments.

From its rules of sequence design (https://github.com/HarmonizedMRI/SequenceExamples-GE, pge2/docs, read in a stored
copy): a segment goes from one `TRID` label to the next; its first instance defines it, and every other must have as
many blocks, with the same kinds of events and the same shapes up to amplitude, phase and frequency; only the
duration of a block without events may vary; gradients start and end a segment at zero; 117 us pass after each.
"""

from collections.abc import Iterator
from typing import Any

from pulsespec.sequences.block_table import AXES, Blocks
from pulsespec.sequences.labels import labels_of
from pulsespec.sequences.violations import Violation, violation_at

_TIME_SLACK_S = 1e-9
_OFF_HZ_PER_M = 1.0


def check_segments(blocks: Blocks) -> Iterator[Violation]:
    """Yield where segments have no label, are unlike their first instance or begin or end with a gradient on."""
    starts = [(index, trid) for index in range(len(blocks)) if (trid := _trid(blocks, index)) is not None]
    if not starts or starts[0][0] != 0:
        yield violation_at(
            blocks, 0, "segment_label", "no TRID label: expected one on the first block of every segment"
        )
    first: dict[int, tuple[tuple[Any, ...], ...]] = {}
    reported: set[tuple[int, tuple[Any, ...]]] = set()
    ends = [index for index, _ in (*starts[1:], (len(blocks), 0))] if starts else []
    for (start, trid), end in zip(starts, ends, strict=True):
        structure = tuple(_structure(blocks, index) for index in range(start, end))
        wanted = first.setdefault(trid, structure)
        if structure != wanted and (trid, structure) not in reported:
            reported.add((trid, structure))
            where, message = _difference(structure, wanted)
            message = f"segment TRID {trid} {message}: expected a TRID of its own, or blocks like its first"
            yield violation_at(blocks, min(start + where, end - 1), "segment_structure", message)
    yield from _borders(blocks, [index for index, _ in starts[1:]])


def _trid(blocks: Blocks, index: int) -> int | None:
    """Return the TRID that a block sets."""
    for label in labels_of(blocks, index):
        if label.name == "TRID" and not label.adds:
            return label.value
    return None


def _structure(blocks: Blocks, index: int) -> tuple[Any, ...]:
    """Return what every instance of a segment must share: kinds of events, their shapes and times."""
    rf, *gradients, adc, extensions = blocks.ids[index]
    sequence = blocks.sequence
    triggers = tuple(kind for kind, _ in _extensions(sequence, extensions) if kind == "TRIGGERS")
    if not (rf or any(gradients) or adc or triggers):
        return ("delay",)
    pulse = rf and (*sequence.rf_library.data[rf][1:4], sequence.rf_library.data[rf][5])
    readout = adc and tuple(sequence.adc_library.data[adc][:3])
    shapes = tuple(number and _shape(sequence, number) for number in gradients)
    return (round(blocks.durations[index] * 1e9), pulse, shapes, readout, triggers)


def _shape(sequence: Any, number: int) -> tuple[Any, ...]:
    """Return times of a trapezoid, or shape, time shape and delay of an arbitrary gradient."""
    kind = sequence.grad_library.type[number]
    return (kind, *sequence.grad_library.data[number][1 if kind == "t" else 3 :])


def _extensions(sequence: Any, following: int) -> Iterator[tuple[str, int]]:
    """Yield kind and number of all extensions of a block."""
    while following:
        kind, number, following = (int(value) for value in sequence.extensions_library.data[following])
        yield sequence.get_extension_type_string(kind), number


def _difference(
    structure: tuple[tuple[Any, ...], ...], wanted: tuple[tuple[Any, ...], ...]
) -> tuple[int, str]:
    """Return at which block two segments begin to differ, and how in words."""
    for where, (came, expected) in enumerate(zip(structure, wanted, strict=False)):
        if came != expected:
            names = ("duration", "pulse", "gradients", "readout", "triggers")
            if len(came) != len(expected):
                return where, f"has another kind of block {where + 1} than its first instance"
            differing = [n for n, a, b in zip(names, came, expected, strict=True) if a != b]
            return (
                where,
                f"has another {' and '.join(differing)} in block {where + 1} than its first instance",
            )
    return min(len(structure), len(wanted)), f"has {len(structure)} blocks, its first instance {len(wanted)}"


def _borders(blocks: Blocks, starts: list[int]) -> Iterator[Violation]:
    """Yield where a gradient goes on from one segment to the next."""
    seen: set[tuple[int, ...]] = set()
    for index in starts:
        before, now = blocks.ids[index - 1][1:4], blocks.ids[index][1:4]
        if (key := (*before, *now)) in seen:
            continue
        seen.add(key)
        for axis, last, first in zip(AXES, before, now, strict=True):
            times, values = blocks.corners(last)
            on = bool(times.size) and times[-1] > blocks.durations[index - 1] - _TIME_SLACK_S
            value = values[-1] if on else 0.0
            times, values = blocks.corners(first)
            following = values[0] if times.size and times[0] < _TIME_SLACK_S else 0.0
            if max(abs(value), abs(following)) > _OFF_HZ_PER_M:
                message = (
                    f"{axis} of {max(value, following, key=abs):.0f} Hz/m between two segments: expected 0"
                )
                yield violation_at(blocks, index, "segment_gradient", message)
