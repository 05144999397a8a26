"""Ten voxels of 3 T CSI (TE 15.6, LCModel's own example) beside the table that LCModel made of them.

    PULSESPEC_DATA=... python benchmarks/lcmodel_csi.py --priors on

The basis is LCModel's; it is sampled at another dwell time than the data and is interpolated. `same` fits the range
that LCModel fitted (1.9 to 4.0 ppm), `own` this project's; `without CrCH2` leaves out creatine's line at 3.9 ppm, which
water suppression has weakened and which LCModel corrects by a component of its own. Ratios to creatine: correlation
over all voxels, and the difference over the standard deviation that both state together. LCModel's parts with an SD of
999 % are left out. Water lies at the edge of the band, so the files are taken for what LCModel's control file calls
them.
"""

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from
from scipy.interpolate import make_interp_spline
from scores import table

from pulsespec.recon.fit import SUMS, FitResult, FitSettings, fit
from pulsespec.recon.known import Known
from pulsespec.recon.pipeline import ReconSettings, recon
from pulsespec.recon.quantify import water_amplitude
from pulsespec.recon.text_data import read_lcmodel_raw
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis_files import read_basis
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.sampled import SampledBasis, at_reference

Real = NDArray[np.float64]

NAMES = {"mI": "Ins", "GPC+PCh": "tCho", "NAA+NAAG": "tNAA", "Glu+Gln": "Glx"}
SHOWN = ("tNAA", "tCho", "Ins", "Glx", "NAA", "GPC", "Glu", "Gln", "GSH", "PE", "Asc", "Asp", "GABA")
NO_BOUND = 999.0
_CENTRE_PPM = 2.7
_DEGREE = 9


def resampled(basis: SampledBasis, samples: int, dwell_s: float) -> SampledBasis:
    """Return a sampled basis at another dwell time.

    About 2.7 ppm, metabolites turn slowly enough for splines of degree 9 to follow them between their samples.
    """
    slow = at_reference(basis, _CENTRE_PPM)
    stored, wanted = np.arange(basis.samples) * basis.dwell_s, np.arange(samples) * dwell_s
    fids = {}
    for name in basis.names:
        spline = make_interp_spline(stored, slow.fid(name), k=_DEGREE)
        fids[name] = np.asarray(spline(wanted))
    return at_reference(replace(slow, fids=fids, dwell_s=dwell_s), basis.reference_ppm)


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
    print(table([(*head, "our SD %", "their SD %"), *(row for row in rows if row)]))
    waters = np.array([water_amplitude(scan.water)[0] for scan in scans if scan.water is not None])
    creatine = np.array([one.combine({"Cr": 1.0})[0] for one in found]) / waters
    scale = creatine / peer["Cr"][:, 0]
    print(
        f"creatine over water: correlation with LCModel's {np.corrcoef(creatine, peer['Cr'][:, 0])[0, 1]:+.3f}, the "
        f"factor between them varies by {100 * np.std(scale) / np.mean(scale):.1f} % between voxels"
    )


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
    basis = resampled(basis, data.samples, data.dwell_s)
    basis = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    settings = settings_from(options)
    ranges = {"same": (1.9, 4.0), "own": settings.ppm_range, "without CrCH2": (1.9, 3.8)}
    for words, chosen in ((words, replace(settings, ppm_range=span)) for words, span in ranges.items()):
        found = [_fitted(scan, basis, chosen) for scan in scans]
        rest = [one.parameters.get("residual_over_noise", float("nan")) for one in found]
        print(
            f"\nrange: {words}; {sum(one.converged for one in found)} of {len(found)} converged; residual over noise "
            f"{min(rest):.2f} to {max(rest):.2f}"
        )
        compare(found, scans, theirs(folder / "test-reference-multi-voxel.csv"))


def _fitted(scan: Scan, basis: SampledBasis, settings: FitSettings) -> FitResult:
    assert scan.metabolite is not None
    return fit(scan.metabolite, basis, settings)


if __name__ == "__main__":
    main()
