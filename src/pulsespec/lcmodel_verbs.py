"""The verbs `pulsespec lcmodel show|compare|export`: what LCModel found, and what it needs to try."""

from pathlib import Path
from typing import Any

from pulsespec.commands import require_file
from pulsespec.errors import InputError


def show(path: Path) -> list[dict[str, Any]]:
    """Return what a `.coord`, `.table` or `.csv` of LCModel says, one entry a voxel."""
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
