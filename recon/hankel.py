"""Decay rates of many FIDs at once: the state-space method of `water_removal`, its work shared over a batch.

The signal subspace of each Hankel matrix is found by block power iteration from one random start (Halko et al. 2011,
doi:10.1137/090771806), with products by FFT, and its shift invariance in closed form, so that a batch needs a few
calls of array functions in place of one Lanczos run a voxel.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

_LONGEST = 1024
_SPARE = 8
_FASTEST_PER_S = 300.0
_RCOND = 1e-12
_PASSES = 4


def batch_decay_rates(fids: Complex, dwell_s: float, components: int) -> Complex:
    """Return the rates of exponentials exp(rate t) of each FID in 1/s; none of them grows.

    Parameters
    ----------
    fids
        Shape (n_fids, samples).
    dwell_s
        Time between samples.
    components
        How many are sought in each, fewer where the FIDs are short.

    Returns
    -------
    Shape (n_fids, k) with k the smaller of `components` and half the samples less two.

    """
    part = fids[:, :_LONGEST]
    rows = part.shape[1] // 2
    wanted = min(components, rows - 2)
    left = _subspace(part, rows, wanted)
    rate = np.log(np.linalg.eigvals(_shift(left))) / dwell_s
    return np.asarray(np.minimum(rate.real, 0.0) + 1j * rate.imag)


def _subspace(fids: Complex, rows: int, wanted: int) -> Complex:
    """Return the strongest left singular vectors of each Hankel matrix; shape (n_fids, rows, wanted)."""
    columns = fids.shape[1] - rows + 1
    size = scipy.fft.next_fast_len(fids.shape[1])
    transformed = scipy.fft.fft(fids, size)[:, None]
    width = min(wanted + _SPARE, rows)

    def conjugated(vectors: Complex, length: int) -> Complex:
        """Return the product of each Hankel matrix, or of its transpose, with conjugate vectors (n_fids, k, .)."""
        product = scipy.fft.fft(vectors, size)
        np.conjugate(product, out=product)
        product *= transformed
        return np.asarray(scipy.fft.ifft(product, overwrite_x=True)[..., :length])

    def squared(vectors: Complex) -> Complex:
        return conjugated(conjugated(vectors, columns), rows)

    start = np.random.default_rng(0).normal(size=(1, width, columns)) + 0j
    basis = _orthonormal(conjugated(np.broadcast_to(start, (fids.shape[0], width, columns)), rows))
    for _ in range(_PASSES):
        image = squared(basis)
        basis = _orthonormal(image)
    small = basis.conj() @ squared(basis).swapaxes(1, 2)
    _, turns = np.linalg.eigh(0.5 * (small + small.conj().swapaxes(1, 2)))
    return np.asarray(basis.swapaxes(1, 2) @ turns[:, :, ::-1][:, :, :wanted])


def _orthonormal(vectors: Complex) -> Complex:
    """Return orthonormal rows that span the same; shape (n_fids, k, length)."""
    return np.asarray(np.linalg.qr(vectors.swapaxes(1, 2))[0].swapaxes(1, 2))


def _shift(left: Complex) -> Complex:
    """Return the matrix that takes a subspace without its last row to that without its first, by least squares.

    The columns are orthonormal, so the normal matrix differs from 1 by the last row alone and its inverse is known.
    """
    product = left[:, :-1].conj().swapaxes(1, 2) @ left[:, 1:]
    last = left[:, -1].conj()
    room = np.maximum(1 - np.sum(np.abs(last) ** 2, axis=1), 1e-12)
    turned = np.einsum("bk,bkj->bj", last.conj(), product)
    return np.asarray(product + last[:, :, None] * turned[:, None, :] / room[:, None, None])


def continued_backwards(fids: Complex, dwell_s: float, points: int, components: int = 24) -> Complex:
    """Return FIDs whose first samples are predicted from the rest, as `first_points.repair_first_points` does.

    Parameters
    ----------
    fids
        Shape (n_fids, samples).
    dwell_s
        Time between samples.
    points
        How many samples are replaced.
    components
        Exponentials that the rest is modelled by; those that decay faster than 300 / s are not continued.

    """
    rest = fids[:, points:]
    rates = batch_decay_rates(rest, dwell_s, components)
    at = (np.arange(fids.shape[1]) - points) * dwell_s
    slow = -rates.real < _FASTEST_PER_S
    waves = np.exp(np.where(slow, rates, 0.0)[:, :, None] * at) * slow[:, :, None]
    seen = waves[:, :, points:]
    values, vectors = np.linalg.eigh(seen.conj() @ seen.swapaxes(1, 2))
    kept = values > _RCOND * values[:, -1:]
    inverse = np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    products = np.einsum("bks,bs->bk", seen.conj(), rest)
    amplitudes = np.einsum("bkj,bj->bk", vectors, inverse * np.einsum("bkj,bk->bj", vectors.conj(), products))
    made = fids.copy()
    made[:, :points] = np.einsum("bk,bks->bs", amplitudes, waves[:, :, :points])
    return made
