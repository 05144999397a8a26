"""Which shots of a file make one signal, and the moment at which it is an echo.

Shots that differ in nothing but gradient moments between their pulses are phase encodes, unless the difference leaves
the wanted pathway alone: a basis is what the centre of k-space gives. Under a readout gradient the signal of the
whole voxel is what comes when the pathway crosses the centre; a train of such echoes is the readout.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.orders import moments
from pulsespec.simulator.pathways import Selection
from pulsespec.simulator.timeline import Pulse, Readout, Shot

Real = NDArray[np.float64]

_UNEVEN = 0.01
"""Largest difference of the spacings of echoes, over their mean, at which those of both directions are one train."""
_SAME_PER_M = 0.5
"""Moments of the wanted pathway that differ by less, in cycles/m, are of one place in k-space."""

_SHARE = 0.5
"""A single shot with other pulses, whose signal is less than this share of that of phase encodes, is left out: the
first of an encoded series is preceded by other pulses, at a corner of k-space."""
_PILOTS = 8
"""An even number of encodes has two nearest to the middle along each of three axes."""
_STRONG = 0.4
"""Weight of a pathway that is taken for that of the centre: a stimulated echo has 0.5."""

Select = Callable[[Shot], Selection]


def central(shots: Sequence[Shot], select: Select) -> tuple[Shot, ...]:
    """Return the shots of one kind at the centre of k-space, each from its first pulse to its first echo.

    Parameters
    ----------
    shots
        Of one editing condition.
    select
        Finds the pathways of a shot.

    Raises
    ------
    SequenceError
        No echo of a readout under a gradient has signal.

    """
    groups: dict[tuple[object, ...], list[Shot]] = {}
    for shot in shots:
        groups.setdefault(_played(shot), []).append(shot)
    found: list[tuple[float, list[Shot], int]] = []
    words = "there is none"
    for group in _first_interleaves(list(groups.values())):
        try:
            found.append((*_central(group, select), len(group)))
        except SequenceError as error:
            words = str(error)
    if not found:
        raise SequenceError(words)
    strongest, encoded = max(weight for weight, _, _ in found), any(count > 1 for _, _, count in found)
    return tuple(
        shot
        for weight, some, count in found
        if weight > _SHARE * strongest or count > 1 or not encoded
        for shot in some
    )


def _first_interleaves(groups: Sequence[list[Shot]]) -> list[list[Shot]]:
    """Return groups without those that differ from another in nothing but a train that begins later.

    Interleaves are the same signal read out at other times.
    """
    earliest: dict[tuple[object, ...], float] = {}
    for group in groups:
        key, later_s = _family(group[0])
        earliest[key] = min(later_s, earliest.get(key, later_s))
    return [
        group
        for group in groups
        if group[0].readout.moments_per_m is None or _family(group[0])[1] <= earliest[_family(group[0])[0]]
    ]


def _family(shot: Shot) -> tuple[tuple[object, ...], float]:
    """Return what is equal for interleaves, and the wait before the readout."""
    last = shot.pulses[-1]
    same = replace(shot, pulses=(*shot.pulses[:-1], Pulse(last.rf, last.moment_per_m, 0.0)))
    return _played(same), round(last.delay_s * 1e9) * 1e-9


def _central(group: Sequence[Shot], select: Select) -> tuple[float, list[Shot]]:
    """Return the strongest weight of shots that play the same pulses, and those of them in the centre."""
    if len(group) == 1:
        shot, weight = _at_echo(group[0], select)
        return weight, [shot]
    pilot, wanted, weight = _pilot(group, select)
    echoes = [_moved_as(pilot, shot) for shot in group]
    at = np.array([moments(wanted, shot)[0] for shot in echoes])
    nearest = at[np.argmin(np.linalg.norm(at, axis=1))]
    far = np.linalg.norm(at - nearest, axis=1)
    near = [shot for shot, away in zip(echoes, far, strict=True) if away < _SAME_PER_M]
    return weight, near


def _played(shot: Shot) -> tuple[object, ...]:
    """Return what is equal for shots that differ in nothing but moments between pulses, and phases."""
    pulses = tuple(
        (
            pulse.rf.b1_hz.tobytes(),
            pulse.rf.offset_hz,
            round(pulse.rf.duration_s * 1e9),
            pulse.rf.gradient_hz_per_m.tobytes(),
            round(pulse.delay_s * 1e9),
        )
        for pulse in shot.pulses
    )
    return (*pulses, shot.readout.samples, round(shot.readout.dwell_s * 1e12))


def _pilot(shots: Sequence[Shot], select: Select) -> tuple[Shot, NDArray[np.int64], float]:
    """Return the first shot with a strong signal among those nearest to the mean of all, and its pathway."""
    all_moments = np.array([[pulse.moment_per_m for pulse in shot.pulses] for shot in shots])
    distance = np.abs(all_moments - all_moments.mean(axis=0)).sum(axis=(1, 2))
    best, strongest = None, 0.0
    for number in np.argsort(distance, kind="stable")[:_PILOTS]:
        try:
            shot, weight = _at_echo(shots[int(number)], select)
        except SequenceError:
            continue
        if weight > strongest:
            best, strongest = shot, weight
        if strongest > _STRONG:
            break
    if best is None:
        raise SequenceError("the shots in the middle of k-space leave no signal at their ADC")
    return best, np.array([select(best).kept[0].orders]), strongest


def _at_echo(shot: Shot, select: Select) -> tuple[Shot, float]:
    """Return a shot that reads out under a gradient as one that reads out its echoes, and the strongest weight."""
    if shot.readout.moments_per_m is None:
        return shot, select(shot).kept[0].weight
    candidates = [one for one in (_train(shot), _delayed(shot, 0.0, np.zeros(3))) if one]
    strengths = []
    for candidate in candidates:
        try:
            strengths.append(select(candidate).kept[0].weight)
        except SequenceError:
            strengths.append(0.0)
    if max(strengths) <= 0:
        raise SequenceError("no echo of the readout under a gradient has signal")
    return candidates[int(np.argmax(strengths))], max(strengths)


def _moved_as(pilot: Shot, shot: Shot) -> Shot:
    """Return a shot that is read out when the pilot is."""
    later_s = pilot.pulses[-1].delay_s - shot.pulses[-1].delay_s
    if shot.readout.moments_per_m is None:
        return shot
    times_s = np.arange(shot.readout.samples) * shot.readout.dwell_s
    track = shot.readout.moments_per_m
    moment = np.array([np.interp(later_s, times_s, track[:, axis]) for axis in range(3)])
    return replace(_delayed(shot, later_s, moment), readout=pilot.readout)


def _delayed(shot: Shot, later_s: float, moment_per_m: Real) -> Shot:
    last = shot.pulses[-1]
    pulse = Pulse(last.rf, last.moment_per_m + moment_per_m, last.delay_s + later_s)
    return replace(shot, pulses=(*shot.pulses[:-1], pulse), readout=replace(shot.readout, moments_per_m=None))


def _train(shot: Shot) -> Shot | None:
    """Return the shot read out whenever the moment passes the middle of its range; `None` if it never does."""
    readout = shot.readout
    assert readout.moments_per_m is not None
    track = readout.moments_per_m
    centre = (track.max(axis=0) + track.min(axis=0)) / 2
    direction = np.ptp(track, axis=0)
    along = (track - centre) @ (direction / np.linalg.norm(direction))
    low = np.flatnonzero(np.sign(along[:-1]) * np.sign(along[1:]) < 0)
    if not low.size:
        return None
    share = along[low] / (along[low] - along[low + 1])
    times_s = (low + share) * readout.dwell_s
    spacing = np.diff(times_s)
    if spacing.size > 1 and np.ptp(spacing) > _UNEVEN * spacing.mean():
        times_s = times_s[::2]
        spacing = np.diff(times_s)
    dwell_s = float(spacing.mean()) if spacing.size else readout.dwell_s
    found = _delayed(shot, float(times_s[0]), centre)
    return replace(found, readout=Readout(times_s.size, dwell_s, readout.offset_hz))
