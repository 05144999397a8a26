"""Thirteen in vivo spectra (Big GABA, Philips 3 T, PRESS TE 35) beside four peer results."""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from pulsespec import analysis

NAMES = ("tNAA", "tCho", "Ins", "Glx")


def ratios(subject: Path) -> list[float]:
    files = sorted(path for path in subject.iterdir() if path.suffix.lower() == ".sdat")
    with tempfile.TemporaryDirectory() as folder:
        found = analysis.run(files, Path(folder) / "out", protocol="press-3t-te35")
    rows = {row["metabolite"]: row["ratio_tCr"] for row in found["concentrations"]}
    return [rows[name] for name in NAMES]


def main() -> None:
    folder = Path(os.environ["PULSESPEC_DATA"]) / "philips-3t-press35"
    peers: dict[str, list[list[float]]] = {}
    with (folder / "peer-ratios-to-tCr.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            peers.setdefault(row["method"], []).append([float(row[name]) for name in NAMES])
    ours = []
    for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
        ours.append(ratios(subject))
        print(
            subject.name,
            " ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, ours[-1], strict=True)),
            flush=True,
        )
    print(f"{'mean (CV)':20s}", "  ".join(f"{name:>14s}" for name in NAMES))
    for method, table in {**peers, "pulsespec": ours}.items():
        mean, spread = np.mean(table, axis=0), np.std(table, axis=0, ddof=1)
        print(
            f"{method:20s}", "  ".join(f"{m:6.3f} ({s / m:5.1%})" for m, s in zip(mean, spread, strict=True))
        )
    means = np.array([np.mean(table, axis=0) for table in peers.values()])
    for k, name in enumerate(NAMES):
        low, high, value = means[:, k].min(), means[:, k].max(), np.mean(ours, axis=0)[k]
        print(
            f"{name}: {value:.3f}, peers {low:.3f} to {high:.3f}: {'inside' if low <= value <= high else 'OUTSIDE'}"
        )


if __name__ == "__main__":
    main()
