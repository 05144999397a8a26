"""Dynamic fits of synthetic series against the truth they were made from."""

from dataclasses import replace

import numpy as np
import pytest
from series_for_tests import SAMPLES, series_of, small_basis

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.series_fit import series_fit
from pulsespec.recon.series_links import links_of, plan_of
from pulsespec.recon.series_models import load_model, parse_model
from pulsespec.recon.series_search import Search
from pulsespec.recon.series_stack import fit_alone, parts_of, place_of, problems_of, sharing_of
from pulsespec.recon.series_tables import amplitude_rows, model_rows

FIT = FitSettings(stiffness=0.8, ratio_priors=())
B = np.array([0.0, 0.9, 2.1, 3.9])
AMOUNTS = np.array([10.0, 8.0, 6.0])
ADC = np.array([0.16, 0.12, 0.2])
DIFFUSION = """
name = "plain"
variable = { name = "b", unit = "ms/um2" }
[concentrations]
model = "A * exp(-b * ADC)"
parameters.ADC = { lower = 0.0, upper = 3.0, unit = "um2/ms" }
"""


def decayed(x=B):
    return AMOUNTS * np.exp(-np.outer(x, ADC))


def value(rows, metabolite, parameter):
    row = next(r for r in rows if (r["metabolite"], r["parameter"]) == (metabolite, parameter))
    return row["value"], row["sd"]


def test_diffusion_is_recovered_and_intervals_hold_the_truth():
    model, inside, deviations = parse_model(DIFFUSION, "plain"), [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        spectra = series_of(decayed(), 1.0, rng, phases=rng.uniform(-3, 3, 4), hz=rng.normal(0, 4, 4))
        found = series_fit(spectra, [small_basis()], model, B, settings=FIT)
        assert found.joint.converged
        rows = model_rows(found)
        for name, amount, adc in zip(found.names, AMOUNTS, ADC, strict=True):
            for parameter, truth in (("A", amount), ("ADC", adc)):
                got, sd = value(rows, name, parameter)
                deviations.append((got - truth) / sd)
        inside.append(found.verdict.probability > 1e-3)
    deviations = np.array(deviations)
    assert all(inside)
    assert 0.88 < np.mean(np.abs(deviations) < 1.96) <= 1.0
    assert 0.75 < np.std(deviations) < 1.25


def test_spectra_drowned_in_noise_do_not_lead_astray():
    """At the last b-values a spectrum alone stands on nothing; together they still hold the course down."""
    x = np.array([0.0, 1.0, 2.0, 20.0, 25.0])
    model, errors = parse_model(DIFFUSION, "plain"), []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        spectra = series_of(decayed(x), 3.0, rng, phases=rng.uniform(-3, 3, 5), hz=rng.normal(0, 1, 5))
        found = series_fit(spectra, [small_basis()], model, x, settings=FIT)
        assert found.joint.converged
        got, sd = value(model_rows(found), "NAA", "ADC")
        errors.append((got - ADC[0]) / sd)
        shifts = [one["shift_ppm"] for one in found.joint.parameters]
        assert np.ptp(shifts) < 0.12
    assert not all(one.converged for one in found.alone)
    assert np.max(np.abs(errors)) < 4


def test_linked_amplitudes_are_surer_than_those_of_each_spectrum():
    rng = np.random.default_rng(3)
    found = series_fit(
        series_of(decayed(), 1.0, rng), [small_basis()], parse_model(DIFFUSION, "plain"), B, settings=FIT
    )
    rows = [row for row in amplitude_rows(found) if row["metabolite"] == "NAA"]
    assert len(rows) == 4
    assert np.mean([row["linked_sd"] / row["alone_sd"] for row in rows]) < 0.85
    for row, truth in zip(rows, decayed()[:, 0], strict=True):
        assert row["linked"] == pytest.approx(truth, abs=4 * row["linked_sd"])
        assert row["alone"] == pytest.approx(truth, abs=4 * row["alone_sd"])


def test_a_model_that_does_not_hold_is_said():
    """A plateau is no exponential."""
    amounts = AMOUNTS * np.array([1.0, 0.5, 0.45, 0.44])[:, None]
    found = series_fit(
        series_of(amounts, 0.5, np.random.default_rng(4)), [small_basis()], parse_model(DIFFUSION, "p"), B,
        settings=FIT,
    )  # fmt: skip
    assert found.verdict.probability < 1e-6
    assert found.verdict.aic > 0
    assert any("does not hold" in words for words in found.warnings)


def test_inverted_signals_keep_their_sign():
    ti, t1 = np.array([100.0, 400.0, 900.0, 1800.0, 4000.0]), np.array([1300.0, 1400.0, 1100.0])
    amounts = AMOUNTS * (1 - 1.9 * np.exp(-ti[:, None] / t1) + 0.9 * np.exp(-5000 / t1))
    spectra = series_of(amounts, 0.5, np.random.default_rng(5), phases=np.full(5, 0.4))
    with pytest.raises(InputError, match="RepetitionTime"):
        series_fit(
            replace(spectra, tr_s=None), [small_basis()], load_model("inversion-recovery"), ti, settings=FIT
        )
    found = series_fit(
        replace(spectra, tr_s=5.0),
        [small_basis()], load_model("inversion-recovery"), ti, settings=FIT,
    )  # fmt: skip
    rows = model_rows(found)
    for set_name, truth in zip(("tNAA", "tCr", "Ins"), t1, strict=True):
        got, sd = value(rows, set_name, "T1")
        assert got == pytest.approx(truth, abs=4 * sd)
        assert sd < 60
        assert value(rows, set_name, "efficiency")[0] == pytest.approx(0.95, abs=0.05)
    assert found.released[0, 0] < 0
    assert found.alone == ()


def test_blocks_of_stimulation_and_what_they_change():
    events = np.repeat([0.0, 1.0, 0.0, 1.0], 3)
    drift = np.linspace(-1, 1, 12)
    design = {"rest": np.ones(12), "stimulus": events, "bold": events, "drift": drift}
    amounts = AMOUNTS * np.ones((12, 1))
    amounts[:, 1] *= 1 + 0.05 * events
    amounts[:, 2] *= 1 - 0.1 * events + 0.02 * drift
    spectra = series_of(amounts, 0.4, np.random.default_rng(6), widths=-0.2 * events)
    found = series_fit(spectra, [small_basis()], load_model("fmrs-block"), np.arange(12.0), design, FIT)
    rows = model_rows(found)
    for name, truth in (("NAA", 0.0), ("Cr", 5.0), ("Ins", -10.0)):
        got, sd = value(rows, name, "change_percent")
        assert got == pytest.approx(truth, abs=4 * sd)
        assert sd < 2
    slope, sd = value(rows, "Ins", "drift")
    assert slope == pytest.approx(0.12, abs=4 * sd)
    _, nuisance_sd = value(rows, "lorentz", "bold")
    assert value(rows, "lorentz", "bold")[0] == pytest.approx(-0.2, abs=4 * nuisance_sd)


def test_columns_of_the_table_stand_in_expressions():
    """One ADC along each of two directions, with one amplitude: the direction is a column."""
    x, along = np.array([0.0, 1.0, 2.0, 4.0, 1.0, 2.0, 4.0]), np.array([0.0, 1, 1, 1, 0, 0, 0])
    rate = np.where(along[:, None] > 0, 0.3, 0.1)
    text = DIFFUSION.replace("ADC)", "(D1 * u + D2 * (1 - u)))").replace("parameters.ADC", "parameters.D1")
    text += 'parameters.D2 = { lower = 0.0, upper = 3.0 }\n[constants]\nu = { column = "along" }\n'
    spectra = series_of(AMOUNTS * np.exp(-x[:, None] * rate), 0.5, np.random.default_rng(13))
    model = parse_model(text, "plain")
    found = series_fit(spectra, [small_basis()], model, x, settings=FIT, columns={"along": along})
    for parameter, truth in (("D1", 0.3), ("D2", 0.1)):
        got, sd = value(model_rows(found), "Cr", parameter)
        assert got == pytest.approx(truth, abs=4 * sd)
        assert sd < 0.02
    with pytest.raises(InputError, match="needs column 'along'"):
        series_fit(spectra, [small_basis()], model, x, settings=FIT)


def test_each_echo_time_can_have_a_basis_of_its_own():
    te, t2 = np.array([30.0, 60.0, 120.0, 240.0]), np.array([250.0, 160.0, 180.0])
    amounts = AMOUNTS * np.exp(-te[:, None] / t2)
    bases = [small_basis(one * 1e-3) for one in te]
    found = series_fit(
        series_of(amounts, 0.5, np.random.default_rng(7)), bases, load_model("t2"), te, settings=FIT
    )
    got, sd = value(model_rows(found), "tCr", "T2")
    assert got == pytest.approx(160.0, abs=4 * sd)
    assert sd < 10


def test_products_equal_finite_differences_of_the_cost():
    """The descent of the search, against the cost itself; unknowns are solved anew at each point."""
    x, design = np.array([0.0, 1.0, 2.0, 4.0]), {"rest": np.ones(4), "on": np.array([0.0, 1.0, 0.0, 1.0])}
    text = DIFFUSION + '[lorentz]\nmodel = "glm"\nregressors = ["rest", "on"]\n'
    text += '[[regressors]]\nname = "rest"\nkind = "constant"\n[[regressors]]\nname = "on"\nkind = "events"\n'
    model, spectra = parse_model(text, "plain"), series_of(decayed(x), 1.0, np.random.default_rng(9))
    alone = fit_alone(spectra, [small_basis()], np.arange(4), FIT)
    place = place_of(alone, spectra, np.ones(4, dtype=bool), 0, model)
    parts, noise = parts_of(spectra, problems_of(spectra, [small_basis()], FIT), place, FIT)
    plan = plan_of(model, small_basis().names, (), x, design, 0)
    search = Search(
        parts, links_of(plan, np.full(3, 0.2)), sharing_of(parts[0].task, x, design, model, place, 0)
    )
    rng = np.random.default_rng(10)
    start = np.concatenate([search.sharing.start, [0.3, 0.2, 0.1]])
    at = np.clip(start + rng.normal(0, 0.02, start.size), search.lower, search.upper)
    point = search.point(at)
    descent = search.products(point)[2] - search.precision @ (at - search.mean)
    for k in np.flatnonzero(np.diag(search.precision) < 1e10):
        step = np.eye(at.size)[k] * 1e-5
        numeric = (search.point(at + step).cost - search.point(at - step).cost) / 2e-5
        assert -2 * descent[k] == pytest.approx(numeric, rel=2e-3, abs=0.05)
    assert noise.shape == (4,)


def test_what_does_not_fit_together_is_refused():
    spectra, model = series_of(decayed(), 0.5, np.random.default_rng(8)), parse_model(DIFFUSION, "plain")
    with pytest.raises(InputError, match="3 values for 4 spectra"):
        series_fit(spectra, [small_basis()], model, B[:3], settings=FIT)
    with pytest.raises(InputError, match="2 basis sets"):
        series_fit(spectra, [small_basis()] * 2, model, B, settings=FIT)
    with pytest.raises(InputError, match="2 parameters for 1 different values"):
        series_fit(spectra, [small_basis()], model, np.ones(4), settings=FIT)
    text = DIFFUSION.replace('"A * exp(-b * ADC)"', '"biexponential"').split("parameters")[0]
    three = series_of(decayed(B[:3]), 0.5, np.random.default_rng(8))
    with pytest.raises(InputError, match=r"4 parameters for 3"):
        series_fit(three, [small_basis()], parse_model(text, "plain"), B[:3], settings=FIT)
    assert spectra.samples == SAMPLES
