"""From spectrum, water and segmentation to molar and molal concentrations, through the command line."""

import json
import math
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pulsespec.errors import InputError
from pulsespec.recon.constants import constants_at, read_constants
from pulsespec.recon.fit import FitResult
from pulsespec.recon.fit import fit as run_fit
from pulsespec.recon.in_voxel import in_the_voxel
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.quantify import QuantifySettings, quantify
from pulsespec.recon.read import read
from pulsespec.recon.results import read_table
from pulsespec.recon.segmentation import Source
from pulsespec.recon.transients import Geometry, Transients
from pulsespec.recon.water_scaling import Acquisition, Timing, factors
from pulsespec.recon.water_size import water_amplitude
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.basis_files import read_basis

F0, DWELL, SAMPLES = 123.25e6, 5e-4, 1024
TE_S, TR_S = 0.03, 2.0
LINES = {"NAA": [(2.01, 3.0)], "Cr": [(3.03, 3.0), (3.92, 2.0)], "GPC": [(3.21, 9.0)]}
MM = {"NAA": 12.0, "Cr": 9.0, "GPC": 1.6}
"""Truth in mmol in a litre of tissue, the same in grey and white matter."""
FRACTIONS = np.array([0.5, 0.3, 0.2])
WATER = {"gm": (0.78, 1.331, 0.110), "wm": (0.65, 0.832, 0.0796), "csf": (0.97, 4.31, 1.89)}
TIMES = {  # T1 and T2 in grey and white matter at 3 T
    "NAA": ((1.47, 0.258), (1.35, 0.343)),
    "Cr": ((1.46, 0.146), (1.24, 0.166)),
    "GPC": ((1.30, 0.248), (1.08, 0.216)),
}
GAIN = 37.0


def kept(t1_s, t2_s, tr_s=TR_S):
    return math.exp(-TE_S / t2_s) * (1 - math.exp(-tr_s / t1_s))


def voxel():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [0, 0, 25], degrees=True).as_matrix() * 20.0
    affine[:3, 3] = (12.0, -20.0, 30.0)
    return affine


@pytest.fixture(scope="module")
def basis():
    lines = {
        name: Lines(np.array([(p - 4.65) * F0 * 1e-6 for p, _ in of]), np.array([a + 0j for _, a in of]))
        for name, of in LINES.items()
    }
    wide = Lines(np.array([(0.9 - 4.65) * F0 * 1e-6]), np.array([3.0 + 0j]), gauss_hz=np.array([30.0]))
    return Basis(
        lines={**lines, "MM09": wide},
        broad=("MM09",),
        f0_hz=F0,
        nucleus="1H",
        te_s=TE_S,
        tr_s=TR_S,
        water=Lines(np.zeros(1), np.array([2.0 + 0j])),
    )


@pytest.fixture(scope="module")
def files(basis, tmp_path_factory):
    """A voxel of half grey matter, 3 tenths white matter and 2 tenths CSF, and its segmentation."""
    folder = tmp_path_factory.mktemp("voxel")
    rng, t = np.random.default_rng(6), np.arange(SAMPLES) * DWELL
    left = {name: (FRACTIONS[0] * kept(*gm) + FRACTIONS[1] * kept(*wm)) for name, (gm, wm) in TIMES.items()}
    fid = sum(MM[name] * left[name] * basis.fid(name, SAMPLES, DWELL) for name in LINES)
    fid = fid * np.exp(-np.pi * 4 * t - (np.pi * 3 * t) ** 2 / (4 * np.log(2)))
    noise = 0.05 * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES))
    water = 2 * sum(
        f * c * 1e6 / 18.015 * kept(t1, t2, 5.0)
        for f, (c, t1, t2) in zip(FRACTIONS, WATER.values(), strict=True)
    )
    facts = {"dims": ("t",), "dwell_s": DWELL, "f0_hz": F0, "te_s": TE_S, "geometry": Geometry(voxel())}
    write_nifti(Transients(data=GAIN * (fid + noise), tr_s=TR_S, **facts), folder / "metab.nii.gz")
    write_nifti(
        Transients(data=GAIN * water * np.exp(-np.pi * 6 * t), tr_s=5.0, **facts), folder / "water.nii.gz"
    )
    basis.write(folder / "b.h5")
    layers(folder / "labels.nii.gz")
    return folder


def layers(path):
    """Layers across the voxel's own first axis: its tenths 0 to 5 grey, 5 to 8 white, the rest CSF."""
    grid = voxel().copy()
    grid[:3, :3] /= 20.0
    grid[:3, 3] = voxel()[:3, 3] + grid[:3, :3] @ [-19.5, -19.5, -19.5]
    data = np.zeros((40, 40, 40), dtype=np.uint8)
    data[:20], data[20:26], data[26:] = 2, 3, 1
    nibabel.save(nibabel.Nifti1Image(data, grid), path)


def fit(pulsespec, files, out, *more):
    arguments = ("fit", files / "metab.nii.gz", "--basis", files / "b.h5", "--water", files / "water.nii.gz")
    return pulsespec(*arguments, "-o", out, *more)


def rows_of(out):
    return {row["metabolite"]: row for row in read_table(out / "concentrations.tsv")}


@pytest.fixture(scope="module")
def result(files, tmp_path_factory):
    from pulsespec import cli

    out = tmp_path_factory.mktemp("result") / "out"
    with pytest.MonkeyPatch.context() as patch:
        words = ["fit", files / "metab.nii.gz", "--basis", files / "b.h5", "--water", files / "water.nii.gz"]
        words += ["--segmentation", files / "labels.nii.gz", "--voxel-mask", "-o", out, "--quiet"]
        patch.setattr("sys.argv", ["pulsespec", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code
    return out


def test_concentrations_of_a_segmented_voxel_come_back(result):
    """Another TR for water than for metabolites; molal by the water of grey and white matter alone."""
    rows = rows_of(result)
    litre = (0.5 * 0.78 + 0.3 * 0.65) / 0.8
    for name, truth in MM.items():
        assert rows[name]["concentration_mM"] == pytest.approx(truth, rel=0.03)
        ratio = rows[name]["concentration_molal_mmol_per_kg"] / rows[name]["concentration_mM"]
        assert ratio == pytest.approx(1 / litre, rel=1e-3)
        molal, molar = (rows[name][f"concentration_{unit}_sd"] for unit in ("molal_mmol_per_kg", "mM"))
        assert molal / molar == pytest.approx(1 / litre, rel=1e-3)


def test_the_result_says_what_the_numbers_rest_on(result):
    written = json.loads((result / "result.json").read_text())
    said = written["quantification"]
    assert [said["fractions"][key] for key in ("gm", "wm", "csf")] == pytest.approx(FRACTIONS, abs=1e-6)
    assert "labels.nii.gz" in said["fractions"]["from"]
    assert said["timing"]["water"]["tr_s"] == 5.0
    assert said["timing"]["metabolites"]["tr_s"] == 2.0
    assert said["sd_includes"] == ["fit", "lines unlike the model", "amplitude of water"]
    assert any("FSL FAST" in words for words in written["warnings"])
    assert not any("assumed for mM" in words for words in written["warnings"])
    water = written["ratios"]["water"]["NAA"][0]
    assert water == pytest.approx(rows_of(result)["NAA"]["concentration_mM"] / said["mm_per_amplitude"]["NAA"]
                                  / (said["water"]["amplitude"] / 2), rel=1e-5)  # fmt: skip
    assert written["ratios"]["tNAA"]["Cr"][0] == pytest.approx(
        rows_of(result)["Cr"]["amplitude"] / rows_of(result)["NAA"]["amplitude"], rel=1e-4
    )


def test_the_mask_is_the_voxel_on_the_grid_of_the_segmentation(result):
    mask = nibabel.load(result / "voxel_mask.nii.gz")
    assert mask.shape == (40, 40, 40)
    assert mask.get_fdata().sum() == pytest.approx(20.0**3, rel=2e-3)


def fitted():
    """What a fit without noise would find in the voxel, with 2 % of uncertainty."""
    left = [FRACTIONS[0] * kept(*TIMES[name][0]) + FRACTIONS[1] * kept(*TIMES[name][1]) for name in MM]
    amplitudes = GAIN * np.array(list(MM.values())) * left
    nothing = np.zeros(1)
    return FitResult(
        names=tuple(MM),
        amplitudes=amplitudes,
        covariance=np.diag((0.02 * amplitudes) ** 2),
        **dict.fromkeys(("ppm", "data", "fit", "baseline"), nothing),
        components={},
        parameters={},
        noise_sd=1.0,
        converged=True,
        message="",
    )


def amounts(files, basis, **settings):
    spectrum, water = (read_nifti(files / f"{name}.nii.gz") for name in ("metab", "water"))
    return quantify(fitted(), spectrum, water, basis, QuantifySettings(**settings))


def segmented(files):
    return {"segmentation": Source(labels=files / "labels.nii.gz")}


def test_the_constants_that_were_used_give_the_same_again(result, files, basis):
    plain = amounts(files, basis, **segmented(files))
    again = amounts(files, basis, **segmented(files), constants=read_constants(result / "constants.toml"))
    assert again.rows == plain.rows
    assert plain.rows[0]["concentration_mM"] == pytest.approx(12.0, rel=1e-4)
    assert plain.rows[0]["concentration_mM_sd"] == pytest.approx(np.hypot(0.24, 0.04 * 12), rel=1e-2)


def test_constants_and_uncertainty_of_the_user_enter(files, basis, tmp_path):
    (tmp_path / "mine.toml").write_text("[water.csf]\nkg_per_l = 0.9\nkg_per_l_sd = 0.05\n")
    mine = amounts(
        files, basis, **segmented(files), constants=read_constants(tmp_path / "mine.toml"), fraction_sd=0.03
    )
    before, after = amounts(files, basis, **segmented(files)).rows[0], mine.rows[0]
    seen = {
        key: f * c * kept(t1, t2, 5.0) for f, (key, (c, t1, t2)) in zip(FRACTIONS, WATER.items(), strict=True)
    }
    less = seen["csf"] * 0.07 / 0.97 / sum(seen.values())
    assert after["concentration_mM"] / before["concentration_mM"] == pytest.approx(1 - less, rel=1e-3)
    assert after["concentration_mM_sd"] > 1.2 * before["concentration_mM_sd"]
    assert {"water content of csf", "fraction of gm"} <= set(mine.settings["sd_includes"])


def test_the_mixing_time_of_a_stimulated_echo_is_taken_from_the_header(files, basis):
    spectrum, water = (read_nifti(files / f"{name}.nii.gz") for name in ("metab", "water"))
    stimulated = replace(spectrum, header={**spectrum.header, "timing_s": {"TM": 0.1}})
    timing = quantify(fitted(), stimulated, water, basis).settings["timing"]
    assert timing["water"]["tm_s"] == timing["metabolites"]["tm_s"] == 0.1


def test_a_flip_angle_is_heeded_and_a_time_that_is_not_in_the_file_is_said(files, basis):
    spectrum, water = (read_nifti(files / f"{name}.nii.gz") for name in ("metab", "water"))
    shallow = replace(spectrum, header={**spectrum.header, "ExcitationFlipAngle": 30.0})
    said = quantify(fitted(), shallow, replace(water, tr_s=None), basis)
    assert said.settings["timing"]["metabolites"]["flip_deg"] == 30.0
    assert said.settings["timing"]["water"]["tr_s"] == 2.0
    assert any("TR of the water is not in the file" in words for words in said.warnings)
    at_once = quantify(fitted(), replace(spectrum, te_s=0.0), replace(water, te_s=None), basis)
    assert at_once.settings["timing"]["metabolites"]["te_s"] == 0.0
    inverted = replace(spectrum, header={**spectrum.header, "ExcitationFlipAngle": 180.0})
    assert quantify(fitted(), inverted, water, basis).settings["timing"]["metabolites"]["flip_deg"] == 90.0


def test_sums_add_what_each_part_has_by_its_own_relaxation(files, basis):
    rows = {row["metabolite"]: row for row in amounts(files, basis, **segmented(files)).rows}
    assert rows["tNAA"] == rows["NAA"] | {"metabolite": "tNAA"}
    assert rows["tCho"]["concentration_mM"] == pytest.approx(1.6, rel=1e-4)


def test_assumed_fractions_and_a_phantom_with_times_of_brain_are_said(files, basis):
    assert any("assumed for mM" in words for words in amounts(files, basis).warnings)
    assert any("times of brain" in words for words in amounts(files, basis, water_mm=55000.0).warnings)
    assert amounts(files, basis, water_mm=55000.0, relaxation=False).warnings == ()


@pytest.mark.parametrize("gain", [1 / 64, 64])
def test_water_on_another_scale_than_metabolites_is_said(files, basis, gain):
    """As where one was summed over 64 shots and the other averaged."""
    spectrum, water = (read_nifti(files / f"{name}.nii.gz") for name in ("metab", "water"))
    settings = QuantifySettings(gm=0.5, wm=0.3, csf=0.2)
    assert quantify(fitted(), spectrum, water, basis, settings).warnings == ()
    said = quantify(fitted(), spectrum, replace(water, data=gain * water.data), basis, settings).warnings
    assert "receiver gains or numbers of averages" in said[0]


def test_a_basis_without_water_needs_the_word_of_the_user(files, basis):
    bare = replace(basis, water=None)
    without = amounts(files, bare, **segmented(files))
    assert math.isnan(without.rows[0]["concentration_mM"])
    assert any("--basis-water" in words for words in without.warnings)
    assert without.ratios["tNAA"]["Cr"][0] > 0
    assert (
        amounts(files, bare, **segmented(files), basis_water=2.0).rows
        == amounts(files, basis, **segmented(files)).rows
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--gm", "0.5", "--wm", "0.5", "--segmentation", "labels.nii.gz"), "either these or a segmentation"),
        (("--labels", "fast"), "--labels: only with"),
        (("--voxel-mask",), "--voxel-mask: only with"),
        (("--gm-map", "labels.nii.gz"), "no map of wm, csf"),
        (("--gm", "0.5"), "tissue fractions"),
        (("--water-mm", "-3"), "water_mm"),
        (("--segmentation", "nowhere.nii.gz"), "no such file"),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(files, pulsespec, tmp_path, more, words):
    at = [files / word if word == "labels.nii.gz" else word for word in more]
    for extra in ((), ("--dry-run",)):
        code, _, said = fit(pulsespec, files, tmp_path / "out", *at, *extra)
        assert code == 2
        assert words in said
        assert not (tmp_path / "out").exists()


def test_several_voxels_are_not_taken_for_one(files):
    spectrum = read_nifti(files / "metab.nii.gz")
    grid = replace(spectrum, data=np.stack([spectrum.data] * 4), dims=("x", "t"))
    with pytest.raises(InputError, match="4 x 1 x 1 voxels"):
        in_the_voxel(QuantifySettings(**segmented(files)), grid)


def test_a_spectrum_without_a_place_cannot_be_segmented(files, pulsespec, tmp_path):
    image = nibabel.load(files / "metab.nii.gz")
    lost = np.diag([10000.0, 10000.0, 10000.0, 1.0])
    moved = nibabel.Nifti2Image(np.asarray(image.dataobj), lost, image.header)
    moved.set_sform(lost, code=0)
    moved.set_qform(lost, code=0)
    nibabel.save(moved, tmp_path / "lost.nii.gz")
    arguments = (
        "fit",
        tmp_path / "lost.nii.gz",
        "--basis",
        files / "b.h5",
        "--water",
        files / "water.nii.gz",
    )
    code, _, words = pulsespec(*arguments, "-o", tmp_path / "out", "--segmentation", files / "labels.nii.gz")
    assert code == 2
    assert "no position" in words


def challenge(tmp_path):
    """Constants of the fitting challenge: T2 of water 110 and 80 ms, of metabolites 160 ms."""
    text = "[water.gm]\nt2_s = 0.11\n[water.wm]\nt2_s = 0.08\n"
    text += '[metabolites."*"]\ngm = { t2_s = 0.16 }\nwm = { t2_s = 0.16 }\n'
    (tmp_path / "challenge.toml").write_text(text)
    return read_constants(tmp_path / "challenge.toml")


def test_the_scale_of_the_fitting_challenge_follows_from_its_constants(tmp_path):
    """29697 mM of water seen and 1.2062 for metabolites were found in its data; six tenths of grey matter give them."""
    constants, _ = constants_at(2.894, ["NAA"], challenge(tmp_path))
    timed = Acquisition(Timing(0.03, 1e3), Timing(0.03, 1e3))
    found = factors(constants, ["NAA"], np.array([0.6, 0.4, 0.0]), timed)
    assert found.molar[0] == pytest.approx(29697 * 1.2062, rel=2e-4)


def test_ten_millimolar_of_creatine_in_the_fitting_challenge(data_folder, tmp_path):
    """Its test of water scaling: in its own unit the fitted amplitude, corrected for T2, is 10 mM."""
    folder = data_folder / "fitting-challenge-2016"
    files = [
        folder / "Cr_water_scaling_JMRUI" / f"Cr_10mM_test_water_scaling_{kind}.txt" for kind in ("WS", "nWS")
    ]
    scan = read(files)
    creatine = read_basis(folder / "basisset_JMRUI").basis.subset(["Cr"])
    found = run_fit(scan.metabolite, creatine)
    spectrum, water = (replace(part, te_s=0.03, tr_s=1e3) for part in (scan.metabolite, scan.water))
    size = water_amplitude(water)[0]
    seen = QuantifySettings(gm=0.6, wm=0.4, basis_water=2.0, constants=challenge(tmp_path))
    row = quantify(found, spectrum, water, creatine, seen).rows[0]
    assert size == pytest.approx(54865, rel=1e-4)
    assert row["concentration_mM"] * (size / 2) / 29697 == pytest.approx(10.0, rel=2e-3)
