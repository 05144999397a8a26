"""A small spectroscopic image of known amounts: an oblique grid, a lesion, a corner without signal, water."""

import numpy as np

from pulsespec.recon.transients import Geometry, Record, Scan, Transients
from pulsespec.simulator.basis import Basis, Lines

F0_HZ = 123.2e6
DWELL_S, SAMPLES = 5e-4, 512
SHIFTS = {
    "Cr": ((3.027, 3.0), (3.913, 2.0)),
    "NAA": ((2.008, 3.0), (2.49, 1.0), (2.67, 1.0)),
    "GPC": ((3.212, 9.0),),
    "Ins": ((3.52, 2.0), (3.61, 2.0), (4.05, 1.0)),
    "Lac": ((1.28, 1.5), (1.34, 1.5)),
}
HEALTHY = {"Cr": 8.0, "NAA": 12.0, "GPC": 1.5, "Ins": 6.0, "Lac": 0.5}
TUMOUR = {"Cr": 5.0, "NAA": 2.5, "GPC": 4.0, "Ins": 6.0, "Lac": 6.0}
LESION = ((1, 2), (1, 3), (2, 2), (2, 3))
"""Voxels along x and y that are of tumour."""
EMPTY = ((0, 0), (5, 5))
WATER = 40000.0
CLEAN = Record("Nuisance peak removal", "water: none was simulated")


def lines(*peaks):
    ppm, protons = np.array(peaks).T
    return Lines((ppm - 4.65) * F0_HZ * 1e-6, protons.astype(complex))


def small_basis():
    """Return a basis of five metabolites and water of two protons."""
    made = {name: lines(*peaks) for name, peaks in SHIFTS.items()}
    return Basis(
        lines=made,
        f0_hz=F0_HZ,
        te_s=0.03,
        nucleus="1H",
        samples=SAMPLES,
        dwell_s=DWELL_S,
        water=lines((4.65, 2.0)),
    )


def grid(tilt_deg=0.0):
    """Return the place of a 6 x 6 grid of 10 x 10 x 15 mm about the origin, turned about z."""
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([10.0, 10.0, 15.0])
    affine[:3, 3] = -affine[:3, :3] @ [2.5, 2.5, 0.0] + [0.0, 5.0, 20.0]
    return Geometry(affine)


def truth(rng=None):
    """Return true amounts by name, each of shape (6, 6, 1): a gradient along y, another tissue in the lesion."""
    amounts = {}
    for name in SHIFTS:
        values = HEALTHY[name] * (1 + 0.06 * (np.arange(6) - 2.5))[None, :, None] * np.ones((6, 6, 1))
        for x, y in LESION:
            values[x, y] = TUMOUR[name]
        for x, y in EMPTY:
            values[x, y] = 0
        amounts[name] = values
    return amounts


def small_image(basis, *, sd=0.6, seed=3, tilt_deg=0.0, shift_hz=2.0, with_water=True):
    """Return a scan of the grid: every voxel with a phase and a shift of its own, noise of `sd` a sample."""
    rng = np.random.default_rng(seed)
    fids = sum(
        amount[..., None] * basis.fid(name, linewidth_hz=2.0, gauss_hz=4.0)
        for name, amount in truth().items()
    )
    t = np.arange(SAMPLES) * DWELL_S
    shift = shift_hz * rng.uniform(-1, 1, (6, 6, 1, 1))
    phase = rng.uniform(-np.pi, np.pi, (6, 6, 1, 1))
    fids = fids * np.exp(2j * np.pi * shift * t + 1j * phase)
    noise = sd / np.sqrt(2) * (rng.standard_normal(fids.shape) + 1j * rng.standard_normal(fids.shape))
    facts = {"dwell_s": DWELL_S, "f0_hz": F0_HZ, "te_s": 0.03, "tr_s": 2.0, "geometry": grid(tilt_deg)}
    metabolite = Transients(
        data=fids + noise, dims=("x", "y", "z", "t"), source="image", records=(CLEAN,), **facts
    )
    water = WATER * 2 * np.exp(-15 * t) * np.ones((6, 6, 1, 1))
    water = Transients(data=water.astype(complex), dims=("x", "y", "z", "t"), source="water", **facts)
    return Scan(metabolite, water if with_water else None)
