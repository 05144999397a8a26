"""Scalp lipid that is left in the brain: the same head acquired with and without its scalp fat, on the virtual scanner.

    python benchmarks/scalp_lipid.py --folder DIR --matrix 24x24x8          # 2 GB of samples
    python benchmarks/scalp_lipid.py --folder DIR --coils 2                 # 50 x 50 x 18: 9.4 GB
    python benchmarks/scalp_lipid.py --folder DIR --protocol epsi-3t-te17.6-no-inversion-whole-brain --matrix 24x24x8

Both have the same noise and are reconstructed with the coil weights of the head with fat, so the images differ by fat
alone; cleaning learns from the images with fat, and what it makes of the difference is what is left. Printed are
peaks of magnitude spectra over that of NAA in normal white matter (share above 0.7, slab above 0.8), in voxels that are
brain by truth (share above 0.9, slab above 0.5) and by the mask that was found. Files that exist are not made again.
"""

import argparse
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scores import table
from whole_brain import acquire, export, load, scan_arguments

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon import image_recon
from pulsespec.recon.image_cleaning import CleanImages, CleaningSettings, clean_images
from pulsespec.recon.image_read import Source, image_stream, source_of
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.lipid_operator import survival
from pulsespec.recon.lipid_removal import PATTERNS, pattern
from pulsespec.recon.transients import Scan
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

LIPID_PPM, NAA_PPM = (0.5, 1.8), (1.9, 2.15)
GOAL = 0.02
CASES = {"guarded": CleaningSettings(), "not guarded": CleaningSettings(lipid_guard=False)}


@dataclass(frozen=True)
class Truth:
    """Masks of the truth maps on the grid of the images."""

    brain: np.ndarray
    white: np.ndarray
    lesion: np.ndarray


def truth_of(folder: Path) -> Truth:
    """Return which voxels are brain and normal white matter within the slab."""

    def of(name: str) -> np.ndarray:
        return load(folder / f"{name}.nii.gz")

    slab = of("slab")
    brain = (of("brain_mask") > 0.9) & (slab > 0.5) & (of("lesion_mask") < 0.01)
    white = brain & (of("share_white-matter") > 0.7) & (slab > 0.8)
    return Truth(brain, white, (of("lesion_mask") > 0.5) & (slab > 0.5))


def opened(raw: Path, sequence: Path) -> Source:
    """Return raw data as the reconstruction opens them."""
    stream = image_stream(raw)
    played = read_played(sequence, float(stream.facts["f0_hz"]))
    return source_of(stream, played, read_trajectory(sequence), sequence.name)


def images(sources: list[Source], filter_name: str, jobs: int) -> list[Scan]:
    """Return images before alignment, all with the coil weights and echo correction of the first source."""
    common = image_recon.prepared(sources[0], ImageSettings(filter=filter_name), jobs)
    weights, _ = image_recon._weights(common, sources[0].plan.water)
    scans = []
    for source in sources:
        here = replace(common, source=source)
        scans.append(
            Scan(*(image_recon._image(here, k, weights) for k in (source.plan.metabolite, source.plan.water)))
        )
    return scans


def judge(scans: list[Scan], truth: Truth, settings: CleaningSettings, jobs: int) -> list[str]:
    """Return a row of figures for one way to clean."""
    start = time.process_time()
    found = clean_images(scans[0], settings, jobs=jobs)
    took = time.process_time() - start
    data = scans[0].metabolite
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)

    def peak(fids: np.ndarray, window: tuple[float, float]) -> np.ndarray:
        return np.abs(to_spectrum(fids))[..., (ppm > window[0]) & (ppm < window[1])].max(axis=-1)

    print(f"  {found.masks.record.details}; cleaning took {took:.0f} s of CPU")
    print(f"  {found.scan.metabolite.records[-1].details}")
    naa = float(np.median(peak(scans[1].metabolite.data[truth.white], NAA_PPM)))
    fat = np.asarray(data.data - scans[1].metabolite.data, np.complex128)
    at = truth.brain & found.masks.brain
    row = [f"{at.sum()} of {truth.brain.sum()}"]
    left = fat.copy()
    if found.operator is not None:
        brain = fat[found.lipid_voxels]
        left[found.lipid_voxels] = (found.by_voxel or found.operator).apply(brain)
    for part, window in ((fat, LIPID_PPM), (left, LIPID_PPM), (left, NAA_PPM)):
        values = peak(part[at], window) / naa
        row.append(f"{np.median(values):.3f}, {np.quantile(values, 0.95):.2f}")
    row.append(f"{np.mean(peak(left[at], (0.5, 2.15)) < GOAL * naa):.0%}")
    spot = truth.lesion & found.lipid_voxels
    if spot.any():
        own = peak(scans[1].metabolite.data[spot], LIPID_PPM) / naa
        values = [peak(part[spot], LIPID_PPM) / naa for part in (fat, left)]
        shares = ", ".join(f"{n} {one}" for n, one in zip(PATTERNS, kept(found, data, spot), strict=False))
        print(
            f"  lesion, {spot.sum()} voxels: its own at 0.5 to 1.8 ppm {np.median(own):.2f} of NAA, cast in "
            f"{np.median(values[0]):.2f}, left of that {np.median(values[1]):.3f}; kept of its own: {shares}"
        )
    return row + kept(found, data, at)


def kept(found: CleanImages, data, at: np.ndarray) -> list[str]:
    """Return what is left of metabolites, and how noise has grown."""
    if found.operator is None:
        return ["1"] * len(PATTERNS) + ["1"]
    made = {name: pattern(name, data, 8.0) for name in PATTERNS}
    if found.by_voxel is None:
        return [f"{survival(found.operator, fid):.3f}" for fid in made.values()] + ["-"]
    inside = at[found.lipid_voxels]
    noise = found.by_voxel.noise_gain(made["NAA"])[inside]
    shares = [f"{np.median(found.by_voxel.survival(fid)[inside]):.3f}" for fid in made.values()]
    return [*shares, f"{np.median(noise):.2f}, {np.quantile(noise, 0.95):.2f}"]


def main() -> None:
    """Make the data where there are none, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    scan_arguments(parser, coils=4)
    parser.add_argument("--filters", default="none,hamming")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    sequence, truth = folder / "epsi.seq", folder / "truth"
    export(options, sequence)
    (folder / "lean.toml").write_text(f'base = "{options.phantom}"\nlipid = 0.0\n', encoding="utf-8")
    raws = [folder / "fat.h5", folder / "lean.h5"]
    for raw, head, maps in zip(
        raws, (options.phantom, folder / "lean.toml"), (truth, folder / "truth-lean"), strict=True
    ):
        acquire(options, sequence, head, raw, maps)
    sources = [opened(raw, sequence) for raw in raws]
    names = [*(f"{name} kept" for name in PATTERNS), "noise at NAA"]
    rows = [("filter, method", "voxels", "cast in", "left, lipid", "left, NAA", "below 2 %", *names)]
    for filter_name in options.filters.split(","):
        scans = images(sources, filter_name, options.jobs)
        for name, settings in CASES.items():
            print(f"{filter_name}, {name}", flush=True)
            rows.append((f"{filter_name}, {name}", *judge(scans, truth_of(truth), settings, options.jobs)))
    print("peaks over that of NAA: median, 95 %")
    print(table(rows))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
