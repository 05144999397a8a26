"""PRESS as the file plays it: timing, gradient moments, phases, geometry, and a second reader."""

import dataclasses
import itertools
import re

import bloch
import numpy as np
import pytest

from pulsespec.errors import InputError, SequenceError
from pulsespec.protocols import list_protocols, load_protocol, protocol_hash
from pulsespec.sequences import build, load_scanner, slr, write_sequence
from pulsespec.sequences.press import phase_cycle, pulses

PRESS = [name for name in list_protocols() if re.fullmatch(r"press-.*te\d+", name)]
SCANNER = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
PRISMA = load_scanner("siemens-prisma")


def export(folder, name="press-3t-te30", scanner=None, **changes):
    protocol = load_protocol(name).model_copy(update=changes)
    path = folder / "press.seq"
    scanner = scanner or load_scanner(SCANNER[protocol.field_t])
    write_sequence(build(protocol, scanner), path, overwrite=True)
    return protocol, path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(tmp_path_factory.mktemp("press"), averages=16, dummies=1)


def centres(blocks):
    """Return the times of pulse centres and of the first sample, in s, from the start of the blocks."""
    now, times = 0.0, []
    for block in blocks:
        if block.rf is not None:
            times.append(now + block.rf.delay + block.rf.center)
        if block.adc is not None:
            times.append(now + block.adc.delay + block.adc.dwell / 2)
        now += block.block_duration
    return np.array(times)


def moments(blocks):
    """Return gradient moments between pulse centres and the first sample, cycles/m; shape (3, 3)."""
    times, now, result = centres(blocks), 0.0, np.zeros((3, 3))
    for block in blocks:
        for k, (start, end) in enumerate(itertools.pairwise(times)):
            low, high = max(start - now, 0.0), min(end - now, block.block_duration)
            if high > low:
                result[k] += [bloch.area(getattr(block, f"g{axis}"), low, high) for axis in "xyz"]
        now += block.block_duration
    return result


@pytest.mark.parametrize("name", PRESS)
def test_echo_is_at_the_first_sample(tmp_path, name):
    protocol, path = export(tmp_path, name, averages=16, dummies=0, water_averages=1, water_dummies=0)
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    te1_s = float(sequence.definitions["TE1"])
    for blocks in bloch.shots(path):
        times = centres(blocks)
        te_s = protocol.te_ms * 1e-3
        np.testing.assert_allclose(np.diff(times), [te1_s / 2, te_s / 2, (te_s - te1_s) / 2], atol=2e-9)
    assert sequence.duration()[0] == pytest.approx(17 * protocol.tr_ms * 1e-3, abs=1e-6)


@pytest.mark.parametrize("name", PRESS)
def test_only_the_wanted_pathway_is_rephased(tmp_path, name):
    protocol, path = export(tmp_path, name, averages=16)
    voxel_m = np.array(protocol.voxel_mm) * 1e-3
    blocks = bloch.shots(path)[0]
    m = moments(blocks)
    for first, second in itertools.product((-1, 0, 1), repeat=2):
        cycles = np.abs((first * m[0] + second * m[1] - m[2]) * voxel_m)
        if (first, second) == (-1, 1):
            assert cycles.max() < 1e-3
        else:
            assert cycles.max() > 0.95 * protocol.crushers.cycles


def test_suppressed_water_is_dephased_along_every_pathway(exported):
    protocol, path = exported
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    spoilers = []
    for number in sequence.block_events:
        block = sequence.get_block(number)
        if block.rf is not None and block.rf.use == "excitation":
            break
        if block.rf is None:
            spoilers.append([getattr(block, f"g{axis}").area for axis in "xyz"])
    assert len(spoilers) == len(protocol.water_suppression.flips_deg)
    m = np.vstack([spoilers, moments(bloch.shots(path)[0])])
    orders = np.array(list(itertools.product((-1, 0, 1), repeat=len(m) - 1)))
    orders = orders[np.any(orders[:, : len(spoilers)] != 0, axis=1)]
    cycles = np.abs((orders @ m[:-1] - m[-1]) * np.array(protocol.voxel_mm) * 1e-3).max(axis=1)
    assert cycles.min() > 4


def demodulated(path, position_m, offset_hz):
    """Return what each readout sees of each spin at its first sample; shape (n_readouts, n_spins)."""
    rows = []
    for blocks in bloch.shots(path):
        signal = bloch.play(blocks, position_m, offset_hz)
        rows.append(signal * np.exp(-1j * blocks[-1].adc.phase_offset))
    return np.array(rows)


def test_phase_cycle_adds_up_the_echo_and_cancels_the_rest(tmp_path):
    protocol, path = export(tmp_path, averages=16, dummies=0, water_averages=0)
    excitation, first, second = pulses(protocol, PRISMA)
    rng = np.random.default_rng(0)
    position = rng.uniform(-0.014, 0.014, (60, 3))
    shift = np.full(60, -0.7e-6 * PRISMA.f0_hz)  # of NAA from the carrier
    carrier = (2.7 - 4.65) * 1e-6 * PRISMA.f0_hz
    signal = demodulated(path, position, carrier + shift)
    profile = np.ones(60)
    for pulse, axis in ((excitation, 2), (first, 1), (second, 0)):
        offset = pulse.gradient_hz_per_m * position[:, axis] + shift
        of = slr.excited if pulse.pulse.use == "excitation" else slr.refocused
        profile *= np.abs(of(pulse.pulse.b1_hz, pulse.pulse.step_s, offset))
    mean = signal.mean(axis=0)
    assert np.abs(signal - mean).max() > 0.5  # in a single spin, without gradients' averaging, all is there
    np.testing.assert_allclose(np.abs(mean), profile, atol=2e-3)
    inside = profile > 0.5
    assert inside.sum() > 3
    assert np.abs(np.angle(mean[inside] / mean[inside].sum())).max() < 0.12


@pytest.mark.parametrize(("steps", "survivors"), [(1, 9), (4, 3), (16, 1)])
def test_phase_cycle_keeps_these_pathways(steps, survivors):
    kept = []
    for one, two in itertools.product((-1, 0, 1), repeat=2):
        # A pulse of phase p turns an order by d with the phase -d p; what is received is order -1.
        change = (one, two - one, -1 - two)
        weights = [np.exp(-1j * (np.dot(change, step.pulses) + step.receiver)) for step in phase_cycle(steps)]
        if abs(np.mean(weights)) > 1e-9:
            kept.append((one, two))
            if (one, two) == (-1, 1):
                np.testing.assert_allclose(weights, 1, atol=1e-9)
    assert (-1, 1) in kept
    assert len(kept) == survivors


def test_signal_does_not_depend_on_where_the_voxel_is(tmp_path):
    position = np.random.default_rng(3).uniform(-0.008, 0.008, (40, 3))
    offset = np.full(40, (3.03 - 4.65) * 1e-6 * PRISMA.f0_hz)
    changes = {"averages": 16, "dummies": 0, "water_averages": 0}
    _, path = export(tmp_path, **changes)
    centred = demodulated(path, position, offset).mean(axis=0)
    place = (13.0, -41.5, 27.25)
    _, path = export(tmp_path, position_mm=place, **changes)
    moved = demodulated(path, position + np.array(place) * 1e-3, offset).mean(axis=0)
    assert np.abs(centred).max() > 0.9
    np.testing.assert_allclose(moved, centred, atol=5e-3)  # offsets have six digits in a file
    away = demodulated(path, position, offset).mean(axis=0)
    assert np.abs(away).max() < 0.05


def test_water_shots_differ_by_suppression_carrier_and_flag_only(exported):
    _, path = exported
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    per_shot = 24
    blocks = [sequence.get_block(n) for n in sequence.block_events]
    assert len(blocks) == per_shot * (1 + 16 + 2 + 4)
    durations = np.array([block.block_duration for block in blocks]).reshape(-1, per_shot)
    assert np.abs(durations - durations[0]).max() < 1e-9
    metabolite, water = blocks[per_shot : 2 * per_shot], blocks[19 * per_shot : 20 * per_shot]
    for one, other in zip(metabolite, water, strict=True):
        for axis in ("gx", "gy", "gz"):
            a, b = getattr(one, axis), getattr(other, axis)
            assert (a is None) == (b is None)
            assert a is None or (a.amplitude, a.flat_time, a.rise_time) == (
                b.amplitude,
                b.flat_time,
                b.rise_time,
            )
        if one.rf is not None and one.rf.use == "saturation":
            assert other.rf is None
        elif one.rf is not None:
            np.testing.assert_array_equal(one.rf.signal, other.rf.signal)
            assert one.rf.freq_offset == pytest.approx((2.7 - 4.65) * 1e-6 * PRISMA.f0_hz, abs=1e-2)
            assert other.rf.freq_offset == 0
    labels = sequence.evaluate_labels(evolution="adc")
    np.testing.assert_array_equal(labels["REF"], [0] * 16 + [1] * 4)
    np.testing.assert_array_equal(labels["AVG"], [*range(16), *range(4)])
    assert not np.any(labels["SET"])
    assert all(np.all(labels[flag] == 1) for flag in ("NOPOS", "NOROT", "NOSCL"))
    dummies = [blocks[k : k + per_shot] for k in (0, 17 * per_shot, 18 * per_shot)]
    assert all(block.adc is None for shot in dummies for block in shot)


def test_definitions_say_what_readers_need(exported):
    protocol, path = exported
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    found = sequence.definitions
    assert found["Name"] == "press"
    assert found["Nucleus"] == "1H"
    assert found["ProtocolName"] == protocol.name
    assert found["ProtocolHash"] == protocol_hash(protocol)
    assert found["Scanner"] == PRISMA.name
    numbers = {"B0": 2.894, "TE": 0.03, "TR": 2.0, "SpectralWidth": 2500, "CarrierPPM": 2.7}
    numbers |= {"WaterCarrierPPM": 4.65, "ReceiverPPM": 4.65}
    for key, value in numbers.items():
        assert float(found[key]) == pytest.approx(value)
    assert float(found["TE1"]) + float(found["TE2"]) == pytest.approx(0.03)
    np.testing.assert_allclose(found["VoxelSize"], [0.02] * 3)
    np.testing.assert_allclose(found["VoxelPosition"], [0.0] * 3)


def test_frequencies_follow_the_field_of_the_data(tmp_path):
    scanner = dataclasses.replace(PRISMA, b0_t=3.0)
    _, path = export(tmp_path, scanner=scanner, averages=16)
    excitation = bloch.shots(path)[0][0].rf
    assert excitation.freq_offset == pytest.approx((2.7 - 4.65) * 1e-6 * scanner.f0_hz, abs=1e-2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"te_ms": 14.0}, r"te_ms = 14 is too short .* at least 18\.\d\d"),
        ({"te1_ms": 4.0}, r"te1_ms = 4 is too short .* at least 10\.\d\d"),
        ({"te_ms": 30.005}, r"te_ms = 30.005: expected a multiple of 0.02 ms"),
        ({"tr_ms": 1000.0}, r"tr_ms = 1000.0 is too short: expected at least 1\d\d\d"),
        ({"spectral_width_hz": 6000.0}, r"spectral_width_hz = 6000 .* nearest is"),
        ({"points": 2050}, r"points = 2050: .* multiple of 4"),
        ({"points": 16384}, r"points = 16384: .* at most 8192"),
        ({"field_t": 7.0}, r"is for 7 T, and siemens-prisma has 2.894 T"),
        ({"voxel_mm": (20.0, 20.0, 0.5)}, r"slice of 0.5 mm needs .* siemens-prisma has 80"),
    ],
)
def test_impossible_combinations_say_what_is_possible(changes, words):
    with pytest.raises(SequenceError, match=words):
        build(load_protocol("press-3t-te30").model_copy(update=changes), PRISMA)


def test_stated_shortest_te_can_be_built():
    protocol = load_protocol("press-3t-te30").model_copy(update={"te_ms": 10.0})
    with pytest.raises(SequenceError) as caught:
        build(protocol, PRISMA)
    shortest = float(str(caught.value).rsplit(" ", 1)[1])
    assert build(protocol.model_copy(update={"te_ms": shortest}), PRISMA).block_events
    with pytest.raises(SequenceError):
        build(protocol.model_copy(update={"te_ms": shortest - 0.02}), PRISMA)


def test_files_are_written_whole_and_never_over_others(tmp_path):
    protocol, path = export(tmp_path, averages=16)
    before = path.read_bytes()
    sequence = build(protocol, PRISMA)
    with pytest.raises(InputError, match="exists already"):
        write_sequence(sequence, path)
    with pytest.raises(InputError, match=r"ends in \.seq"):
        write_sequence(sequence, tmp_path / "press.txt")
    assert path.read_bytes() == before
    write_sequence(sequence, tmp_path / "again.seq")
    assert (tmp_path / "again.seq").read_bytes() == before
    write_sequence(sequence, tmp_path / "old.seq", v141=True)
    assert "minor 4" in (tmp_path / "old.seq").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.seq", "old.seq", "press.seq"]
