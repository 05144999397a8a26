"""The closed loop: a head on the virtual scanner, reconstructed, beside the truth."""

import images_for_tests as images
import numpy as np
import pytest

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.image_alignment import b0_map
from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_maps import concentrations, slab_profile, truth_maps
from pulsespec.simulator.image_play import prepare_image
from pulsespec.simulator.image_seen import through_point_spread
from pulsespec.simulator.image_setup import set_up_image

DELAY_US, PHASE_DEG = 3.0, 12.0


@pytest.fixture(scope="module")
def show(tmp_path_factory):
    plain = {"inversion": None, "water_suppression": None, "position_mm": (3.0, 8.0, -4.0)}
    path = images.written(
        tmp_path_factory.mktemp("loop"),
        "epsi-3t-whole-brain",
        (12, 12, 6),
        (240.0, 240.0, 180.0),
        96,
        **plain,
    )
    faults = ImageFaults(coils=4, snr=300.0, gradient_delay_us=(DELAY_US, 0.0, 0.0), echo_phase_deg=PHASE_DEG)
    return prepare_image(
        set_up_image(path, images.small_head(shim_residue_hz=3.0, lipid=0.0, relaxation=False)), faults=faults
    )


@pytest.fixture(scope="module")
def scan(show):
    return images.reconstructed(show)


def test_the_head_is_where_it_is(show, scan):
    np.testing.assert_allclose(scan.metabolite.geometry.affine, show.setup.grid.affine, atol=1e-6)
    brain = truth_maps(show)["brain_mask"].values > 0.5
    setup = show.setup
    values, _ = concentrations(setup.head)["water"]
    profile = slab_profile(show, setup.head.grid, water=True)
    seen = through_point_spread(values * profile, setup.head.grid, setup.grid) * np.sqrt(show.gains)
    found = np.abs(scan.water.data[..., 1])
    ratio = found[brain] / seen[brain]
    # Coils change within voxels of 20 mm; what a point-spread function makes of that is not in the product.
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.13
    mirrored = [np.corrcoef(np.flip(found, axis).ravel(), seen.ravel())[0, 1] for axis in range(3)]
    assert np.corrcoef(found.ravel(), seen.ravel())[0, 1] > max(0.97, *mirrored)


def test_delay_phase_and_field_are_those_of_the_scanner(show, scan):
    figures = {record.method: record.figures for record in scan.metabolite.records}
    echoes = figures["Odd and even echoes"]
    assert echoes["delay_s"] * 1e6 == pytest.approx(DELAY_US, abs=0.05)
    assert abs(np.rad2deg(echoes["phase_rad"])) == pytest.approx(PHASE_DEG, abs=0.3)
    assert echoes["ghost_before"] > 0.1
    assert echoes["ghost_after"] < 0.01
    truth = truth_maps(show)
    offset_hz, _ = b0_map(scan)
    brain = truth["brain_mask"].values > 0.5
    error = offset_hz[brain] - truth["b0"].values[brain]
    # The head has points of 12 mm here. On its own grid and voxels of 10 mm the median is 0.2 Hz.
    assert np.median(np.abs(error)) < 0.6
    assert np.corrcoef(offset_hz[brain], truth["b0"].values[brain])[0, 1] > 0.75


def test_naa_over_water_is_the_truth_in_every_slice(show, scan):
    """The area of NAA's singlet over water, both as their slabs and the point-spread function leave them."""
    setup, data = show.setup, scan.metabolite
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    area = np.real(to_spectrum(data.data)[..., (ppm > 1.85) & (ppm < 2.15)]).sum(axis=-1)
    found = area / np.abs(scan.water.data[..., 1])
    seen = []
    for name in ("NAA", "water"):
        values, _ = concentrations(setup.head)[name]
        profile = slab_profile(show, setup.head.grid, water=name == "water")
        seen.append(through_point_spread(values * profile, setup.head.grid, setup.grid))
    brain = truth_maps(show)["brain_mask"].values > 0.5
    ratio = np.where(brain, found / np.where(brain, seen[0] / seen[1], 1.0), np.nan)
    ratio /= np.nanmedian(ratio)
    assert np.nanmedian(np.abs(ratio - 1)) < 0.07
    for number in np.flatnonzero(brain.sum(axis=(0, 1)) > 10):
        assert np.nanmedian(ratio[..., number]) == pytest.approx(1.0, abs=0.06)
