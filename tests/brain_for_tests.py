"""A small brain: fourteen metabolites of a simulated spin echo and macromolecules, with every fault a test may ask for.

The spectra come from the basis that they are fitted with, so the truth is known; macromolecules are broader than
those of the basis, lines have a Voigt shape, and noise is drawn.
"""

from dataclasses import replace

import numpy as np
import sequences_for_tests

from pulsespec.conventions import ppm_to_hz
from pulsespec.recon.natural_widths import natural_widths
from pulsespec.recon.transients import Transients
from pulsespec.simulator import simulate
from pulsespec.simulator.broad import broad_lines

F0_HZ = 123.25e6
TE_S = 0.03
DWELL_S = 4e-4
SAMPLES = 1024
T_S = np.arange(SAMPLES) * DWELL_S

BRAIN_MM = {
    "NAA": 12.0, "NAAG": 1.5, "Cr": 4.5, "PCr": 4.0, "GPC": 1.0, "PCh": 0.6, "Glu": 9.0, "Gln": 2.5, "Ins": 6.0,
    "GABA": 1.5, "GSH": 1.3, "Tau": 1.5, "Asp": 2.0, "Lac": 0.6,
}  # fmt: skip
"""Sizes as in Govindaraju, Young, Maudsley 2000, table 1,
doi:10.1002/1099-1492(200005)13:3<129::AID-NBM619>3.0.CO;2-V: what is drawn is known, whatever brains have."""
MACROMOLECULES = {"MM09": 7.0, "MM12": 3.0, "MM14": 6.0, "MM17": 3.5, "MM20": 9.0}
MAIN = ("tNAA", "tCr", "tCho", "Ins", "Glx")
PARTS = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr"),
    "tCho": ("GPC", "PCh"),
    "Ins": ("Ins",),
    "Glx": ("Glu", "Gln"),
}


def brain_basis(folder, broad=True):
    """Return a basis of `BRAIN_MM` with macromolecules and lipids, of a spin echo of hard pulses."""
    path = folder / "echo.seq"
    sequences_for_tests.spin_echo(path, te_s=TE_S, samples=SAMPLES, dwell_s=DWELL_S)
    basis = simulate(path, list(BRAIN_MM), f0_hz=F0_HZ)
    lines = broad_lines(F0_HZ, reference_ppm=basis.reference_ppm)
    return basis.with_broad(lines) if broad else basis


def total(of):
    """Return the true sum of a member of `MAIN`."""
    return sum(BRAIN_MM[name] for name in PARTS[of])


def line_fid(ppm, size, lorentz_hz, gauss_hz=0.0, phase=0.0):
    """Return a single line at a chemical shift."""
    decay = np.exp(-np.pi * lorentz_hz * T_S - (np.pi * gauss_hz * T_S) ** 2 / (4 * np.log(2)))
    return size * decay * np.exp(2j * np.pi * ppm_to_hz(ppm, F0_HZ) * T_S + 1j * phase)


def brain(basis, *, sd=0.0, seed=0, width_hz=5.0, gauss_hz=3.0, amounts=BRAIN_MM, macromolecules=MACROMOLECULES,
          shift_ppm=0.0, phase=0.0, added=0.0, is_tissue=True, **facts):  # fmt: skip
    """Return a spectrum.

    `sd` is the standard deviation of complex noise of a sample, `shift_ppm` where 0 ppm lies, `added` a FID that
    neither shift nor phase acts on; `is_tissue` whether lines differ in width as their T2 does in brain.
    """
    natural = natural_widths(tuple(amounts), (), basis, F0_HZ) if is_tissue else np.zeros(len(amounts))
    fid = sum(
        value * basis.fid(name, SAMPLES, DWELL_S, width_hz + own, gauss_hz)
        for (name, value), own in zip(amounts.items(), natural, strict=True)
    )
    fid = fid + sum(
        value * basis.fid(name, SAMPLES, DWELL_S, width_hz + 6.0, gauss_hz)
        for name, value in macromolecules.items()
    )
    fid = fid * np.exp(1j * phase - 2j * np.pi * shift_ppm * F0_HZ * 1e-6 * T_S) + added + noise(sd, seed)
    given = {"dwell_s": DWELL_S, "f0_hz": F0_HZ, "te_s": TE_S, "tr_s": 2.0, "source": "brain.nii"}
    return Transients(data=fid, dims=("t",), **(given | facts))


def noise(sd, seed=0):
    """Return complex noise of a standard deviation, shape (SAMPLES,)."""
    rng = np.random.default_rng(seed)
    return sd / np.sqrt(2) * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES))


def empty(data):
    """Return the same data, all zero."""
    return replace(data, data=np.zeros_like(data.data))
