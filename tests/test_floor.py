"""The floor: Cramer-Rao bounds in closed form for one line, derivatives, and what a baseline costs."""

import numpy as np
import pytest

from pulsespec.recon import floor

READOUT = floor.Readout(4096, 2.5e-4, 123.25e6, 4.65, (-100.0, 100.0))
WIDTH_HZ = 5.0
ONE = floor.Line(np.zeros(1), np.full(1, WIDTH_HZ), np.zeros(1))
FID = np.ones((1, READOUT.samples), dtype=complex)
SD = 0.3
"""Standard deviation of a complex sample; of a point of the real spectrum it is smaller by the root of two."""


def bound(line=ONE, nuisance=(), amplitude=2.0):
    model = floor.columns(FID, [0], line, READOUT).real.T
    names, slopes = floor.nuisances(FID, np.array([amplitude]), [0], line, READOUT)
    chosen = slopes[:, [names.index(name) for name in nuisance]]
    return float(np.sqrt(floor.covariance(model, chosen, SD / np.sqrt(2))[0, 0]))


def closed_form(factor):
    """Of the amplitude of a exp(-alpha t): information 2 / sd^2 times the integral of exp(-2 alpha t)."""
    alpha = np.pi * WIDTH_HZ
    return float(np.sqrt(factor * SD**2 / 2 * 2 * alpha * READOUT.dwell_s))


def test_one_lorentzian_line_has_the_bound_of_its_closed_form():
    assert bound() == pytest.approx(closed_form(1), rel=0.01)
    assert bound(nuisance=["phase0", "shift0"]) == pytest.approx(closed_form(1), rel=0.01)
    assert bound(nuisance=["lorentz0"]) == pytest.approx(closed_form(2), rel=0.02)


def test_the_bound_does_not_hang_on_phase_and_place():
    moved = floor.Line(np.full(1, 217.0), np.full(1, WIDTH_HZ), np.zeros(1), 0.7)
    assert bound(moved, ["phase0"]) == pytest.approx(closed_form(1), rel=0.01)


def test_least_squares_scatters_as_the_bound_says():
    rng = np.random.default_rng(3)
    model = floor.columns(FID, [0], ONE, READOUT).real.T
    noise = SD / np.sqrt(2) * (rng.standard_normal((400, 4096)) + 1j * rng.standard_normal((400, 4096)))
    measured = READOUT.spectrum(2.0 * FID * np.exp(-np.pi * WIDTH_HZ * READOUT.time_s) + noise).real
    found = np.linalg.lstsq(model, measured.T, rcond=None)[0][0]
    assert np.mean(found) == pytest.approx(2.0, abs=4 * bound() / 20)
    assert np.std(found) == pytest.approx(bound(), rel=0.12)


def test_derivatives_equal_finite_differences():
    line = floor.Line(np.array([10.0, -80.0]), np.array([3.0, 6.0]), np.array([4.0, 20.0]), 0.3, 0.05)
    readout = floor.Readout(512, 5e-4, 123.25e6, 4.65, (0.2, 4.0))
    fids = np.exp(2j * np.pi * np.array([[200.0], [310.0]]) * readout.time_s)
    amplitudes, step = np.array([2.0, 1.0]), 1e-5

    def total(name, by):
        shift, lorentz, gauss = line.shift_hz.copy(), line.lorentz_hz.copy(), line.gauss_hz.copy()
        phases = [line.phase_rad + by * (name == "phase0"), line.phase1_rad_per_ppm + by * (name == "phase1")]
        for group in (0, 1):
            shift[group] += by * (name == f"shift{group}")
            lorentz[group] += by * (name == f"lorentz{group}")
            if name == f"gauss{group}":
                gauss[group] = np.sqrt(gauss[group] ** 2 + by * 4 * np.log(2) / np.pi**2)
        moved = floor.Line(shift, lorentz, gauss, *phases)
        return amplitudes @ floor.columns(fids, [0, 1], moved, readout).real

    names, slopes = floor.nuisances(fids, amplitudes, [0, 1], line, readout)
    for name, slope in zip(names, slopes.T, strict=True):
        numeric = (total(name, step) - total(name, -step)) / (2 * step)
        np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())


def test_a_baseline_costs_and_twins_cannot_be_told():
    readout = floor.Readout(1024, 5e-4, 123.25e6, 4.65, (1.0, 3.0))
    fid = np.exp(2j * np.pi * 300.0 * readout.time_s - np.pi * 20.0 * readout.time_s)[None]
    line = floor.Line(np.zeros(1), np.zeros(1), np.zeros(1))
    model = floor.columns(fid, [0], line, readout).real.T
    smooth = floor.smooth_columns(readout.ppm, 6.0)
    assert smooth.shape == (readout.ppm.size, 12)
    alone = floor.covariance(model, smooth[:, :0], 1.0)[0, 0]
    assert floor.covariance(model, smooth, 1.0)[0, 0] > 1.05 * alone
    twins = floor.covariance(np.repeat(model, 2, axis=1), smooth[:, :0], 1.0)
    assert twins[0, 0] > 1e6 * alone
