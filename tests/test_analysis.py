"""From a scan to the folder of results, with data that the simulator made, so that the truth is known."""

import dataclasses
import json

import numpy as np
import pytest

from pulsespec import analysis, commands
from pulsespec.errors import InputError, MismatchError, SequenceError
from pulsespec.recon.results import read_table
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator import Basis

TRUTH = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5, "Glu": 9.0, "Ins": 6.0}
F0_HZ = 127.75e6
AVERAGES = 4


@pytest.fixture(scope="module")
def press(tmp_path_factory):
    path = tmp_path_factory.mktemp("press") / "press.seq"
    commands.export("press-3t-te35", "siemens-prisma", path)
    return path


@pytest.fixture(scope="module")
def basis(press) -> Basis:
    return commands.basis_of(press, list(TRUTH), F0_HZ)


@pytest.fixture(scope="module")
def scan(basis) -> Scan:
    rng = np.random.default_rng(1)
    clean = sum(size * basis.fid(name, linewidth_hz=4.0, gauss_hz=3.0) for name, size in TRUTH.items())
    noise = rng.normal(0, 0.5, (AVERAGES, clean.size, 2)) @ [1, 1j]
    facts = {"dwell_s": basis.dwell_s, "f0_hz": F0_HZ, "te_s": 35e-3, "tr_s": 2.0}
    metabolite = Transients(data=clean + noise, dims=("average", "t"), source="scan", **facts)
    water = Transients(data=35000 * basis.water_fid(linewidth_hz=5.0), dims=("t",), source="water", **facts)
    return Scan(metabolite, water)


@pytest.fixture
def raw(tmp_path, monkeypatch, scan):
    """A file that stands for the scan: reading has its own tests."""
    path = tmp_path / "raw.dat"
    path.touch()
    monkeypatch.setattr(analysis, "load", lambda *_: scan)
    return path


def with_data(monkeypatch, scan, **changes):
    changed = dataclasses.replace(scan.metabolite, **changes)
    monkeypatch.setattr(analysis, "load", lambda *_: Scan(changed, None))


def test_run_brings_back_what_was_put_in(raw, press, tmp_path):
    out = tmp_path / "out"
    names = [*TRUTH, "Lac"]
    made = analysis.run([raw], out, sequence=press, metabolites=names)
    assert {path.name for path in out.iterdir()} == {
        "concentrations.tsv", "result.json", "spectrum.nii.gz", "report.html", "basis.h5", "sequence.seq",
        "constants.toml", "fit.nii.gz", "report.pdf",
    }  # fmt: skip
    rows = {row["metabolite"]: row for row in read_table(out / "concentrations.tsv")}
    assert set(rows) >= {"tNAA", "tCr", "tCho", "Glx"}
    for name, size in TRUTH.items():
        assert abs(rows[name]["amplitude"] - size) < 5 * rows[name]["sd"] + 0.02 * size
        assert rows[name]["ratio_tCr"] == pytest.approx(size / TRUTH["Cr"], rel=0.05)
        assert rows[name]["concentration_mM"] > 0
    assert len(made["concentrations"]) == len(rows)
    assert (out / "sequence.seq").read_bytes() == press.read_bytes()


def test_the_result_says_how_it_came_about(raw, press, basis, tmp_path):
    out = tmp_path / "out"
    path = tmp_path / "basis.h5"
    basis.write(path)
    analysis.run([raw], out, basis=path)
    result = json.loads((out / "result.json").read_text())
    assert result["basis"]["sequence_hash"] == basis.sequence_hash
    assert result["settings"]["--basis"] == str(path)
    assert result["data"]["f0_mhz"] == pytest.approx(127.75)
    assert result["fit"]["converged"] is True
    assert len(result["steps"]) >= 2
    assert "scan" in (out / "report.html").read_text()
    assert not (out / "basis.h5").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"te_s": 30e-3}, MismatchError, "30.00 ms"),
        ({"f0_hz": 297.2e6}, SequenceError, "is for 3 T"),
        ({"nucleus": "31P"}, MismatchError, "31P"),
    ],
)
def test_data_of_another_kind_leave_nothing(monkeypatch, raw, scan, tmp_path, change, error, words):
    with_data(monkeypatch, scan, **change)
    with pytest.raises(error, match=words):
        analysis.run([raw], tmp_path / "out", protocol="press-3t-te35")
    assert [path.name for path in tmp_path.iterdir()] == ["raw.dat"]


@pytest.mark.parametrize("change", [{"f0_hz": 64e6}, {"te_s": 144e-3}, {"nucleus": "31P"}])
def test_a_basis_of_another_kind_leaves_nothing(raw, basis, tmp_path, change):
    path = tmp_path / "basis.h5"
    dataclasses.replace(basis, **change).write(path)
    with pytest.raises(MismatchError):
        analysis.run([raw], tmp_path / "out", basis=path)
    assert {path.name for path in tmp_path.iterdir()} == {"raw.dat", "basis.h5"}


def test_a_water_reference_alone_is_refused(monkeypatch, raw, scan, tmp_path):
    monkeypatch.setattr(analysis, "load", lambda *_: Scan(None, scan.water))
    with pytest.raises(InputError, match="water reference alone"):
        analysis.run([raw], tmp_path / "out", protocol="press-3t-te35")
    assert not (tmp_path / "out").exists()


def test_without_water_there_is_no_millimolar(monkeypatch, raw, scan, basis, tmp_path):
    with_data(monkeypatch, scan)
    path = tmp_path / "basis.h5"
    basis.write(path)
    made = analysis.run([raw], tmp_path / "out", basis=path)
    assert any("no water reference" in warning for warning in made["warnings"])
    assert all(np.isnan(row["concentration_mM"]) for row in made["concentrations"])


def test_dry_run_writes_nothing(raw, tmp_path):
    analysis.run([raw], tmp_path / "out", protocol="press-3t-te35", dry_run=True)
    assert not (tmp_path / "out").exists()
