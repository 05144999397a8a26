"""NIfTI-MRS in both directions: dimensions, units, history, identifiers; judged by the standard's own validator."""

import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from files_for_tests import brain_like
from nifti_for_tests import write_raw
from nifti_mrs import validator
from nifti_mrs.nifti_mrs import NIFTI_MRS

from pulsespec.errors import DataError, InputError
from pulsespec.recon.nifti import is_nifti, read_nifti, write_nifti
from pulsespec.recon.read import read
from pulsespec.recon.transients import Geometry, Record, Transients

F0 = 127.736713e6


def numbered(*shape):
    return (np.arange(np.prod(shape)).reshape(shape) + 1j).astype(np.complex64)


def extension(path):
    content = nibabel.load(path).header.extensions[0].get_content()
    return json.loads(content)


@pytest.mark.parametrize(
    "dims",
    [("t",), ("average", "t"), ("average", "coil", "t"), ("edit", "average", "coil", "t"), ("x", "y", "t")],
)
@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
def test_what_is_written_is_valid_and_comes_back(tmp_path, dims, kind):
    sizes = {"x": 3, "y": 2, "edit": 2, "average": 3, "coil": 4, "t": 16}
    data = Transients(
        data=numbered(*(sizes[name] for name in dims)).astype(kind),
        dims=dims,
        dwell_s=5e-4,
        f0_hz=F0,
        te_s=0.035,
        tr_s=2.0,
        reference_ppm=3.0,
        sequence="svs_se",
        geometry=Geometry(np.diag([20.0, 25.0, 30.0, 1.0])),
        header={"edit_conditions": ["ON", "OFF"], "WaterSuppressed": True, "InversionTime": 0.6},
        records=(Record("Signal averaging", "mean of 3"),),
    )
    path = tmp_path / "x.nii.gz"
    write_nifti(data, path)
    validator.validate_nifti_mrs(NIFTI_MRS(path))
    back = read_nifti(path)
    assert (back.dims, back.reference_ppm, back.sequence) == (dims, 3.0, "svs_se")
    assert back.data.dtype == (kind if {"coil", "x"} & set(dims) else np.complex128)
    np.testing.assert_array_equal(back.data, data.data)
    assert back.header["InversionTime"] == 0.6
    assert back.header["water_suppressed"] is True
    assert back.header.get("edit_conditions") == (["ON", "OFF"] if "edit" in dims else None)
    assert back.dwell_s == pytest.approx(data.dwell_s, rel=1e-6)


def test_each_step_says_what_when_and_by_what(tmp_path):
    first = Transients(
        data=brain_like(), dims=("t",), dwell_s=5e-4, f0_hz=F0, records=(Record("Phasing", "a"),)
    )
    write_nifti(first, tmp_path / "1.nii.gz")
    again = read_nifti(tmp_path / "1.nii.gz").with_data(
        first.data, Record("Zero-filling", "b", program="other")
    )
    write_nifti(again, tmp_path / "2.nii.gz")
    steps = extension(tmp_path / "2.nii.gz")["ProcessingApplied"]
    assert [(s["Method"], s["Details"], s["Program"]) for s in steps] == [
        ("Phasing", "a", "pulsespec"),
        ("Zero-filling", "b", "other"),
    ]
    for step in steps:
        assert step["Version"]
        assert np.datetime64(step["Time"]) > np.datetime64("2020-01-01")


def test_a_fixed_time_stamp_makes_the_same_file(tmp_path, monkeypatch):
    facts = {"dwell_s": 5e-4, "f0_hz": F0, "te_s": 0.03, "tr_s": 2.0}
    data = Transients(data=numbered(16), dims=("t",), records=(Record("Shift", "x"),), **facts)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(data, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert extension(tmp_path / "a.nii.gz")["ProcessingApplied"][0]["Time"] == "2023-11-14T22:13:20.000"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH: got 'yesterday', expected whole seconds"):
        write_nifti(data, tmp_path / "c.nii.gz")


def test_a_history_of_conjugation_does_not_conjugate_again(tmp_path):
    data = Transients(
        data=brain_like(), dims=("t",), dwell_s=5e-4, f0_hz=F0, records=(Record("Conjugation", ""),)
    )
    water = replace(data, data=brain_like(water=2e4, samples=1024), header={"WaterSuppressed": False})
    write_nifti(data, tmp_path / "m.nii.gz")
    write_nifti(water, tmp_path / "w.nii.gz")
    scan = read([tmp_path / "m.nii.gz", tmp_path / "w.nii.gz"])
    np.testing.assert_array_equal(scan.water.data, water.data)


@pytest.mark.parametrize("tag", ["DIM_DYN", "DIM_MEAS", "DIM_PHASE_CYCLE"])
def test_several_dimensions_of_shots_become_one(tmp_path, tag):
    data = numbered(1, 1, 1, 8, 2, 3, 4)
    other = "DIM_MEAS" if tag == "DIM_DYN" else "DIM_DYN"
    path = write_raw(tmp_path / "x.nii", data, {"dim_5": "DIM_COIL", "dim_6": tag, "dim_7": other})
    found = read_nifti(path)
    assert found.dims == ("average", "coil", "t")
    assert found.data.shape == (12, 2, 8)
    for shot in range(12):
        np.testing.assert_array_equal(found.data[shot], data[0, 0, 0, :, :, shot // 4, shot % 4].T)
    assert tag in found.records[0].details


@pytest.mark.parametrize(
    "tag", ["DIM_INDIRECT_0", "DIM_USER_0", "DIM_USER_2", "DIM_ISIS", "DIM_METCYCLE", "DIM_NEW", "None"]
)
def test_a_dimension_that_cannot_be_used_is_refused_with_the_reason(tmp_path, tag):
    path = write_raw(tmp_path / "x.nii.gz", numbered(1, 1, 1, 8, 2), {"dim_5": tag})
    with pytest.raises(
        DataError, match=rf"x\.nii\.gz: dimension 5 is {tag} \(.+\), expected one of DIM_COIL"
    ):
        read_nifti(path)
    alone = write_raw(tmp_path / "one.nii.gz", numbered(1, 1, 1, 8, 1), {"dim_5": tag})
    assert read_nifti(alone).dims == ("t",)


@pytest.mark.parametrize(
    "changes",
    [
        {"EchoTime": [0.03, 0.04]},
        {"EchoTime": {"start": 0.03, "increment": 0.01}},
        {"BValue": {"Value": [0, 1000], "Description": "s/mm2"}},
    ],
)
def test_shots_of_different_settings_are_not_averaged(tmp_path, changes):
    header = {"dim_5": "DIM_DYN", "dim_5_header": changes}
    with pytest.raises(DataError, match=r"x\.nii: .* differs along dimension 5"):
        read_nifti(write_raw(tmp_path / "x.nii", numbered(1, 1, 1, 8, 2), header))
    same = {"dim_5": "DIM_DYN", "dim_5_header": {"EchoTime": [0.035, 0.035]}}
    assert read_nifti(write_raw(tmp_path / "y.nii", numbered(1, 1, 1, 8, 2), same)).dims == ("average", "t")


def test_editing_conditions_have_names(tmp_path):
    header = {"dim_5": "DIM_EDIT", "dim_5_header": {"EditCondition": ["ON", "OFF"]}}
    path = write_raw(tmp_path / "x.nii", numbered(1, 1, 1, 8, 2), header)
    assert read_nifti(path).header["edit_conditions"] == ["ON", "OFF"]
    header["dim_5_header"] = {"EditCondition": ["ON"]}
    with pytest.raises(DataError, match="EditCondition does not name the 2"):
        read_nifti(write_raw(tmp_path / "y.nii", numbered(1, 1, 1, 8, 2), header))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"SpectrometerFrequency": [127736713.0]}, "expected MHz"),
        ({"SpectrometerFrequency": [300.0, 75.5]}, "no single number"),
        ({"SpectrometerFrequency": ["fast"]}, "no single number"),
        ({"SpectrometerFrequency": None}, "lacks SpectrometerFrequency"),
        ({"ResonantNucleus": ["proton"]}, "expected one name such as 1H"),
        ({"ResonantNucleus": ["1H", "13C"]}, "expected one name such as 1H"),
        ({"ResonantNucleus": None}, "lacks ResonantNucleus"),
        ({"EchoTime": 35}, "EchoTime is 35, expected s"),
        ({"RepetitionTime": 2000}, "RepetitionTime is 2000, expected s"),
        ({"SpectralWidth": 4000.0}, "SpectralWidth is 4000 Hz but"),
    ],
)
def test_wrong_units_and_contradictions_are_refused(tmp_path, header, words):
    with pytest.raises(DataError, match=rf"x\.nii\.gz: .*{words}"):
        read_nifti(write_raw(tmp_path / "x.nii.gz", numbered(1, 1, 1, 8), header))


@pytest.mark.parametrize("dwell", [0.0, -5e-4, 5.0, np.nan])
def test_a_dwell_time_that_is_none_is_refused(tmp_path, dwell):
    with pytest.raises(DataError, match="dwell time"):
        read_nifti(write_raw(tmp_path / "x.nii", numbered(1, 1, 1, 8), dwell=dwell))


@pytest.mark.parametrize(("unit", "factor"), [("sec", 1.0), ("msec", 1e3), ("usec", 1e6)])
def test_units_of_time_and_length(tmp_path, unit, factor):
    affine = np.diag([0.02, 0.02, 0.02, 1.0])
    header = {"SpectralWidth": 2000.0, "SpecFreqChemShift": 4.7, "RxOffset": -1.7}
    path = tmp_path / "x.nii"
    write_raw(path, numbered(1, 1, 1, 8), header, 5e-4 * factor, ("meter", unit), affine=affine)
    found = read_nifti(path)
    assert found.dwell_s == pytest.approx(5e-4)
    assert found.reference_ppm == pytest.approx(3.0)
    np.testing.assert_allclose(found.geometry.voxel_mm, 20.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("at", "kind", "value", "words"), [(176, "<f8", 2.0, "scales"), (168, "<i8", 544, "no NIfTI-MRS header")]
)
def test_samples_are_not_scaled_or_moved_in_silence(tmp_path, at, kind, value, words):
    raw = bytearray(write_raw(tmp_path / "x.nii", numbered(1, 1, 1, 8)).read_bytes())
    raw[at : at + 8] = np.array(value, kind).tobytes()  # scl_slope and vox_offset of NIfTI-2
    (tmp_path / "x.nii").write_bytes(raw)
    with pytest.raises(DataError, match=rf"x\.nii: .*{words}"):
        read_nifti(tmp_path / "x.nii")


def test_no_place_is_no_place(tmp_path):
    data = Transients(data=brain_like(), dims=("t",), dwell_s=5e-4, f0_hz=F0)
    write_nifti(data, tmp_path / "x.nii.gz")
    image = nibabel.load(tmp_path / "x.nii.gz")
    assert image.header["qform_code"] == 0
    assert image.header["pixdim"][1] == 1e4
    assert read_nifti(tmp_path / "x.nii.gz").geometry is None


def test_both_versions_and_byte_orders(tmp_path):
    data = numbered(1, 1, 1, 8)
    old = write_raw(tmp_path / "old.nii", data, kind=nibabel.Nifti1Image)
    np.testing.assert_array_equal(read_nifti(old).data, data.ravel())
    image = nibabel.load(old)
    big = nibabel.Nifti1Image(data, image.affine, image.header.as_byteswapped())
    big.header.extensions.extend(image.header.extensions)
    big.to_filename(tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\0\0\1\x5c"
    found = read_nifti(tmp_path / "big.nii")
    np.testing.assert_array_equal(found.data, data.ravel())
    assert found.data.dtype.isnative


def test_a_compressed_file_is_nifti_by_what_is_in_it(tmp_path):
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"a letter"))
    assert not is_nifti(tmp_path / "text.gz")
    assert is_nifti(write_raw(tmp_path / "x.nii.gz", numbered(1, 1, 1, 8)))
    raw = (tmp_path / "x.nii.gz").read_bytes()
    (tmp_path / "data").write_bytes(raw)
    assert is_nifti(tmp_path / "data")
    (tmp_path / "broken.nii.gz").write_bytes(raw[:11])
    assert is_nifti(tmp_path / "broken.nii.gz")
