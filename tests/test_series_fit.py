"""Dynamic fits of synthetic series against the truth they were made from."""

import numpy as np
import pytest
from series_for_tests import SAMPLES, series_of, small_basis

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.series_fit import series_fit
from pulsespec.recon.series_models import load_model, parse_model
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
    amounts = AMOUNTS * (1 - 2 * 0.95 * np.exp(-ti[:, None] / t1))
    found = series_fit(
        series_of(amounts, 0.5, np.random.default_rng(5), phases=np.full(5, 0.4)),
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
