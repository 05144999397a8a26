"""The virtual scanner on the command line, and the whole road on a voxel whose truth is known."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulsespec import analysis, commands
from pulsespec.console import Notify, silent
from pulsespec.files import atomic_directory, refuse_existing

DEMO_PROTOCOL, DEMO_SCANNER = "press-3t-te30", "siemens-prisma"
LEAST_MM = 1.0
"""Concentrations from which truth and estimate are compared."""


def acquire(
    sequence: Path,
    output: Path,
    *,
    phantom: str = "grey-matter",
    seed: int = 0,
    coils: int = 4,
    snr: float = 60.0,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Play a `.seq` on the virtual scanner and write ISMRMRD raw data; the truth is in its header."""
    from pulsespec.simulator.acquire import Faults, acquire
    from pulsespec.simulator.phantom import load_phantom

    commands.require_file(sequence)
    refuse_existing(output, overwrite)
    voxel, faults = load_phantom(phantom), Faults(coils=coils, snr=snr)
    notify(f"simulating {sequence.name}")
    basis = commands.basis_of(sequence, list(voxel.concentrations_mm), None, jobs)
    if dry_run:
        return {"sequence": str(sequence), "output": str(output)}
    notify(f"acquiring {phantom}")
    truth = acquire(sequence, basis, voxel, output, seed=seed, faults=faults, overwrite=overwrite)
    return {"output": str(output), "truth": truth}


def demo(
    output: Path, *, seed: int = 0, overwrite: bool = False, jobs: int = 1, notify: Notify = silent
) -> dict[str, Any]:
    """Go from a protocol to concentrations on a virtual voxel; everything is left in the folder `output`.

    Returns
    -------
    Rows of truth and estimate in mM with the 95 % interval, and the path of the report.

    """
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.simulator.acquire import acquire
    from pulsespec.simulator.phantom import load_phantom

    voxel = load_phantom("grey-matter")
    with atomic_directory(output, overwrite) as folder:
        notify(f"designing {DEMO_PROTOCOL} for {DEMO_SCANNER}")
        sequence = folder / "sequence.seq"
        commands.export(DEMO_PROTOCOL, DEMO_SCANNER, sequence)
        notify("simulating its basis set")
        basis = commands.basis_of(sequence, list(voxel.concentrations_mm), None, jobs)
        commands.write_basis(basis, folder / "basis.h5", overwrite=False)
        notify("measuring a virtual voxel")
        acquire(sequence, basis, voxel, folder / "raw.h5", seed=seed)
        known_water = QuantifySettings(water_mm=voxel.water_mm, relaxation=False)
        results = analysis.run(
            [folder / "raw.h5"],
            folder / "results",
            basis=folder / "basis.h5",
            assumptions=known_water,
            notify=notify,
        )
        rows = compare(voxel.concentrations_mm, results["concentrations"])
    return {
        "comparison": rows,
        "inside": sum(row["inside"] for row in rows),
        "report": str(output / "results" / "report.html"),
    }


def compare(truth: Mapping[str, float], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return truth beside estimate for everything of at least 1 mM, with its 95 % interval."""
    from pulsespec.recon.fit import SUMS

    found = []
    for row in rows:
        name = str(row["metabolite"])
        true_mm = sum(truth.get(part, 0.0) for part in SUMS.get(name, (name,)))
        value, sd = float(row["concentration_mM"]), float(row["concentration_mM_sd"])
        if true_mm < LEAST_MM or math.isnan(value):
            continue
        low, high = value - 1.96 * sd, value + 1.96 * sd
        found.append(
            {
                "metabolite": name,
                "truth_mM": true_mm,
                "estimate_mM": round(value, 3),
                "low_mM": round(low, 3),
                "high_mM": round(high, 3),
                "inside": low <= true_mm <= high,
            }
        )
    return found
