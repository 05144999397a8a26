"""What the simulator reads from a `.seq`: shots, moments, phases, dummies; and the pathways that follow."""

import numpy as np
import pypulseq
import pytest
import sequences_for_tests as seqs

from pulsespec.errors import SequenceError
from pulsespec.simulator.geometry import layout
from pulsespec.simulator.pathways import select_pathways
from pulsespec.simulator.timeline import read_readouts, read_timeline

SHIFTS = np.linspace(-400, 100, 11)


def kept(path, tolerance=1e-4):
    timeline = read_timeline(path)
    shot = timeline.shots[0]
    found = layout([pulse.rf for pulse in shot.pulses], timeline.voxel, tolerance, SHIFTS)
    return select_pathways(shot, found, SHIFTS, tolerance)


def test_moments_and_times_are_those_of_the_file(tmp_path):
    timeline = read_timeline(seqs.spin_echo(tmp_path / "se.seq", te_s=0.03, crusher_per_m=300.0))
    (shot,) = timeline.shots
    first, second = shot.pulses
    np.testing.assert_allclose(first.moment_per_m, [0, 0, 300.0], rtol=1e-5)
    np.testing.assert_allclose(second.moment_per_m, [0, 0, 300.0], rtol=1e-5)
    assert first.rf.duration_s == pytest.approx(1e-4)
    assert not shot.readout.has_gradient
    assert timeline.seconds("TE") == pytest.approx(0.03)


def test_a_phase_cycle_is_one_shot_with_many_phases(tmp_path):
    phases = [(0, 0, 0, 0), (np.pi, 0, 0, np.pi), (0, np.pi / 2, 0, np.pi)]
    timeline = read_timeline(seqs.press(tmp_path / "p.seq", phases=phases))
    (shot,) = timeline.shots
    np.testing.assert_allclose(shot.phases, phases, atol=1e-5)


def test_dummies_are_not_of_the_shot_that_follows(tmp_path):
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    for number in range(3):
        sequence.add_block(seqs.hard(np.pi / 2, opts=opts, use="excitation"))
        readout = seqs.adc(opts, 100, 1e-4)
        sequence.add_block(readout if number == 2 else pypulseq.make_delay(10e-3))
        sequence.add_block(pypulseq.make_delay(0.5 - 10e-3 - 1e-4))
    for tr, pulses in ((None, 3), (0.5, 1)):
        path = seqs.write(sequence, tmp_path / f"{pulses}.seq", **({"TR": tr} if tr else {}))
        assert len(read_timeline(path).shots[0].pulses) == pulses


def test_water_shots_are_told_by_their_label(tmp_path):
    path = seqs.labelled_shots(tmp_path / "l.seq")
    timeline = read_timeline(path)
    assert timeline.select(water_reference=True)
    assert timeline.select(water_reference=False)
    flags = [readout.is_water_reference for readout in read_readouts(path)]
    assert any(flags)
    assert not all(flags)


def test_the_field_has_to_be_known(tmp_path):
    sequence = pypulseq.Sequence(seqs.system())
    sequence.add_block(seqs.hard(np.pi / 2, opts=seqs.system(), use="excitation"))
    sequence.add_block(seqs.adc(seqs.system(), 100, 1e-4))
    sequence.write(str(tmp_path / "x.seq"))
    with pytest.raises(SequenceError, match="no B0 definition"):
        read_timeline(tmp_path / "x.seq")
    assert read_timeline(tmp_path / "x.seq", f0_hz=127.7e6).f0_hz == 127.7e6


def test_what_is_no_pulseq_file_is_said(tmp_path):
    (tmp_path / "x.seq").write_text("hello")
    with pytest.raises(SequenceError, match="not a Pulseq file"):
        read_timeline(tmp_path / "x.seq")


def test_crushers_leave_the_spin_echo_alone(tmp_path):
    found = kept(seqs.press(tmp_path / "p.seq"))
    assert found.kept[0].orders == (-1, 1, -1)
    assert all(path.weight < 0.02 * found.kept[0].weight for path in found.kept[1:])


def test_without_crushers_a_phase_cycle_does_it(tmp_path):
    echo = seqs.spin_echo(tmp_path / "open.seq", crusher_per_m=0.0)
    assert {path.orders for path in kept(echo).kept} >= {(1, -1), (-1, -1), (0, -1)}
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    for step in range(4):  # EXORCYCLE: Bodenhausen, Freeman, Turner 1977, J Magn Reson 27:511-514
        sequence.add_block(seqs.hard(np.pi / 2, opts=opts, use="excitation"))
        sequence.add_block(pypulseq.make_delay(5e-3))
        sequence.add_block(seqs.hard(np.pi, step * np.pi / 2, opts=opts))
        sequence.add_block(pypulseq.make_delay(5e-3))
        sequence.add_block(seqs.adc(opts, 100, 1e-4, phase_offset=step * np.pi % (2 * np.pi)))
    cycled = kept(seqs.write(sequence, tmp_path / "cycled.seq"))
    assert {path.orders for path in cycled.kept} == {(1, -1)}


def test_dephasing_of_an_unselected_direction_is_that_of_a_raised_cosine(tmp_path):
    """A hard 90 and a moment of 0.4 cycles across the voxel, its width at half height."""
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    sequence.add_block(seqs.hard(np.pi / 2, opts=opts, use="excitation"))
    sequence.add_block(pypulseq.make_trapezoid("x", area=0.4 / seqs.VOXEL_M[0], duration=2e-3, system=opts))
    sequence.add_block(seqs.adc(opts, 100, 1e-4))
    found = kept(seqs.write(sequence, tmp_path / "x.seq"))
    full = kept(seqs.pulse_acquire(tmp_path / "y.seq"))
    x = (np.arange(4000) + 0.5) / 2000 - 1
    expected = np.mean((1 + np.cos(np.pi * x)) * np.cos(2 * np.pi * 0.4 * x))
    assert found.kept[0].weight / full.kept[0].weight == pytest.approx(expected, rel=1e-4)


def test_public_files_of_another_author(data_folder):
    folder = data_folder / "siemens-3t-pulseq-phantom"
    timeline = read_timeline(folder / "06_PRESS_center.seq", f0_hz=123.25e6)
    (shot,) = timeline.shots
    assert [pulse.rf.duration_s for pulse in shot.pulses] == pytest.approx([3e-3] * 3)
    assert (shot.readout.samples, shot.readout.dwell_s) == (4096, pytest.approx(62.5e-6))
    assert read_timeline(folder / "04_SE_BackgroundGrad.seq", f0_hz=123.25e6).shots[0].readout.has_gradient
    assert len(read_readouts(folder / "02_FID_MFA.seq")) == 9
