"""Pulse propagators of coupled spins against sample-by-sample matrix exponentials."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.operators import operators, product_representation, spin_matrices
from pulsespec.simulator.propagators import Accuracy, pulse_propagators
from pulsespec.simulator.rotations import hard


def shaped(samples=500, duration_s=5e-3, peak_hz=600.0, offset_hz=-120.0):
    t = (np.arange(samples) + 0.5) / samples - 0.5
    b1 = peak_hz * np.sinc(5 * t) * np.cos(np.pi * t) ** 2 * np.exp(0.5j * t)
    return Rf(b1.astype(complex), duration_s, 0.0, offset_hz, np.zeros((samples, 3)))


def brute_force(spins, rf, shift_hz, j_hz, gradient_hz):
    system = operators(spins)
    fx, fy, fz = system.single.sum(0)
    shift = np.einsum("i,iab->ab", shift_hz, system.single[:, 2])
    u = np.eye(system.dimension)
    n = rf.b1_hz.size
    for b1, g in zip(rf.b1_hz, np.broadcast_to(gradient_hz, (n,)), strict=True):
        h = shift + (g - rf.offset_hz) * fz + b1.real * fx + b1.imag * fy + system.coupling(j_hz)
        u = expm(-2j * np.pi * rf.duration_s / n * h) @ u
    return expm(-2j * np.pi * rf.offset_hz * rf.duration_s * fz) @ u


def symmetric(n, values):
    j = np.zeros((n, n))
    j[np.triu_indices(n, 1)] = values
    return j + j.T


SYSTEMS = {
    "AB": ((0.5, 0.5), [-150.0, -100.0], [12.0]),
    "ABX": ((0.5, 0.5, 0.5), [-330.0, -250.0, -20.0], [-15.6, 9.8, 3.9]),
    "AX3": ((1.5, 0.5), [-400.0, -70.0], [7.0]),
    "strong": ((0.5,) * 4, [-150.0, -130.0, -120.0, -75.0], [10.0, 0.0, 3.0, 9.5, 2.5, 9.0]),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(("tolerance", "largest"), [(1e-4, 2e-4), (1e-6, 3e-6)])
def test_agrees_with_sample_by_sample_exponentials(name, tolerance, largest):
    spins, shift, j = SYSTEMS[name]
    shift, j, rf = np.array(shift), symmetric(len(spins), j), shaped()
    gradient = np.array([-2500.0, -300.0, 0.0, 450.0])
    got = pulse_propagators(operators(spins), rf, shift, j, gradient, 500, Accuracy(tolerance))
    for u, g in zip(got, gradient, strict=True):
        assert np.abs(u - brute_force(spins, rf, shift, j, g)).max() < largest


@pytest.mark.parametrize(("tolerance", "largest"), [(1e-4, 2e-4), (1e-6, 3e-6)])
def test_a_mirrored_pulse_of_any_phase_takes_half_the_work_and_is_the_same(tolerance, largest):
    spins, shift, j = SYSTEMS["ABX"]
    t = (np.arange(500) + 0.5) / 500 - 0.5
    b1 = 600.0 * np.sinc(5 * t) * np.cos(np.pi * t) ** 2 * np.exp(0.7j)
    rf = Rf(b1, 5e-3, 0.0, -120.0, np.zeros((500, 3)))
    assert rf.is_mirrored
    assert not shaped().is_mirrored
    shift, j, gradient = np.array(shift), symmetric(3, j), np.array([-300.0, 0.0, 450.0])
    got = pulse_propagators(operators(spins), rf, shift, j, gradient, 500, Accuracy(tolerance))
    for u, g in zip(got, gradient, strict=True):
        assert np.abs(u - brute_force(spins, rf, shift, j, g)).max() < largest


def test_a_gradient_that_changes_during_the_pulse():
    spins, shift, j = SYSTEMS["ABX"]
    peak = np.array([900.0, -500.0])
    shape = np.linspace(0.2, 1.0, 500)
    rf = replace(shaped(offset_hz=0.0), gradient_hz_per_m=shape[:, None] * [0.0, 0.0, 1e4])
    got = pulse_propagators(operators(spins), rf, np.array(shift), symmetric(3, j), peak, 500, Accuracy(1e-6))
    for u, g in zip(got, peak[:, None] * shape, strict=True):
        assert np.abs(u - brute_force(spins, rf, np.array(shift), symmetric(3, j), g)).max() < 5e-6


@pytest.mark.parametrize("spin", [0.5, 1.0, 1.5, 2.0])
def test_representations_are_exponentials_of_spin_matrices(spin):
    a, b = hard(np.array(130.0), np.array(250.0 + 90j), 1.7e-3)
    x, y, z = spin_matrices(spin)
    expected = expm(-2j * np.pi * 1.7e-3 * (130.0 * z + 250.0 * x + 90.0 * y))
    np.testing.assert_allclose(product_representation((spin,), a[None], b[None]), expected, atol=1e-13)


def test_propagators_are_unitary():
    spins, shift, j = SYSTEMS["strong"]
    u = pulse_propagators(
        operators(spins), shaped(), np.array(shift), symmetric(4, j), np.zeros(1), 500, Accuracy(1e-4)
    )[0]
    np.testing.assert_allclose(u @ u.conj().T, np.eye(16), atol=2e-5)
