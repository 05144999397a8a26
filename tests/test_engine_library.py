"""Shipped sequences through the engine, beside a Bloch simulation of their files at random places."""

import library_for_tests as library
import pytest


@pytest.mark.parametrize(
    "name",
    ["fid-mrsi-3t", "epsi-3t-2d-flyback", "steam-3t-te20-tm10", "hermes-3t-gaba-gsh", "special-3t-te9"],
)
def test_the_voxel_has_the_amplitude_of_a_bloch_simulation(name, tmp_path):
    ours, theirs, error = library.both(library.written(name, tmp_path), points=2500, seed=5)
    assert abs(ours - theirs) < 4 * error
    assert error < 0.05
