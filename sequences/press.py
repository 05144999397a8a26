r"""PRESS: point-resolved spectroscopy (Bottomley, Ann NY Acad Sci 1987;508:333-348).

One repetition, from the water suppression to the next one:

           water suppression       |<------ TE1/2 ------>|<---- TE1/2 ---->|<-- TE2/2 -->|<-- TE2/2 -->|
    RF    ~90~ ... ~90~ ~160~     90                    180                             180            |
    ADC                            |                     |                               |             [::::::
    Gz        \_/       /-\     /=====\__                                                              |
                                         \_A-r/                                                -B\_/   |
    Gy        /-\       \_/              /A\         /=======\                                 -B\_/   |
    Gx        \_/       /-\              /A\                    /--A+B--\            /=======\  /B\    |
                                                                                                       |
                                                                                                  first sample

z is the axis of the excitation, y of the first refocusing pulse, x of the second; r rephases the
excitation's slice. Crushers A = (a, a, a) stand on both sides of the first 180 and B = (a, -a, -a) on both
sides of the second; between the pulses they merge into A + B = (2 a, 0, 0). The pathway (-1, +1, -1) sees
none of it, every other one at least a on at least one axis.

The middle of the first ADC sample is exactly at the echo, TE after the centre of the excitation: the time
from which its slice dephases, some microseconds off the middle of the pulse. The receiver's frequency is that
of 4.65 ppm; all pulses are offset from it. All averages add up in phase: the receiver follows the phase that
the cycle gives to the echo.
"""

from pulsespec.protocols import Protocol
from pulsespec.sequences.design import Cycle, Design, Equation, Slot, crush, cycled, plan
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, on_slice, peak_b1_hz, selective
from pulsespec.sequences.scanner import Scanner

ORDERS = (-1, 1, -1)
CRUSHERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0))


def pulses(protocol: Protocol, scanner: Scanner) -> tuple[Played, Played, Played]:
    """Return excitation (along z), first (y) and second (x) refocusing pulse."""
    x_m, y_m, z_m = (mm * 1e-3 for mm in protocol.voxel_mm)
    b1, shapes = peak_b1_hz(protocol, scanner), protocol.pulses
    excitation = selective("excitation", "excitation", shapes.excitation, b1, scanner)
    first = selective("refocusing 1", "refocusing", shapes.refocusing, b1, scanner)
    second = selective("refocusing 2", "refocusing", shapes.refocusing, b1, scanner)
    return (
        on_slice(excitation, "z", z_m, scanner),
        on_slice(first, "y", y_m, scanner),
        on_slice(second, "x", x_m, scanner),
    )


def design(protocol: Protocol, scanner: Scanner, frame: Frame) -> Design:
    """Return PRESS with the shortest first echo, or that of the protocol."""
    slots = tuple(Slot((one,)) for one in pulses(protocol, scanner))
    areas = crush(protocol, slots, ORDERS, CRUSHERS)
    cycle = phase_cycle(protocol.phase_cycle)
    return plan(
        protocol,
        scanner,
        frame,
        slots,
        ORDERS,
        areas,
        cycle,
        equations=first_echo(protocol, scanner),
        prefer=(1.0, 0.0, 0.0),
    )


def first_echo(protocol: Protocol, scanner: Scanner) -> list[Equation]:
    """Return the condition that TE1 is the protocol's, on the raster; none where it leaves TE1 open."""
    if protocol.te1_ms is None:
        return []
    half_s = round(protocol.te1_ms * 5e-4 / scanner.block_raster_s) * scanner.block_raster_s
    return [Equation((2.0, 0.0, 0.0), 2 * half_s, "te1_ms")]


def turns(steps: int) -> list[tuple[int, int]]:
    """Return the phases, in quarters, of both refocusing pulses in a cycle of 1, 4 or 16 steps.

    16 steps take both through 0, 90, 180 and 270 degrees independently (EXORCYCLE, Bodenhausen et al., J Magn
    Reson 1977;27:511-514): only coherence that both pulses invert adds up. 4 steps take them in opposite
    directions at once.
    """
    if steps == 1:
        return [(0, 0)]
    if steps == 4:
        return [(k, (-k) % 4) for k in range(4)]
    # Each run of four steps is the cycle of four, and the runs differ by the phase of the second pulse.
    return [(k, (run - k) % 4) for run in (0, 2, 1, 3) for k in range(4)]


def phase_cycle(steps: int) -> tuple[Cycle, ...]:
    """Return the steps of the phase cycle; the echo has the receiver's phase."""
    return cycled(ORDERS, [(0, first, second) for first, second in turns(steps)])
