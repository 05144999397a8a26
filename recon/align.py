"""Frequency and phase alignment of shots."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import InputError
from pulsespec.recon.pictures import before_after
from pulsespec.recon.registration import LARGEST_HZ, Registration, noise_of, register, turn
from pulsespec.recon.subspace import band, inside, outside
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

METHOD = "Frequency and phase correction"
WATER_PPM = 4.65
WATER_HALF_WIDTH_PPM = 0.35
_SINGLETS_PPM = (1.85, 3.4)
_SOUND = 1.5
_WEAK_HZ = 1.0
_HEARD = 10.0
"""Energy of the metabolites of a shot over noise, under which the search finds noise: the largest of noise in a search
of n independent places is about ln(n), 3 or 4 in 60 Hz, and as much again makes a mistake rare."""
_OWN_NOISE = 2.0
"""What two values fitted to each shot (frequency, phase) make the energy of the mean look larger than it is, in noise:
1 by following the noise, 1 by missing the signal (Akaike 1974, doi:10.1109/TAC.1974.1100705; recalled)."""


@dataclass(frozen=True)
class _Way:
    """One way to register shots."""

    name: str
    words: str
    found: Registration
    freedom: float
    """Share of the samples that its signal space spans."""

    @property
    def error_hz(self) -> float:
        """Error to expect of a usual shot: its Cramer-Rao bound, worse where the shots do not fit."""
        misfit = float(np.median(self.found.misfit)) / self.freedom
        return float(np.median(self.found.sd_hz) * np.sqrt(max(misfit, 1.0)))


def spectral_registration(
    fids: Complex,
    dwell_s: float,
    reference: Complex | None = None,
    *,
    nuisance: Complex | None = None,
    largest_hz: float = LARGEST_HZ,
) -> tuple[Real, Real]:
    """Return frequency (Hz) and phase (rad) of each FID, shape (..., n, samples); each of shape (..., n).

    See `registration.register`, which also returns their bounds. FIDs of different leading indices are
    registered apart, unless they share a `reference`.
    """
    flat = fids.reshape(-1, *fids.shape[-2:])
    found = [register(shots, dwell_s, reference, nuisance=nuisance, largest_hz=largest_hz) for shots in flat]
    shape = fids.shape[:-1]
    frequency = np.array([one.frequency_hz for one in found]).reshape(shape)
    return frequency, np.array([one.phase_rad for one in found]).reshape(shape)


def band_of(data: Transients, low_ppm: float, high_ppm: float) -> Complex:
    """Return the space of signals between two chemical shifts, shape (m, samples): see `subspace.band`."""
    ends = (ppm_to_hz(ppm, data.f0_hz, data.reference_ppm) for ppm in (high_ppm, low_ppm))
    return band(data.samples, data.dwell_s, *(float(end) for end in ends))


def water_band(data: Transients, half_width_ppm: float = WATER_HALF_WIDTH_PPM) -> Complex:
    """Return the space of residual water, shape (m, samples)."""
    return band_of(data, WATER_PPM - half_width_ppm, WATER_PPM + half_width_ppm)


def _all_signal(shots: Complex, data: Transients) -> _Way:
    if data.nucleus != "1H":
        return _Way("all", "spectral registration", register(shots, data.dwell_s), 1.0)
    found = register(shots, data.dwell_s, nuisance=water_band(data))
    return _Way("all", "spectral registration without what varies of residual water", found, 1.0)


def _water(shots: Complex, data: Transients) -> _Way:
    return _within(shots, data, "water", "registration of residual water", water_band(data))


def _singlets(shots: Complex, data: Transients) -> _Way:
    space = band_of(data, *_SINGLETS_PPM)
    return _within(shots, data, "singlets", "registration of NAA, Cr and Cho (1.85 to 3.4 ppm)", space)


def _within(shots: Complex, data: Transients, name: str, words: str, space: Complex) -> _Way:
    found = register(inside(shots, space), data.dwell_s, noise=noise_of(shots, water_band(data)))
    return _Way(name, words, found, len(space) / data.samples)


def _plain(shots: Complex, data: Transients) -> _Way:
    return _Way("plain", "spectral registration of the whole signal", register(shots, data.dwell_s), 1.0)


_WAYS: dict[str, Callable[[Complex, Transients], _Way]] = {
    "all": _all_signal,
    "water": _water,
    "singlets": _singlets,
    "plain": _plain,
}
METHODS = ("auto", *_WAYS)
"""Ways to align; "plain" takes the whole signal as it is, for unsuppressed water."""


def _chosen(shots: Complex, data: Transients) -> _Way:
    """Return all signal, or the way that leaves most of NAA, Cr and Cho in the mean where that does not fit or is weak.

    All signal does not fit where something besides residual water varies.
    """
    whole = _all_signal(shots, data)
    fits = float(np.median(whole.found.misfit)) < _SOUND
    if data.nucleus != "1H" or (fits and whole.error_hz < _WEAK_HZ):
        return whole
    ways = (whole, _singlets(shots, data), _water(shots, data))
    return max(ways, key=lambda way: _left(way, shots, data))


def _left(way: _Way, shots: Complex, data: Transients) -> float:
    """Return the energy of the singlets in the mean of aligned shots, in units of the noise of a shot.

    What shots gain by following their own noise is taken off, so that ways compare which have followed it more and
    less: singlets do, residual water does not. Where the metabolites cannot be heard, they say nothing.
    """
    water, space = water_band(data), band_of(data, *_SINGLETS_PPM)
    mean = turn(shots, data.dwell_s, -way.found.frequency_hz, -way.found.phase_rad).mean(axis=0)
    noise = noise_of(shots, water)
    energy = _energy(outside(mean, water), space) / noise**2 - len(space) / len(shots)
    if way.name == "water":
        return energy
    slope = way.found.reference * np.arange(data.samples)
    share = _energy(slope, space) / (float(np.vdot(slope, slope).real) + 1e-300)
    return energy - _OWN_NOISE * share if energy > _HEARD else -np.inf


def _energy(fid: Complex, space: Complex) -> float:
    return float(np.linalg.norm(fid @ space.conj().T) ** 2)


def align(data: Transients, method: str = "auto") -> Transients:
    """Align the shots (dimension "average") in frequency and phase; nothing is done to a single shot.

    Parameters
    ----------
    data
        FIDs with dims (..., "average", "t"); leading dimensions are aligned apart.
    method
        "all": spectral registration of all signal, from which the directions in which residual water varies
        from shot to shot are projected out. "singlets" and "water": of those alone. "plain": of the whole
        signal as it is.
        "auto": the first where it fits and is sure, else the one of these three that leaves most of NAA, Cr and Cho
        in the mean; the record says which.

    Raises
    ------
    InputError
        There is no such method.

    """
    if method not in METHODS:
        raise InputError(f"alignment: got {method!r}, expected one of {METHODS}")
    if data.size("average") < 2 or data.dims[-2:] != ("average", "t") or "coil" in data.dims:
        return data
    aligned = np.empty(data.data.shape, dtype=np.complex128)
    ways = {}
    for index in product(*(range(n) for n in data.data.shape[:-2])):
        shots = np.asarray(data.data[index], dtype=np.complex128)
        way = _chosen(shots, data) if method == "auto" else _WAYS[method](shots, data)
        aligned[index] = turn(shots, data.dwell_s, -way.found.frequency_hz, -way.found.phase_rad)
        ways[index] = way
    return data.with_data(aligned, _record(data, aligned, list(ways.values())))


def _record(data: Transients, aligned: Complex, ways: list[_Way]) -> Record:
    shape = data.data.shape[:-1]
    frequency = np.array([way.found.frequency_hz for way in ways]).reshape(shape)
    phase = np.array([way.found.phase_rad for way in ways]).reshape(shape)
    words = " / ".join(dict.fromkeys(way.words for way in ways))
    error_hz = float(np.median([way.error_hz for way in ways]))
    error_deg = float(np.rad2deg(np.median([np.median(way.found.sd_rad) for way in ways])))
    return Record(
        METHOD,
        f"{words}; {frequency.size} shots; drift {np.ptp(frequency):.2f} Hz, phase {np.rad2deg(np.std(phase)):.1f} "
        f"degrees (standard deviation); error to expect of a shot {error_hz:.2f} Hz, {error_deg:.1f} degrees",
        {
            "frequency_hz": frequency,
            "phase_rad": phase,
            "expected_error_hz": error_hz,
            "expected_error_deg": error_deg,
            "spectra": before_after(data, data.data, aligned),
        },
    )
