"""One basis set for each editing condition of a sequence, with their common phase."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pulsespec.errors import SequenceError
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.setup import WATER_ALONE
from pulsespec.simulator.simulate import amplitude_of_singlet, simulate_each
from pulsespec.simulator.timeline import read_played


def conditions_of(sequence: Path) -> tuple[int, ...]:
    """Return the editing conditions (label SET) of the metabolite shots of a `.seq`.

    Raises `SequenceError` where all shots are water references.
    """
    found = {one.condition for one in read_played(sequence)[0] if not one.is_water_reference}
    if not found:
        raise SequenceError(f"{sequence}: {WATER_ALONE}")
    return tuple(sorted(found))


def simulate_conditions(
    sequence: Path, names: Sequence[str] | None = None, **settings: Any
) -> dict[int, Basis]:
    """Simulate a sequence for each of its editing conditions; settings are those of `simulate_each`."""
    return simulate_each(sequence, names, conditions=conditions_of(sequence), **settings)


def in_phase(sequence: Path, bases: Mapping[int, Basis]) -> dict[int, Basis]:
    """Return bases whose phases are those that a receiver sees, relative to the first condition.

    `simulate` makes an uncoupled spin at the carrier real in each; between conditions it differs by the phase
    that editing pulses give spins far from them (Bloch-Siegert).
    """
    first = min(bases)
    if len(bases) == 1:
        return dict(bases)
    basis = bases[first]
    carrier = float(np.ravel(read_played(sequence)[1].get("CarrierPPM", basis.reference_ppm))[0])
    offset_hz = (carrier - basis.reference_ppm) * basis.f0_hz * 1e-6
    phases = {
        one: np.angle(amplitude_of_singlet(sequence, offset_hz, basis.f0_hz, condition=one)) for one in bases
    }
    return {one: _turned(found, phases[one] - phases[first]) for one, found in bases.items()}


def _turned(basis: Basis, phase_rad: float) -> Basis:
    def turned(lines: Lines) -> Lines:
        return replace(lines, amplitude=lines.amplitude * np.exp(1j * phase_rad))

    return replace(basis, lines={name: turned(lines) for name, lines in basis.lines.items()})
