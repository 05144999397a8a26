"""The linear space of all that decays within a band of frequencies: residual water, lipids, a singlet.

A signal known only to lie in a band is a nuisance with many linear unknowns. Projecting it out of data and
model alike is what least squares with those unknowns would do (variable projection: Golub and Pereyra 1973,
doi:10.1137/0710036), and it is one matrix for all shots, so it can prefer none.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_WIDTHS_HZ = (0.0, 4.0, 10.0, 25.0)
"""Lorentzian widths that the lines in the band may have; what lies between is spanned too."""
_SPACING = 1 / 3
_LEAST = 1e-6
"""Smallest eigenvalue kept, relative to the largest: lines are represented to about 1e-3 of their height."""


@lru_cache(maxsize=4)
def band(samples: int, dwell_s: float, low_hz: float, high_hz: float) -> Complex:
    """Return an orthonormal basis of damped exponentials between two frequencies; shape (n, samples).

    The band is sampled twice as finely as the length of the FID resolves, or by a third of a width. Rows are in the
    sense of the FID. The last four are kept, not to be written to.
    """
    waves, mix = _span(0.5 * (high_hz - low_hz), samples, dwell_s)
    t = np.arange(samples) * dwell_s
    basis = np.asarray((mix @ waves) * np.exp(1j * np.pi * (low_hz + high_hz) * t))
    basis.flags.writeable = False
    return basis


def coordinates(fids: Complex, dwell_s: float, low_hz: float, high_hz: float) -> Complex:
    """Return those of FIDs (m, samples) in the basis that `band` returns, without making it; shape (m, n)."""
    waves, mix = _span(0.5 * (high_hz - low_hz), fids.shape[-1], dwell_s)
    turned = fids * np.exp(-1j * np.pi * (low_hz + high_hz) * np.arange(fids.shape[-1]) * dwell_s)
    return np.asarray((turned.real @ waves.T + 1j * (turned.imag @ waves.T)) @ mix.T)


@lru_cache(maxsize=8)
def _span(half_hz: float, samples: int, dwell_s: float) -> tuple[Real, Real]:
    """Return what spans a band about zero, and the matrix that makes it orthonormal; kept, not to be written to."""
    waves = _waves(half_hz, samples, dwell_s)
    values, vectors = np.linalg.eigh(waves @ waves.T)
    kept = values > _LEAST * values[-1]
    return waves, np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T)


def _waves(half_hz: float, samples: int, dwell_s: float) -> Real:
    """Return what spans a band about zero, real: the band is symmetric, so cosines and sines stand for its lines.

    A cosine and a sine have together the Gram matrix of the two lines of norm 1 that they stand for.
    """
    waves = []
    for width_hz in _WIDTHS_HZ:
        step_hz = max(0.5 / (samples * dwell_s), _SPACING * width_hz)
        lines = np.linspace(-half_hz, half_hz, max(2, round(2 * half_hz / step_hz) + 1))
        size = np.linalg.norm(np.exp(-np.pi * width_hz * dwell_s * np.arange(samples)))
        right = lines[-(lines.size // 2) :]
        found = exponentials(2j * np.pi * right - np.pi * width_hz, samples, dwell_s) * (np.sqrt(2) / size)
        waves += [found.real, found.imag]
        if lines.size % 2:
            waves.append(exponentials(np.array([-np.pi * width_hz + 0j]), samples, dwell_s).real / size)
    return np.concatenate(waves)


def exponentials(rate: NDArray[np.complexfloating], samples: int, dwell_s: float) -> Complex:
    """Return exp(rate t), each the outer product of a coarse and a fine part; shape (n, samples)."""
    fine = int(np.ceil(np.sqrt(samples)))
    blocks = -(-samples // fine)
    step = np.asarray(rate, dtype=np.complex128)[:, None] * dwell_s
    whole = np.exp(step * (fine * np.arange(blocks)))[:, :, None] * np.exp(step * np.arange(fine))[:, None, :]
    return np.asarray(whole.reshape(step.size, blocks * fine)[:, :samples])


def inside(fids: Complex, basis: Complex) -> Complex:
    """Return the part of FIDs, shape (..., samples), that lies in the space of `basis`."""
    return np.asarray((fids @ basis.conj().T) @ basis)


def outside(fids: Complex, basis: Complex) -> Complex:
    """Return what is left of FIDs without the space of `basis`."""
    return np.asarray(fids - inside(fids, basis))
