"""Concentric rings of a real 7 T scan: figures of the reconstruction, and a picture of images and spectra.

PULSESPEC_DATA=/data python benchmarks/rings.py --picture rings.png
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.image_cleaning import clean_images
from pulsespec.recon.image_masks import band_image, water_image
from pulsespec.recon.image_nonuniform import point_spread
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.ring_images import images_of
from pulsespec.recon.rings import rings_k_space
from pulsespec.recon.transients import Scan
from pulsespec.recon.twix_rings import RingScan, read_rings

SHIFT_PPM = 0.15
"""The phantom is at room temperature, water at 4.80 ppm."""
VOXELS = ((3, 8), (8, 12), (8, 8), (12, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    start = time.perf_counter()
    raw = read_rings(Path(os.environ["PULSESPEC_DATA"]) / "siemens-7t-crt-mrsi" / "test.dat")
    scan = images_of(raw, "test.dat")
    print(f"read and reconstructed in {time.perf_counter() - start:.2f} s")
    clean = clean_images(scan)
    for record in clean.scan.metabolite.records:
        print(f"{record.method}: {record.details}")
    inside = clean.masks.brain
    spectrum = np.abs(to_spectrum(clean.scan.metabolite.data[inside])).mean(axis=0)
    data = scan.metabolite
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz) + SHIFT_PPM
    for name, low, high in (("acetate", 1.7, 2.1), ("lactate", 1.1, 1.5), ("lactate CH", 3.9, 4.3)):
        band = (ppm > low) & (ppm < high)
        print(f"{name}: {ppm[band][spectrum[band].argmax()]:.2f} ppm")
    if args.picture:
        draw(raw, scan, clean.scan, args.picture)


def draw(raw: RingScan, scan: Scan, clean: Scan, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fine = images_of(raw, "test.dat", ImageSettings(zero_fill=(64, 64, 1)))
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.2), layout="constrained")
    half = raw.volume.voxel_mm[0] / 2
    shown = {
        "water": water_image(fine.water),
        "acetate": band_image(fine.metabolite, (1.6, 1.9)),
        "lactate": band_image(fine.metabolite, (1.0, 1.3)),
    }
    for axis, (title, image) in zip(axes[0], shown.items(), strict=False):
        axis.imshow(image[..., 0].T, extent=(-half, half, half, -half), cmap="magma")
        axis.set_title(title)
        axis.set_xlabel("mm, to the right")
    k = rings_k_space(raw.metabolite.rings, raw.dwell_s)
    offsets = np.zeros((400, 3))
    offsets[:, 0] = np.linspace(-0.1, 0.1, 400)
    axes[0, 3].plot(1e3 * offsets[:, 0], point_spread(k, offsets).real)
    axes[0, 3].set_title("point-spread function")
    axes[0, 3].set_xlabel("mm")
    ppm = ppm_axis(scan.metabolite.samples, scan.metabolite.dwell_s, scan.metabolite.f0_hz) + SHIFT_PPM
    for axis, (x, y) in zip(axes[1], VOXELS, strict=True):
        turn = np.exp(-1j * np.angle(scan.water.data[x, y, 0, 2]))
        for data, label in ((scan.metabolite, "with water"), (clean.metabolite, "water removed")):
            axis.plot(ppm, to_spectrum(data.data[x, y, 0] * turn).real, label=label)
        top = np.abs(to_spectrum(clean.metabolite.data[x, y, 0]))[(ppm > 1.7) & (ppm < 2.1)].max()
        axis.set(xlim=(5.5, 0.5), ylim=(-top, 1.3 * top), title=f"voxel {x}, {y}", xlabel="ppm")
        axis.set_yticks([])
    axes[1, 0].legend()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
