"""`pulsespec cohort`: a whole study in one command."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec import cohort_verbs, quantify_cli
from pulsespec.console import Console

_SOME_FAILED = 3


def cohort(
    dataset: Annotated[Path, typer.Argument(help="Folder of a BIDS dataset with single-voxel scans.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Protocol that the data were acquired with.")
    ] = None,
    sequence: Annotated[Path | None, typer.Option("--seq", help="The .seq that acquired the data.")] = None,
    basis: Annotated[Path | None, typer.Option("--basis", help="Basis set to fit with.")] = None,
    scanner: Annotated[str | None, typer.Option("--scanner", help="A name of `pulsespec scanners`.")] = None,
    names: Annotated[str | None, typer.Option("--metabolites", help="Names, separated by commas.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Column of participants.tsv by which groups are compared.")
    ] = None,
    fractions: Annotated[
        Path | None,
        typer.Option(
            "--fractions", help="Table of participant_id, gm, wm, csf (and session_id): tissue of each voxel."
        ),
    ] = None,
    include_poor: Annotated[
        bool, typer.Option("--include-poor", help="Let scans of poor quality count in the statistics.")
    ] = False,
    gm: quantify_cli.Gm = None,
    wm: quantify_cli.Wm = None,
    csf: quantify_cli.Csf = None,
    fraction_sd: quantify_cli.FractionSd = 0.0,
    water_mm: quantify_cli.WaterMm = None,
    basis_water: quantify_cli.BasisWater = None,
    constants: quantify_cli.ConstantsFile = None,
    no_relaxation: quantify_cli.NoRelaxation = False,
    phantom: Annotated[
        bool, typer.Option("--phantom", help="No brain: no T2 and no amounts are expected of it.")
    ] = False,
    conjugate: Annotated[
        bool, typer.Option("--conjugate", help="The data have the opposite sign of frequency.")
    ] = False,
    gaba_model: Annotated[
        str, typer.Option("--gaba-model", help="Macromolecule under edited GABA: gaba+, fixed, soft or free.")
    ] = "soft",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the inputs and write nothing.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes to use.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Scheduler of dask, slurm, or a TOML file of SLURM options."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
) -> None:
    """Analyse every single-voxel scan of a BIDS dataset: one table, statistics, one page."""
    assumptions = quantify_cli.settings_of(
        gm=gm,
        wm=wm,
        csf=csf,
        segmentation=None,
        labels=None,
        gm_map=None,
        wm_map=None,
        csf_map=None,
        voxel_mask=False,
        fraction_sd=fraction_sd,
        water_mm=water_mm,
        basis_water=basis_water,
        constants=constants,
        no_relaxation=no_relaxation,
    )
    study = cohort_verbs.Study(
        protocol=protocol,
        sequence=sequence,
        basis=basis,
        scanner=scanner,
        metabolites=tuple(names.split(",")) if names else None,
        conjugate=conjugate,
        phantom=phantom,
        gaba_model=gaba_model,
        assumptions=assumptions,
    )
    console = Console(as_json, quiet)
    with console.work(None, cluster, dry_run) as notify:
        made = cohort_verbs.cohort(
            dataset,
            output,
            study,
            group=group,
            fractions=fractions,
            include_poor=include_poor,
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            notify=notify,
        )
    if dry_run:
        console.result(made, f"would analyse {len(made['scans'])} scans and write {output}")
        return
    console.table(made["scans"], made)
    if not as_json:
        console.result(None, f"page: {output / 'group.html'}")
    if any(row["status"] != cohort_verbs.DONE for row in made["scans"]):
        raise typer.Exit(_SOME_FAILED)
