"""What lipid removal must not touch: lines of metabolites at the field of a voxel.

Scalp lipid has the scalp's frequency wherever it is cast, metabolites have the voxel's own, which its water says. With
w L L^H for the covariance of lipid, g M M^H for that of metabolites and 1 for the noise, the most likely lipid in x is
L (L^H T L + 1 / w)^-1 L^H T x with T = (1 + g M M^H)^-1 (the matrix inversion lemma): the regularised least squares of
`lipid_operator`, with a metric T that is blind to what metabolites look like. M are lines of two widths from 1.9 to
4.2 ppm, close enough to make up any multiplet, so no sequence or basis need be known; the lipid under them is still
subtracted, for its other lines say how much there is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

GUARDED_PPM = (2.03, 4.2)
"""Where lines of metabolites are, beside NAA at 2.008 ppm."""
_NAA_PPM, _NAA_OFFSETS_HZ, _NAA_WIDTHS_HZ = 2.008, (-3.0, -1.0, 1.0, 3.0), (5.0, 9.0, 14.0)
_SPACING_HZ, _WIDTHS_HZ = 3.7, (6.0, 12.0)
"""Lines closer together than they are wide span what lies between; the field of a voxel is known within 2 Hz."""
_STRENGTH = 30.0
"""g: energy of a line over the variance of the noise. From 30 to 1000 what is left of lines is within 0.2 % of 1 in the
median voxel; noise grows with it, and so does the lipid that is taken for metabolites."""


@dataclass(frozen=True)
class Guard:
    """T = 1 - sum_k h_k q_k q_k^H."""

    vectors: Complex
    """Orthonormal FIDs q_k; shape (samples, n)."""
    shares: Real
    """h_k, 0 to 1; shape (n,)."""

    def blind(self, columns: Complex) -> Complex:
        """Return T times columns; shape (samples, n)."""
        return np.asarray(columns - self.vectors @ (self.shares[:, None] * (self.vectors.conj().T @ columns)))

    def moved(self, shift_hz: float, dwell_s: float) -> "Guard":
        """Return the guard of a voxel whose signals lie `shift_hz` higher, in the NIfTI-MRS sense."""
        t = np.arange(self.vectors.shape[0]) * dwell_s
        return Guard(self.vectors * np.exp(2j * np.pi * shift_hz * t)[:, None], self.shares)


def metabolite_guard(data: Transients, strength: float = _STRENGTH) -> Guard:
    """Return the guard of metabolites where the field has no offset.

    Parameters
    ----------
    data
        Says samples, dwell time, frequency and reference.
    strength
        g: the energy of a line over the variance of the noise of a sample.

    """
    step = _SPACING_HZ / (data.f0_hz * 1e-6)
    lines = [(_NAA_PPM, width, offset) for width in _NAA_WIDTHS_HZ for offset in _NAA_OFFSETS_HZ]
    lines += [(ppm, width, 0.0) for ppm in np.arange(*GUARDED_PPM, step) for width in _WIDTHS_HZ]
    t = np.arange(data.samples) * data.dwell_s
    columns = np.stack(
        [
            np.exp((2j * np.pi * (ppm_to_hz(ppm, data.f0_hz, data.reference_ppm) + hz) - np.pi * width) * t)
            for ppm, width, hz in lines
        ],
        axis=1,
    )
    vectors, sizes, _ = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), full_matrices=False)
    power = strength * sizes**2
    return Guard(vectors, np.asarray(power / (1 + power)))
