"""The localisation of any single-shot sequence: pulses, crushers between them, times, phases, conditions.

A sequence's own module says which pulses it plays, which coherence order each leaves, what the crushers
between them are and how far apart the centres lie. What follows from that is here: how short an interval can
be, how long its block is, and that the wanted pathway is refocused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences import parts
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, on_raster
from pulsespec.sequences.scanner import Scanner

Areas = tuple[float, float, float]
"""Areas of gradient lobes along x, y, z of the voxel; cycles/m."""

_MOMENT_SLACK_PER_M = 1e-6


@dataclass(frozen=True)
class Slot:
    """A place for a pulse: what is played there, the same or another in each editing condition."""

    played: tuple[Played, ...]
    """One for all conditions or one each, all of the same timing and gradient."""
    carriers_ppm: tuple[float, ...] = ()
    """Carrier of each; empty for the carrier of the voxel, which for water is another than for metabolites."""

    @property
    def first(self) -> Played:
        """What the first condition plays; the timing of all."""
        return self.played[0]


@dataclass(frozen=True)
class Cycle:
    """Phases in rad of one step of a phase cycle."""

    pulses: tuple[float, ...]
    receiver: float
    silent: frozenset[int] = frozenset()
    """Indices of the pulses that this step leaves out, while their gradients stay."""


@dataclass(frozen=True)
class Design:
    """The localisation of a sequence, ready to be played."""

    slots: tuple[Slot, ...]
    orders: tuple[int, ...]
    """Wanted coherence order after each pulse; the receiver sees -1."""
    crushers: tuple[Areas, ...]
    """Lobes after each pulse."""
    gaps_s: tuple[float, ...]
    """Length of the block of those lobes."""
    adc_delay_s: float
    """From the end of the last of them to the start of the first sample's dwell."""
    cycle: tuple[Cycle, ...]
    times_s: Mapping[str, float]
    """Definitions of the file such as TE, TE1, TM."""
    conditions: int = 1
    definitions: Mapping[str, object] = field(default_factory=dict)
    """What else the sequence's readers need to know."""

    def __post_init__(self) -> None:
        moment = wanted_moment(self.slots, self.orders, self.crushers)
        if np.any(np.abs(moment) > _MOMENT_SLACK_PER_M):
            raise SequenceError(f"design: the wanted pathway ends with a moment of {moment} cycles/m")


def wanted_moment(
    slots: Sequence[Slot], orders: Sequence[int], crushers: Sequence[Areas]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the sum of order times gradient moment from the first centre to the first sample; (3,)."""
    total = np.zeros(3)
    for k, (slot, order, areas) in enumerate(zip(slots, orders, crushers, strict=True)):
        total += order * np.asarray(areas)
        played = slot.first
        if played.axis is not None:
            before = orders[k - 1] if k else 0
            axis = "xyz".index(played.axis)
            total[axis] += order * played.moment_after_per_m + before * played.moment_before_per_m
    return total


@dataclass(frozen=True)
class Spacing:
    """How close pulses can be played on a scanner, and the blocks that hold a wanted distance."""

    protocol: Protocol
    scanner: Scanner
    frame: Frame
    slots: tuple[Slot, ...]
    crushers: tuple[Areas, ...]
    pads_s: tuple[float, ...] = ()
    """Time to keep free beside the crushers in each interval."""

    def shortest_s(self, k: int) -> float:
        """Return the shortest time from centre `k` to the next one, from the last to the first sample."""
        lobe = parts.shortest_lobe_s(self.crushers[k], self.frame, self.scanner)
        lobe += self.pads_s[k] if self.pads_s else 0.0
        after = self.slots[k].first.after_s + lobe
        if k + 1 < len(self.slots):
            return after + self.slots[k + 1].first.before_s
        return after + self.scanner.adc_dead_time_s + self.protocol.dwell_s / 2

    def gap_s(self, k: int, spacing_s: float) -> float:
        """Return the length of the block between pulse `k` and the next one for a distance of their centres."""
        return tidy(spacing_s - self.slots[k].first.after_s - self.slots[k + 1].first.before_s)

    def last_gap_s(self, spacing_s: float) -> tuple[float, float]:
        """Return the block after the last pulse and the delay of the readout behind it."""
        to_dwell = spacing_s - self.slots[-1].first.after_s - self.protocol.dwell_s / 2
        raster, dead = self.scanner.block_raster_s, self.scanner.adc_dead_time_s
        gap = tidy(float(np.floor((to_dwell - dead) / raster + 1e-6) * raster))
        return gap, max(tidy(to_dwell - gap), dead)

    def gaps(self, spacings_s: Sequence[float]) -> tuple[tuple[float, ...], float]:
        """Return all blocks and the delay of the readout for the distances between centres."""
        inner = [self.gap_s(k, spacing) for k, spacing in enumerate(spacings_s[:-1])]
        last, delay = self.last_gap_s(spacings_s[-1])
        return (*inner, last), delay

    def ceil(self, time_s: float) -> float:
        """Return the first time on the raster of the blocks that is not before `time_s`."""
        raster = self.scanner.block_raster_s
        return tidy(float(np.ceil(time_s / raster - 1e-6) * raster))


def tidy(time_s: float) -> float:
    """Return a time without the last digits that sums of raster times leave."""
    return round(time_s, 10)


def require_time(
    protocol: Protocol,
    scanner: Scanner,
    key: Literal["te_ms", "te1_ms", "tm_ms"],
    shortest_s: float,
    of: float,
) -> None:
    """Raise `SequenceError` where the time `key` is shorter than its pulses, or off `of` block rasters."""
    value = getattr(protocol, key)
    if value * 1e-3 < shortest_s - 1e-9:
        raise SequenceError(
            f"{protocol.name}: {key} = {value:g} is too short for its pulses and crushers on "
            f"{scanner.name}: expected at least {shortest_s * 1e3:.2f}"
        )
    if not on_raster(value * 1e-3, of * scanner.block_raster_s):
        times = "twice " if of == 2 else ""
        raise SequenceError(
            f"{protocol.name}: {key} = {value:g}: expected a multiple of "
            f"{of * scanner.block_raster_s * 1e3:g} ms, {times}the block raster of {scanner.name}"
        )
