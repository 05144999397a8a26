"""Speed and memory of cleaning images of whole-brain size: water in batches, scalp lipid.

python benchmarks/image_cleaning.py --matrix 50 50 18 --samples 256 --jobs 2
"""

import argparse
import resource
import time
from dataclasses import replace

import numpy as np

from pulsespec.conventions import ppm_to_hz
from pulsespec.recon.image_masks import Masks
from pulsespec.recon.image_water import remove_image_water
from pulsespec.recon.lipid_removal import remove_scalp_lipid
from pulsespec.recon.transients import Record, Transients
from pulsespec.recon.water_removal import remove_water

F0_HZ, BANDWIDTH_HZ = 123.25e6, 1250.0


def head(matrix: tuple[int, int, int], samples: int) -> tuple[Transients, Masks]:
    """An ellipsoid of brain in a shell of fat, every voxel with metabolites, residual water, leaked fat and noise."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in matrix], indexing="ij"))
    radius = np.linalg.norm(place / np.array([0.75, 0.9, 1.1])[:, None, None, None], axis=0)
    brain, scalp = radius < 0.85, (radius > 0.93) & (radius < 1.0)
    t = np.arange(samples) / BANDWIDTH_HZ

    def line(ppm, width_hz, shift_hz=0.0):
        return np.exp((2j * np.pi * (ppm_to_hz(ppm, F0_HZ) + shift_hz) - np.pi * width_hz) * t)

    data = np.empty((*matrix, samples), np.complex64)
    tissue = 3 * line(2.008, 8) + 2 * line(3.027, 8) + 1.5 * line(3.185, 8) + line(3.55, 12)
    for index in np.ndindex(matrix):
        dirt = rng.normal(size=(2, samples)) * 0.05
        fat = (60.0 if scalp[index] else rng.exponential(1.0)) * np.exp(2j * np.pi * rng.uniform())
        parts = fat * (line(1.3, 25, rng.normal(0, 4)) + 0.3 * line(0.9, 25, rng.normal(0, 4)))
        if brain[index]:
            water = 20 * line(4.65, rng.uniform(4, 10), rng.normal(0, 3)) + 8j * line(
                4.65, 15, rng.normal(0, 8)
            )
            parts = parts + tissue + water
        data[index] = parts + dirt[0] + 1j * dirt[1]
    record = Record("Spatial Fourier transform", "made", {"matrix": matrix, "filter": "hamming"})
    made = Transients(
        data=data, dims=("x", "y", "z", "t"), dwell_s=1 / BANDWIDTH_HZ, f0_hz=F0_HZ, records=(record,)
    )
    return made, Masks(brain | scalp, brain, scalp, Record("Masking", "made"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", type=int, nargs=3, default=(50, 50, 18))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    data, masks = head(tuple(args.matrix), args.samples)
    voxels = int(masks.head.sum())
    few = replace(data, data=data.data[masks.brain][:32], dims=("average", "t"))
    start = time.process_time()
    remove_water(few, components=24)
    alone = (time.process_time() - start) / 32
    some = np.zeros_like(masks.head)
    some[tuple(np.argwhere(masks.brain)[:512].T)] = True
    start = time.process_time()
    remove_image_water(data, some)
    batch = (time.process_time() - start) / int(some.sum())
    start = time.perf_counter()
    dry = remove_image_water(data, masks.head, jobs=args.jobs)
    took = time.perf_counter() - start
    print(f"water: voxels a CPU second: {1 / batch:.0f} in batches, {1 / alone:.0f} one at a time")
    print(
        f"water: {voxels} voxels of {args.samples} points in {took:.1f} s with {args.jobs} jobs, {voxels / took:.0f} "
        "voxels/s"
    )
    print(dry.records[-1].details)
    start = time.perf_counter()
    clean = remove_scalp_lipid(dry, masks, jobs=args.jobs).data
    took = time.perf_counter() - start
    brain = int(masks.brain.sum())
    print(
        f"lipid: {brain} brain and {int(masks.scalp.sum())} scalp voxels in {took:.1f} s, {brain / took:.0f} voxels/s"
    )
    for record in clean.records[-2:]:
        print(record.details)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
