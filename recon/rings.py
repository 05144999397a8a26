"""Concentric rings: where they lie in k-space, when, and how much of it each sample stands for.

Radii and first points are what the scanner says; a ring is run through from its first point at constant speed
(concentric circles with spectral readout: Furuyama et al. 2012, Magn Reson Med 67:1515, recalled; at 7 T with FID-MRSI:
Hingerl et al. 2018, PMC5873433, and 2020, doi:10.1097/RLI.0000000000000626).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_nonuniform import KSpace

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Ring:
    """One ring."""

    first_per_m: tuple[float, float]
    """k of its first sample along x and y of the grid."""
    points: int
    """Samples of one turn."""
    interleaves: int = 1
    """Shots that share a FID: a ring that is run through in as many dwell times."""
    sense: int = 1
    """+1: from x to y; -1: the other way."""

    @property
    def radius_per_m(self) -> float:
        """Radius in cycles/m."""
        return float(np.hypot(*self.first_per_m))

    @property
    def k_per_m(self) -> Real:
        """Samples of one turn; shape (points, 3)."""
        start = np.arctan2(self.first_per_m[1], self.first_per_m[0])
        angle = start + self.sense * 2 * np.pi * np.arange(self.points) / self.points
        return self.radius_per_m * np.stack([np.cos(angle), np.sin(angle), np.zeros(self.points)], axis=1)

    def times_s(self, dwell_s: float) -> Real:
        """Return when each sample of the first turn is taken; shape (points,)."""
        return np.arange(self.points) / self.points * self.interleaves * dwell_s


def ring_areas(radii_per_m: Sequence[float] | Real) -> Real:
    """Return the area of k-space that each ring stands for, half-way to its neighbours; shape (n_rings,).

    The innermost reaches to the centre, the outermost as far outwards as inwards. Rings of one radius share.
    """
    radii = np.asarray(radii_per_m, np.float64)
    unique, which, count = np.unique(radii, return_inverse=True, return_counts=True)
    middle = 0.5 * (unique[1:] + unique[:-1])
    last = 2 * unique[-1] - middle[-1] if middle.size else 2 * unique[-1]
    border = np.concatenate([[0.0], middle, [last]])
    return np.asarray((np.pi * np.diff(border**2) / count)[which.ravel()])


def rings_k_space(rings: Sequence[Ring], dwell_s: float) -> KSpace:
    """Return the positions of all rings, one after the other."""
    areas = ring_areas([ring.radius_per_m for ring in rings])
    weights = [np.full(ring.points, area / ring.points) for ring, area in zip(rings, areas, strict=True)]
    return KSpace(
        np.concatenate([ring.k_per_m for ring in rings]),
        np.concatenate([ring.times_s(dwell_s) for ring in rings]),
        dwell_s,
        np.concatenate(weights),
    )
