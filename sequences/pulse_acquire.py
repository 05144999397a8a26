r"""Pulse-acquire: a slice or everything, one pulse, one FID; the simplest calibration there is.

    RF  alpha
    ADC   |  [::::::
    Gz  /==\_  |
            \r/|
             first sample, `te_ms` after the centre of the pulse

With a slab along z (`voxel_mm` gives its thickness) or, where `pulses.hard_us` is set, without any gradient.
The wanted pathway is (-1).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Cycle, Design, Slot, crush, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, everywhere, excitation, hard, on_slice, peak_b1_hz
from pulsespec.sequences.scanner import Scanner

ORDERS = (-1,)


def pulse(protocol: Protocol, scanner: Scanner, flip_deg: float) -> Played:
    """Return the one pulse."""
    flip_rad = np.deg2rad(flip_deg)
    if protocol.pulses.hard_us is not None:
        return everywhere(
            hard("excitation", "excitation", flip_rad, protocol.pulses.hard_us * 1e-6, scanner), scanner
        )
    b1 = peak_b1_hz(protocol, scanner)
    shaped = excitation("excitation", protocol.pulses.excitation, b1, scanner, flip_rad=flip_rad)
    return on_slice(shaped, "z", protocol.voxel_mm[2] * 1e-3, scanner)


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return pulse-acquire with its first sample TE after the pulse."""
    steps = protocol.phase_cycle
    return _plan(protocol, scanner, frame, protocol.flip_deg or 90.0, steps, None)


def water(
    protocol: Protocol, scanner: Scanner, frame: Frame, flip_deg: float, orders: Sequence[int]
) -> Design:
    """Return the shortest pulse-acquire of the slab of another sequence, for water in the same repetition.

    `orders` are those of the other sequence. Each time they change sign its signal does; so it does once more
    where the other begins before an inversion has recovered. Water is turned to the same phase.
    """
    found = _plan(protocol, scanner, frame, flip_deg, 1, 0.0)
    signs = [order for order in orders if order]
    turns = sum(one * two < 0 for one, two in pairwise(signs)) + (protocol.inversion is not None)
    cycle = Cycle((float(np.pi) * (turns % 2),), found.cycle[0].receiver)
    return replace(found, cycle=(cycle,))


def _plan(
    protocol: Protocol, scanner: Scanner, frame: Frame, flip_deg: float, steps: int, te_s: float | None
) -> Design:
    slots = (Slot((pulse(protocol, scanner, flip_deg),)),)
    areas = crush(protocol, slots, ORDERS, ())
    cycle = cycled(ORDERS, [(k * 4 // steps,) for k in range(steps)])
    return plan(protocol, scanner, frame, slots, ORDERS, areas, cycle, te_s=te_s)
