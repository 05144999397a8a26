"""LCModel RAW and its likes say neither dwell time nor frequency: flags, or the basis with a notice, do."""

import json

import numpy as np
import pytest

from pulsespec.errors import DataError
from pulsespec.recon.known import Known, Readout
from pulsespec.recon.read import read
from pulsespec.recon.results import read_table
from pulsespec.simulator import Basis
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.lcmodel import write_basis

F0, DWELL, SAMPLES = 127.736713e6, 5e-4, 1024
PEAKS = {
    "NAA": ((2.008, 3),),
    "Cr": ((3.027, 3), (3.913, 2)),
    "GPC": ((3.212, 9),),
    "Ins": ((3.56, 4), (3.52, 2)),
}
TRUTH = {"NAA": 12.0, "Cr": 8.0, "GPC": 1.6, "Ins": 6.0}


def line_basis():
    """Singlets in the place of four metabolites, as lines."""
    lines = {
        name: Lines(
            np.array([(ppm - 4.65) * F0 * 1e-6 for ppm, _ in peaks]),
            np.array([count for _, count in peaks], dtype=complex),
        )
        for name, peaks in PEAKS.items()
    }
    return Basis(lines=lines, f0_hz=F0, nucleus="1H", te_s=0.03, samples=SAMPLES, dwell_s=DWELL)


def spectrum(seed=1):
    """What the truth gives with lines of 5 Hz and noise."""
    noise = np.random.default_rng(seed).normal(size=(2, SAMPLES)) * 0.05
    basis = line_basis()
    return sum(amount * basis.fid(name, SAMPLES, DWELL, 4.0, 3.0) for name, amount in TRUTH.items()) + (
        noise[0] + 1j * noise[1]
    )


def write_raw(path, fid):
    head = " $NMID ID='x', FMTDAT='(2E15.6)'\n TRAMP=1, VOLUME=1 $END\n"
    path.write_text(head + "".join(f"{z.real:17.9E}{z.imag:17.9E}\n" for z in fid))
    return path


def write_jmrui(path, fid):
    head = (
        f"jMRUI Data Textfile\n\nFilename: x.txt\n\nPointsInDataset: {fid.size}\nDatasetsInFile: 1\n"
        f"SamplingInterval: {DWELL * 1e3}\n"
        f"BeginTime: 0E0\nTransmitterFrequency: {F0:.9E}\nMagneticField: 3.0E0\nTypeOfNucleus: 0E0\n\n"
        "Signal and FFT\nsig(real)\tsig(imag)\nSignal 1 out of 1 in file\n"
    )
    path.write_text(head + "".join(f"{z.real:.10e}\t{-z.imag:.10e}\n" for z in fid))
    return path


def write_columns(path, fid):
    np.savetxt(path, np.stack([fid.real, fid.imag], axis=1), fmt="%.10e")
    return path


@pytest.fixture
def sampled(tmp_path):
    write_basis(line_basis(), tmp_path / "lcm.basis")
    return tmp_path / "lcm.basis"


def numbers(folder):
    rows = read_table(folder / "concentrations.tsv")
    return np.array([[row["amplitude"], row["sd"], row["ratio_tCr"]] for row in rows])


def test_three_texts_give_one_table(tmp_path, sampled, pulsespec):
    tables = []
    for write, name in ((write_jmrui, "j.txt"), (write_raw, "r.RAW"), (write_columns, "c.txt")):
        path = write(tmp_path / name, spectrum())
        code, _, error = pulsespec("fit", path, "--basis", sampled, "-o", tmp_path / f"of-{name}")
        assert code == 0, error
        tables.append(numbers(tmp_path / f"of-{name}"))
        assumed = "assumed are those of the basis lcm.basis" in error
        assert assumed == (name != "j.txt")
        warned = json.loads((tmp_path / f"of-{name}" / "result.json").read_text())["warnings"]
        assert any("500 us (1024 points here, 1024 there)" in line for line in warned) == assumed
    for table in tables[1:]:
        np.testing.assert_allclose(table, tables[0], rtol=1e-4, atol=1e-6)
    names = [row["metabolite"] for row in read_table(tmp_path / "of-r.RAW" / "concentrations.tsv")]
    found = dict(zip(names, tables[1], strict=True))
    for name, true in TRUTH.items():
        assert abs(found[name][0] - true) < 4 * found[name][1] + 0.02 * true


def test_flags_go_before_the_basis(tmp_path, sampled, pulsespec):
    path = write_raw(tmp_path / "r.RAW", spectrum())
    flags = ("--dwell-s", DWELL, "--f0-mhz", F0 * 1e-6)
    code, _, error = pulsespec("fit", path, "--basis", sampled, "-o", tmp_path / "out", *flags)
    assert (code, "assumed" in error) == (0, False)


def test_lines_have_no_dwell_time(tmp_path, pulsespec):
    line_basis().write(tmp_path / "b.h5")
    path = write_raw(tmp_path / "r.RAW", spectrum())
    code, _, error = pulsespec("fit", path, "--basis", tmp_path / "b.h5", "-o", tmp_path / "out")
    assert code == 2
    assert "dwell time, which its format does not store; pass --dwell-s" in error
    assert "stores lines, which have no dwell time" in error
    assert not (tmp_path / "out").exists()
    code, _, error = pulsespec(
        "fit", path, "--basis", tmp_path / "b.h5", "-o", tmp_path / "out", "--dwell-s", DWELL
    )
    assert code == 0
    assert "spectrometer frequency 127.7367 MHz" in error


def test_a_basis_of_another_dwell_time_ends_in_no_confident_table(tmp_path, pulsespec):
    """The data were sampled half as fast as the basis: with its dwell time every line lies elsewhere."""
    basis = line_basis()
    fast = Basis(lines=basis.lines, f0_hz=F0, nucleus="1H", te_s=0.03, samples=2048, dwell_s=DWELL / 2)
    write_basis(fast, tmp_path / "fast.basis")
    path = write_raw(tmp_path / "r.RAW", spectrum())
    code, _, error = pulsespec("fit", path, "--basis", tmp_path / "fast.basis", "-o", tmp_path / "out")
    assert "1024 points here, 2048 there" in error
    if code == 0:
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        assert not result["fit"]["converged"] or result["fit"]["residual_over_noise"] > 10
        assert any("did not converge" in line or "times the noise" in line for line in result["warnings"])


def test_the_user_may_know_more_digits(tmp_path):
    path = write_jmrui(tmp_path / "j.txt", spectrum())
    told = read([path], known=Known(f0_hz=F0 * 1.0005)).metabolite
    assert told.f0_hz == F0 * 1.0005


def control(path, **keys):
    body = "".join(f" {key} = {value}\n" for key, value in keys.items())
    path.write_text(
        f" $LCMODL\n nunfil = 256\n deltat = 5e-04\n hzpppm = 127.7\n filraw = 'a.met'\n{body} $END\n"
    )


def test_voxels_lie_on_the_grid_of_the_control_file(tmp_path):
    fids = np.stack([spectrum(k)[:256] * (k + 1) for k in range(6)])
    write_raw(tmp_path / "a.met", fids.ravel())
    control(tmp_path / "control.file", ndcols=3, ndrows=2, ndslic=1)
    data = read([tmp_path / "a.met"]).metabolite
    assert (data.dims, data.data.shape) == (("x", "y", "t"), (3, 2, 256))
    np.testing.assert_allclose(data.data[2, 1], fids[5], atol=1e-6)  # columns run fastest
    np.testing.assert_allclose(data.data[1, 0], fids[1], atol=1e-6)
    control(tmp_path / "control.file", ndcols=4)
    with pytest.raises(DataError, match="6 voxels, but NDCOLS"):
        read([tmp_path / "a.met"])


def test_voxels_without_their_control_file_are_not_one_fid(tmp_path):
    fids = np.stack([spectrum(k)[:512] for k in range(3)])
    path = write_raw(tmp_path / "a.met", fids.ravel())
    with pytest.raises(DataError, match=r"holds several voxels.*NUNFIL"):
        read([path], known=Known(dwell_s=DWELL, f0_hz=F0))


@pytest.mark.parametrize("odd", ["noise", "spike"])
def test_one_fid_is_not_taken_for_voxels(tmp_path, odd):
    noise = np.random.default_rng(3).normal(size=SAMPLES) + 0j
    fid = noise if odd == "noise" else spectrum() + 1e4 * (np.arange(SAMPLES) == 700)
    path = write_raw(tmp_path / "a.RAW", fid)
    assert read([path], known=Known(basis=Readout("b", F0, DWELL))).metabolite.dims == ("t",)


def test_real_data_in_three_formats_give_one_table(tmp_path, data_folder, pulsespec):
    """One dataset of the ISMRM challenge: RAW, conjugated jMRUI text and columns, with a part of its basis."""
    folder = data_folder / "fitting-challenge-2016"
    part = tmp_path / "basis"
    part.mkdir()
    for name in ("NAA", "Cr", "GPC", "Ins", "Glu", "Mac"):
        (part / f"{name}.RAW").write_bytes((folder / "basisset_LCModel" / f"{name}.RAW").read_bytes())
    files = ("datasets_LCModel/dataset4.RAW", "datasets_JMRUI/dataset4_WS.txt", "datasets_text/dataset4.txt")
    flags = ("--basis", part, "--dwell-s", 2.5e-4, "--f0-mhz", 123.2617)
    tables = []
    for number, name in enumerate(files):
        code, _, error = pulsespec("fit", folder / name, "-o", tmp_path / str(number), *flags)
        assert code == 0, error
        tables.append(numbers(tmp_path / str(number)))
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(tables[2], tables[0], rtol=1e-3, atol=1e-5)


def test_what_is_named_as_water_is_water(tmp_path, sampled, pulsespec):
    """Water at the edge of the band does not look like water; a spectrum with much residual water does."""
    t = np.arange(SAMPLES) * DWELL
    spectrum_path = write_raw(tmp_path / "a.RAW", spectrum() + 3000 * np.exp(-30 * t))
    edge = 1e4 * np.exp(-20 * t) * (-1.0) ** np.arange(SAMPLES)
    water = write_raw(tmp_path / "a.H2O", edge + 0j)
    flags = ("--water", water, "--basis", sampled, "-o", tmp_path / "out")
    code, _, error = pulsespec("fit", spectrum_path, *flags)
    assert code == 0, error
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["data"]["source"] == "a.RAW"
    rows = {row["metabolite"]: row for row in result["concentrations"]}
    assert abs(rows["NAA"]["amplitude"] - TRUTH["NAA"]) < 4 * rows["NAA"]["sd"] + 0.03 * TRUTH["NAA"]
