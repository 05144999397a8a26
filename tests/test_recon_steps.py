"""Processing steps on synthetic singlets whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import savgol_filter

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.align import align, spectral_registration
from pulsespec.recon.averaging import average
from pulsespec.recon.coils import coil_weights, combine_coils, whiten
from pulsespec.recon.eddy import correct_eddy_currents, smooth
from pulsespec.recon.first_points import repair_first_points, spoiled_points
from pulsespec.recon.outliers import find_outliers
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quality import quality
from pulsespec.recon.transients import Scan, Transients
from pulsespec.recon.water_removal import remove_water

F0, DWELL, SAMPLES = 123.25e6, 2.5e-4, 2048
T = np.arange(SAMPLES) * DWELL
PEAKS = {2.01: 3.0, 3.03: 2.0, 3.21: 1.5, 4.05: 0.5}


def singlets(peaks=PEAKS, width_hz=5.0):
    parts = [a * np.exp(2j * np.pi * ppm_to_hz(ppm, F0) * T) for ppm, a in peaks.items()]
    return sum(parts) * np.exp(-np.pi * width_hz * T)


def single(fid, **more):
    return Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0, te_s=0.03, tr_s=2.0, **more)


def noise(rng, shape, sd=1.0):
    return sd / np.sqrt(2) * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


def coils(rng, n=6, correlation=0.6):
    sensitivity = rng.uniform(0.3, 1, n) * np.exp(2j * np.pi * rng.uniform(size=n))
    covariance = (
        correlation ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        * (1 + np.arange(n))[:, None] ** 0.5
    )
    covariance = (covariance + covariance.T) / 2 + 0.5 * np.eye(n)
    return sensitivity, covariance, np.linalg.cholesky(covariance)


def test_whitened_noise_has_unit_covariance():
    rng = np.random.default_rng(0)
    _, _, factor = coils(rng)
    samples = factor @ noise(rng, (6, 20000))
    data = Transients(data=samples[:, :SAMPLES], dims=("coil", "t"), dwell_s=DWELL, f0_hz=F0)
    white = whiten(data, samples)
    np.testing.assert_allclose(np.cov(white.data), np.eye(6), atol=0.15)


def test_combination_reaches_the_optimum_snr_within_two_percent():
    rng = np.random.default_rng(1)
    sensitivity, covariance, factor = coils(rng)
    best = np.sqrt(np.real(sensitivity.conj() @ np.linalg.solve(covariance, sensitivity)))
    fid = singlets({2.01: 40.0})
    data = sensitivity[:, None] * fid + factor @ noise(rng, (6, SAMPLES))
    scan = Transients(data=data, dims=("coil", "t"), dwell_s=DWELL, f0_hz=F0)
    scan_noise = factor @ noise(rng, (6, 20000))
    white = whiten(scan, scan_noise)
    weights = coil_weights(white)
    pure = whiten(replace(scan, data=sensitivity[:, None] * fid), scan_noise)
    gain = np.abs(combine_coils(pure, weights).data[0]) / np.abs(fid[0])
    spread = np.std(
        combine_coils(whiten(replace(scan, data=scan_noise[:, :SAMPLES]), scan_noise), weights).data
    )
    assert gain / spread == pytest.approx(best, rel=0.03)


def test_klose_restores_the_line_shape():
    eddy = 1.2 * (1 - np.exp(-T / 0.02)) + 0.3 * np.exp(-T / 0.1)
    water = single(1000 * np.exp(2j * np.pi * 3.0 * T - np.pi * 6 * T + 1j * eddy))
    distorted = single(singlets() * np.exp(2j * np.pi * 3.0 * T + 1j * eddy))
    corrected = correct_eddy_currents(distorted, water)
    peak = np.abs(to_spectrum(singlets())).max()
    assert np.abs(to_spectrum(corrected.data) - to_spectrum(singlets())).max() < 0.01 * peak
    assert np.abs(to_spectrum(distorted.data) - to_spectrum(singlets())).max() > 0.2 * peak


def eddies(t):
    return 1.2 * (1 - np.exp(-t / 0.02)) + 0.3 * np.exp(-t / 0.1)


def test_the_phase_is_smoothed_as_by_a_filter_of_savitzky_and_golay():
    walk = np.random.default_rng(4).normal(size=200).cumsum()
    for window in (5, 17):
        np.testing.assert_allclose(smooth(walk, window), savgol_filter(walk, window, 2), atol=1e-9)


@pytest.mark.parametrize(
    ("dwell", "samples", "said"),
    [(5e-4, 1024, "interpolated from 500.0 to 250.0 us"), (2.5e-4, 1200, "continued beyond its 300 ms")],
)
def test_klose_allows_for_another_dwell_time_and_length(dwell, samples, said):
    t = np.arange(samples) * dwell
    water = replace(
        single(1000 * np.exp(2j * np.pi * 3.0 * t - np.pi * 6 * t + 1j * eddies(t))), dwell_s=dwell
    )
    distorted = single(singlets() * np.exp(2j * np.pi * 3.0 * T + 1j * eddies(T)))
    corrected = correct_eddy_currents(distorted, water)
    peak = np.abs(to_spectrum(singlets())).max()
    assert np.abs(to_spectrum(corrected.data) - to_spectrum(singlets())).max() < 0.02 * peak
    assert said in corrected.records[-1].details


def test_klose_knows_the_carrier_of_the_water():
    """Metabolites with the receiver at 2.7 ppm, water with its own at 4.65 ppm, and the other way round."""
    for place, own in ((2.7, 4.65), (4.65, 2.7)):
        move = np.exp(2j * np.pi * ppm_to_hz(4.65, F0, place) * T)
        moved = replace(single(singlets() * move * np.exp(1j * eddies(T))), reference_ppm=place)
        line = np.exp(2j * np.pi * ppm_to_hz(4.65, F0, own) * T - np.pi * 6 * T + 1j * eddies(T))
        corrected = correct_eddy_currents(moved, replace(single(1000 * line), reference_ppm=own))
        expected = singlets() * move
        assert np.abs(corrected.data - expected).max() < 0.02 * np.abs(expected).max()
        assert "carrier" in corrected.records[-1].details


def test_klose_follows_water_far_off_and_into_its_noise():
    rng = np.random.default_rng(11)
    for offset in (0.0, 900.0):
        pure = np.exp(2j * np.pi * offset * T - np.pi * 12 * T + 1j * eddies(T))
        noisy = single(1000 * pure + noise(rng, SAMPLES, 1.0))
        corrected = correct_eddy_currents(
            single(singlets() * np.exp(2j * np.pi * offset * T + 1j * eddies(T))), noisy
        )
        peak = np.abs(to_spectrum(singlets())).max()
        assert np.abs(to_spectrum(corrected.data) - to_spectrum(singlets())).max() < 0.03 * peak


def test_klose_refuses_another_echo_time_and_noise_alone():
    water = replace(single(1000 * np.exp(-np.pi * 6 * T)), te_s=0.144, source="water.sdat")
    with pytest.raises(DataError, match=r"water\.sdat.*144 ms.*30 ms"):
        correct_eddy_currents(single(singlets()), water)
    empty = single(noise(np.random.default_rng(0), SAMPLES))
    with pytest.raises(DataError, match="no water signal"):
        correct_eddy_currents(single(singlets()), empty)


def test_registration_is_near_its_cramer_rao_bound():
    rng = np.random.default_rng(2)
    fid, n, sd = singlets(), 64, 0.5
    frequency, phase = rng.uniform(-5, 5, n), rng.normal(0, 0.5, n)
    shots = fid * np.exp(1j * (2 * np.pi * frequency[:, None] * T + phase[:, None])) + noise(
        rng, (n, SAMPLES), sd
    )
    found_frequency, found_phase = spectral_registration(shots, DWELL)
    part = np.abs(fid[: round(0.25 / DWELL)]) ** 2
    t = T[: part.size]
    centre = np.sum(part * t) / part.sum()
    bound_hz = sd / np.sqrt(2 * np.sum(part * (t - centre) ** 2)) / (2 * np.pi)
    error = found_frequency - frequency
    assert np.std(error) < 1.5 * bound_hz
    turn = np.angle(np.exp(1j * (found_phase - phase)))
    bound_rad = (
        sd / np.sqrt(2 * part.sum()) * np.sqrt(1 + centre**2 * part.sum() / np.sum(part * (t - centre) ** 2))
    )
    assert np.std(turn) < 1.5 * bound_rad


def test_weak_shots_are_not_sent_far_away():
    """Single-shot SNR of NAA of about 6: estimates get noisy, but none is tens of hertz off."""
    rng = np.random.default_rng(8)
    fid, n, sd = singlets(), 64, 4.0
    frequency = rng.uniform(-5, 5, n)
    shots = fid * np.exp(2j * np.pi * frequency[:, None] * T) + noise(rng, (n, SAMPLES), sd)
    peak = np.abs(to_spectrum(fid)).max() / (sd * np.sqrt(SAMPLES / 2))
    assert 4 < peak < 9
    found, _ = spectral_registration(shots, DWELL)
    assert np.sqrt(np.mean((found - frequency) ** 2)) < 5.0


def test_corrupted_shots_are_left_out_and_named():
    rng = np.random.default_rng(3)
    shots = singlets() + noise(rng, (16, SAMPLES), 0.3)
    shots[[3, 11]] *= 0.3
    data = Transients(data=shots, dims=("average", "t"), dwell_s=DWELL, f0_hz=F0)
    mean = average(find_outliers(align(data)))
    assert mean.records[-1].figures["left_out"] == [3, 11]
    assert mean.dims == ("t",)


def test_shots_of_another_condition_are_kept_and_said():
    rng = np.random.default_rng(9)
    shots = singlets() + noise(rng, (20, SAMPLES), 0.3)
    shots[::10] *= 2.3
    record = find_outliers(Transients(data=shots, dims=("average", "t"), dwell_s=DWELL, f0_hz=F0)).records[-1]
    assert record.figures["left_out"] == []
    assert "several conditions" in record.details


def test_clean_shots_are_all_kept():
    rng = np.random.default_rng(4)
    shots = singlets() + noise(rng, (32, SAMPLES), 0.3)
    data = Transients(data=shots, dims=("average", "t"), dwell_s=DWELL, f0_hz=F0)
    assert average(find_outliers(data)).records[-1].figures["left_out"] == []


def test_water_is_removed_and_metabolites_are_kept():
    rng = np.random.default_rng(5)
    # the shoulder of water at 4.55 ppm makes its line anything but Lorentzian
    water = 60 * np.exp(-np.pi * 6 * T + 2j * np.pi * 1.5 * T) + 25 * np.exp(
        -np.pi * 14 * T + 2j * np.pi * -9 * T
    )
    cleaned = remove_water(single(singlets() + water + noise(rng, SAMPLES, 0.02)))
    ppm = ppm_axis(SAMPLES, DWELL, F0)
    spectrum, truth = to_spectrum(cleaned.data), to_spectrum(singlets())
    naa = np.abs(truth).max()
    near = np.abs(ppm - 4.65) < 0.35
    assert np.abs(spectrum - truth)[near].max() < 0.02 * naa
    far = ppm < 4.15
    assert np.abs(spectrum - truth)[far].max() < 0.02 * naa
    assert cleaned.records[-1].figures["after"] < 0.05


def test_a_halved_first_sample_is_found_and_repaired():
    water = 1000 * np.exp(-np.pi * 5 * T)
    fid = singlets()
    spoiled_water, spoiled = water.copy(), fid.copy()
    spoiled_water[0] *= 0.5
    spoiled[0] *= 0.5
    points = spoiled_points(single(spoiled_water))
    assert points == 1
    assert spoiled_points(single(water)) == 0
    repaired = repair_first_points(single(spoiled), points)
    assert repaired.data[0] == pytest.approx(fid[0], rel=0.01)


def test_quality_measures_linewidth_and_snr():
    rng = np.random.default_rng(6)
    found = quality(single(singlets(width_hz=6.0) + noise(rng, SAMPLES, 0.2)))
    assert found.linewidth_hz == pytest.approx(6.0, abs=0.6)
    height = np.abs(to_spectrum(singlets(width_hz=6.0))).max()
    assert found.snr == pytest.approx(height / (0.2 * np.sqrt(SAMPLES / 2)), rel=0.08)


def test_the_whole_pipeline_on_coils_shots_and_water():
    rng = np.random.default_rng(7)
    sensitivity, _, factor = coils(rng)
    drift = np.linspace(-2, 2, 16)[:, None, None] * T * 2 * np.pi
    residual = 30 * np.exp(-np.pi * 6 * T)
    shots = sensitivity[:, None] * (singlets() + residual) * np.exp(1j * drift)
    shots = shots + 0.02 * np.einsum("ij,ajt->ait", factor, noise(rng, (16, 6, SAMPLES)))
    water = sensitivity[:, None] * (40000 * np.exp(-np.pi * 6 * T)) * np.ones((2, 1, 1))
    common = {"dims": ("average", "coil", "t"), "dwell_s": DWELL, "f0_hz": F0}
    scan = Scan(
        Transients(data=shots, noise=0.02 * factor @ noise(rng, (6, 9000)), **common),
        Transients(data=water, **common),
    )
    done = recon(scan)
    assert done.metabolite.dims == done.water.dims == ("t",)
    ppm = ppm_axis(SAMPLES, DWELL, F0)
    spectrum = np.abs(to_spectrum(done.metabolite.data))
    assert ppm[np.argmax(spectrum)] == pytest.approx(2.01, abs=0.02)
    share = np.abs(done.metabolite.data[:40]).mean() / np.abs(done.water.data[:40]).mean()
    expected = np.abs(singlets()[:40]).mean() / np.abs(40000 * np.exp(-np.pi * 6 * T))[:40].mean()
    assert share == pytest.approx(expected, rel=0.02)
    methods = [record.method for record in done.metabolite.records]
    assert methods[:2] == ["Noise whitening", "RF coil combination"]
    assert methods[-2:] == ["Nuisance peak removal", "Phasing"]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_data_without_content_are_refused(value):
    with pytest.raises(DataError, match=r"broken\.nii"):
        recon(Scan(single(np.full(SAMPLES, value, dtype=complex), source="broken.nii")))
