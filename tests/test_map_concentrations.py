"""Expected spectra of grey matter, white matter and CSF in every voxel: mM by the tissue of each, against truth."""

import nibabel
import numpy as np
import pytest
from expected_for_tests import DWELL_S, singlets
from maps_for_tests import CLEAN, grid

from pulsespec.conventions import field_from_larmor
from pulsespec.map_verbs import fit_voxels
from pulsespec.recon.constants import constants_at
from pulsespec.recon.quantify import QuantifySettings
from pulsespec.recon.segmentation import Source
from pulsespec.recon.transients import Scan, Transients
from pulsespec.recon.volumes import write_volume
from pulsespec.simulator.expect import Quality, clean_fid, reference_height, water_fid
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import load_tissue

SHAPE, SAMPLES, DWELL = (6, 6, 1), 768, 2 * DWELL_S
SUMS = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr"),
    "tCho": ("GPC", "PCh"),
    "Ins": ("Ins",),
    "Glx": ("Glu", "Gln"),
}
LINES = ("NAA", "Cr", "GPC", "Ins", "Glu")


def shares():
    """Return volume fractions of grey matter, white matter and CSF; shape (6, 6, 1, 3)."""
    x, y = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 0.4, 6), indexing="ij")
    return np.stack([(1 - y) * x, (1 - y) * (1 - x), y], axis=-1)[:, :, None]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of the maps and the truth in mM by metabolite."""
    folder = tmp_path_factory.mktemp("mM")
    basis = singlets()
    scenes = [
        prepare(basis, load_tissue(name), samples=SAMPLES, dwell_s=DWELL)
        for name in ("grey-matter", "white-matter")
    ]
    clean = np.array([clean_fid(one, one.contents(), 1.0, 5.0) for one in scenes])
    water = [water_fid(one, Quality(1.0, 5.0)) for one in scenes]
    fluid = constants_at(field_from_larmor(basis.f0_hz), ["NAA"])[0].water["csf"]
    t = np.arange(SAMPLES) * DWELL
    kept = np.exp(-basis.te_s / fluid.t2_s) * (1 - np.exp(-basis.tr_s / fluid.t1_s))
    size = 2 * fluid.kg_per_l * 1e6 / 18.015 * kept
    water.append(size * np.exp(-t / fluid.t2_s - np.pi * t - (np.pi * 5 * t) ** 2 / (4 * np.log(2))))
    f = shares()
    rng = np.random.default_rng(2)
    noise = reference_height(scenes[0], clean[0]) / 150 / np.sqrt(SAMPLES)
    fids = f[..., :2] @ clean
    fids = fids + noise * (rng.standard_normal(fids.shape) + 1j * rng.standard_normal(fids.shape))
    facts = {
        "dwell_s": DWELL,
        "f0_hz": basis.f0_hz,
        "te_s": basis.te_s,
        "tr_s": basis.tr_s,
        "geometry": grid(20.0),
    }
    dims = ("x", "y", "z", "t")
    scan = Scan(
        Transients(data=fids, dims=dims, records=(CLEAN,), **facts),
        Transients(data=f @ np.array(water), dims=dims, **facts),
    )
    for k, name in enumerate(("gm", "wm", "csf")):
        write_volume(f[..., k], grid(20.0), folder / f"{name}.nii.gz")
    settings = QuantifySettings(
        segmentation=Source(**{n: folder / f"{n}.nii.gz" for n in ("gm", "wm", "csf")})
    )
    said = fit_voxels(scan, basis, folder, {}, assumptions=settings)
    tissue = f[..., :2] / f[..., :2].sum(axis=-1, keepdims=True)
    truth = {}
    for total, of in SUMS.items():
        present = [name for name in of if name in LINES]
        means = [sum(a.mm for n, a in zip(s.names, s.amounts, strict=True) if n in present) for s in scenes]
        truth[total] = tissue @ np.array(means)
    return folder, truth, said


def one_map(folder, name):
    return np.asarray(nibabel.load(folder / "maps" / f"{name}.nii.gz").dataobj)


def test_concentrations_are_of_the_tissue_in_each_voxel(made):
    folder, truth, said = made
    assert said["voxels"]["passing"] == 36
    for name, values in truth.items():
        found, sd = one_map(folder, f"{name}_mM"), one_map(folder, f"{name}_mM_sd")
        assert np.median(np.abs(found / values - 1)) < 0.08, name
        assert np.sqrt(np.mean(((found - values) / sd) ** 2)) < 1.6, name
    naa, creatine = one_map(folder, "tNAA_mM"), one_map(folder, "tCr_mM")
    assert naa[0, :, 0] == pytest.approx(naa[0, 0, 0], rel=0.12)  # the same tissue beside more and more CSF
    assert one_map(folder, "tNAA")[0, 5, 0] < 0.7 * one_map(folder, "tNAA")[0, 0, 0]
    assert np.median(creatine[5]) > np.median(creatine[0])


def test_fractions_are_maps_and_what_they_leave_out_is_said(made):
    folder, _, said = made
    for k, name in enumerate(("gm", "wm", "csf")):
        assert one_map(folder, f"fraction_{name}") == pytest.approx(shares()[..., k], abs=1e-6)
    assert any("point-spread function" in words for words in said["warnings"])
    assert not any("half grey and half white" in words for words in said["warnings"])
