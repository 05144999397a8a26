"""Trials of a fit: SNR as asked, truth as stated, causes apart, seeds that hold, lines that no fit assumes."""

from dataclasses import replace

import numpy as np
import pytest

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import InputError
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.misfits import CAUSES, Misfits, baseline, field_line, macromolecules
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.trials import Ranges, set_stage, trial

F0 = 123.25e6
CLEAN = Misfits(0, 0, 0, 0)
STILL = Ranges(phase_sd_deg=0.0, shift_sd_ppm=0.0)
PEAKS = {
    "NAA": [(2.01, 3.0), (2.67, 1.0)],
    "Cr": [(3.03, 3.0), (3.92, 2.0)],
    "Ins": [(3.52, 2.0), (3.61, 2.0)],
}
T = np.arange(2048) * 2.5e-4


@pytest.fixture(scope="module")
def basis():
    lines = {
        name: Lines(np.array([(p - 4.65) * F0 * 1e-6 for p, _ in of]), np.array([a + 0j for _, a in of]))
        for name, of in PEAKS.items()
    }
    return Basis(lines=lines, f0_hz=F0, nucleus="1H", te_s=0.03, tr_s=2.0)


@pytest.fixture(scope="module")
def tissue():
    return load_tissue("grey-matter")


@pytest.fixture(scope="module")
def stage(basis, tissue):
    return set_stage(basis, tissue, STILL)


def test_pieces_are_multiplets_that_sum_to_the_whole(stage):
    assert stage.names == ("NAA", "Cr", "Ins")
    assert list(np.bincount(stage.of)[:3]) == [2, 2, 1]
    for number in range(len(stage.scene.names)):
        np.testing.assert_allclose(
            stage.pieces.fids[stage.of == number].sum(axis=0), stage.scene.fids[number], atol=1e-9
        )


def test_without_causes_the_truth_is_what_is_in_the_spectrum(stage):
    one = trial(stage, None, 3, 0, CLEAN)
    width = stage.scene.tissue.width(2.894)
    n = len(stage.names)
    best = np.inf
    decay = np.exp(-T / stage.scene.t2_s[:n, None])
    broad = macromolecules(np.random.default_rng(0), T, F0, 4.65, "birch-3t", 0.0)
    for hz in np.linspace(max(width.gauss_hz - 3 * width.sd_hz, 0), width.gauss_hz + 3 * width.sd_hz, 400):
        gauss = np.exp(-((np.pi * hz * T) ** 2) / (4 * np.log(2)))
        columns = (np.concatenate([stage.scene.fids[:n] * decay, broad[None]]) * gauss).T
        found, left, *_ = np.linalg.lstsq(columns, one.fid, rcond=None)
        if left[0] < best:
            best, amplitudes = left[0], found
    np.testing.assert_allclose(amplitudes[:n].real, one.amplitudes, rtol=0.01)
    np.testing.assert_allclose(
        one.amplitudes, (stage.scene.weights(stage.scene.t2_s)[:n] * one.concentrations_mm)
    )


def test_noise_is_as_the_snr_says(stage):
    kept = [trial(stage, snr, 5, 0) for snr in (None, 20.0)]
    noise = to_spectrum(kept[1].fid - kept[0].fid).real
    assert np.std(noise) == pytest.approx(kept[1].noise_sd, rel=0.06)
    assert kept[1].height / kept[1].noise_sd == pytest.approx(20.0)


def test_the_height_is_that_of_naa_in_the_spectrum(stage, basis, tissue):
    one = trial(stage, None, 5, 1, CLEAN)
    only = trial(set_stage(basis, replace(tissue, broad={}), STILL), None, 5, 1, CLEAN)
    ppm = ppm_axis(2048, stage.scene.dwell_s, F0, 4.65)
    peak = np.abs(to_spectrum(only.fid))[(ppm > 1.85) & (ppm < 2.15)].max()
    assert one.height == pytest.approx(peak, rel=0.05)


def test_a_spectrum_hangs_on_seed_and_number_alone(stage):
    first = trial(stage, 30.0, 1, 7)
    trial(stage, 30.0, 1, 6)
    np.testing.assert_array_equal(trial(stage, 30.0, 1, 7).fid, first.fid)
    assert not np.allclose(trial(stage, 30.0, 1, 8).fid, first.fid)
    assert not np.allclose(trial(stage, 30.0, 2, 7).fid, first.fid)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_apart_from_the_others(stage, cause):
    everything, without = (
        trial(stage, 30.0, 1, 2),
        trial(stage, 30.0, 1, 2, replace(Misfits(), **{cause: 0.0})),
    )
    assert not np.allclose(everything.fid, without.fid)
    np.testing.assert_array_equal(everything.amplitudes, without.amplitudes)
    if cause in ("baseline", "macromolecules"):
        quiet, other = (trial(stage, None, 1, 2, m) for m in (Misfits(), replace(Misfits(), **{cause: 0.0})))
        np.testing.assert_allclose(
            everything.fid - quiet.fid, without.fid - other.fid, atol=1e-9 * np.abs(quiet.fid).max()
        )


def test_the_field_makes_lines_asymmetric_and_as_wide_as_asked():
    time_s = np.arange(4096) * 2.5e-4
    lines = [field_line(np.random.default_rng(k), time_s, 6.0, 1.0) for k in range(60)]
    plain = field_line(np.random.default_rng(0), time_s, 6.0, 0.0)
    np.testing.assert_allclose(plain, np.exp(-((np.pi * 6.0 * time_s) ** 2) / (4 * np.log(2))), rtol=1e-9)
    for line in lines:
        assert line[0] == pytest.approx(1.0)
        early = np.abs(line[:40])  # its logarithm starts as -(2 pi sd t)^2 / 2
        sd = np.sqrt(-2 * np.polyfit(time_s[:40] ** 2, np.log(early), 1)[0]) / (2 * np.pi)
        assert sd * 2.3548 == pytest.approx(6.0, rel=0.03)
    skewed = [abs(np.angle(line[np.searchsorted(time_s, 0.08)])) for line in lines]
    assert np.median(skewed) > 0.05


def test_moved_macromolecules_keep_their_methyl_and_baselines_their_height():
    rng = np.random.default_rng(0)
    still = macromolecules(rng, T, F0, 4.65, "birch-3t", 0.0)
    ppm = ppm_axis(2048, 2.5e-4, F0, 4.65)
    spectrum = to_spectrum(still * np.where(np.arange(2048) == 0, 0.5, 1.0)).real
    area = 2 * spectrum[(ppm > 0.6) & (ppm < 1.05)].sum() / 2048
    assert area == pytest.approx(3.0 + 1.167 * 0.02, rel=0.06)
    heights = []
    for seed in range(200):
        under = baseline(np.random.default_rng(seed), T, F0, 4.65, 1000.0)
        heights.append(np.abs(to_spectrum(under)[(ppm > 0.5) & (ppm < 4.2)]).max())
    assert 30 < np.median(heights) < 200


def test_wrong_numbers_are_refused(stage):
    with pytest.raises(InputError, match="baseline: got -1"):
        Misfits(baseline=-1.0)
    with pytest.raises(InputError, match="snr: got 0"):
        trial(stage, 0.0, 0, 0)
