"""The command line: `pulsespec VERB`. It reads arguments, calls the functions of the verbs and prints.

Exit codes: 0 done; 1 a sequence that a scanner cannot play (`check`), or a fault of the program, with its
traceback; 2 wrong usage or input, with one line that
says what to change; 3 a fit that cannot be believed (`fit`, `run`): its files are written and say why, its table has
no numbers.
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from pulsespec import (
    __version__,
    analysis,
    basis_cli,
    cohort_cli,
    commands,
    expect_cli,
    imaging_verbs,
    lcmodel_cli,
    map_cli,
    quantify_cli,
    series_cli,
)
from pulsespec import demo as virtual
from pulsespec.console import Console
from pulsespec.errors import InputError, PulsespecError

app = typer.Typer(
    name="pulsespec",
    help="Magnetic resonance spectroscopy from the pulse sequence to the metabolites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the inputs and write nothing.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes to use.")]
ClusterName = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="Scheduler of dask (tcp://host:8786), slurm, or a TOML file of SLURM options."
    ),
]
ScannerName = Annotated[str | None, typer.Option("--scanner", help="A name of `pulsespec scanners`.")]
FieldT = Annotated[float | None, typer.Option("--field", help="Field in tesla.")]
F0Mhz = Annotated[float | None, typer.Option("--f0-mhz", help="Exact Larmor frequency in MHz.")]
Names = Annotated[str | None, typer.Option("--metabolites", help="Names, separated by commas.")]
Spins = Annotated[Path | None, typer.Option("--spins", help="TOML with spin systems of your own.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.")]
Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")]
Raws = Annotated[list[Path], typer.Argument(help="Raw data and, if a file apart, its water reference.")]
SequenceFile = Annotated[Path | None, typer.Option("--seq", help="The .seq that acquired the data.")]
KeepIdentifiers = Annotated[
    bool, typer.Option("--keep-identifiers", help="Write on what names the person or the device.")
]
DwellS = Annotated[
    float | None, typer.Option("--dwell-s", help="Time between samples, where the file does not say it.")
]
DataF0Mhz = Annotated[
    float | None, typer.Option("--f0-mhz", help="Spectrometer frequency, where the file does not say it.")
]
Conjugate = Annotated[bool, typer.Option("--conjugate", help="The data have the opposite sign of frequency.")]
PosteriorDraws = Annotated[
    int, typer.Option("--posterior", min=0, help="Draw so many samples of the posterior (extra: mcmc).")
]
IsPhantom = Annotated[
    bool, typer.Option("--phantom", help="No brain: no T2 and no amounts are expected of it.")
]
Spurious = Annotated[
    str | None,
    typer.Option("--spurious", help="Chemical shifts in ppm of spurious signal to fit, separated by commas."),
]

GabaModel = Annotated[
    str, typer.Option("--gaba-model", help="Macromolecule under edited GABA: gaba+, fixed, soft or free.")
]

app.add_typer(basis_cli.app, name="basis")
app.add_typer(lcmodel_cli.app, name="lcmodel")


def main() -> None:
    """Run the command line and exit with its code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of other libraries; what a user must know is in the results
    try:
        app()
    except PulsespecError as error:
        print(f"pulsespec: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _listed(flag: str, text: str | None) -> tuple[float, ...]:
    """Return the numbers of a list separated by commas; `InputError` where one is none."""
    try:
        return tuple(float(one) for one in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"{flag}: got {text!r}, expected numbers separated by commas") from error


def _version(wanted: bool) -> None:
    if wanted:
        Console().result(__version__, __version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def protocols(as_json: AsJson = False) -> None:
    """List the shipped protocols."""
    Console(as_json).table(commands.list_protocols())


@app.command()
def scanners(as_json: AsJson = False) -> None:
    """List the scanners that sequences can be built for."""
    Console(as_json).table(commands.list_scanners())


@app.command()
def metabolites(spins: Spins = None, as_json: AsJson = False) -> None:
    """List the spin systems and where their numbers come from; every number with --json."""
    Console(as_json).table(commands.list_metabolites(spins), commands.describe_metabolites(spins))


@app.command()
def export(
    protocol: Annotated[str, typer.Argument(help="Name of a shipped protocol, or a TOML file.")],
    scanner: Annotated[str, typer.Option("--scanner", help="A name of `pulsespec scanners`.")],
    output: Output,
    voxel_mm: Annotated[str | None, typer.Option("--voxel-mm", help="Extent x,y,z of the voxel.")] = None,
    position_mm: Annotated[
        str | None,
        typer.Option("--position-mm", help="Centre x,y,z from the isocentre, along the gradients."),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option("--orientation", help="Angles about x,y,z in degrees, or the nine numbers of the axes."),
    ] = None,
    from_image: Annotated[
        Path | None, typer.Option("--from-image", help="NIfTI mask or spectrum that gives the voxel.")
    ] = None,
    patient_position: Annotated[str, typer.Option("--patient-position", help="HFS or HFP.")] = "HFS",
    matrix: Annotated[str | None, typer.Option("--matrix", help="Points x,y,z of an image.")] = None,
    fov_mm: Annotated[
        str | None,
        typer.Option("--fov-mm", help="Field of view x,y,z of an image; the protocol's by default."),
    ] = None,
    field: FieldT = None,
    max_b1_ut: Annotated[
        float | None, typer.Option("--max-b1-ut", min=0.01, help="Largest B1, where it is not the scanner's.")
    ] = None,
    pulseq: Annotated[str, typer.Option("--pulseq", help="Version of the file: 1.5 or 1.4.1.")] = "1.5",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build the sequence of a protocol, check it, and write it as a Pulseq .seq file."""
    if pulseq not in ("1.5", "1.4.1"):
        raise InputError(f"--pulseq: got {pulseq!r}, expected 1.5 or 1.4.1")
    geometry = commands.Geometry(
        voxel_mm=_numbers("--voxel-mm", voxel_mm, 3),
        position_mm=_numbers("--position-mm", position_mm, 3),
        orientation=_numbers("--orientation", orientation, 3, 9),
        image=from_image,
        patient_position=patient_position,
        matrix=_numbers("--matrix", matrix, 3),
        fov_mm=_numbers("--fov-mm", fov_mm, 3),
    )
    made = commands.export(
        protocol,
        scanner,
        output,
        geometry=None if geometry == commands.Geometry() else geometry,
        field_t=field,
        max_b1_ut=max_b1_ut,
        v141=pulseq == "1.4.1",
        overwrite=overwrite,
        dry_run=dry_run,
    )
    console = Console(as_json)
    if not as_json:
        written = "would write" if dry_run else "wrote"
        console.result(None, f"{written} {output}: {made['protocol']}, {made['duration_s']:.1f} s")
    console.table(made["displacement"], made)


def _numbers(option: str, text: str | None, *lengths: int) -> tuple[float, ...] | None:
    """Return the numbers of an option that takes several, separated by commas (or as in 16x16x8)."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) not in lengths:
        count = " or ".join(str(length) for length in lengths)
        raise InputError(f"{option}: got {text!r}, expected {count} numbers separated by commas")
    return values


@app.command()
def check(
    sequence: Annotated[Path, typer.Argument(help="A .seq file.")],
    scanner: Annotated[str, typer.Option("--scanner", help="A name of `pulsespec scanners`.")],
    field: FieldT = None,
    gradient_file: Annotated[
        Path | None,
        typer.Option("--gradient-file", help="Siemens .asc file of the scanner: stimulation, resonances."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a scanner can play a .seq file; exit code 1 where it cannot."""
    broken = commands.check(sequence, scanner, field_t=field, gradient_file=gradient_file)
    console = Console(as_json)
    if broken:
        console.table(broken)
        raise typer.Exit(1)
    console.result([], f"{sequence}: {scanner} can play it")


@app.command()
def plot(
    sequence: Annotated[Path, typer.Argument(help="A .seq file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Picture (.png, .svg, .pdf) or page (.html).")
    ],
    report: Annotated[bool, typer.Option("--report", help="One page: pulses, profiles, timing.")] = False,
    shot: Annotated[int, typer.Option("--shot", min=0, help="Number of the readout to draw, from 0.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw one shot of a .seq file, or with --report write a page about it."""
    commands.plot(sequence, output, report=report, shot=shot, overwrite=overwrite)
    Console().result(None, f"wrote {output}")


@app.command()
def pulses(
    protocol: Annotated[str, typer.Argument(help="Name of a shipped protocol, or a TOML file.")],
    scanner: Annotated[str, typer.Option("--scanner", help="A name of `pulsespec scanners`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Picture of shapes and profiles (.png, .svg, .pdf).")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """List the pulses of a protocol as a scanner plays them, and draw them with their profiles."""
    Console(as_json).table(commands.pulses(protocol, scanner, output, overwrite=overwrite))


@app.command()
def calibrate(
    raw: Annotated[Path, typer.Argument(help="Raw data of a calibration protocol.")],
    sequence: Annotated[Path, typer.Option("--seq", help="The .seq that acquired it.")],
    as_json: AsJson = False,
) -> None:
    """Read a calibration: the frequency and linewidth of water, or the B1 in the voxel."""
    found = commands.calibrate(raw, sequence)
    text = ", ".join(f"{key} {value:.6g}" for key, value in found.items() if isinstance(value, float))
    Console(as_json).result(found, text)


@app.command()
def simulate(
    source: Annotated[str, typer.Argument(help="A .seq, an FSL-MRS .json, a protocol's name or its TOML.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Basis to write: .h5 (lines), .basis, .mat or .nii.gz.")
    ],
    scanner: ScannerName = None,
    field: FieldT = None,
    f0_mhz: F0Mhz = None,
    names: Names = None,
    spins: Spins = None,
    macromolecules: Annotated[
        str | None, typer.Option("--macromolecules", help="Add a model: lcmodel, birch-3t, bell-7t, ...")
    ] = None,
    conditions: Annotated[
        str,
        typer.Option("--conditions", help="Editing conditions and factors: 0, 1 or 0:1,1:-1 (difference)."),
    ] = "0",
    relaxation: Annotated[
        Path | None,
        typer.Option("--relaxation", help="TOML table of T1 and T2: NAA = { t1_s = 1.4, t2_s = 0.25 }."),
    ] = None,
    tissue: Annotated[
        str | None, typer.Option("--tissue", help="T1 and T2 of a tissue (`pulsespec tissues`).")
    ] = None,
    b1: Annotated[
        str, typer.Option("--b1", help="B1 over nominal, or a distribution: 0.9:1,1:2,1.1:1.")
    ] = "1",
    b0: Annotated[
        str, typer.Option("--b0-hz", help="Offset of B0 in Hz, or a distribution: -5:1,0:2,5:1.")
    ] = "0",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Relative error of an FID that is aimed at.")
    ] = 1e-4,
    arrays: Annotated[str, typer.Option("--arrays", help="numpy, cupy, torch or torch:cuda.")] = "numpy",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep a cached basis.")
    ] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    jobs: Jobs = 1,
    cluster: ClusterName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate the basis set of a sequence."""
    console = Console(as_json, quiet)
    chosen = commands.Conditions(
        tolerance=tolerance,
        conditions=_pairs("--conditions", conditions),
        relaxation=relaxation,
        tissue=tissue,
        b1=_pairs("--b1", b1),
        b0_hz=_pairs("--b0-hz", b0),
        arrays=arrays,
        cached=not no_cache,
    )
    with console.work(output, cluster, dry_run) as notify:
        made = commands.simulate(
            source,
            output,
            f0_hz=commands.frequency(field, f0_mhz),
            scanner=scanner,
            metabolites=names.split(",") if names else None,
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            spins=spins,
            macromolecules=macromolecules,
            conditions=chosen,
            notify=notify,
        )
    if dry_run:
        console.result(made, f"would simulate {source} and write {output}")
        return
    text = f"wrote {output}: {len(made['metabolites'])} components at {made['f0_mhz']:.4f} MHz"
    console.result(made, text)


def _pairs(option: str, text: str) -> tuple[tuple[float, float], ...]:
    """Return values and weights: `a`, or `a:w,b:w`."""
    try:
        rows = [row.split(":") for row in text.split(",")]
        return tuple((float(row[0]), float(row[1]) if len(row) == 2 else 1.0) for row in rows if len(row) < 3)
    except ValueError as error:
        raise InputError(f"{option}: got {text!r}, expected numbers such as 0 or 0.9:1,1:2,1.1:1") from error


@app.command()
def recon(
    raws: Annotated[
        list[Path], typer.Argument(help="Raw data and its water reference, or the folder of a BIDS dataset.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="NIfTI-MRS file to write.")] = None,
    bids: Annotated[
        Path | None, typer.Option("--bids", help="BIDS dataset to write into, in place of -o.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="BIDS label of the subject (01).")] = None,
    session: Annotated[str | None, typer.Option("--session", help="BIDS label of the session.")] = None,
    sequence: SequenceFile = None,
    conjugate: Conjugate = False,
    coils: Annotated[
        str | None,
        typer.Option(
            help="Combine coils by gls (default), svd or 'first points'; of images by walsh or svd."
        ),
    ] = None,
    align: Annotated[str, typer.Option(help="Align by auto, all, singlets, water, plain or none.")] = "auto",
    average: Annotated[
        str, typer.Option(help="Average by auto, mean, 'inverse variance' or signal.")
    ] = "auto",
    no_eddy: Annotated[bool, typer.Option("--no-eddy", help="Leave eddy currents uncorrected.")] = False,
    keep_outliers: Annotated[
        bool, typer.Option("--keep-outliers", help="Keep shots unlike the rest.")
    ] = False,
    keep_water: Annotated[bool, typer.Option("--keep-water", help="Leave residual water.")] = False,
    remove_lipid: Annotated[
        bool, typer.Option("--remove-lipid", help="Subtract lipid, and what lies under it.")
    ] = False,
    no_phasing: Annotated[bool, typer.Option("--no-phasing", help="Leave the phase as it is.")] = False,
    truncate: Annotated[int | None, typer.Option(help="Keep this many samples.")] = None,
    lorentz_hz: Annotated[float, typer.Option(help="Broaden lines by this width.")] = 0.0,
    gauss_hz: Annotated[float, typer.Option(help="Broaden lines by this width.")] = 0.0,
    zero_fill: Annotated[
        str | None,
        typer.Option(help="Fill with zeros to this many samples; of images to voxels such as 64x64x18."),
    ] = None,
    filter_name: Annotated[
        str, typer.Option("--filter", help="Images: none, hamming, hann, cosine or gaussian over k-space.")
    ] = "none",
    keep_lipid: Annotated[
        bool, typer.Option("--keep-lipid", help="Images: leave scalp lipid in the brain.")
    ] = False,
    brain_mask: Annotated[
        Path | None, typer.Option("--brain-mask", help="Images: NIfTI mask of the brain, else it is found.")
    ] = None,
    echo_mode: Annotated[
        str, typer.Option(help="Images: average, interlaced, even or odd echoes of a bipolar train.")
    ] = "average",
    drift: Annotated[
        bool, typer.Option("--drift/--no-drift", help="Images: take a linear drift of the frequency away.")
    ] = True,
    jobs: Jobs = 1,
    keep_identifiers: KeepIdentifiers = False,
    dwell_s: DwellS = None,
    f0_mhz: DataF0Mhz = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    cluster: ClusterName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Process raw data to one spectrum and say how good it is; where the .seq encodes space, to images."""
    from pulsespec.recon.pipeline import ReconSettings

    console = Console(as_json, quiet)
    with console.work(output or bids, cluster, dry_run) as notify:
        chosen = None
        rings = sequence is None and output is not None and imaging_verbs.is_rings(raws)
        if sequence is not None and output is not None:
            chosen = imaging_verbs.image_source(raws, sequence, notify)
        if output is not None and (rings or chosen is not None):
            made_by = imaging_verbs.settings_of(filter_name, echo_mode, coils, zero_fill, no_eddy, drift)
            how: dict[str, Any] = {
                "cleaning": imaging_verbs.cleaning_of(keep_water, keep_lipid, brain_mask),
                "jobs": jobs,
                "overwrite": overwrite,
                "dry_run": dry_run,
                "notify": notify,
            }
            if chosen is not None and sequence is not None:
                made = imaging_verbs.recon_image(chosen, sequence, output, made_by, **how)
            else:
                made = imaging_verbs.recon_rings(raws[0], output, made_by, **how)
            console.result(made, f"{'would write' if dry_run else 'wrote'} {made['output']}")
            return
        settings = ReconSettings(
            coil_combination=coils or "gls",
            alignment=align != "none",
            alignment_method="auto" if align == "none" else align,
            averaging=average,
            eddy_current_correction=not no_eddy,
            outlier_rejection=not keep_outliers,
            water_removal=not keep_water,
            lipid_removal=remove_lipid,
            phasing=not no_phasing,
            truncation_points=truncate,
            lorentz_hz=lorentz_hz,
            gauss_hz=gauss_hz,
            zero_filling_points=imaging_verbs.points_of(zero_fill),
        )
        made = analysis.recon(
            raws,
            output,
            sequence=sequence,
            conjugate=conjugate,
            settings=settings,
            bids=bids,
            subject=subject,
            session=session,
            keep_identifiers=keep_identifiers,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            notify=notify,
        )
    console.result(made, f"{'would write' if dry_run else 'wrote'} {made['output']}")


@app.command()
def fit(
    spectrum: Annotated[Path, typer.Argument(help="A processed spectrum, such as `recon` writes.")],
    basis: Annotated[Path, typer.Option("--basis", help="Basis set, of any format that `basis` reads.")],
    output: Folder,
    water: Annotated[Path | None, typer.Option("--water", help="Water reference, for mM.")] = None,
    gm: quantify_cli.Gm = None,
    wm: quantify_cli.Wm = None,
    csf: quantify_cli.Csf = None,
    segmentation: quantify_cli.Labels = None,
    labels: quantify_cli.Scheme = None,
    gm_map: quantify_cli.GmMap = None,
    wm_map: quantify_cli.WmMap = None,
    csf_map: quantify_cli.CsfMap = None,
    voxel_mask: quantify_cli.VoxelMask = False,
    fraction_sd: quantify_cli.FractionSd = 0.0,
    water_mm: quantify_cli.WaterMm = None,
    basis_water: quantify_cli.BasisWater = None,
    constants: quantify_cli.ConstantsFile = None,
    no_relaxation: quantify_cli.NoRelaxation = False,
    spurious: Spurious = None,
    posterior: PosteriorDraws = 0,
    phantom: IsPhantom = False,
    ppm_range: map_cli.PpmRange = None,
    components: map_cli.Components = None,
    methylene: map_cli.Methylene = False,
    mask: map_cli.Mask = None,
    block_voxels: map_cli.BlockVoxels = None,
    lesion: map_cli.LesionMask = None,
    contralateral: map_cli.Contralateral = None,
    midplane: map_cli.Midplane = None,
    keep_lipid: map_cli.KeepLipid = False,
    played: map_cli.PlayedSequence = None,
    jobs: Jobs = 1,
    conjugate: Conjugate = False,
    dwell_s: DwellS = None,
    f0_mhz: DataF0Mhz = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    cluster: ClusterName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit one processed spectrum, or all voxels of an image."""
    assumptions = quantify_cli.settings_of(
        gm=gm,
        wm=wm,
        csf=csf,
        segmentation=segmentation,
        labels=labels,
        gm_map=gm_map,
        wm_map=wm_map,
        csf_map=csf_map,
        voxel_mask=voxel_mask,
        fraction_sd=fraction_sd,
        water_mm=water_mm,
        basis_water=basis_water,
        constants=constants,
        no_relaxation=no_relaxation,
    )
    console = Console(as_json, quiet)
    with console.work(output, cluster, dry_run) as notify:
        made = analysis.fit(
            spectrum,
            basis,
            output,
            water=water,
            assumptions=assumptions,
            spurious=_listed("--spurious", spurious),
            posterior=posterior,
            phantom=phantom,
            limits=map_cli.limits_of(ppm_range, components),
            methylene=methylene,
            conjugate=conjugate,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            dry_run=dry_run,
            image=map_cli.options_of(
                mask, block_voxels, jobs, lesion, contralateral, midplane, keep_lipid, played
            ),
            notify=notify,
        )
    _show(console, made, dry_run)


@app.command()
def run(
    raws: Raws,
    output: Folder,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Protocol that the data were acquired with.")
    ] = None,
    sequence: SequenceFile = None,
    basis: Annotated[Path | None, typer.Option("--basis", help="Basis set to fit with.")] = None,
    scanner: ScannerName = None,
    names: Names = None,
    gm: quantify_cli.Gm = None,
    wm: quantify_cli.Wm = None,
    csf: quantify_cli.Csf = None,
    segmentation: quantify_cli.Labels = None,
    labels: quantify_cli.Scheme = None,
    gm_map: quantify_cli.GmMap = None,
    wm_map: quantify_cli.WmMap = None,
    csf_map: quantify_cli.CsfMap = None,
    voxel_mask: quantify_cli.VoxelMask = False,
    fraction_sd: quantify_cli.FractionSd = 0.0,
    water_mm: quantify_cli.WaterMm = None,
    basis_water: quantify_cli.BasisWater = None,
    constants: quantify_cli.ConstantsFile = None,
    no_relaxation: quantify_cli.NoRelaxation = False,
    spurious: Spurious = None,
    posterior: PosteriorDraws = 0,
    phantom: IsPhantom = False,
    mask: map_cli.Mask = None,
    block_voxels: map_cli.BlockVoxels = None,
    lesion: map_cli.LesionMask = None,
    contralateral: map_cli.Contralateral = None,
    midplane: map_cli.Midplane = None,
    keep_lipid: map_cli.KeepLipid = False,
    filter_name: map_cli.Filter = "hamming",
    macromolecules: map_cli.Macromolecules = None,
    conjugate: Conjugate = False,
    keep_identifiers: KeepIdentifiers = False,
    gaba_model: GabaModel = "soft",
    dwell_s: DwellS = None,
    f0_mhz: DataF0Mhz = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    jobs: Jobs = 1,
    cluster: ClusterName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go from raw data to concentrations and a report; where the .seq encodes space, to maps."""
    assumptions = quantify_cli.settings_of(
        gm=gm,
        wm=wm,
        csf=csf,
        segmentation=segmentation,
        labels=labels,
        gm_map=gm_map,
        wm_map=wm_map,
        csf_map=csf_map,
        voxel_mask=voxel_mask,
        fraction_sd=fraction_sd,
        water_mm=water_mm,
        basis_water=basis_water,
        constants=constants,
        no_relaxation=no_relaxation,
    )
    console = Console(as_json, quiet)
    with console.work(output, cluster, dry_run) as notify:
        made = analysis.run(
            raws,
            output,
            protocol=protocol,
            sequence=sequence,
            basis=basis,
            scanner=scanner,
            metabolites=names.split(",") if names else None,
            conjugate=conjugate,
            dwell_s=dwell_s,
            f0_mhz=f0_mhz,
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            assumptions=assumptions,
            spurious=_listed("--spurious", spurious),
            posterior=posterior,
            phantom=phantom,
            keep_identifiers=keep_identifiers,
            gaba_model=gaba_model,
            image=map_cli.options_of(
                mask,
                block_voxels,
                jobs,
                lesion,
                contralateral,
                midplane,
                keep_lipid,
                filter_name=filter_name,
            ),
            macromolecules=macromolecules,
            notify=notify,
        )
    _show(console, made, dry_run)


_REFUSED = 3


def _show(console: Console, made: dict[str, Any], dry_run: bool) -> None:
    """Print the table of concentrations and where the report is."""
    if dry_run:
        console.result(made, f"would write {made['output']}")
        return
    console.table(made["concentrations"], made)
    report = Path(made["output"]) / "report.html"
    if not console.as_json and report.is_file():
        console.result(None, f"report: {report}")
    if not made.get("converged", True):
        raise typer.Exit(_REFUSED)


app.command()(series_cli.series)
app.command()(cohort_cli.cohort)
app.command()(map_cli.regions)
app.command()(expect_cli.expect)
app.command()(expect_cli.tissues)


@app.command()
def acquire(
    sequence: Annotated[Path, typer.Argument(help="The .seq to play.")],
    output: Output,
    phantom: Annotated[
        str,
        typer.Option(
            "--phantom",
            help="What is measured: a tissue; for images brain, brain-tumour, brain-necrosis or a TOML file.",
        ),
    ] = "grey-matter",
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", help="Folder for the maps of what an image was made of; else beside the output."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of coils, noise and faults.")] = 0,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults", help="What the scan suffers from: plain, clean, typical, poor, trial, or a TOML file."
        ),
    ] = None,
    coils: Annotated[int | None, typer.Option("--coils", min=1, help="Receive coils.")] = None,
    snr: Annotated[
        float | None,
        typer.Option("--snr", help="Height of NAA over noise, of the mean or as the faults say."),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    jobs: Jobs = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Play a sequence on the virtual scanner: ISMRMRD raw data with the truth in the header."""
    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = virtual.acquire(
            sequence,
            output,
            phantom=phantom,
            truth=truth,
            seed=seed,
            faults=faults,
            coils=coils,
            snr=snr,
            overwrite=overwrite,
            dry_run=dry_run,
            jobs=jobs,
            notify=notify,
        )
    console.result(made, f"{'would write' if dry_run else 'wrote'} {output}")


@app.command()
def demo(
    output: Folder = Path("pulsespec-demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the virtual scan.")] = 0,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go the whole road on a virtual voxel and print truth beside estimate."""
    console = Console(as_json, quiet)
    with console.progress() as notify:
        made = virtual.demo(output, seed=seed, overwrite=overwrite, jobs=jobs, notify=notify)
    if as_json:
        console.result(made, "")
        return
    console.table(made["comparison"])
    console.result(None, f"{made['inside']} of {len(made['comparison'])} inside their 95 % intervals")
    console.result(None, f"report: {made['report']}")
