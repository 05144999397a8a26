"""Parts that sequences share: trapezoids, water suppression, readout, labels, definitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import RECEIVER_PPM, gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol, protocol_hash
from pulsespec.sequences.pulses import (
    SelectedSlice,
    ceil_to,
    on_raster,
    rf_event,
    shift_hz,
    suppression_pulse,
)
from pulsespec.sequences.scanner import Scanner

_GRADIENT_SHARE, _GRADIENT_CAP_T_PER_M = 0.8, 40e-3
_SLEW_SHARE, _SLEW_CAP_T_PER_M_PER_S = 0.7, 140.0
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
class Cycle:
    """Phases in rad of one step of a phase cycle."""

    excitation: float
    refocusing: tuple[float, ...]
    receiver: float


def gentle(scanner: Scanner) -> tuple[float, float]:
    """Return amplitude in Hz/m and slew rate in Hz/m/s for spoilers and crushers: less than the limits."""
    gamma = gamma_hz_per_t(scanner.nucleus)
    return (
        min(_GRADIENT_SHARE * scanner.max_grad_hz_per_m, _GRADIENT_CAP_T_PER_M * gamma),
        min(_SLEW_SHARE * scanner.max_slew_hz_per_m_per_s, _SLEW_CAP_T_PER_M_PER_S * gamma),
    )


def shortest_lobe_s(area_per_m: float, scanner: Scanner) -> float:
    """Return the shortest duration on the raster of a gentle trapezoid of that area (cycles/m)."""
    amplitude, slew = gentle(scanner)
    area = abs(area_per_m)
    if area < amplitude**2 / slew:
        return 2 * ceil_to(float(np.sqrt(area / slew)), scanner.grad_raster_s)
    ramp = ceil_to(amplitude / slew, scanner.grad_raster_s)
    return 2 * ramp + ceil_to(area / amplitude - ramp, scanner.grad_raster_s)


def lobes(areas_per_m: Sequence[float], duration_s: float, scanner: Scanner) -> list[Any]:
    """Return a trapezoid an axis, of equal duration, with the areas (x, y, z) in cycles/m; none for zero."""
    amplitude, slew = gentle(scanner)
    ramp = min(ceil_to(amplitude / slew, scanner.grad_raster_s), duration_s / 2)
    ramp = np.floor(ramp / scanner.grad_raster_s + 1e-6) * scanner.grad_raster_s
    return [
        pypulseq.make_trapezoid(
            channel=axis,
            amplitude=area / (duration_s - ramp),
            rise_time=ramp,
            flat_time=max(0.0, duration_s - 2 * ramp),
            fall_time=ramp,
            system=scanner.opts,
        )
        for axis, area in zip("xyz", areas_per_m, strict=True)
        if area
    ]


def slice_events(
    pulse: SelectedSlice,
    position_m: Mapping[str, float],
    carrier_hz: float,
    phase_rad: float,
    scanner: Scanner,
) -> list[Any]:
    """Return a slice-selective pulse at its position and carrier, and its gradient: one block."""
    offset_hz = carrier_hz + pulse.gradient_hz_per_m * position_m[pulse.axis]
    gradient = pypulseq.make_trapezoid(
        channel=pulse.axis,
        amplitude=pulse.gradient_hz_per_m,
        rise_time=pulse.ramp_s,
        flat_time=pulse.duration_s,
        fall_time=pulse.ramp_s,
        system=scanner.opts,
    )
    rf = rf_event(
        pulse.b1_hz, pulse.duration_s, pulse.ramp_s, offset_hz, phase_rad, pulse.use, scanner, pulse.centre_s
    )
    return [rf, gradient]


def suppression_blocks(
    protocol: Protocol, scanner: Scanner, before_excitation_s: float
) -> list[tuple[list[Any], list[Any]]]:
    """Return the water suppression as blocks, each with and without its pulse: (events, events without).

    `before_excitation_s` is the time from the start of the excitation's block to the excitation's centre.
    """
    settings = protocol.water_suppression
    if settings is None:
        return []
    b1_hz, duration_s, _ = suppression_pulse(protocol)
    before = scanner.rf_dead_time_s + duration_s / 2
    after = ceil_to(duration_s / 2 + scanner.rf_ringdown_s, scanner.block_raster_s)
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
        scaled = b1_hz * flip / 90
        if np.abs(scaled).max() > scanner.max_b1_hz:
            raise SequenceError(
                f"{protocol.name}: water_suppression.flips_deg[{k}] = {flip} needs too much B1"
            )
        rf = rf_event(scaled, duration_s, scanner.rf_dead_time_s, offset_hz, 0.0, "saturation", scanner)
        pause = pypulseq.make_delay(pulse_block_s)
        full_area = _SPOILER_T_PER_M * gamma_hz_per_t(scanner.nucleus) * _SPOILER_S * 0.85
        areas = [full_area * share for share in spoilers[k]]
        spoil = [*lobes(areas, _SPOILER_S, scanner), pypulseq.make_delay(rest_s)]
        result += [([rf, pause], [pause]), (spoil, spoil)]
    return result


def readout(protocol: Protocol, scanner: Scanner, delay_s: float, phase_rad: float) -> tuple[Any, float]:
    """Return an ADC event and the duration of its block.

    Raises
    ------
    SequenceError
        Dwell time or number of samples break the scanner's rules; the message gives values that do not.

    """
    dwell_s = protocol.dwell_s
    if not on_raster(dwell_s, scanner.adc_raster_s):
        near = max(1, round(dwell_s / scanner.adc_raster_s)) * scanner.adc_raster_s
        raise SequenceError(
            f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} is a dwell of "
            f"{dwell_s * 1e6:.4f} us, not on the ADC raster of "
            f"{scanner.adc_raster_s * 1e6:g} us; the nearest is {1 / near:.6g} Hz"
        )
    if not on_raster(dwell_s / 2, scanner.rf_raster_s):
        raise SequenceError(
            f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g}: half of its dwell, "
            f"{dwell_s * 5e5:.4f} us, is not on the {scanner.rf_raster_s * 1e6:g} us raster on which a "
            "readout starts, so no sample can lie on the echo; expected an even number of microseconds"
        )
    limit, divisor = scanner.adc_samples_limit, scanner.adc_samples_divisor
    if protocol.points > limit or protocol.points % divisor:
        raise SequenceError(
            f"{protocol.name}: points = {protocol.points}: {scanner.name} takes at most {limit}, "
            f"a multiple of {divisor}"
        )
    dwell_s = round(dwell_s / scanner.adc_raster_s) * scanner.adc_raster_s
    event = pypulseq.make_adc(
        protocol.points, dwell=dwell_s, delay=delay_s, phase_offset=phase_rad, system=scanner.opts
    )
    end_s = delay_s + protocol.points * dwell_s + scanner.adc_dead_time_s
    return event, ceil_to(end_s, scanner.block_raster_s)


def fixed_geometry_labels() -> list[Any]:
    """Return the labels that keep an interpreter from moving, turning or scaling what the file fixes."""
    return [pypulseq.make_label(label, "SET", 1) for label in ("NOPOS", "NOROT", "NOSCL")]


def readout_labels(average: int, water: bool, condition: int = 0) -> list[Any]:
    """Return the labels of a readout: average, editing condition, and whether it is a water reference."""
    values = {"AVG": average, "SET": condition, "REF": int(water)}
    return [pypulseq.make_label(label, "SET", value) for label, value in values.items()]


def define(sequence: Any, protocol: Protocol, scanner: Scanner, echo_times_s: tuple[float, ...]) -> None:
    """Write into the sequence's definitions what its readers need to know."""
    definitions = {
        "Name": protocol.sequence,
        "B0": scanner.b0_t,
        "Nucleus": protocol.nucleus,
        "TE": sum(echo_times_s),
        **{f"TE{k}": te_s for k, te_s in enumerate(echo_times_s, 1)},
        "TR": protocol.tr_ms * 1e-3,
        "VoxelSize": [mm * 1e-3 for mm in protocol.voxel_mm],
        "VoxelPosition": [mm * 1e-3 for mm in protocol.position_mm],
        "SpectralWidth": protocol.spectral_width_hz,
        "CarrierPPM": protocol.carrier_ppm.metabolite,
        "WaterCarrierPPM": protocol.carrier_ppm.water,
        "ReceiverPPM": RECEIVER_PPM,
        "ProtocolName": protocol.name,
        "ProtocolHash": protocol_hash(protocol),
        "Scanner": scanner.name,
    }
    for key, value in definitions.items():
        sequence.set_definition(key, value)
