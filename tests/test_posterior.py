"""The posterior beside the covariance: alike where all is well determined, apart at zero."""

import csv
import json

import brain_for_tests as small
import numpy as np
import pytest

from pulsespec.errors import InputError
from pulsespec.recon import posterior
from pulsespec.recon.chains import effective_samples, split_rhat
from pulsespec.recon.fit import fit_batch
from pulsespec.recon.fit_words import upper_limit
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.posterior import sample_posterior
from pulsespec.recon.posterior_density import density_of

pytest.importorskip("mici")

TRUTH = {"NAA": 12.0, "Cr": 8.0, "PCh": 1.6, "Ins": 6.0, "Lac": 0.0}


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    return small.brain_basis(tmp_path_factory.mktemp("brain")).subset([*TRUTH, "MM09"])


def fits(basis, seed=3):
    data = small.brain(basis, sd=1.0, seed=seed, amounts=TRUTH, macromolecules={"MM09": 7.0})
    return fit_batch(data, basis)


@pytest.fixture(scope="module")
def found(basis):
    return fits(basis)


@pytest.fixture(scope="module")
def drawn(found):
    return sample_posterior(found, draws=480)


def test_the_slope_of_the_density_is_that_of_its_value(found):
    density = density_of(found, 0)
    rng = np.random.default_rng(0)
    at = density.start + 0.3 * rng.normal(size=density.start.size) * density.scale
    slope, _ = density.slope(at)
    for k in range(at.size):
        step = np.zeros(at.size)
        step[k] = 1e-4 * density.scale[k]
        above, below = (density.slope(at + sign * step)[1] for sign in (1, -1))
        numeric = (above - below) / (2 * step[k])
        assert slope[k] == pytest.approx(numeric, rel=1e-3, abs=2e-3 / density.scale[k])


def test_the_density_is_highest_where_the_fit_is(found):
    density = density_of(found, 0)
    amplitudes = found.amplitudes[0] / found.noise_sd[0]
    best = density.by_values(amplitudes, found.theta[0])[1]
    rng = np.random.default_rng(1)
    for _ in range(20):
        theta = found.theta[0].copy()
        theta[density.moves] += 0.3 * rng.normal(size=density.moves.size) * density.scale[amplitudes.size :]
        moved = np.maximum(
            amplitudes + 0.3 * rng.normal(size=amplitudes.size) * density.scale[: amplitudes.size], 0
        )
        assert density.by_values(moved, theta)[1] > best - 0.02


def test_well_determined_amplitudes_have_the_covariance_of_the_fit(found, drawn):
    one = found.one(0)
    ratios = []
    for name in ("NAA", "Cr", "PCh", "Ins", "MM09"):
        value, sd = one.bounded({name: 1.0})
        samples = drawn.of({name: 1.0})
        ratios.append(samples.std() / sd)
        assert abs(samples.mean() - value) < 0.5 * sd
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.array(ratios) - 1).max() < 0.13  # 480 samples know a standard deviation to 3 %
    known = [one.names.index(name) for name in ("NAA", "Cr", "PCh", "Ins")]
    np.testing.assert_allclose(
        drawn.correlation[np.ix_(known, known)], one.correlation[np.ix_(known, known)], atol=0.15
    )


def test_at_zero_the_posterior_has_one_side(found, drawn):
    value, sd = found.one(0).combine({"Lac": 1.0})
    samples = drawn.of({"Lac": 1.0})
    assert value < sd  # what is there to be seen: nothing
    assert samples.min() >= 0
    assert np.quantile(samples, 0.95) == pytest.approx(upper_limit(value, sd), rel=0.25)
    assert (
        samples.mean() > value + 0.2 * sd
    )  # a normal distribution about the estimate would have half below it
    assert np.mean(samples > value) > 0.55


def test_rows_say_how_far_they_can_be_trusted(drawn):
    rows = {row["metabolite"]: row for row in drawn.rows()}
    assert {"NAA", "tNAA", "tCr", "tCho"} <= set(rows)
    assert rows["tNAA"]["mean"] == pytest.approx(rows["NAA"]["mean"])
    for row in rows.values():
        assert row["q2.5"] < row["q16"] < row["q50"] < row["q84"] < row["q97.5"]
        assert row["rhat"] < 1.05
        assert row["effective_samples"] > 100


def test_the_same_seed_gives_the_same_samples(found, monkeypatch):
    monkeypatch.setattr(posterior, "_WARM_UP", 10)
    first, second = (sample_posterior(found, draws=40, seed=5).samples for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_too_few_samples_are_refused(found):
    with pytest.raises(InputError, match="at least 40"):
        sample_posterior(found, draws=10)


def test_chains_that_disagree_are_seen():
    rng = np.random.default_rng(0)
    together = rng.normal(size=(4, 500))
    apart = together + np.array([0.0, 0.0, 0.0, 1.0])[:, None]
    assert split_rhat(together) < 1.01
    assert split_rhat(apart) > 1.05
    wider = together * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    assert split_rhat(wider) > 1.05


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_effective_samples_follow_the_memory_of_a_chain(memory):
    rng = np.random.default_rng(2)
    steps = rng.normal(size=(4, 4000))
    chains = np.zeros_like(steps)
    for k in range(1, steps.shape[1]):
        chains[:, k] = memory * chains[:, k - 1] + steps[:, k]
    expected = chains.size * (1 - memory) / (1 + memory)  # of a first-order autoregression
    assert effective_samples(chains) == pytest.approx(expected, rel=0.2)


def test_the_command_writes_a_table_of_the_posterior(basis, pulsespec, tmp_path, monkeypatch):
    monkeypatch.setattr(posterior, "_WARM_UP", 20)
    basis.subset(["NAA", "Cr", "PCh", "MM09"]).write(tmp_path / "basis.h5")
    amounts = {"NAA": 12.0, "Cr": 8.0, "PCh": 1.6}
    write_nifti(
        small.brain(basis, sd=3.0, amounts=amounts, macromolecules={"MM09": 7.0}), tmp_path / "x.nii.gz"
    )
    code, _, shown = pulsespec(
        "fit",
        tmp_path / "x.nii.gz",
        "--basis",
        tmp_path / "basis.h5",
        "-o",
        tmp_path / "out",
        "--posterior",
        40,
    )
    assert code == 0, shown
    with (tmp_path / "out" / "posterior.tsv").open() as file:
        rows = {row["metabolite"]: row for row in csv.DictReader(file, delimiter="\t")}
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert float(rows["NAA"]["q50"]) == pytest.approx(12.0, rel=0.1)
    assert result["posterior"]["draws"] == 40
    assert np.shape(result["posterior"]["correlation"]) == (4, 4)
