"""`pulsespec acquire`: faults from a name, a file and flags, and what it refuses."""

import json
import sys

import pytest
import sequences_for_tests as seqs

from pulsespec import cli
from pulsespec.simulator.faults import load_faults
from pulsespec.simulator.truth import read_truth


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    return seqs.labelled_shots(tmp_path_factory.mktemp("cli") / "shots.seq", 8, 1, samples=64)


@pytest.fixture
def run(monkeypatch, capsys, sequence, tmp_path):
    """Run `acquire` in this process; returns exit code, standard output and standard error."""

    def call(*arguments):
        call.output = tmp_path / "raw.h5"
        words = ["pulsespec", "acquire", sequence, "-o", call.output, "--overwrite", *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_a_named_set_with_flags_is_what_the_header_says(run):
    code, out, _ = run("--faults", "trial", "--coils", "5", "--snr", "12", "--seed", "3", "--json")
    assert code == 0
    truth = read_truth(run.output)
    assert truth.faults == load_faults("trial", coils=5, snr=12.0)
    assert truth.seed == 3
    assert sum(truth.is_corrupted) == 1
    shown = json.loads(out)
    assert shown["truth"]["corrupted"] == list(truth.corrupted)
    assert "metabolite_fids" not in shown["truth"]


def test_without_flags_the_faults_are_the_plain_ones(run):
    assert run()[0] == 0
    assert read_truth(run.output).faults == load_faults("plain")


def test_a_file_counts_and_a_wrong_one_is_one_line(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "clean"\ncoils = 3\n')
    assert run("--faults", path)[0] == 0
    assert read_truth(run.output).faults == load_faults("clean", coils=3)
    run.output.unlink()
    path.write_text("drift = 3.0\n")
    code, _, err = run("--faults", path)
    assert code == 2
    assert err.count("\n") == 1
    assert "did you mean 'drift_hz'" in err
    assert not run.output.exists()


def test_a_flag_out_of_range_is_refused(run):
    code, _, err = run("--snr", "-3")
    assert code == 2
    assert "snr = -3.0" in err
