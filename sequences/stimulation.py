"""Peripheral nerve stimulation by the linear response of Schulte and Noeske (doi:10.1002/mrm.25440).

The response of a nerve to the slew rate S of one axis is R(t) = L / r integral S(t') c / (c + t - t')^2 dt', with
the rheobase r in T/s, the chronaxie c in s and the effective length L of the coil in m; the three axes add up as
the root of their squares. 1 is the threshold at which half of the subjects feel it; scanners stop at 0.8 in
normal and at 1 in first-level mode (IEC 60601-2-33).
"""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from pulsespec.sequences.scanner import Scanner

LIMIT = 1.0
"""First-level controlled mode."""

_MEMORY_S = 5e-3
"""Time after which what a slew has done is forgotten; the response is then 5 % of what it was at most."""


def stimulation(gradient_t_per_m: NDArray[np.float64], step_s: float, scanner: Scanner) -> float | None:
    """Return the largest response to gradients sampled on a raster (n, 3); `None` where no model is known."""
    rheobase, chronaxie = scanner.stimulation_rheobase_t_per_s, scanner.stimulation_chronaxie_s
    length = scanner.stimulation_length_m
    if rheobase is None or chronaxie is None or length is None:
        return None
    if gradient_t_per_m.shape[0] < 2:
        return 0.0
    steps = np.diff(gradient_t_per_m, axis=0)
    edges = np.arange(round(_MEMORY_S / step_s) + 1) * step_s
    # The integral of the kernel over each step of the raster, so that its sharp rise is not sampled away.
    kernel = chronaxie * (1 / (chronaxie + edges[:-1]) - 1 / (chronaxie + edges[1:])) / step_s
    response = scipy.signal.fftconvolve(steps, kernel[:, None], axes=0)[: steps.shape[0]] * length / rheobase
    return float(np.sqrt(np.sum(response**2, axis=1)).max())
