"""Each rule of a scanner, broken on purpose: `check` names it, and only it."""

import dataclasses

import numpy as np
import pypulseq
import pytest

from pulsespec.errors import SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import RULES, build, check, load_scanner, write_sequence
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
    found = {"rf": rf, "adc": adc, "gx": gx, "rf_pause": 1.2e-3, "gx_pause": 1.2e-3, "adc_pause": 0.2562}
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
    sequence.add_block(found["gx"], pypulseq.make_delay(found["gx_pause"]))
    if found["adc"] is not None:
        sequence.add_block(found["adc"], pypulseq.make_delay(found["adc_pause"]))
    return sequence


def test_the_sound_sequence_is_sound():
    assert check(assemble(events()), PRISMA) == []


BROKEN = [
    ("max_b1", {"rf__signal": 900 * B1_HZ.astype(complex)}),
    ("rf_dead_time", {"rf__delay": 5e-5}),
    ("rf_ringdown", {"rf_pause": 1.15e-3, "rf__ringdown_time": 0.0}),
    ("rf_raster", {"rf__delay": 1.004e-4, "rf_pause": 1.3e-3}),
    ("rf_raster", {"rf__t": (np.arange(100) + 0.5) * 9.96e-6}),
    ("rf_use", {"rf__use": "undefined"}),
    (
        "max_gradient",
        {"gx__amplitude": 3.5e6, "gx__rise_time": 5e-3, "gx__fall_time": 5e-3, "gx_pause": 0.011},
    ),
    ("max_slew", {"gx__amplitude": 1e6}),
    ("gradient_raster", {"gx__flat_time": 1.004e-3, "gx_pause": 1.21e-3}),
    ("adc_raster", {"adc__dwell": 1 / 6000, "adc__num_samples": 1024}),
    ("adc_start", {"adc__delay": 1.005e-4}),
    ("adc_dead_time", {"adc__delay": 1e-5}),
    ("adc_samples", {"adc__num_samples": 1022}),
    ("no_adc", {"adc": None}),
    ("block_raster", {"rf_pause": 1.305e-3}),
]


@pytest.mark.parametrize(("rule", "changes"), BROKEN)
def test_a_broken_rule_is_named(rule, changes):
    assert set(rules(assemble(events(**changes)))) == {rule}


def few(scanner=PRISMA, name="press-3t-te30", **changes):
    protocol = load_protocol(name).model_copy(
        update={"averages": 16, "water_averages": 2, "dummies": 1} | changes
    )
    return build(protocol, scanner)


def labelled(*rows):
    """Return a sequence with a readout for each row of labels."""
    made = events()
    sequence = pypulseq.Sequence(PRISMA.opts)
    sequence.add_block(made["rf"], pypulseq.make_delay(1.2e-3))
    for row in rows:
        labels = [pypulseq.make_label(key, "SET", value) for key, value in row.items()]
        sequence.add_block(made["adc"], pypulseq.make_delay(0.2562), *labels)
    return sequence


def segments(*lengths):
    """Return a sequence of segments of one TRID whose first block lasts so long, in s."""
    made = events()
    sequence = pypulseq.Sequence(PRISMA.opts)
    for number, length in enumerate(lengths):
        label = pypulseq.make_label("TRID", "SET", 1)
        sequence.add_block(made["rf"], pypulseq.make_delay(length), label)
        average = pypulseq.make_label("AVG", "SET", number)
        sequence.add_block(made["adc"], pypulseq.make_delay(0.2562), average)
    return sequence


def blip(amplitude, ramp_s):
    sequence = assemble(events())
    gradients = [
        pypulseq.make_trapezoid(
            axis, amplitude=amplitude, rise_time=ramp_s, flat_time=1e-3, fall_time=ramp_s, system=LOOSE
        )
        for axis in "xyz"
    ]
    sequence.add_block(*gradients)
    return sequence


def over_a_segment_border():
    """Return two segments with a gradient that goes on from one to the other."""
    sequence = segments(1.2e-3)
    for amplitudes, trid in (([0, 1e5], ()), ([1e5, 0], (pypulseq.make_label("TRID", "SET", 2),))):
        ramp = pypulseq.make_extended_trapezoid("x", amplitudes=amplitudes, times=[0, 1e-3], system=LOOSE)
        sequence.add_block(ramp, *trid)
    return sequence


SEGMENTED = dataclasses.replace(PRISMA, needs_trid=True)
QUIET = {"averages": 1, "phase_cycle": 1, "water_averages": 0}
WHOLE = {
    "repetitions": lambda: (few(), dataclasses.replace(PRISMA, max_repetitions=10)),
    "geometry_labels": lambda: (with_definition(assemble(events()), "VoxelSize", [0.02] * 3), PRISMA),
    "label_repeated": lambda: (labelled({"LIN": 0}, {"LIN": 0}), PRISMA),
    "label_flag": lambda: (labelled({"REF": 2, "LIN": 0}), PRISMA),
    "label_counter": lambda: (labelled({"AVG": 0}, {"AVG": 2}), PRISMA),
    "segment_label": lambda: (assemble(events()), SEGMENTED),
    "segment_structure": lambda: (segments(1.2e-3, 1.3e-3), SEGMENTED),
    "segment_gradient": lambda: (over_a_segment_border(), SEGMENTED),
    "rf_energy": lambda: (few(), dataclasses.replace(PRISMA, max_b1_rms_ut=0.1)),
    "duty_cycle": lambda: (few(), dataclasses.replace(PRISMA, max_grad_rms_mt_per_m=0.1)),
    "stimulation": lambda: (blip(3.0e6, 4e-4), PRISMA),
    "resonance": lambda: (
        few(name="epsi-3t-2d-flyback", averages=4),
        dataclasses.replace(PRISMA, forbidden_hz=(((1200.0, 1300.0),), (), ())),
    ),
    "field": lambda: (few(), dataclasses.replace(PRISMA, b0_t=3.0)),
    "block_length": lambda: (too_long(), PRISMA),
    "gradient_ends": lambda: (left_on(), PRISMA),
    "adc_lengths": lambda: (two_lengths(), PRISMA),
}


def with_definition(sequence, key, value):
    sequence.set_definition(key, value)
    return sequence


def too_long():
    sequence = assemble(events())
    number = next(n for n, ids in sequence.block_events.items() if ids[2])
    sequence.block_durations[number] = 0.5e-3
    return sequence


def left_on():
    sequence = assemble(events())
    ramp = pypulseq.make_extended_trapezoid("x", amplitudes=[0, 1e5], times=[0, 1e-3], system=LOOSE)
    sequence.add_block(ramp)
    return sequence


def two_lengths():
    sequence = assemble(events())
    shorter = pypulseq.make_adc(512, dwell=2.5e-4, delay=1e-4, system=LOOSE)
    sequence.add_block(shorter, pypulseq.make_delay(0.2))
    return sequence


@pytest.mark.parametrize("rule", WHOLE)
def test_a_rule_of_the_whole_is_named_alone(rule):
    source, scanner = WHOLE[rule]()
    assert set(rules(source, scanner)) == {rule}


def test_a_file_that_is_too_large_is_named(tmp_path):
    path = tmp_path / "x.seq"
    write_sequence(few(), path)
    assert rules(path) == []
    assert rules(path, dataclasses.replace(PRISMA, max_file_mb=0.01)) == ["file_size"]


def test_every_rule_has_its_mutation():
    tried = {*WHOLE, *(rule for rule, _ in BROKEN), "file_size", "definitions"}
    assert tried == set(RULES)


def test_valid_segments_and_labels_pass():
    assert rules(segments(1.2e-3, 1.2e-3), SEGMENTED) == []
    assert rules(labelled({"AVG": 0}, {"AVG": 1}, {"AVG": 0, "REF": 1})) == []
    ge = load_scanner("ge-xrm")
    assert rules(few(ge), ge) == []


def test_a_violation_says_block_and_time():
    found = check(assemble(events(adc__delay=1e-5)), PRISMA)
    (violation,) = [one for one in found if one.rule == "adc_dead_time"]
    assert violation.block > 1
    assert violation.time_s == pytest.approx(2.4e-3)


def test_old_files_need_no_use(tmp_path):
    path = tmp_path / "old.seq"
    write_sequence(few(), path, v141=True)
    assert "rf_use" not in rules(path)


def test_another_field_and_other_rasters_are_reported(tmp_path):
    path = tmp_path / "press.seq"
    write_sequence(build(load_protocol("press-3t-te30"), PRISMA), path)
    assert check(path, PRISMA) == []
    assert "field" in rules(path, dataclasses.replace(PRISMA, b0_t=3.0))
    assert "definitions" in rules(path, dataclasses.replace(PRISMA, grad_raster_s=4e-6))
    assert "max_b1" in rules(path, dataclasses.replace(PRISMA, max_b1_ut=15.0))
    assert "max_gradient" in rules(path, dataclasses.replace(PRISMA, max_grad_mt_per_m=20.0))
    assert "max_slew" in rules(path, dataclasses.replace(PRISMA, max_slew_t_per_m_per_s=40.0))
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
