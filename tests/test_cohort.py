"""A study: every scan analysed, failures named, one table and one page, and a resumed job is the same job."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from nifti_for_tests import write_raw

from pulsespec import analysis, cohort_verbs
from pulsespec.cohort_verbs import Study, cohort
from pulsespec.errors import DataError, InputError
from pulsespec.executor import Spread, spread
from pulsespec.kept import beside, count
from pulsespec.simulator import Basis, Lines

F0_HZ, DWELL_S = 127.736713e6, 5e-4
SHIFTS = {"NAA": (2.01, 3.0), "Cr": (3.03, 3.0), "GPC": (3.21, 9.0)}
SIZES = {"01": 10.0, "02": 11.0, "03": 12.0}


def singlets():
    """A basis of three singlets and water: NAA, Cr, GPC."""

    def lines(ppm, protons):
        return Lines(np.array([(ppm - 4.65) * F0_HZ * 1e-6]), np.array([protons + 0j]))

    made = {name: lines(*one) for name, one in SHIFTS.items()}
    return Basis(
        lines=made,
        f0_hz=F0_HZ,
        nucleus="1H",
        te_s=0.035,
        tr_s=2.0,
        water=lines(4.65, 2.0),
        samples=1024,
        dwell_s=DWELL_S,
    )


def write_scan(folder, name, basis, naa, seed, water=False):
    """Four shots of NAA, Cr and GPC in the voxel, or of its water."""
    rng = np.random.default_rng(seed)
    amounts = {"NAA": naa, "Cr": 8.0, "GPC": 1.5}
    if water:
        fid = 36000 * basis.water_fid(1024, DWELL_S, linewidth_hz=5.0)
    else:
        fid = sum(size * basis.fid(key, 1024, DWELL_S, linewidth_hz=5.0) for key, size in amounts.items())
    noise = (rng.normal(size=(1024, 4)) + 1j * rng.normal(size=(1024, 4))) * 0.3
    folder.mkdir(parents=True, exist_ok=True)
    write_raw(folder / f"{name}.nii.gz", (fid[:, None] + noise)[None, None, None], {"dim_5": "DIM_DYN"})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three subjects, one of them damaged, and one with a reference that is not there."""
    folder = tmp_path_factory.mktemp("cohort") / "study"
    basis = singlets()
    for seed, (subject, naa) in enumerate(SIZES.items()):
        place = folder / f"sub-{subject}" / "mrs"
        write_scan(place, f"sub-{subject}_svs", basis, naa, seed)
        write_scan(place, f"sub-{subject}_mrsref", basis, naa, seed + 10, water=True)
    damaged = folder / "sub-03" / "mrs" / "sub-03_svs.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    write_scan(folder / "sub-04" / "mrs", "sub-04_svs", basis, 9.0, 5)
    (folder / "sub-04" / "mrs" / "sub-04_svs.json").write_text('{"ReferenceSignal": "bids::gone.nii.gz"}')
    (folder / "participants.tsv").write_text(
        "participant_id\tsite\tage\nsub-01\ta\t20\nsub-02\tb\t30\nsub-03\tn/a\t40\nsub-04\ta\t50\n"
    )
    basis.write(folder.parent / "basis.h5")
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_study_gives_a_table_and_a_page(pulsespec, study, tmp_path):
    out = tmp_path / "out"
    basis = study.parent / "basis.h5"
    code, _, said = pulsespec(
        "cohort", study, "--basis", basis, "-o", out, "--group", "site", "--water-mm", 36000
    )
    assert code == 3
    assert "sub-03: failed" in said
    scans = {row["subject"]: row for row in rows_of(out / "scans.tsv")}
    assert {key: row["status"] for key, row in scans.items()} == {
        "01": "done", "02": "done", "03": "failed", "04": "failed",
    }  # fmt: skip
    assert "sub-03_svs.nii.gz" in scans["03"]["reason"]
    assert "not in the dataset" in scans["04"]["reason"]
    assert {key: row["group"] for key, row in scans.items()} == {"01": "a", "02": "b", "03": "", "04": "a"}
    for row in rows_of(out / "group.tsv"):
        if row["metabolite"] == "tNAA":
            assert float(row["ratio_tCr"]) == pytest.approx(SIZES[row["subject"]] / 8, rel=0.03)
            assert math.isfinite(float(row["concentration_mM"]))
            assert row["verdict"] in ("good", "usable")
    wide = {row["subject"]: row for row in rows_of(out / "group_wide.tsv")}
    assert float(wide["02"]["tNAA_ratio_tCr"]) == pytest.approx(11 / 8, rel=0.03)
    assert wide["03"]["tNAA_ratio_tCr"] == ""
    summary = [row for row in rows_of(out / "statistics.tsv") if row["metabolite"] == "tNAA"]
    assert {row["group"] for row in summary} == {"all", "a", "b"}
    mean = next(
        float(row["mean"]) for row in summary if (row["group"], row["quantity"]) == ("all", "ratio_tCr")
    )
    assert mean == pytest.approx(10.5 / 8, rel=0.02)
    assert (out / "sub-02" / "sub-02" / "report.html").is_file()
    page = (out / "group.html").read_text()
    assert page.count("<svg") >= 3
    assert "sub-03" in page
    everything = page + (out / "group.json").read_text() + (out / "scans.tsv").read_text()
    assert str(tmp_path) not in everything
    assert str(study) not in everything
    assert not beside(out).exists()
    for row in rows_of(out / "scans.tsv"):
        assert "/" not in row["reason"] or "sub-" in row["reason"]


def made_up(raws, output, **_):
    """What stands for `analysis.run` where the fit is not what is tested."""
    subject = raws[0].name.split("_")[0]
    if (Path(output).parents[1] / "stop").exists() and subject == "sub-02":
        raise KeyboardInterrupt
    output.mkdir(exist_ok=True)
    (output / "result.json").write_text("{}")
    with (output.parents[1] / "did").open("a") as file:
        file.write(f"{subject}\n")
    if subject == "sub-03":
        raise ZeroDivisionError(f"{raws[0]}: by zero")
    row = {"metabolite": "tNAA", "flag": "", "concentration_mM": 1.0, "concentration_mM_sd": 0.1}
    row |= {"ratio_tCr": 1.0, "ratio_tCr_sd": 0.1, "amplitude": 1.0, "sd": 0.1, "crlb_percent": 10.0}
    return {"concentrations": [row], "warnings": [], "quality": None, "converged": subject != "sub-02"}


@pytest.fixture
def quick(monkeypatch, study):
    monkeypatch.setattr(analysis, "run", made_up)
    return Study(basis=study.parent / "basis.h5")


def test_an_interrupted_study_resumes(quick, study, tmp_path):
    out, said = tmp_path / "out", []
    out.mkdir()
    (out / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        cohort(study, out, quick, overwrite=True, notify=said.append)
    assert count(beside(out)) == 1
    assert "the same command resumes" in said[-1]
    (out / "stop").unlink()
    cohort(study, out, quick, notify=said.append)
    assert any("resuming" in words for words in said)
    assert (out / "did").read_text().split() == ["sub-01", "sub-02", "sub-03"]
    assert not beside(out).exists()


def test_results_that_are_gone_are_made_again(quick, study, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        cohort(study, out, quick, overwrite=True)
    (out / "stop").unlink()
    (out / "sub-01" / "sub-01" / "result.json").unlink()
    cohort(study, out, quick)
    assert (out / "did").read_text().split() == ["sub-01", "sub-01", "sub-02", "sub-03"]


def test_other_data_are_not_resumed(quick, study, tmp_path, monkeypatch):
    stamps = iter(range(100))
    out = tmp_path / "out"
    out.mkdir()
    (out / "stop").touch()
    monkeypatch.setattr(cohort_verbs, "stamp", lambda *_: str(next(stamps)))
    with pytest.raises(KeyboardInterrupt):
        cohort(study, out, quick, overwrite=True)
    (out / "stop").unlink()
    cohort(study, out, quick)
    assert (out / "did").read_text().split().count("sub-01") == 2


def test_faults_and_refusals_are_named(quick, study, tmp_path):
    made = cohort(study, tmp_path / "out", quick)
    states = {row["label"]: (row["status"], row["reason"]) for row in made["scans"]}
    assert states["sub-01"] == ("done", "")
    assert states["sub-02"] == ("refused", "the fit was refused")
    status, reason = states["sub-03"]
    assert status == "failed"
    assert reason == "fault of the program: ZeroDivisionError: sub-03/mrs/sub-03_svs.nii.gz: by zero"
    (row,) = [one for one in made["statistics"] if one["quantity"] == "ratio_tCr"]
    assert (row["n"], row["group"]) == (1, "all")


def test_tissue_of_each_voxel_comes_from_a_table(study, tmp_path, monkeypatch):
    told = {}

    def run(raws, output, assumptions=None, **more):
        told[raws[0].name.split("_")[0]] = assumptions and (assumptions.gm, assumptions.wm, assumptions.csf)
        return made_up(raws, output, **more)

    monkeypatch.setattr(analysis, "run", run)
    table = tmp_path / "tissue.tsv"
    table.write_text("participant_id\tgm\twm\tcsf\nsub-01\t0.6\t0.3\t0.1\n")
    how = Study(basis=study.parent / "basis.h5")
    cohort(study, tmp_path / "out", how, fractions=table)
    assert told == {"sub-01": (0.6, 0.3, 0.1), "sub-02": None, "sub-03": None}
    table.write_text("participant_id\tgm\twm\tcsf\nsub-01\t0.6\t0.6\t0.1\n")
    with pytest.raises(InputError, match="sub-01: tissue fractions"):
        cohort(study, tmp_path / "out2", how, fractions=table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group": "sex"}, "no column 'sex', only site, age"),
        ({"group": "participant_id"}, "no column"),
        ({"study": {}}, "expected one of --protocol"),
        ({"folder": "nowhere"}, "no BIDS dataset"),
        ({"output": "full"}, "not empty"),
        ({"output": "study"}, "not empty|dataset itself"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_computed(study, tmp_path, change, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    folder = tmp_path / change["folder"] if "folder" in change else study
    output = study if change.get("output") == "study" else tmp_path / change.get("output", "out")
    how = Study(**change.get("study", {"basis": study.parent / "basis.h5"}))
    with pytest.raises(InputError, match=words):
        cohort(folder, output, how, group=change.get("group"))
    assert not (tmp_path / "out").exists()


def test_a_study_that_fails_as_a_whole_says_so(study, tmp_path, monkeypatch):
    def run(*_, **__):
        raise InputError("nothing fits")

    monkeypatch.setattr(analysis, "run", run)
    with pytest.raises(DataError, match="all 4 scans failed; the first: nothing fits"):
        cohort(study, tmp_path / "out", Study(basis=study.parent / "basis.h5"))


def test_a_dataset_that_was_interrupted_is_processed_on(study, tmp_path, monkeypatch):
    """`recon DATASET --bids OUT` keeps what is finished, and its files are not in its own way."""
    whole = tmp_path / "whole"
    for subject in ("sub-01", "sub-02"):
        place = whole / subject / "mrs"
        place.mkdir(parents=True)
        for path in (study / subject / "mrs").iterdir():
            (place / path.name).write_bytes(path.read_bytes())
    loaded, load = [], analysis.load

    def counted(raws, *more):
        loaded.append(raws[0].name)
        if loaded == ["sub-01_svs.nii.gz", "sub-02_svs.nii.gz"]:
            raise KeyboardInterrupt
        return load(raws, *more)

    monkeypatch.setattr(analysis, "load", counted)
    with spread(Spread(keep=tmp_path / "kept")):
        with pytest.raises(KeyboardInterrupt):
            analysis.recon([whole], bids=tmp_path / "out")
        made = analysis.recon([whole], bids=tmp_path / "out")
        assert len(made["scans"]) == 2
        assert loaded == ["sub-01_svs.nii.gz", "sub-02_svs.nii.gz", "sub-02_svs.nii.gz"]
    assert all(Path(row["output"]).is_file() for row in made["scans"])
    with pytest.raises(InputError, match="exists already"):
        analysis.recon([whole], bids=tmp_path / "out")


def test_a_real_subject_has_the_numbers_of_its_own_result(data_folder, tmp_path):
    """The table of the study says what the folder of the scan does, and NAA is what a brain has."""
    source = data_folder / "philips-3t-press35" / "P3-S01"
    place = tmp_path / "study" / "sub-01" / "mrs"
    place.mkdir(parents=True)
    for kind, suffix in (("act", "svs"), ("ref", "mrsref")):
        content = next(source.glob(f"*_{kind}.nii.gz")).read_bytes()
        (place / f"sub-01_{suffix}.nii.gz").write_bytes(content)
    out, basis = tmp_path / "out", tmp_path / "basis.h5"
    singlets().write(basis)
    cohort(tmp_path / "study", out, Study(basis=basis))
    result = json.loads((out / "sub-01" / "sub-01" / "result.json").read_text())
    ratios = {row["metabolite"]: row["ratio_tCr"] for row in result["concentrations"]}
    wide = rows_of(out / "group_wide.tsv")[0]
    assert float(wide["tNAA_ratio_tCr"]) == pytest.approx(ratios["tNAA"], rel=1e-5)
    assert 1.0 < ratios["tNAA"] < 2.5
