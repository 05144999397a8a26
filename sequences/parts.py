"""Parts that sequences share: trapezoids, pulses with their gradients, readout, labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, ceil_to, rf_event
from pulsespec.sequences.scanner import Scanner

_GRADIENT_SHARE, _GRADIENT_CAP_T_PER_M = 0.8, 30e-3
_SLEW_SHARE, _SLEW_CAP_T_PER_M_PER_S = 0.7, 140.0
_STIMULATION_SHARE = 0.85
"""Of the threshold: what a ramp may use of it, for another follows."""
_NOTHING = 1e-9
"""Share of a gradient below which an axis is left out."""


def gentle(scanner: Scanner) -> tuple[float, float]:
    """Return amplitude in Hz/m and slew rate in Hz/m/s for spoilers and crushers: less than the limits.

    Where a model of nerve stimulation is known of the scanner, a ramp to that amplitude on three axes at once
    stays below the threshold: a ramp of length T to the gradient G stimulates by L G / (r (c + T)), with the
    symbols of `stimulation`.
    """
    gamma = gamma_hz_per_t(scanner.nucleus)
    amplitude = min(_GRADIENT_SHARE * scanner.max_grad_mt_per_m * 1e-3, _GRADIENT_CAP_T_PER_M)
    slew = min(_SLEW_SHARE * scanner.max_slew_t_per_m_per_s, _SLEW_CAP_T_PER_M_PER_S)
    rheobase, chronaxie = scanner.stimulation_rheobase_t_per_s, scanner.stimulation_chronaxie_s
    if rheobase is not None and chronaxie is not None and scanner.stimulation_length_m is not None:
        allowed = _STIMULATION_SHARE * rheobase / scanner.stimulation_length_m / np.sqrt(3)
        ramp_s = amplitude / allowed - chronaxie
        if ramp_s > 0:
            slew = min(slew, amplitude / ramp_s)
    return amplitude * gamma, slew * gamma


def shortest_lobe_s(areas_per_m: Sequence[float], frame: Frame, scanner: Scanner) -> float:
    """Return the shortest duration on the raster in which gentle trapezoids of these areas can be played.

    The areas are along the voxel's axes, in cycles/m; each axis of the gradients gets its part of them.
    """
    amplitude, slew = gentle(scanner)
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    area = float(np.abs(frame.rotation @ np.asarray(areas_per_m)).max())
    if area < amplitude**2 / slew:
        return 2 * ceil_to(float(np.sqrt(area / slew)), raster)
    ramp = ceil_to(amplitude / slew, raster)
    return 2 * ramp + ceil_to(area / amplitude - ramp, raster)


def lobes(
    areas_per_m: Sequence[float],
    duration_s: float,
    frame: Frame,
    scanner: Scanner,
    *,
    every_axis: bool = False,
) -> list[Any]:
    """Return a trapezoid an axis, of equal duration, with areas along the voxel's axes in cycles/m.

    Axes without an area are left out unless `every_axis`, for shots that differ in areas must have the same
    events.
    """
    amplitude, slew = gentle(scanner)
    ramp = min(ceil_to(amplitude / slew, scanner.grad_raster_s), duration_s / 2)
    ramp = np.floor(ramp / scanner.grad_raster_s + 1e-6) * scanner.grad_raster_s
    areas = frame.rotation @ np.asarray(areas_per_m)
    return [
        pypulseq.make_trapezoid(
            channel=axis,
            amplitude=area / (duration_s - ramp),
            rise_time=ramp,
            flat_time=max(0.0, duration_s - 2 * ramp),
            fall_time=ramp,
            system=scanner.opts,
        )
        for axis, area in zip("xyz", areas, strict=True)
        if every_axis or abs(area) > _NOTHING * np.abs(areas).max()
    ]


def pulse_events(
    played: Played, frame: Frame, carrier_hz: float, phase_rad: float, scanner: Scanner
) -> list[Any]:
    """Return a pulse at its carrier, moved to where the voxel is, and its gradient on each axis: one block."""
    pulse, gradients = played.pulse, []
    offset_hz, b1_hz = carrier_hz, pulse.b1_hz
    if played.axis is not None:
        column = "xyz".index(played.axis)
        shift_hz = played.gradient_hz_per_m * float(frame.rotation[:, column] @ frame.position_m)
        if pulse.modulation is None:
            offset_hz += shift_hz
        else:
            b1_hz = b1_hz * _follow(pulse.modulation, pulse.step_s, shift_hz, pulse.centre_s)
        gradients = _slice_gradients(played, frame.rotation[:, column], scanner)
    rf = rf_event(
        b1_hz, pulse.duration_s, played.delay_s, offset_hz, phase_rad, pulse.use, scanner, pulse.centre_s
    )
    return [rf, *gradients, pypulseq.make_delay(played.block_s)]


def _follow(
    modulation: NDArray[np.float64], step_s: float, shift_hz: float, centre_s: float
) -> NDArray[np.complex128]:
    """Return the phase factors that move a slice by `shift_hz` while its gradient changes: (n,)."""
    middles = (modulation[1:] + modulation[:-1]) / 2
    edges = np.concatenate([[0.0], np.cumsum(middles)]) * step_s
    turns = (edges[1:] + edges[:-1]) / 2 - np.interp(centre_s, np.arange(edges.size) * step_s, edges)
    return np.asarray(np.exp(2j * np.pi * shift_hz * turns))


def _slice_gradients(played: Played, direction: NDArray[np.float64], scanner: Scanner) -> list[Any]:
    times, shape = played.corners
    events = []
    for axis, share in zip("xyz", direction, strict=True):
        amplitude = played.gradient_hz_per_m * share
        if abs(share) <= _NOTHING:
            continue
        if played.pulse.modulation is None:
            events.append(
                pypulseq.make_trapezoid(
                    channel=axis,
                    amplitude=amplitude,
                    rise_time=played.ramp_s,
                    flat_time=played.flat_s,
                    fall_time=played.ramp_s,
                    system=scanner.opts,
                )
            )
        else:
            events.append(
                pypulseq.make_extended_trapezoid(
                    channel=axis, times=times, amplitudes=amplitude * shape, system=scanner.opts
                )
            )
    return events


def labels(values: Mapping[str, int]) -> list[Any]:
    """Return the events that set labels."""
    return [pypulseq.make_label(label, "SET", value) for label, value in values.items()]
