"""What a repetition plays before its localisation: the suppression of water."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences import parts
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Pulse, ceil_to, rf_event, shift_hz, slr_design
from pulsespec.sequences.scanner import Scanner

_SUPPRESSION_SAMPLES = 520
_SPOILER_S, _SPOILER_T_PER_M = 3.4e-3, 25e-3

SPOILERS = (
    (0.96, -0.43, -0.38),
    (-0.92, 1.0, 0.43),
    (-0.43, -0.91, 0.99),
    (-0.77, 0.65, -0.9),
    (-0.97, 0.4, 0.49),
    (0.99, 0.93, 0.61),
    (-0.49, 0.42, -0.44),
    (-0.79, -0.47, -0.93),
)
"""Amplitudes (x, y, z) of the spoiler after each suppression pulse, the last ones where there are fewer.

Found by a random search for the set whose smallest sum over all coherence pathways, through the suppression
and the PRESS after it, is largest.
"""


@dataclass(frozen=True)
class PreparedBlock:
    """A block of the preparation."""

    events: list[Any]
    for_water: list[Any]
    """What a water reference plays instead: the same without the pulses that suppress water."""

    def select(self, water: bool) -> list[Any]:
        """Return what a water reference plays, or any other shot."""
        return self.for_water if water else self.events


def preparation(
    protocol: Protocol, scanner: Scanner, frame: Frame, before_excitation_s: float
) -> tuple[PreparedBlock, ...]:
    """Return the blocks before the localisation, in the order in which they are played.

    `before_excitation_s` is the time from the start of the excitation's block to the excitation's centre.
    """
    settings = protocol.water_suppression
    if settings is None:
        return ()
    pulse = suppression_pulse(protocol)
    before = scanner.rf_dead_time_s + pulse.centre_s
    after = ceil_to(pulse.duration_s - pulse.centre_s + scanner.rf_ringdown_s, scanner.block_raster_s)
    pulse_block_s = ceil_to(before + after, scanner.block_raster_s)
    offset_hz = shift_hz(settings.carrier_ppm, scanner)
    spoilers = SPOILERS[-len(settings.flips_deg) :]
    if len(settings.flips_deg) > len(SPOILERS):
        raise SequenceError(f"{protocol.name}: water_suppression has more than {len(SPOILERS)} pulses")
    result = []
    for k, (flip, delay) in enumerate(zip(settings.flips_deg, settings.delays_ms, strict=True)):
        last = k == len(spoilers) - 1
        rest_s = delay * 1e-3 - (pulse_block_s - before) - (before_excitation_s if last else before)
        rest_s = round(rest_s / scanner.block_raster_s) * scanner.block_raster_s
        if rest_s < _SPOILER_S - 1e-9:
            least = (delay * 1e-3 + _SPOILER_S - rest_s) * 1e3
            raise SequenceError(
                f"{protocol.name}: water_suppression.delays_ms[{k}] = {delay}: expected at least "
                f"{least:.2f}, for the pulses and a spoiler between them"
            )
        scaled = pulse.b1_hz * flip / 90
        if np.abs(scaled).max() > scanner.max_b1_hz:
            raise SequenceError(
                f"{protocol.name}: water_suppression.flips_deg[{k}] = {flip} needs too much B1"
            )
        rf = rf_event(scaled, pulse.duration_s, scanner.rf_dead_time_s, offset_hz, 0.0, "saturation", scanner)
        pause = pypulseq.make_delay(pulse_block_s)
        full_area = _SPOILER_T_PER_M * gamma_hz_per_t(scanner.nucleus) * _SPOILER_S * 0.85
        areas = [full_area * share for share in spoilers[k]]
        spoil = [*parts.lobes(areas, _SPOILER_S, frame, scanner), pypulseq.make_delay(rest_s)]
        result += [PreparedBlock([rf, pause], [pause]), PreparedBlock(spoil, spoil)]
    return tuple(result)


def suppression_pulse(protocol: Protocol) -> Pulse:
    """Return the frequency-selective 90-degree pulse of the water suppression; other flips are scaled from it."""
    settings = protocol.water_suppression
    if settings is None:
        raise SequenceError(f"{protocol.name}: has no water_suppression")
    shape = (np.pi / 2, settings.time_bandwidth, settings.transition)
    step_s = round(settings.pulse_ms * 1e-3 / _SUPPRESSION_SAMPLES / 1e-5) * 1e-5
    samples = 2 * round(settings.pulse_ms * 1e-3 / step_s / 2)
    design = slr_design(*shape, samples)
    duration_s = samples * step_s
    return Pulse(
        "water suppression",
        "saturation",
        design.b1_hz(duration_s).astype(complex),
        duration_s,
        design.time_bandwidth / duration_s,
        duration_s / 2,
    )
