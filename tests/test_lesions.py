"""From raw data of a box with a lesion, fat under the scalp about it, to maps of z: the right voxels and signs."""

import csv

import images_for_tests as images
import maps_for_tests as small
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from pulsespec import map_verbs
from pulsespec.cli import app
from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon import lesion_report
from pulsespec.recon.image_grid import Chosen
from pulsespec.recon.transients import Scan
from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_maps import truth_maps
from pulsespec.simulator.image_play import prepare_image
from pulsespec.simulator.image_setup import set_up_image

FAR = 3.0
METABOLITES = "NAA,Cr,GPC,Ins,Glu,Lac"


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    """Draw nothing: pictures are tested with the maps, and take half as long as all else here."""
    monkeypatch.setattr(map_verbs, "_report", lambda *_: None)
    monkeypatch.setattr(lesion_report, "lesion_parts", lambda *_: [])


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """Write a PRESS box about the lesion, which leaves the scalp out."""
    return images.written(
        tmp_path_factory.mktemp("lesions"),
        "press-epsi-3t",
        (18, 18, 1),
        (198.0, 198.0, 15.0),
        points=256,
        voxel_mm=(84.0, 84.0, 15.0),
        position_mm=(-12.0, -20.0, 4.0),
        averages=1,
        phase_cycle=1,
    )


def spoken(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def compared(sequence, folder, base):
    """Acquire and run; return maps of z of what `run` wrote, the shares of lesion, and the rows of the table."""
    head, raw, truth = folder / "head.toml", folder / "raw.h5", folder / "truth"
    head.write_text(f'base = "{base}"\nfine_mm = [7, 7, 8]\nlesion_radius_mm = 20.0\n', encoding="utf-8")
    spoken("acquire", sequence, "--phantom", head, "-o", raw, "--truth", truth, "--coils", "2", "--snr", "60")
    brain = nibabel.load(truth / "brain_mask.nii.gz")
    inside = (np.asarray(brain.dataobj) > 0) & (nibabel.load(truth / "slab.nii.gz").get_fdata() > 0.5)
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), brain.affine), folder / "box.nii.gz")
    masks = ("--mask", folder / "box.nii.gz", "--lesion", truth / "lesion_mask.nii.gz")
    midline = ("--midplane", truth / "brain_mask.nii.gz")
    how = ("--keep-lipid", "--metabolites", METABOLITES)
    spoken("run", raw, "--seq", sequence, "-o", folder / "out", *masks, *midline, *how)
    maps = folder / "out" / "maps"
    with (folder / "out" / "lesion.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file, delimiter="\t")}
    sides = np.asarray(nibabel.load(maps / "lesion_sides.nii.gz").dataobj)
    return (lambda name: np.asarray(nibabel.load(maps / f"lesion_z_{name}.nii.gz").dataobj)), sides, rows


def beyond(z, sides, sign):
    """Return which share of the lesion is far from normal in a direction, and which of what looks normal."""
    there = np.isfinite(z)
    return [np.mean(sign * z[(sides == side) & there] > FAR) for side in (1, 3)]


def test_a_tumour_has_more_choline_over_less_naa(sequence, tmp_path):
    z, sides, rows = compared(sequence, tmp_path, "brain-tumour")
    assert float(rows["tCho/tNAA"]["lesion"]) > 2 * float(rows["tCho/tNAA"]["normal_median"])
    for name, sign in (("tCho_over_tNAA", 1), ("tNAA", -1)):
        assert beyond(z(name), sides, sign) == [1.0, 0.0], name


def test_necrosis_has_lipid_and_lactate(sequence, tmp_path):
    z, sides, rows = compared(sequence, tmp_path, "brain-necrosis")
    for name in ("tLip", "Lip13", "Lip09"):
        assert beyond(z(name), sides, 1) == [1.0, 0.0], name
    hits, alarms = beyond(z("Lac"), sides, 1)
    assert hits > 0.5
    assert alarms == 0.0
    assert float(rows["Lac"]["lesion"]) > 3 * float(rows["Lac"]["lesion_se"])


def test_lactate_of_a_lesion_is_upside_down_at_te_144(tmp_path):
    """The spectrum of the lesion, in the phase of its creatine: what the fit of that sequence has a basis for."""
    path = images.written(
        tmp_path, "epsi-3t-te144-no-inversion-whole-brain", (12, 12, 4), (216.0, 216.0, 120.0), points=256
    )
    head = images.small_head(
        fine_mm=(6.0, 6.0, 10.0), lesion="radiation-necrosis", lesion_radius_mm=26.0, lipid=0.0
    )
    show = prepare_image(set_up_image(path, head), faults=ImageFaults(coils=2, snr=60.0))
    image = images.reconstructed(show).metabolite
    truth = truth_maps(show)
    lesion = truth["share_radiation-necrosis"].values > 0.5
    rest = (truth["brain_mask"].values > 0.5) & (truth["share_radiation-necrosis"].values == 0)
    ppm = ppm_axis(image.samples, image.dwell_s, image.f0_hz, image.reference_ppm)
    doublet, creatine = ((ppm > low) & (ppm < high) for low, high in ((1.25, 1.40), (2.95, 3.1)))

    def lactate(at):
        spectra = to_spectrum(image.data[at])
        turned = spectra * np.exp(-1j * np.angle(spectra[:, creatine].sum(axis=1)))[:, None]
        mean = turned.mean(axis=0).real
        return mean[doublet].sum() / mean[creatine].sum()

    assert lesion.sum() >= 4
    assert lactate(lesion) < -0.1
    assert abs(lactate(rest)) < 0.1


def test_an_image_under_lipid_is_not_taken_for_mirrored():
    """Fat at 1.3 ppm explains as much as metabolites would if they lay there: it shows no place."""
    basis = small.small_basis()
    scan = small.small_image(basis, sd=0.1)
    image = scan.metabolite
    t = np.arange(image.samples) * image.dwell_s
    fat = 5e3 * np.exp(-2j * np.pi * (1.3 - image.reference_ppm) * image.f0_hz * 1e-6 * t - 60 * t)
    chosen = Chosen(np.argwhere(np.ones((6, 6, 1), bool)), "all")
    assert map_verbs.witnesses(image, chosen)
    under = image.with_data(image.data + fat)
    assert map_verbs.witnesses(under, chosen) == []
    same, _, notices = map_verbs.matched_image(Scan(under, scan.water), chosen, basis)
    np.testing.assert_array_equal(same.metabolite.data, under.data)
    assert any("not checked" in words for words in notices)
