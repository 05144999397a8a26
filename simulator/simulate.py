"""From a `.seq` file to a basis set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import pulsespec
from pulsespec.errors import InputError, SequenceError
from pulsespec.executor import map_blocks
from pulsespec.simulator.basis import Basis, Lines, merge_lines
from pulsespec.simulator.engine import Plan, simulate_system
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.geometry import Profiles, layout
from pulsespec.simulator.pathways import select_pathways
from pulsespec.simulator.propagators import Accuracy
from pulsespec.simulator.sampling import sampled
from pulsespec.simulator.spinsystem import Metabolite, load_metabolites
from pulsespec.simulator.timeline import Shot, Timeline, read_timeline

DEFAULT_TOLERANCE = 1e-4
"""Relative error of an FID that `simulate` aims at."""
WATER_PPM = 4.65
"""Chemical shift of water at body temperature (Hindman 1966, doi:10.1063/1.1726676, at 37 degrees)."""

_MERGE_HZ = 0.01
_SHIFT_RANGE_PPM = (0.8, 5.4)


def simulate(
    path: Path,
    names: Sequence[str] | None = None,
    *,
    f0_hz: float | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    condition: int = 0,
    extra: Path | None = None,
    jobs: int = 1,
) -> Basis:
    """Simulate what a `.seq` file makes of each metabolite.

    Parameters
    ----------
    path
        The sequence, as the scanner plays it.
    names
        Metabolites; by default all that are shipped.
    f0_hz
        Larmor frequency in Hz; by default that of the file's `B0` definition. Give that of the data.
    tolerance
        Relative error of an FID that is aimed at.
    condition
        Editing condition (label `SET`) whose shots are simulated.
    extra
        A TOML file with metabolites that add to the table or override it.
    jobs
        Number of processes.

    Returns
    -------
    The basis; amplitudes are 1 for one fully excited proton in the nominal voxel, the phase of an uncoupled
    spin at the carrier of the excitation is zero at the first sample.

    Raises
    ------
    SequenceError
        The file cannot be read, has no ADC, reads out under a gradient, or leaves no signal.
    InputError
        A metabolite or a setting is not known.

    """
    if not 0 < tolerance < 0.1:
        raise InputError(f"tolerance: got {tolerance}, expected a number above 0 and below 0.1")
    metabolites = load_metabolites(names, extra)
    timeline = read_timeline(path, f0_hz)
    profiles = Profiles()
    shots = _shots(path, timeline, condition)
    plans = [_plan(path, timeline, shot, tolerance, profiles) for shot in shots]
    blocks = [(plans, metabolite, timeline) for metabolite in metabolites.values()]
    turn = _reference_phase(plans, timeline)
    lines = dict(zip(metabolites, map_blocks(_simulate_block, blocks, jobs), strict=True))
    readout = plans[0].shot.readout
    return Basis(
        lines={name: _turned(found, turn) for name, found in lines.items()},
        f0_hz=timeline.f0_hz,
        nucleus=timeline.nucleus,
        te_s=timeline.seconds("TE"),
        tr_s=timeline.seconds("TR"),
        reference_ppm=timeline.reference_ppm,
        water=_water(path, timeline, plans, tolerance, profiles),
        samples=readout.samples,
        dwell_s=readout.dwell_s,
        sequence=timeline.name,
        sequence_hash=timeline.sequence_hash,
        provenance=_provenance(plans, metabolites, tolerance),
    )


def simulate_metabolite(plans: Sequence[Plan], metabolite: Metabolite, timeline: Timeline) -> Lines:
    """Return the lines of one metabolite, the mean over shots weighted by how often each is played."""
    repeats = np.array([len(plan.shot.phases) for plan in plans], dtype=float)
    frequencies, amplitudes = [], []
    for plan, share in zip(plans, repeats / repeats.sum(), strict=True):
        for system in metabolite.systems:
            for part in reduce_system(system):
                shift = (part.shifts_ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 + part.offset_hz
                found = simulate_system(plan, part.spins, shift, part.j_hz)
                frequencies.append(found.frequency_hz)
                amplitudes.append(share * part.weight * found.amplitude)
    return merge_lines(Lines(np.concatenate(frequencies), np.concatenate(amplitudes)), _MERGE_HZ)


def _simulate_block(block: tuple[list[Plan], Metabolite, Timeline]) -> Lines:
    return simulate_metabolite(*block)


def _shots(path: Path, timeline: Timeline, condition: int) -> tuple[Shot, ...]:
    shots = timeline.select(water_reference=False, condition=condition)
    if not shots:
        known = sorted({shot.condition for shot in timeline.shots if not shot.is_water_reference})
        raise SequenceError(f"{path}: has no metabolite shot of editing condition {condition}, only {known}")
    readouts = {(shot.readout.samples, shot.readout.dwell_s) for shot in shots}
    if len(readouts) > 1:
        raise SequenceError(f"{path}: shots of one kind have different readouts: {sorted(readouts)}")
    return shots


def _plan(
    path: Path, timeline: Timeline, shot: Shot, tolerance: float, profiles: Profiles | None = None
) -> Plan:
    if shot.readout.has_gradient:
        raise SequenceError(
            f"{path}: a gradient is on during the ADC; readouts under a gradient are not simulated"
        )
    shifts = (np.linspace(*_SHIFT_RANGE_PPM, 24) - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    found = layout([pulse.rf for pulse in shot.pulses], timeline.voxel, tolerance, shifts, profiles)
    try:
        selection = select_pathways(shot, found, shifts, tolerance)
    except SequenceError as error:
        raise SequenceError(f"{path}: {error}") from error
    positions = sampled(found, shot, selection, tolerance, shifts, timeline.voxel is not None)
    return Plan(shot, positions, selection, Accuracy(tolerance))


def _singlet(plans: Sequence[Plan], shift_hz: float) -> complex:
    """Return the amplitude of one uncoupled proton, the mean over shots."""
    repeats = np.array([len(plan.shot.phases) for plan in plans], dtype=float)
    total = 0j
    for plan, share in zip(plans, repeats / repeats.sum(), strict=True):
        lines = simulate_system(plan, (0.5,), np.array([shift_hz]), np.zeros((1, 1)))
        total += share * 2.0 * complex(lines.amplitude.sum())
    return total


def _reference_phase(plans: Sequence[Plan], timeline: Timeline) -> complex:
    """Return the factor that makes an uncoupled spin at the metabolites' carrier real and positive."""
    carrier_ppm = timeline.definitions.get("CarrierPPM", timeline.reference_ppm)
    shift_hz = (float(np.ravel(carrier_ppm)[0]) - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    amplitude = _singlet(plans, shift_hz)
    return np.conj(amplitude) / abs(amplitude) if abs(amplitude) > 0 else 1.0


def _turned(lines: Lines, factor: complex) -> Lines:
    return replace(lines, amplitude=lines.amplitude * factor)


def _water(
    path: Path, timeline: Timeline, plans: list[Plan], tolerance: float, profiles: Profiles
) -> Lines | None:
    """Return unsuppressed water: from the reference shots, or from shots without any preparation."""
    shots = timeline.select(water_reference=True)
    if shots:
        plans = [_plan(path, timeline, shot, tolerance, profiles) for shot in shots]
    elif any(_has_preparation(plan) for plan in plans):
        return None
    shift_hz = (WATER_PPM - timeline.reference_ppm) * timeline.f0_hz * 1e-6
    amplitude = abs(_singlet(plans, shift_hz))
    return Lines(np.array([shift_hz]), np.array([2.0 * amplitude + 0j]))


def _has_preparation(plan: Plan) -> bool:
    """Return whether pulses are played on longitudinal order alone before the strongest pathway begins."""
    return plan.selection.kept[0].orders[0] == 0


def _provenance(plans: list[Plan], metabolites: dict[str, Metabolite], tolerance: float) -> dict[str, object]:
    return {
        "program": "pulsespec",
        "version": pulsespec.__version__,
        "tolerance": tolerance,
        "shots": [_account(plan) for plan in plans],
        "spin_systems": {name: {"source": m.source, "notes": m.notes} for name, m in metabolites.items()},
    }


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
        "bins": list(plan.layout.bins),
    }


def _points(extent_m: float, step_m: float) -> int:
    return int(np.rint(extent_m / step_m))


def amplitude_of_singlet(path: Path, offset_hz: float, f0_hz: float | None = None) -> complex:
    """Return the complex amplitude of one uncoupled proton `offset_hz` downfield of the reference.

    The same as in a basis but for the constant phase; for checks of localisation and suppression.
    """
    timeline = read_timeline(path, f0_hz)
    shots = _shots(path, timeline, 0)
    return _singlet([_plan(path, timeline, shot, DEFAULT_TOLERANCE) for shot in shots], offset_hz)
