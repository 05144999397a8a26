"""How far and how finely positions are sampled: as the pathways that are simulated need it.

Along a slab's direction the strongest pathway has a profile, the product of what each pulse makes of the orders it
has there. It says what has to be covered, and which step integrates it to the tolerance. Pathways that gradients
have dephased need finer steps.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.geometry import TIGHT, Axis, Layout, resampled
from pulsespec.simulator.orders import Orders, moments
from pulsespec.simulator.pathways import Selection
from pulsespec.simulator.timeline import Shot

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_FINE = 2048
_LEAST_BEYOND = 64.0
_STEPS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 512, 1024, 2048)


def sampled(
    found: Layout, shot: Shot, selection: Selection, tolerance: float, shifts_hz: Real, nominal_known: bool
) -> Layout:
    """Return the layout with the ranges and steps that the pathways of a selection need.

    `nominal_known` says that the file defines the voxel; otherwise a slab is as thick as the strongest pathway's
    profile at half its height.
    """
    kept = np.array([pathway.orders for pathway in selection.kept])
    moment = moments(kept, shot)
    slabs = [_covered(found, slab, kept, tolerance, nominal_known) for slab in found.slabs]
    return resampled(found, [_refined(slab, moment) for slab in slabs], shifts_hz)


def _refined(slab: Axis, moments_per_m: Real) -> Axis:
    """Return a slab with steps that resolve the dephasing of pathways; their moments have shape (n, 3).

    A sum over n points of a profile times K cycles across their extent is right where its alias K - n stays
    clear of what the profile itself holds, its edges above all: n is K and a good deal more.
    """
    cycles = float(np.abs(moments_per_m @ slab.direction).max(initial=0.0)) * slab.extent_m
    points = slab.extent_m / slab.step_m
    if cycles > 1.0:
        points = cycles + max(3 * points, _LEAST_BEYOND)
    return replace(slab, step_m=slab.extent_m / np.ceil(points - 0.5))


def _covered(found: Layout, slab: Axis, kept: Orders, tolerance: float, nominal_known: bool) -> Axis:
    """Return a slab with the range and the step that all pathways need, the first of them being the strongest."""
    count = max(_FINE, int(slab.extent_m / slab.step_m))
    fine = slab.low_m + (np.arange(count) + 0.5) * slab.extent_m / count
    turned = _profile(found, slab, kept[0], fine)
    strong = np.flatnonzero(np.abs(turned) > 0.5 * np.abs(turned).max())
    nominal = slab.nominal_m
    if not nominal_known:
        nominal = float(strong[-1] - strong[0] + 1) * slab.extent_m / count
    middle, least = (strong[0] + strong[-1]) // 2, 3 * tolerance * abs(turned.sum())
    half = max(
        _half_range(_profile(found, slab, orders, fine), int(middle), least)
        for orders in _distinct(slab, kept)
    )
    reach = (half + 0.5) * (fine[1] - fine[0])
    ranged = replace(slab, nominal_m=nominal)
    if not slab.taper:
        ranged = replace(ranged, low_m=fine[middle] - reach, high_m=fine[middle] + reach)
    return replace(ranged, step_m=_step(found, ranged, kept[0], tolerance))


def _distinct(slab: Axis, kept: Orders) -> Orders:
    """Return pathways that differ in what the pulses of a slab do to them."""
    before = np.concatenate([np.zeros((len(kept), 1), np.int64), kept[:, :-1]], axis=1)
    index = list(slab.pulses)
    _, first = np.unique(
        np.concatenate([before[:, index], kept[:, index]], axis=1), axis=0, return_index=True
    )
    return np.asarray(kept[np.sort(first)])


def _profile(found: Layout, slab: Axis, pathway: Orders, at: Real) -> Complex:
    """Return the profile of a pathway along a slab, rephased; shape (n,).

    Where all pulses let it pass, the profile is its difference from what would pass without them. The linear
    phase that gradients will remove is the strongest component of its spectrum.
    """
    orders = np.clip([0, *pathway], -1, 1)
    product, passing, passes = np.ones(at.size, complex), np.ones(at.size, complex), True
    for index in slab.pulses:
        rf = found.pulses[index]
        matrix = found.profiles.of(rf, at[:, None] * slab.direction, found.profile_bins[index])
        start, order = int(orders[index]), int(orders[index + 1])
        product = product * matrix[:, 1 + order, 1 + start]
        moment = float(rf.gradient_hz_per_m.mean(axis=0) @ slab.direction) * rf.duration_s
        passing = passing * np.exp(-2j * np.pi * order * moment * at)
        passes = passes and order == start
    if passes:
        product = product - passing
    size = 8 * at.size
    cycles = np.fft.fftfreq(size)[np.argmax(np.abs(np.fft.fft(product, size)))]
    return np.asarray(product * np.exp(-2j * np.pi * cycles * np.arange(at.size)))


def _half_range(turned: Complex, middle: int, least: float) -> int:
    """Return how many samples about the middle hold the integral of a profile but for `least`."""
    reach = min(middle, turned.size - 1 - middle)
    rings = turned[middle + 1 : middle + reach + 1] + turned[middle - reach : middle][::-1]
    total = np.cumsum(np.concatenate([[turned[middle]], rings]))
    far = np.flatnonzero(np.abs(total - total[-1]) > least)
    return min(int(far[-1]) + 1 if far.size else 0, reach) + 1


def _step(found: Layout, slab: Axis, pathway: Orders, tolerance: float) -> float:
    """Return the largest step at which the midpoint rule integrates the profile to the tolerance."""

    def integral(n: int, moved: float) -> float:
        at = slab.low_m + (np.arange(n) + 0.5 + moved) * slab.extent_m / n
        return float(np.abs(slab.density(n) @ _profile(found, slab, pathway, at) / n))

    exact = integral(max(_FINE // 4, 4 * int(slab.extent_m / slab.step_m)), 0.0)
    for n in _STEPS:
        errors: Sequence[float] = [abs(integral(n, moved) / exact - 1) for moved in (0.0, 0.25, 0.5)]
        if max(errors) < 3 * tolerance:
            break
    # Coupled spins of different shifts see profiles that are displaced against each other.
    return slab.extent_m / (n if tolerance > TIGHT else 2 * n)
