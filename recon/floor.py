"""What no unbiased estimator can do better than: Cramer-Rao bounds of amplitudes at known parameters.

Written apart from the fit, so that it can judge it. The data are the real part of the spectrum, zero-filled to twice
its length (Cramer-Rao in spectroscopy: Cavassila et al. 2001, doi:10.1002/nbm.701); what is not an amplitude is a
nuisance parameter whose derivative is one more column of the design.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import solve_triangular

from pulsespec.conventions import ppm_axis

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

ERROR_OF_SD = float(np.sqrt(2 / np.pi))
"""Mean absolute value of a normal deviate, over its standard deviation."""
PIVOT_PPM = 3.0
_LEAST = 1e-16


@dataclass(frozen=True)
class Line:
    """What happens to the basis before it is the spectrum; each group has its own shift and widths."""

    shift_hz: Real
    """Of each group, in the NIfTI-MRS sense; shape (n_groups,)."""
    lorentz_hz: Real
    """Added full width at half maximum; shape (n_groups,)."""
    gauss_hz: Real
    """Added full width at half maximum; shape (n_groups,)."""
    phase_rad: float = 0.0
    phase1_rad_per_ppm: float = 0.0
    """First-order phase about 3 ppm."""


@dataclass(frozen=True)
class Readout:
    """How FIDs become the points that are fitted."""

    samples: int
    dwell_s: float
    f0_hz: float
    reference_ppm: float
    ppm_range: tuple[float, float]

    @property
    def time_s(self) -> Real:
        """Sampling times; shape (samples,)."""
        return np.asarray(np.arange(self.samples) * self.dwell_s)

    @property
    def ppm(self) -> Real:
        """Chemical shift of the points; shape (n_points,)."""
        return self._axis()[self._inside()]

    def spectrum(self, fids: Complex) -> Complex:
        """Return the points of FIDs (..., samples); their noise has half the variance of the complex samples."""
        halved = fids * np.where(np.arange(self.samples) == 0, 0.5, 1.0)
        full = np.fft.fftshift(np.fft.fft(halved, 2 * self.samples, axis=-1), axes=-1)
        return np.asarray(full[..., self._inside()] / np.sqrt(self.samples))

    def _axis(self) -> Real:
        return ppm_axis(2 * self.samples, self.dwell_s, self.f0_hz, self.reference_ppm)

    def _inside(self) -> NDArray[np.bool_]:
        low, high = self.ppm_range
        return np.asarray((self._axis() >= low) & (self._axis() <= high))


def columns(fids: Complex, group: Sequence[int], line: Line, readout: Readout) -> Complex:
    """Return the complex spectra of basis functions after the line; shape (n_components, n_points).

    Parameters
    ----------
    fids
        Basis; shape (n_components, samples).
    group
        Number of the group that each component shares shift and widths with.
    line, readout
        What is done to them.

    """
    return _turned(readout.spectrum(fids * _decay(group, line, readout)), line, readout)


def _decay(group: Sequence[int], line: Line, readout: Readout) -> Complex:
    t, at = readout.time_s, np.asarray(group)
    rate = 2j * np.pi * line.shift_hz[at] - np.pi * line.lorentz_hz[at]
    spread = (np.pi * line.gauss_hz[at][:, None] * t) ** 2 / (4 * np.log(2))
    return np.asarray(np.exp(rate[:, None] * t - spread))


def _turned(spectra: Complex, line: Line, readout: Readout) -> Complex:
    return np.asarray(
        spectra * np.exp(1j * (line.phase_rad + line.phase1_rad_per_ppm * (readout.ppm - PIVOT_PPM)))
    )


def nuisances(
    fids: Complex, amplitudes: Real, group: Sequence[int], line: Line, readout: Readout
) -> tuple[tuple[str, ...], Real]:
    """Return names and derivatives of everything in `line`; shape (n_points, n_nuisances).

    A Gaussian width enters by its square, which is the parameter that can be told where the width is zero.
    """
    t, at = readout.time_s, np.asarray(group)
    parts = amplitudes[:, None] * fids * _decay(group, line, readout)
    total = _turned(readout.spectrum(parts.sum(axis=0)), line, readout)
    names, slopes = ["phase0", "phase1"], [1j * total, 1j * (readout.ppm - PIVOT_PPM) * total]
    for number in range(line.shift_hz.size):
        of_group = parts[at == number].sum(axis=0)
        for name, factor in (("shift", 2j * np.pi * t), ("lorentz", -np.pi * t), ("gauss", -(t**2))):
            names.append(f"{name}{number}")
            slopes.append(_turned(readout.spectrum(of_group * factor), line, readout))
    return tuple(names), np.array(slopes).real.T


def smooth_columns(ppm: Real, functions_per_ppm: float) -> Real:
    """Return cubic B-splines over the axis, unpenalised, at least four; shape (n_points, n_splines)."""
    low, high = float(ppm.min()), float(ppm.max())
    n = max(4, round(functions_per_ppm * (high - low)))
    knots = np.concatenate([np.full(3, low), np.linspace(low, high, n - 2), np.full(3, high)])
    return np.asarray(BSpline.design_matrix(np.clip(ppm, low, high - 1e-12), knots, 3).toarray())


def covariance(model: Real, nuisance: Real, noise_sd: float) -> Real:
    """Return the Cramer-Rao bound of the covariance of amplitudes.

    Parameters
    ----------
    model
        Real columns of the amplitudes; shape (n_points, n).
    nuisance
        Derivatives by all else that is not known; shape (n_points, m).
    noise_sd
        Standard deviation of the white noise of a point.

    Returns
    -------
    covariance
        Shape (n, n); huge where the data cannot tell amplitudes apart.

    """
    design = np.concatenate([model, nuisance], axis=1)
    scale = np.linalg.norm(design, axis=0)
    design = design[:, scale > 0] / scale[scale > 0]
    triangle = np.linalg.qr(design, mode="r")
    triangle += np.diag(np.where(np.diag(triangle) == 0, _LEAST, 0.0))
    inverse = solve_triangular(triangle, np.eye(len(triangle)))
    n = model.shape[1]
    return np.asarray((inverse @ inverse.T)[:n, :n] * noise_sd**2 / np.outer(scale[:n], scale[:n]))
