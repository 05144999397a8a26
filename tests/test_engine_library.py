"""Shipped sequences through the engine, beside a Bloch simulation of their files at random places."""

import warnings

import library_for_tests as library
import pytest

PUBLIC = (
    "01_FID",
    "02_FID_MFA",
    "03_SE_noSpoil",
    "04_SE_BackgroundGrad",
    "05_SE_withSpoilers",
    "06_PRESS_center",
)
"""Pulseq 1.4, from the Pulseq tutorials."""


@pytest.mark.parametrize(
    "name",
    ["fid-mrsi-3t", "epsi-3t-2d-flyback", "steam-3t-te20-tm10", "hermes-3t-gaba-gsh", "special-3t-te9"],
)
def test_the_voxel_has_the_amplitude_of_a_bloch_simulation(name, tmp_path):
    ours, theirs, error = library.both(library.written(name, tmp_path), points=2500, seed=5)
    assert abs(ours - theirs) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("name", PUBLIC)
def test_public_pulseq_files_agree_with_a_bloch_simulation(name, data_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pypulseq on the age of the file
        path = data_folder / "siemens-3t-pulseq-phantom" / f"{name}.seq"
        ours, theirs, error = library.foreign(path, 123.2e6, points=5000, seed=1)
    assert abs(ours - theirs) < 1e-4 * ours + 4 * error
    assert error < 0.2
