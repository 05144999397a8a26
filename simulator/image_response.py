"""What a sequence makes of each tissue of a head: lines of metabolites and water, relaxation and history included.

Amplitudes are those of the whole slab over its nominal thickness, as in a `Basis`; `image_slab` says what of them
comes from where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import SequenceError
from pulsespec.simulator.basis import Lines, render
from pulsespec.simulator.engine import Made, Plan, simulate_system
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.head_shapes import NO_BRAIN, WHITE
from pulsespec.simulator.relaxation import NONE, Relaxation
from pulsespec.simulator.simulate import WATER_PPM, Settings, plan_shots
from pulsespec.simulator.spinsystem import Metabolite, load_metabolites
from pulsespec.simulator.steady_state import Cycle, cycle_of, start_of
from pulsespec.simulator.timeline import Shot, Timeline, read_timeline
from pulsespec.simulator.tissue import WATER, Tissue
from pulsespec.simulator.tissue_lines import tissue_lines
from pulsespec.simulator.trajectory import Trajectory, read_trajectory

_SHORT = (128, 1e-3)
"""Samples and dwell time in s by which lines are compared."""
_MIDDLE_PPM = 2.0
"""Where signals stand for all metabolites and macromolecules."""
FAT_LINES = "Fat"
"""Lines of adipose tissue."""
_LEAST = 1e-7
"""Lines weaker than this share of a tissue's strongest are left out."""


@dataclass(frozen=True)
class Response:
    """What each tissue gives through the sequence, per volume of that tissue, in mM of protons; Pulseq sense."""

    metabolite: Mapping[str, Lines]
    """By tissue, at the first sample or echo of a metabolite shot; natural widths included."""
    water: Mapping[str, Lines]
    """The same of a water shot, fat included; empty where the sequence has none."""
    residual: Mapping[str, Lines]
    """Water as a metabolite shot would have it without suppression."""
    reference: str
    """Tissue that the signal-to-noise ratio is measured in: white matter, else the first that is brain."""
    plan: Plan
    """The metabolite shot in the centre of k-space."""
    water_plan: Plan | None


@dataclass(frozen=True)
class _Shots:
    """The two kinds of shots, and the cycle that they are repeated in."""

    metabolite: Plan
    water: Plan | None
    cycle: Cycle | None
    """All pulses of a repetition, where water is measured in the same as metabolites."""
    turn: complex
    timeline: Timeline


def responses(
    path: Path,
    timeline: Timeline,
    trajectory: Trajectory,
    tissues: Mapping[str, Tissue],
    *,
    relaxation: bool = True,
    macromolecules: float = 1.0,
    lipid: float = 1.0,
    tolerance: float = 1e-3,
) -> Response:
    """Return what a sequence makes of tissues.

    Each metabolite passes the engine once a tissue, with the tissue's T1 and T2 and the longitudinal magnetisation
    that the steady state of the whole repetition leaves; macromolecules and fat are uncoupled spins.

    Raises
    ------
    SequenceError
        The sequence has no metabolite shot, or editing conditions.
    InputError
        A tissue has a metabolite that the table of spin systems lacks.

    """
    shots = _shots(path, timeline, trajectory, tolerance)
    tissues = {name: _scaled(tissue, macromolecules, lipid) for name, tissue in tissues.items()}
    names = list(dict.fromkeys(name for tissue in tissues.values() for name in tissue.concentrations))
    metabolites = load_metabolites(names)
    made: dict[tuple[str, int, int], Made] = {}
    found = {
        name: _tissue_metabolites(tissue, shots, metabolites, relaxation, made)
        for name, tissue in tissues.items()
    }
    brain = [name for name in tissues if name not in NO_BRAIN]
    return Response(
        found,
        {name: _tissue_water(tissue, shots, relaxation) for name, tissue in tissues.items()},
        {name: _residual(tissue, shots, relaxation) for name, tissue in tissues.items()},
        WHITE if WHITE in tissues or not brain else brain[0],
        shots.metabolite,
        shots.water,
    )


def relaxation_shares(path: Path, tissue: Tissue) -> dict[str, float]:
    """Return what T1 and T2 of a tissue leave of each metabolite and of water, through the whole repetition.

    Inversions, suppression and the water pulse of the same repetition count, which exp(-TE / T2) (1 - exp(-TR / T1))
    leaves out: what an image is quantified with. Of a metabolite it is the real share, in the least-squares sense, of
    its lines without relaxation (0 where it is nulled, negative where T1 has turned it); `water` is that of the water
    shots.
    """
    timeline, trajectory = read_timeline(path), read_trajectory(path)
    shots = _shots(path, timeline, trajectory, 1e-3)
    metabolites = load_metabolites(list(tissue.concentrations))
    made: dict[tuple[str, int, int], Made] = {}
    found = {}
    for name, metabolite in metabolites.items():
        whole = render(_metabolite(metabolite, shots, NONE, made), *_SHORT)
        left = render(_metabolite(metabolite, shots, _times(tissue, name, shots, True), made), *_SHORT)
        found[name] = float(np.vdot(whole, left).real / np.vdot(whole, whole).real)
    if shots.water is not None:
        kept, alone = (abs(_tissue_water(tissue, shots, way).amplitude[0]) for way in (True, False))
        found[WATER] = float(kept / alone)
    return found


def longitudinal_shares(path: Path, t1_s: Sequence[float]) -> list[float]:
    """Return what the whole repetition of a `.seq` leaves of uncoupled spins by their T1, negative where upside down.

    Inversions, suppression and the water pulse of the same repetition count; T2 does not.
    """
    timeline, trajectory = read_timeline(path), read_trajectory(path)
    shots = _shots(path, timeline, trajectory, 1e-3)
    at_hz = _hz(timeline, _MIDDLE_PPM)
    whole = _singlet(shots.metabolite, at_hz, NONE, 1.0)
    found = []
    for one in t1_s:
        times = Relaxation(one, np.inf)
        start = _start(shots.metabolite, shots, at_hz, times)
        found.append(float((_singlet(shots.metabolite, at_hz, times, start) / whole).real))
    return found


def _scaled(tissue: Tissue, macromolecules: float, lipid: float) -> Tissue:
    factors = {name: lipid if name == FAT_LINES else macromolecules for name in tissue.broad}
    broad = {name: replace(one, mm=factors[name] * one.mm) for name, one in tissue.broad.items()}
    return replace(tissue, broad={name: one for name, one in broad.items() if one.mm > 0})


def _shots(path: Path, timeline: Timeline, trajectory: Trajectory, tolerance: float) -> _Shots:
    conditions = {shot.condition for shot in timeline.shots if not shot.is_water_reference}
    if conditions != {0}:
        raise SequenceError(
            f"{path}: has metabolite shots of editing conditions {sorted(conditions)}; the virtual scanner makes "
            "images of one, 0"
        )
    settings = Settings(tolerance=tolerance)
    metabolite = _first_interleave(timeline.select(water_reference=False))
    plan = plan_shots(path, timeline, metabolite, settings)[0]
    references = _first_interleave(timeline.select(water_reference=True))
    water = plan_shots(path, timeline, references, settings, range_ppm=(0.8, 5.4))[0] if references else None
    cycle = None
    if water is not None and "WaterPathway" in timeline.definitions:
        cycle = cycle_of(plan, water, _gap_s(trajectory), timeline.seconds("TR"))
    carrier = float(np.ravel(timeline.definitions.get("CarrierPPM", timeline.reference_ppm))[0])
    amplitude = _singlet(plan, _hz(timeline, carrier), NONE, 1.0)
    return _Shots(plan, water, cycle, np.conj(amplitude) / abs(amplitude), timeline)


def _first_interleave(shots: Sequence[Shot]) -> tuple[Shot, ...]:
    """Return the shots that are read out first: those of later interleaves are the same signal later on."""
    if not shots:
        return ()
    first = min(shot.pulses[-1].delay_s for shot in shots)
    return tuple(shot for shot in shots if shot.pulses[-1].delay_s < first + 1e-9)


def _gap_s(trajectory: Trajectory) -> float:
    """Return the time from the excitation of a metabolite shot to that of the water shot after it."""
    water = trajectory.labels["REF"].astype(bool)
    pairs = np.flatnonzero(~water[:-1] & water[1:])
    excited = trajectory.begins_s - trajectory.starts_s
    return float(excited[pairs[-1] + 1] - excited[pairs[-1]])


def _tissue_metabolites(
    tissue: Tissue,
    shots: _Shots,
    metabolites: Mapping[str, Metabolite],
    relaxation: bool,
    made: dict[tuple[str, int, int], Made],
) -> Lines:
    """Return metabolites, macromolecules and fat of a tissue."""
    parts = []
    for name, amount in tissue.concentrations.items():
        times = _times(tissue, name, shots, relaxation)
        lines = _metabolite(metabolites[name], shots, times, made)
        parts.append(_widened(lines, amount.mm * shots.turn, times))
    components = tissue_lines(shots.timeline.f0_hz, tuple(tissue.broad), shots.timeline.reference_ppm)
    for name, lines in components.items():
        times = _times(tissue, name, shots, relaxation)
        parts.append(_through(lines, shots.metabolite, times, tissue.broad[name].mm * shots.turn, shots))
    return _joined(parts)


def _tissue_water(tissue: Tissue, shots: _Shots, relaxation: bool) -> Lines:
    """Return water and fat of a tissue in a water shot; water is real, as in a `Basis`."""
    if shots.water is None:
        return _joined([])
    times = _times(tissue, WATER, shots, relaxation)
    at_hz = _hz(shots.timeline, WATER_PPM)
    amplitude = _singlet(shots.water, at_hz, times, _start(shots.water, shots, at_hz, times))
    turn = abs(amplitude) / amplitude
    one = Lines(np.array([at_hz]), np.array([2.0 * tissue.water.mm * abs(amplitude) + 0j]))
    parts = [_widened(one, 1.0, times)]
    fat = tuple(name for name in tissue.broad if name == FAT_LINES)
    for name, lines in tissue_lines(shots.timeline.f0_hz, fat, shots.timeline.reference_ppm).items():
        times = _times(tissue, name, shots, relaxation)
        parts.append(_through(lines, shots.water, times, tissue.broad[name].mm * turn, shots))
    return _joined(parts)


def _residual(tissue: Tissue, shots: _Shots, relaxation: bool) -> Lines:
    """Return all of a tissue's water at the first sample of a metabolite shot, decayed by T2 until then."""
    times = _times(tissue, WATER, shots, relaxation)
    kept = np.exp(-(shots.timeline.seconds("TE") or 0.0) / times.t2_s)
    at_hz = _hz(shots.timeline, WATER_PPM)
    return _widened(Lines(np.array([at_hz]), np.array([2.0 * tissue.water.mm * kept + 0j])), 1.0, times)


def _metabolite(
    metabolite: Metabolite, shots: _Shots, times: Relaxation, made: dict[tuple[str, int, int], Made]
) -> Lines:
    """Return the lines of a metabolite; propagators are shared by all tissues."""
    parts, timeline, plan = [], shots.timeline, shots.metabolite
    for number, system in enumerate(metabolite.systems):
        for place, part in enumerate(reduce_system(system)):
            shift = (part.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 + part.offset_hz
            start = _start(plan, shots, float(shift.mean()), times)
            known = made.setdefault((metabolite.name, number, place), {})
            lines = simulate_system(plan, part.spins, shift, part.j_hz, times, start, known)
            parts.append(replace(lines, amplitude=part.weight * lines.amplitude))
    return _joined(parts)


def _through(lines: Lines, plan: Plan, times: Relaxation, factor: complex, shots: _Shots) -> Lines:
    """Return uncoupled lines, which have their whole width, through a shot."""
    amplitudes = [
        _singlet(plan, float(hz), times, _start(plan, shots, float(hz), times)) for hz in lines.frequency_hz
    ]
    return replace(lines, amplitude=factor * lines.amplitude * np.array(amplitudes))


def _singlet(plan: Plan, shift_hz: float, times: Relaxation, start: float) -> complex:
    made = simulate_system(plan, (0.5,), np.array([shift_hz]), np.zeros((1, 1)), times, start)
    return 2.0 * complex(made.amplitude.sum())


def _start(plan: Plan, shots: _Shots, shift_hz: float, times: Relaxation) -> float:
    return start_of(plan, shots.cycle, shift_hz, times, shots.timeline.seconds("TR"))


def _times(tissue: Tissue, name: str, shots: _Shots, relaxation: bool) -> Relaxation:
    if not relaxation:
        return NONE
    found = tissue.times(name, field_from_larmor(shots.timeline.f0_hz, shots.timeline.nucleus))
    return Relaxation(found.t1_s, found.t2_s)


def _hz(timeline: Timeline, ppm: float) -> float:
    return (ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6


def _widened(lines: Lines, factor: complex, times: Relaxation) -> Lines:
    """Return lines with the natural width of a T2."""
    width = np.full(lines.frequency_hz.size, 1 / (np.pi * times.t2_s))
    return Lines(lines.frequency_hz, factor * lines.amplitude, width, np.zeros(width.size))


def _joined(parts: Sequence[Lines]) -> Lines:
    """Return all lines that count, with both widths."""
    if not parts:
        return Lines(np.zeros(0), np.zeros(0, complex), np.zeros(0), np.zeros(0))
    columns = [
        np.concatenate([_column(part, name) for part in parts])
        for name in ("frequency_hz", "amplitude", "lorentz_hz", "gauss_hz")
    ]
    size = np.abs(columns[1])
    keep = size > _LEAST * size.max(initial=0.0)
    return Lines(*(column[keep] for column in columns))


def _column(lines: Lines, name: str) -> NDArray[np.generic]:
    values = getattr(lines, name)
    return np.zeros(lines.frequency_hz.size) if values is None else values
