"""Cayley-Klein algebra against dense 2 x 2 matrices and matrix exponentials."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.rotations import (
    after,
    binned,
    hard,
    order_matrix,
    relative,
    sufficient_bins,
    trajectory,
    vector_matrix,
    whole,
)

X = np.array([[0, 1], [1, 0]]) / 2 + 0j
Y = np.array([[0, -1j], [1j, 0]]) / 2
Z = np.diag([0.5, -0.5]) + 0j


def dense(rotation):
    a, b = rotation
    return np.array([[a, -np.conj(b)], [b, np.conj(a)]])


def random_rotation(seed):
    offset, x, y = np.random.default_rng(seed).normal(size=3) * 300
    return hard(np.array(offset), np.array(x + 1j * y), 1e-3), (offset, x, y)


def gaussian(samples=400, duration_s=4e-3, offset_hz=0.0):
    t = (np.arange(samples) + 0.5) / samples - 0.5
    b1 = 300.0 * np.exp(-(t**2) / 0.02) * np.exp(0.7j * t)
    return Rf(b1, duration_s, 0.0, offset_hz, np.zeros((samples, 3)))


def test_hard_is_the_matrix_exponential():
    rotation, (offset, x, y) = random_rotation(1)
    np.testing.assert_allclose(
        dense(rotation), expm(-2j * np.pi * 1e-3 * (offset * Z + x * X + y * Y)), atol=1e-14
    )


def test_products_and_inverse_follow_the_matrices():
    first, second = random_rotation(2)[0], random_rotation(3)[0]
    np.testing.assert_allclose(dense(after(second, first)), dense(second) @ dense(first), atol=1e-14)
    np.testing.assert_allclose(
        dense(relative(first, second)), np.linalg.inv(dense(first)) @ dense(second), atol=1e-14
    )


def test_vector_matrix_turns_spin_operators():
    rotation = random_rotation(4)[0]
    u, o = dense(rotation), vector_matrix(rotation)
    for row, operator in zip(o, (X, Y, Z), strict=True):
        expected = sum(c * s for c, s in zip(row, (X, Y, Z), strict=True))
        np.testing.assert_allclose(np.linalg.inv(u) @ operator @ u, expected, atol=1e-14)


def test_order_matrix_turns_shift_operators():
    rotation = random_rotation(5)[0]
    u, t = dense(rotation), order_matrix(rotation)
    basis = (X - 1j * Y, Z, X + 1j * Y)
    for column, operator in zip(t.T, basis, strict=True):
        expected = sum(c * s for c, s in zip(column, basis, strict=True))
        np.testing.assert_allclose(u @ operator @ np.linalg.inv(u), expected, atol=1e-14)


def test_trajectory_ends_where_the_product_of_all_samples_ends():
    rf = gaussian()
    a, b = trajectory(np.array([[40.0]]), rf.b1_hz, rf.duration_s / 400, 8)
    u = np.eye(2)
    for b1 in rf.b1_hz:
        u = expm(-2j * np.pi * rf.duration_s / 400 * (40.0 * Z + b1.real * X + b1.imag * Y)) @ u
    np.testing.assert_allclose(dense((a[0, -1], b[0, -1])), u, atol=1e-12)
    assert a[0, 0] == 1
    assert b[0, 0] == 0


def test_a_carrier_offset_is_a_modulated_pulse():
    rf = gaussian(4000, offset_hz=250.0)
    t = (np.arange(4000) + 0.5) * rf.duration_s / 4000
    modulated = Rf(rf.b1_hz * np.exp(2j * np.pi * 250.0 * t), rf.duration_s, 0.0, 0.0, rf.gradient_hz_per_m)
    zero = np.zeros(1)
    for one, other in zip(
        whole(rf, np.array([100.0]), zero, 4000), whole(modulated, np.array([100.0]), zero, 4000), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_rebinning_keeps_the_area():
    rf = gaussian(401)
    b1, _ = binned(rf.b1_hz, 64)
    assert b1.sum() / 64 == pytest.approx(rf.b1_hz.sum() / 401, abs=1e-9)


def test_sufficient_bins_meet_the_tolerance():
    rf = gaussian(4000)
    offsets = np.linspace(-800, 800, 9)
    (bins,) = sufficient_bins(rf, offsets, [1e-4])
    assert bins < 100
    fine, coarse = whole(rf, offsets, np.zeros(1), 4000), whole(rf, offsets, np.zeros(1), bins)
    assert np.abs(fine[1] - coarse[1]).max() < 1e-4


def test_bins_hold_mean_and_first_moment():
    values = np.random.default_rng(1).normal(size=(2, 7)) + 1j
    mean, moment = binned(values, 3)
    fine = np.repeat(values, 3000, axis=1).reshape(2, 3, 7000)
    time = (np.arange(7000) + 0.5) / 7000 - 0.5
    np.testing.assert_allclose(mean, fine.mean(axis=-1), atol=1e-12)
    np.testing.assert_allclose(moment, (fine * time).mean(axis=-1), atol=1e-12)


@pytest.mark.parametrize("varying", [False, True])
def test_bins_are_of_fourth_order(varying):
    shape = np.linspace(0.3, 1.0, 4096) if varying else np.ones(4096)
    rf = replace(gaussian(4096, offset_hz=60.0), gradient_hz_per_m=shape[:, None] * [0.0, 1e4, 0.0])
    gradient = np.array([-700.0, 40.0, 500.0])
    exact = whole(rf, np.array([120.0]), gradient, 4096)
    errors = [
        np.abs(np.subtract(whole(rf, np.array([120.0]), gradient, bins), exact)).max()
        for bins in (32, 64, 128)
    ]
    assert errors[0] < 1e-2
    assert errors[0] / errors[1] > 12
    assert errors[1] / errors[2] > 12


def test_many_positions_are_turned_as_one_by_one():
    rf, at = gaussian(), np.linspace(-900, 900, 1100)
    together = whole(rf, np.zeros(1100), at, 256)
    alone = whole(rf, np.zeros(1), at[777:778], 256)
    single = whole(rf, np.zeros(1100), at, 256, single=True)
    np.testing.assert_allclose([each[777] for each in together], [each[0] for each in alone], atol=1e-14)
    np.testing.assert_allclose(single, together, atol=3e-5)
