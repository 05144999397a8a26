"""Blocks on a scheduler of dask over loopback, and on jobs of a SLURM that is three shell scripts."""

import logging
import os
import sys
from functools import partial
from pathlib import Path

import blocks_for_tests as work
import distributed
import numpy as np
import pytest
from nifti_for_tests import write_raw

from pulsespec import commands
from pulsespec.cluster import check_name, connect, read_slurm
from pulsespec.errors import InputError, MismatchError, WorkerError
from pulsespec.executor import TRIES, Spread, iter_blocks, map_blocks, spread
from pulsespec.simulator import Basis

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def cluster():
    """Two workers with a thread each, on ports that are free, without a page of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE)
        options = {"host": "127.0.0.1", "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as found:
            yield found


@pytest.fixture
def machines(cluster):
    said = []
    with connect(cluster.scheduler_address, said.append) as found, spread(Spread(found)):
        yield found


def test_a_cluster_gives_the_bits_of_one_process(machines):
    job = partial(work.heavy, np.random.default_rng(1).normal(size=(120, 120)))
    there = map_blocks(job, range(6))
    with spread(Spread()):
        here = map_blocks(job, range(6))
    assert [found["seed"] for found in there] == [0, 1, 2, 3, 4, 5]
    assert all(np.array_equal(a["values"], b["values"]) for a, b in zip(here, there, strict=True))


def test_a_worker_of_a_cluster_that_dies_costs_its_block(machines, tmp_path):
    given = list(iter_blocks(partial(work.fatal, tmp_path), range(6)))
    assert given == [0, 10, 20, 30, 40, 50]
    assert len(list(tmp_path.glob("died-*"))) == 1


def test_a_block_that_kills_every_worker_of_a_cluster_is_named(machines, cluster, tmp_path, monkeypatch):
    """Or the one that waited behind it each time: dask does not say which of a worker's blocks was running."""
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # dask itself would try four times each
    with pytest.raises(WorkerError, match=r"seed [23]: its worker died, again and again"):
        map_blocks(partial(work.fatal, tmp_path, times=99), range(4), label="seed {}".format)
    assert len(list(tmp_path.glob("died-*"))) == TRIES


def test_what_a_cluster_finished_is_kept(machines, tmp_path):
    (tmp_path / "stop").touch()
    job = partial(work.noted, tmp_path)
    with pytest.raises(RuntimeError, match="stopped"):
        map_blocks(job, range(6), keep=tmp_path / "kept")
    (tmp_path / "stop").unlink()
    with spread(Spread()):  # what one place began another may end
        assert len(map_blocks(job, range(6), keep=tmp_path / "kept")) == 6
    traces = [int(path.name.split("-")[1]) for path in tmp_path.glob("did-*")]
    assert set(traces) == set(range(6))
    assert len(traces) < 12


def test_a_worker_with_another_program_is_refused(machines, monkeypatch):
    monkeypatch.setattr("pulsespec.cluster.fingerprint", lambda: "another program")
    with pytest.raises(MismatchError, match="another program"):
        map_blocks(abs, range(2))


def test_a_fault_of_a_block_comes_back(machines):
    with pytest.raises(ValueError, match="seed"):
        map_blocks(work.wrong, range(3))


def until_it_closes(cluster):
    for _ in iter_blocks(abs, range(100)):
        cluster.close()


def test_a_scheduler_that_goes_is_said():
    options = {"host": "127.0.0.1", "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", **options
        ) as cluster,
        connect(cluster.scheduler_address, str) as found,
        spread(Spread(found)),
        pytest.raises(WorkerError, match="scheduler is gone"),
    ):
        until_it_closes(cluster)


def test_a_basis_is_simulated_on_a_cluster(pulsespec, cluster, tmp_path):
    """The verb, with the address as a user gives it; the basis is that of one process to the bit."""
    sequence = tmp_path / "press.seq"
    commands.export("press-3t-te30", "siemens-prisma", sequence)
    words = ["simulate", sequence, "--metabolites", "Cr,NAA,Lac", "--no-cache", "--quiet"]
    code, _, said = pulsespec(*words, "--cluster", cluster.scheduler_address, "-o", tmp_path / "a.h5")
    assert (code, said) == (0, "")
    assert pulsespec(*words, "-o", tmp_path / "b.h5")[0] == 0
    one, other = Basis.read(tmp_path / "a.h5"), Basis.read(tmp_path / "b.h5")
    for name in ("Cr", "NAA", "Lac"):
        assert np.array_equal(one.lines[name].amplitude, other.lines[name].amplitude)
        assert np.array_equal(one.lines[name].frequency_hz, other.lines[name].frequency_hz)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "press.seq"]


SCRIPTS = {
    "sbatch": 'cp "$1" "$PLACE/job"; sh "$PLACE/job" >/dev/null 2>&1 & echo "Submitted batch job $!"',
    "scancel": 'kill "$1"; touch "$PLACE/cancelled"',
}


def test_jobs_of_slurm_are_workers(tmp_path, monkeypatch):
    """`sbatch` runs a copy of what it is given, as a node would; `scancel` ends it."""
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.chdir(tmp_path)
    options = tmp_path / "slurm.toml"
    options.write_text(
        f'[slurm]\njobs = 1\ncores = 1\nmemory = "1GB"\ninterface = "lo"\npython = {sys.executable!r}\n'
        'worker_extra_args = ["--no-dashboard"]\nlog_directory = "."\nqueue = "short"\n'
    )
    said = []
    with connect(str(options), said.append) as found, spread(Spread(found)):
        assert map_blocks(abs, [-1, -2, -3]) == [1, 2, 3]
        assert "#SBATCH -p short" in found.client.cluster.job_script()
    assert said == ["asking SLURM for 1 jobs", f"cluster {options}: waiting for a worker"]
    assert (tmp_path / "cancelled").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("jobs = 1", r"expected one table \[slurm\]"),
        ("[slurm]\njobs = 0", "at least 1"),
        ("[slurm", "is not TOML"),
    ],
)
def test_a_wrong_file_of_slurm_options_is_refused(tmp_path, content, words):
    path = tmp_path / "slurm.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_slurm(path)


def test_a_wrong_name_of_a_cluster_is_refused(pulsespec, tmp_path):
    with pytest.raises(InputError, match="expected an address"):
        check_name("somewhere")
    raw = write_raw(tmp_path / "a.nii.gz", np.ones((1, 1, 1, 8), dtype=complex), {})
    code, _, said = pulsespec(
        "recon", raw, "-o", tmp_path / "b.nii.gz", "--cluster", "somewhere", "--dry-run"
    )
    assert (code, "expected an address" in said) == (2, True)


def test_nobody_at_an_address_is_said(monkeypatch):
    monkeypatch.setattr("pulsespec.cluster._CONNECT_S", 0.3)
    with pytest.raises(WorkerError, match="no scheduler of dask answers"), connect("tcp://127.0.0.1:1", str):
        pass
