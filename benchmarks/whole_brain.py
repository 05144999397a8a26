"""From a protocol to maps of the whole brain on the virtual scanner, each step one command, held against the truth.

    python benchmarks/whole_brain.py --folder /big/disk --jobs 2                       # 50 x 50 x 18, 8 coils: 19 GB
    python benchmarks/whole_brain.py --folder DIR --matrix 24x24x8 --coils 4           # smaller
    python benchmarks/whole_brain.py --folder DIR --phantom brain-necrosis \
        --protocol epsi-3t-te17.6-no-inversion-whole-brain                             # a lesion

Printed for each command: wall time, processor time and the peak of memory of any one of its processes. `run` is
given the head's own shares of tissue on the grid that it was drawn on, as an anatomical image would have them
(`--no-tissue`: none). Errors are of mM in a litre of tissue, of voxels of the brain that pass the quality mask, against
the truth as the point-spread function of the image sees it, filter and slab included: amounts over shares of tissue.
`--maps DIR` judges maps that are there already. Files that exist are not made again.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from scores import table

RUN = "from pulsespec.cli import main; main()"
NAMES = ("tNAA", "tCr", "tCho", "Ins", "Glx")
MOST_MEDIAN = {"tNAA": 5.0, "tCr": 5.0, "tCho": 5.0, "Ins": 10.0, "Glx": 10.0}
NO_TISSUE = ("csf", "bone", "scalp-fat", "soft-tissue")
"""Shares of the truth that are no brain tissue."""
INSIDE = 0.5
"""Least share of a voxel that is brain."""
LESION = ("tCho", "tNAA", "Lac", "tLip")


def command(*arguments: object) -> None:
    """Run one command of pulsespec and print what it took."""
    words = [str(one) for one in arguments]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *words], check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 3):
        raise SystemExit(f"pulsespec {' '.join(words)}: exit {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"pulsespec {words[0]}: {time.perf_counter() - start:.0f} s, CPU {cpu:.0f} s, "
        f"peak so far {after.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def scan_arguments(parser: argparse.ArgumentParser, coils: int) -> None:
    """Add the options that say what is scanned: those that `export` and `acquire` take."""
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--protocol", default="epsi-3t-te17.6-whole-brain")
    parser.add_argument("--scanner", default="siemens-prisma")
    parser.add_argument("--matrix")
    parser.add_argument("--phantom", default="brain")
    parser.add_argument("--coils", type=int, default=coils)
    parser.add_argument("--snr", type=float, default=25.0)
    parser.add_argument("--jobs", type=int, default=1)


def export(options: argparse.Namespace, sequence: Path) -> None:
    """Write the sequence that options name, where it is not there."""
    if not sequence.exists():
        size = () if options.matrix is None else ("--matrix", options.matrix)
        command("export", options.protocol, "--scanner", options.scanner, "-o", sequence, *size)


def acquire(
    options: argparse.Namespace,
    sequence: Path,
    phantom: object,
    raw: Path,
    truth: Path,
    faults: str = "clean",
) -> None:
    """Scan a phantom as options say, where its raw data are not there."""
    if not raw.exists():
        how = ("--faults", faults, "--coils", options.coils, "--snr", options.snr, "--jobs", options.jobs)
        command("acquire", sequence, "--phantom", phantom, *how, "-o", raw, "--truth", truth)


def load(path: Path) -> np.ndarray:
    """Return an image as an array; nothing is known of voxels without a number."""
    return np.asarray(nibabel.load(path).dataobj, dtype=float)


def tissues_of(truth: Path) -> list[str]:
    """Return the tissues of the brain that a head has."""
    names = [path.name.removeprefix("share_").removesuffix(".nii.gz") for path in truth.glob("share_*")]
    return [name for name in names if name not in NO_TISSUE]


def tissue_maps(truth: Path, folder: Path) -> list[str | Path]:
    """Return the options that name the shares of tissue; a lesion counts as white matter, which it lies in."""
    white = [name for name in tissues_of(truth) if name != "grey-matter"]
    options: list[str | Path] = []
    for option, names in (("gm", ["grey-matter"]), ("wm", white), ("csf", ["csf"])):
        images = [nibabel.load(truth / "fine" / f"share_{name}.nii.gz") for name in names]
        path = folder / f"segmentation-{option}.nii.gz"
        whole = sum(np.asarray(image.dataobj, dtype=np.float32) for image in images)
        nibabel.save(nibabel.Nifti1Image(whole, images[0].affine), path)
        options += [f"--{option}-map", path]
    return options


def seen_by(truth: Path, name: str, window: str) -> np.ndarray:
    """Return true mM in a litre of tissue as the image shows them."""
    tissue = sum(shown(truth / "psf" / f"share_{one}.nii.gz", window) for one in tissues_of(truth))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(shown(truth / "psf" / f"{name}.nii.gz", window) / tissue)


def shown(path: Path, window: str) -> np.ndarray:
    """Return a map as the image shows it: what one without filter does, weighted over k-space by a filter."""
    flat = {"none": 1.0, "hamming": 0.54, "hann": 0.5}[window]
    ways = [np.fft.fftfreq(n) for n in nibabel.load(path).shape]
    steps = np.meshgrid(*ways, indexing="ij")
    return weighted(path, np.prod([flat + (1 - flat) * np.cos(2 * np.pi * one) for one in steps], axis=0))


def weighted(path: Path, weights: np.ndarray) -> np.ndarray:
    """Return a map whose discrete Fourier transform is multiplied by weights."""
    return np.asarray(np.fft.ifftn(np.fft.fftn(load(path)) * weights).real)


def judge(maps: Path, truth: Path, window: str) -> None:
    """Print errors of the maps, and what share of the brain they are of."""
    brain = load(truth / "brain_mask.nii.gz") > INSIDE
    quality = load(maps / "quality.nii.gz") > 0
    seen = brain & quality
    print(f"{np.mean(quality[brain]):.1%} of {np.count_nonzero(brain)} brain voxels pass the quality mask")
    print_errors(maps, seen, lambda name: seen_by(truth, name, window))


def print_errors(maps: Path, chosen: np.ndarray, truth: Callable[[str], np.ndarray]) -> None:
    """Print errors of mM in chosen voxels beside what is true, a map by the name of each metabolite."""
    rows = [("metabolite", "median %", "median |error| %", "asked %", "stated sd %", "within 2 sd %")]
    for name in NAMES:
        of = truth(name)[chosen]
        found, sd = (load(maps / f"{name}_mM{end}.nii.gz")[chosen] for end in ("", "_sd"))
        at = np.isfinite(found) & (of > 0)
        if not at.any():
            rows.append((name, "-", "-", f"{MOST_MEDIAN[name]:.1f}", "-", "-"))
            continue
        error, stated = 100 * (found / of - 1)[at], 100 * np.median((sd / of)[at])
        near = 100 * np.mean((np.abs(found - of) < 2 * sd)[at])
        values = (np.median(np.abs(error)), MOST_MEDIAN[name], stated, near)
        rows.append((name, f"{np.median(error):+.1f}", *(f"{value:.1f}" for value in values)))
    print(table(rows), flush=True)


def judge_lesion(maps: Path, truth: Path, window: str) -> None:
    """Print amounts within the lesion and in the rest of the brain, and those that are true."""
    lesion = load(truth / "lesion_mask.nii.gz") > 0.5
    rest = (load(truth / "brain_mask.nii.gz") > INSIDE) & (load(maps / "quality.nii.gz") > 0) & ~lesion
    if not lesion.any():
        return
    rows = [("median mM", "lesion", "truth", "rest of the brain", "truth")]
    for name in LESION:
        path = maps / f"{name}_mM.nii.gz"
        if path.exists():
            found, known = load(path), (truth / "psf" / f"{name}.nii.gz").exists()
            true = seen_by(truth, name, window) if known else np.full(found.shape, np.nan)
            shown = [one[at] for at in (lesion, rest) for one in (found, true)]
            medians = [
                np.median(one[np.isfinite(one)]) if np.isfinite(one).any() else np.nan for one in shown
            ]
            rows.append((name, *(f"{value:.2f}" for value in medians)))
    print(f"lesion of {np.count_nonzero(lesion)} voxels")
    print(table(rows), flush=True)


def main() -> None:
    """Run the commands and judge their maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    scan_arguments(parser, coils=8)
    parser.add_argument("--faults", default="clean")
    parser.add_argument("--filter", choices=("hamming", "none"), default="hamming")
    parser.add_argument("--keep-lipid", action="store_true", help="as of `run`")
    parser.add_argument("--no-tissue", action="store_true", help="give `run` no shares of tissue")
    parser.add_argument("--maps", type=Path, help="maps that are there already")
    options = parser.parse_args()
    folder = options.folder
    sequence, raw, truth, out = (folder / name for name in ("epsi.seq", "raw.h5", "truth", "maps"))
    if options.maps is None:
        folder.mkdir(parents=True, exist_ok=True)
        export(options, sequence)
        acquire(options, sequence, options.phantom, raw, truth, options.faults)
        more = ("--keep-lipid",) if options.keep_lipid else ()
        how = [
            *("--filter", options.filter, "--jobs", options.jobs, "--overwrite"),
            *([] if options.no_tissue else tissue_maps(truth, folder)),
        ]
        command("run", raw, "--seq", sequence, "-o", out, *how, *more)
    maps = options.maps or out / "maps"
    judge(maps, truth, options.filter)
    judge_lesion(maps, truth, options.filter)


if __name__ == "__main__":
    main()
