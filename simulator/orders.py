"""Coherence orders along a pathway: what gradients and phase cycles do to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Orders = NDArray[np.int64]
"""Coherence order after each pulse, one row a pathway; shape (n, n_pulses)."""

LARGEST_ORDER = 3
"""Highest coherence order that is followed; beyond it a pathway needs four spins to turn at once."""
DEPHASED_CYCLES = 0.5
"""Dephasing across what a pulse touches, beyond which what it lets pass cancels outside of it."""


def before(orders: Orders) -> Orders:
    """Return the order before each pulse, which is 0 (equilibrium) before the first; shape (n, n_pulses)."""
    return np.concatenate([np.zeros((len(orders), 1), dtype=np.int64), orders[:, :-1]], axis=1)


def over_cycle(orders: Orders, phases: Real) -> Complex:
    """Return the mean of each pathway's phase factor over the repetitions of a shot; shape (n,).

    `phases` has those of the pulses and, last, of the ADC; shape (repetitions, n_pulses + 1).
    """
    change = orders - before(orders)
    distinct, counts = np.unique(np.round(phases, 9), axis=0, return_counts=True)
    total: Complex = np.zeros(len(change), dtype=complex)
    for row, count in zip(distinct, counts, strict=True):
        total += count * np.exp(-1j * (change @ row[:-1] + row[-1]))
    return np.asarray(total / len(phases), dtype=np.complex128)


def moments(orders: Orders, shot: Shot) -> Real:
    """Return the moment of each pathway in cycles/m, pulses counted as turning in their middle: (n, 3)."""
    halves = np.array([p.rf.gradient_hz_per_m.mean(axis=0) * p.rf.duration_s / 2 for p in shot.pulses])
    gaps = np.array([pulse.moment_per_m for pulse in shot.pulses])
    return np.asarray(orders @ (gaps + halves) + before(orders) @ halves)


def of_object(cycles: Any) -> Any:
    """Return what so many cycles across the object leave: a raised cosine that is half as high at its width."""
    across = 2 * np.asarray(cycles, dtype=float)
    edge = np.abs(np.abs(across) - 1) < 1e-6
    return np.where(edge, 0.5, np.sinc(across) / (1 - np.where(edge, 0.0, across) ** 2))


def remaining(layout: Layout, group: tuple[int, ...], effective_per_m: Real) -> float:
    """Return what is left along a group's axes of what its pulses let pass, relative to the nominal voxel."""
    cycles = [effective_per_m @ layout.axes[axis].direction * layout.axes[axis].nominal_m for axis in group]
    return float(np.prod([of_object(k) if abs(k) <= DEPHASED_CYCLES else 0.0 for k in cycles]))
