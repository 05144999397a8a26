"""`pulsespec acquire --phantom brain`: files, flags, and what it refuses."""

import json
import sys

import images_for_tests as images
import ismrmrd
import nibabel
import pytest
import sequences_for_tests as seqs

from pulsespec import cli
from pulsespec.errors import DataError
from pulsespec.simulator.truth import PARAMETER, read_truth


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image-cli")
    return images.written(folder, "fid-mrsi-3t", (4, 4, 1), (240.0, 240.0, 15.0), points=16)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run `acquire` in this process; returns exit code, standard output and standard error."""
    (tmp_path / "head.toml").write_text(
        'base = "brain-tumour"\nfine_mm = [12, 12, 12]\nlesion_radius_mm = 30.0\n'
    )

    def call(sequence, phantom, *arguments):
        chosen = tmp_path / phantom if phantom.endswith(".toml") else phantom
        words = ["pulsespec", "acquire", sequence, "-o", tmp_path / "raw.h5", "--phantom", chosen, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_a_head_gives_raw_data_and_maps(run, sequence, tmp_path):
    code, out, _ = run(sequence, "head.toml", "--coils", "3", "--snr", "40", "--faults", "typical", "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["truth"] == str(tmp_path / "raw-truth")
    assert nibabel.load(tmp_path / "raw-truth" / "share_recurrent-tumour.nii.gz").get_fdata().max() > 0.1
    assert set(shown["maps"]) >= {
        "NAA.nii.gz",
        "b0.nii.gz",
        "psf/tCho.nii.gz",
        "psf/share_csf.nii.gz",
        "fine/share_csf.nii.gz",
    }
    dataset = ismrmrd.Dataset(str(tmp_path / "raw.h5"), "dataset", create_if_needed=False)
    header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
    dataset.close()
    (parameter,) = header.userParameters.userParameterString
    truth = json.loads(parameter.value)
    assert parameter.name == PARAMETER
    assert (truth["faults"]["coils"], truth["faults"]["snr"], truth["faults"]["drift_hz"]) == (3, 40.0, 4.0)
    assert truth["head"]["lesion_radius_mm"] == 30.0
    with pytest.raises(DataError, match="of an image"):
        read_truth(tmp_path / "raw.h5")
    code, _, words = run(sequence, "head.toml", "--overwrite", "--truth", tmp_path / "nowhere" / "x")
    assert code == 2
    assert "nowhere" in words


@pytest.mark.parametrize(
    ("phantom", "arguments", "words"),
    [
        ("grey-matter", (), "expected a head (--phantom brain)"),
        ("grey-matter", ("--truth", "t"), "is one voxel"),
        ("braini", (), "brain, brain-tumour, brain-necrosis"),
        ("brain", ("--faults", "trial"), "expected a .toml file or one of plain, clean, typical, poor"),
        ("absent.toml", (), "cannot be read"),
    ],
)
def test_what_does_not_fit_an_image_is_one_line(run, sequence, tmp_path, phantom, arguments, words):
    code, _, error = run(sequence, phantom, *arguments)
    assert code == 2
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "raw.h5").exists()


def test_a_head_in_a_single_voxel_is_refused(run, tmp_path):
    path = seqs.labelled_shots(tmp_path / "shots.seq", 2, 1, samples=16)
    code, _, error = run(path, "brain")
    assert code == 2
    assert "expected a tissue (--phantom grey-matter)" in error
