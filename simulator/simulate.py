"""From a `.seq` file to a basis set."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pulsespec
from pulsespec.errors import DataError, InputError, SequenceError
from pulsespec.executor import map_blocks
from pulsespec.simulator.basis import Basis, Lines, merge_lines
from pulsespec.simulator.engine import Made, Plan, simulate_system
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.fsl_mrs_sequence import read_sequence
from pulsespec.simulator.geometry import TIGHT, Layout, Profiles, layout
from pulsespec.simulator.pathways import Selection, select_pathways
from pulsespec.simulator.propagators import Accuracy
from pulsespec.simulator.relaxation import ANY, NONE, WATER, Relaxation, relaxation_of, require_times
from pulsespec.simulator.sampling import sampled
from pulsespec.simulator.shots import central
from pulsespec.simulator.spinsystem import Metabolite, load_metabolites
from pulsespec.simulator.steady_state import longitudinal
from pulsespec.simulator.timeline import Pulse, Shot, Timeline

DEFAULT_TOLERANCE = 1e-4
"""Relative error of an FID that `simulate` aims at."""
WATER_PPM = 4.65
"""Chemical shift of water at body temperature (Hindman 1966, doi:10.1063/1.1726676, at 37 degrees)."""

_ENGINE = 5
"""Version of the engine: part of the key under which bases are kept."""
_MERGE_HZ = 0.01
_SHIFT_RANGE_PPM = (0.8, 5.4)
"""Shifts of metabolites, over which positions are covered and pathways are weighed."""
_CONTROLS_PPM = (1.3, 2.0, 3.0, 4.0)

Distribution = tuple[tuple[float, float], ...]
"""Values with their weights."""


@dataclass(frozen=True)
class Settings:
    """What a basis is computed for, beside the sequence and the spin systems."""

    f0_hz: float | None = None
    """Larmor frequency; by default that of the file's `B0` definition. Give that of the data."""
    tolerance: float = DEFAULT_TOLERANCE
    """Relative error of an FID that is aimed at."""
    conditions: Mapping[int, float] = field(default_factory=lambda: {0: 1.0})
    """Editing conditions (label `SET`) with the factors with which they are added: {0: 1, 1: -1} is a difference."""
    relaxation: Mapping[str, Relaxation] = field(default_factory=dict)
    """T1 and T2 by name of metabolite, `"*"` for all others; empty for none."""
    b1: Distribution = ((1.0, 1.0),)
    """B1 over its nominal value, and weights."""
    b0_hz: Distribution = ((0.0, 1.0),)
    """Offsets of B0 in Hz, downfield positive, and weights."""
    arrays: str = "numpy"
    """Library of the arrays of pulse propagators: numpy, cupy, torch, torch:cuda."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.tolerance < 0.1:
            raise InputError(f"tolerance: got {self.tolerance}, expected a number above 0 and below 0.1")
        if not self.conditions or not any(self.conditions.values()):
            raise InputError(
                f"conditions: got {dict(self.conditions)}, expected at least one factor that is not 0"
            )
        for name, rows in (("b1", self.b1), ("b0_hz", self.b0_hz)):
            if not rows or not sum(weight for _, weight in rows) > 0 or min(w for _, w in rows) < 0:
                raise InputError(
                    f"{name}: got {rows}, expected values with weights of at least 0, some above"
                )
        if min(scale for scale, _ in self.b1) <= 0:
            raise InputError(f"b1: got {self.b1}, expected scales above 0")


def simulate(
    path: Path,
    names: Sequence[str] | None = None,
    *,
    extra: Path | None = None,
    jobs: int = 1,
    cache: Path | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> Basis:
    """Simulate what a `.seq` file makes of each metabolite.

    Parameters
    ----------
    path
        The sequence: a `.seq` file, as the scanner plays it, or an FSL-MRS description (JSON).
    names
        Metabolites; by default all that are shipped.
    extra
        A TOML file with metabolites that add to the table or override it.
    jobs
        Number of processes.
    cache
        A folder in which bases are kept: one that was computed before from exactly the same is read from it.
    settings, **changes
        What it is computed for, and fields of `Settings` to set: `f0_hz`, `tolerance`, `conditions`, ...

    Returns
    -------
    The basis; amplitudes are 1 for one fully excited proton in the nominal voxel, the phase of an uncoupled
    spin at the carrier of the excitation is zero at the first sample (in the first of the conditions). For readouts
    under a gradient the samples are the echoes of the centre of k-space.

    Raises
    ------
    SequenceError
        The file cannot be read, has no ADC, or leaves no signal.
    InputError
        A metabolite or a setting is not known.

    """
    settings = replace(settings or Settings(), **changes)
    metabolites = load_metabolites(names, extra)
    load_metabolites([name for name in settings.relaxation if name not in (ANY, WATER)], extra)
    require_times(settings.relaxation, metabolites)
    timeline = read_sequence(path, settings.f0_hz)
    kept = None if cache is None else cache / f"{_key(timeline, metabolites, settings)}.h5"
    if kept is not None and kept.exists():
        try:
            return Basis.read(kept)
        except DataError:
            kept.unlink()
    basis = _simulate(path, timeline, metabolites, settings, jobs)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        basis.write(kept, overwrite=True)
    return basis


def _key(timeline: Timeline, metabolites: Mapping[str, Metabolite], settings: Settings) -> str:
    """Return a hash of everything that a basis depends on."""
    spins = {name: repr(metabolite) for name, metabolite in metabolites.items()}
    facts = [timeline.sequence_hash, timeline.f0_hz, spins, asdict(settings), _ENGINE, pulsespec.__version__]
    with np.printoptions(threshold=10**6, precision=17):
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()


def simulate_each(
    path: Path,
    names: Sequence[str] | None = None,
    *,
    conditions: Sequence[int],
    extra: Path | None = None,
    jobs: int = 1,
    settings: Settings | None = None,
    **changes: Any,
) -> dict[int, Basis]:
    """Simulate a `.seq` file for several editing conditions, each by itself.

    As `simulate` for each of them, but what they share is computed once, and their phases are those that a receiver
    sees: an uncoupled spin at the carrier is real and positive in the first.
    """
    settings = replace(settings or Settings(), **changes, conditions=dict.fromkeys(conditions, 1.0))
    metabolites = load_metabolites(names, extra)
    found = _found(path, read_sequence(path, settings.f0_hz), metabolites, settings, jobs)
    return {
        condition: _basis(
            replace(found, planned=[one for one in found.planned if one.condition == condition]),
            {name: parts[condition] for name, parts in found.lines.items()},
            replace(settings, conditions={condition: 1.0}),
        )
        for condition in conditions
    }


def _simulate(
    path: Path, timeline: Timeline, metabolites: Mapping[str, Metabolite], settings: Settings, jobs: int
) -> Basis:
    found = _found(path, timeline, metabolites, settings, jobs)
    lines = {
        name: merge_lines(
            _together([_scaled(part, settings.conditions[condition]) for condition, part in parts.items()]),
            _MERGE_HZ,
        )
        for name, parts in found.lines.items()
    }
    return _basis(found, lines, settings)


@dataclass(frozen=True)
class _Found:
    """What was simulated: lines by metabolite and editing condition, and what they were simulated with."""

    planned: "list[_Planned]"
    lines: Mapping[str, Mapping[int, Lines]]
    water: Lines | None
    turn: complex
    """Factor that makes the phase that of the convention."""
    timeline: Timeline
    metabolites: Mapping[str, Metabolite]
    readout: tuple[int, float]
    """Samples and dwell time in s."""


def _found(
    path: Path, timeline: Timeline, metabolites: Mapping[str, Metabolite], settings: Settings, jobs: int
) -> _Found:
    profiles = Profiles(single=settings.tolerance > TIGHT)
    planned = [
        _Planned(
            condition, factor, scale, weight, _plans(path, timeline, condition, scale, settings, profiles)
        )
        for condition, factor in settings.conditions.items()
        for scale, weight in _normalised(settings.b1)
        if factor
    ]
    readouts = {
        (plan.shot.readout.samples, plan.shot.readout.dwell_s) for one in planned for plan in one.plans
    }
    if len(readouts) > 1:
        raise SequenceError(f"{path}: shots of one kind have different readouts: {sorted(readouts)}")
    one_block = partial(_simulate_block, planned, timeline, settings)
    found = map_blocks(one_block, metabolites.values(), jobs, name="metabolites", label=lambda one: one.name)
    return _Found(
        planned,
        dict(zip(metabolites, found, strict=True)),
        _water(path, timeline, planned[0].plans, settings, profiles),
        _reference_phase(planned[0].plans, timeline),
        timeline,
        metabolites,
        readouts.pop(),
    )


def _basis(found: _Found, lines: Mapping[str, Lines], settings: Settings) -> Basis:
    timeline = found.timeline
    return Basis(
        lines={name: _turned(part, found.turn) for name, part in lines.items()},
        f0_hz=timeline.f0_hz,
        nucleus=timeline.nucleus,
        te_s=timeline.seconds("TE"),
        tr_s=timeline.seconds("TR"),
        reference_ppm=timeline.reference_ppm,
        water=found.water,
        samples=found.readout[0],
        dwell_s=found.readout[1],
        sequence=timeline.name,
        sequence_hash=timeline.sequence_hash,
        provenance=_provenance(found.planned, found.metabolites, settings, timeline),
    )


@dataclass(frozen=True)
class _Planned:
    """What is played in one condition at one B1."""

    condition: int
    factor: float
    b1: float
    weight: float
    plans: tuple[Plan, ...]


def _normalised(rows: Distribution) -> Distribution:
    total = sum(weight for _, weight in rows)
    return tuple((value, weight / total) for value, weight in rows if weight)


def _simulate_block(
    planned: list[_Planned], timeline: Timeline, settings: Settings, metabolite: Metabolite
) -> dict[int, Lines]:
    """Return the lines of one metabolite in each condition, the mean over B1 and B0."""
    times = relaxation_of(settings.relaxation, metabolite.name)
    parts: dict[int, list[Lines]] = {one.condition: [] for one in planned}
    for scale in dict.fromkeys(one.b1 for one in planned):
        for offset_hz, weight in _normalised(settings.b0_hz):
            made: defaultdict[tuple[int, int], Made] = defaultdict(
                dict
            )  # shared by conditions, not by B1 and B0
            for one in (one for one in planned if one.b1 == scale):
                lines = _metabolite(one.plans, metabolite, timeline, times, offset_hz, made)
                parts[one.condition].append(_scaled(lines, one.weight * weight))
    return {condition: merge_lines(_together(some), _MERGE_HZ) for condition, some in parts.items()}


def _metabolite(
    plans: Sequence[Plan],
    metabolite: Metabolite,
    timeline: Timeline,
    times: Relaxation,
    offset_hz: float,
    made: Mapping[tuple[int, int], Made],
) -> Lines:
    """Return the lines of one metabolite, the mean over shots weighted by how often each is played."""
    parts = []
    for plan, share in _shares(plans):
        for number, system in enumerate(metabolite.systems):
            for place, part in enumerate(reduce_system(system)):
                shift = (part.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 + part.offset_hz
                shift = shift + offset_hz
                start = longitudinal(plan, float(shift.mean()), times, timeline.seconds("TR"))
                known = made[number, place]
                found = simulate_system(plan, part.spins, shift, part.j_hz, times, start, known)
                parts.append(_scaled(found, share * part.weight))
    return _together(parts)


def _shares(plans: Sequence[Plan]) -> list[tuple[Plan, float]]:
    repeats = np.array([len(plan.shot.phases) for plan in plans], dtype=float)
    return [(plan, float(share)) for plan, share in zip(plans, repeats / repeats.sum(), strict=True)]


def _together(parts: Sequence[Lines]) -> Lines:
    return Lines(
        np.concatenate([lines.frequency_hz for lines in parts]),
        np.concatenate([lines.amplitude for lines in parts]),
    )


def _scaled(lines: Lines, factor: float) -> Lines:
    return replace(lines, amplitude=factor * lines.amplitude)


def _plans(
    path: Path, timeline: Timeline, condition: int, b1: float, settings: Settings, profiles: Profiles
) -> tuple[Plan, ...]:
    shots = timeline.select(water_reference=False, condition=condition)
    if not shots:
        known = sorted({shot.condition for shot in timeline.shots if not shot.is_water_reference})
        raise SequenceError(f"{path}: has no metabolite shot of editing condition {condition}, only {known}")
    return plan_shots(path, timeline, shots, settings, profiles, b1)


def plan_shots(
    path: Path,
    timeline: Timeline,
    shots: Sequence[Shot],
    settings: Settings,
    profiles: Profiles | None = None,
    b1: float = 1.0,
    range_ppm: tuple[float, float] = _SHIFT_RANGE_PPM,
) -> tuple[Plan, ...]:
    """Return what is played in shots of one kind: those at the centre of k-space, with their pathways.

    They are right for spins whose shifts are in the range. Raises `SequenceError` where no signal is left.
    """
    profiles = profiles or Profiles(single=settings.tolerance > TIGHT)
    shifts = (np.linspace(*range_ppm, 24) - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    accuracy = Accuracy(settings.tolerance, settings.arrays)

    known: dict[int, tuple[Shot, Layout, Selection]] = {}

    def select(shot: Shot) -> tuple[Layout, Selection]:
        if id(shot) not in known:
            pulses = [pulse.rf for pulse in shot.pulses]
            found = layout(pulses, timeline.voxel, settings.tolerance, shifts, profiles)
            known[id(shot)] = shot, found, select_pathways(shot, found, shifts, settings.tolerance)
        return known[id(shot)][1:]

    try:
        chosen = central([_at_b1(shot, b1) for shot in shots], lambda shot: select(shot)[1])
        plans = []
        for shot in chosen:
            found, selection = select(shot)
            positions = sampled(
                found, shot, selection, settings.tolerance, shifts, timeline.voxel is not None
            )
            plans.append(Plan(shot, positions, selection, accuracy))
    except SequenceError as error:
        raise SequenceError(f"{path}: {error}") from error
    return tuple(plans)


def _at_b1(shot: Shot, scale: float) -> Shot:
    if scale == 1.0:
        return shot
    pulses = [
        Pulse(replace(pulse.rf, b1_hz=scale * pulse.rf.b1_hz), pulse.moment_per_m, pulse.delay_s)
        for pulse in shot.pulses
    ]
    return replace(shot, pulses=tuple(pulses))


def _singlet(
    plans: Sequence[Plan], shift_hz: float, times: Relaxation = NONE, tr_s: float | None = None
) -> complex:
    """Return the amplitude of one uncoupled proton, the mean over shots."""
    total = 0j
    for plan, share in _shares(plans):
        start = longitudinal(plan, shift_hz, times, tr_s)
        lines = simulate_system(plan, (0.5,), np.array([shift_hz]), np.zeros((1, 1)), times, start)
        total += share * 2.0 * complex(lines.amplitude.sum())
    return total


def _hz(timeline: Timeline, ppm: float) -> float:
    return (ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6


def _reference_phase(plans: Sequence[Plan], timeline: Timeline) -> complex:
    """Return the factor that makes an uncoupled spin at the metabolites' carrier real and positive."""
    carrier_ppm = timeline.definitions.get("CarrierPPM", timeline.reference_ppm)
    amplitude = _singlet(plans, _hz(timeline, float(np.ravel(carrier_ppm)[0])))
    return np.conj(amplitude) / abs(amplitude) if abs(amplitude) > 0 else 1.0


def _turned(lines: Lines, factor: complex) -> Lines:
    return replace(lines, amplitude=lines.amplitude * factor)


def _water(
    path: Path, timeline: Timeline, plans: tuple[Plan, ...], settings: Settings, profiles: Profiles
) -> Lines | None:
    """Return unsuppressed water: from the reference shots, or from shots without any preparation."""
    shots = timeline.select(water_reference=True)
    if shots:
        plans = plan_shots(path, timeline, shots, settings, profiles, range_ppm=(WATER_PPM, WATER_PPM))
    elif any(_has_preparation(plan) for plan in plans):
        return None
    shift_hz = _hz(timeline, WATER_PPM)
    times = settings.relaxation.get(WATER, NONE)
    amplitude = abs(_singlet(plans, shift_hz, times, timeline.seconds("TR")))
    return Lines(np.array([shift_hz]), np.array([2.0 * amplitude + 0j]))


def _has_preparation(plan: Plan) -> bool:
    """Return whether pulses are played on longitudinal order alone before the strongest pathway begins."""
    return plan.selection.kept[0].orders[0] == 0


def _provenance(
    planned: list[_Planned], metabolites: Mapping[str, Metabolite], settings: Settings, timeline: Timeline
) -> dict[str, object]:
    return {
        "program": "pulsespec",
        "version": pulsespec.__version__,
        "tolerance": settings.tolerance,
        "timing_s": {
            key: timeline.seconds(key) for key in ("TE1", "TE2", "TM") if key in timeline.definitions
        },
        "convergence": _convergence(planned[0].plans, timeline),
        "conditions": {str(condition): factor for condition, factor in settings.conditions.items()},
        "b1": [list(row) for row in settings.b1],
        "b0_hz": [list(row) for row in settings.b0_hz],
        "relaxation": {name: _finite(times) for name, times in settings.relaxation.items()},
        "shots": [
            _account(plan) | {"condition": one.condition, "b1": one.b1}
            for one in planned
            for plan in one.plans
        ],
        "spin_systems": {name: {"source": m.source, "notes": m.notes} for name, m in metabolites.items()},
    }


def _finite(times: Relaxation) -> dict[str, float | None]:
    return {key: None if np.isinf(value) else value for key, value in asdict(times).items()}


def _convergence(plans: tuple[Plan, ...], timeline: Timeline) -> dict[str, object]:
    """Return how much twice the positions and twice the bins change an uncoupled spin, relative to the largest."""
    finer = tuple(replace(plan, layout=_finer(plan.layout)) for plan in plans)
    at = [_hz(timeline, ppm) for ppm in _CONTROLS_PPM]
    coarse, fine = (np.array([_singlet(some, hz) for hz in at]) for some in (plans, finer))
    change = float(np.abs(fine - coarse).max() / max(np.abs(fine).max(), 1e-300))
    return {
        "change": change,
        "statement": f"twice the positions and twice the bins of a pulse change uncoupled spins at {_CONTROLS_PPM} ppm "
        f"by {change:.1e}",
    }


def _finer(found: Layout) -> Layout:
    axes = tuple(replace(axis, step_m=axis.step_m / 2) for axis in found.axes)
    return replace(found, axes=axes, bins=tuple(2 * bins for bins in found.bins))


def _account(plan: Plan) -> dict[str, object]:
    """Return what was kept, what was dropped and how finely positions were sampled in one shot."""
    return {
        "repetitions": len(plan.shot.phases),
        "pathways": [
            {"orders": list(path.orders), "weight": path.weight, "cycle": abs(path.cycle)}
            for path in plan.selection.kept
        ],
        "dropped_weight": plan.selection.dropped,
        "unjudged_pathways": plan.selection.unjudged,
        "positions": [_points(axis.extent_m, axis.step_m) for axis in plan.layout.axes],
        "entangled": [list(group) for group in plan.layout.groups if len(group) > 1],
        "bins": list(plan.layout.bins),
    }


def _points(extent_m: float, step_m: float) -> int:
    return int(np.rint(extent_m / step_m))


def amplitude_of_singlet(
    path: Path,
    offset_hz: float,
    f0_hz: float | None = None,
    condition: int = 0,
    water_reference: bool = False,
) -> complex:
    """Return the complex amplitude of one uncoupled proton `offset_hz` downfield of the reference.

    The same as in a basis but for the constant phase; for checks of localisation and suppression.
    """
    timeline = read_sequence(path, f0_hz)
    if not water_reference:
        plans = _plans(path, timeline, condition, 1.0, Settings(), Profiles(single=True))
        return _singlet(plans, offset_hz)
    shots = timeline.select(water_reference=True)
    return _singlet(plan_shots(path, timeline, shots, Settings()), offset_hz)
