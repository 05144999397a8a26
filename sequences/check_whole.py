"""Rules for a sequence as a whole: labels, segments, size, energy, stimulation, resonances."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.stimulation import LIMIT, stimulation
from pulsespec.sequences.violations import Violation
from pulsespec.simulator.blocks import corners

_AXES = ("gx", "gy", "gz")
_COUNTERS = ("SLC", "SEG", "REP", "AVG", "SET", "ECO", "PHS", "LIN", "PAR", "ACQ")
_SAMPLE_S = 10e-6
_EDGE_S = 5e-3
"""How much of a long block its neighbours are looked at with."""
_PERIODS = 8
"""Number of sign changes from which a gradient counts as oscillating."""
_MB = 1e6


class Blocks:
    """The blocks of a sequence by what they play: equal ones are taken apart once."""

    def __init__(self, sequence: Any) -> None:
        self.sequence = sequence
        self.numbers = list(sequence.block_events)
        self.durations = np.array([float(sequence.block_durations[n]) for n in self.numbers])
        self.starts = np.concatenate([[0.0], np.cumsum(self.durations)])[:-1]
        self.ids = [tuple(int(i) for i in sequence.block_events[n][1:7]) for n in self.numbers]
        self._known: dict[tuple[int, ...], Any] = {}

    def __getitem__(self, index: int) -> Any:
        """Return block `index`, from 0, without its labels."""
        key = self.ids[index][:5]
        if key not in self._known:
            self._known[key] = self.sequence.get_block(self.numbers[index])
        return self._known[key]

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.numbers)


def sampled(block: Any, step_s: float, duration_s: float) -> NDArray[np.float64]:
    """Return the gradients of a block in Hz/m on a raster from its start to its end; shape (n + 1, 3)."""
    times = np.arange(round(duration_s / step_s) + 1) * step_s
    result = np.zeros((times.size, 3))
    for axis, name in enumerate(("gx", "gy", "gz")):
        gradient = getattr(block, name)
        if gradient is not None:
            at, values = corners(gradient)
            result[:, axis] = np.interp(times, at, values, left=0.0, right=0.0)
    return result


def check_size(sequence: Any, path: Path | None, blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    """Yield whether the file or the number of repetitions is larger than what is known to run."""
    if (
        path is not None
        and scanner.max_file_mb is not None
        and path.stat().st_size > scanner.max_file_mb * _MB
    ):
        message = f"file of {path.stat().st_size / _MB:.1f} MB: expected at most {scanner.max_file_mb:g} MB"
        yield Violation("file_size", 0, message)
    repetitions = sum(ids[4] > 0 for ids in blocks.ids)
    if scanner.max_repetitions is not None and repetitions > scanner.max_repetitions:
        message = f"{repetitions} repetitions: expected at most {scanner.max_repetitions}"
        yield Violation("repetitions", 0, message)


def check_labels(sequence: Any, blocks: Blocks) -> Iterator[Violation]:
    """Yield where labels contradict each other, or a voxel that the file fixes could be moved."""
    with_adc = [k for k, ids in enumerate(blocks.ids) if ids[4] > 0]
    if not with_adc:
        return
    length = len(with_adc)
    labels = sequence.evaluate_labels(evolution="adc")
    columns = {key: np.resize(np.atleast_1d(values), length) for key, values in labels.items()}
    yield from _geometry(sequence, columns)
    reference = columns.get("REF", np.zeros(length, int))
    counters = [columns[key] for key in _COUNTERS if key in columns]
    if counters:
        rows = np.stack([reference, *counters], axis=1)
        _, first, count = np.unique(rows, axis=0, return_index=True, return_counts=True)
        if count.max() > 1:
            again = int(np.flatnonzero(np.all(rows == rows[first[int(np.argmax(count))]], axis=1))[1])
            yield _at(blocks, with_adc[again], "label_repeated", "two readouts have the same labels")
    for flag in ("REF", "NAV", "REV", "NOISE"):
        values = columns.get(flag, np.zeros(length, int))
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if wrong.size:
            message = f"{flag} is {values[wrong[0]]}: expected 0 or 1"
            yield _at(blocks, with_adc[int(wrong[0])], "label_flag", message)
    for key in ("AVG", "SET"):
        for kind in (0, 1):
            values = np.unique(columns.get(key, np.zeros(length, int))[reference == kind])
            if values.size and not np.array_equal(values, np.arange(values.size)):
                message = f"{key} takes the values {values[:6].tolist()}: expected 0, 1, 2 and so on"
                yield _at(blocks, with_adc[0], "label_counter", message)


def _geometry(sequence: Any, columns: Mapping[str, NDArray[Any]]) -> Iterator[Violation]:
    if "VoxelSize" not in sequence.definitions:
        return
    missing = [flag for flag in ("NOPOS", "NOROT", "NOSCL") if not np.all(columns.get(flag, 0))]
    if missing:
        message = (
            f"{', '.join(missing)} not set: an interpreter may move, turn or scale the voxel of the file"
        )
        yield Violation("geometry_labels", 1, message)


def check_segments(sequence: Any, blocks: Blocks) -> Iterator[Violation]:
    """Yield where the segments of a GE interpreter have no label or are not alike."""
    starts = [k for k, ids in enumerate(blocks.ids) if ids[5] > 0 and _trid(sequence, blocks, k) is not None]
    if not starts or starts[0] != 0:
        yield Violation("segment_label", 1, "no TRID label on the first block: expected one on every segment")
        return
    shapes: dict[int, tuple[Any, ...]] = {}
    for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        trid = _trid(sequence, blocks, start)
        assert trid is not None
        key = tuple(_structure(sequence, blocks, k) for k in range(start, end))
        if shapes.setdefault(trid, key) != key:
            message = (
                f"segment TRID {trid} has other blocks than its first instance: expected a TRID of its own"
            )
            yield _at(blocks, start, "segment_structure", message)
            return


def _trid(sequence: Any, blocks: Blocks, index: int) -> int | None:
    """Return the TRID that a block sets."""
    following = blocks.ids[index][5]
    while following:
        kind, number, following = (int(value) for value in sequence.extensions_library.data[following])
        if sequence.get_extension_type_string(kind) == "LABELSET":
            value, label = sequence.label_set_library.data[number]
            if _label_name(label) == "TRID":
                return int(value)
    return None


def _label_name(number: Any) -> str:
    from pypulseq.supported_labels_rf_use import get_supported_labels

    return str(get_supported_labels()[int(number) - 1])


def _structure(sequence: Any, blocks: Blocks, index: int) -> tuple[Any, ...]:
    """Return what every instance of a segment must share: kinds of events and their shapes."""
    rf, *gradients, adc, _ = blocks.ids[index]
    return (
        round(blocks.durations[index] * 1e9),
        rf and tuple(sequence.rf_library.data[rf][1:4]),
        tuple(g and _gradient_shape(sequence, g) for g in gradients),
        adc and tuple(sequence.adc_library.data[adc][:3]),
    )


def _gradient_shape(sequence: Any, number: int) -> tuple[Any, ...]:
    return (sequence.grad_library.type[number], *sequence.grad_library.data[number][3:])


def check_energy(blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    """Yield whether B1 or gradients are more, on average, than a limit that is known."""
    if scanner.max_b1_rms_ut is not None:
        value = rms_b1_ut(blocks, scanner)
        if value > scanner.max_b1_rms_ut:
            message = f"B1 of {value:.2f} uT rms: expected at most {scanner.max_b1_rms_ut:g} uT"
            yield Violation("rf_energy", 0, message)
    if scanner.max_grad_rms_mt_per_m is not None:
        values = rms_gradients_mt_per_m(blocks, scanner)
        if max(values) > scanner.max_grad_rms_mt_per_m:
            message = f"gradient of {max(values):.2f} mT/m rms: expected at most {scanner.max_grad_rms_mt_per_m:g} mT/m"
            yield Violation("duty_cycle", 0, message)


def rms_b1_ut(blocks: Blocks, scanner: Scanner) -> float:
    """Return B1+rms in uT over the whole sequence: the root of the mean of B1 squared."""
    energy: dict[int, float] = {}
    total = 0.0
    for index, ids in enumerate(blocks.ids):
        if ids[0]:
            if ids[0] not in energy:
                rf = blocks[index].rf
                step_s = float(rf.t[1] - rf.t[0]) if len(rf.t) > 1 else float(rf.shape_dur)
                energy[ids[0]] = float(np.sum(np.abs(rf.signal) ** 2)) * step_s
            total += energy[ids[0]]
    gamma = gamma_hz_per_t(scanner.nucleus)
    return float(np.sqrt(total / blocks.durations.sum())) / gamma * 1e6


def rms_gradients_mt_per_m(blocks: Blocks, scanner: Scanner) -> tuple[float, float, float]:
    """Return the root of the mean square of each gradient over the whole sequence, in mT/m."""
    known: dict[tuple[int, ...], NDArray[np.float64]] = {}
    total = np.zeros(3)
    for index, ids in enumerate(blocks.ids):
        key = ids[1:4]
        if any(key):
            if key not in known:
                g = sampled(blocks[index], _SAMPLE_S, blocks.durations[index])
                known[key] = np.sum(g**2, axis=0) * _SAMPLE_S
            total += known[key]
    x, y, z = np.sqrt(total / blocks.durations.sum()) / gamma_hz_per_t(scanner.nucleus) * 1e3
    return float(x), float(y), float(z)


def check_stimulation(blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    """Yield the first of the blocks at which peripheral nerves would be stimulated, with those beside it."""
    seen: set[tuple[tuple[int, ...], ...]] = set()
    worst, where = 0.0, 0
    for index, ids in enumerate(blocks.ids):
        before = blocks.ids[index - 1][1:4] if index else (0, 0, 0)
        key = (before, ids[1:4])
        if key in seen or not any(ids[1:4]):
            continue
        seen.add(key)
        # A long block is looked at whole once; its beginning again behind each other block.
        whole = ((0, 0, 0), ids[1:4]) not in seen
        seen.add(((0, 0, 0), ids[1:4]))
        now_s = blocks.durations[index] if whole else min(blocks.durations[index], _EDGE_S)
        now = sampled(blocks[index], _SAMPLE_S, now_s)
        joined = now
        if any(before):
            joined = np.concatenate(
                [sampled(blocks[index - 1], _SAMPLE_S, blocks.durations[index - 1])[-501:], now]
            )
        value = stimulation(joined / gamma_hz_per_t(scanner.nucleus), _SAMPLE_S, scanner)
        if value is not None and value > worst:
            worst, where = value, index
    if worst > LIMIT:
        message = f"nerve stimulation of {worst:.0%} of the threshold: expected at most {LIMIT:.0%}"
        yield _at(blocks, where, "stimulation", message)


def check_resonances(
    blocks: Blocks, bands_hz: Iterable[tuple[str, tuple[float, float]]]
) -> Iterator[Violation]:
    """Yield the blocks in which a gradient oscillates in one of the forbidden bands (axis, (from, to))."""
    bands = list(bands_hz)
    seen: set[int] = set()
    for index, ids in enumerate(blocks.ids):
        for axis, (name, number) in enumerate(zip(_AXES, ids[1:4], strict=True)):
            if not number or number in seen or not bands:
                continue
            seen.add(number)
            gradient = getattr(blocks[index], name)
            values = getattr(gradient, "waveform", np.zeros(0))
            if np.count_nonzero(np.diff(np.sign(values[np.nonzero(values)]))) < _PERIODS:
                continue
            wave = sampled(blocks[index], _SAMPLE_S, blocks.durations[index])[:, axis]
            spectrum = np.abs(np.fft.rfft(wave - wave.mean()))
            frequency = float(np.fft.rfftfreq(wave.size, _SAMPLE_S)[int(np.argmax(spectrum))])
            for on, (low, high) in bands:
                if on == name and low <= frequency <= high:
                    message = (
                        f"{name} oscillates at {frequency:.0f} Hz, in the band of the gradients' resonance: "
                        f"expected below {low:.0f} or above {high:.0f} Hz"
                    )
                    yield _at(blocks, index, "resonance", message)


def _at(blocks: Blocks, index: int, rule: str, message: str) -> Violation:
    return Violation(rule, int(blocks.numbers[index]), message, float(blocks.starts[index]))
