"""k-space of written files: against closed forms from their definitions, and against pypulseq."""

import warnings

import numpy as np
import pypulseq
import pytest
from test_library import few

from pulsespec.errors import SequenceError
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.simulate import amplitude_of_singlet
from pulsespec.simulator.trajectory import echoes, read_trajectory, sums

SCANNER = {1.5: "siemens-aera", 3.0: "siemens-skyra", 7.0: "siemens-terra"}
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
EPSI = [
    "epsi-1.5t-whole-brain",
    "epsi-3t-whole-brain",
    "epsi-3t-2d-flyback",
    "press-epsi-3t",
    "epsi-7t-whole-brain",
    "epsi-7t-fid-whole-brain",
]


def written(folder, name, **changes):
    protocol = few(name).model_copy(
        update={"water_suppression": None, "inversion": None, "dummies": 0} | changes
    )
    path = folder / "x.seq"
    write_sequence(build(protocol, load_scanner(SCANNER[protocol.field_t])), path)
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    return protocol, path, sequence


def number(sequence, key):
    return float(np.ravel(sequence.definitions[key])[0])


def lobe(sequence, times_s, area):
    """Return the moment of the lobe that reads, from its start: ramps and flat top in closed form."""
    length, ramp = number(sequence, "LobeDuration"), number(sequence, "LobeRampTime")
    ramps = number(sequence, "RampSampling")
    peak = area / (length - (1 if ramps else 2) * ramp)
    t = np.clip(times_s, 0, length)
    rise = 0.5 * peak * np.minimum(t, ramp) ** 2 / ramp
    flat = peak * np.clip(t - ramp, 0, length - 2 * ramp)
    fall = np.clip(t - (length - ramp), 0, ramp)
    return rise + flat + peak * fall - 0.5 * peak * fall**2 / ramp, peak * (length - ramp)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", EPSI)
def test_a_train_crosses_k_space_as_its_definitions_say(tmp_path, name, turned):
    changes = {"orientation": TURNED, "position_mm": (3.0, -8.0, 11.0)} if turned else {}
    protocol, path, sequence = written(tmp_path, name, **changes)
    found = read_trajectory(path)
    axes = np.array(protocol.orientation).T
    spacing, samples = number(sequence, "EchoSpacing"), int(number(sequence, "EchoSamples"))
    count = int(number(sequence, "Echoes"))
    assert spacing * (2 if protocol.train.kind == "bipolar" else 1) == pytest.approx(
        protocol.train.interleaves / protocol.spectral_width_hz
    )
    area = protocol.encoding.matrix[0] / (protocol.encoding.fov_mm[0] * 1e-3)
    t = (np.arange(samples) + 0.5) * spacing / samples
    inside = t < number(sequence, "LobeDuration")
    moment, whole = lobe(sequence, t, area)
    extent = area
    for readout in range(len(found.kinds)):
        k = (found.k_per_m(readout) @ axes).reshape(count, samples, 3)
        forth = k[0, inside, 0]
        # The file has six digits of each amplitude: the lobes before the train set its beginning to 1e-4.
        begin = forth[0] - moment[inside][0]
        assert begin == pytest.approx(-whole / 2, abs=1e-4 * extent)
        np.testing.assert_allclose(forth, moment[inside] + begin, atol=2e-6 * extent)
        for echo in range(count):
            back = protocol.train.kind == "bipolar" and echo % 2
            expected = forth[::-1] if back else forth
            np.testing.assert_allclose(k[echo, inside, 0], expected, atol=1e-6 * extent)
        for axis, label in ((1, "LIN"), (2, "PAR")):
            n, fov = protocol.encoding.matrix[axis], protocol.encoding.fov_mm[axis] * 1e-3
            expected = (found.labels[label][readout] - n // 2) / fov
            np.testing.assert_allclose(k[..., axis], expected, atol=1e-3 * n / fov)
    train = found.trains[0]
    crossings = echoes(train, axes[:, 0])
    directions = [echo.direction for echo in crossings]
    if protocol.train.kind == "bipolar":
        assert directions == [1, -1] * (count // 2)
        assert all(echo.samples.stop - echo.samples.start == samples for echo in crossings)
    else:
        assert directions[::2] == [1] * count


@pytest.mark.parametrize("name", ["epsi-3t-2d-flyback", "press-epsi-3t"])
def test_pypulseq_finds_the_same(tmp_path, name):
    _, path, sequence = written(tmp_path, name, averages=4, water_averages=0)
    found = read_trajectory(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        k_adc = sequence.calculate_kspace()[0]
    ours = np.concatenate([found.k_per_m(readout) for readout in range(len(found.kinds))])
    np.testing.assert_allclose(ours, k_adc.T[: ours.shape[0]], atol=1e-6 * np.abs(ours).max())


@pytest.mark.parametrize(
    "name",
    [
        "epsi-3t-whole-brain",
        "epsi-3t-te17.6-whole-brain",
        "epsi-3t-te17.6-no-inversion-whole-brain",
        "epsi-3t-te144-no-inversion-whole-brain",
    ],
)
def test_the_echo_is_where_k_is_zero(tmp_path, name):
    protocol, path, sequence = written(tmp_path, name, water_averages=0)
    found = read_trajectory(path)
    middle = int(number(sequence, "EchoSamples")) // 2
    metabolites = np.flatnonzero(found.labels["REF"] == 0)
    water = np.flatnonzero(found.labels["REF"] == 1)
    assert metabolites.size == water.size > 0
    times = found.times_s(int(metabolites[0]))
    assert (times[middle - 1] + times[middle]) / 2 == pytest.approx(protocol.te_ms * 1e-3, abs=2e-6)
    assert found.times_s(int(water[0]))[0] < 10e-3  # a gradient echo right after its own excitation


def test_a_voxel_without_encoding_is_read_at_the_centre(tmp_path):
    for name in ("press-3t-te30", "steam-3t-te20-tm10", "semi-laser-3t-te30"):
        _, path, _ = written(tmp_path / name if (tmp_path / name).mkdir() is None else tmp_path, name)
        found = read_trajectory(path)
        voxel = 1 / 0.02
        assert np.abs(found.k_per_m(0)).max() < 0.05 * voxel


@pytest.mark.parametrize("use", ["refocusing", "undefined"])
def test_without_a_pathway_pulses_since_the_excitation_refocus(tmp_path, use):
    system = pypulseq.Opts(B0=3.0)
    sequence = pypulseq.Sequence(system)
    roles = ("excitation", use) if use == "refocusing" else (use, use)
    for turn, (flip, role) in enumerate(zip((90, 180), roles, strict=True)):
        sequence.add_block(
            pypulseq.make_block_pulse(np.deg2rad(flip), duration=1e-3, use=role, system=system)
        )
        areas = ((30.0, -7.0), (50.0, 0.0))[turn]
        trapezoids = zip("xy", areas, strict=True)
        sequence.add_block(
            *(
                pypulseq.make_trapezoid(axis, area=area, duration=2e-3, system=system)
                for axis, area in trapezoids
            )
        )
    sequence.add_block(pypulseq.make_adc(16, dwell=1e-5, system=system))
    path = tmp_path / "echo.seq"
    sequence.write(str(path))
    found = read_trajectory(path)
    expected = np.broadcast_to([50.0 - 30.0, 7.0, 0.0], (16, 3))
    np.testing.assert_allclose(found.k_per_m(0), expected, atol=1e-4 * 50)
    assert found.starts_s[0] == pytest.approx(sequence.duration()[0] - 160e-6 - 0.5e-3, abs=2e-4)


# pypulseq leaves the file open where it fails.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "bad.seq"
    path.write_text("nothing")
    with pytest.raises(SequenceError, match=r"bad\.seq"):
        read_trajectory(path)


def test_sums_are_those_of_the_blocks(tmp_path):
    _, path, sequence = written(tmp_path, "press-3t-te30", averages=16)
    found = sums(path)
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    assert found.pulses == sum(block.rf is not None for block in blocks)
    assert found.samples == sum(block.adc.num_samples for block in blocks if block.adc is not None)
    area = sum(block.gx.area for block in blocks if block.gx is not None)
    assert found.moment_per_m[0] == pytest.approx(area, rel=1e-6)
    assert found.length_s < sequence.duration()[0]


@pytest.mark.parametrize("name", ["epsi-3t-te17.6-whole-brain", "epsi-3t-te17.6-no-inversion-whole-brain"])
def test_water_of_the_same_repetition_has_the_phase_of_the_metabolites(tmp_path, name):
    """After an inversion of 0.2 s too, from which nothing recovers here: the spins are as they are at rest."""
    protocol = few(name).model_copy(update={"water_suppression": None, "dummies": 0, "points": 64})
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, load_scanner("siemens-skyra")), path)
    carrier_hz = (protocol.carrier_ppm.metabolite - protocol.carrier_ppm.water) * 1e-6 * 123.2e6
    metabolites = amplitude_of_singlet(path, carrier_hz)
    water = amplitude_of_singlet(path, 0.0, water_reference=True)
    assert abs(metabolites) > 0.8
    assert abs(water) == pytest.approx(np.sin(np.deg2rad(20.0)), rel=0.1)
    assert np.angle(metabolites / water) == pytest.approx(0.0, abs=0.1)
