"""The engine against dense exponentials on a full grid, with real crushers and no idea of pathways."""

import numpy as np
import pytest
import reference as ref
import sequences_for_tests as seqs

from pulsespec.simulator.basis import render
from pulsespec.simulator.engine import simulate_system
from pulsespec.simulator.equivalence import swap_symmetry
from pulsespec.simulator.simulate import Settings, plan_shots
from pulsespec.simulator.timeline import read_timeline

PLANE = {
    "extent_m": (0.16, 0.16, 0.02),
    "points": (416, 416, 1),
    "voxel_m": seqs.VOXEL_M,
    "taper": 0.6,
}
"""2600 cells a metre along x and y, clear of every moment; nothing is selected along z."""


def symmetric(n, **values):
    j = np.zeros((n, n))
    for key, value in values.items():
        i, k = int(key[1]), int(key[2])
        j[i, k] = j[k, i] = value
    return j


SYSTEMS = {
    "A": ([3.0], np.zeros((1, 1))),
    "AX": ([4.0, 3.2], symmetric(2, j01=7.0)),
    "AB": ([3.05, 3.0], symmetric(2, j01=11.0)),
    "ABX": ([2.67, 2.49, 4.38], symmetric(3, j01=-15.6, j02=3.9, j12=9.8)),
    "A3X": ([1.31, 1.31, 1.31, 4.1], symmetric(4, j03=6.9, j13=6.9, j23=6.9)),
    "strong": ([3.60, 3.55, 3.52], symmetric(3, j01=10.0, j02=3.0, j12=9.5)),
}
SEQUENCES = {
    "steam": seqs.steam_steps,
    "mega": seqs.mega_steps,
    "interleaved": seqs.interleaved_steps,
    "poor": seqs.poor_steps,
    "skew": seqs.skew_steps,
    "band": seqs.band_steps,
    "special": seqs.special_steps,
}
CYCLES = {"mega": seqs.MEGA_CYCLE, "special": seqs.INVERTED}


def engine(path, shifts, j_hz, samples, dwell_s, tolerance=1e-4):
    timeline = read_timeline(path)
    plans = plan_shots(path, timeline, timeline.shots, Settings(tolerance=tolerance))
    shift_hz = (np.array(shifts) - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    every = [simulate_system(plan, (0.5,) * len(shifts), shift_hz, j_hz) for plan in plans]
    fids = np.mean([render(lines, samples, dwell_s) for lines in every], axis=0)
    return fids * 4.0 / 2 ** len(shifts), plans[0]


COARSE = {"points": (224, 224, 1)}
CASES = [
    ("steam", "A3X", {"points": (168, 168, 1)}),
    ("steam", "ABX", COARSE),
    ("mega", "AX", {}),
    ("interleaved", "AB", {}),
    ("poor", "strong", COARSE),
    ("skew", "AX", {"points": (160, 160, 1), "extent_m": (0.12, 0.12, 0.02)}),
    ("band", "AX", {"points": (640, 320, 1)}),
    ("special", "AX", {}),
]


@pytest.fixture(scope="module")
def brute(tmp_path_factory):
    """Return the file of a sequence and the brute-force FID of a system, each made once."""
    known = {}

    def of(sequence, system, plane):
        key = (sequence, system, str(plane))
        if key not in known:
            path = written(tmp_path_factory.mktemp("brute"), sequence)
            known[key] = path, np.asarray(ref.brute_force(path, *SYSTEMS[system], **(PLANE | plane)))
        return known[key]

    return of


@pytest.mark.parametrize(("sequence", "system", "plane"), CASES)
def test_agrees_with_brute_force(sequence, system, plane, brute):
    path, expected = brute(sequence, system, plane)
    found, _ = engine(path, *SYSTEMS[system], 32, 1e-3)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("sequence", "system", "plane"),
    [
        ("mega", "AX", {}),
        ("steam", "AX", COARSE),
        ("poor", "AX", {"extent_m": (0.24, 0.24, 0.02), "points": (416, 416, 1)}),
        ("interleaved", "A", {"extent_m": (0.24, 0.24, 0.02), "points": (624, 624, 1)}),
    ],
)
def test_a_tight_tolerance_is_met(sequence, system, plane, brute):
    path, expected = brute(sequence, system, plane)
    found, _ = engine(path, *SYSTEMS[system], 32, 1e-3, tolerance=1e-5 if sequence == "interleaved" else 1e-6)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_slices_that_are_not_orthogonal_are_summed_over_their_product(tmp_path):
    _, plan = engine(written(tmp_path, "skew"), [3.0], np.zeros((1, 1)), 32, 1e-3)
    assert plan.layout.groups == ((0, 1),)


def written(folder, sequence):
    return seqs.planned(folder / f"{sequence}.seq", SEQUENCES[sequence], cycle=CYCLES.get(sequence, ({},)))


def test_an_exchange_that_changes_nothing_divides_a_system(tmp_path, monkeypatch):
    """AA'XX' in two parts and as a whole."""
    j_hz = symmetric(4, j01=-12.0, j23=-10.0, j02=7.1, j13=7.1, j03=5.9, j12=5.9)
    shifts = [3.6, 3.6, 4.1, 4.1]
    assert swap_symmetry((0.5,) * 4, np.array(shifts), j_hz) == (1, 0, 3, 2)
    path = written(tmp_path, "steam")
    divided, _ = engine(path, shifts, j_hz, 64, 1e-3, tolerance=1e-6)
    monkeypatch.setattr("pulsespec.simulator.engine.swap_symmetry", lambda *_: None)
    whole, _ = engine(path, shifts, j_hz, 64, 1e-3, tolerance=1e-6)
    np.testing.assert_allclose(divided, whole, atol=1e-7 * np.abs(whole).max())
