"""SLR pulses against a Bloch simulation of their own, and against what they were designed for."""

import numpy as np
import pytest
from bloch import pulse

from pulsespec.errors import InputError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import displacement, load_scanner, slr
from pulsespec.sequences.preparation import suppression_pulse

STEP_S = 1e-5


@pytest.mark.parametrize("flip_deg", [30, 90, 150, 180])
@pytest.mark.parametrize("samples", [400, 401])
def test_profile_is_the_one_asked_for(flip_deg, samples):
    design = slr.design(np.radians(flip_deg), 6.0, 0.5, samples=samples)
    offset = np.linspace(-3, 3, 241) * 6.0 / 4e-3
    _, b = slr.cayley_klein(design.b1_hz(4e-3), 4e-3 / samples, offset)
    edge = np.abs(offset) / (3.0 / 4e-3)
    flip = np.degrees(2 * np.arcsin(np.abs(b)))
    assert np.abs(np.abs(b[edge < 0.5]) - np.sin(np.radians(flip_deg / 2))).max() < 0.02
    assert flip[edge > 1.5].max() < 0.06 * flip_deg
    assert design.time_bandwidth == pytest.approx(6.0, rel=0.15)


@pytest.mark.parametrize("flip_deg", [90, 180])
@pytest.mark.parametrize("phase", [0.0, 0.7])
def test_cayley_klein_agrees_with_turning_vectors(flip_deg, phase):
    b1 = slr.design(np.radians(flip_deg), 5.0, 0.4, samples=200).b1_hz(2e-3) * np.exp(1j * phase)
    offset = np.linspace(-4000, 4000, 81)
    m = pulse(b1, STEP_S, offset)
    np.testing.assert_allclose(slr.excited(b1, STEP_S, offset), m[:, 0] + 1j * m[:, 1], atol=1e-9)
    np.testing.assert_allclose(slr.longitudinal(b1, STEP_S, offset), m[:, 2], atol=1e-9)


def test_inverse_transform_returns_the_pulse_of_its_polynomial():
    rng = np.random.default_rng(1)
    beta = rng.normal(size=32)
    beta *= 0.9 / np.abs(np.fft.fft(beta, 1024)).max()
    rotation = slr.inverse_transform(beta)
    z = np.exp(-2j * np.pi * np.arange(64) / 64)
    a, b = np.ones(64, complex), np.zeros(64, complex)
    for angle in rotation:
        c, s = np.cos(angle / 2), np.sin(angle / 2)
        a, b = c * a - s * z * b, s * a + c * z * b
    np.testing.assert_allclose(b, np.fft.fft(beta, 64), atol=1e-6)


def test_refocusing_pulse_is_symmetric_so_that_its_echo_has_no_phase_across_the_slice():
    design = slr.design(np.pi, 5.0, 0.45, samples=462)
    b1 = design.b1_hz(4.62e-3)
    np.testing.assert_allclose(b1, b1[::-1], atol=1e-3 * np.abs(b1).max())
    inside = np.linspace(-0.3, 0.3, 41) * design.time_bandwidth / 4.62e-3
    echo = slr.refocused(b1, STEP_S, inside)
    assert np.ptp(np.unwrap(np.angle(echo))) < 1e-3
    assert np.abs(echo).min() > 0.9


@pytest.mark.parametrize("samples", [256, 300, 462, 768, 1000])
@pytest.mark.parametrize(("time_bandwidth", "transition"), [(4.0, 0.3), (8.0, 0.3), (12.0, 0.2)])
def test_a_180_is_designed_whatever_the_number_of_samples(samples, time_bandwidth, transition):
    design = slr.design(np.pi, time_bandwidth, transition, samples=samples)
    offset = np.linspace(-0.5, 0.5, 101) * time_bandwidth * (1 - transition)
    assert np.abs(slr.refocused(design.b1_hz(1.0), 1 / samples, offset)).max() > 0.999
    assert design.time_bandwidth == pytest.approx(time_bandwidth, rel=0.2)


def test_shortest_pulse_has_the_peak_asked_for():
    design = slr.design(np.pi, 5.0, 0.45)
    assert np.abs(design.b1_hz(design.shortest_s(800.0))).max() == pytest.approx(800.0)


@pytest.mark.parametrize("args", [(4.0, 5.0, 0.4), (0.0, 5.0, 0.4), (3.0, 0.5, 0.4), (3.0, 5.0, 1.2)])
def test_impossible_designs_are_refused(args):
    with pytest.raises(InputError):
        slr.design(*args)


@pytest.mark.parametrize(
    ("name", "scanner"),
    [
        ("press-1.5t-te30", "siemens-aera"),
        ("press-3t-te30", "siemens-prisma"),
        ("press-7t-te30", "siemens-terra"),
    ],
)
def test_displacement_follows_bandwidth_and_field(name, scanner):
    scanner = load_scanner(scanner)
    rows = displacement(load_protocol(name), scanner)
    assert [row.axis for row in rows] == ["z", "y", "x"]
    for row in rows:
        assert row.peak_b1_ut <= scanner.max_b1_ut
        assert row.percent_per_ppm == pytest.approx(scanner.f0_hz * 1e-4 / row.bandwidth_hz)
    assert rows[0].bandwidth_hz > 2 * rows[1].bandwidth_hz


def test_refocusing_at_20_ut_has_the_published_bandwidth():
    # Wilson et al. 2019, doi:10.1002/mrm.27742: about 0.94 kHz, 13 % a ppm at 3 T.
    row = displacement(load_protocol("press-3t-te30"), load_scanner("siemens-prisma"))[1]
    assert row.bandwidth_hz > 900
    assert row.percent_per_ppm < 13.5


SUPPRESSED = [
    ("press-1.5t-te30", "siemens-aera", 0.88),
    ("press-3t-te30", "siemens-prisma", 0.97),
    ("press-7t-te30", "siemens-terra", 0.97),
]


@pytest.mark.parametrize("off_ppm", [0.0, 0.12])
@pytest.mark.parametrize(("name", "scanner", "least"), SUPPRESSED)
def test_suppression_leaves_little_water_and_nearly_all_metabolite(name, scanner, least, off_ppm):
    settings, scanner = load_protocol(name).water_suppression, load_scanner(scanner)
    pulse = suppression_pulse(settings, scanner)
    b1, step_s, mhz = pulse.b1_hz, pulse.step_s, scanner.f0_hz * 1e-6
    water_hz = np.array([off_ppm * mhz])
    assert pulse.duration_s == pytest.approx(settings.pulse_ms * 1e-3, rel=0.02)
    t1, b1_scale = np.meshgrid([0.8, 1.2, 1.5, 2.0, 3.0, 4.0], np.linspace(0.8, 1.2, 9))
    for start in (1.0, 0.3):
        mz = np.full(t1.shape, start)
        for flip, delay in zip(settings.flips_deg, settings.delays_ms, strict=True):
            turned = np.array(
                [slr.longitudinal(b1 * flip / 90 * s, step_s, water_hz)[0] for s in b1_scale[:, 0]]
            )
            mz = 1 - (1 - mz * turned[:, None]) * np.exp(-delay * 1e-3 / t1)
        assert np.abs(mz).max() < 0.006
    shift_hz = (np.array([4.05, 3.91, 3.03, 2.01]) - 4.65) * mhz
    kept = np.prod([slr.longitudinal(b1 * f / 90, step_s, shift_hz) for f in settings.flips_deg], axis=0)
    assert kept.min() > least


@pytest.mark.parametrize(("flip_rad", "time_bandwidth"), [(np.pi / 2, 8.0), (np.pi, 6.0)])
def test_ripples_decide_the_transition(flip_rad, time_bandwidth):
    loose = slr.transition_of_ripples(flip_rad, time_bandwidth, 0.05, 0.05)
    tight = slr.transition_of_ripples(flip_rad, time_bandwidth, 0.01, 0.01)
    assert 0 < loose < tight < 1
    pulse = slr.design(flip_rad, time_bandwidth, tight, samples=256)
    b1_hz = pulse.b1_hz(1.0)
    profile = slr.refocused if flip_rad == np.pi else slr.excited
    inside = np.linspace(-0.5, 0.5, 101) * time_bandwidth * (1 - tight)
    beyond = np.linspace(0.5, 2.0, 201) * time_bandwidth * (1 + tight)
    assert np.abs(1 - np.abs(profile(b1_hz, 1 / 256, inside))).max() < 0.0101
    assert np.abs(profile(b1_hz, 1 / 256, beyond)).max() < 0.0101


def test_ripples_that_cannot_be_had_say_what_can():
    with pytest.raises(InputError, match="expected a larger one"):
        slr.transition_of_ripples(np.pi / 2, 1.5, 0.001, 0.001)
    with pytest.raises(InputError, match=r"less than 0\.5"):
        slr.transition_of_ripples(np.pi / 2, 8.0, 0.6, 0.01)
