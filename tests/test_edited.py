"""Edited data: conditions named and checked, brought to one frame, added and subtracted."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from virtual_for_tests import line, small_basis, small_setup

from pulsespec import analysis, commands, edited_verbs
from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon import edit_align
from pulsespec.recon.align import spectral_registration
from pulsespec.recon.edit_align import between, continued, turned, windows
from pulsespec.recon.edit_order import with_conditions
from pulsespec.recon.edit_pairs import pairs, shared
from pulsespec.recon.edited import combine, combined, one_water
from pulsespec.recon.editing import Combination, Condition, Scheme, combinations, from_definitions, matched
from pulsespec.recon.guard_basis import compare
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quality import quality
from pulsespec.recon.transients import Scan
from pulsespec.recon.verdict import assess
from pulsespec.recon.virtual import scan_of
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.faults import Faults, load_faults, no_faults
from pulsespec.simulator.play import play

MEGA = Scheme((Condition("ON", (1.9,)), Condition("OFF", (7.46,))), "the header")
HERMES = Scheme(tuple(map(Condition, "ABCD", [(1.9, 4.56), (1.9,), (4.56,), (7.5,)])), "the header")


def setup(shots, samples=1024, water=2):
    """Return two conditions whose GABA is a tenth of creatine, as in a brain."""
    made = small_setup(shots=shots, samples=samples, water=water, conditions=2)
    amounts = {**made.phantom.concentrations_mm, "GABA": 0.5}
    return replace(made, phantom=replace(made.phantom, concentrations_mm=amounts))


def scan(shots=16, seed=0, scheme=MEGA, **faults):
    """Return a small virtual scan of two conditions and what was played."""
    played = play(setup(shots), seed=seed, faults=Faults(**faults))
    found = scan_of(played)
    header = {} if scheme is None else {"editing": scheme}
    return replace(found, metabolite=replace(found.metabolite, header=header)), played


def quiet(**faults):
    return {"coils": 1, "snr": 1e4, "residual_water": 1e-5, "eddy_rad": 0.0, **faults}


def alone(found):
    """Return the metabolites of a scan without their only coil."""
    data = found.metabolite
    axis = data.axis("coil")
    return replace(data, data=np.take(data.data, 0, axis), dims=tuple(d for d in data.dims if d != "coil"))


def series(data, order):
    """Return shots (edit, average, t) as one series (average, t) in which `order` says which condition is next."""
    places, shots = [0] * data.size("edit"), []
    for condition in order:
        shots.append(data.data[condition, places[condition]])
        places[condition] += 1
    return replace(data, data=np.array(shots), dims=("average", "t"), header={})


def test_mega_has_one_difference_and_hermes_two():
    assert [(one.name, one.weights) for one in combinations(MEGA)] == [("diff", (1, -1)), ("sum", (1, 1))]
    swapped = Scheme(MEGA.conditions[::-1], "")
    assert combinations(swapped)[0].weights == (-1, 1)
    assert {one.name: one.weights for one in combinations(HERMES)} == {
        "diff-gaba": (1, 1, -1, -1), "diff-gsh": (1, -1, 1, -1), "sum": (1, 1, 1, 1),
    }  # fmt: skip


def test_hercules_and_symmetric_editing_have_each_difference_once():
    hercules = Scheme(tuple(map(Condition, "ABCD", [(4.58, 1.9), (4.18, 1.9), (4.58,), (4.18,)])), "")
    assert [(one.name, one.weights) for one in combinations(hercules)][:2] == [
        ("diff-gaba", (1, 1, -1, -1)),
        ("diff-gsh", (1, -1, 1, -1)),
    ]
    symmetric = Scheme((Condition("OFF", (1.5,)), Condition("ON", (1.9,))), "")
    assert combinations(symmetric)[0] == Combination("diff", (-1, 1))


def test_three_conditions_or_unknown_ones_are_refused():
    with pytest.raises(DataError, match="half of them edit"):
        combinations(Scheme(tuple(map(Condition, "ABC", [(1.9,), (1.9,), (7.5,)])), ""))
    with pytest.raises(DataError, match="--seq"):
        combinations(Scheme((Condition("A"), Condition("B")), ""))


def test_the_seq_says_what_each_condition_edits():
    found = from_definitions({"EditingPPM": [7.46, 7.46, 1.9, 1.9]})
    assert [(one.name, one.bands_ppm) for one in found.conditions] == [("OFF", (7.46,)), ("ON", (1.9,))]
    assert (
        from_definitions({"EditingPPM": [1.9, 4.56, 1.9, 1.9, 4.56, 4.56, 7.5, 7.5]}).bands_ppm
        == HERMES.bands_ppm
    )
    assert from_definitions({"TE": 0.03}) is None


def test_conditions_of_data_are_found_in_the_sequence_whatever_their_order():
    sequence = from_definitions({"EditingPPM": [1.9, 1.9, 7.46, 7.46]})
    assert matched("x", MEGA, sequence) == (0, 1)
    assert matched("x", Scheme(MEGA.conditions[::-1], ""), sequence) == (1, 0)
    assert matched("x", Scheme((Condition("OFF"), Condition("ON")), ""), sequence) == (1, 0)
    assert matched("x", Scheme((Condition("OFF"), Condition("EDIT_ON", (1.88,))), ""), sequence) == (1, 0)
    assert matched("x", HERMES, from_definitions({"EditingPPM": [7.5, 7.5, 4.56, 4.56, 1.9, 1.9, 1.9, 4.56]})) == (
        3, 2, 1, 0,
    )  # fmt: skip
    glutathione = Scheme((Condition("ON", (4.56,)), Condition("OFF", (7.5,))), "")
    for wrong in (glutathione, HERMES, None, Scheme((Condition("A"), Condition("B")), "")):
        with pytest.raises(MismatchError, match="but the sequence has ON"):
            matched("x", wrong, sequence)
    with pytest.raises(MismatchError, match="no editing"):
        matched("x", MEGA, None)


def test_singlets_that_a_pulse_may_touch_are_not_compared():
    assert [round(np.mean(span), 2) for span in windows(MEGA.bands_ppm)] == [3.03, 3.21, 3.92]
    assert [round(np.mean(span), 2) for span in windows(((4.56,), (7.5,)))] == [2.01, 3.03, 3.21]
    data = alone(scan()[0])
    with pytest.raises(DataError, match="nothing to align"):
        between(data.data[:, 0], data, ((1.9,), (3.2,), (4.1,)), np.ones(2))


@pytest.mark.parametrize(("hz", "degrees"), [(0.0, 0.0), (1.7, -25.0), (-6.0, 80.0)])
def test_conditions_come_to_one_frame_whatever_is_edited(hz, degrees):
    played = play(setup(1, samples=2048), faults=no_faults(linewidth_hz=5.0))
    fids = swap_sense(played.truth.metabolite_fids)
    data = replace(alone(scan_of(played)), data=fids, dims=("edit", "t"))
    moved = np.array([fids[0], turned(fids[1], -hz, -np.deg2rad(degrees), data.dwell_s)])
    frequency, phase = between(moved, data, MEGA.bands_ppm, 1e-3 * np.abs(fids).max() * np.ones(2))
    assert frequency[0] == phase[0] == 0
    assert frequency[1] == pytest.approx(hz, abs=0.05)
    assert np.rad2deg(phase[1]) == pytest.approx(degrees, abs=1.0)


@pytest.mark.parametrize("hz", [-9.0, 12.0])
def test_a_scan_that_drifted_is_compared_at_its_own_singlets(hz):
    played = play(setup(1, samples=2048), faults=no_faults(linewidth_hz=5.0))
    fids = swap_sense(played.truth.metabolite_fids)
    data = replace(alone(scan_of(played)), data=fids, dims=("edit", "t"))
    noise = 1e-3 * np.abs(fids).max() * np.ones(2)
    here, there = (
        between(turned(fids, f, 0.0, data.dwell_s), data, MEGA.bands_ppm, noise) for f in (0.0, hz)
    )
    np.testing.assert_allclose(there[0], here[0], atol=0.01)
    np.testing.assert_allclose(np.rad2deg(there[1]), np.rad2deg(here[1]), atol=0.2)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_frame_does_not_hang_on_the_size_of_edited_lines(factor, monkeypatch):
    """GABA of 0.5 mM beside 8 mM creatine is far from what the prior takes for usual."""
    played = play(setup(1, samples=2048), faults=no_faults(linewidth_hz=5.0))
    fids = swap_sense(played.truth.metabolite_fids)
    data = replace(alone(scan_of(played)), data=fids, dims=("edit", "t"))
    scaled = tuple(
        (at, tuple((*span, factor * size) for *span, size in rows)) for at, rows in edit_align._EDITED
    )
    monkeypatch.setattr(edit_align, "_EDITED", scaled)
    frequency, phase = between(fids, data, MEGA.bands_ppm, 1e-3 * np.abs(fids).max() * np.ones(2))
    assert frequency[1] == pytest.approx(0.0, abs=0.05)
    assert np.rad2deg(phase[1]) == pytest.approx(0.0, abs=1.0)


def test_alternating_shots_share_one_drift():
    rng = np.random.default_rng(1)
    true = 0.1 * np.arange(64) + rng.normal(0, 0.1, 64)
    found = true.reshape(32, 2).T - np.array([[3.0], [1.0]])  # each condition in a frame of its own
    keep = np.ones(found.shape, bool)
    found[1, 5], keep[1, 5] = 20.0, False
    mean, sd = continued(found, keep)
    assert mean[1] == pytest.approx(-2.0, abs=4 * sd[1])
    assert sd[1] < 0.05
    assert continued(found[:, :4], keep[:, :4]) is None


def test_drift_of_blocks_does_not_move_conditions():
    """One condition after the other: the drift that alternating shots would share contradicts the spectra."""
    made = setup(8, samples=512)
    faults = Faults(**quiet(drift_hz=0.0, phase_jitter_deg=0.0))
    data = alone(scan_of(play(made, faults=faults)))
    data = replace(data, header={"editing": MEGA})
    t = np.arange(data.samples) * data.dwell_s
    late = data.data * np.exp(2j * np.pi * np.array([0.0, 4.0])[:, None, None] * t)
    done = recon(Scan(replace(data, data=late)))
    assert "alternating" not in done.metabolite.records[-2].details
    assert done.metabolite.records[-2].figures["frequency_hz"][1] == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize("order", [[0, 1] * 8, [1, 0] * 8, [0] * 8 + [1] * 8, [1, 1, 0, 0] * 4])
def test_the_order_of_conditions_is_found_in_the_data(order):
    data = alone(scan(shots=8, snr=10.0, snr_of="shot", coils=1, residual_water=1e-3)[0])
    found = with_conditions(series(data, order))
    assert found.dims == ("edit", "average", "t")
    np.testing.assert_array_equal(found.data, data.data)
    assert [one.name for one in found.header["editing"].conditions] == ["ON", "OFF"]
    assert "16 of 16 shots agree" in found.records[-1].details


def test_an_order_that_is_not_regular_is_refused_and_unedited_shots_stay_one_series():
    data = alone(scan(shots=8, **quiet())[0])
    with pytest.raises(DataError, match="no regular order"):
        with_conditions(series(data, [0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0]))
    plain = series(replace(data, data=data.data[[1, 1]]), [0, 1] * 8)
    assert with_conditions(plain) is plain


def test_conditions_without_names_are_told_apart_and_wrong_names_refused():
    data = alone(scan(scheme=None, **quiet())[0])
    assert [one.name for one in with_conditions(data).header["editing"].conditions] == ["ON", "OFF"]
    for conditions in (MEGA.conditions[::-1], (Condition("OFF"), Condition("ON"))):
        wrong = Scheme(conditions, "the header")
        with pytest.raises(DataError, match="swapped"):
            with_conditions(replace(data, header={"editing": wrong}))
    alike = replace(data, data=data.data[[1, 1]])
    with pytest.raises(DataError, match="which edits what"):
        with_conditions(alike)


def test_from_raw_shots_to_a_difference_that_is_right():
    """All faults of a bad scan but noise, which a hundred seeds average out in benchmarks/edited.py."""
    faults = load_faults("trial", coils=2, residual_water=5e-4, snr=200.0)
    played = play(setup(24, samples=512), seed=3, faults=faults)
    found = scan_of(played)
    done = recon(replace(found, metabolite=replace(found.metabolite, header={"editing": MEGA}))).metabolite
    assert done.dims == ("edit", "t")
    truth = swap_sense(played.truth.metabolite_fids)
    parts = combined(done)
    frequency, phase = spectral_registration(parts["sum"].data[None], done.dwell_s, truth.sum(axis=0))
    aligned = [turned(parts[name].data, frequency[0], phase[0], done.dwell_s) for name in ("sum", "diff")]
    whole, got = (to_spectrum(fid).real for fid in aligned)
    sums, wanted = to_spectrum(truth.sum(axis=0)).real, to_spectrum(truth[0] - truth[1]).real
    ppm = ppm_axis(done.samples, done.dwell_s, done.f0_hz, done.reference_ppm)
    gaba, choline = (ppm > 2.907) & (ppm < 3.147), (ppm > 3.16) & (ppm < 3.27)
    got = got * np.vdot(whole, sums) / np.vdot(whole, whole)
    assert got[gaba].sum() == pytest.approx(wanted[gaba].sum(), rel=0.1)
    assert np.abs((got - wanted)[choline]).max() < 0.02 * sums[choline].max() / 2


def hermes_setup(shots, samples=512):
    """Return HERMES by hand: a pulse at 1.9 ppm takes NAA and turns GABA, one at 4.56 ppm turns GSH at 2.95 ppm."""
    made = small_setup(shots=shots, samples=samples, conditions=4)
    bases = {}
    for condition, bands in enumerate(HERMES.bands_ppm):
        basis = small_basis(0.9 if 1.9 in bands else 0.0)
        lines = {**basis.lines, "GSH": line(2.95, 2.0 if 4.56 in bands else -2.0)}
        bases[condition] = replace(basis, lines=lines)
    amounts = {**made.phantom.concentrations_mm, "GABA": 0.5, "GSH": 0.5}
    return replace(made, bases=bases, phantom=replace(made.phantom, concentrations_mm=amounts))


def test_hermes_from_raw_shots_to_both_differences():
    """Conditions in frames of their own each, drift, spoiled shots: what each difference must have is found in it."""
    faults = load_faults("trial", coils=2, residual_water=5e-4, snr=200.0)
    played = play(hermes_setup(16), seed=2, faults=faults)
    found = scan_of(played)
    done = recon(replace(found, metabolite=replace(found.metabolite, header={"editing": HERMES}))).metabolite
    truth = swap_sense(played.truth.metabolite_fids)
    parts = combined(done)
    assert list(parts) == ["diff-gaba", "diff-gsh", "sum"]
    frequency, phase = spectral_registration(parts["sum"].data[None], done.dwell_s, truth.sum(axis=0))
    ppm = ppm_axis(done.samples, done.dwell_s, done.f0_hz, done.reference_ppm)
    seen = (ppm > 2.7) & (ppm < 3.35)

    def shown(fid):
        return to_spectrum(fid).real[seen]

    turn = {k: turned(part.data, frequency[0], phase[0], done.dwell_s) for k, part in parts.items()}
    scale = np.vdot(shown(turn["sum"]), shown(truth.sum(axis=0))) / np.vdot(
        shown(turn["sum"]), shown(turn["sum"])
    )
    weights = {"diff-gaba": np.array([1, 1, -1, -1]), "diff-gsh": np.array([1, -1, 1, -1])}
    lines = [shown(row @ truth) for row in weights.values()]
    for own, name in enumerate(weights):
        amounts = np.linalg.lstsq(np.stack(lines, axis=1), scale * shown(turn[name]), rcond=None)[0]
        assert amounts[own] == pytest.approx(1.0, abs=0.1)
        assert amounts[1 - own] == pytest.approx(0.0, abs=0.1)
    choline = np.abs(scale * shown(turn["diff-gsh"]) - lines[1])[(ppm[seen] > 3.16) & (ppm[seen] < 3.27)]
    assert choline.max() < 0.02 * np.abs(shown(truth[3])).max()


def test_conditions_of_hermes_are_compared_where_least_differs():
    assert pairs((0, 1, 2, 3), HERMES.bands_ppm, (1.9, 4.56)) == [
        ((0,), (1,)),
        ((2,), (3,)),
        ((0, 1), (2, 3)),
    ]
    assert shared((0,), (1,), HERMES.bands_ppm, (1.9, 4.56)) == [1.9]
    assert shared((0, 1), (2, 3), HERMES.bands_ppm, (1.9, 4.56)) == [4.56]
    assert pairs((0, 1, 2), ((1.9,), (4.56,), (7.5,)), (1.9,)) == [((0,), (1,)), ((0, 1), (2,))]


def test_a_basis_of_other_conditions_is_refused():
    data = combine(
        replace(alone(scan()[0]), data=np.ones((2, 8), complex), dims=("edit", "t")),
        Combination("diff", (1.0, -1.0)),
    )
    basis = Basis(lines={}, f0_hz=data.f0_hz, nucleus="1H", te_s=data.te_s)

    def of(conditions):
        return replace(basis, provenance={"conditions": conditions}, reference_ppm=data.reference_ppm)

    assert compare(data, of({"0": 1.0, "1": -1.0})) == ()
    assert "0.5 times" in compare(data, of({"0": 2.0, "1": -2.0}))[0]
    for wrong in ({"0": 1.0}, {"0": -1.0, "1": 1.0}, {"0": 1.0, "1": 1.0}):
        with pytest.raises(MismatchError, match="--conditions 0:1,1:-1"):
            compare(data, of(wrong))
    unedited = replace(data, header={})
    assert compare(unedited, of({"0": 1.0})) == ()
    assert "do not say theirs" in compare(unedited, of({"0": 1.0, "1": -1.0}))[0]


def test_header_keeps_conditions_and_factors(tmp_path):
    data = replace(alone(scan()[0]), data=np.ones((2, 8), complex), dims=("edit", "t"))
    write_nifti(data, tmp_path / "all.nii.gz")
    write_nifti(combined(data)["diff"], tmp_path / "diff.nii.gz")
    both, difference = read_nifti(tmp_path / "all.nii.gz"), read_nifti(tmp_path / "diff.nii.gz")
    assert both.header["editing"].conditions == difference.header["editing"].conditions == MEGA.conditions
    assert "condition_weights" not in both.header
    assert difference.header["condition_weights"] == (1.0, -1.0)
    assert difference.te_s == data.te_s


def test_water_that_an_editing_pulse_weakens_is_left_out():
    data = alone(scan()[0])
    fids = np.ones((2, 3, 64), complex) * np.array([1.0, 0.8])[:, None, None]
    water = replace(data, data=fids, dims=("edit", "average", "t"))
    assert one_water(water).data.shape == (3, 64)
    np.testing.assert_array_equal(one_water(water).data, 1.0)
    same = one_water(replace(water, data=np.ones((2, 64), complex), dims=("edit", "t")))
    assert (same.dims, same.data.shape) == (("average", "t"), (2, 64))


def test_recon_writes_conditions_differences_and_sum(tmp_path):
    data = alone(scan_of(play(setup(2, samples=512), faults=Faults(**quiet()))))
    data = replace(data, header={"editing": MEGA})
    write_nifti(data, tmp_path / "raw.nii.gz")
    analysis.recon([tmp_path / "raw.nii.gz"], tmp_path / "out.nii.gz")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out.nii.gz", "out_diff.nii.gz", "out_sum.nii.gz", "raw.nii.gz"]
    both, difference = (read_nifti(tmp_path / name) for name in ("out.nii.gz", "out_diff.nii.gz"))
    np.testing.assert_allclose(
        both.data[0] - both.data[1], difference.data, atol=1e-6 * np.abs(both.data).max()
    )
    with pytest.raises(InputError, match="fits all of them together"):
        analysis.one_spectrum(Scan(both))


def test_a_bids_dataset_gets_conditions_differences_and_sum_with_sidecars(tmp_path):
    data = alone(scan_of(play(setup(2, samples=512), faults=Faults(**quiet()))))
    write_nifti(replace(data, header={"editing": MEGA}), tmp_path / "raw.nii.gz")
    said = []
    analysis.recon([tmp_path / "raw.nii.gz"], bids=tmp_path / "out", subject="07", notify=said.append)
    folder = tmp_path / "out" / "sub-07" / "mrs"
    names = {f"sub-07_desc-{desc}_svs" for desc in ("preproc", "diff", "sum")}
    assert {path.name.split(".")[0] for path in folder.iterdir()} == names
    both, difference = (read_nifti(folder / f"sub-07_desc-{d}_svs.nii.gz") for d in ("preproc", "diff"))
    np.testing.assert_allclose(
        both.data[0] - both.data[1], difference.data, atol=1e-6 * np.abs(both.data).max()
    )
    sidecar = json.loads((folder / "sub-07_desc-diff_svs.json").read_text(encoding="utf-8"))
    assert sidecar["EditConditionWeights"] == [1.0, -1.0]
    assert sidecar["EditCondition"] == ["ON", "OFF"]
    assert "Subtraction" in sidecar["Processing"][-1]
    assert any("simulate --conditions" in words for words in said)


def test_run_fits_all_conditions_or_one_difference(tmp_path, monkeypatch):
    """A difference is read as it was written, though its singlets are gone, and gets a basis with its factors."""
    data = alone(scan_of(play(setup(4, samples=1024), faults=Faults(**quiet()))))
    write_nifti(replace(data, header={"editing": MEGA}), tmp_path / "raw.nii.gz")
    analysis.recon([tmp_path / "raw.nii.gz"], tmp_path / "out.nii.gz")
    asked = []

    def reach(given):
        raise InputError(f"{given.size('edit')} conditions")

    def basis_of(*_, conditions, **__):
        asked.append(conditions.conditions)
        raise InputError("far enough")

    monkeypatch.setattr(commands, "basis_of", basis_of)
    monkeypatch.setattr(analysis, "_outline", lambda _, f0_hz: Basis(
        lines={}, f0_hz=f0_hz, nucleus="1H", te_s=data.te_s, reference_ppm=data.reference_ppm))  # fmt: skip
    monkeypatch.setattr(commands, "sequence_of", lambda *_: tmp_path / "x.seq")
    (tmp_path / "x.seq").touch()
    monkeypatch.setattr(edited_verbs, "bases_for", lambda given, *_: reach(given))
    for name, words in (("raw", "2 conditions"), ("out_diff", "far enough")):
        with pytest.raises(InputError, match=words):
            analysis.run([tmp_path / f"{name}.nii.gz"], tmp_path / "fit", protocol="mega-press-3t-gaba")
    assert asked == [((0.0, 1.0), (1.0, -1.0))]
    whole = analysis.load([tmp_path / "out_diff.nii.gz"], analysis.known(None), conjugate=False)
    np.testing.assert_array_equal(whole.metabolite.data, read_nifti(tmp_path / "out_diff.nii.gz").data)
    assert "difference" in assess(whole, recon(whole)).reasons[0]


def test_the_synthetic_mega_press_shows_gaba(tmp_path):
    folder = os.environ.get("PULSESPEC_DATA")
    if not folder:
        pytest.skip("PULSESPEC_DATA is not set: the synthetic MEGA-PRESS data are elsewhere")
    path = Path(folder) / "mega-press-3t-synthetic" / "on-off-3-transients.nii.gz"
    with pytest.raises(DataError, match="looks conjugated"):
        analysis.recon([path], tmp_path / "out.nii.gz")
    analysis.recon([path], tmp_path / "out.nii.gz", conjugate=True)
    data = read_nifti(tmp_path / "out_diff.nii.gz")
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    spectrum = to_spectrum(data.data).real
    peaks = {at: spectrum[np.abs(ppm - at) < 0.08].sum() for at in (3.0, 3.75, 2.0)}
    choline = np.abs(spectrum[np.abs(ppm - 3.2) < 0.04]).max()
    assert peaks[3.0] > 0
    assert peaks[3.75] > 0
    assert peaks[2.0] < 0
    assert choline < 0.3 * spectrum[np.abs(ppm - 3.0) < 0.08].max()


def test_a_verdict_counts_shots_of_all_conditions_and_measures_where_naa_is():
    """NAA is gone in half of the conditions: the mean of all would have half its SNR and twice the water."""
    faults = load_faults("trial", coils=1, residual_water=5e-4, drift_hz=3.0, snr=50.0)
    found = scan_of(play(setup(16, samples=512), seed=3, faults=faults))
    found = replace(found, metabolite=replace(found.metabolite, header={"editing": MEGA}))
    done = recon(found)
    judged = assess(found, done)
    lost = len(
        next(r for r in done.metabolite.records if r.method == "Outlier rejection").figures["left_out"]
    )
    assert judged.get("rejected_percent").value == pytest.approx(100 * lost / 32)
    assert f"{lost} of 32" in judged.get("rejected_percent").words
    off = replace(done.metabolite, data=done.metabolite.data[1], dims=("t",))
    assert judged.get("snr").value == pytest.approx(quality(off).snr)
    assert "1 of 2 editing conditions" in judged.get("snr").words
    assert judged.get("drift_ppm").value * off.f0_hz * 1e-6 == pytest.approx(3.0, abs=0.7)
