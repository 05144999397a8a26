"""Rotations of single spins under shaped pulses, as Cayley-Klein parameters, batched over anything.

A rotation is the SU(2) matrix [[a, -conj(b)], [b, conj(a)]] (Pauly et al. 1991, doi:10.1109/42.75611), kept
as the pair (a, b). The Hamiltonian is 2 pi (offset Iz + Re(b1) Ix + Im(b1) Iy), the propagator exp(-i H t).
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.blocks import Rf

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Rotation = tuple[Complex, Complex]


def hard(offset_hz: Real, b1_hz: Complex, time_s: float) -> Rotation:
    """Return the rotation under a constant offset and B1, both in Hz and broadcast together."""
    rate = np.sqrt(offset_hz**2 + np.abs(b1_hz) ** 2)
    half = np.pi * rate * time_s
    factor = np.pi * time_s * np.sinc(half / np.pi)
    return np.cos(half) - 1j * factor * offset_hz, -1j * factor * b1_hz


def after(second: Rotation, first: Rotation) -> Rotation:
    """Return the rotation that is `first`, then `second`."""
    (a2, b2), (a1, b1) = second, first
    return a2 * a1 - np.conj(b2) * b1, b2 * a1 + np.conj(a2) * b1


def about_z(angle: Real | float) -> Rotation:
    """Return exp(-i angle Iz)."""
    a = np.exp(-0.5j * np.asarray(angle))
    return a, np.zeros_like(a)


def relative(first: Rotation, second: Rotation) -> Rotation:
    """Return first^-1 second: the rotation that leads from the frame of one spin to that of another."""
    (a1, b1), (a2, b2) = first, second
    return np.conj(a1) * a2 + np.conj(b1) * b2, a1 * b2 - b1 * a2


def vector_matrix(rotation: Rotation) -> Real:
    """Return O of shape (..., 3, 3) with U^-1 I_a U = sum_b O[a, b] I_b."""
    a, b = rotation
    p, q, r = a * a, b * b, a * b
    s = np.conj(a) * b
    rows = [
        [(p - q).real, (p - q).imag, 2 * s.real],
        [-(p + q).imag, (p + q).real, 2 * s.imag],
        [-2 * r.real, -2 * r.imag, np.abs(a) ** 2 - np.abs(b) ** 2],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def order_matrix(rotation: Rotation) -> Complex:
    """Return T of shape (..., 3, 3): U I_q U^-1 = sum_p T[1 + p, 1 + q] I_p for orders p, q = -1, 0, +1.

    The operators are I_-, Iz and I_+; a coefficient is the amplitude with which a pulse turns one order of a
    single spin into another.
    """
    a, b = rotation
    ac, bc = np.conj(a), np.conj(b)
    columns = [  # images of I_-, Iz and I_+
        [ac * ac, -2 * bc * ac, -bc * bc],
        [b * ac, np.abs(a) ** 2 - np.abs(b) ** 2, a * bc],
        [-b * b, -2 * a * b, a * a],
    ]
    return np.stack([np.stack(column, axis=-1) for column in columns], axis=-1)


def rebin(rf: Rf, bins: int) -> tuple[Complex, Real]:
    """Return B1 averaged over `bins` equal intervals, shape (bins,), and the gradient there, (bins, 3)."""
    if bins == rf.b1_hz.size:
        return rf.b1_hz, rf.gradient_hz_per_m
    edges = np.linspace(0.0, rf.b1_hz.size, bins + 1)

    def average(values: NDArray[np.generic]) -> NDArray[np.generic]:
        total = np.concatenate([[0.0], np.cumsum(values)])
        knots = np.arange(total.size)
        if np.iscomplexobj(total):
            at = np.interp(edges, knots, total.real) + 1j * np.interp(edges, knots, total.imag)
        else:
            at = np.interp(edges, knots, total)
        return np.asarray(np.diff(at) * bins / rf.b1_hz.size)

    gradient = np.stack([average(rf.gradient_hz_per_m[:, axis]) for axis in range(3)], axis=1)
    return np.asarray(average(rf.b1_hz)), gradient


def trajectory(rf: Rf, offset_hz: Real, gradient_hz: Real, bins: int, nodes: int) -> Rotation:
    """Return the rotations from the start of a pulse to each of `nodes` equal parts of it.

    Parameters
    ----------
    rf
        The pulse.
    offset_hz
        Shift of each spin from the receiver's reference, downfield positive; shape (...).
    gradient_hz
        Offset that the gradient adds in each bin; broadcasts against (..., bins).
    bins
        Intervals of constant B1, a multiple of `nodes`.
    nodes
        Number of equal parts.

    Returns
    -------
    (a, b), each of shape (..., nodes + 1); the first is the identity, the last the whole pulse. The frame
    turns with the pulse's carrier and coincides with the receiver's at the start of the pulse.

    """
    b1_hz, _ = rebin(rf, bins)
    total = (np.asarray(offset_hz) - rf.offset_hz)[..., None] + gradient_hz
    total = np.broadcast_to(total, (*total.shape[:-1], bins))
    a, b = hard(total, b1_hz, rf.duration_s / bins)
    a = a.reshape(*a.shape[:-1], nodes, bins // nodes)
    b = b.reshape(*b.shape[:-1], nodes, bins // nodes)
    part = (a[..., 0], b[..., 0])
    for step in range(1, bins // nodes):
        part = after((a[..., step], b[..., step]), part)
    shape = (*part[0].shape[:-1], nodes + 1)
    path_a, path_b = np.ones(shape, dtype=complex), np.zeros(shape, dtype=complex)
    for node in range(nodes):
        here = (path_a[..., node], path_b[..., node])
        path_a[..., node + 1], path_b[..., node + 1] = after((part[0][..., node], part[1][..., node]), here)
    return path_a, path_b


def whole(rf: Rf, offset_hz: Real, gradient_hz: Real, bins: int) -> Rotation:
    """Return the rotation by a whole pulse in the receiver's frame; arguments as for `trajectory`."""
    a, b = trajectory(rf, offset_hz, gradient_hz, bins, 1)
    return after(about_z(2 * np.pi * rf.offset_hz * rf.duration_s), (a[..., -1], b[..., -1]))


def sufficient_bins(rf: Rf, offsets_hz: Real, tolerance: float) -> int:
    """Return the number of bins at which no rotation at `offsets_hz` is off by more than `tolerance`.

    Averaging B1 over a bin is of second order, so a third of the change on doubling is the error.
    """
    bins = min(32, rf.b1_hz.size)
    zero = np.zeros(1)
    now = whole(rf, offsets_hz, zero, bins)
    while bins < 2 * rf.b1_hz.size:
        finer = whole(rf, offsets_hz, zero, 2 * bins)
        bins *= 2
        if max(np.abs(now[0] - finer[0]).max(), np.abs(now[1] - finer[1]).max()) < 3 * tolerance:
            break
        now = finer
    return bins
