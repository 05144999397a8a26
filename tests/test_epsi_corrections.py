"""What the scanner does to an image, taken back: delay and phase of echoes, coils, noise, field, eddy currents."""

import subprocess
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from epsi_for_tests import Made, Point, opened, played, source, write_image_sequence, write_mrd

from pulsespec.errors import DataError, InputError
from pulsespec.imaging_verbs import image_source
from pulsespec.recon.image_coils import coil_weights
from pulsespec.recon.image_files import names_of
from pulsespec.recon.image_read import source_of
from pulsespec.recon.image_recon import prepared, reconstruct_source
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.nifti import read_nifti

HZ = -370.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def epsi(folder):
    return write_image_sequence(folder / "epsi.seq", matrix=(12, 6, 1), points=128)


@pytest.fixture(scope="module")
def csi(folder):
    whole = {"elliptical": False}
    return write_image_sequence(folder / "csi.seq", "fid-mrsi-3t", (6, 5, 1), points=256, encoding=whole)


def full(path, gradient_hz_per_m=0.0, hz=HZ, **changes):
    """Return a point in the middle of every voxel, the field in proportion to x."""
    box = source(path, [Point((0, 0, 0))]).plan.grid
    return [
        Point((x, y, 0.0), hz, **({"water": 10.0, "field_hz": gradient_hz_per_m * x} | changes))
        for x in box.positions_m(0)
        for y in box.positions_m(1)
    ]


def figures(data, method):
    return next(record.figures for record in data.records if record.method == method)


def ghost(data):
    """Return what stands at half the sampling rate of interlaced echoes beside the line, over the line."""
    size = np.abs(np.fft.fft(data.data, axis=-1))
    line = size.argmax(axis=-1)
    away = (line + data.samples // 2) % data.samples
    near = [np.take_along_axis(size, ((away + k) % data.samples)[..., None], -1) for k in range(-3, 4)]
    return np.concatenate(near, axis=-1).max(axis=-1) / size.max(axis=-1)


@pytest.mark.parametrize(("delay_s", "phase_rad"), [(3e-6, 0.0), (0.0, 0.3), (-2e-6, -0.25)])
def test_delay_and_phase_of_echoes_are_found_and_the_ghost_goes(epsi, delay_s, phase_rad):
    made = source(epsi, full(epsi, 400.0), Made(delay_s=delay_s, phase_rad=phase_rad))
    interlaced = ImageSettings(echo_mode="interlaced", b0_alignment=False, eddy_current_correction=False)
    found = figures(reconstruct_source(made, interlaced).metabolite, "Odd and even echoes")
    assert found["delay_s"] == pytest.approx(delay_s, abs=2e-8)
    assert found["phase_rad"] == pytest.approx(phase_rad, abs=2e-3)
    assert found["ghost_before"] > 0.03
    assert found["ghost_after"] < 0.005
    corrected = ghost(reconstruct_source(made, interlaced).metabolite)
    plain = ghost(reconstruct_source(made, replace(interlaced, polarity_correction=False)).metabolite)
    assert corrected.max() < 0.01
    assert plain.max() > 0.03


def test_noise_does_not_lead_the_delay_astray(epsi):
    made = source(epsi, full(epsi, 400.0), Made(delay_s=1.5e-6, phase_rad=0.1, noise=3.0))
    polarity = prepared(made, ImageSettings()).polarity
    assert polarity.delay_s == pytest.approx(1.5e-6, abs=1e-7)
    assert polarity.phase_rad == pytest.approx(0.1, abs=0.02)


def test_a_point_has_a_phase_but_no_slope(epsi):
    made = source(epsi, [Point((0.0, 0.0, 0.0), water=1.0)], Made(phase_rad=0.2))
    polarity = prepared(made, ImageSettings()).polarity
    assert polarity.delay_s == 0.0
    assert polarity.phase_rad == pytest.approx(0.2, abs=5e-3)


def test_averaging_echoes_that_do_not_agree_loses_signal(epsi):
    made = source(epsi, full(epsi), Made(delay_s=4e-6))
    how = ImageSettings(b0_alignment=False, eddy_current_correction=False)
    good = reconstruct_source(made, how).metabolite.data
    bad = reconstruct_source(made, replace(how, polarity_correction=False)).metabolite.data
    edge = (0, 3, 0, slice(4, 20))
    assert np.abs(good[edge]).mean() > 1.08 * np.abs(bad[edge]).mean()


def coils_at(where):
    """Return the sensitivity of five coils, (5, n)."""
    x, y = where[:, 0] / 0.03, where[:, 1] / 0.02
    return np.array(
        [
            np.exp(-x) * (1 + 0.3j),
            1j * np.exp(0.8 * x),
            np.exp(-y + 0.5j * x),
            0.5 - 1j * y,
            -0.7 * np.exp(0.6 * y),
        ]
    )


FACTOR = np.linalg.cholesky(0.4 * np.ones((5, 5)) + np.diag([0.6, 1.0, 2.0, 0.8, 1.5]))


@pytest.mark.parametrize("method", ["svd", "walsh"])
def test_coils_are_combined_as_well_as_can_be(csi, method):
    """SNR of a voxel: at best sqrt(s^H C^-1 s) over the noise of one sample of one encode."""
    points = full(csi, hz=-200.0, decay_s=1.0, water=30.0)
    noise = 0.3
    how = ImageSettings(coil_combination=method, b0_alignment=False, eddy_current_correction=False)
    alone = reconstruct_source(source(csi, points, Made(coils_at, noise=noise, correlation=FACTOR)), how)
    data = alone.metabolite.data
    where = np.array([p.position_m for p in points])
    s = coils_at(where)
    best = np.sqrt(np.real(np.sum(s.conj() * np.linalg.solve(FACTOR @ FACTOR.conj().T, s), axis=0)))
    t = np.arange(256) * alone.metabolite.dwell_s
    line = np.exp(2j * np.pi * 200.0 * t - t)
    amplitude = (data @ line.conj()) / np.sum(np.abs(line) ** 2)
    rest = data - amplitude[..., None] * line
    snr = np.abs(amplitude) / rest.std(axis=-1)
    encodes = 30
    expected = best.reshape(6, 5, 1) / noise * np.sqrt(encodes)
    ratio = snr / expected
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    assert ratio.min() > 0.85
    # Water begins with phase 0 in every voxel, and noise is that of one whitened sample over the encodes.
    assert np.abs(np.angle(alone.water.data[..., 0])).max() < 0.02
    # The virtual receiver's noise is known here to 1 / sqrt(4096) of itself.
    assert rest.std() == pytest.approx(1 / np.sqrt(encodes), rel=0.05)


def test_maps_of_coils_are_smooth_where_water_is_weak():
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(-0.02, 0.02, 8), np.linspace(-0.015, 0.015, 8), indexing="ij")
    s = coils_at(np.stack([x.ravel(), y.ravel()], axis=1)).T.reshape(8, 8, 1, 5)
    weak = 0.6 * s[..., None] * np.ones(8) + rng.normal(size=(8, 8, 1, 5, 8, 2)) @ [1, 1j]
    best = {}
    for method in ("svd", "walsh"):
        weights = coil_weights(weak.astype(np.complex64), method)
        np.testing.assert_allclose(np.linalg.norm(weights, axis=-1), 1.0, atol=1e-5)
        overlap = np.abs(np.sum(weights * s, axis=-1)) / np.linalg.norm(s, axis=-1)
        best[method] = overlap.mean()
    assert best["walsh"] > 0.9 > best["svd"] > 0.4
    with pytest.raises(InputError, match="coil combination"):
        coil_weights(weak.astype(np.complex64), "sum")


@pytest.mark.parametrize("kind", ["epsi", "csi"])
def test_the_field_is_mapped_and_voxels_are_aligned(request, kind):
    path = request.getfixturevalue(kind)
    gradient = 900.0
    made = source(path, full(path, gradient, decay_s=0.04), Made(noise=0.02))
    scan = reconstruct_source(made, ImageSettings(eddy_current_correction=False))
    found = figures(scan.metabolite, "Frequency and phase correction")
    box = made.plan.grid
    expected = gradient * box.positions_m(0)[:, None, None] * np.ones((1, *box.matrix[1:]))
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(found["b0_hz"][inner], expected[inner], atol=0.4)
    assert found["water_strong"].all()
    hz = np.fft.fftfreq(16 * scan.metabolite.samples, scan.metabolite.dwell_s)
    for part, at in ((scan.metabolite, -HZ), (scan.water, 0.0)):
        peaks = hz[np.abs(np.fft.fft(part.data, 16 * part.samples, axis=-1)).argmax(axis=-1)]
        np.testing.assert_allclose(peaks[inner], at, atol=0.8)
    # The phase that the field made of water before its first sample is not that of a spin echo.
    phases = np.angle(
        np.sum(
            scan.metabolite.data[..., 1:6]
            * np.exp(-2j * np.pi * -HZ * np.arange(1, 6) * scan.metabolite.dwell_s),
            axis=-1,
        )
    )
    spread = phases - phases[3, 2, 0]
    assert np.abs(np.angle(np.exp(1j * spread[inner]))).max() < 0.06


def test_eddy_currents_go_with_the_phase_of_water(csi):
    made = source(
        csi, full(csi, 200.0, decay_s=0.06), Made(noise=0.02, eddy=lambda t: 0.8 * np.exp(-t / 0.02))
    )
    clean, left = (
        reconstruct_source(made, ImageSettings(eddy_current_correction=eddy)).metabolite
        for eddy in (True, False)
    )
    t = np.arange(clean.samples) * clean.dwell_s
    truth = np.exp((-2j * np.pi * HZ - 1 / 0.06) * t)
    likeness = [
        np.abs(data.data @ truth.conj()) / np.linalg.norm(data.data, axis=-1) / np.linalg.norm(truth)
        for data in (clean, left)
    ]
    assert likeness[0].min() > 0.999
    assert likeness[1].max() < 0.99
    assert figures(clean, "Eddy current correction")["voxels"] == 30


def test_a_drift_of_the_frequency_is_found_and_taken_away(tmp_path):
    path = write_image_sequence(tmp_path / "x.seq", matrix=(4, 6, 6), points=64)
    box = source(path, [Point((0, 0, 0))]).plan.grid
    rng = np.random.default_rng(2)
    points = [
        Point((x, y, z), HZ, 1.0, 0.08, 10.0 * rng.uniform(0.5, 1.5), 600.0 * x + 300.0 * y)
        for x in box.positions_m(0)
        for y in box.positions_m(1)
        for z in box.positions_m(2)
    ]

    def coils(where):
        """Loops about the box, each seeing what is near it, with phases of their own."""
        at = np.array([[0.3, 0.0, 0.1], [-0.2, 0.25, -0.1], [0.0, -0.3, 0.15], [0.1, 0.1, -0.3]])
        away = np.linalg.norm(where - at[:, None], axis=-1)
        return np.exp(1j * (9.0 * where @ at.T).T) / away**2

    steady, drifting = (source(path, points, Made(drift_hz=hz, noise=0.1, coils=coils)) for hz in (0.0, 10.0))
    how = ImageSettings(eddy_current_correction=False, drift_correction=True)
    good = reconstruct_source(steady, how)
    assert "not corrected" in figures_words(good.metabolite, "Frequency drift")
    done = reconstruct_source(drifting, how)
    left = reconstruct_source(drifting, replace(how, drift_correction=False))
    assert figures(done.metabolite, "Frequency drift")["drift_hz"] == pytest.approx(10.0, abs=0.5)
    for kind in ("metabolite", "water"):
        truth, after, before = (getattr(scan, kind).data for scan in (good, done, left))
        error = [np.linalg.norm(one - truth) / np.linalg.norm(truth) for one in (after, before)]
        assert error[1] > 0.06
        assert error[0] < 0.25 * error[1]


def test_a_drift_is_not_looked_for_where_water_is_not_interleaved(csi):
    scan = reconstruct_source(source(csi, full(csi)), ImageSettings(drift_correction=True))
    assert "not looked for" in figures_words(scan.metabolite, "Frequency drift")


def test_long_readouts_that_a_file_holds_in_parts_are_put_together(epsi):
    whole = played(epsi, full(epsi, 300.0), Made(noise=0.02))
    trajectory, known, _ = opened(epsi)
    shots = list(whole.fetch(range(len(whole))))
    parts = [shots[0], *(part for shot in shots[1:] for part in np.split(shot, 4, axis=1))]
    cut = replace(
        whole,
        shapes=np.array([part.shape for part in parts], np.int64),
        fetch=lambda rows: (parts[row] for row in rows),
        is_noise=np.arange(len(parts)) == 0,
    )
    expected, found = (
        reconstruct_source(source_of(stream, known, trajectory, "x.seq")) for stream in (whole, cut)
    )
    np.testing.assert_array_equal(found.metabolite.data, expected.metabolite.data)
    with pytest.raises(DataError, match="not played from"):
        source_of(
            replace(cut, shapes=cut.shapes[:-1], is_noise=cut.is_noise[:-1]), known, trajectory, "x.seq"
        )


def test_cleaning_comes_before_voxels_are_aligned(csi):
    made, seen = source(csi, full(csi, 300.0)), []

    def clean(scan):
        seen.append([record.method for record in scan.metabolite.records])
        return replace(scan, metabolite=scan.metabolite.with_data(2 * scan.metabolite.data))

    done, plain = (reconstruct_source(made, clean=one) for one in (clean, None))
    assert "Spatial Fourier transform" in seen[0]
    assert "Frequency and phase correction" not in seen[0]
    np.testing.assert_allclose(done.metabolite.data, 2 * plain.metabolite.data, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(done.water.data, plain.water.data)


def test_without_water_what_needs_it_is_left_out(tmp_path):
    path = write_image_sequence(
        tmp_path / "x.seq",
        "epsi-3t-2d-flyback",
        (8, 4, 1),
        points=32,
        averages=1,
        phase_cycle=1,
        water_averages=0,
    )
    scan = reconstruct_source(source(path, [Point((0.0, 0.0, 0.0), HZ)]))
    assert scan.water is None
    methods = [record.method for record in scan.metabolite.records]
    assert "Frequency and phase correction" not in methods
    assert "from the first 16 points of metabolites" in figures_words(scan.metabolite, "RF coil combination")


def figures_words(data, method):
    return next(record.details for record in data.records if record.method == method)


def test_values_that_are_not_finite_are_refused(csi):
    stream = played(csi, [Point((0, 0, 0), water=1.0)])
    bad = replace(stream, fetch=lambda rows: (shot * np.nan for shot in stream.fetch(rows)))
    made = replace(source(csi, [Point((0, 0, 0))]), stream=bad)
    with pytest.raises(DataError, match="not finite"):
        reconstruct_source(made)


def test_the_command_line_writes_images(epsi, tmp_path, pulsespec):
    points = full(epsi, 300.0)
    raw = write_mrd(played(epsi, points, Made(coils_at, noise=0.05, delay_s=1e-6)), tmp_path / "raw.h5")
    output = tmp_path / "image.nii.gz"
    arguments = ["recon", raw, "--seq", epsi, "-o", output]
    assert pulsespec(*arguments, "--dry-run")[0] == 0
    assert not output.exists()
    code, _, said = pulsespec(*arguments, "--filter", "hamming")
    assert code == 0
    assert "ghost" in said
    assert "point-spread function" in said
    names = names_of(output)
    image = nibabel.load(output)
    assert image.shape == (12, 6, 1, 128)
    steps = [step["Method"] for step in read_nifti(output).header["processing_applied"]]
    assert steps.count("Spatial Fourier transform") == 1
    np.testing.assert_allclose(nibabel.load(names["b0"]).affine, image.affine, atol=1e-4)
    assert not read_nifti(names["water"]).header["water_suppressed"]
    offset_hz = nibabel.load(names["b0"]).get_fdata()[1:-1, 3, 0]
    assert offset_hz[0] < 0 < offset_hz[-1]
    code, _, said = pulsespec(*arguments)
    assert code == 2
    assert "exists already" in said
    filled = [*arguments, "--overwrite", "--zero-fill", "24x12x1", "--echo-mode", "interlaced", "--jobs", "2"]
    assert pulsespec(*filled, "--keep-water", "--keep-lipid")[0] == 0
    how = ImageSettings(zero_fill=(24, 12, 1), echo_mode="interlaced")
    alone = reconstruct_source(image_source([raw], epsi), how).metabolite.data
    np.testing.assert_array_equal(np.asarray(nibabel.load(output).dataobj), alone)
    code, _, said = pulsespec(*arguments, "--overwrite", "--zero-fill", "24")
    assert code == 2
    assert "64x64x18" in said


def test_start_is_light():
    code = (
        "import sys, pulsespec.imaging_verbs; "
        "print([m for m in ('finufft', 'pypulseq', 'nibabel', 'scipy.ndimage') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
