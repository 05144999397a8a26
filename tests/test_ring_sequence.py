"""Raw data of rings from our own `.seq` become images: points come out where they are, at their frequency."""

from dataclasses import replace

import numpy as np
import pytest
from epsi_for_tests import Made, Point, index_of, played, write_mrd
from test_ring_readout import protocol, written

from pulsespec.errors import DataError, SequenceError
from pulsespec.recon.image_read import source_of as image_source
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.nifti import read_nifti
from pulsespec.recon.ring_sequence import plays_rings
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

AXES = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
CENTRE_MM = (4.0, -6.0, 10.0)
F0_HZ = 123.25e6


def image(points=16, partitions=1):
    return {
        "encoding": {"matrix": [points, points, partitions], "fov_mm": [10.0 * points, 10.0 * points, 15.0]},
        "voxel_mm": (10.0 * points, 10.0 * points, 15.0),
        "orientation": AXES,
        "position_mm": CENTRE_MM,
        "water_averages": 1,
    }


def at(x_mm, y_mm):
    """A place in gradient coordinates, from the middle of the box along its axes."""
    return tuple((np.array(CENTRE_MM) + np.array(AXES).T @ [x_mm, y_mm, 0.0]) * 1e-3)


POINTS = [
    Point(at(20.0, -50.0), 100.0, 1.0, water=3.0),
    Point(at(-40.0, 10.0), -220.0, 2.0, water=3.0),
]


def source_of(path, stream):
    return image_source(stream, read_played(path, F0_HZ), read_trajectory(path), path.name)


def voxel_of(made, point):
    """The voxel in whose middle a point is."""
    index = index_of(made.geometry, point.position_m)
    nearest = np.round(index).astype(int)
    np.testing.assert_allclose(index, nearest, atol=1e-3)
    return tuple(nearest.tolist())


@pytest.mark.parametrize(("name", "averages"), [("fid-mrsi-3t-rings", 2), ("fid-mrsi-7t-rings", 1)])
def test_points_land_in_their_voxels_at_their_frequency(tmp_path, name, averages):
    chosen = protocol(name, averages=averages, **image())
    path = written(tmp_path, chosen)
    assert plays_rings(read_played(path, F0_HZ))
    scan = reconstruct_source(source_of(path, played(path, POINTS, Made(f0_hz=F0_HZ))))
    made = scan.metabolite
    assert made.data.shape == (16, 16, 1, 64)
    assert made.dwell_s == pytest.approx(1 / chosen.spectral_width_hz)
    spectra = np.fft.fft(made.data[:, :, 0] * np.exp(-np.arange(64) / 20), 1024)
    hz = -np.fft.fftfreq(1024, made.dwell_s)  # NIfTI-MRS: upfield is positive
    sizes = []
    for point in POINTS:
        x, y, _ = voxel_of(made, point)
        peak = np.abs(spectra[x, y]).argmax()
        assert hz[peak] == pytest.approx(point.hz, abs=4.0)
        assert np.unravel_index(np.abs(spectra[..., peak]).argmax(), (16, 16)) == (x, y)
        sizes.append(abs(scan.water.data[x, y, 0, 5]))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_the_command_line_makes_images_of_rings(tmp_path, pulsespec):
    path = written(tmp_path, protocol(**image()))
    raw = write_mrd(played(path, POINTS, Made(noise=0.05, f0_hz=F0_HZ)), tmp_path / "raw.h5")
    output = tmp_path / "image.nii.gz"
    code, _, said = pulsespec("recon", raw, "--seq", path, "-o", output)
    assert code == 0
    assert "9 concentric rings of 0.00 to 50.00 cycles/m" in said
    made = read_nifti(output)
    assert made.header["processing_applied"][0]["Method"] == "Noise whitening"
    strongest = np.unravel_index(np.abs(made.data[..., 5]).argmax(), (16, 16, 1))
    assert strongest == voxel_of(made, POINTS[1])


def test_a_stack_of_rings_is_refused(tmp_path):
    path = written(tmp_path, protocol(**image(6, 2)))
    with pytest.raises(SequenceError, match="a stack of 2 partitions"):
        source_of(path, played(path, POINTS, Made(f0_hz=F0_HZ)))


def test_data_of_another_sequence_and_damage_are_refused(tmp_path):
    path = written(tmp_path, protocol(**image(6)))
    stream = played(path, POINTS, Made(f0_hz=F0_HZ))
    fewer = replace(stream, shapes=stream.shapes[1:], is_noise=stream.is_noise[1:])
    with pytest.raises(DataError, match=r"has 7 ADCs, but the sequence has 8"):
        source_of(path, fewer)
    broken = replace(stream, fetch=lambda rows: (np.full_like(shot, np.nan) for shot in stream.fetch(rows)))
    with pytest.raises(DataError, match="not finite"):
        source_of(path, broken)


def test_samples_that_are_not_where_the_file_says_are_refused(tmp_path):
    path = written(tmp_path, protocol(**image(6)))
    stream = played(path, POINTS, Made(f0_hz=F0_HZ))
    text = path.read_text()
    turn = next(row for row in text.split("\n") if row.startswith("TurnSamples"))
    wrong = path.with_name("wrong.seq")
    wrong.write_text(text.partition("[SIGNATURE]")[0].replace(turn, "TurnSamples 64"))
    with pytest.raises(SequenceError, match="does not turn around a ring in 64 samples"):
        source_of(wrong, stream)
