"""What LCModel is given, read by plain numpy and regular expressions that share nothing with the writers."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_readout_from_basis import DWELL, F0, SAMPLES, line_basis, spectrum, write_raw

from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.known import Known
from pulsespec.recon.lcmodel_input import lcmodel_input, write_input
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.quantify import QuantifySettings
from pulsespec.recon.read import read
from pulsespec.recon.transients import Transients
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import read_basis
from pulsespec.simulator.broad import broad_lines

WATER_MM = 40000.0
HEIGHT = 5000.0
LOSS = 0.8
PLAIN = QuantifySettings(water_mm=WATER_MM, relaxation=False)


def with_water(kept=1.0):
    """The basis with water of two protons, of which the sequence keeps a part."""
    return replace(line_basis(), water=Lines(np.zeros(1), np.array([2 * kept + 0j])))


def data(fid=None, **changes):
    facts = {"dims": ("t",), "dwell_s": DWELL, "f0_hz": F0, "te_s": 0.03, "tr_s": 2.0, "source": "made.RAW"}
    return Transients(data=spectrum() if fid is None else fid, **(facts | changes))


def water(samples=SAMPLES, dwell_s=DWELL, width_hz=7.0):
    t = np.arange(samples) * dwell_s
    return data(HEIGHT * np.exp(-np.pi * width_hz * t + 0.3j), dwell_s=dwell_s, source="made.H2O")


def control_of(folder):
    """Keys and values of the control file; numbers as numbers."""
    text = (folder / "control.file").read_text()
    assert text.startswith(" $LCMODL\n")
    assert text.endswith(" $END\n")
    found = {}
    for line in text.splitlines()[1:-1]:
        key, value = re.fullmatch(r" ([\w(),]+) = (.+)", line).groups()
        found[key] = value.strip("'") if value[0] in "'TF" else float(value)
    return found


def pairs(text):
    flat = np.array(text.split(), dtype=float)
    return flat[::2] + 1j * flat[1::2]


def fid_of(path):
    return pairs(path.read_text().rpartition("$END")[2])


def spectra_of(path):
    """Spectra of a .basis by name, as they stand."""
    parts = re.findall(r"\$BASIS\n.*?METABO = '(\w+)'.*?\$END\n([^$]*)", path.read_text(), re.DOTALL)
    return {name: pairs(numbers) for name, numbers in parts}


def calibration(folder):
    """FCALIB as LCModel's AREABA, AREAWA and WATER_SCALE form it, from the files alone, index by index from 1."""
    control = control_of(folder)
    function = spectra_of(folder / "metabolites.basis")[control["wsmet"]].real
    fwhm = float(re.search(r"FWHMBA = ([\d.]+)", (folder / "metabolites.basis").read_text()).group(1))
    ndata = function.size
    ppminc = 1 / (control["deltat"] * ndata * control["hzpppm"])
    ly = round((4.65 - control["wsppm"]) / ppminc) + 1
    half = round(0.5 * control["rfwbas"] * fwhm / ppminc)
    border = round(control["ppmbas(1)"] / ppminc)

    def at(index):
        return function[(index - 1) % ndata]

    lowest_left = min(range(ly - half, ly), key=at)
    lowest_right = min(range(ly + 1, ly + half + 1), key=at)
    reach = max(ly - lowest_left, lowest_right - ly)
    left = np.mean([at(k) for k in range(ly - reach - border, ly - reach)])
    right = np.mean([at(k) for k in range(ly + reach + 1, ly + reach + border + 1)])
    inside = [at(k) for k in range(ly - reach, ly + reach + 1)]
    area = ppminc * (sum(inside) - len(inside) * 0.5 * (left + right))
    metabolite = area / (control["n1hmet"] * control["attmet"])
    size = np.abs(fid_of(folder / "water.H2O"))
    count = np.arange(control["nwsst"], control["nwsend"] + 1).astype(int)
    slope, start = np.linalg.lstsq(
        np.stack([count, np.ones(count.size)], 1), np.log(size[count - 1]), rcond=None
    )[0]
    assert slope < 0
    points = 2 * control["nunfil"]
    ppminc = 1 / (control["deltat"] * points * control["hzpppm"])
    area_water = 0.5 * ppminc * np.exp(start) * np.sqrt(points)
    return metabolite / (area_water / (2 * control["atth2o"] * control["wconc"]))


def written(folder, *arguments, **keywords):
    folder.mkdir(exist_ok=True)
    write_input(lcmodel_input(*arguments, **keywords), folder)
    return folder


def test_raw_is_the_fid_and_is_not_conjugated(tmp_path):
    folder = written(tmp_path / "out", data(), water(), with_water(), amounts=PLAIN)
    fid = fid_of(folder / "metab.RAW")
    np.testing.assert_allclose(fid, data().data, atol=1e-7 * np.abs(fid).max())
    frequency = np.fft.fftfreq(SAMPLES, DWELL)[np.argmax(np.abs(np.fft.fft(fid)))]
    assert frequency > 0  # upfield of water, the sense of NIfTI-MRS
    assert min(abs(4.65 - frequency / F0 * 1e6 - ppm) for ppm in (2.008, 3.027, 3.212)) < 0.02
    np.testing.assert_allclose(fid_of(folder / "water.H2O"), water().data, rtol=1e-6)
    spectrum = spectra_of(folder / "metabolites.basis")["NAA"]
    at = 4.65 - np.fft.fftfreq(spectrum.size, DWELL)[np.argmax(spectrum.real)] / F0 * 1e6
    assert at == pytest.approx(2.008, abs=0.01)


def test_the_control_file_agrees_with_the_fit(tmp_path):
    settings = FitSettings(
        ppm_range=(0.5, 3.9), exclude_ppm=((1.1, 1.4), (2.5, 2.6)), names=("Cr", "NAA", "GPC")
    )
    folder = written(tmp_path / "out", data(), water(), with_water(), settings, PLAIN)
    control = control_of(folder)
    expected = {
        "nunfil": 1024, "deltat": 5e-4, "hzpppm": pytest.approx(F0 * 1e-6, rel=1e-8), "echot": 30, "ppmst": 3.9,
        "ppmend": 0.5, "ppmgap(1,1)": 2.6, "ppmgap(2,1)": 2.5, "ppmgap(1,2)": 1.4, "ppmgap(2,2)": 1.1,
        "dows": "T", "doecc": "F", "nomit": 0, "nkeep": 3, "chkeep(1)": "Cr", "chkeep(3)": "GPC", "namrel": "Cr",
        "ncombi": 0, "filraw": "metab.RAW", "filh2o": "water.H2O", "filbas": "metabolites.basis", "wsmet": "Cr",
        "filcoo": "lcmodel.coord",
    }  # fmt: skip
    assert {key: control.get(key) for key in expected} == expected
    assert "nsimul" not in control  # LCModel's own macromolecules
    assert list(spectra_of(folder / "metabolites.basis")) == ["Cr", "NAA", "GPC"]
    assert {path.name for path in folder.iterdir()} == {
        "control.file", "metab.RAW", "water.H2O", "metabolites.basis", "README.txt",
    }  # fmt: skip


@pytest.mark.parametrize("kept", [1.0, LOSS])
def test_lcmodel_scales_as_we_do(tmp_path, kept):
    """One proton gives 1 in the basis and HEIGHT is water of WATER_MM: so many mM is an amplitude of one."""
    folder = written(tmp_path / "out", data(), water(), with_water(kept), amounts=PLAIN)
    assert calibration(folder) == pytest.approx(WATER_MM * 2 * kept / HEIGHT, rel=2e-3)
    control = control_of(folder)
    assert control["wconc"] == pytest.approx(kept * WATER_MM, rel=0.08)  # but for how areas are read
    assert control["wsppm"] == pytest.approx(3.027, abs=0.01)


def test_the_scale_is_that_of_the_table(tmp_path, pulsespec):
    """Tissue, relaxation and all: mM over amplitude of creatine in the table of a fit is LCModel's FCALIB."""
    with_water(LOSS).write(tmp_path / "b.h5")
    write_nifti(data(), tmp_path / "a.nii.gz")
    write_nifti(water(2 * SAMPLES), tmp_path / "w.nii.gz")
    flags = (
        "--water",
        tmp_path / "w.nii.gz",
        "--basis",
        tmp_path / "b.h5",
        "--gm",
        0.5,
        "--wm",
        0.3,
        "--csf",
        0.2,
    )
    code, shown, error = pulsespec(
        "fit", tmp_path / "a.nii.gz", *flags, "-o", tmp_path / "ours", "--json", "--quiet"
    )
    assert code == 0, error
    rows = {row["metabolite"]: row for row in json.loads(shown)["concentrations"]}
    export = ("lcmodel", "export", tmp_path / "a.nii.gz", *flags, "-o", tmp_path / "theirs")
    assert pulsespec(*export, "--dry-run")[0] == 0
    assert not (tmp_path / "theirs").exists()
    code, _, error = pulsespec(*export)
    assert code == 0, error
    ours = rows["Cr"]["concentration_mM"] / rows["Cr"]["amplitude"]
    assert calibration(tmp_path / "theirs") == pytest.approx(ours, rel=2e-3)
    assert f"FCALIB = {ours:.4g}"[:12] in (tmp_path / "theirs" / "README.txt").read_text()
    code, _, error = pulsespec(*export)
    assert (code, "--overwrite" in error) == (2, True)


@pytest.mark.parametrize("width_hz", [None, 0.0, 2.0])
def test_a_sampled_basis_is_taken_to_be_excited_as_its_creatine(tmp_path, width_hz):
    basis = read_basis(written(tmp_path / "first", data(), None, line_basis()) / "metabolites.basis").basis
    basis = replace(basis, linewidth_hz=width_hz)  # which many files do not say, or say wrongly
    folder = written(tmp_path / "out", data(), water(), basis, amounts=PLAIN)
    text = (folder / "README.txt").read_text()
    assert "taken to be excited as Cr is" in text
    assert calibration(folder) == pytest.approx(
        2 * WATER_MM / HEIGHT, rel=0.01
    )  # though LCModel loses its tails
    assert calibration(folder) == pytest.approx(
        float(re.search(r"FCALIB = ([\d.]+)", text).group(1)), rel=2e-3
    )


def test_without_water_nothing_is_scaled(tmp_path):
    folder = written(tmp_path / "out", data(), None, with_water())
    control = control_of(folder)
    assert control["dows"] == "F"
    assert not {"filh2o", "wconc", "fcalib"} & set(control)
    assert not (folder / "water.H2O").exists()


def test_without_a_singlet_the_factor_itself_is_given(tmp_path):
    inverted = {
        name: Lines(lines.frequency_hz, -lines.amplitude) for name, lines in line_basis().lines.items()
    }
    basis = replace(with_water(), lines=inverted)
    made = lcmodel_input(data(), water(), basis, amounts=PLAIN)
    assert made.control["dows"] is False
    assert made.control["fcalib"] == pytest.approx(WATER_MM * 2 / HEIGHT, rel=1e-3)


def test_macromolecules_of_the_basis_are_lcmodels_only_ones(tmp_path):
    basis = line_basis().with_broad(broad_lines(F0, reference_ppm=4.65))
    folder = written(tmp_path / "out", data(), None, basis)
    assert control_of(folder)["nsimul"] == 0
    assert "MM09" in spectra_of(folder / "metabolites.basis")


def test_another_centre_is_brought_to_lcmodels(tmp_path):
    turn = np.exp(2j * np.pi * (3.0 - 4.65) * F0 * 1e-6 * DWELL * np.arange(SAMPLES))
    folder = written(tmp_path / "out", data(spectrum() * turn, reference_ppm=3.0), None, line_basis())
    np.testing.assert_allclose(fid_of(folder / "metab.RAW"), spectrum(), atol=1e-6 * 150)


def test_our_own_readers_take_it_back(tmp_path):
    folder = written(tmp_path / "out", data(), water(), with_water(), amounts=PLAIN)
    scan = read([folder / "metab.RAW"], known=Known(), water=folder / "water.H2O")
    np.testing.assert_allclose(scan.metabolite.data, data().data, atol=1e-5)
    assert (scan.metabolite.dwell_s, scan.metabolite.te_s) == (DWELL, pytest.approx(0.03))
    assert scan.metabolite.f0_hz == pytest.approx(F0, rel=1e-8)
    basis = read_basis(folder / "metabolites.basis").basis
    assert basis.names == line_basis().names
    expected = line_basis().fid("NAA", SAMPLES, DWELL, basis.linewidth_hz)
    np.testing.assert_allclose(basis.fid("NAA"), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("spectrum_changes", "reference", "error", "words"),
    [
        ({}, water(dwell_s=2.5e-4), DataError, "dwell time 0.00025 s"),
        ({}, water(samples=512), DataError, "512 points, expected 1024"),
        (
            {"data": np.ones((2, SAMPLES)), "dims": ("average", "t")},
            None,
            InputError,
            "expected a single FID",
        ),
    ],
)
def test_what_lcmodel_cannot_take_is_refused(spectrum_changes, reference, error, words):
    with pytest.raises(error, match=words):
        lcmodel_input(replace(data(), **spectrum_changes), reference, with_water(), amounts=PLAIN)


def test_a_basis_of_another_dwell_time_is_interpolated_or_refused(tmp_path):
    basis = read_basis(written(tmp_path / "first", data(), None, line_basis()) / "metabolites.basis").basis
    folder = written(tmp_path / "second", data(dwell_s=8e-4), None, basis)
    other = read_basis(folder / "metabolites.basis").basis
    assert other.dwell_s == pytest.approx(8e-4)
    np.testing.assert_allclose(
        other.fid("NAA", 200), basis.fid("NAA", 200, 8e-4), atol=1e-3 * np.abs(basis.fid("NAA")).max()
    )
    with pytest.raises(MismatchError, match="outside the band"):
        lcmodel_input(data(dwell_s=2.7e-3), None, basis)


def test_the_spectrum_of_lcmodel_itself_goes_round(tmp_path, data_folder, pulsespec):
    """LCModel's test case: what we write of it has the numbers of its own control file, RAW and basis."""
    case = data_folder / "lcmodel-testcase"
    code, _, error = pulsespec(
        "lcmodel", "export", case / "data.raw", "--basis", case / "3t.basis", "-o", tmp_path / "out"
    )
    assert code == 0, error
    control = control_of(tmp_path / "out")
    theirs = dict(re.findall(r"^(\w+)=(.*)$", (case / "control.file").read_text(), re.MULTILINE))
    for key in ("nunfil", "deltat", "key"):
        assert control[key] == float(theirs[key])
    assert control["hzpppm"] == pytest.approx(float(theirs["hzpppm"]), rel=1e-6)
    original = fid_of(case / "data.raw")
    ours = fid_of(tmp_path / "out" / "metab.RAW")
    bell = np.sin(
        np.pi * (np.arange(original.size) + 0.5) / original.size
    )  # keeps the tails of water at water
    spectra = [np.fft.fft(fid * bell) for fid in (original, ours)]
    ppm = 4.65 - np.fft.fftfreq(original.size, 5e-4) / 127.786142
    inside = (ppm > 0.5) & (ppm < 4.0)  # residual water was taken off
    scale = np.abs(spectra[0][inside]).max()
    np.testing.assert_allclose(spectra[1][inside], spectra[0][inside], atol=0.02 * scale)


def test_the_challenge_is_scaled_as_its_truth_says(tmp_path, data_folder):
    """One proton gives 1 in its basis, so mM are amplitudes over half of water, times the water of the dataset."""
    folder = data_folder / "fitting-challenge-2016"
    known = Known(dwell_s=2.5e-4, f0_hz=123.2617e6)
    path = folder / "datasets_LCModel" / "dataset1.RAW"
    scan = read([path], known=known, water=path.with_suffix(".H2O"))
    basis = read_basis(folder / "basisset_LCModel", Given(f0_hz=known.f0_hz, dwell_s=known.dwell_s)).basis
    out = written(tmp_path / "out", scan.metabolite, scan.water, basis, amounts=PLAIN)
    first = np.abs(fid_of(path.with_suffix(".H2O")))[0]
    assert calibration(out) == pytest.approx(2 * WATER_MM / first, rel=0.01)


def test_raw_of_the_challenge_is_written_as_it_was_read(tmp_path, data_folder):
    """Real RAW and H2O of a format whose sense is not defined come out of the same sense."""
    folder = data_folder / "fitting-challenge-2016"
    known = Known(dwell_s=2.5e-4, f0_hz=123.2617e6)
    path = folder / "datasets_LCModel" / "dataset1.RAW"
    scan = read([path], known=known, water=path.with_suffix(".H2O"))
    basis = replace(line_basis(), f0_hz=known.f0_hz)
    out = written(tmp_path / "out", scan.metabolite, scan.water, basis, amounts=PLAIN)
    assert scan.metabolite.records == ()  # nothing was conjugated
    np.testing.assert_allclose(fid_of(out / "metab.RAW"), fid_of(path), rtol=1e-5, atol=1e-3)
    again = read([write_raw(tmp_path / "a.RAW", fid_of(out / "metab.RAW"))], known=known).metabolite
    np.testing.assert_allclose(again.data, scan.metabolite.data, rtol=1e-5, atol=1e-3)
