"""The command line of `pulsespec lcmodel`: it reads arguments, calls `lcmodel_verbs` and prints."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec import lcmodel_verbs
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
    gm: Annotated[float, typer.Option("--gm", help="Volume fraction of grey matter in the voxel.")] = 0.5,
    wm: Annotated[float, typer.Option("--wm", help="Volume fraction of white matter.")] = 0.5,
    csf: Annotated[float, typer.Option("--csf", help="Volume fraction of cerebrospinal fluid.")] = 0.0,
    water_mm: Annotated[
        float | None, typer.Option("--water-mm", help="Concentration of water in mM, in place of fractions.")
    ] = None,
    no_relaxation: Annotated[
        bool, typer.Option("--no-relaxation", help="Do not correct mM for T1 and T2.")
    ] = False,
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
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
) -> None:
    """Write control file, RAW, water and basis with which LCModel fits what `fit` fits, on our scale."""
    from pulsespec.recon.quantify import QuantifySettings

    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = lcmodel_verbs.export(
            spectrum,
            basis,
            output,
            water=water,
            assumptions=QuantifySettings(
                gm=gm, wm=wm, csf=csf, water_mm=water_mm, relaxation=not no_relaxation
            ),
            conjugate=conjugate,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            notify=notify,
        )
    console.result(made, f"wrote {output}: cd {output} && lcmodel < control.file")
