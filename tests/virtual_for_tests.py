"""A small setup of the virtual scanner made by hand: no file, no engine."""

import numpy as np

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.phantom import Phantom
from pulsespec.simulator.setup import Place, Setup
from pulsespec.simulator.timeline import LabelledReadout

F0_HZ = 127.7e6
PPM = {"NAA": (2.008, 3.0), "Cr": (3.027, 3.0), "GPC": (3.212, 9.0), "GABA": (3.01, 2.0)}
PHANTOM = Phantom(
    "four lines", {"NAA": 12.0, "Cr": 8.0, "GPC": 1.5, "GABA": 2.0}, 40000.0, {}, "", (1.85, 2.15)
)


def line(ppm, protons):
    return Lines(np.array([(ppm - 4.65) * F0_HZ * 1e-6]), np.array([protons + 0j]))


def small_basis(edited=0.0):
    """Singlets; `edited` is what is left of NAA and of the sign of GABA where an editing pulse is off."""
    lines = {name: line(*row) for name, row in PPM.items()}
    lines["NAA"] = line(PPM["NAA"][0], 3.0 * (1 - edited))
    lines["GABA"] = line(PPM["GABA"][0], 2.0 * (2 * edited - 1))
    return Basis(
        lines=lines,
        f0_hz=F0_HZ,
        nucleus="1H",
        te_s=0.068,
        tr_s=2.0,
        water=line(4.65, 2.0),
        sequence="by hand",
    )


def small_setup(shots=16, water=2, conditions=1, samples=1024, dwell_s=4e-4, offset_hz=0.0):
    """Metabolite shots that alternate between conditions, then water; NAA is whole in the last condition."""
    kinds = [(False, shot % conditions) for shot in range(shots * conditions)] + [(True, 0)] * water
    edited = {c: 0.0 if c == conditions - 1 else 0.9 for c in range(conditions)}
    return Setup(
        readouts=tuple(LabelledReadout(samples, dwell_s, offset_hz, *kind) for kind in kinds),
        bases={condition: small_basis(share) for condition, share in edited.items()},
        phantom=PHANTOM,
        place=Place(np.array([20.0, 25.0, 30.0]), np.array([5.0, -10.0, 15.0]), np.eye(3)),
    )
