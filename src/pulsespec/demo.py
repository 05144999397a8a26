"""The virtual scanner on the command line, and the whole road on a voxel whose truth is known."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec import analysis, commands, head_verbs
from pulsespec.console import Notify, silent
from pulsespec.errors import InputError
from pulsespec.files import atomic_directory, refuse_existing

if TYPE_CHECKING:
    from pulsespec.simulator import Basis

DEMO_PROTOCOL, DEMO_SCANNER = "press-3t-te30", "siemens-prisma"
LEAST_MM = 1.0
"""Concentrations from which truth and estimate are compared."""


def acquire(
    sequence: Path,
    output: Path,
    *,
    phantom: str = "grey-matter",
    truth: Path | None = None,
    seed: int = 0,
    faults: str | None = None,
    coils: int | None = None,
    snr: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Play a `.seq` on the virtual scanner and write ISMRMRD raw data; the truth is in its header.

    `faults` is the name of a shipped set or a TOML file; `coils` and `snr` count more than what is in it. With a head
    as phantom an image is measured, and maps of its truth are written into the folder `truth`.
    """
    from pulsespec.simulator.acquire import acquire
    from pulsespec.simulator.faults import DEFAULT, load_faults
    from pulsespec.simulator.head_settings import is_head
    from pulsespec.simulator.phantom import load_phantom

    commands.require_file(sequence)
    refuse_existing(output, overwrite)
    if is_head(phantom):
        return head_verbs.acquire_image(
            sequence,
            output,
            head_verbs.ImageScan(phantom, truth, seed, faults, coils, snr),
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            notify=notify,
        )
    if truth is not None:
        raise InputError(f"--truth: phantom {phantom} is one voxel, whose truth is in the header of {output}")
    voxel, chosen = load_phantom(phantom), load_faults(faults or DEFAULT, coils=coils, snr=snr)
    bases = _bases(sequence, list(voxel.concentrations_mm), jobs, notify)
    if dry_run:
        return {"sequence": str(sequence), "output": str(output)}
    notify(f"acquiring {phantom}")
    known = acquire(sequence, bases, voxel, output, seed=seed, faults=chosen, overwrite=overwrite)
    return {"output": str(output), "truth": {key: row for key, row in known.items() if not _packed(row)}}


def _packed(value: object) -> bool:
    """Return whether a value of the truth is an array in base64, which only the file has."""
    return isinstance(value, dict) and "base64" in value


def _bases(sequence: Path, names: list[str], jobs: int, notify: Notify) -> "dict[int, Basis]":
    """Return a basis for each editing condition of a sequence, in their common phase."""
    from pulsespec.simulator.conditions import conditions_of, in_phase

    bases = {}
    for condition in conditions_of(sequence):
        notify(f"simulating {sequence.name}, editing condition {condition}")
        alone = commands.Conditions(conditions=((condition, 1.0),), cached=True)
        bases[condition] = commands.basis_of(sequence, names, None, jobs, conditions=alone)
    return in_phase(sequence, bases)


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
