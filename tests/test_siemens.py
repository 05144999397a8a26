"""Siemens files written here, of every kind, and real ones beside other readers."""

import mapvbvd
import numpy as np
import pydicom
import pytest
from files_for_tests import brain_like
from pydicom.dataset import Dataset, FileMetaDataset
from siemens_for_tests import (
    FEEDBACK,
    NOISE,
    PHASCOR,
    PROTOCOL,
    Shot,
    csa_header,
    write_rda,
    write_vb,
    write_vd,
)

from pulsespec.errors import DataError
from pulsespec.recon.read import read
from pulsespec.recon.siemens import directions
from pulsespec.recon.twix import is_twix, read_twix

COILS, SAMPLES = 3, 96
RDA_FIRST = [110841.9140625 + 11848.97558594j, 152431.796875 + 28926.734375j]
XA_FIRST = [23340.1 + 3143.3528j, 2241.624 + 2861.1306j]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def samples(rng, shots, size=1.0):
    parts = rng.normal(size=(shots, COILS, SAMPLES, 2)) * size
    return (parts @ [1, 1j]).astype(np.complex64)


def write(path, shots, is_vd, **changes):
    protocol = PROTOCOL | changes
    return write_vd(path, [(shots, protocol)]) if is_vd else write_vb(path, shots, protocol)


@pytest.mark.parametrize("is_vd", [False, True])
def test_noise_references_and_shots_in_the_order_of_time(tmp_path, rng, is_vd):
    data = samples(rng, 6)
    counter = "Ave" if is_vd else "Set"
    shots = [Shot(data[0], NOISE), Shot(data[1], PHASCOR), Shot(data[2], FEEDBACK)]
    shots += [Shot(data[3 + n], 0, {counter: n}) for n in range(3)]
    path = write(tmp_path / "x.dat", shots, is_vd)
    scan = read_twix(path)
    np.testing.assert_array_equal(scan.metabolite.data, data[3:].conj())
    np.testing.assert_array_equal(scan.water.data, data[1:2].conj())
    np.testing.assert_array_equal(scan.metabolite.noise, data[0].conj())
    assert scan.metabolite.data.dtype == np.complex64
    assert scan.metabolite.dims == ("average", "coil", "t")
    found = scan.metabolite
    assert (found.f0_hz, found.dwell_s, found.te_s, found.tr_s) == pytest.approx(
        (123.25e6, 2.5e-4, 0.03, 2.0)
    )
    assert found.sequence == "svs_se"
    assert "1 navigator" in found.records[0].details
    assert "1 water references by their flags" in found.records[1].details


@pytest.mark.parametrize("is_vd", [False, True])
def test_another_reader_sees_the_same_file(tmp_path, rng, is_vd, capsys):
    data = samples(rng, 4)
    path = write(tmp_path / "x.dat", [Shot(shot, 0, {"Ave": n}) for n, shot in enumerate(data)], is_vd)
    theirs = mapvbvd.mapVBVD(str(path), quiet=True).image
    theirs.flagRemoveOS = False
    unsorted = theirs.unsorted().transpose(2, 1, 0)
    np.testing.assert_array_equal(read_twix(path).metabolite.data, unsorted.conj())
    capsys.readouterr()


def test_a_scan_without_a_dwell_time_is_refused(tmp_path, rng):
    protocol = {key: value for key, value in PROTOCOL.items() if "alDwellTime" not in key}
    path = write_vd(tmp_path / "x.dat", [([Shot(samples(rng, 1)[0])], protocol)])
    with pytest.raises(DataError, match="no dwell time"):
        read_twix(path)


def test_the_voxel_of_a_protocol_in_the_patient(tmp_path, rng):
    scan = read_twix(write(tmp_path / "x.dat", [Shot(samples(rng, 1)[0])], True, lScanRegionPosTra=100.0))
    # Transverse: read is towards the left, phase to the back (both against RAS+), 20 x 30 x 40 mm.
    affine = scan.metabolite.geometry.affine
    np.testing.assert_allclose(np.abs(affine[:3, :3]), np.diag([20.0, 30.0, 40.0]), atol=1e-12)
    np.testing.assert_allclose(affine[:3, 3], [-5, 7, 109])
    assert np.linalg.det(affine) > 0


def test_the_directions_are_those_that_a_scanner_wrote():
    # Normal, rotation, row and column vector of a 3T RDA file (oblique, turned by 166 degrees).
    read_direction, phase = directions(np.array([-0.057355, -0.289682, 0.955403]), -2.893191)
    np.testing.assert_allclose(read_direction, [0.967711, -0.251409, -0.018134], atol=2e-6)
    np.testing.assert_allclose(phase, [-0.245450, -0.923514, -0.294748], atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_directions_of_any_slice_are_a_frame_that_turns_with_the_rotation(seed):
    normal, angle = np.random.default_rng(seed).normal(size=3), 0.3
    s = normal / np.linalg.norm(normal)
    first, second = directions(normal, 0.0), directions(normal, angle)
    for row, column in (first, second):
        np.testing.assert_allclose(np.cross(column, row), s, atol=1e-12)
    assert np.arccos(first[0] @ second[0]) == pytest.approx(angle)


def test_the_first_phase_of_a_product_sequence_is_water(tmp_path, rng):
    data = samples(rng, 5)
    shots = [Shot(data[0], 0, {"Phs": 0})] + [Shot(data[1 + n], 0, {"Phs": 1, "Ave": n}) for n in range(4)]
    scan = read_twix(write(tmp_path / "x.dat", shots, True))
    np.testing.assert_array_equal(scan.water.data, data[:1].conj())
    assert scan.metabolite.size("average") == 4


def auto_references(rng, loud):
    data = samples(rng, 8)
    data[[0, 1, 6, 7]] *= loud
    return data, [Shot(shot, 0, {"Set": n}) for n, shot in enumerate(data)]


def test_automatic_references_stand_out_by_size(tmp_path, rng):
    protocol = {
        "tSequenceFileName": '"%CustomerSeq%\\svs_slaserVOI_dkd2"',
        "sSpecPara.lAutoRefScanMode": 2,
        "sSpecPara.lAutoRefScanNo": 2,
        "lAverages": 4,
    }
    data, shots = auto_references(rng, 100)
    scan = read_twix(write(tmp_path / "x.dat", shots, True, **protocol))
    np.testing.assert_array_equal(scan.water.data, data[[0, 1, 6, 7]].conj())
    np.testing.assert_array_equal(scan.metabolite.data, data[2:6].conj())
    _, shots = auto_references(rng, 1)
    with pytest.raises(DataError, match="4 water references among 8 shots"):
        read_twix(write(tmp_path / "y.dat", shots, True, **protocol))


def test_references_without_gradients_are_left_out(tmp_path, rng):
    protocol = {
        "tSequenceFileName": '"%CustomerSeq%\\svs_slaserVOI_dkd"',
        "sSpecPara.lAutoRefScanMode": 8,
        "sSpecPara.lAutoRefScanNo": 1,
        "lAverages": 4,
    }
    data, shots = auto_references(rng, 100)
    scan = read_twix(write(tmp_path / "x.dat", shots, True, **protocol))
    np.testing.assert_array_equal(scan.water.data, data[[0, 6]].conj())
    assert "2 of them were played without gradients" in scan.water.records[0].details


@pytest.mark.parametrize(
    ("sequence", "counters", "order"),
    [
        ("eja_svs_mpress", [{"Set": n, "Eco": e} for e in (1, 0) for n in range(3)], [[3, 4, 5], [0, 1, 2]]),
        ("svs_edit_859", [{"Ave": n, "Ide": e} for n in range(3) for e in (0, 1)], [[0, 2, 4], [1, 3, 5]]),
        ("anything", [{"Ave": n, "Set": e} for n in range(3) for e in (1, 0)], [[1, 3, 5], [0, 2, 4]]),
        ("jn_svs_mega", [{"Ave": n} for n in range(6)], [[0, 2, 4], [1, 3, 5]]),
        ("mgs_svs_ed", [{"Ave": n} for n in range(6)], [[0, 2, 4], [1, 3, 5]]),
        ("anything", [{"Set": n} for n in range(6)], None),
    ],
)
def test_editing_conditions_by_counter_or_in_turn(tmp_path, rng, sequence, counters, order):
    data = samples(rng, len(counters))
    shots = [Shot(shot, 0, counter) for shot, counter in zip(data, counters, strict=True)]
    path = write(tmp_path / "x.dat", shots, True, tSequenceFileName=f'"%CustomerSeq%\\{sequence}"')
    found = read_twix(path).metabolite
    if order is None:
        assert found.dims == ("average", "coil", "t")
        return
    assert found.dims == ("edit", "average", "coil", "t")
    np.testing.assert_array_equal(found.data, data[np.array(order)].conj())


def test_a_hadamard_scheme_has_four_conditions_and_what_is_incomplete_is_left_out(tmp_path, rng):
    data = samples(rng, 10)
    shots = [Shot(shot, 0, {"Ave": n}) for n, shot in enumerate(data)]
    changes = {"tSequenceFileName": '"%CustomerSeq%\\mgs_svs_ed"', "sWipMemBlock.alFree[7]": 3}
    found = read_twix(write(tmp_path / "x.dat", shots, True, **changes)).metabolite
    assert found.data.shape == (4, 2, COILS, SAMPLES)
    np.testing.assert_array_equal(found.data[1], data[[1, 5]].conj())
    assert "the last 2 shots are left out" in found.records[0].details


def test_noise_of_an_adjustment_before_the_scan(tmp_path, rng):
    data = samples(rng, 3)
    adjustment = (
        [Shot(data[0][:, :32], NOISE)],
        PROTOCOL | {"tSequenceFileName": '"%AdjustSeq%\\AdjCoilSens"'},
    )
    path = write_vd(tmp_path / "x.dat", [adjustment, ([Shot(shot) for shot in data[1:]], PROTOCOL)])
    found = read_twix(path).metabolite
    np.testing.assert_array_equal(found.noise, data[0][:, :32].conj())
    assert "measurement 2 of 2 is read (1 AdjCoilSens, 2 svs_se)" in found.records[0].details


def test_samples_before_the_echo_are_left_out(tmp_path, rng):
    shots = [Shot(shot, 0, {"Ave": n}, centre=8) for n, shot in enumerate(samples(rng, 2))]
    changes = {"sSpecPara.lVectorSize": (SAMPLES - 16) // 2}
    found = read_twix(write(tmp_path / "x.dat", shots, True, **changes)).metabolite
    assert found.samples == SAMPLES - 8
    whole = read_twix(write(tmp_path / "y.dat", shots, True, **{"sSpecPara.lVectorSize": SAMPLES // 2}))
    assert whole.metabolite.samples == SAMPLES


@pytest.mark.parametrize("is_vd", [False, True])
def test_a_damaged_twix_is_one_clear_error_or_the_same_data(tmp_path, rng, is_vd):
    path = write(tmp_path / "x.dat", [Shot(shot) for shot in samples(rng, 3)], is_vd)
    raw = bytearray(path.read_bytes())
    broken = tmp_path / "broken.dat"
    for position in rng.integers(0, len(raw), 150):
        damaged = raw.copy()
        damaged[position] ^= 1 << rng.integers(8)
        broken.write_bytes(damaged)
        found, words = outcome(broken)
        assert words is None or ("broken.dat" in words and "Somebody" not in words)
        parts = [part for part in (found.metabolite, found.water) if part] if found else []
        assert sum(part.size("average") for part in parts) <= 3
        assert {part.data.shape[1:] for part in parts} <= {(COILS, SAMPLES)}


def outcome(path):
    try:
        return (read_twix(path) if is_twix(path) else None), None
    except DataError as error:
        return None, str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("is_vd", [False, True])
def test_a_truncated_twix_is_refused(tmp_path, rng, is_vd, share):
    path = write(tmp_path / "x.dat", [Shot(shot) for shot in samples(rng, 3)], is_vd)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"x\.dat"):
        read([path])


def test_of_two_files_with_references_of_their_own_the_one_without_suppression_is_the_reference(
    tmp_path, rng
):
    paths = []
    for name, water in (("off", 500.0), ("on", 5.0)):
        fid = np.conj(brain_like(water=water))
        coils = np.exp(1j * np.arange(COILS))[:, None]
        noise = rng.normal(size=(3, COILS, fid.size, 2)) @ [0.01, 0.01j]
        parts = (fid * coils + noise) * np.array([100.0, 1.0, 1.0])[:, None, None]
        shots = [
            Shot(part, flags, {"Ave": n})
            for n, (part, flags) in enumerate(zip(parts, (PHASCOR, 0, 0), strict=True))
        ]
        protocol = {"sRXSPEC.alDwellTime[0]": 500000, "sTXSPEC.asNucleusInfo[0].lFrequency": 127736713}
        paths.append(write(tmp_path / f"{name}.dat", shots, True, **protocol))
    for order in (paths, paths[::-1]):
        scan = read(order)
        assert scan.metabolite.source == "on.dat"
        assert scan.water.source == "off.dat"
        assert scan.water.size("average") == 2
        assert "quantities: off.dat (2 shots)" in scan.metabolite.records[-1].details


@pytest.mark.parametrize("is_suppressed", [True, False])
def test_poorly_suppressed_shots_are_metabolites_and_shots_as_strong_as_the_reference_are_not(
    tmp_path, is_suppressed
):
    fid = np.conj(brain_like(water=1e5))
    shots = [
        Shot(np.tile(fid * (50 if flags and is_suppressed else 1), (COILS, 1)), flags)
        for flags in (PHASCOR, 0, 0)
    ]
    protocol = {"sRXSPEC.alDwellTime[0]": 500000, "sTXSPEC.asNucleusInfo[0].lFrequency": 127736713}
    scan = read([write(tmp_path / "x.dat", shots, True, **protocol)])
    assert (scan.metabolite is None) != is_suppressed
    assert (scan.metabolite or scan.water).size("average") == 2


def test_rda(tmp_path):
    fid = brain_like()
    found = read([write_rda(tmp_path / "x.rda", fid)]).metabolite
    np.testing.assert_array_equal(found.data, fid)
    assert (found.dwell_s, found.te_s, found.tr_s, found.f0_hz) == pytest.approx((5e-4, 0.03, 2.0, 123.25e6))
    np.testing.assert_allclose(found.geometry.voxel_mm, [20, 30, 40])
    np.testing.assert_allclose(found.geometry.affine[:3, 3], [-5, 7, 9])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CSIMatrixSize[0]": "16"}, "imaging scan"),
        ({"TE": "thirty"}, "TE is 'thirty', expected a number"),
        ({"DwellTime": "0"}, "DwellTime is 0.0, expected a number above 0"),
        ({"VectorSize": "9"}, "bytes of data, expected 144"),
    ],
)
def test_what_is_wrong_with_an_rda_is_said(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        read([write_rda(tmp_path / "x.rda", brain_like(), **changes)])


CSA_TAGS = {
    "EchoTime": [30.0], "RepetitionTime": [2000.0], "ImagingFrequency": [123.25], "ImagedNucleus": ["1H"],
    "RealDwellTime": [500000], "SequenceName": ["*svs_se"], "VoiPosition": [5.0, -7.0, 9.0],
    "VoiReadoutFoV": [20.0], "VoiPhaseFoV": [30.0], "VoiThickness": [40.0], "Rows": [1], "Columns": [1],
    "NumberOfFrames": [1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
}  # fmt: skip


def write_csa(path, fid, instance=1, **changes):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.3.12.2.1107.5.9.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{instance}"
    dataset.SeriesInstanceUID, dataset.InstanceNumber = "1.2.3", instance
    dataset.Manufacturer, dataset.PatientName = "SIEMENS", "Somebody"
    dataset.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    dataset.add_new((0x0029, 0x1010), "OB", csa_header(CSA_TAGS | changes))
    dataset.add_new((0x7FE1, 0x0010), "LO", "SIEMENS CSA NON-IMAGE")
    dataset.add_new((0x7FE1, 0x1010), "OB", fid.astype("<c8").tobytes())
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_csa_dicom(tmp_path):
    fid = brain_like().astype(np.complex64)
    found = read([write_csa(tmp_path / "x.ima", fid)]).metabolite
    np.testing.assert_array_equal(found.data, fid)
    assert (found.dwell_s, found.te_s, found.tr_s, found.f0_hz) == pytest.approx((5e-4, 0.03, 2.0, 123.25e6))
    np.testing.assert_allclose(found.geometry.voxel_mm, [20, 30, 40])
    np.testing.assert_allclose(found.geometry.affine[:3, 3], [-5, 7, 9])


def test_the_files_of_a_series_are_averages_in_the_order_of_their_instances(tmp_path):
    fid = brain_like().astype(np.complex64)
    paths = [write_csa(tmp_path / f"{name}.ima", fid * n, n) for name, n in (("b", 1), ("a", 3), ("c", 2))]
    found = read(paths).metabolite
    assert found.dims == ("average", "t")
    np.testing.assert_allclose(found.data[:, 0] / fid[0], [1, 2, 3])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_truncated_dicom_is_an_error(tmp_path, share):
    path = write_csa(tmp_path / "x.ima", brain_like())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError, match=r"x\.ima") as caught:
        read([path])
    assert "Somebody" not in str(caught.value)


def test_rda_and_xa_dicom_of_real_scans(data_folder):
    """FID values, signs and affines are those of spec2nii 0.8.15 on the same files."""
    folder = data_folder / "siemens-3t-rda-dicom"
    rda, xa = (read([folder / name]) for name in ("SVS_30.rda", "SVS_XA60.dcm"))
    for scan, first, centre, dwell_s, f0_hz in (
        (rda, RDA_FIRST, [-41.602906, -21.569007, -4.958838], 833e-6, 123.234655e6),
        (xa, XA_FIRST, [0.0, -57.4411546, -8.0387862], 833.4e-6, 123.255089e6),
    ):
        found = scan.metabolite
        np.testing.assert_allclose(found.data[:2], first, rtol=1e-5)
        np.testing.assert_allclose(found.geometry.affine[:3, 3], centre, atol=1e-4)
        assert (found.dwell_s, found.f0_hz, found.te_s, found.tr_s) == pytest.approx(
            (dwell_s, f0_hz, 0.03, 2.0)
        )
        assert not found.records


def test_a_seven_tesla_twix_beside_other_readers(data_folder, capsys):
    path = next((data_folder / "siemens-7t-slaser-water").glob("*.dat"))
    found = read_twix(path)
    theirs = mapvbvd.mapVBVD(str(path), quiet=True)
    for key, part in (("image", found.metabolite), ("phasecor", found.water)):
        theirs[key].flagRemoveOS = False
        unsorted = theirs[key].unsorted().transpose(2, 1, 0)
        np.testing.assert_array_equal(part.data, unsorted[..., 4:].conj())
    capsys.readouterr()
    affine = [[-0.00193144, -0.0267217, 7.9999553], [1.63878562, -7.97305432, -0.02656844]]  # spec2nii 0.8.15
    np.testing.assert_allclose(found.metabolite.geometry.affine[:2, :3], affine, atol=1e-6)
