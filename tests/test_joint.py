"""Several spectra fitted together, against one alone, finite differences, and known truth."""

from dataclasses import replace

import numpy as np
import pytest

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitSettings, fit
from pulsespec.recon.fit_model import problem_of
from pulsespec.recon.joint import (
    Differences,
    Links,
    Stack,
    _Search,
    identical,
    independent,
    joint_fit,
    shared,
    whitened,
)
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines

F0, DWELL, SAMPLES, TO_HZ = 123.25e6, 4e-4, 1024, 123.25
T = np.arange(SAMPLES) * DWELL
ROWS = {"NAA": [(2.01, 3.0), (2.6, 0.8)], "Cr": [(3.03, 3.0), (3.92, 2.0)], "Ins": [(3.52, 2.0), (3.61, 2.0)]}
TRUTH = np.array([10.0, 8.0, 6.0])
FIT = FitSettings(stiffness=0.8, ratio_priors=(), shorten=False)


@pytest.fixture(scope="module")
def basis():
    lines = {
        name: Lines(np.array([(p - 4.65) * TO_HZ for p, _ in of]), np.array([a + 0j for _, a in of]))
        for name, of in ROWS.items()
    }
    return Basis(lines=lines, f0_hz=F0, nucleus="1H", te_s=0.03, tr_s=2.0)


@pytest.fixture(scope="module")
def problem(basis):
    fids = np.array([basis.fid(name, SAMPLES, DWELL) for name in basis.names])
    return problem_of(fids, basis.names, (), DWELL, F0, 4.65, [(0.2, 4.0)])


def fids(basis, amounts, rng, sd, hz=(0.0,) * 4, phases=(0.0,) * 4, widths=(0.0,) * 4):
    """Return one FID for each row of amounts, each with its own shift, phase, width and noise."""
    found = []
    for k, row in enumerate(amounts):
        fid = sum(
            value * basis.fid(name, SAMPLES, DWELL) for name, value in zip(basis.names, row, strict=True)
        )
        fid = fid * np.exp(-np.pi * (4.0 + widths[k]) * T - (np.pi * 3.0 * T) ** 2 / (4 * np.log(2)))
        fid = fid * np.exp(2j * np.pi * hz[k] * T + 1j * phases[k])
        found.append(fid + sd / np.sqrt(2) * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)))
    return np.array(found)


def stacked(problem, data, sd, blocks=None):
    noise = np.full(len(data), sd / 2)  # real part of a unitary transform, zero-filled to twice the length
    return Stack(
        (problem,) * len(data),
        problem.spectrum(data).real,
        noise,
        independent(noise) if blocks is None else blocks,
    )


def decay(b, names):
    """Return links of a series whose amplitudes fall as exp(-b D), one D for all."""

    def matrix(psi):
        return np.exp(-b * psi[0])[:, None, None] * np.eye(len(names))

    def slope(psi):
        return (-b * np.exp(-b * psi[0]))[None, :, None, None] * np.eye(len(names))

    one = np.ones(1)
    return Links(names, matrix, slope, ("D",), 0.5 * one, 0.0 * one, 5.0 * one, 0.0 * one, np.inf * one)


def test_one_spectrum_is_fitted_as_by_the_fit(basis, problem):
    fid = fids(basis, [TRUTH], np.random.default_rng(0), 0.5)
    alone = fit(Transients(data=fid[0], dims=("t",), dwell_s=DWELL, f0_hz=F0), basis, FIT)
    found = joint_fit(stacked(problem, fid, 0.5), identical(basis.names, 1), shared(problem, 1, 5.0), FIT)
    assert found.converged
    np.testing.assert_allclose(found.unknowns, alone.amplitudes, rtol=5e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance) / np.diag(alone.covariance)), 1.0, atol=0.15)
    np.testing.assert_allclose(found.data - found.fit, (alone.data - alone.fit)[None], atol=0.2)


def test_derivatives_equal_finite_differences(basis, problem):
    rng = np.random.default_rng(1)
    b = np.array([0.0, 1.0, 2.0])
    stack = stacked(problem, fids(basis, [TRUTH] * 3, rng, 0.3), 0.3)
    search = _Search(stack, decay(b, basis.names), shared(problem, 3, 5.0), FIT)
    search._use(np.array([search.smooth.log_weight(one) for one in (0.8, 1.3, 2.0)]))
    at = np.concatenate([search.sharing.start, [0.7]]) + rng.normal(0, 0.05, search.n_free + 1)
    slope, before = search._slope(at), search.state(at)

    def model(at):
        state = search._solve(at)
        return state.left @ before.unknowns

    for k in range(at.size):
        step = np.eye(at.size)[k] * 1e-5
        numeric = (model(at + step) - model(at - step)) / 2e-5
        np.testing.assert_allclose(slope[:, k], numeric, atol=2e-3 * np.abs(numeric).max() + 1e-7)


def test_two_spectra_of_one_voxel_know_more_than_one(basis, problem):
    rng = np.random.default_rng(2)
    data = fids(basis, [TRUTH] * 2, rng, 1.0, hz=(0.0, 0.4), phases=(0.0, 0.05))
    both = joint_fit(stacked(problem, data, 1.0), identical(basis.names, 2), shared(problem, 2, 5.0), FIT)
    one = joint_fit(stacked(problem, data[:1], 1.0), identical(basis.names, 1), shared(problem, 1, 5.0), FIT)
    ratio = np.sqrt(np.diag(both.covariance) / np.diag(one.covariance))
    np.testing.assert_allclose(ratio, 1 / np.sqrt(2), atol=0.08)
    np.testing.assert_allclose(both.unknowns, TRUTH, rtol=0.03)
    assert np.rad2deg(both.theta[1, 0] - both.theta[0, 0]) == pytest.approx(np.rad2deg(0.05), abs=1.0)
    assert both.theta[1, 2] - both.theta[0, 2] == pytest.approx(0.4, abs=0.1)


def test_blocks_are_independent_whatever_the_noise_of_each_spectrum():
    sd = np.array([1.0, 2.0, 0.5, 1.5])
    asked = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [1, 1, 1, 1]], dtype=float)
    rows = whitened(asked, sd)
    np.testing.assert_allclose((rows * sd) @ (rows * sd).T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(rows[0] / rows[0, 0], asked[0])
    with pytest.raises(InputError, match="not independent"):
        whitened(np.array([[1.0, -1.0], [2.0, -2.0]]), sd[:2])


def test_blocks_do_not_change_a_fit_whose_baselines_are_alike(basis, problem):
    """On and off with their noise, or difference and sum: the same data, as long as nothing smooths them unlike."""
    data = fids(basis, [TRUTH, 0.5 * TRUTH], np.random.default_rng(3), 0.5)
    links = replace(identical(basis.names, 2), matrix=lambda _: np.array([np.eye(3), 0.5 * np.eye(3)]))
    noise = np.full(2, 0.25)
    mixed = whitened(np.array([[1.0, -1.0], [1.0, 1.0]]), noise)
    apart, together = (
        joint_fit(stacked(problem, data, 0.5, blocks), links, shared(problem, 2, 5.0), FIT)
        for blocks in (None, mixed)
    )
    np.testing.assert_allclose(together.unknowns, apart.unknowns, rtol=1e-4)
    np.testing.assert_allclose(together.covariance, apart.covariance, rtol=5e-3, atol=1e-9)


def test_a_model_over_a_series_and_its_intervals(basis, problem):
    b, inside = np.array([0.0, 0.5, 1.0, 2.0]), []
    amounts = [np.exp(-0.6 * one) * TRUTH for one in b]
    sharing = shared(problem, 4, 5.0, differences=Differences(1.0, 0.2, 0.2))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        unlike = {"hz": 0.2, "phases": np.deg2rad(1.0), "widths": 0.2}
        data = fids(basis, amounts, rng, 1.0, **{key: rng.normal(0, sd, 4) for key, sd in unlike.items()})
        found = joint_fit(stacked(problem, data, 1.0), decay(b, basis.names), sharing, FIT)
        assert found.converged
        sd = np.sqrt(np.diag(found.covariance))
        inside.append(np.abs(found.values - [*TRUTH, 0.6]) < 1.96 * sd)
    assert found.names == (*basis.names, "D")
    assert found.values[-1] == pytest.approx(0.6, abs=5 * sd[-1])
    assert 0.88 <= np.mean(inside) <= 0.99


def test_a_hump_in_the_sum_leaves_the_difference_stiff(basis, problem):
    """Each block chooses its own baseline: what is broad in all conditions cancels in their difference."""
    hump = 400.0 * np.exp(2j * np.pi * 250.0 * T - np.pi * 90.0 * T)
    data = fids(basis, [TRUTH, TRUTH], np.random.default_rng(4), 0.5) + hump
    links = identical(basis.names, 2)
    blocks = whitened(np.array([[1.0, -1.0], [1.0, 1.0]]), np.full(2, 0.25))
    found = joint_fit(
        stacked(problem, data, 0.5, blocks), links, shared(problem, 2, 5.0), replace(FIT, stiffness=None)
    )
    assert found.stiffness[0] < found.stiffness[1]
    np.testing.assert_allclose(found.unknowns, TRUTH, rtol=0.05)


def test_a_stack_says_what_does_not_fit_together(problem):
    data = np.zeros((2, problem.keep.size))
    with pytest.raises(InputError, match="noise"):
        Stack((problem, problem), data, np.ones(3), np.eye(2))
    with pytest.raises(InputError, match="same in all"):
        Stack((problem, replace(problem, names=("a", "b", "c"))), data, np.ones(2), np.eye(2))
