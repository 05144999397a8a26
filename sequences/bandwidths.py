"""How far each pulse displaces the voxel of one resonance against that of another, by design."""

from dataclasses import dataclass

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.design import Design
from pulsespec.sequences.scanner import Scanner


@dataclass(frozen=True)
class Displacement:
    """Bandwidth, peak B1 and displacement of one slice-selective pulse."""

    name: str
    axis: str
    duration_s: float
    bandwidth_hz: float
    peak_b1_ut: float
    percent_per_ppm: float
    """Shift of the slice, in percent of its thickness, for each ppm between two resonances."""


def displacements(design: Design, scanner: Scanner) -> tuple[Displacement, ...]:
    """Return what the bandwidth of each slice-selective pulse of a design means at the scanner's field."""
    gamma = gamma_hz_per_t(scanner.nucleus)
    played = [slot.first for slot in design.slots]
    return tuple(
        Displacement(
            name=one.name,
            axis=one.axis,
            duration_s=one.pulse.duration_s,
            bandwidth_hz=one.pulse.bandwidth_hz,
            peak_b1_ut=one.pulse.peak_hz / gamma * 1e6,
            percent_per_ppm=100 * scanner.f0_hz * 1e-6 / one.pulse.bandwidth_hz,
        )
        for one in played
        if one.axis is not None
    )
