"""The verbs of the command line that take data apart: raw data in, concentrations and a report out."""

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulsespec
from pulsespec import commands, edited_verbs, imaging_verbs, map_verbs
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import DataError, InputError, PulsespecError
from pulsespec.executor import current, iter_blocks
from pulsespec.files import atomic_directory, refuse_existing
from pulsespec.kept import count, stamp

if TYPE_CHECKING:
    from pulsespec.recon.bids import Entry
    from pulsespec.recon.fit import BatchResult
    from pulsespec.recon.formats import Known
    from pulsespec.recon.image_read import Source
    from pulsespec.recon.pipeline import ReconSettings
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.transients import Scan, Transients
    from pulsespec.recon.verdict import Assessment
    from pulsespec.simulator import Basis
    from pulsespec.simulator.sampled import SampledBasis

BRAIN_METABOLITES = (
    *("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Ins", "Scyllo", "Glu", "Gln", "GABA", "GSH", "Lac", "Ala"),
    *("Asp", "Asc", "Tau", "Gly", "PE", "Glc"),
)
"""What a brain is fitted with unless metabolites are named: those that are seen in health."""


def recon(
    raws: Sequence[Path],
    output: Path | None = None,
    *,
    sequence: Path | None = None,
    conjugate: bool = False,
    settings: "ReconSettings | None" = None,
    bids: Path | None = None,
    subject: str | None = None,
    session: str | None = None,
    keep_identifiers: bool = False,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Process raw data to one spectrum and write it as NIfTI-MRS: to `output`, or into the BIDS dataset `bids`.

    Of edited data `output` has all conditions; beside it are `*_diff`, or `*_diff-gaba` and so on, and `*_sum`.

    Where the only input is the folder of a BIDS dataset, every single-voxel scan in it is processed.
    """
    from pulsespec.recon.bids import is_bids, named
    from pulsespec.recon.nifti import write_nifti

    _one_target(output, bids, subject, session)
    if len(raws) == 1 and is_bids(raws[0]):
        return _recon_dataset(
            raws[0],
            bids,
            conjugate,
            known(None, dwell_s, f0_mhz, keep_identifiers),
            overwrite,
            dry_run,
            notify,
            jobs,
        )
    entities = named(subject or "01", session)
    if output is not None:
        refuse_existing(output, overwrite)
    scan = load(raws, known(sequence, dwell_s, f0_mhz, keep_identifiers), conjugate, notify)
    if dry_run:
        return {"inputs": [str(path) for path in raws], "output": str(output or bids)}
    done = _processed(scan, notify, settings=settings)
    spectrum = done.metabolite or done.water
    assert spectrum is not None
    judged = _judged(scan, done, notify)
    if output is not None:
        written = _with_differences(spectrum, output, notify)
        for path in written:
            refuse_existing(path, overwrite)
        for path, part in written.items():
            write_nifti(part, path, overwrite=overwrite)
    else:
        output = _into_bids(bids, entities, scan, done, judged, "svs", overwrite, notify)[0]
    steps = [record.details for record in spectrum.records]
    return {"output": str(output), "steps": steps, "quality": judged.as_dict()}


def _with_differences(spectrum: "Transients", output: Path, notify: Notify) -> "dict[Path, Transients]":
    """Return what is written where: the spectrum, and sums and differences of conditions beside it."""
    from pulsespec.recon.edited import combined

    if "edit" not in spectrum.dims:
        return {output: spectrum}
    suffix = ".nii.gz" if output.name.endswith(".nii.gz") else ".nii"
    stem = output.name.removesuffix(suffix)
    parts = combined(spectrum)
    for part in parts.values():
        notify(part.records[-1].details)
    return {output: spectrum} | {
        output.with_name(f"{stem}_{name}{suffix}"): part for name, part in parts.items()
    }


def _one_target(output: Path | None, bids: Path | None, subject: str | None, session: str | None) -> None:
    if (output is None) == (bids is None):
        raise InputError(
            f"got {'neither' if output is None else 'both'} of --output and --bids, expected one"
        )
    if output is not None and not output.name.endswith((".nii.gz", ".nii")):
        raise InputError(f"{output}: expected a name that ends in .nii.gz or .nii")
    if bids is None and (subject is not None or session is not None):
        raise InputError("--subject and --session: only with --bids")


def _into_bids(
    folder: Path | None,
    entities: Sequence[tuple[str, str]],
    scan: "Scan",
    done: "Scan",
    judged: "Assessment",
    suffix: str,
    overwrite: bool,
    notify: Notify,
) -> list[Path]:
    from pulsespec.recon.bids import write
    from pulsespec.recon.edited import combined

    assert folder is not None
    if done.metabolite is not None and "edit" in done.metabolite.dims:
        for part in combined(done.metabolite).values():
            notify(part.records[-1].details)
    return write(folder, entities, done, scan, judged, suffix=suffix, overwrite=overwrite)


def _recon_dataset(
    folder: Path,
    bids: Path | None,
    conjugate: bool,
    beside: "Known",
    overwrite: bool,
    dry_run: bool,
    notify: Notify,
    jobs: int = 1,
) -> dict[str, Any]:
    """Process every single-voxel scan of a BIDS dataset; those that fail are named in one error at the end."""
    from pulsespec.recon.bids import entries, outputs, prepare

    if bids is None:
        raise InputError(f"{folder}: is a BIDS dataset with an output for each scan; pass --bids FOLDER")
    found, rows, failed = entries(folder), [], []
    if not dry_run:
        prepare(bids)
    keep = current().keep
    if not (overwrite or dry_run or (keep is not None and count(keep) > 0)):
        for path in (outputs(bids, entry.entities, entry.suffix) for entry in found):
            if path.exists():
                refuse_existing(path, overwrite)
    one_scan = partial(_recon_entry, None if dry_run else bids.absolute(), conjugate, beside)
    tasks = [(entry, stamp(*entry.files) if keep else "") for entry in found]
    given = iter_blocks(
        one_scan, tasks, jobs, keep=True, name="scans", label=lambda task: task[0].label, ahead=len(tasks)
    )
    for (entry, at), done in zip(tasks, given, strict=True):
        row, words, failure = done
        if "output" in row and not Path(row["output"]).is_file():  # kept, but its files are gone
            row, words, failure = one_scan((entry, at))
        for line in words:
            notify(line)
        if failure:
            failed.append(f"{entry.label}: {failure}")
        else:
            rows.append(row)
    if failed:
        raise DataError(f"{folder}: {len(failed)} of {len(found)} scans failed: {'; '.join(failed)}")
    return {"output": str(bids), "scans": rows}


def _recon_entry(
    bids: Path | None, conjugate: bool, beside: "Known", task: "tuple[Entry, str]"
) -> tuple[dict[str, Any], list[str], str]:
    """Process one scan of a dataset into `bids`, if given; what was made, what there is to say, why it failed."""
    entry, _ = task
    words: list[str] = []
    paths = [entry.metabolite, *([entry.water] if entry.water else [])]
    row: dict[str, Any] = {"scan": entry.label, "inputs": [path.name for path in paths]}
    try:
        scan = load(paths, beside, conjugate, words.append)
        if bids is not None:
            done = _processed(scan, words.append)
            judged = _judged(scan, done, words.append)
            written = _into_bids(bids, entry.entities, scan, done, judged, entry.suffix, True, words.append)
            row |= {"output": str(written[0]), "quality": judged.as_dict()}
    except PulsespecError as error:
        words.append(f"{entry.label}: failed: {error}")
        return row, words, str(error)
    return row, words, ""


def fit(
    spectrum: Path,
    basis: Path,
    output: Path,
    *,
    water: Path | None = None,
    assumptions: "QuantifySettings | None" = None,
    spurious: Sequence[float] = (),
    posterior: int = 0,
    phantom: bool = False,
    limits: Mapping[str, Any] | None = None,
    methylene: bool = False,
    conjugate: bool = False,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    image: "map_verbs.ImageOptions | None" = None,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Fit one processed spectrum, or an image, with a basis set and write the results into the folder `output`.

    `limits` are fields of `FitSettings`: what is fitted. With `methylene` that of creatine is fitted by itself.
    """
    chosen = (spectrum, basis, water, conjugate, known(None, dwell_s, f0_mhz))
    if dry_run:
        checked = opened(*chosen, notify)[0]
        if not map_verbs.is_image(checked):
            _in_the_voxel(assumptions, measured(checked))
        inputs = [spectrum, *([water] if water else [])]
        return {"inputs": [str(path) for path in inputs], "basis": str(basis), "output": str(output)}
    with atomic_directory(output, overwrite) as folder:
        scan, functions = opened(*chosen, notify)
        functions = _without_methylene(functions) if methylene else functions
        limits = dict(limits or {})
        settings = {
            "spectrum": spectrum.name,
            "water": None if water is None else water.name,
            "basis": str(basis),
            "conjugate": conjugate,
            "dwell_s": dwell_s,
            "f0_mhz": f0_mhz,
            "spurious_ppm": list(spurious),
            "posterior": posterior,
            "phantom": phantom,
            **limits,
            "suppressed_methylene": methylene,
        }
        if map_verbs.is_image(scan):
            one_spectrum(scan)
            _for_single_voxels({"--spurious": spurious, "--posterior": posterior})
            how = dataclasses.replace(image or map_verbs.ImageOptions(), phantom=phantom, limits=limits)
            made = map_verbs.fit_voxels(scan, functions, folder, settings, notify, assumptions, how)
            return made | {"output": str(output)}
        _for_images(image)
        _in_the_voxel(assumptions, measured(scan))
        done = as_fitted(scan, notify)
        judged = _judged(scan, done, notify)
        told = (settings, notify, assumptions, judged, spurious, posterior, phantom, limits)
        return analyse(done, functions, folder, *told) | {"output": str(output)}


def _without_methylene(basis: "Basis | SampledBasis") -> "Basis | SampledBasis":
    from pulsespec.recon.methylene import with_suppressed_methylene

    found: Basis | SampledBasis = with_suppressed_methylene(basis)
    return found


def _for_single_voxels(options: dict[str, Any]) -> None:
    """Raise where an option is given that fits of several voxels do not have."""
    given = [name for name, value in options.items() if value]
    if given:
        raise InputError(f"{', '.join(given)}: got spectra of several voxels, expected a single voxel")


def _for_images(options: "map_verbs.ImageOptions | None") -> None:
    """Raise where an option is given that single voxels do not have."""
    if options is not None and (options.mask, options.block_voxels, options.lesion) != (None, None, None):
        raise InputError("--mask, --block-voxels and --lesion: got a single voxel, expected an image")


def opened(
    spectrum: Path, basis: Path, water: Path | None, conjugate: bool, told: "Known", notify: Notify = silent
) -> "tuple[Scan, Basis | SampledBasis]":
    """Return the scan and the basis that `fit` is asked to fit; what the data do not say, the basis may."""
    for path in (spectrum, *([water] if water else [])):
        commands.require_data(path)
    functions = read_basis(basis, notify, told)
    told = _with_readout(told, functions, basis)
    return load([spectrum], told, conjugate, notify, water), functions


def as_fitted(scan: "Scan", notify: Notify = silent) -> "Scan":
    """Return a processed spectrum as it is fitted: what is still several is combined, residual water removed."""
    return _processed(scan, notify, whole=False)


def run(
    raws: Sequence[Path],
    output: Path,
    *,
    protocol: str | None = None,
    sequence: Path | None = None,
    basis: Path | None = None,
    scanner: str | None = None,
    metabolites: Sequence[str] | None = None,
    conjugate: bool = False,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    assumptions: "QuantifySettings | None" = None,
    spurious: Sequence[float] = (),
    posterior: int = 0,
    phantom: bool = False,
    keep_identifiers: bool = False,
    gaba_model: str = "soft",
    image: "map_verbs.ImageOptions | None" = None,
    macromolecules: str | None = None,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Go from raw data to concentrations and a report in the folder `output`.

    Exactly one of `protocol`, `sequence` and `basis` says what the data were acquired with; for the first two
    the basis set is simulated at the exact frequency of the data and kept in `output`, of `metabolites` or
    by default of `BRAIN_METABOLITES`. All conditions of edited data are fitted together, with the macromolecule under
    GABA held as `gaba_model` says (`pulsespec.recon.edited_model.GABA_MODELS`). `macromolecules` names a model that
    takes the place of the default one where nothing is edited.
    """
    given = [name for name, value in _origins(protocol, sequence, basis).items() if value is not None]
    if len(given) != 1:
        raise InputError(f"got {', '.join(given) or 'none'}: expected one of --protocol, --seq and --basis")
    told = known(sequence, dwell_s, f0_mhz, keep_identifiers)
    for raw in raws:
        commands.require_data(raw)
    encoded = imaging_verbs.image_source(raws, sequence, notify)
    if encoded is not None and sequence is not None:
        _for_single_voxels({"--spurious": spurious, "--posterior": posterior})
        how = dataclasses.replace(image or map_verbs.ImageOptions(), phantom=phantom, sequence=sequence)
        facts = {"inputs": [path.name for path in raws], "--seq": str(sequence), "--filter": how.filter}
        if dry_run:
            return {"inputs": [str(path) for path in raws], "output": str(output)}
        with atomic_directory(output, overwrite) as folder:
            made = _run_image(
                encoded, sequence, folder, facts, metabolites, how, assumptions, macromolecules, notify
            )
        return made | {"output": str(output)}
    _for_images(image)
    functions = None if basis is None else read_basis(basis, notify, told)
    if basis is not None and functions is not None:
        told = _with_readout(told, functions, basis)
    if dry_run:
        _in_the_voxel(assumptions, measured(load(raws, told, conjugate, notify)))
        return {"inputs": [str(path) for path in raws], "output": str(output)}
    with atomic_directory(output, overwrite) as folder:
        scan = load(raws, told, conjugate, notify)
        _in_the_voxel(assumptions, measured(scan))
        source = protocol or sequence
        path = None if source is None else _sequence_for(scan, folder, source, scanner, notify)
        done = _processed(scan, notify)
        settings: dict[str, Any] = {
            "inputs": [path.name for path in raws],
            **{name: str(value) for name, value in _origins(protocol, sequence, basis).items() if value},
            "scanner": scanner,
            "conjugate": conjugate,
            "spurious_ppm": list(spurious),
            "posterior": posterior,
            "phantom": phantom,
        }
        if "edit" in measured(done).dims:
            if macromolecules is not None:
                raise InputError("--macromolecules: edited data have models of their own, see --gaba-model")
            bases = _bases_for(done, folder, path, basis, metabolites, jobs, notify)
            return edited_verbs.analyse_edited(
                done, bases, folder, settings, notify, assumptions, _judged(scan, done, notify), gaba_model
            ) | {"output": str(output)}
        functions = _basis_for(scan, folder, path, functions, metabolites, jobs, notify)
        settings["metabolites"] = list(functions.names)
        functions = _with_macromolecules(functions, macromolecules)
        judged = _judged(scan, done, notify)
        return analyse(
            done, functions, folder, settings, notify, assumptions, judged, spurious, posterior, phantom
        ) | {"output": str(output)}


def _with_macromolecules(basis: Any, model: str | None) -> Any:
    """Return a basis with the lines of a model of macromolecules and lipids, where one is named."""
    from pulsespec.simulator.broad_phase import lines_for

    if model is None:
        return basis
    return basis.with_broad(lines_for(basis, model))


def _run_image(
    source: "Source",
    sequence: Path,
    folder: Path,
    settings: dict[str, Any],
    metabolites: Sequence[str] | None,
    how: "map_verbs.ImageOptions",
    assumptions: "QuantifySettings | None",
    macromolecules: str | None,
    notify: Notify,
) -> dict[str, Any]:
    """Reconstruct an image, simulate its basis and fit it; images and basis are left in `folder`."""
    from pulsespec.recon.image_files import write_images
    from pulsespec.recon.image_recon import known_sequence
    from pulsespec.recon.image_settings import ImageSettings

    cleaning = imaging_verbs.cleaning_of(False, not how.lipid_removal, how.mask)
    scan, _ = imaging_verbs.clean_source(source, ImageSettings(filter=how.filter), cleaning, how.jobs, notify)
    scan = known_sequence(scan, sequence, source.played)
    measured(scan)
    write_images(scan, folder / "image.nii.gz")
    functions = _basis_for(scan, folder, sequence, None, metabolites, how.jobs, notify)
    settings = settings | {"metabolites": list(functions.names), "macromolecules": macromolecules}
    functions = _with_macromolecules(functions, macromolecules)
    return map_verbs.fit_voxels(scan, functions, folder, settings, notify, assumptions, how)


def _in_the_voxel(assumptions: "QuantifySettings | None", spectrum: "Transients") -> None:
    """Raise where the segmentation that the assumptions name does not serve the spectrum."""
    from pulsespec.recon.in_voxel import in_the_voxel

    if assumptions is not None:
        in_the_voxel(assumptions, spectrum)


def _origins(protocol: str | None, sequence: Path | None, basis: Path | None) -> dict[str, Any]:
    return {"--protocol": protocol, "--seq": sequence, "--basis": basis}


def _sequence_for(
    scan: "Scan", folder: Path, source: str | Path, scanner: str | None, notify: Notify
) -> Path:
    """Return the sequence that the scan was played from, compared with it before anything is computed."""
    from pulsespec.recon.guard_basis import compare

    data = measured(scan)
    path = commands.sequence_of(str(source), folder, scanner, data.f0_hz, notify)
    compare(data, _outline(path, data.f0_hz))
    return path


def _basis_for(
    scan: "Scan",
    folder: Path,
    path: Path | None,
    basis: "Basis | SampledBasis | None",
    metabolites: Sequence[str] | None,
    jobs: int,
    notify: Notify,
) -> "Basis | SampledBasis":
    """Return the basis set that belongs to the scan, as read or simulated; what was made is left in `folder`."""
    data = measured(scan)
    if basis is not None:
        return basis.subset(metabolites) if metabolites else basis
    assert path is not None
    notify(f"simulating the basis set at {data.f0_hz * 1e-6:.4f} MHz")
    names = list(metabolites or BRAIN_METABOLITES)
    weights = data.header.get("condition_weights", ())
    rows = tuple((float(number), float(factor)) for number, factor in enumerate(weights) if factor)
    chosen = commands.Conditions(cached=True)
    if rows:
        chosen = dataclasses.replace(chosen, conditions=rows)
    made = commands.basis_of(path, names, data.f0_hz, jobs, conditions=chosen)
    made.write(folder / "basis.h5")
    _keep_sequence(path, folder)
    return made


def _bases_for(
    scan: "Scan",
    folder: Path,
    path: Path | None,
    basis: Path | None,
    metabolites: Sequence[str] | None,
    jobs: int,
    notify: Notify,
) -> "Sequence[Basis | SampledBasis]":
    """Return a basis of each editing condition, simulated or read; what was made is left in `folder`."""
    data = measured(scan)
    if path is None:
        assert basis is not None
        found = edited_verbs.split(read_basis(basis, notify), data)
        return [one.subset(metabolites) for one in found] if metabolites else found
    made = edited_verbs.bases_for(data, path, list(metabolites or BRAIN_METABOLITES), jobs, notify)
    for number, one in enumerate(made):
        one.write(folder / f"basis_{number + 1}.h5")
    _keep_sequence(path, folder)
    return made


def _keep_sequence(path: Path, folder: Path) -> None:
    if path.parent != folder:
        (folder / "sequence.seq").write_bytes(path.read_bytes())


def _outline(path: Path, f0_hz: float) -> "Basis":
    """Return what a basis of the sequence would say of itself, without functions: for an early comparison."""
    from pulsespec.simulator import Basis, read_timeline

    timeline = read_timeline(path, f0_hz)
    return Basis(
        lines={},
        f0_hz=f0_hz,
        nucleus=timeline.nucleus,
        te_s=timeline.seconds("TE"),
        reference_ppm=timeline.reference_ppm,
    )


def measured(scan: "Scan") -> "Transients":
    """Return the metabolite data of a scan; `InputError` where it has none."""
    if scan.metabolite is None:
        source = scan.water.source if scan.water is not None else "input"
        raise InputError(f"{source}: is a water reference alone, expected metabolite data too")
    return scan.metabolite


def one_spectrum(scan: "Scan") -> "Transients":
    """Return the metabolite spectrum that is fitted; `InputError` where there are several editing conditions."""
    data = measured(scan)
    if "edit" in data.dims:
        raise InputError(
            f"{data.source or 'data'}: has {data.size('edit')} editing conditions, expected one spectrum: `run` with "
            "--protocol or --seq fits all of them together; `recon` writes their differences and sum, which `fit` "
            "takes with a basis of `simulate --conditions`"
        )
    return data


def _processed(
    scan: "Scan", notify: Notify, whole: bool = True, settings: "ReconSettings | None" = None
) -> "Scan":
    """Return the scan as one spectrum and one water reference; without `whole` only what is still several."""
    from pulsespec.recon.pipeline import ReconSettings, recon

    data = scan.metabolite or scan.water
    assert data is not None
    notify(f"processing {data.source or 'data'}: {', '.join(f'{d} {data.size(d)}' for d in data.dims)}")
    settings = settings or ReconSettings()
    if not whole:
        settings = dataclasses.replace(
            settings, eddy_current_correction=False, alignment=False, phasing=False
        )
    return recon(scan, settings)


def _judged(raw: "Scan", done: "Scan", notify: Notify) -> "Assessment":
    """Return how good the scan is, and say it in one line."""
    from pulsespec.recon.verdict import assess

    judged = assess(raw, done)
    notify(judged.line())
    return judged


def known(
    sequence: Path | None,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    keep_identifiers: bool = False,
) -> "Known":
    """Return what the user says beside the files; `InputError` where a number is not above 0."""
    from pulsespec.recon.formats import Known

    for option, value in (("--dwell-s", dwell_s), ("--f0-mhz", f0_mhz)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{option}: got {value}, expected a number above 0")
    return Known(sequence, dwell_s, None if f0_mhz is None else f0_mhz * 1e6, keep_identifiers)


def load(
    raws: Sequence[Path],
    beside: "Known",
    conjugate: bool,
    notify: Notify = silent,
    water: Path | None = None,
) -> "Scan":
    """Return what all the files hold together: one metabolite scan and, where there is one, its water.

    `water` is a file that was named as the water reference; without it, content tells which of them is.
    """
    from pulsespec.recon.read import read

    named = [*raws, *([water] if water else [])]
    for path in named:
        commands.require_data(path)
    if beside.sequence:
        commands.require_file(beside.sequence)
    notify(f"reading {', '.join(path.name for path in named)}")
    scan = read(raws, known=beside, conjugate=conjugate, water=water)
    parts = [part for part in (scan.metabolite, scan.water) if part is not None]
    for words in dict.fromkeys(
        f"{part.source}: {record.details}" for part in parts for record in part.records
    ):
        notify(words)
    return scan


def read_basis(path: Path, notify: Notify = silent, told: "Known | None" = None) -> "Basis | SampledBasis":
    """Return the basis set in `path`, a file or folder of any format that `pulsespec basis` reads.

    Where the format leaves dwell time or frequency out (LCModel RAW), those that the user told of the data serve.
    """
    from pulsespec.simulator.basis_facts import Given
    from pulsespec.simulator.basis_files import read_basis

    try:
        found = read_basis(path)
    except DataError:
        if told is None or told.dwell_s is None or told.f0_hz is None:
            raise
        found = read_basis(path, Given(f0_hz=told.f0_hz, dwell_s=told.dwell_s, only_missing=True))
        notify("basis: leaves dwell time or frequency out, so those of --dwell-s and --f0-mhz are taken")
    for notice in found.notices:
        notify(f"basis: {notice}")
    return found.basis


def _with_readout(told: "Known", basis: "Basis | SampledBasis", path: Path) -> "Known":
    """Return what is known with the readout of the basis as the last resort."""
    from pulsespec.recon.known import Readout
    from pulsespec.simulator.sampled import SampledBasis

    sampled = isinstance(basis, SampledBasis)
    dwell_s, samples = (basis.dwell_s, basis.samples) if sampled else (None, None)
    return dataclasses.replace(told, basis=Readout(path.name, basis.f0_hz, dwell_s, samples))


def analyse(
    scan: "Scan",
    basis: "Basis | SampledBasis",
    folder: Path,
    settings: dict[str, Any],
    notify: Notify = silent,
    assumptions: "QuantifySettings | None" = None,
    judged: "Assessment | None" = None,
    spurious: Sequence[float] = (),
    posterior: int = 0,
    phantom: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit and quantify one processed scan, write all results into `folder` and return the table.

    Macromolecules and lipids are added to a basis that has none, lipid of free phase where there is much of it, and
    a burst of free phase at each chemical shift of `spurious`. With `posterior`, so many samples of the posterior are
    drawn and summarised in `posterior.tsv`. `phantom` says that what holds for brain does not hold; `limits`
    are fields of `FitSettings`.
    """
    from pulsespec.recon.constants import write_constants
    from pulsespec.recon.editing import is_difference
    from pulsespec.recon.fit import fit_batch
    from pulsespec.recon.fit_nifti import write_fit
    from pulsespec.recon.guard_pair import matched
    from pulsespec.recon.in_voxel import in_the_voxel
    from pulsespec.recon.known import ASSUMED
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.recon.pdf_report import write_pdf
    from pulsespec.recon.quantify import QuantifySettings, quantify
    from pulsespec.recon.report import fit_report, write_report
    from pulsespec.recon.results import fit_facts, write_table
    from pulsespec.recon.sample import settings_for
    from pulsespec.recon.stray import completed
    from pulsespec.recon.table_flags import flagged
    from pulsespec.simulator.broad_phase import lines_for

    spectrum = one_spectrum(scan)
    notices = [f"{spectrum.source}: {r.details}" for r in spectrum.records if r.method == ASSUMED]
    assumptions, words = in_the_voxel(assumptions or QuantifySettings(), spectrum, folder)
    spectrum, said = matched(spectrum, basis)
    notices += [*said, *words]
    if is_difference(spectrum.header) and not basis.broad:
        notices.append(
            "difference of editing conditions: macromolecules are not in the basis, so GABA is GABA+, and ratios to "
            "tCr are of what subtraction leaves of it: use those to water, or to tCr in the sum"
        )
    elif not basis.broad:
        basis = basis.with_broad(lines_for(basis))
    fitted, more = completed(basis, spectrum, judged, spurious)
    notices += more
    notify(f"fitting {len(fitted.names)} components")
    how, why = settings_for(spectrum, judged, phantom)
    notices += why
    if assumptions is not None and not assumptions.relaxation:
        how = dataclasses.replace(how, t2_widths=False)
    how = dataclasses.replace(how, **(limits or {}))
    batch = fit_batch(spectrum, fitted, how)
    found = batch.one(0)
    amounts = quantify(found, spectrum, scan.water, basis, assumptions)
    as_fitted = list(amounts.rows)
    amounts = dataclasses.replace(amounts, rows=flagged(as_fitted, found, judged))
    drawn, doubts = _posterior(batch, posterior, found.converged, folder, notify)
    warnings = list(dict.fromkeys([*notices, *amounts.warnings, *found.warnings, *doubts]))
    facts: dict[str, Any] = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__, "with": _versions()},
        "settings": settings,
        "data": _facts(spectrum),
        "basis": commands.describe(basis) | {"provenance": dict(basis.provenance)},
        "quantification": amounts.settings,
    }
    write_table(amounts.rows, folder / "concentrations.tsv")
    if amounts.constants is not None:
        write_constants(amounts.constants, folder / "constants.toml")
    write_nifti(spectrum, folder / "spectrum.nii.gz")
    write_fit(found, spectrum, folder / "fit.nii.gz")
    title = spectrum.source or "spectrum"
    page = fit_report(
        found, spectrum, amounts.rows, title=title, warnings=warnings, provenance=facts, judged=judged
    )
    write_report(page, folder / "report.html")
    write_pdf(page, folder / "report.pdf")
    result = {
        **facts,
        "warnings": warnings,
        "quality": dict(page.quality) | (judged.as_dict() if judged else {}),
        "fit": fit_facts(found),
        "fit_settings": dataclasses.asdict(found.settings),
        "steps": [{"method": r.method, "details": r.details, "time": r.time} for r in spectrum.records],
        "concentrations": list(amounts.rows),
        "ratios": amounts.ratios,
        "refused": None if found.converged else as_fitted,
        "posterior": drawn,
    }
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    for warning in warnings:
        notify(f"warning: {warning}")
    return {
        "concentrations": list(amounts.rows),
        "warnings": warnings,
        "quality": judged.as_dict() if judged else None,
        "converged": found.converged,
    }


def _posterior(
    batch: "BatchResult", draws: int, converged: bool, folder: Path, notify: Notify
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return what `result.json` says of the posterior, and warnings; the table is written into `folder`."""
    if not draws:
        return None, ()
    if not converged:
        return None, ("posterior: not drawn, for the fit was refused",)
    from pulsespec.recon.posterior import sample_posterior
    from pulsespec.recon.results import write_table

    notify(f"drawing {draws} samples of the posterior")
    drawn = sample_posterior(batch, 0, draws)
    rows = drawn.rows()
    write_table(rows, folder / "posterior.tsv", columns=list(rows[0]))
    facts = {
        "draws": len(drawn.samples),
        "chains": drawn.n_chains,
        "diverged": drawn.diverged,
        "rows": rows,
        "components": list(drawn.names),
        "correlation": drawn.correlation,
    }
    return facts, drawn.warnings


def _versions() -> dict[str, str]:
    """Return the versions of what numbers come from."""
    from importlib.metadata import version

    return {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "scipy")}


def _facts(data: "Transients") -> dict[str, Any]:
    """Return what the header said, without anything about the person."""
    return {
        "source": data.source,
        "sequence": data.sequence,
        "f0_mhz": data.f0_hz * 1e-6,
        "nucleus": data.nucleus,
        "te_ms": None if data.te_s is None else data.te_s * 1e3,
        "tr_ms": None if data.tr_s is None else data.tr_s * 1e3,
        "samples": data.samples,
        "dwell_s": data.dwell_s,
        "voxel_mm": None if data.geometry is None else data.geometry.voxel_mm.tolist(),
    }
