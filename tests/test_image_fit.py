"""A spectroscopic image: fitted in blocks, its maps, table and page."""

import csv
import json
from dataclasses import replace

import maps_for_tests as small
import nibabel
import numpy as np
import pytest

from pulsespec import analysis
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.map_cli import limits_of
from pulsespec.map_verbs import ImageOptions, fit_voxels, is_image, matched_image
from pulsespec.recon.fit import FitSettings, fit_batch, fitted_samples
from pulsespec.recon.image_fit import Plan, cleaned, fit_image, fit_one, measured
from pulsespec.recon.image_grid import chosen_voxels, image_scan
from pulsespec.recon.image_merit import merits
from pulsespec.recon.image_scale import image_scale
from pulsespec.recon.image_tables import amplitudes_of, half_widths, linewidths, verdicts
from pulsespec.recon.image_tables import rows_of as rows_of_names
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.quality import quality
from pulsespec.recon.quantify import QuantifySettings, quantify
from pulsespec.recon.results import TABLE
from pulsespec.recon.transients import Scan, Transients
from pulsespec.recon.volumes import read_volume


@pytest.fixture(scope="module")
def basis():
    return small.small_basis()


@pytest.fixture(scope="module")
def scan(basis):
    return small.small_image(basis, tilt_deg=12.0)


@pytest.fixture(scope="module")
def fitted(scan, basis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    made = fit_voxels(scan, basis, folder, {})
    return folder, made


def rows_of(folder):
    with (folder / "concentrations.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def one_map(folder, name):
    return np.asarray(nibabel.load(folder / "maps" / f"{name}.nii.gz").dataobj)


def test_every_voxel_has_its_own_amounts(fitted):
    folder, made = fitted
    truth, passing = small.truth(), one_map(folder, "quality") > 0
    assert passing.sum() == 34
    assert made["voxels"]["passing"] == 34
    for name in small.SHIFTS:
        value, sd = one_map(folder, name), one_map(folder, f"{name}_sd")
        off = (value - truth[name])[passing] / sd[passing]
        assert np.abs(off).max() < 4.5, name
        assert np.sqrt(np.mean(off**2)) < 1.6, name
    reference = truth["NAA"][passing] / truth["Cr"][passing]
    ratio, sd = one_map(folder, "NAA_ratio_tCr")[passing], one_map(folder, "NAA_ratio_tCr_sd")[passing]
    assert np.sqrt(np.mean(((ratio - reference) / sd) ** 2)) < 1.6


def test_maps_lie_where_the_image_lies(fitted, scan):
    folder, _ = fitted
    image = nibabel.load(folder / "maps" / "tNAA.nii.gz")
    affine = scan.metabolite.geometry.affine
    assert np.allclose(image.get_sform(coded=True)[0], affine, atol=1e-4)
    assert np.allclose(image.get_qform(coded=True)[0], affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float32
    lowest = np.unravel_index(np.nanargmax(one_map(folder, "Lac")), image.shape)
    assert lowest[:2] in small.LESION
    there = image.affine @ [*small.LESION[0], 0, 1]
    assert np.allclose(there, affine @ [*small.LESION[0], 0, 1], atol=1e-4)


def test_a_map_without_a_place_says_so(basis, tmp_path):
    scan = small.small_image(basis)
    nowhere = Scan(replace(scan.metabolite, data=scan.metabolite.data[1:3, 1:2], geometry=None), None)
    made = fit_voxels(nowhere, basis, tmp_path, {})
    header = nibabel.load(tmp_path / "maps" / "NAA.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert any("no position in the scanner" in words for words in made["warnings"])
    assert not (tmp_path / "maps" / "NAA_mM.nii.gz").exists()


def test_the_table_is_long_and_the_page_is_whole(fitted):
    folder, made = fitted
    rows = rows_of(folder)
    assert tuple(rows[0]) == ("x", "y", "z", *TABLE)
    assert len(rows) == 34 * len({row["metabolite"] for row in rows})
    assert {(int(row["x"]), int(row["y"])) for row in rows}.isdisjoint(small.EMPTY)
    naa = one_map(folder, "NAA")
    for row in rows:
        if row["metabolite"] == "NAA":
            assert float(row["amplitude"]) == pytest.approx(naa[int(row["x"]), int(row["y"]), 0], rel=1e-5)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "http://" not in page
    assert "https://" not in page
    result = json.loads((folder / "result.json").read_text())
    assert result["voxels"]["fitted"] == 34
    assert [row["metabolite"] for row in made["concentrations"]] == result["rows"]


def test_arrays_say_what_single_fits_say(scan, basis):
    """The numbers of blocks are those of `quantify`, `quality` and the verdict of a single voxel."""
    found = image_scan(scan)
    _, full, _ = matched_image(found, chosen_voxels(found.metabolite, None), basis)
    image = found.metabolite
    fids = image.data[1:4, 2, 0].copy()
    fids[2] = np.random.default_rng(1).standard_normal((image.samples, 2)) @ [1, 1j]
    data = replace(image, data=fids, dims=("x", "t"), geometry=None)
    batch = fit_batch(data, full, FitSettings())
    amounts, merit = amplitudes_of(batch), merits(fids, image)
    water = found.water.data[1:4, 2, 0]
    settings = QuantifySettings(gm=0.3, wm=0.6, csf=0.1, fractions_from="given", fraction_sd=0.02)
    scale = image_scale(batch.names, image, found.water, full, settings, segmented=False)
    from pulsespec.recon.image_scale import concentrations

    scaled = concentrations(batch, scale, water, np.tile([0.3, 0.6, 0.1], (3, 1)))
    for k in range(3):
        one = data.with_data(fids[k], drop=("x",))
        alone = batch.one(k)
        rows = quantify(alone, one, replace(one, data=water[k]), full, settings).rows
        for row in rows:
            j = list(rows_of_names(batch.names)).index(row["metabolite"])
            for key, values in (
                ("amplitude", amounts.value),
                ("sd", amounts.sd),
                ("crlb_percent", amounts.crlb_percent),
                ("ratio_tCr", amounts.ratio),
                ("ratio_tCr_sd", amounts.ratio_sd),
                ("concentration_mM", scaled["mM"]),
                ("concentration_mM_sd", scaled["mM_sd"]),
                ("concentration_molal_mmol_per_kg_sd", scaled["molal_sd"]),
            ):
                assert values[k, j] == pytest.approx(row[key], rel=1e-6, nan_ok=True), (
                    row["metabolite"],
                    key,
                )
        assert (verdicts(batch)[k] == 0) == alone.converged
        assert merit.snr[k] == pytest.approx(quality(one).snr, rel=1e-9)
    assert verdicts(batch)[2] == 3


def test_the_linewidth_is_that_of_the_line(scan, basis):
    """A Voigt line of 2 Hz Lorentzian (and T2 of creatine) and 4 Hz Gaussian, doi:10.1016/0022-4073(77)90161-3."""
    image = scan.metabolite
    data = replace(image, data=image.data[:, 0, 0][1:5], dims=("x", "t"), geometry=None)
    width, name = linewidths(fit_batch(data, basis, FitSettings()))
    assert name == "Cr"
    assert np.abs(np.median(width) - (0.5346 * 2 + np.sqrt(0.2166 * 2**2 + 4**2))) < 0.8
    ppm = np.linspace(-10, 10, 2001)
    assert half_widths(1 / (1 + (ppm[None] / [[0.5], [1.5]]) ** 2)) * 0.01 == pytest.approx(
        [1.0, 3.0], rel=1e-3
    )


def test_blocks_and_processes_leave_the_numbers_alone(scan, basis):
    found = image_scan(scan)
    chosen = chosen_voxels(found.metabolite, None)
    like = found.metabolite.with_data(np.zeros((1, 1, 1, found.metabolite.samples)))
    plan = Plan(like, basis, FitSettings(), False, None)
    shares = np.tile([0.5, 0.5, 0.0], (len(chosen.index), 1))
    one, two = (fit_image(found, chosen, plan, shares, block_voxels=12, jobs=jobs) for jobs in (1, 2))
    other = fit_image(found, chosen, plan, shares, block_voxels=5)
    for name, values in one.numbers.items():
        assert np.array_equal(values, two.numbers[name], equal_nan=True), name
    sd = one.numbers["sd"]
    assert np.abs((other.numbers["value"] - one.numbers["value"]) / sd).max() < 1e-7
    assert np.array_equal(other.voxel["steps"], one.voxel["steps"])


def test_a_voxel_does_not_depend_on_those_beside_it(scan, basis, monkeypatch):
    """Fitted alone it has the numbers that it has in the image, where all FIDs are fitted to the same length."""
    monkeypatch.setattr("pulsespec.recon.fit_noise._LEAST_S", 0.02)
    found = image_scan(scan)
    chosen = chosen_voxels(found.metabolite, None)
    at, fids = tuple(chosen.index[7]), found.metabolite.data.copy()
    fids[at] *= np.exp(-30 * np.arange(fids.shape[-1]) * found.metabolite.dwell_s)
    image = Scan(found.metabolite.with_data(fids), None)
    plan = Plan(found.metabolite.with_data(0 * fids[:1, :1, :1]), basis, FitSettings(), False, None)
    own = fitted_samples(cleaned(plan, fids[at][None]), basis, FitSettings())
    plan = measured(plan, image, chosen)
    assert own < 0.8 * plan.samples
    whole = fit_image(image, chosen, plan, np.tile([0.5, 0.5, 0.0], (len(chosen.index), 1)))
    alone = fit_one(plan, fids[at])
    value, sd = (whole.numbers[name][7, : len(alone.names)] for name in ("value", "sd"))
    assert np.abs((alone.amplitudes[0] - value) / sd).max() < 1e-7


def test_a_mask_chooses_by_half_of_a_voxel(scan, basis, tmp_path):
    """A box in world coordinates on a fine grid of its own covers three voxels wholly, others by less than half."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-60, -60, -20]
    values = np.zeros((60, 60, 40), dtype=np.uint8)
    places = (
        np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"), axis=-1)
        @ affine[:3, :3].T
    )
    index = (places + affine[:3, 3] - scan.metabolite.geometry.affine[:3, 3]) @ np.linalg.inv(
        scan.metabolite.geometry.affine[:3, :3]
    ).T
    inside = (index[..., 0] > 0.5) & (index[..., 0] < 3.5) & (index[..., 1] > 1.5) & (index[..., 1] < 2.9)
    values[inside] = 1
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "mask.nii.gz")
    chosen = chosen_voxels(scan.metabolite, read_volume(tmp_path / "mask.nii.gz"))
    assert chosen.index[:, :2].tolist() == [[1, 2], [2, 2], [3, 2]]


def test_water_of_other_voxels_and_nothing_at_all_are_refused(scan, basis):
    with pytest.raises(MismatchError, match="expected the voxels of image: 6, 6, 1 along x, y, z"):
        image_scan(replace(scan, water=scan.water.with_data(scan.water.data[:, :5])))
    moved = scan.water.geometry.affine + np.eye(4)[:, [3, 3, 3, 0]] * 0
    moved[0, 3] += 5
    with pytest.raises(MismatchError, match=r"up to 5\.0 mm"):
        image_scan(
            replace(scan, water=replace(scan.water, geometry=replace(scan.water.geometry, affine=moved)))
        )
    nothing = scan.metabolite.with_data(0 * scan.metabolite.data)
    with pytest.raises(DataError, match="no voxel can be fitted"):
        chosen_voxels(nothing, None)
    coils = replace(
        scan.metabolite, data=np.ones((2, 2, 1, 3, 64), complex), dims=("x", "y", "z", "coil", "t")
    )
    with pytest.raises(InputError, match="3 entries along 'coil'"):
        image_scan(Scan(coils))


def test_a_mirrored_image_is_turned_or_refused(scan, basis):
    flipped = scan.metabolite.with_data(scan.metabolite.data.conj())
    chosen = chosen_voxels(scan.metabolite, None)
    turned, _, said = matched_image(Scan(flipped), chosen, basis)
    assert np.array_equal(turned.metabolite.data, scan.metabolite.data)
    assert any("conjugated" in words for words in said)
    with pytest.raises(DataError, match="mirrored against the basis"):
        matched_image(Scan(replace(flipped, sign_is_defined=True)), chosen, basis)


def test_options_of_the_other_kind_are_refused(scan, basis, tmp_path, monkeypatch):
    for name in ("spectrum", "basis"):
        (tmp_path / name).touch()
    monkeypatch.setattr(analysis, "opened", lambda *_: (scan, basis))
    with pytest.raises(InputError, match="--posterior: got spectra of several voxels"):
        analysis.fit(tmp_path / "spectrum", tmp_path / "basis", tmp_path / "out", posterior=100)
    single = Scan(scan.metabolite.with_data(scan.metabolite.data[1, 1, 0], drop=("x", "y", "z")))
    monkeypatch.setattr(analysis, "opened", lambda *_: (single, basis))
    with pytest.raises(InputError, match="--mask, --block-voxels and --lesion: got a single voxel"):
        analysis.fit(tmp_path / "s", tmp_path / "b", tmp_path / "out", image=ImageOptions(block_voxels=2))


def test_from_the_file_to_the_maps(scan, basis, tmp_path):
    write_nifti(scan.metabolite.with_data(scan.metabolite.data[2:4]), tmp_path / "image.nii.gz")
    write_nifti(scan.water.with_data(scan.water.data[2:4]), tmp_path / "water.nii.gz")
    ones = nibabel.Nifti1Image(np.ones((6, 6, 1), np.uint8), scan.metabolite.geometry.affine)
    nibabel.save(ones, tmp_path / "mask.nii.gz")
    basis.write(tmp_path / "basis.h5")
    assert is_image(Scan(read_nifti(tmp_path / "image.nii.gz")))
    made = analysis.fit(
        tmp_path / "image.nii.gz",
        tmp_path / "basis.h5",
        tmp_path / "out",
        water=tmp_path / "water.nii.gz",
        image=ImageOptions(mask=tmp_path / "mask.nii.gz", block_voxels=8),
    )
    assert made["output"] == str(tmp_path / "out")
    naa = one_map(tmp_path / "out", "NAA_mM")
    assert naa.shape == (2, 6, 1)
    assert np.isfinite(naa).all()
    assert any("half grey and half white matter" in words for words in made["warnings"])


def test_what_is_fitted_can_be_chosen(basis, tmp_path):
    """Of creatine's methylene only a part is in the data, and next to nothing below 1.9 ppm, as in filtered data."""
    names, t = ("Cr", "NAA", "GPC", "Ins"), np.arange(small.SAMPLES) * small.DWELL_S
    fids = sum(small.HEALTHY[name] * basis.fid(name, small.SAMPLES, small.DWELL_S) for name in names)
    fids = fids - 6.0 * 2.0 * np.exp(2j * np.pi * (4.65 - 3.913) * small.F0_HZ * 1e-6 * t)
    noise = np.random.default_rng(0).normal(size=(2, 2, 1, small.SAMPLES, 2)) @ [1, 1j]
    facts = {
        "dwell_s": small.DWELL_S,
        "f0_hz": small.F0_HZ,
        "te_s": 0.03,
        "tr_s": 2.0,
        "records": (small.CLEAN,),
    }
    data = Transients(data=fids * np.exp(-15 * t) + 0.3 * noise, dims=("x", "y", "z", "t"), **facts)
    write_nifti(data, tmp_path / "image.nii.gz")
    write_nifti(data.with_data(data.data[0, 0, 0], drop=("x", "y", "z")), tmp_path / "one.nii.gz")
    basis.write(tmp_path / "basis.h5")
    limits = limits_of("1.9,4.0", "Cr, NAA,GPC,Ins,-CrCH2")
    for name in ("image", "one"):
        where = (tmp_path / f"{name}.nii.gz", tmp_path / "basis.h5", tmp_path / name)
        analysis.fit(*where, limits=limits, methylene=True)
        with (tmp_path / name / "concentrations.tsv").open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert {row["metabolite"] for row in rows} == {
            "Cr",
            "NAA",
            "GPC",
            "Ins",
            "-CrCH2",
            "tCr",
            "tNAA",
            "tCho",
        }
        for metabolite, amount in (("Cr", 8.0), ("NAA", 12.0), ("-CrCH2", 6.0)):
            found = [float(row["amplitude"]) for row in rows if row["metabolite"] == metabolite]
            assert found == pytest.approx([amount] * len(found), rel=0.12), (name, metabolite)


@pytest.mark.parametrize("text", ["1.9", "low,high", "4.0,1.9"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="--ppm-range: got"):
        limits_of(text, None)


def test_lcmodels_own_voxels(data_folder, tmp_path):
    folder = data_folder / "lcmodel-csi-3t"
    made = analysis.fit(
        folder / "multi-voxel.met",
        folder / "sim_se_csi_te16.basis",
        tmp_path / "out",
        water=folder / "multi-voxel.ref",
    )
    assert {row["x"] for row in rows_of(tmp_path / "out")} == set(map(str, range(10)))
    assert any(
        "500.00 us" in word and "800.00 us" in word and "interpolated" in word for word in made["warnings"]
    )


def test_place_is_judged_on_voxels_that_show_all_metabolites():
    """Those with least lipid have lost all that is upfield, as at the end of a slab: they have no majority."""
    from pulsespec.map_verbs import witnesses
    from pulsespec.recon.image_grid import Chosen

    t = np.arange(512) * 8e-4

    def line(ppm):
        return np.exp((2j * np.pi * (4.65 - ppm) * 123.2 - 20) * t)

    whole = line(2.0) + 0.6 * line(3.0) + 0.5 * line(3.2) + 0.05 * line(1.3)
    end = 1.5 * (line(3.0) + line(3.2))
    data = np.array([end] * 5 + [whole] * 19).reshape(24, 1, 1, -1)
    image = Transients(data=data, dims=("x", "y", "z", "t"), dwell_s=8e-4, f0_hz=123.2e6)
    index = np.array([(k, 0, 0) for k in range(24)])
    shown = [int(at[0]) for at in witnesses(image, Chosen(index, "all"))]
    assert len(shown) == 5
    assert sum(k >= 5 for k in shown) > 2
