"""Where a fit starts: reference shift, zero-order phase and linewidth from the strong singlets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pulsespec.recon.fit_model import Problem
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]

_MAIN = ("NAA", "Cr", "PCr", "GPC", "PCh", "PCho", "Glu", "Ins")
_WIDTHS_HZ = (3.0, 5.0, 8.0, 12.0, 17.0)
_SHIFT_STEP_HZ = 1.0


@dataclass(frozen=True)
class Start:
    """What has to be undone before basis and data can be compared."""

    shift_hz: float
    """Shift of the data against the basis, in the NIfTI-MRS sense."""
    phase: float
    """Zero-order phase of the data in rad."""
    width_hz: float
    """Linewidth that the basis lacks."""

    def correction(self, dwell_s: float, samples: int) -> Complex:
        """Return what an FID is multiplied by to undo shift and phase; shape (samples,)."""
        t = np.arange(samples) * dwell_s
        return np.asarray(np.exp(-2j * np.pi * self.shift_hz * t - 1j * self.phase))


def find_start(spectrum: Transients, problem: Problem, largest_shift_ppm: float) -> Start:
    """Search shift and width on magnitude spectra, then the phase that fits best.

    Magnitude spectra do not depend on the phase; their non-negative fit by the main metabolites is scored
    on a grid of shifts (1 Hz) and widths. The phase is that of the complex overlap with that fit, which of
    its two half-turns is meant follows from amplitudes being positive.
    """
    names = [k for k, name in enumerate(problem.names) if name in _MAIN] or list(range(len(problem.names)))
    basis = problem.basis[names]
    t = problem.time_s
    largest_hz = largest_shift_ppm * problem.f0_hz * 1e-6
    shifts = np.arange(-largest_hz, largest_hz + _SHIFT_STEP_HZ, _SHIFT_STEP_HZ)
    apodised = spectrum.data * np.exp(-np.pi * 2.0 * t)
    measured = np.array([problem.spectrum(apodised * np.exp(-2j * np.pi * s * t)) for s in shifts])
    magnitude = np.abs(measured)
    magnitude -= np.quantile(magnitude, 0.1, axis=1, keepdims=True)
    best: tuple[float, float, float, Complex] | None = None
    for width in _WIDTHS_HZ:
        columns = problem.spectrum(basis * np.exp(-np.pi * (width + 2.0) * t))
        magnitudes = np.abs(columns).T
        norm = np.linalg.norm(magnitudes, axis=0)
        for shift, target, signal in zip(shifts, magnitude, measured, strict=True):
            amplitudes, rest = nnls(magnitudes / norm, target)
            score = rest / np.linalg.norm(target)
            if best is None or score < best[0]:
                best = (score, float(shift), width, (columns.T / norm) @ amplitudes * np.conj(signal))
    assert best is not None
    return Start(best[1], float(-np.angle(best[3].sum())), best[2])
