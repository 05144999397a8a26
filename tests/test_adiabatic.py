"""Adiabatic passages: what a pair refocuses, and what does not change it."""

import numpy as np
import pytest

from pulsespec.errors import SequenceError
from pulsespec.sequences.adiabatic import goia_wurst, hyperbolic_secant, pair_refocused
from pulsespec.sequences.slr import cayley_klein, longitudinal, width_hz

STEP_S, MAX_HZ = 1e-5, 835.0
DESIGNS = [(4e-3, 10e3), (4.5e-3, 8e3), (5e-3, 20e3), (8e-3, 15e3)]


def pair(pulse, share, **changes):
    scale = changes.pop("scale", 1.0)
    offset = np.asarray(share) * pulse.bandwidth_hz
    return pair_refocused(scale * pulse.b1_hz, pulse.step_s, offset, modulation=pulse.modulation, **changes)


@pytest.mark.parametrize(("duration_s", "bandwidth_hz"), DESIGNS)
def test_goia_refocuses_its_band_and_nothing_else(duration_s, bandwidth_hz):
    pulse = goia_wurst(duration_s, bandwidth_hz, STEP_S, MAX_HZ)
    inside = np.abs(pair(pulse, np.linspace(-0.4, 0.4, 81)))
    outside = np.abs(pair(pulse, np.linspace(0.65, 1.5, 60)))
    assert inside.mean() > 0.93
    assert inside.min() > 0.85
    assert outside.max() < 0.01
    assert pulse.peak_hz <= MAX_HZ
    assert pulse.bandwidth_hz == pytest.approx(bandwidth_hz, rel=0.1)


def test_goia_does_not_mind_b1():
    pulse = goia_wurst(5e-3, 10e3, STEP_S, MAX_HZ)
    for scale in (0.9, 1.1, 1.2):
        assert np.abs(pair(pulse, np.linspace(-0.35, 0.35, 41), scale=scale)).mean() > 0.93


def test_goia_moves_with_the_chemical_shift_as_its_bandwidth_says():
    pulse = goia_wurst(4e-3, 10e3, STEP_S, MAX_HZ)
    shift_hz = 300.0
    x = np.linspace(-1, 1, 2001) * pulse.bandwidth_hz

    def middle(**changes):
        kept = np.abs(pair_refocused(pulse.b1_hz, STEP_S, x, modulation=pulse.modulation, **changes))
        inside = np.flatnonzero(kept > 0.5)
        return (x[inside[0]] + x[inside[-1]]) / 2

    assert middle(shift_hz=shift_hz) - middle() == pytest.approx(-shift_hz, rel=0.1)


def test_the_pair_takes_away_the_phase_that_one_pulse_gives():
    pulse = goia_wurst(4e-3, 10e3, STEP_S, MAX_HZ)
    offset = np.linspace(-0.35, 0.35, 141) * pulse.bandwidth_hz
    _, b = cayley_klein(pulse.b1_hz, STEP_S, offset, modulation=pulse.modulation)
    assert np.ptp(np.unwrap(np.angle(-(b**2)))) > 1.5
    assert (
        np.abs(np.angle(pair_refocused(pulse.b1_hz, STEP_S, offset, modulation=pulse.modulation))).max()
        < 1e-9
    )


def test_a_constant_gradient_is_a_pulse_without_modulation():
    pulse = goia_wurst(8e-3, 6e3, STEP_S, MAX_HZ, gradient_factor=0.0)
    np.testing.assert_allclose(pulse.modulation, 1.0)


def test_too_much_bandwidth_says_how_much_there_is():
    with pytest.raises(SequenceError, match="expected at most") as caught:
        goia_wurst(4e-3, 40e3, STEP_S, MAX_HZ)
    widest = float(str(caught.value).split("at most ")[1].split(" Hz")[0])
    assert goia_wurst(4e-3, 0.99 * widest, STEP_S, MAX_HZ).bandwidth_hz > 5e3


def test_hyperbolic_secant_inverts_as_its_closed_form():
    pulse = hyperbolic_secant(10e-3, 1500.0, STEP_S, MAX_HZ, truncation=1e-4)
    offset = np.linspace(-1.2, 1.2, 241) * 1500.0
    # Mz of the untruncated pulse, of B1 w sech(b t) and sweep mu b tanh(b t): Hioe, Phys Rev A 1984;30:2100.
    beta = 2 * np.arccosh(1e4) / 10e-3
    mu = np.pi * 1500.0 / beta
    w = 2 * np.pi * pulse.peak_hz / beta
    half = np.pi / 2
    x = np.pi * 2 * np.pi * offset / beta
    root = np.sqrt(complex(w**2 - mu**2))
    expected = np.tanh(half * mu + x / 2) * np.tanh(half * mu - x / 2)
    expected = expected + (np.cos(np.pi * root).real) / (
        np.cosh(half * mu + x / 2) * np.cosh(half * mu - x / 2)
    )
    np.testing.assert_allclose(longitudinal(pulse.b1_hz, STEP_S, offset), -expected, atol=0.02)


def test_hyperbolic_secant_inverts_whatever_b1():
    pulse = hyperbolic_secant(10e-3, 1500.0, STEP_S, MAX_HZ)
    offset = np.linspace(-560, 560, 57)
    for scale in (0.9, 1.0, 1.3):
        assert longitudinal(scale * pulse.b1_hz, STEP_S, offset).max() < -0.9
    wide = np.linspace(-3000, 3000, 601)
    assert width_hz(wide, 1 - longitudinal(pulse.b1_hz, STEP_S, wide)) == pytest.approx(1500.0, rel=0.1)
    with pytest.raises(SequenceError, match="longer pulse"):
        hyperbolic_secant(2e-3, 20e3, STEP_S, 300.0)
