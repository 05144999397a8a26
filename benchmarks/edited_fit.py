"""Edited scans of the virtual scanner through `run`: all conditions fitted together beside the difference alone.

For each seed: bias against the truth, spread, the standard deviation that is stated, and how often the 95 % interval
holds the truth, in mM by the water of the scan. The macromolecule at 3.0 ppm is put in as a multiplet of its own width
(0.11 ppm, where the fit has 0.076), with a set share of GABA's area in the difference. Its truth is in GABA+, with what
the phantom's MM20 has at 3.0 ppm.

    python benchmarks/edited_fit.py [PROTOCOL] [--seeds N] [--shots N] [--snr X] [--share S] [--model M ...]
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from edited import prepared, scan_of
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.recon.edited_fit import fit_edited
from pulsespec.recon.fit import FitResult, FitSettings
from pulsespec.recon.peaks import peaks_of, table
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quantify import QuantifySettings, quantify
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.broad_response import lines_through
from pulsespec.simulator.coedited import with_macromolecules
from pulsespec.simulator.faults import load_faults
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import Setup

SHOWN = ("GABA", "GABA+", "GSH", "tNAA", "tCr", "Glx", "Ins", "tCho")
_WIDTH_PPM = 0.11
_TRUE_MM = "M3.00"
_SUMS = {"tNAA": ("NAA", "NAAG"), "tCr": ("Cr", "PCr"), "tCho": ("GPC", "PCh"), "Glx": ("Glu", "Gln")}


def with_share(setup: Setup, sequence: Path, weights: Sequence[float], share: float) -> tuple[Setup, float]:
    """Return a setup with macromolecule at 3.0 ppm of `share` of GABA's area in the difference, and the whole share."""
    basis = setup.basis
    to_hz = basis.f0_hz * 1e-6
    place = np.array([(3.0 - basis.reference_ppm) * to_hz])
    one = {_TRUE_MM: Lines(place, np.array([2.0 + 0j]), np.zeros(1), np.array([_WIDTH_PPM * to_hz]))}
    played = lines_through(sequence, setup.bases, one, (_TRUE_MM,))
    row = dict(zip(sorted(setup.bases), weights, strict=True))
    gaba = sum(factor * area(setup.bases[k].lines["GABA"], setup) for k, factor in row.items())
    macromolecule = sum(factor * area(played[k][_TRUE_MM], setup) for k, factor in row.items())
    phantom = setup.phantom
    amount = (
        share * phantom.concentrations_mm["GABA"] * gaba / macromolecule / phantom.broad_share(basis.te_s)
    )
    already = sum(
        factor * area(near_three(setup.broad[k]["MM20"], setup), setup) for k, factor in row.items()
    )
    already *= (
        phantom.broad_share(basis.te_s) * phantom.broad_mm["MM20"] / phantom.concentrations_mm["GABA"] / gaba
    )
    broad = {k: {**setup.broad[k], **played[k]} for k in setup.bases}
    phantom = replace(phantom, broad_mm={**phantom.broad_mm, _TRUE_MM: amount})
    return replace(setup, broad=broad, phantom=phantom), share + already


def near_three(lines: Lines, setup: Setup) -> Lines:
    """Return the lines between 2.9 and 3.1 ppm."""
    ppm = setup.basis.reference_ppm + lines.frequency_hz / (setup.basis.f0_hz * 1e-6)
    keep = (ppm > 2.9) & (ppm < 3.1)
    assert lines.gauss_hz is not None
    return Lines(
        lines.frequency_hz[keep], lines.amplitude[keep], np.zeros(int(keep.sum())), lines.gauss_hz[keep]
    )


def area(lines: Lines, setup: Setup) -> float:
    """Return the area of lines between 2.6 and 3.4 ppm, 5 Hz broader than they are."""
    basis = setup.basis
    alone = replace(basis, lines={"x": lines}, broad=())
    fid = alone.fid("x", setup.samples, setup.dwell_s, linewidth_hz=5.0)
    ppm = ppm_axis(setup.samples, setup.dwell_s, basis.f0_hz, basis.reference_ppm)
    return float(to_spectrum(fid).real[(ppm > 2.6) & (ppm < 3.4)].sum())


def truth(amounts: Mapping[str, float], share: float) -> dict[str, float]:
    """Return what each row of the table should be, in mM."""
    true = {**amounts, "GABA+": (1 + share) * amounts["GABA"]}
    return true | {name: sum(amounts[part] for part in parts) for name, parts in _SUMS.items()}


def found(
    one: FitResult, done: object, water: object, basis: object, water_mm: float
) -> dict[str, tuple[float, float]]:
    """Return concentration and standard deviation of each row, in mM."""
    amounts = quantify(one, done, water, basis, QuantifySettings(relaxation=False, water_mm=water_mm))
    return {row["metabolite"]: (row["concentration_mM"], row["concentration_mM_sd"]) for row in amounts.rows}


def shown(title: str, estimates: list[dict[str, tuple[float, float]]], true: Mapping[str, float]) -> None:
    """Print one table."""
    print(f"{title:26s} truth      bias %       spread %  stated %  coverage %")
    for name in SHOWN:
        rows = np.array([one[name] for one in estimates if name in one])
        if not rows.size:
            continue
        value = true[name]
        miss = 100 * (rows[:, 0] / value - 1)
        error = miss.std() / np.sqrt(len(miss))
        stated = 100 * rows[:, 1] / value
        inside = np.abs(rows[:, 0] - value) < 1.96 * rows[:, 1]
        print(
            f"  {name:22s} {value:6.2f} {miss.mean():7.2f} +- {error:4.2f} {miss.std():9.2f} "
            f"{np.sqrt(np.mean(stated**2)):9.2f} {100 * inside.mean():9.1f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", nargs="?", default="mega-press-3t-gaba")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--shots", type=int, default=320)
    parser.add_argument("--coils", type=int, default=2)
    parser.add_argument("--snr", type=float, default=10.0, help="NAA in a single shot")
    parser.add_argument("--faults", default="trial")
    parser.add_argument("--share", type=float, default=0.8, help="macromolecule over GABA in the difference")
    parser.add_argument("--model", nargs="+", default=["soft"])
    parser.add_argument(
        "--ideal", action="store_true", help="leave recon out: the truth, noise and water alone"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial = prepared(asked.protocol, asked.shots, Path(folder))
        path = Path(folder) / f"{asked.protocol}.seq"
        count = len(trial.setup.bases)
        half = [1.0] * (count // 2) + [-1.0] * (count // 2)
        setup, share = with_share(trial.setup, path, half, asked.share)
        made = with_macromolecules(path, setup.bases)
    bases = [made[k] for k in sorted(made)]
    faults = load_faults(asked.faults, coils=asked.coils, snr=asked.snr)
    true = truth(setup.phantom.concentrations_mm, share)
    tables: dict[str, list[dict[str, tuple[float, float]]]] = {}
    peaks: list[float] = []
    for seed in range(asked.seeds):
        played = play(setup, seed=seed, faults=faults)
        scan = recon(scan_of(played, trial.definitions))
        data, water = scan.metabolite, scan.water
        assert data is not None
        if asked.ideal:
            data = replace(data, data=ideal(played.truth.metabolite_fids, data.data, seed))
        for model in asked.model:
            fitted = fit_edited(data, bases, model, FitSettings(t2_widths=False))  # a scan without relaxation
            parts = {"all conditions": fitted.first, **{f"{k} alone": one for k, one in fitted.alone.items()}}
            for name, one in parts.items():
                row = found(one, data, water, bases[0], setup.phantom.water_mm)
                tables.setdefault(f"{model}: {name}", []).append(row)
        off = fitted.first.parameters
        rows = table(peaks_of(data, np.array(half), water, phase_deg=off["phase0_deg"], shift_ppm=off["shift_ppm"]),
                     data.te_s, data.tr_s)  # fmt: skip
        peaks.append(rows[0]["ratio_Cr"])
    print(
        f"{asked.protocol}, {asked.shots} shots, {asked.seeds} seeds, faults {asked.faults}, SNR {asked.snr:g}"
    )
    for title, estimates in tables.items():
        shown(title, estimates, true)
    print(f"peaks: GABA+/Cr {np.mean(peaks):.4f}, spread {100 * np.std(peaks) / np.mean(peaks):.1f} %")


def ideal(
    fids: NDArray[np.complex128], measured: NDArray[np.complex128], seed: int
) -> NDArray[np.complex128]:
    """Return the true FIDs at the scale of the measured ones, with noise as theirs."""
    true = swap_sense(fids)
    scale = float(np.abs(measured[:, :8]).mean() / np.abs(true[:, :8]).mean())
    tail = measured[:, -measured.shape[1] // 8 :]
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=true.shape) + 1j * rng.normal(size=true.shape)
    return scale * true + np.sqrt(np.mean(np.abs(tail) ** 2, axis=1) / 2)[:, None] * noise


if __name__ == "__main__":
    main()
