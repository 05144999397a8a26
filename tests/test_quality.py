"""Quality: each fault alone makes its own measure speak and no other; without faults all is good."""

import json
from dataclasses import replace

import numpy as np
import pytest
from files_for_tests import brain_like

from pulsespec import analysis
from pulsespec.conventions import ppm_to_hz
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quality import noise_sd
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.recon.verdict import LEVELS, assess, thresholds

F0, DWELL, SAMPLES = 123.25e6, 5e-4, 1024
T = np.arange(SAMPLES) * DWELL
PEAKS = {2.01: 3.0, 3.03: 2.0, 3.21: 1.5, 3.92: 1.2}


def lines(peaks, width_hz=5.0):
    parts = [a * np.exp(2j * np.pi * ppm_to_hz(ppm, F0) * T) for ppm, a in peaks.items()]
    return sum(parts) * np.exp(-np.pi * width_hz * T)


def noise(rng, shape, sd):
    return sd / np.sqrt(2) * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


def scan(fault=lambda shots: shots, seed=0, sd=0.6, shots=8, residual=20.0, width_hz=5.0, more=None):
    """Eight shots of brain-like singlets with some residual water, and a water reference."""
    rng = np.random.default_rng(seed)
    fid = lines({**PEAKS, 4.65: residual, **(more or {})}, width_hz)
    data = fault(fid * np.ones((shots, 1)) + noise(rng, (shots, SAMPLES), sd))
    water = lines({4.65: 4000.0}) + noise(rng, (2, SAMPLES), sd)
    common = {"dims": ("average", "t"), "dwell_s": DWELL, "f0_hz": F0, "te_s": 0.03, "tr_s": 2.0}
    return Scan(Transients(data=data, **common), Transients(data=water, **common))


def judged(raw):
    return assess(raw, recon(raw))


def echo(shots):
    late = np.exp(-(((T - 0.2) / 0.02) ** 2)) * np.exp(2j * np.pi * ppm_to_hz(5.6, F0) * T)
    return shots + 2.0 * late


def clip(shots):
    top = 0.5 * np.abs(shots.real).max()
    return np.clip(shots.real, -top, top) + 1j * np.clip(shots.imag, -top, top)


def drift(shots):
    return shots * np.exp(2j * np.pi * np.linspace(0, 20, len(shots))[:, None] * T)


def delayed(shots):
    """The same singlets, read 1.5 ms late: NAA and Cr apart by 70 degrees."""
    phases = {p: a * np.exp(2j * np.pi * ppm_to_hz(p, F0) * 1.5e-3) for p, a in {**PEAKS, 4.65: 20.0}.items()}
    return shots - lines({**PEAKS, 4.65: 20.0}) + lines(phases)


def moved(shots):
    shots[[2, 5]] *= 0.2
    return shots


FAULTS = {
    "spurious_echo": {"fault": echo},
    "clipped": {"fault": clip, "residual": 4000.0 * 0.04},
    "drift_ppm": {"fault": drift},
    "phase_difference_deg": {"fault": delayed},
    "rejected_percent": {"fault": moved},
    "offset": {"fault": lambda shots: shots + 0.3},
    "snr": {"sd": 1.2, "shots": 1},
    "linewidth_ppm": {"width_hz": 10.5},
    "lipid_over_naa": {"more": {1.3: 6.0}},
    "residual_water_percent": {"residual": 400.0},
}


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_scan_is_good_and_no_flag_fires(seed):
    found = judged(scan(seed=seed))
    assert (found.verdict, found.flags, found.reasons) == ("good", (), ())
    assert "signal-to-noise" in found.line()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone_fires_its_own_flag(name):
    found = judged(scan(**FAULTS[name]))
    assert name in found.flags
    allowed = {
        "clipped": {"residual_water_percent", "spurious_echo", "phase_difference_deg", "water_left_over_naa"}
    }
    assert set(found.flags) - {name} <= allowed.get(name, set())
    assert found.verdict in LEVELS[1:]
    assert any(thresholds()[name]["label"] in reason for reason in found.reasons)


def test_water_that_removal_leaves_is_seen():
    done = recon(scan())
    left = replace(done.metabolite, data=done.metabolite.data + lines({4.65: 9.0}))
    found = assess(scan(), replace(done, metabolite=left))
    assert found.flags == ("water_left_over_naa",)


def test_numbers_are_those_that_were_put_in():
    found = judged(scan(width_hz=6.0))
    assert found.get("linewidth_ppm").value * F0 * 1e-6 == pytest.approx(6.0, abs=0.6)
    height = 3.0 / (np.pi * 6.0 * DWELL)
    assert found.get("snr").value == pytest.approx(
        height / (0.6 / np.sqrt(8) * np.sqrt(SAMPLES / 2)), rel=0.1
    )
    assert found.get("residual_water_percent").value == pytest.approx(0.5, rel=0.25)
    assert judged(scan(drift)).get("drift_ppm").value * F0 * 1e-6 == pytest.approx(20.0, abs=1.5)
    assert judged(scan(moved)).get("rejected_percent").value == pytest.approx(25.0)
    lipid = judged(scan(more={1.3: 6.0})).get("lipid_over_naa").value
    assert lipid == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("narrow", [False, True])
def test_noise_is_measured_where_the_receiver_leaves_it(narrow):
    """Also under a filter that takes the noise off the edges, and in a band that ends at 9 ppm."""
    rng = np.random.default_rng(3)
    step = 9e-4 if narrow else DWELL
    white = np.fft.fft(rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES))
    edge = np.abs(np.fft.fftfreq(SAMPLES)) > 0.42
    white[edge] *= 1.0 if narrow else 0.3
    fid = 40 * brain_like(SAMPLES, step, F0, water=0.0) + np.fft.ifft(white)
    data = Transients(data=fid, dims=("t",), dwell_s=step, f0_hz=F0)
    assert noise_sd(data) == pytest.approx(np.sqrt(SAMPLES), rel=0.15)


@pytest.mark.parametrize("kind", ["phosphorus", "water", "phantom", "image"])
def test_what_cannot_be_judged_is_not_given_numbers(kind):
    raw = scan()
    if kind == "phosphorus":
        raw = Scan(replace(raw.metabolite, nucleus="31P"))
    if kind == "water":
        raw = Scan(None, raw.water)
    if kind == "phantom":
        rng = np.random.default_rng(0)
        fid = lines({1.3: 40.0, 4.65: 30.0}) + noise(rng, (4, SAMPLES), 0.5)
        raw = Scan(replace(raw.metabolite, data=fid))
    if kind == "image":
        grid = replace(
            raw.metabolite, data=raw.metabolite.data[:4].reshape(2, 2, SAMPLES), dims=("x", "y", "t")
        )
        found = assess(Scan(grid), Scan(grid))
    else:
        done = Scan(raw.metabolite) if kind == "phosphorus" else recon(raw)
        found = assess(raw, done)
    assert found.verdict == "not applicable"
    assert found.reasons
    assert all(np.isnan(m.value) for m in found.measures if m.name != "clipped")
    assert ("linewidth of water" in found.line()) == (kind == "water")


def test_editing_conditions_are_judged_by_their_mean():
    done = recon(scan())
    both = np.stack([done.metabolite.data, done.metabolite.data])
    found = assess(scan(), replace(done, metabolite=replace(done.metabolite, data=both, dims=("edit", "t"))))
    assert found.verdict == "good"
    assert "mean of 2 editing conditions" in found.get("snr").words


def test_noise_alone_is_poor_and_has_no_linewidth():
    rng = np.random.default_rng(5)
    raw = scan(lambda shots: noise(rng, shots.shape, 1.0))
    found = assess(Scan(raw.metabolite), recon(Scan(raw.metabolite)))
    assert found.verdict == "poor"
    assert found.get("snr").value < 6


def test_a_single_shot_says_nothing_of_drift():
    found = judged(scan(shots=1, sd=0.2))
    assert found.verdict == "good"
    assert found.get("drift_ppm").level == "not applicable"
    assert "single shots" in found.get("drift_ppm").words


def test_every_threshold_has_a_source_and_an_order():
    for entry in thresholds().values():
        assert entry["source"]
        sign = -1 if entry["direction"] == "low" else 1
        assert sign * entry["usable"] <= sign * entry["poor"]


def test_the_verdict_is_in_what_recon_says(tmp_path):
    done = recon(scan())
    write_nifti(replace(done.metabolite, records=(Record("Signal averaging", "x"),)), tmp_path / "in.nii.gz")
    said = []
    made = analysis.recon([tmp_path / "in.nii.gz"], tmp_path / "out.nii.gz", notify=said.append)
    assert made["quality"]["verdict"] == "good"
    assert json.dumps(made["quality"]["flags"]) == "[]"
    assert [line for line in said if line.startswith("quality: good")]


def test_a_spoiled_shot_is_no_drift():
    def spoiled(shots):
        shots[3] = np.roll(shots[3][::-1].conj(), 7)
        return shots

    found = judged(scan(spoiled))
    assert found.get("rejected_percent").value > 0
    assert found.get("drift_ppm").value * F0 * 1e-6 < 1.0
