"""Rules for single blocks: limits, rasters and dead times of pulses, gradients and readouts, and their borders."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.block_table import AXES, Blocks
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation, violation_at

_SLACK = 1e-6
_TIME_SLACK_S = 1e-9

Found = list[tuple[str, str]]
"""Rules with messages."""


def check_blocks(blocks: Blocks, scanner: Scanner, *, named_use: bool) -> Iterator[Violation]:
    """Yield what single blocks and their borders break, once for each distinct block.

    Pulses must have a use where `named_use`: files older than 1.5 have none.
    """
    checked = _Checked(blocks, scanner, named_use)
    seen: set[tuple[Any, ...]] = set()
    ends = (0.0, 0.0, 0.0)
    for index, (rf, gx, gy, gz, adc, _) in enumerate(blocks.ids):
        pulse = blocks.pulse_key(rf) if rf else ()
        readout = blocks.readout(adc) if adc else ()
        key = (round(blocks.durations[index] * 1e9), pulse, gx, gy, gz, readout, ends)
        now, ends = ends, checked.ends(index)
        if key not in seen:
            seen.add(key)
            for rule, message in checked.block(index, now):
                yield violation_at(blocks, index, rule, message)
    if any(ends):
        message = "the sequence ends with a gradient on: expected 0"
        yield violation_at(blocks, len(blocks) - 1, "gradient_ends", message)
    if scanner.dead_times_span_blocks:
        yield from _overlaps(blocks, scanner)


class _Checked:
    """The rules, with what has been found of each event."""

    def __init__(self, blocks: Blocks, scanner: Scanner, named_use: bool) -> None:
        self.blocks = blocks
        self.scanner = scanner
        self.named_use = named_use
        self._known: dict[tuple[Any, ...], Found] = {}

    def block(self, index: int, before: tuple[float, ...]) -> Found:
        """Return what block `index` breaks after gradients that ended at some values."""
        scanner, duration_s = self.scanner, float(self.blocks.durations[index])
        rf, *gradients, adc, _ = self.blocks.ids[index]
        found: Found = []
        if _off(duration_s, scanner.block_raster_s):
            raster_us = scanner.block_raster_s * 1e6
            found.append(
                ("block_raster", f"lasts {duration_s * 1e6:.3f} us: expected a multiple of {raster_us:g} us")
            )
        if rf:
            key = ("rf", *self.blocks.pulse_key(rf))
            pulse = self.blocks.pulse(rf)
            if key not in self._known:
                self._known[key] = list(_pulse(pulse, scanner, self.named_use))
            found += self._known[key]
            found += _pulse_dead_times(pulse, duration_s, scanner)
        if adc:
            found += _readout(*self.blocks.readout(adc), duration_s, scanner)
        for axis, number, value in zip(AXES, gradients, before, strict=True):
            if number:
                found += self._gradient(axis, number, duration_s)
            found += _joint(axis, value, self.blocks.corners(number), duration_s, scanner)
        return found

    def ends(self, index: int) -> tuple[float, float, float]:
        """Return the values in Hz/m with which the gradients of a block reach its end."""
        duration_s = float(self.blocks.durations[index])
        x, y, z = (
            _ends(self.blocks.corners(number), duration_s)[1] for number in self.blocks.ids[index][1:4]
        )
        return x, y, z

    def _gradient(self, axis: str, number: int, duration_s: float) -> Found:
        corners = self.blocks.corners(number)
        if (axis, number) not in self._known:
            self._known[axis, number] = list(
                _gradient(self.blocks.gradient(number), corners, axis, self.scanner)
            )
        lasts_s = float(corners[0][-1])
        if lasts_s <= duration_s + _TIME_SLACK_S:
            return self._known[axis, number]
        message = (
            f"{axis} lasts {lasts_s * 1e6:.1f} us: expected at most its block's {duration_s * 1e6:.1f} us"
        )
        return [*self._known[axis, number], ("block_length", message)]


def _off(times_s: Any, raster_s: float) -> bool:
    """Return whether any time is off a raster by more than a nanosecond."""
    times = np.asarray(times_s, dtype=float)
    return bool(np.any(np.abs(times - np.rint(times / raster_s) * raster_s) > _TIME_SLACK_S))


def _pulse(rf: Any, scanner: Scanner, named_use: bool) -> Iterator[tuple[str, str]]:
    peak_ut = float(np.abs(rf.signal).max()) / gamma_hz_per_t(scanner.nucleus) * 1e6
    if scanner.max_b1_ut is not None and peak_ut > scanner.max_b1_ut * (1 + _SLACK):
        yield "max_b1", f"B1 of {peak_ut:.2f} uT: expected at most {scanner.max_b1_ut:g} uT"
    raster_us = scanner.rf_raster_s * 1e6
    if _off(rf.delay, scanner.rf_raster_s):
        yield "rf_raster", f"pulse starts at {rf.delay * 1e6:.3f} us: expected a multiple of {raster_us:g} us"
    elif _off(rf.t, scanner.rf_raster_s / 2) or _off(np.diff(rf.t), scanner.rf_raster_s):
        yield "rf_raster", f"samples of the pulse are off the raster: expected one of {raster_us:g} us"
    if named_use and rf.use in ("", "undefined"):
        yield (
            "rf_use",
            f"use of the pulse is {rf.use or 'missing'!r}: expected excitation, refocusing or another",
        )


def _pulse_end_s(rf: Any) -> float:
    """Return the end of a pulse in its block; pypulseq reads a shape with times as ending with its last middle."""
    return float(rf.delay + max(rf.shape_dur, rf.t[-1] + rf.t[0]))


def _pulse_dead_times(rf: Any, duration_s: float, scanner: Scanner) -> Iterator[tuple[str, str]]:
    rest_s = duration_s - _pulse_end_s(rf)
    if scanner.dead_times_span_blocks:
        if rest_s < -_TIME_SLACK_S:
            yield "rf_ringdown", f"pulse ends {-rest_s * 1e6:.1f} us after its block: expected within"
        return
    if rf.delay < scanner.rf_dead_time_s - _TIME_SLACK_S:
        least_us = scanner.rf_dead_time_s * 1e6
        yield (
            "rf_dead_time",
            f"pulse starts {rf.delay * 1e6:.1f} us into its block: expected at least {least_us:g} us",
        )
    if rest_s < scanner.rf_ringdown_s - _TIME_SLACK_S:
        least_us = scanner.rf_ringdown_s * 1e6
        yield (
            "rf_ringdown",
            f"block ends {rest_s * 1e6:.1f} us after its pulse: expected at least {least_us:g} us",
        )


def _readout(
    samples: int, dwell_s: float, delay_s: float, duration_s: float, scanner: Scanner
) -> Iterator[tuple[str, str]]:
    if _off(dwell_s, scanner.adc_raster_s):
        raster_us = scanner.adc_raster_s * 1e6
        yield "adc_raster", f"dwell time of {dwell_s * 1e6:.4f} us: expected a multiple of {raster_us:g} us"
    raster_s = scanner.adc_delay_raster_s or scanner.rf_raster_s
    if _off(delay_s, raster_s):
        yield (
            "adc_start",
            f"readout starts at {delay_s * 1e6:.4f} us: expected a multiple of {raster_s * 1e6:g} us",
        )
    rest_s = duration_s - delay_s - samples * dwell_s
    dead_s = 0.0 if scanner.dead_times_span_blocks else scanner.adc_dead_time_s
    if min(delay_s, rest_s) < dead_s - _TIME_SLACK_S:
        yield (
            "adc_dead_time",
            f"{delay_s * 1e6:.1f} us before and {rest_s * 1e6:.1f} us after the readout: expected at least "
            f"{dead_s * 1e6:g} us",
        )
    limit, divisor = scanner.adc_samples_limit, scanner.adc_samples_divisor
    if adc_segments(samples, dwell_s, scanner) is None:
        message = f"{samples} samples: expected a multiple of {divisor}, and above {limit} equal segments of so many "
        yield "adc_samples", message + f"at most, on the {scanner.grad_raster_s * 1e6:g} us raster"


def adc_segments(samples: int, dwell_s: float, scanner: Scanner) -> tuple[int, int] | None:
    """Return into how many equal segments a readout is cut and the samples of one; `None` where it cannot be.

    A segment has at most the scanner's limit of samples, a multiple of its divisor; of several, each ends on the
    raster of the gradients. Where the scanner has no limit the readout is one segment.
    """
    limit = scanner.adc_samples_limit
    if limit is None or (samples <= limit and samples % scanner.adc_samples_divisor == 0):
        return 1, samples
    for count in range(max(-(-samples // limit), 2), (scanner.adc_segments_limit or samples) + 1):
        length, rest = divmod(samples, count)
        if rest or length % scanner.adc_samples_divisor:
            continue
        if not _off(length * dwell_s, scanner.grad_raster_s):
            return count, length
    return None


Corners = tuple[NDArray[np.float64], NDArray[np.float64]]


def _gradient(gradient: Any, corners: Corners, axis: str, scanner: Scanner) -> Iterator[tuple[str, str]]:
    times, values = corners
    to_mt_per_m = 1e3 / gamma_hz_per_t(scanner.nucleus)
    peak = float(np.abs(values).max()) * to_mt_per_m
    if peak > scanner.max_grad_mt_per_m * (1 + _SLACK):
        yield (
            "max_gradient",
            f"{axis} of {peak:.2f} mT/m: expected at most {scanner.max_grad_mt_per_m:g} mT/m",
        )
    steps, rises = np.diff(times), np.diff(values)
    inside = steps > _TIME_SLACK_S
    steepest = float(np.abs(rises[inside] / steps[inside]).max(initial=0.0)) * to_mt_per_m * 1e-3
    if np.any(rises[~inside]):
        yield "max_slew", f"{axis} jumps: expected at most {scanner.max_slew_t_per_m_per_s:g} T/m/s"
    elif steepest > scanner.max_slew_t_per_m_per_s * (1 + _SLACK):
        yield (
            "max_slew",
            f"{axis} of {steepest:.1f} T/m/s: expected at most {scanner.max_slew_t_per_m_per_s:g} T/m/s",
        )
    raster_s = scanner.grad_raster_s
    centred = gradient.type != "trap" and gradient.tt[0] > _TIME_SLACK_S  # samples in the middle of a raster
    relative = times - gradient.delay
    astray = _off(relative[1:-1], raster_s / 2) if centred else _off(relative, raster_s)
    if astray or _off(gradient.delay, raster_s) or _off(relative[-1], raster_s):
        yield "gradient_raster", f"{axis} is off the raster: expected one of {raster_s * 1e6:g} us"


def _ends(corners: Corners, duration_s: float) -> tuple[float, float]:
    """Return the values in Hz/m of a gradient at the start and at the end of its block."""
    times, values = corners
    if not times.size:
        return 0.0, 0.0
    first = float(values[0]) if times[0] < _TIME_SLACK_S else 0.0
    last = float(values[-1]) if times[-1] > duration_s - _TIME_SLACK_S else 0.0
    return first, last


def _joint(
    axis: str, before: float, corners: Corners, duration_s: float, scanner: Scanner
) -> Iterator[tuple[str, str]]:
    """Yield where a gradient jumps at the border to the block before, or inside its block."""
    step = scanner.max_slew_hz_per_m_per_s * scanner.grad_raster_s * (1 + _SLACK)
    first, last = _ends(corners, duration_s)
    times, values = corners
    if times.size and ((not first and abs(values[0]) > step) or (not last and abs(values[-1]) > step)):
        yield "gradient_ends", f"{axis} starts or ends inside its block at another value than 0"
    if abs(first - before) > step:
        yield (
            "gradient_ends",
            f"{axis} jumps from {before:.0f} to {first:.0f} Hz/m: expected at most {step:.0f} Hz/m",
        )


def _overlaps(blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    """Yield where dead time or ringdown of a pulse or readout lies over that of the one before."""
    free_s = -np.inf
    seen: set[tuple[str, int]] = set()
    for index, (rf, _, _, _, adc, _) in enumerate(blocks.ids):
        events = []
        if rf:
            pulse = blocks.pulse(rf)
            events.append((float(pulse.delay), _pulse_end_s(pulse), "rf_dead_time"))
        if adc:
            samples, dwell_s, delay_s = blocks.readout(adc)
            events.append((delay_s, delay_s + samples * dwell_s, "adc_dead_time"))
        for start_s, end_s, rule in sorted(events):
            is_pulse = rule == "rf_dead_time"
            dead_s = scanner.rf_dead_time_s if is_pulse else scanner.adc_dead_time_s
            left_s = blocks.starts[index] + start_s - free_s
            free_s = blocks.starts[index] + end_s + (scanner.rf_ringdown_s if is_pulse else 0.0)
            if left_s < dead_s - _TIME_SLACK_S and (rule, rf or adc) not in seen:
                seen.add((rule, rf or adc))
                message = (
                    f"{'pulse' if is_pulse else 'readout'} starts {left_s * 1e6:.1f} us after what is before it has "
                    f"rung down: expected at least {dead_s * 1e6:g} us"
                )
                yield violation_at(blocks, index, rule, message)
