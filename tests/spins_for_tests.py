"""Coupled spins written out plainly, apart from the simulator's own operators: matrices, Hamiltonian, ideal echoes."""

import numpy as np
from scipy.linalg import expm

from pulsespec.simulator.equivalence import reduce_system


def spin_matrices(spins):
    """Fz and F+ of each of the coupled spins in their product space; shape (n_spins, d, d) each."""
    sizes = [round(2 * spin + 1) for spin in spins]
    found = []
    for number, (spin, size) in enumerate(zip(spins, sizes, strict=True)):
        m = spin - np.arange(size)
        raising = np.diag(np.sqrt(spin * (spin + 1) - m[1:] * (m[1:] + 1)), 1)
        before, after = np.eye(round(np.prod(sizes[:number]))), np.eye(round(np.prod(sizes[number + 1 :])))
        found.append([np.kron(np.kron(before, one), after) for one in (np.diag(m), raising)])
    return np.array(found).swapaxes(0, 1)


def hamiltonian(part, f0_hz, reference_ppm=0.0):
    """Return the Hamiltonian in Hz of a reduced system, downfield positive; shape (d, d)."""
    iz, up = spin_matrices(part.spins)
    shift_hz = (part.shifts_ppm - reference_ppm) * f0_hz * 1e-6 + part.offset_hz
    total = np.tensordot(shift_hz, iz, 1)
    for one, other in zip(*np.triu_indices(len(part.spins), 1), strict=True):
        flip = (up[one] @ up[other].T + up[one].T @ up[other]) / 2
        total = total + part.j_hz[one, other] * (iz[one] @ iz[other] + flip)
    return total


def fid_after_echoes(metabolite, f0_hz, reference_ppm, delays_s, t):
    """Hard 90 (x), then the delays with a hard 180 (y) between each two; FID in the Pulseq sense; shape (t.size,)."""
    total = np.zeros(t.size, dtype=complex)
    for part in (part for found in metabolite.systems for part in reduce_system(found)):
        iz, up = spin_matrices(part.spins).sum(axis=1)
        energy, states = np.linalg.eigh(hamiltonian(part, f0_hz, reference_ppm))
        fx, fy = (up + up.T) / 2, (up - up.T) / 2j
        fz, fx, fy, raising = (states.T @ matrix @ states for matrix in (iz, fx, fy, up))
        turn, refocus = expm(-0.5j * np.pi * fx), expm(-1j * np.pi * fy)
        rho = turn @ fz @ turn.conj().T
        for number, delay in enumerate(delays_s):
            if number:
                rho = refocus @ rho @ refocus.conj().T
            phase = np.exp(-2j * np.pi * energy * delay)
            rho = phase[:, None] * rho * phase.conj()[None, :]
        seen = rho.T * raising
        lines = np.abs(seen) > 1e-9
        frequency = (energy[:, None] - energy[None, :])[lines]
        total += part.weight * np.exp(2j * np.pi * np.outer(t, frequency)) @ seen[lines]
    return total
