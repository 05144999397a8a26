"""MEGA-PRESS and its kin as written: where the editing pulses stand, what they hit, and what they leave alone."""

import itertools

import bloch
import numpy as np
import pytest
from test_library import few

from pulsespec.sequences import build, load_scanner, write_sequence

SCANNER = {1.5: "siemens-aera", 3.0: "siemens-skyra", 7.0: "siemens-terra"}
EDITED = ["mega-press-3t-gaba", "mega-press-1.5t-lactate", "hermes-3t-gaba-gsh", "mega-semi-laser-7t-gaba"]


def written(folder, name):
    protocol = few(name).model_copy(update={"water_suppression": None, "dummies": 0})
    scanner = load_scanner(SCANNER[protocol.field_t])
    path = folder / "x.seq"
    write_sequence(build(protocol, scanner), path)
    sequence = bloch.pypulseq.Sequence(bloch.pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    return protocol, scanner, sequence, bloch.shots(path)


def editing_pulses(blocks):
    """Return time of the centre and event of the pulses that are played without a gradient."""
    now, found = 0.0, []
    for block in blocks:
        if block.rf is not None and block.gx is block.gy is block.gz is None:
            found.append((now + block.rf.delay + block.rf.center, block.rf))
        now += block.block_duration
    return found


@pytest.mark.parametrize("name", EDITED)
def test_two_pulses_half_an_echo_apart_hit_their_bands_in_each_condition(tmp_path, name):
    protocol, scanner, sequence, shots = written(tmp_path, name)
    conditions = sequence.evaluate_labels(evolution="adc")["SET"]
    reference = sequence.evaluate_labels(evolution="adc")["REF"]
    assert set(conditions[reference == 0]) == set(range(len(protocol.editing.conditions_ppm)))
    checked = set()
    for blocks, condition, water in zip(shots, conditions, reference, strict=True):
        (first, pulse), (second, again) = editing_pulses(blocks)
        assert second - first == pytest.approx(protocol.te_ms * 5e-4, abs=1e-9)
        np.testing.assert_array_equal(pulse.signal, again.signal)
        bands = (protocol.editing.water_ppm,) if water else tuple(protocol.editing.conditions_ppm[condition])
        key = (bands, bool(water), pulse.freq_offset, pulse.signal.tobytes())
        if key in checked:  # the same pulse again, for the same bands
            continue
        checked.add(key)
        far = [ppm for ppm in (1.0, 3.0, 6.0) if min(abs(ppm - band) for band in bands) > 1.05]
        kept = (far if scanner.f0_hz > 1e8 else []) + ([4.65] if water else [])
        offset = (np.array([*bands, *kept]) - 4.65) * 1e-6 * scanner.f0_hz - pulse.freq_offset
        left = bloch.pulse(pulse.signal, pulse.t[1] - pulse.t[0], offset)[:, 2]
        assert left[: len(bands)].max() < -0.95
        assert left[len(bands) :].min(initial=1.0) > 0.95
    assert len({bands for bands, *_ in checked}) >= len(protocol.editing.conditions_ppm)


def test_the_protocol_s_bands_are_in_the_file(tmp_path):
    _, _, sequence, _ = written(tmp_path, "hermes-3t-gaba-gsh")
    bands = np.reshape(sequence.definitions["EditingPPM"], (4, 2))
    np.testing.assert_allclose(bands, [[1.9, 4.56], [1.9, 1.9], [4.56, 4.56], [7.5, 7.5]])
    assert int(np.ravel(sequence.definitions["Conditions"])[0]) == 4


def test_conditions_are_interleaved(tmp_path):
    protocol, _, sequence, _ = written(tmp_path, "mega-press-3t-gaba")
    labels = sequence.evaluate_labels(evolution="adc")
    metabolites = labels["REF"] == 0
    pairs = list(zip(labels["AVG"][metabolites], labels["SET"][metabolites], strict=True))
    assert pairs == list(itertools.product(range(protocol.averages), range(2)))
