"""Do 95 % intervals hold the truth, and is the mean right, on spectra that the model of the fit cannot follow?

    python benchmarks/calibration.py --count 1000 --snr 10 20 40 80 --jobs 2
    python benchmarks/calibration.py --count 200 --causes        # what biases come from

Spectra are trials (`simulator/trials.py`) of grey matter through PRESS TE 30 at 3 T: baselines, lines, shifts and
macromolecules are not drawn from the fit's model. Residual water is removed as `recon` does it, and macromolecules
of the fit are those that `fit` adds by itself. Counted are the metabolites of which the tissue has 1 mM or more, in all
spectra; `--above` counts only spectra in which the metabolite itself is above 1 mM (a draw that soft priors, which know
its usual amount, then must miss).

`inside`: share of 95 % intervals that hold the truth. `bias / bound`: mean error over the root mean square of the
stated standard deviations (the bound). `sd / bound`: how errors scatter, over the same. `--causes` repeats everything
with one cause switched off at a time, with the same noise: what the bias then changes by is the share of that cause;
`none` is a spectrum that the model can follow. `--broad-model` takes macromolecules that the fit does not have.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from
from scores import table

from pulsespec import commands
from pulsespec.executor import map_blocks
from pulsespec.recon.fit import SUMS, FitSettings, fit_batch
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_removal import remove_water
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.misfits import CAUSES, Misfits
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.trials import Ranges, Stage, set_stage, trial

Real = NDArray[np.float64]

PROTOCOL, SCANNER, F0_HZ = "press-3t-te30", "siemens-prisma", 123.25e6
LEAST_MM = 1.0
BLOCK = 25
NONE = Misfits(**dict.fromkeys(CAUSES, 0.0))


@dataclass(frozen=True)
class Task:
    """A block of spectra; what they are hangs on the seed and their numbers alone."""

    snr: float
    seed: int
    start: int
    stop: int
    misfits: Misfits
    above: bool
    """Count spectra by their own concentration, not by that of the tissue."""


@dataclass(frozen=True)
class Found:
    """Truth and estimates of a set of spectra; metabolites, then sums."""

    names: tuple[str, ...]
    true_mm: Real
    """Shape (n_spectra, n)."""
    truth: Real
    """Amplitudes in units of the basis; shape (n_spectra, n)."""
    estimate: Real
    sd: Real
    converged: Real
    counts: Real
    """Whether the case is one of those that are asked for; shape (n_spectra, n)."""


def measure(stage: Stage, basis: Basis, settings: FitSettings, task: Task) -> Found:
    """Make and fit a block of spectra."""
    made = [
        trial(stage, task.snr, task.seed, number, task.misfits) for number in range(task.start, task.stop)
    ]
    scene = stage.scene
    data = Transients(
        data=np.array([one.fid for one in made]),
        dims=("x", "t"),
        dwell_s=scene.dwell_s,
        f0_hz=scene.f0_hz,
        te_s=scene.te_s,
        tr_s=scene.tr_s,
        reference_ppm=scene.reference_ppm,
    )
    if task.misfits.baseline:
        data = remove_water(data)
    found = fit_batch(data, basis, settings)
    of = sums(stage.names)
    ours = np.array([[float(name in parts) for name in stage.names] for parts in of.values()])
    estimate, sd = zip(*(found.combine(dict.fromkeys(parts, 1.0)) for parts in of.values()), strict=True)
    true_mm = np.array([one.concentrations_mm for one in made]) @ ours.T
    usual_mm = np.array([amount.mm for amount in scene.amounts[: len(stage.names)]]) @ ours.T
    counts = true_mm > LEAST_MM if task.above else np.broadcast_to(usual_mm >= LEAST_MM, true_mm.shape)
    return Found(
        tuple(of),
        true_mm,
        np.array([one.amplitudes for one in made]) @ ours.T,
        np.stack(estimate, axis=1),
        np.stack(sd, axis=1),
        found.converged.astype(float),
        counts.astype(float),
    )


def sums(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return metabolites and those sums of which several parts are there, by name."""
    of = {name: tuple(part for part in parts if part in names) for name, parts in SUMS.items()}
    return {name: (name,) for name in names} | {name: parts for name, parts in of.items() if len(parts) > 1}


def run(
    stage: Stage,
    basis: Basis,
    settings: FitSettings,
    snr: float,
    misfits: Misfits,
    options: argparse.Namespace,
) -> Found:
    """Return truth and estimates of all spectra of one SNR."""
    starts = range(0, options.count, BLOCK)
    tasks = [
        Task(snr, options.seed, at, min(at + BLOCK, options.count), misfits, options.above) for at in starts
    ]
    blocks = map_blocks(partial(measure, stage, basis, settings), tasks, options.jobs)
    joined = {
        key: np.concatenate([getattr(block, key) for block in blocks])
        for key in ("true_mm", "truth", "estimate", "sd", "converged", "counts")
    }
    return Found(blocks[0].names, **joined)


def figures(found: Found) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Yield name, cases, share inside, bias over bound, scatter over bound and bias in percent."""
    error, kept = found.estimate - found.truth, (found.counts > 0) & (found.converged[:, None] > 0)
    for k, name in enumerate(found.names):
        at = kept[:, k]
        if np.count_nonzero(at) < 5:
            continue
        e, sd, truth = error[at, k], found.sd[at, k], found.truth[at, k]
        bound = float(np.sqrt(np.mean(sd**2)))
        inside = float(np.mean(np.abs(e) <= 1.96 * sd))
        yield (
            name,
            e.size,
            100 * inside,
            e.mean() / bound,
            e.std() / bound,
            100 * float(np.mean(e) / np.mean(truth)),
        )


def report(found: Found, snr: float) -> None:
    """Print one SNR."""
    rows = [("metabolite", "n", "inside %", "bias / bound", "sd / bound", "bias %")]
    rows += [
        (name, str(n), f"{inside:.1f}", f"{bias:+.2f}", f"{scatter:.2f}", f"{percent:+.1f}")
        for name, n, inside, bias, scatter, percent in figures(found)
    ]
    got = list(figures(found))
    shares, biases = [row[2] for row in got], [abs(row[3]) for row in got]
    good = sum(92 <= share <= 98 for share in shares)
    print(f"\nSNR {snr:g}: {np.mean(found.converged):.1%} converged")
    print(table(rows))
    print(
        f"inside: {min(shares):.1f} to {max(shares):.1f} %, {good} of {len(got)} in 92 to 98 %; "
        f"largest bias {max(biases):.2f} bounds, {sum(bias < 0.5 for bias in biases)} of {len(got)} below half a bound",
        flush=True,
    )


def report_causes(by_cause: dict[str, Found], snr: float) -> None:
    """Print bias and scatter over the bound of the whole, and what each cause adds."""
    every = {cause: {row[0]: row for row in figures(found)} for cause, found in by_cause.items()}
    bound = {name: _bound(by_cause["all"], name) for name in every["all"]}
    bias = [("metabolite", "bias / bound", *(f"by {cause}" for cause in CAUSES), "none")]
    scatter = [
        ("metabolite", "sd / bound", *(f"without {cause}" for cause in CAUSES), "none", "inside % of none")
    ]
    for name in every["all"]:
        means = {cause: _mean_error(found, name) / bound[name] for cause, found in by_cause.items()}
        shares = [f"{means['all'] - means[cause]:+.2f}" for cause in CAUSES]
        bias.append((name, f"{means['all']:+.2f}", *shares, f"{means['none']:+.2f}"))
        spreads = [f"{every[cause][name][4]:.2f}" for cause in ("all", *CAUSES, "none")]
        scatter.append((name, *spreads, f"{every['none'][name][2]:.0f}"))
    print(f"\nSNR {snr:g}: bias over bound, and by how much it is less without each cause")
    print(table(bias))
    print(f"\nSNR {snr:g}: standard deviation of errors over bound, with everything and without each cause")
    print(table(scatter), flush=True)


def _mean_error(found: Found, name: str) -> float:
    k = found.names.index(name)
    at = (found.counts > 0)[:, k]
    return float(np.mean((found.estimate - found.truth)[at, k]))


def _bound(found: Found, name: str) -> float:
    k = found.names.index(name)
    return float(np.sqrt(np.mean(found.sd[(found.counts > 0)[:, k], k] ** 2)))


def write(path: Path, snr: float, cause: str, found: Found) -> None:
    """Append every estimate to a CSV."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("snr", "cause", "spectrum", "metabolite", "true_mm", "truth", "estimate", "sd"))
        for number in range(len(found.truth)):
            for k, name in enumerate(found.names):
                values = [getattr(found, key)[number, k] for key in ("true_mm", "truth", "estimate", "sd")]
                writer.writerow((snr, cause, number, name, *(f"{value:.5g}" for value in values)))


def basis_of(names: list[str], protocol: str = PROTOCOL, f0_hz: float = F0_HZ) -> Basis:
    """Return the basis set of a shipped sequence."""
    with tempfile.TemporaryDirectory() as folder:
        path = commands.sequence_of(protocol, Path(folder), SCANNER, f0_hz)
        basis = commands.basis_of(path, names, f0_hz, 1)
    assert isinstance(basis, Basis)
    return basis


def main() -> None:
    """Print a table for each SNR."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--snr", type=float, nargs="+", default=[10.0, 20.0, 40.0, 80.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    add_options(parser)
    parser.add_argument("--causes", action="store_true", help="also with one cause switched off at a time")
    parser.add_argument(
        "--without", nargs="+", choices=CAUSES, default=[], help="causes that are off throughout"
    )
    parser.add_argument("--above", action="store_true", help="count spectra with a truth above 1 mM")
    parser.add_argument("--broad-model", default="birch-3t", help="macromolecules that spectra have")
    parser.add_argument("--out", type=Path, help="CSV of all estimates (appended)")
    options = parser.parse_args()
    tissue = load_tissue("grey-matter")
    basis = basis_of(list(tissue.concentrations))
    stage = set_stage(basis, tissue, Ranges(broad_model=options.broad_model))
    whole = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    settings = settings_from(options)
    everything = replace(Misfits(), **dict.fromkeys(options.without, 0.0))
    for snr in options.snr:
        variants = {"all": everything}
        if options.causes:
            variants |= {cause: replace(everything, **{cause: 0.0}) for cause in CAUSES} | {"none": NONE}
        found = {}
        for cause, misfits in variants.items():
            found[cause] = run(stage, whole, settings, snr, misfits, options)
            if options.out:
                write(options.out, snr, cause, found[cause])
        report(found["all"], snr)
        if options.causes:
            report_causes(found, snr)


if __name__ == "__main__":
    main()
