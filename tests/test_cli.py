"""The verbs of the command line, run as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pytest

from pulsespec import commands
from pulsespec.console import to_json
from pulsespec.conventions import larmor_hz
from pulsespec.errors import InputError
from pulsespec.protocols import load_protocol
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis
from pulsespec.simulator.timeline import read_timeline
from pulsespec.simulator.trajectory import read_trajectory


@pytest.fixture(scope="module")
def press(tmp_path_factory):
    path = tmp_path_factory.mktemp("press") / "press.seq"
    commands.export("press-3t-te35", "siemens-prisma", path)
    return path


@pytest.mark.parametrize(("verb", "known"), [
    ("protocols", "press-3t-te35"), ("scanners", "siemens-prisma"), ("metabolites", "GABA"),
])  # fmt: skip
def test_lists(pulsespec, verb, known):
    code, out, _ = pulsespec(verb, "--json")
    assert code == 0
    assert known in [row["name"] for row in json.loads(out)]
    code, out, err = pulsespec(verb)
    assert (code, err) == (0, "")
    assert known in out


def test_export_says_what_it_made(pulsespec, tmp_path):
    path = tmp_path / "press.seq"
    code, out, _ = pulsespec("export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", path, "--json")
    made = json.loads(out)
    assert code == 0
    assert made["te_ms"] == 35
    assert [pulse["axis"] for pulse in made["displacement"]] == ["z", "y", "x"]
    assert path.is_file()
    assert pulsespec("check", path, "--scanner", "siemens-prisma")[0] == 0


def test_check_names_the_broken_rule(pulsespec, press):
    code, out, _ = pulsespec("check", press, "--scanner", "siemens-terra", "--json")
    assert code == 1
    rows = json.loads(out)
    assert "field" in {row["rule"] for row in rows}
    assert {"rule", "block", "message", "time_s"} == set(rows[0])


def test_export_puts_the_voxel_where_it_is_asked_to(pulsespec, tmp_path):
    path = tmp_path / "x.seq"
    geometry = ("--voxel-mm", "25,20,15", "--position-mm", "-5,12.5,30", "--orientation", "0,0,30")
    code, out, _ = pulsespec(
        "export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", path, *geometry, "--json"
    )
    assert code == 0
    assert json.loads(out)["pathways"]["unwanted_metabolites"] < 0.01
    found = read_timeline(path)
    np.testing.assert_allclose(found.voxel.size_m, [0.025, 0.02, 0.015])
    np.testing.assert_allclose(found.definitions["VoxelPosition"], [-0.005, 0.0125, 0.03], atol=1e-6)
    axes = np.reshape(found.definitions["VoxelOrientation"], (3, 3))
    np.testing.assert_allclose(axes[:, 0], [np.cos(np.pi / 6), 0.5, 0.0], atol=1e-5)
    refocusing = found.shots[0].pulses[-2]
    along_y = refocusing.rf.gradient_hz_per_m[100]
    np.testing.assert_allclose(along_y / np.linalg.norm(along_y), axes[:, 1], atol=1e-4)


def test_export_says_in_the_file_what_it_changed(pulsespec, tmp_path):
    path = tmp_path / "x.seq"
    image = ("--matrix", "8x6,4", "--fov-mm", "240,240,160", "--voxel-mm", "240,240,90")
    name = "epsi-3t-te17.6-whole-brain"
    assert pulsespec("export", name, "--scanner", "siemens-skyra", "-o", path, *image)[0] == 0
    definitions = read_timeline(path).definitions
    np.testing.assert_array_equal(definitions["Matrix"], [8, 6, 4])
    np.testing.assert_allclose(definitions["FOV"], [0.24, 0.24, 0.16])
    assert definitions["Changed"].split() == ["encoding.fov_mm", "encoding.matrix", "voxel_mm"]
    found = read_trajectory(path)
    water = found.labels["REF"] == 1
    assert water.sum() == (~water).sum() == 6 * 4
    lines = np.unique(found.offsets_per_m[~water, 1].round(3))
    np.testing.assert_allclose(lines, (np.arange(6) - 3) / 0.24, atol=0.05)
    reached = found.trains[0].k_per_m[:, 0]
    # Half a sample at either end of a lobe is outside of the samples, where the gradient is near zero.
    assert np.ptp(reached) == pytest.approx(8 / 0.24, rel=0.02)


@pytest.mark.parametrize(
    ("name", "scanner"),
    [("epsi-1.5t-whole-brain", "siemens-aera"), ("epsi-7t-whole-brain", "siemens-terra"),
     ("epsi-3t-te144-no-inversion-whole-brain", "siemens-prisma"), ("fid-mrsi-7t", "siemens-terra")],
)  # fmt: skip
def test_any_image_can_be_exported_at_a_smaller_matrix(pulsespec, tmp_path, name, scanner):
    path = tmp_path / "x.seq"
    points = "8,8,1" if "fid" in name else "8,8,4"
    assert pulsespec("export", name, "--scanner", scanner, "--matrix", points, "-o", path)[0] == 0
    assert pulsespec("check", path, "--scanner", scanner)[0] == 0
    definitions = read_timeline(path).definitions
    assert definitions["Changed"] == "encoding.matrix"
    np.testing.assert_allclose(definitions["FOV"], np.array(load_protocol(name).encoding.fov_mm) * 1e-3)


def test_an_unchanged_protocol_says_so(pulsespec, tmp_path):
    path = tmp_path / "x.seq"
    at_centre = ("--position-mm", "0,0,0")
    code, out, _ = pulsespec(
        "export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", path, *at_centre, "--json"
    )
    assert code == 0
    assert json.loads(out)["changed"] == []
    assert "Changed" not in read_timeline(path).definitions


def test_export_writes_older_files_and_for_consoles(pulsespec, tmp_path):
    path = tmp_path / "x.seq"
    console = ("--scanner", "nexus-console", "--field", "3.0", "--max-b1-ut", "20", "--pulseq", "1.4.1")
    assert pulsespec("export", "calibrate-frequency-3t", *console, "-o", path)[0] == 0
    assert "minor 4" in path.read_text()


def test_plot_draws_and_reports(pulsespec, press, tmp_path):
    assert pulsespec("plot", press, "-o", tmp_path / "x.png")[0] == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert pulsespec("plot", press, "--report", "-o", tmp_path / "x.html")[0] == 0
    assert "Chemical-shift displacement" in (tmp_path / "x.html").read_text()


def test_pulses_are_listed_and_drawn(pulsespec, tmp_path):
    arguments = ("pulses", "hermes-3t-gaba-gsh", "--scanner", "siemens-prisma")
    code, out, _ = pulsespec(*arguments, "-o", tmp_path / "x.png", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {row["use"] for row in rows} == {"saturation", "excitation", "refocusing"}
    assert sum("editing" in row["name"] for row in rows) == 2  # one band and two
    assert all(0 < row["peak_b1_ut"] <= 20 for row in rows)
    assert (tmp_path / "x.png").is_file()


def test_metabolites_show_every_number(pulsespec, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text('[New]\nsource = "me"\n[[New.systems]]\nshifts_ppm = [1.0]\n')
    code, out, _ = pulsespec("metabolites", "--spins", own, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["New"]["source"] == "me"
    lactate = rows["Lac"]
    assert lactate["systems"][0]["j_hz"][0] == [0.0, 6.933, 6.933, 6.933]
    source = lactate["sources"][lactate["systems"][0]["shifts_source"]]
    assert source["doi_verified"]
    assert source["temperature_c"] == 37
    assert "OH" in lactate["left_out"][0]
    assert sum(row["default"] for row in rows.values()) == 25


def test_simulate_takes_spin_systems_and_macromolecules(pulsespec, press, tmp_path):
    own, path = tmp_path / "mine.toml", tmp_path / "x.h5"
    own.write_text('[New]\nsource = "me"\n[[New.systems]]\nshifts_ppm = [1.0]\n')
    arguments = ("simulate", press, "-o", path, "--spins", own, "--metabolites", "Cr,New")
    assert pulsespec(*arguments, "--macromolecules", "birch-3t", "--quiet")[0] == 0
    basis = Basis.read(path)
    assert basis.names[:2] == ("Cr", "New")
    assert basis.broad[0] == "MM0.90"
    assert pulsespec(*arguments, "--macromolecules", "birch", "--overwrite")[0] == 2


def test_calibrate_reads_a_water_line(pulsespec, tmp_path):
    path = tmp_path / "x.seq"
    assert pulsespec("export", "calibrate-frequency-3t", "--scanner", "siemens-prisma", "-o", path)[0] == 0
    t = np.arange(2048) * 4e-4
    data = np.exp(-(2j * np.pi * 11.0 + np.pi * 5.0) * t)[None]
    raw = Transients(data=data, dims=("average", "t"), dwell_s=4e-4, f0_hz=123.2e6)
    write_nifti(raw, tmp_path / "x.nii.gz")
    code, out, _ = pulsespec("calibrate", tmp_path / "x.nii.gz", "--seq", path, "--json")
    assert code == 0
    assert json.loads(out)["offset_hz"] == pytest.approx(11.0, abs=0.01)


def test_simulate_at_the_frequency_that_is_asked_for(pulsespec, press, tmp_path):
    path = tmp_path / "basis.h5"
    code, out, err = pulsespec(
        "simulate", press, "-o", path, "--f0-mhz", 123.26, "--metabolites", "Cr,Lac", "--json", "--quiet"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["metabolites"] == ["Cr", "Lac"]
    basis = Basis.read(path)
    assert basis.f0_hz == pytest.approx(123.26e6)
    assert basis.te_s == pytest.approx(35e-3)


def test_simulate_a_protocol_builds_the_sequence(pulsespec, tmp_path):
    path = tmp_path / "basis.h5"
    code, _, err = pulsespec("simulate", "press-3t-te144", "-o", path, "--metabolites", "Cr")
    assert code == 0
    assert "siemens-prisma" in err, "which scanner was taken is said"
    assert Basis.read(path).te_s == pytest.approx(144e-3)


def test_dry_run_writes_nothing(pulsespec, press, tmp_path):
    seq, basis = tmp_path / "a.seq", tmp_path / "b.h5"
    assert pulsespec("export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", seq, "--dry-run")[0] == 0
    assert pulsespec("simulate", press, "-o", basis, "--dry-run")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_frequency_options():
    assert commands.frequency(None, None) is None
    assert commands.frequency(3.0, None) == pytest.approx(larmor_hz(3.0))
    assert commands.frequency(None, 123.2) == pytest.approx(123.2e6)
    with pytest.raises(InputError, match="got both"):
        commands.frequency(3.0, 123.2)
    with pytest.raises(InputError, match="--field: got -1"):
        commands.frequency(-1.0, None)


def test_json_holds_no_infinities():
    tree = {"a": (1.5, float("inf")), "b": np.array([1.0, np.nan]), "c": Path("x"), "d": np.int64(3)}
    assert json.loads(to_json(tree)) == {"a": [1.5, None], "b": [1.0, None], "c": "x", "d": 3}


def test_run_wants_one_origin_of_the_basis(pulsespec, tmp_path):
    for options in ([], ["--protocol", "press-3t-te35", "--basis", "b.h5"]):
        code, _, err = pulsespec("run", tmp_path / "x.SDAT", *options, "-o", tmp_path / "out")
        assert code == 2
        assert "expected one of --protocol, --seq and --basis" in err
    assert list(tmp_path.iterdir()) == []
