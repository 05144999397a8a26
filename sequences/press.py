r"""PRESS: point-resolved spectroscopy (Bottomley, Ann NY Acad Sci 1987;508:333-348).

One repetition, from the water suppression to the next one:

           water suppression       |<------ TE1/2 ------>|<---- TE1/2 ---->|<-- TE2/2 -->|<-- TE2/2 -->|
    RF    ~90~ ... ~90~ ~160~     90                    180                             180            |
    ADC                            |                     |                               |             [::::::
    Gz        \_/       /-\     /=====\__                                                              |
                                         \_A-r/                                                -B\_/   |
    Gy        /-\       \_/              /A\         /=======\                                 -B\_/   |
    Gx        \_/       /-\              /A\                    /--A+B--\            /=======\  /B\    |
                                                                                                       |
                                                                                                  first sample

z is the axis of the excitation, y of the first refocusing pulse, x of the second; r rephases the
excitation's slice. Crushers A = (a, a, a) stand on both sides of the first 180 and B = (a, -a, -a) on both
sides of the second; between the pulses they merge into A + B = (2 a, 0, 0). The pathway (-1, +1, -1) sees
none of it, every other one at least a on at least one axis.

The middle of the first ADC sample is exactly at the echo, TE after the centre of the excitation: the time
from which its slice dephases, some microseconds off the middle of the pulse. TE1 follows from it. The
receiver's frequency is that of 4.65 ppm; all pulses are offset from it. All averages add up in phase: the
receiver follows the phase that the cycle gives to the echo.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences import parts
from pulsespec.sequences.pulses import (
    Displacement,
    SelectedSlice,
    ceil_to,
    on_raster,
    peak_b1_hz,
    select_slice,
    shift_hz,
)
from pulsespec.sequences.scanner import Scanner


@dataclass(frozen=True)
class Timing:
    """When things happen in a repetition, in s."""

    te1_s: float
    te2_s: float
    before_first_s: float
    """The crusher block between excitation and first refocusing pulse."""
    between_s: float
    """The crusher block between the refocusing pulses."""
    after_second_s: float
    """The crusher block after the second refocusing pulse."""
    adc_delay_s: float
    """From the end of that block to the start of the first sample's dwell."""


def design_pulses(protocol: Protocol, scanner: Scanner) -> tuple[SelectedSlice, SelectedSlice, SelectedSlice]:
    """Return excitation (along z), first (y) and second (x) refocusing pulse."""
    x_m, y_m, z_m = (mm * 1e-3 for mm in protocol.voxel_mm)
    b1, shapes = peak_b1_hz(protocol, scanner), protocol.pulses
    return (
        select_slice("excitation", "excitation", "z", z_m, shapes.excitation, b1, scanner),
        select_slice("refocusing 1", "refocusing", "y", y_m, shapes.refocusing, b1, scanner),
        select_slice("refocusing 2", "refocusing", "x", x_m, shapes.refocusing, b1, scanner),
    )


def displacement(protocol: Protocol, scanner: Scanner) -> tuple[Displacement, ...]:
    """Return bandwidth, peak B1 and chemical-shift displacement of each selective pulse."""
    gamma = gamma_hz_per_t(scanner.nucleus)
    return tuple(
        Displacement(
            name=pulse.name,
            axis=pulse.axis,
            duration_s=pulse.duration_s,
            bandwidth_hz=pulse.bandwidth_hz,
            peak_b1_ut=float(np.abs(pulse.b1_hz).max() / gamma * 1e6),
            percent_per_ppm=100 * scanner.f0_hz * 1e-6 / pulse.bandwidth_hz,
        )
        for pulse in design_pulses(protocol, scanner)
    )


def crusher_areas(protocol: Protocol, pulses: tuple[SelectedSlice, ...]) -> tuple[list[float], ...]:
    """Return the areas (x, y, z) in cycles/m of the three crusher blocks."""
    a = [protocol.crushers.cycles / (mm * 1e-3) for mm in protocol.voxel_mm]
    return (
        [a[0], a[1], a[2] - pulses[0].rephasing_per_m],
        [2 * a[0], 0.0, 0.0],
        [a[0], -a[1], -a[2]],
    )


def plan(protocol: Protocol, scanner: Scanner, pulses: tuple[SelectedSlice, ...]) -> Timing:
    """Place pulses and crushers; `SequenceError` states the shortest TE where TE is too short for them."""
    raster = scanner.block_raster_s
    lobe = [
        max(parts.shortest_lobe_s(a, scanner) for a in areas) for areas in crusher_areas(protocol, pulses)
    ]
    outside = pulses[0].after_s + pulses[1].before_s
    shortest_te1 = 2 * (outside + lobe[0])
    te_s = protocol.te_ms * 1e-3
    before_first = lobe[0]
    if protocol.te1_ms is not None:
        before_first = round((protocol.te1_ms * 5e-4 - outside) / raster) * raster
    te1_s = 2 * (outside + before_first)
    half_dwell_s = protocol.dwell_s / 2
    last = pulses[2].after_s + lobe[2] + scanner.adc_dead_time_s + half_dwell_s
    middle = pulses[1].after_s + lobe[1] + pulses[2].before_s
    shortest_te = 2 * ceil_to(max(te1_s / 2 + last, middle), raster)
    if te1_s < shortest_te1 - 1e-9:
        raise SequenceError(
            f"{protocol.name}: te1_ms = {protocol.te1_ms} is too short for its pulses and crushers on "
            f"{scanner.name}: expected at least {shortest_te1 * 1e3:.2f}"
        )
    if te_s < shortest_te - 1e-9:
        raise SequenceError(
            f"{protocol.name}: te_ms = {protocol.te_ms} is too short for its pulses and crushers on "
            f"{scanner.name}: expected at least {shortest_te * 1e3:.2f}"
        )
    if not on_raster(te_s, 2 * raster):
        raise SequenceError(
            f"{protocol.name}: te_ms = {protocol.te_ms:g}: expected a multiple of {2e3 * raster:g} ms, twice "
            f"the block raster of {scanner.name}"
        )
    te2_s = te_s - te1_s
    to_sample = te2_s / 2 - pulses[2].after_s - half_dwell_s
    after_second = np.floor((to_sample - scanner.adc_dead_time_s) / raster + 1e-6) * raster
    return Timing(
        te1_s=_tidy(te1_s),
        te2_s=_tidy(te2_s),
        before_first_s=_tidy(before_first),
        between_s=_tidy(te_s / 2 - pulses[1].after_s - pulses[2].before_s),
        after_second_s=_tidy(float(after_second)),
        adc_delay_s=max(_tidy(to_sample - after_second), scanner.adc_dead_time_s),
    )


def _tidy(time_s: float) -> float:
    """Return a time without the last digits that sums of raster times leave."""
    return round(time_s, 10)


def phase_cycle(steps: int) -> tuple[parts.Cycle, ...]:
    """Return a cycle of 1, 4 or 16 steps in which the echo has the receiver's phase.

    16 steps take both refocusing pulses through 0, 90, 180 and 270 degrees independently (EXORCYCLE,
    Bodenhausen et al., J Magn Reson 1977;27:511-514): only coherence that both pulses invert adds up. 4 steps
    take them in opposite directions at once.
    """
    quarter = np.pi / 2
    if steps == 1:
        turns = [(0, 0)]
    elif steps == 4:
        turns = [(k, (-k) % 4) for k in range(4)]
    else:
        # Each run of four steps is the cycle of four, and the runs differ by the phase of the second pulse.
        turns = [(k, (run - k) % 4) for run in (0, 2, 1, 3) for k in range(4)]
    return tuple(
        parts.Cycle(0.0, (quarter * first, quarter * second), quarter * ((2 * second - 2 * first) % 4))
        for first, second in turns
    )


def build_press(protocol: Protocol, scanner: Scanner) -> Any:
    """Return PRESS with its dummies, averages and water references as a `pypulseq.Sequence`."""
    pulses = design_pulses(protocol, scanner)
    timing = plan(protocol, scanner, pulses)
    suppression = parts.suppression_blocks(protocol, scanner, pulses[0].before_s)
    cycle = phase_cycle(protocol.phase_cycle)
    sequence = pypulseq.Sequence(scanner.opts)
    parts.define(sequence, protocol, scanner, (timing.te1_s, timing.te2_s))
    start = parts.fixed_geometry_labels()
    kinds = [(False, protocol.dummies, protocol.averages)]
    if protocol.water_averages:
        kinds.append((True, protocol.water_dummies, protocol.water_averages))
    for water, dummies, averages in kinds:
        for number in range(-dummies, averages):
            step = cycle[number % len(cycle)]
            shot = _shot(protocol, scanner, pulses, timing, suppression, step, water, number)
            for events in shot:
                sequence.add_block(*events, *start)
                start = []
    return sequence


def _shot(
    protocol: Protocol,
    scanner: Scanner,
    pulses: tuple[SelectedSlice, ...],
    timing: Timing,
    suppression: list[tuple[list[Any], list[Any]]],
    step: parts.Cycle,
    water: bool,
    number: int,
) -> list[list[Any]]:
    """Return the blocks of one repetition; one with a negative `number` is a dummy, without readout."""
    carrier_ppm = protocol.carrier_ppm.water if water else protocol.carrier_ppm.metabolite
    carrier_hz = shift_hz(carrier_ppm, scanner)
    position_m = dict(zip("xyz", (mm * 1e-3 for mm in protocol.position_mm), strict=True))
    phases = (step.excitation, *step.refocusing)
    gaps = (timing.before_first_s, timing.between_s, timing.after_second_s)
    blocks = [without if water else events for events, without in suppression]
    for pulse, phase, areas, gap_s in zip(pulses, phases, crusher_areas(protocol, pulses), gaps, strict=True):
        blocks.append(parts.slice_events(pulse, position_m, carrier_hz, phase, scanner))
        lobe_s = max(parts.shortest_lobe_s(area, scanner) for area in areas)
        blocks.append([*parts.lobes(areas, lobe_s, scanner), pypulseq.make_delay(gap_s)])
    adc, adc_block_s = parts.readout(protocol, scanner, timing.adc_delay_s, step.receiver)
    pause = pypulseq.make_delay(adc_block_s)
    labels = parts.readout_labels(number, water)
    blocks.append([pause] if number < 0 else [adc, pause, *labels])
    busy_s = sum(pypulseq.calc_duration(*events) for events in blocks)
    rest_s = round((protocol.tr_ms * 1e-3 - busy_s) / scanner.block_raster_s) * scanner.block_raster_s
    if rest_s < -1e-9:
        raise SequenceError(
            f"{protocol.name}: tr_ms = {protocol.tr_ms} is too short: expected at least {busy_s * 1e3:.2f}"
        )
    if not on_raster(protocol.tr_ms * 1e-3, scanner.block_raster_s):
        raise SequenceError(
            f"{protocol.name}: tr_ms = {protocol.tr_ms}: expected a multiple of "
            f"{scanner.block_raster_s * 1e3:g} ms"
        )
    return [*blocks, [pypulseq.make_delay(rest_s)]] if rest_s > 0 else blocks
