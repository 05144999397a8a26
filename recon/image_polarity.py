"""Delay and phase between the two polarities of an echo train, from water.

Echoes of both directions are put on one time axis through their spectra, so that the precession of water between
them is taken out. What is left between their images along x is a phase: constant from the receiver and eddy
currents, linear in x where the gradient comes later than the samples (in EPI: Bruder et al. 1992,
doi:10.1002/mrm.1910230211; constant and linear phase for EPSI: ISMRM 2018, 3846; both recalled).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.recon.image_echoes import Polarity, Readout, readout, spectra
from pulsespec.recon.image_plan import Comb, Encodes, Floats, Grid
from pulsespec.recon.transients import Record

Samples = NDArray[np.complex64]

ECHOES = 96
"""Echoes of each polarity that are looked at: about two T2* of water at 3 T."""
_ROUNDS = 4
_CLOSE_S = 1e-9
_EDGE = 6
"""Points at both ends of the time axis that are left out: shifting by part of a point rings there."""
_WIDEST_VOXELS = 2.0
"""Largest shift between the polarities that is looked for, in voxels of k-space, either way."""
_HUBER = 1.5
_LEAST_VOXELS = 2.0
"""Along x, over which signal must be spread for a slope to be told."""


@dataclass(frozen=True)
class Mismatch:
    """Phase between two polarities along x."""

    phase_rad: float
    slope_rad_per_m: float
    ghost: float
    """Signal of the difference over that of the sum of both polarities: the ghost at half the sampling rate."""
    voxels: float
    """Over how many voxels along x signal is spread: (sum of weights)^2 over the sum of squared weights."""


def mismatch(first: Samples, second: Samples, x_m: Floats, width_rad_per_m: float) -> Mismatch:
    """Return what is between the series of two polarities.

    Parameters
    ----------
    first, second
        At the same times; shape (..., n_x).
    x_m
        From the isocentre; shape (n_x,).
    width_rad_per_m
        Largest slope looked for.

    """
    axes = tuple(range(first.ndim - 1))
    product = np.sum(np.conj(first) * second, axis=axes, dtype=np.complex128)
    slopes = np.linspace(-width_rad_per_m, width_rad_per_m, 801)
    slope = float(slopes[np.argmax(np.abs(np.exp(-1j * np.outer(slopes, x_m)) @ product))])
    weights = np.abs(product)
    phase = 0.0
    for _ in range(8):
        phase = float(
            np.angle(np.sum(product * np.exp(-1j * slope * x_m) * weights / np.abs(product).clip(1e-30)))
        )
        residual = np.angle(product * np.exp(-1j * (slope * x_m + phase)))
        spread = float(np.sqrt(np.average(residual**2, weights=np.abs(product)))) + 1e-12
        weights = np.abs(product) / np.maximum(1.0, np.abs(residual) / (_HUBER * spread))
        centred = x_m - np.average(x_m, weights=weights)
        turn = float(np.sum(weights * centred * residual) / np.sum(weights * centred**2))
        slope += turn
        phase -= turn * float(np.average(x_m, weights=weights))
    ghost = np.sqrt(np.average(np.tan(np.angle(product) / 2) ** 2, weights=np.abs(product)))
    size = np.abs(product)
    return Mismatch(phase, slope, float(ghost), float(size.sum() ** 2 / np.sum(size**2)))


def find_polarity(
    raws: Sequence[Samples], encodes: Encodes, grid: Grid, *, linear: bool = True
) -> tuple[Polarity, Record]:
    """Return delay and phase of the echoes of a bipolar train, and a record with the ghost before and after.

    Parameters
    ----------
    raws
        Samples of some encodes of water about the middle of k-space, at least of `ECHOES` echoes of each polarity;
        shape (n_interleaves, n_coils, n_samples) each.
    encodes, grid
        Of water.
    linear
        Whether the delay is looked for.

    """
    combs = encodes.combs
    x_m = grid.positions_m(0) + grid.axes[:, 0] @ grid.centre_m
    widest = 2 * np.pi * _WIDEST_VOXELS / grid.fov_m[0]
    found, before = Polarity(), None
    for _ in range(_ROUNDS):
        first, second = _series(raws, encodes, grid, found)
        now = mismatch(first, second, x_m, widest)
        before = before or now
        # Both polarities move: the one where k grows by -gradient x delay, the other by as much the other way.
        slope = now.slope_rad_per_m if linear and now.voxels > _LEAST_VOXELS else 0.0
        step_s = slope / (4 * np.pi * _gradient(combs[0])) * combs[0].direction
        found = Polarity(found.delay_s + step_s, found.phase_rad + now.phase_rad)
        if abs(step_s) < _CLOSE_S and abs(now.phase_rad) < 1e-4:
            break
    after = mismatch(*_series(raws, encodes, grid, found), x_m, widest)
    assert before is not None
    shift = _gradient(combs[0]) * found.delay_s * grid.fov_m[0]
    record = Record(
        "Odd and even echoes",
        f"gradient {found.delay_s * 1e6:+.2f} us later than the samples ({shift:+.3f} steps of k-space), phase "
        f"{np.rad2deg(found.phase_rad):+.2f} degrees, from water of {len(raws)} encodes; ghost "
        f"{before.ghost * 100:.2f} % before, {after.ghost * 100:.2f} % after",
        {
            "delay_s": found.delay_s,
            "phase_rad": found.phase_rad,
            "k_shift_steps": float(shift),
            "ghost_before": before.ghost,
            "ghost_after": after.ghost,
        },
    )
    return found, record


def _window(made: Readout, samples: int) -> NDArray[np.float32]:
    """Return a window over the samples of an ADC event that ends with the last echo used: half a cosine of time."""
    end = max(int(operator.comb.index.max()) for operator in made.operators)
    return np.asarray(np.cos(np.pi / 2 * np.minimum(np.arange(samples) / end, 1.0)) ** 2, np.float32)


def _gradient(comb: Comb) -> float:
    """Return the gradient by which a delay shifts an echo: its mean over k, in Hz/m, without sign."""
    size = np.abs(comb.gradient_hz_per_m)
    return float(np.sum(size**2) / np.sum(size))


def _series(
    raws: Sequence[Samples], encodes: Encodes, grid: Grid, polarity: Polarity
) -> tuple[Samples, Samples]:
    """Return series along x of both polarities at the times of the first one; (n, n_coils, n_times, n_x) each."""
    made = readout(encodes, grid, polarity=polarity, echoes=ECHOES, one_axis=True)
    window = _window(made, raws[0].shape[-1])
    kept = []
    for operator in made.operators:
        one = Readout((operator,), None)
        found = [spectra(raw * window, one)[:, 0] for raw in raws]
        kept.append(np.asarray(scipy.fft.ifft(np.stack(found), axis=2))[:, :, _EDGE:-_EDGE])
    return kept[0], kept[1]
