"""The virtual scanner plays what leaves one axis of k-space: rings, and readouts that turn in three dimensions."""

from dataclasses import replace
from pathlib import Path

import images_for_tests as images
import numpy as np
import pytest
from test_ring_readout import protocol, written

from pulsespec.recon.image_read import source_of
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.stream import AdcStream
from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_maps import concentrations, slab_profile
from pulsespec.simulator.image_noise import readout_of
from pulsespec.simulator.image_play import befallen, play_image, prepare_image
from pulsespec.simulator.image_seen import seen_by_image, through_point_spread
from pulsespec.simulator.image_setup import set_up_image
from pulsespec.simulator.trajectory import Train

QUIET = ImageFaults(coils=2, snr=float("inf"))
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
NAMES = ("fid-mrsi-3t-rings", "fid-mrsi-7t-rings")


def rings(folder, name=NAMES[0], points=8, partitions=1, settings=None, **changes):
    extent = (240.0, 240.0, 15.0 * partitions)
    values = {
        "encoding": {"matrix": [points, points, partitions], "fov_mm": extent},
        "voxel_mm": extent,
        "water_averages": 1,
        "orientation": TURNED,
        "position_mm": (6.0, -9.0, 12.0),
    }
    return set_up_image(
        written(folder, protocol(name, **(values | changes))), settings or images.small_head()
    )


def assert_the_sum(show, seed):
    data, _ = play_image(show)
    rng = np.random.default_rng(seed)
    for shot in rng.integers(0, len(data), 5):
        size = float(np.abs(data[shot]).max())
        for sample in [*rng.integers(0, data[shot].shape[1], 4), 0, data[shot].shape[1] - 1]:
            expected = images.plain_sum(show, int(shot), int(sample), 1)
            assert data[shot][1, sample] == pytest.approx(expected, abs=1e-4 * size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("partitions", [1, 2])
def test_rings_give_the_sum_over_all_points(tmp_path, name, partitions):
    setup = rings(tmp_path, name, partitions=partitions)
    assert_the_sum(prepare_image(setup, faults=replace(QUIET, gradient_delay_us=(3, 2, 1))), partitions)


def test_a_readout_that_moves_along_all_axes_gives_it_too(tmp_path):
    show = prepare_image(rings(tmp_path), faults=QUIET)
    wave = np.sin(np.linspace(0.0, 9.0, show.trajectory.trains[0].times_s.size))[:, None]
    trains = tuple(
        Train(train.k_per_m + 20.0 * number * wave * [0.3, 0.1, 1.0], train.times_s, train.gradient_hz_per_m)
        for number, train in enumerate(show.trajectory.trains)
    )
    assert_the_sum(replace(show, trajectory=replace(show.trajectory, trains=trains)), 7)


def test_rings_have_no_odd_and_even_echoes(tmp_path):
    show = prepare_image(rings(tmp_path), faults=QUIET)
    ones = np.ones((2, show.trajectory.trains[0].times_s.size), np.complex64)
    other = replace(show, faults=replace(QUIET, echo_phase_deg=30.0))
    np.testing.assert_array_equal(befallen(show, 3, ones), befallen(other, 3, ones))


def stream_of(show):
    shots, noise = play_image(show)
    data = shots if noise is None else [noise, *shots]
    facts = {"f0_hz": show.setup.timeline.f0_hz, "header": {"manufacturer": "pulsespec"}}
    is_noise = np.arange(len(data)) < len(data) - len(shots)
    return AdcStream(
        Path("head.h5"),
        np.array([one.shape for one in data], np.int64),
        lambda rows: (data[row] for row in rows),
        facts,
        is_noise,
    )


def test_the_image_of_a_head_on_rings_is_the_truth_through_them(tmp_path):
    calm = {
        "relaxation": False,
        "hot_spot_hz": 0.0,
        "shim_residue_hz": 0.0,
        "linewidth_hz": 0.0,
        "lipid": 0.0,
    }
    setup = rings(tmp_path, points=16, settings=images.small_head(**calm))
    show = prepare_image(setup, faults=replace(QUIET, coils=1))
    show = replace(show, sensitivities=np.ones_like(show.sensitivities))
    source = source_of(stream_of(show), setup.played, setup.trajectory, "head.seq")
    scan = reconstruct_source(source, ImageSettings(b0_alignment=False, eddy_current_correction=False))
    np.testing.assert_allclose(scan.water.geometry.affine, setup.grid.affine, atol=1e-6)
    mm, _ = concentrations(setup.head)["water"]
    profile = slab_profile(show, setup.head.grid, water=True)
    seen = seen_by_image(setup, mm * profile, setup.head.grid)
    found = np.abs(scan.water.data[..., 8])
    unit = (found * np.abs(seen)).sum() / (seen**2).sum()
    inside = seen > 0.2 * seen.max()
    np.testing.assert_allclose((found / unit)[inside], seen[inside], atol=0.01 * seen.max())
    square = through_point_spread(mm * profile, setup.head.grid, setup.grid)
    assert np.abs(square - seen)[inside].max() > 0.03 * seen.max()  # not what phase encoding would show


def test_encodes_that_an_ellipse_leaves_out_are_missing(tmp_path):
    made = []
    for elliptical in (False, True):
        folder = tmp_path / str(elliptical)
        folder.mkdir()
        how = {"points": 32, "encoding": {"elliptical": elliptical}}
        path = images.written(folder, "fid-mrsi-3t", (8, 8, 1), (240.0, 240.0, 15.0), **how)
        made.append(set_up_image(path, images.small_head()))
    whole, part = made
    mm, _ = concentrations(part.head)["water"]
    np.testing.assert_allclose(
        seen_by_image(whole, mm, whole.head.grid), through_point_spread(mm, whole.head.grid, whole.grid)
    )
    seen = np.fft.fftn(seen_by_image(part, mm, part.head.grid))
    full = np.fft.fftn(through_point_spread(mm, part.head.grid, part.grid))
    assert abs(seen[4, 4, 0]) < 1e-9 * abs(seen[0, 0, 0])
    assert seen[1, 2, 0] == pytest.approx(full[1, 2, 0])


@pytest.mark.parametrize("name", NAMES)
def test_a_voxel_of_rings_has_the_noise_that_is_asked_for(tmp_path, name):
    setup = rings(tmp_path, name, averages=2)
    readout = readout_of(setup)
    assert (readout.points, readout.dwell_s) == (64, pytest.approx(1 / load_width(name)))
    show = prepare_image(setup, faults=replace(QUIET, coils=1))
    stream = stream_of(show)
    rng = np.random.default_rng(0)
    white = {
        row: rng.standard_normal((1, int(n))) + 1j * rng.standard_normal((1, int(n)))
        for row, (_, n) in enumerate(stream.shapes)
    }
    noisy = replace(stream, fetch=lambda rows: (white[row].astype(np.complex64) for row in rows))
    source = source_of(noisy, setup.played, setup.trajectory, "head.seq")
    data = reconstruct_source(source, ImageSettings(b0_alignment=False)).metabolite.data[..., 4:]
    assert np.mean(np.abs(data) ** 2) / 2 == pytest.approx(readout.variance, rel=0.1)


def load_width(name):
    return protocol(name).spectral_width_hz
