"""Dynamic fits against known truth: ADC, T1 and changes under stimulation over many seeds, and two steps beside one.

Each series has its own phases, shifts and widths, macromolecules that follow the variable in a way of their own, and
noise. In two steps, each spectrum is fitted alone, and then the course to the amplitudes with their deviations.

    python benchmarks/series.py [--seeds 40] [--only diffusion]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from pulsespec import commands
from pulsespec.demo import DEMO_PROTOCOL, DEMO_SCANNER
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.series_fit import series_fit
from pulsespec.recon.series_models import load_model
from pulsespec.recon.series_tables import model_rows
from pulsespec.recon.transients import Transients
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.phantom import load_phantom

SAMPLES, DWELL_S, TR_S = 2048, 5e-4, 7.0
NAMES = ("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Ins", "Glu", "Gln", "GABA", "GSH", "Lac")
SHOWN = ("tNAA", "tCr", "tCho", "Glx", "Ins")
SETTINGS = FitSettings(t2_widths=False)
"""As by default, but for what T2 does to widths, which the simulated basis has not."""
SNR_NAA = 40.0
"""Height of NAA over the noise of one spectrum at its strongest."""


def basis_of(folder):
    """Return a simulated basis with macromolecules, and the amounts of grey matter in mM."""
    voxel = load_phantom("grey-matter")
    sequence = Path(folder) / "press.seq"
    commands.export(DEMO_PROTOCOL, DEMO_SCANNER, sequence)
    names = [name for name in NAMES if name in voxel.concentrations_mm]
    basis = commands.basis_of(sequence, names, None)
    return basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm)), {
        k: voxel.concentrations_mm[k] for k in names
    }


def made(basis, amounts, rng, phase_sd, hz_sd, width_sd):
    """Return a series whose components have `amounts`, shape (n, k), with nuisances and noise of their own."""
    count, t = len(amounts), np.arange(SAMPLES) * DWELL_S
    fids = amounts @ np.array([basis.fid(name, SAMPLES, DWELL_S) for name in basis.names])
    lorentz = 3.0 + np.abs(rng.normal(0, width_sd, count))
    fids = fids * np.exp(-np.pi * lorentz[:, None] * t - (np.pi * 4.0 * t) ** 2 / (4 * np.log(2)))
    fids *= np.exp(
        2j * np.pi * rng.normal(0, hz_sd, count)[:, None] * t + 1j * rng.normal(0, phase_sd, count)[:, None]
    )
    strongest = np.abs(fids[:, 1:4]).sum(axis=1).argmax()
    height = np.abs(np.fft.fft(fids[strongest] * np.exp(-np.pi * 0.5 * t))).max()
    sd = height / SNR_NAA / np.sqrt(SAMPLES / 2)
    noise = rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape)
    return Transients(
        data=fids + sd * noise / np.sqrt(2),
        dims=("series", "t"),
        dwell_s=DWELL_S,
        f0_hz=basis.f0_hz,
        te_s=basis.te_s,
        tr_s=TR_S,
    )


def base(basis, concentrations, rng):
    """Return amounts of all components: grey matter, and macromolecules and lipids drawn about their usual sizes."""
    scale = concentrations.get("Cr", 4.0) / 4.0
    usual = {name: scale * 6.0 * rng.uniform(0.5, 1.5) for name in basis.broad if name.startswith("MM")}
    return np.array([(concentrations | usual).get(name, 0.0) for name in basis.names])


SUMS = {"tNAA": ("NAA", "NAAG"), "tCr": ("Cr", "PCr"), "tCho": ("GPC", "PCh"), "Glx": ("Glu", "Gln")}


def members(name):
    return SUMS.get(name, (name,))


def diffusion(basis, concentrations, rng):
    x = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    truth = {name: rng.uniform(0.08, 0.25) for name in SHOWN}
    of = {part: truth[name] for name in SHOWN for part in members(name)}
    adc = np.array([of.get(name, 0.02 if name in basis.broad else 0.15) for name in basis.names])
    amounts = base(basis, concentrations, rng) * np.exp(-np.outer(x, adc))
    spectra = made(basis, amounts, rng, 1.0, 3.0, 1.0)
    return spectra, x, {}, "diffusion", {(name, "ADC"): truth[name] for name in SHOWN}


def inversion(basis, concentrations, rng):
    x = np.array([100.0, 300.0, 700.0, 1200.0, 2000.0, 3500.0, 6000.0])
    truth = {name: rng.uniform(1000, 1600) for name in SHOWN}
    of = {part: truth[name] for name in SHOWN for part in members(name)}
    t1 = np.array([of.get(name, 300.0 if name in basis.broad else 1300.0) for name in basis.names])
    amounts = base(basis, concentrations, rng) * (
        1 - 1.9 * np.exp(-x[:, None] / t1) + 0.9 * np.exp(-1e3 * TR_S / t1)
    )
    spectra = made(basis, amounts, rng, 0.0, 0.5, 0.0)
    return spectra, x, {}, "inversion-recovery", {(name, "T1"): truth[name] for name in SHOWN}


def blocks(basis, concentrations, rng):
    count = 32
    on = (np.arange(count) // 4 % 2).astype(float)
    design = {"rest": np.ones(count), "stimulus": on, "bold": on, "drift": np.linspace(-1, 1, count)}
    change = {name: rng.uniform(-0.05, 0.1) for name in SHOWN}
    of = {part: change[name] for name in SHOWN for part in members(name)}
    course = 1 + np.outer(on, [of.get(name, 0.0) for name in basis.names])
    spectra = made(basis, base(basis, concentrations, rng) * course, rng, 0.0, 0.5, 0.0)
    truth = {(name, "change_percent"): 100 * change[name] for name in SHOWN}
    return spectra, np.arange(count) * 32.0, design, "fmrs-block", truth


def two_steps(found, x):
    """Return the ADC of each sum from amplitudes of spectra fitted alone, and its standard deviation."""
    rows = {}
    for name in SHOWN:
        parts = dict.fromkeys(members(name), 1.0)
        value, sd = np.array([one.combine(parts) for one in found.alone]).T
        start = (value[0], 0.15)
        fitted, covariance = curve_fit(
            lambda b, a, d: a * np.exp(-b * d),
            x,
            value,
            start,
            np.maximum(sd, 1e-9),
            absolute_sigma=True,
            maxfev=5000,
        )
        rows[name, "ADC"] = fitted[1], float(np.sqrt(covariance[1, 1]))
    return rows


def report(kind, truth, got):
    """Print bias, scatter over what was expected of it, and coverage; `got` (seed, quantity, value and deviation)."""
    error, sd = got[..., 0] - truth, got[..., 1]
    for k, key in enumerate(kind):
        z = error[:, k] / sd[:, k]
        mean, scatter = error[:, k].mean(), error[:, k].std()
        print(
            f"  {key[0]:6s}{key[1]:15s} mean error {mean:+9.4f} +- {scatter / len(z) ** 0.5:.4f}, "
            f"scatter {scatter:.4f}, expected {np.sqrt(np.mean(sd[:, k] ** 2)):.4f}, "
            f"inside 95 %: {np.mean(np.abs(z) < 1.96):4.0%}"
        )
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        basis, concentrations = basis_of(folder)
    for make in (diffusion, inversion, blocks):
        if given.only and given.only != make.__name__:
            continue
        truths, linked, apart, chances, seconds = [], [], [], [], 0.0
        for seed in range(given.seeds):
            spectra, x, design, name, truth = make(basis, concentrations, np.random.default_rng(seed))
            begin = time.process_time()
            found = series_fit(spectra, [basis], load_model(name), x, design, SETTINGS)
            seconds += time.process_time() - begin
            rows = {
                (row["metabolite"], row["parameter"]): (row["value"], row["sd"]) for row in model_rows(found)
            }
            truths.append([truth[key] for key in truth])
            linked.append([rows[key] for key in truth])
            chances.append(found.verdict.probability)
            if make is diffusion:
                steps = two_steps(found, x)
                apart.append([steps[key] for key in truth])
        print(f"{name}: {x.size} spectra, {given.seeds} seeds, {seconds / given.seeds:.1f} s a series")
        error = report(list(truth), np.array(truths), np.array(linked))
        print(
            f"  the model, which is true, is rejected (p < 0.05) in {np.mean(np.array(chances) < 0.05):.0%}"
        )
        if apart:
            print("  in two steps:")
            other = report(list(truth), np.array(truths), np.array(apart))
            gain = other.std(axis=0) / error.std(axis=0)
            predicted = np.mean(np.array(apart)[..., 1] / np.array(linked)[..., 1], axis=0)
            for key, one, two in zip(truth, gain, predicted, strict=True):
                print(f"  {key[0]:6s} linked over two steps: {one:.2f} times as precise, {two:.2f} predicted")


if __name__ == "__main__":
    main()
