"""Lesions on the virtual scanner, from protocol to maps of z, each step one command, held against the truth.

    python benchmarks/lesions.py --folder DIR                            # all of the table, 12 minutes on one core
    python benchmarks/lesions.py --folder DIR --cases lactate --fat 0    # without fat under the scalp
    python benchmarks/lesions.py --folder DIR --cases survival

| case | protocol | lesion | what it must show |
|---|---|---|---|
| `tumour` | `epsi-3t-te17.6-whole-brain`, 24 x 24 x 8 | recurrent tumour | more choline over NAA, less NAA |
| `necrosis` | `press-epsi-3t`, its box about the lesion, 32 x 32 | radiation necrosis | lipid and lactate |
| `lactate` | `semi-laser-epsi-3t-te144`, the same box | radiation necrosis | lactate, upside down |
| `lactate-whole` | `epsi-3t-te144-no-inversion-whole-brain`, 32 x 32 x 10 | radiation necrosis | the same under fat |

Scalp lipid is removed from the tumour, whose protocol nulls it, and left where a lesion's own is looked for. `run` is
given what a scan has beside raw data: masks of brain, lesion and normal-appearing tissue (deeper than 20 mm in the
brain), and a segmentation, in which the lesion is white matter. The slices of the lesion are fitted (`--whole`: all).
Printed: amounts in lesion and normal-appearing tissue beside the truth as the image shows it; for each measure the
voxels of the lesion whose z is beyond 3 in the right direction, and those elsewhere; and the real spectrum at 1.33 ppm,
in the phase of the fits. `survival` says what the removal of scalp lipid would leave of the lesion's own signal: the
difference of scans with and without the lesion, passed through what is done to the first. Raw data are deleted unless
`--keep-raw`.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt
from scores import table
from whole_brain import command, load, seen_by, tissue_maps

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.image_cleaning import CleaningSettings, clean_images
from pulsespec.recon.image_grid import as_image
from pulsespec.recon.image_read import image_stream, source_of
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.read import read
from pulsespec.recon.transients import Scan
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

FAR = 3.0
LACTATE_PPM, NAA_PPM, LIPID_PPM = (1.28, 1.38), (1.98, 2.04), (0.5, 1.8)
AMOUNTS = ("tNAA", "tCr", "tCho", "Lac", "tLip")
LINE_HZ = 4.0
"""Broadening of spectra that are looked at."""


@dataclass(frozen=True)
class Case:
    """A lesion, how it is scanned, and which way each measure goes in it."""

    protocol: str
    lesion: str
    matrix: str
    window: str
    keeps_lipid: bool
    directions: dict[str, int]
    changes: tuple[tuple[str, str], ...] = ()
    """What is unlike in the protocol: key and value."""


WHOLE = "epsi-3t-te17.6-whole-brain"
PLAIN, LONG = "epsi-3t-te17.6-no-inversion-whole-brain", "epsi-3t-te144-no-inversion-whole-brain"
LACTATE = {"Lac": 1, "tCho_over_tNAA": 1, "tNAA": -1}
NECROSIS = {"tLip": 1, "Lip13": 1, "Lac": 1, "tCho_over_tNAA": 1, "tNAA": -1}
BOX = (
    ("voxel_mm", "[70.0, 70.0, 15.0]"),
    ("position_mm", "[-16.0, -28.0, 4.0]"),
    ("averages", "1"),
    ("phase_cycle", "1"),
)
"""A box about the lesion, away from the scalp."""
CASES = {
    "tumour": Case(WHOLE, "brain-tumour", "24x24x8", "hamming", False, {"tCho_over_tNAA": 1, "tNAA": -1}),
    "necrosis": Case("press-epsi-3t", "brain-necrosis", "32x32x1", "hamming", True, NECROSIS, BOX),
    "lactate": Case("semi-laser-epsi-3t-te144", "brain-necrosis", "32x32x1", "hamming", True, LACTATE, BOX),
    "lactate-whole": Case(LONG, "brain-necrosis", "32x32x10", "hann", True, LACTATE),
}
SURVIVAL = ((WHOLE, "brain-tumour"), (PLAIN, "brain-necrosis"), (LONG, "brain-necrosis"))
"""Of which scans what the removal leaves is measured, at 24 x 24 x 8."""
DEEP_MM = 20.0


def exported(folder: Path, case: Case) -> Path:
    """Write the `.seq` of a case and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    protocol, sequence = folder / "protocol.toml", folder / "epsi.seq"
    lines = (resources.files("pulsespec.protocols") / f"{case.protocol}.toml").read_text(encoding="utf-8")
    for key, value in case.changes:
        lines = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", lines)
    protocol.write_text(lines, encoding="utf-8")
    if not sequence.exists():
        how = ("--scanner", "siemens-prisma", "--matrix", case.matrix)
        command("export", protocol, "-o", sequence, *how)
    return sequence


def scan(sequence: Path, options: argparse.Namespace, base: str) -> tuple[Path, Path]:
    """Acquire a head; return raw data and truth."""
    folder = sequence.parent
    head, raw, truth = folder / f"{base}.toml", folder / f"{base}.h5", folder / f"truth-{base}"
    head.write_text(f'base = "{base}"\nlipid = {options.fat}\n', encoding="utf-8")
    if not raw.exists():
        how = ("--faults", "clean", "--coils", options.coils, "--snr", options.snr, "--jobs", options.jobs)
        command("acquire", sequence, "--phantom", head, *how, "-o", raw, "--truth", truth, "--overwrite")
    return raw, truth


def masks(truth: Path, whole: bool) -> tuple[Path, Path]:
    """Write and return the masks of what is fitted and of normal-appearing tissue."""
    image = nibabel.load(truth / "brain_mask.nii.gz")
    brain = (np.asarray(image.dataobj) > 0.5) & (load(truth / "slab.nii.gz") > 0.5)
    slices = (load(truth / "lesion_mask.nii.gz") > 0.5).any(axis=(0, 1))
    fitted = brain if whole else brain & slices
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    head = np.asarray(image.dataobj) > 0.5
    deep = np.stack([distance_transform_edt(one, sampling=spacing[:2]) for one in np.moveaxis(head, 2, 0)], 2)
    paths = truth / "fitted.nii.gz", truth / "normal.nii.gz"
    for path, mask in zip(paths, (fitted, fitted & (deep > DEEP_MM)), strict=True):
        nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), image.affine), path)
    return paths


def run(case: Case, options: argparse.Namespace, sequence: Path, raw: Path, truth: Path) -> Path:
    """Go from raw data to maps and the comparison of the lesion; return the folder."""
    out = raw.parent / "maps"
    fitted, normal = masks(truth, options.whole)
    given = ("--mask", fitted, *tissue_maps(truth, raw.parent))
    lesion = ("--lesion", truth / "lesion_mask.nii.gz", "--midplane", truth / "brain_mask.nii.gz")
    how = ("--filter", case.window, "--jobs", options.jobs, "--overwrite")
    kept = ("--keep-lipid",) if case.keeps_lipid else ()
    command("run", raw, "--seq", sequence, "-o", out, *given, *kept, *how)
    command("regions", out, *lesion, "--normal", normal, "--overwrite")
    return out


def median(values: np.ndarray) -> float:
    """Return the median of what is finite."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def amounts(out: Path, truth: Path, window: str) -> None:
    """Print median amounts in the lesion and in normal-appearing tissue beside what is true."""
    sides = load(out / "maps" / "lesion_sides.nii.gz")
    rows = [("median mM", "lesion", "its sd", "truth", "normal-appearing", "its sd", "truth")]
    for name in AMOUNTS:
        path = out / "maps" / f"{name}_mM.nii.gz"
        if path.exists():
            found, sd = load(path), load(out / "maps" / f"{name}_mM_sd.nii.gz")
            true = seen_by(truth, {"tLip": "lipid"}.get(name, name), window)
            cells = [median(one[sides == side]) for side in (1, 3) for one in (found, sd, true)]
            rows.append((name, *(f"{cell:.2f}" for cell in cells)))
    print(table(rows))


def places(out: Path, truth: Path, case: Case) -> None:
    """Print in which voxels z is beyond `FAR` in the direction that the lesion has."""
    sides, passing = load(out / "maps" / "lesion_sides.nii.gz"), load(out / "maps" / "quality.nii.gz") > 0
    near = binary_dilation(load(truth / "lesion_mask.nii.gz") > 0.5, np.ones((3, 3, 3)))
    where = (sides == 1, sides == 3, passing & ~near & (sides != 3))
    rows = [
        (
            "z beyond 3",
            "direction",
            "lesion",
            "normal-appearing",
            "nearer to the scalp",
            "median in the lesion",
        )
    ]
    for name, sign in case.directions.items():
        path = out / "maps" / f"lesion_z_{name}.nii.gz"
        if path.exists():
            z = sign * load(path)
            cells = [f"{np.sum(z[at] > FAR)} of {np.isfinite(z[at]).sum()}" for at in where]
            rows.append((name, f"{sign:+d}", *cells, f"{sign * median(z[sides == 1]):.1f}"))
    print(table(rows))


def signs(out: Path) -> None:
    """Print the real spectrum at lactate's doublet over NAA's peak, mean over voxels, each in the phase of its fit."""
    raw = read([out / "image.nii.gz"]).metabolite
    assert raw is not None
    image = as_image(raw)
    sides, phase = load(out / "maps" / "lesion_sides.nii.gz"), load(out / "maps" / "phase_deg.nii.gz")
    ppm = ppm_axis(image.samples, image.dwell_s, image.f0_hz, image.reference_ppm)
    line = np.exp(-np.pi * LINE_HZ * np.arange(image.samples) * image.dwell_s)
    rows = [("real spectrum over NAA", "lesion", "normal-appearing")]
    cells = []
    for side in (1, 3):
        at = (sides == side) & np.isfinite(phase)
        turned = image.data[at] * np.exp(-1j * np.deg2rad(phase[at]))[:, None]
        shown = to_spectrum(turned.mean(axis=0) * line).real
        naa = shown[(ppm > NAA_PPM[0]) & (ppm < NAA_PPM[1])].max()
        cells.append(shown[(ppm > LACTATE_PPM[0]) & (ppm < LACTATE_PPM[1])].mean() / naa)
    rows.append((f"{LACTATE_PPM[0]} to {LACTATE_PPM[1]} ppm", *(f"{cell:+.2f}" for cell in cells)))
    print(table(rows))


def images(sequence: Path, raw: Path, settings: ImageSettings) -> Scan:
    """Return the images of raw data before voxels are aligned."""
    stream = image_stream(raw)
    played = read_played(sequence, float(stream.facts["f0_hz"]))
    return reconstruct_source(source_of(stream, played, read_trajectory(sequence), sequence.name), settings)


def survival(sequence: Path, raws: Sequence[Path], truth: Path, window: str) -> None:
    """Print what the removal of scalp lipid leaves of a lesion's own signal.

    That is the difference of scans with the lesion and without, with the same noise and the same fat.
    """
    plain = ImageSettings(filter=window, b0_alignment=False, eddy_current_correction=False)
    sick, well = (images(sequence, raw, plain) for raw in raws)
    brain = load(truth / "brain_mask.nii.gz") > 0.5
    cleaned = clean_images(sick, CleaningSettings(), brain)
    assert cleaned.scan.metabolite is not None
    print(cleaned.scan.metabolite.records[-1].details)
    assert sick.metabolite is not None
    assert well.metabolite is not None
    if cleaned.operator is None:
        return
    image, voxels = sick.metabolite, cleaned.lipid_voxels
    ppm = ppm_axis(image.samples, image.dwell_s, image.f0_hz, image.reference_ppm)
    inside = (ppm > LIPID_PPM[0]) & (ppm < LIPID_PPM[1])
    own = image.data[voxels].astype(complex) - well.metabolite.data[voxels]
    left = (cleaned.by_voxel or cleaned.operator).apply(own)
    lesion = load(truth / "lesion_mask.nii.gz")[voxels] > 0.5
    before, after = (to_spectrum(fids[lesion])[:, inside] for fids in (own, left))
    shares = np.sum(before.conj() * after, axis=1).real / np.sum(np.abs(before) ** 2, axis=1)
    print(
        f"left of the lesion's own signal at 0.5 to 1.8 ppm in {shares.size} voxels: median {np.median(shares):.2f}, "
        f"{shares.min():.2f} to {shares.max():.2f}",
        flush=True,
    )


def show_survival(options: argparse.Namespace) -> None:
    """Scan heads with and without a lesion, and print what the removal of lipid leaves of it."""
    for protocol, lesion in SURVIVAL:
        print(f"\nsurvival: {protocol}, {lesion}", flush=True)
        folder = options.folder / f"survival-{protocol}"
        sequence = exported(folder, Case(protocol, lesion, "24x24x8", "hamming", False, {}))
        (sick, truth), (well, _) = (scan(sequence, options, base) for base in (lesion, "brain"))
        survival(sequence, (sick, well), truth, "hamming")
        tidy(folder, options)


def show(name: str, options: argparse.Namespace) -> None:
    """Run a case and print what it shows."""
    case, folder = CASES[name], options.folder / name
    case = replace(case, matrix=options.matrix or case.matrix)
    print(f"\n{name}: {case.protocol}, {case.lesion}, {case.matrix}, filter {case.window}", flush=True)
    sequence = exported(folder, case)
    raw, truth = scan(sequence, options, case.lesion)
    out = run(case, options, sequence, raw, truth)
    sides, passing = load(out / "maps" / "lesion_sides.nii.gz"), load(out / "maps" / "quality.nii.gz") > 0
    fitted = load(truth / "fitted.nii.gz") > 0
    print(f"{passing[fitted].mean():.0%} of {fitted.sum()} voxels pass; {np.sum(sides == 1)} are lesion")
    amounts(out, truth, case.window)
    places(out, truth, case)
    signs(out)
    tidy(folder, options)


def tidy(folder: Path, options: argparse.Namespace) -> None:
    """Delete raw data."""
    for path in [] if options.keep_raw else list(folder.glob("*.h5")):
        path.unlink()


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=(*CASES, "survival"), default=[*CASES, "survival"])
    parser.add_argument("--matrix", help="in place of that of the table")
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--snr", type=float, default=25.0)
    parser.add_argument("--fat", type=float, default=1.0, help="factor of the fat under the scalp")
    parser.add_argument("--whole", action="store_true", help="fit all slices")
    parser.add_argument("--keep-raw", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for name in options.cases:
        if name == "survival":
            show_survival(options)
        else:
            show(name, options)


if __name__ == "__main__":
    main()
