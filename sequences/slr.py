"""Frequency-selective pulses by the Shinnar-Le Roux transform, and what a pulse does to a single spin.

A pulse of n hard pulses is two polynomials A and B of degree n - 1 in z = exp(i 2 pi f dt): the Cayley-Klein
parameters of the rotation at offset f. A design chooses B as a filter (|B| is the sine of half the flip
angle), completes it by the minimum-phase A with |A|^2 + |B|^2 = 1, and runs the transform backwards
(Pauly et al. 1991, doi:10.1109/42.75611).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from pulsespec.errors import InputError

_GRID_PER_TAP = 16
_TRANSITION_STEP = 0.01
_FLOOR = 1e-5
"""Least squared magnitude of a polynomial that is to be factored, so that its logarithm exists."""
_LARGEST_BETA = 0.99995
"""|B| stays below one so that the logarithm of A exists; costs 1e-4 of a 180's efficiency."""


@dataclass(frozen=True)
class SlrPulse:
    """A designed pulse, free of any duration: it is stretched to one by `b1_hz`."""

    rotation_rad: NDArray[np.float64]
    """Flip angle of each hard pulse, signed: the B1 of a linear-phase design is real; shape (n,)."""
    time_bandwidth: float
    """Full width at half maximum of the profile times the duration."""

    @property
    def samples(self) -> int:
        """Number of hard pulses."""
        return int(self.rotation_rad.size)

    def b1_hz(self, duration_s: float) -> NDArray[np.float64]:
        """Return gamma B1 / 2 pi in Hz of each sample when the pulse lasts `duration_s`; shape (n,)."""
        return self.rotation_rad * self.samples / (2 * np.pi * duration_s)

    def shortest_s(self, max_b1_hz: float) -> float:
        """Return the duration in s at which the peak of the pulse is `max_b1_hz`."""
        return float(np.abs(self.rotation_rad).max() * self.samples / (2 * np.pi * max_b1_hz))


def design(
    flip_rad: float,
    time_bandwidth: float,
    transition: float,
    stopband_weight: float = 1.0,
    samples: int = 256,
) -> SlrPulse:
    """Design a linear-phase selective pulse.

    Parameters
    ----------
    flip_rad
        Flip angle in the passband, 0 to pi.
    time_bandwidth
        Bandwidth at half of the filter's height times duration.
    transition
        Width of each transition band over the bandwidth, 0 to 1: how far from a rectangle the profile is.
    stopband_weight
        Weight of the stopband's squared error over the passband's.
    samples
        Number of hard pulses.

    Raises
    ------
    InputError
        A value is outside its range, or `samples` is too small for the flip angle.

    """
    if not 0 < flip_rad <= np.pi:
        raise InputError(f"flip_rad: got {flip_rad}, expected more than 0 and at most pi")
    if not 0 < transition < 1 or time_bandwidth <= 1 or samples < 8 * time_bandwidth:
        raise InputError(
            f"pulse design: got time_bandwidth {time_bandwidth}, transition {transition}, samples {samples}; "
            "expected time_bandwidth > 1, 0 < transition < 1 and at least 8 samples a unit of time_bandwidth"
        )
    taps = _linear_phase_filter(samples, time_bandwidth, transition, stopband_weight)
    peak = np.abs(np.fft.fft(taps, _grid(samples))).max()
    # The passband's mean is the flip angle asked for, unless ripples would then take |B| beyond one.
    taps = taps * min(np.sin(flip_rad / 2), _LARGEST_BETA / peak)
    rotation = inverse_transform(taps)
    offset = np.linspace(-2, 2, 2001) * time_bandwidth
    profile = refocused if flip_rad > 0.75 * np.pi else excited
    b1_hz = rotation * samples / (2 * np.pi)  # of a pulse that lasts one second
    return SlrPulse(rotation, width_hz(offset, profile(b1_hz, 1 / samples, offset)))


@lru_cache(maxsize=64)
def transition_of_ripples(flip_rad: float, time_bandwidth: float, passband: float, stopband: float) -> float:
    """Return the narrowest transition at which the simulated profile keeps within its ripples.

    The search begins at what Pauly et al. 1991 (doi:10.1109/42.75611) give for filters of equal ripples and
    widens the transition until the least-squares design keeps them.

    Parameters
    ----------
    flip_rad
        Up to 135 degrees the profile is that of an excitation, beyond that of a refocusing pulse.
    time_bandwidth
        Bandwidth times duration.
    passband, stopband
        Largest ripples of the magnetisation in and beside the slice, over what the pulse is to do.

    Returns
    -------
    Width of a transition band over the bandwidth.

    Raises
    ------
    InputError
        A ripple is not between 0 and 0.5, or no transition keeps within them at this time-bandwidth product.

    """
    if not 0 < passband < 0.5 or not 0 < stopband < 0.5:
        raise InputError(f"ripples: got {passband} and {stopband}, expected more than 0 and less than 0.5")
    refocusing = flip_rad > 0.75 * np.pi
    transition = max(_equal_ripples(refocusing, passband, stopband) / time_bandwidth, _TRANSITION_STEP)
    while transition < 1:
        if _keeps(
            design(flip_rad, time_bandwidth, transition),
            flip_rad,
            time_bandwidth,
            transition,
            passband,
            stopband,
        ):
            return transition
        transition += _TRANSITION_STEP
    raise InputError(
        f"ripples of {passband} and {stopband}: not reached by a pulse of time-bandwidth product "
        f"{time_bandwidth}; expected a larger one, or larger ripples"
    )


def _equal_ripples(refocusing: bool, passband: float, stopband: float) -> float:
    """Return the product of transition and time-bandwidth for filters of equal ripples."""
    pair = (passband / 4, np.sqrt(stopband)) if refocusing else (np.sqrt(passband / 2), stopband / np.sqrt(2))
    low, high = (float(np.log10(one)) for one in pair)
    product = (5.309e-3 * low**2 + 7.114e-2 * low - 4.761e-1) * high
    return product - 2.66e-3 * low**2 - 5.941e-1 * low - 4.278e-1


def _keeps(
    pulse: SlrPulse,
    flip_rad: float,
    time_bandwidth: float,
    transition: float,
    passband: float,
    stopband: float,
) -> bool:
    """Return whether the profile of a pulse, beyond its transition bands, is within the ripples."""
    b1_hz, step_s = pulse.b1_hz(1.0), 1.0 / pulse.samples
    half = time_bandwidth / 2
    inside, beyond = np.linspace(0, 1 - transition, 60) * half, np.linspace(1 + transition, 4, 200) * half
    if flip_rad > 0.75 * np.pi:
        kept, left, nominal = refocused(b1_hz, step_s, inside), refocused(b1_hz, step_s, beyond), 1.0
    else:
        kept, left = excited(b1_hz, step_s, inside), excited(b1_hz, step_s, beyond)
        nominal = float(np.sin(flip_rad))
    return bool(
        np.abs(np.abs(kept) - nominal).max() <= passband * nominal
        and np.abs(left).max() <= stopband * nominal
    )


def minimum_phase_rotation(
    flip_rad: float, time_bandwidth: float, transition: float, samples: int
) -> NDArray[np.float64]:
    """Return the hard pulses of a selective pulse whose B has minimum phase, the largest lobe last; (n,).

    The squared magnitude of B is a linear-phase filter of 2 n - 1 taps, lifted above zero by its own ripple.
    """
    length = 2 * samples - 1
    taps = _linear_phase_filter(length, 2 * time_bandwidth, transition, 10.0)
    grid = _grid(length)
    squared = np.fft.fft(np.roll(np.pad(taps, (0, grid - length)), -(samples - 1))).real
    squared = squared - min(float(squared.min()), 0.0) + _FLOOR
    squared /= squared.max()
    factor = _from_magnitude(np.sqrt(squared), samples) * min(np.sin(flip_rad / 2), _LARGEST_BETA)
    peak = np.abs(np.fft.fft(factor, _grid(samples))).max()
    factor *= min(1.0, _LARGEST_BETA / peak)
    return inverse_transform(factor)


def _linear_phase_filter(
    samples: int, time_bandwidth: float, transition: float, stopband_weight: float
) -> NDArray[np.float64]:
    """Return symmetric taps that fit 1 in the pass- and 0 in the stopband in the least-squares sense.

    Least squares, and not equal ripples: the latter leave spikes at both ends of the pulse.
    """
    pass_edge = np.pi * time_bandwidth / samples * (1 - transition)
    stop_edge = np.pi * time_bandwidth / samples * (1 + transition)
    half = samples // 2
    tau = np.asarray(np.arange(samples - half) + (0.5 if samples % 2 == 0 else 0.0), dtype=np.float64)
    plus, minus = tau[:, None] + tau[None], tau[:, None] - tau[None]

    def integral(order: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
        return np.asarray(edge * np.sinc(order * edge / np.pi))

    passband = 0.5 * (integral(plus, pass_edge) + integral(minus, pass_edge))
    stopband = 0.5 * (
        integral(plus, np.pi)
        + integral(minus, np.pi)
        - integral(plus, stop_edge)
        - integral(minus, stop_edge)
    )
    matrix = passband + stopband_weight * stopband
    cosines = scipy.linalg.solve(matrix, integral(tau, pass_edge), assume_a="sym")
    if samples % 2:
        cosines = np.concatenate([cosines[:1] * 2, cosines[1:]])
        return np.concatenate([cosines[:0:-1], cosines]) / 2
    return np.concatenate([cosines[::-1], cosines]) / 2


def inverse_transform(beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the flip angle of each hard pulse of the polynomial `beta` (real, |B| < 1); shape (n,)."""
    alpha, b = _minimum_phase(beta), beta.astype(float)
    rotation = np.zeros(beta.size)
    for j in range(beta.size - 1, -1, -1):
        rotation[j] = 2 * np.arctan2(b[0], alpha[0])
        cosine, sine = np.cos(rotation[j] / 2), np.sin(rotation[j] / 2)
        alpha, b = (cosine * alpha + sine * b)[:-1], (cosine * b - sine * alpha)[1:]
    return rotation


def _grid(samples: int) -> int:
    """Return the number of frequencies on which |B| is kept below one: one grid for all that rely on it."""
    return 1 << int(np.ceil(np.log2(_GRID_PER_TAP * samples)))


def _minimum_phase(beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the minimum-phase polynomial with |A|^2 = 1 - |B|^2 on the unit circle, by the cepstrum."""
    n = beta.size
    grid = _grid(n)
    return _from_magnitude(np.sqrt(1 - np.abs(np.fft.fft(beta, grid)) ** 2), n)


def _from_magnitude(magnitude: NDArray[np.float64], taps: int) -> NDArray[np.float64]:
    """Return the minimum-phase polynomial of a magnitude on the unit circle, by the cepstrum; (taps,)."""
    grid = magnitude.size
    cepstrum = np.fft.ifft(np.log(magnitude)).real
    fold = np.zeros(grid)
    fold[0], fold[1 : grid // 2], fold[grid // 2] = 1, 2, 1
    return np.asarray(np.fft.ifft(np.exp(np.fft.fft(cepstrum * fold))).real[:taps])


def cayley_klein(
    b1_hz: NDArray[np.complex128] | NDArray[np.float64],
    dwell_s: float,
    offset_hz: NDArray[np.float64],
    *,
    modulation: NDArray[np.float64] | None = None,
    shift_hz: float = 0.0,
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return what a piecewise constant pulse does to spins at `offset_hz`, in the frame of its carrier.

    Each sample is an exact rotation by sqrt(B1^2 + offset^2), not a hard pulse between two delays. With
    (a, b) the Cayley-Klein parameters, a spin at equilibrium ends with M_xy = 2 conj(a) b, and a transverse
    M_xy turns into conj(a)^2 M_xy - b^2 conj(M_xy).

    Parameters
    ----------
    b1_hz
        gamma B1 / 2 pi, shape (n,); complex for phase-modulated pulses.
    dwell_s
        Length of a sample.
    offset_hz
        Offset from the carrier, any shape; positive is a higher frequency.
    modulation
        Factor of the offset at the n + 1 edges of the samples, or in their n middles, for offsets that come from
        position under a gradient that changes; by default 1.
    shift_hz
        Offset that does not follow the modulation, such as a chemical shift.

    """
    factor = np.ones(np.size(b1_hz)) if modulation is None else modulation
    if factor.size == np.size(b1_hz) + 1:
        factor = (factor[1:] + factor[:-1]) / 2
    positions = np.asarray(offset_hz, float)
    a, b = np.ones(np.shape(offset_hz), complex), np.zeros(np.shape(offset_hz), complex)
    for b1, scale in zip(np.asarray(b1_hz, complex), factor, strict=True):
        offset_hz = scale * positions + shift_hz
        effective = np.sqrt(np.abs(b1) ** 2 + offset_hz**2)
        half = np.pi * dwell_s * effective
        sinc = np.pi * dwell_s * np.sinc(half / np.pi)
        # Rotation by 2 half about (b1, offset): the Bloch equation with positive sense exp(+i 2 pi f t).
        p = np.cos(half) - 1j * sinc * offset_hz
        q = -1j * sinc * b1
        a, b = p * a - np.conj(q) * b, q * a + np.conj(p) * b
    return a, b


def excited(b1_hz: NDArray[Any], dwell_s: float, offset_hz: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return M_xy that a pulse makes of M_z = 1, at the end of the pulse; shape of `offset_hz`."""
    a, b = cayley_klein(b1_hz, dwell_s, offset_hz)
    return np.asarray(2 * np.conj(a) * b)


def refocused(b1_hz: NDArray[Any], dwell_s: float, offset_hz: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the factor by which a pulse turns conj(M_xy) into M_xy: what survives symmetric crushers."""
    _, b = cayley_klein(b1_hz, dwell_s, offset_hz)
    return np.asarray(-(b**2))


def longitudinal(b1_hz: NDArray[Any], dwell_s: float, offset_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return M_z that a pulse leaves of M_z = 1; shape of `offset_hz`."""
    _, b = cayley_klein(b1_hz, dwell_s, offset_hz)
    return np.asarray(1 - 2 * np.abs(b) ** 2)


def width_hz(offset_hz: NDArray[np.float64], profile: NDArray[Any]) -> float:
    """Return the full width at half of the value at zero offset of a profile with one passband."""
    magnitude = np.abs(profile)
    half = 0.5 * np.interp(0.0, offset_hz, magnitude)
    inside = np.flatnonzero(magnitude >= half)
    centre = int(np.argmin(np.abs(offset_hz)))
    low = centre - int(np.argmin((magnitude >= half)[centre::-1]))
    high = centre + int(np.argmin((magnitude >= half)[centre:]))
    if inside.size == 0 or low == centre or high == centre:
        raise InputError("profile: does not fall to half of its value at the centre within the offsets given")

    def crossing(outside: int, next_in: int) -> float:
        f, m = offset_hz[[outside, next_in]], magnitude[[outside, next_in]]
        return float(f[0] + (half - m[0]) / (m[1] - m[0]) * (f[1] - f[0]))

    return crossing(high, high - 1) - crossing(low, low + 1)
