"""Data against basis: what does not belong together is refused, or corrected with a word, whatever the header says."""

from dataclasses import replace

import brain_for_tests as small
import numpy as np
import pytest
import sequences_for_tests

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError, MismatchError
from pulsespec.recon.fit import fit
from pulsespec.recon.guard_basis import compare
from pulsespec.recon.guard_pair import matched
from pulsespec.recon.guard_place import find_place
from pulsespec.recon.guards import check_sense
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.water_removal import remove_water
from pulsespec.simulator import simulate
from pulsespec.simulator.sampled import at_reference, conjugated, sampled

SD = 8.0


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    return small.brain_basis(tmp_path_factory.mktemp("brain"))


@pytest.fixture(scope="module")
def data(basis):
    return small.brain(basis, sd=SD)


@pytest.fixture(scope="module")
def stored(basis):
    """The same functions as a file of another program would hold them."""
    return sampled(basis, small.SAMPLES, small.DWELL_S, linewidth_hz=1.0)


def centred(data, ppm):
    """Return the data as a receiver at another shift would have them."""
    turn = np.exp(2j * np.pi * (ppm - data.reference_ppm) * data.f0_hz * 1e-6 * small.T_S)
    return replace(data, data=data.data * turn, reference_ppm=ppm)


def turned(data, degrees):
    """Return the data conjugated and out of phase."""
    return replace(data, data=swap_sense(data.data) * np.exp(1j * np.deg2rad(degrees)))


def naa(data, basis):
    return fit(data, basis).ratio(("NAA", "NAAG"), ("Cr", "PCr"))[0]


def test_what_belongs_together_passes_without_a_word(data, basis, stored):
    for one in (basis, stored):
        kept, words = matched(data, one)
        assert kept is data
        assert words == ()


@pytest.mark.parametrize("centre", [4.65, 3.0, 2.7])
@pytest.mark.parametrize("degrees", [0, 90])
def test_conjugated_data_are_seen(basis, centre, degrees):
    wrong = turned(centred(small.brain(basis, sd=SD), centre), degrees)
    with pytest.raises(DataError, match="mirrored against the basis"):
        matched(replace(wrong, sign_is_defined=True), basis)
    kept, words = matched(wrong, basis)
    assert "conjugated" in words[-1]
    assert kept.records[-1].method == "Conjugation"
    assert naa(kept, basis) == pytest.approx(13.5 / 8.5, rel=0.2)


@pytest.mark.parametrize(("shift_ppm", "degrees"), [(0.17, 0), (-0.17, 90), (0.28, 200)])
def test_a_shift_that_the_fit_corrects_passes(basis, shift_ppm, degrees):
    moved = small.brain(basis, sd=SD, shift_ppm=shift_ppm, phase=np.deg2rad(degrees))
    kept, words = matched(moved, basis)
    found = fit(kept, basis)
    assert words == ()
    assert any("off the reference" in w for w in found.warnings)
    assert found.parameters["shift_ppm"] == pytest.approx(shift_ppm, abs=0.01)
    assert found.ratio(("NAA", "NAAG"), ("Cr", "PCr"))[0] == pytest.approx(13.5 / 8.5, rel=0.2)


@pytest.mark.parametrize("shift_ppm", [0.5, -0.45, 0.8])
def test_a_shift_beyond_the_fit_is_refused_with_its_size(basis, shift_ppm):
    moved = small.brain(basis, sd=SD, shift_ppm=shift_ppm)
    assert find_place(moved, basis).shift_ppm == pytest.approx(shift_ppm, abs=0.04)
    with pytest.raises(MismatchError, match=rf"moved by \{-shift_ppm:+.2f}"[:-1]):
        matched(moved, basis)


def test_few_metabolites_are_enough_to_tell(basis):
    phantom = small.brain(basis, sd=SD, amounts={"Cr": 10.0, "Lac": 5.0}, macromolecules={}, width_hz=2.0)
    assert matched(phantom, basis)[0] is phantom
    assert "conjugated" in matched(turned(phantom, 40), basis)[1][-1]


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_neither_mirrored_nor_elsewhere(basis, seed):
    assert not find_place(
        small.brain(basis, sd=SD, seed=seed, amounts={"NAA": 0.0}, macromolecules={}), basis
    ).is_elsewhere


def test_a_conjugated_basis_is_refused(data, stored):
    with pytest.raises(MismatchError, match=r"basis: is mirrored about 4\.65 ppm"):
        matched(data, conjugated(stored))


def test_a_basis_of_jmrui_sign_that_nobody_conjugated_is_refused_about_any_centre(data, stored):
    with pytest.raises(MismatchError, match="basis"):
        matched(data, conjugated(at_reference(stored, 3.0)))


def test_a_basis_with_another_reference_is_the_same_basis(data, basis, stored):
    other = at_reference(stored, 4.70)
    kept, words = matched(data, other)
    assert words == ("the data are centred on 4.65 ppm, the basis on 4.7 ppm",)
    assert naa(kept, other) == pytest.approx(naa(data, stored), rel=1e-3)


@pytest.mark.parametrize(("wrong_ppm", "error"), [(0.05, False), (0.17, True)])
def test_a_basis_whose_reference_is_wrong_is_said_or_refused(data, stored, wrong_ppm, error):
    wrong = replace(stored, reference_ppm=stored.reference_ppm + wrong_ppm)
    if error:
        with pytest.raises(MismatchError, match="do not lie where they should"):
            matched(data, wrong)
    else:
        assert sum("lies at" in words for words in matched(data, wrong)[1]) >= 3


def test_three_tesla_are_not_siemens_three_tesla(data, basis):
    with pytest.raises(MismatchError, match=r"123\.250 MHz.*127\.728 MHz.*another field"):
        matched(data, replace(basis, f0_hz=127.728e6))


def test_another_dwell_time_is_thinned_or_refused(data, basis, stored):
    finer = sampled(basis, 2 * small.SAMPLES, small.DWELL_S / 2, linewidth_hz=1.0)
    assert matched(data, finer)[1] == ()
    assert naa(data, finer) == pytest.approx(naa(data, stored), rel=0.03)
    with pytest.raises(MismatchError, match=r"333\.00 us.*400\.00 us"):
        matched(data, sampled(basis, small.SAMPLES, 3.33e-4, linewidth_hz=1.0))


def test_data_longer_than_the_basis_are_cut(basis):
    short = sampled(basis, 400, small.DWELL_S)
    narrow = small.brain(basis, sd=1.0, width_hz=1.0, gauss_hz=0.5)
    kept, words = matched(narrow, short)
    assert kept.samples == 400
    assert "end after 160 ms" in words[-1]
    tails, cut = (abs(naa(one, short) - 13.5 / 8.5) for one in (narrow, kept))
    assert cut < 0.05
    assert tails > cut


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1e6])
def test_an_echo_time_in_another_unit_is_named(data, basis, factor):
    with pytest.raises(MismatchError, match="another unit"):
        compare(replace(data, te_s=small.TE_S * factor), basis)


@pytest.mark.parametrize("what", ["TM", "TE1", "TE2"])
def test_times_within_the_echo_time_count(data, basis, what):
    known = replace(data, header={"timing_s": {what: 0.010}})
    same, other = (replace(basis, provenance={"timing_s": {what: t}}) for t in (0.010, 0.032))
    assert compare(known, same) == ()
    with pytest.raises(MismatchError, match=rf"{what} 10\.00 ms, but the basis is for 32\.00 ms"):
        compare(known, other)


def test_the_sequence_is_compared_by_its_hash_or_its_name(data, basis):
    played = replace(data, header={"sequence_hash": basis.sequence_hash})
    assert compare(played, basis) == ()
    assert "another sequence" in compare(played, replace(basis, sequence_hash="0" * 64))[0]
    named = compare(replace(data, sequence="svs_st_gamma"), replace(basis, sequence="press-3t"))
    assert "STEAM" in named[0]
    assert "PRESS" in named[0]


def test_hash_and_timing_survive_the_disk(data, tmp_path):
    known = {"sequence_hash": "ab" * 32, "timing_s": {"TE1": 0.012, "TM": 0.01}}
    write_nifti(replace(data, header=known), tmp_path / "x.nii.gz")
    back = read_nifti(tmp_path / "x.nii.gz").header
    assert {key: back[key] for key in known} == known


def test_a_difference_is_not_fitted_with_an_off_basis(data, stored):
    difference = replace(data, header={"condition_weights": (1.0, -1.0)})
    with pytest.raises(MismatchError, match="--conditions 0:1,1:-1"):
        matched(difference, stored)
    with pytest.raises(MismatchError, match="of one condition"):
        matched(difference, replace(stored, provenance={}))


def test_a_spectrum_is_not_fitted_with_a_basis_of_a_difference(data, stored):
    edited = replace(stored, provenance={}).with_fids(
        {name: fid * (-1.0 if name.startswith("NAA") else 0.01 if name in ("Cr", "PCr", "GPC", "PCh") else 0.5)
         for name, fid in stored.fids.items()}
    )  # fmt: skip
    with pytest.raises(MismatchError, match="as in a difference"):
        matched(data, edited)
    assert matched(replace(data, header={"condition_weights": (1.0, -1.0)}), edited)[1] != ()


def test_functions_that_are_the_same_or_nothing_are_said(data, stored):
    odd = stored.with_fids({**stored.fids, "Ins2": 3 * stored.fids["Ins"], "Void": 0 * stored.fids["Ins"]})
    words = matched(data, odd)[1]
    assert any("Ins and Ins2 of the basis are the same function" in one for one in words)
    assert any("Void of the basis has no signal" in one for one in words)
    assert len(words) == 2


@pytest.mark.parametrize("subject", ["P1-S02", "P1-S08", "P3-S01"])
def test_brains_lie_where_the_basis_is_and_mirrored_ones_are_seen(data_folder, tmp_path, subject):
    (path,) = (data_folder / "philips-3t-press35" / subject).glob("*act*.nii.gz")
    read = read_nifti(path)
    sequences_for_tests.spin_echo(tmp_path / "echo.seq", te_s=0.035, samples=2048, dwell_s=4e-4)
    basis = simulate(
        tmp_path / "echo.seq", ["NAA", "Cr", "PCr", "GPC", "PCh", "Glu", "Ins"], f0_hz=read.f0_hz
    )
    kept, words = matched(remove_water(read), basis)
    assert not any("Conjugation" in record.method for record in kept.records)
    assert not [w for w in words if "mirrored" in w]
    with pytest.raises(DataError, match="conjugated"):
        check_sense(replace(read, data=swap_sense(read.data)))


def test_phosphorus_is_not_held_against_protons(data, basis):
    with pytest.raises(MismatchError, match="nucleus 31P"):
        matched(replace(data, nucleus="31P"), basis)
