"""Where a fit starts: reference shift, zero-order phase and linewidth from the strong signals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_model import Problem, evaluate
from pulsespec.recon.nonnegative import solve_nonnegative
from pulsespec.recon.spline import baseline

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_MAIN = ("NAA", "Cr", "PCr", "GPC", "PCh", "PCho", "Glu", "Ins")
_WIDTHS_HZ = (4.0, 8.0, 14.0)
_SHIFT_STEP_HZ = 1.5
_PHASES = 2 * np.pi * np.arange(16) / 16
_APODISATION_HZ = 2.0
_APART_HZ = 4.0
_PROPOSALS = 5
_BASELINE_DIMENSION = 5.0


@dataclass(frozen=True, eq=False)
class Start:
    """What has to be undone before basis and data can be compared, the best guess first.

    All of shape (v, n_guesses).
    """

    shift_hz: Real
    """Shift of the data against the basis, in the NIfTI-MRS sense."""
    phase: Real
    """Zero-order phase of the data in rad."""
    width_hz: Real
    """Linewidth that the basis lacks."""
    unexplained: Real
    """Share of the spectrum that this guess leaves."""


def find_start(problem: Problem, fids: Complex, dwell_s: float, largest_shift_ppm: float) -> Start:
    """Find shift, phase and width in two stages.

    Magnitude spectra do not depend on the phase: their non-negative fit by the main metabolites, scored on a
    grid of shifts and widths, proposes a few shifts (the best near zero is always one of them). Each is then
    judged, over a grid of phases, by the non-negative fit to the real spectrum with a free baseline.

    Parameters
    ----------
    problem
        With the basis.
    fids
        In the NIfTI-MRS sense; shape (v, samples).
    dwell_s
        Of the FIDs.
    largest_shift_ppm
        Widest shift that is looked for.

    """
    t = np.arange(fids.shape[-1]) * dwell_s
    apodised = fids * np.exp(-np.pi * _APODISATION_HZ * t)
    per_bin = 1 / (2 * t.size * dwell_s)
    moves = _moves(largest_shift_ppm * problem.f0_hz * 1e-6, per_bin)
    windows = problem.spectrum(apodised, moves)
    shifts = np.asarray(moves * per_bin, dtype=float)
    proposed, width = _proposals(problem, np.abs(windows), shifts)
    chosen = np.take_along_axis(windows, proposed[..., None], axis=1)
    return _judged(problem, chosen, shifts[proposed], np.array(_WIDTHS_HZ)[width])


def _moves(largest_hz: float, per_bin: float) -> NDArray[np.int64]:
    """Return shifts that are looked at, in whole bins."""
    step = max(1, round(_SHIFT_STEP_HZ / per_bin))
    half = int(np.ceil(largest_hz / (step * per_bin)))
    return step * np.arange(-half, half + 1)


def _main(problem: Problem) -> NDArray[np.int64]:
    found = [k for k, name in enumerate(problem.names) if name in _MAIN]
    return np.array(found or range(len(problem.names)))


def _columns(problem: Problem, widths_hz: Real) -> Complex:
    """Return spectra of all components at added widths, apodised; shape (n_widths, n_components, n_points)."""
    theta = np.zeros((len(widths_hz), problem.layout.size))
    theta[:, problem.layout.width] = (widths_hz + _APODISATION_HZ)[:, None]
    turned = theta.copy()
    turned[:, problem.layout.phase0] = -np.pi / 2
    return np.asarray(evaluate(problem, theta).columns + 1j * evaluate(problem, turned).columns)


def _proposals(
    problem: Problem, magnitude: Real, shifts: Real
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of shifts and widths worth a closer look; shapes (v, n_proposals)."""
    magnitude = magnitude - np.quantile(magnitude, 0.1, axis=-1, keepdims=True)
    n, n_shifts, _ = magnitude.shape
    scores = np.empty((len(_WIDTHS_HZ), n, n_shifts))
    for row, columns in enumerate(np.abs(_columns(problem, np.array(_WIDTHS_HZ))[:, _main(problem)])):
        right = (magnitude @ columns.T).reshape(n * n_shifts, -1)
        gram = np.broadcast_to(columns @ columns.T, (len(right), *columns.shape[:1] * 2))
        x, _ = solve_nonnegative(gram, right)
        scores[row] = (np.sum(magnitude**2, axis=-1)) - np.sum(x * right, axis=-1).reshape(n, n_shifts)
    scores /= np.sum(magnitude**2, axis=-1) + 1e-300
    width, best = scores.argmin(axis=0), scores.min(axis=0)
    near = np.flatnonzero(np.abs(shifts) <= 2 * _APART_HZ)
    chosen = [near[np.argmin(best[:, near], axis=1)]]
    taken = np.abs(shifts - shifts[chosen[0]][:, None]) <= _APART_HZ
    for _ in range(min(_PROPOSALS, n_shifts) - 1):
        chosen.append(np.argmin(np.where(taken, np.inf, best), axis=1))
        taken |= np.abs(shifts - shifts[chosen[-1]][:, None]) <= _APART_HZ
    proposed = np.stack(chosen, axis=1)
    return proposed, np.take_along_axis(width, proposed, axis=1)


def _judged(problem: Problem, measured: Complex, shift_hz: Real, width_hz: Real) -> Start:
    """Return all proposals with their best phase, in the order of what they leave.

    At any phase a real spectrum is a sum of two, the real and the imaginary part of the measured one: products with the
    columns are made of these alone.
    """
    use, smooth = _main(problem), baseline(problem.ppm)
    held = smooth.kept(np.asarray(smooth.log_weight(_BASELINE_DIMENSION)))
    columns = _columns(problem, np.array(_WIDTHS_HZ))[:, use].real
    curves = columns @ smooth.vectors
    grams = columns @ columns.transpose(0, 2, 1) - (curves * held) @ curves.transpose(0, 2, 1)
    which = np.searchsorted(_WIDTHS_HZ, width_hz)
    parts = np.stack([measured.real, measured.imag], axis=-2)
    in_curves = parts @ smooth.vectors
    kept = in_curves * held
    against = np.stack(
        [parts @ c.T - kept @ s.T for c, s in zip(columns, curves, strict=True)], axis=-3
    )  # for each width
    against = np.take_along_axis(against, which[..., None, None, None], axis=-3)[..., 0, :, :]
    squares = parts @ parts.swapaxes(-1, -2) - kept @ in_curves.swapaxes(-1, -2)
    gram = grams[which].reshape(-1, *grams.shape[1:])
    found = []
    for phase in _PHASES:
        turn = np.array([np.cos(phase), np.sin(phase)])
        right = turn @ against
        x, _ = solve_nonnegative(gram, right.reshape(-1, use.size))
        whole = np.maximum((turn @ squares) @ turn, 1e-300)
        found.append(1 - np.sum(x.reshape(right.shape) * right, axis=-1) / whole)
    scores = np.stack(found, axis=-1)
    best = scores.min(axis=-1)
    order = np.argsort(best, axis=1)
    phase = _PHASES[scores.argmin(axis=-1)]
    return Start(*(np.take_along_axis(one, order, axis=1) for one in (shift_hz, phase, width_hz, best)))
