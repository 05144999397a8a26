"""The axes that the pulses of a shot select along, and the positions that are needed on each.

A pulse under a gradient makes the state depend on one axis. Its order profile (with which amplitude it turns
one coherence order of a single spin into another) gives the extent that has to be covered and the step
that resolves it; shifts move the profile by shift over gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.rotations import hard, order_matrix, rebin, sufficient_bins, whole

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SELECTIVE_HZ_PER_M = 100.0
_PARALLEL = 1e-6
_FINE = 2048
_WIDEST_HZ = 64_000.0
_QUIET = 0.02  # |b| below this beyond the transition bands: the stop-band ripple of common designs
_COARSER = 30.0  # bins for profiles alone are chosen for a tolerance this much larger
_INVERTS = 0.75
_MARGIN = 2.0
_LEAST_BEYOND = 64.0
_STEPS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Axis:
    """A direction along which pulses select."""

    direction: Real
    """Unit vector; shape (3,)."""
    pulses: tuple[int, ...]
    """Indices of the pulses that select along it."""
    nominal_m: float
    """Nominal thickness of the voxel along it."""
    low_m: float
    high_m: float
    """What the pulses touch at zero shift, transition bands included."""
    step_m: float
    """Distance of positions that integrates the profiles to the tolerance."""
    displacement_m_per_hz: tuple[float, float]
    """How far the profile moves for 1 Hz of shift: least and largest of its pulses."""

    @property
    def extent_m(self) -> float:
        """Length of the range at zero shift."""
        return self.high_m - self.low_m

    def positions(self, lowest_hz: float, highest_hz: float) -> Real:
        """Return cell centres that cover the profiles for all shifts in a range; shape (n,), in m."""
        moves = [d * shift for d in self.displacement_m_per_hz for shift in (lowest_hz, highest_hz)]
        low, high = self.low_m + min(moves), self.high_m + max(moves)
        n = int(np.ceil((high - low) / self.step_m - 1e-9))
        return low + (np.arange(n) + 0.5) * (high - low) / n


@dataclass(frozen=True)
class Layout:
    """The pulses of a shot, each with its axis and the number of bins that resolves it."""

    pulses: tuple[Rf, ...]
    axis_of: tuple[int | None, ...]
    """Index into `axes` for each pulse, `None` where it is not selective."""
    axes: tuple[Axis, ...]
    bins: tuple[int, ...]
    profile_bins: tuple[int, ...]
    """As `bins`, for profiles and weights, which need less."""
    voxel_m: Real | None
    """Nominal voxel; shape (3,)."""

    def gradient_hz(self, index: int, positions_m: Real) -> Real:
        """Return the offset at positions in each bin of a pulse: (n, 1) if constant, else (n, bins)."""
        axis = self.axis_of[index]
        if axis is None:
            return np.zeros((positions_m.size, 1))
        return gradient_offset(self.pulses[index], self.axes[axis].direction, positions_m, self.bins[index])


def layout(pulses: Sequence[Rf], voxel_m: Real | None, tolerance: float, shifts_hz: Real) -> Layout:
    """Find the axes of a shot, and the positions and bins that meet a tolerance.

    Parameters
    ----------
    pulses
        RF pulses in the order in which they are played.
    voxel_m
        Nominal voxel along x, y and z; where `None`, an axis is as thick as its profile at half height.
    tolerance
        Largest relative error of the amplitude that an axis may add.
    shifts_hz
        Shifts at which non-selective pulses have to be resolved.

    Raises
    ------
    SequenceError
        Axes are neither parallel nor orthogonal, or a gradient turns during a pulse.

    """
    directions = [_direction(rf, number) for number, rf in enumerate(pulses)]
    axes = _distinct([direction for direction in directions if direction is not None])
    axis_of = tuple(None if d is None else _match(d, axes) for d in directions)
    ranges = [shifts_hz if axis is None else _offsets(rf) for rf, axis in zip(pulses, axis_of, strict=True)]
    bins = _bins(pulses, ranges, tolerance)
    profile_bins = _bins(pulses, ranges, _COARSER * tolerance)
    found = []
    for number, direction in enumerate(axes):
        members = tuple(index for index, axis in enumerate(axis_of) if axis == number)
        profiles = [(pulses[index], profile_bins[index]) for index in members]
        found.append(_axis(direction, members, profiles, voxel_m, tolerance))
    return Layout(tuple(pulses), axis_of, tuple(found), bins, profile_bins, voxel_m)


def _bins(pulses: Sequence[Rf], ranges: list[Real], tolerance: float) -> tuple[int, ...]:
    return tuple(
        sufficient_bins(rf, offsets, tolerance) if has_constant_gradient(rf) else rf.b1_hz.size
        for rf, offsets in zip(pulses, ranges, strict=True)
    )


def refined(found: Layout, moments_per_m: Real) -> Layout:
    """Return the layout with steps that resolve the dephasing of pathways.

    A sum over n points of a profile times K cycles across their extent is right where its alias K - n stays
    clear of what the profile itself holds, its edges above all: n is K and a good deal more. `moments_per_m` are
    those of the pathways that are simulated, gradients during pulses included; shape (n_pathways, 3).
    """
    axes = []
    for axis in found.axes:
        cycles = float(np.abs(moments_per_m @ axis.direction).max(initial=0.0)) * axis.extent_m
        points = axis.extent_m / axis.step_m
        if cycles > 1.0:
            points = cycles + max(3 * points, _LEAST_BEYOND)
        axes.append(replace(axis, step_m=axis.extent_m / np.ceil(points - 0.5)))
    return replace(found, axes=tuple(axes))


def has_constant_gradient(rf: Rf) -> bool:
    """Return whether the gradient stays the same during a pulse."""
    return bool(np.ptp(rf.gradient_hz_per_m, axis=0).max() < 1e-3 * _SELECTIVE_HZ_PER_M)


def gradient_offset(rf: Rf, direction: Real, positions_m: Real, bins: int) -> Real:
    """Return the offset in Hz at positions in each bin: (n, 1) for a constant gradient, else (n, bins)."""
    if has_constant_gradient(rf):
        return np.asarray(positions_m[:, None] * (rf.gradient_hz_per_m.mean(axis=0) @ direction))
    return np.asarray(positions_m[:, None] * (rebin(rf, bins)[1] @ direction))


def order_profile(rf: Rf, direction: Real, positions_m: Real, bins: int, shift_hz: float = 0.0) -> Complex:
    """Return the single-spin order matrices of a pulse at positions on its axis; shape (n, 3, 3)."""
    offsets = gradient_offset(rf, direction, positions_m, bins)
    return order_matrix(whole(rf, np.full(positions_m.size, shift_hz), offsets, bins))


def _direction(rf: Rf, number: int) -> Real | None:
    gradient = rf.gradient_hz_per_m
    mean = gradient[np.argmax(np.abs(gradient).sum(axis=1))]
    size = float(np.linalg.norm(mean))
    if size < _SELECTIVE_HZ_PER_M:
        return None
    direction = mean / size * np.sign(mean[np.argmax(np.abs(mean))])
    across = gradient - (gradient @ direction)[:, None] * direction
    if np.abs(across).max() > 1e-3 * size:
        raise SequenceError(
            f"pulse {number + 1}: its gradient turns while it is played, which is not supported"
        )
    return np.asarray(direction)


def _distinct(directions: list[Real]) -> list[Real]:
    found: list[Real] = []
    for direction in directions:
        cosines = [abs(float(direction @ other)) for other in found]
        if any(_PARALLEL < cosine < 1 - _PARALLEL for cosine in cosines):
            raise SequenceError(
                "slice-selection gradients are neither parallel nor orthogonal: not supported"
            )
        if not any(cosine >= 1 - _PARALLEL for cosine in cosines):
            found.append(direction)
    return found


def _match(direction: Real, axes: list[Real]) -> int:
    return int(np.argmax([abs(float(direction @ axis)) for axis in axes]))


def _half_width_hz(rf: Rf) -> float:
    """Return the offset from the carrier beyond which a pulse with a steady gradient does nothing."""
    width = 4.0 / rf.duration_s
    while width < _WIDEST_HZ:
        beyond = np.linspace(width, 2 * width, 129)
        _, b = _played(rf, np.concatenate([beyond, -beyond]))
        if np.abs(b).max() < _QUIET:
            break
        width *= 1.25
    return width


def _played(rf: Rf, offsets_hz: Real) -> tuple[Complex, Complex]:
    if rf.b1_hz.size == 1:
        return hard(offsets_hz, rf.b1_hz, rf.duration_s)
    bins = min(rf.b1_hz.size, int(np.ceil(8 * np.abs(offsets_hz).max() * rf.duration_s)))
    return whole(rf, offsets_hz + rf.offset_hz, np.zeros(1), bins)


def _offsets(rf: Rf) -> Real:
    return rf.offset_hz + np.linspace(-1, 1, 65) * _half_width_hz(rf)


def _axis(
    direction: Real,
    members: tuple[int, ...],
    profiles: list[tuple[Rf, int]],
    voxel_m: Real | None,
    tolerance: float,
) -> Axis:
    slopes = [float(rf.gradient_hz_per_m.mean(axis=0) @ direction) for rf, _ in profiles]
    centres = [rf.offset_hz / slope for (rf, _), slope in zip(profiles, slopes, strict=True)]
    widths = [
        _MARGIN * _half_width_hz(rf) / abs(slope) for (rf, _), slope in zip(profiles, slopes, strict=True)
    ]
    low = min(c - w for c, w in zip(centres, widths, strict=True))
    high = max(c + w for c, w in zip(centres, widths, strict=True))

    fine = low + (np.arange(_FINE) + 0.5) * (high - low) / _FINE
    turned = _turned(profiles, direction, fine)
    strong = np.flatnonzero(np.abs(turned) > 0.5 * np.abs(turned).max())
    nominal = float(strong[-1] - strong[0] + 1) * (high - low) / _FINE
    if voxel_m is not None:
        nominal = float(voxel_m[np.argmax(np.abs(direction))])
    low, high = _extent(fine, turned, (strong[0] + strong[-1]) // 2, tolerance)
    moves = [-1 / slope for slope in slopes]
    step = _step(profiles, direction, low, high, tolerance)
    return Axis(direction, members, nominal, low, high, step, (min(moves), max(moves)))


def _turned(profiles: list[tuple[Rf, int]], direction: Real, at: Real) -> Complex:
    """Return what the pulses of an axis do to what is wanted of them, rephased; shape (n,).

    A pulse that inverts somewhere is taken by how it turns orders into their opposite, any other by how it
    turns Mz into coherence, with the linear phase that a rewinding gradient would remove.
    """
    product = np.ones(at.size, dtype=complex)
    for rf, bins in profiles:
        matrix = order_profile(rf, direction, at, bins)
        inverts = np.abs(matrix[:, 0, 2]).max() > _INVERTS
        product = product * (matrix[:, 2, 0] if inverts else 2 * matrix[:, 0, 1])
    size = 8 * at.size
    cycles = np.fft.fftfreq(size)[np.argmax(np.abs(np.fft.fft(product, size)))]
    return np.asarray(product * np.exp(-2j * np.pi * cycles * np.arange(at.size)))


def _extent(at: Real, turned: Complex, middle: int, tolerance: float) -> tuple[float, float]:
    """Return the shortest range about the middle beyond which the integral changes by less than the tolerance."""
    reach = min(middle, at.size - 1 - middle)
    rings = turned[middle + 1 : middle + reach + 1] + turned[middle - reach : middle][::-1]
    total = np.cumsum(np.concatenate([[turned[middle]], rings]))
    far = np.flatnonzero(np.abs(total - total[-1]) > 3 * tolerance * np.abs(total[-1]))
    last = min(int(far[-1]) + 1 if far.size else 0, reach) + 1
    half = (last + 0.5) * (at[1] - at[0])
    return float(at[middle] - half), float(at[middle] + half)


def _step(
    profiles: list[tuple[Rf, int]], direction: Real, low: float, high: float, tolerance: float
) -> float:
    """Return the largest step at which the midpoint rule integrates the profiles to the tolerance."""

    def integral(n: int, moved: float) -> float:
        at = low + (np.arange(n) + 0.5 + moved) * (high - low) / n
        return float(np.abs(_turned(profiles, direction, at).sum() / n))

    exact = integral(_FINE, 0.0)
    for n in _STEPS:
        errors = [abs(integral(n, moved) / exact - 1) for moved in (0.0, 0.25, 0.5)]
        if max(errors) < 3 * tolerance:
            break
    return (high - low) / n
