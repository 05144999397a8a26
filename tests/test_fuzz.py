"""Damaged files: one clear error or the scan that was there, never a crash, a hang or another shape."""

import collections
from dataclasses import replace

import fuzz_for_tests as fuzzing
import numpy as np
import pytest
from files_for_tests import brain_like, write_sdat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_for_tests import write_raw
from test_bids import planted_mrd

from pulsespec.errors import DataError
from pulsespec.recon.formats import FORMATS, Format, Known, format_of
from pulsespec.recon.read import read


def nifti(folder):
    fids = brain_like(samples=256)[None, None, None, :, None] * np.ones(3)
    return write_raw(folder / "x.nii", fids, {"dim_5": "DIM_DYN"})


def nifti_gz(folder):
    return write_raw(folder / "x.nii.gz", brain_like(samples=256)[None, None, None])


def sdat(folder):
    return write_sdat(folder, brain_like(samples=256)[None].conj() * np.ones((2, 1)))


WRITERS = (nifti, nifti_gz, sdat, planted_mrd)


@pytest.fixture(scope="module")
def worker():
    with fuzzing.Worker(limit_s=60.0) as worker:
        yield worker


@pytest.mark.parametrize("write", WRITERS)
def test_damaged_files_of_ours(tmp_path, write, worker):
    found = list(fuzzing.fuzz(write(tmp_path), range(16), worker))
    wrong = [(number, done, outcome) for number, done, outcome in found if outcome.kind in fuzzing.FAILURES]
    assert wrong == []
    kinds = collections.Counter(outcome.kind for _, _, outcome in found)
    assert kinds["one clear error"] > 0
    assert kinds.total() - kinds["one clear error"] > 0


def test_damaged_real_files_of_each_format(data_folder, worker):
    """The smallest file of every format that a reader knows: whoever adds a format adds it here too."""
    smallest = {}
    for path in sorted((p for p in data_folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size):
        if path.suffix.lower() in (".spar", ".seq") or path.stat().st_size > 600_000:
            continue
        try:
            form = format_of(path)
        except DataError:
            continue
        if form.name not in smallest and readable(path):
            smallest[form.name] = path
    assert {"NIfTI-MRS", "Philips SDAT/SPAR", "Siemens twix"} <= smallest.keys() <= {f.name for f in FORMATS}
    for path in smallest.values():
        wrong = [row for row in fuzzing.fuzz(path, range(6), worker) if row[2].kind in fuzzing.FAILURES]
        assert wrong == []


def readable(path):
    sequence = path.with_suffix(".seq")
    try:
        return bool(read([path], known=Known(sequence if sequence.is_file() else None)))
    except DataError:
        return False


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([nifti, sdat]))
def test_any_edit_of_bytes_is_seen_or_harmless(tmp_path_factory, data, write):
    folder = tmp_path_factory.mktemp("edit")
    path = write(folder)
    sound = read([path])
    victim = data.draw(st.sampled_from(sorted(folder.iterdir())))
    raw = bytearray(victim.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 16))] = data.draw(st.binary(max_size=16))
    victim.write_bytes(raw)
    outcome = fuzzing.Reader().judge(path, None, sound, -1)
    assert outcome.kind not in fuzzing.FAILURES, outcome.words


@pytest.mark.parametrize("value", [np.nan, complex(1.0, np.nan), np.inf, 1e20])
def test_samples_that_no_receiver_makes_are_refused(tmp_path, value):
    fid = brain_like(samples=64)
    fid[5] = value
    with pytest.raises(DataError, match=r"x\.nii: has .*damaged"):
        read([write_raw(tmp_path / "x.nii", fid[None, None, None])])


def faulty(kind):
    """A reader with one fault, to see that each fault is caught."""

    def read_faulty(path, _known):
        from pulsespec.recon.nifti import read_nifti
        from pulsespec.recon.transients import Scan

        scan = Scan(read_nifti(path))
        if "damaged" not in str(path):
            return scan
        if kind == "other error":
            raise IndexError("list index out of range")
        if kind == "error without the file's name":
            raise DataError("something is wrong")
        return Scan(scan.metabolite.with_data(scan.metabolite.data[..., ::2]))

    return read_faulty


@pytest.mark.parametrize("kind", ["other error", "error without the file's name", "other shape"])
def test_a_fault_of_a_reader_is_caught(tmp_path, monkeypatch, kind):
    from pulsespec.recon import formats

    path = nifti_gz(tmp_path)
    monkeypatch.setattr(formats, "FORMATS", (Format("x", lambda _: True, faulty(kind)),))
    reader = fuzzing.Reader()
    copy = tmp_path / "damaged"
    copy.mkdir()
    (copy / "y.nii.gz").write_bytes(path.read_bytes())
    assert reader(str(path), str(copy / "y.nii.gz"), None, 0).kind == kind


def test_what_reading_must_not_change_is_compared(tmp_path):
    scan = read([sdat(tmp_path)])
    data = scan.metabolite
    assert fuzzing.compare(scan, scan, 1).kind == "read as before"
    dead = replace(scan, metabolite=replace(data, dwell_s=float("nan")))
    assert fuzzing.compare(scan, dead, 1).kind == "nonsense facts"
    other = replace(scan, metabolite=data.with_data(data.data * 2))
    assert fuzzing.compare(scan, other, 3).kind == "spread"
    assert fuzzing.compare(scan, other, -1).kind == "read, other values"
    slow = replace(scan, metabolite=replace(data, te_s=1.0))
    assert fuzzing.compare(scan, slow, 1).kind == "read, other facts in the header"


@pytest.mark.parametrize("kind", ["crash", "hang"])
def test_the_watchdog_sees_a_death_and_a_standstill(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fuzzing, "_serve", fuzzing.serve_faulty)
    with fuzzing.Worker(limit_s=0.1, start_s=0.0 if kind == "hang" else 60.0) as worker:
        outcome = worker(tmp_path / kind, tmp_path / kind, None, 0)
    assert outcome.kind == kind
    assert outcome.words == ("SIGSEGV" if kind == "crash" else "more than 0.1 s")
