"""The corners of a gradient event of pypulseq."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TIME_SLACK_S = 1e-9


def corners(gradient: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times in s from the start of the block and values in Hz/m at the corners of a gradient."""
    if gradient.type == "trap":
        steps = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        return np.cumsum(steps), gradient.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    times, values = np.asarray(gradient.tt, float), np.asarray(gradient.waveform, float)
    if times[0] > _TIME_SLACK_S:
        times = np.concatenate([[0.0], times, [gradient.shape_dur]])
        values = np.concatenate([[gradient.first], values, [gradient.last]])
    return times + gradient.delay, values


def sampled(block: Any, step_s: float, duration_s: float) -> NDArray[np.float64]:
    """Return the gradients of a block in Hz/m on a raster from its start to its end; shape (n + 1, 3)."""
    times = np.arange(round(duration_s / step_s) + 1) * step_s
    result = np.zeros((times.size, 3))
    for axis, name in enumerate(("gx", "gy", "gz")):
        gradient = getattr(block, name)
        if gradient is not None:
            at, values = corners(gradient)
            result[:, axis] = np.interp(times, at, values, left=0.0, right=0.0)
    return result
