"""Training sets: the same to the bit whatever the blocks, with the truth that each spectrum was made of."""

import json

import h5py
import numpy as np
import pytest
from expected_for_tests import DWELL_S, F0_HZ, SAMPLES, T, singlets

from pulsespec.errors import InputError
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.expect import Quality, expected_fid, residual_water
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.training import (
    SCAN_COLUMNS,
    Distributions,
    draw_example,
    render_block,
    training_blocks,
)
from pulsespec.simulator.training_file import write_training

TISSUE = load_tissue("grey-matter")
STILL = Distributions(
    lorentz_hz=(0, 0), gauss_hz=(5, 5), residual_water=(0, 0), baseline=(0, 0), phase_deg=(0, 0),
    shift_ppm=(0, 0), own_shift_sd_ppm=0, t2_relative_sd=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    return prepare(singlets(), TISSUE)


def joined(blocks, name):
    return np.concatenate([getattr(block, name) for block in blocks])


def test_a_set_is_the_same_to_the_bit_whatever_its_blocks_and_processes(scene):
    whole = list(training_blocks(scene, Distributions(), 37, 5, block=37))
    pieces = list(training_blocks(scene, Distributions(), 37, 5, block=8))
    spread = list(training_blocks(scene, Distributions(), 37, 5, block=10, jobs=2))
    assert [block.start for block in pieces] == [0, 8, 16, 24, 32]
    for name in ("fids", "concentrations_mm", "t2_s", "shift_hz", "weights", "scan"):
        np.testing.assert_array_equal(joined(whole, name), joined(pieces, name))
        np.testing.assert_array_equal(joined(whole, name), joined(spread, name))


def test_another_seed_or_number_is_another_spectrum(scene):
    first, other = (render_block(scene, Distributions(), seed, (0, 2)).fids for seed in (0, 1))
    assert np.abs(first[0] - first[1]).max() > 0
    assert np.abs(first - other).max() > 0


def test_the_truth_makes_the_spectrum_again(scene):
    """From the table beside a spectrum alone, with the plain formula, everything but chance comes back."""
    quiet = Distributions(residual_water=(0, 0), baseline=(0, 0), snr=(1e9, 1e9))
    block = render_block(scene, quiet, 3, (0, 5))
    basis = singlets().with_broad(broad_lines(F0_HZ, tuple(TISSUE.broad)))
    for row in range(5):
        scan = dict(zip(SCAN_COLUMNS, block.scan[row], strict=True))
        fid = np.zeros(SAMPLES, dtype=complex)
        for k, name in enumerate(scene.names):
            part = block.concentrations_mm[row, k] * block.weights[row, k] * basis.fid(name, SAMPLES, DWELL_S)
            if name not in TISSUE.broad:
                part = part * np.exp(-T / block.t2_s[row, k])
            fid += part * np.exp(-2j * np.pi * block.shift_hz[row, k] * T)
        fid *= np.exp(-np.pi * scan["lorentz_hz"] * T - (np.pi * scan["gauss_hz"] * T) ** 2 / (4 * np.log(2)))
        fid *= np.exp(1j * np.deg2rad(scan["phase_deg"]) - 2j * np.pi * scan["shift_hz"] * T)
        assert np.abs(block.fids[row] - fid).max() < 1e-7 * np.abs(fid).max()


def test_any_spectrum_can_be_made_again_without_the_others(scene):
    block = render_block(scene, Distributions(), 9, (4, 7))
    example = draw_example(scene, Distributions(), 9, 5)
    again = expected_fid(scene, example.contents, example.quality, example.accidents)
    np.testing.assert_array_equal(block.fids[1], again)


def test_concentrations_have_the_moments_of_a_normal_distribution_cut_at_zero(scene):
    from scipy.stats import truncnorm

    drawn = np.array([draw_example(scene, STILL, 0, n).contents.concentrations_mm for n in range(3000)])
    assert drawn.min() >= 0
    for k, (name, amount) in enumerate(zip(scene.names, scene.amounts, strict=True)):
        expected = truncnorm(-amount.mm / amount.sd_mm, np.inf, amount.mm, amount.sd_mm)
        assert drawn[:, k].mean() == pytest.approx(expected.mean(), abs=5 * expected.std() / np.sqrt(3000)), (
            name
        )
        assert drawn[:, k].std() == pytest.approx(expected.std(), rel=0.08), name


def test_the_scan_is_drawn_from_what_is_stated(scene):
    drawn = [draw_example(scene, Distributions(), 1, n) for n in range(3000)]
    scan = {key: np.array([getattr(one.quality, key) for one in drawn]) for key in SCAN_COLUMNS}
    assert 0 <= scan["lorentz_hz"].min() < scan["lorentz_hz"].max() <= 2
    assert np.log(scan["snr"]).mean() == pytest.approx(np.log(np.sqrt(1000)), abs=0.05)
    assert np.log10(scan["residual_water"]).mean() == pytest.approx(-4, abs=0.05)
    width = TISSUE.width(3.0)
    assert scan["gauss_hz"].mean() == pytest.approx(width.gauss_hz, abs=0.15)
    assert scan["gauss_hz"].std() == pytest.approx(width.sd_hz, rel=0.08)
    assert scan["phase_deg"].std() == pytest.approx(10, rel=0.08)
    assert scan["shift_hz"].std() == pytest.approx(0.02 * F0_HZ * 1e-6, rel=0.08)
    t2 = np.array([one.contents.t2_s for one in drawn]) / scene.t2_s
    assert np.log(t2[:, scene.decays]).std() == pytest.approx(0.1, rel=0.05)
    assert (t2[:, ~scene.decays] == 1).all(), "broad components keep their T2"


def test_equal_ends_fix_a_parameter(scene):
    example = draw_example(scene, STILL, 0, 0)
    assert example.quality.gauss_hz == 5
    assert example.quality == Quality(gauss_hz=5.0, snr=example.quality.snr)
    np.testing.assert_array_equal(example.contents.t2_s, scene.t2_s)


def test_the_file_holds_spectra_truth_axes_and_where_they_came_from(scene, tmp_path):
    path = tmp_path / "set.h5"
    write_training(path, scene, singlets(), Distributions(), 70, 4)
    expected = render_block(scene, Distributions(), 4, (0, 70))
    with h5py.File(path) as file:
        assert file["fid"].dtype == np.complex64
        np.testing.assert_array_equal(file["fid"][:], expected.fids.astype(np.complex64))
        np.testing.assert_array_equal(file["truth/concentrations_mm"][:], expected.concentrations_mm)
        np.testing.assert_array_equal(file["truth/scan"][:], expected.scan)
        assert tuple(file["truth/scan"].attrs["columns"]) == SCAN_COLUMNS
        assert tuple(name.decode() for name in file["names"][:]) == scene.names
        assert file["ppm"].shape == file["time_s"].shape == (SAMPLES,)
        assert json.loads(file.attrs["distributions"])["snr"] == [10.0, 100.0]
        assert "govindaraju2000" in json.loads(file.attrs["sources"])
        assert file.attrs["tissue"] == "grey-matter"
    with pytest.raises(InputError, match="exists already"):
        write_training(path, scene, singlets(), Distributions(), 3, 4)


def test_full_precision_is_kept_where_it_is_asked_for(scene, tmp_path):
    path = tmp_path / "set.h5"
    write_training(path, scene, singlets(), STILL, 3, 0, precision="complex128")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["fid"][:], render_block(scene, STILL, 0, (0, 3)).fids)
    with pytest.raises(InputError, match="complex256"):
        write_training(tmp_path / "other.h5", scene, singlets(), STILL, 3, 0, precision="complex256")


def test_residual_water_by_geometric_series_equals_plain_exponentials(scene):
    drawn = draw_example(scene, Distributions(), 0, 0).accidents
    lines = [
        share * np.exp((-2j * np.pi * shift - np.pi * width) * T)
        for share, shift, width in zip(
            drawn.water_share, drawn.water_shift_hz, drawn.water_lorentz_hz, strict=True
        )
    ]
    expected = scene.water_amplitude * np.sum(lines, axis=0)
    np.testing.assert_allclose(residual_water(scene, drawn), expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"snr": (0.0, 10.0)}, "snr"),
        ({"lorentz_hz": (3.0, 1.0)}, "lorentz_hz"),
        ({"baseline": (-0.1, 0.1)}, "baseline"),
        ({"phase_deg": (0.0, -1.0)}, "phase_deg"),
        ({"t2_relative_sd": 1.5}, "t2_relative_sd"),
    ],
)
def test_distributions_that_cannot_be_are_refused(wrong, match):
    with pytest.raises(InputError, match=match):
        Distributions(**wrong)


def test_a_set_of_nothing_is_refused(scene):
    with pytest.raises(InputError, match="count 0"):
        list(training_blocks(scene, Distributions(), 0, 0))
