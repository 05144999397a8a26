"""Editing and asymmetric pulses, pulses from files, and their table."""

import numpy as np
import pytest

from pulsespec.errors import SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.protocols.schema import ImportedPulse
from pulsespec.sequences import build, load_scanner, slr
from pulsespec.sequences.asymmetric import asymmetric_excitation
from pulsespec.sequences.editing import editing_pulse
from pulsespec.sequences.pulse_table import describe, figure

STEP_S, MAX_HZ = 1e-5, 835.0


@pytest.mark.parametrize(("duration_s", "width_hz"), [(14e-3, 109), (20e-3, 76)])
def test_one_band_is_inverted_and_nothing_beside(duration_s, width_hz):
    pulse = editing_pulse((0.0,), duration_s, STEP_S, MAX_HZ)
    assert slr.longitudinal(pulse.b1_hz, STEP_S, np.zeros(1))[0] < -0.98
    away = 2.1 / duration_s + np.linspace(0, 1000, 200)
    assert slr.longitudinal(pulse.b1_hz, STEP_S, away).min() > 0.98
    assert pulse.bandwidth_hz == pytest.approx(width_hz, abs=2)
    np.testing.assert_allclose(pulse.b1_hz, pulse.b1_hz[::-1], atol=1e-9)


@pytest.mark.parametrize("half_hz", [140.0, 163.0, 395.0])
def test_two_bands_are_inverted_at_once(half_hz):
    pulse = editing_pulse((-half_hz, half_hz), 20e-3, STEP_S, MAX_HZ)
    assert slr.longitudinal(pulse.b1_hz, STEP_S, np.array([-half_hz, half_hz])).max() < -0.98
    assert slr.longitudinal(pulse.b1_hz, STEP_S, np.zeros(1))[0] > 0.95


def test_too_short_an_editing_pulse_says_how_long():
    with pytest.raises(SequenceError, match=r"expected at least \d"):
        editing_pulse((0.0,), 1e-3, STEP_S, 100.0)


@pytest.mark.parametrize("time_bandwidth", [5.0, 8.0])
def test_asymmetric_pulses_have_their_centre_late_and_a_line_of_phase(time_bandwidth):
    pulse = asymmetric_excitation(np.pi / 2, time_bandwidth, 0.45, step_s=STEP_S, max_b1_hz=MAX_HZ)
    after_s = pulse.duration_s - pulse.centre_s
    assert pulse.peak_hz <= MAX_HZ
    assert min(after_s, pulse.centre_s) < 0.25 * pulse.duration_s
    offset = np.linspace(-0.5, 0.5, 201) * pulse.bandwidth_hz
    profile = slr.excited(pulse.b1_hz, STEP_S, offset)
    inside = np.abs(offset) < 0.35 * pulse.bandwidth_hz
    assert np.abs(profile[inside]).min() > 0.93
    left = np.unwrap(np.angle(profile * np.exp(-2j * np.pi * offset * after_s)))
    weight = np.abs(profile)
    spread = np.sqrt(np.average((left - np.average(left, weights=weight)) ** 2, weights=weight))
    assert np.rad2deg(spread) < 17
    beyond = np.linspace(0.9, 2, 200) * pulse.bandwidth_hz
    assert np.abs(slr.excited(pulse.b1_hz, STEP_S, beyond)).max() < 0.03


def rows(shape):
    return [(abs(value), 0.0 if value >= 0 else np.pi) for value in shape]


def sinc(n=200):
    t = (np.arange(n) + 0.5) / n * 2 - 1
    return np.sinc(3 * t) * (0.54 + 0.46 * np.cos(np.pi * t))


def test_a_protocol_can_play_a_pulse_of_a_file(tmp_path):
    path = tmp_path / "pulse.txt"
    path.write_text("\n".join(f"{a:.9f} {p:.9f}" for a, p in rows(sinc())))
    protocol = load_protocol("press-3t-te35")
    scanner = load_scanner("siemens-prisma")
    for duration, works in ((6.0, True), (2.0, False)):
        pulses = protocol.pulses.model_copy(
            update={"refocusing": ImportedPulse(file=str(path), duration_ms=duration)}
        )
        mine = protocol.model_copy(update={"pulses": pulses, "averages": 16})
        if works:
            assert build(mine, scanner).block_events
        else:
            with pytest.raises(SequenceError, match=r"needs \d+ Hz of B1.*expected at least"):
                build(mine, scanner)


def test_the_table_is_that_of_the_pulse():
    pulse = editing_pulse((0.0,), 20e-3, STEP_S, MAX_HZ)
    row = describe(pulse)
    b1_ut = np.abs(pulse.b1_hz) / 42.5764
    assert row.duration_ms == 20.0
    assert row.peak_b1_ut == pytest.approx(b1_ut.max(), rel=1e-4)
    # An on-resonance inversion without change of sign: gamma times the integral of B1 is half a turn.
    assert row.integral_ut_ms * 42.5764e-3 == pytest.approx(0.5, rel=1e-3)
    assert row.energy_ut2_ms == pytest.approx(float(np.sum(b1_ut**2)) * 0.01, rel=1e-3)
    assert row.time_bandwidth == pytest.approx(pulse.bandwidth_hz * 20e-3)
    drawn = figure([pulse, asymmetric_excitation(np.pi / 2, 6.0, 0.45, step_s=STEP_S, max_b1_hz=MAX_HZ)])
    assert len(drawn.axes) == 6
