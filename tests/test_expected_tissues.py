"""What the tissues look like through PRESS at 3 T: the peaks that textbooks show, at their places."""

import numpy as np
import pytest

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import list_metabolites, simulate
from pulsespec.simulator.expect import Quality, draw_accidents, expected_fid
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import load_tissue

PEAKS = {"NAA": (1.95, 2.07), "Cr": (2.97, 3.08), "Cho": (3.16, 3.26), "Ins": (3.5, 3.6), "Lac": (1.22, 1.42)}
SHOWN = ("grey-matter", "high-grade-glioma", "abscess", "acute-ischaemia")
NAMES = [
    name
    for name in list_metabolites()
    if any(name in load_tissue(tissue).concentrations for tissue in ("high-grade-glioma", "abscess"))
]


@pytest.fixture(scope="module", params=["press-3t-te30", "press-3t-te144"])
def spectra(request, tmp_path_factory):
    """TE in ms, and for each tissue the real spectrum without noise, on a common axis in ppm."""
    path = tmp_path_factory.mktemp("press") / "press.seq"
    write_sequence(build(load_protocol(request.param), load_scanner("siemens-prisma")), path)
    basis = simulate(path, NAMES)
    found = {}
    for tissue in SHOWN:
        scene = prepare(basis, load_tissue(tissue))
        accidents = draw_accidents(scene, np.random.default_rng(0))
        fid = expected_fid(scene, scene.contents(), Quality(), accidents)
        found[tissue] = to_spectrum(np.concatenate([fid[:1] / 2, fid[1:], np.zeros(3 * fid.size)])).real
    ppm = ppm_axis(4 * scene.samples, scene.dwell_s, scene.f0_hz, scene.reference_ppm)
    return round(1e3 * basis.te_s), ppm, found


def peak(ppm, spectrum, name):
    low, high = PEAKS[name]
    inside = np.flatnonzero((ppm > low) & (ppm < high))
    at = inside[np.argmax(np.abs(spectrum[inside]))]
    return ppm[at], spectrum[at]


def test_grey_matter_has_its_peaks_in_their_order(spectra):
    te_ms, ppm, found = spectra
    height = {name: peak(ppm, found["grey-matter"], name) for name in PEAKS}
    inside = (ppm > 0.5) & (ppm < 4.2)
    assert ppm[inside][np.argmax(found["grey-matter"][inside])] == pytest.approx(2.01, abs=0.01)
    assert height["Cr"][0] == pytest.approx(3.03, abs=0.01)
    assert height["Cho"][0] == pytest.approx(3.21, abs=0.015)
    assert height["NAA"][1] > height["Cr"][1] > 0
    assert height["NAA"][1] > height["Cho"][1] > 0
    if te_ms == 30:
        assert height["Cr"][1] > height["Cho"][1] > height["Ins"][1] > 0
        assert height["Ins"][0] == pytest.approx(3.55, abs=0.02)


def test_glioma_has_more_choline_than_naa(spectra):
    te_ms, ppm, found = spectra
    tumour = found["high-grade-glioma"]
    assert peak(ppm, tumour, "Cho")[1] > 1.3 * peak(ppm, tumour, "NAA")[1]
    assert peak(ppm, tumour, "Cho")[1] > peak(ppm, tumour, "Cr")[1]
    assert (peak(ppm, tumour, "Lac")[1] > 0) == (te_ms == 30)


def test_an_abscess_has_acetate_and_lactate_that_turns_over_at_te_144(spectra):
    te_ms, ppm, found = spectra
    pus = found["abscess"]
    near = (ppm > 1.85) & (ppm < 1.97)
    assert ppm[near][np.argmax(pus[near])] == pytest.approx(1.90, abs=0.015)
    assert pus[near].max() > 0
    lactate = peak(ppm, pus, "Lac")
    assert lactate[0] == pytest.approx(1.31, abs=0.05)
    assert (lactate[1] > 0) == (te_ms == 30)


def test_ischaemia_has_half_the_naa_and_lactate(spectra):
    te_ms, ppm, found = spectra
    healthy, infarct = (peak(ppm, found[name], "NAA")[1] for name in ("grey-matter", "acute-ischaemia"))
    assert 0.4 < infarct / healthy < 0.7
    turned = 1 if te_ms == 30 else -1
    assert turned * peak(ppm, found["acute-ischaemia"], "Lac")[1] > 0
