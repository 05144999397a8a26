"""Water scaling against closed forms, limits and an independent propagation of uncertainty."""

import math

import numpy as np
import pytest

from pulsespec.errors import InputError
from pulsespec.recon.constants import TISSUES, constants_at, read_constants, write_constants
from pulsespec.recon.water_scaling import Acquisition, Timing, factors, scaled, weights
from pulsespec.recon.water_size import water_sizes
from pulsespec.simulator.tissue_library import load_tissue

NAMES = ("NAA", "NAAG", "Cr", "PCr", "MM09")
PLAIN = Acquisition(None, None)
TIMED = Acquisition(Timing(0.03, 2.0), Timing(0.03, 2.0))
MOLAL = 1e6 / 18.015


def shipped(stated=None):
    return constants_at(2.894, NAMES, stated, broad=("MM09",))[0]


def stated(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return read_constants(path)


def kept(t1_s, t2_s, te_s=0.03, tr_s=2.0):
    return math.exp(-te_s / t2_s) * (1 - math.exp(-tr_s / t1_s))


@pytest.mark.parametrize(("tissue", "content"), [((1, 0, 0), 0.78), ((0, 1, 0), 0.65)])
def test_pure_tissue_of_known_content_comes_back(tissue, content):
    """8 mM in a litre of tissue, measured beside its water: the ratio of signals is that of the amounts."""
    ratio = 8.0 / (content * MOLAL)
    found = factors(shipped(), NAMES, np.array(tissue, float), PLAIN)
    assert ratio * found.molar == pytest.approx(8.0, rel=1e-3)
    assert ratio * found.molal == pytest.approx(8.0 / content, rel=1e-3)


def test_a_voxel_with_everything_comes_back():
    """Signals of a voxel of three tissues, each with its own relaxation, worked out tissue by tissue."""
    f, content = np.array([0.45, 0.35, 0.2]), np.array([0.78, 0.65, 0.97])
    times = [(1.331, 0.110), (0.832, 0.0796), (4.31, 1.89)]
    water = sum(f[k] * content[k] * MOLAL * kept(*times[k]) for k in range(3))
    naa = 11.0 * (f[0] * kept(1.47, 0.258) + f[1] * kept(1.35, 0.343))  # 11 mM of tissue, grey and white
    found = factors(shipped(), NAMES, f, TIMED)
    assert found.molar[0] * naa / water == pytest.approx(11.0, rel=1e-3)
    per_kg = 11.0 * 0.8 / (0.45 * 0.78 + 0.35 * 0.65)
    assert found.molal[0] * naa / water == pytest.approx(per_kg, rel=1e-3)


def test_gasparovics_formula_in_mole_fractions_of_water():
    """Gasparovic et al. 2006 write it with the shares of all water: the same number."""
    f, content = np.array([0.3, 0.5, 0.2]), np.array([c.kg_per_l for c in shipped().water.values()])
    share = f * content / (f * content).sum()
    times = [(c.t1_s, c.t2_s) for c in shipped().water.values()]
    attenuated = sum(share[k] * kept(*times[k]) for k in range(3))
    expected = attenuated / (1 - share[2]) * MOLAL
    found = factors(shipped(), NAMES, f, Acquisition(Timing(0.03, 2.0), None))
    assert found.molal == pytest.approx(expected, rel=1e-12)


def test_csf_raises_the_concentration_by_its_share():
    """Where CSF has no water signal to speak of, its volume alone counts: 1 / (1 - f_csf)."""
    fractions = np.array([[0.6, 0.4, 0.0], [0.45, 0.3, 0.25], [0.06, 0.04, 0.9]])
    dry = shipped().water["csf"]
    empty = {**shipped().water, "csf": type(dry)(**{**vars(dry), "kg_per_l": 1e-12})}
    constants = type(shipped())(**{**vars(shipped()), "water": empty})
    found = factors(constants, NAMES, fractions, PLAIN)
    whole = found.molar[:, 0] * np.array([1.0, 0.75, 0.1])  # of the voxel
    assert found.molar[:, 0] / whole == pytest.approx([1, 1 / 0.75, 10])
    tissue_water = (0.6 * 0.78 + 0.4 * 0.65) * MOLAL
    assert found.molar[:, 0] == pytest.approx(tissue_water, rel=1e-3)
    assert found.molal[:, 0] == pytest.approx(MOLAL)


def test_a_phantom_of_stated_water_is_a_solution():
    found = factors(shipped(), NAMES, np.array([0.5, 0.5, 0.0]), PLAIN, water_mm=55000.0)
    assert found.molar == pytest.approx(55000.0)
    assert found.molal == pytest.approx(MOLAL)


def test_voxels_are_computed_together_as_one_by_one():
    fractions = np.random.default_rng(1).dirichlet([3, 2, 1], size=(4, 3))
    together = factors(shipped(), NAMES, fractions, TIMED, fraction_sd=0.02)
    one = factors(shipped(), NAMES, fractions[2, 1], TIMED, fraction_sd=0.02)
    assert together.molar.shape == (4, 3, 5)
    assert together.molar_effects.shape == (3, 4, 3, 5)
    np.testing.assert_allclose(together.molal[2, 1], one.molal)
    np.testing.assert_allclose(together.molal_effects[:, 2, 1], one.molal_effects)


def test_a_voxel_of_csf_alone_has_no_concentration():
    found = factors(shipped(), NAMES, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), TIMED)
    assert np.isnan(found.molar[0]).all()
    assert np.isfinite(found.molar[1]).all()


def test_a_stimulated_echo_loses_signal_in_its_mixing_time():
    timed = Acquisition(Timing(0.02, 3.0, 0.1), Timing(0.02, 3.0, 0.1))
    found = factors(shipped(), NAMES, np.array([1.0, 0.0, 0.0]), timed)
    left = [
        math.exp(-0.02 / t2 - 0.1 / t1) * (1 - math.exp(-2.89 / t1))
        for t1, t2 in ((1.331, 0.11), (1.47, 0.258))
    ]
    assert found.molar[0] == pytest.approx(0.78 * MOLAL * left[0] / left[1], rel=1e-3)


def test_uncertainty_is_that_of_drawn_constants(tmp_path):
    """First order against 20 000 draws of everything that is uncertain, a sum of two components included."""
    text = """
    [water.gm]
    t1_sd_s = 0.05
    kg_per_l_sd = 0.02
    [metabolites.tCr]
    gm = { t2_sd_s = 0.01 }
    [metabolites.NAA]
    gm = { t1_sd_s = 0.08 }
    """
    constants = shipped(stated(tmp_path, text))
    f, rng, n = np.array([0.5, 0.3, 0.2]), np.random.default_rng(3), 20000
    found = factors(constants, NAMES, f, TIMED, fraction_sd=0.01)
    assert len(found.uncertain) == 7
    parts = weights({"NAA": ["NAA"], "tCr": ["Cr", "PCr"]}, NAMES)
    amplitudes, covariance = (
        np.array([1e-4, 1e-5, 6e-5, 4e-5, 0.0]),
        np.diag([4e-12, 1e-12, 3e-12, 3e-12, 0.0]),
    )
    covariance[2, 3] = covariance[3, 2] = -2e-12
    value, sd = scaled(amplitudes, covariance, found.molar, found.molar_effects, parts, 0.01)

    drawn = rng.normal(f, 0.01, (n, 3))
    drawn /= drawn.sum(axis=1, keepdims=True)
    gm = constants.water["gm"]
    contents = np.stack(
        [rng.normal(gm.kg_per_l, 0.02, n), np.full(n, constants.water["wm"].kg_per_l), np.full(n, 0.97)],
        axis=1,
    )
    left = np.stack(
        [kept_of(rng.normal(gm.t1_s, 0.05, n), gm.t2_s)]
        + [np.full(n, kept(constants.water[t].t1_s, constants.water[t].t2_s)) for t in ("wm", "csf")],
        axis=1,
    )
    seen = (drawn * contents * left).sum(axis=1) * MOLAL / rng.normal(1, 0.01, n)
    a = rng.multivariate_normal(amplitudes, covariance, n)
    white = drawn[:, 1] / drawn[:, :2].sum(axis=1)
    of = {name: constants.metabolites[name] for name in ("NAA", "Cr")}
    naa = (1 - white) * kept_of(rng.normal(1.47, 0.08, n), of["NAA"]["gm"].t2_s) + white * kept(1.35, 0.343)
    cr = (1 - white) * kept_of(1.46, rng.normal(0.146, 0.01, n)) + white * kept(1.24, 0.166)
    tissue = drawn[:, :2].sum(axis=1)
    draws = np.stack([a[:, 0] * seen / naa / tissue, (a[:, 2] + a[:, 3]) * seen / cr / tissue], axis=1)
    assert value == pytest.approx(draws.mean(axis=0), rel=0.01)
    assert sd == pytest.approx(draws.std(axis=0), rel=0.05)


def kept_of(t1_s, t2_s):
    return np.exp(-0.03 / t2_s) * (1 - np.exp(-2.0 / t1_s))


def test_single_constants_are_set_and_the_rest_stays(tmp_path):
    text = """
    water_g_per_mol = 18.0
    [water.csf]
    t1_s = 4.0
    [metabolites.tNAA]
    gm = { t2_s = 0.3 }
    wm = { t2_s = 0.3 }
    [metabolites.NAAG.wm]
    t2_s = 0.2
    t2_source = "mine"
    [metabolites.broad.gm]
    t2_s = 0.02
    """
    mine, plain = shipped(stated(tmp_path, text)), shipped()
    assert mine.water_g_per_mol == 18.0
    assert (mine.water["csf"].t1_s, mine.water["csf"].t2_s) == (4.0, plain.water["csf"].t2_s)
    assert "user" in mine.water["csf"].t1_source
    assert mine.metabolites["NAA"]["gm"].t2_s == 0.3
    assert mine.metabolites["NAA"]["gm"].t1_s == plain.metabolites["NAA"]["gm"].t1_s
    assert (mine.metabolites["NAAG"]["wm"].t2_s, mine.metabolites["NAAG"]["wm"].t2_source) == (0.2, "mine")
    assert mine.metabolites["NAAG"]["gm"].t2_s == 0.3
    assert mine.metabolites["Cr"] == plain.metabolites["Cr"]
    assert mine.metabolites["MM09"]["gm"].t2_s == 0.02


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[water.gm]\nt1 = 1.0", "water.gm.t1"),
        ("[water.blood]\nt1_s = 1.0", "water.blood"),
        ("[water.gm]\nt2_s = -1.0", "water.gm.t2_s"),
        ("[water.gm]\nkg_per_l = 78", "water.gm.kg_per_l"),
        ("[metabolites.NAA.csf]\nt1_s = 1.0", "metabolites.NAA.csf"),
        ("[metabolites.NAA]\nt1_s = 1.0", "metabolites.NAA.t1_s"),
        ("[waters]\n", "waters"),
        ("[water", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_table_of_constants_is_named(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        stated(tmp_path, text)
    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_metabolite_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"metabolites\.NNA.*did you mean 'NAA'"):
        shipped(stated(tmp_path, "[metabolites.NNA.gm]\nt1_s = 1.0"))


def test_constants_survive_the_disk(tmp_path):
    mine = shipped(stated(tmp_path, '[metabolites."tCr".gm]\nt2_s = 0.1234\nt2_sd_s = 0.01'))
    write_constants(mine, tmp_path / "used.toml")
    again = shipped(read_constants(tmp_path / "used.toml"))
    assert again == mine


def test_every_constant_has_a_source_and_is_the_tissues_own():
    constants = shipped()
    for tissue in TISSUES:
        water = constants.water[tissue]
        assert all((water.t1_source, water.t2_source, water.kg_per_l_source))
    for name in NAMES:
        assert all(times.t1_source and times.t2_source for times in constants.metabolites[name].values())
    assert constants.metabolites["NAA"]["wm"].t2_s == load_tissue("white-matter").times("NAA", 3.0).t2_s


@pytest.mark.parametrize("field_t", [1.5, 3.0, 7.0])
def test_every_field_has_constants_that_tissue_can_have(field_t):
    constants, words = constants_at(field_t, ["NAA", "Cr", "GABA"])
    assert words == ()
    gm, wm, csf = (constants.water[tissue] for tissue in TISSUES)
    assert 0.5 < wm.t1_s < gm.t1_s < csf.t1_s < 5
    assert 0.03 < min(wm.t2_s, gm.t2_s) < csf.t2_s < 3
    assert wm.kg_per_l < gm.kg_per_l < csf.kg_per_l < 1
    for times in constants.metabolites["NAA"].values():
        assert 0.1 < times.t2_s < times.t1_s < 3


def test_a_field_without_a_table_is_said():
    assert "7 T" in constants_at(9.4, ["NAA"])[1][0]


def test_one_pair_of_times_for_all_metabolites(tmp_path):
    """As programs do that know no times of single metabolites; macromolecules keep theirs."""
    text = '[metabolites."*"]\ngm = { t2_s = 0.2 }\n[metabolites.tCr]\ngm = { t2_s = 0.15 }\n'
    mine, plain = shipped(stated(tmp_path, text)), shipped()
    assert [mine.metabolites[name]["gm"].t2_s for name in ("NAA", "NAAG", "Cr", "PCr")] == [
        0.2,
        0.2,
        0.15,
        0.15,
    ]
    assert mine.metabolites["MM09"] == plain.metabolites["MM09"]
    assert mine.metabolites["NAA"]["wm"] == plain.metabolites["NAA"]["wm"]


def test_water_of_many_voxels_is_that_of_each():
    t, rng = np.arange(512) * 5e-4, np.random.default_rng(7)
    sizes = np.array([[4000.0, 900.0], [15000.0, 0.0]])
    fids = sizes[..., np.newaxis] * np.exp(-np.pi * 8 * t - (np.pi * 5 * t) ** 2 / (4 * np.log(2)))
    fids = fids + rng.normal(size=(2, 2, 512)) + 1j * rng.normal(size=(2, 2, 512))
    found, sd = water_sizes(fids)
    assert np.isnan(found[1, 1])
    assert np.isnan(sd[1, 1])
    for at in ((0, 0), (0, 1), (1, 0)):
        assert abs(found[at] - sizes[at]) < 4 * sd[at] < 0.02 * sizes[at]
        assert [float(part) for part in water_sizes(fids[at])] == pytest.approx([found[at], sd[at]], rel=1e-9)


def test_uncertainty_of_water_is_what_noise_makes_of_it():
    t, rng = np.arange(256) * 5e-4, np.random.default_rng(9)
    noise = rng.normal(0, 2.0, (4000, 256)) + 1j * rng.normal(0, 2.0, (4000, 256))
    found, sd = water_sizes(800 * np.exp(-np.pi * 8 * t) + noise)
    assert found.mean() == pytest.approx(800, rel=1e-3)
    assert found.std() == pytest.approx(np.median(sd), rel=0.15)


def test_concentrations_of_many_voxels_are_those_of_each():
    rng = np.random.default_rng(11)
    fractions, n = rng.dirichlet([3, 2, 1], size=(3, 2)), len(NAMES)
    amplitudes = rng.uniform(1, 10, (3, 2, n))
    roots = rng.normal(size=(3, 2, n, n))
    covariance, water = roots @ np.swapaxes(roots, -1, -2), rng.uniform(1e4, 2e4, (3, 2))
    found = factors(shipped(), NAMES, fractions, TIMED, fraction_sd=0.02)
    parts = weights({"tNAA": ["NAA", "NAAG"], "tCr": ["Cr", "PCr"], "MM09": ["MM09"]}, NAMES)
    value, sd = scaled(
        amplitudes,
        covariance,
        found.molar / water[..., np.newaxis],
        found.molar_effects,
        parts,
        0.01 * water / 2e4,
    )
    assert value.shape == sd.shape == (3, 2, 3)
    for at in np.ndindex(3, 2):
        one = factors(shipped(), NAMES, fractions[at], TIMED, fraction_sd=0.02)
        relative = 0.01 * water[at] / 2e4
        alone = scaled(
            amplitudes[at], covariance[at], one.molar / water[at], one.molar_effects, parts, relative
        )
        np.testing.assert_allclose(value[at], alone[0])
        np.testing.assert_allclose(sd[at], alone[1])


def test_small_flip_angles_saturate_less_as_repeated_excitation_shows():
    """Longitudinal magnetisation flipped and recovered two hundred times, against what the factor says."""
    timed = Acquisition(Timing(0.001, 0.6, None, 40.0), Timing(0.001, 0.6, None, 40.0))
    found = factors(shipped(), NAMES, np.array([1.0, 0.0, 0.0]), timed)

    def steady(t1_s, t2_s):
        z = 1.0
        for _ in range(200):
            z = 1 - (1 - z * math.cos(math.radians(40))) * math.exp(-0.6 / t1_s)
        return z * math.exp(-0.001 / t2_s)

    expected = 0.78 * MOLAL * steady(1.331, 0.11) / steady(1.47, 0.258)
    assert found.molar[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "like"), [("Cho", "GPC"), ("PCho", "PCh"), ("mI", "Ins"), ("sIns", "Scyllo")]
)
def test_other_names_of_a_metabolite_have_its_times(name, like):
    found, _ = constants_at(3.0, [name, like])
    assert found.metabolites[name] == found.metabolites[like]
    assert found.metabolites[name] != constants_at(3.0, ["Ala"])[0].metabolites["Ala"]


def test_what_is_nulled_takes_no_other_component_along():
    parts = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    factor, effects = np.array([2.0, np.nan, 3.0]), np.array([[0.1, np.nan, 0.2]])
    value, sd = scaled(np.array([1.0, 1.0, 1.0]), np.eye(3), factor, effects, parts)
    np.testing.assert_allclose(value, [2.0, np.nan, 3.0])
    np.testing.assert_allclose(sd, [np.hypot(2.0, 0.2), np.nan, np.hypot(3.0, 0.6)])
