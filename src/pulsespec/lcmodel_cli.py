"""The command line of `pulsespec lcmodel`: it reads arguments, calls `lcmodel_verbs` and prints."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec import lcmodel_verbs
from pulsespec.console import Console

app = typer.Typer(help="Read what LCModel found, and put it beside ours.", no_args_is_help=True)

Theirs = Annotated[Path, typer.Argument(help="A .coord, .table or .csv of LCModel.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def show(source: Theirs, as_json: AsJson = False) -> None:
    """Say what a result of LCModel holds."""
    console = Console(as_json)
    found = lcmodel_verbs.show(source)
    if as_json:
        console.result(found)
        return
    facts = ("voxel", "fwhm_ppm", "snr", "shift_ppm", "phase0_deg", "phase1_deg_per_ppm")
    for result in found:
        known = [f"{name} {result[name]}" for name in facts if result[name] is not None]
        console.result(None, f"{result['file']}: {', '.join(known)}; ratios to {result['ratio_to']}")
        console.table(result["concentrations"])
        for line in result["diagnostics"]:
            console.result(None, f"LCModel says: {line}")


@app.command()
def compare(
    ours: Annotated[
        Path, typer.Argument(help="Folder that `fit` or `run` wrote, or its concentrations.tsv.")
    ],
    theirs: Theirs,
    voxel: Annotated[int, typer.Option("--voxel", min=1, help="Which row of a .csv with several.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Put a fit of ours beside LCModel's of the same spectrum."""
    Console(as_json).table(lcmodel_verbs.compare(ours, theirs, voxel))
