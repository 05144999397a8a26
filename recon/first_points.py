"""Repair of the first samples, which the receiver's digital filter spoils on some scanners."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.transients import Record, Transients
from pulsespec.recon.water_removal import decay_rates

_MOST = 4
_TOLERANCE = 0.02
_SMOOTH = slice(4, 24)
_COMPONENTS = 24
_FASTEST_PER_S = 300.0  # a width of about 100 Hz: macromolecules are narrower
_FITTED = 512


def spoiled_points(water: Transients) -> int:
    """Return how many first samples of water do not lie on the smooth start of its own decay.

    The magnitude of samples 4 to 24 is continued backwards (log-quadratic); samples from the last that is
    off by more than 2 % (and by more than the noise) to the first count as spoiled. Water decays slowly, so
    whatever moves its first samples by more than that is the receiver.
    """
    size = np.abs(water.data.reshape(-1, water.samples).mean(axis=0))
    at = np.arange(size.size)[_SMOOTH]
    if size.size < _SMOOTH.stop or np.any(size[_SMOOTH] <= 0):
        return 0
    trend = np.polyfit(at, np.log(size[_SMOOTH]), 2)
    spread = np.std(np.log(size[_SMOOTH]) - np.polyval(trend, at))
    off = np.abs(size[:_MOST] / np.exp(np.polyval(trend, np.arange(_MOST))) - 1)
    bad = np.flatnonzero(off > max(_TOLERANCE, 6 * spread))
    return int(bad[-1]) + 1 if bad.size else 0


def repair_first_points(data: Transients, points: int) -> Transients:
    """Return FIDs whose first samples are predicted backwards from the rest.

    The rest is modelled as damped exponentials (see `water_removal.hsvd`) and continued to time zero.
    """
    if points == 0:
        return data
    flat = data.data.reshape(-1, data.samples)
    repaired = np.array([_repaired(fid, data.dwell_s, points) for fid in flat])
    record = Record(
        "First point repair",
        f"the first {points} samples were spoiled by the receiver and are predicted backwards from the rest",
        {"points": points},
    )
    return data.with_data(repaired.reshape(data.data.shape), record)


def _repaired(fid: NDArray[np.complex128], dwell_s: float, points: int) -> NDArray[np.complex128]:
    """Continue the slowly decaying exponentials backwards: a fast one would grow without bound."""
    rest = fid[points:]
    rate = decay_rates(rest, dwell_s, _COMPONENTS)
    rate = rate[-rate.real < _FASTEST_PER_S]
    n = min(rest.size, _FITTED)
    amplitude = np.linalg.lstsq(np.exp(np.outer(np.arange(n) * dwell_s, rate)), rest[:n], rcond=None)[0]
    back = np.exp(np.outer(np.arange(-points, 0) * dwell_s, rate)) @ amplitude
    return np.concatenate([back, rest]).astype(np.complex128)
