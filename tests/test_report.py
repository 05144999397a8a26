"""The HTML report: complete, self-contained, safe against what comes in with the data."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pulsespec.errors import InputError
from pulsespec.recon.report import Report, flatten, record_figures, render, show, spectrum_figure
from pulsespec.recon.transients import Record


def lorentzian(ppm, centre, width, height):
    return height * width**2 / (width**2 + (ppm - centre) ** 2)


def make_report(**changes) -> Report:
    ppm = np.linspace(4.2, 0.2, 400)
    components = {
        "NAA": lorentzian(ppm, 2.01, 0.02, 10.0),
        "Cr": lorentzian(ppm, 3.03, 0.02, 8.0) + lorentzian(ppm, 3.91, 0.02, 5.0),
        "PCh": lorentzian(ppm, 3.2, 0.02, 4.0),
    }
    baseline = 1.0 + 0.2 * np.cos(ppm)
    fit = baseline + sum(components.values())
    noise = np.random.default_rng(0).normal(0, 0.1, ppm.size)
    values = {
        "title": "P1-S01",
        "ppm": ppm,
        "layers": {"data": fit + noise, "fit": fit, "baseline": baseline, "residual": noise},
        "components": components,
        "table": [
            {"metabolite": "NAA", "amplitude": 10.0, "crlb_percent": 2.0, "concentration_mM": 8.123456},
            {"metabolite": "Lac", "amplitude": 0.1, "crlb_percent": 120.0, "concentration_mM": float("nan")},
        ],
        "quality": {"signal-to-noise ratio": 80.0, "linewidth / Hz": 4.21},
        "warnings": ["the water reference is missing: no concentrations in mM"],
        "records": [Record("Frequency and phase correction", "16 averages", {"drift_hz": np.arange(16.0)})],
        "provenance": {"basis": {"hash": "abc", "f0_hz": 123.25e6}},
        "fit_range_ppm": (0.5, 4.0),
    }
    return Report(**(values | changes))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.script, self.scripts, self.words = [], False, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.script = tag == "script"
        if self.script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.script = False

    def handle_data(self, data):
        if self.script:
            self.scripts[-1] += data
        else:
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def page():
    return Page(render(make_report()))


def test_the_page_asks_for_nothing_outside_itself(page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "audio", "video")
        assert not {"src", "href", "srcset", "action", "data", "poster"} & set(attributes), (tag, attributes)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "connect-src" not in policy
    own_script = page.scripts[-1]
    assert "http" not in own_script
    assert len(page.scripts[0]) > 1_000_000, "the plotting library is part of the page"


def test_the_page_shows_all_curves(page):
    figure = json.loads(re.search(r"const spectrum = (.*);\n", page.scripts[-1]).group(1))
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["data", "fit", "baseline", "residual", "NAA", "Cr", "PCh"]
    low, high = figure["layout"]["xaxis"]["range"]
    assert low > high, "the ppm axis runs from right to left"


def test_the_curves_are_those_given():
    report = make_report()
    figure = spectrum_figure(report)
    by_name = {trace["name"]: trace for trace in figure["data"]}
    x = np.array(by_name["data"]["x"])
    order = np.argsort(report.ppm)
    assert np.allclose(x, report.ppm[order], atol=1e-5)
    ratio = np.array(by_name["fit"]["y"]) / report.layers["fit"][order]
    assert np.allclose(ratio, ratio[0], rtol=1e-4)
    lifted = np.array(by_name["residual"]["y"]) - report.layers["residual"][order] * ratio[0]
    assert np.allclose(lifted, lifted[0], atol=1e-4)
    naa = np.array(by_name["NAA"]["y"])
    assert x[np.argmax(naa)] == pytest.approx(2.01, abs=0.011)


def test_table_warnings_records_and_origin_are_in_the_text(page):
    words = "\n".join(page.words)
    for expected in ("P1-S01", "Warnings", "no concentrations in mM", "8.123", "Lac", "–", "4.21"):
        assert expected in words
    for expected in ("Frequency and phase correction", "16 averages", "basis.hash", "abc", "123250000"):
        assert expected in words
    steps = json.loads(re.search(r"const steps = (.*);\n", page.scripts[-1]).group(1))
    assert steps["step-0-0"]["data"][0]["y"] == list(range(16))


def test_without_warnings_there_is_no_warning_panel():
    assert "Warnings" not in Page(render(make_report(warnings=()))).words


def test_what_comes_with_the_data_cannot_become_markup():
    evil = "</script><script src='http://example.org/x.js'></script>"
    report = make_report(
        title=evil,
        warnings=[evil],
        components={evil: np.zeros(400)},
        records=[Record(evil, evil, {evil: np.arange(3.0), "word": evil})],
        provenance={evil: evil},
        table=[{"metabolite": evil}],
    )
    page = Page(render(report))
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}, {}]


def test_curves_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"components\['NAA'\]: shape \(3,\), expected \(400,\)"):
        make_report(components={"NAA": np.zeros(3)})


def test_a_record_with_many_curves_shows_their_spread():
    rows = np.arange(100.0)[:, None] + np.zeros(7)
    (figure,) = record_figures(Record("m", "d", {"rows": rows}))
    curves = {trace["name"]: trace["y"] for trace in figure["data"]}
    assert curves["median"] == [49.5] * 7
    assert curves["lower quartile"] == [24.75] * 7


def test_values_are_shown_for_readers():
    assert [show(v) for v in (None, float("nan"), 1.23456, 3, "x", (1.5, 2), True)] == [
        "–", "–", "1.235", "3", "x", "1.5, 2", "True",
    ]  # fmt: skip
    assert flatten({"a": {"b": 1, "c": {"d": 2.0}}}) == [("a.b", "1"), ("a.c.d", "2")]
