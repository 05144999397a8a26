"""The command line of `pulsespec lcmodel`: it reads arguments, calls `lcmodel_verbs` and prints."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec import lcmodel_verbs, quantify_cli
from pulsespec.console import Console

app = typer.Typer(
    help="Read what LCModel found, put it beside ours, write what it needs.", no_args_is_help=True
)

Theirs = Annotated[Path, typer.Argument(help="A .coord, .table, .csv or .ps of LCModel.")]
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


@app.command()
def export(
    spectrum: Annotated[Path, typer.Argument(help="A processed spectrum, such as `recon` writes.")],
    basis: Annotated[Path, typer.Option("--basis", help="Basis set, of any format that `basis` reads.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    water: Annotated[Path | None, typer.Option("--water", help="Water reference, for mM.")] = None,
    gm: quantify_cli.Gm = None,
    wm: quantify_cli.Wm = None,
    csf: quantify_cli.Csf = None,
    segmentation: quantify_cli.Labels = None,
    labels: quantify_cli.Scheme = None,
    gm_map: quantify_cli.GmMap = None,
    wm_map: quantify_cli.WmMap = None,
    csf_map: quantify_cli.CsfMap = None,
    water_mm: quantify_cli.WaterMm = None,
    basis_water: quantify_cli.BasisWater = None,
    constants: quantify_cli.ConstantsFile = None,
    no_relaxation: quantify_cli.NoRelaxation = False,
    conjugate: Annotated[
        bool, typer.Option("--conjugate", help="The data have the opposite sign of frequency.")
    ] = False,
    dwell_s: Annotated[
        float | None, typer.Option("--dwell-s", help="Time between samples, where the file does not say it.")
    ] = None,
    f0_mhz: Annotated[
        float | None, typer.Option("--f0-mhz", help="Spectrometer frequency, where the file does not say it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the inputs and write nothing.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
) -> None:
    """Write control file, RAW, water and basis with which LCModel fits what `fit` fits, on our scale."""
    assumptions = quantify_cli.settings_of(
        gm=gm,
        wm=wm,
        csf=csf,
        segmentation=segmentation,
        labels=labels,
        gm_map=gm_map,
        wm_map=wm_map,
        csf_map=csf_map,
        voxel_mask=False,
        fraction_sd=0.0,
        water_mm=water_mm,
        basis_water=basis_water,
        constants=constants,
        no_relaxation=no_relaxation,
    )
    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = lcmodel_verbs.export(
            spectrum,
            basis,
            output,
            water=water,
            assumptions=assumptions,
            conjugate=conjugate,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            dry_run=dry_run,
            notify=notify,
        )
    done = f"would write {output}" if dry_run else f"wrote {output}: cd {output} && lcmodel < control.file"
    console.result(made, done)
