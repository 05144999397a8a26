"""A small synthetic head: brain, skull, a rim of fat, all blurred by the same k-space, and the truth of each part."""

from dataclasses import dataclass

import numpy as np

from pulsespec.conventions import ppm_to_hz
from pulsespec.recon.transients import Geometry, Record, Scan, Transients

F0_HZ, DWELL_S, SAMPLES, SIDE = 123.25e6, 8e-4, 256, 32
"""The object's grid is three times as fine as the image's."""
VOXEL_MM = 9.0
_FINE = 3
T = np.arange(SAMPLES) * DWELL_S


def singlet(ppm, width_hz=6.0, offset_hz=0.0):
    return np.exp((2j * np.pi * (ppm_to_hz(ppm, F0_HZ) + offset_hz) - np.pi * width_hz) * T)


def blurred(part, side=SIDE, hamming=False):
    """Return a map (fine grid, (3 side, 3 side)) as the images of `side` phase encodes show it."""
    k = np.fft.fftshift(np.fft.fft2(part))
    first = (part.shape[0] - side) // 2
    turns = (np.arange(side) - side // 2) / (side * _FINE)  # the middle of three is a voxel's centre
    shift = np.exp(2j * np.pi * turns)
    kept = k[first : first + side, first : first + side] * shift * shift[:, None]
    if hamming:
        window = 0.54 + 0.46 * np.cos(2 * np.pi * (np.arange(side) - side // 2) / side)
        kept = kept * window * window[:, None]
    return np.fft.ifft2(np.fft.ifftshift(kept)) / _FINE**2


@dataclass(frozen=True)
class Head:
    scan: Scan
    brain: np.ndarray
    fat: np.ndarray
    lesion: np.ndarray
    metabolites: np.ndarray
    """Truth of the brain's metabolites in the images, without lipid, water and noise; (x, y, 1, samples)."""
    leaked: np.ndarray
    """Scalp lipid in the images."""


def head(lipid=200.0, water_left=30.0, noise=0.05, seed=0, side=SIDE, lesion=0.0, hamming=False):
    def shown(part):
        return blurred(part, side, hamming)[..., None, None]

    rng = np.random.default_rng(seed)
    n = side * _FINE
    step = VOXEL_MM / _FINE
    x, y = np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * step] * 2, indexing="ij")
    radius = np.hypot(x / 0.85, y)
    edge = 0.4 * side * VOXEL_MM
    fat = (radius < edge) & (radius > edge - 9)
    brain = radius < edge - 20
    spot = brain & (np.hypot(x - 20, y - 30) < 16)
    metabolites = 3.0 * singlet(2.008) + 2.0 * singlet(3.027) + 1.5 * singlet(3.185)
    clean = shown(brain) * metabolites
    clean = clean + lesion * shown(spot) * (singlet(1.3, 12.0) + 0.3 * singlet(0.9, 12.0))
    leaked = np.zeros((side, side, 1, SAMPLES), complex)
    for quadrant in range(4):
        angle = np.arctan2(y, x)
        part = fat & (angle >= -np.pi + quadrant * np.pi / 2) & (angle < -np.pi + (quadrant + 1) * np.pi / 2)
        tone = singlet(1.3, 25.0, 4 * quadrant - 6.0) + 0.35 * singlet(0.9, 25.0, 4 * quadrant - 6.0)
        tone = tone + 0.12 * singlet(2.05, 30.0, 4 * quadrant - 6.0)
        leaked += lipid * shown(part) * tone * np.exp(1j * (0.3 + 0.2 * quadrant))
    residual = np.zeros_like(leaked)
    for offset, width in ((-3.0, 5.0), (4.0, 9.0)):
        phase = np.exp(1j * rng.uniform(0, 2 * np.pi))
        residual += water_left * phase * shown(brain) * singlet(4.65, width, offset)
    dirt = noise / np.sqrt(2) * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    water = 1e3 * shown(brain + 0.3 * (radius < edge) * ~brain) * singlet(4.65, 8.0)
    affine = np.diag([VOXEL_MM, VOXEL_MM, 15.0, 1.0])
    affine[:3, 3] = (-0.5 * (side - 1) * VOXEL_MM, -0.5 * (side - 1) * VOXEL_MM, 4.0)
    made = Record(
        "Spatial Fourier transform",
        "made",
        {"matrix": (side, side, 1), "filter": "hamming" if hamming else "none"},
    )
    common = {
        "dims": ("x", "y", "z", "t"), "dwell_s": DWELL_S, "f0_hz": F0_HZ, "geometry": Geometry(affine),
        "sign_is_defined": True, "source": "a synthetic head", "records": (made,),
    }  # fmt: skip
    scan = Scan(
        Transients(data=clean + leaked + residual + dirt, **common), Transients(data=water + dirt, **common)
    )
    inside, rim, mass = (_coarse(part, side) for part in (brain, fat, spot))
    return Head(scan, inside[..., None], rim[..., None], mass[..., None], clean, leaked)


def _coarse(part, side):
    return part.reshape(side, _FINE, side, _FINE).mean(axis=(1, 3)) >= 0.5
