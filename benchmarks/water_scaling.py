"""Voxels a second that are segmented and made into concentrations: `python benchmarks/water_scaling.py`."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

from pulsespec.analysis import BRAIN_METABOLITES
from pulsespec.recon.constants import constants_at
from pulsespec.recon.quantify import parts_of
from pulsespec.recon.segmentation import Source, read_segmentation
from pulsespec.recon.transients import Geometry
from pulsespec.recon.voxel_fractions import voxel_fractions
from pulsespec.recon.water_scaling import Acquisition, Timing, factors, scaled, weights
from pulsespec.recon.water_size import water_sizes


def timed(what: str, count: int, work: Callable[[], object]) -> object:
    """Run, and print voxels a second."""
    start = time.process_time()
    made = work()
    took = time.process_time() - start
    print(f"{what:32s} {count:6d} voxels {took:7.2f} s {count / took:10.0f} voxels/s")
    return made


def segmented(rng: np.random.Generator, grid: tuple[int, int, int]) -> None:
    """Time the fractions of an oblique grid of 10 x 10 x 15 mm in an image of 0.9 mm with three labels."""
    image, voxel = np.diag([0.9, 0.9, 0.9, 1.0]), np.eye(4)
    image[:3, 3] = -0.9 * 127.5
    voxel[:3, :3] = Rotation.from_euler("xyz", [15, -5, 10], degrees=True).as_matrix() * [10, 10, 15]
    voxel[:3, 3] = -voxel[:3, :3] @ ((np.array(grid) - 1) / 2)
    labels = rng.integers(1, 4, (256, 256, 256)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.nii"
        nibabel.save(nibabel.Nifti1Image(labels, image), path)
        segmentation = read_segmentation(Source(labels=path))
        count = int(np.prod(grid))
        timed("tissue fractions", count, lambda: voxel_fractions(Geometry(voxel), segmentation, grid))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=10000)
    count = parser.parse_args().voxels
    rng, names = np.random.default_rng(0), BRAIN_METABOLITES
    n = len(names)
    segmented(rng, (16, 16, 1))
    fids = 1e4 * np.exp(-20 * np.arange(1024) * 5e-4) + rng.normal(size=(count, 1024)) + 0j
    size, sd = water_sizes(fids)
    timed("amplitudes of water", count, lambda: water_sizes(fids))
    constants, _ = constants_at(2.894, names)
    timing = Timing(0.03, 2.0)
    fractions = rng.dirichlet([3, 2, 1], size=count)
    acquisition = Acquisition(timing, timing)
    found = factors(constants, names, fractions, acquisition, fraction_sd=0.02)
    timed("factors", count, lambda: factors(constants, names, fractions, acquisition, fraction_sd=0.02))
    amplitudes, covariance = rng.uniform(1, 10, (count, n)), np.broadcast_to(np.eye(n), (count, n, n))
    parts = weights(parts_of(names), names)
    gain = found.molar / size[:, np.newaxis]
    timed(
        "concentrations",
        count,
        lambda: scaled(amplitudes, covariance, gain, found.molar_effects, parts, sd / size),
    )


if __name__ == "__main__":
    main()
