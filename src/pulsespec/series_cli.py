"""The command line of series: `pulsespec series`."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec.console import Console

Spectra = Annotated[
    list[Path], typer.Argument(help="One file with all shots or spectra, or one file a spectrum, in order.")
]
Bases = Annotated[
    list[Path],
    typer.Option("--basis", help="Basis set; once for all spectra, or once for each (series of TE)."),
]


def series(
    spectra: Spectra,
    basis: Bases,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="How concentrations follow the series: diffusion, inversion-recovery, t2, "
            "fmrs-block, or a TOML file.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    values: Annotated[
        str | None,
        typer.Option(
            "--values",
            help="Values of b, TI, TE or time: numbers with commas, or a table with a header, one "
            "row for each spectrum or each shot.",
        ),
    ] = None,
    cycle: Annotated[
        int | None, typer.Option("--cycle", min=1, help="Every N-th shot belongs to the same spectrum.")
    ] = None,
    block: Annotated[
        int | None, typer.Option("--block", min=1, help="N shots in a row are one spectrum (fMRS).")
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            "--events", help="Stimulation as in BIDS: tab-separated onset, duration (s), trial_type."
        ),
    ] = None,
    dimension: Annotated[
        str | None,
        typer.Option("--dimension", help="NIfTI-MRS tag of the dimension of the series, such as DIM_MEAS."),
    ] = None,
    water: Annotated[Path | None, typer.Option("--water", help="Water reference, for eddy currents.")] = None,
    names: Annotated[str | None, typer.Option("--metabolites", help="Names, separated by commas.")] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
) -> None:
    """Fit a series together (dynamic fit): diffusion, inversion recovery, echo times, functional blocks."""
    from pulsespec import series_verbs

    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = series_verbs.series(
            spectra,
            basis,
            output,
            model=model,
            shots=series_verbs.Shots(values, cycle, block, events, dimension),
            water=water,
            metabolites=names.split(",") if names else None,
            conjugate=conjugate,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            dry_run=dry_run,
            notify=notify,
        )
    if dry_run:
        console.result(made, f"would write {made['output']}")
        return
    console.table(made["model"], made)
    if not as_json:
        console.result(None, made["verdict"])
        console.result(None, f"report: {Path(made['output']) / 'report.html'}")
