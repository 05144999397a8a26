"""Maps against an atlas, a mask and a lesion."""

import csv
import json

import maps_for_tests as small
import nibabel
import numpy as np
import pytest
import sequences_for_tests
from typer.testing import CliRunner

from pulsespec import region_verbs
from pulsespec.cli import app
from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError
from pulsespec.map_verbs import ImageOptions, fit_voxels
from pulsespec.recon import lesion as lesions
from pulsespec.recon.label_shares import label_shares, mask_shares
from pulsespec.recon.midplane import mirrored, symmetry_plane
from pulsespec.recon.regions import read_names, weighted, weighted_median
from pulsespec.recon.transients import Geometry, Scan, Transients
from pulsespec.recon.volumes import Volume, read_volume, write_volume
from pulsespec.simulator import simulate


def fine(geometry, shape, inside):
    """Return a mask on a grid of 2.5 mm along the axes of a spectroscopic image; `inside` takes its indices."""
    affine = geometry.affine.copy()
    affine[:3, :3] /= 4
    affine[:3, 3] -= geometry.affine[:3, :3] @ [0.375, 0.375, 0.375]
    at = np.meshgrid(*((np.arange(4 * n) + 0.5) / 4 - 0.5 for n in shape), indexing="ij")
    return Volume(inside(*at).astype(np.int64), affine, "fine")


def save(volume, path):
    nibabel.save(nibabel.Nifti1Image(volume.values.astype(np.int16), volume.affine), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Maps of the small image, fitted with its lesion; the lesion's mask is beside them."""
    made = tmp_path_factory.mktemp("maps")
    place = small.grid(tilt_deg=12.0)
    save(
        fine(place, (6, 6, 1), lambda x, y, z: (abs(x - 1.5) < 1) & (abs(y - 2.5) < 1)),
        made / "lesion.nii.gz",
    )
    basis = small.small_basis()
    options = ImageOptions(lesion=region_verbs.LesionMasks(made / "lesion.nii.gz"))
    fit_voxels(small.small_image(basis, tilt_deg=12.0), basis, made, {}, options=options)
    return made


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_shares_of_labels_are_volumes():
    """A label that ends inside a voxel, on an oblique grid; a label outside is in none."""
    place = small.grid(tilt_deg=30.0)
    labels = fine(place, (6, 6, 1), lambda x, y, z: 3 * (x < 1.75) + 7 * (x > 4))
    shares = label_shares(place, (6, 6, 1), labels, np.array([3, 5, 7]))
    assert shares.shape == (6, 6, 1, 3)
    assert shares[:, 2, 0, 0] == pytest.approx([1, 1, 0.25, 0, 0, 0])
    assert shares[:, 2, 0, 2] == pytest.approx([0, 0, 0, 0, 0.5, 1])
    assert not shares[..., 1].any()
    away = Volume(labels.values, labels.affine.copy(), "away")
    away.affine[:3, 3] += 1e4
    with pytest.raises(DataError, match="wholly outside"):
        mask_shares(place, (6, 6, 1), away)


def test_weighted_statistics_are_those_of_whole_voxels():
    rng = np.random.default_rng(0)
    values, sds = rng.normal(5, 1, 12), rng.uniform(0.1, 0.3, 12)
    found = weighted(values, sds, np.ones(12))
    assert found["mean"] == pytest.approx(values.mean())
    assert found["sd"] == pytest.approx(values.std(ddof=1))
    assert found["median"] == pytest.approx(np.median(values))
    equal = weighted(values, np.full(12, 0.2), np.ones(12))
    assert equal["mean_weighted"] == pytest.approx(values.mean())
    assert equal["se_weighted"] == pytest.approx(0.2 / np.sqrt(12))
    assert weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 3.0])) == 9.0
    assert np.isnan(weighted(values[:0], sds[:0], sds[:0])["mean"])


def test_regions_have_their_amounts(folder, tmp_path):
    """Two halves along x; the failing corners are left out and count as not covered."""
    place = small.grid(tilt_deg=12.0)
    atlas = save(fine(place, (6, 6, 1), lambda x, y, z: np.where(x < 2.5, 4, 9)), tmp_path / "atlas.nii.gz")
    (tmp_path / "names.tsv").write_text("label\tname\n4\tleft side\n9\tright side\n")
    made = region_verbs.regions(folder, tmp_path / "out.tsv", atlas=atlas, labels=tmp_path / "names.tsv")
    table = rows(tmp_path / "out.tsv")
    assert len(table) == len(made["rows"])
    truth = small.truth()["NAA"][3:].copy()
    truth[2, 5] = np.nan
    row = next(r for r in table if (r["region"], r["metabolite"]) == ("right side", "NAA"))
    assert (row["label"], row["quantity"], row["voxels"], row["voxels_failing"]) == ("9", "mM", "17", "1")
    assert float(row["coverage"]) == pytest.approx(17 / 18, abs=1e-6)
    scale = float(row["mean"]) / np.nanmean(truth)
    amplitude = region_verbs.regions(
        folder, tmp_path / "two.tsv", atlas=atlas, quantity="amplitude", metabolites=["NAA"]
    )
    plain = amplitude["rows"][1]
    assert plain["mean"] == pytest.approx(np.nanmean(truth), abs=4 * plain["se_weighted"] + 0.04 * 12)
    assert plain["median"] == pytest.approx(np.nanmedian(truth), rel=0.06)
    assert plain["sd"] == pytest.approx(np.nanstd(truth, ddof=1), rel=0.3)
    assert scale == pytest.approx(
        float(row["median"]) / plain["median"] * plain["mean"] / np.nanmean(truth), rel=0.05
    )


def test_partial_voxels_count_by_their_share(folder, tmp_path):
    place = small.grid(tilt_deg=12.0)
    mask = save(
        fine(place, (6, 6, 1), lambda x, y, z: (x > 2.75) & (abs(y - 2) < 0.5)), tmp_path / "m.nii.gz"
    )
    strict, loose = (
        region_verbs.regions(folder, tmp_path / f"{k}.tsv", mask=mask, metabolites=["NAA"], least_share=share)
        for k, share in enumerate((0.9, 0.5))
    )
    assert strict["rows"][0]["voxels"] == 2
    assert loose["rows"][0]["voxels"] == 3
    assert loose["rows"][0]["coverage"] == pytest.approx(1.0)
    naa = np.asarray(nibabel.load(folder / "maps" / "NAA_mM.nii.gz").dataobj)[3:, 2, 0]
    assert loose["rows"][0]["mean"] == pytest.approx(naa @ [0.75, 1, 1] / 2.75, rel=1e-5)


def test_what_cannot_be_is_refused(folder, tmp_path):
    place = small.grid()
    empty = save(fine(place, (6, 6, 1), lambda x, y, z: x > 99), tmp_path / "empty.nii.gz")
    with pytest.raises(InputError, match="neither of --atlas and --mask"):
        region_verbs.regions(folder)
    with pytest.raises(InputError, match="no label above 0"):
        region_verbs.regions(folder, tmp_path / "o.tsv", atlas=empty)
    with pytest.raises(InputError, match="Xyz not among what was fitted"):
        region_verbs.regions(folder, tmp_path / "o.tsv", mask=empty, metabolites=["Xyz"])
    with pytest.raises(InputError, match="expected a folder that `fit` wrote"):
        region_verbs.regions(tmp_path, mask=empty)
    with pytest.raises(DataError, match="no fitted voxel has half of its volume"):
        region_verbs.lesion(folder, region_verbs.LesionMasks(empty), overwrite=True)
    (tmp_path / "bad.tsv").write_text("1\tone\ntwo\tthree\n")
    with pytest.raises(InputError, match="line 2"):
        read_names(tmp_path / "bad.tsv")
    halves = Volume(np.full((2, 2, 2), 0.5), np.eye(4), "h")
    write_volume(halves.values, Geometry(np.eye(4)), tmp_path / "halves.nii.gz")
    with pytest.raises(InputError, match="holds numbers that are not whole"):
        region_verbs.regions(folder, tmp_path / "o.tsv", atlas=tmp_path / "halves.nii.gz")


def test_a_lesion_stands_out_with_the_right_sign(folder):
    table = {row["measure"]: row for row in rows(folder / "lesion.tsv")}
    assert float(table["tNAA"]["z_largest"]) < -3
    for name in (lesions.RATIO, lesions.CONTRAST, "tCho", "Lac"):
        assert float(table[name]["z_least"]) > 3, name
        assert table[name]["voxels_beyond_3"] == "4"
    assert abs(float(table["tCr"]["lesion_over_contralateral"]) - 5 / 8) < 0.1
    assert float(table["tCho"]["lesion_over_contralateral"]) == pytest.approx(4.0 / 1.5, rel=0.12)
    assert float(table[lesions.RATIO]["lesion"]) == pytest.approx(4.0 / 2.5, rel=0.15)
    assert float(table[lesions.RATIO]["normal_median"]) == pytest.approx(1.5 / 12, rel=0.1)
    sides = np.asarray(nibabel.load(folder / "maps" / "lesion_sides.nii.gz").dataobj)[..., 0]
    assert {tuple(at) for at in np.argwhere(sides == 1).tolist()} == set(small.LESION)
    assert {tuple(at) for at in np.argwhere(sides == 2).tolist()} == {(5 - x, y) for x, y in small.LESION}
    z = np.asarray(nibabel.load(folder / "maps" / "lesion_z_tCho_over_tNAA.nii.gz").dataobj)[..., 0]
    away = z[(sides == 3) & np.isfinite(z)]
    assert np.median(away) == pytest.approx(0, abs=0.5)  # contralateral voxels are normal, too
    assert np.mean(np.abs(away) > 3) < 0.1
    plane = json.loads((folder / "lesion.json").read_text())["plane"]
    turned = np.array([np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12)), 0])
    assert np.abs(np.array(plane["normal"]) @ turned) > np.cos(np.deg2rad(6))
    assert "Lesion beside contralateral tissue" in (folder / "report.html").read_text()


def test_from_the_command_line(folder, tmp_path):
    lesion = str(folder / "lesion.nii.gz")
    run = CliRunner().invoke(
        app, ["regions", str(folder), "--mask", lesion, "-o", str(tmp_path / "t.tsv"), "--json"]
    )
    assert run.exit_code == 0
    assert {row["region"] for row in json.loads(run.stdout)["rows"]} == {"lesion"}
    again = CliRunner().invoke(app, ["regions", str(folder), "--lesion", lesion])
    assert isinstance(again.exception, InputError)
    other = save(
        fine(small.grid(12.0), (6, 6, 1), lambda x, y, z: (abs(x - 4) < 1) & (abs(y - 2) < 1)),
        tmp_path / "c.nii",
    )
    both = [
        "regions",
        str(folder),
        "--lesion",
        lesion,
        "--contralateral",
        str(other),
        "--overwrite",
        "--quiet",
    ]
    assert CliRunner().invoke(app, both).exit_code == 0
    assert json.loads((folder / "lesion.json").read_text())["plane"] is None
    assert CliRunner().invoke(app, ["regions", str(folder), "--lesion", lesion, "--overwrite"]).exit_code == 0
    assert (folder / "lesion.html").read_text().count("data:image/png;base64,") == 2


def test_naa_that_is_not_seen_bounds_the_ratio():
    choline = lesions.Measure("tCho", "", np.array([4.0, 4.0]), np.array([0.2, 0.2]), np.zeros(2, bool))
    naa = lesions.Measure("tNAA", "", np.array([0.0, 2.0]), np.array([0.5, 0.1]), np.zeros(2, bool))
    found = lesions.choline_over_naa(choline, naa, np.array([np.nan, 0.14]))
    assert found.at_least.tolist() == [True, False]
    assert found.value == pytest.approx([4.0 / 0.98, 2.0], rel=1e-2)
    assert np.isfinite(found.sd).all()


def test_the_midline_of_a_turned_head():
    """An egg, turned by 7 degrees about z and 4 about y and moved by 5 mm, on a grid of 3 mm."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-100, -120, -70]
    points = (
        np.stack(np.meshgrid(*(np.arange(n) for n in (68, 80, 50)), indexing="ij"), axis=-1) * 3.0
        + affine[:3, 3]
    )
    yaw, roll = np.deg2rad(7.0), np.deg2rad(4.0)
    normal = np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])
    front = np.array([-np.sin(yaw), np.cos(yaw), 0])
    up = np.cross(normal, front)
    centre = np.array([5.0, -3.0, 2.0])
    x, y, z = ((points - centre) @ axis for axis in (normal, front, up))
    egg = (x / (70 - 0.15 * y)) ** 2 + (y / 90) ** 2 + (z / 60) ** 2 < 1
    plane = symmetry_plane(Volume(egg.astype(np.uint8), affine, "head"))
    assert np.rad2deg(np.arccos(plane.normal @ normal)) < 0.7
    assert abs(plane.offset_mm - normal @ centre) < 1.0
    assert plane.likeness > 0.99
    twice = mirrored(mirrored(Volume(egg, affine, "head"), plane), plane)
    assert np.allclose(twice.affine, affine)
    assert np.linalg.det(mirrored(Volume(egg, affine, "head"), plane).affine[:3, :3]) < 0
    with pytest.raises(DataError, match="is empty"):
        symmetry_plane(Volume(np.zeros((4, 4, 4), np.uint8), affine, "nothing"))


def test_lactate_that_is_upside_down_has_a_positive_amount(tmp_path):
    """A spin echo of TE 144 ms, 1 / J of lactate: its doublet is inverted in basis and data, its amount is not."""
    path = tmp_path / "echo.seq"
    sequences_for_tests.spin_echo(path, te_s=0.144, samples=512, dwell_s=5e-4)
    basis = simulate(path, ["NAA", "Cr", "GPC", "Lac"], f0_hz=small.F0_HZ)
    ppm = ppm_axis(512, 5e-4, small.F0_HZ)
    lactate = to_spectrum(basis.fid("Lac", 512, 5e-4, 5.0)).real
    doublet = (ppm > 1.2) & (ppm < 1.45)
    assert lactate[doublet].min() < -5 * abs(lactate[doublet].max())
    assert to_spectrum(basis.fid("NAA", 512, 5e-4, 5.0)).real[(ppm > 1.9) & (ppm < 2.1)].max() > 0
    amounts = {
        "NAA": np.full((6, 4), 10.0),
        "Cr": np.full((6, 4), 7.0),
        "GPC": np.full((6, 4), 1.5),
        "Lac": np.zeros((6, 4)),
    }
    amounts["Lac"][1, 1:3], amounts["NAA"][1, 1:3], amounts["GPC"][1, 1:3] = 8.0, 2.0, 3.5
    rng = np.random.default_rng(4)
    fids = sum(value[..., None, None] * basis.fid(name, 512, 5e-4, 5.0) for name, value in amounts.items())
    fids = fids + 0.4 * (rng.standard_normal(fids.shape) + 1j * rng.standard_normal(fids.shape))
    place = small.grid()
    scan = Scan(
        Transients(
            data=fids, dims=("x", "y", "z", "t"), dwell_s=5e-4, f0_hz=small.F0_HZ, te_s=0.144, tr_s=2.0,
            geometry=place, records=(small.CLEAN,),
        )
    )  # fmt: skip
    mask = save(
        fine(place, (6, 4, 1), lambda x, y, z: (abs(x - 1) < 0.5) & (abs(y - 1.5) < 1)), tmp_path / "l.nii"
    )
    fit_voxels(scan, basis, tmp_path, {}, options=ImageOptions(lesion=region_verbs.LesionMasks(mask)))
    found = read_volume(tmp_path / "maps" / "Lac.nii.gz").values
    assert found[1, 1:3] == pytest.approx(8.0, abs=0.8)
    table = {row["measure"]: row for row in rows(tmp_path / "lesion.tsv")}
    assert float(table["Lac"]["z_least"]) > 3
    assert float(table["tCho/tNAA"]["z_least"]) > 3
    assert float(table["tNAA"]["z_largest"]) < -3
