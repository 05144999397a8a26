"""Images at 1.5 T, 3 T and 7 T, on trains, phase encodes and rings: protocol to maps, beside the truth.

    python benchmarks/image_fields.py --folder DIR                       # all of CASES, one after the other
    python benchmarks/image_fields.py --folder DIR --only rings-7t       # one of them
    python benchmarks/image_fields.py --folder DIR --head lipid=0 --snr 300      # what remains without fat and noise

`export`, `acquire`, `recon` and `fit` of each protocol at a reduced matrix, as commands. The mask of the brain is the
head's unless `--find-brain` (on coarse grids scalp and brain are not told apart), and tissue is what it was drawn
from, as a segmentation. Errors are of mM in a litre of tissue, of voxels of the brain that pass the quality mask and
lie in the slab (`SLAB`), beside the truth as the image sees it: its k-space, filter and slab included.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from whole_brain import command, load, print_errors, tissue_maps, weighted

from pulsespec.analysis import BRAIN_METABOLITES

SLAB = 0.9
"""Least signal of NAA over the largest of a plane, of planes that errors are of."""
REACHED = 0.5
"""The same, of voxels that are fitted."""


@dataclass(frozen=True)
class Case:
    """A protocol at a reduced matrix."""

    protocol: str
    scanner: str
    matrix: str
    linewidth_hz: float
    """Of NAA in the head: about what is found in vivo at the field (recalled)."""
    shim_hz: float = 8.0
    """What shimming leaves in the head, standard deviation: in proportion to the field up to 3 T."""


CASES = {
    "epsi-1.5t": Case("epsi-1.5t-whole-brain", "siemens-aera", "32x32x10", 4.0, 4.0),
    "epsi-3t": Case("epsi-3t-te17.6-whole-brain", "siemens-prisma", "32x32x10", 8.0),
    "epsi-7t": Case("epsi-7t-whole-brain", "siemens-terra", "32x32x10", 12.0),
    "epsi-7t-fid": Case("epsi-7t-fid-whole-brain", "siemens-terra", "32x32x10", 12.0),
    "fid-3t": Case("fid-mrsi-3t", "siemens-prisma", "32x32x1", 8.0),
    "fid-7t": Case("fid-mrsi-7t", "siemens-terra", "32x32x1", 12.0),
    "press-3t": Case("press-epsi-3t", "siemens-prisma", "32x32x1", 8.0),
    "press-7t": Case("press-epsi-7t", "siemens-terra", "32x32x1", 12.0),
    "rings-3t": Case("fid-mrsi-3t-rings", "siemens-prisma", "32x32x1", 8.0),
    "rings-7t": Case("fid-mrsi-7t-rings", "siemens-terra", "32x32x1", 12.0),
}


def head_file(path: Path, case: Case, changes: list[str]) -> Path:
    """Write the settings of the head."""
    rows = ['base = "brain"', f"linewidth_hz = {case.linewidth_hz}"]
    if not any(one.startswith("shim_residue_hz=") for one in changes):
        rows.append(f"shim_residue_hz = {case.shim_hz}")
    path.write_text("\n".join(rows + [one.replace("=", " = ", 1) for one in changes]) + "\n")
    return path


def inside(truth: Path) -> Path:
    """Write the mask of the voxels of the brain that slab or box reaches."""
    path = truth / "inside.nii.gz"
    slab, image = load(truth / "slab.nii.gz"), nibabel.load(truth / "brain_mask.nii.gz")
    chosen = (np.asarray(image.dataobj) > 0.5) & (slab > REACHED * slab.max())
    nibabel.save(nibabel.Nifti1Image(chosen.astype(np.uint8), image.affine), path)
    return path


def window(shape: tuple[int, ...], rings: bool) -> np.ndarray:
    """Return the Hamming weights of the points of a discrete Fourier transform; rings weigh |k| in their plane."""
    steps = np.meshgrid(*(2 * np.fft.fftfreq(n) * (n > 1) for n in shape), indexing="ij")
    if rings:
        return np.where(np.hypot(*steps[:2]) <= 1, 0.54 + 0.46 * np.cos(np.pi * np.hypot(*steps[:2])), 0.08)
    return np.prod([0.54 + 0.46 * np.cos(np.pi * one) for one in steps], axis=0)


def judge(maps: Path, truth: Path, rings: bool) -> None:
    """Print errors of the maps, and what share of the brain they are of."""
    slab = load(truth / "slab.nii.gz")
    brain = (load(truth / "brain_mask.nii.gz") > 0.5) & (slab > SLAB * slab.max())
    quality = load(maps / "quality.nii.gz") == 1
    weights = window(brain.shape, rings)
    tissue = sum(
        weighted(truth / "psf" / f"share_{one}.nii.gz", weights) for one in ("grey-matter", "white-matter")
    )
    chosen = brain & quality
    print(f"{np.mean(quality[brain]):.0%} of {np.count_nonzero(brain)} voxels of the brain in the slab pass")
    print_errors(maps, chosen, lambda name: weighted(truth / "psf" / f"{name}.nii.gz", weights) / tissue)


def play(case: Case, folder: Path, options: argparse.Namespace) -> None:
    """Run the commands of a case, as far as their files are not there, and judge the maps."""
    folder.mkdir(parents=True, exist_ok=True)
    sequence, raw, truth, out = (folder / name for name in ("image.seq", "raw.h5", "truth", "maps"))
    if not sequence.exists():
        matrix = options.matrix or case.matrix
        command("export", case.protocol, "--scanner", case.scanner, "--matrix", matrix, "-o", sequence)
    if not truth.exists():
        head = head_file(folder / "head.toml", case, options.head)
        how = ("--faults", "clean", "--coils", options.coils, "--snr", options.snr)
        command("acquire", sequence, "--phantom", head, *how, "-o", raw, "--truth", truth)
    image = folder / "image.nii.gz"
    mask = truth / "brain_mask.nii.gz"
    given = () if options.find_brain else ("--brain-mask", mask)
    keep = ("--keep-lipid",) if options.keep_lipid else ()
    if not image.exists():
        command("recon", raw, "--seq", sequence, "-o", image, "--filter", "hamming", *given, *keep)
    basis = folder / "basis.h5"
    if not basis.exists():
        command("simulate", sequence, "-o", basis, "--metabolites", ",".join(BRAIN_METABOLITES))
    chosen = () if options.find_brain else ("--mask", inside(truth))
    water = folder / "image_water.nii.gz"
    how = ("--basis", basis, "--water", water, "--seq", sequence, *tissue_maps(truth, folder), *chosen, *keep)
    command("fit", image, *how, "-o", out, "--overwrite")
    judge(out / "maps", truth, "rings" in case.protocol)


def main() -> None:
    """Play the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", choices=list(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--matrix", help="in place of that of the case")
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--snr", type=float, default=25.0)
    parser.add_argument("--head", nargs="*", default=[], help="KEY=VALUE of the head's settings")
    parser.add_argument("--find-brain", action="store_true", help="give no mask of the brain")
    parser.add_argument("--keep-lipid", action="store_true", help="as of `recon`")
    options = parser.parse_args()
    for name in options.only:
        print(f"{name}: {CASES[name].protocol}, {options.matrix or CASES[name].matrix}", flush=True)
        play(CASES[name], options.folder / name, options)


if __name__ == "__main__":
    sys.exit(main())
