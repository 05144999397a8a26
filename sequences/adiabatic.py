"""Adiabatic full passages: hyperbolic secant and GOIA-WURST.

A passage sweeps its frequency through the slice while B1 is strong enough to drag the magnetisation along; more
B1 than it needs changes nothing. One passage inverts, two equal ones refocus: the phase that the first gives to
spins along the slice is taken away by the second.
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.sequences.pulse import Pulse
from pulsespec.sequences.slr import cayley_klein, width_hz

_REQUIRED = 0.92
"""Least mean refocusing of a pair over the middle of its band, with a tenth less B1 and a tenth more."""

_MIDDLE = 0.8
"""Part of the band over which it is required."""

_BETTER = 0.005
"""By how much more B1 must refocus to be used."""


def goia_wurst(
    duration_s: float,
    bandwidth_hz: float,
    step_s: float,
    max_b1_hz: float,
    *,
    gradient_factor: float = 0.9,
    b1_order: int = 16,
    gradient_order: int = 4,
) -> Pulse:
    """Design a gradient-modulated passage with offset-independent adiabaticity and WURST modulation.

    B1 is 1 - |sin(pi t / 2)|^16 and the gradient 1 - f + f |sin(pi t / 2)|^4 over t from -1 to 1; the frequency
    sweep is the gradient times the integral of B1 squared over gradient, which keeps the adiabaticity equal for
    all positions (Tannus and Garwood, NMR Biomed 1997;10:423-434; with WURST: Andronesi et al., J Magn Reson
    2010;203:283-293). Of the B1 up to `max_b1_hz`, the one is
    taken that refocuses best as a pair while B1 in the voxel is off by a tenth.

    Parameters
    ----------
    duration_s, step_s
        Length of the pulse and of its steps.
    bandwidth_hz
        Sweep at the peak gradient: thickness of the slice times that gradient.
    max_b1_hz
        Largest gamma B1 / 2 pi.
    gradient_factor
        f: how far the gradient dips in the middle.
    b1_order, gradient_order
        Exponents of the two modulations.

    Raises
    ------
    SequenceError
        The bandwidth needs more B1 than `max_b1_hz`; the message gives the largest that does not.

    """
    samples = round(duration_s / step_s)

    def shaped(bandwidth: float) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        return _goia(samples, step_s, bandwidth, gradient_factor, b1_order, gradient_order)

    shape, modulation = shaped(bandwidth_hz)
    peak = _best_b1(shape, modulation, step_s, bandwidth_hz, max_b1_hz)
    if peak is None:
        widest = bandwidth_hz
        while _best_b1(*shaped(widest), step_s, widest, max_b1_hz) is None:
            widest *= 0.97
            if widest < 1 / duration_s:
                raise SequenceError(
                    f"adiabatic pulse: {duration_s * 1e3:g} ms are too short for any band at this B1"
                )
        raise SequenceError(
            f"adiabatic pulse: {bandwidth_hz:g} Hz in {duration_s * 1e3:g} ms needs more B1 than there is: "
            f"expected at most {widest:.0f} Hz, or a longer pulse"
        )
    b1_hz = peak * shape
    width = _width(b1_hz, modulation, step_s, bandwidth_hz)
    return Pulse("adiabatic", "refocusing", b1_hz, duration_s, width, duration_s / 2, modulation)


def _goia(
    samples: int, step_s: float, bandwidth_hz: float, factor: float, b1_order: int, gradient_order: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Return the shape with peak 1 on the middles of the steps and the gradient on their edges."""
    fine = 16  # points a step for the integrals of the sweep
    time = np.linspace(-1, 1, samples * fine + 1)
    amplitude = 1 - np.abs(np.sin(np.pi / 2 * time)) ** b1_order
    gradient = 1 - factor + factor * np.abs(np.sin(np.pi / 2 * time)) ** gradient_order
    sweep = gradient * _integral(amplitude**2 / gradient)
    sweep *= bandwidth_hz / 2 / sweep[-1]
    # The pulse's own phase turns with the frequency of the spins it is on.
    phase = 2 * np.pi * _integral(sweep) * step_s / fine
    middles = slice(fine // 2, None, fine)
    return amplitude[middles] * np.exp(1j * phase[middles]), gradient[::fine]


def _integral(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running integral over unit steps, zero in the middle; same shape."""
    total = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2)])
    return np.asarray(total - total[total.size // 2])


def pair_refocused(
    b1_hz: NDArray[np.complex128],
    step_s: float,
    offset_hz: NDArray[np.float64],
    *,
    modulation: NDArray[np.float64] | None = None,
    shift_hz: float = 0.0,
) -> NDArray[np.complex128]:
    """Return what two equal pulses leave of M_xy along the pathway that both invert; shape of `offset_hz`.

    `offset_hz` is that of the position at the peak gradient, `shift_hz` the chemical shift from the carrier,
    whose evolution between the pulses an echo takes away.
    """
    _, b = cayley_klein(b1_hz, step_s, offset_hz, modulation=modulation, shift_hz=shift_hz)
    return np.asarray(np.conj(-(b**2)) * -(b**2))


def _best_b1(
    shape: NDArray[np.complex128],
    modulation: NDArray[np.float64] | None,
    step_s: float,
    bandwidth_hz: float,
    max_b1_hz: float,
) -> float | None:
    """Return the peak B1 in Hz that the passage is played at, or `None` where none is enough."""
    offset = np.linspace(-0.5, 0.5, 41) * _MIDDLE * bandwidth_hz

    def kept(peak: float) -> float:
        pair = pair_refocused(peak * shape, step_s, offset, modulation=modulation)
        return float(np.abs(pair).mean())

    best, peak = _REQUIRED, None
    for trial in np.arange(0.4, 1.0001, 0.05) * max_b1_hz:
        worst = min(kept(trial * scale) for scale in (0.9, 1.0, 1.1))
        if worst > best:
            best, peak = worst + _BETTER, float(trial)
    return peak


def _width(
    b1_hz: NDArray[np.complex128], modulation: NDArray[np.float64] | None, step_s: float, bandwidth_hz: float
) -> float:
    """Return the full width at half maximum of what a pair refocuses."""
    offset = np.linspace(-1, 1, 1001) * bandwidth_hz
    return width_hz(offset, pair_refocused(b1_hz, step_s, offset, modulation=modulation))


def hyperbolic_secant(
    duration_s: float, bandwidth_hz: float, step_s: float, max_b1_hz: float, *, truncation: float = 0.01
) -> Pulse:
    """Design a hyperbolic secant inversion (Silver, Joseph, Hoult, Phys Rev A 1985;31:2753-2755).

    B1 is sech(beta t), its frequency -bandwidth / 2 tanh(beta t); `truncation` is B1 at the ends over its peak.
    Raises `SequenceError` where the band needs more B1 than `max_b1_hz`.
    """
    samples = round(duration_s / step_s)
    time = (np.arange(samples) + 0.5) / samples * 2 - 1
    beta = np.arccosh(1 / truncation)
    # The phase is the integral of the sweep bandwidth / 2 tanh(beta t) over half of the duration.
    phase = np.pi * bandwidth_hz * duration_s / 2 * np.log(np.cosh(beta * time)) / beta
    shape = np.exp(1j * phase) / np.cosh(beta * time)
    peak = _best_b1(shape, None, step_s, bandwidth_hz, max_b1_hz)
    if peak is None:
        raise SequenceError(
            f"hyperbolic secant: {bandwidth_hz:g} Hz in {duration_s * 1e3:g} ms needs more than "
            f"{max_b1_hz:.0f} Hz of B1: expected a longer pulse or a narrower band"
        )
    width = _width(peak * shape, None, step_s, bandwidth_hz)
    return Pulse("inversion", "inversion", peak * shape, duration_s, width, duration_s / 2)
