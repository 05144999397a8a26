"""Whether a scanner can play a sequence: every rule that is known to stop one, each with its own name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.sequences.pulses import on_raster
from pulsespec.sequences.scanner import Scanner

_SLACK = 1e-6
_TIME_SLACK_S = 1e-9
_FIELD_TOLERANCE = 1e-3
_AXES = ("gx", "gy", "gz")


@dataclass(frozen=True)
class Violation:
    """One rule that a sequence breaks, at the first block where it does."""

    rule: str
    """Name of the rule, such as `max_b1` or `adc_raster`."""
    block: int
    """Number of the block, from 1; 0 for the sequence as a whole."""
    message: str
    """What came and what was expected."""


def check(sequence: Any, scanner: Scanner) -> list[Violation]:
    """Return every rule of the scanner that a sequence, or the `.seq` file of that path, breaks.

    Rules: `max_b1`, `max_gradient`, `max_slew`, `gradient_raster`, `gradient_ends`, `block_raster`,
    `block_length`, `rf_raster`, `rf_dead_time`, `rf_ringdown`, `rf_use`, `adc_raster`, `adc_start`,
    `adc_dead_time`, `adc_samples`, `adc_lengths`, `no_adc`, `field`, `definitions`. A rule that many blocks
    break is reported once for each distinct block.

    Raises
    ------
    SequenceError
        The file cannot be read as Pulseq.

    """
    if isinstance(sequence, str | Path):
        sequence = _read(Path(sequence), scanner)
    found = list(_check_whole(sequence, scanner))
    seen: dict[tuple[Any, ...], dict[str, float]] = {}
    lengths: dict[int, int] = {}
    ends = dict.fromkeys(_AXES, 0.0)
    number = 0
    for number, ids in sequence.block_events.items():
        duration_s = float(sequence.block_durations[number])
        key = (round(duration_s * 1e9), *(int(i) for i in ids[1:6]), *ends.values())
        if key in seen:  # an equal block has been checked, after gradients that ended at the same values
            ends = dict(seen[key])
            continue
        block = sequence.get_block(number)
        found += _joints(block, number, ends, scanner)
        seen[key] = dict(ends)
        found += _check_block(block, number, duration_s, scanner)
        if block.adc is not None:
            lengths.setdefault(int(block.adc.num_samples), number)
    if any(ends.values()):
        found.append(Violation("gradient_ends", number, "the sequence ends with a gradient on"))
    if not lengths:
        found.append(Violation("no_adc", 0, "the sequence has no readout"))
    if len(lengths) > 1:
        message = f"readouts of {sorted(lengths)} samples in one file: expected one length"
        found.append(Violation("adc_lengths", max(lengths.values()), message))
    return found


def _read(path: Path, scanner: Scanner) -> Any:
    sequence = pypulseq.Sequence(scanner.opts)
    try:
        sequence.read(str(path))
    except Exception as error:  # pypulseq raises whatever the damage makes of it
        raise SequenceError(f"{path}: cannot be read as a Pulseq file ({error})") from error
    if not sequence.block_events:
        raise SequenceError(f"{path}: has no blocks")
    return sequence


def _check_whole(sequence: Any, scanner: Scanner) -> Iterator[Violation]:
    definitions = sequence.definitions
    if "B0" in definitions and scanner.b0_t is not None:
        field_t = float(np.ravel(definitions["B0"])[0])
        if abs(field_t / scanner.b0_t - 1) > _FIELD_TOLERANCE:
            message = f"frequencies are for {field_t:g} T, and {scanner.name} has {scanner.b0_t:g} T"
            yield Violation("field", 0, message)
    rasters = {
        "BlockDurationRaster": scanner.block_raster_s,
        "GradientRasterTime": scanner.grad_raster_s,
        "RadiofrequencyRasterTime": scanner.rf_raster_s,
        "AdcRasterTime": scanner.adc_raster_s,
    }
    for key, raster_s in rasters.items():
        value = float(np.ravel(definitions.get(key, raster_s))[0])
        if not np.isclose(value, raster_s, rtol=1e-6):
            message = f"{key} is {value * 1e6:g} us: expected {raster_s * 1e6:g} us on {scanner.name}"
            yield Violation("definitions", 0, message)


def _check_block(block: Any, number: int, duration_s: float, scanner: Scanner) -> Iterator[Violation]:
    if not on_raster(duration_s, scanner.block_raster_s):
        message = f"lasts {duration_s * 1e6:.3f} us, not on the {scanner.block_raster_s * 1e6:g} us raster"
        yield Violation("block_raster", number, message)
    if block.rf is not None:
        yield from _check_rf(block.rf, number, duration_s, scanner)
    if block.adc is not None:
        yield from _check_adc(block.adc, number, duration_s, scanner)
    for axis in _AXES:
        gradient = getattr(block, axis)
        if gradient is not None:
            yield from _check_gradient(gradient, axis, number, duration_s, scanner)


def _check_rf(rf: Any, number: int, duration_s: float, scanner: Scanner) -> Iterator[Violation]:
    peak_ut = float(np.abs(rf.signal).max()) / gamma_hz_per_t(scanner.nucleus) * 1e6
    if scanner.max_b1_ut is not None and peak_ut > scanner.max_b1_ut * (1 + _SLACK):
        yield Violation(
            "max_b1", number, f"B1 of {peak_ut:.2f} uT: expected at most {scanner.max_b1_ut:g} uT"
        )
    if rf.delay < scanner.rf_dead_time_s - _TIME_SLACK_S:
        least_us = scanner.rf_dead_time_s * 1e6
        message = f"pulse starts {rf.delay * 1e6:.1f} us into its block: expected at least {least_us:g} us"
        yield Violation("rf_dead_time", number, message)
    # pypulseq reads a shape that has its own raster as ending with its last middle.
    end_s = max(float(rf.shape_dur), float(rf.t[-1] + rf.t[0]))
    rest_s = duration_s - rf.delay - end_s
    if rest_s < scanner.rf_ringdown_s - _TIME_SLACK_S:
        message = (
            f"block ends {rest_s * 1e6:.1f} us after its pulse: expected {scanner.rf_ringdown_s * 1e6:g} us"
        )
        yield Violation("rf_ringdown", number, message)
    half = scanner.rf_raster_s / 2
    if not on_raster(rf.delay, scanner.rf_raster_s) or not all(on_raster(t, half) for t in rf.t[:2]):
        message = f"pulse is not on the {scanner.rf_raster_s * 1e6:g} us raster"
        yield Violation("rf_raster", number, message)
    if rf.use in ("", "undefined"):
        yield Violation("rf_use", number, "use of the pulse is not defined")


def _check_adc(adc: Any, number: int, duration_s: float, scanner: Scanner) -> Iterator[Violation]:
    if not on_raster(adc.dwell, scanner.adc_raster_s):
        message = f"dwell of {adc.dwell * 1e6:.4f} us is not on the {scanner.adc_raster_s * 1e6:g} us raster"
        yield Violation("adc_raster", number, message)
    if not on_raster(adc.delay, scanner.rf_raster_s):
        message = f"starts at {adc.delay * 1e6:.4f} us, not on the {scanner.rf_raster_s * 1e6:g} us raster"
        yield Violation("adc_start", number, message)
    rest_s = duration_s - adc.delay - adc.num_samples * adc.dwell
    if min(adc.delay, rest_s) < scanner.adc_dead_time_s - _TIME_SLACK_S:
        message = (
            f"{adc.delay * 1e6:.1f} us before and {rest_s * 1e6:.1f} us after the readout: expected "
            f"{scanner.adc_dead_time_s * 1e6:g} us"
        )
        yield Violation("adc_dead_time", number, message)
    limit, divisor = scanner.adc_samples_limit, scanner.adc_samples_divisor
    if adc_segments(int(adc.num_samples), float(adc.dwell), scanner) is None:
        message = f"{adc.num_samples} samples: expected at most {limit}, a multiple of {divisor}"
        yield Violation("adc_samples", number, message)


def adc_segments(samples: int, dwell_s: float, scanner: Scanner) -> tuple[int, int] | None:
    """Return into how many equal segments a readout is cut and the samples of one; `None` where it cannot be.

    A segment has at most the scanner's limit of samples, a multiple of its divisor, and ends on the raster of
    the gradients.
    """
    limit = scanner.adc_samples_limit
    if limit is None or (samples <= limit and samples % scanner.adc_samples_divisor == 0):
        return 1, samples
    for count in range(-(-samples // limit), (scanner.adc_segments_limit or samples) + 1):
        length, rest = divmod(samples, count)
        if rest or length % scanner.adc_samples_divisor:
            continue
        if on_raster(length * dwell_s, scanner.grad_raster_s):
            return count, length
    return None


def _check_gradient(
    gradient: Any, axis: str, number: int, duration_s: float, scanner: Scanner
) -> Iterator[Violation]:
    times, values = _corners(gradient)
    to_mt_per_m = 1e3 / gamma_hz_per_t(scanner.nucleus)
    peak = float(np.abs(values).max()) * to_mt_per_m
    if peak > scanner.max_grad_mt_per_m * (1 + _SLACK):
        message = f"{axis} of {peak:.2f} mT/m: expected at most {scanner.max_grad_mt_per_m:g} mT/m"
        yield Violation("max_gradient", number, message)
    steps = np.diff(times)
    inside = steps > _TIME_SLACK_S
    slew = np.abs(np.diff(values)[inside] / steps[inside])
    steepest = float(slew.max(initial=0.0)) * to_mt_per_m * 1e-3
    if steepest > scanner.max_slew_t_per_m_per_s * (1 + _SLACK) or np.any(np.diff(values)[~inside]):
        message = f"{axis} of {steepest:.1f} T/m/s: expected at most {scanner.max_slew_t_per_m_per_s:g} T/m/s"
        yield Violation("max_slew", number, message)
    raster_s = scanner.grad_raster_s
    on_it = times[1:-1] if gradient.type != "trap" and gradient.tt[0] > _TIME_SLACK_S else times
    grid = raster_s / 2 if on_it.size != times.size else raster_s
    if not all(on_raster(float(t), grid) for t in on_it):
        yield Violation("gradient_raster", number, f"{axis} is not on the {raster_s * 1e6:g} us raster")
    if times[-1] > duration_s + _TIME_SLACK_S:
        yield Violation("block_length", number, f"{axis} lasts longer than its block")


def _corners(gradient: Any) -> tuple[Any, Any]:
    """Return times in s from the start of the block and values in Hz/m at the corners of a gradient."""
    if gradient.type == "trap":
        steps = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        return np.cumsum(steps), gradient.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    times, values = np.asarray(gradient.tt, float), np.asarray(gradient.waveform, float)
    if times[0] > _TIME_SLACK_S:
        times = np.concatenate([[0.0], times, [gradient.shape_dur]])
        values = np.concatenate([[gradient.first], values, [gradient.last]])
    return times + gradient.delay, values


def _joints(block: Any, number: int, ends: dict[str, float], scanner: Scanner) -> Iterator[Violation]:
    """Yield where a gradient jumps at the border to the block before; `ends` is brought up to date."""
    step = scanner.max_slew_hz_per_m_per_s * scanner.grad_raster_s * (1 + _SLACK)
    for axis in _AXES:
        gradient = getattr(block, axis)
        first = last = 0.0
        if gradient is not None:
            times, values = _corners(gradient)
            first = float(values[0]) if times[0] < _TIME_SLACK_S else 0.0
            whole = times[-1] > float(block.block_duration) - _TIME_SLACK_S
            last = float(values[-1]) if whole else 0.0
            if (not whole and abs(values[-1]) > step) or (times[0] > _TIME_SLACK_S and abs(values[0]) > step):
                yield Violation(
                    "gradient_ends", number, f"{axis} starts or ends inside the block, not at zero"
                )
        if abs(first - ends[axis]) > step:
            yield Violation(
                "gradient_ends", number, f"{axis} jumps from {ends[axis]:.0f} to {first:.0f} Hz/m"
            )
        ends[axis] = last
