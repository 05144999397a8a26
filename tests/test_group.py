"""Statistics of a study against closed forms and simulation, and the picture against its numbers."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from pulsespec.recon.group import (
    Values,
    comparisons,
    gather,
    modified_z,
    outliers,
    summaries,
    weighted_mean,
)
from pulsespec.recon.group_picture import nice_ticks, strip

RNG = np.random.default_rng(3)


def values(x, sd=0.1, groups=None, quantity="ratio_tCr", metabolite="tNAA"):
    x = np.asarray(x, dtype=float)
    return Values(
        "acq-press",
        metabolite,
        quantity,
        tuple(f"{k:02d}" for k in range(x.size)),
        tuple(groups or [""] * x.size),
        x,
        np.broadcast_to(sd, x.shape).astype(float),
        math.nan,
        0,
    )


def row(subject, value, sd=0.1, scan="", **more):
    return {
        "subject": subject,
        "scan": scan,
        "metabolite": "tNAA",
        "ratio_tCr": value,
        "ratio_tCr_sd": sd,
        "concentration_mM": math.nan,
        "flag": "",
        **more,
    }


def test_a_subject_counts_once():
    found = gather([row("01", 1.0), row("01", 3.0), row("02", 5.0, sd=0.3, flag="not-detected")])
    assert [one.quantity for one in found] == ["ratio_tCr"]
    assert found[0].value.tolist() == [2.0, 5.0]
    assert found[0].sd == pytest.approx([0.1 / math.sqrt(2), 0.3])
    assert found[0].within == pytest.approx(math.sqrt(2))
    assert found[0].undetected == 1


def test_scans_of_different_kinds_are_not_pooled():
    found = gather([row("01", 1.0, scan="voi-acc"), row("01", 3.0, scan="voi-pcc")])
    assert [(one.kind, one.value.tolist()) for one in found] == [("voi-acc", [1.0]), ("voi-pcc", [3.0])]


def test_a_summary_is_that_of_its_group():
    (everybody, a, b) = summaries([values([1, 2, 3, 10, 12], groups=["a", "a", "a", "b", "b"])])
    assert (everybody["n"], a["group"], a["n"], b["n"]) == (5, "a", 3, 2)
    assert (a["mean"], a["sd"], a["cv_percent"]) == pytest.approx((2.0, 1.0, 50.0))
    assert (a["lowest"], a["highest"], everybody["median"]) == (1.0, 3.0, 3.0)


def test_equal_errors_weigh_equally_and_leave_what_is_between():
    """With equal sd the model has a closed form: the plain mean, and the variance less that of the fits."""
    x = np.array([1.0, 2.0, 3.0, 6.0])
    mean, sd, between = weighted_mean(x, np.full(4, 0.5))
    assert mean == pytest.approx(3.0)
    assert between**2 == pytest.approx(x.var(ddof=1) - 0.25)
    assert sd == pytest.approx(math.sqrt(x.var(ddof=1) / 4))


def test_without_differences_between_subjects_weights_are_those_of_the_fits():
    x, sd = np.array([1.0, 1.2]), np.array([0.1, 0.3])
    mean, of_mean, between = weighted_mean(x, sd)
    weights = sd**-2
    assert between == 0
    assert mean == pytest.approx(weights @ x / weights.sum())
    assert of_mean == pytest.approx(weights.sum() ** -0.5)


def test_what_is_between_subjects_comes_back():
    sd = RNG.uniform(0.2, 2.0, 4000)
    x = 10 + RNG.normal(0, 1.0, 4000) + RNG.normal(0, sd)
    mean, of_mean, between = weighted_mean(x, sd)
    assert abs(mean - 10) < 4 * of_mean
    assert between == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize(
    ("x", "sd"), [([1.0], [0.1]), ([1.0, 2.0], [0.1, math.nan]), ([1.0, 2.0], [0.0, 0.0])]
)
def test_too_little_has_no_weighted_mean(x, sd):
    assert all(math.isnan(one) for one in weighted_mean(np.array(x), np.array(sd)))


def test_welch_by_hand():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0])
    (found,) = comparisons([values([*x, *y], groups=[*"aaaa", *"bbb"])])
    a, b = x.var(ddof=1) / 4, y.var(ddof=1) / 3
    df = (a + b) ** 2 / (a**2 / 3 + b**2 / 2)
    assert (found["difference"], found["t"], found["df"]) == pytest.approx(
        (-1.5, -1.5 / math.sqrt(a + b), df)
    )
    assert found["low_95"] < -1.5 < found["high_95"]
    pooled = math.sqrt((3 * x.var(ddof=1) + 2 * y.var(ddof=1)) / 5)
    assert found["hedges_g"] == pytest.approx(-1.5 / pooled * (1 - 3 / 19))


def test_chance_is_found_as_often_as_it_says():
    """Groups of the same mean and other spread: p is uniform, and adjusted p rarely small."""
    groups = [*"a" * 12, *"b" * 20]
    drawn = [
        values([*RNG.normal(5, 1, 12), *RNG.normal(5, 3, 20)], groups=groups, metabolite=str(k))
        for k in range(700)
    ]
    found = comparisons(drawn)
    p = np.array([one["p"] for one in found])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.05)
    assert min(one["p_adjusted"] for one in found) > p.min()


def test_a_difference_is_found():
    x = [*RNG.normal(5, 0.5, 15), *RNG.normal(6, 0.5, 15)]
    (found,) = comparisons([values(x, groups=[*"a" * 15, *"b" * 15])])
    assert found["p"] < 1e-3
    assert found["weighted_p"] < 1e-3
    assert found["p_adjusted"] == found["p"]


def test_groups_of_one_are_not_compared():
    assert comparisons([values([1, 2, 3], groups=["a", "a", "b"])]) == []
    assert comparisons([values([1, 1, 1, 1], groups=["a", "a", "b", "b"])]) == []


def test_one_far_from_the_others_stands_out():
    x = [*RNG.normal(5, 0.1, 9), 6.5]
    (found,) = outliers([values(x)])
    assert (found["subject"], found["value"]) == ("09", 6.5)
    assert found["z"] > 3.5
    assert outliers([values(x[:-1])]) == []
    assert np.all(np.isnan(modified_z(np.array([*range(8), 90.0]))))


def test_groups_that_differ_do_not_stand_out_of_each_other():
    x = [*RNG.normal(5, 0.1, 12), *RNG.normal(8, 0.1, 10)]
    assert outliers([values(x, groups=[*"a" * 12, *"b" * 10])]) == []
    assert len(outliers([values([*x[:12], *x[-2:]])])) == 2


@pytest.mark.parametrize(
    ("highest", "ticks"), [(1.0, [0, 0.25, 0.5, 0.75, 1]), (13.2, [0, 5, 10, 15]), (0.0, [0, 1])]
)
def test_ticks_are_round(highest, ticks):
    assert nice_ticks(highest) == pytest.approx(ticks)


def test_a_picture_has_a_point_for_each_subject_where_its_value_is():
    drawn = str(strip(values([1.0, 2.0, 4.0, 2.5, 2.2], sd=0.0, groups=list("aabbb")), {"02"}))
    points = {
        name: (float(y), fill)
        for y, fill, name in re.findall(r'cy="([\d.]+)" r="3" fill="(#\w+)"[^>]*><title>sub-(\d+)', drawn)
    }
    zero, top = 210 - 34, 26
    assert points["02"][0] == pytest.approx(top)
    assert points["00"][0] == pytest.approx(zero + (top - zero) / 4, abs=0.06)
    assert points["02"][1] == "#fff"
    assert len(points) == 5
    assert "n = 2" in drawn
    assert "n = 3" in drawn


def test_words_in_a_picture_cannot_be_markup():
    drawn = str(strip(values([1.0, 2.0, 3.0, 4.0], groups=["<b>", "<b>", "x&y", "x&y"]), set()))
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert "x&amp;y" in drawn
    one = replace(values([1.0]), metabolite='"><script>')
    assert "<script>" not in str(strip(one, set()))
