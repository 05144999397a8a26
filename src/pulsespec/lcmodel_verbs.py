"""The verbs `pulsespec lcmodel show|compare|export`: what LCModel found, and what it needs to try."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec import analysis
from pulsespec.commands import require_file
from pulsespec.console import Notify, silent
from pulsespec.errors import InputError
from pulsespec.files import atomic_directory

if TYPE_CHECKING:
    from pulsespec.recon.quantify import QuantifySettings


def show(path: Path) -> list[dict[str, Any]]:
    """Return what a `.coord`, `.table`, `.csv` or `.ps` of LCModel says, one entry a voxel."""
    from pulsespec.recon.lcmodel_results import read_lcmodel_results

    require_file(path)
    return [
        {
            "file": result.source,
            "version": result.version,
            "voxel": result.voxel,
            "fwhm_ppm": result.fwhm_ppm,
            "snr": result.snr,
            "shift_ppm": result.shift_ppm,
            "phase0_deg": result.phase0_deg,
            "phase1_deg_per_ppm": result.phase1_deg_per_ppm,
            "ratio_to": result.ratio_to,
            "points": None if result.ppm is None else result.ppm.size,
            "diagnostics": list(result.diagnostics),
            "settings": dict(result.settings),
            "concentrations": [
                {
                    "metabolite": row.name,
                    "concentration": row.concentration,
                    "sd_percent": row.sd_percent,
                    "ratio": row.ratio,
                }
                for row in result.rows
            ],
        }
        for result in read_lcmodel_results(path)
    ]


def compare(folder: Path, path: Path, voxel: int = 1) -> list[dict[str, Any]]:
    """Return the concentrations in `folder`, which `fit` or `run` wrote, beside LCModel's in `path`.

    `voxel` is the number, from 1, of the row of a `.csv` that has several.
    """
    from pulsespec.recon.fit_beside import beside
    from pulsespec.recon.lcmodel_results import read_lcmodel_results
    from pulsespec.recon.results import read_table

    table = folder / "concentrations.tsv" if folder.is_dir() else folder
    require_file(table)
    require_file(path)
    results = read_lcmodel_results(path)
    if not 1 <= voxel <= len(results):
        raise InputError(f"--voxel: got {voxel}, but {path.name} has {len(results)}")
    return beside(read_table(table), results[voxel - 1])


def export(
    spectrum: Path,
    basis: Path,
    output: Path,
    *,
    water: Path | None = None,
    assumptions: "QuantifySettings | None" = None,
    conjugate: bool = False,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Write what LCModel needs to fit a spectrum as `fit` would into the folder `output`."""
    from pulsespec.recon.guard_pair import matched
    from pulsespec.recon.lcmodel_input import lcmodel_input, write_input

    chosen = (spectrum, basis, water, conjugate, analysis.known(None, dwell_s, f0_mhz))
    if dry_run:
        analysis.measured(analysis.opened(*chosen, notify)[0])
        return {"spectrum": str(spectrum), "basis": str(basis), "output": str(output)}
    with atomic_directory(output, overwrite) as folder:
        scan, functions = analysis.opened(*chosen, notify)
        done = analysis.as_fitted(scan, notify)
        data, notices = matched(analysis.one_spectrum(done), functions)
        made = lcmodel_input(data, done.water, functions, amounts=assumptions)
        notices = (*notices, *write_input(made, folder))
        for line in (*notices, *made.notes):
            notify(line)
        written = sorted(path.name for path in folder.iterdir())
    return {"output": str(output), "files": written, "control": dict(made.control), "notices": list(notices)}
