"""The noise of spectra, and how much of an FID is worth fitting.

Where the signal has gone, more samples add noise and work, nothing else.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.conventions import to_spectrum
from pulsespec.recon.fit_model import Problem

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_LOST = 1e-4
"""Share of the energy of the signal, and so of what is known of amplitudes, that may be cut off."""
_DOUBT = 2.0
"""Standard errors within which the energy of a tail counts as that of noise."""
_MARGIN = 1.25
_LEAST_S = 0.4
"""Where lines of 4 Hz have lost all but exp(-2 pi 4 0.4) = 4e-5 of their energy."""
_MOST_SPECTRA = 256


def noise_sd(fids: Complex) -> Real:
    """Return the noise of real spectra from their quietest parts, detrended; fids (v, samples), shape (v,)."""
    spectra = to_spectrum(fids).real / np.sqrt(2 * fids.shape[-1])
    spread = []
    for piece in np.array_split(spectra, 10, axis=-1):
        at = np.vander(np.linspace(-1, 1, piece.shape[-1]), 2)
        line = piece @ np.linalg.pinv(at).T @ at.T
        spread.append(np.std(piece - line, axis=-1))
    quiet = np.median(np.sort(spread, axis=0)[:3], axis=0)
    # The second lowest of ten standard deviations lies one standard error below their mean.
    return np.asarray(quiet * (1 + 1 / np.sqrt(2 * spectra.shape[-1] / 10)))


def some_of(count: int) -> slice:
    """Return those of many spectra that `samples_to_fit` looks at."""
    return slice(None, None, max(1, -(-count // _MOST_SPECTRA)))


def samples_to_fit(problem: Problem, fids: Complex, dwell_s: float) -> int:
    """Return after how many samples the signal of all spectra within the fitted range has gone.

    The model is of the samples that are left, so that nothing is biased by it; of the information on the amplitudes,
    which goes with the energy of the signal, a ten-thousandth is lost.

    Parameters
    ----------
    problem
        With the fitted range, for the whole length of the FIDs.
    fids
        Measured; shape (v, samples).
    dwell_s
        Of the FIDs.

    """
    samples = fids.shape[1]
    some = fids[some_of(len(fids))]
    power, noise, share = _in_range(problem, some)
    last = power[-max(8, samples // 8) :]
    noise = min(noise, float(last.mean()))
    energy = np.cumsum((power - noise)[::-1])[::-1]
    left = np.arange(samples, 0, -1)
    unsure = _DOUBT * noise * np.sqrt(left / (share * len(some)) + left**2 / (share * len(some) * last.size))
    more = np.flatnonzero(energy > np.maximum(_LOST * energy[0], unsure))
    needed = max(int(_MARGIN * (more[-1] + 1 if more.size else 0)), round(_LEAST_S / dwell_s))
    needed = max(needed, 2 * _for_points(problem, samples))
    return int(min(scipy.fft.next_fast_len(min(needed, samples)), samples))


def _for_points(problem: Problem, samples: int) -> int:
    """Return the samples that leave two fitted points for each component."""
    return -(-2 * len(problem.names) * samples // problem.ppm.size)


def _in_range(problem: Problem, fids: Complex) -> tuple[Real, float, float]:
    """Return the mean power of each sample within the fitted range, that of noise, and the range's share of the band.

    The first is of shape (samples,).
    """
    spectra = np.zeros((len(fids), 2 * fids.shape[1]), dtype=complex)
    inside = (
        np.hanning(problem.bins.size + 2)[1:-1] ** 0.25
    )  # without an edge, whose ringing would outlast the signal
    spectra[:, problem.bins] = problem.spectrum(fids) * inside
    signals = np.fft.ifft(spectra, axis=1)[:, : fids.shape[1]]
    # Noise of a spectrum that was zero-filled to twice its length lies within the first half of the time.
    noise = 4 * float(np.mean(noise_sd(fids) ** 2)) * float(np.sum(inside**2)) / spectra.shape[1] ** 2
    return np.mean(np.abs(signals) ** 2, axis=0), noise, problem.bins.size / spectra.shape[1]
