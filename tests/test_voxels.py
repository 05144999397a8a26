"""Spectra of several voxels, fitted at once."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from pulsespec import analysis
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon.results import TABLE
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.voxel_verbs import fit_voxels, is_image, separate

F0_HZ = 123.2e6
SHIFTS = {
    "Cr": ((3.027, 3.0), (3.913, 2.0)),
    "NAA": ((2.008, 3.0), (2.49, 1.0), (2.67, 1.0)),
    "GPC": ((3.212, 9.0),),
    "Ins": ((3.52, 2.0), (3.61, 2.0), (4.05, 1.0)),
}
TRUTH = np.array([[8.0, 12.0, 1.5, 5.0], [6.0, 3.0, 3.0, 8.0], [0, 0, 0, 0], [9.0, 14.0, 1.0, 4.0]])


def lines(*peaks):
    ppm, protons = np.array(peaks).T
    return Lines((ppm - 4.65) * F0_HZ * 1e-6, protons.astype(complex))


@pytest.fixture(scope="module")
def basis():
    made = {name: lines(*peaks) for name, peaks in SHIFTS.items()}
    return Basis(lines=made, f0_hz=F0_HZ, te_s=0.03, nucleus="1H", samples=1024, dwell_s=5e-4)


@pytest.fixture(scope="module")
def scan(basis):
    """Two by two voxels, one of them empty."""
    rng = np.random.default_rng(3)
    one = np.array([basis.fid(name, linewidth_hz=2.0, gauss_hz=4.0) for name in SHIFTS])
    noise = 0.2 * (rng.standard_normal((4, 1024)) + 1j * rng.standard_normal((4, 1024)))
    noise[2] = 0
    facts = {"dwell_s": 5e-4, "f0_hz": F0_HZ, "nucleus": "1H", "te_s": 0.03, "tr_s": 2.0}
    data = (TRUTH @ one + noise).reshape(2, 2, 1024)
    t = np.arange(1024) * 5e-4
    water = 1e4 * np.exp(-20 * t) * np.arange(1, 5)[:, None]
    return Scan(
        Transients(data=data, dims=("x", "y", "t"), source="grid", **facts),
        Transients(
            data=water.reshape(2, 2, 1024).astype(complex), dims=("x", "y", "t"), source="water", **facts
        ),
    )


def test_every_voxel_has_its_own_amounts(scan, basis, tmp_path):
    assert is_image(scan)
    made = fit_voxels(scan, basis, tmp_path, {})
    with (tmp_path / "concentrations.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert tuple(rows[0]) == ("x", "y", *TABLE)
    assert {(row["x"], row["y"]) for row in rows} == {("0", "0"), ("0", "1"), ("1", "1")}
    assert len(rows) == len(made["concentrations"])
    for row in rows:
        if row["metabolite"] in SHIFTS:
            truth = TRUTH[2 * int(row["x"]) + int(row["y"]), list(SHIFTS).index(row["metabolite"])]
            assert abs(float(row["amplitude"]) - truth) < 5 * float(row["sd"]) + 0.05 * truth
    assert any("voxel x 1, y 0 is left out: no signal" in word for word in made["warnings"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert [one["voxel"] for one in result["voxels"]] == [
        {"x": 0, "y": 0},
        {"x": 0, "y": 1},
        {"x": 1, "y": 1},
    ]
    assert made["converged"]


def test_voxels_are_those_of_the_data(scan):
    voxels, words = separate(scan)
    assert [tuple(voxel.index.values()) for voxel in voxels] == [(0, 0), (0, 1), (1, 1)]
    assert len(words) == 1
    first, last = (np.abs(voxel.scan.water.data).max() for voxel in (voxels[0], voxels[-1]))
    assert last == pytest.approx(4 * first)


def test_water_of_other_voxels_and_nothing_at_all_are_refused(scan):
    with pytest.raises(MismatchError, match="expected the voxels of grid: 2, 2 along x, y"):
        separate(replace(scan, water=scan.water.with_data(scan.water.data[:, 0], drop=("y",))))
    nothing = scan.metabolite.with_data(0 * scan.metabolite.data)
    with pytest.raises(DataError, match="no voxel can be fitted"):
        separate(Scan(nothing, None))


def test_options_of_single_voxels_are_refused(scan, basis, tmp_path, monkeypatch):
    for name in ("spectrum", "basis"):
        (tmp_path / name).touch()
    monkeypatch.setattr(analysis, "opened", lambda *_: (scan, basis))
    with pytest.raises(InputError, match="--posterior: got spectra of several voxels"):
        analysis.fit(tmp_path / "spectrum", tmp_path / "basis", tmp_path / "out", posterior=100)
    made = analysis.fit(tmp_path / "spectrum", tmp_path / "basis", tmp_path / "out")
    assert made["output"] == str(tmp_path / "out")
    assert (tmp_path / "out" / "concentrations.tsv").is_file()


def test_lcmodels_own_voxels(data_folder, tmp_path):
    folder = data_folder / "lcmodel-csi-3t"
    made = analysis.fit(
        folder / "multi-voxel.met",
        folder / "sim_se_csi_te16.basis",
        tmp_path / "out",
        water=folder / "multi-voxel.ref",
    )
    assert {row["x"] for row in made["concentrations"]} == set(range(10))
    assert any(
        "500.00 us" in word and "800.00 us" in word and "interpolated" in word for word in made["warnings"]
    )
