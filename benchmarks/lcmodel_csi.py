"""Ten voxels of 3 T CSI (TE 15.6, LCModel's own example) beside the table that LCModel made of them.

    PULSESPEC_DATA=... python benchmarks/lcmodel_csi.py --priors on

The basis is LCModel's. `same` fits what LCModel fitted, in its range (1.9 to 4.0 ppm, no macromolecules, no first-order
phase); `own` fits as this project does. Both have creatine whose methylene line is suppressed, as LCModel has. Ratios
to creatine: correlation over all voxels, and the difference over the standard deviation that both state together.
LCModel's parts with an SD of 999 % are left out. Water lies at the edge of the band, so the files are taken for what
LCModel's control file calls them.

`maps` are those of one command with what LCModel fitted (below 1.9 ppm the data were filtered), voxel by voxel beside
its ratios: correlation and median of ours over theirs, in all voxels and in those that pass the quality mask. Where
lines are broad LCModel gives up to 1.9 phosphoethanolamine a creatine, at choline's cost: `tCho + 2/9 PE` counts the
protons of both at 3.2 ppm.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from
from scores import table

from pulsespec.recon.fit import SUMS, FitResult, fit_batch
from pulsespec.recon.known import Known
from pulsespec.recon.methylene import with_suppressed_methylene
from pulsespec.recon.pipeline import ReconSettings, recon
from pulsespec.recon.quantify import water_amplitude
from pulsespec.recon.text_data import read_lcmodel_raw
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis_files import read_basis
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.sampled import SampledBasis

Real = NDArray[np.float64]

NAMES = {"mI": "Ins", "GPC+PCh": "tCho", "NAA+NAAG": "tNAA", "Glu+Gln": "Glx"}
SHOWN = ("tNAA", "tCho", "Ins", "Glx", "NAA", "GPC", "Glu", "Gln", "GSH", "PE", "Asc", "Asp", "GABA")
NO_BOUND = 999.0


def voxels(folder: Path) -> list[Scan]:
    """Return every voxel as `recon` leaves a single one; LCModel did not correct eddy currents here."""
    parts = [read_lcmodel_raw(folder / f"multi-voxel.{kind}", Known()).metabolite for kind in ("met", "ref")]
    metabolite, water = parts
    assert metabolite is not None
    assert water is not None

    def one(data: Transients, number: int) -> Transients:
        return data.with_data(data.data[number], drop=("x",))

    settings = ReconSettings(eddy_current_correction=False)
    return [recon(Scan(one(metabolite, k), one(water, k)), settings) for k in range(metabolite.size("x"))]


def theirs(path: Path) -> dict[str, Real]:
    """Return concentration, SD in percent and ratio to creatine, in the order of the data; shape (n_voxels, 3)."""
    with path.open(newline="") as file:
        head, *rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    numbers = np.array([[float(cell) for cell in row if cell] for row in rows])
    numbers = numbers[np.argsort(numbers[:, 1])]  # its rows go from the middle outwards
    return {NAMES.get(name, name): numbers[:, 2 + 3 * k : 5 + 3 * k] for k, name in enumerate(head[2::3])}


def agreement(name: str, peer: Real, found: list[FitResult]) -> tuple[str, ...] | None:
    """Return a row of the table; `None` where too few voxels have both."""
    of = [part for part in SUMS.get(name, (name,)) if part in found[0].names]
    ours = np.array([one.ratio(of, ["Cr"]) for one in found])
    kept = (peer[:, 1] < NO_BOUND) & np.isfinite(ours[:, 0])
    if np.count_nonzero(kept) < 3:
        return None
    a, b, percent = peer[kept, 2], ours[kept, 0], peer[kept, 1]
    sd = np.hypot(a * percent / 100, ours[kept, 1])
    numbers = (np.corrcoef(a, b)[0, 1] if np.std(b) > 0 else np.nan, 100 * (b.mean() / a.mean() - 1))
    return (
        *(name, str(a.size), f"{a.mean():.3f}", f"{b.mean():.3f}"),
        *(f"{numbers[0]:+.2f}", f"{numbers[1]:+.0f}", f"{np.sqrt(np.mean(((b - a) / sd) ** 2)):.2f}"),
        *(f"{100 * np.median(ours[kept, 1] / np.maximum(b, 1e-9)):.0f}", f"{np.median(percent):.0f}"),
    )


def compare(found: list[FitResult], scans: list[Scan], peer: dict[str, Real]) -> None:
    """Print agreement by metabolite."""
    head = ("ratio to Cr", "voxels", "theirs", "ours", "correlation", "difference %", "rms over both SDs")
    rows = [agreement(name, peer[name], found) for name in SHOWN]
    shown = [row for row in rows if row]
    print(table([(*head, "our SD %", "their SD %"), *shown]))
    middle = np.median([float(row[4]) for row in shown])
    off = np.median([abs(float(row[5])) for row in shown])
    print(f"median over metabolites: correlation {middle:.2f}, size of the difference {off:.0f} %")
    waters = np.array([water_amplitude(scan.water)[0] for scan in scans if scan.water is not None])
    creatine = np.array([one.combine({"Cr": 1.0})[0] for one in found])
    for words, ours in (("creatine", creatine), ("creatine over water", creatine / waters)):
        scale = ours / peer["Cr"][:, 0]
        print(
            f"{words}: correlation with LCModel's {np.corrcoef(ours, peer['Cr'][:, 0])[0, 1]:+.3f}, the factor between "
            f"them varies by {100 * np.std(scale) / np.mean(scale):.1f} % between voxels"
        )


MAPPED = ("tNAA", "tCho", "tCho + 2/9 PE", "Ins", "Glx")


def maps(folder: Path, peer: dict[str, Real]) -> None:
    """Make maps by one command, and print how they agree with LCModel's ratios, voxel by voxel."""
    with tempfile.TemporaryDirectory() as place:
        inputs = [str(folder / name) for name in ("multi-voxel.met", "sim_se_csi_te16.basis")]
        parts = ",".join(name for name in peer if name not in SUMS)
        words = ["fit", inputs[0], "--basis", inputs[1], "-o", f"{place}/out", "--quiet"]
        words += ["--ppm-range", "1.9,4.0", "--suppressed-methylene", "--components", parts]
        line = [sys.executable, "-c", "from pulsespec.cli import main; main()", *words]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)

        def load(name: str) -> Real:
            return np.asarray(nibabel.load(f"{place}/out/maps/{name}.nii.gz").dataobj, float).ravel()

        passing = load("quality") > 0
        found = {name: load(f"{name}_ratio_tCr") for name in ("tNAA", "tCho", "PE", "Ins", "Glx")}
    found["tCho + 2/9 PE"] = found["tCho"] + 2 / 9 * found["PE"]
    theirs_ = {name: values[:, 2] for name, values in peer.items()}
    theirs_["tCho + 2/9 PE"] = theirs_["tCho"] + 2 / 9 * theirs_["PE"]
    rows = [
        (
            "map over tCr",
            *(f"{w}, {of}" for of in ("all", "passing") for w in ("voxels", "correlation", "median ratio")),
        )
    ]
    for name in MAPPED:
        row: list[str] = [name]
        for kept in (np.isfinite(found[name]), np.isfinite(found[name]) & passing):
            ours, other = found[name][kept], theirs_[name][kept]
            row += [
                str(ours.size),
                f"{np.corrcoef(ours, other)[0, 1]:+.2f}",
                f"{np.median(ours / other):.2f}",
            ]
        rows.append(tuple(row))
    print("\nmaps of one command")
    print(table(rows))


def main() -> None:
    """Fit all voxels and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    folder = Path(os.environ["PULSESPEC_DATA"]) / "lcmodel-csi-3t"
    scans = voxels(folder)
    data = scans[0].metabolite
    assert data is not None
    basis = read_basis(folder / "sim_se_csi_te16.basis").basis
    assert isinstance(basis, SampledBasis)
    basis = with_suppressed_methylene(basis).with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    settings = settings_from(options)
    peer = theirs(folder / "test-reference-multi-voxel.csv")
    maps(folder, peer)
    names = tuple(name for name in basis.names if name in peer)
    same = replace(settings, ppm_range=(1.9, 4.0), names=names, phase1_sd_deg_per_ppm=0.0)
    together = replace(data, data=np.array([measured(scan).data for scan in scans]), dims=("x", "t"))
    for words, chosen in (("same", same), ("own", settings)):
        batch = fit_batch(together, basis, chosen)
        found = [batch.one(number) for number in range(len(scans))]
        rest = [one.parameters.get("residual_over_noise", float("nan")) for one in found]
        print(
            f"\nrange: {words}; {sum(one.converged for one in found)} of {len(found)} converged; residual over noise "
            f"{min(rest):.2f} to {max(rest):.2f}"
        )
        compare(found, scans, peer)


def measured(scan: Scan) -> Transients:
    """Return the metabolite data of a scan that has some."""
    assert scan.metabolite is not None
    return scan.metabolite


if __name__ == "__main__":
    main()
