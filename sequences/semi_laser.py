r"""Semi-LASER: one excitation and two pairs of adiabatic full passages (Scheenen et al., MRM 2008;59:1-6).

The localisation, from the end of the water suppression (consensus: Oz et al., NMR Biomed 2021;34:e4236):

    RF  90      AFP       AFP       AFP       AFP
    ADC  |       |         |         |         |       [::::::
    Gz  /==\_    |         |         |         |       |
             \C1-r/  C1+C2     C2+C3     C3+C4    C4   |
    Gy         /\_/\     /\_/\       |         |       |
    Gx           |         |       /\_/\     /\_/\     |
                                                  first sample

Each pair refocuses one axis: the phase that one adiabatic pulse gives to spins along its slice, the second
takes away. GOIA-WURST pulses (Andronesi et al., J Magn Reson 2010;203:283-293) dip their gradient in the
middle, so that a bandwidth of 10 to 20 kHz fits into a few milliseconds of 15 uT: the displacement is a
tenth of that of PRESS. The wanted pathway is (-1, +1, -1, +1, -1).
"""

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences.adiabatic import goia_wurst
from pulsespec.sequences.design import Cycle, Design, Slot, crush, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.press import turns as press_turns
from pulsespec.sequences.pulses import Played, excitation, on_slice, peak_b1_hz, selective_step_s
from pulsespec.sequences.scanner import Scanner

ORDERS = (-1, 1, -1, 1, -1)
CRUSHERS = ((-0.5, 1.0, 1.0), (-1.0, -1.0, -0.5), (-0.5, -1.0, 1.0), (-1.0, 0.5, -1.0))
"""Of the adiabatic pulses. Found by a search over multiples of a half: of all pathways but the wanted one,
each sees at least a whole crusher along one axis."""


def pulses(protocol: Protocol, scanner: Scanner) -> tuple[Played, ...]:
    """Return the excitation (along z) and the two pairs of adiabatic pulses (y, y, x, x)."""
    x_m, y_m, z_m = (mm * 1e-3 for mm in protocol.voxel_mm)
    settings = protocol.pulses.adiabatic
    if settings is None:
        raise SequenceError(
            f"{protocol.name}: pulses.adiabatic: is missing, and {protocol.sequence} needs it"
        )
    b1, step_s = peak_b1_hz(protocol, scanner), selective_step_s(scanner)
    first = on_slice(excitation("excitation", protocol.pulses.excitation, b1, scanner), "z", z_m, scanner)
    samples = 2 * round(settings.duration_ms * 1e-3 / step_s / 2)
    passage = goia_wurst(
        samples * step_s, settings.bandwidth_hz, step_s, b1, gradient_factor=settings.gradient_factor
    )
    pair_y, pair_x = on_slice(passage, "y", y_m, scanner), on_slice(passage, "x", x_m, scanner)
    return first, pair_y, pair_y, pair_x, pair_x


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return semi-LASER."""
    slots = tuple(Slot((one,)) for one in pulses(protocol, scanner))
    areas = crush(protocol, slots, ORDERS, CRUSHERS)
    return plan(protocol, scanner, frame, slots, ORDERS, areas, phase_cycle(protocol.phase_cycle))


def turns(steps: int) -> list[tuple[int, int, int, int, int]]:
    """Return the phases, in quarters, of a cycle of 1, 4 or 16 steps: of the second and fourth passage.

    They are turned as the refocusing pulses of PRESS are.
    """
    return [(0, 0, first, 0, second) for first, second in press_turns(steps)]


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return the steps of the phase cycle."""
    return cycled(ORDERS, turns(steps))
