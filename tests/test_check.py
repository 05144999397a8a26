"""Each rule of a scanner, broken on purpose: `check` names it, and only it."""

import dataclasses

import numpy as np
import pypulseq
import pytest

from pulsespec.errors import SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, check, load_scanner, write_sequence
from pulsespec.sequences.pulses import rf_event

PRISMA = load_scanner("siemens-prisma")
LOOSE = dataclasses.replace(
    PRISMA, rf_dead_time_s=0.0, rf_ringdown_s=0.0, adc_dead_time_s=0.0, max_slew_t_per_m_per_s=1e5
).opts
B1_HZ = np.hanning(100)


def rules(sequence, scanner=PRISMA):
    return [violation.rule for violation in check(sequence, scanner)]


def events(**changes):
    """Return an excitation, a readout and a gradient that break no rule unless told to."""
    rf = rf_event(100 * B1_HZ, 1e-3, 1e-4, 0.0, 0.0, "excitation", PRISMA)
    adc = pypulseq.make_adc(1024, dwell=2.5e-4, delay=1e-4, system=LOOSE)
    gx = pypulseq.make_trapezoid(
        "x", amplitude=1e5, rise_time=1e-4, flat_time=1e-3, fall_time=1e-4, system=LOOSE
    )
    found = {"rf": rf, "adc": adc, "gx": gx, "rf_pause": 1.2e-3, "adc_pause": 0.2562}
    for key, value in changes.items():
        name, _, attribute = key.partition("__")
        if attribute:
            setattr(found[name], attribute, value)
        else:
            found[name] = value
    return found


def assemble(found):
    sequence = pypulseq.Sequence(LOOSE)
    sequence.add_block(found["rf"], pypulseq.make_delay(found["rf_pause"]))
    sequence.add_block(found["gx"])
    if found["adc"] is not None:
        sequence.add_block(found["adc"], pypulseq.make_delay(found["adc_pause"]))
    return sequence


def test_the_sound_sequence_is_sound():
    assert check(assemble(events()), PRISMA) == []


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("max_b1", {"rf__signal": 900 * B1_HZ.astype(complex)}),
        ("rf_dead_time", {"rf__delay": 5e-5}),
        ("rf_ringdown", {"rf_pause": 1.15e-3, "rf__ringdown_time": 0.0}),
        ("rf_raster", {"rf__delay": 1.004e-4}),
        ("rf_use", {"rf__use": "undefined"}),
        ("max_gradient", {"gx__amplitude": 3.5e6, "gx__rise_time": 1e-3, "gx__fall_time": 1e-3}),
        ("max_slew", {"gx__amplitude": 1e6}),
        ("gradient_raster", {"gx__flat_time": 1.004e-3, "gx__delay": 0.0}),
        ("adc_raster", {"adc__dwell": 1 / 6000, "adc__num_samples": 1024}),
        ("adc_start", {"adc__delay": 1.005e-4}),
        ("adc_dead_time", {"adc__delay": 1e-5}),
        ("adc_samples", {"adc__num_samples": 1022}),
        ("no_adc", {"adc": None}),
        ("block_raster", {"rf_pause": 1.305e-3}),
    ],
)
def test_a_broken_rule_is_named(rule, changes):
    found = rules(assemble(events(**changes)))
    assert rule in found
    assert set(found) <= {rule, "block_raster", "gradient_raster"}


def test_two_lengths_of_readout_are_reported():
    sequence = assemble(events())
    shorter = pypulseq.make_adc(512, dwell=2.5e-4, delay=1e-4, system=LOOSE)
    sequence.add_block(shorter, pypulseq.make_delay(0.2))
    assert rules(sequence) == ["adc_lengths"]


def test_another_field_and_other_rasters_are_reported(tmp_path):
    path = tmp_path / "press.seq"
    write_sequence(build(load_protocol("press-3t-te30"), PRISMA), path)
    assert check(path, PRISMA) == []
    assert "field" in rules(path, dataclasses.replace(PRISMA, b0_t=3.0))
    assert "definitions" in rules(path, dataclasses.replace(PRISMA, grad_raster_s=4e-6))
    assert "max_b1" in rules(path, dataclasses.replace(PRISMA, max_b1_ut=15.0))
    assert "max_gradient" in rules(path, dataclasses.replace(PRISMA, max_grad_mt_per_m=20.0))
    assert "max_slew" in rules(path, dataclasses.replace(PRISMA, max_slew_t_per_m_per_s=100.0))
    message = next(v for v in check(path, dataclasses.replace(PRISMA, max_b1_ut=15.0))).message
    assert "expected at most 15 uT" in message


def test_a_gradient_that_jumps_between_blocks_is_reported():
    sequence = assemble(events())
    ramp = pypulseq.make_extended_trapezoid("x", amplitudes=[0, 1e5], times=[0, 1e-3], system=LOOSE)
    sequence.add_block(ramp)
    assert rules(sequence) == ["gradient_ends"]  # on at the end
    hold = pypulseq.make_extended_trapezoid("x", amplitudes=[1e5, 0], times=[0, 1e-3], system=LOOSE)
    sequence.add_block(hold)
    assert rules(sequence) == []
    sequence.add_block(ramp)
    sequence.block_events[len(sequence.block_events) + 1] = sequence.block_events[1]
    sequence.block_durations[len(sequence.block_events)] = sequence.block_durations[1]
    assert "gradient_ends" in rules(sequence)


# pypulseq leaves the file open where it fails.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("text", ["", "nothing of the kind", "[VERSION]\nmajor 1\nminor 5\n[BLOCKS]\n1 x\n"])
def test_what_is_no_sequence_is_refused(tmp_path, text):
    path = tmp_path / "bad.seq"
    path.write_text(text)
    with pytest.raises(SequenceError, match=r"bad\.seq"):
        check(path, PRISMA)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SequenceError, match=r"none\.seq"):
        check(tmp_path / "none.seq", PRISMA)
