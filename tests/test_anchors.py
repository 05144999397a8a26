"""Soft ratios whose reference is not fitted."""

import pytest

from pulsespec.recon.anchors import anchored
from pulsespec.recon.fit_settings import FitSettings

PRIORS = (("a", "r", 0.5, 0.1), ("b", "r", 2.0, 0.8), ("c", "r", 1.0, 0.4), ("d", "e+2*f", 0.3, 0.1))


def test_with_the_reference_nothing_changes():
    assert anchored(PRIORS, ("a", "b", "r", "d", "f")) == PRIORS


def test_the_best_known_takes_the_place_of_the_reference():
    found = {name: (to, ratio, sd) for name, to, ratio, sd in anchored(PRIORS, ("a", "b", "c"))}
    assert "a" not in found
    assert found["b"] == ("a", pytest.approx(4.0), pytest.approx(4.0 * (0.2**2 + 0.4**2) ** 0.5))
    assert found["c"] == ("a", pytest.approx(2.0), pytest.approx(2.0 * (0.2**2 + 0.4**2) ** 0.5))
    assert found["d"] == ("e+2*f", 0.3, 0.1) or "d" not in found


def test_one_alone_is_free():
    assert [prior for prior in anchored(PRIORS, ("b", "x")) if prior[0] == "b"] == []


def test_macromolecules_above_two_ppm_hold_one_another():
    names = ("NAA", "MM2.01", "MM2.25", "MM2.96")
    used = [p for p in anchored(FitSettings().ratio_priors, names) if p[0] in names and p[1] in names]
    assert [(name, to) for name, to, *_ in used] == [("MM2.25", "MM2.01"), ("MM2.96", "MM2.01")]
