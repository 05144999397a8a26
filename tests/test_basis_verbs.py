"""`pulsespec basis info|convert|plot|compare`, run as a user runs them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pulsespec import analysis
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.basis_files import FORMATS, write_basis
from pulsespec.simulator.sampled import conjugated, sampled


@pytest.fixture
def basis():
    lines = {
        name: Lines((np.array(ppm) - 4.65) * 123.25, np.array(amplitude, dtype=complex))
        for name, ppm, amplitude in [
            ("NAA", [2.008, 2.6], [3, 1]), ("Cr", [3.027, 3.913], [3, 2]), ("Ins", [3.52, 3.61], [2, 2]),
        ]
    }  # fmt: skip
    return Basis(
        lines=lines, f0_hz=123.25e6, nucleus="1H", te_s=0.03, samples=1024, dwell_s=5e-4, sequence="press-te30",
        sequence_hash="cd" * 32, provenance={"program": "pulsespec"},
    )  # fmt: skip


@pytest.fixture
def path(basis, tmp_path):
    basis.write(tmp_path / "basis.h5")
    return tmp_path / "basis.h5"


def test_info_says_what_is_inside(pulsespec, path):
    code, out, err = pulsespec("basis", "info", path)
    assert (code, err) == (0, "")
    for expected in ("pulsespec", "press-te30", "123.25", "cd" * 32, "NAA at 2.008 ppm"):
        assert expected in out
    code, out, _ = pulsespec("basis", "info", path, "--json")
    found = json.loads(out)
    assert (found["points"], found["dwell_us"], found["te_ms"]) == pytest.approx((1024, 500, 30))
    assert [c["name"] for c in found["components"]] == ["NAA", "Cr", "Ins"]
    assert found["components"][0]["lines"] == 2
    assert found["provenance"] == {"program": "pulsespec"}


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "pulsespec"])
def test_convert_writes_what_info_reads_and_fit_takes(pulsespec, path, basis, tmp_path, form):
    output = tmp_path / f"out{FORMATS[form].suffix}"
    code, out, _ = pulsespec("basis", "convert", path, output, "--format", form, "--points", 512, "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["format"], made["points"], sorted(made["metabolites"])) == (form, 512, ["Cr", "Ins", "NAA"])
    assert made["singlets"][0]["found_ppm"] == pytest.approx(made["singlets"][0]["expected_ppm"], abs=0.02)
    code, out, _ = pulsespec("basis", "info", output, "--json")
    assert code == 0
    assert json.loads(out)["f0_mhz"] == pytest.approx(123.25)
    read = analysis.read_basis(output)  # what `fit --basis` calls
    np.testing.assert_allclose(read.fid("Ins"), basis.fid("Ins", 512, linewidth_hz=1.0), atol=5e-5)


def test_the_suffix_says_the_format(pulsespec, path, tmp_path):
    assert pulsespec("basis", "convert", path, tmp_path / "a.mat")[0] == 0
    code, out, _ = pulsespec(
        "basis", "convert", tmp_path / "a.mat", tmp_path / "b.nii.gz", "--metabolites", "Cr"
    )
    assert code == 0
    assert "1 functions as nifti-mrs" in out
    assert "Cr at 3.02" in out
    code, _, err = pulsespec("basis", "convert", path, tmp_path / "folder")
    assert code == 2
    assert "--format" in err


def test_water_is_added_on_request(pulsespec, basis, tmp_path):
    water = Lines(np.array([0.0]), np.array([2.0 + 0j]))
    replace(basis, water=water).write(tmp_path / "w.h5")
    assert pulsespec("basis", "convert", tmp_path / "w.h5", tmp_path / "w.mat", "--water")[0] == 0
    read = analysis.read_basis(tmp_path / "w.mat")
    assert abs(read.fid("H2O")[0]) == pytest.approx(2)
    code, _, err = pulsespec("basis", "convert", tmp_path / "w.mat", tmp_path / "v.mat", "--water")
    assert code == 2
    assert "no water" in err


def test_dry_run_writes_nothing(pulsespec, path, tmp_path):
    code, out, _ = pulsespec("basis", "convert", path, tmp_path / "a.mat", "--dry-run")
    assert (code, (tmp_path / "a.mat").exists()) == (0, False)
    assert "would write" in out


def test_a_mirrored_file_needs_conjugate(pulsespec, basis, tmp_path):
    FORMATS["fsl-mrs"].write(conjugated(sampled(basis, linewidth_hz=1.0)), tmp_path / "f", False)
    for verb in (("info", tmp_path / "f"), ("convert", tmp_path / "f", tmp_path / "x.mat")):
        code, _, err = pulsespec("basis", *verb)
        assert code == 2
        assert "mirrored" in err
        assert "--conjugate" in err
    assert not (tmp_path / "x.mat").exists()
    code, _, _ = pulsespec("basis", "convert", tmp_path / "f", tmp_path / "x.mat", "--conjugate")
    assert code == 0
    assert pulsespec("basis", "info", tmp_path / "x.mat")[0] == 0


def test_facts_that_are_missing_are_asked_for(pulsespec, tmp_path):
    rows = "\n".join(f"{np.exp(-i / 20):.4E} 0.0" for i in range(64))
    (tmp_path / "Cr.RAW").write_text(f" $NMID ID='Cr', FMTDAT='(2E13.5)' $END\n{rows}\n")
    code, _, err = pulsespec("basis", "info", tmp_path / "Cr.RAW")
    assert code == 2
    assert "--dwell-us" in err
    facts = ("--dwell-us", 500, "--f0-mhz", 123.25, "--te-ms", 30, "--reference-ppm", 3.027, "--json")
    code, out, _ = pulsespec("basis", "info", tmp_path / "Cr.RAW", *facts)
    assert code == 0
    assert json.loads(out)["te_ms"] == pytest.approx(30)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot_draws_a_page(pulsespec, path, tmp_path, suffix):
    picture = tmp_path / f"page{suffix}"
    assert pulsespec("basis", "plot", path, "-o", picture)[0] == 0
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert picture.read_bytes().startswith(start)
    assert "--overwrite" in pulsespec("basis", "plot", path, "-o", picture)[2]


@pytest.mark.parametrize(("option", "value", "word"), [
    ("-o", "x.gif", ".png"), ("--ppm", "1", "--ppm"), ("--ppm", "50,60", "reaches"), ("--metabolites", "Xyz", "Xyz"),
])  # fmt: skip
def test_plot_refuses(pulsespec, path, tmp_path, option, value, word):
    arguments = ["basis", "plot", path, "-o", tmp_path / "x.png", option, value]
    code, _, err = pulsespec(*arguments)
    assert code == 2
    assert word in err


def test_compare_prints_a_table_and_draws(pulsespec, path, basis, tmp_path):
    write_basis(basis, tmp_path / "other.basis", "lcmodel", linewidth_hz=2.0)
    code, out, _ = pulsespec("basis", "compare", tmp_path / "other.basis", path, "-o", tmp_path / "c.png")
    assert code == 0
    assert all(word in out for word in ("correlation", "phase_deg", "shift_hz", "NAA"))
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = pulsespec("basis", "compare", tmp_path / "other.basis", path, "--json", "--quiet")
    found = json.loads(out)
    for row in found["rows"]:
        assert (row["correlation"], row["ratio"], row["width_hz"]) == pytest.approx((1, 1, 2), abs=5e-3)
    assert found["median_ratio"] == pytest.approx(1, abs=5e-3)


def test_compare_fills_what_one_file_lacks(pulsespec, data_folder):
    marss = data_folder / "basis-marss-siemens-3t/press-te30"
    other = data_folder / "lcmodel-csi-3t/sim_se_csi_te16.basis"
    facts = ("--dwell-us", 400, "--f0-mhz", 123.25, "--te-ms", 30, "--json", "--quiet")
    code, out, _ = pulsespec("basis", "compare", marss, other, *facts)
    assert code == 0
    assert {row["name"] for row in json.loads(out)["rows"]} >= {"NAA", "Cr", "Ins", "PCh", "Scyllo"}


@pytest.fixture
def spectrum(basis, tmp_path):
    """A spectrum of known amplitudes, at twice the dwell time of the basis files, centred on 4.65 ppm."""
    rng = np.random.default_rng(3)
    fid = sum(
        size * basis.fid(name, 1024, 5e-4, linewidth_hz=5.0)
        for name, size in (("NAA", 10), ("Cr", 8), ("Ins", 6))
    )
    data = Transients(
        data=fid + rng.normal(0, 0.1, (1024, 2)) @ [1, 1j],
        dims=("t",),
        dwell_s=5e-4,
        f0_hz=123.25e6,
        te_s=0.03,
    )
    write_nifti(data, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("form", ["osprey", "fsl-mrs", "lcmodel"])
def test_fit_finds_the_same_with_any_format(pulsespec, spectrum, path, tmp_path, form):
    output = tmp_path / f"out{FORMATS[form].suffix}"
    readout = ("--new-dwell-us", 250, "--points", 2048)
    assert pulsespec("basis", "convert", path, output, "--format", form, *readout)[0] == 0
    code, out, err = pulsespec(
        "fit", spectrum, "--basis", output, "-o", tmp_path / "fit", "--json", "--quiet"
    )
    assert (code, err) == (0, "")
    rows = {row["metabolite"]: row for row in json.loads(out)["concentrations"]}
    assert rows["NAA"]["ratio_tCr"] == pytest.approx(10 / 8, rel=0.02)
    assert rows["Ins"]["ratio_tCr"] == pytest.approx(6 / 8, rel=0.05)
