"""Longitudinal magnetisation at the start of a shot that is repeated: saturation by TR."""

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
