"""Large spin systems in overlapping clusters against the whole of them."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.linalg import expm
from test_propagators import brute_force, shaped

from pulsespec.simulator.clusters import division, joined
from pulsespec.simulator.operators import operators
from pulsespec.simulator.propagators import Accuracy, pulse_propagators

ANGLE_S = 5e-3


def chain(seed, count=7):
    """Couplings of a chain whose spins are numbered at random, with a ring of three at its end."""
    rng = np.random.default_rng(seed)
    j = np.zeros((count, count))
    names = rng.permutation(count)
    for one, other in [*pairwise(names), (names[-3], names[-1])]:
        j[one, other] = j[other, one] = rng.uniform(-14, 14)
    return j


def free(j, spins, time_s=ANGLE_S):
    spins = list(spins)
    return expm(-2j * np.pi * time_s * operators((0.5,) * len(spins)).coupling(j[np.ix_(spins, spins)]))[None]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
def test_clusters_make_the_whole_within_the_stated_error(seed, tolerance):
    j = chain(seed)
    found = division((0.5,) * 7, j, ANGLE_S, tolerance)
    assert found is not None
    assert not j[np.ix_(found.left, found.right)].any()
    assert sorted(found.left + found.middle + found.right) == list(range(7))
    made = joined(found, *[free(j, spins) for spins in found.clusters])[0]
    error = np.linalg.norm(made - free(j, range(7))[0], 2)
    assert error < found.error(j, ANGLE_S) < tolerance
    assert error > 0.02 * found.error(j, ANGLE_S)


def test_a_ring_of_short_ways_and_large_spins_stay_whole():
    ring = np.roll(np.eye(6), 1, axis=0) * 10.0
    assert division((0.5,) * 6, ring + ring.T, ANGLE_S, 1e-5) is None
    assert division((0.5,) * 6 + (1.0,), chain(1), ANGLE_S, 1e-2) is None


@pytest.mark.parametrize(("tolerance", "largest"), [(1e-4, 3e-4), (1e-6, 3e-6)])
def test_propagators_of_a_chain_agree_with_sample_by_sample_exponentials(tolerance, largest):
    shift = np.array([-330.0, -250.0, -20.0, -150.0, -170.0, -90.0])
    j, rf = chain(5, 6), shaped(samples=120, duration_s=2e-3, peak_hz=900.0)
    assert division((0.5,) * 6, j, rf.duration_s, tolerance) is not None
    got = pulse_propagators(operators((0.5,) * 6), rf, shift, j, np.array([-300.0]), 120, Accuracy(tolerance))
    assert np.abs(got[0] - brute_force((0.5,) * 6, rf, shift, j, -300.0)).max() < largest
