"""Expected spectra: each term against its formula, and the fit finds what was put in."""

import dataclasses

import numpy as np
import pytest
from expected_for_tests import DWELL_S, F0_HZ, SAMPLES, TE_S, TR_S, T, singlets

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import InputError
from pulsespec.recon.fit import FitSettings, fit
from pulsespec.recon.quality import quality as measured_quality
from pulsespec.recon.transients import Transients
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.expect import (
    Quality,
    clean_fid,
    draw_accidents,
    expected_fid,
    reference_height,
    residual_water,
    water_fid,
)
from pulsespec.simulator.scene import BASELINE_PPM, Contents, prepare
from pulsespec.simulator.tissue_library import load_tissue

TISSUE = load_tissue("grey-matter")
BARE = dataclasses.replace(TISSUE, broad={})
PPM = ppm_axis(SAMPLES, DWELL_S, F0_HZ)


def accidents(scene, seed=0):
    return draw_accidents(scene, np.random.default_rng(seed))


def width(gauss_hz, lorentz_hz=0.0):
    return np.exp(-np.pi * lorentz_hz * T - (np.pi * gauss_hz * T) ** 2 / (4 * np.log(2)))


def test_the_clean_signal_is_the_sum_that_the_formula_states():
    """Every component with a T2, a shift and a concentration of its own, term by term with plain exponentials."""
    basis = singlets()
    scene = prepare(basis, TISSUE)
    rng = np.random.default_rng(1)
    n = len(scene.names)
    contents = Contents(rng.uniform(0.5, 10, n), rng.uniform(0.03, 0.4, n), rng.normal(0, 2, n))
    broad = broad_lines(F0_HZ, tuple(TISSUE.broad))
    expected = np.zeros(SAMPLES, dtype=complex)
    for k, name in enumerate(scene.names):
        t1_s = TISSUE.times(name, 2.9).t1_s
        weight = np.exp(-TE_S / contents.t2_s[k]) * (1 - np.exp(-TR_S / t1_s))
        lines = broad.get(name) or basis.lines[name]
        fid = sum(
            a * np.exp(-2j * np.pi * f * T) for f, a in zip(lines.frequency_hz, lines.amplitude, strict=True)
        )
        if name in broad:
            gauss = lines.gauss_hz
            fid = sum(
                a * np.exp(-2j * np.pi * f * T) * width(g)
                for f, a, g in zip(lines.frequency_hz, lines.amplitude, gauss, strict=True)
            )
        else:
            fid = fid * np.exp(-T / contents.t2_s[k])
        turn = np.exp(-2j * np.pi * contents.shift_hz[k] * T)
        expected += contents.concentrations_mm[k] * weight * fid * turn
    found = clean_fid(scene, contents, 1.5, 4.0)
    assert np.abs(found - expected * width(4.0, 1.5)).max() < 1e-10 * np.abs(expected).max()


def test_broad_components_have_their_own_relaxation():
    short, long = (prepare(singlets(te_s=te_s), TISSUE) for te_s in (0.03, 0.144))
    mm09, naa = short.names.index("MM09"), short.names.index("NAA")
    left = long.weights(long.t2_s) / short.weights(short.t2_s)
    assert left[mm09] == pytest.approx(np.exp(-0.114 / 0.027))
    assert left[naa] == pytest.approx(np.exp(-0.114 / 0.258))


@pytest.mark.parametrize(("f0_hz", "t2_s"), [(63.9e6, 0.345), (123.25e6, 0.258), (297.2e6, 0.155)])
def test_times_are_those_of_the_nearest_field(f0_hz, t2_s):
    scene = prepare(singlets(f0_hz=f0_hz), TISSUE)
    assert scene.t2_s[scene.names.index("NAA")] == t2_s
    assert not [word for word in scene.warnings if "relaxation times" in word]


def test_a_field_without_times_is_said():
    scene = prepare(singlets(f0_hz=200e6), TISSUE)
    assert [word for word in scene.warnings if "relaxation times of grey-matter at 4.70 T" in word]


def test_a_basis_with_relaxation_is_taken_as_it_is():
    basis = singlets(["NAA"], provenance={"relaxation": True})
    scene = prepare(basis, BARE)
    expected = TISSUE.concentrations["NAA"].mm * basis.fid("NAA", SAMPLES, DWELL_S, 0.0, 5.0)
    np.testing.assert_allclose(clean_fid(scene, scene.contents(), 0.0, 5.0), expected, atol=1e-10)
    assert scene.water_amplitude == TISSUE.water.mm * 2


def test_noise_has_the_standard_deviation_that_the_snr_states():
    scene = prepare(singlets(), TISSUE)
    clean = expected_fid(scene, scene.contents(), Quality(), accidents(scene))
    height = reference_height(scene, clean)
    drawn = [
        expected_fid(scene, scene.contents(), Quality(snr=25.0), accidents(scene, seed)) for seed in range(40)
    ]
    noise = to_spectrum(np.array(drawn) - clean)
    for part in (noise.real, noise.imag):
        assert height / np.std(part) == pytest.approx(25.0, rel=0.02)
    assert abs(np.mean(noise**2)) < 0.02 * np.mean(np.abs(noise) ** 2), "noise is circular"


def test_the_snr_is_the_one_that_the_reconstruction_measures():
    scene = prepare(singlets(["NAA", "Cr"]), BARE)
    fid = expected_fid(scene, scene.contents(), Quality(snr=80.0), accidents(scene))
    found = measured_quality(Transients(data=fid, dims=("t",), dwell_s=DWELL_S, f0_hz=F0_HZ))
    assert found.snr == pytest.approx(80.0, rel=0.1)


def test_the_linewidth_is_the_natural_one_with_that_of_the_field():
    scene = prepare(singlets(["NAA"]), BARE)
    fid = expected_fid(scene, scene.contents(), Quality(gauss_hz=5.0, snr=5000.0), accidents(scene))
    found = measured_quality(Transients(data=fid, dims=("t",), dwell_s=DWELL_S, f0_hz=F0_HZ))
    natural = 1 / (np.pi * 0.258)
    voigt = 0.5346 * natural + np.sqrt(0.2166 * natural**2 + 5.0**2)  # Olivero, Longbothum 1977
    assert found.linewidth_hz == pytest.approx(voigt, rel=0.02)


def test_shift_is_downfield_and_phase_turns():
    scene = prepare(singlets(["NAA"]), BARE)
    quality = Quality(shift_hz=0.2 * F0_HZ * 1e-6, phase_deg=90.0)
    spectrum = to_spectrum(expected_fid(scene, scene.contents(), quality, accidents(scene)))
    at = np.argmax(np.abs(spectrum))
    assert PPM[at] == pytest.approx(2.21, abs=0.01)
    assert np.angle(spectrum[at]) == pytest.approx(np.pi / 2, abs=0.2)


def test_residual_water_is_a_share_of_the_water_and_lies_at_it():
    scene = prepare(singlets(), TISSUE)
    drawn = accidents(scene)
    plain, wet = (
        expected_fid(scene, scene.contents(), Quality(residual_water=share), drawn) for share in (0.0, 1e-3)
    )
    np.testing.assert_allclose(wet - plain, 1e-3 * residual_water(scene, drawn), atol=1e-9)
    assert np.abs(drawn.water_share).sum() == pytest.approx(1.0)
    water = TISSUE.times("water", 3.0)
    kept = np.exp(-TE_S / water.t2_s) * (1 - np.exp(-TR_S / water.t1_s))
    assert scene.water_amplitude == pytest.approx(2 * TISSUE.water.mm * kept)
    spectrum = np.abs(to_spectrum(residual_water(scene, drawn)))
    assert abs(PPM[np.argmax(spectrum)] - 4.65) < 0.3
    assert np.abs(water_fid(scene, Quality()))[0] == pytest.approx(scene.water_amplitude)


def test_the_baseline_is_smooth_and_as_high_as_stated():
    scene = prepare(singlets(), TISSUE)
    plain = expected_fid(scene, scene.contents(), Quality(), accidents(scene))
    heights = []
    for seed in range(200):
        drawn = accidents(scene, seed)
        added = expected_fid(scene, scene.contents(), Quality(baseline=0.05), drawn) - plain
        spectrum = to_spectrum(added)
        heights.append(spectrum.real[np.argmin(np.abs(PPM - 2.5))])
        assert np.abs(added[200:]).max() < 1e-3 * np.abs(added).max(), (
            "a bump of 0.8 ppm has died out by 50 ms"
        )
    at = np.argmin(np.abs(PPM - 2.5))
    bumps = to_spectrum(scene.bumps)
    ratio = np.std(heights) / reference_height(scene, plain)
    assert ratio == pytest.approx(0.05 * np.linalg.norm(bumps[:, at]), rel=0.15)


def test_a_bump_of_the_baseline_is_one_high_and_0_8_ppm_wide():
    for centre, bump in zip(BASELINE_PPM, to_spectrum(prepare(singlets(), TISSUE).bumps).real, strict=True):
        assert bump.max() == pytest.approx(1.0, abs=0.01)
        assert PPM[np.argmax(bump)] == pytest.approx(centre, abs=0.02)
        above = PPM[bump > 0.5]
        assert np.ptp(above) == pytest.approx(0.8, abs=0.05)


def test_the_mean_of_the_tissue_is_the_default():
    scene = prepare(singlets(), TISSUE)
    contents = scene.contents()
    assert dict(zip(scene.names, contents.concentrations_mm, strict=True))["NAA"] == 10.0
    assert not contents.shift_hz.any()


def test_what_the_basis_lacks_is_said_and_refused_if_strict():
    basis = singlets(["NAA", "Cr"])
    scene = prepare(basis, TISSUE)
    assert set(scene.missing) == set(TISSUE.concentrations) - {"NAA", "Cr"}
    assert "Glu" in scene.warnings[0]
    with pytest.raises(InputError, match="lacks NAAG"):
        prepare(basis, TISSUE, strict=True)
    with pytest.raises(InputError, match="none of the metabolites"):
        prepare(singlets(["NAA"]), dataclasses.replace(TISSUE, concentrations={"Lac": TISSUE.water}))


def test_a_basis_without_te_tr_or_water_is_said():
    words = " ".join(prepare(singlets(te_s=None, tr_s=None, water=None), TISSUE).warnings)
    assert "no TE" in words
    assert "no TR" in words
    assert "no water" in words


@pytest.mark.parametrize(
    "wrong", [{"snr": 0.0}, {"gauss_hz": -1.0}, {"residual_water": np.nan}, {"phase_deg": np.inf}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Quality(**wrong)


def test_no_signal_where_the_snr_is_measured_is_an_error():
    scene = prepare(singlets(["Cr"]), BARE)
    with pytest.raises(InputError, match=r"no signal from 1\.85"):
        reference_height(scene, np.zeros(SAMPLES, dtype=complex))


@pytest.mark.parametrize(("t2_s", "most"), [(0.2, 0.03), (None, 0.15)])
def test_the_fit_finds_the_concentrations(t2_s, most):
    """With one T2 for all metabolites, as the fit assumes, closely; with that of each, within what it costs."""
    basis = singlets()
    scene = prepare(basis, TISSUE)
    contents = scene.contents()
    if t2_s is not None:
        contents = dataclasses.replace(contents, t2_s=np.where(scene.decays, t2_s, contents.t2_s))
    drawn = accidents(scene, 5)
    fid = expected_fid(scene, contents, Quality(snr=200.0, phase_deg=20.0, shift_hz=3.0), drawn)
    spectrum = Transients(data=fid, dims=("t",), dwell_s=DWELL_S, f0_hz=F0_HZ, te_s=TE_S, tr_s=TR_S)
    found = fit(spectrum, basis.with_broad(broad_lines(F0_HZ, tuple(TISSUE.broad))), FitSettings())
    assert found.converged
    weights = dict(zip(scene.names, scene.weights(contents.t2_s), strict=True))
    for name in basis.names:
        truth, at = TISSUE.concentrations[name].mm, found.names.index(name)
        estimate = found.amplitudes[at] / weights[name]
        sd = np.sqrt(found.covariance[at, at]) / weights[name]
        assert abs(estimate - truth) < most * truth + 3 * sd, name
