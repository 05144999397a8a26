"""The model of spectra: basis functions, each with its shift and width, under a common phase and lineshape.

On the real part of the spectrum, zero-filled to twice its length (which has all the information and white
noise), the model is Re[exp(i (p0 + p1 (ppm - 3))) sum_k a_k FFT(b_k(t) exp(i 2 pi (s + s_k) t - pi (l + l_k) t) L(t))]
with the lineshape L of a Gauss-Hermite series: a Gaussian of width g and standard deviation sigma in rad/s, times
1 + sum_j h_j (i sigma t)^j / sqrt(j!), j = 3 to 6 (van der Marel and Franx 1993, doi:10.1086/172534): what is left
of a distribution of fields that is neither symmetric nor Gaussian.

All spectra of a batch have the basis in common, which is reduced once to the band about the fitted range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

PIVOT_PPM = 3.0
"""Where the first-order phase is zero: between the main singlets."""
ORDERS = (3, 4, 5, 6)
"""Of the Gauss-Hermite series."""
_GUARD_PPM = 0.6
"""On each side of the fitted range the band goes on so far, fading out."""
_BEFORE_S = 0.05
"""Time before zero over which the response of the window dies out."""
_FIRST_POINT = 0.5
"""Weight of the first sample in the Fourier transform: half, as for the trapezoidal rule."""
_CHUNK = 32
_AT_ONCE = 4
"""Spectra whose signals are worked on at once: they fit into a cache of a megabyte or two."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Fixed parts of the model."""

    basis: Complex
    """Components within the band, as signals of time from `-before` samples on, until they have gone; shape
    (n_components, n_times)."""
    n_band: int
    """Points of their Fourier transform."""
    names: tuple[str, ...]
    broad: NDArray[np.bool_]
    """Which components are macromolecules or lipids; shape (n_components,)."""
    dwell_s: float
    """Between the samples of `basis`."""
    before: int
    """Samples before time zero."""
    f0_hz: float
    keep: NDArray[np.int64]
    """Fitted points among those of the band, counted from the first; shape (n_points,)."""
    ppm: Real
    """Chemical shift of the fitted points; shape (n_points,)."""
    bins: NDArray[np.int64]
    """The fitted points among those of the zero-filled, shifted spectrum; shape (n_points,)."""
    samples: int
    """Of the FIDs that are fitted."""
    natural_hz: Real
    """Lorentzian widths that the components have got because of their T2; shape (n_components,)."""

    @property
    def least_natural_hz(self) -> float:
        """Natural width of the narrowest metabolite: lines may be narrower than the basis by as much."""
        return float(self.natural_hz[~self.broad].min(initial=np.inf)) if not self.broad.all() else 0.0

    @property
    def time_s(self) -> Real:
        """Times of the basis; shape (n_times,)."""
        return np.asarray((np.arange(self.basis.shape[1]) - self.before) * self.dwell_s)

    @property
    def layout(self) -> "Layout":
        """Where each parameter is in a vector of them."""
        return Layout(len(self.names))

    def spectrum(self, fids: Complex, moves: NDArray[np.int64] | None = None) -> Complex:
        """Return the fitted points of spectra, zero-filled, with noise as in the samples.

        Parameters
        ----------
        fids
            Measured; shape (..., samples).
        moves
            By how many points to look higher in frequency; shape (n_moves,).

        Returns
        -------
        Shape (..., n_points), or (..., n_moves, n_points).

        """
        whole = _transform(fids)
        bins = self.bins if moves is None else (self.bins + moves[:, None]) % whole.shape[-1]
        return np.asarray(whole[..., bins])


@dataclass(frozen=True)
class Layout:
    """The nonlinear parameters of a spectrum as one vector."""

    n_components: int
    phase0: ClassVar[int] = 0
    """In rad."""
    phase1: ClassVar[int] = 1
    """In rad per ppm."""
    shift: ClassVar[int] = 2
    """Common to all, in Hz, in the NIfTI-MRS sense."""
    gauss: ClassVar[int] = 3
    """Common width in Hz."""
    width: ClassVar[slice] = slice(4, 6)
    """Added Lorentzian widths of metabolites and of broad components in Hz."""
    hermite: ClassVar[slice] = slice(6, 6 + len(ORDERS))
    """Coefficients of the lineshape."""

    @property
    def own_shift(self) -> slice:
        """Of each component, in Hz."""
        return slice(self.hermite.stop, self.hermite.stop + self.n_components)

    @property
    def own_width(self) -> slice:
        """Of each component beyond that of its kind, in Hz."""
        return slice(self.own_shift.stop, self.own_shift.stop + self.n_components)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.own_width.stop)


@dataclass(frozen=True, eq=False)
class State:
    """The model at one vector of parameters a spectrum; v spectra, k components."""

    columns: Real
    """Real spectra of components of amplitude one; shape (v, k, n_points)."""
    fids: Complex
    """Their signals without `series`; shape (v, k, n_times)."""
    decay: Real
    """Gaussian part of the line that is common to all; shape (v, n_times)."""
    series: Complex
    """The rest of it; shape (v, n_times)."""
    turn: Complex
    """Phase factor of each point; shape (v, n_points)."""


def problem_of(
    fids: Complex,
    names: Sequence[str],
    broad: Sequence[str],
    dwell_s: float,
    f0_hz: float,
    reference_ppm: float,
    ranges: Sequence[tuple[float, float]],
    natural_hz: Real | None = None,
) -> Problem:
    """Return the problem of fitting components within ranges of ppm.

    Parameters
    ----------
    fids
        Of the components, in the NIfTI-MRS sense; shape (n_components, samples).
    names, broad
        Of all components, and of those that are macromolecules or lipids.
    dwell_s, f0_hz, reference_ppm
        Of the data.
    ranges
        Low and high edges, in order.
    natural_hz
        Lorentzian widths that components have by nature and `fids` have not; shape (n_components,).

    """
    samples = fids.shape[1]
    is_broad = np.array([name in broad for name in names])
    natural = np.zeros(len(names)) if natural_hz is None else natural_hz
    fids = fids * np.exp(-np.pi * natural[:, None] * np.arange(samples) * dwell_s)
    ppm = ppm_axis(2 * samples, dwell_s, f0_hz, reference_ppm)
    inside = np.any([(ppm >= low) & (ppm <= high) for low, high in ranges], axis=0)
    bins = np.flatnonzero(inside)
    window, first, n_band = _band(ppm, ranges[0][0], ranges[-1][1])
    spectra = (_transform(fids) * window)[:, first : first + n_band]
    step = 2 * samples * dwell_s / n_band
    before = min(n_band // 4, math.ceil(_BEFORE_S / step))
    # Zero frequency is the first fitted point, so that those of a transform begin with it.
    reduced = np.roll(np.fft.ifft(np.roll(spectra, first - bins[0], axis=-1), axis=-1), before, axis=-1)
    needed = min(n_band, n_band // 2 + 2 * before)  # half of the transform is zero filling
    return Problem(
        reduced[:, :needed],
        n_band,
        tuple(names),
        is_broad,
        step,
        before,
        f0_hz,
        bins - bins[0],
        ppm[bins],
        bins,
        samples,
        natural,
    )


def _transform(fids: Complex) -> Complex:
    fids = np.array(fids, dtype=complex)
    fids[..., 0] *= _FIRST_POINT
    n = 2 * fids.shape[-1]
    return np.asarray(np.fft.fftshift(np.fft.fft(fids, n, axis=-1), axes=-1) / np.sqrt(n))


def _band(ppm: Real, low: float, high: float) -> tuple[Real, int, int]:
    """Return a window that is one on the range and fades out beside it, and the bins that it leaves."""
    distance = np.maximum(np.maximum(low - ppm, ppm - high), 0.0) / _GUARD_PPM
    window = np.where(distance < 1, 0.5 * (1 + np.cos(np.pi * np.minimum(distance, 1))), 0.0)
    inside = np.flatnonzero(window > 0)
    wanted = scipy.fft.next_fast_len(int(inside.size))
    if wanted >= 0.8 * ppm.size:
        return np.ones(ppm.size), 0, ppm.size
    first = int(np.clip(inside[0] - (wanted - inside.size) // 2, 0, ppm.size - wanted))
    return window, first, wanted


def evaluate(problem: Problem, theta: Real) -> State:
    """Return the model at parameters of shape (v, n_parameters)."""
    at, t = problem.layout, problem.time_s
    sigma = _sigma(theta[:, at.gauss])
    decay = np.exp(-0.5 * (sigma[:, None] * t) ** 2)
    series = 1 + np.einsum("vj,vjm->vm", theta[:, at.hermite], _terms(sigma, t))
    turn = np.exp(1j * (theta[:, [at.phase0]] + theta[:, [at.phase1]] * (problem.ppm - PIVOT_PPM)))
    turn = turn * _later(problem)
    fids = np.empty((len(theta), *problem.basis.shape), complex)
    columns = np.empty((*fids.shape[:2], problem.ppm.size))
    for first in range(0, len(theta), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        some = _powers(_exponents(problem, theta[part]), t.size, problem.before)
        some *= problem.basis
        some *= decay[part, None]
        fids[part] = some
        some *= series[part, None]
        columns[part] = _real(turn[part, None], _spectra(problem, some))
    return State(columns, fids, decay, series, turn)


def _exponents(problem: Problem, theta: Real) -> Complex:
    """Return what shift and width of each component add to the logarithm of a sample after the next; shape (v, k)."""
    at = problem.layout
    moved = theta[:, at.shift, None] + theta[:, at.own_shift]
    kind = np.where(problem.broad, at.width.stop - 1, at.width.start)
    widths = theta[:, kind] + theta[:, at.own_width]
    return np.asarray((2j * moved - widths) * np.pi * problem.dwell_s)


def shift_slopes(problem: Problem, theta: Real, state: State, pieces: Complex, of: NDArray[np.int64]) -> Real:
    """Return the derivative of parts of components by the shift of each alone, per Hz; shape (v, n, n_points), float32.

    Parameters
    ----------
    problem, theta, state
        The model and its parameters.
    pieces, of
        Parts in the form of `problem.basis`, shape (n, n_band), and the component that each belongs to, (n,).

    """
    t = problem.time_s
    fids = _powers(_exponents(problem, theta), t.size, problem.before, np.complex64)[:, of]
    fids *= pieces.astype(np.complex64)
    fids *= (2j * np.pi * t * state.decay * state.series)[:, None, :].astype(np.complex64)
    return _real(state.turn[:, None, :].astype(np.complex64), _spectra(problem, fids))


def slopes(problem: Problem, theta: Real, state: State, amplitudes: Real, rough: bool = False) -> Real:
    """Return the derivatives of sum_k a_k column_k by each parameter; shape (v, n_parameters, n_points).

    `rough` ones are in single precision, which is enough for a search: where it ends is judged by its cost.
    """
    at, t = problem.layout, problem.time_s
    kind: type[np.complexfloating[Any, Any]] = np.complex64 if rough else np.complex128
    turn = state.turn[:, None, :].astype(kind)
    found = np.empty((len(theta), at.size, problem.ppm.size), turn.real.dtype)
    kinds = _by_own(problem, state, amplitudes, turn, found)
    bare = kinds[:, 0] + kinds[:, 1]
    whole = bare * state.series
    sigma = _sigma(theta[:, at.gauss])
    terms = _terms(sigma, t)
    per_hz = _sigma(np.ones(1))[0]
    safe = np.maximum(sigma, 1e-9)[:, None]
    by_sigma = np.einsum("vj,vjm->vm", theta[:, at.hermite] * np.array(ORDERS), terms) / safe
    shared = np.stack(
        [
            whole,
            2j * np.pi * t * whole,
            per_hz * (by_sigma * bare - sigma[:, None] * t**2 * whole),
            *(-np.pi * t * state.series * kinds[:, one] for one in range(2)),
            *(bare[:, None] * terms).transpose(1, 0, 2),
        ],
        axis=1,
        dtype=kind,
        casting="same_kind",
    )
    total = turn * _spectra(problem, shared)
    found[:, at.phase0] = -total[:, 0].imag
    found[:, at.phase1] = -total[:, 0].imag * (problem.ppm - PIVOT_PPM)
    found[:, at.shift : at.own_shift.start] = total[:, 1:].real
    return np.asarray(found)


def _by_own(problem: Problem, state: State, amplitudes: Real, turn: Complex, found: Real) -> Complex:
    """Put derivatives by own shifts and widths into `found`; return the signals of metabolites and broad components.

    Without `series`, in the precision of `turn`, shape (v, 2, n_times).
    """
    at, kind = problem.layout, turn.dtype
    kinds = np.empty((len(found), 2, problem.basis.shape[1]), kind)
    sums = np.stack([~problem.broad, problem.broad]).astype(kind)
    later = (problem.time_s * state.series)[:, None, :].astype(kind)
    for first in range(0, len(found), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        some = np.multiply(amplitudes[part, :, None], state.fids[part], dtype=kind, casting="same_kind")
        np.matmul(sums, some, out=kinds[part])
        some *= later[part]
        spectra = _spectra(problem, some)
        spectra *= turn[part]
        np.multiply(spectra.imag, -2 * np.pi, out=found[part, at.own_shift])
        np.multiply(spectra.real, -np.pi, out=found[part, at.own_width])
    return kinds


def _spectra(problem: Problem, fids: Complex) -> Complex:
    """Return the fitted points of signals on the times of the basis, but for `_later`."""
    whole = scipy.fft.fft(fids, problem.n_band, axis=-1, overwrite_x=True)
    n = problem.keep.size
    if problem.keep[-1] == n - 1:
        return np.asarray(whole[..., :n])
    return np.asarray(whole[..., problem.keep])


def _real(turn: Complex, spectra: Complex) -> Real:
    """Return the real part of a product; overwrites nothing."""
    found = turn.real * spectra.real
    found -= turn.imag * spectra.imag
    return np.asarray(found)


def _later(problem: Problem) -> Complex:
    """Return what it makes of each point that time zero is not the first sample; shape (n_points,)."""
    return np.asarray(np.exp(2j * np.pi * problem.keep * problem.before / problem.n_band))


def _sigma(gauss_hz: Real) -> Real:
    """Return the standard deviation in rad/s of a Gaussian line of a full width at half maximum."""
    return np.asarray(gauss_hz * np.pi / np.sqrt(2 * np.log(2)))


def _terms(sigma: Real, t: Real) -> Complex:
    """Return (i sigma t)^j / sqrt(j!) for each order; shape (v, n_orders, n_times)."""
    product = sigma[:, None] * np.maximum(t, 0.0)
    powers = np.cumprod(np.broadcast_to(product[:, None], (len(sigma), max(ORDERS), t.size)), axis=1)
    factors = np.array([1j**order / math.sqrt(math.factorial(order)) for order in ORDERS])
    return np.asarray(powers[:, np.array(ORDERS) - 1] * factors[:, None])


def _powers(exponents: Complex, n: int, before: int, kind: type[Any] = np.complex128) -> Complex:
    """Return exp(exponent (m - before)) for m below n, from far fewer exponentials; shape (..., n)."""
    exponents = exponents[..., None]
    fine = np.exp(exponents * np.arange(_CHUNK)).astype(kind)
    coarse = np.exp(exponents * (np.arange(0, n, _CHUNK) - before)).astype(kind)
    product = coarse[..., :, None] * fine[..., None, :]
    return np.asarray(product.reshape(*product.shape[:-2], -1)[..., :n])


def named(problem: Problem, theta: Real) -> dict[str, Any]:
    """Return the parameters of one spectrum under their names, shape (n_parameters,)."""
    at = problem.layout
    to_ppm = -1e6 / problem.f0_hz
    kind = np.where(problem.broad, at.width.stop - 1, at.width.start)
    widths = theta[kind] + theta[at.own_width]
    return {
        "phase0_deg": float(np.rad2deg(theta[at.phase0])),
        "phase1_deg_per_ppm": float(np.rad2deg(theta[at.phase1])),
        "shift_ppm": float(theta[at.shift] * to_ppm),
        "gauss_hz": float(theta[at.gauss]),
        "lineshape": [float(value) for value in theta[at.hermite]],
        "lorentz_hz": {name: float(w) for name, w in zip(problem.names, widths, strict=True)},
        "own_shift_ppm": {
            name: float(s * to_ppm) for name, s in zip(problem.names, theta[at.own_shift], strict=True)
        },
    }
