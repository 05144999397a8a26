r"""Frequency-selective editing pulses and where they stand: MEGA (Mescher et al., NMR Biomed 1998;11:266-272).

Two equal 180-degree pulses on one resonance, half an echo time apart, refocus the coupling of whatever is
coupled to it: with them on, GABA at 3.0 ppm stays a triplet in phase; with them elsewhere its outer lines are
inverted at TE = 1/(2 J), and the difference of the two conditions is GABA alone. Crushers of opposite sign
around each editing pulse let what it does not touch pass, and dephase what it inverts.

HERMES (Chan et al., Magn Reson Med 2016;76:11-19) and HERCULES (Oeltzschner et al., NeuroImage
2019;185:181-190) are the same with four conditions, some of whose pulses have two bands.
"""

from collections.abc import Sequence

from pulsespec.errors import SequenceError
from pulsespec.protocols import Editing, Protocol
from pulsespec.sequences.design import Cycle, Design, Equation, Slot, crush, plan
from pulsespec.sequences.editing import editing_pulse
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, everywhere, selective_step_s
from pulsespec.sequences.scanner import Scanner


def editing_slot(protocol: Protocol, scanner: Scanner) -> Slot:
    """Return the editing pulse of each condition, and behind them that of the water reference."""
    editing = require_editing(protocol)
    bands = (*editing.conditions_ppm, (editing.water_ppm,))
    centres = tuple(sum(ppm) / len(ppm) for ppm in bands)
    played = tuple(
        _pulse(protocol, scanner, tuple(one - centre for one in ppm))
        for ppm, centre in zip(bands, centres, strict=True)
    )
    return Slot(played, centres)


def require_editing(protocol: Protocol) -> Editing:
    """Return the editing of a protocol; `SequenceError` where it has none."""
    if protocol.editing is None:
        raise SequenceError(f"{protocol.name}: editing: is missing, and {protocol.sequence} edits")
    return protocol.editing


def _pulse(protocol: Protocol, scanner: Scanner, bands_ppm: tuple[float, ...]) -> Played:
    editing = require_editing(protocol)
    step_s = selective_step_s(scanner)
    samples = 2 * round(editing.pulse_ms * 1e-3 / step_s / 2)
    bands_hz = tuple(ppm * 1e-6 * scanner.f0_hz for ppm in bands_ppm)
    pulse = editing_pulse(bands_hz, samples * step_s, step_s, scanner.max_b1_hz)
    return everywhere(pulse, scanner)


def edited(
    protocol: Protocol,
    scanner: Scanner,
    frame: Frame,
    slots: tuple[Slot, ...],
    orders: tuple[int, ...],
    crushers: Sequence[tuple[float, float, float]],
    cycle: tuple[Cycle, ...],
) -> Design:
    """Return the design of a localisation with two editing slots, the ones that have several conditions."""
    first, second = (k for k, slot in enumerate(slots) if len(slot.played) > 1)
    return plan(
        protocol,
        scanner,
        frame,
        slots,
        orders,
        crush(protocol, slots, orders, crushers),
        cycle,
        equations=[_half_an_echo_apart(orders, first, second)],
        conditions=len(require_editing(protocol).conditions_ppm),
    )


def _half_an_echo_apart(orders: tuple[int, ...], first: int, second: int) -> Equation:
    """Return the condition that the pulses `first` and `second` stand TE/2 apart."""
    return Equation(tuple(float(first <= k < second) - 0.5 * abs(order) for k, order in enumerate(orders)))
