"""jMRUI, LCModel and plain text as data: the same FID from all three, dwell and frequency never guessed."""

import numpy as np
import pytest
from files_for_tests import brain_like

from pulsespec.errors import DataError
from pulsespec.recon.formats import Known, format_of
from pulsespec.recon.read import read

F0, DWELL = 127.736713e6, 5e-4
KNOWN = Known(dwell_s=DWELL, f0_hz=F0)
JMRUI = """jMRUI Data Textfile

Filename: x.txt

PointsInDataset: {points}
DatasetsInFile: {count}
SamplingInterval: 5E-1
ZeroOrderPhase: 0E0
BeginTime: {begin}
TransmitterFrequency: 1.27736713E8
MagneticField: {field}
TypeOfNucleus: 0E0
NameOfPatient: Jane Doe
SignalNames: x.txt;

Signal and FFT
sig(real)\tsig(imag)\tfft(real)\tfft(imag)
"""


def write_jmrui(path, fids, begin="0E0", field="3.0E0"):
    """Write FIDs that are in the NIfTI-MRS sense as jMRUI has them: conjugated, with two more columns."""
    text = JMRUI.format(points=len(fids[0]), count=len(fids), begin=begin, field=field)
    for number, fid in enumerate(fids, 1):
        text += f"Signal {number} out of {len(fids)} in file\n"
        text += "".join(f"{z.real:.9e}\t{-z.imag:.9e}\t0\t0\n" for z in fid)
    path.write_text(text)
    return path


def write_raw(path, fids, head=" $NMID ID='Jane Doe', FMTDAT='(2E15.6)'\n TRAMP=1, VOLUME=1 $END\n"):
    path.write_text(head + "".join(f"{z.real:15.9E} {z.imag:15.9E}\n" for z in np.ravel(fids)))
    return path


def test_three_texts_give_one_fid(tmp_path):
    fid = brain_like()
    columns = tmp_path / "c.txt"
    np.savetxt(columns, np.stack([fid.real, fid.imag], axis=1), fmt="%.9e")
    for path in (write_jmrui(tmp_path / "j.txt", [fid]), write_raw(tmp_path / "a.RAW", fid), columns):
        data = read([path], known=KNOWN).metabolite
        np.testing.assert_allclose(data.data, fid, atol=1e-6)
        assert (data.dwell_s, data.f0_hz) == pytest.approx((DWELL, F0))
        assert data.source == path.name
        assert "Doe" not in repr(data)


def test_several_signals_are_averages(tmp_path):
    fids = [brain_like(), 2 * brain_like()]
    data = read([write_jmrui(tmp_path / "j.txt", fids)]).metabolite
    assert data.dims == ("average", "t")
    np.testing.assert_allclose(data.data, fids, atol=1e-6)


@pytest.mark.parametrize(
    ("known", "words"),
    [(Known(f0_hz=F0), "dwell time.*--dwell-s"), (Known(dwell_s=DWELL), "frequency.*--f0-mhz")],
)
def test_what_raw_does_not_say_is_asked_for(tmp_path, known, words):
    with pytest.raises(DataError, match=words):
        read([write_raw(tmp_path / "a.RAW", brain_like())], known=known)


def test_a_flag_that_contradicts_the_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="--f0-mhz says"):
        read([write_jmrui(tmp_path / "j.txt", [brain_like()])], known=Known(f0_hz=297e6))


def test_a_control_file_beside_says_dwell_points_and_frequency(tmp_path):
    voxels = np.stack([brain_like(256), 2 * brain_like(256)])
    path = write_raw(tmp_path / "a.met", voxels)
    (tmp_path / "control.file").write_text(
        " $LCMODL\n nunfil = 256\n deltat= 5e-04\n hzpppm = 127.736713\n filraw = 'x/a.met'\n $END\n"
    )
    data = read([path]).metabolite
    assert data.dims == ("x", "t")
    np.testing.assert_allclose(data.data, voxels, atol=1e-6)
    assert "control.file" in data.records[0].details


@pytest.mark.parametrize("true", ["T", ".true.", ".T."])
def test_bruker_says_that_raw_is_conjugated(tmp_path, true):
    """As LCModel takes it: no look at the spectrum is needed."""
    head = f" $NMID ID='x', FMTDAT='(2E15.6)', BRUKER={true}, SEQACQ=F\n TRAMP=1, VOLUME=1 $END\n"
    fid = np.exp(-np.arange(256) / 50 + 0.3j * np.arange(256))
    form = format_of(write_raw(tmp_path / "a.RAW", fid.conj(), head))
    data = form.read(tmp_path / "a.RAW", KNOWN).metabolite
    np.testing.assert_allclose(data.data, fid, rtol=1e-7)


def test_points_in_turn_are_refused(tmp_path):
    head = " $NMID ID='x', FMTDAT='(2E15.6)', SEQACQ=.TRUE. $END\n"
    with pytest.raises(DataError, match="SEQACQ"):
        read([write_raw(tmp_path / "a.RAW", brain_like(), head)], known=KNOWN)


def test_a_conjugated_raw_is_corrected_with_a_notice(tmp_path):
    data = read([write_raw(tmp_path / "a.RAW", brain_like().conj())], known=KNOWN).metabolite
    np.testing.assert_allclose(data.data, brain_like(), atol=1e-6)
    assert data.records[-1].method == "Conjugation"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: write_jmrui(p, [brain_like()], begin="1E0"), "BeginTime"),
        (lambda p: write_jmrui(p, [brain_like()], field="7E0"), "not the frequency of protons"),
        (lambda p: p.write_text(write_jmrui(p, [brain_like()]).read_text()[:9000]) and p, "truncated"),
        (lambda p: p.write_text("1 2\n3 4\n5\n") and p, "format not recognised"),
        (lambda p: p.write_text("1 2\n" * 3000 + "5\n") and p, "columns"),
        (lambda p: write_raw(p, brain_like(), head=" $NMID $END\n 1.0\n"), "pairs"),
    ],
)
def test_damaged_text_is_a_clear_error(tmp_path, make, words):
    with pytest.raises(DataError, match=words):
        read([make(tmp_path / "x.txt")], known=KNOWN)


def test_the_fitting_challenge_is_one_fid_in_three_formats(data_folder):
    folder = data_folder / "fitting-challenge-2016"
    known = Known(dwell_s=2.5e-4, f0_hz=123.2617e6)
    jmrui = read([folder / f"datasets_JMRUI/dataset1_{kind}.txt" for kind in ("WS", "nWS")])
    raw = read([folder / f"datasets_LCModel/dataset1.{kind}" for kind in ("RAW", "H2O")], known=known)
    columns = read([folder / "datasets_text/dataset1.txt"], known=known)
    for kind in ("metabolite", "water"):
        expected = getattr(columns, kind).data
        assert expected.shape == (2048,)
        for scan in (jmrui, raw):
            np.testing.assert_allclose(getattr(scan, kind).data, expected, atol=1e-5 * np.abs(expected).max())
    assert jmrui.metabolite.dwell_s == pytest.approx(2.5e-4)


def test_real_lcmodel_files(data_folder):
    case = read([data_folder / "lcmodel-testcase/data.raw"]).metabolite
    assert (case.samples, case.dwell_s, case.f0_hz) == (1024, 5e-4, pytest.approx(127.786142e6))
    csi = data_folder / "lcmodel-csi-3t"
    for name in ("multi-voxel.met", "multi-voxel.ref"):
        form = format_of(csi / name)
        data = form.read(csi / name, Known()).metabolite
        assert (form.name, data.dims, data.data.shape) == ("LCModel RAW", ("x", "t"), (10, 512))
        assert (data.dwell_s, data.f0_hz, data.te_s) == pytest.approx((8e-4, 123.23e6, 0.0156))
