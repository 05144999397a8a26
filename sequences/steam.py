r"""STEAM: stimulated echo acquisition mode (Frahm, Merboldt, Haenicke, J Magn Reson 1987;72:502-508).

One repetition, from the end of the water suppression:

        |<---- TE/2 ---->|<------ TM ------>|<---- TE/2 ---->|
    RF  90              90                 90
    ADC  |               |                  |               [::::::
    Gz  /==\__           |                  |               |
              \A-r/      |       ___T___    |         /A\   |
    Gy       /A\      /=====\_ _/       \   |         /A\   |
                                         \_/                |
    Gx       /A\         |             T /=====\__    /A\   |
                         |               |                 first sample

z is the axis of the first pulse, y of the second, x of the third; r rephases a slice. The crushers A on both
sides of the mixing time are equal along all axes, for the stimulated echo sees them with opposite orders, and
T spoils what is transverse during it. The wanted pathway is (+1, 0, -1). Half of the magnetisation is lost,
but three 90-degree pulses have more than twice the bandwidth of the refocusing pulses of PRESS, and the
shortest TE is half as long.
"""

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Areas, Cycle, Design, Equation, Slot, crusher_unit, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulse import Axis
from pulsespec.sequences.pulses import Played, excitation, on_slice, peak_b1_hz
from pulsespec.sequences.scanner import Scanner

ORDERS = (1, 0, -1)
AXES: tuple[Axis, ...] = ("z", "y", "x")
SPOILER = (1.5, -1.5, -1.5)
"""In units of the crusher: far from 0, from the crusher, from twice and from minus the crusher."""


def pulses(protocol: Protocol, scanner: Scanner) -> tuple[Played, ...]:
    """Return the three pulses, along z, y and x; the second one is turned around in time."""
    b1, shape = peak_b1_hz(protocol, scanner), protocol.pulses.excitation
    thickness = [mm * 1e-3 for mm in protocol.voxel_mm[::-1]]
    names = ("excitation", "storage", "recall")
    made = [excitation(name, shape, b1, scanner, backwards=name == "storage") for name in names]
    return tuple(
        on_slice(pulse, axis, width, scanner)
        for pulse, axis, width in zip(made, AXES, thickness, strict=True)
    )


def crushers(protocol: Protocol, played: tuple[Played, ...]) -> tuple[Areas, ...]:
    """Return the lobes between the pulses and after the last one, in cycles/m."""
    x, y, z = (float(value) for value in crusher_unit(protocol))
    return (
        (x, y - played[1].moment_before_per_m, z - played[0].moment_after_per_m),
        (SPOILER[0] * x, SPOILER[1] * y, SPOILER[2] * z),
        (x - played[2].moment_after_per_m, y, z),
    )


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return STEAM with the mixing time of the protocol."""
    if protocol.tm_ms is None:
        raise SequenceError(f"{protocol.name}: tm_ms: is missing, and STEAM has a mixing time")
    played = pulses(protocol, scanner)
    slots = tuple(Slot((one,)) for one in played)
    mixing = Equation((0.0, 1.0, 0.0), protocol.tm_ms * 1e-3, "tm_ms")
    cycle = phase_cycle(protocol.phase_cycle)
    return plan(
        protocol, scanner, frame, slots, ORDERS, crushers(protocol, played), cycle, equations=[mixing]
    )


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return a cycle of 1, 4 or 16 steps.

    Four steps turn the third pulse: what reaches the receiver has come from longitudinal order. 16 turn the
    second one too: of that only what the first pulse excited and the second one stored.
    """
    if steps == 1:
        turns = [(0, 0)]
    elif steps == 4:
        turns = [(0, k) for k in range(4)]
    else:
        turns = [(run, k) for run in range(4) for k in range(4)]
    return cycled(ORDERS, [(0, second, third) for second, third in turns])
