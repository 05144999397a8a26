"""Relaxation through the whole repetition and the slab, in the concentrations of images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from epsi_for_tests import write_image_sequence

from pulsespec.recon import played_shares as module
from pulsespec.recon.constants import constants_at
from pulsespec.recon.fit_settings import FitSettings
from pulsespec.recon.image_scale import ImageScale, concentrations
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, Timing, factors, kept_shares

F0_HZ = 123.25e6
NAMES = ["NAA", "Cr", "MM20"]
SPIN_ECHO = Acquisition(Timing(0.0176, 1.55), Timing(0.0176, 1.55))


def image(points=4):
    return Transients(
        data=np.zeros((2, 2, points, 8), complex), dims=("x", "y", "z", "t"), dwell_s=1e-3, f0_hz=F0_HZ
    )


def lines():
    """Return a basis of singlets: NAA, creatine and macromolecules."""
    ppm = dict(zip(NAMES, (2.01, 3.03, 2.08), strict=True))

    def fid(name, samples, dwell_s):
        hz = (4.65 - ppm[name]) * F0_HZ * 1e-6
        return np.exp(2j * np.pi * hz * np.arange(samples) * dwell_s)

    return SimpleNamespace(names=NAMES, reference_ppm=4.65, fid=fid)


def test_what_is_beside_relaxation_divides_metabolites_and_multiplies_water():
    constants = constants_at(2.89, NAMES, broad=["MM20"])[0]
    fractions = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    plain = factors(constants, NAMES, fractions, SPIN_ECHO)
    beside = (np.array([[0.6, 0.5], [0.6, 0.5], [1.0, 1.0]]), np.array([0.4, 0.4, 0.3]))
    found = factors(constants, NAMES, fractions, SPIN_ECHO, beside=beside)
    assert found.molar[0] / plain.molar[0] == pytest.approx([0.4 / 0.5, 0.4 / 0.5, 0.4])
    kept, water = kept_shares(constants, NAMES, SPIN_ECHO)
    assert found.molar[1, 0] / plain.molar[1, 0] == pytest.approx(
        0.4 * kept[0].mean() / (kept[0] @ [0.3, 0.25]), rel=1e-6
    )
    white = constants.water["wm"]
    assert water[1] == pytest.approx(np.exp(-0.0176 / white.t2_s) * (1 - np.exp(-1.55 / white.t1_s)))


def test_the_slab_divides_by_what_metabolites_have_more():
    constants = constants_at(2.89, NAMES, broad=["MM20"])[0]
    scale = ImageScale(constants, SPIN_ECHO, 2.0, 0.0, None, (), {})
    batch = SimpleNamespace(
        names=tuple(NAMES),
        amplitudes=np.ones((2, 3)),
        covariance=np.zeros((2, 3, 3)),
        beyond=np.zeros((2, 3, 3)),
        settings=FitSettings(),
    )
    water = 1e4 * np.exp(-20 * np.arange(256) * 1e-3) * np.ones((2, 1), complex)
    fractions = np.tile([0.5, 0.5, 0.0], (2, 1))
    plain = concentrations(batch, scale, water, fractions)
    profile = np.array([[1.0] * 3, [1.25] * 3])[None, None]
    played = module.PlayedShares(np.ones((3, 2)), np.ones(3), profile, "", tuple(NAMES))
    found = concentrations(
        batch, replace(scale, played=played), water, fractions, np.array([[5, 6, 0], [7, 0, 1]])
    )
    assert found["mM"][0] == pytest.approx(plain["mM"][0])
    assert found["mM"][1] == pytest.approx(plain["mM"][1] / 1.25)


def test_an_inversion_and_a_water_pulse_in_the_repetition_count(tmp_path, monkeypatch):
    """Whole-brain EPSI with its inversion, two metabolites: steady state of an inversion written down."""
    from pulsespec.protocols import load_protocol
    from pulsespec.simulator import image_response
    from pulsespec.simulator.tissue_library import load_tissue

    inversion = load_protocol("epsi-3t-whole-brain").inversion
    path = write_image_sequence(tmp_path / "x.seq", matrix=(8, 4, 2), points=16)
    with_null = write_image_sequence(tmp_path / "y.seq", matrix=(8, 4, 2), points=16, inversion=inversion)
    few = image_response.load_metabolites(["NAA", "Cr"])
    monkeypatch.setattr(image_response, "load_metabolites", lambda _: few)
    constants = constants_at(2.89, NAMES, broad=["MM20"])[0]
    timing = load_protocol("epsi-3t-whole-brain")
    how = Acquisition(*[Timing(timing.te_ms * 1e-3, timing.tr_ms * 1e-3)] * 2)
    plain, nulled = (
        module.played_shares(one, lines(), image(2), constants, how) for one in (path, with_null)
    )
    t1_s = load_tissue("white-matter").times("NAA", 2.89).t1_s
    ti_s, tr_s = inversion.ti_ms * 1e-3, timing.tr_ms * 1e-3
    left = abs(1 - 2 * np.exp(-ti_s / t1_s) + np.exp(-tr_s / t1_s)) / (1 - np.exp(-tr_s / t1_s))
    assert plain.metabolite[0, 1] == pytest.approx(1.0, abs=0.1)
    assert nulled.metabolite[0, 1] / plain.metabolite[0, 1] == pytest.approx(left, abs=0.1)
    assert plain.metabolite[2] == pytest.approx(1.0)
    assert (plain.water < 0.9).all()
    assert "water gm" in plain.words


def test_each_component_has_the_slab_of_its_own_frequency(tmp_path):
    """A slice moves by the shift over the bandwidth: planes at one end of the slab lose NAA, at the other creatine."""
    from pulsespec.simulator.image_slab import boxes_of_file
    from pulsespec.simulator.timeline import read_played, read_timeline

    path = write_image_sequence(tmp_path / "x.seq", matrix=(8, 4, 8), points=16)
    constants = constants_at(2.89, NAMES, broad=["MM20"])[0]
    found = module.played_shares(path, lines(), image(8), constants, SPIN_ECHO)
    profile = found.profile[0, 0]
    inside = np.flatnonzero(np.isfinite(profile).all(axis=1))
    ratio = profile[inside, 0] / profile[inside, 1]
    middle = np.argmin(np.abs(inside - 4))
    assert ratio[middle] == pytest.approx(1.0, abs=0.03)
    assert (ratio[0] - 1) * (ratio[-1] - 1) < 0
    timeline = read_timeline(path)
    slab = boxes_of_file(path)[0][2]
    hz = [(ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 for ppm in (2.01, 3.03)]
    width = module.grid_of(read_played(path), path.name).fov_m[2] / 8
    place = np.array([(inside[0] - 4) * width])
    naa, creatine = np.abs(slab.at(place, width))[slab.nearest(np.array(hz)), 0]
    assert ratio[0] == pytest.approx(naa / creatine, rel=0.03)


def test_macromolecules_may_be_negative_behind_an_inversion_alone(tmp_path):
    from pulsespec.protocols import load_protocol
    from pulsespec.recon.played_signs import either_sign

    inversion = load_protocol("epsi-3t-whole-brain").inversion
    plain = write_image_sequence(tmp_path / "x.seq", matrix=(8, 4, 2), points=16)
    inverted = write_image_sequence(tmp_path / "y.seq", matrix=(8, 4, 2), points=16, inversion=inversion)
    assert either_sign(plain, ("MM20",), F0_HZ) == ((), "")
    signed, words = either_sign(inverted, ("MM20",), F0_HZ)
    assert signed == ("MM20",)
    assert "-0." in words
    assert either_sign(inverted, (), F0_HZ) == ((), "")
