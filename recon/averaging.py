"""The mean over shots, weighted where they differ."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.outliers import kept
from pulsespec.recon.transients import Record, Transients

Real = NDArray[np.float64]

METHODS = ("auto", "mean", "inverse variance", "signal")
_TAIL = 4
_UNEVEN_SD = 5.0


def average(data: Transients, method: str = "auto") -> Transients:
    """Return the mean over shots without those that `outliers.find_outliers` found.

    Parameters
    ----------
    data
        FIDs with a dimension "average".
    method
        "mean": all shots alike. "inverse variance": by the noise in the last quarter of each. "signal": by
        signal over noise variance, which is least squares for shots of known amplitude; the result has the
        amplitude of the usual shot. "auto": inverse variance where the noise differs by more than chance.

    Raises
    ------
    InputError
        There is no such method.

    """
    if method not in METHODS:
        raise InputError(f"averaging: got {method!r}, expected one of {METHODS}")
    if "average" not in data.dims:
        return data
    shots = np.moveaxis(data.data, data.axis("average"), -2)
    keep = kept(data) if data.dims[-2:] == ("average", "t") else np.ones(shots.shape[:-1], dtype=bool)
    spread, uneven = noise_of_shots(shots, keep)
    weights = keep.astype(float)
    words = "equal weights"
    if method in ("inverse variance", "signal") or (method == "auto" and uneven):
        weights, words = weights / spread**2, "weights by inverse variance"
    gain = np.ones(weights.shape)
    if method == "signal":
        gain, words = amplitudes(shots, weights), "weights by signal over variance"
    weights = weights * gain
    scale = np.sum(weights * gain, axis=-1, keepdims=True)
    weights = weights / np.where(scale > 0, scale, 1.0)
    mean = np.einsum("...n,...nt->...t", weights, shots)
    record = Record(
        "Signal averaging",
        f"mean of {int(keep.sum())} of {keep.size} shots, {words}",
        {"weights": weights, "noise_of_shots": spread, "left_out": _positions(keep)},
    )
    return data.with_data(mean, record, drop=("average",))


def noise_of_shots(shots: NDArray[np.complexfloating], keep: NDArray[np.bool_]) -> tuple[Real, bool]:
    """Return the noise of each shot over the usual one, and whether it differs by more than chance.

    From the differences of neighbouring samples in the last quarter, which slow signals do not reach.
    """
    tail = shots[..., -max(8, shots.shape[-1] // _TAIL) :]
    steps = np.diff(tail[..., : tail.shape[-1] // 2 * 2].reshape(*tail.shape[:-1], -1, 2), axis=-1)[..., 0]
    spread = np.sqrt(np.mean(np.abs(steps) ** 2, axis=-1) / 2)
    usual = float(np.median(spread))
    if usual <= 0:
        return np.ones(spread.shape), False
    chance = 0.5 / np.sqrt(steps.shape[-1])
    uneven = bool(np.any(np.abs(spread[keep] / usual - 1) > _UNEVEN_SD * chance))
    return np.maximum(spread / usual, 0.1), uneven


def amplitudes(shots: NDArray[np.complexfloating], weights: Real) -> Real:
    """Return the amplitude of each aligned shot against the weighted mean, the median being 1."""
    mean = np.einsum("...n,...nt->...t", weights, shots) / np.maximum(weights.sum(-1), 1e-300)[..., None]
    overlap = np.einsum("...nt,...t->...n", shots, mean.conj()).real
    usual = np.median(overlap, axis=-1, keepdims=True)
    return np.asarray(np.maximum(overlap / np.where(usual > 0, usual, 1.0), 0.0))


def _positions(keep: NDArray[np.bool_]) -> list[int | tuple[int, ...]]:
    if keep.ndim == 1:
        return [int(n) for n in np.flatnonzero(~keep)]
    return [tuple(int(n) for n in row) for row in np.argwhere(~keep)]
