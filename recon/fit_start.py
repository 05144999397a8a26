"""Where a fit starts: reference shift, zero-order phase and linewidth from the strong singlets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pulsespec.recon.fit_model import Problem
from pulsespec.recon.spline import baseline
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]

_MAIN = ("NAA", "Cr", "PCr", "GPC", "PCh", "PCho", "Glu", "Ins")
_WIDTHS_HZ = (3.0, 5.0, 8.0, 12.0, 17.0)
_SHIFT_STEP_HZ = 1.0
_PHASE_STEP = np.pi / 8
_APODISATION_HZ = 2.0
_APART_HZ = 4.0
_PROPOSALS = 5
_BASELINE_DIMENSION = 5.0


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
    """Find shift, phase and width in two stages.

    Magnitude spectra do not depend on the phase: their non-negative fit by the main metabolites, scored on a
    grid of shifts and widths, proposes a few shifts (zero is always one of them). Each is then judged, over
    a grid of phases, by the non-negative fit of all metabolites to the real spectrum with a free baseline.
    """
    t = problem.time_s
    apodised = spectrum.data * np.exp(-np.pi * _APODISATION_HZ * t)
    proposals = _proposals(apodised, problem, largest_shift_ppm * problem.f0_hz * 1e-6)
    smooth = baseline(problem.ppm, _BASELINE_DIMENSION)
    best: tuple[float, Start] | None = None
    for shift, width in proposals:
        measured = problem.spectrum(apodised * np.exp(-2j * np.pi * shift * t))
        columns = problem.spectrum(problem.basis * np.exp(-np.pi * (width + _APODISATION_HZ) * t)).real.T
        norm = np.linalg.norm(columns, axis=0) + 1e-300
        left = smooth.residual(columns / norm)
        for phase in np.arange(0.0, 2 * np.pi, _PHASE_STEP):
            right = smooth.residual((measured * np.exp(-1j * phase)).real)
            score = nnls(left, right)[1] / (np.linalg.norm(right) + 1e-300)
            if best is None or score < best[0]:
                best = (score, Start(shift, float(phase), width))
    assert best is not None
    return best[1]


def _proposals(apodised: Complex, problem: Problem, largest_hz: float) -> list[tuple[float, float]]:
    """Return (shift, width) pairs worth a closer look, best first."""
    names = [k for k, name in enumerate(problem.names) if name in _MAIN] or list(range(len(problem.names)))
    t = problem.time_s
    shifts = np.arange(-largest_hz, largest_hz + _SHIFT_STEP_HZ, _SHIFT_STEP_HZ)
    shifts = shifts - shifts[np.argmin(np.abs(shifts))]
    magnitude = np.abs([problem.spectrum(apodised * np.exp(-2j * np.pi * s * t)) for s in shifts])
    magnitude -= np.quantile(magnitude, 0.1, axis=1, keepdims=True)
    scores = np.empty((len(_WIDTHS_HZ), shifts.size))
    for row, width in enumerate(_WIDTHS_HZ):
        columns = np.abs(
            problem.spectrum(problem.basis[names] * np.exp(-np.pi * (width + _APODISATION_HZ) * t))
        ).T
        columns /= np.linalg.norm(columns, axis=0)
        scores[row] = [nnls(columns, target)[1] / (np.linalg.norm(target) + 1e-300) for target in magnitude]
    by_shift, width_at = scores.min(axis=0), np.array(_WIDTHS_HZ)[scores.argmin(axis=0)]
    middle = int(np.argmin(np.abs(shifts)))
    chosen = [middle + int(np.argmin(by_shift[middle - 4 : middle + 5])) - 4]
    for index in np.argsort(by_shift):
        if len(chosen) < _PROPOSALS and all(abs(shifts[index] - shifts[c]) > _APART_HZ for c in chosen):
            chosen.append(int(index))
    return [(float(shifts[c]), float(width_at[c])) for c in chosen]
