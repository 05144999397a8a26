"""The model of a spectrum: basis functions, each with its shift and width, under a common phase.

On the real part of the spectrum, zero-filled to twice its length (which has all the information and white
noise), the model is Re[exp(i (p0 + p1 f)) sum_k a_k FFT(b_k(t) exp(i 2 pi s_k t - pi l_k t - (pi g t)^2/(4 ln 2)))].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Problem:
    """Fixed parts of the model, on the fitted range only."""

    basis: Complex
    """FIDs of the components in the NIfTI-MRS sense; shape (n_components, samples)."""
    names: tuple[str, ...]
    dwell_s: float
    f0_hz: float
    reference_ppm: float
    keep: NDArray[np.int64]
    """Bins of the zero-filled, shifted spectrum that are fitted; shape (n_points,)."""
    width_of: NDArray[np.int64]
    """Index of the broadening parameter of each component; shape (n_components,)."""
    first_point: float = 0.5
    """Weight of the first sample in the Fourier transform: half, as for the trapezoidal rule."""

    @property
    def samples(self) -> int:
        """Points of the FIDs."""
        return int(self.basis.shape[1])

    @property
    def time_s(self) -> Real:
        """Sampling times; shape (samples,)."""
        return np.asarray(np.arange(self.samples) * self.dwell_s)

    @property
    def ppm(self) -> Real:
        """Chemical shift of the fitted bins; shape (n_points,)."""
        return ppm_axis(2 * self.samples, self.dwell_s, self.f0_hz, self.reference_ppm)[self.keep]

    @property
    def n_widths(self) -> int:
        """Number of broadening parameters."""
        return int(self.width_of.max()) + 1

    def spectrum(self, fids: Complex) -> Complex:
        """Return the fitted bins of the spectra of FIDs (..., samples)."""
        fids = fids.copy()
        fids[..., 0] *= self.first_point
        full = np.fft.fftshift(np.fft.fft(fids, 2 * self.samples, axis=-1), axes=-1)
        return np.asarray(full[..., self.keep] / np.sqrt(2 * self.samples))


@dataclass(frozen=True)
class Shape:
    """Nonlinear parameters of the model, as one vector: see `unpack`."""

    phase0: float
    """Zero-order phase in rad."""
    phase1: float
    """First-order phase in rad per ppm, about the reference of 3 ppm."""
    shift_hz: Real
    """Shift of each component in the NIfTI-MRS sense; shape (n_components,)."""
    lorentz_hz: Real
    """Added Lorentzian width of each component; shape (n_components,)."""
    gauss_hz: float
    """Common Gaussian width."""


PIVOT_PPM = 3.0
"""Where the first-order phase is zero: between the main singlets."""


def unpack(problem: Problem, theta: Real) -> Shape:
    """Return the parameters in theta: p0, p1, common shift, gauss, widths, then own shifts."""
    start = 4 + problem.n_widths
    own = theta[start:]
    widths = theta[4:start]
    return Shape(theta[0], theta[1], theta[2] + own, widths[problem.width_of], theta[3])


def evaluate(problem: Problem, theta: Real, jacobian: bool = False) -> tuple[Real, Real | None]:
    """Return the model's columns and, on demand, their derivatives.

    Returns
    -------
    columns
        Shape (n_points, n_components).
    derivatives
        Of each column by its phase0, phase1, shift, gauss and width; shape (5, n_points, n_components).

    """
    shape, t = unpack(problem, theta), problem.time_s
    decay = -np.pi * shape.lorentz_hz[:, None] * t - (np.pi * shape.gauss_hz * t) ** 2 / (4 * np.log(2))
    fids = problem.basis * np.exp(2j * np.pi * shape.shift_hz[:, None] * t + decay)
    turn = np.exp(1j * (shape.phase0 + shape.phase1 * (problem.ppm - PIVOT_PPM)))
    spectra = turn * problem.spectrum(fids)
    columns = spectra.real.T
    if not jacobian:
        return columns, None
    by_time = turn * problem.spectrum(fids * t)
    by_square = turn * problem.spectrum(fids * t**2)
    derivatives = np.stack(
        [
            (1j * spectra).real.T,
            (1j * (problem.ppm - PIVOT_PPM) * spectra).real.T,
            (2j * np.pi * by_time).real.T,
            (-2 * np.pi**2 * shape.gauss_hz / (4 * np.log(2)) * by_square).real.T,
            (-np.pi * by_time).real.T,
        ]
    )
    return columns, derivatives


def chain(problem: Problem, derivatives: Real, amplitudes: Real) -> Real:
    """Return d(sum_k a_k column_k)/d theta; shape (n_points, n_theta)."""
    weighted = derivatives * amplitudes
    total = weighted.sum(axis=-1)
    widths = np.stack(
        [weighted[4][:, problem.width_of == index].sum(axis=1) for index in range(problem.n_widths)], axis=1
    )
    return np.concatenate([total[[0, 1, 2, 3]].T, widths, weighted[2]], axis=1)


def bins_in_range(
    samples: int, dwell_s: float, f0_hz: float, reference_ppm: float, ranges: Sequence[tuple[float, float]]
) -> NDArray[np.int64]:
    """Return the bins of the zero-filled spectrum that lie in any of the ranges in ppm."""
    ppm = ppm_axis(2 * samples, dwell_s, f0_hz, reference_ppm)
    inside = np.zeros(ppm.size, dtype=bool)
    for low, high in ranges:
        inside |= (ppm >= low) & (ppm <= high)
    return np.flatnonzero(inside)
