"""`pulsespec expect` and `pulsespec tissues`: files, truth beside them, refusals."""

import json
import re

import h5py
import numpy as np
import pytest
from expected_for_tests import F0_HZ, SAMPLES, singlets
from typer.testing import CliRunner

from pulsespec import expect_verbs
from pulsespec.cli import app
from pulsespec.errors import InputError
from pulsespec.recon.nifti import read_nifti
from pulsespec.simulator.expect import Quality, draw_accidents, expected_fid, water_fid
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import list_tissues, load_tissue, with_amounts
from pulsespec.simulator.training_file import read_distributions

NAMES = ["NAA", "Cr", "GPC", "Ins", "Glu"]


@pytest.fixture
def basis(tmp_path):
    path = tmp_path / "basis.h5"
    singlets().write(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def test_one_spectrum_its_truth_its_water_and_its_picture(basis, tmp_path):
    output, water, picture = (tmp_path / name for name in ("x.nii.gz", "water.nii.gz", "x.png"))
    done = run(
        "expect", basis, "--tissue", "grey-matter", "-o", output, "--snr", "50", "--phase-deg", "30",
        "--seed", "7", "--water", water, "--picture", picture, "--json", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert "NAAG" in made["warnings"][0]
    scene = prepare(singlets(), load_tissue("grey-matter"))
    quality = Quality(snr=50.0, phase_deg=30.0)
    accidents = draw_accidents(scene, np.random.default_rng(7))
    found = read_nifti(output)
    np.testing.assert_allclose(found.data, expected_fid(scene, scene.contents(), quality, accidents))
    assert (found.f0_hz, found.te_s, found.tr_s, found.dims) == (F0_HZ, 0.03, 2.0, ("t",))
    np.testing.assert_allclose(read_nifti(water).data, water_fid(scene, quality))
    assert picture.read_bytes().startswith(b"\x89PNG")
    truth = json.loads((tmp_path / "x.truth.json").read_text())
    assert truth["components"]["NAA"]["concentration_mm"] == 10.0
    assert truth["components"]["NAA"]["weight"] == pytest.approx(scene.weights(scene.t2_s)[0])
    assert truth["scan"] == {
        "lorentz_hz": 0.0, "gauss_hz": scene.gauss_hz, "snr": 50.0, "residual_water": 0.0, "baseline": 0.0,
        "phase_deg": 30.0, "shift_hz": 0.0,
    }  # fmt: skip
    assert truth["components"]["NAA"]["source"].split()[0] in truth["sources"]


def test_another_concentration_can_be_set(basis, tmp_path):
    done = run(
        "expect", basis, "--tissue", "grey-matter", "-o", tmp_path / "x.nii.gz", "--set", "NAA=3.5",
        "--set", "Lip13a=20", "--set", "Cr=0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    components = json.loads((tmp_path / "x.truth.json").read_text())["components"]
    assert components["NAA"]["concentration_mm"] == 3.5
    assert components["Lip13a"]["concentration_mm"] == 20
    assert "Cr" not in components


@pytest.mark.parametrize("text", ["NAA", "NAA=x", "=3", "NAA=-1", "NAA=nan"])
def test_a_concentration_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="NAME=MM"):
        expect_verbs.parse_amounts([text])


def test_a_sum_cannot_be_set():
    with pytest.raises(InputError, match="tNAA: is a sum"):
        with_amounts(load_tissue("grey-matter"), {"tNAA": 3.0})


def test_a_training_set_in_one_file(basis, tmp_path):
    output = tmp_path / "set.h5"
    done = run("expect", basis, "--tissue", "grey-matter", "-o", output, "--count", 12, "--snr", 30)
    assert done.exit_code == 0, done.output
    with h5py.File(output) as file:
        assert file["fid"].shape == (12, SAMPLES)
        columns = list(file["truth/scan"].attrs["columns"])
        assert (file["truth/scan"][:, columns.index("snr")] == 30).all(), "what is given is not drawn"
        assert np.ptp(file["truth/scan"][:, columns.index("gauss_hz")]) > 0


def test_distributions_can_be_given_in_a_file(basis, tmp_path):
    table, output = tmp_path / "d.toml", tmp_path / "set.h5"
    table.write_text("snr = [20, 30]\ngauss_hz = [9.0, 11.0]\nt2_relative_sd = 0.0\n")
    done = run(
        "expect", basis, "--tissue", "grey-matter", "-o", output, "--count", 20, "--distributions", table,
        "--phase-deg", 5,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with h5py.File(output) as file:
        scan = dict(zip(file["truth/scan"].attrs["columns"], file["truth/scan"][:].T, strict=True))
        assert 20 <= scan["snr"].min() < scan["snr"].max() <= 30
        assert 9 <= scan["gauss_hz"].min() < scan["gauss_hz"].max() <= 11
        assert (scan["phase_deg"] == 5).all()
        assert np.ptp(file["truth/t2_s"][:, 0]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snr = 30", "two numbers"),
        ("snr = [1, 2, 3]", "two numbers"),
        ("own_shift_sd_ppm = [1, 2]", "a number"),
        ("noise = [1, 2]", "unknown key"),
        ("snr = [1", "TOML"),
        ("snr = [30, 20]", "low to high"),
        ("t2_relative_sd = true", "a number"),
    ],
)
def test_a_wrong_file_of_distributions_is_named(tmp_path, text, message):
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_distributions(path)


def test_a_training_set_as_files(basis, tmp_path):
    hdf5, folder = tmp_path / "set.h5", tmp_path / "set"
    for output, more in ((hdf5, []), (folder, ["--format", "nifti"])):
        done = run("expect", basis, "--tissue", "grey-matter", "-o", output, "--count", 3, "--seed", 2, *more)
        assert done.exit_code == 0, done.output
    header, *rows = [line.split("\t") for line in (folder / "truth.tsv").read_text().splitlines()]
    with h5py.File(hdf5) as file:
        for number, row in enumerate(rows):
            np.testing.assert_allclose(
                read_nifti(folder / row[0]).data, file["fid"][number], rtol=1e-5, atol=1e-2
            )
            naa = file["truth/concentrations_mm"][number, 0]
            assert float(row[header.index("NAA_mM")]) == pytest.approx(naa)
    assert json.loads((folder / "set.json").read_text())["tissue"] == "grey-matter"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tissue", "gray-matter", "-o", "x.nii.gz"], "did you mean 'grey-matter'"),
        (["--tissue", "grey-matter", "-o", "x.dat"], "ends in .nii.gz"),
        (["--tissue", "grey-matter", "-o", "x.nii.gz", "--strict"], "lacks NAAG"),
        (["--tissue", "grey-matter", "-o", "x.nii.gz", "--snr", "-3"], "snr"),
        (["--tissue", "grey-matter", "-o", "x.nii.gz", "--count", "3"], "ends in .h5"),
        (["--tissue", "grey-matter", "-o", "x.h5", "--count", "3", "--format", "csv"], "--format"),
        (["--tissue", "grey-matter", "-o", "x.h5", "--count", "3", "--water", "w.nii.gz"], "--count"),
        (["--tissue", "grey-matter", "-o", "x.nii.gz", "--picture", "x.gif"], "x.gif"),
    ],
)
def test_wrong_usage_is_one_clear_error_and_leaves_nothing(basis, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = run("expect", basis, *arguments)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["basis.h5"]


def test_existing_files_stay_unless_asked(basis, tmp_path):
    output = tmp_path / "x.nii.gz"
    (tmp_path / "x.truth.json").write_text("kept")
    with pytest.raises(InputError, match="exists already"):
        expect_verbs.expect(basis, "grey-matter", output)
    assert not output.exists()
    expect_verbs.expect(basis, "grey-matter", output, overwrite=True)
    assert output.exists()


def test_a_dry_run_writes_nothing(basis, tmp_path):
    for more in ([], ["--count", "5"]):
        name = "x.h5" if more else "x.nii.gz"
        done = run("expect", basis, "--tissue", "grey-matter", "-o", tmp_path / name, "--dry-run", *more)
        assert done.exit_code == 0
        assert "would write" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["basis.h5"]


def test_tissues_are_listed_with_their_sources():
    plain = run("tissues")
    assert plain.exit_code == 0
    assert all(name in plain.stdout for name in list_tissues())
    table = json.loads(run("tissues", "--json").stdout)
    assert [tissue["name"] for tissue in table] == list_tissues()
    one = json.loads(run("tissues", "prostate", "--json").stdout)
    assert one["concentrations"]["Cit"]["mm"] == 64.0
    assert set(re.findall(r"\S+", one["concentrations"]["Cit"]["source"])) <= set(one["sources"])
    assert "Basharat" in run("tissues", "prostate").stdout
