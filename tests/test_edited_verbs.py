"""Edited raw data to tables and reports: a MEGA-PRESS protocol of the library on the virtual scanner."""

import json
from dataclasses import replace

import pytest

from pulsespec import analysis
from pulsespec.errors import InputError, MismatchError
from pulsespec.protocols import change, load_protocol
from pulsespec.recon.editing import from_definitions
from pulsespec.recon.quantify import QuantifySettings
from pulsespec.recon.results import read_table
from pulsespec.recon.virtual import scan_of
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.coedited import MM3CO
from pulsespec.simulator.conditions import simulate_conditions
from pulsespec.simulator.faults import load_faults
from pulsespec.simulator.phantom import load_phantom
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import set_up
from pulsespec.simulator.timeline import read_played

TRUTH = {"NAA": 10.0, "Cr": 9.0, "GPC": 1.6, "Ins": 6.0, "Glu": 10.0, "GABA": 2.0}


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    path = tmp_path_factory.mktemp("mega") / "mega.seq"
    short = change(load_protocol("mega-press-3t-gaba"), {"averages": 16, "points": 1024})
    write_sequence(build(short, load_scanner("siemens-prisma")), path)
    return path


@pytest.fixture(scope="module")
def scan(sequence):
    phantom = replace(load_phantom("grey-matter"), concentrations_mm=TRUTH)
    bases = simulate_conditions(sequence, list(TRUTH))
    faults = load_faults("clean", coils=1, snr=80.0)
    found = scan_of(play(set_up(sequence, bases, phantom), seed=2, faults=faults))
    header = {**found.metabolite.header, "editing": from_definitions(read_played(sequence)[1])}
    return replace(found, metabolite=replace(found.metabolite, header=header))


@pytest.fixture
def raw(tmp_path, monkeypatch, scan):
    """A file that stands for the scan: reading has its own tests."""
    path = tmp_path / "raw.h5"
    path.touch()
    monkeypatch.setattr(analysis, "load", lambda *_: scan)
    return path


def test_run_goes_from_edited_data_to_one_table(raw, sequence, tmp_path):
    out = tmp_path / "out"
    made = analysis.run(
        [raw],
        out,
        sequence=sequence,
        metabolites=list(TRUTH),
        assumptions=QuantifySettings(relaxation=False, water_mm=40000.0),
    )
    assert {path.name for path in out.iterdir()} == {
        "basis_1.h5", "basis_2.h5", "sequence.seq", "concentrations.tsv", "concentrations_diff.tsv", "peaks.tsv",
        "report.html", "report_sum.html", "result.json", "spectrum.nii.gz", "spectrum_diff.nii.gz",
        "spectrum_sum.nii.gz", "constants.toml", "fit_diff.nii.gz", "fit_sum.nii.gz", "report.pdf", "report_sum.pdf",
    }  # fmt: skip
    rows = {row["metabolite"]: row for row in read_table(out / "concentrations.tsv")}
    alone = {row["metabolite"]: row for row in read_table(out / "concentrations_diff.tsv")}
    for name, value in TRUTH.items():
        row = rows["GABA+" if name == "GABA" else name]
        assert row["ratio_tCr"] == pytest.approx(
            value / TRUTH["Cr"], abs=4 * row["ratio_tCr_sd"] + 0.03 * value / 9
        )
    both = rows["GABA"]["amplitude"] + rows[MM3CO]["amplitude"]
    assert rows["GABA+"]["amplitude"] == pytest.approx(both, rel=1e-5)
    assert rows["GABA+"]["sd"] < alone["GABA+"]["sd"]
    glutamate = alone["Glu"]
    assert glutamate["ratio_tCr"] == pytest.approx(
        TRUTH["Glu"] / TRUTH["Cr"], abs=4 * glutamate["ratio_tCr_sd"]
    )
    assert glutamate["ratio_tCr_sd"] < 0.15
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["settings"]["gaba_model"] == "soft"
    assert len(result["fit"]["condition_phase_deg"]) == 2
    assert result["reports"] == {"diff": "report.html", "sum": "report_sum.html"}
    assert [row["peak"] for row in made["peaks"]] == ["GABA+", "Glx", "Cr", "Cho", "water"]
    assert "GABA" in (out / "report.html").read_text(encoding="utf-8")


def test_data_of_other_conditions_are_refused(raw, scan, sequence, tmp_path, monkeypatch):
    other = from_definitions({"EditingPPM": [1.9, 1.9, 1.5, 1.5]})
    header = {**scan.metabolite.header, "editing": other}
    changed = replace(scan, metabolite=replace(scan.metabolite, header=header))
    monkeypatch.setattr(analysis, "load", lambda *_: changed)
    with pytest.raises(MismatchError, match=r"1\.5 ppm.*but the sequence has"):
        analysis.run([raw], tmp_path / "out", sequence=sequence)


def test_a_basis_of_other_programs_names_the_condition_of_each_component(raw, scan, sequence, tmp_path):
    """As FID-A and others have them: one file with GABA_ON and GABA_OFF, here made of the very bases of the scan."""
    made = simulate_conditions(sequence, list(TRUTH))
    labels = {"ON": made[0], "OFF": made[1]}
    names = {f"{name}_{label}": one.lines[name] for label, one in labels.items() for name in TRUTH}
    replace(made[0], lines=names).write(tmp_path / "both.h5")
    made = analysis.run([raw], tmp_path / "out", basis=tmp_path / "both.h5")
    rows = {row["metabolite"]: row for row in made["concentrations"]}
    for name in ("NAA", "Glu", "Ins"):
        assert rows[name]["ratio_tCr"] == pytest.approx(TRUTH[name] / TRUTH["Cr"], rel=0.15)
    assert "GABA+" in rows
    assert any("no macromolecule" in words for words in made["warnings"])
    labels["ON"].write(tmp_path / "one.h5")
    with pytest.raises(InputError, match="such as GABA_ON and GABA_OFF, got NAA"):
        analysis.run([raw], tmp_path / "out2", basis=tmp_path / "one.h5")
