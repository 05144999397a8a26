"""What a fit says of itself: limits of what is not there, significance, bounds, pairs that cannot be told apart."""

from dataclasses import replace

import brain_for_tests as small
import numpy as np
import pytest
from scipy.stats import truncnorm

from pulsespec.recon.fit import FitSettings, fit
from pulsespec.recon.fit_words import significance, upper_limit
from pulsespec.recon.report import fit_report, render
from pulsespec.recon.report_correlation import correlation_figure


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    return small.brain_basis(tmp_path_factory.mktemp("brain"))


@pytest.mark.parametrize(("value", "sd"), [(0.0, 1.0), (0.3, 0.7), (5.0, 1.0), (40.0, 1.0)])
def test_the_limit_is_the_quantile_of_what_is_possible(value, sd):
    assert upper_limit(value, sd) == pytest.approx(truncnorm(-value / sd, np.inf, value, sd).ppf(0.95))


def test_a_limit_holds_in_nineteen_of_twenty_spectra(basis):
    held, zeros = 0, 0
    for seed in range(20):
        without = small.BRAIN_MM | {"Lac": 0.3}
        data = small.brain(basis, sd=20.0, seed=seed, amounts=without)
        found = fit(data, basis, FitSettings(metabolite_priors=False))
        limit = upper_limit(*found.combine({"Lac": 1.0}))
        zeros += found.combine({"Lac": 1.0})[0] == 0
        held += limit > 0.3
    assert zeros > 1  # so that the limit is what counts
    assert held >= 18


def test_what_is_not_there_is_said_with_its_limit(basis):
    found = fit(small.brain(basis, sd=8.0, amounts=small.BRAIN_MM | {"Asp": 0.0, "Lac": 0.0}, seed=5), basis)
    zero = [name for name, size in zip(found.names, found.amplitudes, strict=True) if size == 0]
    (words,) = [w for w in found.warnings if w.startswith("found at zero")]
    assert zero
    assert all(f"{name} {upper_limit(*found.combine({name: 1.0})):.3g} (" in words for name in zero)


def test_significance_follows_the_noise(basis):
    low, high = (significance(fit(small.brain(basis, sd=sd), basis)) for sd in (40.0, 10.0))
    assert high == pytest.approx(4 * low, rel=0.4)


def test_functions_that_are_one_are_said_to_be(basis):
    twice = basis.with_broad({"Copy": basis.lines["Ins"]})
    found = fit(small.brain(basis, sd=8.0), twice)
    assert any("Ins and Copy can hardly be told apart" in words for words in found.warnings)
    assert found.correlation[found.names.index("Ins"), found.names.index("Copy")] < -0.95


def test_a_width_beyond_what_is_searched_is_said(basis):
    found = fit(small.brain(basis, sd=1.0, width_hz=60.0, gauss_hz=40.0), basis)
    assert not found.converged or any("at a bound" in words for words in found.warnings)


def test_the_correlation_is_a_picture_in_the_report(basis):
    data = small.brain(basis, sd=8.0)
    found = fit(data, basis)
    page = fit_report(found, data, [{"metabolite": "NAA", "amplitude": 1.0}], title="x")
    figure = correlation_figure(*page.correlation)
    (trace,) = figure["data"]
    i, k = found.names.index("PCr"), found.names.index("Cr")
    assert trace["z"][i][k] == pytest.approx(found.correlation[i, k], abs=1e-3)
    assert trace["z"][k][i] is None
    assert trace["text"][i][k] == f"{found.correlation[i, k]:.2f}".replace("0.", ".")
    html = render(page)
    assert 'id="correlation"' in html
    assert "Correlation of the amplitudes" in html
    assert 'id="correlation"' not in render(replace(page, correlation=None))
