"""Thirteen in vivo spectra (Big GABA, Philips 3 T, PRESS TE 35) beside four peer results on the same files.

    PULSESPEC_DATA=... python benchmarks/philips_press35.py --priors off

Ratios to tCr: mean and coefficient of variation between subjects of each program, ours over the best of the others, and
how ours correlate with LCModel's over the subjects.
"""

import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from
from scores import table

from pulsespec import analysis, commands
from pulsespec.recon.fit import SUMS, FitSettings, fit
from pulsespec.recon.pipeline import recon
from pulsespec.recon.read import read
from pulsespec.simulator.broad import fit_lines

Real = NDArray[np.float64]

JUDGED = ("tNAA", "tCho", "Ins", "Glx")
COMPARED = "LCModel_2020paper"
PROTOCOL = "press-3t-te35"


def ratios(
    subject: Path, sequences: Path, names: list[str], settings: FitSettings
) -> tuple[list[float], str]:
    """Return ratios to tCr of one subject, and what the fit says of itself."""
    files = sorted(path for path in subject.iterdir() if path.suffix.lower() == ".sdat")
    scan = recon(read(files))
    assert scan.metabolite is not None
    data = scan.metabolite
    folder = sequences / f"{data.f0_hz:.0f}"
    folder.mkdir(exist_ok=True)
    path = folder / "sequence.seq"
    if not path.exists():
        path = commands.sequence_of(PROTOCOL, folder, None, data.f0_hz)
    chosen = commands.Conditions(cached=True)
    basis = commands.basis_of(path, list(analysis.BRAIN_METABOLITES), data.f0_hz, 1, conditions=chosen)
    found = fit(data, basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm)), settings)
    stiffness = found.parameters.get("baseline_dimension_per_ppm", float("nan"))
    rest = found.parameters.get("residual_over_noise", float("nan"))
    said = f"residual over noise {rest:.2f}, baseline {stiffness:.2f} / ppm"
    return [found.ratio(SUMS.get(name, (name,)), SUMS["tCr"])[0] for name in names], said


def read_peers(path: Path) -> tuple[list[str], dict[str, Real]]:
    """Return metabolites, and for each program the ratios of all subjects; shape (n_subjects, n)."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [key for key in rows[0] if key not in ("site", "subject", "method")]
    order = sorted({(row["site"], row["subject"]) for row in rows})
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        by_subject = {
            (r["site"], r["subject"]): [float(r[n]) for n in names] for r in rows if r["method"] == method
        }
        found[method] = np.array([by_subject[key] for key in order])
    return names, found


def report(names: list[str], ours: Real, peers: dict[str, Real]) -> None:
    """Print means, variation between subjects and correlations."""
    everybody = {**peers, "pulsespec": ours}
    rows = [("mean (CV %)", *JUDGED)]
    spread: dict[str, dict[str, float]] = {}
    for method, ratio in everybody.items():
        cells = []
        for name in JUDGED:
            one = ratio[:, names.index(name)]
            spread.setdefault(method, {})[name] = float(np.std(one, ddof=1) / np.mean(one))
            cells.append(f"{np.mean(one):.3f} ({100 * spread[method][name]:.1f})")
        rows.append((method, *cells))
    best = {name: min(spread[method][name] for method in peers) for name in JUDGED}
    rows.append(("CV over the best", *(f"{spread['pulsespec'][name] / best[name]:.2f}" for name in JUDGED)))
    print(table(rows))
    means = np.array([np.mean(ratio, axis=0) for ratio in peers.values()])
    lines = [
        (
            "metabolite",
            "ours",
            "CV %",
            "peers' means",
            "inside",
            "LCModel CV %",
            "correlation",
            "slope sd / sd",
        )
    ]
    for k, name in enumerate(names):
        theirs, mine = peers[COMPARED][:, k], ours[:, k]
        low, high, mean = means[:, k].min(), means[:, k].max(), np.mean(mine)
        both = np.std(theirs) > 0 and np.std(mine) > 0
        link = f"{np.corrcoef(theirs, mine)[0, 1]:+.2f}" if both else ""
        spreads = [100 * np.std(one, ddof=1) / np.mean(one) for one in (mine, theirs)]
        inside = "yes" if low <= mean <= high else "no"
        cells = (name, f"{mean:.3f}", f"{spreads[0]:.1f}", f"{low:.3f} to {high:.3f}", inside)
        lines.append((*cells, f"{spreads[1]:.1f}", link, f"{np.std(mine) / np.std(theirs):.2f}"))
    print(table(lines))


def main() -> None:
    """Fit all subjects and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    folder = Path(os.environ["PULSESPEC_DATA"]) / "philips-3t-press35"
    names, peers = read_peers(folder / "peer-ratios-to-tCr.csv")
    ours = []
    with tempfile.TemporaryDirectory() as sequences:
        for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
            found, said = ratios(subject, Path(sequences), names, settings_from(options))
            ours.append(found)
            at = [f"{name} {found[names.index(name)]:.3f}" for name in JUDGED]
            print(f"{subject.name}: {', '.join(at)}; {said}", flush=True)
    report(names, np.array(ours), peers)


if __name__ == "__main__":
    main()
