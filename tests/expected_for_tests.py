"""A basis set of a few singlets whose spectra can be written down."""

import numpy as np

from pulsespec.simulator import Basis, Lines

F0_HZ, DWELL_S, SAMPLES = 123.25e6, 2.5e-4, 2048
TE_S, TR_S = 0.030, 2.0
T = np.arange(SAMPLES) * DWELL_S
SINGLETS = {  # ppm and protons
    "NAA": [(2.01, 3.0), (2.49, 0.5), (2.67, 0.5)],
    "Cr": [(3.03, 3.0), (3.92, 2.0)],
    "GPC": [(3.21, 9.0), (3.66, 0.8)],
    "Ins": [(3.52, 2.0), (3.61, 2.0), (3.27, 1.0)],
    "Glu": [(2.34, 1.0), (2.37, 1.0), (2.08, 0.9), (3.75, 1.0)],
}


def singlets(names=None, f0_hz=F0_HZ, **more):
    """A basis of singlets, with water of two protons."""
    lines = {
        name: Lines(
            np.array([(ppm - 4.65) * f0_hz * 1e-6 for ppm, _ in SINGLETS[name]]),
            np.array([protons + 0j for _, protons in SINGLETS[name]]),
        )
        for name in names or SINGLETS
    }
    facts = {"te_s": TE_S, "tr_s": TR_S, "water": Lines(np.zeros(1), np.array([2.0 + 0j]))} | more
    return Basis(
        lines=lines, f0_hz=f0_hz, nucleus="1H", samples=SAMPLES, dwell_s=DWELL_S, sequence="test", **facts
    )
