"""The fit: derivatives, baseline, recovery of truth, honest intervals, robust starts, clear refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import nnls

from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon import nonnegative
from pulsespec.recon.fit import FitSettings, fit, fit_batch
from pulsespec.recon.fit_beyond import multiplets
from pulsespec.recon.fit_model import PIVOT_PPM, evaluate, problem_of, slopes
from pulsespec.recon.fit_noise import samples_to_fit
from pulsespec.recon.guard_basis import compare
from pulsespec.recon.natural_widths import natural_widths
from pulsespec.recon.nonnegative import solve_nonnegative
from pulsespec.recon.quantify import QuantifySettings, quantify, water_amplitude
from pulsespec.recon.results import read_table, write_table
from pulsespec.recon.spline import baseline
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines

F0, DWELL, SAMPLES = 123.25e6, 2.5e-4, 2048
T = np.arange(SAMPLES) * DWELL
LINES = {  # ppm and amplitude of each line
    "NAA": [(2.01, 3.0), (2.49, 0.5), (2.67, 0.5)],
    "Cr": [(3.03, 3.0), (3.92, 2.0)],
    "GPC": [(3.21, 9.0), (3.66, 0.8)],
    "Glu": [(2.34, 1.0), (2.37, 1.0), (2.08, 0.9), (3.75, 1.0)],
    "Ins": [(3.52, 2.0), (3.61, 2.0), (3.27, 1.0)],
    "Lac": [(1.31, 1.5), (1.37, 1.5)],
}
TRUTH = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5, "Glu": 9.0, "Ins": 6.0, "Lac": 1.0}


@pytest.fixture(scope="module")
def basis():
    lines = {
        name: Lines(np.array([(p - 4.65) * F0 * 1e-6 for p, _ in of]), np.array([a + 0j for _, a in of]))
        for name, of in LINES.items()
    }
    water = Lines(np.zeros(1), np.array([2.0 + 0j]))
    return Basis(lines=lines, f0_hz=F0, nucleus="1H", te_s=0.03, tr_s=2.0, water=water)


def spectrum(basis, rng=None, sd=0.0, phase=0.0, shift_ppm=0.0, amounts=TRUTH, hump=0.0):
    fid = sum(value * basis.fid(name, SAMPLES, DWELL) for name, value in amounts.items())
    fid = fid * np.exp(-np.pi * 4.0 * T - (np.pi * 3.0 * T) ** 2 / (4 * np.log(2)))
    fid = fid + hump * np.exp(2j * np.pi * 250.0 * T - np.pi * 120.0 * T)
    fid = fid * np.exp(1j * phase - 2j * np.pi * shift_ppm * F0 * 1e-6 * T)
    if rng is not None:
        fid = fid + sd / np.sqrt(2) * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES))
    return Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0, te_s=0.03, tr_s=2.0, source="x.nii")


def problem(basis):
    fids = np.array([basis.fid(name, SAMPLES, DWELL) for name in basis.names])
    return problem_of(fids, basis.names, ("Glu", "Ins", "Lac"), DWELL, F0, 4.65, [(0.2, 4.0)])


def some_parameters(model, rng, n=2):
    at = model.layout
    theta = np.zeros((n, at.size))
    theta[:, : at.hermite.start] = [0.3, 0.05, 1.0, 4.0, 3.0, 5.0]
    theta[:, at.hermite] = rng.normal(0, 0.1, (n, 4))
    theta[:, at.own_shift] = rng.normal(0, 0.5, (n, 6))
    theta[:, at.own_width] = rng.normal(0, 0.2, (n, 6))
    return theta


def test_derivatives_equal_finite_differences(basis):
    rng = np.random.default_rng(0)
    model = problem(basis)
    theta = some_parameters(model, rng)
    amplitudes = rng.uniform(1, 5, (2, 6))
    slope = slopes(model, theta, evaluate(model, theta), amplitudes)
    for k in range(model.layout.size):
        step = np.zeros(model.layout.size)
        step[k] = 1e-5
        above, below = (
            np.einsum("vk,vkn->vn", amplitudes, evaluate(model, theta + s * step).columns) for s in (1, -1)
        )
        numeric = (above - below) / 2e-5
        # Widths act after time zero only; the band's response reaches a little before it.
        np.testing.assert_allclose(slope[:, k], numeric, atol=2e-3 * np.abs(numeric).max() + 1e-9)


def test_the_reduced_model_is_the_whole_one(basis):
    model = problem(basis)
    theta = some_parameters(model, np.random.default_rng(1), n=1)
    at = model.layout
    kind = np.where(model.broad, theta[0, 5], theta[0, 4])
    width, shift = kind + theta[0, at.own_width], theta[0, at.shift] + theta[0, at.own_shift]
    sigma = theta[0, at.gauss] * np.pi / np.sqrt(2 * np.log(2))
    series = 1 + sum(
        h * (1j * sigma * T) ** j / np.sqrt(math.factorial(j))
        for j, h in zip((3, 4, 5, 6), theta[0, at.hermite], strict=True)
    )
    fids = np.array([basis.fid(name, SAMPLES, DWELL) for name in basis.names])
    fids = fids * np.exp(2j * np.pi * shift[:, None] * T - np.pi * width[:, None] * T)
    turn = np.exp(1j * (0.3 + 0.05 * (model.ppm - PIVOT_PPM)))
    whole = (turn * model.spectrum(fids * series * np.exp(-0.5 * (sigma * T) ** 2))).real
    np.testing.assert_allclose(evaluate(model, theta).columns[0], whole, atol=5e-4 * np.abs(whole).max())


def test_first_order_phase_turns_about_its_pivot(basis):
    model = problem(basis)
    theta = np.zeros((2, model.layout.size))
    theta[1, model.layout.phase1] = 0.4
    flat, turned = evaluate(model, theta).columns
    at = np.argmin(np.abs(model.ppm - PIVOT_PPM))
    np.testing.assert_allclose(turned[:, at], flat[:, at], rtol=1e-2, atol=1e-3 * np.abs(flat).max())


@pytest.mark.parametrize("dimension", [0.8, 2.0, 5.0])
def test_the_baseline_has_the_dimension_asked_for(dimension):
    ppm = np.linspace(4.0, 0.2, 900)
    smooth = baseline(ppm)
    weight = smooth.log_weight(dimension)
    trace = np.trace(np.array([smooth.explain(row, weight) for row in np.eye(900)]))
    assert trace == pytest.approx(max(2.05, dimension * 3.8), rel=0.02)
    np.testing.assert_allclose(smooth.explain(3.0 - 2.0 * ppm, weight), 3.0 - 2.0 * ppm, atol=1e-5)


def test_the_baseline_is_the_penalised_least_squares_solution():
    ppm = np.linspace(4.0, 0.2, 300)
    smooth, rng = baseline(ppm), np.random.default_rng(3)
    values, weight = rng.normal(size=300), smooth.log_weight(3.0)
    rows = np.concatenate([smooth.vectors, np.diag(np.sqrt(np.exp(weight) * smooth.roughness))])
    solution, least, *_ = np.linalg.lstsq(rows, np.concatenate([values, np.zeros(smooth.roughness.size)]))
    np.testing.assert_allclose(smooth.explain(values, weight), smooth.vectors @ solution, atol=1e-9)
    assert np.sum(smooth.residual(values, weight) ** 2) == pytest.approx(least[0])


def test_non_negative_least_squares_equals_scipys():
    rng = np.random.default_rng(4)
    left, right = rng.normal(size=(40, 30, 12)) + 1.0, rng.normal(size=(40, 30)) + 0.5
    found, free = solve_nonnegative(
        np.einsum("vni,vnj->vij", left, left), np.einsum("vni,vn->vi", left, right)
    )
    expected = np.array([nnls(a, b)[0] for a, b in zip(left, right, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(found > 0, free)


def test_signed_least_squares_equals_scipys_with_a_column_for_each_sign():
    rng = np.random.default_rng(14)
    left, right = rng.normal(size=(40, 30, 8)), rng.normal(size=(40, 30))
    signed = np.arange(8) % 3 == 0
    found, free = solve_nonnegative(
        np.einsum("vni,vnj->vij", left, left), np.einsum("vni,vn->vi", left, right), signed=signed
    )
    for a, b, mine in zip(left, right, found, strict=True):
        both = nnls(np.concatenate([a, -a[:, signed]], axis=1), b)[0]
        expected = both[:8].copy()
        expected[signed] -= both[8:]
        np.testing.assert_allclose(mine, expected, atol=1e-8)
    assert (found[:, signed] < 0).any()
    assert free[:, signed].all()


def test_non_negative_least_squares_of_columns_that_overlap(monkeypatch):
    """Thirty Gaussians each ten times as wide as the steps between them: exchanges alone go round in circles."""
    reached = []
    downhill = nonnegative._downhill
    monkeypatch.setattr(nonnegative, "_downhill", lambda *given: reached.append(1) or downhill(*given))
    rng, x = np.random.default_rng(1), np.arange(100.0)
    left = np.exp(-0.5 * ((x[:, None] - np.linspace(0, 100, 30)) / 15.0) ** 2)
    right = np.maximum(rng.normal(size=(20, 30)), 0) @ left.T + rng.normal(size=(20, 100))
    found, _ = solve_nonnegative(np.broadcast_to(left.T @ left, (20, 30, 30)), right @ left)
    for b, amounts in zip(right, found, strict=True):
        assert np.linalg.norm(left @ amounts - b) == pytest.approx(nnls(left, b)[1], rel=1e-9)
    assert reached
    assert found.min() >= 0


def test_a_batch_is_its_spectra_one_by_one(basis):
    rng = np.random.default_rng(5)
    many = [spectrum(basis, rng, 0.6, phase=k, shift_ppm=0.03 * k) for k in range(4)]
    batch = fit_batch(replace(many[0], data=np.array([one.data for one in many]), dims=("x", "t")), basis)
    for k, one in enumerate(many):
        alone = fit(one, basis)
        np.testing.assert_allclose(batch.amplitudes[k], alone.amplitudes, rtol=1e-6)
        np.testing.assert_allclose(batch.one(k).fit, alone.fit, atol=1e-6 * np.abs(alone.fit).max())


def test_the_stiffness_follows_the_data(basis):
    rng = np.random.default_rng(6)
    flat, humped = (fit(spectrum(basis, rng, 0.5, hump=hump), basis) for hump in (0.0, 400.0))
    assert flat.parameters["baseline_dimension_per_ppm"] < 1.0
    assert humped.parameters["baseline_dimension_per_ppm"] > 1.0


def test_an_asymmetric_line_is_followed(basis):
    shape = 0.7 + 0.3 * np.exp(2j * np.pi * 4.0 * T)
    skew = spectrum(basis, np.random.default_rng(7), 1.0)
    skew = replace(skew, data=skew.data * shape)
    free, voigt = fit(skew, basis), fit(skew, basis, FitSettings(lineshape_sd=0.0))
    assert free.parameters["residual_over_noise"] < 1.15 < voigt.parameters["residual_over_noise"]
    assert free.combine({"NAA": 1.0})[0] == pytest.approx(10.0, rel=0.02)


def test_a_weak_metabolite_is_drawn_to_what_is_expected(basis):
    expected = 0.6 / 22.5 * (10 + 8 + 3 * 1.5)
    prior = ("Lac", "NAA+Cr+3*GPC", 0.6 / 22.5, 0.6 / 22.5)
    free, drawn = np.transpose(
        [
            [
                fit(noisy, basis, FitSettings(ratio_priors=priors)).combine({"Lac": 1.0})[0]
                for priors in ((), (prior,))
            ]
            for noisy in (spectrum(basis, np.random.default_rng(seed), 15.0) for seed in range(12))
        ]
    )
    assert np.std(drawn) < 0.9 * np.std(free)
    assert np.mean(np.abs(drawn - expected)) < np.mean(np.abs(free - expected))


def test_data_that_object_to_what_is_expected_are_believed(basis):
    noisy = spectrum(basis, np.random.default_rng(8), 12.0, amounts={**TRUTH, "Lac": 8.0})
    prior = ("Lac", "NAA+Cr+3*GPC", 0.6 / 22.5, 0.6 / 22.5)
    free, drawn = (
        fit(noisy, basis, FitSettings(ratio_priors=priors)).combine({"Lac": 1.0}) for priors in ((), (prior,))
    )
    assert drawn[0] == pytest.approx(free[0], abs=0.5 * free[1])


def test_what_lies_outside_the_range_is_left_out_and_said(basis):
    found = fit(spectrum(basis, np.random.default_rng(1), 0.3), basis, FitSettings(ppm_range=(1.9, 4.0)))
    assert "Lac" not in found.names
    assert any("not fitted" in words and "Lac" in words for words in found.warnings)
    assert found.combine({"NAA": 1.0})[0] == pytest.approx(10.0, rel=0.03)


def test_what_the_model_cannot_follow_counts_as_noise(basis):
    clean = spectrum(basis, np.random.default_rng(2), 0.01)
    strange = clean.data + 30 * np.exp(2j * np.pi * (4.65 - 2.85) * F0 * 1e-6 * T - np.pi * 6 * T)
    found = fit(replace(clean, data=strange), basis, FitSettings(stiffness=1.0))
    assert found.parameters["residual_over_noise"] > 20
    at_edge = [name for name in found.parameters["at_bound"] if "own" in name]
    assert not at_edge
    assert found.combine({"NAA": 1.0})[1] > 0.02


def test_excluded_ranges_are_left_out(basis):
    settings = FitSettings(exclude_ppm=((1.1, 1.5),))
    assert settings.ranges == [(0.2, 1.1), (1.5, 4.0)]
    lipid = spectrum(basis, np.random.default_rng(9), 0.3)
    fid = 60 * np.exp(2j * np.pi * (4.65 - 1.3) * F0 * 1e-6 * T - np.pi * 25.0 * T)
    found = fit(replace(lipid, data=lipid.data + fid), basis, replace(settings, stiffness=2.0))
    assert not np.any((found.ppm > 1.1) & (found.ppm < 1.5))
    assert found.combine({"NAA": 1.0})[0] == pytest.approx(10.0, rel=0.05)


def test_truth_comes_back_without_noise(basis):
    found = fit(spectrum(basis), basis)
    assert found.converged
    for name, value in TRUTH.items():
        assert found.combine({name: 1.0})[0] == pytest.approx(value, rel=2e-3)


def test_a_broad_hump_goes_into_the_baseline(basis):
    found = fit(spectrum(basis, np.random.default_rng(1), 0.3, hump=150.0), basis)
    for name in ("NAA", "Cr", "GPC", "Glu", "Ins"):
        assert found.combine({name: 1.0})[0] == pytest.approx(TRUTH[name], rel=0.08)


@pytest.mark.parametrize(
    ("phase", "shift_ppm"), [(np.pi / 2, 0.0), (np.pi, 0.17), (-2.0, -0.17), (0.4, 0.28)]
)
def test_phase_and_reference_shift_are_found_and_said(basis, phase, shift_ppm):
    found = fit(spectrum(basis, np.random.default_rng(2), 0.5, phase, shift_ppm), basis)
    assert found.parameters["shift_ppm"] == pytest.approx(shift_ppm, abs=0.01)
    assert found.combine({"NAA": 1.0})[0] == pytest.approx(10.0, rel=0.05)
    assert any("off the reference" in words for words in found.warnings) == (abs(shift_ppm) > 0.05)


def test_intervals_hold_the_truth_as_often_as_they_say(basis):
    inside = []
    for seed in range(60):
        found = fit(
            spectrum(basis, np.random.default_rng(seed), 1.0),
            basis,
            FitSettings(stiffness=0.8, t2_widths=False, line_sd=0.0),
        )
        for name, value in TRUTH.items():
            estimate, sd = found.combine({name: 1.0})
            inside.append(abs(estimate - value) < 1.96 * sd)
    assert 0.88 <= np.mean(inside) <= 0.99


def test_lines_unlike_the_model_cost_amplitudes_but_not_their_ratios(basis):
    data = spectrum(basis, np.random.default_rng(3), 0.5)
    with_line, without = (
        fit(data, basis, FitSettings(line_sd=sd, multiplet_sd_ppm=0.0, t2_relative_sd=0.0))
        for sd in (0.04, 0.0)
    )
    (value, sd), (_, bound) = (one.combine({"NAA": 1.0}) for one in (with_line, without))
    assert sd == pytest.approx(np.hypot(bound, 0.04 * value), rel=1e-6)
    assert with_line.bounded({"NAA": 1.0})[1] == pytest.approx(bound, rel=1e-6)
    assert with_line.ratio(["NAA"], ["Cr"]) == pytest.approx(without.ratio(["NAA"], ["Cr"]), rel=1e-3)


def test_noise_is_measured_outside_the_signal(basis):
    found = fit(spectrum(basis, np.random.default_rng(3), 0.8), basis)
    assert found.noise_sd == pytest.approx(0.8 / 2, rel=0.1)  # real part of a unitary transform, zero-filled
    assert found.parameters["residual_over_noise"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_empty_data_are_refused(basis, value):
    empty = replace(spectrum(basis), data=np.full(SAMPLES, value, dtype=complex))
    with pytest.raises(DataError, match=r"x\.nii"):
        fit(empty, basis)


def test_pure_noise_and_a_shift_out_of_reach_are_not_called_converged(basis):
    rng = np.random.default_rng(4)
    noise = replace(spectrum(basis), data=rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES))
    for data in (noise, spectrum(basis, rng, 0.3, shift_ppm=0.5)):
        found = fit(data, basis)
        assert not found.converged
        assert any("did not converge" in words for words in found.warnings)


def test_an_unknown_component_is_named(basis):
    with pytest.raises(InputError, match="Gln"):
        fit(spectrum(basis), basis, FitSettings(names=("NAA", "Gln")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"f0_hz": 297.2e6}, r"297\.200 MHz.*123\.250 MHz"),
        ({"te_s": 0.035}, r"35\.00 ms.*30\.00 ms"),
        ({"nucleus": "31P"}, "31P.*1H"),
    ],
)
def test_a_basis_for_other_data_is_refused_with_both_values(basis, change, words):
    with pytest.raises(MismatchError, match=words):
        compare(replace(spectrum(basis), **change), basis)


def test_a_small_difference_of_frequency_is_a_notice(basis):
    assert "simulate it" in compare(replace(spectrum(basis), f0_hz=F0 * 1.003), basis)[0]
    assert compare(spectrum(basis), basis) == ()


def water_scan(size):
    fid = size * np.exp(-np.pi * 6 * T - (np.pi * 3.0 * T) ** 2 / (4 * np.log(2)))
    return Transients(data=fid, dims=("t",), dwell_s=DWELL, f0_hz=F0, te_s=0.03, tr_s=2.0)


def test_concentration_by_water_of_known_content(basis):
    found = fit(spectrum(basis), basis)
    known = QuantifySettings(water_mm=40000.0, relaxation=False)
    amounts = quantify(found, spectrum(basis), water_scan(2 * 40000.0), basis, known)
    rows = {row["metabolite"]: row for row in amounts.rows}
    assert rows["NAA"]["concentration_mM"] == pytest.approx(10.0, rel=5e-3)
    assert rows["tCr"]["ratio_tCr"] == pytest.approx(1.0)
    assert {"tNAA", "tCr", "tCho", "Glx"} <= set(rows)


def test_a_basis_with_relaxation_is_not_corrected_again(basis):
    relaxed = replace(basis, provenance={"relaxation": {"*": {"t1_s": 1.3, "t2_s": 0.2}}})
    found, size = fit(spectrum(basis), basis), 2 * 40000.0
    known = QuantifySettings(gm=1, wm=0)
    twice, once = (quantify(found, spectrum(basis), water_scan(size), one, known) for one in (basis, relaxed))
    metabolite = np.exp(-0.03 / 0.258) * (1 - np.exp(-2.0 / 1.47))
    ratio = twice.rows[0]["concentration_mM"] / once.rows[0]["concentration_mM"]
    assert ratio == pytest.approx(1 / metabolite, rel=1e-6)
    assert once.settings["basis_includes_relaxation"]


def test_water_that_a_basis_relaxed_is_not_corrected_again(basis):
    found, size, known = fit(spectrum(basis), basis), 2 * 40000.0, QuantifySettings(gm=1, wm=0)
    times = {"t1_s": 1.3, "t2_s": 0.2}
    metabolites, water_too = (
        quantify(
            found, spectrum(basis), water_scan(size), replace(basis, provenance={"relaxation": table}), known
        )
        for table in ({"*": times}, {"*": times, "Water": times})
    )
    kept = metabolites.settings["visible_water_mm"] / water_too.settings["visible_water_mm"]
    assert kept == pytest.approx(np.exp(-0.03 / 0.11) * (1 - np.exp(-2.0 / 1.331)), rel=1e-6)


def test_relaxation_and_tissue_water_enter_as_gasparovic_has_them(basis):
    found = fit(spectrum(basis), basis)
    size = 2 * 40000.0
    plain = quantify(
        found, spectrum(basis), water_scan(size), basis, QuantifySettings(gm=1, wm=0, relaxation=False)
    )
    full = quantify(found, spectrum(basis), water_scan(size), basis, QuantifySettings(gm=1, wm=0))
    water = np.exp(-0.03 / 0.11) * (1 - np.exp(-2.0 / 1.331))
    metabolite = np.exp(-0.03 / 0.258) * (1 - np.exp(-2.0 / 1.47))
    ratio = full.rows[0]["concentration_mM"] / plain.rows[0]["concentration_mM"]
    assert ratio == pytest.approx(water / metabolite, rel=1e-6)
    assert plain.rows[0]["concentration_mM"] == pytest.approx(10.0 / 40000 * 0.78e6 / 18.015, rel=5e-3)


def test_without_water_there_are_no_millimolar_and_a_word_why(basis):
    amounts = quantify(fit(spectrum(basis), basis), spectrum(basis), None, basis)
    assert np.isnan(amounts.rows[0]["concentration_mM"])
    assert any("no water reference" in words for words in amounts.warnings)


def test_water_amplitude_does_not_need_the_first_sample(basis):
    scan = water_scan(5000.0)
    spoiled = scan.data.copy()
    spoiled[0] *= 0.5
    assert water_amplitude(scan)[0] == pytest.approx(5000.0, rel=2e-3)
    assert water_amplitude(replace(scan, data=spoiled))[0] == pytest.approx(5000.0, rel=2e-3)


def test_water_that_is_not_there_is_an_error():
    rng = np.random.default_rng(5)
    scan = replace(
        water_scan(1.0), data=rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES), source="w.sdat"
    )
    with pytest.raises(DataError, match=r"w\.sdat"):
        water_amplitude(scan)


def test_tissue_fractions_have_to_make_a_voxel():
    with pytest.raises(InputError, match="tissue fractions"):
        QuantifySettings(gm=0.7, wm=0.7)


def test_the_table_survives_the_disk(basis, tmp_path):
    rows = quantify(fit(spectrum(basis), basis), spectrum(basis), None, basis).rows
    write_table(rows, tmp_path / "concentrations.tsv")
    header = (tmp_path / "concentrations.tsv").read_text().splitlines()[0]
    assert header == (
        "metabolite\tamplitude\tsd\tcrlb_percent\tratio_tCr\tratio_tCr_sd\tconcentration_mM\tconcentration_mM_sd"
        "\tconcentration_molal_mmol_per_kg\tconcentration_molal_mmol_per_kg_sd\tflag"
    )
    back = read_table(tmp_path / "concentrations.tsv")
    assert [row["metabolite"] for row in back] == [row["metabolite"] for row in rows]
    assert back[0]["amplitude"] == pytest.approx(rows[0]["amplitude"], rel=1e-5)
    assert np.isnan(back[0]["concentration_mM"])


def test_the_end_of_an_fid_without_signal_is_left_out_and_changes_nothing(basis):
    data = spectrum(basis, np.random.default_rng(5), 1.0)
    short, whole = (fit(data, basis, FitSettings(shorten=flag)) for flag in (True, False))
    assert whole.parameters["fitted_samples"] == SAMPLES
    assert short.parameters["fitted_samples"] < 0.9 * SAMPLES
    sd = np.sqrt(np.diag(whole.covariance))
    assert np.all(np.abs(short.amplitudes - whole.amplitudes) < 0.3 * sd)
    np.testing.assert_allclose(np.sqrt(np.diag(short.covariance)), sd, rtol=0.05)


def test_an_fid_that_has_not_decayed_is_fitted_whole(basis):
    data = spectrum(basis)
    still = data.with_data(data.data * np.exp(np.pi * 4.0 * T + (np.pi * 3.0 * T) ** 2 / (4 * np.log(2))))
    assert samples_to_fit(problem(basis), still.data[None], DWELL) == SAMPLES


def test_multiplets_are_cut_in_their_gaps(basis):
    pieces, of = multiplets(problem(basis))
    names = np.array(basis.names)[of]
    assert sorted(names) == [
        "Cr",
        "Cr",
        "NAA",
        "NAA",
        "NAA",
    ]  # GPC's other line is below a tenth of its first
    for k in np.unique(of):
        np.testing.assert_allclose(pieces[of == k].sum(axis=0), problem(basis).basis[k], atol=1e-9)


def test_covariance_knows_what_a_multiplet_elsewhere_does(basis):
    """Creatine's methylene moves by itself, and phosphocreatine takes from creatine what `beyond` says."""
    sd_ppm = 0.0008
    settings = FitSettings(
        metabolite_priors=False, t2_widths=False, ratio_priors=(), stiffness=0.8, multiplet_sd_ppm=sd_ppm
    )
    hz, amplitude = (
        F0 * 1e-6 * (np.array([[3.03, 3.91], [3.03, 3.93]]) - 4.65),
        np.array([3.0 + 0j, 2.0 + 0j]),
    )

    def with_cr(first, second):
        moved = hz[0] + np.array([first, second]) * sd_ppm * F0 * 1e-6
        only = {"NAA": basis.lines["NAA"], "Cr": Lines(moved, amplitude), "PCr": Lines(hz[1], amplitude)}
        return replace(basis, lines=only)

    def fitted(first, second):
        data = spectrum(with_cr(first, second), np.random.default_rng(0), 0.02, amounts=amounts)
        return fit(data, with_cr(0, 0), settings)

    amounts = {"NAA": 10.0, "Cr": 8.0, "PCr": 6.0}
    found = fitted(0, 0)
    changes = [fitted(*step).amplitudes - found.amplitudes for step in ((1, 0), (0, 1))]
    # Phosphocreatine's multiplets do as much in the other direction, scaled by its amount.
    wanted = np.sum([one**2 for one in changes], axis=0) * (1 + (6 / 8) ** 2)
    np.testing.assert_allclose(np.diag(found.beyond)[1:], wanted[1:], rtol=0.2)
    assert found.beyond[1, 1] > 4 * found.covariance[1, 1]


def test_covariance_knows_what_another_t2_does(basis):
    """Lines of creatine 15 % of their natural width broader: creatine is as far off as `beyond` says."""
    only = replace(basis, lines={name: basis.lines[name] for name in ("NAA", "Cr")})
    settings = FitSettings(
        metabolite_priors=False, ratio_priors=(), stiffness=0.8, multiplet_sd_ppm=0.0, lineshape_sd=0.0
    )
    natural = natural_widths(("NAA", "Cr"), (), only, F0)

    def fitted(more):
        widths = natural * (1 + np.array(more))
        fid = sum(
            value * only.fid(name, SAMPLES, DWELL) * np.exp(-np.pi * width * T)
            for (name, value), width in zip({"NAA": 10.0, "Cr": 8.0}.items(), widths, strict=True)
        )
        fid = fid * np.exp(-((np.pi * 5.0 * T) ** 2) / (4 * np.log(2)))
        noise = 1.0 * np.random.default_rng(0).normal(size=(2, SAMPLES))
        data = spectrum(basis).with_data(fid + noise[0] + 1j * noise[1])
        return fit(data, only, replace(settings, shorten=False))

    found = fitted((0.0, 0.0))
    changes = [fitted(one).amplitudes - found.amplitudes for one in ((0.15, 0.0), (0.0, 0.15))]
    wanted = np.sqrt(np.sum([one**2 for one in changes], axis=0))
    np.testing.assert_allclose(np.sqrt(np.diag(found.beyond)), wanted, rtol=0.3)
    assert np.all(wanted > np.sqrt(np.diag(found.covariance)) / 8)
