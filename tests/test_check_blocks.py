"""Rules for single blocks in their less common forms: segments of readouts, dead times across blocks, odd shapes."""

import dataclasses

import numpy as np
import pypulseq
import pytest
from test_check import B1_HZ, LOOSE, PRISMA, assemble, events, rules

from pulsespec.sequences import check, load_scanner
from pulsespec.sequences.check_blocks import adc_segments
from pulsespec.sequences.pulses import rf_event

GE = load_scanner("ge-xrm")
EAGER = dataclasses.replace(GE, rf_dead_time_s=0.0, rf_ringdown_s=0.0, adc_dead_time_s=0.0)
NEXUS = load_scanner("nexus-console", field_t=0.05, max_b1_ut=20.0)


@pytest.mark.parametrize(
    ("samples", "dwell_s", "expected"),
    [
        (2048, 2.5e-4, (1, 2048)),
        (8192, 1e-4, (1, 8192)),
        (16384, 1e-5, (2, 8192)),
        (8196, 1e-5, (3, 2732)),
        (10000, 2.4e-6, (2, 5000)),
        (8202, 1e-5, None),
        (2046, 1e-5, None),
        (8192 * 129, 1e-5, None),
        (2 * 8188, 1.1e-6, None),
    ],
)
def test_readouts_are_cut_into_equal_segments(samples, dwell_s, expected):
    assert adc_segments(samples, dwell_s, PRISMA) == expected


def test_segments_obey_their_rules_or_there_are_none():
    for samples in range(8196, 60000, 1236):
        for dwell_s in (1e-6, 2.5e-6, 3.3e-6, 1e-5):
            counts = [
                n
                for n in range(2, 129)
                if samples % (4 * n) == 0
                and samples // n <= 8192
                and round(samples // n * dwell_s * 1e10) % 100000 == 0
            ]
            expected = (counts[0], samples // counts[0]) if counts else None
            assert adc_segments(samples, dwell_s, PRISMA) == expected


def test_a_console_without_a_limit_takes_any_readout():
    assert adc_segments(100001, 1e-6, NEXUS) == (1, 100001)


def arbitrary(waveform, delay_s, **changes):
    gradient = pypulseq.make_arbitrary_grad("x", waveform, first=0, last=0, delay=0, system=LOOSE)
    gradient.delay = delay_s
    for key, value in changes.items():
        setattr(gradient, key, value)
    return gradient


def test_an_arbitrary_gradient_has_its_samples_in_the_middle_of_the_raster():
    wave = 1e5 * np.hanning(102)[1:-1]
    assert rules(assemble(events(gx=arbitrary(wave, 0.0)))) == []
    assert rules(assemble(events(gx=arbitrary(wave, 2e-5)))) == []
    assert rules(assemble(events(gx=arbitrary(wave, 5e-6)))) == ["gradient_raster"]


def test_a_gradient_that_begins_inside_its_block_begins_at_zero():
    wave = np.full(100, 2e5)
    found = rules(assemble(events(gx=arbitrary(wave, 1e-4, first=2e5, last=2e5))))
    assert set(found) == {"gradient_ends"}


def ge_sequence(pulse_delay_s, pause_s, adc_delay_s):
    """Return a pulse and, in the block behind it, a readout."""
    rf = rf_event(100 * B1_HZ, 1e-3, pulse_delay_s, 0.0, 0.0, "excitation", EAGER)
    adc = pypulseq.make_adc(1000, dwell=2e-4, delay=adc_delay_s, system=EAGER.opts)
    sequence = pypulseq.Sequence(EAGER.opts)
    for label in ([pypulseq.make_label("TRID", "SET", 1)], []):
        sequence.add_block(rf, pypulseq.make_delay(pause_s), *label)
        sequence.add_block(adc, pypulseq.make_delay(0.2 + 4e-3))
    return sequence


def test_on_ge_dead_times_may_lie_in_the_neighbouring_block():
    assert (
        check(ge_sequence(0.0, 1e-3, 1e-4), GE) == []
    )  # 60 us ringdown and 40 us dead time behind the pulse
    assert rules(ge_sequence(0.0, 1e-3, 9.8e-5), GE) == ["adc_dead_time"]
    late = ge_sequence(0.0, 1e-3, 3.94e-3)  # 60 us from the readout to the next pulse
    assert rules(late, GE) == ["rf_dead_time"]
    assert rules(late, dataclasses.replace(GE, dead_times_span_blocks=False)).count("rf_dead_time") == 1


def test_on_ge_a_readout_starts_on_a_microsecond():
    assert check(ge_sequence(0.0, 1e-3, 1.01e-4), GE) == []
    assert rules(ge_sequence(0.0, 1e-3, 1.015e-4), GE) == ["adc_start"]


def test_only_some_scanners_want_readouts_of_one_length():
    from test_check import two_lengths

    assert rules(two_lengths()) == ["adc_lengths"]
    assert rules(two_lengths(), dataclasses.replace(PRISMA, one_readout_length=False)) == []


def test_a_raster_may_be_a_multiple_of_the_scanners():
    sequence = assemble(events())
    sequence.set_definition("GradientRasterTime", 2e-5)
    assert rules(sequence) == []
    sequence.set_definition("GradientRasterTime", 1.5e-5)
    assert rules(sequence) == ["definitions"]


def test_another_nucleus_is_reported():
    sequence = assemble(events())
    sequence.set_definition("Nucleus", "31P")
    assert rules(sequence) == ["definitions"]
