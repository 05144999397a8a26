"""What a pulse is, whoever designed it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axis = Literal["x", "y", "z"]
Use = Literal["excitation", "refocusing", "inversion", "saturation", "preparation"]
"""What a pulse is for, in the words of Pulseq."""


@dataclass(frozen=True)
class Pulse:
    """A pulse as it is played, without its gradient, its carrier and its phase."""

    name: str
    use: Use
    b1_hz: NDArray[np.complex128]
    """gamma B1 / 2 pi of each of n equal steps; shape (n,)."""
    duration_s: float
    bandwidth_hz: float
    """Full width at half maximum of the simulated profile; with `modulation`, at the peak gradient."""
    centre_s: float
    """From the start of the pulse to the point from or to which spins seem to precess freely."""
    modulation: NDArray[np.float64] | None = None
    """Gradient over peak gradient at the n + 1 edges of the steps; `None` for a constant gradient."""

    @property
    def step_s(self) -> float:
        """Length of a step."""
        return self.duration_s / self.b1_hz.size

    @property
    def peak_hz(self) -> float:
        """Largest gamma B1 / 2 pi."""
        return float(np.abs(self.b1_hz).max())
