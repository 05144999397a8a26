"""What a basis is computed for: conditions, relaxation, B1, B0, tolerance, arrays, and where it is kept."""

import numpy as np
import pypulseq
import pytest
import sequences_for_tests as seqs

from pulsespec.errors import InputError
from pulsespec.simulator import simulate
from pulsespec.simulator.relaxation import ANY, Relaxation, read_relaxation
from pulsespec.simulator.simulate import Settings


def area(basis, name):
    return basis.lines[name].amplitude.sum()


def test_t2_acts_on_the_echo_time(tmp_path):
    path = seqs.spin_echo(tmp_path / "se.seq", te_s=0.05)
    plain = simulate(path, ["Gly"])
    relaxed = simulate(path, ["Gly"], relaxation={ANY: Relaxation(t2_s=0.08)})
    first_sample_s = 0.05 + 2.5e-4  # half a dwell after the echo, less half of the hard 90
    assert abs(area(relaxed, "Gly") / area(plain, "Gly")) == pytest.approx(
        np.exp(-first_sample_s / 0.08), rel=2e-3
    )
    assert relaxed.provenance["relaxation"] == {ANY: {"t1_s": None, "t2_s": 0.08}}
    assert not plain.provenance["relaxation"]


def test_times_of_some_metabolites_alone_are_refused(tmp_path):
    path = seqs.spin_echo(tmp_path / "se.seq", te_s=0.05)
    with pytest.raises(InputError, match=r"no T1 and T2 for Cr.*all others"):
        simulate(path, ["Gly", "Cr"], relaxation={"Gly": Relaxation(t2_s=0.08)})
    with pytest.raises(InputError, match=r"'Glyy'.*near: Gly"):
        simulate(path, ["Gly"], relaxation={"Glyy": Relaxation(t2_s=0.08), ANY: Relaxation(t2_s=0.1)})
    assert simulate(path, ["Gly"], relaxation={name: Relaxation(t2_s=0.1) for name in ("Gly", "Cr", "Water")})


def inverted(path, ti_s):
    """A hard 180, a delay and a hard 90: signal 1 - 2 exp(-TI / T1)."""
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    sequence.add_block(seqs.hard(np.pi, opts=opts, use="inversion"))
    spoil = pypulseq.make_trapezoid("z", area=3000.0, duration=5e-3, system=opts)
    sequence.add_block(spoil)
    sequence.add_block(pypulseq.make_delay(ti_s - 5e-3 - 1e-4))
    sequence.add_block(seqs.hard(np.pi / 2, opts=opts, use="excitation"))
    sequence.add_block(seqs.adc(opts, 64, 1e-4))
    return seqs.write(sequence, path, TE=0.0)


@pytest.mark.parametrize("ti_s", [0.2, 0.9])
def test_inverted_magnetisation_recovers_with_t1(ti_s, tmp_path):
    plain = simulate(inverted(tmp_path / "ir.seq", ti_s), ["Gly"])
    relaxed = simulate(tmp_path / "ir.seq", ["Gly"], relaxation={"Gly": Relaxation(t1_s=1.2)})
    left = area(relaxed, "Gly") / area(plain, "Gly")  # the plain one is inverted: -1
    assert -left.real == pytest.approx(1 - 2 * np.exp(-ti_s / 1.2), abs=4e-3)


def test_a_repetition_time_saturates(tmp_path):
    """Hard pulses of 60 degrees: the steady state of Ernst and Anderson 1966, without transverse remains."""
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    sequence.add_block(seqs.hard(np.pi / 3, opts=opts, use="excitation"))
    sequence.add_block(seqs.adc(opts, 64, 1e-4))
    path = seqs.write(sequence, tmp_path / "fid.seq", TE=0.0, TR=0.8)
    plain = simulate(path, ["Gly"])
    relaxed = simulate(path, ["Gly"], relaxation={"*": Relaxation(t1_s=1.3)})
    kept = np.exp(-0.8 / 1.3)
    # Off resonance the pulse turns by a little more or less than 60 degrees.
    assert abs(area(relaxed, "Gly") / area(plain, "Gly")) == pytest.approx(
        (1 - kept) / (1 - 0.5 * kept), rel=1e-2
    )


def test_a_stimulated_echo_keeps_t1_in_its_mixing_time(tmp_path):
    path = seqs.planned(tmp_path / "steam.seq", seqs.steam_steps)
    plain, t1, t2 = (
        abs(area(simulate(path, ["Gly"], relaxation={"*": times}), "Gly"))
        for times in (Relaxation(), Relaxation(t1_s=0.05), Relaxation(t2_s=0.05))
    )
    mixing_s = -0.05 * np.log(t1 / plain)
    echo_s = -0.05 * np.log(t2 / plain)
    assert mixing_s == pytest.approx(6e-3 + 1.9e-3 + 2 * 1.5e-3, abs=1.5e-3)
    assert echo_s == pytest.approx(2 * (3e-3 + 1.5e-3 + 1.2e-3), abs=1.5e-3)


def test_b1_scales_flip_angles_and_a_distribution_is_a_mean(tmp_path):
    path = seqs.pulse_acquire(tmp_path / "fid.seq", 64)
    nominal, weak = simulate(path, ["Scyllo"]), simulate(path, ["Scyllo"], b1=((2 / 3, 1.0),))
    assert abs(area(weak, "Scyllo") / area(nominal, "Scyllo")) == pytest.approx(np.sin(np.pi / 3), rel=5e-3)
    both = simulate(path, ["Scyllo"], b1=((1.0, 3.0), (2 / 3, 1.0)))
    expected = (3 * abs(area(nominal, "Scyllo")) + abs(area(weak, "Scyllo"))) / 4
    assert abs(area(both, "Scyllo")) == pytest.approx(expected, rel=1e-3)


def test_b0_offsets_move_lines_and_their_excitation(tmp_path):
    path = seqs.pulse_acquire(tmp_path / "fid.seq", 64)
    moved = simulate(path, ["Gly"], b0_hz=((-5.0, 1.0), (5.0, 1.0)))
    still = simulate(path, ["Gly"])
    centre = still.lines["Gly"].frequency_hz[0]
    np.testing.assert_allclose(np.sort(moved.lines["Gly"].frequency_hz), centre + np.array([-5.0, 5.0]))


def test_conditions_add_up_with_their_factors(tmp_path):
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    for number, flip in enumerate((np.pi / 2, np.pi / 6)):
        sequence.add_block(seqs.hard(flip, opts=opts, use="excitation"))
        label = pypulseq.make_label("SET", "SET", number)
        sequence.add_block(seqs.adc(opts, 64, 1e-4), label)
    path = seqs.write(sequence, tmp_path / "two.seq", TE=0.0)
    one, other, difference = (
        area(simulate(path, ["Gly"], conditions=conditions), "Gly")
        for conditions in ({0: 1.0}, {1: 1.0}, {0: 1.0, 1: -1.0})
    )
    assert abs(difference) == pytest.approx(abs(one) - abs(other), rel=1e-3)


def test_a_basis_that_is_known_comes_from_the_cache(tmp_path):
    path = seqs.pulse_acquire(tmp_path / "fid.seq", 64)
    cache = tmp_path / "cache"
    made = simulate(path, ["Gly"], cache=cache)
    (kept,) = cache.iterdir()
    before = kept.stat().st_mtime_ns
    again = simulate(path, ["Gly"], cache=cache)
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(again.fid("Gly"), made.fid("Gly"))
    changes = [{"tolerance": 1e-5}, {"b1": ((0.9, 1.0),)}, {"b0_hz": ((1.0, 1.0),)}, {"f0_hz": 1e8}]
    for number, change in enumerate([*changes, {"relaxation": {"*": Relaxation(1.0, 0.1)}}], 2):
        simulate(path, ["Gly"], cache=cache, **change)
        assert len(list(cache.iterdir())) == number


def test_a_damaged_file_in_the_cache_is_made_anew(tmp_path):
    path = seqs.pulse_acquire(tmp_path / "fid.seq", 64)
    simulate(path, ["Gly"], cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"x")
    assert simulate(path, ["Gly"], cache=tmp_path / "cache").names == ("Gly",)


def test_the_convergence_of_a_basis_is_stated(tmp_path):
    basis = simulate(seqs.press(tmp_path / "press.seq"), ["Gly"])
    assert basis.provenance["convergence"]["change"] < 1e-3


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_arrays_give_the_same(library, tmp_path):
    pytest.importorskip(library)
    path = seqs.press(tmp_path / "press.seq")
    ours, theirs = (simulate(path, ["Lac"], tolerance=1e-5, arrays=name) for name in ("numpy", library))
    np.testing.assert_allclose(theirs.fid("Lac"), ours.fid("Lac"), atol=1e-6 * np.abs(ours.fid("Lac")).max())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": 0.5}, "tolerance: got 0.5"),
        ({"b1": ((0.0, 1.0),)}, "b1: got"),
        ({"b0_hz": ()}, "b0_hz: got"),
        ({"conditions": {0: 0.0}}, "conditions: got"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        Settings(**change)


def test_an_array_library_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="arrays 'no_such_library'"):
        simulate(seqs.press(tmp_path / "press.seq"), ["Gly"], arrays="no_such_library")


def test_a_table_of_relaxation_times_is_read_or_refused(tmp_path):
    path = tmp_path / "times.toml"
    path.write_text('NAA = { t1_s = 1.4, t2_s = 0.25 }\n"*" = { t2_s = 0.2 }\n')
    assert read_relaxation(path) == {"NAA": Relaxation(1.4, 0.25), "*": Relaxation(t2_s=0.2)}
    for text, words in (
        ("NAA = 3", "NAA: got 3"),
        ("NAA = { t1_ms = 3 }", "NAA: got"),
        ("NAA = { t1_s = -1 }", "T1 -1"),
        ("NAA = [", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_relaxation(path)
