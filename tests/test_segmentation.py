"""Tissue fractions of a spectroscopic voxel: against volumes that geometry gives, and what segmentations get wrong."""

import nibabel
import numpy as np
import pytest
from scipy.spatial import ConvexHull, HalfspaceIntersection
from scipy.spatial.transform import Rotation

from pulsespec.errors import DataError, InputError
from pulsespec.recon.nifti import read_nifti
from pulsespec.recon.sdat import read_sdat
from pulsespec.recon.segmentation import Source, read_segmentation, schemes
from pulsespec.recon.transients import Geometry
from pulsespec.recon.voxel_fractions import fraction_warnings, voxel_fractions, write_mask

SHAPE = (40, 36, 32)


def affine_of(size=(1.0, 1.0, 1.0), turn=(0.0, 0.0, 0.0), centre=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * size
    affine[:3, 3] = centre
    return affine


def image_affine(size=(1.0, 1.0, 1.0), turn=(0.0, 0.0, 0.0)):
    """The middle of the image at the origin."""
    affine = affine_of(size, turn)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def save(path, data, affine, code=1):
    image = nibabel.Nifti1Image(np.asarray(data), affine)
    image.set_sform(affine, code=code)
    image.set_qform(affine if code else None, code=code)
    nibabel.save(image, path)
    return path


def maps(folder, gm, wm, csf, affine):
    return Source(**{
        name: save(folder / f"{name}.nii.gz", data.astype(np.float32), affine)
        for name, data in (("gm", gm), ("wm", wm), ("csf", csf))
    })  # fmt: skip


def halves(axis=0, at=20):
    """Grey matter below an index, white matter from it on."""
    index = np.indices(SHAPE)[axis]
    return (index < at).astype(float), (index >= at).astype(float), np.zeros(SHAPE)


def fractions(source, geometry, shape=(1, 1, 1)):
    return voxel_fractions(geometry, read_segmentation(source), shape)


def test_an_upright_voxel_across_a_boundary(tmp_path):
    """The boundary is at x = 0; a voxel of 10 mm at x = 2.3 has 2.7 mm of grey matter."""
    source = maps(tmp_path, *halves(), image_affine())
    found = fractions(source, Geometry(affine_of((10, 8, 12), centre=(2.3, 0, 0))))
    assert found.whole[0, 0, 0] == pytest.approx([0.27, 0.73, 0.0], abs=0.013)  # half a cell of 0.25 mm
    assert found.inside == pytest.approx(1.0)
    fine = fractions(source, Geometry(affine_of((10, 8, 12), centre=(2.25, 0, 0))))
    assert fine.whole[0, 0, 0] == pytest.approx([0.275, 0.725, 0.0], abs=1e-6), "on a boundary of cells"


@pytest.mark.parametrize("image_turn", [(0, 0, 0), (13, -8, 21)])
@pytest.mark.parametrize("turn", [(45, 0, 0), (10, 25, -40)])
def test_an_oblique_voxel_against_clipped_polyhedra(tmp_path, turn, image_turn):
    """The volume of a turned box on one side of a plane, by the convex hull of their intersection."""
    image = image_affine(turn=image_turn)
    voxel = affine_of((11, 9, 14), turn, centre=(1.7, -2.1, 0.9))
    found = fractions(maps(tmp_path, *halves(axis=1, at=18), image), Geometry(voxel))
    expected = share_below(voxel, image, axis=1, edge=17.5)
    assert found.whole[0, 0, 0, 0] == pytest.approx(expected, abs=2e-3)
    assert abs(found.whole[0, 0, 0, 0] - expected) <= 2 * found.error[0, 0, 0, 0] + 1e-6


def share_below(voxel, image, axis, edge):
    to_voxel = np.linalg.inv(voxel) @ image
    plane = np.linalg.inv(to_voxel)[axis]  # image index along the axis, as a function of voxel indices
    box = [[*sign * np.eye(3)[k], -0.5] for k in range(3) for sign in (-1, 1)]
    half = np.array([*box, [*plane[:3], plane[3] - edge]])
    inner = np.zeros(3) - plane[:3] / np.linalg.norm(plane[:3]) * 0.3
    return ConvexHull(HalfspaceIntersection(half, inner).intersections).volume


def test_image_voxels_of_another_size_and_a_voxel_smaller_than_one(tmp_path):
    source = maps(tmp_path, *halves(), image_affine((2.0, 0.9, 1.3)))
    found = fractions(source, Geometry(affine_of((0.5, 0.5, 0.5), (0, 0, 30), (5.0, 1.0, 1.0))))
    assert found.whole[0, 0, 0] == pytest.approx([0, 1, 0])


def test_a_grid_of_voxels_is_its_voxels_one_by_one(tmp_path):
    rng = np.random.default_rng(4)
    shares = rng.dirichlet([1, 1, 1], size=SHAPE)
    source = maps(tmp_path, *np.moveaxis(shares, -1, 0), image_affine(turn=(5, 5, 5)))
    grid = affine_of((6, 5, 7), (20, -10, 15), centre=(-4, -3, 2))
    together = fractions(source, Geometry(grid), (3, 2, 1))
    for index in np.ndindex(3, 2, 1):
        one = grid.copy()
        one[:3, 3] = grid[:3, :3] @ index + grid[:3, 3]
        alone = fractions(source, Geometry(one))
        np.testing.assert_allclose(together.tissue[index], alone.tissue[0, 0, 0], atol=2e-6)


def test_the_mask_has_the_volume_of_the_voxel_and_gives_the_fractions(tmp_path):
    rng = np.random.default_rng(5)
    shares = rng.dirichlet([2, 1, 1], size=SHAPE)
    source = maps(tmp_path, *np.moveaxis(shares, -1, 0), image_affine(turn=(0, 12, 0)))
    geometry, segmentation = Geometry(affine_of((10, 11, 9), (30, 20, 10))), read_segmentation(source)
    write_mask(geometry, segmentation, tmp_path / "mask.nii.gz")
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.get_fdata().sum() == pytest.approx(990.0, rel=3e-3)
    assert mask.get_fdata().max() == 1.0
    np.testing.assert_allclose(mask.affine, segmentation.affine, atol=1e-5)
    centre = np.argwhere(mask.get_fdata() > 0.5).mean(axis=0)
    np.testing.assert_allclose(mask.affine[:3, :3] @ centre + mask.affine[:3, 3], 0, atol=0.1)
    by_mask = (mask.get_fdata()[..., np.newaxis] * shares).sum(axis=(0, 1, 2)) / mask.get_fdata().sum()
    assert voxel_fractions(geometry, segmentation).whole[0, 0, 0] == pytest.approx(by_mask, abs=2e-3)


def labels(folder, gm, wm, csf, **more):
    data = np.zeros(SHAPE, dtype=np.int16)
    data[:12], data[12:30], data[30:] = gm, wm, csf
    for value in more.get("elsewhere", ()):
        data[0, 0, 0] = value
    return Source(labels=save(folder / "labels.nii.gz", data, image_affine()), scheme=more.get("scheme", ""))


WIDE = Geometry(affine_of((40, 10, 10)))
SHARES = [12 / 40, 18 / 40, 10 / 40]


def test_labels_of_fast_and_of_freesurfer(tmp_path):
    fast = labels(tmp_path, gm=2, wm=3, csf=1)
    assert fractions(fast, WIDE).whole[0, 0, 0] == pytest.approx(SHARES)
    assert "FSL FAST" in read_segmentation(fast).notices[0]
    surfer = labels(tmp_path, gm=1015, wm=41, csf=4)
    assert fractions(surfer, WIDE).whole[0, 0, 0] == pytest.approx(SHARES)
    assert read_segmentation(surfer).notices == ()


def test_labels_two_and_three_of_freesurfer_are_not_taken_for_fasts(tmp_path):
    """In the left hemisphere aseg has 2 for white and 3 for grey matter: the whole image decides, not the voxel."""
    surfer = labels(tmp_path, gm=3, wm=2, csf=4, elsewhere=(42,))
    assert fractions(surfer, WIDE).whole[0, 0, 0] == pytest.approx(SHARES)


def test_labels_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text('gm = [1, "5-6"]\nwm = [2]\ncsf = [3]\n')
    mine = labels(tmp_path, gm=5, wm=2, csf=3, scheme=str(tmp_path / "mine.toml"))
    assert fractions(mine, WIDE).whole[0, 0, 0] == pytest.approx(SHARES)


def test_no_shipped_label_is_in_two_tissues(tmp_path):
    for scheme in schemes():
        read_segmentation(
            labels(tmp_path, 1, 2, 4 if scheme == "freesurfer" else 3, scheme=scheme, elsewhere=(14175,))
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gm = [1]\nwm = [2]", "csf"),
        ('gm = ["1-x"]\nwm = [2]\ncsf = [3]', "gm"),
        ("gm = [1]\nwm = [1]\ncsf = [3]", "two tissues"),
        ("gm = [1]\nwm = [2]\ncsf = [3]\nbone = [4]", "bone"),
        ("gm = [", "cannot be read"),
    ],
)
def test_a_table_of_labels_that_is_wrong_is_named(tmp_path, text, words):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_segmentation(labels(tmp_path, 1, 2, 3, scheme=str(tmp_path / "mine.toml")))


def test_an_unknown_scheme_is_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(InputError, match="freesurfer"):
        read_segmentation(labels(tmp_path, 1, 2, 3, scheme="ants"))


def test_probabilities_are_not_labels_and_intensities_are_not_shares(tmp_path):
    path = save(tmp_path / "p.nii.gz", np.full(SHAPE, 0.4, dtype=np.float32), image_affine())
    with pytest.raises(DataError, match="whole numbers"):
        read_segmentation(Source(labels=path))
    bright = Source(
        gm=path, wm=save(tmp_path / "t.nii.gz", np.full(SHAPE, 300, np.int16), image_affine()), csf=path
    )
    with pytest.raises(DataError, match="not probability maps"):
        fractions(bright, WIDE)


def test_an_image_without_a_place_or_on_another_grid_is_refused(tmp_path):
    placed = save(tmp_path / "a.nii.gz", np.ones(SHAPE, np.float32), image_affine())
    lost = save(tmp_path / "b.nii.gz", np.ones(SHAPE, np.float32), image_affine(), code=0)
    other = save(tmp_path / "c.nii.gz", np.ones(SHAPE, np.float32), image_affine((1.0, 1.0, 1.1)))
    with pytest.raises(DataError, match="neither qform nor sform"):
        read_segmentation(Source(labels=lost))
    with pytest.raises(DataError, match="another grid"):
        read_segmentation(Source(gm=placed, wm=placed, csf=other))
    with pytest.raises(InputError, match="no map of csf"):
        Source(gm=placed, wm=placed)
    with pytest.raises(InputError, match="one of the two"):
        Source(labels=placed, gm=placed)
    with pytest.raises(InputError, match="no such file"):
        read_segmentation(Source(labels=tmp_path / "none.nii.gz"))
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(DataError, match="cannot be read"):
        read_segmentation(Source(labels=tmp_path / "text.nii.gz"))


def test_a_template_says_that_it_is_one(tmp_path):
    path = save(tmp_path / "m.nii.gz", np.ones(SHAPE, np.int16), image_affine(), code=4)
    assert "MNI" in read_segmentation(Source(labels=path)).notices[0]


def test_a_voxel_that_leaves_the_image_is_said_and_one_outside_is_refused(tmp_path):
    segmentation = read_segmentation(maps(tmp_path, *halves(), image_affine()))
    edge = voxel_fractions(Geometry(affine_of((10, 10, 10), centre=(18, 0, 0))), segmentation)
    assert edge.inside[0, 0, 0] == pytest.approx(0.7)
    assert "30 % of the voxel lies outside" in fraction_warnings(edge, "s")[0]
    assert edge.whole[0, 0, 0] == pytest.approx([0, 1, 0])
    outside = voxel_fractions(Geometry(affine_of((10, 10, 10), centre=(90, 0, 0))), segmentation)
    with pytest.raises(DataError, match="wholly outside"):
        fraction_warnings(outside, "s")


def test_shares_that_do_not_add_up_are_said(tmp_path):
    gm, wm, csf = halves()
    partly = read_segmentation(maps(tmp_path, 0.7 * gm, 0.7 * wm, csf, image_affine()))
    found = voxel_fractions(Geometry(affine_of((10, 10, 10))), partly)
    assert "30 % of the voxel is neither" in fraction_warnings(found, "s")[0]
    assert found.whole[0, 0, 0] == pytest.approx([0.5, 0.5, 0.0])
    twice = voxel_fractions(
        Geometry(affine_of((10, 10, 10))),
        read_segmentation(maps(tmp_path, gm + 0 * wm, gm + wm, csf, image_affine())),
    )
    assert "sum to 1.50" in fraction_warnings(twice, "s")[0]
    nothing = read_segmentation(maps(tmp_path, 0 * gm, 0 * wm, csf, image_affine()))
    with pytest.raises(DataError, match="holds no grey matter"):
        fraction_warnings(voxel_fractions(Geometry(affine_of((10, 10, 10))), nothing), "s")
    sound = voxel_fractions(
        Geometry(affine_of((10, 10, 10))), read_segmentation(maps(tmp_path, gm, wm, csf, image_affine()))
    )
    assert fraction_warnings(sound, "s") == ()


def test_freesurfers_own_format_lies_where_it_says(tmp_path):
    data = np.zeros(SHAPE, dtype=np.int32)
    data[:12], data[12:30], data[30:] = 3, 41, 4
    nibabel.save(nibabel.MGHImage(data, image_affine().astype(np.float32)), tmp_path / "aseg.mgz")
    found = fractions(Source(labels=tmp_path / "aseg.mgz"), WIDE)
    assert found.whole[0, 0, 0] == pytest.approx(SHARES, abs=1e-4)


def test_images_that_do_not_serve_are_refused(tmp_path):
    nibabel.save(nibabel.Spm2AnalyzeImage(np.ones(SHAPE, np.int16), image_affine()), tmp_path / "old.img")
    with pytest.raises(DataError, match="Analyze"):
        read_segmentation(Source(labels=tmp_path / "old.img"))
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DataError, match="one number a voxel"):
        read_segmentation(Source(labels=save(tmp_path / "rgb.nii.gz", colours, image_affine())))
    with pytest.raises(DataError, match="one volume"):
        read_segmentation(
            Source(labels=save(tmp_path / "4d.nii.gz", np.ones((*SHAPE, 2), np.int16), image_affine()))
        )
    rng = np.random.default_rng(2)
    whole = save(
        tmp_path / "whole.nii.gz", rng.integers(0, 4, SHAPE).astype(np.int16), image_affine()
    ).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.nii\.gz.*cut short"):
        read_segmentation(Source(labels=tmp_path / "cut.nii.gz"))


def test_the_voxel_of_a_vendors_file_lies_where_another_programs_nifti_has_it(data_folder, tmp_path):
    """SDAT/SPAR as read here and the same scan as spec2nii wrote it, in one segmentation without symmetry."""
    scan = data_folder / "philips-3t-press35" / "P1-S01" / "S01_PRESS_35_act"
    ours, theirs = (
        read_sdat(scan.with_suffix(".SDAT")).geometry,
        read_nifti(scan.with_suffix(".nii.gz")).geometry,
    )
    image = np.diag([5.0, 5.0, 5.0, 1.0])
    image[:3, 3] = ours.affine[:3, 3] - 5.0 * (np.array(SHAPE) - 1) / 2 + [3, -7, 4]
    x, y, z = np.indices(SHAPE) / 200  # slopes that differ, so that each axis and its sign count
    source = maps(tmp_path, x, 2 * y, 1 - x - 2 * y - z / 2, image)
    found = [fractions(source, geometry).whole[0, 0, 0] for geometry in (ours, theirs)]
    assert found[0] == pytest.approx(found[1], abs=2e-3)
    swapped = Geometry(ours.affine * np.array([[1], [-1], [1], [1]]))
    assert fractions(source, swapped).whole[0, 0, 0] != pytest.approx(found[1], abs=0.01), (
        "the check can fail"
    )
