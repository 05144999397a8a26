r"""Concentric rings: each shot turns around one circle of k-space again and again while the spectrum evolves.

    k   ring r has the radius r / FOV, r = 0 (the centre, without a gradient) to half of the matrix
    Gx  ________/\    /\    /\    ____
                  \  /  \  /  \  /
                   \/    \/    \/
    Gy      ____    /\    /\    ____
           /    \  /  \  /  \  /    \
        __/ lead \/    \/    \/      \__
                |turn 0|turn 1|...

(Furuyama et al., MRM 2012;67:1515-1522, recalled; rings at 7 T: Chiew et al., NMR Biomed 2018, doi:10.1002/nbm.3838.)
A turn takes the time between two points of the spectrum, times the number of interleaves, whose shots begin that
fraction of a turn later. Lobes before bring k to where the turns begin once Gy has risen: to the x axis of the voxel.
Those after bring it back to the centre, so that every ring leaves the spins alike. All rings play the same waveform,
scaled by their radius. At the corners of the gradients k lies on the circle to rounding, for their amplitude allows for
the straight lines between them.
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.protocols.schema import Train
from pulsespec.sequences.encoding import largest_radius
from pulsespec.sequences.pulses import ceil_to, on_raster
from pulsespec.sequences.readout import Readout, sampling
from pulsespec.sequences.scanner import Scanner

Floats = NDArray[np.float64]


def rings(protocol: Protocol, settings: Train, scanner: Scanner) -> Readout:
    """Return a readout that turns around rings, for a ring of 1 cycle/m.

    Raises
    ------
    SequenceError
        A turn is off the rasters, or its gradients are more than the scanner has; the message says what would do.

    """
    assert protocol.encoding is not None
    fov_m = protocol.encoding.fov_mm[0] * 1e-3
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    turn_s = settings.interleaves / protocol.spectral_width_hz
    step_s = turn_s / settings.interleaves
    _require_raster(protocol, settings, scanner, turn_s, raster)
    radius = largest_radius(protocol)
    rate = _rate_hz(turn_s, raster)
    slew = settings.slew_share * scanner.max_slew_hz_per_m_per_s
    if radius * rate > scanner.max_grad_hz_per_m or radius * rate * 2 * np.pi / turn_s > slew:
        raise SequenceError(_unreachable(protocol, settings, scanner, radius))
    lead_s = ceil_to(radius * rate / slew, raster)
    turns = protocol.points // settings.interleaves
    times, gradients = _waveform(turn_s, turns, lead_s, raster, rate)
    around = 2 * np.pi * radius * fov_m / turn_s
    samples, dwell_s = sampling(protocol, scanner, turn_s, around * settings.oversampling)
    aside = rate * lead_s / 2
    return Readout(
        samples * turns,
        dwell_s,
        lead_s,
        times,
        gradients,
        lead_s,
        (1.0, -aside, 0.0),
        (-1.0, -aside, 0.0),
        ring=True,
        interleaves=settings.interleaves,
        interleave_s=step_s,
        definitions=(
            ("Readout", "rings"),
            ("RingSpacing", 1 / fov_m),
            ("TurnDuration", turn_s),
            ("Turns", turns),
            ("TurnSamples", samples),
            ("Interleaves", settings.interleaves),
            ("LeadTime", lead_s),
        ),
    )


def _rate_hz(turn_s: float, raster_s: float) -> float:
    """Return the gradient amplitude in Hz/m of a ring of 1 cycle/m whose corners are `raster_s` apart."""
    half_step = np.pi * raster_s / turn_s
    return float(2 * np.tan(half_step) / raster_s)


def _waveform(
    turn_s: float, turns: int, lead_s: float, raster_s: float, rate_hz: float
) -> tuple[Floats, Floats]:
    """Return the corners (n,) in s and the gradients along x and y (2, n) of a ring of 1 cycle/m."""
    steps = round(turn_s / raster_s) * turns
    angle = 2 * np.pi * np.arange(steps + 1) * raster_s / turn_s
    turning = rate_hz * np.stack([-np.sin(angle), np.cos(angle)])
    times = np.concatenate([[0.0], lead_s + np.arange(steps + 1) * raster_s, [2 * lead_s + steps * raster_s]])
    return np.round(times, 10), np.asarray(np.pad(turning, ((0, 0), (1, 1))), np.float64)


def _require_raster(
    protocol: Protocol, settings: Train, scanner: Scanner, turn_s: float, raster_s: float
) -> None:
    if on_raster(turn_s / settings.interleaves, raster_s):
        return
    step = max(1, round(turn_s / settings.interleaves / raster_s)) * raster_s
    raise SequenceError(
        f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} has points every "
        f"{turn_s / settings.interleaves * 1e6:.2f} us, off the {raster_s * 1e6:g} us raster of {scanner.name}; "
        f"the nearest is {1 / step:.6g} Hz"
    )


def _unreachable(protocol: Protocol, settings: Train, scanner: Scanner, radius_per_m: float) -> str:
    """Return how far the gradients are from the spectral width, and what would do."""
    slew = settings.slew_share * scanner.max_slew_hz_per_m_per_s
    shortest_s = 2 * np.pi * max(np.sqrt(radius_per_m / slew), radius_per_m / scanner.max_grad_hz_per_m)
    return (
        f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} with {settings.interleaves} "
        f"interleaves is more than the gradients of {scanner.name} reach on rings of this resolution: expected at most "
        f"{np.floor(settings.interleaves / shortest_s):.0f} Hz, or "
        f"{int(np.ceil(protocol.spectral_width_hz * shortest_s))} interleaves"
    )
