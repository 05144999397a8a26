"""The pulses of a sequence as this scanner plays them: SLR designs, their gradients, their displacement."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import ImportedPulse, Protocol, SelectivePulse
from pulsespec.sequences import slr
from pulsespec.sequences.asymmetric import asymmetric_excitation
from pulsespec.sequences.pulse import Axis, Pulse, Use
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.vendor_pulses import read_pulse

_B1_MARGIN = 0.98
SILENT = 2.0**-30
"""Share of its B1 at which a pulse that is left out is played: a power of two, so that its shape is the same."""
_STEP_S = 10e-6
"""Aim for the length of a sample of a slice-selective pulse."""


@dataclass(frozen=True)
class Played:
    """A pulse and the gradient it is played on; without one it is not selective in space.

    Its block is a ramp, a flat top (or the gradient's modulation) and a ramp. `lead_s` delays the pulse on the
    flat top so that its centre lies on the raster of the blocks: all times between centres are exact.
    """

    pulse: Pulse
    axis: Axis | None
    """Axis of the voxel along which the pulse selects."""
    gradient_hz_per_m: float
    """Peak of the slice gradient."""
    ramp_s: float
    """Of the gradient, before and after the pulse; with no gradient the wait for the transmitter."""
    lead_s: float
    """From the start of the flat top to the start of the pulse; less than a raster of the blocks."""
    flat_s: float
    """Length of the flat top."""

    @property
    def name(self) -> str:
        """Name of the pulse."""
        return self.pulse.name

    @property
    def delay_s(self) -> float:
        """Time from the start of the block to that of the pulse."""
        return round(self.ramp_s + self.lead_s, 10)

    @property
    def before_s(self) -> float:
        """Time from the start of the block to the pulse's centre."""
        return round(self.delay_s + self.pulse.centre_s, 10)

    @property
    def after_s(self) -> float:
        """Time from the pulse's centre to the end of its block."""
        return round(self.block_s - self.before_s, 10)

    @property
    def block_s(self) -> float:
        """Length of the block."""
        return round(2 * self.ramp_s + self.flat_s, 10)

    @property
    def corners(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times in s from the start of the block and gradient over its peak, at the corners."""
        shape = np.ones(2) if self.pulse.modulation is None else self.pulse.modulation
        times = self.ramp_s + np.linspace(0, self.flat_s, shape.size)
        return np.concatenate([[0.0], times, [self.block_s]]), np.concatenate([[0.0], shape, [0.0]])

    @property
    def moment_before_per_m(self) -> float:
        """Gradient moment from the start of the block to the pulse's centre; cycles/m."""
        return self._moment(0.0, self.before_s)

    @property
    def moment_after_per_m(self) -> float:
        """Gradient moment from the pulse's centre to the end of the block; cycles/m."""
        return self._moment(self.before_s, self.block_s)

    def _moment(self, start_s: float, end_s: float) -> float:
        times, shape = self.corners
        knots = np.concatenate([[start_s], times[(times > start_s) & (times < end_s)], [end_s]])
        return self.gradient_hz_per_m * float(np.trapezoid(np.interp(knots, times, shape), knots))


def shift_hz(ppm: float, scanner: Scanner) -> float:
    """Return the frequency in Hz of chemical shift `ppm` from the receiver's centre, downfield positive."""
    return (ppm - RECEIVER_PPM) * 1e-6 * scanner.f0_hz


def peak_b1_hz(protocol: Protocol, scanner: Scanner) -> float:
    """Return the peak B1 in Hz to which pulses are stretched: the protocol's, else 98 % of the scanner's."""
    asked_ut = protocol.pulses.max_b1_ut
    if asked_ut is None:
        return _B1_MARGIN * scanner.max_b1_hz
    if scanner.max_b1_ut is not None and asked_ut > scanner.max_b1_ut:
        raise SequenceError(
            f"{protocol.name}: pulses.max_b1_ut = {asked_ut} is more than "
            f"the {scanner.max_b1_ut} uT of {scanner.name}"
        )
    return asked_ut * 1e-6 * gamma_hz_per_t(scanner.nucleus)


def selective(
    name: str,
    use: Use,
    shape: SelectivePulse | ImportedPulse,
    max_b1_hz: float,
    scanner: Scanner,
    flip_rad: float | None = None,
) -> Pulse:
    """Design the shortest SLR pulse of a shape that stays below `max_b1_hz`, or take that of a file.

    The flip angle is 180 degrees for refocusing and inversion, else 90, unless `flip_rad` says another. The
    centre of an excitation is the one from which its profile dephases, that of the others their middle.
    """
    turning = use in ("refocusing", "inversion")
    if flip_rad is None:
        flip_rad = np.pi if turning else np.pi / 2
    step_s = selective_step_s(scanner)
    if isinstance(shape, ImportedPulse):
        pulse = read_pulse(
            shape.file, duration_s=shape.duration_ms * 1e-3, step_s=step_s, use=use, flip_rad=flip_rad
        )
        pulse = dataclasses.replace(pulse, name=name)
        if pulse.peak_hz > max_b1_hz:
            longer_ms = pulse.duration_s * pulse.peak_hz / max_b1_hz * 1e3
            raise SequenceError(
                f"{name} pulse: {shape.file} in {shape.duration_ms:g} ms needs {pulse.peak_hz:.0f} Hz of B1, and "
                f"{max_b1_hz:.0f} may be used: expected at least {longer_ms:.2f} ms"
            )
        return pulse
    transition = transition_of(shape, flip_rad)
    # A small flip angle keeps the length, and so the bandwidth, of 90 degrees.
    trial = slr_design(max(flip_rad, np.pi / 2), shape.time_bandwidth, transition, 256)
    samples = 2 * int(np.ceil(trial.shortest_s(max_b1_hz) / (2 * step_s)))
    while True:
        made = slr_design(flip_rad, shape.time_bandwidth, transition, samples)
        duration_s = samples * step_s
        if np.abs(made.b1_hz(duration_s)).max() <= max_b1_hz:
            break
        samples += 2
    bandwidth_hz = made.time_bandwidth / duration_s
    b1_hz = made.b1_hz(duration_s)
    after = duration_s / 2 if turning else _isodelay_s(b1_hz, step_s, bandwidth_hz)
    return Pulse(name, use, b1_hz.astype(complex), duration_s, bandwidth_hz, round(duration_s - after, 10))


def transition_of(shape: SelectivePulse, flip_rad: float) -> float:
    """Return the transition of a pulse: its own, or the narrowest that its ripples allow."""
    if shape.transition is not None:
        return shape.transition
    assert shape.passband_ripple is not None
    assert shape.stopband_ripple is not None
    return slr.transition_of_ripples(
        flip_rad, shape.time_bandwidth, shape.passband_ripple, shape.stopband_ripple
    )


def excitation(
    name: str,
    shape: SelectivePulse | ImportedPulse,
    max_b1_hz: float,
    scanner: Scanner,
    *,
    flip_rad: float = np.pi / 2,
    backwards: bool = False,
) -> Pulse:
    """Design an excitation, symmetric or of minimum phase; `backwards` plays it from its end to its start.

    An excitation of minimum phase has its centre near its end, one played backwards near its start: the
    latter stores what the former has excited.
    """
    if isinstance(shape, SelectivePulse) and shape.asymmetric:
        step_s = selective_step_s(scanner)
        pulse = asymmetric_excitation(
            flip_rad,
            shape.time_bandwidth,
            transition_of(shape, flip_rad),
            step_s=step_s,
            max_b1_hz=max_b1_hz,
        )
        pulse = dataclasses.replace(pulse, name=name)
    else:
        pulse = selective(name, "excitation", shape, max_b1_hz, scanner, flip_rad)
    if backwards:
        centre_s = round(pulse.duration_s - pulse.centre_s, 10)
        pulse = dataclasses.replace(pulse, b1_hz=pulse.b1_hz[::-1].copy(), centre_s=centre_s)
    return pulse


def hard(name: str, use: Use, flip_rad: float, duration_s: float, scanner: Scanner) -> Pulse:
    """Return a block pulse; `SequenceError` names the shortest where its B1 is more than the scanner's."""
    samples = max(1, round(duration_s / selective_step_s(scanner)))
    duration_s = samples * selective_step_s(scanner)
    b1_hz = flip_rad / (2 * np.pi * duration_s)
    if b1_hz > scanner.max_b1_hz:
        shortest_us = flip_rad / (2 * np.pi * scanner.max_b1_hz) * 1e6
        raise SequenceError(
            f"{name} pulse: {np.rad2deg(flip_rad):g} degrees in {duration_s * 1e6:g} us need more B1 than "
            f"{scanner.name} has: expected at least {shortest_us:.0f} us"
        )
    offset = np.linspace(-2, 2, 4001) / duration_s
    profile = slr.excited(np.full(1, b1_hz), duration_s, offset)
    width = slr.width_hz(offset, profile)
    return Pulse(name, use, np.full(samples, b1_hz, complex), duration_s, width, duration_s / 2)


def selective_step_s(scanner: Scanner) -> float:
    """Return the step of slice-selective pulses: about 10 us on the raster of the gradients."""
    return scanner.grad_raster_s * max(1, round(_STEP_S / scanner.grad_raster_s))


def on_slice(pulse: Pulse, axis: Axis, thickness_m: float, scanner: Scanner) -> Played:
    """Return a pulse with the gradient that makes its bandwidth a slice of `thickness_m`.

    Raises
    ------
    SequenceError
        The gradient that the slice needs is more than the scanner has.

    """
    gradient = pulse.bandwidth_hz / thickness_m
    if gradient > scanner.max_grad_hz_per_m:
        gamma = gamma_hz_per_t(scanner.nucleus)
        thinnest = pulse.bandwidth_hz / scanner.max_grad_hz_per_m
        raise SequenceError(
            f"{pulse.name} pulse: a slice of {thickness_m * 1e3:g} mm needs {gradient / gamma * 1e3:.1f} mT/m; "
            f"{scanner.name} has {scanner.max_grad_mt_per_m}: expected at least {thinnest * 1e3:.1f} mm, or a "
            "pulse of less bandwidth"
        )
    first = 1.0 if pulse.modulation is None else float(pulse.modulation[0])
    slewing = gradient * first / scanner.max_slew_hz_per_m_per_s
    return _played(pulse, axis, gradient, slewing, scanner)


def everywhere(pulse: Pulse, scanner: Scanner) -> Played:
    """Return a pulse without a gradient."""
    return _played(pulse, None, 0.0, 0.0, scanner)


def scaled(pulse: Pulse, factor: float) -> Pulse:
    """Return a pulse with another B1."""
    return dataclasses.replace(pulse, b1_hz=pulse.b1_hz * factor)


def silent(played: Played) -> Played:
    """Return a pulse at next to none of its B1: the block keeps its structure, which interpreters rely on."""
    return dataclasses.replace(played, pulse=scaled(played.pulse, SILENT))


def _played(pulse: Pulse, axis: Axis | None, gradient: float, slewing_s: float, scanner: Scanner) -> Played:
    raster = scanner.block_raster_s
    ramp_s = ceil_to(max(slewing_s, scanner.rf_dead_time_s, scanner.rf_ringdown_s), _coarser(scanner))
    centre_s = round(pulse.centre_s / scanner.rf_raster_s) * scanner.rf_raster_s
    # An error of half a raster in where the profile's centre is, is less than the profile's own uncertainty.
    pulse = dataclasses.replace(pulse, centre_s=round(centre_s, 10))
    lead_s = round(float(-centre_s % raster), 10) if not on_raster(centre_s, raster) else 0.0
    flat_s = ceil_to(pulse.duration_s + lead_s, _coarser(scanner))
    return Played(pulse, axis, gradient, ramp_s, lead_s, flat_s)


def _coarser(scanner: Scanner) -> float:
    """Return the raster on which both gradients and blocks lie."""
    return max(scanner.grad_raster_s, scanner.block_raster_s)


@lru_cache(maxsize=64)
def slr_design(flip_rad: float, time_bandwidth: float, transition: float, samples: int) -> slr.SlrPulse:
    """Return the linear-phase design of `slr.design`, kept for the next time it is asked for."""
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
    b1_hz: NDArray[np.complex128],
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
