r"""MEGA-PRESS: PRESS with two editing pulses (Mescher et al., NMR Biomed 1998;11:266-272; `mega`).

The localisation, from the end of the water suppression:

        |<-- TE1/2 -->|<------------- TE/2 -------------->|<----- TE/2 - TE1/2 ----->|
    RF  90           180            edit                 180            edit
    ADC  |            |               |<------------ TE/2 ------------>|             [::::::
    Gz  /==\_         |               |                   |            |             |
             \A-r/    |    \A+m/      |      \B-m/        |   /B+m\    |     \-m/    |
    Gy       /A\    /===\   ...                           |                          |
    Gx       /A\      |                                 /===\                    first sample

A and B are the crushers of the two refocusing pulses as in PRESS, m those of the editing pulses: of opposite
sign on their two sides, for the wanted pathway (-1, +1, +1, -1, -1) passes them. With four conditions this is
HERMES or HERCULES.
"""

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Cycle, Design, Slot, cycled
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.mega import edited, editing_slot
from pulsespec.sequences.press import pulses, turns
from pulsespec.sequences.scanner import Scanner

ORDERS = (-1, 1, 1, -1, -1)
CRUSHERS = ((-1.0, 1.0, 0.5), (-1.0, -1.0, 0.5), (0.5, 1.0, 1.0), (-0.5, 1.0, -1.0))
"""Of the pulses after the excitation. Found by a search over multiples of a half: of all pathways but the
wanted one, each sees at least a whole crusher along one axis."""


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return MEGA-PRESS with the conditions of the protocol."""
    excitation, first, second = (Slot((one,)) for one in pulses(protocol, scanner))
    editing = editing_slot(protocol, scanner)
    slots = (excitation, first, editing, second, editing)
    cycle = phase_cycle(protocol.phase_cycle)
    return edited(protocol, scanner, frame, slots, ORDERS, CRUSHERS, cycle)


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return the cycle of PRESS; the editing pulses keep their phase."""
    return cycled(ORDERS, [(0, first, 0, second, 0) for first, second in turns(steps)])
