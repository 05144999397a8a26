"""The command line of `pulsespec basis`: it reads arguments, calls `basis_verbs` and prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsespec import basis_verbs
from pulsespec.console import Console
from pulsespec.errors import InputError

if TYPE_CHECKING:
    from pulsespec.simulator.basis_facts import Given

app = typer.Typer(help="Say what a basis file holds, convert, draw and compare.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(help="Basis file, or folder of files, of any format.")]
F0Mhz = Annotated[
    float | None, typer.Option("--f0-mhz", help="Larmor frequency in MHz, where the file lacks it.")
]
DwellUs = Annotated[
    float | None, typer.Option("--dwell-us", help="Dwell time in us, where the file lacks it.")
]
TeMs = Annotated[float | None, typer.Option("--te-ms", help="Echo time in ms, where the file lacks it.")]
ReferencePpm = Annotated[
    float | None, typer.Option("--reference-ppm", help="Shift of the receiver, where the file lacks it.")
]
Part = Annotated[int | None, typer.Option("--part", min=1, help="Sub-spectrum of an edited basis, from 1.")]
Conjugate = Annotated[bool, typer.Option("--conjugate", help="The file has the opposite sign of frequency.")]
Names = Annotated[str | None, typer.Option("--metabolites", help="Names, separated by commas.")]
Ppm = Annotated[str, typer.Option("--ppm", help="Range of chemical shift, as low,high.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
Picture = Annotated[Path, typer.Option("-o", "--output", help="Picture (.png, .svg, .pdf).")]


def _given(
    f0_mhz: float | None,
    dwell_us: float | None,
    te_ms: float | None,
    reference_ppm: float | None = None,
    part: int | None = None,
) -> "Given":
    from pulsespec.simulator.basis_facts import Given

    return Given(
        f0_hz=None if f0_mhz is None else f0_mhz * 1e6,
        dwell_s=None if dwell_us is None else dwell_us * 1e-6,
        te_s=None if te_ms is None else te_ms * 1e-3,
        reference_ppm=reference_ppm,
        part=part,
    )


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--ppm: got {text!r}, expected two numbers separated by a comma") from None
    return low, high


@app.command()
def info(
    source: Source,
    f0_mhz: F0Mhz = None,
    dwell_us: DwellUs = None,
    te_ms: TeMs = None,
    reference_ppm: ReferencePpm = None,
    part: Part = None,
    conjugate: Conjugate = False,
    as_json: AsJson = False,
) -> None:
    """Say what a basis file holds and where its singlets lie."""
    found = basis_verbs.info(source, _given(f0_mhz, dwell_us, te_ms, reference_ppm, part), conjugate)
    _show(Console(as_json), found)


def _show(console: Console, found: dict[str, Any]) -> None:
    if console.as_json:
        console.result(found)
        return
    tables = ("components", "singlets", "notices", "provenance", "metabolites")
    facts = {key: value for key, value in found.items() if key not in tables and value not in (None, "")}
    console.table([{"fact": key, "value": _short(value)} for key, value in facts.items()])
    console.table(found["components"])
    for row in found["singlets"]:
        console.result(None, "{name} at {found_ppm:.3f} ppm, expected {expected_ppm:.3f}".format(**row))
    for notice in found["notices"]:
        console.result(None, f"note: {notice}")


def _short(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


@app.command()
def convert(
    source: Source,
    output: Annotated[Path, typer.Argument(help="File or folder to write.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="pulsespec, lcmodel, lcmodel-raw, fsl-mrs, jmrui, osprey, nifti-mrs; else by the suffix.",
        ),
    ] = None,
    points: Annotated[int | None, typer.Option("--points", min=1, help="Points to write.")] = None,
    new_dwell_us: Annotated[
        float | None, typer.Option("--new-dwell-us", help="Dwell time to write, in us.")
    ] = None,
    linewidth_hz: Annotated[
        float | None,
        typer.Option("--linewidth-hz", min=0, help="Lorentzian broadening; 1 Hz for lines unless given."),
    ] = None,
    gauss_hz: Annotated[float, typer.Option("--gauss-hz", min=0, help="Gaussian broadening.")] = 0.0,
    names: Names = None,
    water: Annotated[bool, typer.Option("--water", help="Add the water of the sequence, as H2O.")] = False,
    f0_mhz: F0Mhz = None,
    dwell_us: DwellUs = None,
    te_ms: TeMs = None,
    reference_ppm: ReferencePpm = None,
    part: Part = None,
    conjugate: Conjugate = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the inputs and write nothing.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a basis set in the format of another program."""
    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = basis_verbs.convert(
            source,
            output,
            form=form,
            given=_given(f0_mhz, dwell_us, te_ms, reference_ppm, part),
            conjugate=conjugate,
            metabolites=names.split(",") if names else None,
            water=water,
            points=points,
            dwell_s=None if new_dwell_us is None else new_dwell_us * 1e-6,
            linewidth_hz=linewidth_hz,
            gauss_hz=gauss_hz,
            overwrite=overwrite,
            dry_run=dry_run,
            notify=notify,
        )
    text = f"{len(made['metabolites'])} functions as {made['format']}"
    console.result(made, f"{'would write' if dry_run else 'wrote'} {output}: {text}")
    for row in [] if as_json else made.get("singlets", []):
        console.result(None, "{name} at {found_ppm:.3f} ppm, expected {expected_ppm:.3f}".format(**row))


@app.command()
def plot(
    source: Source,
    output: Picture,
    names: Names = None,
    ppm: Ppm = "0.2,4.2",
    linewidth_hz: Annotated[
        float, typer.Option("--linewidth-hz", min=0, help="Lorentzian broadening.")
    ] = 2.0,
    f0_mhz: F0Mhz = None,
    dwell_us: DwellUs = None,
    te_ms: TeMs = None,
    reference_ppm: ReferencePpm = None,
    part: Part = None,
    conjugate: Conjugate = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw a page of the spectra of a basis set."""
    basis_verbs.plot(
        source,
        output,
        given=_given(f0_mhz, dwell_us, te_ms, reference_ppm, part),
        conjugate=conjugate,
        metabolites=names.split(",") if names else None,
        ppm=_range(ppm),
        linewidth_hz=linewidth_hz,
        overwrite=overwrite,
    )
    Console().result(None, f"wrote {output}")


@app.command()
def compare(
    first: Source,
    second: Annotated[Path, typer.Argument(help="Basis to compare with.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Picture (.png, .svg, .pdf).")] = None,
    ppm: Ppm = "0.5,4.2",
    linewidth_hz: Annotated[float, typer.Option("--linewidth-hz", min=0, help="Broadening of both.")] = 2.0,
    max_shift_ppm: Annotated[
        float, typer.Option("--max-shift-ppm", min=0, help="Largest shift tried.")
    ] = 0.05,
    match_width: Annotated[
        bool, typer.Option("--match-width/--no-match-width", help="Broaden the narrower of the two.")
    ] = True,
    f0_mhz: F0Mhz = None,
    dwell_us: DwellUs = None,
    te_ms: TeMs = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare two basis sets: correlation, amplitude, phase and shift of each metabolite.

    Facts that are given fill what either file lacks.
    """
    from pulsespec.simulator.basis_compare import CompareSettings

    console = Console(as_json, quiet)
    with console.progress() as notify:
        found = basis_verbs.compare(
            first,
            second,
            given=_given(f0_mhz, dwell_us, te_ms),
            settings=CompareSettings(
                ppm=_range(ppm),
                linewidth_hz=linewidth_hz,
                max_shift_ppm=max_shift_ppm,
                match_width=match_width,
            ),
            picture=output,
            overwrite=overwrite,
            notify=notify,
        )
    console.table(found["rows"], found)
    for key, text in (("only_first", first), ("only_second", second)):
        if found[key] and not as_json:
            console.result(None, f"only in {text}: {', '.join(found[key])}")
