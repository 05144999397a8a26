"""Voxels at the end of a slab are fitted with what the slab lets pass of each line there."""

from types import SimpleNamespace

import images_for_tests as images
import numpy as np
import pytest

from pulsespec.recon.fit import FitSettings
from pulsespec.recon.image_fit import Plan, _parts, fit_image
from pulsespec.recon.image_grid import Chosen
from pulsespec.recon.plane_basis import PlaneBasis, plane_basis
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.image_slab import Slab, boxes_of_file

F0_HZ, DWELL_S, POINTS = 297.2e6, 4e-4, 512
PPM = {"NAA": (2.01, 2.6), "Cr": (3.03, 3.93), "GPC": (3.2,)}


def basis():
    def lines(shifts):
        hz = (np.array(shifts) - 4.65) * F0_HZ * 1e-6
        return Lines(hz, np.array([3.0, 2.0, 1.0])[: hz.size].astype(complex))

    return Basis(
        lines={name: lines(shifts) for name, shifts in PPM.items()}, f0_hz=F0_HZ, nucleus="1H", te_s=0.07,
        samples=POINTS, dwell_s=DWELL_S,
    )  # fmt: skip


def slab():
    """A slice 80 mm thick that moves by 0.1 mm a Hz, with edges of 30 mm."""
    hz, places = np.linspace(-1300.0, 400.0, 600), np.linspace(-0.3, 0.3, 601)
    away = np.abs(places - 1e-4 * (hz[:, None] + 500.0))
    return Slab(hz, places, np.clip((0.055 - away) / 0.03, 0.0, 1.0).astype(complex), np.ones(600))


def test_each_line_has_what_the_slab_lets_pass():
    planes = PlaneBasis(basis(), slab(), np.array([-0.04, 0.0, 0.04]), 1e-3)
    cr, middle = planes.at(0).lines["Cr"], planes.at(1).lines["Cr"]
    for made, height in ((cr, -0.04), (middle, 0.0)):
        place = height - 1e-4 * (basis().lines["Cr"].frequency_hz + 500.0)
        expected = np.clip((0.055 - np.abs(place)) / 0.03, 0.05, 1.0) * [3.0, 2.0]
        np.testing.assert_allclose(made.amplitude.real, expected, atol=0.03)
    np.testing.assert_array_equal(cr.frequency_hz, basis().lines["Cr"].frequency_hz)


def test_what_has_lost_its_partner_is_found_in_its_plane():
    """A column of voxels of 1 mM each: CH2 of creatine is gone at one end, yet all planes have the same amounts."""
    whole = basis()
    planes = PlaneBasis(whole, slab(), np.array([-0.03, 0.0, 0.02]), 1e-3)
    rng = np.random.default_rng(0)
    data = np.zeros((2, 1, 3, POINTS), complex)
    for z in range(3):
        fid = sum(planes.at(z).fid(name, POINTS, DWELL_S, linewidth_hz=6.0) for name in PPM)
        data[:, 0, z] = fid + 0.01 * (
            rng.standard_normal((2, POINTS)) + 1j * rng.standard_normal((2, POINTS))
        )
    image = Transients(data=data, dims=("x", "y", "z", "t"), dwell_s=DWELL_S, f0_hz=F0_HZ)
    chosen = Chosen(np.argwhere(np.ones((2, 1, 3), bool)), "all")
    like = image.with_data(np.zeros((1, 1, 1, POINTS), complex))
    how = FitSettings(metabolite_priors=False, t2_widths=False)
    values = {}
    for name, own in (("mean", None), ("own", planes)):
        plan = Plan(like, whole, how, False, None, planes=own)
        found = fit_image(Scan(image), chosen, plan, np.tile([0.5, 0.5, 0.0], (6, 1)))
        np.testing.assert_array_equal(found.index, chosen.index)
        values[name] = found.numbers["value"][:, found.rows.index("Cr")].reshape(2, 3)
    np.testing.assert_allclose(values["own"], 1.0, atol=0.03)
    assert np.abs(values["mean"][:, 0] - 1).min() > 0.15


def test_blocks_are_of_one_plane_and_leave_none_out():
    index = np.argwhere(np.ones((5, 4, 3), bool))
    parts = _parts(Chosen(index, "all"), 8, by_plane=True)
    assert all(np.unique(index[part, 2]).size == 1 and part.size <= 8 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    plain = _parts(Chosen(index, "all"), 8, by_plane=False)
    np.testing.assert_array_equal(np.concatenate(plain), np.arange(60))


def test_which_images_have_planes_that_differ(tmp_path):
    volume = images.written(tmp_path, "epsi-3t-whole-brain", (4, 4, 4), (240.0, 240.0, 160.0))
    image = Transients(
        data=np.zeros((4, 4, 4, 8), complex), dims=("x", "y", "z", "t"), dwell_s=1e-3, f0_hz=123.2e6
    )
    found = plane_basis(volume, basis(), image)
    np.testing.assert_allclose(found.places_m, [-0.08, -0.04, 0.0, 0.04])
    assert found.width_m == pytest.approx(0.04)
    known = boxes_of_file(volume)[0][2]
    np.testing.assert_allclose(found.slab.values, known.values)
    assert plane_basis(volume, SimpleNamespace(names=()), image) is None
    assert plane_basis(volume, basis(), image.with_data(np.zeros((4, 4, 1, 8), complex))) is None
