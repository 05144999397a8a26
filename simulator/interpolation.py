"""Band-limited signals between evenly spaced nodes: least squares over the band.

An image of a head evolves slowly against the samples of a readout gradient: it is worked out at nodes that are a
little closer than its bandwidth asks for, and read between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

_CLOSER = 1.6
"""Nodes over what the bandwidth asks for at least."""
_TAPS = (8, 10, 12, 14, 16, 20)
_RIDGE = 1e-13


@dataclass(frozen=True)
class Nodes:
    """Evenly spaced times, and how each sample is read from them."""

    times_s: Real
    """Shape (n_nodes,)."""
    first: NDArray[np.int64]
    """Number of the first node that a sample is read from; shape (n_samples,)."""
    weights: NDArray[np.float32]
    """Of the nodes from that one on, for a signal about zero frequency; shape (n_samples, taps)."""
    error: float
    """Root of the mean square error over the band, of a line of amplitude 1, at the worst sample."""


def nodes_for(times_s: Real, half_band_hz: float, tolerance: float = 3e-5) -> Nodes:
    """Return nodes for samples at rising times of a signal within plus or minus a frequency.

    The weights w of nodes at t_m for a sample at t minimise the integral over the band of
    |sum_m w_m exp(2 pi i f t_m) - exp(2 pi i f t)|^2.
    """
    step = 1 / (2 * half_band_hz * _CLOSER)
    for taps in _TAPS:
        found = _with_taps(times_s, half_band_hz, step, taps)
        if found.error < tolerance:
            break
    return found


def _with_taps(times_s: Real, half_band_hz: float, step: float, taps: int) -> Nodes:
    half = taps // 2
    count = int(np.ceil((times_s[-1] - times_s[0]) / step)) + taps
    nodes = times_s[0] + (np.arange(count) - (half - 1)) * step
    place = (times_s - times_s[0]) / step
    whole = np.minimum(np.floor(place + 1e-9), count - taps).astype(np.int64)
    offset = place - whole
    at = np.arange(taps) - (half - 1)
    width = 2 * half_band_hz * step
    matrix = np.sinc(width * np.subtract.outer(at, at))
    wanted = np.sinc(width * np.subtract.outer(at, offset))
    weights = np.linalg.solve(matrix + _RIDGE * np.eye(taps), wanted)
    square = 1 - 2 * (wanted * weights).sum(axis=0) + (weights * (matrix @ weights)).sum(axis=0)
    error = float(np.sqrt(max(square.max(), 0.0)))
    return Nodes(nodes, whole, weights.T.astype(np.float32), error)
