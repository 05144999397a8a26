"""Concentric rings and other samples off the grid: points come out where they are, at their frequency, full size."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pypulseq as pp
import pytest
import scipy.ndimage
import scipy.special
from rings_for_tests import (
    DWELL_S,
    FOV_M,
    POINTS,
    PROTOCOL,
    SIDE,
    TURNS,
    data_of,
    rings_of,
    samples_of,
    scan_of,
    write_rings,
)
from typer.testing import CliRunner

from pulsespec.cli import app
from pulsespec.errors import DataError, InputError, MismatchError, SequenceError
from pulsespec.recon.image_nonuniform import (
    ImageGrid,
    KSpace,
    density_weights,
    fold,
    point_spread,
    reconstruct_samples,
    voxels,
    voxels_direct,
    width_m,
)
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.nifti import read_nifti
from pulsespec.recon.ring_images import grid_of, images_of, reconstruct_rings
from pulsespec.recon.rings import ring_areas, rings_k_space
from pulsespec.recon.twix_rings import is_rings, read_rings
from pulsespec.simulator.trajectory import read_trajectory

VOXEL = FOV_M / SIDE
GRID = ImageGrid(np.zeros(3), np.array([VOXEL, VOXEL, 0.01]), (SIDE, SIDE, 1))


def at_voxel(ix, iy):
    return (ix - (SIDE - 1) / 2) * VOXEL, (iy - (SIDE - 1) / 2) * VOXEL


def frequencies(data):
    """Strongest frequency of each voxel, Hz, and its size."""
    spectra = np.fft.fft(data, 8 * data.shape[-1], axis=-1)
    hz = np.fft.fftfreq(spectra.shape[-1], DWELL_S)
    size = np.abs(spectra)
    return hz[size.argmax(axis=-1)], size.max(axis=-1)


@pytest.mark.parametrize("axes", [(0,), (0, 1), (0, 1, 2)])
def test_the_fast_transform_is_the_plain_sum(axes):
    rng = np.random.default_rng(1)
    shape = tuple(int(n) for n in np.where(np.isin(range(3), axes), (6, 5, 4), 1))
    k = np.zeros((40, 3))
    k[:, axes] = rng.uniform(-60, 60, (40, len(axes)))
    space = KSpace(k, np.zeros(40), DWELL_S, rng.uniform(0.5, 2, 40))
    grid = ImageGrid(np.array([0.02, -0.013, 0.007]), np.array([0.011, 0.009, 0.012]), shape)
    rows = rng.normal(size=(3, 40, 2)) @ (1, 1j)
    plain = voxels_direct(rows, space, grid)
    assert plain.shape == (3, *shape)
    np.testing.assert_allclose(voxels(rows, space, grid), plain, atol=1e-7 * np.abs(plain).max())


def test_rings_fill_the_disc_and_voronoi_cells_agree():
    k = rings_k_space(rings_of(), DWELL_S)
    assert k.weights.sum() == pytest.approx(np.pi * (8 / FOV_M) ** 2)
    np.testing.assert_allclose(ring_areas([1.0, 1.0, 3.0]), np.pi * np.array([2, 2, 12]))
    cells = density_weights(k.k_per_m)
    inner = np.linalg.norm(k.k_per_m, axis=1) < 7 / FOV_M
    np.testing.assert_allclose(cells[inner], k.weights[inner], rtol=0.12)
    assert cells.sum() == pytest.approx(k.weights.sum(), rel=0.1)
    twice = density_weights(np.concatenate([k.k_per_m, k.k_per_m]))
    np.testing.assert_allclose(twice, np.tile(cells, 2) / 2, rtol=1e-9)
    with pytest.raises(InputError, match="expected 2"):
        density_weights(np.eye(3)[[0, 0]] * np.array([[1.0], [2.0]]))


def test_the_point_spread_function_is_that_of_a_disc():
    k = rings_k_space(rings_of(), DWELL_S)
    edge = 8 / FOV_M
    offsets = np.zeros((50, 3))
    offsets[:, 0] = np.linspace(1e-6, 0.4 * FOV_M, 50)
    u = 2 * np.pi * edge * offsets[:, 0]
    theory = 2 * scipy.special.j1(u) / u
    np.testing.assert_allclose(point_spread(k, offsets).real, theory, atol=0.012)
    assert width_m(k) == pytest.approx(0.705 / edge, rel=0.01)
    with pytest.raises(InputError, match="not encoded"):
        width_m(k, axis=2)


def test_points_come_out_where_they_are_at_their_frequency():
    """Two points off centre with shifts of both signs: a mirror, a conjugate or a turn of the image would show."""
    sources = [(*at_voxel(11, 4), -800.0, 1.0), (*at_voxel(3, 9), 300.0, 0.7)]
    scan = images_of(scan_of(sources), "made", ImageSettings(b0_alignment=False))
    data = scan.metabolite
    assert data.dims == ("x", "y", "z", "t")
    hz, size = frequencies(data.data[:, :, 0])
    for ix, iy, found in ((11, 4, 800.0), (3, 9, -300.0)):
        assert hz[ix, iy] == pytest.approx(found, abs=4.0), "NIfTI-MRS sense: upfield is positive"
    near = np.hypot(*np.indices((SIDE, SIDE)) - np.array([11, 4])[:, None, None]) < 1.5
    assert np.unravel_index(np.argmax(np.where(near, size, 0)), size.shape) == (11, 4)
    line = np.abs(np.fft.fft(np.exp(-40.0 * DWELL_S * np.arange(TURNS)), 8 * TURNS)).max()
    area = np.pi * (8 / FOV_M) ** 2 * VOXEL**2
    assert size[11, 4] / line == pytest.approx(area, rel=0.05)
    assert size[3, 9] / line == pytest.approx(0.7 * area, rel=0.05)


@pytest.mark.parametrize(("sense", "times"), [(1, 1.0), (1, 0.0), (-1, 1.0)])
def test_wrong_turns_and_times_are_seen(sense, times):
    """Only the true sense and the true times put an off-centre point of another frequency in its voxel."""
    k = rings_k_space(rings_of(), DWELL_S)
    data = data_of(rings_of(), [(*at_voxel(12, 5), 900.0, 1.0)], sense=sense)
    image = reconstruct_samples(data.fids, replace(k, times_s=times * k.times_s), GRID)
    size = frequencies(image[:, :, 0, 0])[1]
    line = np.abs(np.fft.fft(np.exp(-40.0 * DWELL_S * np.arange(TURNS)), 8 * TURNS)).max()
    share = size[12, 5] / line / (np.pi * (8 / FOV_M) ** 2 * VOXEL**2)
    assert (abs(share - 1) < 0.05) == (sense == 1 and times == 1.0)


def test_the_field_of_view_is_where_the_protocol_puts_it():
    centre_mm = (30.0, -20.0, 5.0)
    raw = scan_of([(0.03, 0.02, 0.0, 1.0)], centre_mm=centre_mm)
    grid, place = grid_of(raw)
    np.testing.assert_allclose(place.affine @ [(SIDE - 1) / 2, (SIDE - 1) / 2, 0, 1], [*centre_mm, 1])
    np.testing.assert_allclose(grid.centre_m, [0.03, 0.02, -0.005])
    image = np.abs(images_of(raw, "made").metabolite.data[..., 0, 4])
    middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
    assert image[middle, middle].min() == pytest.approx(np.sort(image.ravel())[-4], rel=0.1)
    finer = images_of(raw, "made", ImageSettings(zero_fill=(32, 32, 1), filter="hamming")).metabolite
    assert finer.data.shape[:3] == (32, 32, 1)
    np.testing.assert_allclose(finer.geometry.voxel_mm, [FOV_M * 1e3 / 32] * 2 + [10.0])


def test_coils_and_field_are_combined_and_aligned():
    sources = [(*at_voxel(8, 8), 230.0, 1.0)]
    water = [(*at_voxel(8, 8), 30.0, 10.0)]
    one = images_of(scan_of(sources, water), "made").metabolite
    two = images_of(scan_of(sources, water, coils=(0.6, 0.8j)), "made").metabolite
    sizes = [np.abs(part.data[8, 8, 0]) for part in (one, two)]
    np.testing.assert_allclose(sizes[0][2:], sizes[1][2:], rtol=1e-3)
    area = np.pi * (8 / FOV_M) ** 2 * VOXEL**2
    np.testing.assert_allclose(sizes[0][:2], area * np.exp(-40.0 * DWELL_S * np.arange(2)), rtol=0.04)
    assert frequencies(one.data[8, 8, 0])[0] == pytest.approx(-200.0, abs=4.0), "from its own water"
    alone = images_of(scan_of(sources, ()), "made")
    assert alone.water is None
    assert frequencies(alone.metabolite.data[8, 8, 0])[0] == pytest.approx(-230.0, abs=4.0)


def test_samples_must_fit_their_positions():
    k = rings_k_space(rings_of(), DWELL_S)
    with pytest.raises(MismatchError, match="one row a position"):
        reconstruct_samples(np.zeros((3, 1, 8)), k, GRID)
    with pytest.raises(InputError, match="several along"):
        voxels(np.zeros((1, len(k.weights)), complex), k, replace(GRID, shape=(1, 1, 1)))


def test_a_twix_file_gives_the_same_rings_and_samples(tmp_path):
    sources = [(*at_voxel(11, 4), -500.0, 1.0)]
    path = write_rings(tmp_path / "rings.dat", sources, [(0.0, 0.0, 0.0, 5.0)])
    assert is_rings(path)
    raw = read_rings(path)
    assert raw.dwell_s == pytest.approx(DWELL_S)
    assert raw.matrix == (SIDE, SIDE)
    assert [ring.interleaves for ring in raw.metabolite.rings] == [1] * 6 + [2] * 2
    np.testing.assert_allclose(
        np.concatenate([ring.k_per_m for ring in raw.metabolite.rings]),
        np.concatenate([ring.k_per_m for ring in rings_of()]),
        atol=1e-4,
    )
    expected = data_of(rings_of(), sources, coils=(1.0, 0.5j))
    np.testing.assert_allclose(raw.metabolite.fids, expected.fids, atol=1e-5)
    scan = reconstruct_rings(path)
    assert scan.metabolite.data.shape == (SIDE, SIDE, 1, TURNS)
    assert scan.water.header["water_suppressed"] is False
    assert "Doe" not in "".join(record.details for record in scan.metabolite.records)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sRXSPEC.alDwellTime[0]": 60000}, "time stamps"),
        ({"sRXSPEC.alDwellTime[0]": 0}, "dwell time"),
        ({"sKSpace.lBaseResolution": 1}, "matrix"),
        ({"sKSpace.lPartitions": 8}, "stack of rings"),
        ({"sTXSPEC.asNucleusInfo[0].lFrequency": 0}, "frequency"),
    ],
)
def test_what_a_header_lacks_is_said(tmp_path, change, words):
    path = write_rings(tmp_path / "rings.dat", [(0, 0, 0, 1.0)], [(0, 0, 0, 1.0)], PROTOCOL | change)
    with pytest.raises(DataError, match=words):
        read_rings(path)


def test_rings_that_are_not_whole_are_refused(tmp_path):
    path = write_rings(tmp_path / "rings.dat", [(0, 0, 0, 1.0)], [(0, 0, 0, 1.0)], keep=slice(0, -1))
    with pytest.raises(DataError, match="not whole"):
        read_rings(path)
    whole = write_rings(tmp_path / "whole.dat", [(0, 0, 0, 1.0)], [(0, 0, 0, 1.0)])
    part = tmp_path / "part.dat"
    part.write_bytes(whole.read_bytes()[:-20000])
    with pytest.raises(DataError, match="truncated"):
        read_rings(part)


def ring_sequence(path, radii, turns=6, delay_s=0.0):
    """A `.seq` with one ring a shot: k moves out along x at once, then turns from x to y."""
    system = pp.Opts(max_grad=1e9, max_slew=1e15, grad_raster_time=1e-5, adc_dead_time=0, rf_dead_time=0)
    sequence = pp.Sequence(system)
    raster, points = 1e-5, 40
    for radius in radii:
        rf = pp.make_block_pulse(np.pi / 2, duration=1e-4, system=system, use="excitation")
        sequence.add_block(rf)
        t = (np.arange(points * turns + 4) + 0.5) * raster
        angle = 2 * np.pi * t / (points * raster)
        speed = 2 * np.pi * radius / (points * raster)
        out = np.zeros(10)
        out[2:8] = radius / (6 * raster)
        gx = np.concatenate([out, -speed * np.sin(angle), np.zeros(2)])
        gy = np.concatenate([np.zeros(10), speed * np.cos(angle), np.zeros(2)])
        gradients = [
            pp.make_arbitrary_grad(axis, wave, first=0, last=0, system=system)
            for axis, wave in (("x", gx), ("y", gy))
        ]
        adc = pp.make_adc(points * turns, dwell=raster, delay=10 * raster, system=system)
        sequence.add_block(*gradients, adc)
        sequence.add_block(pp.make_delay(1e-2))
    sequence.write(str(path))


def test_a_sequence_of_our_own_is_reconstructed_from_its_trajectory(tmp_path):
    radii = [(n + 0.5) / FOV_M for n in range(8)]
    path = tmp_path / "rings.seq"
    ring_sequence(path, radii)
    trajectory = read_trajectory(path)
    k = [trajectory.k_per_m(n) for n in range(8)]
    times = [trajectory.times_s(n) for n in range(8)]
    x, y = at_voxel(10, 3)
    data = [
        np.exp(2j * np.pi * (one[:, 0] * x + one[:, 1] * y) + 2j * np.pi * 400.0 * t)[None]
        for one, t in zip(k, times, strict=True)
    ]
    space, fids = fold(k, times, data)
    assert space.dwell_s == pytest.approx(4e-4)
    assert fids.shape == (8 * 40, 1, 6)
    np.testing.assert_allclose(np.linalg.norm(space.k_per_m, axis=1), np.repeat(radii, 40), rtol=0.02)
    image = np.abs(reconstruct_samples(fids, space, GRID)[:, :, 0, 0, 2])
    assert np.unravel_index(image.argmax(), image.shape) == (10, 3)
    assert image.max() == pytest.approx(np.pi * (8 / FOV_M) ** 2 * VOXEL**2, rel=0.15)


def test_interleaves_are_folded_by_their_times_and_refused_where_uneven():
    ring = rings_of()[-1]
    rows = samples_of(ring, [(0.02, 0.01, 100.0, 1.0)])
    turn = np.tile(ring.k_per_m, (TURNS // 2, 1))
    times = np.arange(len(turn)) * 2 * DWELL_S / POINTS
    other = rings_of()[3]
    more = samples_of(other, [(0.02, 0.01, 100.0, 1.0)])
    k = [turn, turn, np.tile(other.k_per_m, (TURNS, 1))]
    when = [times, times + DWELL_S, np.arange(TURNS * POINTS) * DWELL_S / POINTS]
    space, fids = fold(k, when, [rows[:1], rows[1:], more])
    expected = data_of((ring, other), [(0.02, 0.01, 100.0, 1.0)])
    np.testing.assert_allclose(fids, expected.fids, atol=1e-5)
    np.testing.assert_allclose(space.times_s, rings_k_space((ring, other), DWELL_S).times_s)
    with pytest.raises(SequenceError, match="expected steps"):
        fold(k, [times, times + 0.7 * DWELL_S, when[2]], [rows[:1], rows[1:], more])
    with pytest.raises(SequenceError, match="dwell times"):
        fold(k[::2], when[::2], [rows[:1], more])
    with pytest.raises(SequenceError, match="does not repeat"):
        fold([np.cumsum(turn, axis=0) + np.arange(len(turn))[:, None]], [times], [rows[:1]])


def test_a_real_phantom_at_7_t_is_round_and_where_it_was_planned(data_folder):
    """Acetate and lactate in water, at room temperature (water at 4.8 ppm): 1.9 and 1.3 ppm show it."""
    path = data_folder / "siemens-7t-crt-mrsi" / "test.dat"
    raw = read_rings(path)
    assert len(raw.metabolite.rings) == 8
    radii = np.array([ring.radius_per_m for ring in raw.metabolite.rings]) * FOV_M
    np.testing.assert_allclose(radii, np.arange(8) + 0.5, atol=0.03)
    assert raw.metabolite.fids.shape == (960, 1, 144)
    assert raw.water.fids.shape == (960, 1, 72)
    scan = reconstruct_rings(path, ImageSettings(zero_fill=(32, 32, 1)))
    data, water = scan.metabolite, scan.water
    early = np.abs(water.data[:, :, 0, 2:6]).mean(axis=-1)
    labels, _ = scipy.ndimage.label(scipy.ndimage.binary_fill_holes(early > 0.3 * early.max()))
    inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    step_mm = FOV_M * 1e3 / 32
    middle_mm = (np.array(np.nonzero(inside)).mean(axis=1) - 15.5) * step_mm
    assert np.linalg.norm(middle_mm) < 6.0, "the field of view was planned about the phantom"
    assert 145 < 2 * np.sqrt(inside.sum() / np.pi) * step_mm < 175
    bell = np.cos(0.5 * np.pi * np.arange(144) / 144) ** 2
    spectra = np.abs(np.fft.fft(data.data[inside][:, 0] * bell, 1152, axis=-1)).mean(axis=0)
    ppm = 4.80 - np.fft.fftfreq(1152, data.dwell_s) / data.f0_hz * 1e6
    for low, high, expected in ((1.75, 2.05, 1.91), (1.15, 1.45, 1.32), (3.9, 4.3, 4.10)):
        band = (ppm > low) & (ppm < high)
        assert ppm[band][spectra[band].argmax()] == pytest.approx(expected, abs=0.05)
    acetate = (ppm > 1.75) & (ppm < 2.05)
    sizes = np.abs(np.fft.fft(data.data[:, :, 0] * bell, 1152, axis=-1))[..., acetate].max(axis=-1)
    outside = np.hypot(*(np.indices((32, 32)) - 15.5)) > 15.5
    assert np.median(sizes[inside]) > 5 * np.median(sizes[outside])


def test_recon_writes_images_of_rings_without_flags(tmp_path):
    rng = np.random.default_rng(2)
    inside = [(*at_voxel(x, y), 0.0, 100.0) for x in range(4, 12) for y in range(4, 12)]
    sources = [(x, y, -600.0 + rng.normal(), 1.0) for x, y, _, _ in inside]
    path = write_rings(tmp_path / "rings.dat", sources, inside)
    output = tmp_path / "out.nii.gz"
    shown = CliRunner().invoke(app, ["recon", str(path), "-o", str(output), "--json"])
    assert shown.exit_code == 0, shown.output
    written = json.loads(shown.stdout)["written"]
    assert set(written) == {"metabolite", "water", "b0", "brain"}
    image = read_nifti(output)
    assert image.data.shape == (SIDE, SIDE, TURNS)
    assert image.dims == ("x", "y", "t")
    assert any("concentric rings" in one["Details"] for one in image.header["processing_applied"])
    brain = np.asarray(nibabel.load(written["brain"]).dataobj)[..., 0]
    assert brain[5:11, 5:11].all()
    assert not brain[:2].any()
    again = CliRunner().invoke(app, ["recon", str(path), "-o", str(output)])
    assert isinstance(again.exception, InputError)


def test_recon_of_the_real_rings_needs_no_flag(data_folder, tmp_path):
    output = tmp_path / "out.nii.gz"
    path = data_folder / "siemens-7t-crt-mrsi" / "test.dat"
    shown = CliRunner().invoke(app, ["recon", str(path), "-o", str(output), "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["voxels"] == [16, 16, 1]
    assert read_nifti(tmp_path / "out_water.nii.gz").samples == 72
