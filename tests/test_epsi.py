"""Images from points at known places and frequencies: where they land, at which frequency, how wide and how bright."""

from dataclasses import replace

import numpy as np
import pytest
from epsi_for_tests import TURNED, Made, Point, index_of, opened, played, source, write_image_sequence

from pulsespec.errors import DataError, InputError, SequenceError
from pulsespec.recon.image_plan import encodes_space, plan_image
from pulsespec.recon.image_read import source_of
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.image_regrid import FILTERS, adjoint, density, direct
from pulsespec.recon.image_settings import ImageSettings

PLAIN = ImageSettings(polarity_correction=False, b0_alignment=False, eddy_current_correction=False)
PLACE = {"position_mm": (10.0, -20.0, 15.0), "orientation": TURNED}
NAA_HZ = -370.0
"""Three ppm upfield of the receiver at 3 T, in Pulseq's sense."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def epsi(folder):
    return write_image_sequence(folder / "epsi.seq", **PLACE)


@pytest.fixture(scope="module")
def flyback(folder):
    return write_image_sequence(
        folder / "flyback.seq", "epsi-3t-2d-flyback", (12, 6, 1), averages=1, phase_cycle=1, **PLACE
    )


@pytest.fixture(scope="module")
def csi(folder):
    return write_image_sequence(
        folder / "csi.seq", "fid-mrsi-3t", (8, 7, 1), points=128, encoding={"elliptical": False}, **PLACE
    )


@pytest.fixture(scope="module")
def two_interleaves(folder):
    return write_image_sequence(
        folder / "two.seq", matrix=(12, 4, 1), train={"interleaves": 2}, spectral_width_hz=1250.0, **PLACE
    )


def grid(path):
    return source(path, [Point((0, 0, 0))]).plan.grid


def place(path, *index):
    """Return the gradient coordinates of a fractional index of a voxel."""
    box = grid(path)
    size = box.fov_m / np.array(box.matrix)
    return tuple(box.centre_m + box.axes @ ((np.array(index) - np.array(box.matrix) // 2) * size))


def spectra(data):
    return np.fft.fft(data.data, axis=-1), np.fft.fftfreq(data.samples, data.dwell_s)


WHERE = {"epsi": (8, 1, 2), "flyback": (9, 1, 0), "csi": (6, 1, 0), "two_interleaves": (3, 2, 0)}


@pytest.mark.parametrize("name", list(WHERE))
def test_a_point_off_centre_lands_in_its_voxel_at_its_frequency(request, name):
    path, index = request.getfixturevalue(name), WHERE[name]
    centre = place(path, *index)
    made = source(path, [Point(centre, NAA_HZ, water=3.0)])
    scan = reconstruct_source(made, PLAIN)
    for part, hz in ((scan.metabolite, -NAA_HZ), (scan.water, 0.0)):
        assert part.dims == ("x", "y", "z", "t")
        assert part.data.dtype == np.complex64
        found, axis_hz = spectra(part)
        peak = np.unravel_index(np.argmax(np.abs(found)), found.shape)
        assert peak[:3] == index
        # NIfTI-MRS: what lies upfield has positive frequency.
        assert axis_hz[peak[3]] == pytest.approx(hz, abs=0.6 / (part.samples * part.dwell_s))
        np.testing.assert_allclose(index_of(part.geometry, centre), index, atol=1e-6)
        np.testing.assert_allclose(part.geometry.voxel_mm, grid(path).fov_m / grid(path).matrix * 1e3)
        elsewhere = np.abs(found[..., peak[3]]).copy()
        top = elsewhere[index]
        elsewhere[index] = 0.0
        assert elsewhere.max() < 0.012 * top
    t = np.arange(scan.metabolite.samples) * scan.metabolite.dwell_s
    truth = np.exp(-2j * np.pi * NAA_HZ * t - t / 0.05)
    fid = scan.metabolite.data[index]
    amplitude = np.vdot(truth, fid) / np.vdot(truth, truth)
    assert abs(amplitude) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(np.abs(fid[1 : t.size // 2]) / np.abs(truth[1 : t.size // 2]), 1.0, atol=0.02)


def test_two_shifts_at_one_place_and_one_shift_at_two_places(epsi):
    here, there = place(epsi, 2, 4, 0), place(epsi, 9, 0, 3)
    made = source(epsi, [Point(here, 200.0), Point(here, NAA_HZ), Point(there, 200.0)])
    found, hz = spectra(reconstruct_source(made, PLAIN).metabolite)
    at = {value: int(np.argmin(np.abs(hz + value))) for value in (200.0, NAA_HZ)}
    size = np.abs(found)
    assert size[2, 4, 0, at[200.0]] > 0.7 * size.max()
    assert size[2, 4, 0, at[NAA_HZ]] > 0.7 * size.max()
    assert size[9, 0, 3, at[200.0]] > 0.7 * size.max()
    assert size[9, 0, 3, at[NAA_HZ]] < 0.05 * size.max()


def test_without_untilting_a_point_off_resonance_is_moved(epsi):
    """A shift f over an echo of length T moves a point by f T / 2 of k-space's width a polarity, either way."""
    made = source(epsi, [Point(place(epsi, 8, 1, 2), NAA_HZ)])
    sides = []
    for untilt in (True, False):
        for mode in ("even", "odd"):
            how = ImageSettings(
                polarity_correction=False,
                b0_alignment=False,
                eddy_current_correction=False,
                untilt=untilt,
                echo_mode=mode,
            )
            found, hz = spectra(reconstruct_source(made, how).metabolite)
            profile = found[:, 1, 2, int(np.argmin(np.abs(hz + NAA_HZ)))]
            sides.append(np.abs(profile[[7, 9]]).max() / np.abs(profile[8]))
    assert max(sides[:2]) < 0.012
    assert min(sides[2:]) > 0.1


@pytest.mark.parametrize("name", ["none", "hamming"])
@pytest.mark.parametrize("kind", ["epsi", "csi"])
def test_the_point_spread_function_is_that_of_theory(request, kind, name):
    """A point between voxels gives samples of it: of the sum over phase encodes, of the integral over a readout."""
    path = request.getfixturevalue(kind)
    box = grid(path)
    index = np.array(WHERE[kind]) + np.array([0.31, -0.22, 0.17 if box.matrix[2] > 1 else 0.0])
    made = source(path, [Point(place(path, *index), 0.0, decay_s=1e9)])
    settings = ImageSettings(
        filter=name, polarity_correction=False, b0_alignment=False, eddy_current_correction=False
    )
    data = reconstruct_source(made, settings).metabolite
    image = np.abs(data.data[..., 10])
    expected = np.ones(())
    for axis, n in enumerate(box.matrix):
        offset = np.arange(n) - index[axis]
        if axis == 0 and kind == "epsi":
            u = np.linspace(-1, 1, 4001)
            kernel = np.exp(1j * np.pi * np.outer(offset, u))
            curve = np.trapezoid(kernel * FILTERS[name](u), u) / np.trapezoid(FILTERS[name](u), u)
        else:
            u = (np.arange(n) - n // 2) / (n / 2)
            weights = FILTERS[name](u) if n > 1 else np.ones(1)
            curve = np.exp(1j * np.pi * np.outer(offset, u)) @ weights / weights.sum()
        expected = np.multiply.outer(expected, np.abs(curve))
    np.testing.assert_allclose(image, expected, atol=4e-3)


def test_the_record_has_width_and_volume_of_the_point_spread_function(epsi, csi):
    for path in (epsi, csi):
        box = grid(path)
        voxel = box.fov_m / np.array(box.matrix)
        made = source(path, [Point((0.0, 0.0, 0.0))])
        found = {}
        for name in ("none", "hamming"):
            settings = ImageSettings(filter=name, polarity_correction=False)
            record = reconstruct_source(made, settings).metabolite.records
            found[name] = next(r for r in record if r.method == "Spatial Fourier transform").figures
        plain, hamming = found["none"], found["hamming"]
        assert plain["effective_volume_m3"] == pytest.approx(np.prod(voxel), rel=0.01)
        for axis, n in enumerate(box.matrix):
            if n == 1:
                assert plain["psf_fwhm_m"][axis] == pytest.approx(box.fov_m[axis])
                continue
            # sinc: 1.2067 steps; the sum over few encodes differs by the order of 1 / n^2.
            assert plain["psf_fwhm_m"][axis] == pytest.approx(1.2067 * voxel[axis], rel=0.3 / n)
            # Hamming over the sinc: 1.81 steps (Harris 1978: 6 dB bandwidth 1.81 bins).
            assert hamming["psf_fwhm_m"][axis] == pytest.approx(1.81 * voxel[axis], rel=1.0 / n)
        encoded = sum(n > 1 for n in box.matrix)
        # Equivalent noise bandwidth of the Hamming window, 1.36 bins (Harris 1978), along each axis.
        ratio = hamming["effective_volume_m3"] / plain["effective_volume_m3"]
        assert ratio == pytest.approx(1.363**encoded, rel=0.12)


def test_an_ellipse_of_encodes_leaves_the_corners_empty(folder):
    csi = write_image_sequence(folder / "ellipse.seq", "fid-mrsi-3t", (8, 7, 1), points=32, **PLACE)
    made = source(csi, [Point(place(csi, 6, 1, 0), 0.0)])
    nx, ny, _ = made.plan.grid.matrix
    assert len(made.plan.metabolite.readouts) < nx * ny
    data = reconstruct_source(made, PLAIN).metabolite
    # Corners missing: the point leaks a little, and no more than they weigh.
    image = np.abs(data.data[..., 5])
    assert image[6, 1, 0] == pytest.approx(np.exp(-5 * data.dwell_s / 0.05), rel=1e-3)
    others = image.copy()
    others[6, 1, 0] = 0
    assert 0.01 < others.max() < 0.3


def test_zero_filling_keeps_values_and_places(epsi):
    centre = place(epsi, 8, 1, 2)
    made = source(epsi, [Point(centre, NAA_HZ)])
    plain = reconstruct_source(made, PLAIN).metabolite
    more = ImageSettings(
        zero_fill=(36, 18, 12), polarity_correction=False, b0_alignment=False, eddy_current_correction=False
    )
    fine = reconstruct_source(made, more).metabolite
    # Three voxels in one, and voxel n // 2 in the middle in both.
    np.testing.assert_allclose(
        np.abs(fine.data[::3, ::3, ::3]), np.abs(plain.data), atol=2e-5 * np.abs(plain.data).max()
    )
    np.testing.assert_allclose(index_of(fine.geometry, centre), (24, 3, 6), atol=1e-6)
    with pytest.raises(InputError, match="zero fill"):
        reconstruct_source(made, ImageSettings(zero_fill=(6, 6, 4)))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_finufft_is_the_direct_sum(dimensions):
    rng = np.random.default_rng(3)
    matrix, fov = (12, 7, 5)[:dimensions], np.array([0.2, 0.15, 0.1])[:dimensions]
    k = rng.uniform(-1, 1, (50, dimensions)) * np.array(matrix) / (2 * fov)
    samples = rng.normal(size=(2, 3, 50, 2)) @ [1, 1j]
    weights = rng.uniform(0.5, 1, 50)
    axes = [(np.arange(n) - n // 2) * edge / n for n, edge in zip(matrix, fov, strict=True)]
    places = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
    expected = (samples * weights) @ np.exp(-2j * np.pi * k @ places.T)
    found = adjoint(samples, k, weights, matrix, fov, 1e-9)
    np.testing.assert_allclose(found.reshape(2, 3, -1), expected, atol=1e-6)
    single = adjoint(samples.astype(np.complex64), k, weights, matrix, fov)
    assert single.dtype == np.complex64
    np.testing.assert_allclose(single.reshape(2, 3, -1), expected, atol=2e-4)
    if dimensions == 1:
        np.testing.assert_allclose(samples @ direct(k[:, 0], weights, axes[0]), expected, atol=1e-12)


def test_density_is_the_length_of_k_space_within_its_edges():
    k = np.array([3.0, -1.0, 0.0, 1.5, -3.0])
    found = density(k, 2.5)
    np.testing.assert_allclose(found, [0.25, 1.5, 1.25, 1.5, 0.5])
    assert found.sum() == pytest.approx(5.0)
    rng = np.random.default_rng(1)
    assert density(np.sort(rng.uniform(-9, 9, 40)), 4.0).sum() == pytest.approx(8.0)


@pytest.mark.parametrize("mode", ["even", "odd", "interlaced"])
def test_modes_of_the_polarities_agree(epsi, mode):
    index = WHERE["epsi"]
    made = source(epsi, [Point(place(epsi, *index), NAA_HZ, water=1.0)])
    settings = ImageSettings(
        echo_mode=mode, polarity_correction=False, b0_alignment=False, eddy_current_correction=False
    )
    data = reconstruct_source(made, settings).metabolite
    mean = reconstruct_source(made, PLAIN).metabolite
    assert data.dwell_s == pytest.approx(mean.dwell_s / (2 if mode == "interlaced" else 1))
    assert data.samples == mean.samples * (2 if mode == "interlaced" else 1)
    t = np.arange(data.samples) * data.dwell_s
    # The second polarity alone begins half a point later.
    late = mean.dwell_s / 2 if mode == "odd" else 0.0
    truth = np.exp((-2j * np.pi * NAA_HZ - 1 / 0.05) * (t + late))
    # The FID is cut off at a third of its height, at which untilting rings.
    assert np.abs(data.data[index] - truth)[2:-2].max() < 0.012


def test_interlacing_needs_polarities_half_a_point_apart(two_interleaves):
    made = source(two_interleaves, [Point(place(two_interleaves, 3, 2, 0), water=1.0)])
    with pytest.raises(InputError, match="interlaced"):
        reconstruct_source(made, ImageSettings(echo_mode="interlaced"))


def test_averages_and_processes_change_nothing(tmp_path):
    path = write_image_sequence(
        tmp_path / "x.seq", "epsi-3t-2d-flyback", (8, 4, 1), points=32, averages=2, phase_cycle=2
    )
    made = source(path, [Point((0.0, 0.0, 0.0), -200.0)], Made())
    assert made.plan.metabolite.readouts[0].shape == (2, 1)
    assert made.plan.water.readouts[0].shape == (1, 1)
    data = reconstruct_source(made, PLAIN).metabolite
    assert np.abs(data.data[..., 3]).max() > 0.3


def test_raw_data_of_another_sequence_are_refused(epsi):
    trajectory, known, _ = opened(epsi)
    whole = played(epsi, [Point((0, 0, 0))])
    short = replace(whole, shapes=whole.shapes[:1], is_noise=whole.is_noise[:1])
    with pytest.raises(DataError, match="has 1 ADCs, but the sequence has 48"):
        source_of(short, known, trajectory, "x.seq")
    with pytest.raises(DataError, match=r"not played from|samples in ADC"):
        source_of(replace(whole, shapes=whole.shapes - 4), known, trajectory, "epsi.seq")


def test_images_are_told_by_their_encodes(epsi, csi, tmp_path):
    for path in (epsi, csi):
        trajectory, known, _ = opened(path)
        assert encodes_space(known, trajectory)
        no_matrix = known._replace(definitions={k: v for k, v in known.definitions.items() if k != "Matrix"})
        assert encodes_space(no_matrix, trajectory)
        with pytest.raises(SequenceError, match="Matrix"):
            plan_image(no_matrix, trajectory, "x.seq")
        renamed = known._replace(definitions=known.definitions | {"Name": "press", "Readout": "fid"})
        assert encodes_space(renamed, trajectory)
    from test_library import few

    from pulsespec.sequences import build, load_scanner, write_sequence

    single = tmp_path / "single.seq"
    write_sequence(build(few("press-3t-te30"), load_scanner("siemens-prisma")), single)
    trajectory, known, _ = opened(single)
    assert not encodes_space(known, trajectory)
