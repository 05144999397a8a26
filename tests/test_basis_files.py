"""Basis files of every format: round trips, files that were written by hand, other programs' files, damage."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_mrs.create_nmrs import gen_nifti_mrs
from nifti_mrs.nifti_mrs import NIFTI_MRS

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import FORMATS, format_of, read_basis, write_basis
from pulsespec.simulator.basis_guard import find_singlets
from pulsespec.simulator.sampled import SampledBasis, at_reference, conjugated, sampled

F0_HZ = 123.25e6
SAMPLED = [name for name in FORMATS if name != "pulsespec"]


def line(ppm, amplitude, f0_hz=F0_HZ):
    """A line at `ppm`, in the Pulseq sense of `Lines`: downfield of 4.65 ppm is positive."""
    return Lines(np.array([(ppm - 4.65) * f0_hz * 1e-6]), np.array([amplitude + 0j]))


@pytest.fixture
def basis():
    broad = Lines(np.array([(0.91 - 4.65) * 123.25]), np.array([3.0 + 0j]), gauss_hz=np.array([20.0]))
    lines = {
        "NAA": line(2.008, 3.0),
        "Cr": Lines(np.array([-200.04, -89.2]), np.array([3.0, 2.0 - 0.4j])),
        "Ins": line(3.52, 2 + 0.3j),
        "Scyllo": line(3.34, 6.0),
        "MM09": broad,
    }
    return Basis(
        lines=lines, f0_hz=F0_HZ, nucleus="1H", te_s=0.03, tr_s=2.0, samples=1024, dwell_s=2.5e-4,
        sequence="press", sequence_hash="ab" * 32, broad=("MM09",),
    )  # fmt: skip


def target(folder, name):
    return folder / f"written{FORMATS[name].suffix}"


@pytest.mark.parametrize("name", SAMPLED)
def test_what_is_written_is_read(basis, tmp_path, name):
    path = target(tmp_path, name)
    assert write_basis(basis, path, name, linewidth_hz=3.0) == ()
    assert format_of(path) == name
    found = read_basis(path)
    assert found.format == name
    read = found.basis
    assert sorted(read.names) == sorted(basis.names)
    assert (read.f0_hz, read.te_s, read.dwell_s) == pytest.approx((F0_HZ, 0.03, 2.5e-4), rel=1e-6)
    assert read.reference_ppm == pytest.approx(4.65)
    assert read.linewidth_hz == pytest.approx(3.0, rel=1e-4)
    assert read.broad == ("MM09",)
    for metabolite in basis.names:
        expected = basis.fid(metabolite, linewidth_hz=3.0)
        np.testing.assert_allclose(read.fid(metabolite), expected, atol=6e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_the_hash_of_the_sequence_is_kept(basis, tmp_path, name):
    write_basis(basis, target(tmp_path, name), name)
    assert read_basis(target(tmp_path, name)).basis.sequence_hash == basis.sequence_hash


def test_lines_stay_lines(basis, tmp_path):
    write_basis(basis, tmp_path / "x.h5", "pulsespec")
    read = read_basis(tmp_path / "x.h5")
    assert read.format == "pulsespec"
    np.testing.assert_array_equal(read.basis.lines["Cr"].amplitude, basis.lines["Cr"].amplitude)
    with pytest.raises(InputError, match="no points"):
        write_basis(basis, tmp_path / "y.h5", "pulsespec", samples=512)
    with pytest.raises(InputError, match="stores lines"):
        write_basis(sampled(basis), tmp_path / "y.h5", "pulsespec")


@pytest.mark.parametrize("name", SAMPLED)
def test_a_mirrored_basis_is_refused_unless_conjugated(basis, tmp_path, name):
    path = target(tmp_path, name)
    mirrored = conjugated(sampled(basis, linewidth_hz=2.0))
    with pytest.raises(MismatchError, match=r"mirrored.*NAA.*7\.29"):
        write_basis(mirrored, path, name)
    FORMATS[name].write(mirrored, path, False)  # as a program does that has the sign wrong
    with pytest.raises(MismatchError, match="--conjugate"):
        read_basis(path)
    read = read_basis(path, conjugate=True).basis
    np.testing.assert_allclose(read.fid("Cr"), basis.fid("Cr", linewidth_hz=2.0), atol=6e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_an_existing_file_is_kept(basis, tmp_path, name):
    path = target(tmp_path, name)
    write_basis(basis, path, name)
    with pytest.raises(InputError, match="--overwrite"):
        write_basis(basis, path, name)
    write_basis(basis, path, name, overwrite=True, linewidth_hz=7.0)
    assert read_basis(path).basis.linewidth_hz == pytest.approx(7, rel=1e-4)


@pytest.mark.parametrize("name", [n for n in SAMPLED if not FORMATS[n].suffix])
def test_two_bases_are_not_mixed_in_one_folder(basis, tmp_path, name):
    write_basis(basis, tmp_path / "x", name)
    with pytest.raises(InputError, match=r"holds Cr\..* of another basis"):
        write_basis(basis.subset(["NAA"]), tmp_path / "x", name, overwrite=True)
    assert len(read_basis(tmp_path / "x").basis.names) == 5


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_truncated_file_is_an_error_that_names_it(basis, tmp_path, name, share):
    path = target(tmp_path, name)
    write_basis(basis, path, name)
    damaged = sorted(path.iterdir())[0] if path.is_dir() else path
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(share * len(content))])
    if name == "lcmodel-raw" and share > 0.1:
        _cut_inside_a_pair(damaged)  # the format does not say how many points follow
    with pytest.raises(DataError, match="written"):
        read_basis(path)


def _cut_inside_a_pair(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-2].split()[0]]))


def test_facts_that_a_format_lacks_must_be_given(tmp_path):
    fid = np.exp(2j * np.pi * ppm_to_hz(2.008, F0_HZ) * np.arange(512) * 4e-4)
    rows = "\n".join(f"{v.real:.5E} {v.imag:.5E}" for v in fid * np.exp(-np.arange(512) / 100))
    (tmp_path / "NAA.RAW").write_text(
        f" $NMID ID='x', FMTDAT='(8E13.5)'\n TRAMP=2., VOLUME=4. $END\n{rows}\n"
    )
    with pytest.raises(DataError, match="--dwell-us"):
        read_basis(tmp_path)
    with pytest.raises(DataError, match="--f0-mhz"):
        read_basis(tmp_path, Given(dwell_s=4e-4))
    read = read_basis(tmp_path, Given(dwell_s=4e-4, f0_hz=F0_HZ)).basis
    assert abs(read.fid("NAA")[0]) == pytest.approx(0.5)
    assert read.te_s is None


def test_a_contradiction_is_refused(basis, tmp_path):
    write_basis(basis, tmp_path / "x", "jmrui")
    with pytest.raises(MismatchError, match=r"f0_hz = 1\.2325e\+08.*--f0-mhz"):
        read_basis(tmp_path / "x", Given(f0_hz=127.7e6))
    assert read_basis(tmp_path / "x", Given(f0_hz=123.251e6)).basis.f0_hz == 123.251e6


def test_a_fid_a_raw_file_states_itself_in_comments(tmp_path):
    head = " made by FID-A\n Sweep Width = 2000.0000 Hz\n Vector Size = 3 points\n Apodization = 2.0000 Hz\n"
    body = " B0 Field    = 3.0000 T\n\n $NMID ID=Cr\n FMTDAT=(2E16.6)\n VOLUME=1.\n TRAMP=1.\n $END\n"
    (tmp_path / "Lac.RAW").write_text(head + body + "  1.0E+00  0.0E+00\n  5.0D-01 -1.0D-01\n  1E-1 1E-1\n")
    read = read_basis(tmp_path / "Lac.RAW").basis
    assert (read.dwell_s, read.f0_hz, read.linewidth_hz) == pytest.approx((5e-4, 127.731e6, 2.0))
    np.testing.assert_allclose(read.fid("Lac"), [1, 0.5 - 0.1j, 0.1 + 0.1j])


def test_an_fsl_mrs_file_is_in_the_sense_of_the_scanner(tmp_path):
    """As FSL-MRS writes it: conjugate of NIfTI-MRS, centre in MHz, width in Hz."""
    t = np.arange(1024) * 2.5e-4
    stored = 3 * np.exp(2j * np.pi * (2.008 - 4.65) * 123.25 * t - np.pi * 2 * t)
    content = {
        "basis_re": stored.real.tolist(), "basis_im": stored.imag.tolist(), "basis_dwell": 2.5e-4,
        "basis_centre": 123.25, "basis_width": 2.0, "basis_name": "NAA",
    }  # fmt: skip
    (tmp_path / "NAA.json").write_text(json.dumps({"basis": content, "meta": {"SimVersion": "x"}}))
    read = read_basis(tmp_path)
    assert (read.format, read.basis.linewidth_hz, read.notices) == ("fsl-mrs", 2.0, ())
    assert find_singlets(read.basis)[0].found_ppm == pytest.approx(2.008, abs=0.01)


def test_an_osprey_file_as_osprey_lays_it_out(tmp_path):
    """Two metabolites and a macromolecule, four sub-spectra, centre 3 ppm, divided by its scale."""
    t, hzppm = np.arange(512) * 5e-4, 2.9 * 42.577
    shifts = {"NAA": 2.008, "sI": 3.34, "MM09": 0.91}
    one = np.stack([np.exp((2j * np.pi * (p - 3) * hzppm - 20) * t) for p in shifts.values()], axis=1)
    fids = np.stack([one, 2 * one, 3 * one, 4 * one], axis=2)
    basis = {
        "fids": fids / 7, "name": np.array(list(shifts), dtype=object), "dwelltime": 5e-4, "Bo": 2.9,
        "centerFreq": 3.0, "te": 68.0, "linewidth": 1.0, "nMets": 2.0, "nMM": 1.0, "scale": 7.0,
        "seq": np.array(["megapress"], dtype=object),
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "b.mat", {"BASIS": basis})
    with pytest.raises(InputError, match=r"4 sub-spectra.*--part"):
        read_basis(tmp_path / "b.mat")
    read = read_basis(tmp_path / "b.mat", Given(part=3)).basis
    assert read.names == ("NAA", "Scyllo", "MM09")
    assert (read.broad, read.te_s, read.reference_ppm, read.sequence) == (("MM09",), 0.068, 3.0, "megapress")
    assert read.f0_hz == pytest.approx(2.9 * 42.577e6)
    assert read.fid("NAA")[0] == pytest.approx(3.0)
    assert at_reference(read, 4.65).fid("NAA")[0] == pytest.approx(3.0)


def test_mrscloud_v2_keeps_metabolites_at_4_68_ppm(tmp_path):
    t, hzppm = np.arange(512) * 5e-4, 3.0 * 42.577
    naa = np.exp((2j * np.pi * (2.008 - 4.68) * hzppm - 20) * t)
    broad = np.exp((2j * np.pi * (0.91 - 3.0) * hzppm - 60) * t)
    basis = {
        "fids": np.stack([naa, broad], axis=1), "name": np.array(["NAA", "MM09"], dtype=object), "nMets": 1.0,
        "dwelltime": 5e-4, "Bo": 3.0, "centerFreq": 3.0, "mrsCloudVersion": "v2",
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "b.mat", {"BASIS": basis})
    read = read_basis(tmp_path / "b.mat")
    assert read.notices == ()
    ppm = ppm_axis(512, 5e-4, read.basis.f0_hz, 3.0)
    assert ppm[np.argmax(np.abs(to_spectrum(read.basis.fid("MM09"))))] == pytest.approx(0.91, abs=0.04)


def test_the_nifti_mrs_file_is_valid_and_not_conjugated(basis, tmp_path):
    write_basis(basis, tmp_path / "b.nii.gz", "nifti-mrs", linewidth_hz=2.0)
    image = NIFTI_MRS(str(tmp_path / "b.nii.gz"))  # validates
    assert image.dim_tags[0] == "DIM_USER_0"
    assert image.hdr_ext["SpecFreqChemShift"] == pytest.approx(4.65)
    stored = np.asarray(image.image[0, 0, 0, :, 0])
    np.testing.assert_allclose(stored, basis.fid("NAA", linewidth_hz=2.0), atol=1e-9)


def test_a_folder_of_nifti_mrs_files_is_a_basis(basis, tmp_path):
    for name in ("NAA", "Cr"):
        fid = basis.fid(name, linewidth_hz=2.0)[None, None, None]
        gen_nifti_mrs(fid, 2.5e-4, 123.25, no_conj=True).save(tmp_path / f"{name}.nii.gz")
    assert read_basis(tmp_path).basis.names == ("Cr", "NAA")
    with pytest.raises(DataError, match="not a basis set"):
        read_basis(tmp_path / "NAA.nii.gz")


def test_functions_of_different_readouts_do_not_go_together(basis, tmp_path):
    FORMATS["fsl-mrs"].write(sampled(basis.subset(["NAA"]), linewidth_hz=1.0), tmp_path / "x", False)
    FORMATS["fsl-mrs"].write(sampled(basis.subset(["Cr"]), 1024, 5e-4, 1.0), tmp_path / "x", True)
    with pytest.raises(DataError, match="NAA has dwell_s"):
        read_basis(tmp_path / "x")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}", b"\x89HDF\r\n\x1a\n damaged", b"MATLAB 5.0 MAT-file"]
)
@pytest.mark.parametrize("name", ["x.basis", "x.json", "x.h5"])
def test_other_files_are_refused(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_basis(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_basis(tmp_path / "missing")


def test_a_readout_that_sampled_fids_cannot_have_is_refused(basis):
    kept = sampled(basis, samples=1024, dwell_s=2.5e-4, linewidth_hz=1.0)
    with pytest.raises(MismatchError, match=r"has not decayed"):
        sampled(kept, samples=4096)
    with pytest.raises(MismatchError, match="outside the band"):
        sampled(kept, dwell_s=2e-3)
    thin = sampled(kept, samples=256, dwell_s=5e-4)
    np.testing.assert_allclose(thin.fid("Cr"), basis.fid("Cr", 256, 5e-4, linewidth_hz=1.0), atol=1e-9)
    decayed = sampled(basis, samples=4096, dwell_s=2.5e-4, linewidth_hz=5.0)
    long = sampled(decayed, samples=8192)
    np.testing.assert_allclose(long.fid("Cr"), basis.fid("Cr", 8192, 2.5e-4, linewidth_hz=5.0), atol=1e-5)


def test_moving_the_reference_leaves_shifts_alone(basis):
    moved = at_reference(sampled(basis, linewidth_hz=2.0), 3.0)
    for singlet in find_singlets(moved):
        assert singlet.found_ppm == pytest.approx(singlet.expected_ppm, abs=0.01)
    assert [s.name for s in find_singlets(moved)] == ["NAA"]  # the others are too close to the new centre


@pytest.mark.parametrize(
    ("name", "given", "form"),
    [
        ("basis-marss-siemens-3t/press-te30", Given(dwell_s=4e-4, f0_hz=F0_HZ), "lcmodel-raw"),
        ("basis-marss-siemens-3t/slaser-te20", Given(dwell_s=4e-4, f0_hz=F0_HZ), "lcmodel-raw"),
        ("fitting-challenge-2016/basisset_LCModel", Given(dwell_s=2.5e-4, f0_hz=123.2617e6), "lcmodel-raw"),
        ("fitting-challenge-2016/basisset_LCModel/press3T_30ms.BASIS", Given(), "lcmodel"),
        ("fitting-challenge-2016/basisset_JMRUI", Given(f0_hz=123.2617e6), "jmrui"),
        ("lcmodel-testcase/3t.basis", Given(), "lcmodel"),
        ("lcmodel-csi-3t/sim_se_csi_te16.basis", Given(), "lcmodel"),
        ("philips-7t-dw-steam/basis_STEAM_TE45_TM60.BASIS", Given(), "lcmodel"),
        ("basis-mega-press-3t-te68", Given(), "osprey"),
    ],
)
def test_singlets_of_real_files_lie_where_they_should(data_folder, name, given, form):
    found = read_basis(data_folder / name, given)
    assert found.format == form
    singlets = find_singlets(found.basis)
    assert len(singlets) >= 1
    for singlet in singlets:
        assert singlet.found_ppm == pytest.approx(singlet.expected_ppm, abs=0.02)
        assert not singlet.mirrored


def test_the_same_basis_in_three_formats_is_the_same(data_folder):
    folder = data_folder / "fitting-challenge-2016"
    given = Given(dwell_s=2.5e-4, f0_hz=123.2617e6)
    raw = read_basis(folder / "basisset_LCModel", given).basis
    jmrui = read_basis(folder / "basisset_JMRUI", Given(f0_hz=123.2617e6)).basis
    for name in raw.names:
        np.testing.assert_allclose(jmrui.fid(name), raw.fid(name), atol=2e-5 * abs(raw.fid(name)[0]))
    made = read_basis(folder / "basisset_LCModel/press3T_30ms.BASIS").basis  # by LCModel's MakeBasis
    assert set(made.names) < set(raw.names)
    for name in made.names:
        np.testing.assert_allclose(made.fid(name), raw.fid(name), atol=2e-4 * abs(raw.fid(name)[0]))


def test_the_lcmodel_file_is_what_makebasis_makes_of_the_same_fids(data_folder, tmp_path):
    folder = data_folder / "fitting-challenge-2016/basisset_LCModel"
    raw = read_basis(folder, Given(dwell_s=2.5e-4, f0_hz=123.2617e6)).basis
    write_basis(raw, tmp_path / "ours.basis", "lcmodel")
    ours, theirs = (numbers(path, "Glu") for path in (tmp_path / "ours.basis", folder / "press3T_30ms.BASIS"))
    assert ours.size == theirs.size == 2 * 4096
    np.testing.assert_allclose(ours, theirs, atol=3e-4 * np.abs(theirs).max())


def numbers(path, name):
    """The numbers of one metabolite as they stand in a `.basis`, without any of the reader's conventions."""
    section = path.read_text().split(f"METABO = '{name}'")[1].split("$END")[1].split("$")[0]
    return np.array(section.split(), dtype=float)


def test_a_real_set_goes_through_every_format(data_folder, tmp_path):
    given = Given(dwell_s=4e-4, f0_hz=F0_HZ)
    real = read_basis(data_folder / "basis-marss-siemens-3t/press-te30", given).basis
    assert isinstance(real, SampledBasis)
    for name in SAMPLED:
        path = target(tmp_path, name) if FORMATS[name].suffix else tmp_path / name
        write_basis(real, path, name)
        read = read_basis(path).basis
        assert len(read.names) == len(real.names) == 34
        assert (read.sequence, read.sequence_hash, read.linewidth_hz, read.te_s) == ("", "", None, None)
        for metabolite in ("NAA", "Ins", "Scyllo", "PCh"):
            expected = real.fid(metabolite)
            np.testing.assert_allclose(read.fid(metabolite), expected, atol=3e-5 * np.abs(expected).max())


def test_damage_that_parses_is_found(basis, tmp_path):
    write_basis(basis, tmp_path / "x", "lcmodel-raw")
    lines = (tmp_path / "x/NAA.RAW").read_text().splitlines()
    (tmp_path / "x/NAA.RAW").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"NAA has 1023, .* has 1024"):
        read_basis(tmp_path / "x")
    (tmp_path / "x/NAA.RAW").write_text("\n".join([*lines[:-1], "nan 0"]))
    with pytest.raises(DataError, match="NAA: holds numbers that are not finite"):
        read_basis(tmp_path / "x")


def test_a_wrong_dwell_time_or_frequency_does_not_pass(basis, tmp_path):
    write_basis(basis, tmp_path / "x", "lcmodel-raw")
    for file in (tmp_path / "x").iterdir():
        file.write_text(file.read_text().replace("DWELLTIME = 0.00025", "DWELLTIME = 0.0005"))
    with pytest.raises(MismatchError, match=r"NAA.*do not lie where they should.*500\.00 us"):
        read_basis(tmp_path / "x")


@pytest.mark.parametrize("name", ["../NAA", "a/b", ".hidden", "N'A", "Ins\n", "µ"])
def test_names_that_cannot_be_files_are_refused(basis, tmp_path, name):
    fids = sampled(basis, linewidth_hz=1.0)
    with pytest.raises(InputError, match="expected letters"):
        write_basis(fids.with_fids({name: fids.fids["NAA"]}), tmp_path / "x", "fsl-mrs")
    assert list(tmp_path.iterdir()) == []


def test_matlab_7_3_is_named(tmp_path):
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512):
        pass
    with (tmp_path / "b.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    with pytest.raises(DataError, match="-v7"):
        read_basis(tmp_path / "b.mat")


def test_names_of_programs_meet(basis, tmp_path):
    write_basis(basis, tmp_path / "b.mat", "osprey")
    content = scipy.io.loadmat(tmp_path / "b.mat", squeeze_me=True, struct_as_record=False)["BASIS"]
    assert list(content.name) == ["NAA", "Cr", "mI", "sI", "MM09"]
    assert (content.nMets, content.nMM, content.centerFreq) == (4, 1, 4.65)
    assert read_basis(tmp_path / "b.mat").notices == ("renamed mI to Ins, sI to Scyllo",)


def test_a_name_that_is_taken_stays(basis, tmp_path):
    fids = sampled(basis, linewidth_hz=1.0)
    both = fids.with_fids({"Ins": fids.fids["Ins"], "mI": fids.fids["Ins"], "NAA": fids.fids["NAA"]})
    write_basis(both, tmp_path / "x", "fsl-mrs")
    assert read_basis(tmp_path / "x").basis.names == ("Ins", "NAA", "mI")


def test_lcmodel_reads_six_characters_of_a_name(basis, tmp_path):
    fids = sampled(basis, linewidth_hz=1.0)
    long = fids.with_fids({"NAA": fids.fids["NAA"], "NAA_Acetyl": fids.fids["NAA"]})
    assert "NAA_Acetyl" in write_basis(long, tmp_path / "x.basis", "lcmodel")[0]


def test_a_fid_a_file_of_two_sub_spectra(tmp_path):
    t, hzppm = np.arange(512) * 5e-4, 3.0 * 42.577
    fid = np.exp((2j * np.pi * (2.008 - 3.0) * hzppm - 20) * t)
    ppm = (np.arange(512) - 255.5) / 512 * 2000 / hzppm + 3.0
    facts = {"dwelltime": 5e-4, "Bo": 3.0, "linewidth": 2.0, "ppm": ppm, "te": 68.0}
    scipy.io.savemat(
        tmp_path / "NAA.mat", {"outA": {"fids": fid, **facts}, "outB": {"fids": 2 * fid, **facts}}
    )
    with pytest.raises(InputError, match="2 sub-spectra"):
        read_basis(tmp_path)
    read = read_basis(tmp_path, Given(part=2)).basis
    assert (read.names, read.reference_ppm) == (("NAA",), pytest.approx(3.0))
    assert read.fid("NAA")[0] == pytest.approx(2.0)
    assert find_singlets(read)[0].found_ppm == pytest.approx(2.008, abs=0.01)


@pytest.mark.parametrize("content", [{"BASIS": 3.0}, {"other": np.eye(2)}, {"fids": np.ones(8)}])
def test_a_mat_file_of_something_else(tmp_path, content):
    scipy.io.savemat(tmp_path / "b.mat", content)
    with pytest.raises(DataError, match=r"b\.mat"):
        read_basis(tmp_path / "b.mat")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shifts=st.lists(st.floats(0.5, 4.0), min_size=1, max_size=4),
    phase=st.floats(-3, 3),
    f0_mhz=st.floats(60, 500),
    samples=st.integers(33, 257),
    dwell_us=st.floats(100, 500),
    te_ms=st.floats(1, 300),
)
@pytest.mark.parametrize("name", SAMPLED)
def test_any_basis_goes_round(tmp_path, name, shifts, phase, f0_mhz, samples, dwell_us, te_ms):
    f0_hz, amplitude = f0_mhz * 1e6, np.exp(1j * phase)
    lines = {
        f"M{number}": Lines(np.array([(ppm - 4.65) * f0_mhz]), np.array([amplitude]))
        for number, ppm in enumerate(shifts)
    }
    made = Basis(
        lines=lines, f0_hz=f0_hz, nucleus="1H", te_s=te_ms * 1e-3, samples=samples, dwell_s=dwell_us * 1e-6
    )
    path = target(tmp_path, name)
    shutil.rmtree(path, ignore_errors=True)
    write_basis(made, path, name, linewidth_hz=5.0, overwrite=True)
    read = read_basis(path).basis
    assert (read.f0_hz, read.dwell_s, read.te_s) == pytest.approx(
        (f0_hz, dwell_us * 1e-6, te_ms * 1e-3), rel=1e-3
    )
    for metabolite in lines:
        expected = made.fid(metabolite, linewidth_hz=5.0)
        assert read.fids[metabolite].size in (samples, 2 * samples)  # LCModel: kept where too short to tell
        np.testing.assert_allclose(read.fid(metabolite, samples), expected, atol=2e-4)


@pytest.mark.parametrize("name", SAMPLED)
def test_what_a_format_cannot_say_is_said(basis, tmp_path, name):
    known = {"relaxation": {"*": {"t1_s": 1.3, "t2_s": 0.2}}, "conditions": {"0": 1.0, "1": -1.0}}
    words = write_basis(replace(basis, provenance=known), target(tmp_path, name), name)
    assert any("T1 and T2" in word for word in words)
    assert any("-1 x condition 1" in word for word in words)
