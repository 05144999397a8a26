"""GE P-files: every revision, written here at the absolute byte offsets of Vespa's table, and three real ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
from files_for_tests import brain_like

from pulsespec.errors import DataError
from pulsespec.recon.ge_pfile import is_pfile, read_pfile
from pulsespec.recon.guards import judge
from pulsespec.recon.read import read

# revision: data, te, tr, user8, tlhc_R, psdname, magstrength; absolute bytes, from Vespa's ge_hdr_fields.py (BSD)
OFFSETS = {
    9.0: (61464, 60136, 60128, 60384, 60088, 60248, 57436),
    10.0: (149788, 148952, 148944, 148276, 148608, 149520, 143940),
    11.0: (66072, 65032, 65024, 64620, 64952, 65374, 61560),
    14.3: (145908, 144580, 144572, 144008, 144340, 145132, 140980),
    15.001: (145908, 144580, 144572, 144008, 144340, 145132, 140980),
    16.0: (145908, 144628, 144620, 144056, 144388, 145180, 140980),
    20.007: (149788, 148404, 148396, 147728, 148060, 148972, 143392),
    24.0: (157276, 148404, 148396, 147728, 148060, 148972, 143392),
    25.003: (157276, 148404, 148396, 147728, 148060, 148972, 143392),
    26.002: (213684, 199244, 199236, 198568, 198900, 199812, 194232),
    27.001: (219828, 207436, 207428, 206760, 207092, 208004, 202424),
    28.003: (228020, 207436, 207428, 206760, 207092, 208004, 202424),
    30.1: (228020, 207436, 207428, 206760, 207092, 208004, 202424),
    31.0: (228324, 207740, 207732, 207064, 207396, 208308, 202728),
}
EARLY = {"nechoes": 70, "navs": 72, "nframes": 74, "size": 80, "point": 82, "yres": 104, "rcv": 200}
EARLY |= {"user0": 216, "user4": 232, "user19": 292, "width": 368, "csi": 374, "f0": 424, "off_data": 1468}
LATE = {"nechoes": 146, "navs": 148, "nframes": 150, "size": 156, "point": 158, "yres": 180, "rcv": 264}
LATE |= {"user0": 280, "user4": 296, "user19": 356, "width": 432, "csi": 438, "f0": 488, "off_data": 4}


def write(path: Path, frames, revision=20.007, n_water=2, navs=1, order="<", point=4, secret=b""):
    """Write frames of shape (n_coils, n_echoes, n_frames, samples), with a baseline before each echo."""
    data_at, te, tr, user8, corner, psd, field = OFFSETS[revision]
    at = LATE if revision >= 26 else EARLY
    coils, echoes, n, samples = frames.shape
    head = bytearray(data_at)

    def put(kind, where, *values):
        struct.pack_into(order + kind, head, where, *values)

    put("f", 0, revision)
    put("3h", at["nechoes"], echoes, navs, n)
    put("Hh", at["size"], samples, point)
    put("h", at["yres"], n + 1)
    put("2h", at["rcv"], 0, coils - 1)
    put("f", at["user0"], 5000.0)
    put("f", at["user4"], float((n - n_water) * navs))
    put("f", at["user19"], float(n_water))
    put("f", at["width"], 0.0 if revision == 9.0 else 5000.0)
    put("3h", at["csi"], 1, 1, 1)
    put("I", at["f0"], 1277355120)
    if revision > 9:
        put("i", at["off_data"], data_at)
    put("i", te, 35000)
    put("i", tr, 2000000)
    put("6f", user8, 20.0, 25.0, 30.0, 1.0, -2.0, 3.0)
    put("9f", corner, 120, 100, 5, -120, 100, 5, -120, -140, 5)
    put("33s", psd, b"/usr/g/bin/probe-p")
    put("i", field, 30000)
    head[2000 : 2000 + len(secret)] = secret
    whole = np.zeros((coils, echoes, n + 1, samples, 2), dtype=f"{order}i{point}")
    whole[:, :, 0] = 99
    whole[:, :, 1:, :, 0], whole[:, :, 1:, :, 1] = frames.real, frames.imag
    path.write_bytes(bytes(head) + whole.tobytes())
    return path


def numbers(coils=1, echoes=1, n=6, samples=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(900, 1000, (coils, echoes, n, samples)) + 1j * rng.integers(
        -99, 99, (coils, echoes, n, samples)
    )


@pytest.mark.parametrize("revision", OFFSETS)
def test_every_revision_gives_the_same_facts_and_numbers(tmp_path, revision):
    frames = numbers(coils=3)
    path = write(tmp_path / "P1.7", frames, revision, secret=b"DOE^JANE")
    assert is_pfile(path)
    scan = read_pfile(path)
    np.testing.assert_array_equal(scan.water.data, frames[:, 0, :2].swapaxes(0, 1))
    np.testing.assert_array_equal(scan.metabolite.data, frames[:, 0, 2:].swapaxes(0, 1))
    data = scan.metabolite
    assert data.dims == ("average", "coil", "t")
    assert data.data.dtype == np.complex64
    assert (data.dwell_s, data.f0_hz, data.te_s, data.tr_s) == pytest.approx((2e-4, 127.735512e6, 0.035, 2.0))
    assert data.sequence == "probe-p"
    np.testing.assert_allclose(data.geometry.affine[:3, :3], np.diag([20, 25, 30]), atol=1e-9)
    np.testing.assert_allclose(data.geometry.affine[:3, 3], [1, -2, 3])
    assert "DOE" not in repr((data.header, data.records, data.sequence))


def test_two_editing_conditions_are_a_dimension(tmp_path):
    frames = numbers(coils=2, echoes=2)
    data = read_pfile(write(tmp_path / "P.7", frames)).metabolite
    assert data.dims == ("edit", "average", "coil", "t")
    np.testing.assert_array_equal(data.data, frames[:, :, 2:].transpose(1, 2, 0, 3))


def test_shots_that_alternate_in_sign_are_set_right_and_it_is_said(tmp_path):
    frames = numbers()
    signs = np.array([1, -1, 1, -1, 1, -1])
    scan = read_pfile(write(tmp_path / "P.7", frames * signs[:, None]))
    np.testing.assert_array_equal(scan.metabolite.data, frames[0, 0, 2:])
    assert "inverted" in scan.metabolite.records[0].details
    assert "inverted" not in read_pfile(write(tmp_path / "Q.7", frames)).metabolite.records[0].details


def test_short_integers_and_the_other_byte_order(tmp_path):
    frames = numbers()
    for more in ({"point": 2}, {"revision": 9.0, "order": ">"}):
        data = read_pfile(write(tmp_path / "P.7", frames, **more)).metabolite
        np.testing.assert_array_equal(data.data, frames[0, 0, 2:])


def test_a_wrong_count_of_water_frames_is_settled_by_the_shots(tmp_path):
    path = write(tmp_path / "P.7", numbers(), n_water=2)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, EARLY["user19"], 16.0)
    path.write_bytes(bytes(raw))
    scan = read_pfile(path)
    assert len(scan.water.data) == 2
    assert "the header states 16 water frames" in scan.water.records[0].details


def changed(path, kind, where, value):
    raw = bytearray(path.read_bytes())
    struct.pack_into(kind, raw, where, value)
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    ("kind", "where", "value", "words"),
    [
        ("<f", 0, 12.0, "revision 12, expected one of"),
        ("<h", EARLY["csi"], 16, "imaging scan of 16x1x1"),
        ("<h", EARLY["yres"], 60, "bytes of data, expected"),
        ("<i", EARLY["off_data"], -5, "data begin at byte -5"),
        ("<I", EARLY["f0"], 0, "no spectrometer frequency"),
        ("<I", EARLY["f0"], 517000000, "not the frequency of protons"),
        ("<f", EARLY["width"], float("nan"), "spectral width"),
        ("<f", EARLY["user4"], 400.0, "6 frames, but the header states 400"),
    ],
)
def test_a_damaged_header_is_a_clear_error(tmp_path, kind, where, value, words):
    path = write(tmp_path / "P.7", numbers())
    changed(path, kind, where, value)
    if where == EARLY["width"]:
        changed(path, kind, EARLY["user0"], value)
    with pytest.raises(DataError, match=words):
        read_pfile(path)


@pytest.mark.parametrize("share", [0.3, 0.9999])
def test_a_truncated_file_is_a_clear_error(tmp_path, share):
    path = write(tmp_path / "P.7", numbers())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match="truncated"):
        read([path])


def test_no_more_memory_than_half_again_the_data(tmp_path):
    import tracemalloc

    path = write(tmp_path / "P.7", numbers(coils=8, n=64, samples=2048))
    raw = 8 * 64 * 2048 * 8
    tracemalloc.start()
    read_pfile(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * raw


def test_the_sense_is_that_of_nifti_mrs(tmp_path):
    fid = brain_like() * 1000
    scan = read([write(tmp_path / "P.7", np.tile(fid, (1, 1, 6, 1)), n_water=0)])
    assert not any(record.method == "Conjugation" for record in scan.metabolite.records)


def test_real_files_of_revision_9(data_folder):
    paths = sorted((data_folder / "ge-1p5t-press30").iterdir())
    assert len(paths) == 3
    for path in paths:
        scan = read([path])
        assert (scan.metabolite.data.shape, scan.water.data.shape) == ((16, 2048), (8, 2048))
        sample = np.frombuffer(path.read_bytes(), "<i4", 2, offset=77848 + 8 * 16384)
        assert scan.metabolite.data[0, 0] == complex(*sample)
        assert scan.metabolite.f0_hz == 63872622.0
        assert (scan.metabolite.te_s, scan.metabolite.tr_s, scan.metabolite.dwell_s) == (0.03, 2.0, 4e-4)
        assert scan.metabolite.sequence == "probe-p"
        assert np.all(np.abs(scan.metabolite.geometry.voxel_mm - 39) < 1.1)
        sense = judge(scan.metabolite)
        assert sense.as_read > 0.7
        assert sense.mirrored < 0.2
