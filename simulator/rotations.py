"""Rotations of single spins under shaped pulses, as Cayley-Klein parameters, batched over anything.

A rotation is the SU(2) matrix [[a, -conj(b)], [b, conj(a)]] (Pauly et al. 1991, doi:10.1109/42.75611), kept
as the pair (a, b). The Hamiltonian is 2 pi (offset Iz + Re(b1) Ix + Im(b1) Iy), the propagator exp(-i H t).
What is played at many positions takes arrays of any library that keeps to the array API standard.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from pulsespec.simulator.blocks import Rf

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Rotation = tuple[Any, Any]
"""(a, b): arrays of one shape and one library."""

_CONSTANT_HZ_PER_M = 0.1
_SMALL = 0.25
"""Square of half a rotation's angle below which its Taylor series, to degree 8 or 9, is exact to 1e-13."""


def hard(offset_hz: Any, b1_hz: Any, time_s: float) -> Rotation:
    """Return the rotation under a constant offset and B1, both in Hz and broadcast together."""
    xp = array_namespace(offset_hz, b1_hz)
    square = (np.pi * time_s) ** 2 * (offset_hz**2 + xp.real(b1_hz * xp.conj(b1_hz)))
    if float(xp.max(square)) < _SMALL:
        cosine = 1 - square / 2 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56)))
        over = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    else:
        half = xp.sqrt(square)
        still = xp.astype(half == 0, half.dtype)
        cosine, over = xp.cos(half), xp.sin(half) / (half + still) + still
    factor = np.pi * time_s * over
    return cosine - 1j * factor * offset_hz, -1j * factor * b1_hz


def after(second: Rotation, first: Rotation) -> Rotation:
    """Return the rotation that is `first`, then `second`."""
    xp = array_namespace(*second, *first)
    (a2, b2), (a1, b1) = second, first
    return a2 * a1 - xp.conj(b2) * b1, b2 * a1 + xp.conj(a2) * b1


def about_z(angle: Real | float) -> Rotation:
    """Return exp(-i angle Iz)."""
    a = np.exp(-0.5j * np.asarray(angle))
    return a, np.zeros_like(a)


def relative(first: Rotation, second: Rotation) -> Rotation:
    """Return first^-1 second: the rotation that leads from the frame of one spin to that of another."""
    xp = array_namespace(*first, *second)
    (a1, b1), (a2, b2) = first, second
    return xp.conj(a1) * a2 + xp.conj(b1) * b2, a1 * b2 - b1 * a2


def vector_matrix(rotation: Rotation) -> Real:
    """Return O of shape (..., 3, 3) with U^-1 I_a U = sum_b O[a, b] I_b."""
    xp = array_namespace(*rotation)
    elements = vector_elements(rotation)
    return np.asarray(xp.stack([xp.stack(elements[k : k + 3], axis=-1) for k in (0, 3, 6)], axis=-2))


def vector_elements(rotation: Rotation) -> list[Any]:
    """Return the nine elements of `vector_matrix`, row by row, each of the rotation's shape."""
    xp = array_namespace(*rotation)
    a, b = rotation
    p, q, r, s = a * a, b * b, a * b, xp.conj(a) * b
    return [
        *(xp.real(p - q), xp.imag(p - q), 2 * xp.real(s)),
        *(-xp.imag(p + q), xp.real(p + q), 2 * xp.imag(s)),
        *(-2 * xp.real(r), -2 * xp.imag(r), xp.real(a * xp.conj(a) - b * xp.conj(b))),
    ]


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


def trajectory(offset_hz: Any, b1_hz: Any, step_s: float, nodes: int) -> Rotation:
    """Return the rotations from the start of a pulse to each of `nodes` equal parts of it.

    Parameters
    ----------
    offset_hz
        Offset from the pulse's carrier: shift and gradient together; shape (..., bins), or (..., 1) where it
        is constant.
    b1_hz
        B1 in each bin, `nodes` times a whole number of them; shape (bins,).
    step_s
        Length of a bin.
    nodes
        Number of equal parts.

    Returns
    -------
    (a, b), each of shape (..., nodes + 1); the first is the identity, the last the whole pulse. The frame
    turns with the pulse's carrier and coincides with the receiver's at the start of the pulse.

    """
    xp = array_namespace(offset_hz, b1_hz)
    a, b = hard(offset_hz, b1_hz, step_s)
    shape = (*a.shape[:-1], nodes, a.shape[-1] // nodes)
    parts = _joined((xp.reshape(a, shape), xp.reshape(b, shape)))
    a, b = _running((parts[0][..., 0], parts[1][..., 0]))
    one = xp.ones_like(a[..., :1])
    return xp.concat([one, a], axis=-1), xp.concat([0 * one, b], axis=-1)


def _joined(parts: Rotation) -> Rotation:
    """Return the rotation that all along the last axis make together, in pairs; shape (..., 1)."""
    xp = array_namespace(*parts)
    while (n := parts[0].shape[-1]) > 1:
        even = n - n % 2
        first = (parts[0][..., 0:even:2], parts[1][..., 0:even:2])
        second = (parts[0][..., 1:even:2], parts[1][..., 1:even:2])
        paired = after(second, first)
        if n % 2:
            paired = (
                xp.concat([paired[0], parts[0][..., even:]], axis=-1),
                xp.concat([paired[1], parts[1][..., even:]], axis=-1),
            )
        parts = paired
    return parts


def _running(parts: Rotation) -> Rotation:
    """Return, at each place of the last axis, the rotation that all up to it make together."""
    xp = array_namespace(*parts)
    reach = 1
    while reach < parts[0].shape[-1]:
        later = (parts[0][..., reach:], parts[1][..., reach:])
        sooner = (parts[0][..., :-reach], parts[1][..., :-reach])
        joined = after(later, sooner)
        parts = (
            xp.concat([parts[0][..., :reach], joined[0]], axis=-1),
            xp.concat([parts[1][..., :reach], joined[1]], axis=-1),
        )
        reach *= 2
    return parts


def whole(rf: Rf, offset_hz: Any, gradient_hz: Any, bins: int) -> Rotation:
    """Return the rotation by a whole pulse in the receiver's frame; shape (...).

    Parameters
    ----------
    rf
        The pulse.
    offset_hz
        Shift of each spin from the receiver's reference, downfield positive; shape (...).
    gradient_hz
        Offset that the gradient adds in each bin; broadcasts against (..., bins).
    bins
        Intervals of constant B1.

    """
    b1_hz, _ = rebin(rf, bins)
    total = (np.asarray(offset_hz) - rf.offset_hz)[..., None] + gradient_hz
    a, b = trajectory(total, b1_hz, rf.duration_s / bins, 1)
    return after(about_z(2 * np.pi * rf.offset_hz * rf.duration_s), (a[..., -1], b[..., -1]))


def sufficient_bins(rf: Rf, offsets_hz: Real, tolerance: float) -> int:
    """Return the number of bins at which no rotation at `offsets_hz` is off by more than `tolerance`.

    Averaging B1 over a bin is of second order, so a third of the change on doubling is the error. Where the gradient
    changes during the pulse, the offsets are those at its peak, and follow it.
    """

    def rotations(bins: int) -> Rotation:
        modulation = gradient_shape(rf, bins)
        if modulation is None:
            return whole(rf, offsets_hz, np.zeros(1), bins)
        return whole(rf, np.zeros(1), offsets_hz[:, None] * modulation, bins)

    bins = min(32, rf.b1_hz.size)
    now = rotations(bins)
    while bins < 2 * rf.b1_hz.size:
        finer = rotations(2 * bins)
        bins *= 2
        if max(np.abs(now[0] - finer[0]).max(), np.abs(now[1] - finer[1]).max()) < 3 * tolerance:
            break
        now = finer
    return bins


def has_constant_gradient(rf: Rf) -> bool:
    """Return whether the gradient stays the same during a pulse."""
    return bool(np.ptp(rf.gradient_hz_per_m, axis=0).max() < _CONSTANT_HZ_PER_M)


def gradient_shape(rf: Rf, bins: int) -> Real | None:
    """Return the gradient in each bin over its peak, signed along its direction there; `None` where it is constant."""
    if has_constant_gradient(rf):
        return None
    gradient = rebin(rf, bins)[1]
    peak = gradient[int(np.argmax(np.abs(gradient).sum(axis=1)))]
    return np.asarray(gradient @ peak / (peak @ peak))
