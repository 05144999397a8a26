"""Nerve stimulation and resonances: closed forms, pypulseq's own models, and trains of every making."""

import dataclasses

import numpy as np
import pypulseq
import pytest
from pypulseq.utils.safe_pns_prediction import safe_example_hw, safe_gwf_to_pns
from test_check import LOOSE, PRISMA, assemble, events, few, rules

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import InputError
from pulsespec.sequences import check, load_scanner
from pulsespec.sequences.block_table import Blocks, Waveforms
from pulsespec.sequences.gradient_file import read_gradient_file
from pulsespec.sequences.stimulation import LinearResponse, Safe, model_of, strongest

GAMMA = gamma_hz_per_t("1H")
MODEL = LinearResponse(rheobase_t_per_s=20.0, chronaxie_s=360e-6, length_m=0.333)


def trapezoid(amplitude_mt_per_m, ramp_s, flat_s=1e-3, axis="x"):
    amplitude = amplitude_mt_per_m * 1e-3 * GAMMA
    return pypulseq.make_trapezoid(
        axis, amplitude=amplitude, rise_time=ramp_s, flat_time=flat_s, fall_time=ramp_s, system=LOOSE
    )


def played(*blocks):
    sequence = pypulseq.Sequence(LOOSE)
    for block in blocks:
        sequence.add_block(*(block if isinstance(block, tuple) else (block,)))
    return sequence


def test_a_ramp_stimulates_as_the_hyperbola_says():
    """Integrated, the kernel gives S L / r * t / (t + c) at the end of a ramp of duration t."""
    slew, ramp_s = 100.0, 3e-4
    value, index = strongest(Blocks(played(trapezoid(slew * ramp_s * 1e3, ramp_s, 2e-2))), MODEL, PRISMA)
    assert value == pytest.approx(slew * 0.333 / 20 * ramp_s / (ramp_s + 360e-6), rel=1e-6)
    assert index == 0


def test_equal_axes_add_up_as_squares():
    one = strongest(Blocks(played(trapezoid(20, 3e-4))), MODEL, PRISMA)[0]
    three = tuple(trapezoid(20, 3e-4, axis=axis) for axis in "xyz")
    assert strongest(Blocks(played(three)), MODEL, PRISMA)[0] == pytest.approx(one * 3**0.5)


def waveform(sequence, memory_s):
    """Return all gradients in T/m, quiet before."""
    waves = Waveforms(Blocks(sequence), 1e-5)
    quiet = round(memory_s / 1e-5)
    samples = round(sum(sequence.block_durations.values()) / 1e-5) + 1
    return np.concatenate([np.zeros((quiet, 3)), waves.window(0.0, samples)]) / GAMMA


@pytest.mark.parametrize("model", [MODEL, Safe(safe_example_hw())])
@pytest.mark.parametrize("name", ["press-3t-te30", "epsi-3t-2d-flyback"])
def test_distinct_blocks_stimulate_as_the_whole_does(name, model):
    sequence = few(name=name, averages=2, water_averages=1)
    memory_s = 5 * model.memory_s
    slew = np.diff(waveform(sequence, memory_s), axis=0) / 1e-5
    longer = dataclasses.replace(model, memory_s=memory_s) if isinstance(model, LinearResponse) else model
    whole = float(longer.response(slew[None], 1e-5).max())
    assert strongest(Blocks(sequence), model, PRISMA)[0] == pytest.approx(whole, rel=0.02)


def test_what_came_before_counts_across_pauses():
    up, down = trapezoid(30, 3e-4, 1e-5), trapezoid(-30, 3e-4, 1e-5)
    pause = pypulseq.make_delay(1e-5)
    alone = strongest(Blocks(played(up)), MODEL, PRISMA)[0]
    value, index = strongest(Blocks(played(up, pause, down)), MODEL, PRISMA)
    assert value > 1.05 * alone
    assert index in (0, 2)
    far = played(up, pypulseq.make_delay(0.5), down)
    assert strongest(Blocks(far), MODEL, PRISMA)[0] == pytest.approx(alone, rel=1e-3)


def test_what_comes_late_in_a_long_block_counts():
    wave = np.zeros(5000)
    wave[3000:3060] = 40e-3 * GAMMA * np.interp(np.arange(60), [0, 29, 30, 59], [0, 1, 1, 0])
    late = pypulseq.make_arbitrary_grad("x", wave, first=0, last=0, system=LOOSE)
    early = pypulseq.make_arbitrary_grad("x", wave[2950:3100], first=0, last=0, system=LOOSE)
    values = [strongest(Blocks(played(one)), MODEL, PRISMA)[0] for one in (late, early)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_safe_is_that_of_pypulseq():
    hardware = safe_example_hw()
    rng = np.random.default_rng(1)
    waves = np.cumsum(rng.normal(size=(3000, 3)), axis=0) * 1e-4
    theirs, _ = safe_gwf_to_pns(waves, np.zeros(3000), 1e-5, hardware, do_padding=False)
    ours = Safe(hardware).response(np.diff(waves, axis=0)[None] / 1e-5, 1e-5)[0]
    np.testing.assert_allclose(ours, np.linalg.norm(theirs, axis=1) / 100, rtol=1e-9)


def test_no_model_no_rule():
    assert model_of(load_scanner("nexus-console")) is None
    scanner = dataclasses.replace(PRISMA, stimulation_rheobase_t_per_s=None)
    strong = tuple(trapezoid(30, 4e-4, axis=axis) for axis in "xyz")
    assert rules(played(strong[0])) == ["no_adc"]
    assert rules(played(strong)) == ["no_adc", "stimulation"]
    assert rules(played(strong), scanner) == ["no_adc"]


BAND = dataclasses.replace(PRISMA, forbidden_hz=(((900.0, 1100.0),), (), ()))


def train(period_s, amplitude=10.0, axis="x", lobes=60):
    """Return a train of alternating lobes, a block each."""
    ramp_s = 1e-4
    return [trapezoid(amplitude * (-1) ** k, ramp_s, period_s / 2 - 2 * ramp_s, axis) for k in range(lobes)]


def one_block(period_s, amplitude=10.0, lobes=60):
    """Return the same train as one event."""
    samples = round(period_s / 2 / 1e-5)
    lobe = np.interp(
        (np.arange(samples) + 0.5) * 1e-5, [0, 1e-4, period_s / 2 - 1e-4, period_s / 2], [0, 1, 1, 0]
    )
    wave = np.concatenate([lobe * (-1) ** k for k in range(lobes)]) * amplitude * 1e-3 * GAMMA
    return [pypulseq.make_arbitrary_grad("x", wave, first=0, last=0, system=LOOSE)]


def resonant(blocks, scanner=BAND):
    made = assemble(events())
    for block in blocks:
        made.add_block(block)
    return [one for one in check(made, scanner) if one.rule == "resonance"]


@pytest.mark.parametrize("make", [train, one_block])
def test_trains_are_found_however_they_are_made(make):
    (found,) = resonant(make(1e-3))
    assert found.block > 3
    assert "gx oscillates at 1000 Hz" in found.message
    assert found.time_s == pytest.approx(1.2e-3 + 1.2e-3 + 0.2562, abs=0.06)


def test_trains_beside_the_band_below_the_limit_or_on_another_axis_pass():
    assert resonant(train(2e-3, lobes=30)) == []
    assert resonant(train(8e-4)) == []
    assert resonant(train(1e-3, amplitude=3.0)) == []
    assert resonant(train(1e-3, axis="y")) == []


def test_a_late_train_in_a_long_sequence_is_found():
    quiet = [trapezoid(10, 1e-4, 9.8e-3), pypulseq.make_delay(13.7e-3)] * 40
    (found,) = resonant([*quiet, *train(1e-3)])
    assert found.time_s == pytest.approx(0.2586 + 40 * 23.7e-3, abs=0.06)


def test_single_lobes_are_no_oscillation():
    assert resonant([trapezoid(30, 4e-4, 2e-4), pypulseq.make_delay(7.3e-3)] * 10) == []


def test_the_amplitude_of_a_line_is_that_of_the_oscillation():
    """A sine of 5 mT/m is above the limit of 4.8, one of 4.6 is not."""
    times = (np.arange(20000) + 0.5) * 1e-5
    for amplitude, expected in ((5.0, 1), (4.6, 0)):
        wave = amplitude * 1e-3 * GAMMA * np.sin(2 * np.pi * 1000 * times)
        sine = pypulseq.make_arbitrary_grad("x", wave, first=0, last=0, system=LOOSE)
        assert len(resonant([sine])) == expected


def gradient_file(path, *, stimulation=True, resonances=True, limit=1.0):
    """Write a file as Siemens writes it, with the parameters of the example of the SAFE model."""
    hardware = safe_example_hw()
    lines = ['asCOMP[0].tName = "EXAMPLE"']
    for name in "XYZ" if stimulation else "":
        axis = getattr(hardware, name.lower())
        for k in (1, 2, 3):
            lines.append(f"flGSWDTau{name}[{k - 1}] = {getattr(axis, f'tau{k}')}")
            lines.append(f"flGSWDA{name}[{k - 1}] = {getattr(axis, f'a{k}')}")
        lines.append(f"flGSWDStimulationLimit{name} = {axis.stim_limit * limit}")
        lines.append(f"flGSWDStimulationThreshold{name} = {axis.stim_thresh}")
        lines.append(f"asGPAParameters[0].sGCParameters.flGScaleFactor{name} = {axis.g_scale}")
    if resonances:
        for k, (frequency, width) in enumerate([(1000, 200), (590, 100), (0, 0)]):
            lines.append(f"aflGCAcousticResonanceFrequency[{k}] = {frequency}")
            lines.append(f"aflGCAcousticResonanceBandwidth[{k}] = {width}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_gradient_file_gives_bands_and_the_safe_model(tmp_path):
    own = read_gradient_file(gradient_file(tmp_path / "x.asc"))
    assert own.bands_hz == ((900.0, 1100.0), (540.0, 640.0))
    assert own.hardware.x.tau3 == safe_example_hw().x.tau3
    made = assemble(events())
    for block in train(1e-3):
        made.add_block(block)
    assert rules(made) == []
    (found,) = check(made, PRISMA, gradient_file=tmp_path / "x.asc")
    assert found.rule == "resonance"
    level = strongest(Blocks(made), Safe(own.hardware), PRISMA)[0]
    strict = gradient_file(tmp_path / "strict.asc", limit=0.99 * level)
    found = check(made, PRISMA, gradient_file=strict)
    assert {one.rule for one in found} == {"resonance", "stimulation"}
    assert all(one.block > 3 and one.time_s > 0.25 for one in found)


def test_a_gradient_file_may_have_one_of_the_two(tmp_path):
    assert read_gradient_file(gradient_file(tmp_path / "r.asc", stimulation=False)).hardware is None
    assert read_gradient_file(gradient_file(tmp_path / "s.asc", resonances=False)).bands_hz == ()
    with pytest.raises(InputError, match="expected a Siemens gradient file"):
        read_gradient_file(gradient_file(tmp_path / "n.asc", stimulation=False, resonances=False))
    with pytest.raises(InputError, match="cannot be read"):
        read_gradient_file(tmp_path / "none.asc")
