"""One Pulseq block, converted from pypulseq's loose events to typed, exact quantities."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError

_GRADIENT_OFF_HZ_PER_M = 1e-6
_TIME_SLACK_S = 1e-9
_CONSTANT_HZ_PER_M = 0.1
_MIRRORED = 1e-5
"""Largest difference of a pulse from its mirror image, over its peak, that counts as none: a file has six digits."""


@dataclass(frozen=True)
class Rf:
    """A pulse as it stands in its block."""

    b1_hz: NDArray[np.complex128]
    """B1 in Hz (gamma B1 / 2 pi), piecewise constant over equal intervals; shape (n,)."""
    duration_s: float
    start_s: float
    """From the start of the block to the start of the shape."""
    offset_hz: float
    """Carrier relative to the receiver's reference frequency, downfield positive."""
    gradient_hz_per_m: NDArray[np.float64]
    """Gradient in the middle of each interval; shape (n, 3)."""

    @cached_property
    def has_constant_gradient(self) -> bool:
        """Whether the gradient stays the same during the pulse."""
        return bool(np.ptp(self.gradient_hz_per_m, axis=0).max() < _CONSTANT_HZ_PER_M)

    @cached_property
    def gradient_peak(self) -> NDArray[np.float64]:
        """The gradient at its peak, or its mean where it is constant; shape (3,), in Hz/m."""
        gradient = self.gradient_hz_per_m
        if self.has_constant_gradient:
            return np.asarray(gradient.mean(axis=0))
        return np.asarray(gradient[int(np.argmax(np.abs(gradient).sum(axis=1)))])

    @cached_property
    def gradient_shape(self) -> NDArray[np.float64] | None:
        """The gradient over its peak, signed along its direction there, (n,); `None` where it is constant."""
        if self.has_constant_gradient:
            return None
        peak = self.gradient_peak
        return np.asarray(self.gradient_hz_per_m @ peak / (peak @ peak))

    @cached_property
    def is_mirrored(self) -> bool:
        """Whether B1 has one phase and is the same backwards."""
        peak = float(np.abs(self.b1_hz).max())
        across = (self.b1_hz * np.exp(-1j * np.angle(self.b1_hz.sum()))).imag
        backwards = np.abs(self.b1_hz - self.b1_hz[::-1]).max()
        return bool(abs(self.b1_hz.sum()) > 0 and max(np.abs(across).max(), backwards) < _MIRRORED * peak)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """All that what the pulse does at an offset from its carrier depends on, whatever its axis."""
        shape = self.gradient_shape
        return self.b1_hz.tobytes(), self.duration_s, b"" if shape is None else np.round(shape, 6).tobytes()

    @cached_property
    def on_resonance(self) -> "Rf":
        """The same pulse with its carrier at the receiver's reference."""
        return replace(self, offset_hz=0.0)


@dataclass(frozen=True)
class Adc:
    """A readout as it stands in its block."""

    samples: int
    dwell_s: float
    first_sample_s: float
    """From the start of the block to the first sample: Pulseq samples in the middle of a dwell."""
    offset_hz: float
    phase: float


@dataclass(frozen=True)
class Block:
    """A block: at most one pulse, one readout and a gradient a channel."""

    duration_s: float
    rf: Rf | None
    rf_phase: float
    """Constant phase of the pulse in rad; zero where there is no pulse."""
    adc: Adc | None
    gradients: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    """Times in s and amplitudes in Hz/m at the corners of the x, y and z waveform; empty where off."""
    key: tuple[Any, ...]
    """Equal for blocks that differ in nothing but constant RF and ADC phases."""

    @property
    def readout_key(self) -> tuple[Any, ...]:
        """Equal for blocks with the same gradients and the same readout."""
        return self.key[2:]

    def moment(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Return the integral of the gradients over the part of [start, end] in this block: cycles/m, (3,)."""
        start_s, end_s = max(start_s, 0.0), min(end_s, self.duration_s)
        if end_s <= start_s:
            return np.zeros(3)
        ends = np.array([start_s, end_s])
        return np.array([np.diff(moment_until(t, g, ends))[0] for t, g in self.gradients])

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """Integral of the gradients over this block: cycles/m, (3,)."""
        return self.moment(0.0, self.duration_s)

    def readout_moments(self) -> NDArray[np.float64] | None:
        """Integral of the gradients from the first sample to each: cycles/m, (samples, 3); `None` if all are off."""
        if self.adc is None:
            return None
        times_s = self.adc.first_sample_s + np.arange(float(self.adc.samples)) * self.adc.dwell_s
        if not self.has_gradient(float(times_s[0]), float(times_s[-1]) + self.adc.dwell_s):
            return None
        found = np.stack([moment_until(t, g, times_s) for t, g in self.gradients], axis=1)
        return np.asarray(found - found[0])

    def has_gradient(self, start_s: float, end_s: float) -> bool:
        """Return whether any gradient is on somewhere between two times."""
        for t, g in self.gradients:
            inside = np.abs(g[(t > start_s) & (t < end_s)])
            edges = np.abs(gradient_at(t, g, np.array([start_s, end_s])))
            if np.any(np.concatenate([inside, edges]) > _GRADIENT_OFF_HZ_PER_M):
                return True
        return False


def read_block(sequence: Any, index: int, f0_hz: float) -> Block:
    """Convert block `index` of a pypulseq sequence; ppm offsets are resolved at `f0_hz`."""
    block = sequence.get_block(index)
    gradients = tuple(corners(getattr(block, f"g{axis}", None)) for axis in "xyz")
    rf, rf_key, rf_phase = _rf(getattr(block, "rf", None), gradients, f0_hz)
    adc = _adc(getattr(block, "adc", None), f0_hz)
    if adc and np.size(getattr(block.adc, "phase_modulation", ())):
        raise SequenceError(f"block {index}: ADC phase modulation is not supported")
    duration_s = float(block.block_duration)
    adc_key = (adc.samples, adc.dwell_s, adc.first_sample_s, adc.offset_hz) if adc else ()
    gradient_key = tuple(hash((t.tobytes(), g.tobytes())) for t, g in gradients)
    key = (round(duration_s * 1e9), rf_key, gradient_key, adc_key)
    return Block(duration_s, rf, rf_phase, adc, gradients, key)


def corners(event: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times in s from the start of the block and values in Hz/m at the corners of a gradient event.

    Both are empty where there is no event.
    """
    if event is None:
        return np.empty(0), np.empty(0)
    if event.type == "trap":
        steps = [event.delay, event.rise_time, event.flat_time, event.fall_time]
        return np.cumsum(steps), event.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    times = np.asarray(event.tt, dtype=float)
    values = np.asarray(event.waveform, dtype=float)
    if times[0] > _TIME_SLACK_S:  # samples in the middle of the raster: the ends are kept apart
        times = np.concatenate([[0.0], times, [float(event.shape_dur)]])
        values = np.concatenate([[float(event.first)], values, [float(event.last)]])
    return times + float(event.delay), values


def gradient_at(
    t: NDArray[np.float64], g: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the gradient with corners g (Hz/m) at times t, at other times; 0 beyond its ends."""
    return np.interp(at, t, g, left=0.0, right=0.0) if t.size else np.zeros(at.shape)


def moment_until(
    t: NDArray[np.float64], g: NDArray[np.float64], until: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the integral in cycles/m of the gradient with corners g (Hz/m) at times t, up to other times."""
    if not t.size:
        return np.zeros(until.shape)
    before = np.concatenate([[0.0], np.cumsum(np.diff(t) * (g[1:] + g[:-1]) / 2)])
    inside = np.clip(until, t[0], t[-1])
    at = np.clip(np.searchsorted(t, inside, side="right") - 1, 0, t.size - 2)
    return np.asarray(before[at] + (inside - t[at]) * (g[at] + np.interp(inside, t, g)) / 2)


def _rf(event: Any, gradients: Any, f0_hz: float) -> tuple[Rf | None, tuple[Any, ...], float]:
    if event is None:
        return None, (), 0.0
    duration_s = float(event.shape_dur)
    times, signal = np.asarray(event.t, dtype=float), np.asarray(event.signal, dtype=complex)
    steps = np.diff(times)
    if times[0] > 0 and np.allclose(steps, steps[:1], rtol=1e-6):
        b1_hz = signal  # samples in the middle of a uniform raster
        # Where the raster is not the scanner's, pypulseq lets the shape end with its last middle.
        duration_s = signal.size * float(np.mean(steps))
    else:  # corners of a piecewise linear shape, as of a block pulse
        n = max(1, round(duration_s / 1e-6))
        middle = (np.arange(n) + 0.5) * duration_s / n
        b1_hz = np.interp(middle, times, signal.real) + 1j * np.interp(middle, times, signal.imag)
    start_s = float(event.delay)
    middle = start_s + (np.arange(b1_hz.size) + 0.5) * duration_s / b1_hz.size
    gradient = np.stack([gradient_at(t, g, middle) for t, g in gradients], axis=1)
    offset_hz = float(event.freq_offset) + float(getattr(event, "freq_ppm", 0.0)) * 1e-6 * f0_hz
    phase = float(event.phase_offset) + float(getattr(event, "phase_ppm", 0.0)) * 1e-6 * f0_hz
    key = (hash(b1_hz.tobytes()), round(duration_s * 1e9), round(start_s * 1e9), offset_hz)
    return Rf(b1_hz, duration_s, start_s, offset_hz, gradient), key, phase


def _adc(event: Any, f0_hz: float) -> Adc | None:
    if event is None:
        return None
    return Adc(
        samples=int(event.num_samples),
        dwell_s=float(event.dwell),
        first_sample_s=float(event.delay) + 0.5 * float(event.dwell),
        offset_hz=float(event.freq_offset) + float(getattr(event, "freq_ppm", 0.0)) * 1e-6 * f0_hz,
        phase=float(event.phase_offset) + float(getattr(event, "phase_ppm", 0.0)) * 1e-6 * f0_hz,
    )
