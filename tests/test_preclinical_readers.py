"""Varian and Bruker: folders written here to the published layouts, and two real Varian ones."""

import struct

import numpy as np
import pytest

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError
from pulsespec.recon.formats import format_of
from pulsespec.recon.read import read

KINDS = {">f4": 0x8, ">i4": 0x4, ">i2": 0x0}


def numbers(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-900, 900, shape) + 1j * rng.integers(-900, 900, shape)


def write_varian(folder, fids, kind=">f4", scale=0, **parameters):
    """Write traces of shape (n_blocks, n_traces, samples)."""
    folder.mkdir(exist_ok=True)
    blocks, traces, samples = fids.shape
    size = int(kind[-1])
    status = 0x1 | 0x10 | KINDS[kind]
    head = (blocks, traces, 2 * samples, size, 2 * samples * size, 28 + traces * 2 * samples * size)
    raw = struct.pack(">6i2hi", *head, 0, status, 1)
    for number, block in enumerate(fids, 1):
        raw += struct.pack(">4hi4f", scale, status, number, 0, 1, 0, 0, 0, 0)
        raw += np.stack([block.real, block.imag], axis=-1).astype(kind).tobytes()
    (folder / "fid").write_bytes(raw)
    values = {"sfrq": 123.25, "sw": 4000.0, "te": 0.008, "tr": 5.0, "tn": "H1", "seqfil": "steam"}
    values |= {"rcvrs": "y", "array": "", "comment": "Jane Doe"} | parameters
    text = ""
    for name, value in values.items():
        many = value if isinstance(value, list) else [value]
        is_text = isinstance(many[0], str)
        text += f"{name} {2 if is_text else 1} {2 if is_text else 1} 9 0 0 2 1 0 1 64\n"
        text += f"{len(many)} " + "\n".join(f'"{v}"' for v in many) if is_text else f"{len(many)} {many[0]}"
        text += "\n0 \n"
    (folder / "procpar").write_text(text)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", ["", "fid", "procpar"])
def test_varian_numbers_and_facts(tmp_path, kind, named):
    fids = numbers(4, 1, 32)
    folder = write_varian(tmp_path / "a.fid", fids, kind)
    path = folder / named
    assert format_of(path).name == "Varian"
    data = format_of(path).read(path, None).metabolite
    np.testing.assert_array_equal(data.data, fids[:, 0])
    assert data.data.dtype == np.complex64
    assert (data.dims, data.nucleus, data.sequence) == (("average", "t"), "1H", "steam")
    assert (data.dwell_s, data.f0_hz, data.te_s, data.tr_s) == pytest.approx((2.5e-4, 123.25e6, 0.008, 5.0))
    assert "Doe" not in repr(data)


def test_varian_receivers_and_arrayed_water_suppression(tmp_path):
    fids = numbers(8, 1, 32)
    folder = write_varian(tmp_path / "a.fid", fids, rcvrs="yyn", array="ws", ws=["y", "n"])
    scan = format_of(folder).read(folder, None)
    whole = fids.reshape(4, 2, 32)
    assert scan.metabolite.dims == ("average", "coil", "t")
    np.testing.assert_array_equal(scan.metabolite.data, whole[::2])
    np.testing.assert_array_equal(scan.water.data, whole[1::2])


def test_varian_reference_says_the_centre_unless_it_is_stale(tmp_path):
    for mhz, expected in ((123.25 / (1 + 4.73e-6), 4.73), (120.0, 4.65)):
        folder = write_varian(tmp_path / "a.fid", numbers(1, 1, 32), reffrq=mhz)
        data = format_of(folder).read(folder, None).metabolite
        assert data.reference_ppm == pytest.approx(expected, abs=1e-3)
        assert "reffrq" in data.records[0].details


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "fid").write_bytes((f / "fid").read_bytes()[:-5]), "truncated"),
        (lambda f: (f / "procpar").write_text("sw 1 1 9 0 0 2 1 0 1 64\nx\n0\n"), "count and values"),
        (lambda f: (f / "procpar").write_text(""), "sfrq is None"),
        (lambda f: write_varian(f, numbers(1, 1, 32), scale=3), "scaled by 3"),
        (lambda f: write_varian(f, numbers(3, 1, 32), rcvrs="yy"), "3 traces of 2 receivers"),
    ],
)
def test_damaged_varian_is_a_clear_error(tmp_path, spoil, words):
    folder = write_varian(tmp_path / "a.fid", numbers(2, 1, 32))
    spoil(folder)
    with pytest.raises(DataError, match=words):
        read([folder])


def test_a_folder_of_something_else_is_a_clear_error(tmp_path, pulsespec):
    with pytest.raises(DataError, match="not recognised"):
        read([tmp_path])
    code, _, err = pulsespec("recon", tmp_path / "none", "-o", tmp_path / "x.nii.gz")
    assert (code, "no such file or folder" in err) == (2, True)
    assert issubclass(DataError, InputError)


def test_real_macromolecules_lie_upfield_of_water(data_folder):
    for name, f0_hz, te_s in (("3T", 123.245e6, 0.008), ("7T", 295.102819e6, 0.006)):
        data = read([data_folder / f"macromolecules-steam/{name}_MM_human_STEAM_CMRR.fid"]).metabolite
        assert (data.dims, data.samples, data.f0_hz, data.te_s) == (("t",), 2048, f0_hz, te_s)
        assert not any(record.method == "Conjugation" for record in data.records)
        narrow = np.exp(-np.pi * 8 * np.arange(2048) * data.dwell_s)
        spectrum = np.abs(to_spectrum(data.data * narrow))
        ppm = ppm_axis(2048, data.dwell_s, f0_hz, data.reference_ppm)
        lipid_like = spectrum[(ppm > 0.7) & (ppm < 1.1)].max()
        assert lipid_like > 4 * spectrum[(ppm > 8.2) & (ppm < 8.6)].max()


ACQP = """##TITLE=Parameter List, ParaVision {version}
##OWNER=Jane Doe
##$ACQ_sw_version=( 65 )
<{software}>
##$ACQ_dim_desc=( 1 )
Spectroscopic
##$ACQ_size=( 1 )
{size}
##$ACQ_jobs=( 1 )
({size}, 1, 0, {scans}, 203, 4000.0, 4, <job0>)
##$ACQ_RxFilterInfo=( 1 )
(({filter}, 0))
##$ACQ_word_size=_32_BIT
##$ACQ_ReceiverSelect=( 4 )
{receivers}
##$BF1=400.25
##$BYTORDA={order}
##$GO_block_size={blocks}
##$GO_raw_data_format={kind}
##$NUCLEUS=( 8 )
<1H>
##$NR={repetitions}
$$ @vis= NR
##END=
"""
METHOD = """##TITLE=Parameter List
##$Method=<Bruker:PRESS>
##$PVM_SpecSWH=( 1 )
4000
##$PVM_EchoTime=16.5
##$PVM_RepetitionTime=2500
##$PVM_DigShift={shift}
##$PVM_EncNReceivers={coils}
##$PVM_FrqWorkPpm=( 8 )
4.7 @7*(0)
##$PVM_VoxArrSize=( 1, 3 )
2 3 4
##$PVM_VoxArrPosition=( 1, 3 )
1 -2 0.5
##$PVM_VoxArrGradOrient=( 1, 3, 3 )
1 0 0 0 1 0 0
0 1
##END=
"""
FORMATS = {"GO_32BIT_SGN_INT": "i4", "GO_16BIT_SGN_INT": "i2", "GO_32BIT_FLOAT": "f4"}


def write_bruker(folder, fids, name="fid", *, order="little", kind="GO_32BIT_SGN_INT", **more):
    """Write shots of shape (n_shots, n_coils, samples) as they stand, in the sense of the scanner."""
    folder.mkdir(exist_ok=True)
    shots, coils, samples = fids.shape
    facts = {"version": "6.0.1", "software": "PV 6.0.1", "filter": 0, "blocks": "continuous", "shift": 0}
    facts |= {"size": 2 * samples, "scans": shots, "repetitions": 1 if "raw" in name else shots}
    facts |= {"order": order, "kind": kind, "coils": coils}
    facts |= {"receivers": " ".join(["Yes"] * coils + ["No"] * (4 - coils))} | more
    dtype = {"little": "<", "big": ">"}[order] + FORMATS[kind]
    flat = np.stack([fids.real, fids.imag], axis=-1).astype(dtype).reshape(shots, -1)
    if facts["blocks"] == "Standard_KBlock_Format":
        flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % (1024 // flat.itemsize))), constant_values=7)
    (folder / name).write_bytes(flat.tobytes())
    (folder / "acqp").write_text(ACQP.format(**facts))
    (folder / "method").write_text(METHOD.format(**facts))
    return folder


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"order": "big"},
        {"kind": "GO_16BIT_SGN_INT"},
        {"kind": "GO_32BIT_FLOAT"},
        {"blocks": "Standard_KBlock_Format"},
        {"name": "rawdata.job0"},
        {"name": "ser"},
        {"name": "rawdata.job0", "software": "PV-360.1.1", "version": "360"},
    ],
)
@pytest.mark.parametrize("coils", [1, 3])
def test_bruker_numbers_and_facts(tmp_path, more, coils):
    fids = numbers(5, coils, 50)
    folder = write_bruker(tmp_path / "7", fids, **more)
    for path in (folder, folder / more.get("name", "fid")):
        assert format_of(path).name == "Bruker ParaVision"
        data = format_of(path).read(path, None).metabolite
        np.testing.assert_array_equal(data.data, fids.conj() if coils > 1 else fids[:, 0].conj())
    assert data.data.dtype == np.complex64
    assert (data.dwell_s, data.f0_hz, data.te_s, data.tr_s) == pytest.approx((2.5e-4, 400.25e6, 0.0165, 2.5))
    assert (data.nucleus, data.sequence, data.reference_ppm) == ("1H", "Bruker:PRESS", 4.7)
    np.testing.assert_allclose(data.geometry.voxel_mm, [2, 3, 4])
    np.testing.assert_allclose(data.geometry.affine[:3, 3], [-1, 2, 0.5])
    assert "Doe" not in repr(data)


def test_repetitions_of_combined_coils_are_no_coils(tmp_path):
    fids = numbers(4, 1, 50)
    folder = write_bruker(tmp_path / "7", fids, receivers="Yes Yes Yes Yes", coils=4)
    data = format_of(folder).read(folder, None).metabolite
    assert (data.dims, data.data.shape) == (("average", "t"), (4, 50))


def test_points_where_acq_size_is_not_their_double(tmp_path):
    fids = numbers(4, 1, 50)
    folder = write_bruker(tmp_path / "7", fids)
    acqp, method = folder / "acqp", folder / "method"
    acqp.write_text(acqp.read_text().replace("ACQ_size=( 1 )\n100", "ACQ_size=( 1 )\n26"))
    method.write_text("##$PVM_DigNp=50\n" + method.read_text())
    np.testing.assert_array_equal(format_of(folder).read(folder, None).metabolite.data, fids[:, 0].conj())


def test_fewer_shots_than_the_header_states_are_said(tmp_path):
    folder = write_bruker(tmp_path / "7", numbers(4, 1, 50), repetitions=5)
    data = format_of(folder).read(folder, None).metabolite
    assert data.records[0].details == "fid holds 4 shots, its header states 5"


def test_group_delay_whole_and_broken(tmp_path):
    t = np.arange(512) * 2.5e-4

    def decaying(start):
        """A FID that begins `start` points late, band-limited: its spectrum times a linear phase."""
        spectrum = np.fft.fft(1e5 * np.exp(2j * np.pi * 300 * t - 60 * t) * (1 - np.exp(-((t / 2e-3) ** 2))))
        return np.fft.ifft(spectrum * np.exp(-2j * np.pi * np.fft.fftfreq(512) * start))

    expected = decaying(0).conj()
    for delay, more in ((20, {"shift": 20}), (20.4, {"filter": 20.4, "software": "PV-360.1.1"})):
        folder = write_bruker(tmp_path / "7", decaying(delay)[None, None], "rawdata.job0", **more)
        data = format_of(folder).read(folder, None).metabolite
        length = data.samples
        assert length == 512 - int(np.ceil(delay))
        np.testing.assert_allclose(data.data, expected[:length], atol=2.0)
        assert f"{delay:g} points taken off" in data.records[0].details


def test_bruker_reference_scan_is_the_water(tmp_path):
    folder = write_bruker(tmp_path / "7", numbers(2, 1, 50))
    water = numbers(1, 1, 50, seed=1)
    (folder / "fid.refscan").write_bytes(np.stack([water.real, water.imag], axis=-1).astype("<i4").tobytes())
    scan = format_of(folder).read(folder, None)
    np.testing.assert_array_equal(scan.water.data, water[0, 0].conj())
    assert scan.water.header["water_suppressed"] is False


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("GO_32BIT_SGN_INT", "GO_8BIT", "GO_8BIT"),
        ("Spectroscopic", "Spatial Spatial", "expected a single voxel"),
        ("BF1=400.25", "BF1=0", "frequency None"),
        ("##$ACQ_size=( 1 )\n100", "##$ACQ_size=( 1 )\n98", "truncated"),
    ],
)
def test_damaged_bruker_is_a_clear_error(tmp_path, old, new, words):
    folder = write_bruker(tmp_path / "7", numbers(2, 1, 50))
    text = (folder / "acqp").read_text()
    assert old in text
    (folder / "acqp").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=words):
        read([folder])


def test_no_more_memory_than_half_again_the_data(tmp_path):
    import tracemalloc

    fids = numbers(64, 4, 4096)
    raw = fids.size * 8
    varian = write_varian(tmp_path / "a.fid", fids.reshape(256, 1, 4096), rcvrs="yyyy")
    bruker = write_bruker(tmp_path / "7", fids, "rawdata.job0", filter=20.4, software="PV-360.1.1")
    for folder in (varian, bruker):
        form = format_of(folder)
        tracemalloc.start()
        form.read(folder, None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.5 * raw
