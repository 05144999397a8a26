"""The references themselves against closed forms: the engine is to be compared with something right."""

import numpy as np
import pytest
import reference as ref
import sequences_for_tests as seqs

F0 = seqs.F0_HZ
ONE = {"extent_m": (0.01,) * 3, "points": (1, 1, 1), "voxel_m": (0.01,) * 3}
HZ = 4.65 + np.array([-200.0, 150.0]) / F0 * 1e6
CENTRE_S = 1e-4 / 2  # from the middle of a hard pulse to its end


def times(samples, dwell_s):
    return (np.arange(samples) + 0.5) * dwell_s


def test_a_singlet_precesses_forwards_from_minus_y(tmp_path):
    path = seqs.pulse_acquire(tmp_path / "fid.seq")
    fid = ref.brute_force(path, HZ[1:], [[0.0]], **ONE)
    expected = -1j * np.exp(2j * np.pi * 150.0 * times(256, 5e-4))
    # a hard pulse of finite length acts as a rotation 2 / pi of its length before its end
    expected = expected * np.exp(2j * np.pi * 150.0 * 1e-4 * 2 / np.pi)
    np.testing.assert_allclose(fid, expected, atol=2e-4)


def test_receiver_phase_and_offset_are_taken_off(tmp_path):
    plain = ref.brute_force(seqs.pulse_acquire(tmp_path / "a.seq"), HZ[1:], [[0.0]], **ONE)
    path = seqs.pulse_acquire(tmp_path / "b.seq", phase_offset=0.7, freq_offset=40.0)
    turned = ref.brute_force(path, HZ[1:], [[0.0]], **ONE)
    np.testing.assert_allclose(
        turned, plain * np.exp(-1j * (0.7 + 2 * np.pi * 40.0 * times(256, 5e-4))), atol=1e-7
    )


def test_a_spin_echo_refocuses_offsets_and_gradients(tmp_path):
    path = seqs.spin_echo(tmp_path / "se.seq", dwell_s=1e-6, samples=200)
    box = {"extent_m": (0.01,) * 3, "points": (1, 1, 32), "voxel_m": (0.01,) * 3}
    for offset in (-100.0, 0.0, 100.0):
        fid = ref.brute_force(path, [4.65 + offset / F0 * 1e6], [[0.0]], **box, n_samples=1)
        assert abs(fid[0]) == pytest.approx(1.0, abs=2e-3)
        assert abs(np.angle(fid[0] / (1j * np.sign(fid[0].imag)))) < 0.02


def test_crushers_remove_what_an_imperfect_refocusing_leaves(tmp_path):
    """Hard 90-180-180 of a spin far off resonance: only its spin-echo part survives the crushers."""
    path = seqs.press(tmp_path / "hard.seq", shaped=False, samples=4)
    offset = 4000.0
    fid = ref.brute_force(
        path,
        [4.65 + offset / F0 * 1e6],
        [[0.0]],
        extent_m=(0.02,) * 3,
        points=(1, 1, 64),
        voxel_m=(0.02,) * 3,
    )
    b1 = 1 / (2 * 1e-4)
    effective = np.hypot(b1, offset)
    refocused = (b1 / effective * np.sin(np.pi * effective * 1e-4)) ** 2
    b1 = b1 / 2
    effective = np.hypot(b1, offset)
    c, s = np.cos(2 * np.pi * effective * 1e-4), np.sin(2 * np.pi * effective * 1e-4)
    excited = np.hypot(b1 / effective * s, b1 * offset / effective**2 * (1 - c))
    assert abs(fid[0]) == pytest.approx(excited * refocused**2, abs=2e-3)


def test_ab_doublets_have_the_textbook_lines(tmp_path):
    """Frequencies of AB: centre +- (J +- sqrt(delta^2 + J^2)) / 2, inner lines 1 + J / C, outer 1 - J / C."""
    delta, j = 18.0, 11.0
    shifts = 4.65 + np.array([-delta / 2, delta / 2]) / F0 * 1e6
    samples, dwell_s = 2048, 5e-4
    path = seqs.pulse_acquire(tmp_path / "fid.seq", samples, dwell_s)
    fid = ref.brute_force(path, shifts, [[0, j], [j, 0]], **ONE)
    c = np.hypot(delta, j)
    t = times(samples, dwell_s) + 1e-4 * 2 / np.pi
    lines = [((c - j) / 2, 1 + j / c), ((c + j) / 2, 1 - j / c)]
    expected = sum(a / 2 * np.exp(2j * np.pi * sign * f * t) for f, a in lines for sign in (-1, 1))
    np.testing.assert_allclose(fid, -1j * expected, atol=2e-3)


def test_grid_and_monte_carlo_agree_on_shaped_press(tmp_path):
    path = seqs.press(tmp_path / "press.seq")
    for offset in (-120.0, 60.0):
        fid = ref.brute_force(
            path,
            [4.65 + offset / F0 * 1e6],
            [[0.0]],
            extent_m=seqs.BOX_M,
            points=(64,) * 3,
            voxel_m=seqs.VOXEL_M,
            n_samples=1,
        )
        amplitude, error = ref.monte_carlo_bloch(path, offset, 200000, 1, seqs.BOX_M, voxel_m=seqs.VOXEL_M)
        assert error < 0.015
        assert abs(amplitude - fid[0]) < 4 * error


def test_the_grid_is_fine_enough(tmp_path):
    path = seqs.press(tmp_path / "press.seq")
    shifts, j = [2.0, 4.0], [[0.0, 7.0], [7.0, 0.0]]
    coarse, fine = (
        ref.brute_force(
            path, shifts, j, extent_m=seqs.BOX_M, points=(n,) * 3, voxel_m=seqs.VOXEL_M, n_samples=8
        )
        for n in (64, 72)
    )
    assert np.linalg.norm(coarse - fine) < 1e-3 * np.linalg.norm(fine)
