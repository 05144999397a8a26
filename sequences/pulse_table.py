"""Pulses as a table and as a picture: what they need and what they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.pulse import Pulse
from pulsespec.sequences.slr import cayley_klein

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 1.5
"""Offsets that are drawn, in bandwidths on each side."""


@dataclass(frozen=True)
class PulseRow:
    """What a pulse needs."""

    name: str
    use: str
    duration_ms: float
    bandwidth_hz: float
    """Full width at half maximum of the simulated profile."""
    time_bandwidth: float
    peak_b1_ut: float
    integral_ut_ms: float
    """Integral of |B1|."""
    energy_ut2_ms: float
    """Integral of |B1| squared, to which the deposited power is proportional."""
    centre: float
    """Position of the pulse's centre, as part of its duration."""
    modulated: bool
    """Whether the gradient changes during the pulse."""


def describe(pulse: Pulse, nucleus: str = "1H") -> PulseRow:
    """Return the row of a pulse."""
    b1_ut = np.abs(pulse.b1_hz) / gamma_hz_per_t(nucleus) * 1e6
    step_ms = pulse.step_s * 1e3
    return PulseRow(
        name=pulse.name,
        use=pulse.use,
        duration_ms=pulse.duration_s * 1e3,
        bandwidth_hz=pulse.bandwidth_hz,
        time_bandwidth=pulse.bandwidth_hz * pulse.duration_s,
        peak_b1_ut=float(b1_ut.max()),
        integral_ut_ms=float(b1_ut.sum() * step_ms),
        energy_ut2_ms=float(np.sum(b1_ut**2) * step_ms),
        centre=pulse.centre_s / pulse.duration_s,
        modulated=pulse.modulation is not None,
    )


def figure(pulses: Sequence[Pulse], nucleus: str = "1H") -> "Figure":
    """Return B1, frequency or gradient, and the simulated profile of each pulse, a row a pulse."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(12, 2.6 * len(pulses)), layout="constrained")
    axes = np.atleast_2d(made.subplots(len(pulses), 3, squeeze=False))
    for (shape, sweep, profile), pulse in zip(axes, pulses, strict=True):
        t_ms = (np.arange(pulse.b1_hz.size) + 0.5) * pulse.step_s * 1e3
        b1_ut = pulse.b1_hz / gamma_hz_per_t(nucleus) * 1e6
        real = np.abs(b1_ut.imag).max() < 1e-6 * np.abs(b1_ut).max()
        shape.plot(t_ms, b1_ut.real if real else np.abs(b1_ut), color="#1f4e79")
        shape.axvline(pulse.centre_s * 1e3, color="0.7", lw=0.8)
        shape.set(title=f"{pulse.name}: B1", ylabel="uT", xlabel="ms")
        _second(sweep, pulse)
        offset = np.linspace(-_SHOWN, _SHOWN, 801) * pulse.bandwidth_hz
        a, b = cayley_klein(pulse.b1_hz, pulse.step_s, offset, modulation=pulse.modulation)
        profile.plot(offset, np.abs(2 * np.conj(a) * b), label="|Mxy|, excited", color="#1f4e79")
        profile.plot(offset, 1 - 2 * np.abs(b) ** 2, label="Mz, left", color="#b5482a")
        profile.plot(offset, np.abs(b) ** 2, label="refocused", color="#3b7d3b", ls="--")
        profile.set(title="profile", xlabel="offset (Hz)", ylim=(-1.1, 1.1))
        profile.legend(fontsize=7, loc="lower right")
    return made


def _second(axes: object, pulse: Pulse) -> None:
    """Draw the gradient's modulation, or the frequency of a swept pulse."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    t_ms = np.arange(pulse.b1_hz.size + 1) * pulse.step_s * 1e3
    if pulse.modulation is not None:
        axes.plot(t_ms, pulse.modulation, color="#6a4c93")
        axes.set(title="gradient over its peak", xlabel="ms", ylim=(0, 1.05))
        return
    turn = np.unwrap(np.angle(pulse.b1_hz))
    swept = np.abs(pulse.b1_hz.imag).max() > 1e-6 * np.abs(pulse.b1_hz).max()
    frequency = np.gradient(turn, pulse.step_s) / (2 * np.pi) if swept else np.zeros(turn.size)
    axes.plot(t_ms[:-1], frequency, color="#6a4c93")
    axes.set(title="frequency", xlabel="ms", ylabel="Hz")
