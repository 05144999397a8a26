"""Simple peaks against lines of known area, and institutional units by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pulsespec.errors import DataError
from pulsespec.recon import peaks
from pulsespec.recon.peaks import (
    COLUMNS,
    Peak,
    constants,
    creatine_peaks,
    institutional,
    peaks_of,
    shown,
    table,
)
from pulsespec.recon.transients import Transients

F0, DWELL, SAMPLES, TO_HZ = 127.7e6, 4e-4, 2048, 127.7
T = np.arange(SAMPLES) * DWELL
WEIGHTS = np.array([1.0, -1.0])
UNIT = 1 / (2 * DWELL * TO_HZ)
"""Area in ppm of a line whose FID starts at one, the first sample half."""


def line(ppm, size, lorentz_hz=0.0, gauss_hz=0.0):
    decay = -np.pi * lorentz_hz * T - (np.pi * gauss_hz * T) ** 2 / (4 * np.log(2))
    return size * np.exp(2j * np.pi * (4.65 - ppm) * TO_HZ * T + decay)


def data(sd=0.0, seed=0, turn=1.0):
    """Return on and off whose difference has Gaussian peaks, beside creatine and choline."""
    edited = line(3.71, 3.0, gauss_hz=9.0) + line(3.79, 2.0, gauss_hz=9.0) + line(3.02, 4.0, gauss_hz=20.0)
    both = line(3.02, 27.0, 6.0) + line(3.20, 15.0, 6.0)
    rng = np.random.default_rng(seed)
    noise = sd / np.sqrt(2) * (rng.normal(size=(2, SAMPLES)) + 1j * rng.normal(size=(2, SAMPLES)))
    fids = turn * np.array([both + edited, both - edited]) + noise
    return Transients(
        data=fids, dims=("edit", "t"), dwell_s=DWELL, f0_hz=F0, te_s=0.068, tr_s=2.0, source="x.nii"
    )


def test_areas_are_those_of_the_lines(monkeypatch):
    """Without broadening the models are exact; broadening is Lorentzian, and the model loses its tails."""
    usual = peaks_of(data(), WEIGHTS)
    monkeypatch.setattr(peaks, "BROADENING_HZ", 0.0)
    gaba, glx, *_ = peaks_of(data(), WEIGHTS)
    assert (gaba.name, glx.name) == ("GABA+", "Glx")
    assert gaba.area == pytest.approx(4.0 * UNIT, rel=2e-3)
    assert glx.area == pytest.approx(5.0 * UNIT, rel=2e-3)
    assert gaba.fwhm_hz == pytest.approx(20.0, abs=0.1)
    assert gaba.ppm == pytest.approx(3.02, abs=0.001)
    assert 0.85 * gaba.area < usual[0].area < gaba.area


def test_creatine_is_counted_within_its_range(monkeypatch):
    monkeypatch.setattr(peaks, "BROADENING_HZ", 0.0)
    creatine, choline = creatine_peaks(shown(data(), line(3.02, 27.0, 8.0) + line(3.20, 15.0, 8.0)))
    for peak, size, place in ((creatine, 27.0, 3.02), (choline, 15.0, 3.20)):
        inside = sum(math.atan(2 * abs(edge - place) * TO_HZ / 8.0) for edge in (2.6, 3.6)) / math.pi
        assert peak.area == pytest.approx(size * inside * UNIT, rel=5e-3)
        assert peak.fwhm_hz == pytest.approx(8.0, rel=5e-3)


def test_phase_and_shift_are_undone():
    turn = np.exp(1j * 0.7 - 2j * np.pi * 0.05 * TO_HZ * T)
    moved = peaks_of(data(turn=turn), WEIGHTS, phase_deg=np.rad2deg(0.7), shift_ppm=0.05)
    for one, other in zip(moved, peaks_of(data(), WEIGHTS), strict=True):
        assert one.area == pytest.approx(other.area, rel=1e-3)


def test_the_stated_error_is_that_of_noise():
    found = [peaks_of(data(2.0, seed), WEIGHTS)[:2] for seed in range(40)]
    for k in range(2):
        areas, stated = np.array([(one[k].area, one[k].area_sd) for one in found]).T
        assert stated.mean() == pytest.approx(areas.std(), rel=0.3)


@pytest.mark.parametrize("phase", [0.0, 1.2])
def test_water_has_its_area_whatever_its_phase(phase, monkeypatch):
    monkeypatch.setattr(peaks, "BROADENING_HZ", 0.0)
    water = replace(data(), data=line(4.68, 5000.0, 9.0) * np.exp(1j * phase), dims=("t",))
    found = peaks_of(data(), WEIGHTS, water)[-1]
    inside = sum(math.atan(2 * abs(edge - 4.68) * TO_HZ / 9.0) for edge in (3.8, 5.6)) / math.pi
    assert found.area == pytest.approx(5000.0 * inside * UNIT, rel=5e-3)
    assert found.ppm == pytest.approx(4.68, abs=0.002)
    assert found.fwhm_hz == pytest.approx(9.0, abs=0.2)


def test_institutional_units_by_hand():
    gaba, water = Peak("GABA+", 2.0, 0.2, 5.0, 3.02, 20.0), Peak("water", 4000.0, 0.0, 0.1, 4.68, 8.0)
    value, sd = institutional(gaba, water, 0.068, 2.0)
    saturation = (1 - math.exp(-2.0 / 1.1)) / (1 - math.exp(-2.0 / 1.31))
    decay = math.exp(-68 / 95) / math.exp(-68 / 88)
    assert value == pytest.approx(2.0 / 4000.0 * 55510 * 0.65 * saturation * decay * 0.45 / 0.5)
    assert sd == pytest.approx(0.1 * value)
    rows = table([gaba, Peak("Cr", 20.0, 0.0, 1.0, 3.02, 9.0), water], 0.068, 2.0)
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["ratio_Cr"] == pytest.approx(0.1)
    assert math.isnan(rows[1]["ratio_Cr"])
    assert math.isnan(table([gaba, water], None, 2.0)[0]["concentration_iu"])
    assert constants()["GABA+"]["share"] == 0.45


def test_empty_spectra_are_refused():
    with pytest.raises(DataError, match="nothing between"):
        peaks_of(replace(data(), data=np.zeros((2, SAMPLES), complex)), WEIGHTS)
