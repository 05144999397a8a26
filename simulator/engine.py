"""The density matrix of one spin system through one shot, pathway by pathway, to transition lines.

Between pulses the state has one coherence order, so gradients act as a phase ramp in space that is applied
when an axis is summed over. A position axis is open from the first pulse that selects along it to the last;
what is never open at the same time costs the sum, not the product, of its points (the projection method of
Zhang et al. 2017, doi:10.1002/mp.12375, generalised to any pulses and pathways).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Lines
from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.operators import Operators, operators
from pulsespec.simulator.pathways import DEPHASED_CYCLES, Pathway, Selection
from pulsespec.simulator.pathways import moments as pathway_moments
from pulsespec.simulator.propagators import Accuracy, pulse_propagators
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SMALLEST_LINE = 1e-3  # of the tolerance, relative to the sum of all lines


@dataclass(frozen=True)
class Plan:
    """All that does not depend on the spin system: one shot, its layout and its pathways."""

    shot: Shot
    layout: Layout
    selection: Selection
    accuracy: Accuracy


@dataclass(frozen=True)
class Free:
    """Free precession of a system: eigenbasis and frequencies of shifts and couplings."""

    energies_hz: Real
    vectors: Complex

    def evolve(self, state: Complex, time_s: float) -> Complex:
        """Return the state (..., dimension, dimension) after free precession."""
        phases = np.exp(-2j * np.pi * self.energies_hz * time_s)
        inside = self.vectors.conj().T @ state @ self.vectors
        inside = phases[:, None] * inside * phases.conj()[None, :]
        return np.asarray(self.vectors @ inside @ self.vectors.conj().T)


def free_precession(system: Operators, shift_hz: Real, j_hz: Real) -> Free:
    """Diagonalise shifts and couplings; eigenvectors have a definite Fz."""
    hamiltonian = system.shift(shift_hz) + system.coupling(j_hz)
    lift = 16.0 * (1.0 + np.abs(hamiltonian).sum(axis=1).max())  # parts manifolds of different Fz
    energies, vectors = np.linalg.eigh(hamiltonian + lift * np.diag(system.m))
    m = np.rint(2 * (vectors.conj().T @ (system.m[:, None] * vectors)).diagonal().real) / 2
    return Free(energies - lift * m, vectors)


def simulate_system(plan: Plan, spins: tuple[float, ...], shift_hz: Real, j_hz: Real) -> Lines:
    """Return the lines of a spin system at the first sample of the shot, for rho(0) = Fz.

    Parameters
    ----------
    plan
        The shot, its axes and its pathways.
    spins
        Total spin quantum number of each spin; shape (n_spins,).
    shift_hz
        Offsets from the receiver's reference, downfield positive; shape (n_spins,).
    j_hz
        Couplings in Hz, symmetric; shape (n_spins, n_spins).

    Returns
    -------
    Amplitudes are Tr(F+ rho), integrated over space and divided by the nominal voxel.

    """
    run = _Run(plan, operators(spins), shift_hz, j_hz)
    largest = int(np.rint(2 * sum(spins)))
    final = np.zeros((run.system.dimension,) * 2, dtype=complex)
    for pathway in plan.selection.kept:
        if max(np.abs(pathway.orders)) <= largest:
            final += pathway.cycle * run.play(pathway)
    return _lines(run.system, run.free, final, plan.accuracy.tolerance)


def _lines(system: Operators, free: Free, state: Complex, tolerance: float) -> Lines:
    inside = free.vectors.conj().T @ state @ free.vectors
    receiver = free.vectors.conj().T @ system.raising @ free.vectors
    amplitude = inside * receiver.T
    keep = np.abs(amplitude) > _SMALLEST_LINE * tolerance * np.abs(amplitude).sum()
    frequency = free.energies_hz[None, :] - free.energies_hz[:, None]
    return Lines(frequency[keep], amplitude[keep])


class _Run:
    """One spin system on its way through a plan: propagators are made once and shared by pathways."""

    def __init__(self, plan: Plan, system: Operators, shift_hz: Real, j_hz: Real) -> None:
        self.plan, self.system = plan, system
        self.shift_hz, self.j_hz = shift_hz, j_hz
        self.free = free_precession(system, shift_hz, j_hz)
        low, high = float(shift_hz.min()), float(shift_hz.max())
        self.positions = [axis.positions(low, high) for axis in plan.layout.axes]
        self._made: dict[tuple[object, ...], Complex] = {}

    def propagators(self, index: int) -> Complex:
        """Return the propagators of a pulse at all positions of its axis; shape (n, dim, dim)."""
        layout = self.plan.layout
        rf, axis = layout.pulses[index], layout.axis_of[index]
        at = np.zeros(1) if axis is None else self.positions[axis]
        offset = layout.gradient_hz(index, at) - rf.offset_hz
        key = (rf.b1_hz.tobytes(), rf.duration_s, np.round(offset, 3).tobytes())
        if key not in self._made:
            self._made[key] = pulse_propagators(
                self.system,
                replace(rf, offset_hz=0.0),
                self.shift_hz,
                self.j_hz,
                offset,
                layout.bins[index],
                self.plan.accuracy,
            )
        turn = np.exp(-2j * np.pi * rf.offset_hz * rf.duration_s * self.system.m)
        return np.asarray(turn.astype(self.plan.accuracy.dtype)[:, None] * self._made[key])

    def play(self, pathway: Pathway) -> Complex:
        """Return the state at the first sample that came along one pathway; shape (dim, dim)."""
        shot, layout, dtype = self.plan.shot, self.plan.layout, self.plan.accuracy.dtype
        moments = np.array(pathway.orders) @ np.array([pulse.moment_per_m for pulse in shot.pulses])
        effective = pathway_moments(np.array([pathway.orders]), shot)[0]
        state = np.diag(self.system.m).astype(complex)
        before = 0
        open_axes: list[int] = []
        for index, order in enumerate(pathway.orders):
            u, axis = self.propagators(index), layout.axis_of[index]
            closes = axis is not None and index == layout.axes[axis].pulses[-1]
            passing = None
            if (
                axis is not None
                and layout.axes[axis].pulses == (index,)
                and order == before
                and not open_axes
            ):
                passing = self._passing(index, order, state, moments, effective)
            if axis is not None and closes and not open_axes:
                state = _sum_at_once(u, state.astype(dtype), self._ramp(axis, moments))
            else:
                state = self._apply(u, state.astype(dtype), axis, open_axes)
                if axis is not None and closes:
                    place = open_axes.index(axis)
                    state = np.tensordot(self._ramp(axis, moments), state, axes=(0, place))
                    open_axes.remove(axis)
            if passing is not None:
                state = state - passing
            state = np.where(self.system.order == order, state, 0)
            before = order
            state = self.free.evolve(state, shot.pulses[index].delay_s)
        return state

    def _passing(
        self, index: int, order: int, state: Complex, moments: Real, effective: Real
    ) -> Complex | None:
        """Return what a pulse would let pass if it did nothing, where dephasing cancels that elsewhere."""
        layout = self.plan.layout
        number = layout.axis_of[index]
        assert number is not None
        axis, rf = layout.axes[number], layout.pulses[index]
        if abs(effective @ axis.direction) * axis.extent_m <= DEPHASED_CYCLES:
            return None
        turn = rf.gradient_hz_per_m.mean(axis=0) @ axis.direction * rf.duration_s * self.positions[number]
        share = (self._ramp(number, moments) * np.exp(-2j * np.pi * order * turn)).sum()
        return np.asarray(
            share * self.free.evolve(np.where(self.system.order == order, state, 0), rf.duration_s)
        )

    def _ramp(self, axis: int, moments: Real) -> Complex:
        at, nominal = self.positions[axis], self.plan.layout.axes[axis].nominal_m
        weight = (at[1] - at[0]) / nominal
        return np.asarray(
            weight * np.exp(-2j * np.pi * (moments @ self.plan.layout.axes[axis].direction) * at)
        )

    @staticmethod
    def _apply(u: Complex, state: Complex, axis: int | None, open_axes: list[int]) -> Complex:
        if axis is not None and axis not in open_axes:
            open_axes.append(axis)
            state = state[..., None, :, :]
        shape = [1] * len(open_axes)
        if axis is not None:
            shape[open_axes.index(axis)] = len(u)
        u = u.reshape(*shape, *u.shape[-2:])
        return np.asarray(u @ state @ u.conj().swapaxes(-1, -2))


def _sum_at_once(u: Complex, state: Complex, ramp: Complex) -> Complex:
    """Return sum_j ramp_j U_j state U_j^+ as one product of two long matrices."""
    n, size = u.shape[0], u.shape[-1]
    left = (ramp.astype(u.dtype)[:, None, None] * (u @ state)).transpose(1, 0, 2).reshape(size, n * size)
    right = u.conj().transpose(0, 2, 1).reshape(n * size, size)
    return np.asarray(left @ right)
