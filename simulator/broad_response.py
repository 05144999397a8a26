"""Macromolecules and lipids through a sequence: each peak with what localisation and editing leave of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsespec.simulator.basis import Basis, Lines, merge_lines
from pulsespec.simulator.engine import Plan, simulate_system
from pulsespec.simulator.simulate import Settings, plan_shots
from pulsespec.simulator.timeline import Timeline, read_timeline
from pulsespec.simulator.tissue_lines import tissue_lines

_TOLERANCE = 1e-3
"""Of the amplitude of a peak: far below what is known of it."""
_MERGE_HZ = 0.05


@dataclass(frozen=True)
class Partner:
    """What a macromolecular peak is coupled to."""

    from_ppm: float
    """Peaks from here"""
    to_ppm: float
    """to here are meant."""
    ppm: float
    """Where the partner lies."""
    protons: int
    j_hz: float


PARTNERS = (Partner(2.95, 3.05, 1.70, 2, 7.8), Partner(0.85, 0.97, 2.05, 1, 7.7))
"""Couplings that an editing pulse near 1.9 ppm acts on: M3.00 to M1.70 (lysine) and M0.94 to M2.05 (leucine,
isoleucine, valine); shifts and J from table 1 of Cudalbu et al. 2021, doi:10.1002/nbm.4393. The numbers of partners
are those of the amino acids."""


def broad_through(
    sequence: Path, bases: Mapping[int, Basis], names: Sequence[str]
) -> dict[int, dict[str, Lines]]:
    """Return the lines of broad components through a `.seq`, by editing condition.

    Each peak counts as an uncoupled spin at its place, so that a sequence that halves metabolites halves it too,
    and an editing pulse acts on it. Where there are several conditions, peaks of `PARTNERS` are multiplets that evolve
    and are edited; in other sequences they keep the shape and size that fits without couplings found. Phases are
    those of the bases.
    """
    basis = bases[min(bases)]
    lines = tissue_lines(basis.f0_hz, names, basis.reference_ppm)
    return lines_through(sequence, bases, lines, names if len(bases) > 1 else ())


def lines_through(
    sequence: Path,
    bases: Mapping[int, Basis],
    lines: Mapping[str, Lines],
    coupled: Collection[str] = (),
) -> dict[int, dict[str, Lines]]:
    """Return lines of broad components through a `.seq`, by editing condition.

    Parameters
    ----------
    sequence
        The `.seq` file.
    bases
        What it makes of metabolites in each condition; phases are theirs.
    lines
        Components as without loss.
    coupled
        Components whose peaks are coupled where `PARTNERS` says so; all others are uncoupled.

    """
    if not lines:
        return {condition: {} for condition in bases}
    basis = bases[min(bases)]
    timeline = read_timeline(sequence, basis.f0_hz)
    carrier_ppm = float(np.ravel(timeline.definitions.get("CarrierPPM", basis.reference_ppm))[0])
    to_hz = basis.f0_hz * 1e-6
    turn = 1.0 + 0j
    found: dict[int, dict[str, Lines]] = {}
    for condition in sorted(bases):
        plans = _plans(sequence, timeline, condition)
        if not found:
            turn = np.exp(
                -1j * np.angle(_peak(plans, (carrier_ppm - basis.reference_ppm) * to_hz).amplitude.sum())
            )
        known: dict[tuple[float, Partner | None], Lines] = {}
        found[condition] = {}
        for name, one in lines.items():
            peaks = []
            for hz in one.frequency_hz:
                partner = _partner(hz / to_hz + basis.reference_ppm) if name in coupled else None
                if (hz, partner) not in known:
                    known[hz, partner] = _peak(plans, float(hz), partner, to_hz, basis.reference_ppm)
                peaks.append(known[hz, partner])
            found[condition][name] = _played(one, peaks, turn)
    return found


def _partner(ppm: float) -> Partner | None:
    return next((one for one in PARTNERS if one.from_ppm <= ppm <= one.to_ppm), None)


def _plans(sequence: Path, timeline: Timeline, condition: int) -> tuple[Plan, ...]:
    shots = timeline.select(water_reference=False, condition=condition)
    return plan_shots(sequence, timeline, shots, Settings(tolerance=_TOLERANCE))


def _peak(
    plans: Sequence[Plan],
    hz: float,
    partner: Partner | None = None,
    to_hz: float = 1.0,
    reference_ppm: float = 0.0,
) -> Lines:
    """Return the lines of one proton, the mean over shots, whose sum is 1 where nothing is lost or evolves."""
    count = 0 if partner is None else partner.protons
    shift, j_hz = np.full(1 + count, hz), np.zeros((1 + count, 1 + count))
    if partner is not None:
        shift[1:] = (partner.ppm - reference_ppm) * to_hz
        j_hz[0, 1:] = j_hz[1:, 0] = partner.j_hz
    repeats = np.array([len(plan.shot.phases) for plan in plans], dtype=float)
    frequency, amplitude = [], []
    for plan, share in zip(plans, repeats / repeats.sum(), strict=True):
        made = simulate_system(plan, (0.5,) * (1 + count), shift, j_hz)
        own = np.ones(made.frequency_hz.size, dtype=bool)
        if count:
            own = np.abs(made.frequency_hz - hz) < np.abs(made.frequency_hz - shift[-1])
        frequency.append(made.frequency_hz[own])
        amplitude.append(share * 2.0 ** (1 - count) * made.amplitude[own])
    return merge_lines(Lines(np.concatenate(frequency), np.concatenate(amplitude)), _MERGE_HZ)


def _played(lines: Lines, peaks: Sequence[Lines], turn: complex) -> Lines:
    """Return lines each of which is played as one of `peaks`; widths stay."""
    gauss = np.zeros(lines.frequency_hz.size) if lines.gauss_hz is None else lines.gauss_hz
    lorentz = np.zeros(lines.frequency_hz.size) if lines.lorentz_hz is None else lines.lorentz_hz
    sizes = [peak.frequency_hz.size for peak in peaks]
    return Lines(
        np.concatenate([peak.frequency_hz for peak in peaks]),
        turn * np.concatenate([peak.amplitude for peak in peaks]) * np.repeat(lines.amplitude, sizes),
        np.repeat(lorentz, sizes),
        np.repeat(gauss, sizes),
    )
