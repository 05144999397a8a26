"""From raw image data to maps with one command: points of known amounts through a phase-encoded sequence."""

import json

import nibabel
import numpy as np
import pytest
from epsi_for_tests import Made, Point, index_of, played, world_mm, write_image_sequence, write_mrd
from typer.testing import CliRunner

from pulsespec.cli import app
from pulsespec.recon.image_plan import grid_of
from pulsespec.simulator import simulate
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

F0_HZ = 123.25e6
AMOUNTS = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5}
SHAPE = (5, 4, 1)
ODD = (3, 1, 0)
"""A voxel with a third of the NAA and twice the choline."""


def amount(name, at):
    return AMOUNTS[name] * ({"NAA": 1 / 3, "GPC": 2.0}.get(name, 1.0) if at == ODD else 1.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Play a point in the middle of every voxel of the grid, and run."""
    folder = tmp_path_factory.mktemp("run")
    path = write_image_sequence(
        folder / "image.seq", "fid-mrsi-3t", SHAPE, points=512, encoding={"elliptical": False}
    )
    basis = simulate(path, list(AMOUNTS), f0_hz=F0_HZ)
    grid = grid_of(read_played(path), path.name)
    first_s = float(
        read_trajectory(path).times_s(0)[0]
    )  # points evolve since the excitation, lines since the ADC
    points, places = [], {}
    for at in np.ndindex(SHAPE):
        place = grid.axes @ [grid.fov_m[k] * (at[k] - grid.matrix[k] // 2) / grid.matrix[k] for k in range(3)]
        places[at] = tuple(place + grid.centre_m)
        shining = [
            Point(places[at], hz, amount(name, at) * size * np.exp(-2j * np.pi * hz * first_s), 0.08, 0.0)
            for name, lines in basis.lines.items()
            for hz, size in zip(lines.frequency_hz, lines.amplitude, strict=True)
            if abs(size) > 0.02
        ]
        points += [*shining, Point(places[at], 0.0, 0.0, 0.06, 8e4)]
    raw = write_mrd(played(path, points, Made(noise=2.0, seed=5)), folder / "raw.h5")
    run = CliRunner().invoke(
        app,
        [
            "run",
            str(raw),
            "--seq",
            str(path),
            "-o",
            str(folder / "out"),
            "--metabolites",
            "NAA,Cr,GPC",
            "--macromolecules",
            "lcmodel",
            "--filter",
            "none",
            "--json",
        ],
    )
    assert run.exit_code == 0, run.output
    return folder / "out", places


def one_map(folder, name):
    return nibabel.load(folder / "maps" / f"{name}.nii.gz")


def test_every_place_has_its_amounts(made):
    folder, places = made
    image = one_map(folder, "NAA_ratio_tCr")
    ratio = np.asarray(image.dataobj)
    assert ratio.shape == SHAPE
    for place in places.values():
        at = np.linalg.inv(image.affine) @ [*world_mm(place), 1.0]
        assert np.abs(at[:3] - np.round(at[:3])).max() < 1e-3
    values = {
        place: ratio[tuple(np.round(index_of_map(image, place)).astype(int))] for place in places.values()
    }
    usual = [value for place, value in values.items() if place != places[ODD]]
    assert np.median(usual) == pytest.approx(10 / 8, rel=0.05)
    assert np.std(usual) < 0.1
    assert values[places[ODD]] == pytest.approx(10 / 8 / 3, abs=0.05)


def index_of_map(image, place):
    class At:
        affine = image.affine

    return index_of(At, place)


def test_what_was_reconstructed_and_simulated_is_kept(made):
    folder, _ = made
    for name in ("image.nii.gz", "image_water.nii.gz", "basis.h5", "sequence.seq", "report.html"):
        assert (folder / name).is_file(), name
    result = json.loads((folder / "result.json").read_text())
    assert result["settings"]["--seq"].endswith("image.seq")
    assert result["voxels"]["fitted"] == 20
    assert "MM09" in result["rows"]
    assert result["settings"]["macromolecules"] == "lcmodel"
    methods = [step["method"] for step in result["steps"]]
    assert "Spatial Fourier transform" in methods
    assert result["quantification"] is not None
