"""Reduction of spin systems against dense simulations of all spins."""

import numpy as np
import pytest
from scipy.linalg import expm

from pulsespec.simulator import list_metabolites, load_metabolites
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.operators import operators
from pulsespec.simulator.spinsystem import Partner, SpinSystem

F0 = 123.25e6


def echo(spins, shift_hz, j_hz, delay_s=0.011, dwell_s=1e-3, samples=16):
    """Hard 90 - delay - 180 - delay - FID by dense exponentials: Tr(F+ rho), rho(0) = Fz."""
    system = operators(spins)
    fx, fy, fz = system.single.sum(axis=0)
    hamiltonian = system.shift(shift_hz) + system.coupling(j_hz)
    wait, step = (expm(-2j * np.pi * hamiltonian * t) for t in (delay_s, dwell_s))
    u = wait @ expm(-1j * np.pi * fy) @ wait @ expm(-1j * np.pi / 2 * fx)
    rho = u @ fz @ u.conj().T
    fid = []
    for _ in range(samples):
        fid.append(np.trace(rho @ system.raising))
        rho = step @ rho @ step.conj().T
    return np.array(fid)


def reduced_echo(system):
    total = 0
    for part in reduce_system(system):
        shift_hz = (part.shifts_ppm - 4.65) * F0 * 1e-6 + part.offset_hz
        total = total + part.weight * echo(part.spins, shift_hz, part.j_hz)
    return total


def dense_echo(system):
    """All protons, and every state of the partners, with nothing grouped."""
    n = system.shifts_ppm.size
    states = [()]
    for partner in system.partners:
        states = [(*s, m) for s in states for m in np.arange(-partner.spin, partner.spin + 1)]
    total = 0
    for state in states:
        offset = sum((p.j_hz * m for p, m in zip(system.partners, state, strict=True)), start=np.zeros(n))
        shift_hz = (system.shifts_ppm - 4.65) * F0 * 1e-6 + offset
        total = total + echo((0.5,) * n, shift_hz, system.j_hz) / len(states)
    return system.scale * total * 4.0 / 2**n


def system(shifts, couplings, **more):
    j = np.zeros((len(shifts),) * 2)
    for a, b, value in couplings:
        j[a, b] = j[b, a] = value
    return SpinSystem("", np.array(shifts), j, **more)


SYSTEMS = {
    "A3X": system(
        [1.31, 1.31, 1.31, 4.10],
        [(0, 3, 6.9), (1, 3, 6.9), (2, 3, 6.9), (0, 1, -14), (0, 2, -14), (1, 2, -14)],
    ),
    "A2B": system([2.10, 2.10, 2.20], [(0, 2, 7.0), (1, 2, 7.0), (0, 1, -15.0)]),
    "AA'XX'": system(
        [3.2, 3.2, 3.4, 3.4], [(0, 2, 6.7), (0, 3, 4.1), (1, 2, 4.1), (1, 3, 6.7), (0, 1, -12), (2, 3, -12)]
    ),
    "two parts": system([2.0, 3.0, 3.9, 3.9], [(0, 1, 5.0)], scale=3.0),
    "partners": system(
        [4.28, 3.64],
        [(0, 1, 7.0)],
        partners=(Partner("31P", 0.5, np.array([6.3, 0.0])), Partner("14N", 1.0, np.array([2.7, 0.5]))),
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_reduction_changes_nothing(name):
    np.testing.assert_allclose(reduced_echo(SYSTEMS[name]), dense_echo(SYSTEMS[name]), atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_random_systems_are_reduced_exactly(seed):
    rng = np.random.default_rng(seed)
    shifts = rng.choice([1.2, 1.2, 2.4, 3.1], 5)
    couplings = [(a, b, rng.choice([0.0, 7.0])) for b in range(5) for a in range(b)]
    found = system(list(shifts), couplings)
    np.testing.assert_allclose(reduced_echo(found), dense_echo(found), atol=1e-10)


def test_weights_count_protons():
    for name, metabolite in load_metabolites(list_metabolites()).items():
        total = 0.0
        for part in (part for found in metabolite.systems for part in reduce_system(found)):
            fz = operators(part.spins).m
            total += part.weight * float(fz @ fz)
        assert total == pytest.approx(metabolite.protons), name
