"""Readers on files written here and on real ones: same numbers, right sense, clear errors."""

import ismrmrd
import nibabel
import numpy as np
import pytest
from files_for_tests import brain_like, write_sdat
from scipy.spatial.transform import Rotation

from pulsespec.conventions import to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.formats import Known
from pulsespec.recon.guards import check_sense, judge
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.read import read
from pulsespec.recon.sdat import affine_of_angles, read_sdat, read_spar
from pulsespec.recon.transients import Geometry, Record, Transients

F0 = 127.736713e6


def transients(fid, **more):
    return Transients(data=fid, dims=("t",), dwell_s=5e-4, f0_hz=F0, te_s=0.035, tr_s=2.0, **more)


def test_sdat_numbers_sense_and_geometry(tmp_path):
    rng = np.random.default_rng(0)
    fids = rng.normal(size=(2, 64)) * 10.0 ** rng.integers(-6, 6, (2, 64)) + 1j * rng.normal(size=(2, 64))
    read_back = read_sdat(write_sdat(tmp_path, fids))
    np.testing.assert_allclose(read_back.data, fids.conj(), rtol=1e-6)
    assert read_back.dims == ("average", "t")
    assert (read_back.te_s, read_back.tr_s, read_back.f0_hz) == (0.035, 2.0, F0)
    np.testing.assert_allclose(read_back.geometry.voxel_mm, [20, 30, 40])
    np.testing.assert_allclose(read_back.geometry.affine[:3, 3], [-5, 7, 9])
    np.testing.assert_allclose(read_back.geometry.affine[:3, 0], [0, 20, 0], atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_sdat_says_what_came_and_what_was_expected(tmp_path, share):
    path = write_sdat(tmp_path, brain_like()[None])
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"scan\.SDAT.*(expected 8192|is empty)"):
        read([path])


@pytest.mark.parametrize("cut", [0, 3, 40, 200, 300, 700])
def test_a_truncated_spar_is_refused(tmp_path, cut):
    path = write_sdat(tmp_path, brain_like()[None]).with_suffix(".SPAR")
    text = path.read_text()
    path.write_text(text[: len(text) - 2 - cut] if cut else text)
    if cut < 3:
        read([path])
        return
    with pytest.raises(DataError, match=r"scan\.SPAR.*(truncated|not a SPAR)"):
        read([path])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dim1_pnts : 1024", "dim1_pnts : 512", "samples is 1024, but dim1_pnts is 512"),
        ("rows : 1\n", "rows : 0\n", "rows is 0.0, expected a number above 0"),
        ("rows : 1\n", "rows : 1.5\n", "expected a whole number"),
        ("lr_size : 20", "lr_size : x", "lr_size is 'x'"),
        ("cc_angulation : 90", "", "no line 'cc_angulation'"),
        ("sample_frequency : 2000", "sample_frequency : nan", "sample_frequency is nan"),
        ("echo_time : 35", "", "no line 'echo_time'"),
    ],
)
def test_a_damaged_spar_is_a_clear_error(tmp_path, old, new, words):
    path = write_sdat(tmp_path, brain_like()[None]).with_suffix(".SPAR")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=words):
        read([path])


def test_two_angles_turn_the_second_about_the_turned_axis():
    affine = affine_of_angles([1, 1, 1], [0, 0, 0], [90, 90, 0])
    np.testing.assert_allclose(affine[:3, :3], [[0, 0, -1], [1, 0, 0], [0, -1, 0]], atol=1e-12)


def test_sdat_beside_its_nifti_twins(data_folder):
    """The twins were written before spec2nii 0.6.11 corrected the order of rotations, which is why they differ."""
    folders = sorted((data_folder / "philips-3t-press35").glob("P*"))
    paths = [path for folder in folders for path in folder.glob("*.[sS][dD][aA][tT]")]
    assert len(paths) == 26
    for path in paths:
        data, twin = read_sdat(path), read_nifti(path.with_name(f"{path.stem}.nii.gz"))
        header = read_spar(next(path.parent.glob(f"{path.stem}.[sS][pP][aA][rR]")))
        scale = np.abs(twin.data).max()
        np.testing.assert_allclose(data.data, twin.data, atol=1e-7 * scale)
        np.testing.assert_allclose(data.geometry.affine[:, 3], twin.geometry.affine[:, 3], atol=1e-4)
        np.testing.assert_allclose(data.geometry.voxel_mm, twin.geometry.voxel_mm, atol=1e-4)
        angles = [header.number(f"{axis}_angulation", None) for axis in ("lr", "ap", "cc")]
        older = Rotation.from_euler("xyz", [-angles[0], -angles[1], angles[2]], degrees=True).as_matrix()
        np.testing.assert_allclose(older * twin.geometry.voxel_mm, twin.geometry.affine[:3, :3], atol=1e-3)
        assert (data.dwell_s, data.f0_hz) == pytest.approx((twin.dwell_s, twin.f0_hz))
        assert (data.te_s, data.tr_s) == pytest.approx((twin.te_s, twin.tr_s))


def test_every_shot_of_a_philips_series_is_kept(data_folder):
    for kind, rows in (("Metab", 240), ("Water", 40)):
        path = next((data_folder / "philips-7t-dw-steam").glob(f"*{kind}*.SDAT"))
        data = read_sdat(path)
        assert (data.dims, data.data.shape, data.data.dtype) == (("average", "t"), (rows, 1024), np.complex64)
        np.testing.assert_allclose(data.geometry.voxel_mm, [15, 30, 20])


def test_sdat_without_spar(tmp_path):
    path = write_sdat(tmp_path, brain_like()[None])
    path.with_suffix(".SPAR").unlink()
    with pytest.raises(DataError, match="partner"):
        read([path])


def test_metabolites_and_water_are_told_apart_in_any_order(tmp_path):
    metabolite = write_sdat(tmp_path, brain_like()[None].conj(), "one")
    water = write_sdat(tmp_path, brain_like(water=20000.0)[None].conj(), "two")
    for paths in ([metabolite, water], [water, metabolite]):
        scan = read(paths)
        assert scan.metabolite.source == "one.SDAT"
        assert scan.water.source == "two.SDAT"


def test_nifti_round_trip(tmp_path):
    record = Record("Signal averaging", "mean of 4", time="2026-01-01T00:00:00", version="1")
    geometry = Geometry(np.diag([20.0, 25.0, 30.0, 1.0]))
    data = transients(brain_like(), geometry=geometry, records=(record,))
    write_nifti(data, tmp_path / "x.nii.gz")
    back = read_nifti(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(back.data, data.data)
    assert (back.dwell_s, back.f0_hz, back.te_s, back.tr_s) == pytest.approx((5e-4, F0, 0.035, 2.0))
    np.testing.assert_allclose(back.geometry.affine, geometry.affine)
    extension = nibabel.load(tmp_path / "x.nii.gz").header.extensions[0].get_content()
    assert b"Signal averaging" in (extension if isinstance(extension, bytes) else str(extension).encode())


def test_nifti_keeps_coils_and_averages_apart(tmp_path):
    fids = np.arange(2 * 3 * 8).reshape(2, 3, 8) + 1j
    data = Transients(data=fids, dims=("average", "coil", "t"), dwell_s=1e-3, f0_hz=F0)
    write_nifti(data, tmp_path / "x.nii.gz")
    back = read_nifti(tmp_path / "x.nii.gz")
    assert back.dims == data.dims
    np.testing.assert_array_equal(back.data, fids)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_nifti_is_an_error(tmp_path, share):
    path = tmp_path / "x.nii.gz"
    write_nifti(transients(brain_like()), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"x\.nii\.gz"):
        read([path])


def test_nifti_without_spectroscopy(tmp_path):
    path = tmp_path / "image.nii.gz"
    nibabel.Nifti1Image(np.zeros((4, 4, 4), dtype=np.float32), np.eye(4)).to_filename(path)
    with pytest.raises(DataError, match="no NIfTI-MRS header extension"):
        read([path])


def test_a_conjugated_nifti_is_refused_unless_the_user_says_so(tmp_path):
    good, bad = tmp_path / "good.nii.gz", tmp_path / "bad.nii.gz"
    write_nifti(transients(brain_like()), good)
    write_nifti(transients(brain_like().conj()), bad)
    with pytest.raises(DataError, match=r"bad\.nii\.gz.*--conjugate"):
        read([bad])
    expected = read([good]).metabolite.data
    np.testing.assert_allclose(read([bad], conjugate=True).metabolite.data, expected)


def test_a_format_that_defines_no_sense_is_corrected_with_a_notice():
    corrected = check_sense(transients(brain_like().conj()))
    np.testing.assert_allclose(corrected.data, brain_like())
    assert corrected.records[-1].method == "Conjugation"


def test_noise_and_water_alone_decide_nothing():
    rng = np.random.default_rng(1)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        noise = transients(rng.normal(size=1024) + 1j * rng.normal(size=1024), sign_is_defined=True)
        assert check_sense(noise) is noise
    water = transients(brain_like(water=1e6) * (1 + 0j), sign_is_defined=True)
    assert check_sense(water) is water


def mrd(path, acquisitions, f0_hz=123.25e6):
    xsd = ismrmrd.xsd
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=8, y=1, z=1), fieldOfView_mm=xsd.fieldOfViewMm(x=1.0, y=1.0, z=1.0)
    )
    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(f0_hz)),
        encoding=[
            xsd.encodingType(
                encodedSpace=space,
                reconSpace=space,
                encodingLimits=xsd.encodingLimitsType(),
                trajectory=xsd.trajectoryType.OTHER,
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(TE=[30.0], TR=[2000.0]),
    )
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(str(header.toXML("utf-8")).encode())
    for data, flags, condition in acquisitions:
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, dtype=np.complex64))
        acquisition.sample_time_us = 250.0
        acquisition.idx.set = condition
        for flag in flags:
            acquisition.set_flag(flag)
        dataset.append_acquisition(acquisition)
    dataset.close()


def test_mrd_noise_water_and_conditions(tmp_path):
    rng = np.random.default_rng(2)
    shots = rng.normal(size=(6, 2, 8)) + 1j * rng.normal(size=(6, 2, 8))
    flags = [[ismrmrd.ACQ_IS_NOISE_MEASUREMENT], [], [], [], [], [ismrmrd.ACQ_USER1]]
    mrd(tmp_path / "x.h5", zip(shots, flags, [0, 0, 1, 0, 1, 0], strict=True))
    scan = read([tmp_path / "x.h5"])
    assert scan.metabolite.dims == ("edit", "average", "coil", "t")
    np.testing.assert_allclose(scan.metabolite.data[1, 0], shots[2].conj(), rtol=1e-6)
    np.testing.assert_allclose(scan.metabolite.noise, shots[0].conj(), rtol=1e-6)
    np.testing.assert_allclose(scan.water.data[0], shots[5].conj(), rtol=1e-6)
    assert (scan.metabolite.dwell_s, scan.metabolite.te_s, scan.metabolite.f0_hz) == pytest.approx(
        (2.5e-4, 0.03, 123.25e6)
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b\x08broken", b"\x89HDF\r\n\x1a\n" + b"\0" * 60])
def test_what_is_not_known_is_said_in_one_error(tmp_path, content):
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(DataError, match="thing"):
        read([path])


def test_the_sense_of_nifti_mrs_is_pinned(data_folder):
    data = read_nifti(data_folder / "siemens-7t-steam-te11" / "metab.nii.gz")
    frequency = np.fft.fftfreq(data.samples, data.dwell_s)
    spectrum = np.abs(np.fft.fft(data.data))
    inside = np.abs(np.abs(frequency) - 2.65 * data.f0_hz * 1e-6) < 60
    naa_hz = frequency[inside][np.argmax(spectrum[inside])]
    assert naa_hz == pytest.approx(2.65 * data.f0_hz * 1e-6, abs=25)


def test_no_good_spectrum_is_refused_and_every_conjugated_one_is(data_folder):
    paths = sorted(data_folder.glob("philips-3t-press35/*/*act.nii.gz"))
    assert len(paths) == 13
    for path in paths:
        data = read_nifti(path)
        assert check_sense(data) is data
        assert judge(data.with_data(data.data.conj())).is_mirrored


def test_twix_takes_timing_from_the_sequence(data_folder):
    folder = data_folder / "siemens-3t-pulseq-phantom"
    scan = read([folder / "06_PRESS_center.dat"], known=Known(folder / "06_PRESS_center.seq"))
    data = scan.metabolite or scan.water
    assert data.data.shape == (1, 1, 4096)
    assert data.dwell_s == pytest.approx(62.5e-6)
    assert data.f0_hz == pytest.approx(123.25232e6)
    spectrum = np.abs(to_spectrum(data.data[0, 0]))
    frequency = np.fft.fftshift(np.fft.fftfreq(4096, data.dwell_s))
    assert abs(frequency[np.argmax(spectrum)]) < 10


def test_twix_from_another_sequence_is_refused(data_folder):
    folder = data_folder / "siemens-3t-pulseq-phantom"
    with pytest.raises(DataError, match="has 1 ADCs, but the sequence has 9"):
        read([folder / "06_PRESS_center.dat"], known=Known(folder / "02_FID_MFA.seq"))


def test_a_pulseq_scan_takes_the_sequence_beside_it_and_without_one_is_refused(data_folder, tmp_path):
    raw = data_folder / "siemens-3t-pulseq-phantom" / "06_PRESS_center.dat"
    scan = read([raw])
    water = scan.water or scan.metabolite
    assert water.records[0].details == "06_PRESS_center.seq, found beside the data"
    assert water.dwell_s == pytest.approx(62.5e-6)
    alone = tmp_path / "alone.dat"
    alone.write_bytes(raw.read_bytes())
    with pytest.raises(DataError, match="--seq"):
        read([alone])


@pytest.mark.parametrize("share", [0.3, 0.625, 0.95])
def test_a_scan_of_several_shots_is_whole_or_refused(data_folder, tmp_path, share):
    folder = data_folder / "siemens-3t-pulseq-phantom"
    raw = (folder / "02_FID_MFA.dat").read_bytes()
    path = tmp_path / "part.dat"
    path.write_bytes(raw[: int(share * len(raw))])
    for sequence in (None, folder / "02_FID_MFA.seq"):
        with pytest.raises(DataError, match=r"part\.dat: truncated"):
            read([path], known=Known(sequence))


def test_imaging_is_refused(data_folder):
    with pytest.raises(DataError, match=r"imaging scan|expected"):
        read(sorted((data_folder / "siemens-7t-crt-mrsi").glob("*.dat"))[:1])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_half_a_twix_file_is_an_error(data_folder, tmp_path, share):
    raw = (data_folder / "siemens-3t-pulseq-phantom" / "06_PRESS_center.dat").read_bytes()
    path = tmp_path / "half.dat"
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"half\.dat"):
        read([path])
