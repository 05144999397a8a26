"""Do 95 % intervals hold the truth? The demo's road over 20 fixed seeds."""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from pulsespec import commands
from pulsespec.demo import DEMO_PROTOCOL, DEMO_SCANNER, compare
from pulsespec.recon.fit import fit
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quantify import QuantifySettings, quantify
from pulsespec.recon.read import read
from pulsespec.simulator.acquire import acquire
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.phantom import load_phantom

SEEDS = range(20)


def main() -> None:
    voxel = load_phantom("grey-matter")
    assumptions = QuantifySettings(water_mm=voxel.water_mm, relaxation=False)
    deviations = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        sequence, raw = Path(folder) / "press.seq", Path(folder) / "raw.h5"
        commands.export(DEMO_PROTOCOL, DEMO_SCANNER, sequence)
        basis = commands.basis_of(sequence, list(voxel.concentrations_mm), None)
        whole = basis.with_broad(fit_lines(basis.f0_hz))
        for seed in SEEDS:
            acquire(sequence, basis, voxel, raw, seed=seed, overwrite=True)
            scan = recon(read([raw]))
            found = fit(scan.metabolite, whole)
            rows = compare(
                voxel.concentrations_mm, quantify(found, scan.metabolite, scan.water, whole, assumptions).rows
            )
            for row in rows:
                sd = (row["high_mM"] - row["low_mM"]) / 3.92
                deviations[row["metabolite"]].append((row["estimate_mM"] - row["truth_mM"]) / sd)
            print(f"seed {seed:2d}: {sum(row['inside'] for row in rows)} of {len(rows)} inside")
    print(f"{'metabolite':12s} {'mean z':>7s} {'sd z':>6s} {'inside':>7s}")
    for name, z in deviations.items():
        z = np.array(z)
        print(f"{name:12s} {z.mean():7.2f} {z.std():6.2f} {np.mean(np.abs(z) < 1.96):7.0%}")
    everything = np.concatenate([np.array(z) for z in deviations.values()])
    alone = np.concatenate(
        [np.array(z) for name, z in deviations.items() if name not in ("tNAA", "tCr", "tCho", "Glx")]
    )
    print(
        f"inside: {np.mean(np.abs(everything) < 1.96):.1%} of all, {np.mean(np.abs(alone) < 1.96):.1%} without sums"
    )


if __name__ == "__main__":
    main()
