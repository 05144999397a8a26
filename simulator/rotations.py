"""Rotations of single spins under shaped pulses, as Cayley-Klein parameters, batched over anything.

A rotation is the SU(2) matrix [[a, -conj(b)], [b, conj(a)]] (Pauly et al. 1991, doi:10.1109/42.75611), kept
as the pair (a, b). The Hamiltonian is 2 pi (offset Iz + Re(b1) Ix + Im(b1) Iy), the propagator exp(-i H t).
What is played at many positions takes arrays of any library that keeps to the array API standard.
"""

from collections.abc import Sequence
from typing import Any

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from pulsespec.simulator.blocks import Rf

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Rotation = tuple[Any, Any]
"""(a, b): arrays of one shape and one library."""
Moments = tuple[Any, Any]
"""Mean and first moment in each bin of a pulse."""

_FEWEST_BINS, _MOST_BINS = 16, 4
"""Bins of a pulse: the fewest that are tried, and the most over its samples."""
_AT_ONCE = 2**17
"""Bins of all positions that are turned at once, so that they stay near to the processor."""
_SMALL = 0.25
"""Square of half a rotation's angle below which its Taylor series, to degree 8 or 9, is exact to 1e-13."""


def space(*arrays: Any) -> Any:
    """Return the namespace of some arrays of one library: at once for those of numpy."""
    return array_api_compat.numpy if type(arrays[0]) is np.ndarray else array_namespace(*arrays)


def hard(offset_hz: Any, b1_hz: Any, time_s: float) -> Rotation:
    """Return the rotation under a constant offset and B1, both in Hz and broadcast together."""
    xp = space(offset_hz, b1_hz)
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
    xp = space(*second, *first)
    (a2, b2), (a1, b1) = second, first
    return a2 * a1 - xp.conj(b2) * b1, b2 * a1 + xp.conj(a2) * b1


def about_z(angle: Real | float) -> Rotation:
    """Return exp(-i angle Iz)."""
    a = np.exp(-0.5j * np.asarray(angle))
    return a, np.zeros_like(a)


def relative(first: Rotation, second: Rotation) -> Rotation:
    """Return first^-1 second: the rotation that leads from the frame of one spin to that of another."""
    xp = space(*first, *second)
    (a1, b1), (a2, b2) = first, second
    return xp.conj(a1) * a2 + xp.conj(b1) * b2, a1 * b2 - b1 * a2


def vector_matrix(rotation: Rotation) -> Real:
    """Return O of shape (..., 3, 3) with U^-1 I_a U = sum_b O[a, b] I_b."""
    xp = space(*rotation)
    elements = vector_elements(rotation)
    return np.asarray(xp.stack([xp.stack(elements[k : k + 3], axis=-1) for k in (0, 3, 6)], axis=-2))


def vector_elements(rotation: Rotation) -> list[Any]:
    """Return the nine elements of `vector_matrix`, row by row, each of the rotation's shape."""
    xp = space(*rotation)
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


def binned(values: NDArray[Any], bins: int) -> Moments:
    """Return mean and first moment, in each of `bins` equal intervals, of what is constant over equal parts of a pulse.

    `values` has shape (..., n_parts), both results (..., bins). The first moment is the integral of values times time
    from the middle of the bin, over the square of its length.
    """
    parts = values.shape[-1]
    if bins == parts:
        return values, np.zeros_like(values)
    edges = np.linspace(0.0, parts, bins + 1)
    part = np.minimum(edges.astype(int), parts - 1)
    inside = values[..., part]
    none = np.zeros_like(values[..., :1])
    area, moment = (
        np.concatenate([none, np.cumsum(each, axis=-1)], axis=-1)[..., part]
        for each in (values, values * (np.arange(parts) + 0.5))
    )
    area = np.diff(area + inside * (edges - part))
    moment = np.diff(moment + inside * (edges**2 - part**2) / 2)
    width, middle = parts / bins, (edges[1:] + edges[:-1]) / 2
    return area / width, (moment - middle * area) / width**2


def steady(offset_hz: Moments, b1_hz: Moments, step_s: float) -> tuple[Any, Any]:
    """Return the constant offset and B1 that turn as changing ones do in a bin of length `step_s`, from their moments.

    It is the Magnus expansion to fourth order, whose commutator is a cross product of the two moments.
    """
    xp = space(b1_hz[0])
    (offset, offset_moment), (b1, b1_moment) = offset_hz, b1_hz
    angle = 2 * np.pi * step_s
    beside = 1j * angle * (b1 * offset_moment - offset * b1_moment)
    return offset - angle * xp.imag(xp.conj(b1) * b1_moment), b1 + beside


def trajectory(offset_hz: Any, b1_hz: Any, step_s: float, nodes: int) -> Rotation:
    """Return the rotations from the start of a pulse to each of `nodes` equal parts of it.

    Parameters
    ----------
    offset_hz
        Offset from the pulse's carrier: shift and gradient together; shape (..., bins), or (..., 1) where it
        is constant.
    b1_hz
        B1 in each bin, `nodes` times a whole number of them; shape (..., bins).
    step_s
        Length of a bin.
    nodes
        Number of equal parts.

    Returns
    -------
    (a, b), each of shape (..., nodes + 1); the first is the identity, the last the whole pulse. The frame
    turns with the pulse's carrier and coincides with the receiver's at the start of the pulse.

    """
    xp = space(offset_hz, b1_hz)
    a, b = hard(offset_hz, b1_hz, step_s)
    shape = (*a.shape[:-1], nodes, a.shape[-1] // nodes)
    parts = _joined((xp.reshape(a, shape), xp.reshape(b, shape)))
    a, b = _running((parts[0][..., 0], parts[1][..., 0]))
    one = xp.ones_like(a[..., :1])
    return xp.concat([one, a], axis=-1), xp.concat([0 * one, b], axis=-1)


def _joined(parts: Rotation) -> Rotation:
    """Return the rotation that all along the last axis make together, in pairs; shape (..., 1)."""
    xp = space(*parts)
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
    xp = space(*parts)
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


def whole(rf: Rf, offset_hz: Any, gradient_hz: Any, bins: int, single: bool = False) -> Rotation:
    """Return the rotation by a whole pulse in the receiver's frame; shape (...).

    Parameters
    ----------
    rf
        The pulse.
    offset_hz
        Shift of each spin from the receiver's reference, downfield positive; shape (...).
    gradient_hz
        Offset that the gradient adds at its peak, which it follows; broadcasts against `offset_hz`.
    bins
        Intervals in which B1 and gradient are taken by their mean and first moment.
    single
        Whether single precision will do: it loses about 1e-6 over a pulse.

    """
    at = np.broadcast_arrays(offset_hz, gradient_hz)
    rows = max(1, _AT_ONCE // bins)
    if at[0].ndim == 1 and at[0].size > rows:
        cuts = [slice(start, start + rows) for start in range(0, at[0].size, rows)]
        parts = [whole(rf, at[0][cut], at[1][cut], bins, single) for cut in cuts]
        return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])
    step_s = rf.duration_s / bins
    offset = offsets(rf, at[0] - rf.offset_hz, at[1], bins)
    fields = steady(rounded(offset, single), rounded(binned(rf.b1_hz, bins), single), step_s)
    a, b = trajectory(*fields, step_s, 1)
    if not rf.offset_hz:
        return a[..., -1], b[..., -1]
    return after(about_z(2 * np.pi * rf.offset_hz * rf.duration_s), (a[..., -1], b[..., -1]))


def rounded(moments: Moments, single: bool) -> Moments:
    """Return moments in single or in double precision."""
    if not single:
        return moments
    kind = np.complex64 if np.iscomplexobj(moments[0]) else np.float32
    return moments[0].astype(kind), moments[1].astype(kind)


def offsets(rf: Rf, offset_hz: Real, gradient_hz: Real, bins: int) -> Moments:
    """Return the moments of a constant offset and of one that follows the gradient from its peak; shape (..., bins).

    The mean of what is constant has shape (..., 1), and its moment is 0.
    """
    shape = rf.gradient_shape
    if shape is None:
        return (offset_hz + gradient_hz)[..., None], np.zeros(1)
    mean, moment = binned(shape, bins)
    return offset_hz[..., None] + gradient_hz[..., None] * mean, gradient_hz[..., None] * moment


def sufficient_bins(
    rf: Rf, offsets_hz: Real, allowed: Sequence[Real | float], single: bool = False
) -> tuple[int, ...]:
    """Return the numbers of bins at which no rotation is off by more than each of what is allowed at `offsets_hz`.

    The error is of fourth order, so that the change on doubling the bins is that of the fewer. Where the gradient
    changes during the pulse, the offsets are those at its peak, and follow it.
    """
    still = np.zeros_like(offsets_hz)
    at = (offsets_hz, still) if rf.has_constant_gradient else (still, offsets_hz)
    bins = min(_FEWEST_BINS, rf.b1_hz.size)
    found: dict[int, int] = {}
    now = whole(rf, *at, bins, single)
    while len(found) < len(allowed):
        finer = whole(rf, *at, 2 * bins, single)
        change = np.maximum(np.abs(now[0] - finer[0]), np.abs(now[1] - finer[1]))
        for number, most in enumerate(allowed):
            if np.all(change < most) or bins > _MOST_BINS * rf.b1_hz.size:
                found.setdefault(number, bins)
        bins, now = 2 * bins, finer
    return tuple(found[number] for number in range(len(allowed)))
