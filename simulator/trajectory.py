"""Where in k-space every sample of a `.seq` lies: what imaging data are reconstructed with.

k in cycles/m is the moment of the gradients along the wanted coherence pathway, so that what lies at r has the
phase +2 pi k . r at the sample (Pulseq's sense: the higher field precesses faster). An excitation starts it,
stored coherence keeps it, a refocusing pulse turns it around. It is integrated exactly between the corners of
the gradients.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.blocks import corners, gradient_at, moment_until

_AXES = ("gx", "gy", "gz")
_LABELS = ("LIN", "PAR", "PHS", "SLC", "SEG", "ECO", "REV", "SET", "AVG", "REF")

_REFOCUSING_TURNS = 0.375
"""A pulse without a use is taken to refocus above this flip angle, in turns."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Train:
    """The samples of one kind of readout."""

    k_per_m: Floats
    """From the start of the readout's block along x, y, z; (n_samples, 3)."""
    times_s: Floats
    """From the start of the block; (n_samples,)."""
    gradient_hz_per_m: Floats
    """At each sample; (n_samples, 3)."""


@dataclass(frozen=True)
class Trajectory:
    """All readouts of a file; equal ones share their train."""

    offsets_per_m: Floats
    """k at the start of the block of each readout; (n_readouts, 3)."""
    starts_s: Floats
    """From the centre of the excitation to the start of that block; (n_readouts,)."""
    kinds: NDArray[np.int64]
    """Number of the train of each readout; (n_readouts,)."""
    trains: tuple[Train, ...]
    labels: dict[str, NDArray[np.int64]]
    """Labels of each readout; 0 where the file sets none; (n_readouts,) each."""
    begins_s: Floats
    """From the start of the file to the start of that block; (n_readouts,)."""
    evolution_s: Floats
    """Time at the start of that block for which an offset of the field has turned the phase, along the wanted
    pathway: that since the excitation, less twice what a spin echo refocuses; 0 at an echo; (n_readouts,)."""

    def k_per_m(self, readout: int) -> Floats:
        """Return k of every sample of a readout along x, y, z of the gradients; (n_samples, 3)."""
        return np.asarray(self.offsets_per_m[readout] + self.trains[self.kinds[readout]].k_per_m)

    def times_s(self, readout: int) -> Floats:
        """Return the time of every sample from the centre of the excitation; (n_samples,)."""
        return np.asarray(self.starts_s[readout] + self.trains[self.kinds[readout]].times_s)

    def field_times_s(self, readout: int) -> Floats:
        """Return the time for which an offset of the field has turned the phase of every sample; (n_samples,)."""
        return np.asarray(self.evolution_s[readout] + self.trains[self.kinds[readout]].times_s)


@dataclass(frozen=True)
class Echo:
    """One crossing of k-space within a train."""

    samples: slice
    direction: int
    """+1 where k grows along the axis of the readout, -1 where it falls."""


def echoes(train: Train, direction: Floats) -> tuple[Echo, ...]:
    """Return the echoes of a train: the runs of samples under a gradient of one sign along a unit vector."""
    sign = np.sign(train.gradient_hz_per_m @ direction).astype(int)
    edges = np.flatnonzero(np.diff(sign)) + 1
    bounds = np.concatenate([[0], edges, [sign.size]])
    return tuple(
        Echo(slice(int(low), int(high)), int(sign[low])) for low, high in pairwise(bounds) if sign[low]
    )


def read_trajectory(path: Path, delays_s: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Trajectory:
    """Return where every sample of a `.seq` (Pulseq 1.4 or 1.5) lies in k-space.

    With `delays_s` the gradients along x, y, z of a readout's block come later than the file says (as those of a
    scanner do), while its samples do not.

    The wanted pathway is the definition `Pathway` (`WaterPathway` for readouts with the flag `REF`, where the
    file has it): the order after each of the last pulses before a readout. Without it, the last excitation before
    the readout begins it and the pulses since then refocus, by their use or, where that is not said, by a flip
    angle above 135 degrees.

    Raises
    ------
    SequenceError
        The file cannot be read, or a readout has fewer pulses before it than its pathway.

    """
    import pypulseq  # a second to import, with all of matplotlib: only where a .seq is read

    path = Path(path)
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    try:
        sequence.read(str(path))
    except Exception as error:  # pypulseq raises whatever the damage makes of it
        raise SequenceError(f"{path}: cannot be read as a Pulseq file ({error})") from error
    blocks = _Blocks(sequence)
    readouts = [k for k, ids in enumerate(blocks.ids) if ids[4]]
    if not readouts:
        raise SequenceError(f"{path}: has no ADC event")
    labels = _labels(sequence, len(readouts))
    at_start, pulses = blocks.moments()
    times = [time for _, time, _ in pulses]
    offsets, starts, kinds, begins, evolution = [], [], [], [], []
    trains: dict[tuple[int, ...], tuple[int, int]] = {}
    for number, index in enumerate(readouts):
        last = int(np.searchsorted(times, blocks.starts[index] + 1e-12))
        wanted = _pathway(sequence, bool(labels["REF"][number]))
        if not wanted:
            wanted = _spin_echo([blocks.block(block).rf for block, _, _ in pulses[:last]])
        if last < len(wanted):
            raise SequenceError(
                f"{path}: readout {number + 1} has {last} pulses before it, and a pathway of more"
            )
        used = pulses[last - len(wanted) : last]
        moments = np.diff([*(moment for _, _, moment in used), at_start[index]], axis=0)
        offsets.append(-np.asarray(wanted) @ moments)
        first = next(k for k, order in enumerate(wanted) if order)
        starts.append(blocks.starts[index] - used[first][1])
        begins.append(blocks.starts[index])
        evolution.append(-np.asarray(wanted) @ np.diff([*(at for _, at, _ in used), blocks.starts[index]]))
        key = blocks.ids[index][1:5]
        trains.setdefault(key, (len(trains), index))
        kinds.append(trains[key][0])
    return Trajectory(
        np.array(offsets),
        np.array(starts),
        np.array(kinds),
        tuple(blocks.train(index, delays_s) for _, index in trains.values()),
        labels,
        np.array(begins),
        np.array(evolution),
    )


@dataclass(frozen=True)
class Sums:
    """What any reader must find in a file, from the centre of the first pulse to the last sample."""

    pulses: int
    samples: int
    length_s: float
    moment_per_m: Floats
    """Area of all gradients along x, y, z; (3,)."""


def sums(path: Path) -> Sums:
    """Return pulses, samples, length and gradient moments of a `.seq`, for comparison with another reader."""
    import pypulseq  # a second to import, with all of matplotlib: only where a .seq is read

    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    blocks = _Blocks(sequence)
    at_start, pulses = blocks.moments()
    readouts = [k for k, ids in enumerate(blocks.ids) if ids[4]]
    samples = sum(int(blocks.block(k).adc.num_samples) for k in readouts)
    last = readouts[-1]
    adc = blocks.block(last).adc
    until_s = float(adc.delay) + (int(adc.num_samples) - 0.5) * float(adc.dwell)
    _, first_s, moment = pulses[0]
    whole = at_start[last] + blocks.area(last, until_s)
    return Sums(len(pulses), samples, float(blocks.starts[last]) + until_s - first_s, whole - moment)


def _pathway(sequence: Any, water: bool) -> list[int]:
    definitions = sequence.definitions
    key = "WaterPathway" if water and "WaterPathway" in definitions else "Pathway"
    return [int(order) for order in np.ravel(definitions.get(key, ()))]


def _spin_echo(pulses: list[Any]) -> list[int]:
    """Return the orders from the last excitation on, each pulse after it taken to refocus."""
    orders = [-1]
    for rf in reversed(pulses):
        flip_turns = abs(np.trapezoid(rf.signal, rf.t))
        undefined = rf.use not in ("refocusing", "excitation")
        if rf.use == "excitation" or (undefined and flip_turns < _REFOCUSING_TURNS):
            break
        orders.insert(0, -orders[0])
    return orders


def _labels(sequence: Any, count: int) -> dict[str, NDArray[np.int64]]:
    found = sequence.evaluate_labels(evolution="adc")
    return {key: np.resize(np.atleast_1d(np.asarray(found.get(key, 0), np.int64)), count) for key in _LABELS}


class _Blocks:
    """The blocks of a file; equal ones are taken apart once."""

    def __init__(self, sequence: Any) -> None:
        self.sequence = sequence
        self.numbers = list(sequence.block_events)
        self.durations = np.array([float(sequence.block_durations[n]) for n in self.numbers])
        self.starts = np.concatenate([[0.0], np.cumsum(self.durations)])[:-1]
        self.ids = [tuple(int(i) for i in sequence.block_events[n][1:6]) for n in self.numbers]
        self._known: dict[tuple[int, ...], Any] = {}
        self._areas: dict[tuple[object, ...], Floats] = {}

    def block(self, index: int) -> Any:
        """Return block `index`, from 0."""
        if self.ids[index] not in self._known:
            self._known[self.ids[index]] = self.sequence.get_block(self.numbers[index])
        return self._known[self.ids[index]]

    def moments(self) -> tuple[Floats, list[tuple[int, float, Floats]]]:
        """Return the moment since the start of the file at each block (n, 3), and each pulse.

        A pulse is its block, the time of its centre in s and the moment there.
        """
        whole = np.array([self.area(k, float(self.durations[k])) for k in range(len(self.ids))])
        at_start = np.concatenate([np.zeros((1, 3)), np.cumsum(whole, axis=0)])[:-1]
        pulses = []
        for k, ids in enumerate(self.ids):
            if ids[0]:
                rf = self.block(k).rf
                centre_s = float(rf.delay + rf.center)
                pulses.append((k, float(self.starts[k]) + centre_s, at_start[k] + self.area(k, centre_s)))
        return at_start, pulses

    def area(self, index: int, until_s: float) -> Floats:
        """Return the moment of a block from its start to a time; (3,)."""
        key = (self.ids[index][1:4], round(until_s * 1e9))
        if key not in self._areas:
            at = np.array([until_s])
            self._areas[key] = np.array(
                [moment_until(*corners(getattr(self.block(index), name)), at)[0] for name in _AXES]
            )
        return self._areas[key]

    def train(self, index: int, delays_s: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Train:
        """Return the samples of the readout of a block, its gradients delayed."""
        block = self.block(index)
        adc = block.adc
        times_s = np.asarray(
            float(adc.delay) + (np.arange(int(adc.num_samples)) + 0.5) * float(adc.dwell), np.float64
        )
        gradients = [corners(getattr(block, name)) for name in _AXES]
        late = [times_s - delay_s for delay_s in delays_s]
        k = [moment_until(t, g, at) for (t, g), at in zip(gradients, late, strict=True)]
        strength = [gradient_at(t, g, at) for (t, g), at in zip(gradients, late, strict=True)]
        return Train(np.stack(k, axis=1), times_s, np.stack(strength, axis=1))
