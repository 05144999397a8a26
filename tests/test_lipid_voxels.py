"""Scalp lipid removed with metabolites guarded at the field of each voxel, against a synthetic head."""

from dataclasses import replace

import numpy as np
import pytest
from scalp_for_tests import DWELL_S, F0_HZ, SAMPLES, T, head, singlet

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import InputError
from pulsespec.recon.image_cleaning import CleaningSettings, clean_images
from pulsespec.recon.lipid_guard import metabolite_guard
from pulsespec.recon.lipid_operator import lipid_operator
from pulsespec.recon.lipid_voxels import above_noise, noise_power, surviving_basis
from pulsespec.recon.transients import Scan

PPM = ppm_axis(SAMPLES, DWELL_S, F0_HZ)
METABOLITES = (2.008, 2.3, 2.65, 3.027, 3.185, 3.55)


def peak(fids, low, high):
    return np.abs(to_spectrum(fids))[..., (low < PPM) & (high > PPM)].max(axis=-1)


@pytest.fixture(scope="module")
def made():
    """Return a head whose brain has a field of its own: its signals lie up to 20 Hz off, the scalp's lipid does not."""
    plain = head(water_left=0.0)
    x, y = np.indices(plain.brain.shape[:2])
    shifts = (20.0 * np.sin(x / 5.0) * np.cos(y / 6.0))[..., None]
    turn = np.exp(2j * np.pi * shifts[..., None] * T)
    data, water = plain.scan.metabolite, plain.scan.water
    moved = replace(data, data=data.data + plain.metabolites * (turn - 1))
    scan = Scan(moved, replace(water, data=water.data * turn))
    return plain, scan, shifts


@pytest.fixture(scope="module")
def cleaned(made):
    return clean_images(made[1], CleaningSettings(water_removal=False), made[0].brain)


def test_the_shifts_are_those_of_the_water(made, cleaned):
    operators = cleaned.by_voxel
    error = operators.shifts_hz - made[2][cleaned.lipid_voxels]
    assert np.quantile(np.abs(error), 0.9) < 1.0


def test_metabolites_stay_and_lipid_goes(made, cleaned):
    plain, _, _ = made
    operators, at = cleaned.by_voxel, cleaned.lipid_voxels
    for ppm in METABOLITES:
        left = operators.survival(singlet(ppm, 8.0))
        assert np.median(np.abs(left - 1)) < 0.005
        assert np.quantile(np.abs(left - 1), 0.95) < 0.02
    naa = np.median(peak(plain.metabolites[plain.brain], 1.9, 2.15))
    leaked = plain.leaked[at]
    assert np.median(peak(leaked, 0.5, 1.8)) > 0.3 * naa
    assert np.median(peak(operators.apply(leaked), 0.5, 4.2)) < 0.02 * naa
    unguarded = clean_images(made[1], CleaningSettings(water_removal=False, lipid_guard=False), plain.brain)
    assert unguarded.by_voxel is None
    naa_fid = singlet(2.008, 8.0)
    lost = [
        np.median(1 - operators.survival(naa_fid)),
        1 - np.vdot(naa_fid, unguarded.operator.apply(naa_fid)).real / np.vdot(naa_fid, naa_fid).real,
    ]
    assert abs(lost[0]) < 0.2 * lost[1]


def test_images_are_what_the_operators_make_of_them(made, cleaned):
    at = cleaned.lipid_voxels
    np.testing.assert_allclose(
        cleaned.scan.metabolite.data[at], cleaned.by_voxel.apply(made[1].metabolite.data[at]), rtol=1e-6
    )
    np.testing.assert_array_equal(cleaned.scan.metabolite.data[~at], made[1].metabolite.data[~at])


def test_a_voxel_with_more_lipid_has_more_weight(made, cleaned):
    lipid = peak(made[0].leaked[cleaned.lipid_voxels], 0.5, 1.8)
    order = np.argsort(lipid)
    weights = cleaned.by_voxel.weights[order]
    assert np.median(weights[-50:]) > 10 * np.median(weights[:50])


def test_a_model_passed_through_is_what_is_left_of_it(cleaned):
    """What a voxel's model loses is what its survival says, and is aligned as it was."""
    operators = cleaned.by_voxel
    fids = np.array([singlet(2.008, 8.0), singlet(1.3, 12.0)])
    for voxel in (0, 40):
        left = surviving_basis(operators, voxel, fids)
        shares = np.sum(fids.conj() * left, axis=1).real / np.sum(np.abs(fids) ** 2, axis=1)
        np.testing.assert_allclose(shares, [operators.survival(fid)[voxel] for fid in fids], atol=1e-9)
        assert shares[1] < 0.2
    with pytest.raises(InputError, match="voxel"):
        surviving_basis(operators, operators.which.size, fids)
    with pytest.raises(InputError, match="one a voxel"):
        operators.apply(fids)


def test_noise_grows_as_the_operators_say(cleaned):
    """The noise in the product with NAA, of many draws in one voxel, against `noise_gain`."""
    operators = cleaned.by_voxel
    naa = singlet(2.008, 8.0)
    gains = operators.noise_gain(naa)
    voxel = int(np.argmax(gains))
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(4000, SAMPLES)) + 1j * rng.normal(size=(4000, SAMPLES))
    after = surviving_basis(operators, voxel, noise) @ naa.conj()
    assert np.std(after) / np.std(noise @ naa.conj()) == pytest.approx(gains[voxel], rel=0.05)
    assert gains[voxel] > 1.2


def test_the_guarded_operator_is_the_closed_form(made):
    """C_L (C_L + g M M^H + 1)^-1 x, worked out without the lemma."""
    rng = np.random.default_rng(2)
    scalp = rng.normal(size=(4, SAMPLES)) + 1j * rng.normal(size=(4, SAMPLES))
    guard = metabolite_guard(made[1].metabolite).moved(7.0, DWELL_S)
    operator = lipid_operator(scalp, 3.0, guard=guard)
    lipid = 3.0 / operator.largest * scalp.T @ scalp.conj()
    blind = np.eye(SAMPLES) - guard.vectors * guard.shares @ guard.vectors.conj().T
    whole = lipid + np.linalg.inv(blind)
    x = rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)
    np.testing.assert_allclose(operator.apply(x), x - lipid @ np.linalg.solve(whole, x), atol=1e-8)


def test_noise_of_the_scalp_is_no_lipid():
    rng = np.random.default_rng(1)
    pure = (rng.normal(size=(300, 3)) + 1j * rng.normal(size=(300, 3))) @ np.array(
        [singlet(1.3, 20.0), 0.3 * singlet(0.9, 20.0), 0.2 * singlet(2.05, 20.0)]
    )
    dirt = 0.05 * (rng.normal(size=pure.shape) + 1j * rng.normal(size=pure.shape))
    power = noise_power(dirt, head().scan.metabolite)
    assert power == pytest.approx(2 * 0.05**2, rel=0.1)
    found = above_noise(pure + dirt, power)
    assert found.shape == (3, SAMPLES)
    np.testing.assert_allclose(
        found.conj().T @ found, pure.conj().T @ pure, atol=0.02 * np.linalg.norm(pure) ** 2
    )
