"""What a written `.seq` selects, measured by simulating its own samples: slices, displacement, echo time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.slr import width_hz
from pulsespec.sequences.voxel import Profile, Transfer, Vector, Voxel, wanted_pathway
from pulsespec.simulator.timeline import Pulse, Shot, Timeline, read_timeline

RESONANCES_PPM = {"Lac": 1.31, "NAA": 2.01, "Cr": 3.03, "Cho": 3.2, "Ins": 3.56, "water": 4.65}
"""Singlets and multiplets whose displacement is reported."""

_STEP_HZ = 2.0
"""Half of the step of a derivative by frequency."""
_HALF = 0.5


@dataclass(frozen=True)
class SelectivePulse:
    """One slice-selective pulse of the localisation, as it is in the file."""

    number: int
    """Position among the localisation pulses, from 1."""
    axis: str
    """Of the voxel."""
    duration_s: float
    peak_b1_ut: float
    centre_m: float
    """Of its slice for the carrier's resonance, from the isocentre along the axis."""
    thickness_m: float
    """Full width at half maximum of its slice."""
    percent_per_ppm: float
    """How far the slice moves for a resonance 1 ppm away, over its thickness."""


@dataclass(frozen=True)
class Localisation:
    """What a sequence selects and when its echo is."""

    pulses: tuple[SelectivePulse, ...]
    positions_m: Vector
    """Along each axis of the voxel from its centre; (n,)."""
    profiles: Vector
    """What is left of the signal along each axis, of all its pulses, for the carrier's resonance; (3, n)."""
    displacement_mm: dict[str, tuple[float, float, float]]
    """Shift of the voxel of each resonance along its axes, from that of the carrier."""
    overlap: dict[str, float]
    """Part of the nominal voxel that each resonance's voxel shares with it, both as boxes."""
    echo_time_s: float
    """From the centre of the excitation to where the chemical shift of the wanted pathway is refocused, less the
    time in which coherence is stored."""
    first_sample_s: float
    """The same to the first sample."""
    mixing_time_s: float
    """Time in which the wanted coherence is stored along z; 0 where it never is."""


def localisation(source: Path | Timeline) -> Localisation:
    """Return what a `.seq` selects; its first metabolite shot, or its first one for water.

    Raises
    ------
    SequenceError
        The file does not say its pathway, or a pulse selects along no axis of the voxel.

    """
    timeline = source if isinstance(source, Timeline) else read_timeline(Path(source))
    wanted = wanted_pathway(timeline)
    water = not timeline.select(water_reference=False)
    shot = max(timeline.select(water_reference=water), key=lambda one: _weakest(one, len(wanted)))
    pulses = shot.pulses[-len(wanted) :]
    key = "WaterCarrierPPM" if water else "CarrierPPM"
    carrier_ppm = float(np.ravel(timeline.definitions.get(key, timeline.reference_ppm))[0])
    sight = _Sight(timeline, pulses, wanted)
    moved = {name: sight.centres(ppm) - sight.centres(carrier_ppm) for name, ppm in RESONANCES_PPM.items()}
    extent = None if timeline.voxel is None else timeline.voxel.size_m
    share = {
        name: float(np.prod(np.clip(1 - np.abs(shift) / extent, 0, 1))) if extent is not None else 1.0
        for name, shift in moved.items()
    }
    first_s, echo_s, stored_s = _times(sight, carrier_ppm)
    line = sight.voxel.positions[0] - sight.voxel.positions[0].mean()
    return Localisation(
        tuple(_describe(sight, k, carrier_ppm) for k, p in enumerate(pulses) if sight.axis(p) is not None),
        line,
        sight.profiles(carrier_ppm),
        {name: tuple((shift * 1e3).tolist()) for name, shift in moved.items()},
        share,
        echo_s,
        first_s,
        stored_s,
    )


def _weakest(shot: Shot, count: int) -> float:
    """Return the peak of the weakest localisation pulse: a shot in which one is silent says less."""
    return min(float(np.abs(pulse.rf.b1_hz).max()) for pulse in shot.pulses[-count:])


class _Sight:
    """The localisation pulses of a shot, seen along the axes of the voxel."""

    def __init__(self, timeline: Timeline, pulses: Sequence[Pulse], wanted: tuple[int, ...]) -> None:
        self.timeline, self.pulses = timeline, pulses
        self.voxel = Voxel.of(timeline)
        self._transfers: dict[tuple[object, ...], Transfer] = {}
        self.changes = list(zip(wanted, (0, *wanted[:-1]), strict=True))

    def axis(self, pulse: Pulse) -> int | None:
        return self.voxel.axis_of(pulse)

    def spin_hz(self, ppm: float) -> float:
        return (ppm - self.timeline.reference_ppm) * 1e-6 * self.timeline.f0_hz

    def transfer(self, number: int, spin_hz: float) -> Profile:
        """Return what a pulse makes of the wanted order; equal pulses are simulated once."""
        pulse = self.pulses[number]
        rf = pulse.rf
        key = (rf.b1_hz.tobytes(), rf.gradient_hz_per_m.tobytes(), rf.offset_hz, rf.duration_s, spin_hz)
        if key not in self._transfers:
            self._transfers[key] = self.voxel.transfer(pulse, spin_hz)
        return self._transfers[key][self.changes[number]]

    def profile(self, number: int, spin_hz: float) -> Vector:
        """Return what the wanted pathway keeps at one pulse; along its axis (n,).

        Of an inversion it is the part that shots with and without it differ by.
        """
        turned = self.transfer(number, spin_hz)
        if self.changes[number] == (0, 0):
            return np.asarray((1 - turned.real) / 2)
        return np.asarray(np.abs(turned))

    def profiles(self, ppm: float) -> Vector:
        """Return what all pulses keep along each axis; (3, n)."""
        kept = np.ones((3, self.voxel.density.size))
        for number, pulse in enumerate(self.pulses):
            axis = self.axis(pulse)
            if axis is not None:
                kept[axis] *= self.profile(number, self.spin_hz(ppm))
        return kept

    def centres(self, ppm: float) -> Vector:
        """Return the middle of the profile along each axis in m; where no pulse selects, zero."""
        result = np.zeros(3)
        for axis, kept in enumerate(self.profiles(ppm)):
            if kept.min() < _HALF * kept.max():
                result[axis] = _middle(self.voxel.positions[axis], kept)
        return result


def _middle(x_m: Vector, profile: Vector) -> float:
    """Return the middle between the two places where a profile passes half of its maximum."""
    above = np.flatnonzero(profile >= _HALF * profile.max())
    return float((_crossing(x_m, profile, above[0], -1) + _crossing(x_m, profile, above[-1], 1)) / 2)


def _crossing(x_m: Vector, profile: Vector, inside: int, step: int) -> float:
    outside = min(max(int(inside) + step, 0), x_m.size - 1)
    if outside == inside:
        return float(x_m[inside])
    half = _HALF * profile.max()
    share = (profile[inside] - half) / (profile[inside] - profile[outside])
    return float(x_m[inside] + share * (x_m[outside] - x_m[inside]))


def _describe(sight: _Sight, number: int, carrier_ppm: float) -> SelectivePulse:
    pulse = sight.pulses[number]
    axis = sight.axis(pulse)
    assert axis is not None
    x_m = sight.voxel.positions[axis]
    at, beside = (sight.profile(number, sight.spin_hz(carrier_ppm + ppm)) for ppm in (0.0, 1.0))
    centre_m = _middle(x_m, at)
    thickness_m = width_hz(x_m - centre_m, at)
    gamma = gamma_hz_per_t(sight.timeline.nucleus)
    return SelectivePulse(
        number=number + 1,
        axis="xyz"[axis],
        duration_s=pulse.rf.duration_s,
        peak_b1_ut=float(np.abs(pulse.rf.b1_hz).max()) / gamma * 1e6,
        centre_m=centre_m,
        thickness_m=thickness_m,
        percent_per_ppm=100 * abs(_middle(x_m, beside) - centre_m) / thickness_m,
    )


def _times(sight: _Sight, carrier_ppm: float) -> tuple[float, float, float]:
    """Return the time from the excitation's centre to the first sample and to the echo, and that of storage.

    The centre is where the phase of the excited slice seems to begin; what phase is left at the first sample
    for a spin a little off resonance says how far the echo is from there.
    """
    slopes = [_slope_s(sight, number, sight.spin_hz(carrier_ppm)) for number in range(len(sight.pulses))]
    first = next(k for k, (new, old) in enumerate(sight.changes) if new and not old)
    lengths = [pulse.rf.duration_s + pulse.delay_s for pulse in sight.pulses]
    # A pulse that excites order n leaves the phase -n x offset x the time since its centre.
    whole_s = (
        sum(lengths[first:]) - sight.pulses[first].rf.duration_s - sight.changes[first][0] * slopes[first]
    )
    left_s = sum(slopes) - sum(
        new * pulse.delay_s for pulse, (new, _) in zip(sight.pulses, sight.changes, strict=True)
    )
    stored_s = 0.0
    for k in range(first, len(sight.pulses) - 1):
        if sight.changes[k][0] == 0:
            before_s, after_s = -sight.changes[k][1] * slopes[k], -sight.changes[k + 1][0] * slopes[k + 1]
            stored_s += lengths[k] - before_s + sight.pulses[k + 1].rf.duration_s - after_s
    return whole_s - stored_s, whole_s - stored_s - left_s, stored_s


def _slope_s(sight: _Sight, number: int, spin_hz: float) -> float:
    """Return the change of phase with frequency, in turns a Hz, that a pulse gives to its slice."""
    if sight.changes[number] == (0, 0):
        return 0.0
    low, high = (sight.transfer(number, spin_hz + shift) for shift in (-_STEP_HZ, _STEP_HZ))
    turned = high * np.conj(low)
    size = np.sqrt(np.abs(turned))
    turned = turned[size >= _HALF * size.max()]
    return float(np.angle(np.sum(turned))) / (2 * np.pi) / (2 * _STEP_HZ)
