"""Lesions on the virtual scanner, from protocol to maps of z, each step one command, held against the truth.

    python benchmarks/lesions.py --folder DIR                            # tumour, necrosis, lactate; 24 x 24 x 8
    python benchmarks/lesions.py --folder DIR --cases necrosis --fat 0   # the same without fat under the scalp
    python benchmarks/lesions.py --folder DIR --matrix 50x50x18 --filter hann --keep-lipid

| case | protocol | lesion | what it must show |
|---|---|---|---|
| `tumour` | `epsi-3t-te17.6-whole-brain` | recurrent tumour | more choline over NAA, less NAA |
| `necrosis` | `epsi-3t-te17.6-no-inversion-whole-brain` | radiation necrosis | lipid; lactate with it |
| `lactate` | `epsi-3t-te144-no-inversion-whole-brain` | radiation necrosis | lactate, upside down |

`run` is given what a scan has beside raw data: masks of brain and lesion, and a segmentation, in which the lesion is
white matter. Printed: amounts in lesion and other tissue beside the truth as the image shows it; for each measure the
voxels of the lesion whose z is beyond 3 in the right direction, and how many normal-appearing ones are; the real
spectrum of the lesion at 1.33 ppm, in the phase of the fits; and with `--survival`, which takes another scan, what the
removal of scalp lipid leaves of the lesion's own signal: the difference of scans with and without the lesion, passed
through what was done to the first. Raw data are deleted unless `--keep-raw`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scores import table
from whole_brain import command, load, seen_by, tissue_maps

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.image_cleaning import CleaningSettings, clean_images
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
FACTS = ("dwell_s", "f0_hz", "reference_ppm")


@dataclass(frozen=True)
class Case:
    """A lesion, how it is scanned, and which way each measure goes in it."""

    protocol: str
    lesion: str
    directions: dict[str, int]


CASES = {
    "tumour": Case("epsi-3t-te17.6-whole-brain", "brain-tumour", {"tCho_over_tNAA": 1, "tNAA": -1}),
    "necrosis": Case(
        "epsi-3t-te17.6-no-inversion-whole-brain",
        "brain-necrosis",
        {"tLip": 1, "Lip13": 1, "Lac": 1, "tNAA": -1},
    ),
    "lactate": Case("epsi-3t-te144-no-inversion-whole-brain", "brain-necrosis", {"Lac": 1, "tNAA": -1}),
}


def scan(folder: Path, case: Case, options: argparse.Namespace, base: str) -> tuple[Path, Path, Path]:
    """Acquire a head and return `.seq`, raw data and truth."""
    folder.mkdir(parents=True, exist_ok=True)
    sequence, head = folder / "epsi.seq", folder / f"{base}.toml"
    raw, truth = folder / f"{base}.h5", folder / f"truth-{base}"
    size = () if options.matrix == "50x50x18" else ("--matrix", options.matrix)
    if not sequence.exists():
        command("export", case.protocol, "--scanner", "siemens-prisma", "-o", sequence, *size)
    head.write_text(f'base = "{base}"\nlipid = {options.fat}\n', encoding="utf-8")
    if not raw.exists():
        how = ("--faults", "clean", "--coils", options.coils, "--snr", options.snr, "--jobs", options.jobs)
        command("acquire", sequence, "--phantom", head, *how, "-o", raw, "--truth", truth, "--overwrite")
    return sequence, raw, truth


def run(case: Case, options: argparse.Namespace, sequence: Path, raw: Path, truth: Path) -> Path:
    """Go from raw data to maps and the comparison of the lesion; return the folder."""
    out = raw.parent / "maps"
    masks = ("--lesion", truth / "lesion_mask.nii.gz", "--midplane", truth / "brain_mask.nii.gz")
    more = ("--keep-lipid",) if options.keep_lipid else ()
    more += ("--mask", truth / "brain_mask.nii.gz", *tissue_maps(truth, raw.parent))
    how = ("--filter", options.filter, "--jobs", options.jobs, "--overwrite")
    command("run", raw, "--seq", sequence, "-o", out, *masks, *more, *how)
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


def places(out: Path, case: Case) -> None:
    """Print in which voxels z is beyond `FAR` in the direction that the lesion has."""
    sides = load(out / "maps" / "lesion_sides.nii.gz")
    rows = [
        ("z", "direction", "beyond 3 in the lesion", "beyond 3 in normal-appearing", "median in the lesion")
    ]
    for name, sign in case.directions.items():
        path = out / "maps" / f"lesion_z_{name}.nii.gz"
        if path.exists():
            z = sign * load(path)
            hits, alarms = z[sides == 1] > FAR, z[(sides == 3) & np.isfinite(z)] > FAR
            cells = (f"{hits.sum()} of {hits.size}", f"{alarms.sum()} of {alarms.size}")
            rows.append((name, f"{sign:+d}", *cells, f"{sign * median(z[sides == 1]):.1f}"))
    print(table(rows))


def signs(out: Path) -> None:
    """Print the real spectrum at lactate's doublet over NAA's peak, mean over voxels, each in the phase of its fit."""
    image = read([out / "image.nii.gz"]).metabolite
    assert image is not None
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
    if cleaned.operator is None:
        print("no scalp lipid was found, nothing was removed")
        return
    lesion = (load(truth / "lesion_mask.nii.gz") > 0.5) & cleaned.lipid_voxels
    assert sick.metabolite is not None
    assert well.metabolite is not None
    ppm = ppm_axis(sick.metabolite.samples, *[getattr(sick.metabolite, n) for n in FACTS])
    inside = (ppm > LIPID_PPM[0]) & (ppm < LIPID_PPM[1])
    own = sick.metabolite.data[lesion].astype(complex) - well.metabolite.data[lesion]
    before = to_spectrum(own)[:, inside]
    after = to_spectrum(cleaned.operator.apply(own))[:, inside]
    share = np.sum(before.conj() * after).real / np.sum(np.abs(before) ** 2)
    print(f"the removal leaves {share:.3f} of the lesion's own signal at 0.5 to 1.8 ppm")


def show(name: str, options: argparse.Namespace) -> None:
    """Run a case and print what it shows."""
    case, folder = CASES[name], options.folder / name
    print(f"\n{name}: {case.protocol}, {case.lesion}, {options.matrix}, filter {options.filter}", flush=True)
    sequence, raw, truth = scan(folder, case, options, case.lesion)
    out = run(case, options, sequence, raw, truth)
    sides = load(out / "maps" / "lesion_sides.nii.gz")
    passing = load(out / "maps" / "quality.nii.gz") > 0
    brain = load(truth / "brain_mask.nii.gz") > 0.5
    print(f"{passing[brain].mean():.0%} of the brain pass; {np.count_nonzero(sides == 1)} voxels of lesion")
    amounts(out, truth, options.filter)
    places(out, case)
    signs(out)
    if options.survival:
        well = scan(folder, case, options, "brain")[1]
        survival(sequence, (raw, well), truth, options.filter)
    if not options.keep_raw:
        for path in folder.glob("*.h5"):
            path.unlink()


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--matrix", default="24x24x8")
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--snr", type=float, default=25.0)
    parser.add_argument("--fat", type=float, default=1.0, help="factor of the fat under the scalp")
    parser.add_argument("--filter", choices=("none", "hamming", "hann"), default="hamming")
    parser.add_argument("--keep-lipid", action="store_true", help="as of `run`")
    parser.add_argument("--survival", action="store_true", help="scan the head without the lesion, too")
    parser.add_argument("--keep-raw", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for name in options.cases:
        show(name, options)


if __name__ == "__main__":
    main()
