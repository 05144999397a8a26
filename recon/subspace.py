"""The linear space of all that decays within a band of frequencies: residual water, lipids, a singlet.

A signal known only to lie in a band is a nuisance with many linear unknowns. Projecting it out of data and
model alike is what least squares with those unknowns would do (variable projection: Golub and Pereyra 1973,
doi:10.1137/0710036), and it is one matrix for all shots, so it can prefer none.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

_WIDTHS_HZ = (0.0, 4.0, 10.0, 25.0)
"""Lorentzian widths that the lines in the band may have; what lies between is spanned too."""
_SPACING = 1 / 3
_BLOCK = 512
_LEAST = 1e-6
"""Smallest eigenvalue kept, relative to the largest: lines are represented to about 1e-3 of their height."""


@lru_cache(maxsize=4)
def band(samples: int, dwell_s: float, low_hz: float, high_hz: float) -> Complex:
    """Return an orthonormal basis of damped exponentials between two frequencies; shape (n, samples).

    The band is sampled twice as finely as the length of the FID resolves, or by a third of a width. Rows are in the
    sense of the FID. The last four are kept, not to be written to.
    """
    t = np.arange(samples) * dwell_s
    rates = []
    for width_hz in _WIDTHS_HZ:
        step_hz = max(0.5 / (samples * dwell_s), _SPACING * width_hz)
        lines = np.linspace(low_hz, high_hz, max(2, round((high_hz - low_hz) / step_hz) + 1))
        rates.append(2j * np.pi * lines - np.pi * width_hz)
    family = np.concatenate(rates)[:, None] * t
    np.exp(family, out=family)
    gram = np.zeros((len(family), len(family)), dtype=np.complex128)
    for block in range(0, samples, _BLOCK):
        part = family[:, block : block + _BLOCK]
        gram += part @ part.conj().T
    size = np.sqrt(np.diag(gram).real)
    family /= size[:, None]
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    kept = values > _LEAST * values[-1]
    basis = np.asarray((vectors[:, kept].conj().T / np.sqrt(values[kept])[:, None]) @ family)
    basis.flags.writeable = False
    return basis


def inside(fids: Complex, basis: Complex) -> Complex:
    """Return the part of FIDs, shape (..., samples), that lies in the space of `basis`."""
    return np.asarray((fids @ basis.conj().T) @ basis)


def outside(fids: Complex, basis: Complex) -> Complex:
    """Return what is left of FIDs without the space of `basis`."""
    return np.asarray(fids - inside(fids, basis))
