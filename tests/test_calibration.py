"""Frequency, linewidth and B1 from water: closed forms, Monte Carlo, and a written calibration played."""

import bloch
import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.protocols import load_protocol
from pulsespec.recon.calibration import calibrate, flip_angle, frequency_and_linewidth
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Transients
from pulsespec.sequences import build, load_scanner, write_sequence

F0_HZ, DWELL_S, SAMPLES = 123.25e6, 4e-4, 2048
T_S = np.arange(SAMPLES) * DWELL_S


def water(offset_hz, width_hz, phase=0.7):
    """Return a FID in the NIfTI-MRS sense of water `offset_hz` downfield of the centre."""
    return np.exp(1j * phase - (2j * np.pi * offset_hz + np.pi * width_hz) * T_S)


@pytest.mark.parametrize(("offset_hz", "width_hz"), [(0.0, 3.0), (21.7, 8.0), (-63.2, 15.0)])
def test_a_clean_line_is_read_exactly(offset_hz, width_hz):
    found = frequency_and_linewidth(water(offset_hz, width_hz), DWELL_S, F0_HZ)
    assert found.offset_hz == pytest.approx(offset_hz, abs=1e-4)
    assert found.linewidth_hz == pytest.approx(width_hz, abs=1e-4)


def test_the_centre_of_the_receiver_is_taken_into_account():
    found = frequency_and_linewidth(water(10.0, 5.0), DWELL_S, F0_HZ, reference_ppm=4.5)
    assert found.offset_hz == pytest.approx(10.0 - 0.15 * F0_HZ * 1e-6, abs=1e-3)


def test_errors_of_the_line_are_those_of_repeated_noise():
    rng = np.random.default_rng(5)
    found = [
        frequency_and_linewidth(
            water(12.0, 7.0) + 0.02 * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)),
            DWELL_S,
            F0_HZ,
        )
        for _ in range(60)
    ]
    for key, truth in (("offset", 12.0), ("linewidth", 7.0)):
        values = np.array([getattr(one, f"{key}_hz") for one in found])
        said = np.mean([getattr(one, f"{key}_sd_hz") for one in found])
        assert values.std() == pytest.approx(said, rel=0.3)
        assert abs(values.mean() - truth) < 3 * said / np.sqrt(60)


def test_noise_alone_is_no_water():
    rng = np.random.default_rng(2)
    with pytest.raises(DataError, match="nothing within"):
        frequency_and_linewidth(rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES), DWELL_S, F0_HZ)


@pytest.mark.parametrize("scale", [0.55, 0.8, 1.0, 1.3])
def test_b1_is_read_from_cosines_and_its_error_is_honest(scale):
    rng = np.random.default_rng(7)
    nominal = np.deg2rad(np.arange(0, 240, 30.0))
    clean = 40 * np.exp(0.4j) * np.cos(scale * nominal)
    assert flip_angle(clean, nominal).scale == pytest.approx(scale, abs=1e-6)
    noisy = [flip_angle(clean + rng.normal(size=8) + 1j * rng.normal(size=8), nominal) for _ in range(200)]
    values = np.array([one.scale for one in noisy])
    said = np.sqrt(np.mean([one.scale_sd**2 for one in noisy]))
    assert values.std() == pytest.approx(said, rel=0.25)
    assert abs(values.mean() - scale) < 4 * said / np.sqrt(200)
    assert noisy[0].reference_factor == pytest.approx(1 / noisy[0].scale)


def test_too_few_angles_are_refused():
    with pytest.raises(InputError, match="at least 3 different angles"):
        flip_angle(np.ones(2, complex), np.array([0.0, 1.0]))


def test_the_written_series_makes_the_cosines_that_are_fitted(tmp_path):
    scanner = load_scanner("siemens-skyra")
    protocol = load_protocol("calibrate-flip-3t")
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, scanner), path)
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    assert sequence.evaluate_labels(evolution="adc")["SET"].tolist() == list(range(8))
    left = []
    for number in sequence.block_events:
        rf = sequence.get_block(number).rf
        if rf is not None and rf.use == "preparation":
            step = rf.t[1] - rf.t[0]
            left.append(bloch.pulse(1.1 * rf.signal, step, np.zeros(1))[0, 2])
    found = flip_angle(np.array(left[-8:], complex), np.deg2rad(protocol.flip_series.flips_deg))
    assert found.scale == pytest.approx(1.1, abs=1e-3)


@pytest.mark.parametrize("coils", [1, 4])
def test_raw_data_of_a_series_are_read(tmp_path, coils):
    rng = np.random.default_rng(3)
    path = tmp_path / "x.seq"
    protocol = load_protocol("calibrate-flip-3t")
    write_sequence(build(protocol, load_scanner("siemens-skyra")), path)
    cosine = np.cos(0.9 * np.deg2rad(protocol.flip_series.flips_deg))
    sensitivity = np.exp(2j * np.pi * rng.uniform(size=coils))
    data = cosine[:, None, None] * sensitivity[:, None] * water(3.0, 6.0)
    data = data + 1e-3 * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape))
    dims = ("average", "coil", "t")
    raw = Transients(data=data, dims=dims, dwell_s=DWELL_S, f0_hz=F0_HZ, sign_is_defined=True)
    write_nifti(raw, tmp_path / "x.nii.gz")
    found = calibrate(tmp_path / "x.nii.gz", path)
    assert found["kind"] == "flip angle"
    assert found["scale"] == pytest.approx(0.9, abs=5e-3)


def test_raw_data_of_the_frequency_are_read(tmp_path):
    path = tmp_path / "x.seq"
    write_sequence(build(load_protocol("calibrate-frequency-3t"), load_scanner("siemens-skyra")), path)
    raw = Transients(data=water(-8.0, 6.0)[None], dims=("average", "t"), dwell_s=DWELL_S, f0_hz=F0_HZ)
    write_nifti(raw, tmp_path / "x.nii.gz")
    found = calibrate(tmp_path / "x.nii.gz", path)
    assert found["offset_hz"] == pytest.approx(-8.0, abs=0.01)
    assert found["linewidth_hz"] == pytest.approx(6.0, abs=0.01)
