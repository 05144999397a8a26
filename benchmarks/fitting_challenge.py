"""The ISMRM 2016 fitting challenge: seven spectra with known concentrations, beside what noise alone would allow.

    PULSESPEC_DATA=... python benchmarks/fitting_challenge.py --priors off --macromolecules supplied --out results.csv

All seven datasets are processed, fitted and scaled by the same settings; nothing here is tuned to them. The basis is
the challenge's own (LCModel RAW, without acetate, which its `.BASIS` leaves out too); `supplied` takes its
macromolecules, `own` this project's model, `none` leaves them to the baseline. The first sample of the suppressed FIDs
is spoiled and is predicted from the rest. mM, as the challenge prescribes: amplitude over half the water at time zero,
times 29697 (water that is seen after T2 of 110 and 80 ms) and 1.2062 (T2 of metabolites, 160 ms).

The floor is the mean absolute error that an unbiased estimator at the Cramer-Rao bound would have, sqrt(2 / pi) times
the bound, at the true concentrations and the noise of the data, with the lines that fit best while the concentrations
are held at the truth. Unknown: all amplitudes, two phases, and shift, Lorentzian and Gaussian width of metabolites and
of macromolecules; "with baseline" also that many free splines a ppm. `--known-line` counts amplitudes alone.
"""

import argparse
import csv
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from, settings_of
from scipy.optimize import least_squares
from scores import GROUPS, METABOLITES, Entry, group_mean, mean_error, read_csv, score, share_inside, table

from pulsespec.conventions import ppm_axis
from pulsespec.recon import floor
from pulsespec.recon.first_points import repair_first_points
from pulsespec.recon.fit import SUMS, FitResult, FitSettings, fit
from pulsespec.recon.known import Known
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quantify import water_amplitude
from pulsespec.recon.read import read
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import read_basis
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.sampled import SampledBasis

Real = NDArray[np.float64]

DATASETS = (1, 4, 7, 10, 13, 16, 19)
UNUSUAL = (7, 10, 16, 19)
"""Datasets whose GABA, GSH, Ins or Gln are not those of a healthy brain."""
F0_HZ, DWELL_S = 123.2617e6, 2.5e-4
MILLIMOLAR = 29697 * 1.2062
THEIR_NAMES = {"PCh": "PCho", "Scyllo": "sIns"}
BASELINE_PER_PPM = 2.0
"""Free splines a ppm in the second floor."""


@dataclass(frozen=True)
class Case:
    """One dataset, ready to be fitted."""

    number: int
    scan: Scan
    factor: float
    """mM a unit of amplitude."""

    @property
    def spectrum(self) -> Transients:
        """What is fitted."""
        assert self.scan.metabolite is not None
        return self.scan.metabolite


def load_basis(folder: Path, macromolecules: str) -> SampledBasis:
    """Return the challenge's basis with the macromolecules asked for."""
    given = Given(dwell_s=DWELL_S, f0_hz=F0_HZ, te_s=0.03)
    basis = read_basis(folder / "basisset_LCModel", given).basis
    assert isinstance(basis, SampledBasis)
    dropped = {"Ace"} | (set() if macromolecules == "supplied" else {"Mac"})
    basis = basis.subset([name for name in basis.names if name not in dropped])
    if macromolecules == "own":
        basis = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    return basis


def load_case(folder: Path, number: int) -> Case:
    """Return one dataset as `recon` leaves it."""
    stem = folder / "datasets_LCModel" / f"dataset{number}"
    paths = [stem.with_suffix(".RAW"), stem.with_suffix(".H2O")]
    scan = read(paths, known=Known(dwell_s=DWELL_S, f0_hz=F0_HZ))
    assert scan.metabolite is not None
    scan = recon(replace(scan, metabolite=repair_first_points(scan.metabolite, 1)))
    assert scan.water is not None
    return Case(number, scan, MILLIMOLAR / (water_amplitude(scan.water)[0] / 2))


def rows_of(case: Case, found: FitResult) -> list[Entry]:
    """Return concentrations in mM, sums included, under the challenge's names."""
    parts = {name: (name,) for name in found.names} | dict(SUMS)
    creatine, _ = found.combine(dict.fromkeys(SUMS["tCr"], 1.0))
    rows = []
    for name, of in parts.items():
        value, sd = found.combine(dict.fromkeys(of, 1.0))
        rows.append(
            Entry(
                case.number,
                THEIR_NAMES.get(name, name),
                value * case.factor,
                value / creatine if creatine > 0 else None,
                sd * case.factor,
            )
        )
    return rows


def write_csv(rows: list[Entry], path: Path) -> None:
    """Write the columns that the challenge's scorer reads."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("dataset", "metabolite", "value_mM", "ratio_tCr", "sd"))
        writer.writerows((r.dataset, r.metabolite, r.value_mm, r.ratio_tcr, r.sd_mm) for r in rows)


@dataclass(frozen=True)
class Floor:
    """Bounds of one dataset at the truth."""

    covariance_mm: dict[str, Real]
    """Of the metabolites in mM, by kind of floor; shape (n, n)."""
    names: tuple[str, ...]
    chi_square: float
    """Mean square of what the model at the truth leaves, over that of the noise."""
    line: floor.Line


def floor_of(
    case: Case, basis: SampledBasis, truth: dict[tuple[int, str], float], known_line: bool = False
) -> Floor:
    """Return the bounds at the truth, from the challenge's own basis with its macromolecules."""
    data = case.spectrum
    names = tuple(name for name in basis.names if name not in basis.broad)
    fids = np.array([basis.fid(name, data.samples) for name in (*names, *basis.broad)])
    group = [0] * len(names) + [1] * len(basis.broad)
    readout = floor.Readout(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm, (0.2, 4.0))
    amounts = np.array([truth[case.number, THEIR_NAMES.get(name, name)] for name in names]) / case.factor
    measured = readout.spectrum(data.data).real
    line, amplitudes = _best_line(fids, group, amounts, readout, measured)
    noise_sd = noise_of(data)
    model = floor.columns(fids, group, line, readout).real.T
    _, slopes = floor.nuisances(fids, amplitudes, group, line, readout)
    slopes = slopes[:, :0] if known_line else slopes
    smooth = floor.smooth_columns(readout.ppm, BASELINE_PER_PPM)
    kinds = {"without": slopes, "with": np.concatenate([slopes, smooth], axis=1)}
    n = len(names)
    return Floor(
        {
            kind: floor.covariance(model, nuisance, noise_sd)[:n, :n] * case.factor**2
            for kind, nuisance in kinds.items()
        },
        names,
        float(np.mean((measured - model @ amplitudes) ** 2)) / noise_sd**2,
        line,
    )


def _best_line(
    fids: NDArray[np.complex128],
    group: list[int],
    amounts: Real,
    readout: floor.Readout,
    measured: Real,
) -> tuple[floor.Line, Real]:
    """Return the line that fits best with the concentrations at the truth, and all amplitudes.

    Free beside the line: one scale of all metabolites, and the macromolecules.
    """
    n = amounts.size

    def line(x: Real) -> floor.Line:
        return floor.Line(x[2:4], np.abs(x[4:6]), np.abs(x[6:8]), float(x[0]), float(x[1]))

    def solved(x: Real) -> tuple[Real, Real]:
        spectra = floor.columns(fids, group, line(x), readout).real.T
        two = np.stack([spectra[:, :n] @ amounts, spectra[:, n:].sum(axis=1)], axis=1)
        scale = np.linalg.lstsq(two, measured, rcond=None)[0]
        return two @ scale - measured, np.concatenate([amounts * scale[0], np.full(len(fids) - n, scale[1])])

    starts = [np.array([0, 0, 0, 0, lorentz, 1.0, gauss, 1.0]) for lorentz, gauss in ((3, 1), (1, 3))]
    found = min((least_squares(lambda x: solved(x)[0], s, x_scale=1.0) for s in starts), key=lambda f: f.cost)
    return line(found.x), solved(found.x)[1]


def noise_of(data: Transients) -> float:
    """Return the standard deviation of a point of `Readout.spectrum`, from where nothing resonates."""
    spectrum = np.fft.fftshift(np.fft.fft(data.data)) / np.sqrt(data.samples)
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    quiet = spectrum[(ppm < -2.0) | (ppm > 11.0)]
    return float(np.std(np.diff(np.stack([quiet.real, quiet.imag])))) / np.sqrt(2)


def floor_errors(floors: dict[int, Floor], truth: dict[tuple[int, str], float], kind: str, what: str) -> dict:
    """Return the mean absolute error in percent by metabolite that the bounds stand for, to compare with scores."""
    found = {}
    for metabolite in METABOLITES:
        errors = [
            100 * floor.ERROR_OF_SD * relative
            for number, one in floors.items()
            if (relative := _relative_sd(one, truth, number, metabolite, kind, what)) is not None
        ]
        found[metabolite] = float(np.mean(errors)) if errors else float("nan")
    return found


def _relative_sd(
    one: Floor, truth: dict[tuple[int, str], float], number: int, metabolite: str, kind: str, what: str
) -> float | None:
    """Return the bound of a concentration, or of its ratio to tCr, over its truth."""
    shown = [THEIR_NAMES.get(name, name) for name in one.names]
    parts = [THEIR_NAMES.get(p, p) for p in SUMS.get(metabolite, (metabolite,))]
    weights = np.array([float(name in parts) for name in shown])
    amounts = np.array([truth[number, name] for name in shown])
    total = float(weights @ amounts)
    if total <= 0:
        return None
    gradient = weights / total
    if what == "ratio":
        creatine = np.array([float(name in SUMS["tCr"]) for name in shown])
        gradient = gradient - creatine / float(creatine @ amounts)
    return float(np.sqrt(gradient @ one.covariance_mm[kind] @ gradient))


def read_truth(path: Path) -> dict[tuple[int, str], float]:
    """Return true concentrations in mM by dataset and metabolite."""
    with path.open(newline="") as file:
        head, *rows = list(csv.reader(file))
    names = {"NAA+NAAG": "tNAA", "Glu+Gln": "Glx", "GPC+PCho": "tCho", "Cr+PCr": "tCr"}
    return {
        (int(column.removeprefix("dataset")), names.get(row[0], row[0])): float(cell)
        for row in rows
        for column, cell in zip(head[1:], row[1:], strict=True)
        if cell
    }


def run(folder: Path, settings: FitSettings, macromolecules: str) -> tuple[list[Entry], float]:
    """Fit all datasets by one setting; return concentrations and seconds a fit."""
    basis = load_basis(folder, macromolecules)
    cases = [load_case(folder, number) for number in DATASETS]
    start = time.perf_counter()
    found = [fit(case.spectrum, basis, settings) for case in cases]
    seconds = (time.perf_counter() - start) / len(cases)
    for case, one in zip(cases, found, strict=True):
        stiffness = one.parameters.get("baseline_dimension_per_ppm", float("nan"))
        print(
            f"dataset {case.number:2d}: {one.message}; baseline {stiffness:.2f} / ppm; {'; '.join(one.warnings)}"
        )
    return [row for case, one in zip(cases, found, strict=True) for row in rows_of(case, one)], seconds


def floors(folder: Path, truth: dict[tuple[int, str], float], known_line: bool = False) -> dict[int, Floor]:
    """Return the bounds of all datasets."""
    basis = load_basis(folder, "supplied")
    found = {number: floor_of(load_case(folder, number), basis, truth, known_line) for number in DATASETS}
    for number, one in found.items():
        line = one.line
        print(
            f"truth of dataset {number:2d}: residual over noise {np.sqrt(one.chi_square):.2f}, Lorentz "
            f"{line.lorentz_hz[0]:.2f}, Gauss {line.gauss_hz[0]:.2f} Hz; macromolecules {line.lorentz_hz[1]:.1f} and "
            f"{line.gauss_hz[1]:.1f} Hz"
        )
    return found


def summary(rows: list[Entry], truth: dict, bounds: dict[int, Floor]) -> list[tuple[str, ...]]:
    """Return score, floors and coverage of each group, for ratios and for mM."""
    scored = score(rows, truth)
    lines = []
    for what in ("ratio", "mM"):
        ours = {name: mean_error(scored, name, what) for name in METABOLITES}
        low, high = (floor_errors(bounds, truth, kind, what) for kind in ("without", "with"))
        for group in GROUPS:
            mean, least, wider = (group_mean(values, group, what) for values in (ours, low, high))
            inside = share_inside(scored, GROUPS[group], what)
            numbers = [f"{x:.1f}" for x in (mean, least, wider)]
            lines.append(
                (what, group, *numbers, f"{mean / least:.2f}", f"{mean / wider:.2f}", f"{inside:.0f}")
            )
    return lines


def report(rows: list[Entry], truth: dict, bounds: dict[int, Floor]) -> None:
    """Print scores by group, by metabolite and by dataset."""
    scored = score(rows, truth)
    head = ("", "group", "error %", "floor", "with baseline", "ratio", "ratio (bl)", "inside %")
    print(table([head, *summary(rows, truth, bounds)]))
    low, high = (floor_errors(bounds, truth, kind, "ratio") for kind in ("without", "with"))
    lines = [
        (
            "metabolite",
            "bias %",
            "error %",
            "floor",
            "with baseline",
            "ratio",
            "inside %",
            "mM bias %",
            "mM err %",
        )
    ]
    for name in METABOLITES:
        error, bias = mean_error(scored, name, "ratio"), mean_error(scored, name, "ratio", signed=True)
        inside = share_inside(scored, (name,), "ratio")
        mm = mean_error(scored, name, "mM", signed=True), mean_error(scored, name, "mM")
        least = f"{error / low[name]:.2f}" if low[name] > 0 else ""
        cells = (name, f"{bias:+.1f}", f"{error:.1f}", f"{low[name]:.1f}", f"{high[name]:.1f}", least)
        lines.append((*cells, f"{inside:.0f}", f"{mm[0]:+.1f}", f"{mm[1]:.1f}"))
    print(table(lines))
    per = [("dataset", *GROUPS, "tCr mM %")]
    for number in DATASETS:
        here = [one for one in scored if one.dataset == number]
        means = [
            f"{group_mean({m: mean_error(here, m, 'ratio') for m in METABOLITES}, g, 'ratio'):.1f}"
            for g in GROUPS
        ]
        per.append((str(number), *means, f"{mean_error(here, 'tCr', 'mM', signed=True):+.1f}"))
    print(table(per))
    for one in scored:
        if one.truth == 0:
            print(
                f"truth 0: dataset {one.dataset} {one.metabolite}: {one.value_mm:.2f} +- {one.sd_mm or 0:.2f} mM"
            )


def compare_unusual(on: list[Entry], off: list[Entry], truth: dict) -> None:
    """Print datasets of unusual composition with priors on and off."""
    lines = [("dataset", *(f"{group} {which}" for group in GROUPS for which in ("on", "off")))]
    for number in UNUSUAL:
        cells = []
        for group in GROUPS:
            for rows in (on, off):
                here = [one for one in score(rows, truth) if one.dataset == number]
                errors = {name: mean_error(here, name, "ratio") for name in METABOLITES}
                cells.append(f"{group_mean(errors, group, 'ratio'):.1f}")
        lines.append((str(number), *cells))
    print("priors on beside off:")
    print(table(lines))


def main() -> None:
    """Print everything for one setting, or score a file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--macromolecules", choices=("supplied", "own", "none"), default="supplied")
    parser.add_argument("--out", type=Path, help="CSV of results, as scorers of the challenge read it")
    parser.add_argument("--score", type=Path, help="score this CSV instead of fitting")
    parser.add_argument(
        "--unusual", action="store_true", help="datasets of unusual composition, priors on and off"
    )
    parser.add_argument(
        "--known-line", action="store_true", help="floor with phases, shifts and widths known"
    )
    options = parser.parse_args()
    folder = Path(os.environ["PULSESPEC_DATA"]) / "fitting-challenge-2016"
    truth = read_truth(folder / "truth-mM.csv")
    if options.unusual:
        on, off = (run(folder, settings_of(which), options.macromolecules)[0] for which in ("on", "off"))
        compare_unusual(on, off, truth)
        return
    if options.score:
        rows = read_csv(options.score)
    else:
        rows, seconds = run(folder, settings_from(options), options.macromolecules)
        print(f"priors {options.priors}, macromolecules {options.macromolecules}: {seconds:.2f} s a fit")
    if options.out:
        write_csv(rows, options.out)
    report(rows, truth, floors(folder, truth, options.known_line))


if __name__ == "__main__":
    main()
