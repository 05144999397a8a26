"""FIDs at another dwell time, against closed forms: sums of damped oscillations."""

import numpy as np
import pytest

from pulsespec.errors import MismatchError
from pulsespec.simulator.sampled import SampledBasis, sampled, with_whole_first_points

F0_HZ = 123.2e6


def lines(t, band_hz, n=12, seed=3):
    """Return damped oscillations of frequencies within a band, widths of 1 to 20 Hz and any phase."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(-band_hz, band_hz, (n, 1))
    size = rng.uniform(0.2, 1, (n, 1)) * np.exp(2j * np.pi * rng.random((n, 1)))
    decay = np.pi * rng.uniform(1, 20, (n, 1))
    return np.sum(size * np.exp((2j * np.pi * frequency - decay) * t), axis=0)


def basis_of(dwell_s, n=2048, **of):
    fids = {"a": lines(np.arange(n) * dwell_s, **of), "b": lines(np.arange(n) * dwell_s, **of | {"seed": 4})}
    return SampledBasis(fids=fids, dwell_s=dwell_s, f0_hz=F0_HZ, te_s=0.03)


@pytest.mark.parametrize("wanted_s", [8e-4, 6.1e-4, 3.33e-4, 2e-4, 7.77777e-4])
@pytest.mark.parametrize("band_hz", [150.0, 300.0, 550.0])
def test_any_dwell_time_is_reached_within_the_stated_error(wanted_s, band_hz):
    basis = basis_of(5e-4, band_hz=band_hz)
    stated = basis.resampling_error(wanted_s)
    n = int(2047 * 5e-4 / wanted_s)
    found = np.array([basis.fid(name, n, wanted_s) for name in basis.names])
    t = np.arange(n) * wanted_s
    truth = np.array([lines(t, band_hz, seed=seed) for seed in (3, 4)])
    error = np.abs(found - truth).max(axis=1) / np.abs(truth).max(axis=1)
    assert error.max() < min(stated, {150.0: 2e-6, 300.0: 1e-5, 550.0: 1e-4}[band_hz])
    assert stated < {150.0: 3e-5, 300.0: 1e-4, 550.0: 2e-3}[band_hz]


def test_the_rounding_of_files_is_not_raised():
    """Six digits, as LCModel's files have them."""
    basis = basis_of(5e-4, band_hz=300.0)
    rounded = {name: np.round(fid, 5) for name, fid in basis.fids.items()}
    found = basis.with_fids(rounded).fid("a", 1000, 8e-4)
    assert np.abs(found - lines(np.arange(1000) * 8e-4, 300.0)).max() < 5e-4


def test_what_the_band_does_not_hold_is_refused():
    with pytest.raises(MismatchError, match="outside the band"):
        basis_of(5e-4, band_hz=800.0).fid("a", 1000, 8e-4)
    with pytest.raises(MismatchError, match=r"500\.00 us, 330\.00 us wanted.*too near the edge"):
        basis_of(5e-4, band_hz=990.0).fid("a", 1000, 3.3e-4)


def test_widths_are_added_in_the_new_time():
    found = basis_of(5e-4, band_hz=300.0).fid("a", 600, 8e-4, linewidth_hz=3.0, gauss_hz=5.0)
    t = np.arange(600) * 8e-4
    decay = np.exp(-np.pi * 3.0 * t - (np.pi * 5.0 * t) ** 2 / (4 * np.log(2)))
    np.testing.assert_allclose(found, lines(t, 300.0) * decay, atol=1e-4)


def test_after_the_last_stored_point_there_is_nothing():
    fid = basis_of(5e-4, n=500, band_hz=150.0).fid("a", 400, 8e-4)
    last = int(499 * 5e-4 / 8e-4)
    assert np.abs(fid[last]) > 0
    assert not np.any(fid[last + 1 :])


def test_a_whole_readout_keeps_its_length_in_time():
    basis = basis_of(5e-4, band_hz=150.0)
    other = sampled(basis, dwell_s=8e-4)
    assert (other.dwell_s, other.samples) == (pytest.approx(8e-4), 1280)
    assert basis.resampling_error(1e-3) == 0.0
    np.testing.assert_array_equal(basis.fid("a", 100, 1e-3), basis.fids["a"][:200:2])


def test_rounded_dwell_times_are_one():
    basis = basis_of(3.33e-4, band_hz=150.0)
    np.testing.assert_array_equal(basis.fid("a", 100, 1 / 3000), basis.fids["a"][:100])


def test_halved_first_points_are_doubled():
    basis = basis_of(5e-4, band_hz=400.0)
    halved = basis.with_fids(
        {name: np.concatenate([fid[:1] / 2, fid[1:]]) for name, fid in basis.fids.items()}
    )
    found, words = with_whole_first_points(halved)
    np.testing.assert_allclose(found.fids["a"], basis.fids["a"])
    assert "0.50 of what follows" in words[0]
    assert with_whole_first_points(basis) == (basis, ())
    one = basis.with_fids(basis.fids | {"b": halved.fids["b"]})
    assert with_whole_first_points(one) == (one, ())
