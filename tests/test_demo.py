"""The whole road on a virtual voxel: from a protocol to concentrations that are compared with the truth."""

import json

import pytest

from pulsespec.demo import compare, demo
from pulsespec.errors import InputError
from pulsespec.recon.results import read_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, demo(folder, seed=0)


def test_truth_lies_inside_most_intervals(made):
    _, result = made
    rows = result["comparison"]
    assert len(rows) >= 15
    assert result["inside"] >= 0.8 * len(rows)
    assert {"tNAA", "tCr", "tCho", "Glx"} <= {row["metabolite"] for row in rows}
    for row in rows:
        assert row["low_mM"] <= row["estimate_mM"] <= row["high_mM"]


def test_strong_metabolites_are_close_to_the_truth(made):
    rows = {row["metabolite"]: row for row in made[1]["comparison"]}
    for name in ("tNAA", "tCr", "tCho", "Glx"):
        assert rows[name]["estimate_mM"] == pytest.approx(rows[name]["truth_mM"], rel=0.15)


def test_everything_is_left_in_the_folder(made):
    folder, result = made
    results = folder / "results"
    expected = {
        "concentrations.tsv",
        "result.json",
        "spectrum.nii.gz",
        "constants.toml",
        "fit.nii.gz",
        "report.html",
        "report.pdf",
    }
    assert {path.name for path in results.iterdir()} == expected
    assert {path.name for path in folder.iterdir()} == {"sequence.seq", "basis.h5", "raw.h5", "results"}
    assert result["report"] == str(results / "report.html")
    assert len(read_table(results / "concentrations.tsv")) >= 20
    written = json.loads((results / "result.json").read_text())
    assert written["basis"]["sequence_hash"]
    methods = [step["method"] for step in written["steps"]]
    assert "RF coil combination" in methods
    assert "Frequency and phase correction" in methods


def test_a_second_run_keeps_the_first(made):
    with pytest.raises(InputError, match="--overwrite"):
        demo(made[0], seed=1)


def test_sums_are_compared_with_sums_and_small_ones_left_out():
    row = {"concentration_mM": 10.0, "concentration_mM_sd": 1.0}
    rows = compare({"NAA": 8.0, "NAAG": 1.5, "Gly": 0.5}, [{"metabolite": n, **row} for n in ("tNAA", "Gly")])
    assert [(r["metabolite"], r["truth_mM"], r["inside"]) for r in rows] == [("tNAA", 9.5, True)]
