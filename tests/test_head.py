"""The numerical head: its shapes, field, coils, files and settings."""

import nibabel
import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.simulator.grid import Grid, finer_grid, on_coarse
from pulsespec.simulator.head import gauss_of, make_head, tissue_of
from pulsespec.simulator.head_coils import loops_around, magnetic_field, noise_covariance, sensitivities
from pulsespec.simulator.head_field import AIR_OVER_TISSUE, field_hz, sphere_field
from pulsespec.simulator.head_files import segmented
from pulsespec.simulator.head_settings import HeadSettings, load_head_settings

F0_HZ = 123.25e6
AXES = np.eye(3)
COARSE = Grid((20, 24, 18), np.full(3, 0.01), np.array([-0.1, -0.12, -0.09]), np.zeros(3), AXES)


@pytest.fixture(scope="module")
def head():
    grid = finer_grid(COARSE, (3, 3, 3), np.array([-0.08, -0.1, -0.09]), np.array([0.08, 0.1, 0.09]))
    return make_head(load_head_settings("brain-tumour"), grid, F0_HZ)


def test_shares_fill_the_head_and_have_the_sizes_of_an_adult_s(head):
    total = np.sum(list(head.shares.values()), axis=0)
    assert total.max() < 1 + 1e-5
    assert min(share.min() for share in head.shares.values()) >= 0
    millilitres = {
        name: share.sum() * np.prod(head.grid.spacing_m) * 1e6 for name, share in head.shares.items()
    }
    ellipsoid = 4 / 3 * np.pi * np.prod(head.settings.outer_mm) * 1e-3
    assert sum(millilitres.values()) == pytest.approx(ellipsoid, rel=0.01)
    assert 400 < millilitres["grey-matter"] < 800
    assert 400 < millilitres["white-matter"] < 800
    assert millilitres["recurrent-tumour"] == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.05)


def test_the_lesion_lies_where_it_was_put(head):
    weight = head.lesion[..., None]
    centre = (weight * head.grid.points_mm()).sum(axis=(0, 1, 2)) / weight.sum()
    np.testing.assert_allclose(centre, head.settings.lesion_centre_mm, atol=0.5)
    assert np.all(head.brain >= head.lesion)


def test_world_coordinates_are_right_anterior_superior_of_a_supine_patient():
    """Gradient x, y, z are left, anterior and feet of a patient head first on Siemens (docs/conventions.md)."""
    affine = COARSE.affine
    np.testing.assert_allclose(affine[:3, :3], np.diag([-10.0, 10.0, -10.0]))
    np.testing.assert_allclose(affine @ [10, 12, 9, 1], [0, 0, 0, 1], atol=1e-9)
    points = COARSE.points_mm()
    np.testing.assert_allclose(points[3, 5, 7], (affine @ [3, 5, 7, 1])[:3])


def test_the_field_of_a_sphere_is_a_dipole_s():
    points = np.array([[0.0, 0.0, 20.0], [20.0, 0.0, 0.0], [0.0, 0.0, -40.0]])
    found = sphere_field(points, np.zeros(3), 10.0) / AIR_OVER_TISSUE
    np.testing.assert_allclose(found, [2 / 3 / 8, -1 / 3 / 8, 2 / 3 / 64])
    step, centre = 0.1, np.array([13.0, 9.0, 11.0])
    shifts = step * np.concatenate([np.eye(3), -np.eye(3)])
    around = sphere_field(centre + shifts, np.zeros(3), 10.0).sum()
    alone = sphere_field(centre[None], np.zeros(3), 10.0)[0]
    assert abs(around - 6 * alone) < 1e-6 * abs(alone)  # harmonic: the mean of its neighbours


def test_shimming_takes_out_what_a_shim_can_and_leaves_what_was_asked(head):
    points, brain = head.grid.points_mm(), head.brain
    common = {"centre_mm": np.zeros(3), "seed": 3, "shim_order": 2}
    left = field_hz(points, brain, F0_HZ, hot_spot_hz=None, residue_hz=0.0, **common)
    inside = brain > 0.5
    assert abs(left[inside].mean()) < 0.01 * left[inside].std()
    assert abs(np.sum(left[inside] * points[inside][:, 2])) < 1e-6 * np.sum(np.abs(left[inside] * 80))
    residue = field_hz(points, brain, F0_HZ, hot_spot_hz=0.0, residue_hz=7.0, **common)
    assert residue[inside].std() == pytest.approx(7.0)
    spot = field_hz(points, brain, F0_HZ, hot_spot_hz=80.0, residue_hz=0.0, **common)
    assert np.percentile(np.abs(spot[inside]), 99.9) == pytest.approx(80.0)
    worst = points[inside][np.abs(spot[inside]).argmax()]
    assert worst[1] > 20  # the frontal sinus: in front
    assert worst[2] < 0  # and below


def test_the_line_of_naa_is_as_wide_as_asked():
    settings = HeadSettings(linewidth_hz=8.0)
    natural = 1 / (np.pi * tissue_of("white-matter").times("NAA", 3.0).t2_s)
    t = np.arange(1 << 15) * 1e-3
    gauss = gauss_of(settings, F0_HZ)
    fid = np.exp(-np.pi * natural * t - (np.pi * gauss * t) ** 2 / (4 * np.log(2)))
    fid[0] /= 2
    line = np.fft.fft(fid).real
    at = np.interp(-0.5 * line[0], -line[:2000], np.fft.fftfreq(t.size, 1e-3)[:2000])
    assert 2 * at == pytest.approx(8.0, rel=2e-3)
    assert gauss_of(HeadSettings(linewidth_hz=8.0, relaxation=False), F0_HZ) == 8.0


def test_the_field_of_a_loop_is_that_of_the_closed_form_on_its_axis():
    """Of a regular polygon of n corners: n R sin(pi / n) 2 R cos(pi / n) / (z^2 + R^2 cos^2) / sqrt(z^2 + R^2)."""
    n, radius = 12, 50.0
    angle = np.arange(n) / n * 2 * np.pi
    corners = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    z = np.array([0.0, 20.0, 90.0])
    found = magnetic_field(corners, np.stack([0 * z, 0 * z, z], axis=1))
    side, apothem = 2 * radius * np.sin(np.pi / n), radius * np.cos(np.pi / n)
    expected = n * side * apothem / ((z**2 + apothem**2) * np.sqrt(z**2 + radius**2))
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-12)
    np.testing.assert_allclose(found[:, :2], 0, atol=1e-12)


@pytest.mark.parametrize("count", [1, 8, 20])
def test_coils_see_what_is_near_and_their_noise_is_a_covariance(head, count):
    loops = loops_around(count, np.asarray(head.settings.outer_mm), np.zeros(3))
    assert len(loops.corners_mm) == count
    middles = loops.corners_mm.mean(axis=1)
    seen = np.abs(sensitivities(loops, 0.6 * middles))
    assert np.all(seen.argmax(axis=0) == np.arange(count))
    points = head.grid.points_mm()[head.brain > 0.5][::400]
    covariance = noise_covariance(loops, points)
    assert np.linalg.eigvalsh(covariance).min() > 0.1
    assert np.trace(covariance) == pytest.approx(count)


def written_segmentation(folder, affine):
    labels = np.zeros((24, 28, 24), np.int16)
    labels[4:20, 4:24, 4:20] = 3
    labels[7:17, 8:20, 7:17] = 2
    labels[10:13, 12:16, 8:12] = 9
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    (folder / "head.toml").write_text(
        'labels = "labels.nii.gz"\n[tissues]\nwhite-matter = 2\ngrey-matter = [3, 4]\nhigh-grade-glioma = 9\n'
    )
    return labels, folder / "head.toml"


def test_a_segmentation_keeps_volumes_and_places(tmp_path):
    affine = np.array([[0.0, -7.0, 0, 95], [7.0, 0, 0, -80], [0, 0, 7.0, -85], [0, 0, 0, 1]])
    labels, path = written_segmentation(tmp_path, affine)
    grid = finer_grid(COARSE, (3, 3, 3), np.full(3, -0.1), np.full(3, 0.1))
    head = make_head(load_head_settings(path), grid, F0_HZ)
    volume = np.prod(grid.spacing_m) * 1e9
    for name, label in (("white-matter", 2), ("grey-matter", 3), ("high-grade-glioma", 9)):
        index = np.argwhere(labels == label)
        assert head.shares[name].sum() * volume == pytest.approx(len(index) * 343, rel=0.02)
        centre = (head.shares[name][..., None] * grid.points_mm()).sum(axis=(0, 1, 2)) / head.shares[
            name
        ].sum()
        np.testing.assert_allclose(centre, affine[:3, :3] @ index.mean(axis=0) + affine[:3, 3], atol=0.5)


def test_shares_may_be_images_of_their_own(tmp_path):
    share = np.zeros((10, 10, 10), np.float32)
    share[3:7, 3:7, 3:7] = 0.25
    nibabel.save(nibabel.Nifti1Image(share, np.diag([10.0, 10, 10, 1])), tmp_path / "wm.nii")
    (tmp_path / "head.toml").write_text('[tissues]\nwhite-matter = "wm.nii"\n')
    settings = load_head_settings(tmp_path / "head.toml")
    found = segmented(settings.labels, settings.tissues, np.array([[45.0, 45.0, 45.0], [5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(found["white-matter"], [0.25, 0.0])
    nibabel.save(nibabel.Nifti1Image(100 * share, np.eye(4)), tmp_path / "wm.nii")
    with pytest.raises(DataError, match="not of percent"):
        segmented(settings.labels, settings.tissues, np.array([[4.0, 4.0, 4.0]]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lesion_radius_mm = -1.0", "lesion_radius_mm = -1.0"),
        ("lession = 'x'", "did you mean 'lesion'"),
        ("base = 'head'", "expected one of brain"),
        ("[tissues]\nwhite-matter = 1", "expected the path of an image, or labels too"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, words):
    (tmp_path / "head.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_head_settings(tmp_path / "head.toml")


def test_unknown_tissues_and_labels_are_named(tmp_path):
    with pytest.raises(InputError, match="expected one of grey-matter"):
        tissue_of("grey")
    _, path = written_segmentation(tmp_path, np.eye(4))
    path.write_text('labels = "labels.nii.gz"\n[tissues]\nwhite-matter = 5\n')
    settings = load_head_settings(path)
    with pytest.raises(InputError, match=r"no voxel of white-matter .labels 5.; it has \[0, 2, 3, 9\]"):
        segmented(settings.labels, settings.tissues, np.zeros((1, 3)))


def test_means_over_voxels_keep_what_is_there(head):
    share = head.shares["grey-matter"]
    found = on_coarse(share, head.grid, COARSE)
    assert found.sum() * 3**3 == pytest.approx(share.sum(), rel=1e-5)
    centre = np.array([0.0, 0.0, 0.0])
    at = tuple((np.linalg.inv(COARSE.affine) @ [*centre, 1])[:3].round().astype(int))
    fine = np.all(np.abs(head.grid.points_mm() - COARSE.points_mm()[at]) < 5.0, axis=-1)
    assert fine.sum() == 27
    assert found[at] == pytest.approx(share[fine].mean(), abs=1e-6)
