"""The virtual scanner makes images: its raw data are what a plain sum over points, or a closed form, gives."""

import json
from dataclasses import replace

import images_for_tests as images
import ismrmrd
import nibabel
import numpy as np
import pytest
import sequences_for_tests as seqs

from pulsespec.errors import InputError, SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.simulator import image_acquire, image_maps, image_seen, image_slab, simulate
from pulsespec.simulator.basis import render
from pulsespec.simulator.engine import simulate_system
from pulsespec.simulator.head import tissue_of
from pulsespec.simulator.head_settings import load_head_settings
from pulsespec.simulator.image_faults import ImageFaults, load_image_faults
from pulsespec.simulator.image_noise import readout_of, reference_height, white_matter
from pulsespec.simulator.image_play import (
    befallen,
    evolution_of,
    image_noise_scan,
    kinds_of,
    play_image,
    prepare_image,
    stage_of,
)
from pulsespec.simulator.image_response import relaxation_shares, responses
from pulsespec.simulator.image_setup import set_up_image
from pulsespec.simulator.interpolation import nodes_for
from pulsespec.simulator.relaxation import Relaxation
from pulsespec.simulator.steady_state import _share, cycle_of, longitudinal, start_of
from pulsespec.simulator.timeline import read_timeline
from pulsespec.simulator.tissue_library import with_amounts
from pulsespec.simulator.trajectory import echoes

QUIET = ImageFaults(coils=2, snr=float("inf"))
FOV = (240.0, 240.0, 160.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def epsi(folder):
    """Bipolar, three-dimensional, water in each repetition, inversion and water suppression as they are."""
    path = images.written(folder, "epsi-3t-whole-brain", (6, 5, 4), FOV)
    return set_up_image(path, images.small_head(lesion="recurrent-tumour"))


@pytest.mark.parametrize(
    "faults", [QUIET, ImageFaults(coils=2, snr=float("inf"), gradient_delay_us=(3, 2, 1), echo_shift=0.1)]
)
def test_a_bipolar_train_gives_the_sum_over_all_points(epsi, faults):
    show = prepare_image(epsi, faults=faults)
    data, noise = play_image(show)
    assert noise is None
    rng = np.random.default_rng(0)
    for shot in (0, 1, 20, 39):
        size = float(np.abs(data[shot]).max())
        for sample in [*rng.integers(0, data[shot].shape[1], 6), 0, data[shot].shape[1] - 1]:
            expected = images.plain_sum(show, shot, int(sample), 1)
            assert data[shot][1, sample] == pytest.approx(expected, abs=2e-4 * size)


@pytest.fixture(scope="module")
def flyback(folder):
    """One slice, averages, water after the metabolites, without relaxation and field."""
    path = images.written(
        folder, "epsi-3t-2d-flyback", (8, 6, 1), (240.0, 210.0, 15.0), averages=2, phase_cycle=2, water_averages=1,
        position_mm=(6.0, -9.0, 12.0), orientation=((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0)),
    )  # fmt: skip
    return set_up_image(
        path, images.small_head(relaxation=False, hot_spot_hz=0.0, shim_residue_hz=0.0, lipid=0.0)
    )


@pytest.fixture(scope="module")
def phase_encoded(folder):
    """Elliptical phase encoding of two axes and an FID."""
    path = images.written(folder, "fid-mrsi-3t", (6, 6, 1), (230.0, 230.0, 15.0), points=64)
    return set_up_image(path, images.small_head())


@pytest.fixture(scope="module")
def press(folder):
    """A box within the slice, whose edges move with the shift of each line."""
    turned = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    how = {"averages": 1, "phase_cycle": 1, "water_suppression": None, "orientation": turned}
    path = images.written(
        folder, "press-epsi-3t", (6, 6, 1), (230.0, 230.0, 15.0), position_mm=(4.0, 12.0, -3.0), **how
    )
    return set_up_image(path, images.small_head())


def test_a_box_is_where_its_three_pulses_put_it(press):
    """80 x 100 x 15 mm about the middle for the carrier, shifted for others by shift over gradient; 1 in the mean."""
    carrier_hz = (2.7 - 4.65) * press.timeline.f0_hz * 1e-6
    centre = press.grid.centre_m @ press.grid.axes
    for axis, extent_m in enumerate((0.08, 0.1, 0.015)):
        slab = press.box[axis]
        row = np.abs(slab.values[slab.nearest(np.array([carrier_hz]))[0]])
        inside = slab.places_m[row > row.max() / 2] - centre[axis]
        assert (inside.max() + inside.min()) / 2 == pytest.approx(0.0, abs=0.04 * extent_m)
        assert np.ptp(inside) == pytest.approx(extent_m, rel=0.08)
        step = slab.places_m[1] - slab.places_m[0]
        assert abs(slab.values.sum(axis=1) * step / extent_m) == pytest.approx(1.0, rel=1e-6)
    for axis, (low, high) in enumerate(slab.range_m for slab in press.box):
        reach = np.array(press.head.grid.shape)[axis] * press.head.grid.spacing_m[axis]
        assert reach < high - low + 2 * press.grid.spacing_m[axis]  # no more of the head than is seen
    turned = {**press.timeline.definitions, "VoxelOrientation": np.eye(3)}
    other = replace(press.timeline, definitions=turned)
    with pytest.raises(SequenceError, match="no axis of its field of view"):
        image_slab.box_of(press.path, press.response.plan, other, -400.0, 0.0)


@pytest.mark.parametrize("name", ["flyback", "phase_encoded", "press"])
def test_other_sequences_give_it_too(request, name):
    show = prepare_image(request.getfixturevalue(name), faults=replace(QUIET, residual_water=0.0))
    data, _ = play_image(show)
    rng = np.random.default_rng(1)
    for shot in rng.integers(0, len(data), 6):
        size = float(np.abs(data[shot]).max())
        for sample in [*rng.integers(0, data[shot].shape[1], 5), 0]:
            expected = images.plain_sum(show, int(shot), int(sample), 0)
            assert data[shot][0, sample] == pytest.approx(expected, abs=2e-4 * size)


def test_every_shot_of_the_same_encode_is_the_same_signal(flyback):
    show = prepare_image(flyback, faults=QUIET)
    data, _ = play_image(show)
    first = np.flatnonzero(~flyback.is_water & (show.trajectory.labels["AVG"] == 0))
    second = np.flatnonzero(~flyback.is_water & (show.trajectory.labels["AVG"] == 1))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(data[one], data[other])


def test_without_faults_the_tissues_are_what_the_basis_has(flyback):
    basis = simulate(flyback.path, ["NAA", "Cr", "Ins"], tolerance=1e-3)
    tissues = {
        "white-matter": with_amounts(tissue_of("csf"), {"Lac": 0.0, "NAA": 2.0, "Cr": 3.0, "Ins": 5.0})
    }
    timeline = read_timeline(flyback.path)
    made = responses(flyback.path, timeline, flyback.trajectory, tissues, relaxation=False)
    lines = [(2.0, basis.lines["NAA"]), (3.0, basis.lines["Cr"]), (5.0, basis.lines["Ins"])]
    expected = sum(mm * render(one, 64, 4e-4) for mm, one in lines)
    found = render(made.metabolite["white-matter"], 64, 4e-4)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    water = tissues["white-matter"].water.mm * np.abs(basis.water.amplitude.sum())
    assert made.water["white-matter"].amplitude.sum() == pytest.approx(water, rel=2e-3)


def test_interleaves_of_a_train_are_one_signal(tmp_path):
    """A basis has the first of them, which begins as a train without interleaves does."""
    found = []
    for interleaves in (1, 2):
        folder = tmp_path / str(interleaves)
        folder.mkdir()
        train = load_protocol("epsi-3t-2d-flyback").train.model_copy(update={"interleaves": interleaves})
        path = images.written(
            folder,
            "epsi-3t-2d-flyback",
            (4, 3, 1),
            (240.0, 240.0, 15.0),
            train=train,
            averages=1,
            phase_cycle=1,
        )
        found.append(render(simulate(path, ["Ins"], tolerance=1e-3).lines["Ins"], 64, 4e-4))
    np.testing.assert_allclose(*found, atol=2e-2 * np.abs(found[0]).max())


def test_what_relaxation_leaves_is_what_tissues_were_made_with(epsi, flyback):
    """In a plain spin echo with a long TR, the closed form; with an inversion, what the tissues' own lines have."""
    tissue = tissue_of("white-matter")
    plain = relaxation_shares(flyback.path, tissue)
    times = tissue.times("Cr", 3.0)
    te_s, tr_s = (float(flyback.played.numbers(key)[0]) for key in ("TE", "TR"))
    recovered = 1 - 2 * np.exp(-(tr_s - te_s / 2) / times.t1_s) + np.exp(-tr_s / times.t1_s)
    assert plain["Cr"] == pytest.approx(recovered * np.exp(-te_s / times.t2_s), rel=0.02)
    inverted = relaxation_shares(epsi.path, tissue)
    assert set(inverted) == {*tissue.concentrations, "water"}
    assert inverted["NAA"] < 0.7 * plain["NAA"]
    alone = replace(tissue, concentrations={"NAA": tissue.concentrations["NAA"]}, broad={})
    naa, whole = (
        responses(epsi.path, epsi.timeline, epsi.trajectory, {"x": alone}, relaxation=relaxation).metabolite[
            "x"
        ]
        for relaxation in (True, False)
    )
    left = abs(naa.amplitude.sum()) / abs(whole.amplitude.sum())
    assert inverted["NAA"] == pytest.approx(left, rel=0.05)


def test_a_file_s_slabs_are_those_of_its_images(epsi):
    metabolite, water = (box[2] for box in image_slab.boxes_of_file(epsi.path))
    for found, known in ((metabolite, epsi.box[2]), (water, epsi.water_box[2])):
        middle = [
            slab.at(np.zeros(1), 1e-3)[slab.nearest(np.array([-200.0]))[0], 0] for slab in (found, known)
        ]
        assert abs(middle[0]) == pytest.approx(abs(middle[1]), rel=0.01)
    at = metabolite.at(np.zeros(1), 1e-3)[metabolite.nearest(np.array([-200.0]))[0], 0]
    assert abs(at) > 1.02  # more in the middle than the mean of the slab


def test_the_profile_of_the_slab_is_that_of_the_engine(epsi):
    """Its integral over the nominal thickness is what the engine makes of an uncoupled spin."""
    plan, slab = epsi.response.plan, epsi.box[2]
    axis = next(axis for axis in plan.layout.axes if axis.pulses)
    places = image_slab._places(axis, slab.frequency_hz)
    for hz in (-330.0, -200.0):
        local = image_slab._profile(plan, axis, places, hz)
        whole = 2 * abs(local.sum() * (places[1] - places[0])) / axis.nominal_m
        alone = simulate_system(plan, (0.5,), np.array([hz]), np.zeros((1, 1)))
        assert whole == pytest.approx(2 * abs(alone.amplitude.sum()), rel=3e-3)
    shares = slab.values.sum(axis=1) * (slab.places_m[1] - slab.places_m[0]) / axis.nominal_m
    np.testing.assert_allclose(shares, 1.0, rtol=1e-6)
    low, high = slab.range_m
    assert 0.135 < high - low < 0.25


def voxels(setup, data, shots, sample=None):
    """Return the plain Fourier sum over the echoes at the first crossing; shape (x, y, z)."""
    grid, trajectory = setup.grid, setup.trajectory
    train = trajectory.trains[trajectory.kinds[shots[0]]]
    echo = next(iter(echoes(train, grid.axes[:, 0]))).samples
    strength = np.abs(train.gradient_hz_per_m[echo] @ grid.axes[:, 0])
    total = np.zeros(grid.shape, complex)
    for shot in shots:
        k = trajectory.k_per_m(shot)[echo] @ grid.axes
        inside = np.abs(k[:, 0]) <= 0.5 / grid.spacing_m[0] + 1e-6
        row = (strength * inside / (strength * inside).sum() * data[shot][0, echo]) @ np.exp(
            -2j * np.pi * np.outer(k[:, 0], grid.along(0))
        )
        y, z = (np.exp(-2j * np.pi * k[0, axis] * grid.along(axis)) for axis in (1, 2))
        total += row[:, None, None] * y[:, None] * z
    return total / (grid.shape[1] * grid.shape[2])


def test_an_image_of_water_is_the_truth_through_the_point_spread(tmp_path):
    """A turned and shifted field of view, its affine and all scales: by a Fourier sum of our own."""
    turned = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    path = images.written(
        tmp_path, "fid-mrsi-3t", (6, 5, 1), (240.0, 210.0, 15.0), points=32, encoding={"elliptical": False},
        position_mm=(26.0, -9.0, 12.0), orientation=turned,
    )  # fmt: skip
    calm = images.small_head(relaxation=False, hot_spot_hz=0.0, shim_residue_hz=0.0, linewidth_hz=0.0)
    setup = set_up_image(path, replace(calm, lipid=0.0))
    show = prepare_image(setup, faults=QUIET)
    show = replace(show, sensitivities=np.ones_like(show.sensitivities))
    data, _ = play_image(show)
    grid, image = setup.grid, np.zeros(setup.grid.shape, complex)
    for shot in np.flatnonzero(setup.is_water):
        k = setup.trajectory.k_per_m(shot)[0] @ grid.axes
        x, y, z = (np.exp(-2j * np.pi * k[axis] * grid.along(axis)) for axis in range(3))
        middle = np.exp(-2j * np.pi * (setup.trajectory.k_per_m(shot)[0] @ grid.centre_m))
        image += data[shot][0, 0] * middle * x[:, None, None] * y[:, None] * z / np.prod(grid.shape)
    mm, _ = image_maps.concentrations(setup.head)["water"]
    profile = image_maps.slab_profile(show, setup.head.grid, water=True)
    seen = image_seen.through_point_spread(mm * profile, setup.head.grid, grid)
    unit = image.real.max() / seen.max()
    assert unit == pytest.approx(2 * np.sin(np.pi / 4), rel=0.06)  # two protons at 45 degrees
    np.testing.assert_allclose(image.real / unit, seen, atol=1e-2 * seen.max())
    fine = setup.head.grid.points_mm()
    weight = (mm * profile)[..., None]
    expected = (weight * fine).sum(axis=(0, 1, 2)) / weight.sum()
    found = (np.abs(image)[..., None] * grid.points_mm()).sum(axis=(0, 1, 2)) / np.abs(image).sum()
    np.testing.assert_allclose(found[:2], expected[:2], atol=12.0)


def test_an_off_centre_cube_is_seen_in_its_place_with_its_shifts(tmp_path):
    """A segmentation of grey matter alone: right, behind and above; water and NAA on the side where they belong."""
    labels, centre = np.zeros((40, 40, 40), np.int16), np.array([45.0, -35.0, 4.0])
    labels[17:23, 17:23, 17:23] = 7
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = centre - 5.0 * 19.5
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "labels.nii.gz")
    (tmp_path / "head.toml").write_text(
        'labels = "labels.nii.gz"\nfine_mm = [8, 8, 8]\nhot_spot_hz = 0.0\nshim_residue_hz = 0.0\n[tissues]\n'
        "grey-matter = 7\n"
    )
    path = images.written(
        tmp_path, "fid-mrsi-3t", (8, 8, 1), (240.0, 240.0, 15.0), points=256, encoding={"elliptical": False}
    )
    setup = set_up_image(path, load_head_settings(tmp_path / "head.toml"))
    data, _ = play_image(prepare_image(setup, faults=replace(QUIET, coils=1)))
    grid, images_of = setup.grid, {}
    for water in (True, False):
        image = np.zeros((*grid.shape, 256), complex)
        for shot in np.flatnonzero(setup.is_water == water):
            k = setup.trajectory.k_per_m(shot)[0] @ grid.axes
            x, y, z = (np.exp(-2j * np.pi * k[axis] * grid.along(axis)) for axis in range(3))
            image += (x[:, None, None] * y[:, None] * z)[..., None] * data[shot][0]
        images_of[water] = image
    at = np.unravel_index(np.abs(images_of[True][..., 0]).argmax(), grid.shape)
    assert np.all(np.abs(grid.points_mm()[at] - centre)[:2] <= 15.0 + 1e-6)
    ppm = 4.65 + np.fft.fftfreq(256, 4e-4) / setup.timeline.f0_hz * 1e6  # Pulseq sense
    assert abs(ppm[np.abs(np.fft.fft(images_of[True][at])).argmax()] - 4.65) < 0.1
    spectrum = np.abs(np.fft.fft(images_of[False][at]))
    assert abs(ppm[spectrum.argmax()] - 2.01) < 0.1


def test_a_reconstructed_voxel_has_the_asked_signal_to_noise(flyback):
    """The noise of a plain Fourier sum of all averages against the height of NAA."""
    show = prepare_image(flyback, faults=ImageFaults(coils=3, snr=40.0))
    readout = readout_of(flyback)
    assert (readout.points, readout.dwell_s) == (32, pytest.approx(1 / 1250))
    noise = image_noise_scan(show)
    measured = noise @ noise.conj().T / noise.shape[1]
    np.testing.assert_allclose(
        measured, show.noise_variance * show.covariance, atol=0.05 * measured[0, 0].real
    )
    rng = np.random.default_rng(0)
    shots = np.flatnonzero(~flyback.is_water)
    count = flyback.trajectory.trains[0].times_s.size
    draws = []
    for _ in range(12):
        white = {s: rng.standard_normal((1, count)) + 1j * rng.standard_normal((1, count)) for s in shots}
        draws.append(voxels(flyback, white, shots) / 2)  # two averages
    assert np.mean(np.abs(draws) ** 2) / 2 == pytest.approx(readout.variance, rel=0.1)
    gain = np.median(show.gains[white_matter(flyback)])
    sd = np.sqrt(readout.points / 2 * readout.variance * show.noise_variance / gain)
    assert reference_height(flyback, readout) / sd == pytest.approx(40.0)


def test_naa_has_the_height_that_noise_is_measured_by(flyback):
    """The FID of a slice of white matter alone at the echoes."""
    show, tissues = prepare_image(flyback, faults=QUIET), list(flyback.head.tissues)
    found = evolution_of(show, stage_of(show), kinds_of(show)[0][0])
    signals = found.signals[:, :, tissues.index("white-matter")].sum(axis=1)  # of all of the slice
    signals = signals * flyback.head.grid.spacing_m[2] / flyback.grid.spacing_m[2]
    readout, train = readout_of(flyback), flyback.trajectory.trains[0]
    at = flyback.first_s[0] - flyback.trajectory.starts_s[0] + np.arange(readout.points) * readout.dwell_s
    samples = np.searchsorted(train.times_s, at)
    taps = found.nodes.first[samples, None] + np.arange(found.nodes.weights.shape[1])
    fid = (found.nodes.weights[samples] * signals[taps]).sum(axis=1) * found.carrier[samples]
    t = np.arange(readout.points) * readout.dwell_s
    fid = fid * np.exp(-((np.pi * 8.0 * t) ** 2) / (4 * np.log(2)))
    spectrum = np.abs(np.fft.fft(fid, 8 * fid.size))
    ppm = 4.65 + np.fft.fftfreq(spectrum.size, readout.dwell_s) / flyback.timeline.f0_hz * 1e6
    height = spectrum[(ppm > 1.85) & (ppm < 2.15)].max()
    assert reference_height(flyback, readout) == pytest.approx(height, rel=0.01)


def test_what_befalls_a_shot(epsi):
    faults = replace(
        QUIET, drift_hz=6.0, phase_jitter_deg=5.0, eddy_rad=0.4, echo_phase_deg=20.0, motion_mm=3.0
    )
    show = prepare_image(epsi, faults=faults, seed=4)
    shot, ones = 38, np.ones((2, epsi.trajectory.trains[0].times_s.size), np.complex64)
    found = np.unwrap(np.angle(befallen(show, shot, ones)[0]))
    t = epsi.trajectory.field_times_s(shot)
    within = t - t[0]
    share = shot / (len(epsi.played.readouts) - 1) - 0.5
    sign = np.sign(np.gradient(epsi.trajectory.k_per_m(shot)[:, 0]))
    expected = 2 * np.pi * 6.0 * share * t + show.shots.phase_rad[shot]
    expected += 0.4 * (1 - np.exp(-within / 0.05)) + np.deg2rad(10.0) * sign
    expected += 2 * np.pi * epsi.trajectory.k_per_m(shot) @ show.shots.moved_m[shot]
    flat = np.abs(epsi.trajectory.trains[0].gradient_hz_per_m[:, 0]) > 1.0
    difference = np.exp(1j * (found - expected))[flat]
    np.testing.assert_allclose(difference, 1.0, atol=2e-3)
    again = prepare_image(epsi, faults=replace(faults, drift_hz=0.0), seed=4)
    np.testing.assert_array_equal(again.shots.phase_rad, show.shots.phase_rad)


def test_gradients_that_come_late_part_odd_and_even_echoes(epsi):
    """Both see k less the gradient times the delay, which has opposite signs."""
    late = prepare_image(epsi, faults=replace(QUIET, gradient_delay_us=(4.0, 0.0, 0.0))).trajectory
    train, moved = epsi.trajectory.trains[0], late.trains[0]
    steady = (
        np.abs(np.gradient(train.gradient_hz_per_m[:, 0]))
        < 1e-3 * np.abs(train.gradient_hz_per_m[:, 0]).max()
    )
    expected = -4e-6 * train.gradient_hz_per_m[steady, 0]
    difference = (moved.k_per_m - train.k_per_m)[steady, 0]
    middle = np.abs(difference - expected) < 1e-6 * np.abs(expected).max()
    assert middle.mean() > 0.9
    assert np.abs(difference).max() == pytest.approx(4e-6 * np.abs(train.gradient_hz_per_m).max(), rel=1e-3)


def test_a_water_pulse_in_each_repetition_counts(epsi):
    """Mz before a shot is what all pulses of the repetition leave, played until nothing changes."""
    plan, water, times = epsi.response.plan, epsi.response.water_plan, Relaxation(1.4, 0.1)
    excited = epsi.trajectory.begins_s - epsi.trajectory.starts_s
    tr_s = float(epsi.played.numbers("TR")[0])
    cycle = cycle_of(plan, water, float(excited[1] - excited[0]), tr_s)
    mz, now = 1.0, cycle.times_s[0]
    for turn in range(30):
        for at, (number, index) in zip(cycle.times_s, cycle.pulses, strict=True):
            wait = at + turn * tr_s - now
            mz = 1 - (1 - mz) * np.exp(-wait / 1.4)
            if (number, index) == (0, 0):
                before = mz
            mz *= _share((plan, water)[number], index, -330.0)
            now = at + turn * tr_s
    half = plan.shot.pulses[0].rf.duration_s / 2
    begin = 1 - (1 - before) * np.exp(half / 1.4)
    assert start_of(plan, cycle, -330.0, times, tr_s) == pytest.approx(begin, abs=1e-9)
    assert start_of(water, cycle, 0.0, times, tr_s) < 0.5 * longitudinal(water, 0.0, times, tr_s)


@pytest.mark.parametrize("half_band_hz", [40.0, 700.0])
def test_nodes_carry_what_is_in_their_band(half_band_hz):
    rng = np.random.default_rng(5)
    times = np.sort(rng.uniform(0.0, 0.05, 300))
    nodes = nodes_for(times, half_band_hz)
    taps = nodes.first[:, None] + np.arange(nodes.weights.shape[1])
    for hz in rng.uniform(-half_band_hz, half_band_hz, 20):
        read = (nodes.weights * np.exp(2j * np.pi * hz * nodes.times_s[taps])).sum(axis=1)
        np.testing.assert_allclose(read, np.exp(2j * np.pi * hz * times), atol=5e-4)
    assert nodes.error < 3e-5


def read_back(path):
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=False)
    try:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        return header, [dataset.read_acquisition(i) for i in range(dataset.number_of_acquisitions())]
    finally:
        dataset.close()


def test_the_file_has_the_scan_in_parts_that_it_can_count(epsi, tmp_path, monkeypatch):
    faults = ImageFaults(coils=2, snr=30.0)
    data, noise = play_image(prepare_image(epsi, faults=faults, seed=9))
    samples, echo = data[0].shape[1], int(epsi.played.numbers("EchoSamples")[0])
    monkeypatch.setattr(image_acquire, "LONGEST", samples // 3)
    monkeypatch.setattr(image_acquire, "_BLOCK_BYTES", 40 * data[0].nbytes // 4)
    image_acquire.write_image(epsi, tmp_path / "raw.h5", faults=faults, seed=9)
    header, found = read_back(tmp_path / "raw.h5")
    parts = (len(found) - 1) // len(data)
    assert parts == 4  # 64 echoes in thirds would not be whole
    assert found[0].is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    np.testing.assert_array_equal(found[0].data, noise)
    for shot, expected in enumerate(data):
        mine = found[1 + shot * parts : 1 + (shot + 1) * parts]
        np.testing.assert_allclose(
            np.concatenate([one.data for one in mine], axis=1), expected, atol=1e-5 * np.abs(expected).max()
        )
        assert [one.idx.segment for one in mine] == list(range(parts))
        assert {one.number_of_samples % echo for one in mine} == {0}
        assert {one.is_flag_set(ismrmrd.ACQ_USER1) for one in mine} == {bool(epsi.is_water[shot])}
        assert mine[0].idx.kspace_encode_step_1 == epsi.trajectory.labels["LIN"][shot]
        assert mine[0].idx.kspace_encode_step_2 == epsi.trajectory.labels["PAR"][shot]
    assert found[-1].is_flag_set(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
    truth = json.loads(header.userParameters.userParameterString[0].value)
    assert truth["faults"]["snr"] == 30.0
    assert truth["head"]["lesion"] == "recurrent-tumour"
    assert header.encoding[0].encodedSpace.matrixSize.z == 4
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize(
    ("samples", "echo", "parts"),
    [(512, 1, 1), (163840, 160, 4), (65535, 1, 1), (65536, 64, 2), (131072, 1, 4)],
)
def test_parts_are_equal_and_whole_echoes(samples, echo, parts):
    assert image_acquire.parts_of(samples, echo) == parts


def test_the_truth_is_written_on_the_grid_of_the_acquisition(epsi, tmp_path):
    show = prepare_image(epsi, faults=QUIET)
    names = image_maps.write_truth(show, tmp_path / "truth", coils=True)
    for name in (
        "NAA",
        "tNAA",
        "tCho",
        "Glx",
        "Lac",
        "lipid",
        "scalp_lipid",
        "b0",
        "linewidth",
        "slab",
        "coil_2",
    ):
        assert f"{name}.nii.gz" in names
    image = nibabel.load(tmp_path / "truth" / "tNAA.nii.gz")
    np.testing.assert_allclose(image.affine, epsi.grid.affine)
    tissues = epsi.head.tissues
    expected = sum(
        nibabel.load(tmp_path / "truth" / f"share_{name}.nii.gz").get_fdata()
        * sum(tissue.concentrations[one].mm for one in ("NAA", "NAAG") if one in tissue.concentrations)
        for name, tissue in tissues.items()
    )
    np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-4)
    lesion = nibabel.load(tmp_path / "truth" / "share_recurrent-tumour.nii.gz").get_fdata()
    lactate = nibabel.load(tmp_path / "truth" / "Lac.nii.gz").get_fdata()
    assert lactate.argmax() == lesion.argmax()
    with pytest.raises(InputError, match="not empty"):
        image_maps.write_truth(show, tmp_path / "truth")


@pytest.mark.parametrize(
    ("text", "words"),
    [("snr = 0", "snr"), ("coil = 3", "did you mean 'coils'"), ("[seeds]\nx = 1", "seeds.x")],
)
def test_wrong_faults_are_named(tmp_path, text, words):
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_image_faults(tmp_path / "f.toml")


def test_what_it_cannot_play_is_said(tmp_path):
    path = seqs.labelled_shots(tmp_path / "shots.seq", 2, 1)
    with pytest.raises(SequenceError, match="makes no images"):
        set_up_image(path)
    path = images.written(tmp_path, "epsi-3t-2d-flyback", (4, 4, 1), (200.0, 200.0, 15.0))
    with pytest.raises(InputError, match="no brain lies in the field of view"):
        set_up_image(path, images.small_head(centre_mm=(0.0, 0.0, 300.0)))
