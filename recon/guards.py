"""Is the spectrum the right way round? A conjugated FID mirrors it about the centre."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError

from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.coils import combination, combine_coils
from pulsespec.recon.editing import is_difference
from pulsespec.recon.nonnegative import solve_nonnegative
from pulsespec.recon.transients import Record, Transients
from pulsespec.recon.water_removal import Exponentials, hsvd, without_window

_SINGLETS_PPM = (2.01, 3.03, 3.21, 3.92)
_WINDOW_PPM = (1.6, 4.1)
_LARGEST_SHIFT_PPM = 0.3
_WIDTHS_PPM = (0.04, 0.08)
_STRONG = 2.0
_LEAST_LIKENESS = 0.55
_WATER_HALF_WIDTH_PPM = 0.5
_WATER_PPM = 4.65
_TAILS_PPM = 1.0
_COMPONENTS = 32


@dataclass(frozen=True)
class Sense:
    """How like NAA, Cr and Cho the two sides of a spectrum look, from 0 to 1."""

    as_read: float
    mirrored: float

    @property
    def is_mirrored(self) -> bool:
        """Whether the mirror image is like them and the spectrum is not: strong evidence only."""
        return self.mirrored > _LEAST_LIKENESS and self.mirrored > _STRONG * self.as_read


def judge(data: Transients) -> Sense:
    """Compare the magnitude spectrum and its mirror image with the pattern of the brain's singlets."""
    whole = _one(data)
    try:
        fid = _without_water(whole, data, _WATER_HALF_WIDTH_PPM)
    except ArpackError:  # nothing that decays: zeros, or a spike in a damaged file
        return Sense(0.0, 0.0)
    return Sense(_likeness(fid, data), _likeness(swap_sense(fid), data))


def check_sense(data: Transients, conjugate: bool = False) -> Transients:
    """Refuse or correct a spectrum that is mirrored.

    Parameters
    ----------
    data
        Metabolite data of protons; others, and differences of editing conditions, are returned as they are. Images are
        too: the phases of their voxels differ, so that single ones are judged, where they are fitted.
    conjugate
        The user says that the data are conjugated.

    Raises
    ------
    DataError
        The format defines its sign, the spectrum contradicts it, and `conjugate` is not set.

    """
    if conjugate:
        return data.with_data(swap_sense(data.data), Record("Conjugation", "asked for by --conjugate"))
    image = any(data.size(name) > 1 for name in ("x", "y", "z"))
    if data.nucleus != "1H" or is_difference(data.header) or image:
        return data
    sense = judge(data)
    if not sense.is_mirrored:
        return data
    words = (
        f"the mirror image looks like NAA, Cr and Cho (likeness {sense.mirrored:.2f}), "
        f"the spectrum does not ({sense.as_read:.2f})"
    )
    if data.sign_is_defined:
        raise DataError(
            f"{data.source or 'data'}: looks conjugated: {words}. Its format defines the sign, so it is refused; "
            "pass --conjugate if the file is wrong"
        )
    record = Record("Conjugation", f"{words}; its format does not define the sign, so it was conjugated")
    return data.with_data(swap_sense(data.data), record)


def water_over_metabolites(data: Transients) -> float:
    """Return the height of water over that of the metabolites, the tails of water taken from under them."""
    whole = _one(data)
    ppm = ppm_axis(whole.size, data.dwell_s, data.f0_hz, data.reference_ppm)
    rest = np.abs(to_spectrum(_without_water(whole, data, _TAILS_PPM)))
    away = np.abs(ppm - _WATER_PPM)
    found = rest[(away > _WATER_PPM - 3.6) & (away < _WATER_PPM - 1.8)].max(initial=0.0)
    return float(
        np.abs(to_spectrum(whole))[away < _WATER_HALF_WIDTH_PPM].max(initial=0.0) / max(found, 1e-300)
    )


def _without_water(
    fid: NDArray[np.complex128], data: Transients, half_width_ppm: float
) -> NDArray[np.complex128]:
    window = (_WATER_PPM - half_width_ppm, _WATER_PPM + half_width_ppm)
    return without_window(fid, _modelled(fid.tobytes(), data.dwell_s), data, window)


@lru_cache(maxsize=4)
def _modelled(fid: bytes, dwell_s: float) -> Exponentials:
    """Return the model of a FID, given as its bytes: several guards ask about the same one."""
    return hsvd(np.frombuffer(fid, dtype=np.complex128), dwell_s, _COMPONENTS)


def _one(data: Transients) -> NDArray[np.complex128]:
    """Return the mean of all shots, coils combined; shots are averaged first, so that little is in memory."""
    kept = tuple(axis for axis, name in enumerate(data.dims) if name not in ("coil", "t"))
    mean = np.asarray(data.data.mean(axis=kept, dtype=np.complex128))
    if "coil" not in data.dims:
        return mean
    alone = replace(data, data=mean, dims=("coil", "t"))
    return np.asarray(combine_coils(alone, combination(alone)).data)


def _likeness(fid: NDArray[np.complex128], data: Transients) -> float:
    """Return the best correlation of the singlets' pattern with the detrended magnitude spectrum."""
    ppm = ppm_axis(fid.size, data.dwell_s, data.f0_hz, data.reference_ppm)
    inside = (ppm > _WINDOW_PPM[0]) & (ppm < _WINDOW_PPM[1])
    if inside.sum() < 32:
        return 0.0
    decay = np.exp(-np.pi * 3.0 * np.arange(fid.size) * data.dwell_s)
    axis, values = ppm[inside], np.abs(to_spectrum(fid * decay))[inside]
    patterns = _patterns(axis.tobytes())
    values = values - _trend(axis.size) @ (_trend(axis.size).T @ values)
    gram, right = patterns @ patterns.transpose(0, 2, 1), patterns @ values
    amplitudes, _ = solve_nonnegative(gram, right)
    rest = values - np.einsum("ps,psv->pv", amplitudes, patterns)
    several = np.sum(amplitudes > 0.1 * amplitudes.max(axis=1, keepdims=True), axis=1) >= 3
    explained = 1 - np.sum(rest**2, axis=1) / max(float(values @ values), 1e-300)
    return float(explained[several].max(initial=0.0))


@lru_cache(maxsize=4)
def _patterns(axis: bytes) -> NDArray[np.float64]:
    """Return the detrended singlets for all shifts and widths on an axis in ppm; shape (patterns, singlets, points)."""
    ppm = np.frombuffer(axis)
    shift = np.arange(-_LARGEST_SHIFT_PPM, _LARGEST_SHIFT_PPM, 0.01)[:, None, None, None]
    width = np.array(_WIDTHS_PPM)[:, None, None]
    peaks = 1 / (1 + ((ppm - np.array(_SINGLETS_PPM)[:, None] - shift) / (width / 2)) ** 2)
    peaks = peaks.reshape(-1, len(_SINGLETS_PPM), ppm.size)
    return np.asarray(peaks - (peaks @ _trend(ppm.size)) @ _trend(ppm.size).T)


def _trend(points: int) -> NDArray[np.float64]:
    """Return an orthonormal basis of the polynomials of third degree; shape (points, 4)."""
    return np.asarray(np.linalg.qr(np.vander(np.linspace(-1, 1, points), 4))[0])
