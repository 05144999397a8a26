"""LCModel basis files: round trip, other programs' files, damage."""

from dataclasses import replace

import numpy as np
import pytest

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.lcmodel import read_basis, write_basis


@pytest.fixture
def basis():
    lines = {
        "NAA": Lines(np.array([-325.0, -20.0]), np.array([3.0 + 0j, 0.5 - 0.2j])),
        "Cr": Lines(np.array([-199.5]), np.array([3.0 + 0j])),
    }
    return Basis(
        lines=lines, f0_hz=123.25e6, nucleus="1H", te_s=0.03, samples=1024, dwell_s=2.5e-4, sequence="press"
    )


def test_round_trip(basis, tmp_path):
    write_basis(basis, tmp_path / "x.basis", linewidth_hz=2.0)
    read = read_basis(tmp_path / "x.basis")
    assert read.names == basis.names
    assert (read.f0_hz, read.te_s, read.dwell_s) == pytest.approx((123.25e6, 0.03, 2.5e-4))
    for name in basis.names:
        np.testing.assert_allclose(read.fid(name), basis.fid(name, linewidth_hz=2.0), atol=3e-5)


def test_an_existing_file_is_kept(basis, tmp_path):
    (tmp_path / "x.basis").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        write_basis(basis, tmp_path / "x.basis")
    assert (tmp_path / "x.basis").read_text() == "mine"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_a_truncated_file_is_an_error_that_names_it(basis, tmp_path, share):
    path = tmp_path / "x.basis"
    write_basis(basis, path)
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(DataError, match=r"x\.basis"):
        read_basis(path)


def test_another_dwell_time_is_thinned_or_interpolated(basis, tmp_path):
    write_basis(basis, tmp_path / "x.basis")
    read = read_basis(tmp_path / "x.basis")
    assert read.fid("NAA", 512).shape == (512,)
    exact = basis.fid("NAA", 400, 3e-4, linewidth_hz=read.linewidth_hz or 0.0)
    assert np.abs(read.fid("NAA", 400, 3e-4) - exact).max() < 1e-4 * np.abs(exact).max()
    np.testing.assert_array_equal(read.fid("NAA", 256, 5e-4), read.fid("NAA", 512)[::2])


def test_broad_components_are_added_at_its_own_sampling(basis, tmp_path):
    write_basis(basis, tmp_path / "x.basis")
    read = read_basis(tmp_path / "x.basis").with_broad(broad_lines(123.25e6, ["MM09"]))
    assert read.broad == ("MM09",)
    assert abs(read.fid("MM09")[0]) == pytest.approx(3.0)


def test_spectra_are_scaled_as_lcmodel_scales_them(basis, tmp_path):
    """By TRAMP / (VOLUME CONC), metabolite by metabolite."""
    path = tmp_path / "x.basis"
    write_basis(basis, path)
    head, tail = path.read_text().split("METABO = 'Cr'")
    path.write_text(
        head + "METABO = 'Cr'" + tail.replace("CONC = 1.", "CONC = 50.").replace("TRAMP = 1.", "TRAMP = 2.")
    )
    read = read_basis(path)
    assert abs(read.fid("NAA")[0]) == pytest.approx(abs(basis.fid("NAA")[0]), rel=1e-3)
    assert abs(read.fid("Cr")[0]) == pytest.approx(3 * 2 / 50, rel=1e-3)
    path.write_text(path.read_text().replace("CONC = 50.", "CONC = 0."))
    with pytest.raises(DataError, match="CONC 0"):
        read_basis(path)


def test_an_encrypted_file_is_refused(basis, tmp_path):
    write_basis(basis, tmp_path / "x.basis")
    text = (tmp_path / "x.basis").read_text()
    (tmp_path / "x.basis").write_text(text.replace("BADELT = ", "BADELT = -"))
    with pytest.raises(DataError, match="encrypted"):
        read_basis(tmp_path / "x.basis")


def test_another_centre_is_moved_to_what_lcmodel_takes_for_granted(basis, tmp_path):
    lines = {name: Lines(value.frequency_hz + 100.0, value.amplitude) for name, value in basis.lines.items()}
    moved = replace(basis, lines=lines, reference_ppm=4.65 - 100 / 123.25)
    write_basis(moved, tmp_path / "x.basis")
    np.testing.assert_allclose(
        read_basis(tmp_path / "x.basis").fid("NAA"), basis.fid("NAA", linewidth_hz=1.0), atol=3e-5
    )


@pytest.mark.parametrize(
    "name",
    [
        "fitting-challenge-2016/basisset_LCModel/press3T_30ms.BASIS",
        "lcmodel-testcase/3t.basis",
        "lcmodel-csi-3t/sim_se_csi_te16.basis",
        "philips-7t-dw-steam/basis_STEAM_TE45_TM60.BASIS",
    ],
)
def test_files_of_other_programs(data_folder, name):
    read = read_basis(data_folder / name)
    ppm = ppm_axis(read.samples, read.dwell_s, read.f0_hz, read.reference_ppm)
    inside = (ppm > 1.8) & (ppm < 3.5)
    for metabolite, expected in (("NAA", 2.01), ("Cr", 3.03)):
        spectrum = np.abs(to_spectrum(read.fid(metabolite, linewidth_hz=2.0)))[inside]
        assert ppm[inside][np.argmax(spectrum)] == pytest.approx(expected, abs=0.02)
