"""Making spin systems small without approximation: uncoupled parts, total spin, conserved partners."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from pulsespec.simulator.spinsystem import SpinSystem

Real = NDArray[np.float64]


@dataclass(frozen=True)
class ReducedSystem:
    """An independent part of a spin system in which equivalent protons are one spin.

    The signal of the molecule is the sum over its parts of weight * Tr(F+ rho) for rho(0) = Fz.
    """

    weight: float
    """So that the sum over all parts of weight * Tr(Fz^2) is the number of protons."""
    spins: tuple[float, ...]
    """Total spin quantum number of each composite spin."""
    shifts_ppm: Real
    """Chemical shift of each composite spin; shape (n,)."""
    offset_hz: Real
    """What the conserved partner nuclei add to each shift, J times m; shape (n,)."""
    j_hz: Real
    """Couplings between composite spins; shape (n, n)."""


def reduce_system(system: SpinSystem) -> tuple[ReducedSystem, ...]:
    """Split a system into uncoupled parts, total spins of equivalent protons, and states of partners.

    Coupling among magnetically equivalent spins has no effect on any observable, so n of them act as
    spins n/2, n/2 - 1, ... with their multiplicities (Corio, Structure of High-Resolution NMR Spectra,
    1966). A partner of spin S that no pulse turns is in one of 2S + 1 states that add m J to the shifts.
    """
    states = list(product(*[_m(partner.spin) for partner in system.partners]))
    reduced: list[ReducedSystem] = []
    groups = _equivalent(system)
    for part in _parts(system, groups):
        touching = {tuple(_offset(system, part, state)) for state in states}
        for offset in sorted(touching):
            share = sum(tuple(_offset(system, part, state)) == offset for state in states) / len(states)
            reduced += _total_spins(system, part, np.array(offset), system.scale * share)
    return tuple(reduced)


def _m(spin: float) -> list[float]:
    return [spin - step for step in range(round(2 * spin) + 1)]


def _offset(system: SpinSystem, part: list[list[int]], state: tuple[float, ...]) -> list[float]:
    pairs = list(zip(system.partners, state, strict=True))
    return [sum(float(partner.j_hz[group[0]]) * m for partner, m in pairs) for group in part]


def _equivalent(system: SpinSystem) -> list[list[int]]:
    """Return groups of magnetically equivalent spins: one shift, and one coupling to each outside spin."""
    groups: list[list[int]] = []
    for spin in range(system.shifts_ppm.size):
        for group in groups:
            if all(_same(system, spin, other) for other in group):
                group.append(spin)
                break
        else:
            groups.append([spin])
    return groups


def _same(system: SpinSystem, one: int, other: int) -> bool:
    outside = [k for k in range(system.shifts_ppm.size) if k not in (one, other)]
    return (
        system.shifts_ppm[one] == system.shifts_ppm[other]
        and all(system.j_hz[one, k] == system.j_hz[other, k] for k in outside)
        and all(partner.j_hz[one] == partner.j_hz[other] for partner in system.partners)
    )


def _parts(system: SpinSystem, groups: list[list[int]]) -> list[list[list[int]]]:
    first = [group[0] for group in groups]
    _, label = connected_components(system.j_hz[np.ix_(first, first)] != 0, directed=False)
    return [[groups[i] for i in np.flatnonzero(label == part)] for part in range(label.max() + 1)]


def _total_spins(
    system: SpinSystem, part: list[list[int]], offset_hz: Real, scale: float
) -> list[ReducedSystem]:
    first = np.array([group[0] for group in part])
    shifts, j_hz = system.shifts_ppm[first], system.j_hz[np.ix_(first, first)]
    if len(part) == 1:
        return [ReducedSystem(2.0 * len(part[0]) * scale, (0.5,), shifts, offset_hz, np.zeros((1, 1)))]
    n_spins = sum(len(group) for group in part)
    found = []
    for choice in product(*[_decomposition(len(group)) for group in part]):
        keep = np.array([spin > 0 for spin, _ in choice])
        if not keep.any():
            continue
        multiplicity = math.prod(count for _, count in choice)
        spins = tuple(spin for spin, _ in choice if spin > 0)
        weight = scale * multiplicity * 4.0 / 2.0**n_spins
        found.append(ReducedSystem(weight, spins, shifts[keep], offset_hz[keep], j_hz[np.ix_(keep, keep)]))
    return found


def _decomposition(n: int) -> list[tuple[float, int]]:
    """Return the total spins of n spins 1/2 with their multiplicities."""
    return [(n / 2 - k, comb(n, k) - (comb(n, k - 1) if k else 0)) for k in range(n // 2 + 1)]


def swap_symmetry(spins: tuple[float, ...], shift_hz: Real, j_hz: Real) -> tuple[int, ...] | None:
    """Return the exchange of spins, each with at most one other, that changes nothing; the one that moves most.

    It divides a system such as the AA'XX' of a CH2-CH2 chain into two parts that never mix. `None` where there
    is no such exchange.
    """
    classes: dict[tuple[float, float], list[int]] = {}
    for index, key in enumerate(zip(spins, shift_hz, strict=True)):
        classes.setdefault(key, []).append(index)
    best: tuple[int, ...] | None = None
    for choice in product(*[list(_involutions(members)) for members in classes.values()]):
        image = list(range(len(spins)))
        for one, other in (pair for pairs in choice for pair in pairs):
            image[one], image[other] = other, one
        moved = sum(index != to for index, to in enumerate(image))
        if moved > (0 if best is None else sum(index != to for index, to in enumerate(best))):
            turned = j_hz[np.ix_(image, image)]
            if np.allclose(turned, j_hz, rtol=0, atol=1e-9):
                best = tuple(image)
    return best


def _involutions(members: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield all ways to exchange members in pairs, or not."""
    if not members:
        yield []
        return
    first, rest = members[0], members[1:]
    yield from _involutions(rest)
    for other in rest:
        left = [member for member in rest if member != other]
        yield from ([(first, other), *pairs] for pairs in _involutions(left))
