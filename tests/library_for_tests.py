"""Shipped protocols through the engine and through a Monte Carlo Bloch simulation of their files."""

import warnings

import numpy as np
import pypulseq
import reference

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.purity import central
from pulsespec.simulator.geometry import UNSELECTED_M
from pulsespec.simulator.simulate import Settings, amplitude_of_singlet, plan_shots
from pulsespec.simulator.timeline import read_timeline

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
MARGIN = 2.5
"""Length of the reference's box over the voxel's edges, where pulses select; what they touch lies inside."""

FAR = 6.0
MOST_BATCHES = 400


def written(name, folder):
    """Write one phase cycle of a protocol at the centre of k-space."""
    protocol = central(load_protocol(name))
    path = folder / f"{name}.seq"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_sequence(build(protocol, load_scanner(SCANNERS[protocol.field_t])), path)
    return path


def kinds(path):
    """Return the labels SET, REF (of water) and SEG (interleave) of each readout, as pypulseq finds them."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    found = sequence.evaluate_labels(evolution="adc") or {}
    count = sum(bool(event[5]) for event in sequence.block_events.values())
    return tuple(np.resize(np.atleast_1d(found.get(label, 0)), count) for label in ("SET", "REF", "SEG"))


def both(path, points, seed, wanted_error=np.inf):
    """Return what the engine and the reference make of a resonance at the carrier, and the reference's error.

    In the first editing condition; of water where the file has nothing else. Points are added, as many at a time,
    until the error is as small as wanted.
    """
    timeline = read_timeline(path)
    condition, water, interleave = kinds(path)
    only_water = bool(water.all())
    key = "WaterCarrierPPM" if only_water else "CarrierPPM"
    carrier = float(np.ravel(timeline.definitions.get(key, timeline.reference_ppm))[0])
    offset_hz = (carrier - timeline.reference_ppm) * 1e-6 * timeline.f0_hz
    ours = abs(amplitude_of_singlet(path, offset_hz, water_reference=only_water))
    wanted = [
        one
        for number, one in enumerate(reference.play(path))
        if (only_water or not water[number]) and condition[number] == interleave[number] == 0
    ]
    place = _place(path, timeline, only_water)
    if len(wanted) > 1 and "Matrix" in timeline.definitions:  # only the centre of k-space
        single = [abs(reference.voxel_amplitude([one], offset_hz, 2000, 0, **place)[0]) for one in wanted]
        wanted = [one for one, size in zip(wanted, single, strict=True) if size > 0.7 * max(single)]
    return ours, *_mean(wanted, offset_hz, points, seed, wanted_error, place)


def foreign(path, f0_hz, points, seed, wanted_error=np.inf):
    """Return the same of a file that defines neither voxel nor field, 50 Hz from the carrier.

    Where only one direction is selected it may be by hard pulses under a gradient, whose wings reach far.
    """
    timeline = read_timeline(path, f0_hz)
    plans = plan_shots(path, timeline, timeline.shots, Settings())
    size, extent = np.full(3, UNSELECTED_M), np.full(3, UNSELECTED_M)
    for axis in (axis for plan in plans for axis in plan.layout.axes):
        along = int(np.argmax(np.abs(axis.direction)))
        margin = FAR if all(len(plan.layout.axes) == 1 for plan in plans) else MARGIN
        size[along], extent[along] = axis.nominal_m, margin * axis.nominal_m
    first = min(shot.pulses[-1].delay_s for shot in timeline.shots)
    later_s = plans[0].shot.pulses[-1].delay_s - first
    place = {"extent_m": extent, "voxel_m": size, "later_s": later_s}
    ours = abs(amplitude_of_singlet(path, 50.0, f0_hz))
    return ours, *_mean(reference.play(path, f0_hz=f0_hz), 50.0, points, seed, wanted_error, place)


def _mean(shots, offset_hz, points, seed, wanted_error, place):
    total, variance = 0.0, 0.0
    for batch in range(1, MOST_BATCHES + 1):
        found, error = reference.voxel_amplitude(shots, offset_hz, points, seed + batch, **place)
        total, variance = total + found, variance + error**2
        if np.sqrt(variance) / batch < wanted_error:
            break
    return abs(total) / batch, float(np.sqrt(variance)) / batch


def _place(path, timeline, only_water):
    """Return the box of the reference, and how long after the first sample the engine's echo is."""
    shots = timeline.select(water_reference=only_water)
    plans = plan_shots(path, timeline, shots, Settings())
    voxel = timeline.voxel
    selected = np.zeros(3, bool)
    for shot in shots:
        for pulse in shot.pulses:
            selected |= np.abs(pulse.rf.gradient_hz_per_m @ voxel.axes).max(axis=0) > 100.0
    return {
        "extent_m": voxel.size_m * np.where(selected, MARGIN, 1.0),
        "voxel_m": voxel.size_m,
        "axes": voxel.axes,
        "centre_m": np.ravel(timeline.definitions.get("VoxelPosition", np.zeros(3))),
        "later_s": plans[0].shot.pulses[-1].delay_s - min(shot.pulses[-1].delay_s for shot in shots),
    }
