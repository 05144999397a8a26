"""Series from raw shots to clean spectra, through files and the command line."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nifti_mrs.create_nmrs import gen_nifti_mrs_hdr_ext
from nifti_mrs.hdr_ext import Hdr_Ext
from series_for_tests import DWELL, F0, SAMPLES, series_of, small_basis
from typer.testing import CliRunner

from pulsespec import series_verbs
from pulsespec.cli import app
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon import series_scan
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.formats import Known
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.outliers import METHOD as OUTLIERS
from pulsespec.recon.pipeline import STEPS
from pulsespec.recon.read import read
from pulsespec.recon.series_fit import series_fit
from pulsespec.recon.series_models import load_model
from pulsespec.recon.series_order import ordered, read_values
from pulsespec.recon.series_scan import recon_series
from pulsespec.recon.series_tables import model_rows
from pulsespec.recon.series_values import order_of, values_of
from pulsespec.recon.transients import Scan
from pulsespec.simulator.basis_files import read_basis

B = np.array([0.0, 1.0, 2.0, 4.0])
ADC = 0.35
"""High, so that shots of the last b-value have a quarter of the signal: an outlier, were they judged with the rest."""


def shots(rng, repeats=8, phase_sd=1.0, hz_sd=2.0, sd=0.6):
    """Return shots in cycles of the b-values, each with a phase and frequency of its own."""
    b = np.tile(B, repeats)
    amounts = np.exp(-b * ADC)[:, None] * np.array([10.0, 8.0, 6.0])
    data = series_of(amounts, sd, rng, rng.normal(0, phase_sd, b.size), rng.normal(0, hz_sd, b.size))
    return replace(data, dims=("average", "t"))


def test_diffusion_makes_no_outliers_and_alignment_leaves_its_loss():
    order = ordered(32, "b", read_values("0,1,2,4", "b"), cycle=4)
    done = recon_series(Scan(shots(np.random.default_rng(0))), order).spectra
    assert done.dims == ("series", "t")
    assert done.data.shape == (4, SAMPLES)
    judged = next(record for record in done.records if record.method == OUTLIERS)
    assert "0 of 8 shots left out" in judged.details
    height = np.abs(done.data[:, 2:20]).mean(axis=1)
    np.testing.assert_allclose(np.log(height[0] / height[1:]) / B[1:], ADC, atol=0.03)


def test_every_step_of_a_single_spectrum_is_taken_or_left_out_on_purpose():
    """The fit finds phases, and there are no editing conditions."""
    taken = {"coil combination", *series_scan._REFERENCES, *series_scan._SHOTS, *series_scan._AFTER}
    assert {name for name, _ in STEPS} - taken == {"editing conditions", "sub-spectra", "phasing"}


def test_a_spoiled_shot_of_one_b_value_is_left_out():
    data = shots(np.random.default_rng(1))
    spoiled = data.data.copy()
    spoiled[7] *= 0.1
    order = ordered(32, "b", read_values("0,1,2,4", "b"), cycle=4)
    done = recon_series(Scan(replace(data, data=spoiled)), order).spectra
    judged = next(record for record in done.records if record.method == OUTLIERS)
    assert "spectrum 4: 1 of 8 shots left out" in judged.details


def test_blocks_are_aligned_among_all_shots():
    rng = np.random.default_rng(2)
    drift = np.linspace(0, 6, 32)
    data = series_of(np.tile([10.0, 8.0, 6.0], (32, 1)), 1.0, rng, hz=drift)
    order = ordered(32, "t", None, block=8)
    done = recon_series(Scan(replace(data, dims=("average", "t"))), order, alignment="all").spectra
    peaks = [np.argmax(np.abs(np.fft.fft(fid, 8 * SAMPLES))) for fid in done.data]
    assert np.ptp(peaks) <= 2  # of 0.3 Hz
    assert order.counts.tolist() == [8, 8, 8, 8]


def test_water_of_the_same_cycle_corrects_its_own_b_value():
    rng, t = np.random.default_rng(3), np.arange(SAMPLES) * DWELL
    eddy = np.array([0.0, 1.0, -1.5, 2.0])[:, None] * (1 - np.exp(-t / 0.02))
    data = shots(rng, phase_sd=0.0, hz_sd=0.0, sd=0.2)
    distorted = data.data * np.exp(1j * np.tile(eddy, (8, 1)))
    water = 1e4 * np.exp(-np.pi * 6 * t) * np.exp(1j * eddy)
    water = water + rng.normal(size=water.shape) + 1j * rng.normal(size=water.shape)
    scan = Scan(replace(data, data=distorted), replace(data, data=water, header={"water_suppressed": False}))
    done = recon_series(scan, ordered(32, "b", read_values("0,1,2,4", "b"), cycle=4))
    assert done.water is not None
    assert done.water.dims == ("series", "t")
    plain = recon_series(Scan(data), ordered(32, "b", read_values("0,1,2,4", "b"), cycle=4))
    for got, truth in zip(done.spectra.data, plain.spectra.data, strict=True):
        overlap = np.abs(np.vdot(got[:400], truth[:400]))
        assert overlap > 0.99 * np.linalg.norm(got[:400]) * np.linalg.norm(truth[:400])


def test_coils_are_combined_before_the_members_part(tmp_path):
    """Written with a dimension of the series, shots and coils; weights are common, so that amplitudes compare."""
    rng = np.random.default_rng(14)
    data = shots(rng, repeats=4, phase_sd=0.3, hz_sd=0.5, sd=0.0)
    sensitivity = np.array([1.0, 0.6j, -0.4])
    noise = rng.normal(size=(16, 3, SAMPLES)) + 1j * rng.normal(size=(16, 3, SAMPLES))
    coils = data.data[:, None] * sensitivity[:, None] + 0.3 * noise
    fids = coils.reshape(4, 4, 3, SAMPLES).transpose(3, 1, 0, 2)[None, None, None]  # t, series, shot, coil
    header = {"b_value": {"Value": [0, 1000, 2000, 4000], "Description": "s/mm2"}}
    path = written(tmp_path / "a.nii.gz", fids, ["DIM_USER_0", "DIM_DYN", "DIM_COIL"], [header, None, None])
    scan = read([path], known=Known(series=True))
    assert scan.metabolite.dims == ("series", "average", "coil", "t")
    variable = load_model("diffusion").variable
    order = order_of(scan.metabolite, variable, None, None, None)
    np.testing.assert_allclose(values_of(order, variable, None)[0], B)
    done = recon_series(scan, order).spectra
    height = np.abs(done.data[:, 2:20]).mean(axis=1)
    np.testing.assert_allclose(np.log(height[0] / height[1:]) / B[1:], ADC, atol=0.03)


def written(path, data, tags, headers, **more):
    """Write NIfTI-MRS with another program's writer; data (1, 1, 1, t, ...)."""
    header = Hdr_Ext(F0 * 1e-6, "1H")
    for number, (tag, changes) in enumerate(zip(tags, headers, strict=True)):
        header.set_dim_info(number, tag, hdr=changes)
    for key, value in more.items():
        header.set_standard_def(key, value)
    gen_nifti_mrs_hdr_ext(data, DWELL, header, affine=np.eye(4), no_conj=True).save(path)
    return path


@pytest.mark.parametrize(
    ("tag", "changes", "expected"),
    [
        ("DIM_INDIRECT_0", {"InversionTime": [0.1, 0.6, 1.2]}, [0.1, 0.6, 1.2]),
        ("DIM_DYN", {"EchoTime": {"start": 0.03, "increment": 0.02}}, [0.03, 0.05, 0.07]),
        ("DIM_USER_0", {"b_value": {"Value": [0, 900, 2000], "Description": "s/mm2"}}, [0, 900, 2000]),
        ("DIM_MEAS", None, None),
    ],
)
def test_the_dimension_of_a_series_is_kept_where_it_is_asked_for(tmp_path, tag, changes, expected):
    rng = np.random.default_rng(4)
    fids = rng.normal(size=(1, 1, 1, SAMPLES, 3, 5)) + 1j * rng.normal(size=(1, 1, 1, SAMPLES, 3, 5))
    other = "DIM_PHASE_CYCLE" if tag == "DIM_DYN" else "DIM_DYN"
    path = written(tmp_path / "a.nii.gz", fids, [tag, other], [changes, None], RepetitionTime=2.0)
    found = read_nifti(path, series=True)
    assert found.dims == ("series", "average", "t")
    np.testing.assert_allclose(found.data, fids[0, 0, 0].transpose(1, 2, 0))
    if expected is not None:
        (values,) = found.header["series_values"].values()
        np.testing.assert_allclose(values, expected)
        with pytest.raises(DataError, match=r"pulsespec series|nobody but its author|second spectral"):
            read_nifti(path)


def test_the_user_says_which_dimension_where_the_file_does_not(tmp_path):
    fids = np.ones((1, 1, 1, SAMPLES, 3), complex)
    path = written(tmp_path / "a.nii.gz", fids, ["DIM_DYN"], [None])
    assert read_nifti(path, series=True).dims == ("average", "t")
    assert read_nifti(path, series=True, dimension="DIM_DYN").dims == ("series", "t")
    with pytest.raises(DataError, match="no dimension DIM_MEAS, only DIM_DYN"):
        read_nifti(path, series=True, dimension="DIM_MEAS")


def test_a_series_is_written_and_read_again(tmp_path):
    data = replace(
        series_of(np.ones((3, 3)), 0.1, np.random.default_rng(5)),
        header={"series_values": {"EchoTime": np.array([0.03, 0.06, 0.12])}},
    )
    write_nifti(data, tmp_path / "s.nii.gz")
    scan = read([tmp_path / "s.nii.gz"], known=Known(series=True))
    assert scan.metabolite.dims == ("series", "t")
    np.testing.assert_allclose(scan.metabolite.data, data.data)
    variable = load_model("t2").variable
    order = order_of(scan.metabolite, variable, None, None, None)
    x, words = values_of(order, variable, 2.0)
    np.testing.assert_allclose(x, [30, 60, 120])
    assert "EchoTime" in words
    with pytest.raises(InputError, match="drop --cycle"):
        order_of(scan.metabolite, variable, None, 3, None)


def test_values_are_needed_and_must_differ():
    variable = load_model("diffusion").variable
    with pytest.raises(InputError, match="pass --values"):
        values_of(ordered(4, "b", None), variable, 2.0)
    with pytest.raises(InputError, match="is 1 in all"):
        values_of(ordered(4, "b", read_values("1,1", "b"), cycle=2), variable, 2.0)
    x, words = values_of(ordered(8, "t", None, block=4), load_model("fmrs-block").variable, 2.0)
    np.testing.assert_allclose(x, [3.0, 11.0])
    assert "TR" in words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A basis, raw shots of a diffusion series, and one file for each of three spectra."""
    path = tmp_path_factory.mktemp("series")
    small_basis().write(path / "basis.h5")
    raw = replace(shots(np.random.default_rng(6), repeats=4, sd=0.4), header={"water_suppressed": True})
    write_nifti(raw, path / "raw.nii.gz")
    amounts = np.exp(-B[:, None] * ADC) * np.array([10.0, 8.0, 6.0])
    one = series_of(amounts, 0.2, np.random.default_rng(7))
    for k in range(4):
        single = replace(one, data=one.data[k], dims=("t",))
        write_nifti(single, path / f"{k}.nii.gz")
    write_nifti(replace(one, dwell_s=1.1 * DWELL, data=one.data[0], dims=("t",)), path / "other.nii.gz")
    return path


def test_raw_shots_to_adc_on_the_command_line(folder, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "series",
        str(folder / "raw.nii.gz"),
        "--basis",
        str(folder / "basis.h5"),
        "--model",
        "diffusion",
    ]
    shown = CliRunner().invoke(
        app, [*arguments, "--cycle", "4", "--values", "0,1,2,4", "-o", str(out), "--json", "--quiet"]
    )
    assert shown.exit_code == 0, shown.output
    rows = {(row["metabolite"], row["parameter"]): row for row in json.loads(shown.stdout)["model"]}
    adc = rows["tNAA", "ADC"]
    assert adc["value"] == pytest.approx(ADC, abs=4 * adc["sd"])
    assert adc["sd"] < 0.02
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("model.tsv", "amplitudes.tsv", "spectra.tsv", "result.json", "report.html", "series.png"),
        "spectra.nii.gz",
    }
    result = json.loads((out / "result.json").read_text())
    assert result["settings"]["shots"] == [4, 4, 4, 4]
    lines = (out / "model.tsv").read_text().splitlines()
    assert lines[0] == "metabolite\tparameter\tvalue\tsd\tunit"
    assert "b-value" not in lines[1]


def test_one_file_for_each_spectrum_in_order(folder, tmp_path):
    paths = [folder / f"{k}.nii.gz" for k in range(4)]
    made = series_verbs.series(
        paths, [folder / "basis.h5"], tmp_path / "out", model="diffusion", shots=series_verbs.Shots("0,1,2,4")
    )
    row = next(r for r in made["model"] if (r["metabolite"], r["parameter"]) == ("tNAA", "ADC"))
    assert row["value"] == pytest.approx(ADC, abs=4 * row["sd"])
    with pytest.raises(InputError, match="3 rows of values for 4 spectra"):
        series_verbs.series(
            paths,
            [folder / "basis.h5"],
            tmp_path / "no",
            model="diffusion",
            shots=series_verbs.Shots("0,1,2"),
        )
    with pytest.raises(MismatchError, match="dwell time"):
        series_verbs.series(
            [*paths, folder / "other.nii.gz"], [folder / "basis.h5"], tmp_path / "no", model="diffusion",
            shots=series_verbs.Shots("0,1,2,4,5"),
        )  # fmt: skip
    assert not (tmp_path / "no").exists()


def test_functional_blocks_with_events_and_a_model_of_ones_own(folder, tmp_path):
    rng, on = np.random.default_rng(11), np.repeat([0.0, 1.0, 0.0, 1.0], 4)
    amounts = np.tile([10.0, 8.0, 6.0], (16, 1))
    amounts[:, 1] *= 1 + 0.2 * on
    data = series_of(amounts, 0.4, rng, hz=np.linspace(0, 3, 16))
    data = replace(data, dims=("average", "t"), header={"water_suppressed": True})
    write_nifti(data, tmp_path / "raw.nii.gz")
    (tmp_path / "events.tsv").write_text("onset\tduration\ttrial_type\n8\t8\tsee\n24\t8\tsee\n")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nalignment = "all"\nvariable = { name = "t", unit = "s", time = true }\n'
        'regressors = [{ name = "rest", kind = "constant" }, { name = "see", kind = "events", trial_type = "see" }]\n'
        'phase.model = "fixed"\n[concentrations]\nmodel = "glm"\nregressors = ["rest", "see"]\n'
        'derived.percent = "100 * see / rest"\n[[groups]]\nname = "MM"\nmembers = ["broad"]\nmodel = "fixed"\n'
    )
    made = series_verbs.series(
        [tmp_path / "raw.nii.gz"], [folder / "basis.h5"], tmp_path / "out", model=str(tmp_path / "mine.toml"),
        shots=series_verbs.Shots(block=2, events=tmp_path / "events.tsv"),
    )  # fmt: skip
    rows = {(row["metabolite"], row["parameter"]): row for row in made["model"]}
    for name, truth in (("NAA", 0.0), ("Cr", 20.0)):
        row = rows[name, "percent"]
        assert row["value"] == pytest.approx(truth, abs=4 * row["sd"])
        assert row["sd"] < 3
    with pytest.raises(InputError, match="--events"):
        series_verbs.series(
            [tmp_path / "raw.nii.gz"], [folder / "basis.h5"], tmp_path / "no", model=str(tmp_path / "mine.toml"),
            shots=series_verbs.Shots(block=2),
        )  # fmt: skip


def test_edited_shots_and_water_alone_are_no_series():
    data = shots(np.random.default_rng(12), repeats=2)
    order = ordered(8, "b", read_values("0,1,2,4", "b"), cycle=4)
    with pytest.raises(InputError, match="water reference alone"):
        recon_series(Scan(None, data), order)
    edited = replace(data, data=data.data[None], dims=("edit", "average", "t"))
    with pytest.raises(InputError, match="edited"):
        recon_series(Scan(edited), order)
    with pytest.raises(DataError, match="8 shots, the series counts 6"):
        recon_series(Scan(data), ordered(6, "b", read_values("0,1", "b"), cycle=2))


def test_a_dry_run_says_the_values_and_writes_nothing(folder, tmp_path):
    made = series_verbs.series(
        [folder / "raw.nii.gz"], [folder / "basis.h5"], tmp_path / "out", model="diffusion", dry_run=True,
        shots=series_verbs.Shots("0,1,2,4", cycle=4),
    )  # fmt: skip
    assert made["b"] == [0, 1, 2, 4]
    assert not (tmp_path / "out").exists()


def test_adc_of_a_human_brain():
    """ADC of the brain: 0.14 to 0.18 um2/ms as trace/3 (Deelchand 2018, doi:10.1002/mrm.26969); wider for one voxel."""
    data = os.environ.get("PULSESPEC_DATA")
    if not data:
        pytest.skip("PULSESPEC_DATA is not set: no diffusion-weighted scan to check with")
    folder = Path(data) / "philips-7t-dw-steam"
    whole = read(sorted(folder.glob("*.SDAT")))

    def one_direction(data):  # of cycles of b = 0 and three b-values along three directions each
        return replace(data, data=data.data[np.isin(np.arange(len(data.data)) % 10, (0, 1, 4, 7))])

    scan = Scan(one_direction(whole.metabolite), one_direction(whole.water))
    order = ordered(96, "b", read_values("0,0.907,2.155,3.956", "b"), cycle=4)
    done = recon_series(scan, order)
    basis = read_basis(folder / "basis_STEAM_TE45_TM60.BASIS").basis
    basis = replace(basis, dwell_s=done.spectra.dwell_s)  # 333 us in its file
    names = ("Cr", "GPC", "Gln", "Glu", "Ins", "Mac", "NAA", "NAAG", "PCh", "PCr")
    found = series_fit(
        done.spectra,
        [basis],
        load_model("diffusion"),
        order.columns["b"],
        settings=FitSettings(names=names, ppm_range=(1.8, 4.0), stiffness=3.0),
    )
    assert found.joint.converged
    adc = {r["metabolite"]: r for r in model_rows(found) if r["parameter"] == "ADC"}
    for name, low, high in (("tNAA", 0.10, 0.20), ("tCr", 0.08, 0.20)):
        assert low < adc[name]["value"] < high
        assert adc[name]["sd"] < 0.03
    assert 0.0 < adc["tCho"]["value"] < 0.2


def test_models_are_listed_with_what_they_are_for():
    assert {"diffusion", "inversion-recovery", "t2", "fmrs-block"} <= {
        row["name"] for row in series_verbs.list_models()
    }
