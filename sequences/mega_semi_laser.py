r"""MEGA-semi-LASER: semi-LASER with two editing pulses (Andreychenko et al., MRM 2012;68:1018-1025; `mega`).

The localisation, from the end of the water suppression:

    RF  90    AFP    edit    AFP   AFP   AFP    edit
    ADC  |     |       |<------ TE/2 ----------->|    [::::::
    Gz  /==\_  |       |       |     |     |     |    |
    Gy       /\_/\     |     /\_/\   |     |     |    |
    Gx         |       |       |   /\_/\ /\_/\   |    |
                                                 first sample

The editing pulses stand inside the first pair of passages and behind the second: of all placements the one
with the shortest TE at which they are TE/2 apart (found with the program that places the pulses). The wanted
pathway is (-1, +1, +1, -1, +1, -1, -1).
"""

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Cycle, Design, Slot, cycled
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.mega import edited, editing_slot
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.semi_laser import pulses, turns

ORDERS = (-1, 1, 1, -1, 1, -1, -1)
CRUSHERS = (
    (0.5, -1.0, -0.5),
    (-0.75, -1.0, -0.5),
    (0.75, 1.0, -0.5),
    (-1.0, 0.5, -1.0),
    (-0.5, -0.5, 1.0),
    (0.5, -0.5, -1.0),
)
"""Of the pulses after the excitation. Found by a search over multiples of a quarter: of all pathways but the
wanted one, each is dephased along two axes at least, or by a whole crusher along one."""


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return MEGA-semi-LASER with the conditions of the protocol."""
    excitation, y1, y2, x1, x2 = (Slot((one,)) for one in pulses(protocol, scanner))
    editing = editing_slot(protocol, scanner)
    slots = (excitation, y1, editing, y2, x1, x2, editing)
    cycle = phase_cycle(protocol.phase_cycle)
    return edited(protocol, scanner, frame, slots, ORDERS, CRUSHERS, cycle)


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return the cycle of semi-LASER; the editing pulses keep their phase."""
    return cycled(ORDERS, [(e, a, 0, b, c, d, 0) for e, a, b, c, d in turns(steps)])
