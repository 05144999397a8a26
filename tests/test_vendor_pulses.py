"""Pulses read from files: what comes out does what the one that was written does."""

import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.sequences import slr
from pulsespec.sequences.adiabatic import hyperbolic_secant
from pulsespec.sequences.asymmetric import asymmetric_excitation
from pulsespec.sequences.vendor_pulses import read_pulse

STEP_S = 1e-5


def pta(path, amplitude, phase, **header):
    fields = {"PULSENAME": "MY_PULSE", "COMMENT": "a: comment; of ours", "REFGRAD": 1.3, "MINSLICE": 1.0}
    fields |= {"MAXSLICE": 200.0, "AMPINT": 40.0, "POWERINT": 30.0, "ABSINT": np.sum(amplitude)} | header
    lines = [f"{key}: {value}" for key, value in fields.items()] + [""]
    lines += [f"{a:.9f}\t{p:.9f}\t; ({k})" for k, (a, p) in enumerate(zip(amplitude, phase, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def sinc(tmp_path):
    b1 = slr.design(np.pi / 2, 6.0, 0.4, samples=400).b1_hz(4e-3)
    shape = b1 / np.abs(b1).max()
    return b1, pta(tmp_path / "sinc.pta", np.abs(shape), np.where(shape < 0, np.pi, 0.0))


def test_a_pta_file_comes_back_as_the_pulse_it_was_written_from(sinc):
    b1, path = sinc
    pulse = read_pulse(
        path, duration_s=4e-3, step_s=STEP_S, flip_rad=2 * np.pi * b1.sum() * STEP_S, use="excitation"
    )
    np.testing.assert_allclose(pulse.b1_hz, b1, atol=1e-5 * np.abs(b1).max())
    assert pulse.name == "MY_PULSE"
    assert not pulse.b1_hz.imag.any()
    offset = np.linspace(-3e3, 3e3, 6001)
    assert pulse.bandwidth_hz == pytest.approx(
        slr.width_hz(offset, slr.excited(b1, STEP_S, offset)), rel=1e-3
    )


@pytest.mark.parametrize("flip_deg", [17, 90, 180])
@pytest.mark.parametrize("steps", [250, 400, 640, 1000])
def test_flip_angle_on_resonance_is_the_one_asked_for_on_any_raster(sinc, flip_deg, steps):
    use = "refocusing" if flip_deg == 180 else "excitation"
    flip = np.radians(flip_deg)
    pulse = read_pulse(sinc[1], duration_s=steps * 8e-6, step_s=8e-6, flip_rad=flip, use=use)
    assert pulse.b1_hz.size == steps
    mz = slr.longitudinal(pulse.b1_hz, pulse.step_s, np.zeros(1))[0]
    assert mz == pytest.approx(np.cos(flip), abs=1e-6)


def test_stretching_narrows_the_band(sinc):
    narrow, wide = (
        read_pulse(sinc[1], duration_s=t, step_s=STEP_S, flip_rad=1.2, use="excitation") for t in (8e-3, 4e-3)
    )
    assert 2 * narrow.bandwidth_hz == pytest.approx(wide.bandwidth_hz, rel=1e-3)
    assert 2 * narrow.peak_hz == pytest.approx(wide.peak_hz, rel=1e-3)


def test_centre_is_where_the_design_has_it(tmp_path):
    made = asymmetric_excitation(np.pi / 2, 6.0, 0.4, step_s=STEP_S, max_b1_hz=800)
    shape = made.b1_hz.real / made.peak_hz
    path = pta(tmp_path / "late.PTA", np.abs(shape), np.where(shape < 0, np.pi, 0.0))
    pulse = read_pulse(path, duration_s=made.duration_s, step_s=STEP_S, flip_rad=np.pi / 2, use="excitation")
    assert abs(pulse.centre_s / made.duration_s - 0.5) > 0.25
    assert pulse.centre_s == pytest.approx(made.centre_s, abs=0.03 * made.duration_s)


def test_a_symmetric_refocusing_pulse_has_its_centre_in_its_middle(sinc):
    pulse = read_pulse(sinc[1], duration_s=4e-3, step_s=STEP_S, flip_rad=np.pi, use="refocusing")
    assert pulse.centre_s == pytest.approx(2e-3, abs=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("rad", 1.0), ("deg", 180 / np.pi)])
@pytest.mark.parametrize("separator", [" ", "\t", ", "])
def test_two_columns_of_an_adiabatic_pulse(tmp_path, unit, factor, separator):
    made = hyperbolic_secant(8e-3, 1500, STEP_S, 900)
    rows = [f"{abs(b):.8f}{separator}{np.angle(b) * factor:.8f}  # sample" for b in made.b1_hz]
    path = tmp_path / "hs.txt"
    path.write_text("# amplitude and phase\n\n" + "\n".join(rows))
    pulse = read_pulse(
        path, duration_s=8e-3, step_s=STEP_S, peak_b1_hz=made.peak_hz, use="inversion", phase_unit=unit
    )
    np.testing.assert_allclose(pulse.b1_hz, made.b1_hz, atol=1e-4)
    assert pulse.name == "hs"


def test_phase_modulated_pulse_is_scaled_by_simulation(tmp_path):
    made = hyperbolic_secant(8e-3, 1500, STEP_S, 900)
    path = pta(tmp_path / "hs.pta", np.abs(made.b1_hz) / made.peak_hz, np.angle(made.b1_hz))
    pulse = read_pulse(path, duration_s=8e-3, step_s=STEP_S, flip_rad=np.pi / 2, use="excitation")
    assert slr.longitudinal(pulse.b1_hz, STEP_S, np.zeros(1))[0] == pytest.approx(0, abs=1e-6)
    assert pulse.peak_hz < made.peak_hz


def break_line(path, number, text):
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("text", ["0.5", "a b ; (3)", "0.1 nan ; (3)", "1 2 3 ; (3)"])
def test_a_bad_row_is_named_with_file_and_line(sinc, text):
    break_line(sinc[1], 13, text)
    with pytest.raises(DataError, match=r"sinc\.pta, line 13: got"):
        read_pulse(sinc[1], duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")


def test_missing_rows_are_seen_by_their_counters_and_by_the_sum(sinc):
    lines = sinc[1].read_text().splitlines()
    sinc[1].write_text("\n".join(lines[:50] + lines[60:]))
    with pytest.raises(DataError, match=r"line 51: row 42 is numbered \(51\)"):
        read_pulse(sinc[1], duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")
    sinc[1].write_text("\n".join(lines[:220]))
    with pytest.raises(DataError, match="ABSINT"):
        read_pulse(sinc[1], duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")


@pytest.mark.parametrize("text", ["", "# nothing\n", "0 0\n0 0\n0 0\n"])
def test_a_file_without_a_pulse_is_refused(tmp_path, text):
    path = tmp_path / "empty.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"empty\.txt"):
        read_pulse(path, duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")
    with pytest.raises(DataError, match="cannot be read"):
        read_pulse(tmp_path / "none.pta", duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"duration_s": 4.003e-3}, "duration_s"),
        ({"flip_rad": None}, "flip_rad and peak_b1_hz"),
        ({"peak_b1_hz": 100.0}, "flip_rad and peak_b1_hz"),
        ({"flip_rad": 4.0}, "flip_rad"),
        ({"flip_rad": None, "peak_b1_hz": -1.0}, "peak_b1_hz"),
        ({"phase_unit": "turns"}, "phase_unit"),
    ],
)
def test_wrong_arguments_are_named(sinc, changed, message):
    asked = {"duration_s": 4e-3, "step_s": STEP_S, "flip_rad": 1.0, "use": "excitation"} | changed
    with pytest.raises(InputError, match=message):
        read_pulse(sinc[1], **asked)


def test_steps_too_long_for_the_sweep_are_refused(tmp_path):
    made = hyperbolic_secant(8e-3, 1500, STEP_S, 900)
    path = pta(tmp_path / "hs.pta", np.abs(made.b1_hz) / made.peak_hz, np.angle(made.b1_hz))
    with pytest.raises(InputError, match="expected shorter steps"):
        read_pulse(path, duration_s=8e-3, step_s=1e-3, peak_b1_hz=800, use="inversion")


def test_a_pulse_that_cannot_flip_says_so(tmp_path):
    path = tmp_path / "zero.txt"
    path.write_text("\n".join(["1 0"] * 50 + ["-1 0"] * 50))
    with pytest.raises(InputError, match="integrates to zero"):
        read_pulse(path, duration_s=4e-3, step_s=STEP_S, flip_rad=1, use="excitation")
