"""Labels, segments, energy and size of a sequence as `check` reads them."""

import dataclasses

import numpy as np
import pypulseq
import pytest
import sequences_for_tests as small
from test_check import B1_HZ, LOOSE, PRISMA, SEGMENTED, events, few, labelled, rules, segments

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences import check, load_scanner, write_sequence
from pulsespec.sequences.block_table import Blocks, Waveforms
from pulsespec.sequences.check_whole import estimated_bytes
from pulsespec.sequences.energy import rf_energy
from pulsespec.sequences.labels import label_table

GAMMA = gamma_hz_per_t("1H")


@pytest.mark.parametrize("name", ["press-3t-te30", "epsi-3t-2d-flyback", "mega-press-3t-gaba"])
def test_labels_are_those_that_pypulseq_finds(name):
    sequence = few(name=name)
    theirs = sequence.evaluate_labels(evolution="adc")
    ours = label_table(Blocks(sequence))
    assert theirs.keys() == ours.keys()
    for key, values in ours.items():
        np.testing.assert_array_equal(values, theirs[key])


def test_labels_that_count_up_are_followed():
    made = events()
    sequence = pypulseq.Sequence(PRISMA.opts)
    for change in (("SET", 3), ("INC", 2), ("INC", -1)):
        label = pypulseq.make_label("LIN", *change)
        sequence.add_block(made["adc"], pypulseq.make_delay(0.2562), label)
    np.testing.assert_array_equal(label_table(Blocks(sequence))["LIN"], [3, 5, 4])


def test_a_repeated_readout_is_named_with_its_labels_block_and_time():
    (found,) = check(labelled({"LIN": 0}, {"LIN": 1}, {"LIN": 1}, {"LIN": 1}), PRISMA)
    assert (found.rule, found.block) == ("label_repeated", 4)
    assert found.time_s == pytest.approx(1.2e-3 + 2 * 0.2562)
    assert "2 readouts" in found.message
    assert "LIN 1" in found.message
    assert rules(labelled({"LIN": 1, "NAV": 1}, {"LIN": 1, "NAV": 0})) == []


def test_a_missing_average_is_named_where_it_is_missed():
    (found,) = check(labelled({"AVG": 0}, {"AVG": 1}, {"AVG": 3}), PRISMA)
    assert (found.rule, found.block) == ("label_counter", 4)
    assert "AVG is 3" in found.message


def trains(**changes):
    """Return two instances of a segment of trapezoid, delay and readout, the second one changed."""
    made = events()
    sequence = pypulseq.Sequence(PRISMA.opts)
    for number in range(2):
        now = changes if number else {}
        gradient = pypulseq.make_trapezoid(
            "x",
            amplitude=now.get("amplitude", 1e5),
            rise_time=now.get("rise_s", 1e-4),
            flat_time=1e-3 - (now.get("rise_s", 1e-4) - 1e-4),
            fall_time=1e-4,
            system=LOOSE,
        )
        sequence.add_block(gradient, pypulseq.make_label("TRID", "SET", now.get("trid", 1)))
        sequence.add_block(pypulseq.make_delay(now.get("delay_s", 1e-3)))
        readout = [made["adc"], pypulseq.make_label("AVG", "SET", number)]
        sequence.add_block(*([] if now.get("dummy") else readout), pypulseq.make_delay(0.2562))
    return sequence


@pytest.mark.parametrize("same", [{}, {"amplitude": -2e5}, {"delay_s": 5e-3}, {"trid": 2, "dummy": True}])
def test_instances_of_a_segment_may_differ_in_amplitude_and_delay(same):
    assert rules(trains(**same), SEGMENTED) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [({"dummy": True}, "another kind of block 3"), ({"rise_s": 2e-4}, "another gradients in block 1")],
)
def test_instances_of_a_segment_have_the_same_events(other, said):
    (found,) = check(trains(**other), SEGMENTED)
    assert found.rule == "segment_structure"
    assert said in found.message


def test_instances_of_a_segment_have_as_many_blocks():
    sequence = segments(1.2e-3, 1.2e-3)
    sequence.add_block(pypulseq.make_delay(1e-3))
    (found,) = check(sequence, SEGMENTED)
    assert found.rule == "segment_structure"
    assert "has 3 blocks, its first instance 2" in found.message


def hard_pulses(*starts_s, total_s):
    """Return pulses of 100 Hz and 1 ms at some times."""
    sequence = pypulseq.Sequence(LOOSE)
    now_s = 0.0
    for start_s in starts_s:
        sequence.add_block(pypulseq.make_delay(start_s - now_s))
        pulse = pypulseq.make_block_pulse(0.2 * np.pi, duration=1e-3, system=LOOSE, use="excitation")
        sequence.add_block(pulse)
        now_s = start_s + 1e-3
    sequence.add_block(pypulseq.make_delay(total_s - now_s))
    return sequence


def test_energy_is_that_of_the_worst_ten_seconds():
    alone = 100 / GAMMA * 1e6
    assert rf_energy(hard_pulses(1.0, total_s=2.0), PRISMA) == pytest.approx(
        alone * (1e-3 / 2) ** 0.5, rel=1e-3
    )
    spread = hard_pulses(1.0, 20.0, 22.0, 29.0, 31.0, total_s=40.0)
    assert rf_energy(spread, PRISMA) == pytest.approx(alone * (3e-3 / 10) ** 0.5, rel=1e-3)
    (found,) = [
        one
        for one in check(spread, dataclasses.replace(PRISMA, max_b1_rms_ut=0.01))
        if one.rule == "rf_energy"
    ]
    assert found.time_s == pytest.approx(20.0)


def test_energy_of_a_shaped_pulse_is_its_integral():
    made = events()
    sequence = pypulseq.Sequence(LOOSE)
    sequence.add_block(made["rf"], pypulseq.make_delay(0.5))
    mean = np.sum((100 * B1_HZ) ** 2) * 1e-5 / 0.5
    assert rf_energy(sequence, PRISMA) == pytest.approx(mean**0.5 / GAMMA * 1e6, rel=1e-6)


def test_the_duty_cycle_of_a_trapezoid_is_its_root_mean_square():
    sequence = trains()
    squared = 2 * 1e5**2 * (1e-3 + 2e-4 / 3) / sum(sequence.block_durations.values())
    rms = squared**0.5 / GAMMA * 1e3
    assert rules(sequence, dataclasses.replace(PRISMA, max_grad_rms_mt_per_m=rms * 1.001)) == []
    assert rules(sequence, dataclasses.replace(PRISMA, max_grad_rms_mt_per_m=rms * 0.999)) == ["duty_cycle"]


@pytest.mark.parametrize("name", ["press-3t-te30", "epsi-3t-2d-flyback"])
def test_the_size_of_a_file_is_known_before_it_is_written(tmp_path, name):
    sequence = few(name=name)
    path = tmp_path / "x.seq"
    write_sequence(sequence, path)
    size = path.stat().st_size
    assert estimated_bytes(Blocks(sequence)) == pytest.approx(size, rel=0.25)
    assert rules(sequence, dataclasses.replace(PRISMA, max_file_mb=size / 2e6)) == ["file_size"]


def test_waveforms_are_those_that_pypulseq_plays():
    sequence = few(name="epsi-3t-2d-flyback", averages=1)
    waves = Waveforms(Blocks(sequence), 1e-5)
    theirs = sequence.get_gradients(time_range=[0.0, 2.0])
    times = (0.3 + 1e-5 * np.arange(120000))[1:]
    ours = waves.window(0.3, 120000)[1:]
    for axis, wave in enumerate(theirs):
        if wave is None:
            assert not ours[:, axis].any()
            continue
        inside = (times > wave.x[0]) & (times < wave.x[-1])
        np.testing.assert_allclose(ours[inside, axis], wave(times[inside]), atol=20.0)


@pytest.mark.parametrize("make", [small.pulse_acquire, small.spin_echo, small.press, small.labelled_shots])
def test_plain_files_break_only_what_they_lack(tmp_path, make):
    """They were written without dead times, and do not say who may move their voxel."""
    path = make(tmp_path / "x.seq")
    field_t = small.F0_HZ / small.GAMMA_HZ_PER_T
    scanner = dataclasses.replace(
        PRISMA,
        b0_t=field_t,
        rf_dead_time_s=0.0,
        rf_ringdown_s=0.0,
        adc_dead_time_s=0.0,
        max_b1_ut=200.0,
        max_slew_t_per_m_per_s=1e6,
        stimulation_rheobase_t_per_s=None,
    )
    assert set(rules(path, scanner)) <= {"geometry_labels"}


@pytest.mark.parametrize("name", ["siemens-prisma", "ge-xrm", "ge-magnus"])
def test_exported_files_break_nothing(tmp_path, name):
    scanner = load_scanner(name)
    for number, v141 in enumerate((False, True)):
        path = tmp_path / f"{number}.seq"
        write_sequence(few(scanner), path, v141=v141)
        assert check(path, scanner) == []
