r"""SPECIAL: spin echo, full intensity acquired localised (Mlynarik et al., MRM 2006;56:965-970).

One repetition, from the end of the water suppression:

                     |<-- TE/2 -->|<-- TE/2 -->|
    RF  180 or off   90          180
    ADC  |           |            |            [::::::
    Gx  /===\  T     |            |            |
    Gz          T   /==\_\A-r/    |     /A\    |
    Gy          T          /A\  /===\   /A\    |
                                           first sample

In every second repetition the first pulse inverts a slice along x before the excitation, and the receiver
turns with it: what lies outside of the slice cancels, and the voxel keeps its whole magnetisation at an echo
time that only one refocusing pulse has to fit into. One shot sees the whole column: the localisation along x
is that of the difference. The wanted pathway is (0, +1, -1).
"""

import dataclasses

import numpy as np

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Areas, Cycle, Design, Slot, crusher_unit, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, excitation, on_slice, peak_b1_hz, selective
from pulsespec.sequences.scanner import Scanner

ORDERS = (0, 1, -1)
SPOILER = (1.5, -1.5, 1.5)


def pulses(protocol: Protocol, scanner: Scanner) -> tuple[Played, Played, Played]:
    """Return inversion (along x), excitation (z) and refocusing pulse (y)."""
    x_m, y_m, z_m = (mm * 1e-3 for mm in protocol.voxel_mm)
    b1, shapes = peak_b1_hz(protocol, scanner), protocol.pulses
    return (
        on_slice(selective("inversion", "inversion", shapes.refocusing, b1, scanner), "x", x_m, scanner),
        on_slice(excitation("excitation", shapes.excitation, b1, scanner), "z", z_m, scanner),
        on_slice(selective("refocusing", "refocusing", shapes.refocusing, b1, scanner), "y", y_m, scanner),
    )


def crushers(protocol: Protocol, played: tuple[Played, ...]) -> tuple[Areas, ...]:
    """Return the lobes after each pulse, in cycles/m."""
    x, y, z = (float(value) for value in crusher_unit(protocol))
    spoiler = (SPOILER[0] * x, SPOILER[1] * y, SPOILER[2] * z)
    return spoiler, (x, y, z - played[1].moment_after_per_m), (x, y, z)


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return SPECIAL, the inversion as close before the excitation as it can be."""
    played = pulses(protocol, scanner)
    slots = tuple(Slot((one,)) for one in played)
    areas, cycle = crushers(protocol, played), phase_cycle(protocol.phase_cycle)
    return plan(protocol, scanner, frame, slots, ORDERS, areas, cycle, prefer=(1.0, 0.0, 0.0))


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return 2 or 8 steps: without and with inversion, the receiver turned; EXORCYCLE on the refocusing."""
    turns = [0] if steps == 2 else [0, 2, 1, 3]
    result = []
    for step in cycled(ORDERS, [(0, 0, turn) for turn in turns]):
        result.append(dataclasses.replace(step, silent=frozenset({0})))
        result.append(dataclasses.replace(step, receiver=float(np.mod(step.receiver + np.pi, 2 * np.pi))))
    return tuple(result)
