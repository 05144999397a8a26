"""Editing conditions on the virtual scanner: a basis for each, in common phase, macromolecules through the pulses."""

import math

import numpy as np
import pypulseq
import pytest
import sequences_for_tests as seqs

from pulsespec.errors import InputError, MismatchError, SequenceError
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.broad_response import PARTNERS, broad_through, lines_through
from pulsespec.simulator.coedited import MM09CO, MM3CO, with_macromolecules
from pulsespec.simulator.conditions import conditions_of, simulate_conditions
from pulsespec.simulator.faults import no_faults
from pulsespec.simulator.phantom import Phantom, load_phantom
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import set_up

PHANTOM = Phantom("test", {"Gly": 10.0}, 40000.0, {"MM20": 5.0})
TURN = 0.6
"""Phase of the excitation in condition 1, which the receiver does not follow."""


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Saturation at 2.0 ppm in condition 0, at 7.3 ppm in condition 1, two shots of each, then water."""
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)

    def shot(condition, water=0):
        if not water:
            saturation = pypulseq.make_gauss_pulse(
                math.pi / 2,
                duration=30e-3,
                freq_offset=340.0 * (2 * condition - 1),
                system=opts,
                use="saturation",
            )
            sequence.add_block(saturation)
            sequence.add_block(pypulseq.make_trapezoid("z", area=600.0, duration=3e-3, system=opts))
        sequence.add_block(seqs.hard(math.pi / 2, TURN * condition, opts=opts, use="excitation"))
        labels = [pypulseq.make_label("SET", "SET", condition), pypulseq.make_label("REF", "SET", water)]
        sequence.add_block(seqs.adc(opts, 256, 4e-4), *labels)
        sequence.add_block(pypulseq.make_delay(0.5))

    for condition in (0, 1, 0, 1):
        shot(condition)
    shot(0, water=1)
    path = tmp_path_factory.mktemp("edited") / "edited.seq"
    seqs.write(sequence, path, TE=0.0, TR=1.0, CarrierPPM=3.0)
    return path, simulate_conditions(path, ["Gly"])


def test_conditions_keep_the_phase_between_them(edited):
    path, bases = edited
    assert conditions_of(path) == (0, 1)
    first, second = (bases[one].lines["Gly"].amplitude.sum() for one in (0, 1))
    assert np.angle(second / first) == pytest.approx(TURN, abs=1e-3)
    assert abs(second) == pytest.approx(abs(first), rel=0.02)


def test_a_pulse_acts_on_macromolecules_where_they_are(edited):
    broad = broad_through(*edited, ("MM20",))
    protons = {2.08: 1.33, 3.0: 0.4}
    left = {}
    for condition, lines in broad.items():
        ppm = 4.65 + lines["MM20"].frequency_hz / (seqs.F0_HZ * 1e-6)
        for place, size in protons.items():
            near = np.abs(ppm - place) < 0.1  # at 3.0 ppm a triplet
            left[condition, place] = complex(lines["MM20"].amplitude[near].sum()) / size
    assert abs(left[0, 2.08]) < 0.4
    for one in ((0, 3.0), (1, 3.0), (1, 2.08)):
        assert abs(left[one]) == pytest.approx(1.0, abs=0.02)
    assert np.angle(left[1, 3.0] / left[0, 3.0]) == pytest.approx(TURN, abs=1e-3)


def test_a_coupled_macromolecule_is_a_multiplet_that_evolves(tmp_path):
    """M3.00 with two partners at 1.70 ppm, a spin echo of 1 / (2 J): product operators say what is left."""
    j_hz, te_s = PARTNERS[0].j_hz, round(0.5 / PARTNERS[0].j_hz, 4)
    path = seqs.spin_echo(tmp_path / "echo.seq", te_s)
    bases = simulate_conditions(path, ["Gly"])
    one = Lines(np.array([(3.0 - bases[0].reference_ppm) * bases[0].f0_hz * 1e-6]), np.array([2.0 + 0j]))
    coupled, alone = (lines_through(path, bases, {"M": one}, names)[0]["M"] for names in (("M",), ()))
    assert np.ptp(coupled.frequency_hz) == pytest.approx(2 * j_hz, abs=1.0)
    assert abs(alone.amplitude.sum()) == pytest.approx(2.0, rel=0.03)
    evolved = (1 + np.cos(2 * np.pi * j_hz * te_s)) / 2  # outer lines turn, the middle one does not
    assert abs(coupled.amplitude.sum()) == pytest.approx(2.0 * evolved, abs=0.2)  # 5 % of strong coupling


def test_the_fit_has_what_is_edited_apart(edited):
    path, bases = edited
    found = with_macromolecules(path, bases)
    for one in found.values():
        assert one.names == found[0].names
        assert {MM3CO, MM09CO} <= set(one.broad)
        for name in set(one.broad) - {MM3CO}:
            ppm = one.reference_ppm + one.lines[name].frequency_hz / (one.f0_hz * 1e-6)
            assert not np.any((ppm > 2.9) & (ppm < 3.05))
    protons = [abs(one.lines[MM3CO].amplitude.sum()) for one in found.values()]
    assert protons == pytest.approx([2.0, 2.0], rel=0.05)  # nothing evolves before this readout


def test_steam_halves_macromolecules_as_it_does_metabolites(tmp_path):
    path = seqs.planned(tmp_path / "steam.seq", seqs.steam_steps)
    bases = simulate_conditions(path, ["Gly"])
    glycine = bases[0].lines["Gly"].amplitude.sum() / 2
    broad = broad_through(path, bases, ("MM20",))[0]["MM20"].amplitude / np.array([1.33, 0.33, 0.33, 0.40])
    assert 0.5 < abs(glycine) < 0.8  # half of what these slices, wider than the voxel, excite
    np.testing.assert_allclose(np.abs(broad), abs(glycine), rtol=0.03)


def test_each_shot_is_of_its_condition(edited):
    path, bases = edited
    scan = play(set_up(path, bases, PHANTOM), faults=no_faults(coils=1))
    assert scan.data.shape == (5, 1, 256)
    assert scan.truth.condition.tolist() == [0, 1, 0, 1, 0]
    assert scan.truth.is_water.tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(scan.data[0], scan.data[2])
    np.testing.assert_array_equal(scan.data[1], scan.data[3])
    fids = scan.data[:2, 0] / scan.truth.sensitivities[0]
    np.testing.assert_allclose(fids, scan.truth.metabolite_fids, atol=1e-5 * np.abs(fids).max())


def test_a_condition_without_its_own_basis_is_refused(edited):
    path, bases = edited
    with pytest.raises(InputError, match=r"conditions \[0, 1\], no basis for 1"):
        set_up(path, bases[0], PHANTOM)
    with pytest.raises(MismatchError, match="condition 1 was computed for"):
        set_up(path, {0: bases[0], 1: bases[0]}, PHANTOM)


def test_an_image_is_refused(tmp_path):
    path = seqs.planned(tmp_path / "image.seq", seqs.steam_steps, Matrix=[4, 4, 1])
    with pytest.raises(SequenceError, match="the phantom is one voxel"):
        set_up(path, {}, PHANTOM)


def test_macromolecules_decay_with_echo_time():
    phantom = load_phantom("grey-matter")
    assert phantom.broad_share(0.030) == 1.0
    assert phantom.broad_share(0.068) == pytest.approx(math.exp(-0.038 / phantom.broad_t2_s))
    assert 0.02 < phantom.broad_t2_s < 0.05


def test_water_alone_is_refused(tmp_path):
    path = seqs.labelled_shots(tmp_path / "water.seq", 0, 2)
    with pytest.raises(SequenceError, match="water references alone"):
        conditions_of(path)
    with pytest.raises(SequenceError, match="water references alone"):
        set_up(path, {}, PHANTOM)
