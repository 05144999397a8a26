"""Whether a scanner can play a sequence: every rule that is known to stop one, each with its own name."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.sequences.check_whole import (
    Blocks,
    check_energy,
    check_labels,
    check_resonances,
    check_segments,
    check_size,
    check_stimulation,
)
from pulsespec.sequences.gradient_file import GradientFile, read_gradient_file
from pulsespec.sequences.pulses import on_raster
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation
from pulsespec.simulator.blocks import corners

_SLACK = 1e-6
_TIME_SLACK_S = 1e-9
_FIELD_TOLERANCE = 1e-3
_USE_SINCE_MINOR = 5
_AXES = ("gx", "gy", "gz")


RULES = (
    "max_b1",
    "max_gradient",
    "max_slew",
    "gradient_raster",
    "gradient_ends",
    "block_raster",
    "block_length",
    "rf_raster",
    "rf_dead_time",
    "rf_ringdown",
    "rf_use",
    "adc_raster",
    "adc_start",
    "adc_dead_time",
    "adc_samples",
    "adc_lengths",
    "no_adc",
    "field",
    "definitions",
    "file_size",
    "repetitions",
    "geometry_labels",
    "label_repeated",
    "label_flag",
    "label_counter",
    "segment_label",
    "segment_structure",
    "rf_energy",
    "duty_cycle",
    "stimulation",
    "resonance",
)
"""Every rule there is. Those whose limit is not known of a scanner do not run."""


def check(source: Any, scanner: Scanner, *, gradient_file: Path | None = None) -> list[Violation]:
    """Return every rule of the scanner (`RULES`) that a sequence, or the `.seq` file of that path, breaks.

    A rule that many blocks break is reported once for each distinct block. Nerve stimulation follows
    `stimulation`, or the SAFE model where a Siemens `gradient_file` of one's own scanner gives its parameters;
    that file also has the forbidden bands of the gradients.

    Raises
    ------
    SequenceError
        The file cannot be read as Pulseq.
    InputError
        The gradient file cannot be read.

    """
    path = Path(source) if isinstance(source, str | Path) else None
    sequence = source if path is None else _read(path, scanner)
    blocks = Blocks(sequence)
    named_use = path is None or not _is_old(path)
    found = list(_check_whole(sequence, scanner))
    found += _check_blocks(sequence, blocks, scanner, named_use)
    found += check_size(sequence, path, blocks, scanner)
    found += check_labels(sequence, blocks)
    if scanner.needs_trid:
        found += check_segments(sequence, blocks)
    found += check_energy(blocks, scanner)
    own = None if gradient_file is None else read_gradient_file(gradient_file)
    if own is not None and own.hardware is not None:
        found += _safe(sequence, own.hardware)
    else:
        found += check_stimulation(blocks, scanner)
    found += check_resonances(blocks, _bands(scanner, own))
    return found


def _check_blocks(sequence: Any, blocks: Blocks, scanner: Scanner, named_use: bool) -> list[Violation]:
    """Return what single blocks and their borders break."""
    found: list[Violation] = []
    seen: dict[tuple[Any, ...], dict[str, float]] = {}
    lengths: dict[int, int] = {}
    ends = dict.fromkeys(_AXES, 0.0)
    number = 0
    for index, number in enumerate(blocks.numbers):
        duration_s = float(blocks.durations[index])
        key = (round(duration_s * 1e9), *blocks.ids[index][:5], *ends.values())
        if key in seen:  # an equal block has been checked, after gradients that ended at the same values
            ends = dict(seen[key])
            continue
        block = blocks[index]
        here = list(_joints(block, number, duration_s, ends, scanner))
        seen[key] = dict(ends)
        here += _check_block(block, number, duration_s, scanner)
        if not named_use:
            here = [violation for violation in here if violation.rule != "rf_use"]
        found += [dataclasses.replace(one, time_s=float(blocks.starts[index])) for one in here]
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


def _is_old(path: Path) -> bool:
    """Return whether a file is of a version that has no `use` of pulses: before 1.5."""
    with path.open("rb") as file:
        head = file.read(400)
    minor = re.search(rb"minor\s+(\d+)", head)
    return minor is not None and int(minor.group(1)) < _USE_SINCE_MINOR


def _bands(scanner: Scanner, own: GradientFile | None) -> list[tuple[str, tuple[float, float]]]:
    """Return axis and band in Hz of everything that is forbidden."""
    if own is not None:
        return [(axis, band) for axis in _AXES for band in own.bands_hz]
    known = scanner.forbidden_hz or ()
    return [(axis, band) for axis, bands in zip(_AXES, known, strict=False) for band in bands]


def _safe(sequence: Any, hardware: Any) -> Iterator[Violation]:
    """Yield whether the SAFE model of pypulseq finds more than its limit."""
    fine, norm, _, _ = sequence.calculate_pns(hardware, do_plots=False)
    if not fine:
        message = f"nerve stimulation of {float(np.max(norm)):.0%} of the limit (SAFE): expected at most 100%"
        yield Violation("stimulation", 0, message)


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
    times, values = corners(gradient)
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


def _joints(
    block: Any, number: int, duration_s: float, ends: dict[str, float], scanner: Scanner
) -> Iterator[Violation]:
    """Yield where a gradient jumps at the border to the block before; `ends` is brought up to date."""
    step = scanner.max_slew_hz_per_m_per_s * scanner.grad_raster_s * (1 + _SLACK)
    for axis in _AXES:
        gradient = getattr(block, axis)
        first = last = 0.0
        if gradient is not None:
            times, values = corners(gradient)
            first = float(values[0]) if times[0] < _TIME_SLACK_S else 0.0
            whole = times[-1] > duration_s - _TIME_SLACK_S
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
