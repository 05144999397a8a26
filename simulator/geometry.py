"""The axes that the pulses of a shot select along, and the positions that are needed on each.

A pulse under a gradient makes the state depend on one axis. Its order profile (with which amplitude it turns
one coherence order of a single spin into another) gives the extent that has to be covered and the step
that resolves it; shifts move the profile by shift over gradient.

Where slices are neither parallel nor orthogonal, a pulse depends on several of the orthogonal axes at once: those
are entangled, and what is summed over is their product.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from pulsespec.errors import SequenceError
from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.rotations import (
    hard,
    order_matrix,
    sufficient_bins,
    whole,
)
from pulsespec.simulator.timeline import Voxel

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

UNSELECTED_M = 0.1
"""Extent along directions that no pulse selects, where the file defines no voxel: what a coil sees."""

_SELECTIVE_HZ_PER_M = 100.0
_PARALLEL = 1e-6
_SILENT_TURNS = 1e-6
"""A pulse that turns less is not played in this shot: an inversion that is off in every other one."""
_WIDEST_HZ = 64_000.0
_QUIET = 0.02  # |b| below this beyond the transition bands: the stop-band ripple of common designs
TIGHT = 5e-5
"""Tolerance below which wings of pulses are covered too, and steps are halved."""
_COARSER = 3.0  # bins for profiles alone are chosen for a tolerance this much larger
_OUTSIDE = 30.0  # error of rotations that is allowed beyond the transition bands, over the tolerance
_MARGIN = 2.0
_TIGHT_MARGIN, _WIDEST = 16.0, 32.0
_OBJECT_M, _FADING, _FLAT = 0.5, 0.6, 1.2
"""Length of what can lie in a scanner, the share of it in which it fades, widths of a slice in which it does not."""
_FIRST_STEPS = 100


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
    """What has to be covered at zero shift: at first all that its pulses touch, transition bands included."""
    step_m: float
    """Distance of positions; at first that of a hundredth of the thinnest slice."""
    displacement_m_per_hz: tuple[float, float]
    """How far the profile moves for 1 Hz of shift: least and largest of its pulses."""
    taper: float = 0.0
    """Share of each half of the range over which the object fades out, so that wings of pulses end without an edge."""

    def density(self, n: int) -> Real:
        """Return what is there of the object at n positions over the range; shape (n,)."""
        if not self.taper:
            return np.ones(n)
        outward = np.abs((2 * np.arange(n) + 1) / n - 1)
        return np.asarray(np.cos(np.pi / 2 * np.clip((outward - 1 + self.taper) / self.taper, 0, 1)) ** 2)

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


class Profiles:
    """Order profiles of single spins, made once for all pulses of one shape, in single or in double precision."""

    def __init__(self, single: bool = False) -> None:
        self.single = single
        self._made: dict[tuple[object, ...], Complex] = {}
        self._widths: dict[tuple[object, ...], float] = {}
        self._bins: dict[tuple[object, ...], tuple[int, ...]] = {}

    def half_width_hz(self, rf: Rf, quiet: float) -> float:
        """Return the offset from the carrier beyond which |b| of a pulse with a steady gradient is below `quiet`."""
        key = (*rf.key, quiet)
        if key not in self._widths:
            width = 4.0 / rf.duration_s
            while width < _WIDEST_HZ:
                beyond = np.linspace(width, 2 * width, 129)
                _, b = _played(rf, np.concatenate([beyond, -beyond]))
                if np.abs(b).max() < quiet:
                    break
                width *= 1.25
            self._widths[key] = width
        return self._widths[key]

    def bins(self, rf: Rf, offsets_hz: Real, allowed: tuple[Real | float, ...]) -> tuple[int, ...]:
        """Return the bins that resolve a pulse at offsets from the receiver's reference, as is allowed for each."""
        relative = offsets_hz - rf.offset_hz
        key = (*rf.key, np.round(relative, 3).tobytes(), *(np.asarray(each).tobytes() for each in allowed))
        if key not in self._bins:
            self._bins[key] = sufficient_bins(rf.on_resonance, relative, allowed, self.single)
        return self._bins[key]

    def __reduce__(self) -> tuple[type, tuple[bool]]:
        """Travel to another process without what was made."""
        return Profiles, (self.single,)

    def of(self, rf: Rf, points_m: Real, bins: int, shift_hz: float = 0.0) -> Complex:
        """Return the order matrices of a pulse at points (n, 3) in space; shape (n, 3, 3)."""
        gradient, offset = points_m @ rf.gradient_peak, shift_hz - rf.offset_hz
        if rf.has_constant_gradient:
            gradient, offset = gradient + offset, 0.0
        digest = hashlib.blake2b(np.round(gradient, 3).tobytes(), digest_size=16).digest()
        key = (*rf.key, bins, round(offset, 3), digest)
        if key not in self._made:
            offsets = np.full(len(gradient), offset)
            self._made[key] = order_matrix(whole(rf.on_resonance, offsets, gradient, bins, self.single))
        carrier = np.exp(-2j * np.pi * rf.offset_hz * rf.duration_s * np.arange(-1, 2))
        found = self._made[key]
        return found if not rf.offset_hz else carrier.astype(found.dtype)[:, None] * found


@dataclass(frozen=True)
class Layout:
    """The pulses of a shot, each with its axes and the number of bins that resolves it."""

    pulses: tuple[Rf, ...]
    axes_of: tuple[tuple[int, ...], ...]
    """Indices into `axes` for each pulse: none where it is not selective, several where axes are entangled."""
    slabs: tuple[Axis, ...]
    """The distinct directions of slices, in the order in which they are played."""
    axes: tuple[Axis, ...]
    """Orthogonal to each other: the slabs, where they are, else such as span them."""
    groups: tuple[tuple[int, ...], ...]
    """Axes that belong together because some pulse depends on several of them, and single ones."""
    unselected: tuple[tuple[Real, float], ...]
    """Directions along which no pulse selects, and the nominal extent in m along each."""
    bins: tuple[int, ...]
    profile_bins: tuple[int, ...]
    """As `bins`, for profiles and weights, which need less."""
    profiles: Profiles
    """What was computed for pulses of the same shapes."""

    def members(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """Return the pulses that depend on an axis of a group."""
        return tuple(index for index, axes in enumerate(self.axes_of) if set(axes) & set(group))

    def points(self, axes: Sequence[int], positions: Sequence[Real]) -> Real:
        """Return the product of positions along some axes as points in space; shape (n, 3)."""
        grids = np.meshgrid(*positions, indexing="ij")
        rows = [
            grid.ravel()[:, None] * self.axes[axis].direction for axis, grid in zip(axes, grids, strict=True)
        ]
        return np.asarray(sum(rows, np.zeros((max([row.shape[0] for row in rows], default=1), 3))))

    def gradient_hz(self, index: int, points_m: Real) -> Real:
        """Return the offset at points by a pulse's gradient at its peak; shape (n,), (1,) where it selects none."""
        if not self.axes_of[index]:
            return np.zeros(1)
        return np.asarray(points_m @ self.pulses[index].gradient_peak)


def layout(
    pulses: Sequence[Rf],
    voxel: Voxel | None,
    tolerance: float,
    shifts_hz: Real,
    profiles: Profiles | None = None,
) -> Layout:
    """Find the axes of a shot, and the positions and bins that meet a tolerance.

    Parameters
    ----------
    pulses
        RF pulses in the order in which they are played.
    voxel
        The nominal voxel; where `None`, an axis is as thick as its profile at half height.
    tolerance
        Largest relative error of the amplitude that an axis may add.
    shifts_hz
        Shifts at which non-selective pulses have to be resolved, and profiles of entangled axes are covered.
    profiles
        What is known from other shots.

    Raises
    ------
    SequenceError
        A gradient turns during a pulse, or entangled slices enclose no volume.

    """
    profiles = profiles or Profiles(single=tolerance > TIGHT)
    quiet = _QUIET if tolerance > TIGHT else float(np.sqrt(tolerance))  # what |b| adds goes with its square
    directions = [_direction(rf, number) for number, rf in enumerate(pulses)]
    slabs = _distinct([direction for direction in directions if direction is not None])
    slab_of = [None if d is None else _match(d, slabs) for d in directions]
    found = []
    for number, direction in enumerate(slabs):
        members = tuple(index for index, slab in enumerate(slab_of) if slab == number)
        found.append(_slab(direction, members, [pulses[index] for index in members], voxel, quiet, profiles))
    found_bins = [
        _bins(rf, None if slab is None else found[slab], tolerance, shifts_hz, profiles)
        for rf, slab in zip(pulses, slab_of, strict=True)
    ]
    bins, profile_bins = zip(*found_bins, strict=True)
    _, rest = _basis(slabs)
    unselected = tuple((d, UNSELECTED_M if voxel is None else voxel.along(d)) for d in rest)
    return arranged(
        Layout(tuple(pulses), (), tuple(found), (), (), unselected, bins, profile_bins, profiles),
        directions,
        shifts_hz,
    )


def arranged(found: Layout, directions: Sequence[Real | None], shifts_hz: Real) -> Layout:
    """Return a layout with orthogonal axes for its slabs; `directions` are those of each pulse."""
    basis, _ = _basis([slab.direction for slab in found.slabs])
    axes_of = tuple(
        () if d is None else tuple(np.flatnonzero(np.abs(basis @ d) > _PARALLEL).tolist()) for d in directions
    )
    axes = found.slabs
    if any(len(axes) > 1 for axes in axes_of):
        axes = tuple(
            replace(axis, pulses=tuple(index for index, of in enumerate(axes_of) if number in of))
            for number, axis in enumerate(_enclose(basis, found.slabs, shifts_hz))
        )
    return replace(found, axes=axes, axes_of=axes_of, groups=_groups(axes_of, len(axes)))


def resampled(found: Layout, slabs: Sequence[Axis], shifts_hz: Real) -> Layout:
    """Return the layout with other ranges and steps of its slabs."""
    direction_of: list[Real | None] = [None] * len(found.pulses)
    for slab in slabs:
        for index in slab.pulses:
            direction_of[index] = slab.direction
    return arranged(replace(found, slabs=tuple(slabs)), direction_of, shifts_hz)


def _basis(slabs: Sequence[Real]) -> tuple[Real, Real]:
    """Return orthogonal axes that span the slabs' directions, (n, 3), and those across them, (3 - n, 3)."""
    basis: list[Real] = []
    for slab in slabs:
        left = slab - sum(((slab @ axis) * axis for axis in basis), np.zeros(3))
        if np.linalg.norm(left) > np.sqrt(_PARALLEL):
            basis.append(left / np.linalg.norm(left))
    spanned = np.array(basis).reshape(-1, 3)
    _, _, complete = np.linalg.svd(spanned if basis else np.zeros((1, 3)))
    return spanned, complete[len(basis) :]


def _groups(axes_of: Sequence[tuple[int, ...]], count: int) -> tuple[tuple[int, ...], ...]:
    together = np.zeros((count, count))
    for axes in axes_of:
        for one, other in product(axes, axes):
            together[one, other] = 1
    if not count:
        return ()
    number, label = connected_components(together, directed=False)
    return tuple(tuple(np.flatnonzero(label == group).tolist()) for group in range(number))


def _enclose(basis: Real, slabs: Sequence[Axis], shifts_hz: Real) -> list[Axis]:
    """Return axes along a basis whose box encloses what lies in all slabs, for all shifts.

    The nominal voxel is as large as the product of the slabs' thicknesses.
    """
    normals, bounds = [], []
    for slab in slabs:
        moves = [
            d * shift for d in slab.displacement_m_per_hz for shift in (shifts_hz.min(), shifts_hz.max())
        ]
        normals += [basis @ slab.direction, -(basis @ slab.direction)]
        bounds += [slab.high_m + max(moves), -(slab.low_m + min(moves))]
    found = []
    for number, direction in enumerate(basis):
        ends = []
        for sign in (1.0, -1.0):
            towards = np.zeros(len(basis))
            towards[number] = sign
            solved = linprog(towards, A_ub=np.array(normals), b_ub=np.array(bounds), bounds=(None, None))
            if not solved.success:
                raise SequenceError(f"slices that are not orthogonal enclose no volume ({solved.message})")
            ends.append(sign * float(solved.fun))
        steps = [
            slab.step_m / abs(float(slab.direction @ direction))
            for slab in slabs
            if abs(slab.direction @ direction) > _PARALLEL
        ]
        nominal = slabs[number].nominal_m
        taper = slabs[number].taper
        found.append(Axis(direction, (), nominal, ends[0], ends[1], min(steps), (0.0, 0.0), taper))
    return found


def _direction(rf: Rf, number: int) -> Real | None:
    gradient = rf.gradient_hz_per_m
    mean = gradient[np.argmax(np.abs(gradient).sum(axis=1))]
    size = float(np.linalg.norm(mean))
    if size < _SELECTIVE_HZ_PER_M or np.abs(rf.b1_hz).mean() * rf.duration_s < _SILENT_TURNS:
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
        if not any(abs(float(direction @ other)) >= 1 - _PARALLEL for other in found):
            found.append(direction)
    return found


def _match(direction: Real, axes: list[Real]) -> int:
    return int(np.argmax([abs(float(direction @ axis)) for axis in axes]))


def _played(rf: Rf, offsets_hz: Real) -> tuple[Complex, Complex]:
    if rf.b1_hz.size == 1:
        return hard(offsets_hz, rf.b1_hz, rf.duration_s)
    bins = min(rf.b1_hz.size, int(np.ceil(8 * np.abs(offsets_hz).max() * rf.duration_s)))
    steadily = replace(rf, gradient_hz_per_m=np.zeros((1, 3)))
    return whole(steadily, offsets_hz + rf.offset_hz, np.zeros(1), bins)


def _bins(
    rf: Rf, slab: Axis | None, tolerance: float, shifts_hz: Real, profiles: Profiles
) -> tuple[int, ...]:
    """Return the bins for propagators and for profiles, over all of a slab; less is asked of what lies far outside."""
    coarser = _COARSER * tolerance
    if slab is None:
        return profiles.bins(rf, shifts_hz, (tolerance, coarser))
    ends = np.array([slab.low_m, slab.high_m]) * float(rf.gradient_peak @ slab.direction)
    width = profiles.half_width_hz(rf, _QUIET)
    offsets = np.linspace(-1, 1, 129) * max(width, float(np.abs(ends - rf.offset_hz).max()))
    if slab.taper:
        return profiles.bins(rf, rf.offset_hz + offsets, (tolerance, coarser))
    inside = np.abs(offsets) < width
    allowed = tuple(np.where(inside, most, _OUTSIDE * tolerance) for most in (tolerance, coarser))
    return profiles.bins(rf, rf.offset_hz + offsets, allowed)


def _slab(
    direction: Real,
    members: tuple[int, ...],
    pulses: Sequence[Rf],
    voxel: Voxel | None,
    quiet: float,
    profiles: Profiles,
) -> Axis:
    """Return all that the pulses along one direction touch."""
    slopes = [float(rf.gradient_hz_per_m.mean(axis=0) @ direction) for rf in pulses]
    centres = [rf.offset_hz / slope for rf, slope in zip(pulses, slopes, strict=True)]
    widths, reaches = (
        [profiles.half_width_hz(rf, below) / abs(slope) for rf, slope in zip(pulses, slopes, strict=True)]
        for below in (_QUIET, quiet)
    )
    nominal = min(widths) if voxel is None else voxel.along(direction)
    wide = [
        _MARGIN * width if quiet == _QUIET else _wings(width, reach)
        for width, reach in zip(widths, reaches, strict=True)
    ]
    low = min(centre - reach for centre, reach in zip(centres, wide, strict=True))
    high = max(centre + reach for centre, reach in zip(centres, wide, strict=True))
    moves = [-1 / slope for slope in slopes]
    flat = max(_FLAT * width / reach for width, reach in zip(widths, wide, strict=True))
    taper = 0.0 if quiet == _QUIET else max(0.0, min(_FADING, 1 - flat))
    step = min(widths) / _FIRST_STEPS
    return Axis(direction, members, nominal, low, high, step, (min(moves), max(moves)), taper)


def _wings(width_m: float, reach_m: float) -> float:
    """Return how far from its centre a slice counts at a tight tolerance: its wings, as far as an object can reach."""
    return max(_MARGIN * width_m, min(_TIGHT_MARGIN * reach_m, _WIDEST * width_m, _OBJECT_M / 2))
