r"""Spin echo of a slab: the localisation of whole-brain EPSI (Maudsley et al., MRM 2009;61:548-559).

    |<-- TE/2 -->|<-- TE/2 -->|
    RF  90          180            | echo
    Gz  /==\_ A-r/ /===\  /A\      |
    Gx,Gy     A           A+p      [train or FID

Both pulses select along z; the slab of the refocusing pulse is wider, by a fifth or as `pulses.refocusing_slab` says,
so that the excitation alone defines what is measured. Where it is f times as wide and moves by s of its width a ppm, it
holds all of the excited slab for resonances up to D ppm from the carrier if f (1 - 2 s D) is 1 or more. p are the phase
encodes and the prephasing of a train. The wanted pathway is (+1, -1).
"""

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Cycle, Design, Slot, crush, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, excitation, on_slice, peak_b1_hz, selective
from pulsespec.sequences.scanner import Scanner

ORDERS = (1, -1)
CRUSHERS = ((1.0, 1.0, 1.0),)
_WIDER = 1.2
"""Slab of the refocusing pulse over that of the excitation, where the protocol does not say."""


def pulses(protocol: Protocol, scanner: Scanner) -> tuple[Played, Played]:
    """Return excitation and refocusing pulse, both along z."""
    slab_m, b1 = protocol.voxel_mm[2] * 1e-3, peak_b1_hz(protocol, scanner)
    first = excitation("excitation", protocol.pulses.excitation, b1, scanner)
    wider = protocol.pulses.refocusing_slab or _WIDER
    second = selective("refocusing", "refocusing", protocol.pulses.refocusing, b1, scanner)
    return on_slice(first, "z", slab_m, scanner), on_slice(second, "z", wider * slab_m, scanner)


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return a spin echo."""
    slots = tuple(Slot((one,)) for one in pulses(protocol, scanner))
    areas = crush(protocol, slots, ORDERS, CRUSHERS)
    return plan(protocol, scanner, frame, slots, ORDERS, areas, phase_cycle(protocol.phase_cycle))


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return 1, 2 or 4 steps: the refocusing pulse by halves or quarters of a turn (EXORCYCLE)."""
    turns = {1: [0], 2: [0, 1], 4: [0, 2, 1, 3]}[steps]
    return cycled(ORDERS, [(0, turn) for turn in turns])
