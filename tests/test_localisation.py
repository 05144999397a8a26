"""What a written file selects and when its echo is, against formulas and against hand-built sequences."""

import numpy as np
import pypulseq
import pytest
from sequences_for_tests import F0_HZ, VOXEL_M, press, system
from sequences_for_tests import write as write_small

from pulsespec.errors import SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.localisation import localisation
from pulsespec.sequences.purity import central
from pulsespec.sequences.voxel import Voxel
from pulsespec.simulator.timeline import read_timeline

PATHWAY = {"Pathway": [-1, 1, -1]}


def written(folder, name, **changes):
    protocol = load_protocol(name).model_copy(update={"averages": 1, "phase_cycle": 1} | changes)
    path = folder / "x.seq"
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path, overwrite=True)
    return path


def redefined(path, **definitions):
    sequence = pypulseq.Sequence(system())
    sequence.read(str(path))
    return write_small(sequence, path, **(dict(sequence.definitions) | definitions))


def test_slices_of_a_hand_built_press_are_where_and_as_thick_as_its_gradients_say(tmp_path):
    path = redefined(press(tmp_path / "x.seq", offset_hz=0.0), **PATHWAY)
    found = localisation(path)
    assert [pulse.axis for pulse in found.pulses] == ["z", "x", "y"]
    for pulse, time_bandwidth in zip(found.pulses, (4.0, 3.0, 3.0), strict=True):
        gradient_hz_per_m = time_bandwidth / 2e-3 / VOXEL_M[0]
        # One ppm is f0 * 1e-6, and the slice moves by that over the gradient whatever its profile is.
        moved_m = F0_HZ * 1e-6 / gradient_hz_per_m
        assert pulse.percent_per_ppm == pytest.approx(100 * moved_m / pulse.thickness_m, rel=0.02)
        assert pulse.thickness_m == pytest.approx(VOXEL_M[0], rel=0.35)
        assert pulse.centre_m == pytest.approx(0.0, abs=2e-4)
        assert pulse.duration_s == pytest.approx(2e-3)


def test_an_offset_of_the_carrier_moves_the_slice_against_the_gradient_by_the_formula(tmp_path):
    centres = [
        [
            pulse.centre_m
            for pulse in localisation(
                redefined(press(tmp_path / "x.seq", offset_hz=hz), CarrierPPM=4.65, **PATHWAY)
            ).pulses
        ]
        for hz in (0.0, -120.0)
    ]
    expected = [-120.0 / (time_bandwidth / 2e-3 / 0.02) for time_bandwidth in (4.0, 3.0, 3.0)]
    np.testing.assert_allclose(np.subtract(centres[1], centres[0]), expected, atol=1e-4)


def test_the_echo_is_where_the_pulses_of_a_hand_built_press_put_it(tmp_path):
    path = redefined(press(tmp_path / "x.seq", offset_hz=0.0, te1_s=0.012, te2_s=0.018), **PATHWAY)
    found = localisation(path)
    assert found.echo_time_s == pytest.approx(0.030, abs=5e-5)
    assert found.first_sample_s == pytest.approx(0.030 + 0.5e-3, abs=5e-5)
    assert found.mixing_time_s == 0


@pytest.mark.parametrize("name", ["press-3t-te30", "steam-3t-te20-tm10", "semi-laser-3t-te30"])
def test_shipped_sequences_have_the_echo_and_the_voxel_of_their_protocol(tmp_path, name):
    protocol = load_protocol(name)
    path = written(tmp_path, name)
    timeline = read_timeline(path)
    found = localisation(timeline)
    assert found.echo_time_s == pytest.approx(timeline.seconds("TE"), abs=3e-5)
    assert found.first_sample_s - found.echo_time_s == pytest.approx(0, abs=3e-5)
    assert found.mixing_time_s == pytest.approx(timeline.seconds("TM") or 0.0, abs=3e-5)
    for pulse in found.pulses:
        size_m = protocol.voxel_mm["xyz".index(pulse.axis)] * 1e-3
        assert pulse.thickness_m == pytest.approx(size_m, rel=0.08)
        assert pulse.peak_b1_ut <= load_scanner("siemens-prisma").max_b1_ut * 1.001
    if name.startswith("semi-laser"):
        assert all(pulse.percent_per_ppm < 2.0 for pulse in found.pulses if pulse.number > 1)
    shift, overlap = found.displacement_mm["water"], found.overlap["water"]
    shares = [1 - abs(mm) / size for mm, size in zip(shift, protocol.voxel_mm, strict=True)]
    assert overlap == pytest.approx(np.prod(shares), rel=1e-6)
    assert 0 < found.overlap["water"] < found.overlap["NAA"] <= 1


def test_an_oblique_off_centre_voxel_is_measured_in_its_own_frame(tmp_path):
    straight = localisation(written(tmp_path, "press-3t-te30", position_mm=(0.0, 0.0, 0.0)))
    axes = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    path = written(tmp_path, "press-3t-te30", orientation=axes, position_mm=(5.0, -12.0, 20.0))
    oblique = localisation(path)
    middle = Voxel.of(read_timeline(path)).positions.mean(axis=1)
    for one, other in zip(straight.pulses, oblique.pulses, strict=True):
        assert (one.axis, one.thickness_m) == (other.axis, pytest.approx(other.thickness_m, rel=0.01))
        assert one.percent_per_ppm == pytest.approx(other.percent_per_ppm, rel=0.01)
        assert other.centre_m == pytest.approx(middle["xyz".index(other.axis)], abs=2e-4)


def test_a_file_without_its_pathway_is_refused(tmp_path):
    with pytest.raises(SequenceError, match="Pathway"):
        localisation(press(tmp_path / "x.seq"))


@pytest.mark.parametrize(
    ("name", "wider"), [("epsi-3t-te144-no-inversion-whole-brain", 2.0), ("epsi-3t-whole-brain", 1.2)]
)
def test_a_wide_refocused_slab_leaves_the_place_to_the_excitation(tmp_path, name, wider):
    protocol = central(load_protocol(name)).model_copy(update={"water_suppression": None, "points": 64})
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, load_scanner("siemens-skyra")), path)
    found = localisation(path)
    excitation, refocusing = found.pulses
    assert refocusing.thickness_m / excitation.thickness_m == pytest.approx(wider, rel=1e-3)
    alone_mm = 1.4 * excitation.percent_per_ppm / 100 * 135  # of lactate, 1.4 ppm from the carrier
    moved = found.displacement_mm["Lac"][2]
    assert (moved == pytest.approx(alone_mm, rel=0.2)) == (wider > 1.5)
