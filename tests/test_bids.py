"""MRS-BIDS in and out, and no identifier in anything that is written or said."""

import gzip
import json

import ismrmrd
import numpy as np
import pytest
import siemens_for_tests as siemens
import test_ge_pfile
import test_philips
import test_preclinical_readers
import test_text_data
from files_for_tests import brain_like, write_sdat
from nifti_for_tests import write_raw
from nifti_mrs import validator
from nifti_mrs.nifti_mrs import NIFTI_MRS

from pulsespec import analysis
from pulsespec.errors import DataError, InputError
from pulsespec.recon.bids import entries, is_bids

REQUIRED = {"ResonantNucleus": str, "SpectrometerFrequency": float, "SpectralWidth": float, "EchoTime": float}
"""What the schema of BIDS (rules/sidecars/mrs.yaml) requires of every spectrum."""


def shots(seed=0, water=5.0, count=4):
    rng = np.random.default_rng(seed)
    noise = 0.3 * (rng.normal(size=(1024, count)) + 1j * rng.normal(size=(1024, count)))
    return (brain_like(water=water)[:, None] + noise)[None, None, None]


def scan(folder, name, water=5.0, header=None, sidecar=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_raw(folder / f"{name}.nii.gz", shots(water=water), {"dim_5": "DIM_DYN", **(header or {})})
    (folder / f"{name}.json").write_text(json.dumps(sidecar or {}))


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "study"
    scan(folder / "sub-01" / "mrs", "sub-01_acq-press_svs")
    scan(folder / "sub-01" / "mrs", "sub-01_acq-press_mrsref", water=2e4)
    scan(folder / "sub-02" / "ses-b" / "mrs", "sub-02_ses-b_svs")
    scan(folder / "sub-02" / "ses-b" / "mrs", "sub-02_ses-b_acq-conc_mrsref", water=2e4)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return folder


def test_every_scan_of_a_dataset_is_found_with_its_reference(dataset):
    found = entries(dataset)
    assert is_bids(dataset)
    assert [entry.label for entry in found] == ["sub-01_acq-press", "sub-02_ses-b"]
    assert [entry.water.name for entry in found] == [
        "sub-01_acq-press_mrsref.nii.gz",
        "sub-02_ses-b_acq-conc_mrsref.nii.gz",
    ]


def test_a_reference_is_the_one_that_the_sidecar_names(dataset):
    folder = dataset / "sub-01" / "mrs"
    scan(folder, "sub-01_acq-ecc_mrsref", water=2e4)
    uri = {"ReferenceSignal": "bids::sub-01/mrs/sub-01_acq-ecc_mrsref.nii.gz"}
    (folder / "sub-01_acq-press_svs.json").write_text(json.dumps(uri))
    assert entries(dataset)[0].water.name == "sub-01_acq-ecc_mrsref.nii.gz"
    (folder / "sub-01_acq-press_svs.json").write_text('{"ReferenceSignal": "bids::../../etc/hosts"}')
    with pytest.raises(DataError, match="not in the dataset"):
        entries(dataset)


def test_an_unclear_reference_is_asked_for(dataset):
    scan(dataset / "sub-02" / "ses-b" / "mrs", "sub-02_ses-b_acq-ecc_mrsref", water=2e4)
    with pytest.raises(DataError, match=r"which of .*ReferenceSignal"):
        entries(dataset)


def test_a_dataset_gives_a_dataset(dataset, tmp_path):
    out = tmp_path / "results"
    made = analysis.recon([dataset], bids=out)
    assert [row["quality"]["verdict"] for row in made["scans"]] == ["good", "good"]
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    one, two = "sub-01/mrs/sub-01_acq-press_desc-preproc_", "sub-02/ses-b/mrs/sub-02_ses-b_desc-preproc_"
    names = [
        f"{stem}{kind}"
        for stem in (one, two)
        for kind in ("mrsref.json", "mrsref.nii.gz", "svs.json", "svs.nii.gz")
    ]
    assert files == ["dataset_description.json", *names]
    description = json.loads((out / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["GeneratedBy"][0]["Name"]) == ("derivative", "pulsespec")
    for path in out.rglob("*.nii.gz"):
        validator.validate_nifti_mrs(NIFTI_MRS(path))
        content = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert all(isinstance(content[key], kind) for key, kind in REQUIRED.items())
        assert content["NumberOfTransients"] == 4
    svs = json.loads((out / f"{one}svs.json").read_text())
    assert (out / svs["ReferenceSignal"].removeprefix("bids::")).is_file()
    assert svs["SpectralWidth"] == pytest.approx(2000)
    assert svs["Quality"]["verdict"] == "good"
    again = analysis.recon([dataset], bids=out, overwrite=True)
    assert len(again["scans"]) == 2


def test_one_damaged_scan_does_not_stop_the_others(dataset, tmp_path):
    bad = dataset / "sub-01" / "mrs" / "sub-01_acq-press_svs.nii.gz"
    bad.write_bytes(bad.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"1 of 2 scans failed: sub-01_acq-press: .*svs\.nii\.gz"):
        analysis.recon([dataset], bids=tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*_svs.nii.gz"))) == 1


def test_a_raw_dataset_is_not_written_into(dataset):
    with pytest.raises(InputError, match="is a BIDS dataset of type 'raw'"):
        analysis.recon([dataset], bids=dataset)
    with pytest.raises(InputError, match="pass --bids"):
        analysis.recon([dataset], dataset.parent / "x.nii.gz")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "neither"),
        ({"output": "x.nii.gz", "bids": "y"}, "both"),
        ({"bids": "y", "subject": "../x"}, "letters and digits"),
        ({"output": "x.nii.gz", "subject": "01"}, "only with --bids"),
    ],
)
def test_wrong_targets_are_refused(tmp_path, more, words):
    paths = {key: tmp_path / value if key in ("output", "bids") else value for key, value in more.items()}
    with pytest.raises(InputError, match=words):
        analysis.recon([write_raw(tmp_path / "a.nii.gz", shots(), {"dim_5": "DIM_DYN"})], **paths)


PLANTED = ("Zaphod^Beeblebrox", "ID-4711-42", "19770525", "SERIAL-9X9", "secret-note", "deep-secret")
IDENTIFIERS = {
    "PatientName": PLANTED[0],
    "PatientID": PLANTED[1],
    "PatientDoB": PLANTED[2],
    "DeviceSerialNumber": PLANTED[3],
    "OriginalFile": [f"{PLANTED[0]}.dat"],
    "private_note": {"Value": PLANTED[4], "Description": "x"},
    "Study": {"private_code": PLANTED[5], "Description": "a study"},
    "ProcessingApplied": [
        {"Program": "x", "Version": "1", "Method": "y", "Details": f"/data/{PLANTED[0]}.dat"}
    ],
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("target", ["output", "bids"])
def test_identifiers_are_dropped_unless_kept(tmp_path, keep, target):
    raw = write_raw(tmp_path / "a.nii.gz", shots(), {"dim_5": "DIM_DYN", **IDENTIFIERS})
    said = []
    place = {"output": tmp_path / "x.nii"} if target == "output" else {"bids": tmp_path / "out"}
    made = analysis.recon([raw], **place, keep_identifiers=keep, notify=said.append)
    written = [tmp_path / "x.nii"] if target == "output" else sorted((tmp_path / "out").rglob("*.*"))
    seen = everything(written, [*said, str(made)])
    for secret in PLANTED:
        assert (secret in seen) == keep, secret


def everything(paths, words):
    """All that was written and said, compressed files opened."""
    parts = [
        gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in paths if p.is_file()
    ]
    return b"".join(parts).decode("latin-1") + "\n".join(words)


def planted_sdat(folder):
    path = write_sdat(folder, shots()[0, 0, 0].T.conj(), "scan")
    spar = path.with_suffix(".SPAR")
    text = spar.read_text().replace("Somebody", PLANTED[0])
    spar.write_text(f"{text}patient_birth_date : {PLANTED[2]}\nexamination_name : {PLANTED[1]}\n")
    return path


def planted_mrd(folder):
    xsd = ismrmrd.xsd
    one = {"x": 1024, "y": 1, "z": 1}
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(**one), fieldOfView_mm=xsd.fieldOfViewMm(x=1.0, y=1.0, z=1.0)
    )
    encoding = xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(),
        trajectory=xsd.trajectoryType.OTHER,
    )
    header = xsd.ismrmrdHeader(
        subjectInformation=xsd.subjectInformationType(patientName=PLANTED[0], patientID=PLANTED[1]),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127736713),
        encoding=[encoding],
    )
    path = folder / "raw.h5"
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(str(header.toXML("utf-8")).encode())
    for shot in shots()[0, 0, 0].T:
        acquisition = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(shot.conj()[None], dtype=np.complex64)
        )
        acquisition.sample_time_us = 500.0
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def planted_twix(folder):
    protocol = {"sRXSPEC.alDwellTime[0]": 500000, "sTXSPEC.asNucleusInfo[0].lFrequency": 127736713}
    protocol |= {"tPatientName": f'"{PLANTED[0]}"', "tStudyDescription": f'"{PLANTED[1]} {PLANTED[2]}"'}
    acquired = [siemens.Shot(shot.conj()[None]) for shot in shots()[0, 0, 0].T]
    return siemens.write_vd(folder / "raw.dat", [(acquired, protocol)])


def planted_rda(folder):
    secrets = {"PatientName": PLANTED[0], "PatientID": PLANTED[1], "PatientBirthDate": PLANTED[2]}
    return siemens.write_rda(folder / "x.rda", brain_like(), **secrets)


def planted_ge(folder):
    frames = 1e3 * np.concatenate([shots(water=2e4, count=2), shots()], axis=-1)[0, 0, 0].T
    secret = "\n".join(PLANTED).encode()
    return test_ge_pfile.write(folder / "P00001.7", frames[None, None], secret=secret)


def planted_dicom(folder):
    tags = {(0x0010, 0x0010): ("PN", PLANTED[0]), (0x0010, 0x0020): ("LO", PLANTED[1])}
    fids = shots()[0, 0, 0].T[:1].conj()
    return test_philips.dicom(folder / "x.dcm", test_philips.NEW, fids, tags=tags)


def planted_jmrui(folder):
    path = test_text_data.write_jmrui(folder / "x.txt", shots()[0, 0, 0].T)
    path.write_text(path.read_text().replace("Jane Doe", " ".join(PLANTED)))
    return path


def planted_varian(folder):
    traces = shots()[0, 0, 0].T[:, None].conj()
    return test_preclinical_readers.write_varian(
        folder / "x.fid", traces, comment=" ".join(PLANTED), sw=2000.0
    )


def planted_bruker(folder):
    made = test_preclinical_readers.write_bruker(folder / "5", 1e5 * shots()[0, 0, 0].T[:, None])
    for name in ("acqp", "method"):
        path = made / name
        path.write_text(f"{path.read_text()}\n$$ {' '.join(PLANTED)}\n")
    return made


@pytest.mark.parametrize(
    "plant",
    [
        planted_sdat,
        planted_mrd,
        planted_twix,
        planted_rda,
        planted_ge,
        planted_dicom,
        planted_jmrui,
        planted_varian,
        planted_bruker,
    ],
)
def test_no_format_lets_identifiers_through(tmp_path, plant):
    raw = plant(tmp_path)
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert PLANTED[0].encode() in content
    said = []
    made = analysis.recon([raw], bids=tmp_path / "out", notify=said.append)
    if plant is planted_sdat:
        assert made["quality"]["verdict"] == "good"
    seen = everything(sorted((tmp_path / "out").rglob("*.*")), [*said, str(made)])
    assert not [secret for secret in PLANTED if secret in seen]


@pytest.mark.parametrize("kind", ["truncated", "nucleus", "json", "dimension"])
def test_no_error_tells_who_was_scanned(tmp_path, kind):
    change = {"nucleus": {"ResonantNucleus": ["?"]}, "dimension": {"dim_5": "DIM_USER_0"}}.get(kind, {})
    raw = write_raw(tmp_path / "a.nii", shots(), {"dim_5": "DIM_DYN", **IDENTIFIERS, **change})
    content = raw.read_bytes()
    if kind == "truncated":
        raw.write_bytes(content[:-100])
    if kind == "json":
        raw.write_bytes(content.replace(b'"PatientName":', b'"PatientName" '))
    with pytest.raises(DataError) as caught:
        analysis.recon([raw], tmp_path / "x.nii.gz")
    assert not [secret for secret in PLANTED if secret in str(caught.value)]
