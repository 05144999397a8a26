r"""Pulse-acquire: a slice or everything, one pulse, one FID; the simplest calibration there is.

    RF  alpha
    ADC   |  [::::::
    Gz  /==\_  |
            \r/|
             first sample, `te_ms` after the centre of the pulse

With a slab along z (`voxel_mm` gives its thickness) or, where `pulses.hard_us` is set, without any gradient.
The wanted pathway is (-1).
"""

import numpy as np

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Design, Slot, crush, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, everywhere, excitation, hard, on_slice, peak_b1_hz
from pulsespec.sequences.scanner import Scanner

ORDERS = (-1,)


def pulse(protocol: Protocol, scanner: Scanner) -> Played:
    """Return the one pulse, of the protocol's flip angle."""
    flip_rad = np.deg2rad(protocol.flip_deg or 90.0)
    if protocol.pulses.hard_us is not None:
        return everywhere(
            hard("excitation", "excitation", flip_rad, protocol.pulses.hard_us * 1e-6, scanner), scanner
        )
    b1 = peak_b1_hz(protocol, scanner)
    shaped = excitation("excitation", protocol.pulses.excitation, b1, scanner, flip_rad=flip_rad)
    return on_slice(shaped, "z", protocol.voxel_mm[2] * 1e-3, scanner)


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return pulse-acquire with its first sample TE after the pulse."""
    slots = (Slot((pulse(protocol, scanner),)),)
    areas = crush(protocol, slots, ORDERS, ())
    cycle = cycled(ORDERS, [(k,) for k in range(protocol.phase_cycle)])
    return plan(protocol, scanner, frame, slots, ORDERS, areas, cycle)
