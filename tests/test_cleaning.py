"""The cleaning of single-voxel data: each step by itself, and all of them against the truth of virtual scans."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from virtual_for_tests import small_setup

from pulsespec.conventions import ppm_to_hz, to_spectrum
from pulsespec.errors import InputError
from pulsespec.recon.align import align, spectral_registration, water_band
from pulsespec.recon.apodisation import apodise, truncate, zero_fill
from pulsespec.recon.averaging import average
from pulsespec.recon.coils import combination, combine_coils, whiten
from pulsespec.recon.noise import coil_noise, noise_of_tails
from pulsespec.recon.outliers import find_outliers
from pulsespec.recon.phasing import phase_spectrum
from pulsespec.recon.pipeline import STEPS, ReconSettings, recon
from pulsespec.recon.read import is_water, read
from pulsespec.recon.references import with_references
from pulsespec.recon.registration import cramer_rao, noise_of, register
from pulsespec.recon.report import numbers, record_figures
from pulsespec.recon.score import score
from pulsespec.recon.subspace import band, inside, outside
from pulsespec.recon.transients import Scan, Transients
from pulsespec.recon.virtual import scan_of
from pulsespec.recon.water_removal import remove_lipid
from pulsespec.simulator.faults import load_faults, no_faults
from pulsespec.simulator.play import play
from pulsespec.simulator.truth import in_nifti_sense, shot_bounds

F0, DWELL, SAMPLES = 123.25e6, 4e-4, 1024
T = np.arange(SAMPLES) * DWELL


def singlets(width_hz=5.0):
    peaks = {2.01: 3.0, 3.03: 2.0, 3.21: 1.5, 3.92: 0.8}
    return sum(a * np.exp(2j * np.pi * ppm_to_hz(p, F0) * T) for p, a in peaks.items()) * np.exp(
        -np.pi * width_hz * T
    )


def noise(rng, shape, sd):
    return sd / np.sqrt(2) * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


def shots_of(data, **more):
    return Transients(data=data, dims=("average", "t"), dwell_s=DWELL, f0_hz=F0, **more)


def coil_data(rng, n_coils=8, shots=16, scale=30.0):
    """FIDs of coils with correlated noise of different size; also sensitivities and the true covariance."""
    sensitivity = rng.uniform(0.2, 1, n_coils) * np.exp(2j * np.pi * rng.uniform(size=n_coils))
    spread = np.exp(0.4 * rng.normal(size=n_coils))
    apart = np.abs(np.subtract.outer(np.arange(n_coils), np.arange(n_coils)))
    covariance = 0.5**apart * np.outer(spread, spread)
    factor = np.linalg.cholesky(covariance)
    pure = scale * sensitivity[:, None] * singlets()
    data = pure + np.einsum("ij,ajt->ait", factor, noise(rng, (shots, n_coils, SAMPLES), 1.0))
    made = Transients(data=data, dims=("average", "coil", "t"), dwell_s=DWELL, f0_hz=F0)
    return made, sensitivity, covariance


def test_noise_of_the_tails_is_the_noise_without_a_noise_scan():
    data, _, covariance = coil_data(np.random.default_rng(0), shots=32)
    found = noise_of_tails(data).covariance
    assert np.linalg.norm(found - covariance) < 0.1 * np.linalg.norm(covariance)
    alone = replace(data, data=data.data[:1, :, :256])
    assert noise_of_tails(alone) is None
    assert coil_noise(replace(data, noise=np.eye(8, 200) + 0j)).samples == 200


def test_the_gain_that_is_reported_is_true_and_the_best_there_is():
    data, sensitivity, covariance = coil_data(np.random.default_rng(1), shots=32)
    best = np.sqrt(np.real(sensitivity.conj() @ np.linalg.solve(covariance, sensitivity)))
    single = np.max(np.abs(sensitivity) / np.sqrt(np.diag(covariance)))
    gains = {}
    for method in ("gls", "svd", "first points"):
        made = combination(data, coil_noise(data), method)
        weights = made.weights
        true = np.abs(weights @ sensitivity) / np.sqrt(np.real(weights @ covariance @ weights.conj()))
        assert made.snr_gain == pytest.approx(true / single, rel=0.05)
        gains[method] = true
    assert gains["gls"] == pytest.approx(best, rel=0.02)
    assert gains["svd"] < 0.95 * best
    assert combination(data, None).snr_gain is None
    with pytest.raises(InputError, match="gls"):
        combination(data, None, "best")


def test_whitening_and_then_svd_is_generalised_least_squares():
    data, _, _ = coil_data(np.random.default_rng(2))
    known = coil_noise(data)
    white = whiten(data, known)
    two = combine_coils(white, combination(white)).data
    one = combine_coils(data, combination(data, known)).data
    np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-6 * np.abs(one).max())


def test_a_band_holds_what_decays_in_it_and_leaves_the_rest():
    basis = band(SAMPLES, DWELL, -40.0, 40.0)
    np.testing.assert_allclose(basis @ basis.conj().T, np.eye(len(basis)), atol=1e-6)
    for offset, width in ((0.0, 8.0), (-33.0, 3.0), (25.0, 20.0)):
        line = np.exp(2j * np.pi * offset * T - np.pi * width * T)
        assert np.linalg.norm(outside(line, basis)) < 2e-3 * np.linalg.norm(line)
    far = np.exp(2j * np.pi * 320 * T - np.pi * 4 * T)
    assert np.linalg.norm(inside(far, basis)) < 0.15 * np.linalg.norm(far)


def test_a_band_is_what_its_lines_span():
    """The same space as that of the eigenvectors of the lines' own Gram matrix, line by line."""
    low, high = 12.0, 48.0
    families = []
    for width in (0.0, 4.0, 10.0, 25.0):
        step = max(0.5 / (SAMPLES * DWELL), width / 3)
        lines = np.linspace(low, high, max(2, round((high - low) / step) + 1))
        families.append(np.exp(2j * np.pi * lines[:, None] * T - np.pi * width * T))
    family = np.concatenate(families)
    family /= np.linalg.norm(family, axis=1, keepdims=True)
    _, singular, right = np.linalg.svd(family, full_matrices=False)
    expected = right[singular**2 > 1e-6 * singular[0] ** 2]
    found = band(SAMPLES, DWELL, low, high)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.linalg.norm(inside(expected, found), axis=1), 1.0, atol=1e-8)


def test_water_that_varies_does_not_drive_the_alignment():
    rng = np.random.default_rng(3)
    n, sd = 48, 0.8
    drift, phase = np.linspace(-5, 5, n), rng.normal(0, 0.5, n)
    size = 40 * (1 + 0.4 * rng.normal(size=n)) * np.exp(1j * rng.normal(0, 0.7, n))
    water = size[:, None] * np.exp(-np.pi * 9 * T + 2j * np.pi * 3 * T)
    turn = np.exp(1j * (2 * np.pi * drift[:, None] * T + phase[:, None]))
    data = shots_of((singlets() + water) * turn + noise(rng, (n, SAMPLES), sd))
    figures = align(data).records[-1].figures
    bound_hz, bound_rad = cramer_rao(singlets(), DWELL, sd)
    error = figures["frequency_hz"] - drift
    assert np.std(error) < 1.35 * bound_hz
    turned = np.exp(1j * (figures["phase_rad"] - phase))
    assert np.std(np.angle(turned / turned.mean())) < 1.35 * bound_rad
    plain = align(data, "plain").records[-1].figures
    assert np.std(plain["frequency_hz"] - drift) > 3 * np.std(error)
    with pytest.raises(InputError, match="singlets"):
        align(data, "water peak")


def lasting_water(seed, n=24):
    """Return drift (Hz), shots with a narrow residual water that outlasts the FID and varies, and their noise."""
    rng = np.random.default_rng(seed)
    drift, sd = rng.normal(0, 1, n), 0.8
    size = 12 * (1 + 0.3 * rng.normal(size=n)) * np.exp(1j * rng.normal(0, 0.3, n))
    water = size[:, None] * np.exp(-np.pi * 0.5 * T + 2j * np.pi * rng.normal(0, 3, n)[:, None] * T)
    shots = (singlets() + water) * np.exp(2j * np.pi * drift[:, None] * T)
    return drift, shots + noise(rng, shots.shape, sd), sd


def test_water_that_lasts_to_the_end_is_no_noise():
    drift, shots, sd = lasting_water(15)
    data = shots_of(shots)
    assert noise_of(shots) > 3 * sd
    assert noise_of(shots, water_band(data)) == pytest.approx(sd, rel=0.05)
    figures = align(data).records[-1].figures
    error = float(np.std(figures["frequency_hz"] - drift))
    assert error < 1.5 * cramer_rao(singlets(), DWELL, sd)[0]
    assert figures["expected_error_hz"] == pytest.approx(error, rel=0.4)


def weak_metabolites(wander_hz, n=24):
    """Return drift (Hz), which metabolites tell to 1.1 Hz at best, and shots; how far water strays from it besides."""
    rng = np.random.default_rng(16)
    drift, own = np.linspace(-4, 4, n), rng.normal(0, wander_hz, n)
    water = 30 * np.exp(-np.pi * 9 * T + 2j * np.pi * own[:, None] * T)
    shots = (0.2 * singlets(8) + water) * np.exp(2j * np.pi * drift[:, None] * T)
    return drift, shots_of(shots + noise(rng, shots.shape, 1.2))


def test_of_two_ways_that_is_taken_which_leaves_more_of_the_metabolites():
    for wander_hz, way, most in ((0.0, "residual water", 0.1), (8.0, "without what varies", 3.5)):
        drift, data = weak_metabolites(wander_hz)
        record = align(data).records[-1]
        assert way in record.details
        assert np.std(record.figures["frequency_hz"] - drift) < most


def test_water_is_used_where_metabolites_are_too_weak():
    rng = np.random.default_rng(4)
    drift = np.linspace(-4, 4, 24)
    shots = (0.02 * singlets() + 30 * np.exp(-np.pi * 9 * T)) * np.exp(2j * np.pi * drift[:, None] * T)
    done = align(shots_of(shots + noise(rng, (24, SAMPLES), 0.8)))
    assert np.std(done.records[-1].figures["frequency_hz"] - drift) < 0.2


def test_registration_takes_leading_dimensions_and_a_reference():
    rng = np.random.default_rng(5)
    drift = rng.uniform(-6, 6, (2, 12))
    shots = singlets() * np.exp(2j * np.pi * drift[..., None] * T + 0.4j)
    frequency, phase = spectral_registration(shots + noise(rng, shots.shape, 0.1), DWELL, singlets())
    np.testing.assert_allclose(frequency, drift, atol=0.05)
    np.testing.assert_allclose(phase, 0.4, atol=0.05)
    edited = Transients(data=shots, dims=("edit", "average", "t"), dwell_s=DWELL, f0_hz=F0)
    done = average(find_outliers(align(edited)))
    assert done.dims == ("edit", "t")


def test_bounds_are_those_of_the_virtual_scanner():
    played = play(small_setup(), faults=load_faults("trial", coils=2))
    signal = played.truth.metabolite_fids[0]
    ours = cramer_rao(signal, played.truth.dwell_s, np.sqrt(played.truth.noise_variance))
    assert ours == pytest.approx(shot_bounds(played.truth), rel=1e-6)


def test_each_outlier_has_its_reason():
    rng = np.random.default_rng(6)
    shots = np.tile(singlets(), (24, 1))
    shots[3] *= 0.4
    shots[7] += 3 * np.exp(2j * np.pi * ppm_to_hz(1.3, F0) * T - np.pi * 15 * T + 2j)
    shots[11] *= np.exp(2j)
    shots[15] *= np.exp(-np.pi * 9 * T)
    record = find_outliers(align(shots_of(shots + noise(rng, shots.shape, 0.4)))).records[-1]
    assert record.figures["reasons"] == {"3": "lost signal", "7": "lipid", "11": "phase", "15": "broadened"}
    assert "lipid: 7" in record.details


def test_no_shot_is_left_out_where_half_are_unlike():
    rng = np.random.default_rng(7)
    shots = np.tile(singlets(), (12, 1))
    shots[:7] *= 0.3
    record = find_outliers(align(shots_of(shots + noise(rng, shots.shape, 0.2)))).records[-1]
    assert record.figures["left_out"] == []


def test_shots_that_are_unlike_at_one_interval_are_another_condition():
    rng = np.random.default_rng(14)
    shots = singlets() + noise(rng, (20, SAMPLES), 0.2)
    shots[::5] += 2 * np.exp(2j * np.pi * ppm_to_hz(2.6, F0) * T - np.pi * 8 * T)
    record = find_outliers(align(shots_of(shots))).records[-1]
    assert record.figures["left_out"] == []
    assert "several conditions" in record.details


def test_noisy_shots_weigh_less_and_equal_ones_the_same():
    rng = np.random.default_rng(8)
    sd = np.where(np.arange(16) < 8, 0.5, 3.0)
    shots = singlets() + sd[:, None] * noise(rng, (16, SAMPLES), 1.0)
    weights = average(shots_of(shots)).records[-1].figures["weights"]
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:8].mean() / weights[8:].mean() == pytest.approx(36.0, rel=0.15)
    alike = average(shots_of(singlets() + noise(rng, (16, SAMPLES), 0.5))).records[-1]
    np.testing.assert_allclose(alike.figures["weights"], 1 / 16)


def test_weights_by_signal_keep_the_amplitude_of_the_usual_shot():
    rng = np.random.default_rng(9)
    gain = np.where(np.arange(12) < 9, 1.0, 0.7)
    shots = gain[:, None] * singlets() + noise(rng, (12, SAMPLES), 0.01)
    done = average(shots_of(shots), "signal")
    assert np.abs(done.data[0]) == pytest.approx(np.abs(singlets()[0]), rel=0.01)
    with pytest.raises(InputError, match="inverse variance"):
        average(shots_of(shots), "median")


@pytest.mark.parametrize("degrees", [-170.0, -40.0, 0.0, 95.0])
def test_singlets_are_turned_upright(degrees):
    rng = np.random.default_rng(10)
    broad = 20 * np.exp(-((np.pi * 40 * T) ** 2) / 4 + 2j * np.pi * ppm_to_hz(2.0, F0) * T)
    fid = (singlets() + broad) * np.exp(1j * np.deg2rad(degrees)) + noise(rng, SAMPLES, 0.05)
    done = phase_spectrum(Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0))
    off = done.records[-1].figures["phase_deg"] + degrees
    assert abs((off + 180) % 360 - 180) < 3.0
    empty = Transients(data=noise(rng, SAMPLES, 1.0), dims=("t",), dwell_s=DWELL, f0_hz=F0)
    assert "not done" in phase_spectrum(empty).records[-1].details


def test_shaping_is_done_on_request_only_and_exactly():
    data = Transients(data=singlets(4.0), dims=("t",), dwell_s=DWELL, f0_hz=F0)
    np.testing.assert_allclose(apodise(data, lorentz_hz=3.0).data, singlets(7.0), rtol=1e-12)
    assert truncate(data, 100).data.shape == (100,)
    assert zero_fill(data, 4096).data.shape == (4096,)
    for bad in (lambda: truncate(data, 5000), lambda: zero_fill(data, 8), lambda: apodise(data, -1.0)):
        with pytest.raises(InputError, match="expected"):
            bad()
    with pytest.raises(InputError, match="alignment_method"):
        ReconSettings(alignment_method="best")


def test_lipid_is_removed_and_naa_is_kept():
    rng = np.random.default_rng(11)
    lipid = 6 * np.exp(2j * np.pi * ppm_to_hz(1.3, F0) * T - np.pi * 20 * T)
    fid = singlets() + lipid + noise(rng, SAMPLES, 0.02)
    done = remove_lipid(Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0))
    wrong = np.abs(to_spectrum(done.data - singlets())).max() / np.abs(to_spectrum(singlets())).max()
    assert wrong < 0.03


def test_a_virtual_scan_is_cleaned_near_its_bounds():
    """The figures over many seeds are those of benchmarks/cleaning.py; here two, with room for chance."""
    setup = small_setup(shots=64, water=2)
    faults = load_faults("trial", coils=8)
    for seed in (1, 2):
        found = score(play(setup, seed=seed, faults=faults))
        assert found.frequency_rms_hz < 1.3 * found.frequency_bound_hz
        assert found.phase_rms_rad < 1.3 * found.phase_bound_rad
        assert set(found.missed) <= {"phase"}
        assert len(found.missed) <= 1
        assert set(found.false) <= {"phase"}
        assert found.snr_share == pytest.approx(1.0, abs=0.03)
        assert found.water_left < 0.01
        assert found.touched < 0.015


def test_without_faults_nothing_is_changed_but_coils():
    played = play(small_setup(), faults=no_faults(coils=3, snr=500.0, linewidth_hz=4.0))
    scan = scan_of(played)
    done = recon(scan, ReconSettings(phasing=False))
    truth = in_nifti_sense(played.truth).metabolite_fids[0]
    assert scan.metabolite.data.dtype == np.complex64
    share = np.vdot(truth, done.metabolite.data) / np.vdot(truth, truth)
    assert abs(np.angle(share)) < 0.05
    rest = done.metabolite.data - share * truth
    assert np.linalg.norm(rest) < 0.1 * np.linalg.norm(share * truth)


def test_every_step_leaves_a_record_and_a_picture():
    played = play(small_setup(shots=16), faults=load_faults("trial", coils=4))
    records = recon(scan_of(played), ReconSettings(lipid_removal=True, lorentz_hz=2.0)).metabolite.records
    pictures = [record.method for record in records if "spectra" in record.figures]
    assert pictures == [
        "Eddy current correction", "Frequency and phase correction", "Nuisance peak removal",
        "Nuisance peak removal", "Phasing", "Apodization",
    ]  # fmt: skip
    for record in records:
        assert all(trace["y"] for figure in record_figures(record) for trace in figure["data"])
        assert all(name != "spectra" for name, _ in numbers(record))
    assert [name for name, _ in STEPS][:2] == ["coil combination", "water averaging"]


def test_steps_add_less_than_half_of_the_raw_data():
    rng = np.random.default_rng(12)
    data = (10 * singlets() + noise(rng, (64, 48, SAMPLES), 1.0)).astype(np.complex64)
    water = (4000 * np.exp(-np.pi * 6 * T) + noise(rng, (2, 48, SAMPLES), 1.0)).astype(np.complex64)
    common = {"dims": ("average", "coil", "t"), "dwell_s": DWELL, "f0_hz": F0}
    scan = Scan(Transients(data=data, **common), Transients(data=water, **common))
    tracemalloc.start()
    recon(scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * (data.nbytes + water.nbytes)


def water(name, shots=2, te_s=0.03, size=1000.0, **header):
    line = size * np.exp(-np.pi * 6 * T)
    return Transients(
        data=np.tile(line, (shots, 4, 1)), dims=("average", "coil", "t"), dwell_s=DWELL, f0_hz=F0, te_s=te_s,
        source=name, header=header,
    )  # fmt: skip


def test_several_references_are_used_where_they_serve_best():
    metabolite = replace(water("metab.nii.gz", 16, protocol="metab"), data=np.tile(singlets(), (16, 4, 1)))
    waters = [water("a.nii.gz", 8), water("b.nii.gz", 1, protocol="metab"), water("c.nii.gz", 2, size=1500.0)]
    scan = with_references(metabolite, waters)
    assert scan.coil_reference.source == "a.nii.gz"
    assert scan.eddy_reference.source == "b.nii.gz"
    assert scan.water.source == "c.nii.gz"
    assert "b.nii.gz (timing of the metabolites, same protocol)" in scan.metabolite.records[-1].details
    named = with_references(metabolite, [water("ecc.nii.gz"), water("quant.nii.gz"), water("wref.nii.gz")])
    assert (named.eddy_reference.source, named.water.source) == ("ecc.nii.gz", "quant.nii.gz")
    other = with_references(metabolite, [water("ecc.nii.gz", te_s=0.144), water("w.nii.gz")])
    assert other.eddy_reference.source == "w.nii.gz"
    done = recon(scan)
    assert done.water.dims == ("t",)
    assert any("a.nii.gz" in r.details for r in done.metabolite.records if "coil" in r.method)


def test_unsuppressed_water_is_seen_although_its_tails_are_high():
    """Sidebands and a broad foot give water 1 to 3 percent at 2 ppm, metabolites 0.1 percent."""
    foot = 30 * np.exp(2j * np.pi * 20 * T - np.pi * 60 * T)
    fid = 1000 * np.exp(-np.pi * 12 * T) + foot + 0.3 * singlets()
    data = Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0)
    assert is_water(data)
    assert not is_water(replace(data, data=30 * np.exp(-np.pi * 12 * T) + singlets()))


def test_steam_with_three_water_references(data_folder):
    folder = data_folder / "siemens-7t-steam-te11"
    scan = read([folder / f"{name}.nii.gz" for name in ("metab_raw", "wref_raw", "ecc", "quant_raw")])
    roles = (scan.water.source, scan.coil_reference.source, scan.eddy_reference.source)
    assert roles == ("quant_raw.nii.gz", "wref_raw.nii.gz", "ecc.nii.gz")
    done = recon(scan)
    assert done.metabolite.dims == done.water.dims == ("t",)


def test_slaser_water_is_water(data_folder):
    scan = read([data_folder / "siemens-7t-slaser-water" / "spinal_cord_sLASER_shortTE_noWS.dat"])
    assert scan.metabolite is None


def test_registered_shots_say_how_well():
    rng = np.random.default_rng(13)
    found = [register(singlets() + noise(rng, (8, SAMPLES), sd), DWELL).sd_hz[0] for sd in (1.0, 0.5, 0.1)]
    assert all(a > 1.5 * b for a, b in pairwise(found))
