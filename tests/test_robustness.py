"""Spectra with faults: each ends in a sound result or a clear refusal, never in a confident wrong table.

Sound: the main metabolites lie within three of the standard deviations that are stated, and these are of use. Refused:
an error, or a result that is not converged, whose table has no numbers and whose command ends with 3.
"""

import json
from dataclasses import replace

import brain_for_tests as small
import numpy as np
import pytest

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError, InputError
from pulsespec.recon.fit import fit
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.pipeline import ReconSettings, recon
from pulsespec.recon.results import read_table
from pulsespec.recon.spikes import METHOD, remove_spikes
from pulsespec.recon.stray import find_echo, with_spurious, with_stray_lipid
from pulsespec.recon.transients import Scan

SD = 8.0
"""Noise at which NAA stands some thirty times above it in the spectrum, 1024 points, 5 Hz and 3 Hz lines."""
NAA = 3 * small.BRAIN_MM["NAA"]


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    return small.brain_basis(tmp_path_factory.mktemp("brain"))


@pytest.fixture(scope="module")
def basis_file(basis, tmp_path_factory):
    path = tmp_path_factory.mktemp("basis") / "basis.h5"
    basis.write(path)
    return path


def water(times_naa):
    """Return residual water of three parts that differ in place, width and phase, `times_naa` as high as NAA."""
    parts = ((4.65, 0.7, 6, 3, 0.8), (4.60, 0.2, 10, 0, -1.0), (4.72, 0.2, 15, 0, 2.0))
    return sum(small.line_fid(ppm, times_naa * NAA * size, *more) for ppm, size, *more in parts)


def lipid(times_naa, phase=0.2):
    """Return methylene and methyl of fat at the edge, of a phase of their own."""
    wide = {"lorentz_hz": 12, "gauss_hz": 20, "phase": phase}  # so that the height is of the order of NAA's
    return times_naa * NAA * (small.line_fid(1.3, 1.5, **wide) + small.line_fid(0.9, 0.5, **wide))


def spike(height, at=200):
    fid = np.zeros(small.SAMPLES, dtype=complex)
    fid[at] = height * SD
    return fid


def echo(at_s=0.2, length_s=0.033, ppm=2.6, size=0.5):
    burst = np.exp(-4 * np.log(2) * ((small.T_S - at_s) / length_s) ** 2)
    return size * NAA * burst * np.exp(2j * np.pi * (4.65 - ppm) * small.F0_HZ * 1e-6 * small.T_S)


SOUND = {
    "as it should be": {},
    "residual water of 10 times NAA": {"added": water(10)},
    "residual water of 100 times NAA": {"added": water(100)},
    "lipid at the edge of 5 times NAA": {"added": lipid(5)},
    "lipid at the edge in another phase": {"added": lipid(5, phase=1.2)},
    "lipid at the edge upside down": {"added": lipid(5, phase=4.0)},
    "reference 0.2 ppm up": {"shift_ppm": 0.2},
    "reference 0.2 ppm down": {"shift_ppm": -0.2},
    "phase of 90 degrees": {"phase": np.pi / 2},
    "upside down": {"phase": np.pi},
    "reference and phase": {"shift_ppm": 0.2, "phase": np.pi / 2},
    "linewidth of 15 Hz": {"width_hz": 12.0, "gauss_hz": 8.0},
    "SNR of 5": {"sd": 45.0},
    "a spike": {"added": spike(600)},
    "a small spike": {"added": spike(30)},
    "a spurious echo": {"added": echo()},
    "few metabolites, narrow": {
        "amounts": {"NAA": 12.5, "Cr": 10.0, "PCh": 3.0, "Ins": 7.5, "Glu": 12.5, "Lac": 5.0},
        "macromolecules": {}, "width_hz": 1.5, "gauss_hz": 1.0, "is_tissue": False,
    },
}  # fmt: skip
"""Faults of `brain_for_tests.brain` that must end in a sound result."""
NOTHING = {"amounts": {"NAA": 0.0}, "macromolecules": {}}


def spectrum(basis, fault, seed=0, **more):
    return small.brain(basis, **({"sd": SD, "seed": seed} | fault), **more)


def assert_sound(value_and_sd, amounts, most=3.0):
    """Hold the main metabolites against the truth, given a function from names to value and standard deviation."""
    for of in small.MAIN:
        truth = sum(amounts.get(part, 0.0) for part in small.PARTS[of])
        value, sd = value_and_sd(of)
        assert abs(value - truth) < most * sd, f"{of}: {value:.3g} +- {sd:.2g}, truth {truth:.3g}"
    for of in ("tNAA", "tCr"):
        value, sd = value_and_sd(of)
        assert sd < 0.35 * value, f"{of}: {value:.3g} +- {sd:.2g} is of no use"


@pytest.mark.parametrize("name", SOUND)
def test_the_command_ends_in_a_sound_table(name, basis, basis_file, pulsespec, tmp_path):
    write_nifti(spectrum(basis, SOUND[name]), tmp_path / "x.nii.gz")
    code, _, shown = pulsespec("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out")
    assert code == 0, shown
    rows = {row["metabolite"]: row for row in read_table(tmp_path / "out" / "concentrations.tsv")}
    assert_sound(
        lambda of: (rows[of]["amplitude"], rows[of]["sd"]), SOUND[name].get("amounts", small.BRAIN_MM)
    )
    assert all(np.isfinite(row["amplitude"]) for row in rows.values())


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", ["linewidth of 15 Hz", "SNR of 5", "reference and phase"])
def test_the_fit_alone_is_sound(name, seed, basis):
    found = fit(spectrum(basis, SOUND[name], seed), basis)
    assert found.converged, found.message
    assert_sound(lambda of: found.combine(dict.fromkeys(small.PARTS[of], 1.0)), small.BRAIN_MM, most=4.0)


REFUSED = {
    "noise": NOTHING,
    "water alone": NOTHING | {"added": water(10)},
    "SNR of 1": {"sd": 300.0},
    "reference 0.35 ppm away and cut": {"shift_ppm": 0.35, "amounts": {"NAA": 10.0}, "macromolecules": {}},
}
"""Faults after which there is nothing to believe."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_believed_has_no_numbers(name, basis, basis_file, pulsespec, tmp_path):
    out = tmp_path / "out"
    write_nifti(spectrum(basis, REFUSED[name]), tmp_path / "x.nii.gz")
    code, _, error = pulsespec("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", out)
    if code == 2:  # refused before the fit: nothing is written, one line says why
        assert error.count("pulsespec:") == 1
        assert not out.exists()
        return
    assert code == 3, error
    assert "did not converge" in error
    rows = read_table(out / "concentrations.tsv")
    assert rows
    assert all(np.isnan(row["amplitude"]) and row["flag"].startswith("refused") for row in rows)
    result = json.loads((out / "result.json").read_text())
    assert not result["fit"]["converged"]
    assert all(row["amplitude"] is None for row in result["concentrations"])
    assert any(row["amplitude"] is not None for row in result["refused"])
    assert "refused" in (out / "report.html").read_text()


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_never_a_result(seed, basis):
    assert not fit(spectrum(basis, NOTHING, seed), basis).converged


@pytest.mark.parametrize("shift_ppm", [0.5, -0.5])
def test_a_spectrum_out_of_reach_is_refused_by_the_command(shift_ppm, basis, basis_file, pulsespec, tmp_path):
    write_nifti(spectrum(basis, {"shift_ppm": shift_ppm}), tmp_path / "x.nii.gz")
    code, _, error = pulsespec("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out")
    assert code == 2
    assert "receiver's centre" in error
    assert not (tmp_path / "out").exists()


def test_a_conjugated_spectrum_is_refused_by_the_command_and_taken_with_a_word(
    basis, basis_file, pulsespec, tmp_path
):
    wrong = spectrum(basis, {"phase": np.pi / 2})
    write_nifti(replace(wrong, data=swap_sense(wrong.data)), tmp_path / "x.nii.gz")
    given = ("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out")
    code, _, error = pulsespec(*given)
    assert code == 2
    assert "--conjugate" in error
    assert pulsespec(*given, "--conjugate")[0] == 0


def test_only_lipid_is_not_detected_metabolites(basis, basis_file, pulsespec, tmp_path):
    write_nifti(spectrum(basis, NOTHING | {"added": lipid(5)}), tmp_path / "x.nii.gz")
    code, _, _ = pulsespec("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out")
    if code == 0:
        rows = {row["metabolite"]: row for row in read_table(tmp_path / "out" / "concentrations.tsv")}
        assert all("not-detected" in rows[of]["flag"] for of in small.MAIN)
    else:
        assert code in (2, 3)


@pytest.mark.parametrize("points", [400, 256, 128, 64])
def test_a_truncated_fid_is_fitted_or_refused(points, basis):
    whole = spectrum(basis, {})
    short = replace(whole, data=whole.data[:points])
    try:
        found = fit(short, basis)
    except InputError as error:
        assert "points" in str(error)  # noqa: PT017
        return
    assert_sound(lambda of: found.combine(dict.fromkeys(small.PARTS[of], 1.0)), small.BRAIN_MM)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e9])
def test_units_of_the_receiver_do_not_matter(scale, basis):
    data = spectrum(basis, {})
    plain, scaled = (fit(one, basis) for one in (data, replace(data, data=scale * data.data)))
    np.testing.assert_allclose(scaled.amplitudes / scale, plain.amplitudes, rtol=1e-6, atol=1e-8)
    assert scaled.warnings == plain.warnings or scale != 1


@pytest.mark.parametrize("kind", ["zero", "one sample", "constant", "not a number"])
def test_what_is_no_fid_is_refused(kind, basis):
    data = spectrum(basis, {})
    fids = {
        "zero": np.zeros(small.SAMPLES),
        "one sample": np.eye(1, small.SAMPLES, 0)[0],
        "constant": np.ones(small.SAMPLES),
        "not a number": np.full(small.SAMPLES, np.nan),
    }
    wrong = replace(data, data=fids[kind].astype(complex))
    try:
        found = fit(wrong, basis)
    except DataError as error:
        assert "brain.nii" in str(error)  # noqa: PT017
        return
    assert not found.converged


def test_the_table_says_that_data_are_poor(basis, basis_file, pulsespec, tmp_path):
    write_nifti(spectrum(basis, {"width_hz": 16.0, "gauss_hz": 10.0}), tmp_path / "x.nii.gz")
    assert pulsespec("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out")[0] == 0
    rows = read_table(tmp_path / "out" / "concentrations.tsv")
    assert all("poor-data" in row["flag"] for row in rows)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["quality"]["verdict"] == "poor"
    for row in result["concentrations"]:
        assert row["upper_95"] >= row["amplitude"] + 1.64 * row["sd"]
        assert ("not-detected" in row["flag"]) == (row["amplitude"] <= 1.645 * row["sd"])


def test_lipid_of_free_phase_takes_the_bias_away(basis):
    found = {False: [], True: []}
    for seed in range(3):
        data = spectrum(basis, {"added": lipid(5, phase=1.2)}, seed)
        for free in found:
            one = fit(data, with_stray_lipid(basis) if free else basis)
            found[free].append(one.combine({"Cr": 1.0, "PCr": 1.0}))
    biased, free = (np.mean(found[key], axis=0) for key in (False, True))
    assert abs(biased[0] - 8.5) > 3 * abs(free[0] - 8.5)
    assert abs(free[0] - 8.5) < free[1]
    assert free[1] < 0.12 * free[0]


def test_a_spurious_echo_is_found_and_fitted(basis):
    data = spectrum(basis, {"added": echo(at_s=0.15, length_s=0.04)})
    centre_s, length_s = find_echo(data, 2.6)
    assert centre_s == pytest.approx(0.15, abs=0.005)
    assert length_s == pytest.approx(0.04, rel=0.15)
    added, words = with_spurious(basis, data, [2.6])
    without, found = fit(data, basis), fit(data, added)
    assert "150 ms" in words[0] or "149 ms" in words[0] or "151 ms" in words[0]
    assert without.parameters["residual_over_noise"] > 1.5
    assert found.parameters["residual_over_noise"] < 1.15
    assert_sound(lambda of: found.combine(dict.fromkeys(small.PARTS[of], 1.0)), small.BRAIN_MM)


def test_spurious_signal_is_asked_for_by_its_shift(basis, basis_file, pulsespec, tmp_path):
    write_nifti(spectrum(basis, {"added": echo()}), tmp_path / "x.nii.gz")
    given = ("fit", tmp_path / "x.nii.gz", "--basis", basis_file, "-o", tmp_path / "out", "--spurious")
    assert pulsespec(*given, "2.6")[0] == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["settings"]["spurious_ppm"] == [2.6]
    assert any("fitted as a Gaussian in time" in words for words in result["warnings"])
    code, _, error = pulsespec(*given, "two", "--overwrite")
    assert code == 2
    assert "'two'" in error


@pytest.mark.parametrize("at", [40, 200, 900])
def test_a_spike_is_replaced_by_what_was_there(at, basis):
    clean, wrong = (spectrum(basis, fault) for fault in ({}, {"added": spike(600, at)}))
    done = remove_spikes(wrong)
    assert done.records[-1].figures["samples"] == 1
    assert abs(done.data[at] - clean.data[at]) < 4 * SD
    np.testing.assert_array_equal(np.delete(done.data, at), np.delete(clean.data, at))


def test_several_spikes_in_shots_of_their_own_are_found(basis):
    shots = np.stack([spectrum(basis, {}, seed).data for seed in range(4)])
    wrong = shots.copy()
    for shot, at in ((0, 100), (0, 101), (2, 500)):
        wrong[shot, at] += 100 * SD
    done = remove_spikes(replace(spectrum(basis, {}), data=wrong, dims=("average", "t")))
    assert done.records[-1].figures["samples"] == 3
    assert np.abs(done.data - shots).max() < 6 * SD


@pytest.mark.parametrize(
    "fault", [{}, {"added": water(1000)}, {"width_hz": 1.0}, NOTHING, {"added": lipid(20)}]
)
def test_nothing_is_taken_for_a_spike_that_is_none(fault, basis):
    for seed in range(5):
        data = spectrum(basis, fault, seed)
        assert remove_spikes(data) is data


@pytest.mark.parametrize("sd", [8.0, 0.0])
def test_the_edge_of_zero_filling_is_no_spike(sd, basis):
    for seed in range(5):
        data = spectrum(basis, {"sd": sd, "width_hz": 2.0}, seed)
        for points in (300, small.SAMPLES):
            filled = np.concatenate([data.data[:points], np.zeros(3 * small.SAMPLES)])
            padded = replace(data, data=filled)
            assert remove_spikes(padded) is padded


def test_the_repair_is_a_step_with_a_record_and_can_be_left_out(basis):
    scan = Scan(spectrum(basis, {"added": spike(600)}), None)
    methods = [record.method for record in recon(scan).metabolite.records]
    assert METHOD in methods
    left = recon(scan, ReconSettings(spike_removal=False)).metabolite
    assert METHOD not in [record.method for record in left.records]
