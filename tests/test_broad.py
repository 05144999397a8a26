"""Macromolecules and lipids: what models promise, what was published, and spectra of human brain."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.special import voigt_profile

from pulsespec.errors import InputError
from pulsespec.simulator.basis import render
from pulsespec.simulator.broad import broad_lines, list_broad, list_models, load_model, ratio_priors

DEFAULT = ("MM09", "MM12", "MM14", "MM17", "MM20", "Lip09", "Lip13a", "Lip13b", "Lip20")
"""Components of the fit: a change here changes everybody's fits."""

FIELDS = {"birch-3t": 123.25e6, "bell-7t": 297.2e6, "murali-manohar-9t": 399.7e6}


def test_the_default_is_that_of_old():
    assert tuple(list_broad()) == tuple(broad_lines(123.25e6)) == DEFAULT
    lines = broad_lines(123.25e6)["MM20"]
    np.testing.assert_allclose(lines.frequency_hz / 123.25 + 4.65, [2.08, 2.25, 1.95, 3.0])
    np.testing.assert_allclose(lines.gauss_hz / 123.25, [0.15, 0.20, 0.15, 0.20])
    np.testing.assert_allclose(lines.amplitude, [1.33, 0.33, 0.33, 0.40])
    known = {*DEFAULT, *list_broad("birch-3t"), *list_broad("bell-7t")}
    assert {name for row in ratio_priors() for name in (row[0], *row[1].split("+"))} <= known


@pytest.mark.parametrize("name", list_models())
def test_models_say_where_they_are_from(name):
    model = load_model(name)
    assert model.description
    assert all(source.text and source.through for source in model.sources)
    ppm = np.concatenate([component.ppm for component in model.components])
    widths = np.concatenate([component.width_ppm for component in model.components])
    assert np.all((ppm > 0.8) & (ppm < 5.4))
    assert np.all((widths > 0.03) & (widths < 0.4))
    assert all(np.all(component.protons > 0) for component in model.components)


@pytest.mark.parametrize("name", FIELDS)
def test_models_of_a_field_reach_to_4_ppm(name):
    """Names do not collide with those that have ratio priors, and areas are relative to three protons."""
    components = load_model(name).components
    assert not set(DEFAULT) & {component.name for component in components}
    assert components[0].protons[0] == pytest.approx(3.0, abs=0.002)
    between = [c for c in components if 2.3 < c.ppm[0] < 4.0]
    assert len(between) >= 3
    for component in components:
        assert float(component.name.removeprefix("MM")) == pytest.approx(component.ppm[0], abs=0.006)


def test_widths_in_hz_are_those_of_the_source():
    model = load_model("bell-7t")
    assert model.f0_hz is not None
    lines = broad_lines(model.f0_hz, model="bell-7t")
    assert lines["MM0.95"].gauss_hz[0] == pytest.approx(32.0)
    fid = render(lines["MM0.95"], 2**15, 5e-5)
    fid[0] /= 2
    spectrum = np.fft.fft(fid).real
    assert np.count_nonzero(spectrum > spectrum.max() / 2) / (2**15 * 5e-5) == pytest.approx(32.0, abs=1.0)


def test_areas_follow_echo_times_as_published():
    """The authors' fit results at TE 60 ms, in units of the first at TE 24 ms (1.653)."""
    at_60 = {
        "MM0.92": 0.542,
        "MM1.39": 0.379,
        "MM1.67": 0.193,
        "MM2.04": 0.383,
        "MM2.99": 0.0663,
        "MM3.86": 0.333,
    }
    lines = broad_lines(399.7e6, model="murali-manohar-9t", te_s=0.060)
    for name, area in at_60.items():
        assert lines[name].amplitude[0].real == pytest.approx(area * 3 / 1.653, rel=0.12), name


def test_what_cannot_be_is_an_error():
    with pytest.raises(InputError, match=r"broad model 'x'.*bell-7t"):
        load_model("x")
    with pytest.raises(InputError, match=r"MM09.*MM0\.90"):
        broad_lines(123e6, ["MM09"], model="birch-3t")
    with pytest.raises(InputError, match=r"birch-3t.*T2"):
        broad_lines(123e6, model="birch-3t", te_s=0.03)


def nulled(folder):
    """Read a Varian spectrum of metabolite-nulled brain with a reference line at 0 ppm: ppm and real part."""
    raw = (folder / "fid").read_bytes()
    assert struct.unpack(">h", raw[26:28])[0] & 8, "expected floating point"
    fid = np.frombuffer(raw[60:], ">f4").astype(float).view(complex)
    lines = (folder / "procpar").read_text().splitlines()
    facts = {line.split(" ")[0]: value for line, value in pairwise(lines)}
    width_hz, f0_mhz = float(facts["sw"].split()[1]), float(facts["sfrq"].split()[1])
    spectrum = np.fft.fftshift(np.fft.fft(fid, 8192))
    offset = np.fft.fftshift(np.fft.fftfreq(8192, 1 / width_hz)) / f0_mhz
    near = np.flatnonzero((offset > 4.5) & (offset < 4.8))
    ppm = offset[near[np.argmax(np.abs(spectrum[near]))]] - offset
    chosen = (ppm > 0.4) & (ppm < 4.15)
    return ppm[chosen], spectrum.real[chosen] / spectrum.real[chosen].max()


def explained(ppm, spectrum, name):
    """Share of the variance that a model explains, free in areas, one shift, one Lorentzian width, a cubic baseline."""
    components = [c for c in load_model(name).components if c.name.startswith("MM")]
    position = np.concatenate([c.ppm for c in components])
    sigma = np.concatenate([c.width_ppm for c in components]) / np.sqrt(8 * np.log(2))
    powers = np.stack([((ppm - 2.2) / 2) ** k for k in range(4)], axis=1)
    best = 0.0
    for shift in np.arange(-0.06, 0.031, 0.015):
        for lorentz in (0.02, 0.06, 0.1, 0.15, 0.2):
            peaks = voigt_profile(ppm[:, None] - position - shift, sigma, lorentz / 2)
            design = np.hstack([peaks, powers, -powers])
            amplitudes, _ = nnls(design, spectrum)
            rest = spectrum - design @ amplitudes
            best = max(best, 1 - float(rest @ rest) / float(np.sum((spectrum - spectrum.mean()) ** 2)))
    return best


@pytest.mark.parametrize("field", ["3T", "7T"])
def test_models_fit_human_brain(data_folder, field):
    """Peaks stand where the models have them, and those with peaks up to 4 ppm explain more than LCModel's."""
    ppm, spectrum = nulled(data_folder / "macromolecules-steam" / f"{field}_MM_human_STEAM_CMRR.fid")
    smooth = np.convolve(spectrum, np.hanning(9) / np.hanning(9).sum(), "same")
    tops = ppm[1:-1][(smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] > smooth[2:])]
    for name in ("MM0.92", "MM1.39", "MM1.67", "MM2.04", "MM2.99", "MM3.21"):
        position = next(c.ppm[0] for c in load_model("murali-manohar-9t").components if c.name == name)
        assert np.min(np.abs(tops - position)) < 0.06, name
    default = explained(ppm, spectrum, "lcmodel")
    assert default > 0.8
    for name in FIELDS:
        assert explained(ppm, spectrum, name) > max(0.89, default + 0.02), name
