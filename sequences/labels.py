"""The labels of a sequence: what each readout carries, and where they contradict each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pypulseq.supported_labels_rf_use import get_supported_labels

from pulsespec.sequences.block_table import Blocks
from pulsespec.sequences.violations import Violation, violation_at

_COUNTERS = ("SLC", "SEG", "REP", "AVG", "SET", "ECO", "PHS", "LIN", "PAR", "ACQ")
_FLAGS = ("NAV", "REV", "SMS", "REF", "IMA", "NOISE")
_GEOMETRY = ("NOPOS", "NOROT", "NOSCL")
_GAPLESS = ("AVG", "SET")
_NAMES = get_supported_labels()


@dataclass(frozen=True)
class Label:
    """One label of a block."""

    name: str
    value: int
    adds: bool
    """Whether the value is added to what the label was, or replaces it."""


def labels_of(blocks: Blocks, index: int) -> tuple[Label, ...]:
    """Return the labels of block `index` in the order in which they act."""
    return _chain(blocks.sequence, blocks.ids[index][5])


def _chain(sequence: Any, following: int) -> tuple[Label, ...]:
    found = []
    while following:
        kind, number, following = (int(value) for value in sequence.extensions_library.data[following])
        name = sequence.get_extension_type_string(kind)
        if name in ("LABELSET", "LABELINC"):
            library = sequence.label_set_library if name == "LABELSET" else sequence.label_inc_library
            value, label = library.data[number]
            found.append(Label(_NAMES[int(label) - 1], int(value), name == "LABELINC"))
    return tuple(reversed(found))  # a file has them as a list that starts with the last


def label_table(blocks: Blocks) -> dict[str, NDArray[np.int64]]:
    """Return every label that the sequence uses with its value at each readout; shape (number of readouts,)."""
    chains: dict[int, tuple[Label, ...]] = {}
    now: dict[str, int] = {}
    rows = []
    for ids in blocks.ids:
        if ids[5]:
            if ids[5] not in chains:
                chains[ids[5]] = _chain(blocks.sequence, ids[5])
            for label in chains[ids[5]]:
                now[label.name] = label.value + (now.get(label.name, 0) if label.adds else 0)
        if ids[4]:
            rows.append(dict(now))
    return {name: np.array([row.get(name, 0) for row in rows], dtype=np.int64) for name in now}


def check_labels(blocks: Blocks) -> Iterator[Violation]:
    """Yield where labels contradict each other, or a voxel that the file fixes could be moved."""
    readouts = [index for index, ids in enumerate(blocks.ids) if ids[4]]
    if not readouts:
        return
    table = label_table(blocks)
    columns = {name: table.get(name, np.zeros(len(readouts), np.int64)) for name in _NAMES}
    if "VoxelSize" in blocks.sequence.definitions:
        yield from _geometry(blocks, readouts, columns)
    if any(name in table for name in _COUNTERS):
        yield from _repeated(blocks, readouts, {name: columns[name] for name in (*_COUNTERS, *_FLAGS)})
    for flag in _FLAGS:
        wrong = np.flatnonzero((columns[flag] != 0) & (columns[flag] != 1))
        if wrong.size:
            message = f"{flag} is {columns[flag][wrong[0]]}: expected 0 or 1"
            yield violation_at(blocks, readouts[wrong[0]], "label_flag", message)
    for name in _GAPLESS:
        yield from _gaps(blocks, readouts, name, columns)


def _geometry(
    blocks: Blocks, readouts: list[int], columns: dict[str, NDArray[np.int64]]
) -> Iterator[Violation]:
    missing = np.stack([columns[flag] == 0 for flag in _GEOMETRY])
    if missing.any():
        first = int(np.flatnonzero(missing.any(axis=0))[0])
        flags = ", ".join(flag for flag, out in zip(_GEOMETRY, missing[:, first], strict=True) if out)
        message = f"{flags} not set: expected 1, or an interpreter may move, turn or scale the voxel"
        yield violation_at(blocks, readouts[first], "geometry_labels", message)


def _repeated(
    blocks: Blocks, readouts: list[int], columns: dict[str, NDArray[np.int64]]
) -> Iterator[Violation]:
    rows = np.stack(list(columns.values()), axis=1)
    _, inverse, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    if count.max() == 1:
        return
    inverse = inverse.reshape(-1)
    ordered = np.argsort(inverse, kind="stable")
    again = ordered[1:][inverse[ordered][1:] == inverse[ordered][:-1]]
    first = int(again.min())
    said = " ".join(f"{name} {values[first]}" for name, values in columns.items() if values.any())
    message = f"{again.size} readouts repeat the labels of an earlier one ({said or 'all 0'}): expected none"
    yield violation_at(blocks, readouts[first], "label_repeated", message)


def _gaps(
    blocks: Blocks, readouts: list[int], name: str, columns: dict[str, NDArray[np.int64]]
) -> Iterator[Violation]:
    """Yield where a counter, of metabolites or of water, does not take all values from 0."""
    for reference in (0, 1):
        of_kind = np.flatnonzero(columns["REF"] == reference)
        taken = np.unique(columns[name][of_kind])
        astray = taken[taken != np.arange(taken.size)]
        if astray.size:
            first = int(of_kind[np.flatnonzero(columns[name][of_kind] == astray[0])[0]])
            message = f"{name} is {astray[0]} without all values before it: expected 0, 1, 2 and so on"
            yield violation_at(blocks, readouts[first], "label_counter", message)
