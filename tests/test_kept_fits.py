"""Fits and bases that were interrupted go on where they were, with the same bits."""

from dataclasses import replace

import maps_for_tests as small
import numpy as np
import pytest

from pulsespec import commands
from pulsespec.executor import Spread, spread
from pulsespec.kept import count
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.image_fit import Plan, fit_image
from pulsespec.recon.image_grid import chosen_voxels, image_scan
from pulsespec.simulator import Basis


@pytest.mark.parametrize("damaged", [0, 1])
def test_an_image_is_fitted_on(tmp_path, damaged):
    """Three of its voxels, a block each."""
    basis = small.small_basis()
    image = image_scan(small.small_image(basis))
    assert image.metabolite is not None
    chosen = replace(found := chosen_voxels(image.metabolite, None), index=found.index[:3])
    like = image.metabolite.with_data(np.zeros((1, 1, 1, image.metabolite.samples)))
    plan = Plan(like, basis, FitSettings(), False, None)
    results, steps = [], []
    for _ in range(2):
        with spread(Spread(keep=tmp_path / "kept", watch=steps.append)):
            results.append(fit_image(image, chosen, plan, np.full((3, 3), 1 / 3), block_voxels=1))
        for path in sorted((tmp_path / "kept").glob("*.block"))[:damaged]:
            path.write_bytes(path.read_bytes()[:-7])
    assert count(tmp_path / "kept") == 3
    assert (steps[-1].done, steps[-1].kept) == (3, 3 - damaged)
    for name, values in results[0].numbers.items():
        assert np.array_equal(values, results[1].numbers[name], equal_nan=True), name


def test_a_basis_is_simulated_on(tmp_path):
    """From the third metabolite; lines are the same to the bit."""
    steps, read = [], []
    sequence = tmp_path / "press.seq"
    commands.export("press-3t-te30", "siemens-prisma", sequence)
    for number in range(2):
        with spread(Spread(keep=tmp_path / "kept", watch=steps.append)):
            commands.simulate(str(sequence), tmp_path / f"{number}.h5", metabolites=["Cr", "Lac", "Gly"])
        read.append(Basis.read(tmp_path / f"{number}.h5"))
        if number == 0:
            next((tmp_path / "kept").glob("*.block")).unlink()
    assert (steps[-1].name, steps[-1].done, steps[-1].kept) == ("metabolites", 3, 2)
    for name in read[0].names:
        assert np.array_equal(read[0].lines[name].amplitude, read[1].lines[name].amplitude)
