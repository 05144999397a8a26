"""Tissue as the point-spread function of an image sees it, beside sums written down."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from maps_for_tests import grid

from pulsespec.recon.blurred_fractions import Blur, blur_of, blurred_fractions
from pulsespec.recon.segmentation import Segmentation, Source, read_segmentation
from pulsespec.recon.transients import Geometry, Record, Transients


class Shares:
    """An image of shares on a grid."""

    def __init__(self, values, affine):
        self.values, self.affine = values, affine

    def segmentation(self):
        images = tuple(nibabel.Nifti1Image(part.astype(np.float32), self.affine) for part in self.values)
        return Segmentation(images, self.affine, None, "test", ())


def half(shape=(8, 6, 1), cut=3.0, per=4, nothing=False):
    """Grey matter below an edge along x, white matter above; cells of a quarter of a voxel along the axes.

    With `nothing` there is no white matter, and grey matter only above 1, and between 1 and 4 along y.
    """
    place = grid(25.0)
    affine = place.affine @ np.array(
        [[1 / per, 0, 0, 0.5 / per - 0.5], [0, 1 / per, 0, 0.5 / per - 0.5], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    x = (np.arange(shape[0] * per) + 0.5) / per - 0.5
    grey = np.broadcast_to((x < cut)[:, None, None], (shape[0] * per, shape[1] * per, shape[2])).astype(float)
    white = 1 - grey
    if nothing:
        y = (np.arange(shape[1] * per) + 0.5) / per - 0.5
        grey, white = grey * (x > 1)[:, None, None] * ((y > 1) & (y < 4))[:, None], 0 * grey
    return place, Shares([grey, white, 0 * grey], affine).segmentation(), x


def test_one_tissue_everywhere_is_one():
    place, segmentation, _ = half(cut=99.0)
    for name in ("none", "hamming"):
        found = blurred_fractions(place, segmentation, (8, 6, 1), Blur((8, 6, 1), name))
        assert found.whole[..., 0] == pytest.approx(1.0, abs=1e-6)
        assert found.inside == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["none", "hamming"])
def test_an_edge_is_the_sum_of_the_point_spread_function(name):
    """Direct sum of cos(2 pi k (x_i - x)) over the encodes, with the filter, over all cells."""
    place, segmentation, x = half()
    found = blurred_fractions(place, segmentation, (8, 6, 1), Blur((8, 6, 1), name))
    k = np.arange(8) - 4
    weight = np.ones(8) if name == "none" else 0.54 + 0.46 * np.cos(np.pi * np.abs(k) / 4)
    spread = (weight * np.cos(2 * np.pi * k * (np.arange(8)[:, None, None] - x[:, None]) / 8)).sum(
        axis=-1
    ) / x.size
    expected = spread @ (x < 3.0)
    assert found.tissue[:, 2, 0, 0] == pytest.approx(np.clip(expected, 0, None), abs=1e-5)
    assert 0.3 < found.whole[3, 0, 0, 0] < 0.7


def test_more_voxels_than_encodes_and_fewer_encodes():
    """Zero filling leaves the values at shared places; an ellipsoid of encodes blurs more."""
    place, segmentation, _ = half(cut=5.0, nothing=True)
    plain = blurred_fractions(place, segmentation, (8, 6, 1), Blur((8, 6, 1), "none"))
    finer = place.affine.copy()
    finer[:3, :2] /= 2
    more = blurred_fractions(Geometry(finer), segmentation, (16, 12, 1), Blur((8, 6, 1), "none"))
    assert more.tissue[::2, ::2] == pytest.approx(plain.tissue, abs=0.01)
    round_ = blurred_fractions(place, segmentation, (8, 6, 1), Blur((8, 6, 1), "none", (0, 1, 2)))
    assert round_.tissue.sum() == pytest.approx(plain.tissue.sum(), rel=0.05)


def test_a_segmentation_that_covers_a_part_is_taken_as_far_as_it_goes():
    place, segmentation, _ = half(shape=(3, 6, 1), cut=99.0)
    found = blurred_fractions(place, segmentation, (8, 6, 1), Blur((8, 6, 1), "hamming"))
    assert found.inside[0, 0, 0] > 0.4
    assert found.inside[5, 0, 0] < 0.1


def test_what_was_sampled_is_read_from_the_record():
    image = Transients(
        data=np.zeros((4, 4, 1, 8), complex), dims=("x", "y", "z", "t"), dwell_s=1e-3, f0_hz=1e8
    )
    assert blur_of(image) is None
    words = "phase encoding; 16 encodes of 1 averages on 5 x 4 x 1, made 10 x 8 x 1, filter hamming; point"
    known = replace(image, records=(Record("Spatial Fourier transform", words),))
    assert blur_of(known) == Blur((5, 4, 1), "hamming", (0, 1, 2))
    train = (
        "echo-planar train, 28; 900 encodes of 1 averages on 50 x 50 x 18, made 50 x 50 x 18, filter none; p"
    )
    step = {"Method": "Spatial Fourier transform", "Program": "pulsespec", "Details": train}
    assert blur_of(replace(image, header={"processing_applied": [step]})) == Blur((50, 50, 18), "none")


def test_rings_blur_as_a_disc_of_k_space(tmp_path):
    """An edge through rings out to 4 / field of view: the direct sum over a disc, weighed by |k|."""
    words = (
        "5 concentric rings of 0.00 to 20.00 cycles/m, 48 samples a turn, x, filter hamming; 8 x 8 voxels; p"
    )
    place = Geometry(np.diag([25.0, 25.0, 10.0, 1.0]))
    image = Transients(
        data=np.zeros((8, 8, 1, 4), complex), dims=("x", "y", "z", "t"), dwell_s=1e-3, f0_hz=1e8, geometry=place,
        records=(Record("Spatial Fourier transform", words),),
    )  # fmt: skip
    blur = blur_of(image)
    assert (blur.matrix, blur.filter) == ((9, 9, 1), "hamming")
    assert blur.rings == pytest.approx((4.0, 4.5))
    assert blur_of(replace(image, geometry=Geometry(np.diag([25.0, 12.0, 10.0, 1.0])))) is None
    centres = (np.arange(32) + 0.5) / 4 - 0.5
    grey = np.hypot(centres[:, None] - 3.5, centres - 3.5)[..., None] < 2.2
    affine = np.diag([6.25, 6.25, 10.0, 1.0])
    affine[:2, 3] = 25.0 * centres[0]
    segmentation = Shares((grey, ~grey, 0 * grey), affine).segmentation()
    found = blurred_fractions(place, segmentation, (8, 8, 1), blur).tissue[..., 0]
    k = np.arange(-4, 5)
    radius = np.hypot(k[:, None], k)
    weight = (radius <= 4.5) * (0.54 + 0.46 * np.cos(np.pi * np.minimum(radius / 4, 1)))
    waves = np.exp(2j * np.pi * np.outer(np.arange(8), k) / 8)
    seen = np.exp(-2j * np.pi * np.outer(k, centres) / 8)
    expected = (waves @ (weight * (seen @ grey[..., 0] @ seen.T)) @ waves.T).real / 32**2
    assert found[..., 0] == pytest.approx(np.clip(expected, 0, None), abs=1e-4)


def test_planes_beside_the_segmentation_have_no_tissue(tmp_path):
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    paths = {}
    for name, share in (("gm", 1.0), ("wm", 0.0), ("csf", 0.0)):
        paths[name] = tmp_path / f"{name}.nii"
        nibabel.Nifti1Image(np.full((4, 6, 2), share, np.float32), affine).to_filename(paths[name])
    found = blurred_fractions(
        Geometry(affine), read_segmentation(Source(**paths)), (8, 6, 2), Blur((8, 6, 2), "hamming")
    )
    assert found.inside[1:3, 2:4].min() > 0.9
    assert found.inside[5:7].max() < 0.1
    np.testing.assert_allclose(found.tissue[..., 0], found.inside, atol=1e-6)
