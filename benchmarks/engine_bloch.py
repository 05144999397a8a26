"""The engine against a Monte Carlo Bloch simulation, for an uncoupled spin in every shipped sequence.

    python benchmarks/engine_bloch.py [--points N] [PROTOCOL ...]

The reference (tests/reference.py) turns spins at random positions by every event of the file, sample by sample, and
knows nothing of pathways, axes or steps. Each row has the amplitude of both, for one phase cycle, and the statistical
error of the reference. The largest difference may be a few of those.
"""

import argparse
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pypulseq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import reference

from pulsespec.protocols import list_protocols, load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.purity import central
from pulsespec.simulator.simulate import Settings, _singlet, plan_shots
from pulsespec.simulator.timeline import read_timeline

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
MARGIN = 2.5
"""Length of the reference's box over the voxel's edges, where pulses select; what they touch lies inside."""


def kinds(path):
    """Return the label SET of each metabolite readout, and which readouts those are, as pypulseq finds them."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    found = sequence.evaluate_labels(evolution="adc") or {}
    count = sum(bool(event[5]) for event in sequence.block_events.values())
    water = np.resize(np.atleast_1d(found.get("REF", 0)), count)
    return np.resize(np.atleast_1d(found.get("SET", 0)), count), water


def main() -> None:
    """Print a row for each protocol."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--points", type=int, default=16000)
    chosen = arguments.parse_args()
    print(f"{'protocol':28s} {'engine':>9s} {'Bloch':>9s} {'error':>8s} {'difference':>10s}")
    for name in chosen.names or list_protocols():
        protocol = central(load_protocol(name))
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / f"{name}.seq"
            write_sequence(build(protocol, load_scanner(SCANNERS[protocol.field_t])), path)
            row(name, path, chosen.points)


def row(name, path, points):
    """Print what both make of a resonance at the carrier, in the first condition."""
    timeline = read_timeline(path)
    condition, water = kinds(path)
    only_water = bool(water.all())
    shots = timeline.select(water_reference=only_water)
    plans = plan_shots(path, timeline, shots, Settings())
    key = "WaterCarrierPPM" if only_water else "CarrierPPM"
    carrier = float(np.ravel(timeline.definitions.get(key, timeline.reference_ppm))[0])
    offset_hz = (carrier - timeline.reference_ppm) * 1e-6 * timeline.f0_hz
    ours = abs(_singlet(plans, offset_hz))
    played = reference.play(path)
    wanted = [one for k, one in enumerate(played) if (only_water or not water[k]) and condition[k] == 0]
    voxel = timeline.voxel
    selected = np.zeros(3, bool)
    for shot in shots:
        for pulse in shot.pulses:
            selected |= np.abs(pulse.rf.gradient_hz_per_m @ voxel.axes).max(axis=0) > 100.0
    place = {
        "extent_m": voxel.size_m * np.where(selected, MARGIN, 1.0),
        "voxel_m": voxel.size_m,
        "axes": voxel.axes,
        "centre_m": np.ravel(timeline.definitions.get("VoxelPosition", np.zeros(3))),
        "later_s": plans[0].shot.pulses[-1].delay_s - min(shot.pulses[-1].delay_s for shot in shots),
    }
    if len(wanted) > 1 and "Matrix" in timeline.definitions:  # only the centre of k-space
        single = [abs(reference.voxel_amplitude([one], offset_hz, 2000, 0, **place)[0]) for one in wanted]
        wanted = [one for one, size in zip(wanted, single, strict=True) if size > 0.7 * max(single)]
    seed = zlib.crc32(name.encode())  # the same places would err alike
    theirs, error = reference.voxel_amplitude(wanted, offset_hz, points, seed, **place)
    theirs = abs(theirs)
    print(f"{name:28s} {ours:9.5f} {theirs:9.5f} {error:8.5f} {ours - theirs:10.5f}", flush=True)


if __name__ == "__main__":
    main()
