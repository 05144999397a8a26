"""Wrong usage and wrong input: exit code 2, one line that says what to change, and nothing left behind."""

import sys
from importlib.resources import files

import numpy as np
import pytest
from files_for_tests import brain_like, write_sdat

from pulsespec import cli, commands
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines


@pytest.fixture
def fails(monkeypatch, capsys, tmp_path):
    """Run the command line, which must refuse; returns the one line on standard error."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["pulsespec", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert end.value.code == 2
        assert shown.out == ""
        last = shown.err.strip().splitlines()[-1]
        assert last.startswith("pulsespec: ")
        assert "Traceback" not in shown.err
        assert sorted(tmp_path.rglob("*")) == before, "no partial output"
        return last

    return run


@pytest.fixture
def press(tmp_path):
    path = tmp_path / "press.seq"
    commands.export("press-3t-te35", "siemens-prisma", path)
    return path


def without_adc(path):
    """Take every ADC out of the blocks of a .seq file."""
    lines, section = [], ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        words = line.split()
        if section == "[BLOCKS]" and len(words) == 8 and words[0].isdigit():
            line = " ".join([*words[:6], "0", words[7]])
        if section != "[SIGNATURE]":
            lines.append(line)
    path.write_text("\n".join(lines) + "\n")


def test_unknown_verb_and_option(monkeypatch, capsys):
    for arguments in (["bogus"], ["protocols", "--bogus"], ["simulate"]):
        monkeypatch.setattr(sys, "argv", ["pulsespec", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_name_is_answered_with_the_near_one(fails, tmp_path):
    message = fails("export", "press-3t-te53", "--scanner", "siemens-prisma", "-o", tmp_path / "a.seq")
    assert "did you mean 'press-3t-te35'?" in message
    message = fails("export", "press-3t-te35", "--scanner", "siemens-prisna", "-o", tmp_path / "a.seq")
    assert "did you mean 'siemens-prisma'?" in message


def test_an_output_that_exists_is_kept(fails, press):
    content = press.read_bytes()
    message = fails("export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", press)
    assert "--overwrite" in message
    assert press.read_bytes() == content


def test_an_echo_time_too_short_for_the_pulses(fails, tmp_path):
    protocol = tmp_path / "short.toml"
    text = (files("pulsespec.protocols") / "press-3t-te35.toml").read_text()
    protocol.write_text(text.replace("te_ms = 35.0", "te_ms = 8.0"))
    message = fails("export", protocol, "--scanner", "siemens-prisma", "-o", tmp_path / "a.seq")
    assert "te_ms = 8 is too short" in message


def test_a_wrong_key_names_file_key_and_what_is_allowed(fails, tmp_path):
    protocol = tmp_path / "wrong.toml"
    text = (files("pulsespec.protocols") / "press-3t-te35.toml").read_text()
    protocol.write_text(text.replace("te_ms = 35.0", "te_us = 35.0"))
    message = fails("simulate", protocol, "-o", tmp_path / "a.h5")
    assert str(protocol) in message
    assert "te_us" in message
    assert "te_ms" in message


def test_a_sequence_without_adc(fails, press, tmp_path):
    without_adc(press)
    message = fails("simulate", press, "-o", tmp_path / "a.h5", "--metabolites", "Cr")
    assert str(press) in message
    assert "ADC" in message


def test_a_sequence_cut_in_half(fails, press, tmp_path):
    content = press.read_bytes()
    press.write_bytes(content[: len(content) // 2])
    assert str(press) in fails("simulate", press, "-o", tmp_path / "a.h5", "--metabolites", "Cr")


def test_an_output_of_unknown_format(fails, press, tmp_path):
    assert "expected a name that ends in .h5, .basis" in fails("simulate", press, "-o", tmp_path / "a.txt")


def test_an_unknown_metabolite(fails, press, tmp_path):
    assert "Unobtainium" in fails(
        "simulate", press, "-o", tmp_path / "a.h5", "--metabolites", "Cr,Unobtainium"
    )


def test_contradicting_options(fails, press, tmp_path):
    message = fails("simulate", press, "-o", tmp_path / "a.h5", "--field", 3, "--f0-mhz", 127.7)
    assert "expected one of them" in message


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """An SDAT pair at 127.74 MHz, TE 35 ms."""
    folder = tmp_path_factory.mktemp("sdat")
    write_sdat(folder, brain_like()[None].conj(), "act")
    write_sdat(folder, brain_like(water=20000.0)[None].conj(), "ref")
    return folder


@pytest.fixture(scope="module")
def small_basis(tmp_path_factory):
    """A basis of three metabolites for TE 30 ms at 123.25 MHz."""
    lines = {
        name: Lines(np.array([(ppm - 4.65) * 123.25]), np.array([3.0 + 0j]))
        for name, ppm in (("NAA", 2.01), ("Cr", 3.03), ("GPC", 3.21))
    }
    path = tmp_path_factory.mktemp("basis") / "b.h5"
    Basis(lines=lines, f0_hz=123.25e6, nucleus="1H", te_s=0.03).write(path)
    return path


def nifti(path, fid, **change):
    known = {"dwell_s": 5e-4, "f0_hz": 123.25e6, "te_s": 0.03, "tr_s": 2.0, "dims": ("t",)}
    write_nifti(Transients(data=fid, **(known | change)), path)
    return path


def test_a_truncated_sdat(fails, brain, tmp_path):
    for name in ("act.SDAT", "act.SPAR"):
        (tmp_path / name).write_bytes((brain / name).read_bytes())
    path = tmp_path / "act.SDAT"
    path.write_bytes(path.read_bytes()[:3000])
    message = fails("run", path, brain / "ref.SDAT", "--protocol", "press-3t-te35", "-o", tmp_path / "out")
    assert "act.SDAT: 3000 bytes, expected 8192" in message


def test_a_protocol_of_another_echo_time(fails, brain, tmp_path):
    paths = (brain / "act.SDAT", brain / "ref.SDAT")
    message = fails("run", *paths, "--protocol", "press-3t-te144", "-o", tmp_path / "out")
    assert "35.00 ms" in message
    assert "144.00 ms" in message


def test_a_conjugated_nifti_needs_the_word_of_the_user(fails, small_basis, tmp_path):
    path = nifti(tmp_path / "conj.nii.gz", brain_like(f0_hz=123.25e6).conj())
    message = fails("fit", path, "--basis", small_basis, "-o", tmp_path / "out")
    assert "conj.nii.gz" in message
    assert "--conjugate" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"f0_hz": 63.6e6}, ("63.600 MHz", "123.250 MHz")),
        ({"te_s": 0.144}, ("144.00 ms", "30.00 ms")),
        ({"nucleus": "31P"}, ("31P", "1H")),
    ],
)
def test_a_basis_for_other_data(fails, small_basis, tmp_path, change, words):
    path = nifti(tmp_path / "x.nii.gz", brain_like(f0_hz=change.get("f0_hz", 123.25e6)), **change)
    message = fails("fit", path, "--basis", small_basis, "-o", tmp_path / "out")
    for word in words:
        assert word in message


def test_a_twix_cut_in_half(fails, data_folder, tmp_path):
    folder = data_folder / "siemens-3t-pulseq-phantom"
    raw = (folder / "06_PRESS_center.dat").read_bytes()
    path = tmp_path / "half.dat"
    path.write_bytes(raw[: len(raw) // 2])
    sequence = folder / "06_PRESS_center.seq"
    assert "half.dat" in fails("recon", path, "--seq", sequence, "-o", tmp_path / "out.nii.gz")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--position-mm", "1,2"), "--position-mm: got '1,2', expected 3 numbers"),
        (("--orientation", "1,2,x"), "--orientation: got '1,2,x', expected 3 or 9 numbers"),
        (("--orientation", "1,0,0,1,0,0,0,0,1"), "right-handed unit vectors"),
        (("--pulseq", "1.3"), "--pulseq: got '1.3', expected 1.5 or 1.4.1"),
        (("--field", "7"), "field: got 7 T, and siemens-prisma has 2.894 T"),
        (("--from-image", "none.nii"), "none.nii"),
        (("--voxel-mm", "0,20,20"), "voxel_mm"),
    ],
)
def test_geometry_that_cannot_be_is_refused(fails, tmp_path, options, words):
    path = tmp_path / "a.seq"
    message = fails("export", "press-3t-te35", "--scanner", "siemens-prisma", "-o", path, *options)
    assert words in message
    assert not path.exists()


@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        (
            "press-3t-te35",
            ("--matrix", "8,8,8"),
            "--matrix: got (8.0, 8.0, 8.0) for press-3t-te35, which mea",
        ),
        ("press-3t-te35", ("--fov-mm", "200,200,10"), "--fov-mm: got (200.0, 200.0, 10.0) for press-3t-te35"),
        ("fid-mrsi-3t", ("--matrix", "8,8"), "--matrix: got '8,8', expected 3 numbers"),
        ("fid-mrsi-3t", ("--matrix", "8.5,8,1"), "encoding.matrix.0 = 8.5"),
        ("fid-mrsi-3t", ("--matrix", "8,0,1"), "encoding.matrix.1 = 0"),
        ("fid-mrsi-3t", ("--fov-mm", "220,100,15"), "fov_mm along y is 100: expected at least voxel_mm, 220"),
        ("epsi-3t-whole-brain", ("--matrix", "160,8,4"), "expected at most"),
    ],
)
def test_images_that_cannot_be_are_refused(fails, tmp_path, protocol, options, words):
    path = tmp_path / "a.seq"
    message = fails("export", protocol, "--scanner", "siemens-prisma", "-o", path, *options)
    assert words in message
    assert not path.exists()


def test_plots_and_calibrations_of_nothing_are_refused(fails, press, tmp_path):
    assert "ends in .png" in fails("plot", press, "-o", tmp_path / "x.gif")
    assert "ends in .html" in fails("plot", press, "--report", "-o", tmp_path / "x.png")
    assert "--shot: got 10000" in fails("plot", press, "-o", tmp_path / "x.png", "--shot", 10000)
    assert "no such file" in fails("calibrate", tmp_path / "none.dat", "--seq", press)
    assert list(tmp_path.glob("x.*")) == []
