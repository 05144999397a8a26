"""Noise whitening and coil combination.

All data of one scan are combined with the same weights, so that metabolites and water keep one scale. Raw data
are read shot by shot and never copied as a whole.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from pulsespec.errors import DataError, InputError
from pulsespec.recon.noise import CoilNoise, scanned_noise
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_FIRST_PART_S = 0.1
"""Sensitivities come from the start of the FID, where the signal is (about one T2* of water at 3 T)."""
_START_S = 0.002
METHODS = ("gls", "svd", "first points")
"""Ways to combine coils: generalised least squares with the noise, SVD without it, phases of the first points."""


@dataclass(frozen=True)
class Combination:
    """Weights for the coils, and what they gain."""

    weights: Complex
    """Shape (n_coils,): the combined FID is their plain product with the coils' FIDs."""
    sensitivities: Complex
    """Of the coils to the voxel, up to one factor; shape (n_coils,)."""
    method: str
    """How the weights came about, in words."""
    snr_gain: float | None
    """SNR over that of the best single coil; `None` where the noise is not known."""


def whiten(data: Transients, noise: NDArray[np.complexfloating] | CoilNoise) -> Transients:
    """Return data whose coils have independent noise of unit variance, of the type of the data.

    Parameters
    ----------
    data
        FIDs with a dimension "coil".
    noise
        Noise-only samples of shape (n_coils, n_noise), at least ten times as many as coils, or what is known
        of the noise.

    Raises
    ------
    DataError
        The noise has another number of coils, too few samples, or a silent coil.

    """
    n_coils = data.data.shape[data.axis("coil")]
    known = noise if isinstance(noise, CoilNoise) else scanned_noise(noise, n_coils)
    white = np.empty_like(data.data)
    for index in np.ndindex(data.data.shape[:-2]):
        white[index] = solve_triangular(known.factor, data.data[index], lower=True)
    return data.with_data(white, whitening_record(known), noise=None)


def whitening_record(noise: CoilNoise) -> Record:
    """Return what whitening with this noise says of itself."""
    size = np.sqrt(np.diag(noise.covariance).real)
    return Record(
        "Noise whitening",
        f"{size.size} coils from {noise.origin}; largest correlation {noise.largest_correlation:.2f}, noise of "
        f"the loudest coil {size.max() / size.min():.2f} times that of the quietest",
        {"largest_correlation": noise.largest_correlation, "noise": size},
    )


def sensitivities(data: Transients, noise: CoilNoise | None = None) -> Complex:
    """Return the sensitivity of each coil to the voxel, up to one real factor; shape (n_coils,).

    First singular vector of all shots side by side, whitened where the noise is known (whitened singular
    value decomposition: Rodgers and Robson 2010, doi:10.1002/mrm.22230); shots may differ in phase. Their
    phase is such that the combined FID of `data` begins with phase 0.
    """
    n_coils = data.data.shape[data.axis("coil")]
    points = max(8, round(_FIRST_PART_S / data.dwell_s))
    gram = np.zeros((n_coils, n_coils), dtype=np.complex128)
    for index in np.ndindex(data.data.shape[:-2]):
        part = data.data[index][:, :points].astype(np.complex128)
        gram += part @ part.conj().T
    factor = np.eye(n_coils) if noise is None else noise.factor
    half = solve_triangular(factor, gram, lower=True)
    white = solve_triangular(factor, half.conj().T, lower=True)
    found = factor @ np.linalg.eigh((white + white.conj().T) / 2)[1][:, -1]
    return np.asarray(found * np.exp(1j * _starting_phase(data, found, noise)))


def _starting_phase(data: Transients, sensitivity: Complex, noise: CoilNoise | None) -> float:
    weights = _least_squares(sensitivity, noise)
    points = max(1, round(_START_S / data.dwell_s))
    shots = np.mean(data.data[..., :points], axis=tuple(range(data.data.ndim - 2)))
    return float(np.angle(np.sum(weights @ shots)))


def _least_squares(sensitivity: Complex, noise: CoilNoise | None) -> Complex:
    """Return w = s^H C^-1 / sqrt(s^H C^-1 s): the combined noise has unit variance."""
    covariance = np.eye(sensitivity.size) if noise is None else noise.covariance
    weights = np.linalg.solve(covariance, sensitivity).conj()
    return np.asarray(weights / np.sqrt(np.real(weights @ sensitivity)))


def combination(source: Transients, noise: CoilNoise | None = None, method: str = "gls") -> Combination:
    """Return the weights that the signal of `source`, best a water reference, gives the coils.

    Parameters
    ----------
    source
        FIDs with a dimension "coil" and much signal.
    noise
        Of the coils.
    method
        "gls": generalised least squares, w = s^H C^-1 with the sensitivities s of the whitened singular value
        decomposition, the best there is (Roemer et al. 1990, doi:10.1002/mrm.1910160203, for pixels; An et
        al. 2013, doi:10.1002/jmri.23941, for spectra). "svd": the same with equal and independent noise
        assumed. "first points": weights and phases of the first samples, noise not looked at.

    Raises
    ------
    InputError
        The method is not one of these.

    """
    if method not in METHODS:
        raise InputError(f"coil combination: got {method!r}, expected one of {METHODS}")
    points = max(1, round(_START_S / source.dwell_s))
    if method == "first points":
        axes = (*range(source.data.ndim - 2), source.data.ndim - 1)
        found = np.asarray(source.data[..., :points].mean(axis=axes, dtype=np.complex128))
        weights = found.conj() / np.linalg.norm(found)
    else:
        used = noise if method == "gls" else None
        found = sensitivities(source, used)
        weights = _least_squares(found, used)
    words = {
        "gls": "generalised least squares (whitened SVD)" if noise else "SVD, noise not known",
        "svd": "SVD, equal noise assumed",
        "first points": "amplitude and phase of the first points",
    }[method]
    return Combination(weights, found, words, _gain(weights, found, noise))


def _gain(weights: Complex, sensitivity: Complex, noise: CoilNoise | None) -> float | None:
    """Return the SNR of the weighted sum over that of the best coil, with the true noise of both."""
    if noise is None:
        return None
    single = np.abs(sensitivity) / np.sqrt(np.diag(noise.covariance).real)
    spread = np.sqrt(np.real(weights @ noise.covariance @ weights.conj()))
    return float(np.abs(weights @ sensitivity) / spread / single.max())


def coil_weights(data: Transients) -> Complex:
    """Return the weights of the coils by singular value decomposition, equal noise assumed; shape (n_coils,)."""
    return combination(data).weights


def combine_coils(
    data: Transients, weights: Complex | Combination, *, reference: str = "", noise: CoilNoise | None = None
) -> Transients:
    """Return the weighted sum over coils, complex128.

    Parameters
    ----------
    data
        FIDs with a dimension "coil".
    weights
        One for each coil, or a combination with its method and gain.
    reference
        Name of the data that gave the weights, for the record.
    noise
        Of the coils, where the weights whiten: then a record says so.

    Raises
    ------
    DataError
        There is not one weight for each coil.

    """
    n_coils = data.data.shape[data.axis("coil")]
    known = weights if isinstance(weights, Combination) else None
    plain = known.weights if known else np.asarray(weights)
    if plain.shape != (n_coils,):
        raise DataError(f"weights: shape {plain.shape}, expected ({n_coils},) for data with {n_coils} coils")
    shape = (*data.data.shape[:-2], data.samples)
    combined = np.empty(shape, dtype=np.complex128)
    for index in np.ndindex(shape[:-1]):
        combined[index] = plain @ data.data[index]
    records = [whitening_record(noise)] if noise else []
    records.append(_combination_record(plain, known, reference))
    return data.with_data(combined, *records, drop=("coil",))


def _combination_record(weights: Complex, known: Combination | None, reference: str) -> Record:
    if known is None:
        return Record("RF coil combination", f"{weights.size} coils, given weights", {"weights": weights})
    share = np.abs(weights * known.sensitivities)
    figures: dict[str, Any] = {"weights": weights, "share_of_signal": share / share.sum()}
    gain = "SNR gain not known without the noise"
    if known.snr_gain is not None:
        gain = f"SNR gain over the best coil {known.snr_gain:.2f}"
        figures["snr_gain"] = known.snr_gain
    source = f", reference {reference}" if reference else ""
    return Record("RF coil combination", f"{known.method}, {weights.size} coils{source}; {gain}", figures)
