"""Philips data/list and DICOM, written here to their published layouts."""

import numpy as np
import pydicom
import pytest
from files_for_tests import SPAR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pulsespec.errors import DataError
from pulsespec.recon.formats import Known, format_of
from pulsespec.recon.read import read

NAMES = ["mix", "dyn", "card", "echo", "loca", "chan", "extr1", "extr2", "ky", "kz", "n.a.", "aver", "sign"]
NAMES += ["rf", "grad", "enc", "rtop", "rr", "size", "offset"]


def numbers(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def write_list(folder, vectors, spar=True):
    """Write vectors: (type, counters, samples)."""
    lines = ["# === DATA DESCRIPTION FILE ===", "# Patient name : Jane Doe", "# typ " + "  ".join(NAMES), "#"]
    raw = b""
    for kind, counters, samples in vectors:
        values = {"size": samples.nbytes, "offset": len(raw), "sign": 1} | counters
        lines.append(f"  {kind} " + " ".join(f"{values.get(name, 0):5d}" for name in NAMES))
        raw += samples.astype("<c8").tobytes()
    (folder / "raw_1.list").write_text("\n".join([*lines, "# === END OF DATA DESCRIPTION FILE ===", ""]))
    (folder / "raw_1.data").write_bytes(raw)
    if spar:
        (folder / "other.SPAR").write_text(SPAR.format(samples=32, rows=1))
    return folder / "raw_1.list"


def a_scan(metabolite, water, noise):
    vectors = [("NOI", {"chan": coil}, row) for coil, row in enumerate(noise)]
    for mix, part in enumerate((metabolite, water)):
        for shot, coils in enumerate(part):
            counters = {"mix": mix, "aver": shot % 2, "dyn": shot // 2}
            vectors += [("STD", counters | {"chan": coil + 3}, row) for coil, row in enumerate(coils)]
    vectors.append(("REJ", {"aver": 7, "chan": 3}, metabolite[0, 0]))
    return vectors


def test_list_numbers_noise_and_water(tmp_path):
    metabolite, water, noise = numbers(4, 2, 32), numbers(2, 2, 32, seed=1), numbers(2, 64, seed=2)
    path = write_list(tmp_path, a_scan(metabolite, water, noise))
    for each in (path, path.with_suffix(".data")):
        assert format_of(each).name == "Philips data/list"
        scan = format_of(each).read(each, Known())
        np.testing.assert_array_equal(scan.metabolite.data, metabolite.conj())
        np.testing.assert_array_equal(scan.water.data, water.conj())
        np.testing.assert_array_equal(scan.metabolite.noise, noise.conj())
    data = scan.metabolite
    assert (data.dims, data.data.dtype) == (("average", "coil", "t"), np.complex64)
    assert (data.dwell_s, data.f0_hz, data.te_s) == pytest.approx((5e-4, 127736713, 0.035))
    assert "1 of them rejected" in data.records[0].details
    assert "Doe" not in repr(scan)


def test_list_without_spar_asks_for_what_is_missing(tmp_path):
    path = write_list(tmp_path, a_scan(numbers(2, 1, 32), numbers(1, 1, 32), numbers(1, 8)), spar=False)
    with pytest.raises(DataError, match="--dwell-s"):
        read([path])
    scan = format_of(path).read(path, Known(dwell_s=5e-4, f0_hz=127.7e6))
    assert (scan.metabolite.dims, scan.metabolite.f0_hz) == (("average", "t"), 127.7e6)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.with_suffix(".data").write_bytes(b"1234"), "truncated"),
        (lambda p: p.with_suffix(".data").unlink(), "partner .data"),
        (lambda p: p.write_text(p.read_text().replace("256", "25x", 1)), "damaged"),
        (lambda p: p.write_text("\n".join(p.read_text().splitlines()[:-4])), "truncated"),
        (
            lambda p: p.write_text(p.read_text().replace("  REJ", "# REJ").replace("  STD", "# STD", 1)),
            "incomplete",
        ),
    ],
)
def test_a_damaged_list_is_a_clear_error(tmp_path, spoil, words):
    path = write_list(tmp_path, a_scan(numbers(4, 2, 32), numbers(2, 2, 32), numbers(2, 64)))
    spoil(path)
    with pytest.raises(DataError, match=words):
        read([path])


def test_an_image_in_list_is_refused(tmp_path):
    vectors = [("STD", {"ky": n}, numbers(32)) for n in range(4)]
    with pytest.raises(DataError, match="counter 'ky' takes 4 values"):
        read([write_list(tmp_path, vectors)])


def dicom(path, kind, fids, **more):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.Manufacturer, dataset.PatientName = "Philips Healthcare", "Doe^Jane"
    raw = np.asarray(fids, dtype="<c8").tobytes()
    if kind.startswith("1.3"):
        dataset.add_new((0x2005, 0x1270), "OF", raw)
        dataset.add_new((0x2005, 0x1357), "FL", 2000.0)
        dataset.add_new((0x2001, 0x1083), "DS", "127.736713")
        dataset.add_new((0x2005, 0x1310), "FL", 35.0)
        dataset.RepetitionTime = 2000.0
        section = Dataset()
        places = (0x1054, 0x1055, 0x1056, 0x1057, 0x1058, 0x1059, 0x105A, 0x105B, 0x105C)
        for place, value in zip(places, (0, 90, 0, 30, 40, 20, -7, 9, 5), strict=True):
            section.add_new((0x2005, place), "FL", float(value))
        dataset.add_new((0x2005, 0x1085), "SQ", Sequence([section]))
    else:
        dataset.Rows = dataset.Columns = 1
        dataset.NumberOfFrames = len(fids)
        dataset.SpectroscopyAcquisitionDataColumns = fids.shape[1]
        dataset.SpectralWidth, dataset.TransmitterFrequency = 2000.0, 127.736713
        dataset.ResonantNucleus = "1H"
        dataset.add_new((0x5600, 0x0020), "OF", raw)
        frame, echo, timing = Dataset(), Dataset(), Dataset()
        echo.EffectiveEchoTime, timing.RepetitionTime = 35.0, 2000.0
        frame.MREchoSequence = Sequence([echo])
        frame.MRTimingAndRelatedParametersSequence = Sequence([timing])
        dataset.PerFrameFunctionalGroupsSequence = Sequence([frame])
        slabs = []
        for axis, size in enumerate((20, 30, 40)):
            slab = Dataset()
            slab.SlabThickness, slab.SlabOrientation = float(size), [float(n == axis) for n in range(3)]
            slab.MidSlabPosition = [5.0, -7.0, 9.0]
            slabs.append(slab)
        dataset.VolumeLocalizationSequence = Sequence(slabs)
    for tag, (vr, value) in more.get("tags", {}).items():
        dataset.add_new(tag, vr, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


OLD, NEW = "1.3.46.670589.11.0.0.12.1", "1.2.840.10008.5.1.4.1.1.4.2"


@pytest.mark.parametrize("kind", [OLD, NEW])
def test_dicom_of_both_kinds(tmp_path, kind):
    fids = numbers(1, 64)
    path = dicom(tmp_path / "a", kind, fids)
    assert format_of(path).name == "Philips DICOM"
    data = format_of(path).read(path, Known()).metabolite
    np.testing.assert_array_equal(data.data, fids[0].conj())
    assert (data.dwell_s, data.f0_hz, data.te_s, data.tr_s) == pytest.approx((5e-4, 127736713, 0.035, 2.0))
    np.testing.assert_allclose(data.geometry.voxel_mm, [20, 30, 40])
    np.testing.assert_allclose(data.geometry.affine[:3, 3], [-5, 7, 9])
    assert "Doe" not in repr(data)


def test_dicom_with_a_reference_and_with_editing(tmp_path):
    fids = numbers(3, 64)
    scan = format_of(path := dicom(tmp_path / "a", NEW, fids, tags={(0x0018, 0x9199): ("CS", "YES")})).read(
        path, Known()
    )
    np.testing.assert_array_equal(scan.metabolite.data, fids[:2].conj())
    np.testing.assert_array_equal(scan.water.data, fids[2].conj())
    frames = []
    for reference, condition in ((0, "1"), (0, "0"), (1, "0")):
        item = Dataset()
        item.add_new((0x2005, 0x1304), "SS", reference)
        item.add_new((0x2005, 0x1598), "CS", condition)
        frames.append(item)
    tags = {(0x2005, 0x1597): ("CS", "Y"), (0x2005, 0x140F): ("SQ", Sequence(frames))}
    scan = format_of(path := dicom(tmp_path / "b", NEW, fids, tags=tags)).read(path, Known())
    assert scan.metabolite.dims == ("edit", "average", "t")
    np.testing.assert_array_equal(scan.metabolite.data[:, 0], fids[:2].conj())
    np.testing.assert_array_equal(scan.water.data, fids[2].conj())


@pytest.mark.parametrize("kind", [OLD, NEW])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_dicom_is_a_clear_error(tmp_path, kind, share):
    path = dicom(tmp_path / "a", kind, numbers(1, 512))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(DataError):
        read([path])


def test_an_imaging_dicom_is_refused(tmp_path):
    path = dicom(tmp_path / "a", NEW, numbers(1, 64), tags={(0x0028, 0x0010): ("US", 16)})
    with pytest.raises(DataError, match="imaging scan of 16x1"):
        read([path])


def test_no_more_memory_than_half_again_the_data(tmp_path):
    import tracemalloc

    metabolite = numbers(64, 4, 4096)
    path = write_list(tmp_path, a_scan(metabolite, metabolite[:1], numbers(4, 64)))
    tracemalloc.start()
    format_of(path).read(path, Known())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * metabolite.nbytes
