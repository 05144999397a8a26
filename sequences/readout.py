"""A planned readout: the samples of one ADC event, and the gradients under it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences.pulses import on_raster
from pulsespec.sequences.scanner import Scanner

_SAMPLES_MULTIPLE = 4
"""Of the samples of an echo, so that any number of echoes is a segment that a Siemens scanner takes."""


@dataclass(frozen=True)
class Readout:
    """One ADC event and the gradients under it.

    Those of a ring in k-space, and the moments before and after them, are for a radius of 1 cycle/m.
    """

    samples: int
    dwell_s: float
    first_s: float
    """From the start of the readout (of its gradients, or of the first dwell) to the echo time."""
    corners_s: NDArray[np.float64] | None = None
    """Times of the gradients' corners from the start of the readout; `None` without a gradient."""
    gradients_hz_per_m: NDArray[np.float64] | None = None
    """Gradient along x, or along x and y, of the voxel at those corners; (1 or 2, n)."""
    lead_s: float = 0.0
    """From the start of the gradients to that of the first dwell."""
    before_per_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Moment along x, y, z that the lobes before must have; cycles/m."""
    after_per_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Moment that the lobes after must have to bring k back to zero."""
    ring: bool = False
    interleaves: int = 1
    interleave_s: float = 0.0
    """By how much the readout of each interleave starts later than that of the one before."""
    definitions: tuple[tuple[str, Any], ...] = ()

    def scale(self, radius_per_m: float) -> float:
        """Return what gradients and moments are to be multiplied by."""
        return radius_per_m if self.ring else 1.0


def sampling(protocol: Protocol, scanner: Scanner, echo_s: float, rate_hz: float) -> tuple[int, float]:
    """Return samples an echo and dwell time: the slowest on the raster that is not below `rate_hz`."""
    least = int(np.ceil(echo_s * rate_hz / _SAMPLES_MULTIPLE)) * _SAMPLES_MULTIPLE
    most = int(echo_s / scanner.adc_raster_s)
    for samples in range(least, most + 1, _SAMPLES_MULTIPLE):
        if on_raster(echo_s / samples, scanner.adc_raster_s):
            return samples, round(echo_s / samples / scanner.adc_raster_s) * scanner.adc_raster_s
    raise SequenceError(
        f"{protocol.name}: an echo of {echo_s * 1e6:g} us cannot be sampled {least} times or more on the "
        f"{scanner.adc_raster_s * 1e6:g} us raster of {scanner.name}"
    )
