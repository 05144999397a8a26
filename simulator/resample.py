"""FIDs at another dwell time, by interpolation that holds up to both ends of the FID.

An FID starts at its highest point, so interpolation that takes it for periodic, or for zero before it starts, rings
there. Here each point is a weighted sum of the stored points next to it, all on one side where it is near an end, and
the weights are those of the least squared error over all frequencies of a band, as in the least-squares design of
fractional delays (Laakso et al. 1996, doi:10.1109/79.482137, recalled).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_BANDS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Shares of the stored band that weights are made for; the narrower, the less is lost at the first points."""
_TAPS = 64
"""Stored points that one point is made of."""
_PRECISION = 1e-12
"""Square of the precision with which files keep FIDs: weights that answer to less would raise its rounding."""
_CHECKED = 200
"""Frequencies, and points from the start on, at which the error is evaluated."""


def resample(fid: Complex, ratio: float, points: int) -> tuple[Complex, float]:
    """Return an FID at multiples of `ratio` dwell times, zero after the last stored point, and its error.

    Parameters
    ----------
    fid
        Points from time 0 on; shape (n,).
    ratio
        Dwell time wanted over that of the FID.
    points
        Points wanted.

    Returns
    -------
    resampled
        Shape (points,).
    error
        Of the worst point, relative to the FID where it is largest: the errors at all its frequencies, by their
        power.

    """
    share = _power(fid)
    errors = [float(np.sqrt(np.sum(share * _squared_errors(fid.size, ratio, band)))) for band in _BANDS]
    best = int(np.argmin(errors))
    first, weights = _weights(fid.size, ratio, min(points, _within(fid.size, ratio)), _BANDS[best])
    near = fid[first[:, None] + np.arange(weights.shape[1])]
    made = np.zeros(points, dtype=complex)
    made[: first.size] = np.einsum("pt,pt->p", weights, near)
    return made, errors[best]


def expected_first(fid: Complex, band: float = 0.6) -> complex:
    """Return what the first point should be for the points after it to follow, in a share of the stored band."""
    taps = np.arange(1, min(_TAPS, fid.size - 1) + 1)
    values, vectors = eigh(np.sinc(band * (taps[:, None] - taps)))
    kept = values > _PRECISION * values[-1]
    weights = ((np.sinc(band * taps) @ vectors[:, kept]) / values[kept]) @ vectors[:, kept].T
    return complex(weights @ fid[taps])


def _within(stored: int, ratio: float) -> int:
    """Return how many points lie within the stored ones."""
    return int((stored - 1) / ratio + 1e-9) + 1


def _power(fid: Complex) -> Real:
    """Return the share of the power by frequency, of `_CHECKED` equal parts of the stored band."""
    power = np.abs(np.fft.fft(fid * np.hanning(fid.size))) ** 2  # from zero: a step at t = 0 has wide wings
    part = np.minimum((np.fft.fftfreq(fid.size) + 0.5) * _CHECKED, _CHECKED - 1).astype(int)
    summed = np.bincount(part, power, _CHECKED)
    return np.asarray(summed / max(summed.sum(), 1e-300))


@lru_cache(maxsize=16)
def _weights(stored: int, ratio: float, points: int, band: float) -> tuple[NDArray[np.int64], Real]:
    """Return the first of the stored points that each point is made of, and their weights; (points, taps)."""
    taps = np.arange(min(_TAPS, stored))
    at = np.arange(points) * ratio
    first = np.clip(np.round(at).astype(np.int64) - taps.size // 2, 0, stored - taps.size)
    values, vectors = eigh(np.sinc(band * (taps[:, None] - taps)))
    kept = values > _PRECISION * values[-1]
    wanted = np.sinc(band * ((at - first)[:, None] - taps))
    return first, ((wanted @ vectors[:, kept]) / values[kept]) @ vectors[:, kept].T


@lru_cache(maxsize=64)
def _squared_errors(stored: int, ratio: float, band: float) -> Real:
    """Return the squared error of the worst point for a unit oscillation at the middle of each part of the band."""
    points = min(_CHECKED, _within(stored, ratio))
    first, weights = _weights(stored, ratio, points, band)
    turn = 2j * np.pi * ((np.arange(_CHECKED) + 0.5) / _CHECKED - 0.5)
    later = (np.arange(points) * ratio - first)[:, None]
    made = weights @ np.exp(np.arange(weights.shape[1])[:, None] * turn)
    return np.asarray(np.max(np.abs(made - np.exp(later * turn)) ** 2, axis=0))
