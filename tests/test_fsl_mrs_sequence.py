"""FSL-MRS sequence descriptions: against the same PRESS as a `.seq`, and against brute force in FSL-MRS's frame."""

import json
from functools import reduce

import numpy as np
import pytest
import scipy.linalg
import sequences_for_tests as seqs

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.simulator import load_metabolites, read_timeline, simulate
from pulsespec.simulator.fsl_mrs_sequence import read_description, read_sequence
from pulsespec.simulator.orders import LARGEST_ORDER

GAMMA = gamma_hz_per_t("1H")
PRESS = [-1, 1, -1]


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def described(source, crushed=True):
    """A PRESS `.seq` as a description: B1 in uT, gradients in mT/m, phases apart from amplitudes."""
    timeline = read_timeline(source)
    shot = timeline.shots[0]
    blocks = [
        {
            "time": pulse.rf.duration_s,
            "frequencyOffset": pulse.rf.offset_hz,
            "phaseOffset": phase,
            "amp": (np.abs(pulse.rf.b1_hz) / GAMMA * 1e6).tolist(),
            "phase": np.angle(pulse.rf.b1_hz).tolist(),
            "grad": (pulse.rf.gradient_hz_per_m.mean(axis=0) / GAMMA * 1e3).tolist(),
        }
        for pulse, phase in zip(shot.pulses, shot.phases[0][:-1], strict=True)
    ]
    moments = np.array([pulse.moment_per_m for pulse in shot.pulses])
    if not crushed:  # the first pulse is rewound, the others are symmetric about their middle
        first = shot.pulses[0].rf
        moments = np.zeros((3, 3))
        moments[0] = -first.gradient_hz_per_m.mean(axis=0) * first.duration_s / 2
    return {
        "sequenceName": "press",
        "description": "from a .seq",
        "B0": timeline.f0_hz / GAMMA,
        "centralShift": 4.65,
        "Rx_Points": shot.readout.samples,
        "Rx_SW": 1 / shot.readout.dwell_s,
        "Rx_LW": 2.0,
        "Rx_Phase": 0.0,
        **{axis: [-25, 25] for axis in "xyz"},
        "resolution": [25, 25, 25],
        "CoherenceFilter": PRESS,
        "RFUnits": "uT",
        "GradUnits": "mT",
        "spaceUnits": "mm",
        "RF": blocks,
        "delays": [pulse.delay_s for pulse in shot.pulses],
        "rephaseAreas": (moments / GAMMA * 1e3).tolist(),
    }


def rendered(basis, name, samples=256, dwell_s=1e-3):
    """The FID in the Pulseq sense, downfield positive."""
    lines = basis.lines[name]
    times = np.arange(samples) * dwell_s
    return np.exp(2j * np.pi * np.outer(times, lines.frequency_hz)) @ lines.amplitude


def misfit(found, expected, factor=None):
    """Largest relative error after the best complex factor, or a given one, and the factor."""
    factor = np.vdot(found, expected) / np.vdot(found, found) if factor is None else factor
    return np.linalg.norm(factor * found - expected) / np.linalg.norm(expected), factor


@pytest.mark.parametrize("crushed", [True, False])
def test_a_description_gives_the_basis_of_the_same_seq(tmp_path, crushed):
    source = seqs.press(tmp_path / "press.seq", samples=32, crusher_per_m=(1500.0, 2500.0))
    lines = source.read_text().splitlines(keepends=True)
    source.write_text("".join(line for line in lines if not line.startswith("VoxelSize")))
    path = write(tmp_path / "press.json", described(source, crushed))
    names = ["Cr", "Lac", "NAA"]
    ours, theirs = simulate(source, names), simulate(path, names)
    _, factor = misfit(rendered(theirs, "Cr"), rendered(ours, "Cr"))
    assert abs(factor) == pytest.approx(1.0, abs=1e-3)
    for name in names:
        error, _ = misfit(rendered(theirs, name), rendered(ours, name), factor)
        assert error < 1e-3, name
    assert theirs.reference_ppm == 4.65
    assert theirs.f0_hz == pytest.approx(ours.f0_hz)
    assert theirs.sequence == "press"


def brute_force(content, metabolite, samples):
    """The FID of FSL-MRS's own convention: no turn back from a carrier's frame; without gradients."""
    dwell_s, f0_hz = 1 / content["Rx_SW"], content["B0"] * GAMMA
    total = np.zeros(samples, dtype=complex)
    for system in metabolite.systems:
        count = system.shifts_ppm.size
        x, y, z = (spin_operators(count, axis) for axis in "xyz")
        shifts = (system.shifts_ppm - content["centralShift"]) * f0_hz * 1e-6
        free = np.tensordot(shifts, z, 1)
        for one in range(count):
            for two in range(one):
                free = free + system.j_hz[one, two] * sum(axis[one] @ axis[two] for axis in (x, y, z))
        order = np.rint(np.subtract.outer(*[z.sum(0).diagonal().real] * 2))
        state = z.sum(0)
        rows = zip(content["RF"], content["delays"], content["CoherenceFilter"], strict=True)
        for block, delay_s, keep in rows:
            step_s = block["time"] / len(block["amp"])
            for amp, phase in zip(block["amp"], block["phase"], strict=True):
                angle = phase + block["phaseOffset"]
                driven = amp * (np.cos(angle) * x.sum(0) + np.sin(angle) * y.sum(0))
                state = evolved(free + driven - block["frequencyOffset"] * z.sum(0), step_s, state)
            state = evolved(free, delay_s, state)
            followed = 1 if block is content["RF"][0] else LARGEST_ORDER  # as the engine does, see the docs
            state = np.where(np.abs(order) <= followed if keep is None else order == keep, state, 0)
        receiver = x.sum(0) + 1j * y.sum(0)
        for sample in range(samples):
            total[sample] += system.scale * np.trace(receiver @ state) / 2**count
            state = evolved(free, dwell_s, state)
    return total


def spin_operators(count, axis):
    half = {"x": [[0, 0.5], [0.5, 0]], "y": [[0, -0.5j], [0.5j, 0]], "z": [[0.5, 0], [0, -0.5]]}[axis]
    return np.array(
        [reduce(np.kron, [half if k == spin else np.eye(2) for k in range(count)]) for spin in range(count)]
    ).astype(complex)


def evolved(hamiltonian, time_s, state):
    u = scipy.linalg.expm(-2j * np.pi * time_s * hamiltonian)
    return u @ state @ u.conj().T


def unselective(orders):
    """Three shaped pulses without gradients, at carriers and phases of their own, off the receiver's centre."""
    shape = [0.3, 0.8, 1.0, 0.7, 0.2]
    blocks = [
        {
            "time": time_s,
            "frequencyOffset": offset_hz,
            "phaseOffset": phase,
            "amp": [area / (time_s * np.mean(shape)) * value for value in shape],
            "phase": [0.0, 0.1, 0.3, 0.2, -0.4],
            "grad": [0, 0, 0],
        }
        for time_s, offset_hz, phase, area in (
            (1.1e-3, -190.0, 0.3, 0.2),
            (1.7e-3, 70.0, 1.9, 0.37),
            (0.9e-3, -330.0, -0.7, 0.31),
        )
    ]
    return {
        "sequenceName": "three",
        "description": "",
        "B0": 3.0,
        "centralShift": 4.65,
        "Rx_Points": 32,
        "Rx_SW": 1000.0,
        "Rx_LW": 1.0,
        "Rx_Phase": 0.0,
        **{axis: [-1, 1] for axis in "xyz"},
        "resolution": [1, 1, 1],
        "CoherenceFilter": orders,
        "RFUnits": "Hz",
        "RF": blocks,
        "delays": [0.007, 0.011, 0.004],
        "rephaseAreas": [[0, 0, 0]] * 3,
    }


@pytest.mark.parametrize("orders", [PRESS, [1, 0, -1], [-1, 2, -1], [None, None, -1], [None, 1, None]])
def test_signs_and_carriers_are_those_of_fsl_mrs(tmp_path, orders):
    content = unselective(orders)
    basis = simulate(write(tmp_path / "three.json", content), ["Lac"], tolerance=1e-5)
    expected = brute_force(content, load_metabolites(["Lac"])["Lac"], 32)
    error, factor = misfit(rendered(basis, "Lac", 32), expected)
    # Open orders leave out what couplings during one pulse turn from equilibrium into orders beyond one.
    assert error < (1e-4 if None in orders[:2] else 1e-5)
    conjugated, _ = misfit(rendered(basis, "Lac", 32).conj(), expected)
    assert conjugated > 0.1
    assert abs(factor) > 0


def opposed(carrier_hz):
    """A spin echo whose two slices along x have opposite gradients: they overlap for what lies at the carrier."""
    content = unselective([1, -1])
    times = (np.arange(64) + 0.5) / 64 - 0.5
    shape = np.sinc(6 * times) * np.cos(np.pi * times) ** 2
    for block, area, gradient in zip(content["RF"], (0.25, 0.5), (10.0, -10.0), strict=False):
        block |= {"time": 4e-3, "frequencyOffset": carrier_hz, "phase": [0.0] * 64, "grad": [gradient, 0, 0]}
        block["amp"] = (area / (4e-3 * shape.mean()) * shape).tolist()
    content["RF"], content["delays"] = content["RF"][:2], [0.01, 0.012]
    rewind = -10.0 * 4e-3 / 2
    return content | {"GradUnits": "mT", "rephaseAreas": [[rewind, 0, 0], [0, 0, 0]]}


def test_a_carrier_at_naa_overlaps_the_slices_for_naa(tmp_path):
    f0_mhz = 3.0 * GAMMA * 1e-6
    naa_hz = (2.008 - 4.65) * f0_mhz

    def singlet(carrier_hz):
        content = opposed(carrier_hz) | {"x": [-0.1, 0.1]}
        basis = simulate(write(tmp_path / f"{carrier_hz:.0f}.json", content), ["NAA"])
        lines = basis.lines["NAA"]
        return np.abs(lines.amplitude[np.abs(lines.frequency_hz - naa_hz) < 2]).sum()

    assert singlet(naa_hz) > 1.1 * max(singlet(0.0), singlet(-naa_hz))


def test_the_sequence_inside_a_basis_function_is_read(tmp_path):
    content = unselective(PRESS)
    kept = read_description(write(tmp_path / "a.json", {"seq": content, "basis": {}}))
    plain = read_sequence(write(tmp_path / "b.json", content))
    assert kept.shots[0].orders == plain.shots[0].orders == (-1, 1, -1)
    assert kept.f0_hz == pytest.approx(3.0 * GAMMA)


def test_units_are_those_that_the_file_names(tmp_path):
    content = unselective(PRESS)
    plain = read_description(write(tmp_path / "hz.json", content)).shots[0].pulses[0]
    for unit, tesla in (("T", 1.0), ("mT", 1e-3), ("uT", 1e-6)):
        other = json.loads(json.dumps(content)) | {"RFUnits": unit, "GradUnits": "mT"}
        for block in other["RF"]:
            block["amp"] = [value / GAMMA / tesla for value in block["amp"]]
        other["RF"][0] |= {"grad": [0, 4.0, 0], "frequencyOffset": 0.0}
        other["rephaseAreas"] = [[0, -0.002, 0]] * 3
        read = read_description(write(tmp_path / "t.json", other)).shots[0].pulses[0]
        np.testing.assert_allclose(read.rf.b1_hz, plain.rf.b1_hz)
        np.testing.assert_allclose(read.rf.gradient_hz_per_m, [[0, 4e-3 * GAMMA, 0]] * 5)
        np.testing.assert_allclose(read.moment_per_m, [0, -2e-6 * GAMMA, 0])


WRONG = {
    "a key is missing": ({"B0": ...}, "has no B0"),
    "a key is unknown": ({"coherencefilter": []}, "coherencefilter: is not known"),
    "an order too few": ({"CoherenceFilter": [-1, -1]}, "CoherenceFilter: got .*expected 3 orders"),
    "an order too high": ({"CoherenceFilter": [-1, 5, -1]}, "CoherenceFilter: got"),
    "another order is detected": ({"CoherenceFilter": [-1, 1, 1]}, "the last -1"),
    "a delay too few": ({"delays": [0.01, 0.01]}, "delays: got .*shape"),
    "a negative delay": ({"delays": [0.01, -0.01, 0.01]}, "at least 0 s"),
    "an area too few": ({"rephaseAreas": [[0, 0]] * 3}, "rephaseAreas: got"),
    "a unit of B1": ({"RFUnits": "deg"}, "RFUnits: got 'deg', expected one of hz, t, mt, ut"),
    "a unit of gradients": ({"GradUnits": "Hz"}, "GradUnits: got 'Hz', expected one of t, mt"),
    "a unit of space": ({"spaceUnits": "inch"}, "spaceUnits: got 'inch'"),
    "no block": ({"RF": []}, "RF: got"),
    "half a point": ({"Rx_Points": 1.5}, "Rx_Points"),
    "a map": ({"spatiallyResolve": True}, "spatiallyResolve"),
    "a word": ({"B0": "three"}, "B0: got 'three'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path, case):
    changes, words = WRONG[case]
    content = unselective(PRESS) | changes
    content = {key: value for key, value in content.items() if value is not ...}
    path = write(tmp_path / "wrong.json", content)
    with pytest.raises(SequenceError, match=words) as caught:
        read_sequence(path)
    assert "wrong.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase": [0.0]}, r"RF\[0\].phase"),
        ({"time": 0.0}, r"RF\[0\].time"),
        ({"grad": [1.0]}, r"RF\[0\].grad"),
        ({"gard": [1.0]}, r"RF\[0\].gard: is not known"),
        ({"grad": [0.0001, 0, 0]}, r"x: covers .* the slice of RF\[0\] lies at"),
    ],
)
def test_what_is_wrong_in_a_block_is_named(tmp_path, changes, words):
    content = unselective(PRESS) | {"spaceUnits": "mm"}
    content["RF"][0] |= changes
    with pytest.raises(SequenceError, match=words):
        read_description(write(tmp_path / "wrong.json", content))


def test_a_damaged_file_and_one_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "damaged.json"
    path.write_text('{"RF": [')
    with pytest.raises(SequenceError, match=r"damaged\.json: cannot be read as JSON"):
        read_sequence(path)
    path.write_text("[1, 2]")
    with pytest.raises(SequenceError, match="is not a Pulseq file"):
        read_sequence(path)


def test_too_many_open_orders_and_an_order_that_nothing_reaches_are_refused(tmp_path):
    content = unselective(PRESS)
    many = content | {
        "RF": content["RF"] * 3,
        "delays": content["delays"] * 3,
        "rephaseAreas": content["rephaseAreas"] * 3,
        "CoherenceFilter": [None] * 9,
    }
    with pytest.raises(SequenceError, match="pathways open"):
        simulate(write(tmp_path / "many.json", many), ["Cr"])
    for block in content["RF"]:
        block["amp"] = [0.0] * len(block["amp"])
    with pytest.raises(SequenceError, match="no signal on the coherence pathway"):
        simulate(write(tmp_path / "none.json", content), ["Cr"])
