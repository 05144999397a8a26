"""What a fit leaves on disk: NIfTI-MRS that another reader reads, and JSON that says how it came about."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from nifti_mrs.nifti_mrs import NIFTI_MRS
from test_readout_from_basis import DWELL, F0, SAMPLES, TRUTH, line_basis, spectrum

from pulsespec.errors import DataError
from pulsespec.recon.fit import FitSettings, fit
from pulsespec.recon.fit_nifti import write_fit
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.results import fit_facts, read_table
from pulsespec.recon.transients import Transients

OFF_HZ = 6.0
SETTINGS = FitSettings(exclude_ppm=((1.0, 1.4),), stiffness=1.0)


@pytest.fixture(scope="module")
def data():
    turn = np.exp(2j * np.pi * OFF_HZ * DWELL * np.arange(SAMPLES) + 0.4j)
    return Transients(data=spectrum() * turn, dims=("t",), dwell_s=DWELL, f0_hz=F0, te_s=0.03, source="made")


@pytest.fixture(scope="module")
def found(data):
    return fit(data, line_basis(), SETTINGS)


def curves_of(path):
    """Curves, axis and names by nifti-mrs alone, with plain numpy for the Fourier transform."""
    image = NIFTI_MRS(str(path))
    fids = np.conj(image[:])[0, 0, 0]  # it hands out the sense of FSL-MRS
    points = 2 * len(fids)
    values = np.fft.fftshift(np.fft.fft(fids, points, axis=0), axes=0).real / np.sqrt(points)
    offset = np.fft.fftshift(np.fft.fftfreq(points, image.dwelltime))
    names = image.hdr_ext["dim_5_header"]["FitPart"]["Value"]
    ppm = image.hdr_ext.to_dict().get("SpecFreqChemShift", 4.65) - offset / image.spectrometer_frequency[0]
    return dict(zip(names, values.T, strict=True)), ppm, image


def test_another_reader_finds_the_curves_where_they_belong(tmp_path, data, found):
    write_fit(found, data, tmp_path / "fit.nii.gz")
    curves, ppm, image = curves_of(tmp_path / "fit.nii.gz")
    assert list(curves) == ["data", "fit", "baseline", "residual", *found.names]
    assert image.dim_tags[0] == "DIM_USER_0"
    inside = np.interp(found.ppm[::-1], ppm[::-1], np.arange(ppm.size)[::-1])[::-1]
    at = np.round(inside).astype(int)
    np.testing.assert_allclose(inside, at, atol=1e-3)  # the points of the fit are points of the file
    scale = np.abs(found.data).max()
    for name in ("data", "fit", "baseline", "residual"):
        np.testing.assert_allclose(curves[name][at], getattr(found, name), atol=2e-3 * scale)
        outside = np.delete(curves[name], at)
        assert np.abs(outside).max() < 2e-3 * scale
    for name in found.names:
        np.testing.assert_allclose(curves[name][at], found.components[name], atol=2e-3 * scale)
    whole = sum(curves[name] for name in found.names) + curves["baseline"]
    np.testing.assert_allclose(whole, curves["fit"], atol=1e-4 * scale)


def test_the_reference_of_the_file_is_that_of_the_fit(tmp_path, data, found):
    """The data were 6 Hz (0.047 ppm) off; in the file the singlets lie where the basis has them."""
    write_fit(found, data, tmp_path / "fit.nii.gz")
    curves, ppm, _ = curves_of(tmp_path / "fit.nii.gz")
    for name, at in (("NAA", 2.008), ("GPC", 3.212)):
        assert ppm[np.argmax(curves[name])] == pytest.approx(at, abs=0.02)
    near = np.abs(ppm - 2.0) < 0.3
    assert ppm[near][np.argmax(curves["data"][near])] == pytest.approx(2.008, abs=0.02)
    write_nifti(data, tmp_path / "spectrum.nii.gz")
    fitted = ppm.size // 2
    raw = np.asarray(NIFTI_MRS(str(tmp_path / "spectrum.nii.gz"))[:]).ravel()[:fitted]
    raw[0] /= 2  # as the fit weighs it
    height = np.abs(np.fft.fft(raw, 2 * fitted)).max() / np.sqrt(2 * fitted)
    assert curves["data"].max() == pytest.approx(height, rel=0.1)  # in the units of the spectrum


def test_the_header_says_what_was_done(tmp_path, data, found):
    write_fit(found, data, tmp_path / "fit.nii.gz")
    header = json.loads(nibabel.load(tmp_path / "fit.nii.gz").header.extensions[0].get_content())
    assert header["EchoTime"] == 0.03
    last = header["ProcessingApplied"][-1]
    assert last["Method"] == "Fit"
    assert found.message in last["Details"]


def test_points_that_are_no_bins_are_refused(tmp_path, data, found):
    with pytest.raises(DataError, match="no bins of a spectrum"):
        write_fit(replace(found, ppm=found.ppm * 1.001), data, tmp_path / "fit.nii.gz")
    assert not (tmp_path / "fit.nii.gz").exists()


def test_covariance_and_correlation_belong_together(found):
    facts = fit_facts(found)
    covariance, correlation = np.array(facts["covariance"]), np.array(facts["correlation"])
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(correlation * np.outer(sd, sd), covariance, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(np.diag(correlation), 1)
    assert np.abs(correlation).max() < 1 + 1e-9
    assert facts["components"] == list(TRUTH)


def test_an_amplitude_without_variance_has_no_correlation(found):
    covariance = np.diag([1.0, 4.0, 0.0, 9.0])
    facts = fit_facts(replace(found, covariance=covariance))
    np.testing.assert_array_equal(facts["correlation"], np.eye(4))


def test_the_folder_of_a_fit_is_complete(tmp_path, data, pulsespec):
    write_nifti(data, tmp_path / "in.nii.gz")
    line_basis().write(tmp_path / "b.h5")
    code, _, error = pulsespec(
        "fit", tmp_path / "in.nii.gz", "--basis", tmp_path / "b.h5", "-o", tmp_path / "out"
    )
    assert code == 0, error
    expected = {
        "concentrations.tsv",
        "result.json",
        "spectrum.nii.gz",
        "fit.nii.gz",
        "report.html",
        "report.pdf",
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    rows = {row["metabolite"]: row for row in read_table(tmp_path / "out" / "concentrations.tsv")}
    names, covariance = result["fit"]["components"], np.array(result["fit"]["covariance"])
    whole = covariance + np.array(result["fit"]["covariance_beyond"])
    for number, name in enumerate(names):
        line = result["fit_settings"]["line_sd"] * rows[name]["amplitude"]
        assert np.hypot(np.sqrt(whole[number, number]), line) == pytest.approx(rows[name]["sd"], rel=1e-4)
    assert covariance.shape == np.shape(result["fit"]["correlation"]) == (len(names), len(names))
    assert result["fit"]["message"]
    assert set(result["program"]["with"]) == {"python", "numpy", "scipy"}
    for key in (
        "settings",
        "fit_settings",
        "data",
        "basis",
        "quantification",
        "warnings",
        "quality",
        "steps",
    ):
        assert key in result
    assert "sequence_hash" in result["basis"]
    assert result["settings"]["spectrum"] == "in.nii.gz"
    assert "verdict" in result["quality"]
