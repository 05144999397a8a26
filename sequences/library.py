"""From a protocol and a scanner to a sequence, and from a sequence to a file."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq

from pulsespec.errors import SequenceError
from pulsespec.files import atomic_path
from pulsespec.protocols import Protocol
from pulsespec.sequences import (
    mega_press,
    mega_semi_laser,
    press,
    pulse_acquire,
    semi_laser,
    special,
    spin_echo,
    steam,
)
from pulsespec.sequences.bandwidths import Displacement, displacements
from pulsespec.sequences.design import Design
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.preparation import preparation_pulses
from pulsespec.sequences.pulse import Pulse
from pulsespec.sequences.purity import Purity, central
from pulsespec.sequences.purity import purity as purity_of_file
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.shot import assemble

_DESIGNS: dict[str, Callable[[Protocol, Scanner, Frame], Design]] = {
    "press": press.design,
    "steam": steam.design,
    "mega-press": mega_press.design,
    "semi-laser": semi_laser.design,
    "mega-semi-laser": mega_semi_laser.design,
    "special": special.design,
    "spin-echo": spin_echo.design,
    "pulse-acquire": pulse_acquire.design,
}
_FIELD_TOLERANCE = 0.1


def build(protocol: Protocol, scanner: Scanner) -> pypulseq.Sequence:
    """Return the sequence of a protocol for a scanner.

    Raises
    ------
    SequenceError
        The scanner's field or nucleus is not the protocol's, or the protocol asks for what the scanner cannot
        play; where TE or TR is too short, the message states the shortest.

    """
    return assemble(protocol, scanner, design(protocol, scanner), frame_of(protocol))


def design(protocol: Protocol, scanner: Scanner) -> Design:
    """Return the localisation of a protocol as a scanner plays it; raises what `build` raises."""
    if abs(scanner.field_t / protocol.field_t - 1) > _FIELD_TOLERANCE:
        raise SequenceError(
            f"{protocol.name}: is for {protocol.field_t:g} T, and {scanner.name} has {scanner.field_t:.4g} T"
        )
    if scanner.nucleus != protocol.nucleus:
        raise SequenceError(
            f"{protocol.name}: is for {protocol.nucleus}, and {scanner.name} is set for {scanner.nucleus}"
        )
    return _DESIGNS[protocol.sequence](protocol, scanner, frame_of(protocol))


def purity(protocol: Protocol, scanner: Scanner) -> Purity:
    """Return the weight of unwanted pathways in what `build` makes of a protocol, from its written file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "central.seq"
        write_sequence(build(central(protocol), scanner), path)
        return purity_of_file(path)


def displacement(protocol: Protocol, scanner: Scanner) -> tuple[Displacement, ...]:
    """Return bandwidth, peak B1 and chemical-shift displacement of each selective pulse of a protocol."""
    return displacements(design(protocol, scanner), scanner)


def pulses_of(protocol: Protocol, scanner: Scanner) -> tuple[Pulse, ...]:
    """Return every kind of pulse that a protocol plays on a scanner, once, in the order of playing."""
    made = list(preparation_pulses(protocol, scanner))
    for slot in design(protocol, scanner).slots:
        made += [played.pulse for played in slot.played]
    distinct = {(pulse.b1_hz.tobytes(), pulse.duration_s): pulse for pulse in reversed(made)}
    return tuple(reversed(distinct.values()))


def frame_of(protocol: Protocol) -> Frame:
    """Return where the voxel of a protocol is and how it is turned."""
    return Frame(np.array(protocol.orientation).T, np.array(protocol.position_mm) * 1e-3)


def write_sequence(sequence: Any, path: Path, *, overwrite: bool = False, v141: bool = False) -> None:
    """Write a sequence as Pulseq 1.5, or as 1.4.1 with `v141`; `path` is complete or left as it was.

    Raises `InputError` where `path` exists without `overwrite`, or its suffix is not `.seq`.
    """
    path = Path(path)
    if path.suffix != ".seq":
        raise SequenceError(f"{path}: expected a name that ends in .seq")
    with atomic_path(path, overwrite) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pypulseq tells of what 1.4.1 cannot hold, which was asked for
        sequence.write(str(temporary), create_signature=True, v141_compat=v141)
