"""What a preparation leaves of longitudinal magnetisation, against closed forms and a plain Bloch integration."""

import bloch
import numpy as np
import pypulseq
import pytest
from sequences_for_tests import F0_HZ, GAMMA_HZ_PER_T, adc, hard, system, write

from pulsespec.errors import InputError, SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.steady_state import longitudinal_at_excitation, residual_water

TR_S = 1.0


def saturated(path, delays_s, flips, **definitions):
    """Write hard pulses, each its delay from the next one, then an excitation of 90 degrees and a readout."""
    opts = system()
    sequence = pypulseq.Sequence(opts)
    busy_s = sum(delays_s) + 1e-4
    for delay_s, flip in zip(delays_s, flips, strict=True):
        sequence.add_block(hard(flip, opts=opts, use="saturation"))
        sequence.add_block(pypulseq.make_delay(delay_s - 1e-4))
    sequence.add_block(hard(np.pi / 2, opts=opts, use="excitation"))
    sequence.add_block(adc(opts, 64))
    sequence.add_block(pypulseq.make_delay(TR_S - busy_s - 64 * 5e-4))
    return write(sequence, path, **{"TR": TR_S, "Pathway": [-1], **definitions})


def test_hard_pulses_are_saturation_recovery_in_the_steady_state(tmp_path):
    delays_s, flips = (0.15, 0.07), (np.pi / 2, 1.2)
    path = saturated(tmp_path / "x.seq", delays_s, flips)
    t1_s, scale = np.array([0.3, 1.0, 4.0]), np.array([0.8, 1.0, 1.1])
    found = residual_water(path, None, t1_s, scale, [0.0])[:, :, 0]
    t1, s = t1_s[:, None], scale[None]

    def recovered(mz, time_s):
        return 1 - (1 - mz) * np.exp(-time_s / t1)

    def once(mz):
        mz = recovered(mz * np.cos(flips[0] * s), delays_s[0])
        return recovered(mz * np.cos(flips[1] * s), delays_s[1])

    mz = np.ones(found.shape)
    for _ in range(200):
        at_excitation = once(mz)
        mz = recovered(at_excitation * np.cos(np.pi / 2 * s), TR_S - sum(delays_s))
    np.testing.assert_allclose(found, at_excitation, atol=2e-4)


def test_without_preparation_what_remains_is_the_recovery_of_a_repetition(tmp_path):
    path = saturated(tmp_path / "x.seq", (), ())
    found = residual_water(path, None, [0.5, 1.5], [1.0], [0.0]).ravel()
    np.testing.assert_allclose(found, 1 - np.exp(-TR_S / np.array([0.5, 1.5])), atol=2e-4)


def test_an_offset_and_a_chemical_shift_are_the_same_thing(tmp_path):
    path = saturated(tmp_path / "x.seq", (0.1,), (2.0,))
    offset_hz = (3.03 - 4.65) * 1e-6 * F0_HZ
    one = longitudinal_at_excitation(path, None, 3.03, [1.0], [0.9])
    np.testing.assert_allclose(one, residual_water(path, None, [1.0], [0.9], [offset_hz]), atol=1e-12)


def integrated(path, t1_s, scale, shift_hz):
    """Return M_z at the middle of each excitation of the file, by vectors turned step by step; (n_excitations,)."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=F0_HZ / GAMMA_HZ_PER_T))
    sequence.read(str(path))
    field_t = float(np.ravel(sequence.definitions["B0"])[0])
    sequence.system.B0 = field_t
    mz, found = 1.0, []
    for number in sequence.block_events:
        block = sequence.get_block(number)
        left_s = block.block_duration
        if block.rf is not None:
            rf = block.rf
            step_s = rf.shape_dur / rf.signal.size
            mz = 1 - (1 - mz) * np.exp(-rf.delay / t1_s)
            m = np.array([[0.0, 0.0, mz]])
            for k, value in enumerate(rf.signal):
                if rf.use == "excitation" and k == rf.signal.size // 2:
                    found.append(1 - (1 - mz) * np.exp(-k * step_s / t1_s))
                axis = np.array([[value.real * scale, value.imag * scale, shift_hz - rf.freq_offset]])
                m = bloch.rotate(m, axis, step_s)
                m[:, 2] = 1 - (1 - m[:, 2]) * np.exp(-step_s / t1_s)
            mz = float(m[0, 2])
            left_s -= rf.delay + rf.shape_dur
        mz = 1 - (1 - mz) * np.exp(-left_s / t1_s)
    return np.array(found)


SHIPPED = [
    ("press-1.5t-te30", "siemens-aera"),
    ("press-3t-te30", "siemens-prisma"),
    ("press-7t-te30", "siemens-terra"),
    ("epsi-3t-2d-flyback", "siemens-prisma"),
]


@pytest.mark.parametrize(
    ("t1_s", "scale", "offset_ppm"), [(1.2, 1.0, 0.0), (0.8, 0.85, 0.1), (4.0, 1.2, -0.6)]
)
def test_repeating_the_file_leads_to_the_same_steady_state(tmp_path, t1_s, scale, offset_ppm):
    protocol = load_protocol("press-3t-te30").model_copy(
        update={"averages": 6, "phase_cycle": 1, "dummies": 0, "water_averages": 0, "tr_ms": 1700.0}
    )
    path, scanner = tmp_path / "x.seq", load_scanner("siemens-prisma")
    write_sequence(build(protocol, scanner), path)
    offset_hz = offset_ppm * 1e-6 * scanner.f0_hz
    found = residual_water(path, None, [t1_s], [scale], [offset_hz]).item()
    assert integrated(path, t1_s, scale, offset_hz)[-1] == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(("name", "scanner"), SHIPPED)
def test_schemes_leave_little_water_over_t1_b1_and_frequency(name, scanner):
    protocol, scanner = load_protocol(name), load_scanner(scanner)
    mhz, short = scanner.f0_hz * 1e-6, protocol.water_suppression.scheme != "vapor"
    scale = np.linspace(0.85, 1.15, 5) if short else np.linspace(0.8, 1.2, 9)
    offset_hz = np.linspace(-1, 1, 7) * (0.08 if short else 0.15) * mhz
    left = residual_water(protocol, scanner, [0.8, 1.2, 2.0, 4.0], scale, offset_hz)
    assert left.shape == (4, scale.size, 7)
    assert np.abs(left).max() < 0.015


BLEACHED = [
    ("press-1.5t-te30", "siemens-aera", 0.85),
    ("press-3t-te30", "siemens-prisma", 0.97),
    ("press-7t-te30", "siemens-terra", 0.97),
]


@pytest.mark.parametrize(("name", "scanner", "least"), BLEACHED)
def test_suppression_leaves_metabolites_alone(name, scanner, least):
    protocol, scanner = load_protocol(name), load_scanner(scanner)
    for ppm in (4.05, 3.91, 3.03, 2.01):
        kept, full = (
            longitudinal_at_excitation(protocol, scanner, ppm, [1.2], water_reference=water).item()
            for water in (False, True)
        )
        assert kept / full > least


def test_what_cannot_be_computed_is_refused(tmp_path):
    path = saturated(tmp_path / "x.seq", (0.1,), (1.0,))
    with pytest.raises(InputError, match="t1_s"):
        residual_water(path, None, [0.0], [1.0], [0.0])
    with pytest.raises(InputError, match="scanner"):
        residual_water(load_protocol("press-3t-te30"), None, [1.0], [1.0], [0.0])
    with pytest.raises(SequenceError, match="REF = 1"):
        longitudinal_at_excitation(path, None, 4.65, [1.0], water_reference=True)
