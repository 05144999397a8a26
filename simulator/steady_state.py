"""Longitudinal magnetisation at the start of a shot that is repeated: saturation by TR."""

from dataclasses import dataclass

import numpy as np

from pulsespec.simulator.engine import Plan
from pulsespec.simulator.relaxation import Relaxation


def longitudinal(plan: Plan, shift_hz: float, times: Relaxation, tr_s: float | None) -> float:
    """Return Mz over equilibrium before the first pulse of a shot, in the steady state.

    It is that of an uncoupled spin in the middle of the voxel, where each pulse leaves its share of Mz and T1 brings
    it back between them; what is transverse is taken to be gone after a TR. Shots of other kinds in between are
    taken to leave the same. 1 without T1, or where the file says no TR.

    Parameters
    ----------
    plan
        The shot.
    shift_hz
        Offset from the receiver's reference, downfield positive.
    times
        Relaxation times.
    tr_s
        Time from one shot to the next.

    """
    if tr_s is None or np.isinf(times.t1_s):
        return 1.0
    ends = [_after(plan, shift_hz, times, tr_s, mz) for mz in (0.0, 1.0)]
    return ends[0] / (1.0 - (ends[1] - ends[0]))


@dataclass(frozen=True)
class Cycle:
    """All pulses of a repetition in which two kinds of shots follow each other."""

    plans: tuple[Plan, Plan]
    pulses: tuple[tuple[int, int], ...]
    """Number of the plan and of the pulse in it, in the order in which they are played."""
    times_s: tuple[float, ...]
    """Middle of each pulse, from the first excitation."""
    tr_s: float


def cycle_of(first: Plan, second: Plan, gap_s: float, tr_s: float | None) -> Cycle | None:
    """Return the cycle of two shots in one repetition, the excitations `gap_s` apart; `None` without a TR."""
    if tr_s is None:
        return None
    rows = [
        (at + number * gap_s, number, index)
        for number, plan in enumerate((first, second))
        for index, at in enumerate(_middles_s(plan))
    ]
    rows.sort()
    return Cycle(
        (first, second),
        tuple((number, index) for _, number, index in rows),
        tuple(at for at, _, _ in rows),
        tr_s,
    )


def start_of(
    plan: Plan, cycle: Cycle | None, shift_hz: float, times: Relaxation, tr_s: float | None
) -> float:
    """Return Mz over equilibrium before the first pulse of a shot, in the steady state of all that is repeated.

    As `longitudinal`, but with the pulses of both kinds of shots where there is a cycle.
    """
    if cycle is None or np.isinf(times.t1_s):
        return longitudinal(plan, shift_hz, times, tr_s)
    number = 0 if plan is cycle.plans[0] else 1
    first = cycle.pulses.index((number, 0))
    order = [*range(first, len(cycle.pulses)), *range(first)]
    shares = [_share(cycle.plans[cycle.pulses[k][0]], cycle.pulses[k][1], shift_hz) for k in order]
    at = [cycle.times_s[k] + (cycle.tr_s if k < first else 0.0) for k in order]
    waits = np.diff([*at, at[0] + cycle.tr_s])
    ends = []
    for mz in (0.0, 1.0):
        for share, wait in zip(shares, waits, strict=True):
            mz = _recovered(mz * share, float(wait), times)
        ends.append(mz)
    before = ends[0] / (1.0 - (ends[1] - ends[0]))
    half_s = cycle.plans[number].shot.pulses[0].rf.duration_s / 2
    kept = times.kept(0, half_s)
    return (before - 1 + kept) / kept


def _middles_s(plan: Plan) -> list[float]:
    """Return the middle of each pulse of a shot from that of its excitation."""
    pulses, found, now = plan.shot.pulses, [], 0.0
    for pulse in pulses:
        found.append(now + pulse.rf.duration_s / 2)
        now += pulse.rf.duration_s + pulse.delay_s
    orders = plan.selection.kept[0].orders
    excitation = next(k for k, order in enumerate(orders) if order)
    return [at - found[excitation] for at in found]


def _after(plan: Plan, shift_hz: float, times: Relaxation, tr_s: float, mz: float) -> float:
    """Return Mz a TR after it was `mz`."""
    passed_s = 0.0
    for index, pulse in enumerate(plan.shot.pulses):
        half_s = pulse.rf.duration_s / 2
        mz = _recovered(mz, half_s, times) * _share(plan, index, shift_hz)
        mz = _recovered(mz, half_s + pulse.delay_s, times)
        passed_s += pulse.rf.duration_s + pulse.delay_s
    return _recovered(mz, max(tr_s - passed_s, 0.0), times)


def _recovered(mz: float, time_s: float, times: Relaxation) -> float:
    kept = times.kept(0, time_s)
    return kept * mz + 1 - kept


def _share(plan: Plan, index: int, shift_hz: float) -> float:
    """Return what a pulse leaves of Mz in the middle of the voxel."""
    layout = plan.layout
    middle = sum(((axis.low_m + axis.high_m) / 2 * axis.direction for axis in layout.axes), np.zeros(3))
    profile = layout.profiles.of(layout.pulses[index], middle[None], layout.profile_bins[index], shift_hz)
    return float(profile[0, 1, 1].real)
