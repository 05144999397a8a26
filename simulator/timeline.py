"""A `.seq` file as physics: for each distinct shot its pulses, the moments between them and its readout.

A shot is what happens from the start of its repetition to the end of its ADC. Shots that differ in nothing
but constant RF and ADC phases (a phase cycle) are one shot with several `phases`; shots that are equal are
counted. Nothing here depends on the name of a sequence or on the `use` of its pulses.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, field_from_larmor, larmor_hz
from pulsespec.errors import SequenceError
from pulsespec.files import attempt
from pulsespec.simulator.blocks import Block, Rf, read_block

_TIME_SLACK_S = 1e-9


@dataclass(frozen=True)
class Pulse:
    """One RF pulse as played, in the frame of its own carrier, without its constant phase."""

    rf: Rf
    """B1 samples, their raster, frequency offset and the gradient during the pulse."""
    moment_per_m: NDArray[np.float64]
    """Gradient moment between the end of this pulse and the next pulse or first sample; cycles/m; (3,)."""
    delay_s: float
    """Time from the end of this pulse to the start of the next one or to the first ADC sample."""


@dataclass(frozen=True)
class Readout:
    """The ADC of a shot."""

    samples: int
    dwell_s: float
    offset_hz: float
    """Frequency offset of the receiver."""
    moments_per_m: NDArray[np.float64] | None = None
    """Gradient moment since the first sample at each of them, where a gradient is on; cycles/m, (samples, 3)."""

    @property
    def has_gradient(self) -> bool:
        """Whether any gradient is on while samples are taken."""
        return self.moments_per_m is not None


@dataclass(frozen=True)
class Shot:
    """A distinct shot with its phase cycle."""

    pulses: tuple[Pulse, ...]
    readout: Readout
    phases: NDArray[np.float64]
    """Constant phases in rad of every pulse, then of the ADC, in each repetition: (n_repeats, n_pulses + 1)."""
    is_water_reference: bool
    """Whether the shot carries the flag `REF`."""
    condition: int
    """Editing condition: the label `SET`."""
    orders: tuple[int | None, ...] | None = None
    """The only coherence order after each pulse, `None` for any, where the source states it and plays no gradients."""


@dataclass(frozen=True)
class Voxel:
    """The nominal voxel that a file defines."""

    size_m: NDArray[np.float64]
    """Length of its edges; shape (3,)."""
    axes: NDArray[np.float64]
    """Directions of its edges in gradient coordinates, columns; shape (3, 3)."""

    def along(self, direction: NDArray[np.float64]) -> float:
        """Return the length of the edge that lies nearest to a direction."""
        return float(self.size_m[np.argmax(np.abs(direction @ self.axes))])


@dataclass(frozen=True)
class Timeline:
    """What the simulator and the reconstruction need to know of a `.seq` file."""

    shots: tuple[Shot, ...]
    f0_hz: float
    """Larmor frequency for which frequency offsets were resolved."""
    nucleus: str
    reference_ppm: float
    definitions: dict[str, Any] = field(default_factory=dict)
    sequence_hash: str = ""
    """SHA-256 of the file's bytes."""

    @property
    def name(self) -> str:
        """Name of the sequence as its definitions have it."""
        return str(self.definitions.get("Name", ""))

    def seconds(self, key: str) -> float | None:
        """Return the definition `key`, a time in s, or `None` where the file has none."""
        return float(np.ravel(self.definitions[key])[0]) if key in self.definitions else None

    @property
    def voxel(self) -> Voxel | None:
        """The nominal voxel, or `None` where the file does not define one."""
        size = np.ravel(self.definitions.get("VoxelSize", ()))
        if size.size != 3:
            return None
        return Voxel(size.astype(float), self.voxel_axes)

    @property
    def voxel_axes(self) -> NDArray[np.float64]:
        """Axes of the voxel in gradient coordinates, columns; (3, 3). Those of the gradients where none are defined."""
        return np.ravel(self.definitions.get("VoxelOrientation", np.eye(3))).reshape(3, 3).astype(float)

    @property
    def voxel_centre_m(self) -> NDArray[np.float64]:
        """Centre of the voxel from the isocentre; (3,). The isocentre where none is defined."""
        return np.ravel(self.definitions.get("VoxelPosition", np.zeros(3))).astype(float)

    def select(self, *, water_reference: bool, condition: int = 0) -> tuple[Shot, ...]:
        """Return the shots of one kind."""
        return tuple(
            shot
            for shot in self.shots
            if shot.is_water_reference == water_reference and shot.condition == condition
        )


def read_timeline(path: Path, f0_hz: float | None = None, nucleus: str | None = None) -> Timeline:
    """Read a `.seq` file (Pulseq 1.4 or 1.5) into its distinct shots.

    Parameters
    ----------
    path
        The file.
    f0_hz
        Larmor frequency in Hz; by default that of the file's `B0` definition.
    nucleus
        By default that of the file's `Nucleus` definition, else "1H".

    Raises
    ------
    SequenceError
        The file cannot be read, has no ADC or no pulse before one, or no field is known.

    """
    path = Path(path)
    sequence, raw = _load(path)
    definitions = dict(sequence.definitions)
    nucleus = nucleus or str(definitions.get("Nucleus", "1H"))
    if f0_hz is None:
        if "B0" not in definitions:
            raise SequenceError(f"{path}: has no B0 definition; say the field (--field, or f0_hz)")
        f0_hz = larmor_hz(float(np.ravel(definitions["B0"])[0]), nucleus)
    sequence.system.B0 = field_from_larmor(f0_hz, nucleus)
    blocks = _blocks(sequence, f0_hz)
    if not any(block.adc for block in blocks):
        raise SequenceError(f"{path}: has no ADC event, so there is nothing to simulate or reconstruct")
    labels = _labels(sequence, sum(block.adc is not None for block in blocks))
    tr_s = float(np.ravel(definitions["TR"])[0]) if "TR" in definitions else None
    return Timeline(
        shots=_merge(path, list(_windows(blocks, tr_s)), labels),
        f0_hz=f0_hz,
        nucleus=nucleus,
        reference_ppm=float(np.ravel(definitions.get("ReceiverPPM", RECEIVER_PPM))[0]),
        definitions=definitions,
        sequence_hash=hashlib.sha256(raw).hexdigest(),
    )


def _blocks(sequence: Any, f0_hz: float) -> list[Block]:
    """Return all blocks; those of the same events and duration are unpacked once."""
    known: dict[tuple[Any, ...], Block] = {}
    found = []
    for index, events in sequence.block_events.items():
        key = (*(int(number) for number in events), float(sequence.block_durations[index]))
        if key not in known:
            known[key] = read_block(sequence, index, f0_hz)
        found.append(known[key])
    return found


@dataclass(frozen=True)
class LabelledReadout:
    """One ADC event of a file, in the order in which it is played."""

    samples: int
    dwell_s: float
    offset_hz: float
    """Frequency offset of the receiver, ppm offsets resolved at the file's field."""
    is_water_reference: bool
    condition: int
    labels: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Every label that the sequence uses, with its value at this readout."""


class Played(NamedTuple):
    """What a receiver needs to know of a `.seq`: its readouts in order and its definitions."""

    readouts: tuple[LabelledReadout, ...]
    definitions: dict[str, Any]

    def numbers(self, key: str) -> NDArray[np.float64]:
        """Return the numbers of a definition; empty where the file has none."""
        return np.ravel(np.asarray(self.definitions.get(key, ()), dtype=float))


def read_readouts(path: Path) -> tuple[LabelledReadout, ...]:
    """Return all ADC events of a `.seq` with their labels; `SequenceError` where it has none."""
    return read_played(path).readouts


def read_played(path: Path, f0_hz: float | None = None) -> Played:
    """Return readouts and definitions of a `.seq`; `SequenceError` where it has no readout.

    Offsets in ppm are resolved at `f0_hz`, by default at the file's field.
    """
    path = Path(path)
    sequence, _ = _load(path)
    events = [sequence.get_block(index).adc for index in sequence.block_events]
    events = [event for event in events if event is not None]
    if not events:
        raise SequenceError(f"{path}: has no ADC event, so there is nothing to simulate or reconstruct")
    labels = _labels(sequence, len(events))
    f0_hz = f0_hz or larmor_hz(float(np.ravel(sequence.definitions.get("B0", 0.0))[0]))
    readouts = tuple(
        LabelledReadout(
            int(event.num_samples),
            float(event.dwell),
            _offset(event, f0_hz),
            bool(labels["REF"][number]),
            int(labels["SET"][number]),
            {name: int(values[number]) for name, values in labels.items()},
        )
        for number, event in enumerate(events)
    )
    return Played(readouts, dict(sequence.definitions))


def _offset(event: Any, f0_hz: float) -> float:
    return float(event.freq_offset) + float(getattr(event, "freq_ppm", 0.0)) * 1e-6 * f0_hz


def _load(path: Path) -> tuple[Any, bytes]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SequenceError(f"{path}: cannot be read ({error.strerror})") from error
    if b"[VERSION]" not in raw or b"[BLOCKS]" not in raw:
        raise SequenceError(f"{path}: is not a Pulseq file (no [VERSION] or [BLOCKS] section)")
    sequence, words = attempt(lambda: _parsed(path))
    if sequence is None:
        raise SequenceError(f"{path}: cannot be read as a Pulseq file ({words})")
    return sequence, raw


def _parsed(path: Path) -> Any:
    """Return the sequence with every distinct block unpacked once, so that damage shows here."""
    import pypulseq  # a second to import, with all of matplotlib: only where a .seq is read

    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Loading older Pulseq format", UserWarning)
        sequence.read(str(path))
    seen = set()
    for index, events in sequence.block_events.items():
        key = tuple(int(number) for number in events)
        if key not in seen:
            seen.add(key)
            sequence.get_block(index)
    return sequence


def _labels(sequence: Any, n_adc: int) -> dict[str, NDArray[np.int64]]:
    """Return every label with its value at each readout, REF and SET in any case."""
    found = sequence.evaluate_labels(evolution="adc") or {}
    zeros = np.zeros(n_adc, dtype=np.int64)
    return {key: np.asarray(found.get(key, zeros), dtype=np.int64) for key in ("REF", "SET", *found)}


def _windows(blocks: list[Block], tr_s: float | None) -> Iterator[tuple[list[Block], float]]:
    """Yield, for each ADC, the blocks of its shot and the time of its first sample from their start.

    Dummy repetitions have no ADC: a block that starts more than TR before the end of the ADC is not of
    this shot.
    """
    ends = np.cumsum([block.duration_s for block in blocks])
    first = 0
    for index, block in enumerate(blocks):
        if block.adc is None:
            continue
        start = first
        if tr_s is not None:
            earliest = ends[index] - tr_s - _TIME_SLACK_S
            while start < index and ends[start] - blocks[start].duration_s < earliest:
                start += 1
        yield (
            blocks[start : index + 1],
            float(ends[index] - block.duration_s - ends[start] + blocks[start].duration_s),
        )
        first = index + 1


def _shot(
    window: list[Block], adc_block_start_s: float, tracks: dict[tuple[Any, ...], NDArray[np.float64] | None]
) -> tuple[tuple[Pulse, ...], Readout]:
    """Return pulses and readout; `tracks` keeps the moments of readouts that were met before."""
    adc = window[-1].adc
    assert adc is not None
    first_sample_s = adc_block_start_s + adc.first_sample_s
    starts = np.concatenate([[0.0], np.cumsum([block.duration_s for block in window])])
    played = [(start, block.rf) for start, block in zip(starts, window, strict=False) if block.rf]
    edges = [start + rf.start_s for start, rf in played] + [first_sample_s]
    pulses = []
    for (start, rf), following in zip(played, edges[1:], strict=True):
        end = start + rf.start_s + rf.duration_s
        pulses.append(Pulse(rf, _moment(window, starts, end, following), following - end))
    key = window[-1].readout_key
    if key not in tracks:
        tracks[key] = window[-1].readout_moments()
    return tuple(pulses), Readout(adc.samples, adc.dwell_s, adc.offset_hz, tracks[key])


def _moment(
    window: list[Block], starts: NDArray[np.float64], begin_s: float, end_s: float
) -> NDArray[np.float64]:
    """Return the integral of the gradients of blocks between two times; shape (3,)."""
    first = max(int(np.searchsorted(starts, begin_s, "right")) - 1, 0)
    last = int(np.searchsorted(starts, end_s, "left"))
    total = np.zeros(3)
    for block, start in zip(window[first:last], starts[first:last], strict=False):
        if start >= begin_s and start + block.duration_s <= end_s:
            total += block.area
        else:
            total += block.moment(begin_s - start, end_s - start)
    return total


def _merge(
    path: Path, windows: list[tuple[list[Block], float]], labels: dict[str, NDArray[np.int64]]
) -> tuple[Shot, ...]:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, (window, _) in enumerate(windows):
        key = (labels["REF"][number], labels["SET"][number], *(block.key for block in window))
        groups.setdefault(key, []).append(number)
    shots = []
    tracks: dict[tuple[Any, ...], NDArray[np.float64] | None] = {}
    for members in groups.values():
        window, adc_start = windows[members[0]]
        pulses, readout = _shot(window, adc_start, tracks)
        if not pulses:
            raise SequenceError(f"{path}: ADC {members[0] + 1} has no RF pulse before it in its repetition")
        phases = np.array([_phases(windows[member][0]) for member in members])
        shots.append(
            Shot(
                pulses,
                readout,
                phases,
                bool(labels["REF"][members[0]]),
                int(labels["SET"][members[0]]),
            )
        )
    return tuple(shots)


def _phases(window: list[Block]) -> list[float]:
    adc = window[-1].adc
    assert adc is not None
    return [block.rf_phase for block in window if block.rf] + [adc.phase]
