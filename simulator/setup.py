"""What all scans of one sequence and one phantom have in common: the order of shots, signals, the place."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError, MismatchError, SequenceError
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.broad_response import broad_through
from pulsespec.simulator.phantom import Phantom
from pulsespec.simulator.timeline import LabelledReadout, read_played

WATER_ALONE = "has water references alone, so there is nothing of a phantom to measure"
_METRE_MM = 1e3


@dataclass(frozen=True)
class Place:
    """Where the voxel of a `.seq` lies, in gradient coordinates."""

    size_mm: NDArray[np.float64]
    """Edges of the voxel; shape (3,)."""
    position_mm: NDArray[np.float64]
    """Its centre; shape (3,)."""
    axes: NDArray[np.float64]
    """Directions of its edges, columns; shape (3, 3)."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A sequence on the scanner and a phantom in it."""

    readouts: tuple[LabelledReadout, ...]
    """Shots in the order of the file; all have the same samples and dwell time."""
    bases: Mapping[int, Basis]
    """What the sequence makes of each metabolite, by editing condition (label SET)."""
    phantom: Phantom
    broad: Mapping[int, Mapping[str, Lines]] = field(default_factory=dict)
    """Macromolecules and lipids of the phantom through the sequence, by condition; where empty, without loss."""
    place: Place | None = None

    @property
    def basis(self) -> Basis:
        """The basis of the first condition, which has the water and the facts of the sequence."""
        return self.bases[min(self.bases)]

    @property
    def samples(self) -> int:
        """Samples of a shot."""
        return self.readouts[0].samples

    @property
    def dwell_s(self) -> float:
        """Dwell time in s."""
        return self.readouts[0].dwell_s

    @property
    def time_s(self) -> NDArray[np.float64]:
        """Sampling times; shape (samples,)."""
        return np.asarray(np.arange(self.samples) * self.dwell_s)

    @property
    def is_water(self) -> NDArray[np.bool_]:
        """Whether each shot is a water reference; shape (n_shots,)."""
        return np.array([readout.is_water_reference for readout in self.readouts])

    @property
    def condition(self) -> NDArray[np.int64]:
        """Editing condition of each shot; shape (n_shots,)."""
        return np.array([readout.condition for readout in self.readouts])


def set_up(sequence: Path, basis: Basis | Mapping[int, Basis], phantom: Phantom) -> Setup:
    """Put a sequence and a phantom on the virtual scanner.

    Parameters
    ----------
    sequence
        The `.seq` file; its ADC events and labels give the order of shots.
    basis
        What that file makes of each metabolite: `simulate(sequence)`, or one for each editing condition as
        `simulate_conditions` gives them.
    phantom
        What is in the voxel.

    Raises
    ------
    MismatchError
        A basis was computed from another sequence or another condition.
    InputError
        A basis lacks a metabolite of the phantom, water, or a condition of the file is without basis.
    SequenceError
        The file is no single-voxel sequence with metabolite shots.

    """
    sequence = Path(sequence)
    readouts, definitions = read_played(sequence)
    bases = {0: basis} if isinstance(basis, Basis) else dict(basis)
    _check_sequence(sequence, readouts, definitions)
    conditions = sorted({one.condition for one in readouts if not one.is_water_reference})
    if isinstance(basis, Basis) and len(conditions) == 1:
        bases = {conditions[0]: basis}
    missing = [str(condition) for condition in conditions if condition not in bases]
    if missing:
        raise InputError(
            f"{sequence}: has editing conditions {conditions}, no basis for {', '.join(missing)}: give one for "
            "each (simulate_conditions)"
        )
    digest = hashlib.sha256(sequence.read_bytes()).hexdigest()
    for condition in conditions:
        _check_basis(sequence, digest, condition, bases[condition], phantom)
    chosen = {condition: bases[condition] for condition in conditions}
    return Setup(
        readouts=readouts,
        bases=chosen,
        phantom=phantom,
        broad=broad_through(sequence, chosen, tuple(phantom.broad_mm)),
        place=_place(definitions),
    )


def _check_sequence(
    path: Path, readouts: tuple[LabelledReadout, ...], definitions: Mapping[str, object]
) -> None:
    if "Matrix" in definitions:
        raise SequenceError(
            f"{path}: makes images, and the phantom is one voxel: expected a head (--phantom brain)"
        )
    if all(one.is_water_reference for one in readouts):
        raise SequenceError(f"{path}: {WATER_ALONE}")
    kinds = {(one.samples, one.dwell_s) for one in readouts}
    if len(kinds) > 1:
        raise SequenceError(f"{path}: readouts differ in samples or dwell time: {sorted(kinds)}")


def _check_basis(path: Path, digest: str, condition: int, basis: Basis, phantom: Phantom) -> None:
    if digest != basis.sequence_hash:
        raise MismatchError(
            f"{path}: its hash is {digest[:12]}, but the basis was computed from {basis.sequence_hash[:12]}"
        )
    played = basis.provenance.get("conditions")
    if played is not None and {str(key): float(value) for key, value in played.items()} != {
        str(condition): 1.0
    }:
        raise MismatchError(
            f"{path}: the basis for condition {condition} was computed for {dict(played)}, expected that alone"
        )
    missing = [name for name in phantom.concentrations_mm if name not in basis.names]
    if missing or basis.water is None:
        raise InputError(f"basis: lacks {', '.join(missing) or 'water'}, which phantom {phantom.name} has")


def _place(definitions: Mapping[str, object]) -> Place | None:
    def numbers(key: str, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ravel(np.asarray(definitions.get(key, otherwise), dtype=float))

    size = numbers("VoxelSize", np.zeros(0))
    if size.size != 3:
        return None
    return Place(
        size * _METRE_MM,
        numbers("VoxelPosition", np.zeros(3)) * _METRE_MM,
        numbers("VoxelOrientation", np.eye(3)).reshape(3, 3),
    )
