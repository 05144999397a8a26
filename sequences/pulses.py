"""The pulses of a sequence as this scanner plays them: SLR designs, their gradients, their displacement."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol, SelectivePulse
from pulsespec.sequences import slr
from pulsespec.sequences.scanner import Scanner

_B1_MARGIN = 0.98
_STEP_S = 10e-6
"""Aim for the length of a sample of a slice-selective pulse."""
_SUPPRESSION_SAMPLES = 520

Axis = Literal["x", "y", "z"]


@dataclass(frozen=True)
class SelectedSlice:
    """A slice-selective pulse with the trapezoid it is played on."""

    name: str
    use: Literal["excitation", "refocusing"]
    axis: Axis
    b1_hz: NDArray[np.float64]
    """gamma B1 / 2 pi of each sample, shape (n,)."""
    duration_s: float
    bandwidth_hz: float
    """Full width at half maximum of the simulated profile."""
    gradient_hz_per_m: float
    ramp_s: float
    """Of the gradient; the pulse fills the flat top exactly."""
    after_centre_s: float
    """Time from the pulse's centre, from which the slice dephases, to its end; on the RF raster."""

    @property
    def centre_s(self) -> float:
        """Time from the start of the pulse to its centre."""
        return round(self.duration_s - self.after_centre_s, 10)

    @property
    def before_s(self) -> float:
        """Time from the start of the block to the pulse's centre."""
        return self.ramp_s + self.centre_s

    @property
    def after_s(self) -> float:
        """Time from the pulse's centre to the end of its block."""
        return self.ramp_s + self.after_centre_s

    @property
    def rephasing_per_m(self) -> float:
        """Gradient moment of the transverse magnetisation at the end of the block; cycles/m."""
        return self.gradient_hz_per_m * (self.after_centre_s + self.ramp_s / 2)


@dataclass(frozen=True)
class Displacement:
    """How far a pulse displaces the voxel of one resonance against that of another."""

    name: str
    axis: Axis
    duration_s: float
    bandwidth_hz: float
    peak_b1_ut: float
    percent_per_ppm: float
    """Shift of the slice, in percent of its thickness, for each ppm between two resonances."""


def shift_hz(ppm: float, scanner: Scanner) -> float:
    """Return the frequency in Hz of chemical shift `ppm` from the receiver's centre, downfield positive."""
    return (ppm - RECEIVER_PPM) * 1e-6 * scanner.f0_hz


def peak_b1_hz(protocol: Protocol, scanner: Scanner) -> float:
    """Return the peak B1 in Hz to which pulses are stretched: the protocol's, else 98 % of the scanner's."""
    asked_ut = protocol.pulses.max_b1_ut
    if asked_ut is None:
        return _B1_MARGIN * scanner.max_b1_hz
    if asked_ut > scanner.max_b1_ut:
        raise SequenceError(
            f"{protocol.name}: pulses.max_b1_ut = {asked_ut} is more than "
            f"the {scanner.max_b1_ut} uT of {scanner.name}"
        )
    return asked_ut * 1e-6 * gamma_hz_per_t(scanner.nucleus)


def select_slice(
    name: str,
    use: Literal["excitation", "refocusing"],
    axis: Axis,
    thickness_m: float,
    shape: SelectivePulse,
    max_b1_hz: float,
    scanner: Scanner,
) -> SelectedSlice:
    """Design the shortest pulse of a shape that stays below `max_b1_hz`, and its slice gradient.

    Raises
    ------
    SequenceError
        The gradient that the slice needs is more than the scanner has.

    """
    flip_rad = np.pi if use == "refocusing" else np.pi / 2
    step_s = scanner.grad_raster_s * max(1, round(_STEP_S / scanner.grad_raster_s))
    trial = _design(flip_rad, shape.time_bandwidth, shape.transition, 256)
    samples = 2 * int(np.ceil(trial.shortest_s(max_b1_hz) / (2 * step_s)))
    while True:
        pulse = _design(flip_rad, shape.time_bandwidth, shape.transition, samples)
        duration_s = samples * step_s
        if np.abs(pulse.b1_hz(duration_s)).max() <= max_b1_hz:
            break
        samples += 2
    bandwidth_hz = pulse.time_bandwidth / duration_s
    gradient = bandwidth_hz / thickness_m
    if gradient > scanner.max_grad_hz_per_m:
        raise SequenceError(
            f"{name} pulse: a slice of {thickness_m * 1e3:g} mm needs "
            f"{gradient / gamma_hz_per_t(scanner.nucleus) * 1e3:.1f} mT/m; "
            f"{scanner.name} has {scanner.max_grad_mt_per_m}"
        )
    slowest = max(gradient / scanner.max_slew_hz_per_m_per_s, scanner.rf_dead_time_s, scanner.rf_ringdown_s)
    ramp_s = ceil_to(slowest, scanner.grad_raster_s)
    b1_hz = pulse.b1_hz(duration_s)
    after = duration_s / 2 if use == "refocusing" else _isodelay_s(b1_hz, step_s, bandwidth_hz)
    after = round(round(after / scanner.rf_raster_s) * scanner.rf_raster_s, 10)
    return SelectedSlice(name, use, axis, b1_hz, duration_s, bandwidth_hz, gradient, ramp_s, after)


@lru_cache(maxsize=64)
def _design(flip_rad: float, time_bandwidth: float, transition: float, samples: int) -> slr.SlrPulse:
    return slr.design(flip_rad, time_bandwidth, transition, samples=samples)


def _isodelay_s(b1_hz: NDArray[np.float64], step_s: float, bandwidth_hz: float) -> float:
    """Return the time before the end of an excitation from which its profile seems to dephase freely."""
    offset = np.linspace(-0.5, 0.5, 201) * bandwidth_hz
    profile = slr.excited(b1_hz, step_s, offset)
    slope = np.polyfit(offset, np.unwrap(np.angle(profile)), 1, w=np.abs(profile))[0]
    return float(slope / (2 * np.pi))


def ceil_to(time_s: float, raster_s: float) -> float:
    """Return the first time on a raster that is not before `time_s`."""
    return round(float(np.ceil(time_s / raster_s - 1e-6) * raster_s), 10)


def on_raster(time_s: float, raster_s: float) -> bool:
    """Return whether a time is a multiple of a raster, to a nanosecond."""
    return abs(time_s - round(time_s / raster_s) * raster_s) < 1e-9


def rf_event(
    b1_hz: NDArray[np.float64],
    duration_s: float,
    delay_s: float,
    offset_hz: float,
    phase_rad: float,
    use: str,
    scanner: Scanner,
    centre_s: float | None = None,
) -> Any:
    """Return a Pulseq pulse whose phase is `phase_rad` at its centre, whatever its frequency offset.

    Pulseq counts the phase of an offset from the start of the shape; taking it back to the centre makes the
    phase of the signal independent of where the slice is.
    """
    centre_s = duration_s / 2 if centre_s is None else centre_s
    return pypulseq.make_arbitrary_rf(
        b1_hz.astype(complex),
        flip_angle=1.0,  # not used: the signal is not scaled
        no_signal_scaling=True,
        dwell=duration_s / b1_hz.size,
        delay=delay_s,
        freq_offset=offset_hz,
        phase_offset=float(np.mod(phase_rad - 2 * np.pi * offset_hz * centre_s, 2 * np.pi)),
        center=centre_s,
        use=use,
        system=scanner.opts,
    )


def suppression_pulse(protocol: Protocol) -> tuple[NDArray[np.float64], float, float]:
    """Return the frequency-selective 90-degree pulse of the water suppression.

    B1 in Hz (shape (n,)), the duration and the length of a sample in s. Other flips are scaled from it.
    """
    settings = protocol.water_suppression
    if settings is None:
        raise SequenceError(f"{protocol.name}: has no water_suppression")
    pulse = _design(np.pi / 2, settings.time_bandwidth, settings.transition, _SUPPRESSION_SAMPLES)
    step_s = round(settings.pulse_ms * 1e-3 / _SUPPRESSION_SAMPLES / 1e-5) * 1e-5
    samples = 2 * round(settings.pulse_ms * 1e-3 / step_s / 2)
    pulse = _design(np.pi / 2, settings.time_bandwidth, settings.transition, samples)
    return pulse.b1_hz(samples * step_s), samples * step_s, step_s
