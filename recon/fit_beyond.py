"""What it costs amplitudes that the basis is not exactly what the sample is: places of multiplets, widths by T2.

Temperature and pH move multiplets of a molecule against each other, and T2 differs between tissues and studies. The fit
has no parameter for the first, and holds the second tighter than it is known, since weak metabolites pay for wider
lines. Their effect on the amplitudes is linear, so that the covariance gets what errors of a known standard deviation
add to it (parameters that are considered, not estimated: Schmidt 1966; Tapley, Schutz and Born 2004, Statistical Orbit
Determination, chapter 6; both recalled).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_model import Problem, shift_slopes
from pulsespec.recon.fit_search import Solved, Task

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_GAP_PPM = 0.1
"""Between multiplets there is next to nothing over at least so much."""
_NOTHING = 0.1
"""Of the highest line."""


@lru_cache(maxsize=4)
def multiplets(problem: Problem) -> tuple[Complex, NDArray[np.int64]]:
    """Return the multiplets of molecules that have several, and the component of each.

    Shapes (n_multiplets, n_times), in the form of `Problem.basis`, and (n_multiplets,).
    """
    spectra = np.fft.fft(problem.basis, problem.n_band, axis=1)
    n, gap = problem.basis.shape[1], _GAP_PPM * problem.f0_hz * 1e-6 * problem.dwell_s * problem.n_band
    pieces, of = [], []
    for k in np.flatnonzero(~problem.broad):
        windows = _windows(np.abs(spectra[k]), gap)
        if len(windows) > 1:
            pieces += [np.fft.ifft(spectra[k] * window)[:n] for window in windows]
            of += [k] * len(windows)
    return np.array(pieces, dtype=complex).reshape(-1, n), np.array(of, dtype=np.int64)


def _windows(height: Real, gap: float) -> Sequence[NDArray[np.bool_]]:
    """Return masks that cut a spectrum in the middle of its gaps, around the circle of its points."""
    seen = np.flatnonzero(height > _NOTHING * height.max())
    distance = np.diff(np.append(seen, seen[0] + height.size))
    cuts = np.flatnonzero(distance > gap)
    if cuts.size < 2:
        return [np.ones(height.size, dtype=bool)]
    middles = np.sort((seen[cuts] + distance[cuts] // 2) % height.size)
    number = np.searchsorted(middles, np.arange(height.size)) % middles.size
    return [number == k for k in range(middles.size)]


def considered_multiplets(
    task: Task, theta: Real, solved: Solved, rows: Real, gain: Real, sd_hz: float
) -> Real:
    """Return what shifts of the multiplets add to the covariance of the amplitudes; shape (v, k, k).

    In single precision: it is an estimate of what is not known.

    Parameters
    ----------
    task, theta, solved
        Spectra, and where their fits ended.
    rows
        Derivatives of the model by amplitudes and parameters; shape (v, k + p, n_points).
    gain
        Covariance of the amplitudes with amplitudes and parameters; shape (v, k, k + p).
    sd_hz
        Standard deviation of the shift of a multiplet against the rest of its molecule.

    """
    pieces, of = multiplets(task.problem)
    if not of.size or sd_hz <= 0:
        return np.zeros(gain.shape[:2] + gain.shape[1:2])
    amplitudes = (sd_hz * solved.amplitudes[:, of]).astype(np.float32)
    moved = shift_slopes(task.problem, theta, solved.state, pieces, of)
    moved *= amplitudes[..., None]
    rows, vectors = rows.astype(np.float32), task.smooth.vectors.astype(np.float32)
    held = task.smooth.kept(task.log_weight)[:, None].astype(np.float32)
    against = rows @ moved.transpose(0, 2, 1) - (rows @ vectors * held) @ (moved @ vectors).transpose(0, 2, 1)
    response = gain @ against
    return np.asarray(response @ response.transpose(0, 2, 1))


def considered_widths(task: Task, gain: Real, relative_sd: float) -> Real:
    """Return what T2 unlike the table's adds to the covariance of the amplitudes; shape (v, k, k).

    The prior of a component's own width, which is of zero mean, pulls by its precision times the width that is there.

    Parameters
    ----------
    task
        With that prior.
    gain
        Covariance of the amplitudes with amplitudes and parameters; shape (v, k, k + p).
    relative_sd
        Standard deviation of T2 over T2.

    """
    own = task.problem.layout.own_width
    pull = task.precision[own] * relative_sd * task.problem.natural_hz
    response = gain[:, :, gain.shape[1] :][:, :, own] * pull
    return np.asarray(response @ response.transpose(0, 2, 1))
