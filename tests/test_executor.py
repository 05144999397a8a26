"""Blocks give the same bits wherever they are computed, outlive their workers, and are not computed twice."""

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import blocks_for_tests as work
import numpy as np
import pytest

from pulsespec.console import Console, PlainLines
from pulsespec.errors import InputError, WorkerError
from pulsespec.executor import TRIES, Spread, current, iter_blocks, map_blocks, spread
from pulsespec.kept import Kept, beside, clear, count, work_on
from pulsespec.progress import Step, duration

SHARED = np.random.default_rng(1).normal(size=(120, 120))


def done(folder):
    return sorted(int(path.name.split("-")[1]) for path in Path(folder).glob("did-*"))


def test_two_processes_give_the_bits_of_one():
    one = map_blocks(partial(work.heavy, SHARED), range(5))
    two = map_blocks(partial(work.heavy, SHARED), range(5), 2)
    assert [found["seed"] for found in two] == [0, 1, 2, 3, 4]
    assert all(np.array_equal(a["values"], b["values"]) for a, b in zip(one, two, strict=True))


def test_a_worker_that_dies_costs_its_block_alone(tmp_path):
    said = []
    given = map_blocks(partial(work.fatal, tmp_path), range(6), 2, watch=lambda step: said.append(step.words))
    assert given == [0, 10, 20, 30, 40, 50]
    assert done(tmp_path) == [0, 1, 2, 3, 4, 5]  # none was computed twice
    assert [words for words in said if words] == ["block 3: its worker died; it is computed again"]


def test_a_result_that_was_cut_off_on_its_way_is_computed_again(tmp_path):
    given = map_blocks(partial(work.cut_off, tmp_path), range(3), 2)
    assert [(found[0], found[-1], found.size) for found in given] == [(k, k, 6_000_000) for k in range(3)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_block_that_kills_every_worker_is_named(tmp_path):
    deadly = partial(work.fatal, tmp_path, times=99)
    with pytest.raises(WorkerError, match="seed 2: its worker died, again and again"):
        map_blocks(deadly, range(4), 2, label="seed {}".format)
    assert len(list(tmp_path.glob("died-*"))) == TRIES


def test_something_may_stand_for_a_block_that_is_given_up(tmp_path):
    given = map_blocks(
        partial(work.fatal, tmp_path, times=99), range(4), 2, instead=lambda seed, error: (seed, str(error))
    )
    assert [given[0], given[1], given[3]] == [0, 10, 30]
    assert given[2][0] == 2
    assert "died" in given[2][1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_wrong_with_a_block_is_not_tried_again(jobs):
    with pytest.raises(ValueError, match=r"seed [01]"):
        map_blocks(work.wrong, range(2), jobs)


def test_a_stream_is_lazy_and_in_order():
    taken = []

    def blocks():
        for seed in range(100):
            taken.append(seed)
            yield seed

    iter_blocks(abs, blocks(), 2).close()
    assert taken == []
    stream = iter_blocks(abs, blocks(), 2)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert len(taken) <= 8


def nested(_):
    return current()


def test_what_a_block_spreads_is_computed_within_it(tmp_path):
    with spread(Spread(keep=tmp_path / "x", watch=lambda step: None)):
        assert map_blocks(nested, [1, 2]) == [Spread(), Spread()]


def keeping(tmp_path, function, jobs=1, blocks=range(6)):
    return map_blocks(function, blocks, jobs, keep=tmp_path / "kept")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_job_resumes(tmp_path, jobs):
    (tmp_path / "stop").touch()
    job = partial(work.noted, tmp_path)
    with pytest.raises(RuntimeError, match="stopped"):
        keeping(tmp_path, job, jobs)
    before = done(tmp_path)
    assert len(before) >= 3
    assert 4 not in before
    (tmp_path / "stop").unlink()
    steps = []
    given = map_blocks(job, range(6), jobs, keep=tmp_path / "kept", watch=steps.append)
    assert np.array_equal(given, np.repeat(np.arange(6)[:, None], 3, axis=1))
    assert set(done(tmp_path)) == set(range(6))
    assert (steps[-1].done, steps[-1].total) == (6, 6)
    assert steps[-1].kept >= 3
    assert len(done(tmp_path)) <= 7  # one may have run, but not ended, when the other failed


def test_a_killed_program_resumes_with_other_hashes_and_processes(tmp_path):
    """The whole program is killed, by a signal that it cannot answer; another resumes what it left."""
    code = (
        "import sys, time; from functools import partial; import blocks_for_tests as work\n"
        "from pulsespec.executor import iter_blocks\n"
        "if __name__ == '__main__':\n"
        "    for n, _ in enumerate(iter_blocks(partial(work.noted, {'at': 1} and sys.argv[1]), range(6),"
        " int(sys.argv[2]), keep=__import__('pathlib').Path(sys.argv[1]) / 'kept')):\n"
        "        if n == 2 and sys.argv[3] == 'die': __import__('os').kill(__import__('os').getpid(), 9)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    first = [sys.executable, str(program), str(tmp_path), "1", "die"]
    assert subprocess.run(first, env=environment | {"PYTHONHASHSEED": "1"}).returncode == -signal.SIGKILL
    assert done(tmp_path) == [0, 1, 2]
    again = [sys.executable, str(program), str(tmp_path), "2", "live"]
    subprocess.run(again, env=environment | {"PYTHONHASHSEED": "2"}, check=True)
    assert done(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_damaged_blocks_are_computed_again(tmp_path):
    job = partial(work.noted, tmp_path)
    keeping(tmp_path, job)
    first, second, third, *_ = sorted((tmp_path / "kept").glob("*.block"))
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    second.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    third.write_bytes(b"")
    assert np.array_equal(keeping(tmp_path, job), [[k] * 3 for k in range(6)])
    assert len(done(tmp_path)) == 9
    assert not list((tmp_path / "kept").glob("*.part"))


class Evil:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (os.mkdir, (self.place,))


def test_a_kept_block_cannot_run_anything(tmp_path):
    kept = Kept(tmp_path / "kept", abs)
    kept.write(kept.key(b"1"), pickle.dumps(Evil(str(tmp_path / "ran"))))
    assert kept.read(kept.key(b"1")) is None
    assert not (tmp_path / "ran").exists()


def test_everything_that_goes_in_is_in_the_key(tmp_path, monkeypatch):
    block = pickle.dumps(1)
    keys = {Kept(tmp_path, partial(work.heavy, shared)).key(block) for shared in (1, 2)}
    keys |= {Kept(tmp_path, abs).key(block), Kept(tmp_path, abs).key(pickle.dumps(2))}
    monkeypatch.setattr("pulsespec.kept.fingerprint", lambda: "another program")
    keys |= {Kept(tmp_path, abs).key(block)}
    assert len(keys) == 5


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    other = tmp_path / "out.partial"
    other.mkdir()
    (other / "x.block").write_text("mine")
    clear(other)
    assert (other / "x.block").read_text() == "mine"
    with pytest.raises(InputError, match="something else"):
        map_blocks(abs, [1, 2], keep=other)


@pytest.mark.parametrize(
    ("error", "left"), [(None, 0), (InputError("x"), 0), (WorkerError("x"), 2), (KeyboardInterrupt(), 2)]
)
def test_unfinished_work_is_left_where_it_may_resume(tmp_path, error, left):
    said, output = [], tmp_path / "out"
    with pytest.raises(type(error)) if error else nullcontext(), work_on(output, said.append) as folder:
        map_blocks(abs, [1, 2], keep=folder)
        if error is not None:
            raise error
    assert count(beside(output)) == left
    assert beside(output).exists() == bool(left)
    assert bool(said) == bool(left)
    with work_on(output, said.append):
        assert ("resuming" in (said or [""])[-1]) == bool(left)
    assert not beside(output).exists()


def test_the_time_left_is_that_of_blocks_computed_now():
    step = Step("fits", done=30, total=50, kept=20, elapsed_s=100.0)
    assert step.left_s == 200.0
    assert step.line() == "fits: 30 of 50, 20 of them kept from before, about 3 min 20 s left"
    assert Step("fits", 20, 50, 20, 1.0).left_s is None
    assert Step("spectra", 20, None, 0, 1.0).line() == "spectra: 20"


@pytest.mark.parametrize(("seconds", "words"), [(59.4, "59 s"), (60, "1 min 0 s"), (4000, "1 h 6 min")])
def test_times_are_said_as_a_person_would(seconds, words):
    assert duration(seconds) == words


def test_a_log_gets_a_line_now_and_then_and_the_last():
    said = []
    lines = PlainLines(said.append)
    for k in range(1, 101):
        lines(Step("fits", k, 100, 0, 0.25 * k))
    assert [line.split(",")[0] for line in said] == ["fits: 40 of 100", "fits: 80 of 100", "fits: 100 of 100"]
    lines(Step("short", 1, 1, 0, 0.1))
    assert len(said) == 3


@pytest.mark.parametrize("quiet", [False, True])
def test_work_is_kept_beside_its_output(tmp_path, capsys, quiet):
    with Console(quiet=quiet).work(tmp_path / "out.h5") as notify:
        notify("begins")
        map_blocks(abs, [-1, -2])
        assert not (tmp_path / "out.h5.partial").exists()  # who does not ask for it has nothing kept
        map_blocks(abs, [-1, -2], keep=True)
        assert count(tmp_path / "out.h5.partial") == 2
        for watch in filter(None, [current().watch]):
            watch(Step("fits", 1, 2, 0, 11.0))
    assert not (tmp_path / "out.h5.partial").exists()
    expected = "" if quiet else "begins\nfits: 1 of 2, about 11 s left\n"
    assert capsys.readouterr().err == expected


def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import os, time; from functools import partial; import blocks_for_tests as work\n"
        "from pulsespec.executor import iter_blocks\n"
        "if __name__ == '__main__':\n"
        f"    next(iter_blocks(partial(work.fatal, {str(tmp_path)!r}), [0, 1, 3, 4], 1 + 1))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    subprocess.run(
        [sys.executable, str(program)], env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    )
    workers = {int(path.name.split("-")[2]) for path in tmp_path.glob("did-*")}
    assert workers
    for _ in range(100):
        if not any(alive(worker) for worker in workers):
            return
        time.sleep(0.05)
    raise AssertionError(f"processes {workers} are still there")


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False
