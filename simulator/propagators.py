"""Propagators of coupled spins under shaped pulses, batched over positions.

The rotation R(t) of each spin by RF, chemical shift and gradient together is exact and cheap (two complex
numbers a spin, see `rotations`). What is left is the coupling in the frame that turns with those rotations,

    H(t) = 2 pi sum_ik J_ik sum_ab O_ik(t)[a, b] I_ia I_kb,    O_ik the rotation matrix of R_i^-1 R_k.

Rotations that two spins share drop out of it (isotropic coupling commutes with them), so it changes only
with their difference in chemical shift, however strong the RF or the gradient. It is integrated with
the fourth-order Magnus expansion from its two lowest moments over each step (Blanes et al. 2009,
doi:10.1016/j.physrep.2008.11.001): Omega = B0 - [B0, B1]. The moments are sums over nodes by Simpson's rule.

A pulse of one phase that is the same backwards, under a constant gradient, has a Hamiltonian that is real,
symmetric and the same backwards: its second half is the transpose of its first, so that only that is computed.

Everything that is batched is written for the array API standard: `Accuracy.library` says whose arrays.
"""

import importlib
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.clusters import division, joined
from pulsespec.simulator.operators import (
    IMAGINARY_PRODUCTS,
    REAL_PRODUCTS,
    Operators,
    operators,
    product_representation,
)
from pulsespec.simulator.rotations import (
    Rotation,
    binned,
    offsets,
    relative,
    space,
    steady,
    trajectory,
    vector_elements,
)

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_PHASE_PER_STEP = {False: 0.25, True: 0.1}
_CYCLES_PER_STEP = {False: 0.30, True: 0.08}
_NODES_PER_STEP = {False: 8, True: 16}


@dataclass(frozen=True)
class Accuracy:
    """What a tolerance means for the integration of pulses."""

    tolerance: float
    """Largest relative error of an FID that is aimed at."""
    library: str = "numpy"
    """Whose arrays the propagators are computed with: `numpy`, `cupy`, `torch`, `torch:cuda`."""

    @property
    def tight(self) -> bool:
        """Whether short steps and double precision are needed."""
        return self.tolerance < 5e-5

    @property
    def dtype(self) -> type:
        """Complex type of propagators: single precision loses about 1e-6 over a pulse."""
        return np.complex128 if self.tight else np.complex64


@dataclass(frozen=True)
class Library:
    """The arrays that propagators are computed with."""

    xp: Any
    device: Any

    def array(self, values: NDArray[Any]) -> Any:
        """Return an array of this library."""
        return self.xp.asarray(values, device=self.device)

    @staticmethod
    def fetch(values: Any) -> NDArray[Any]:
        """Return the values as an array of numpy."""
        if array_api_compat.is_cupy_array(values):
            return np.asarray(values.get())
        if array_api_compat.is_torch_array(values):
            return np.asarray(values.cpu())
        return np.asarray(values)


@lru_cache
def load_library(name: str) -> Library:
    """Return an array library by name; what follows a colon is its device.

    Raises
    ------
    InputError
        It is not installed, or has no such device.

    """
    module, _, device = name.partition(":")
    if module == "numpy" and not device:
        return Library(importlib.import_module("array_api_compat.numpy"), None)
    try:
        first = importlib.import_module(module).asarray([0.0])
        moved = array_api_compat.to_device(first, device) if device else first
        return Library(array_api_compat.array_namespace(moved), array_api_compat.device(moved))
    except (ImportError, AttributeError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"arrays {name!r}: not available here ({error}); expected numpy, cupy or torch"
        ) from error


def coupling_steps(rf: Rf, shift_hz: Real, j_hz: Real, strength_hz: float, accuracy: Accuracy) -> int:
    """Return the number of Magnus steps for a pulse.

    Each step is short against the coupling (`strength_hz`, the norm of the coupling Hamiltonian) and
    against the beat of any two coupled spins.
    """
    coupled = np.abs(shift_hz[:, None] - shift_hz[None, :])[j_hz != 0]
    beat_hz = float(coupled.max()) if coupled.size else 0.0
    by_phase = 2 * np.pi * strength_hz * rf.duration_s / _PHASE_PER_STEP[accuracy.tight]
    by_beat = beat_hz * rf.duration_s / _CYCLES_PER_STEP[accuracy.tight]
    return max(1, int(np.ceil(max(by_phase, by_beat))))


def pulse_propagators(
    system: Operators, rf: Rf, shift_hz: Real, j_hz: Real, gradient_hz: Real, bins: int, accuracy: Accuracy
) -> Complex:
    """Return the propagators of a pulse in the receiver's frame.

    Parameters
    ----------
    system
        Operators of the spins.
    rf
        The pulse; its constant phase is not part of the propagator.
    shift_hz
        Offset of each spin from the receiver's reference, downfield positive; shape (n_spins,).
    j_hz
        Couplings, symmetric; shape (n_spins, n_spins).
    gradient_hz
        Offset that the gradient adds at each position when it is at its peak; shape (n_positions,).
    bins
        Least number of intervals in which B1 and gradient are taken by their moments.
    accuracy
        Step lengths, precision and whose arrays.

    Returns
    -------
    Unitary matrices; shape (n_positions, dimension, dimension).

    """
    library = load_library(accuracy.library)
    parted = None
    if system.basis is None:
        parted = division(system.spins, j_hz, rf.duration_s, accuracy.tolerance)
    every = tuple(range(len(system.spins)))
    clusters = [
        _Cluster(system if parted is None else operators(tuple(system.spins[i] for i in spins)), spins, j_hz)
        for spins in ((every,) if parted is None else parted.clusters)
    ]
    halves = 2 if rf.has_constant_gradient and rf.is_mirrored else 1
    path, steps = _path(clusters, rf, shift_hz, gradient_hz, bins, accuracy, halves)
    found = [_played(cluster, path, rf, steps, accuracy, halves) for cluster in clusters]
    return library.fetch(found[0] if parted is None else joined(parted, *found))


class _Cluster:
    """Some spins of a system."""

    def __init__(self, system: Operators, spins: tuple[int, ...], j_hz: Real) -> None:
        self.system, self.spins = system, spins
        self.j_hz = j_hz[np.ix_(spins, spins)]
        self.pairs = tuple((i, k) for i, k in system.pairs if self.j_hz[i, k])


def _steps(cluster: _Cluster, rf: Rf, shift_hz: Real, accuracy: Accuracy) -> int:
    strength = cluster.system.strength(cluster.j_hz)
    return coupling_steps(rf, shift_hz[list(cluster.spins)], cluster.j_hz, strength, accuracy)


def _path(
    clusters: list[_Cluster],
    rf: Rf,
    shift_hz: Real,
    gradient_hz: Real,
    bins: int,
    accuracy: Accuracy,
    halves: int,
) -> tuple[Rotation, int]:
    """Return the rotations of all spins, (n_spins, n_positions, nodes), and the steps that suit all clusters.

    They are those of the first half of a pulse where its second is its mirror image.
    """
    steps, per_step = 1, 2
    if any(cluster.pairs for cluster in clusters):
        steps = max(_steps(cluster, rf, shift_hz, accuracy) for cluster in clusters)
        per_step = max(_NODES_PER_STEP[accuracy.tight], 2 * int(np.ceil(_nodes(rf, accuracy) / steps / 2)))
        steps = int(np.ceil(steps / halves))
    nodes = steps * per_step
    bins = halves * nodes * int(np.ceil(bins / (halves * nodes)))
    step_s = rf.duration_s / bins
    mean, moment = binned(rf.b1_hz, bins)
    if halves == 2:
        mean = (mean[: bins // 2] + mean[: bins // 2 - 1 : -1]) / 2
        moment = (moment[: bins // 2] - moment[: bins // 2 - 1 : -1]) / 2
    library = load_library(accuracy.library)
    still = np.broadcast_to((shift_hz - rf.offset_hz)[:, None], (len(shift_hz), len(gradient_hz)))
    mean, moment, *offset = map(library.array, (mean, moment, *offsets(rf, still, gradient_hz, bins)))
    path = trajectory(*steady((offset[0], offset[1]), (mean, moment), step_s), step_s, nodes)
    kind = getattr(library.xp, accuracy.dtype.__name__)
    return (library.xp.astype(path[0], kind), library.xp.astype(path[1], kind)), steps


def _played(cluster: _Cluster, path: Rotation, rf: Rf, steps: int, accuracy: Accuracy, halves: int) -> Any:
    """Return the propagators of a cluster from the rotations of all spins; shape (n_positions, dim, dim)."""
    xp, system = space(*path), cluster.system
    if len(cluster.spins) < path[0].shape[0]:
        path = _taken(path, cluster.spins)
    u = _rotated(system, path)
    if cluster.pairs:
        u = u @ _coupling(cluster, path, rf.duration_s / halves, steps, accuracy)
    carrier = np.exp(-2j * np.pi * rf.offset_hz * rf.duration_s * system.m)[:, None]
    library = load_library(accuracy.library)
    if halves == 1:
        return library.array(carrier.astype(accuracy.dtype)) * u if rf.offset_hz else u
    phase = np.exp(1j * np.angle(rf.b1_hz.sum()) * system.m)
    turn = phase.conj()[:, None] * phase  # exp(-i phase Fz) and back: where B1 is real
    real = u * library.array(turn.conj().astype(accuracy.dtype))
    return xp.matrix_transpose(real) @ real * library.array((carrier * turn).astype(accuracy.dtype))


def _rotated(system: Operators, path: Rotation) -> Any:
    """Return the rotation of the whole system at the end of its path; shape (n_positions, dimension, dimension)."""
    return system.inside(product_representation(system.spins, path[0][..., -1], path[1][..., -1]))


def _nodes(rf: Rf, accuracy: Accuracy) -> int:
    """Return how many nodes resolve the nutation: the largest angle between two is about 0.4 (0.2) rad."""
    turns = float(np.abs(rf.b1_hz).max()) * rf.duration_s
    return int(np.ceil(2 * np.pi * turns / (0.2 if accuracy.tight else 0.4)))


def _coupling(cluster: _Cluster, path: Rotation, duration_s: float, steps: int, accuracy: Accuracy) -> Any:
    """Return what the coupling adds to the rotations of a path; shape (n_positions, dimension, dimension)."""
    h0, h1 = _moments(cluster, path, duration_s, steps, accuracy)
    xp = space(h0)
    cross = h0 @ h1
    cross -= xp.conj(xp.matrix_transpose(cross))
    h0 *= -1j
    cross += h0
    factors = _exponential(cross, accuracy)
    return reduce(lambda before, step: factors[step, ...] @ before, range(1, steps), factors[0, ...])


def _moments(
    cluster: _Cluster, path: Rotation, duration_s: float, steps: int, accuracy: Accuracy
) -> tuple[Any, Any]:
    """Return B0 and B1 of the coupling in each step in rad; shapes (steps, n_positions, dimension, dimension)."""
    xp = space(*path)
    ones, others = zip(*cluster.pairs, strict=True)
    pair = relative(_taken(path, ones), _taken(path, others))
    elements = vector_elements(pair)
    real_type = xp.float64 if accuracy.tight else xp.float32
    where = array_api_compat.device(pair[0])
    angle = [2 * np.pi * cluster.j_hz[one] * duration_s / steps for one in cluster.pairs]
    onto = xp.asarray(_simpson(pair[0].shape[-1], steps), dtype=real_type, device=where)

    def integrated(which: tuple[int, ...], products: Real) -> Any:
        values = xp.stack([elements[number] for number in which], axis=1) @ onto
        values = values * xp.asarray(np.array(angle)[:, None, None, None], dtype=real_type, device=where)
        pairs, kinds, n, _ = values.shape  # to 2, steps, n_positions, pairs and kinds
        values = xp.permute_dims(xp.reshape(values, (pairs, kinds, n, 2, steps)), (3, 4, 2, 0, 1))
        flat = xp.reshape(values, (2, steps * n, pairs * kinds))
        return flat @ xp.asarray(products, dtype=real_type, device=where)

    real, imaginary = cluster.system.bilinear(cluster.pairs)
    both = 1j * integrated(IMAGINARY_PRODUCTS, imaginary)
    both += integrated(REAL_PRODUCTS, real)
    both = xp.reshape(both, (2, steps, -1, cluster.system.dimension, cluster.system.dimension))
    return both[0, ...], both[1, ...]


def _taken(path: Rotation, spins: tuple[int, ...]) -> Rotation:
    xp = space(*path)
    rows = xp.asarray(np.array(spins), device=array_api_compat.device(path[0]))
    return xp.take(path[0], rows, axis=0), xp.take(path[1], rows, axis=0)


def _simpson(nodes: int, steps: int) -> Real:
    """Return weights of the nodes in the mean, and in the first moment, over each step: (nodes, 2 * steps)."""
    per_step = (nodes - 1) // steps
    weights = np.ones(per_step + 1)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    weights /= 3 * per_step
    both = np.stack([weights, weights * np.linspace(-0.5, 0.5, per_step + 1)])
    found = np.zeros((nodes, 2, steps))
    for step in range(steps):
        found[step * per_step : (step + 1) * per_step + 1, :, step] = both.T
    return found.reshape(nodes, 2 * steps)


def _exponential(x: Any, accuracy: Accuracy) -> Any:
    """Return exp(x) of small matrices by its Taylor series, to degree 4 or (tight) 8."""
    xp = space(x)
    identity = xp.eye(x.shape[-1], dtype=x.dtype, device=array_api_compat.device(x))
    square = x @ x
    if not accuracy.tight:
        found = square @ (square + 4 * x)
        found /= 24
        square /= 2
        found += square
        found += x
        found += identity
        return found
    low = identity + x + square / 2 + (x @ square) / 6
    fourth = square @ square
    high = identity / 24 + x / 120 + square / 720 + (x @ square) / 5040 + fourth / 40320
    return low + fourth @ high
