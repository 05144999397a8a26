"""The weights of coherence pathways, against the Bloch equation and against a sequence without crushers."""

import dataclasses
import itertools

import bloch
import numpy as np
import pytest

from pulsespec.errors import SequenceError
from pulsespec.protocols import list_protocols, load_protocol
from pulsespec.sequences import build, load_scanner, purity, require_pure, write_sequence
from pulsespec.sequences.purity import PathwayWeight, Purity, central
from pulsespec.sequences.purity import purity as of_file
from pulsespec.sequences.voxel import Voxel
from pulsespec.simulator.timeline import read_timeline

SCANNER = {1.5: "siemens-aera", 3.0: "siemens-skyra", 7.0: "siemens-terra"}


def written(folder, name, **changes):
    protocol = central(load_protocol(name)).model_copy(update=changes)
    path = folder / "x.seq"
    write_sequence(build(protocol, load_scanner(SCANNER[protocol.field_t])), path, overwrite=True)
    return path


@pytest.mark.parametrize(
    "name", ["press-3t-te30", "steam-3t-te20-tm10", "semi-laser-3t-te30", "mega-press-3t-gaba"]
)
def test_pathways_add_up_to_what_the_bloch_equation_gives(tmp_path, name):
    axes = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    place = {"orientation": axes, "position_mm": (5.0, -12.0, 20.0)}
    path = written(tmp_path, name, water_suppression=None, averages=1, phase_cycle=1, **place)
    timeline = read_timeline(path)
    (shot,) = timeline.select(water_reference=False)
    spin_hz = (2.2 - 4.65) * 1e-6 * timeline.f0_hz
    voxel = Voxel.of(timeline)
    rng = np.random.default_rng(1)
    inside = rng.uniform(-0.015, 0.015, (3, 12)) + voxel.positions.mean(axis=1)[:, None]
    voxel = dataclasses.replace(voxel, positions=inside)
    transfers = [(voxel.axis_of(pulse), voxel.transfer(pulse, spin_hz)) for pulse in shot.pulses]
    total = np.zeros(12, complex)
    delays = [pulse.delay_s for pulse in shot.pulses]
    for orders in itertools.product((-1, 0, 1), repeat=len(shot.pulses) - 1):
        orders, old, value = (*orders, -1), 0, np.ones(12, complex)
        for (_, transfer), order, pulse, delay_s, phase in zip(
            transfers, orders, shot.pulses, delays, shot.phases[0], strict=False
        ):
            # The pulse is in the frame of its carrier, which has turned since its start.
            carrier = pulse.rf.offset_hz * pulse.rf.duration_s
            turn = carrier + pulse.moment_per_m @ voxel.axes @ inside + spin_hz * delay_s
            value = value * transfer[(order, old)] * np.exp(-1j * (order - old) * phase)
            value = value * np.exp(-2j * np.pi * order * turn)
            old = order
        total += value
    blocks = bloch.shots(path)[0]
    seen = bloch.play(blocks, (voxel.axes @ inside).T, np.full(12, spin_hz))
    assert np.abs(seen).max() > 0.3
    np.testing.assert_allclose(total, seen, atol=5e-3)


SLABS = [
    name for name in list_protocols() if name.endswith("-whole-brain") and ("-te" in name or "fid" in name)
]


@pytest.mark.parametrize(
    "name", [n for n in list_protocols() if ("epsi" not in n and "acquire" not in n) or n in SLABS]
)
def test_every_shipped_protocol_is_pure(name):
    protocol = load_protocol(name)
    found = purity(protocol, load_scanner(SCANNER[protocol.field_t]))
    require_pure(found, name)
    assert found.metabolite_sum < 0.01
    if protocol.water_suppression and protocol.averages:
        assert found.water_sum < found.water_residual < 0.02


def test_without_crushers_and_phase_cycle_it_is_refused(tmp_path):
    path = written(tmp_path, "press-3t-te30", averages=1, phase_cycle=1)
    text = path.read_text()
    head, _, rest = text.partition("[TRAP]\n")
    traps, blank, tail = rest.partition("\n\n")
    # No lobe but the slice gradients and the rephasing keeps its amplitude: those have the longest ramps.
    rows = [row.split() for row in traps.split("\n")]
    timeline = read_timeline(path)
    lobes = {row[0] for row in rows if float(row[3]) < 1200 and abs(float(row[1])) > 6e5}
    rows = [[r[0], "0.001", *r[2:]] if r[0] in lobes else r for r in rows]
    path.write_text(
        head.replace("[SIGNATURE]", "") + "[TRAP]\n" + "\n".join(map(" ".join, rows)) + blank + tail
    )
    assert timeline.shots
    found = of_file(path)
    assert found.metabolite_sum > 0.05
    with pytest.raises(SequenceError, match="of the metabolite signal: expected less"):
        require_pure(found, "x")


def test_phase_cycle_takes_away_what_it_must(tmp_path):
    one = of_file(written(tmp_path, "press-3t-te30", averages=1, phase_cycle=1))
    all_steps = of_file(written(tmp_path, "press-3t-te30"))
    assert all_steps.metabolite_sum < one.metabolite_sum
    assert one.metabolite_sum < 0.01


@pytest.mark.parametrize(
    ("metabolites", "water", "words"),
    [
        (0.02, 0.0, "2.00% of the metabolite signal"),
        (0.0, 0.05, "5.00% of water: expected less than the 0.40%"),
    ],
)
def test_the_limits_are_errors(metabolites, water, words):
    rows = (PathwayWeight((0, -1, -1), metabolites, water),)
    found = Purity("press", (-1, 1, -1), rows, metabolites, water, 0.004, 0.0)
    with pytest.raises(SequenceError, match=words):
        require_pure(found, "x")


def test_a_file_without_a_pathway_is_refused(tmp_path):
    path = written(tmp_path, "press-3t-te30")
    path.write_text("\n".join(row for row in path.read_text().split("\n") if not row.startswith("Pathway")))
    with pytest.raises(SequenceError, match="no Pathway definition"):
        of_file(path)
