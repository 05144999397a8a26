"""The density matrix of one spin system through one shot, pathway by pathway, to transition lines.

Between pulses the state has one coherence order, so gradients act as a phase ramp in space that is applied
when an axis is summed over. A position axis is open from the first pulse that selects along it to the last;
what is never open at the same time costs the sum, not the product, of its points (the projection method of
Zhang et al. 2017, doi:10.1002/mp.12375, generalised to any pulses and pathways).

Relaxation acts between pulses, on a pulse's two halves with the orders before and after it: transverse orders decay
with T2, longitudinal ones with T1, and what has been longitudinal all the time recovers towards equilibrium.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Lines
from pulsespec.simulator.equivalence import swap_symmetry
from pulsespec.simulator.geometry import Layout
from pulsespec.simulator.operators import Operators, blocks
from pulsespec.simulator.orders import moments as pathway_moments
from pulsespec.simulator.orders import remaining
from pulsespec.simulator.pathways import Pathway, Selection
from pulsespec.simulator.propagators import Accuracy, pulse_propagators
from pulsespec.simulator.relaxation import NONE, Relaxation
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Rows = NDArray[np.int64]
Made = dict[tuple[object, ...], Complex]
"""Propagators by all that they depend on but the spins."""

_SMALLEST_LINE = 1e-3  # of the tolerance, relative to the sum of all lines
_NEGLIGIBLE = 1e-9
_LARGE = 32
"""Dimension from which it pays to take a state's elements apart by Fz."""


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
        """Return the state (..., dimension, dimension) after free precession, in the precision that it has."""
        if not time_s:
            return state
        phases = np.exp(-2j * np.pi * self.energies_hz * time_s)
        u = ((self.vectors * phases) @ self.vectors.conj().T).astype(state.dtype)
        return np.asarray(u @ state @ u.conj().T)


def free_precession(system: Operators, shift_hz: Real, j_hz: Real) -> Free:
    """Diagonalise shifts and couplings; eigenvectors have a definite Fz."""
    hamiltonian = system.shift(shift_hz) + system.coupling(j_hz)
    lift = 16.0 * (1.0 + np.abs(hamiltonian).sum(axis=1).max())  # parts manifolds of different Fz
    energies, vectors = np.linalg.eigh(hamiltonian + lift * np.diag(system.m))
    m = np.rint(2 * (vectors.conj().T @ (system.m[:, None] * vectors)).diagonal().real) / 2
    return Free(energies - lift * m, vectors)


def simulate_system(
    plan: Plan,
    spins: tuple[float, ...],
    shift_hz: Real,
    j_hz: Real,
    relaxation: Relaxation = NONE,
    start: float = 1.0,
    made: Made | None = None,
) -> Lines:
    """Return the lines of a spin system at the first sample of the shot.

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
    relaxation
        T1 and T2 of all spins.
    start
        Longitudinal magnetisation at the start of the shot, over that in equilibrium: rho(0) = start Fz.
    made
        Propagators of these very spins in other shots, to take from and to add to.

    Returns
    -------
    Amplitudes are Tr(F+ rho), integrated over space and divided by the nominal voxel.

    """
    largest = int(np.rint(2 * sum(spins)))
    found = []
    made = {} if made is None else made
    for number, system in enumerate(blocks(spins, swap_symmetry(spins, shift_hz, j_hz))):
        run = _Run(plan, system, shift_hz, j_hz, relaxation, start, made, number)
        final = np.zeros((system.dimension,) * 2, dtype=complex)
        for pathway in plan.selection.kept:
            if max(np.abs(pathway.orders)) <= largest:
                final += pathway.cycle * run.play(pathway)
        found.append(_lines(system, run.free, final, plan.accuracy.tolerance))
    return Lines(
        np.concatenate([lines.frequency_hz for lines in found]),
        np.concatenate([lines.amplitude for lines in found]),
    )


def _lines(system: Operators, free: Free, state: Complex, tolerance: float) -> Lines:
    inside = free.vectors.conj().T @ state @ free.vectors
    receiver = free.vectors.conj().T @ system.raising @ free.vectors
    amplitude = inside * receiver.T
    keep = np.abs(amplitude) > _SMALLEST_LINE * tolerance * np.abs(amplitude).sum()
    frequency = free.energies_hz[None, :] - free.energies_hz[:, None]
    return Lines(frequency[keep], amplitude[keep])


class _Run:
    """One spin system on its way through a plan: propagators are made once and shared by pathways."""

    def __init__(
        self,
        plan: Plan,
        system: Operators,
        shift_hz: Real,
        j_hz: Real,
        relaxation: Relaxation,
        start: float,
        made: Made,
        number: int,
    ) -> None:
        self.plan, self.system = plan, system
        self.shift_hz, self.j_hz = shift_hz, j_hz
        self.relaxation, self.start = relaxation, start
        self.free = free_precession(system, shift_hz, j_hz)
        low, high = float(shift_hz.min()), float(shift_hz.max())
        self.positions = [axis.positions(low, high) for axis in plan.layout.axes]
        self._made, self._number = made, number

    def propagators(self, index: int) -> Complex:
        """Return the propagators of a pulse at all positions of its axes; shape (n, dim, dim)."""
        layout, accuracy = self.plan.layout, self.plan.accuracy
        rf, axes, bins = layout.pulses[index], layout.axes_of[index], layout.bins[index]
        points = layout.points(axes, [self.positions[axis] for axis in axes])
        gradient, carrier = layout.gradient_hz(index, points), rf.offset_hz
        if rf.has_constant_gradient:
            gradient, carrier = gradient - carrier, 0.0
        digest = hashlib.blake2b(np.round(gradient, 3).tobytes(), digest_size=16).digest()
        key = (self._number, *rf.key, carrier, digest, bins, accuracy)
        if key not in self._made:
            self._made[key] = pulse_propagators(
                self.system, rf.on_resonance, self.shift_hz - carrier, self.j_hz, gradient, bins, accuracy
            )
        turn = np.exp(-2j * np.pi * rf.offset_hz * rf.duration_s * self.system.m)
        return np.asarray(turn.astype(accuracy.dtype)[:, None] * self._made[key])

    def play(self, pathway: Pathway) -> Complex:
        """Return the state at the first sample that came along one pathway; shape (dim, dim).

        What the pulses of some axes all let pass is not confined to their slices; the sum over positions has it
        as far as it reaches. It is taken out in closed form, and what the object leaves of it is put there.
        """
        effective = pathway_moments(np.array([pathway.orders]), self.plan.shot)[0]
        passing = [group for group in self.plan.layout.groups if self._passes(group, pathway)]
        total = np.zeros((self.system.dimension,) * 2, dtype=complex)
        for silent in product(*[(False, True) for _ in passing]):
            off = [group for group, quiet in zip(passing, silent, strict=True) if quiet]
            factor: complex = 1.0
            for group in off:
                factor *= remaining(self.plan.layout, group, effective) - self._share(group, effective)
            if abs(factor) > _NEGLIGIBLE:
                total += factor * self._along(pathway, {axis for group in off for axis in group})
        return total

    def _passes(self, group: tuple[int, ...], pathway: Pathway) -> bool:
        orders = (0, *pathway.orders)
        return all(orders[index] == orders[index + 1] for index in self.plan.layout.members(group))

    def _share(self, group: tuple[int, ...], effective: Real) -> complex:
        """Return the sum over positions of what pulses that do nothing would let pass."""
        total: complex = 1.0
        for axis in group:
            total *= complex(self._ramp(axis, effective).sum())
        return total

    def _along(self, pathway: Pathway, off: set[int]) -> Complex:
        """Return the state that came along a pathway, pulses that select along the axes `off` not played.

        Slabs that are turned before anything is transverse, and along whose axis later pulses select, only scale
        what is longitudinal at each position. They are factors of the sums over positions, one for each shift, so
        that bands of outer-volume suppression leave the axes apart.
        """
        slabs = [
            index for index in self._slabs_before(pathway) if not set(self.plan.layout.axes_of[index]) <= off
        ]
        if not slabs:
            return self._from(np.diag(self.system.m).astype(complex), pathway, off, slabs, 0.0)
        total = np.zeros((self.system.dimension,) * 2, dtype=complex)
        for shift in np.unique(self.shift_hz):
            longitudinal = self.system.shift((self.shift_hz == shift).astype(float))
            total += self._from(longitudinal, pathway, off, slabs, float(shift))
        return total

    def _slabs_before(self, pathway: Pathway) -> Iterator[int]:
        """Yield the pulses on longitudinal order alone along whose only axis later pulses select."""
        for index, order in enumerate(pathway.orders):
            if order:
                return
            axes = self.plan.layout.axes_of[index]
            if len(axes) == 1 and self.plan.layout.axes[axes[0]].pulses[-1] > index:
                yield index

    def _from(
        self, equilibrium: Complex, pathway: Pathway, off: set[int], slabs: list[int], shift_hz: float
    ) -> Complex:
        """Return the state that came along a pathway from longitudinal magnetisation of one shift."""
        shot, layout = self.plan.shot, self.plan.layout
        moments = np.array(pathway.orders) @ np.array([pulse.moment_per_m for pulse in shot.pulses])
        equilibrium = equilibrium.astype(self.plan.accuracy.dtype)
        state = self.start * equilibrium
        recovered, before, space = equilibrium, 0, _Space()
        for index, order in enumerate(pathway.orders):
            axes, half_s = layout.axes_of[index], layout.pulses[index].duration_s / 2
            always = not any(pathway.orders[:index])
            state = self._relaxed(state, before, half_s, recovered if always else None)
            if index in slabs or (axes and set(axes) <= off):
                state = self.free.evolve(state, 2 * half_s)
            else:
                closing = {axis: self._ramp(axis, moments) for axis in self._last(index)}
                for axis in closing:
                    closing[axis] = closing[axis] * self._kept_along(axis, slabs, shift_hz)
                    recovered = recovered * complex(closing[axis].sum())
                wanted = _Orders(self.system, before, order)
                state = space.turned(self.propagators(index), state, axes, closing, self._sizes, wanted)
            state = np.where(self.system.order == order, state, 0)
            always = always and order == 0
            state = self._relaxed(state, order, half_s, recovered if always else None)
            before = order
            delay_s = shot.pulses[index].delay_s
            state = self.free.evolve(state, delay_s)
            state = self._relaxed(state, order, delay_s, recovered if always else None)
        return state

    def _kept_along(self, axis: int, slabs: list[int], shift_hz: float) -> Real:
        """Return what turned slabs leave of longitudinal magnetisation at the positions of an axis; shape (n,)."""
        layout = self.plan.layout
        points = layout.points((axis,), [self.positions[axis]])
        kept = np.ones(points.shape[0])
        for index in slabs:
            if layout.axes_of[index] == (axis,):
                profile = layout.profiles.of(layout.pulses[index], points, layout.bins[index], shift_hz)
                kept = kept * profile[:, 1, 1].real
        return kept

    def _last(self, index: int) -> Iterator[int]:
        """Yield the axes that no later pulse selects along."""
        for axis in self.plan.layout.axes_of[index]:
            if self.plan.layout.axes[axis].pulses[-1] == index:
                yield axis

    @property
    def _sizes(self) -> list[int]:
        return [positions.size for positions in self.positions]

    def _relaxed(self, state: Complex, order: int, time_s: float, towards: Complex | None) -> Complex:
        """Return the state after relaxation, towards equilibrium where it has always been longitudinal."""
        kept = self.relaxation.kept(order, time_s)
        if kept == 1.0:
            return state
        return np.asarray(kept * state if towards is None else kept * state + (1 - kept) * towards)

    def _ramp(self, axis: int, moments: Real) -> Complex:
        at, nominal = self.positions[axis], self.plan.layout.axes[axis].nominal_m
        weight = (at[1] - at[0]) / nominal * self.plan.layout.axes[axis].density(at.size)
        return np.asarray(
            weight * np.exp(-2j * np.pi * (moments @ self.plan.layout.axes[axis].direction) * at)
        )


class _Space:
    """The axes on which a state depends, in the order of its leading dimensions."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def turned(
        self,
        u: Complex,
        state: Complex,
        axes: tuple[int, ...],
        closing: dict[int, Complex],
        sizes: list[int],
        wanted: "_Orders",
    ) -> Complex:
        """Return the state after a pulse that depends on some axes; those that close are summed over."""
        if len(axes) == 1 and axes[0] in closing and self.open in ([], [axes[0]]):
            self.open = []
            return _sum_at_once(u, state, closing[axes[0]], wanted)
        for axis in axes:
            if axis not in self.open:
                self.open.append(axis)
                state = state[..., None, :, :]
        u = self._spread(u, axes, sizes)
        state = np.asarray(u @ state @ u.conj().swapaxes(-1, -2))
        for axis, ramp in closing.items():
            place = self.open.index(axis)
            state = np.tensordot(ramp.astype(state.dtype), state, axes=(0, place))
            self.open.remove(axis)
        return state

    def _spread(self, u: Complex, axes: tuple[int, ...], sizes: list[int]) -> Complex:
        """Return propagators (n, dim, dim) with a dimension for each open axis."""
        u = u.reshape(*[sizes[axis] for axis in axes], *u.shape[-2:])
        ranked = sorted(range(len(axes)), key=lambda k: self.open.index(axes[k]))
        u = u.transpose(*ranked, len(axes), len(axes) + 1)
        shape = [sizes[axis] if axis in axes else 1 for axis in self.open]
        return u.reshape(*shape, *u.shape[-2:])


@dataclass(frozen=True)
class _Orders:
    """The coherence orders of a state before and after a pulse."""

    system: Operators
    before: int
    after: int

    def blocks(self, order: int) -> Iterator[tuple[Rows, Rows]]:
        """Yield the rows and the columns of an order's elements, those of one Fz at a time."""
        m = np.rint(2 * self.system.m).astype(np.int64)
        for value in np.unique(m):
            columns = np.flatnonzero(m == value - 2 * order)
            if columns.size:
                yield np.flatnonzero(m == value), columns


def _sum_at_once(u: Complex, state: Complex, ramp: Complex, wanted: _Orders) -> Complex:
    """Return sum_j ramp_j U_j state_j U_j^+ as products of long matrices; the state may be one for all j.

    Of a large system only the elements are computed that the orders before and after the pulse leave.
    """
    n, size = u.shape[0], u.shape[-1]
    if state.ndim == 2 and size >= _LARGE:
        turned = np.empty_like(u)
        for rows, columns in wanted.blocks(wanted.before):
            turned[..., columns] = u[..., rows] @ state[np.ix_(rows, columns)]
        filled = np.concatenate([columns for _, columns in wanted.blocks(wanted.before)])
        turned[..., np.setdiff1d(np.arange(size), filled)] = 0
    else:
        turned = u @ state
    left = (ramp.astype(u.dtype)[:, None, None] * turned).transpose(1, 0, 2).reshape(size, n * size)
    right = u.conj().transpose(0, 2, 1).reshape(n * size, size)
    if size < _LARGE:
        return np.asarray(left @ right)
    total = np.zeros((size, size), dtype=u.dtype)
    for rows, columns in wanted.blocks(wanted.after):
        total[np.ix_(rows, columns)] = left[rows] @ right[:, columns]
    return total
