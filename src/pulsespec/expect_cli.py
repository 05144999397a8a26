"""The verbs `expect` and `tissues`: arguments in, the functions of `expect_verbs`, results out."""

from pathlib import Path
from typing import Annotated

import typer

from pulsespec import expect_verbs, training_verbs
from pulsespec.console import Console
from pulsespec.errors import InputError

Hz = float | None


def tissues(
    name: Annotated[str | None, typer.Argument(help="One tissue, with all its numbers and sources.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the tissues, or everything about one of them."""
    console = Console(as_json)
    if name is None:
        console.table(expect_verbs.list_tissues(), expect_verbs.tissue_json(None) if as_json else None)
        return
    tissue = expect_verbs.describe_tissue(name)
    if as_json:
        console.result(expect_verbs.tissue_json(name)[0])
        return
    amounts = {**tissue["concentrations"], **tissue["broad"], "water": tissue["water"]}
    console.table([{"name": key, **amount} for key, amount in amounts.items()])
    console.result(None, f"\n{tissue['description']}. {tissue['notes']}\n")
    console.table(
        [
            {"source": key, "read": source["read"], "doi": source["doi"], "citation": source["citation"]}
            for key, source in tissue["sources"].items()
        ]
    )


def expect(
    basis: Annotated[
        Path, typer.Argument(help="Basis set of the sequence (.h5), such as `simulate` writes.")
    ],
    tissue: Annotated[str, typer.Option("--tissue", help="A name of `pulsespec tissues`.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="NIfTI-MRS file; with --count an .h5 file, or a folder.")
    ],
    lorentz_hz: Annotated[Hz, typer.Option("--lorentz-hz", help="Lorentzian width of the field.")] = None,
    gauss_hz: Annotated[
        Hz, typer.Option("--gauss-hz", help="Gaussian width of the field; that of the tissue by default.")
    ] = None,
    snr: Annotated[float | None, typer.Option("--snr", help="Reference peak over noise.")] = None,
    residual_water: Annotated[
        float | None, typer.Option("--residual-water", help="Share of the water that is left.")
    ] = None,
    baseline: Annotated[
        float | None, typer.Option("--baseline", help="Height of a smooth baseline over the reference peak.")
    ] = None,
    phase_deg: Annotated[float | None, typer.Option("--phase-deg", help="Phase in degrees.")] = None,
    shift_hz: Annotated[Hz, typer.Option("--shift-hz", help="Shift in Hz, positive downfield.")] = None,
    amounts: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=MM: another concentration; may be repeated.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="Points; those of the basis.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all that chance gives.")] = 0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Write a training set of so many spectra.")
    ] = None,
    distributions: Annotated[
        Path | None, typer.Option("--distributions", help="TOML file of what a training set is drawn from.")
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="Of a training set: hdf5 or nifti.")] = "hdf5",
    precision: Annotated[
        str, typer.Option("--precision", help="Of a training set: complex64 or complex128.")
    ] = "complex64",
    water: Annotated[
        Path | None, typer.Option("--water", help="File for the unsuppressed water of the same voxel.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw it (.png, .svg, .pdf).")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the basis lacks a metabolite of the tissue.")
    ] = False,
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
    """Render the expected spectrum of a tissue, or a training set with --count."""
    console = Console(as_json, quiet)
    scan = expect_verbs.Scan(lorentz_hz, gauss_hz, snr, residual_water, baseline, phase_deg, shift_hz)
    chosen = expect_verbs.parse_amounts(amounts or [])
    if count is not None and (water is not None or picture is not None):
        raise InputError("--count: got --water or --picture too, which belong to one spectrum")
    with console.work(None, cluster, dry_run) as notify:
        if count is None:
            made = expect_verbs.expect(
                basis,
                tissue,
                output,
                scan=scan,
                amounts=chosen,
                samples=samples,
                seed=seed,
                water=water,
                picture=picture,
                strict=strict,
                overwrite=overwrite,
                dry_run=dry_run,
                notify=notify,
            )
        else:
            made = training_verbs.training_set(
                basis,
                tissue,
                output,
                count,
                scan=scan,
                amounts=chosen,
                samples=samples,
                seed=seed,
                distributions=distributions,
                file_format=file_format,
                precision=precision,
                strict=strict,
                overwrite=overwrite,
                dry_run=dry_run,
                jobs=jobs,
                notify=notify,
            )
    console.result(made, f"{'would write' if dry_run else 'wrote'} {output}")
