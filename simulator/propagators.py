"""Propagators of coupled spins under shaped pulses, batched over positions.

The rotation R(t) of each spin by RF, chemical shift and gradient together is exact and cheap (two complex
numbers a spin, see `rotations`). What is left is the coupling in the frame that turns with those rotations,

    H(t) = 2 pi sum_ik J_ik sum_ab O_ik(t)[a, b] I_ia I_kb,    O_ik the rotation matrix of R_i^-1 R_k.

Rotations that two spins share drop out of it (isotropic coupling commutes with them), so it changes only
with their difference in chemical shift, however strong the RF or the gradient. It is integrated with
the fourth-order Magnus expansion from its two lowest moments over each step (Blanes et al. 2009,
doi:10.1016/j.physrep.2008.11.001): Omega = B0 - [B0, B1]. The moments are sums over nodes by Simpson's rule.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.operators import Operators, product_representation
from pulsespec.simulator.rotations import Rotation, about_z, after, relative, trajectory, vector_matrix

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_PHASE_PER_STEP = {False: 0.2, True: 0.1}
_CYCLES_PER_STEP = {False: 0.30, True: 0.08}
_NODES_PER_STEP = {False: 8, True: 16}


@dataclass(frozen=True)
class Accuracy:
    """What a tolerance means for the integration of pulses."""

    tolerance: float
    """Largest relative error of an FID that is aimed at."""

    @property
    def tight(self) -> bool:
        """Whether short steps and double precision are needed."""
        return self.tolerance < 5e-5

    @property
    def dtype(self) -> type:
        """Complex type of propagators: single precision loses about 1e-6 over a pulse."""
        return np.complex128 if self.tight else np.complex64


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
        Offset that the gradient adds at each position, constant or in each of `bins`; shape
        (n_positions, 1) or (n_positions, bins).
    bins
        Least number of intervals of constant B1.
    accuracy
        Step lengths and precision.

    Returns
    -------
    Unitary matrices; shape (n_positions, dimension, dimension).

    """
    pairs = tuple((i, k) for i, k in system.pairs if j_hz[i, k])
    steps, per_step = 1, 2
    if pairs:
        strength = float(np.abs(np.linalg.eigvalsh(system.coupling(j_hz))).max())
        steps = coupling_steps(rf, shift_hz, j_hz, strength, accuracy)
        per_step = max(_NODES_PER_STEP[accuracy.tight], 2 * int(np.ceil(_nodes(rf, accuracy) / steps / 2)))
    nodes = steps * per_step
    bins, gradient_hz = _divide(rf, gradient_hz, bins, nodes, accuracy)
    path = trajectory(rf, shift_hz[:, None], gradient_hz, bins, nodes)
    last = after(about_z(2 * np.pi * rf.offset_hz * rf.duration_s), (path[0][..., -1], path[1][..., -1]))
    rotated: Complex = product_representation(system.spins, *last).astype(accuracy.dtype)
    if not pairs:
        return rotated
    return np.asarray(rotated @ _coupling(system, path, pairs, j_hz, rf.duration_s, steps, accuracy))


def _nodes(rf: Rf, accuracy: Accuracy) -> int:
    """Return how many nodes resolve the nutation: the largest angle between two is about 0.4 (0.2) rad."""
    turns = float(np.abs(rf.b1_hz).max()) * rf.duration_s
    return int(np.ceil(2 * np.pi * turns / (0.2 if accuracy.tight else 0.4)))


def _divide(rf: Rf, gradient_hz: Real, bins: int, nodes: int, accuracy: Accuracy) -> tuple[int, Real]:
    """Return bins that `nodes` divides; samples are cut into equal parts where averages would not do."""
    played = rf.b1_hz.size if gradient_hz.shape[-1] == 1 else gradient_hz.shape[-1]
    if gradient_hz.shape[-1] == 1 and not accuracy.tight:
        return nodes * int(np.ceil(bins / nodes)), gradient_hz
    repeats = nodes // int(np.gcd(played, nodes))
    if gradient_hz.shape[-1] > 1:
        gradient_hz = np.repeat(gradient_hz, repeats, axis=-1)
    return played * repeats, gradient_hz


def _coupling(
    system: Operators,
    path: Rotation,
    pairs: tuple[tuple[int, int], ...],
    j_hz: Real,
    duration_s: float,
    steps: int,
    accuracy: Accuracy,
) -> Complex:
    moments = np.stack([_moments(path, i, k, j_hz[i, k], duration_s, steps) for i, k in pairs], axis=2)
    bilinear = system.bilinear(pairs, accuracy.dtype)
    n_positions = moments.shape[3]
    size = system.dimension
    total = None
    for step in range(steps):
        h0, h1 = (
            (moments[kind, step].transpose(1, 0, 2, 3).reshape(n_positions, -1) @ bilinear)
            .reshape(n_positions, size, size)
            .astype(accuracy.dtype)
            for kind in range(2)
        )
        product = h0 @ h1
        generator = -1j * h0 + (product - product.conj().swapaxes(-1, -2))
        factor = _exponential(generator.astype(accuracy.dtype), accuracy)
        total = factor if total is None else factor @ total
    assert total is not None
    return total


def _moments(path: Rotation, i: int, k: int, j_hz: float, duration_s: float, steps: int) -> Real:
    """Return B0 and B1 of one pair in each step: shape (2, steps, n_positions, 3, 3), in rad."""
    matrix = vector_matrix(relative((path[0][i], path[1][i]), (path[0][k], path[1][k])))
    per_step = (matrix.shape[1] - 1) // steps
    weights = np.ones(per_step + 1)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    weights *= 2 * np.pi * j_hz * duration_s / steps / per_step / 3
    offset = np.linspace(-0.5, 0.5, per_step + 1)
    index = per_step * np.arange(steps)[:, None] + np.arange(per_step + 1)
    by_step = matrix[:, index]  # (n_positions, steps, per_step + 1, 3, 3)
    return np.stack(
        [np.einsum("psnab,n->spab", by_step, w, optimize=True) for w in (weights, weights * offset)]
    )


def _exponential(x: Complex, accuracy: Accuracy) -> Complex:
    """Return exp(x) of small matrices by its Taylor series, to degree 4 or (tight) 8."""
    identity = np.eye(x.shape[-1], dtype=x.dtype)
    square = x @ x
    if not accuracy.tight:
        return np.asarray(identity + x + square @ (identity / 2 + x / 6 + square / 24))
    low = identity + x + square / 2 + (x @ square) / 6
    fourth = square @ square
    high = identity / 24 + x / 120 + square / 720 + (x @ square) / 5040 + fourth / 40320
    return np.asarray(low + fourth @ high)
