"""Wrong usage and wrong input: exit code 2, one line that says what to change, and nothing left behind."""

import sys
from importlib.resources import files

import pytest

from pulsespec import cli, commands


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
    assert "te_ms = 8.0 is too short" in message


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
    assert "expected a name that ends in .h5 or .basis" in fails("simulate", press, "-o", tmp_path / "a.txt")


def test_an_unknown_metabolite(fails, press, tmp_path):
    assert "Unobtainium" in fails(
        "simulate", press, "-o", tmp_path / "a.h5", "--metabolites", "Cr,Unobtainium"
    )


def test_contradicting_options(fails, press, tmp_path):
    message = fails("simulate", press, "-o", tmp_path / "a.h5", "--field", 3, "--f0-mhz", 127.7)
    assert "expected one of them" in message
