"""What real spectra have and a fit's model has not: lines, shifts, macromolecules and baselines drawn otherwise.

Nothing here is drawn from what a fit assumes. Lines are those of a field that varies over the voxel, with an eddy
current on top, and a T2 of each metabolite that varies: neither Lorentzian nor Gaussian, and not symmetric. Multiplets
of one molecule shift by themselves, as temperature and pH move them. Macromolecules are published peaks, each with its
own place, width and area. Baselines are broad humps of any phase, what water leaves, and an echo from elsewhere: no
splines.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import InputError
from pulsespec.simulator.broad import load_model

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SIDE = 48
"""Points along an edge of the voxel; the field is even between them."""
_FWHM_OF_SD = float(2 * np.sqrt(2 * np.log(2)))
MOLECULE_SHIFT_PPM = 0.004
"""A molecule is off by at most this: shifts relative to each other change by some 1e-3 ppm a kelvin (Wermter et al.
2017, doi:10.1007/s10334-017-0642-z, recalled) and by pH."""
MULTIPLET_SHIFT_PPM = 0.002
"""A multiplet is off by at most this from the rest of its molecule."""
MM_SHIFT_PPM, MM_WIDTH_SHARE, MM_AREA_SD = 0.015, 0.2, 0.2
"""Half range of a peak's place, of the logarithm of its width, and standard deviation of that of its area: the spread
between the published models of `macromolecules.toml` (assumed)."""
EDDY_RAD, EDDY_S = 0.15, (0.01, 0.1)
"""Standard deviation and time constants of the phase that eddy currents leave after correction (assumed)."""
HUMP_HEIGHT, HUMP_WIDTH_PPM, HUMP_PPM = 0.04, (0.4, 2.0), (-0.5, 5.5)
"""Standard deviation of the height of a hump over the reference peak; ranges of its width and place (assumed)."""
ECHO_HEIGHT, ECHO_S, ECHO_WIDTH_S, ECHO_PPM = 0.03, (0.03, 0.3), (0.005, 0.015), (1.0, 5.0)
"""Largest height of an echo over the reference peak, its time, envelope and place (assumed)."""


@dataclass(frozen=True)
class Misfits:
    """How much of each cause there is: 0 is none, so that the model of the fit holds, and 1 as described above."""

    baseline: float = 1.0
    """Humps, echo and residual water."""
    lineshape: float = 1.0
    """Asymmetry, eddy currents and how T2 varies; with 0 lines are Voigt, with the T2 of the tissue."""
    shifts: float = 1.0
    """Of molecules and multiplets."""
    macromolecules: float = 1.0
    """Places, widths and areas of the peaks; with 0 they are as published."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for one in fields(self):
            if not 0 <= getattr(self, one.name) <= 10:
                raise InputError(f"{one.name}: got {getattr(self, one.name)}, expected a number from 0 to 10")


CAUSES = tuple(one.name for one in fields(Misfits))
"""Names of the causes that can be switched off."""


def field_line(rng: np.random.Generator, time_s: Real, fwhm_hz: float, size: float) -> Complex:
    """Return what the field in the voxel makes of every line: its decay; shape (samples,).

    The field is linear and quadratic along the axes of the voxel, with the standard deviation of a Gaussian of
    `fwhm_hz`; the quadratic share of its variance, which makes lines asymmetric, is drawn up to half of `size`.
    With `size` 0 the line is that Gaussian.
    """
    linear, square, share = rng.standard_normal(3), rng.standard_normal(3), rng.uniform(0.0, 0.5)
    phase, slow_s = rng.normal(0.0, EDDY_RAD), rng.uniform(*EDDY_S)
    sd_hz = fwhm_hz / _FWHM_OF_SD
    if size == 0:
        return np.exp(-((2 * np.pi * sd_hz * time_s) ** 2) / 2) + 0j
    share = min(share * size, 0.9)
    u = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    slope = linear / np.linalg.norm(linear) * np.sqrt((1 - share) / np.var(u)) * sd_hz
    bend = square / np.linalg.norm(square) * np.sqrt(share / np.var(u**2)) * sd_hz
    axes = slope[:, None] * u + bend[:, None] * (u**2 - np.mean(u**2))
    line = np.prod(np.exp(2j * np.pi * axes[..., None] * time_s).mean(axis=1), axis=0)
    eddy = size * phase * (1 - np.exp(-time_s / slow_s))
    return np.asarray(line * np.exp(1j * eddy))


def shifts_hz(rng: np.random.Generator, of: NDArray[np.int64], f0_hz: float, size: float) -> Real:
    """Return the shift of each multiplet in Hz, positive downfield; `of` numbers its molecule; shape (n,)."""
    molecule = rng.uniform(-MOLECULE_SHIFT_PPM, MOLECULE_SHIFT_PPM, int(of.max(initial=0)) + 1)
    own = rng.uniform(-MULTIPLET_SHIFT_PPM, MULTIPLET_SHIFT_PPM, of.size)
    return np.asarray(size * (molecule[of] + own) * f0_hz * 1e-6)


def macromolecules(
    rng: np.random.Generator, time_s: Real, f0_hz: float, reference_ppm: float, model: str, size: float
) -> Complex:
    """Return a published model with each peak moved, three protons at 0.9 ppm; NIfTI-MRS sense, shape (samples,)."""
    components = load_model(model).components
    ppm = np.concatenate([one.ppm for one in components])
    width = np.concatenate([one.width_ppm for one in components])
    area = np.concatenate([one.protons for one in components])
    ppm = ppm + size * rng.uniform(-MM_SHIFT_PPM, MM_SHIFT_PPM, ppm.size)
    width = width * np.exp(size * rng.uniform(-MM_WIDTH_SHARE, MM_WIDTH_SHARE, ppm.size))
    area = area * np.exp(size * rng.normal(0.0, MM_AREA_SD, ppm.size))
    return _gaussians(time_s, ppm, width, area.astype(complex), f0_hz, reference_ppm)


def baseline(
    rng: np.random.Generator, time_s: Real, f0_hz: float, reference_ppm: float, samples_of_one: float
) -> Complex:
    """Return humps and an echo whose heights are shares of the reference peak; shape (samples,).

    `samples_of_one` is the height of the reference peak in the spectrum.
    """
    n = int(rng.integers(4, 9))
    centre, width = rng.uniform(*HUMP_PPM, n), rng.uniform(*HUMP_WIDTH_PPM, n)
    height = HUMP_HEIGHT * rng.standard_normal(n) * np.exp(1j * rng.uniform(-np.pi / 4, np.pi / 4, n))
    humps = np.zeros(time_s.size, dtype=complex)
    for k in range(n):
        one = _gaussians(
            time_s, centre[k : k + 1], width[k : k + 1], np.ones(1, complex), f0_hz, reference_ppm
        )
        humps += height[k] * one / (np.abs(one).sum() - 0.5)
    at_s, wide_s, place = rng.uniform(*ECHO_S), rng.uniform(*ECHO_WIDTH_S), rng.uniform(*ECHO_PPM)
    echo = np.exp(
        -(((time_s - at_s) / wide_s) ** 2) / 2
        + 2j * np.pi * ppm_to_hz(place, f0_hz, reference_ppm) * time_s
        + 2j * np.pi * rng.uniform()
    )
    echo *= ECHO_HEIGHT * rng.uniform() / np.abs(echo).sum()
    return np.asarray(samples_of_one * (humps + echo))


def _gaussians(
    time_s: Real, ppm: Real, width_ppm: Real, amplitude: NDArray[Any], f0_hz: float, reference_ppm: float
) -> Complex:
    frequency, width = ppm_to_hz(ppm, f0_hz, reference_ppm), width_ppm * f0_hz * 1e-6
    decay = (np.pi * width[:, None] * time_s) ** 2 / (4 * np.log(2))
    return np.asarray(amplitude @ np.exp(2j * np.pi * frequency[:, None] * time_s - decay))
