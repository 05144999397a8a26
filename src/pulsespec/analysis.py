"""The verbs of the command line that take data apart: raw data in, concentrations and a report out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulsespec
from pulsespec import commands
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import InputError
from pulsespec.files import atomic_directory, refuse_existing

if TYPE_CHECKING:
    from pulsespec.recon.pipeline import ReconSettings
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.transients import Scan, Transients
    from pulsespec.simulator import Basis
    from pulsespec.simulator.sampled import SampledBasis

BRAIN_METABOLITES = (
    *("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Ins", "Scyllo", "Glu", "Gln", "GABA", "GSH", "Lac", "Ala"),
    *("Asp", "Asc", "Tau", "Gly", "PE", "Glc"),
)
"""What a brain is fitted with unless metabolites are named: those that are seen in health."""


def recon(
    raws: Sequence[Path],
    output: Path,
    *,
    sequence: Path | None = None,
    conjugate: bool = False,
    settings: "ReconSettings | None" = None,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Process raw data to one spectrum and write it as NIfTI-MRS; water, if any, beside it as `*_water`."""
    from pulsespec.recon.nifti import write_nifti

    if not output.name.endswith((".nii.gz", ".nii")):
        raise InputError(f"{output}: expected a name that ends in .nii.gz or .nii")
    refuse_existing(output, overwrite)
    scan = load(raws, sequence, conjugate, notify)
    if dry_run:
        return {"inputs": [str(path) for path in raws], "output": str(output)}
    done = _processed(scan, notify, settings=settings)
    spectrum = done.metabolite or done.water
    assert spectrum is not None
    write_nifti(spectrum, output, overwrite=overwrite)
    return {"output": str(output), "steps": [record.details for record in spectrum.records]}


def fit(
    spectrum: Path,
    basis: Path,
    output: Path,
    *,
    water: Path | None = None,
    assumptions: "QuantifySettings | None" = None,
    conjugate: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Fit one processed spectrum with a basis set and write the results into the folder `output`."""
    inputs = [spectrum, *([water] if water else [])]
    if dry_run:
        measured(load(inputs, None, conjugate, notify))
        return {"inputs": [str(path) for path in inputs], "basis": str(basis), "output": str(output)}
    with atomic_directory(output, overwrite) as folder:
        scan = load(inputs, None, conjugate, notify)
        functions = read_basis(basis, notify)
        done = _processed(scan, notify, whole=False)
        return analyse(done, functions, folder, {"basis": str(basis)}, notify, assumptions) | {
            "output": str(output)
        }


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
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    assumptions: "QuantifySettings | None" = None,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Go from raw data to concentrations and a report in the folder `output`.

    Exactly one of `protocol`, `sequence` and `basis` says what the data were acquired with; for the first two
    the basis set is simulated at the exact frequency of the data and kept in `output`, of `metabolites` or
    by default of `BRAIN_METABOLITES`.
    """
    given = [name for name, value in _origins(protocol, sequence, basis).items() if value is not None]
    if len(given) != 1:
        raise InputError(f"got {', '.join(given) or 'none'}: expected one of --protocol, --seq and --basis")
    if dry_run:
        measured(load(raws, sequence, conjugate, notify))
        return {"inputs": [str(path) for path in raws], "output": str(output)}
    with atomic_directory(output, overwrite) as folder:
        scan = load(raws, sequence, conjugate, notify)
        functions = _basis_for(scan, folder, protocol or sequence, basis, metabolites, scanner, jobs, notify)
        settings = {
            "inputs": [path.name for path in raws],
            **{name: str(value) for name, value in _origins(protocol, sequence, basis).items() if value},
            "scanner": scanner,
            "metabolites": list(functions.names),
            "conjugate": conjugate,
        }
        done = _processed(scan, notify)
        return analyse(done, functions, folder, settings, notify, assumptions) | {"output": str(output)}


def _origins(protocol: str | None, sequence: Path | None, basis: Path | None) -> dict[str, Any]:
    return {"--protocol": protocol, "--seq": sequence, "--basis": basis}


def _basis_for(
    scan: "Scan",
    folder: Path,
    source: str | Path | None,
    basis: Path | None,
    metabolites: Sequence[str] | None,
    scanner: str | None,
    jobs: int,
    notify: Notify,
) -> "Basis | SampledBasis":
    """Return the basis set that belongs to the scan, read or simulated; what was made is left in `folder`."""
    from pulsespec.recon.guard_basis import compare

    data = measured(scan)
    if basis is not None:
        found = read_basis(basis, notify)
        return found.subset(metabolites) if metabolites else found
    path = commands.sequence_of(str(source), folder, scanner, data.f0_hz, notify)
    compare(data, _outline(path, data.f0_hz))
    notify(f"simulating the basis set at {data.f0_hz * 1e-6:.4f} MHz")
    names = list(metabolites or BRAIN_METABOLITES)
    made = commands.basis_of(path, names, data.f0_hz, jobs, conditions=commands.Conditions(cached=True))
    made.write(folder / "basis.h5")
    if path.parent != folder:
        (folder / "sequence.seq").write_bytes(path.read_bytes())
    return made


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


def load(raws: Sequence[Path], sequence: Path | None, conjugate: bool, notify: Notify = silent) -> "Scan":
    """Return what all the files hold together: one metabolite scan and, where there is one, its water."""
    from pulsespec.recon.formats import Known
    from pulsespec.recon.read import read

    for path in (*raws, *([sequence] if sequence else [])):
        commands.require_file(path)
    notify(f"reading {', '.join(path.name for path in raws)}")
    return read(raws, known=Known(sequence), conjugate=conjugate)


def read_basis(path: Path, notify: Notify = silent) -> "Basis | SampledBasis":
    """Return the basis set in `path`, a file or folder of any format that `pulsespec basis` reads."""
    from pulsespec.simulator.basis_files import read_basis

    found = read_basis(path)
    for notice in found.notices:
        notify(f"basis: {notice}")
    return found.basis


def analyse(
    scan: "Scan",
    basis: "Basis | SampledBasis",
    folder: Path,
    settings: dict[str, Any],
    notify: Notify = silent,
    assumptions: "QuantifySettings | None" = None,
) -> dict[str, Any]:
    """Fit and quantify one processed scan, write all results into `folder` and return the table.

    Macromolecules and lipids are added to a basis that has none.
    """
    from pulsespec.recon.fit import fit
    from pulsespec.recon.guard_basis import compare
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.recon.quantify import quantify
    from pulsespec.recon.report import fit_report, write_report
    from pulsespec.recon.results import write_table
    from pulsespec.simulator.broad import broad_lines

    spectrum = measured(scan)
    notices = list(compare(spectrum, basis))
    if not basis.broad:
        basis = basis.with_broad(broad_lines(basis.f0_hz, reference_ppm=basis.reference_ppm))
    notify(f"fitting {len(basis.names)} components")
    found = fit(spectrum, basis)
    amounts = quantify(found, spectrum, scan.water, basis, assumptions)
    warnings = list(dict.fromkeys([*notices, *amounts.warnings, *found.warnings]))
    facts: dict[str, Any] = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": settings,
        "data": _facts(spectrum),
        "basis": commands.describe(basis) | {"provenance": dict(basis.provenance)},
        "quantification": amounts.settings,
    }
    write_table(amounts.rows, folder / "concentrations.tsv")
    write_nifti(spectrum, folder / "spectrum.nii.gz")
    title = spectrum.source or "spectrum"
    page = fit_report(found, spectrum, amounts.rows, title=title, warnings=warnings, provenance=facts)
    write_report(page, folder / "report.html")
    result = {
        **facts,
        "warnings": warnings,
        "quality": dict(page.quality),
        "fit": {"converged": found.converged, "message": found.message, **dict(found.parameters)},
        "fit_settings": dataclasses.asdict(found.settings),
        "steps": [{"method": r.method, "details": r.details, "time": r.time} for r in spectrum.records],
        "concentrations": list(amounts.rows),
    }
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    for warning in warnings:
        notify(f"warning: {warning}")
    return {"concentrations": list(amounts.rows), "warnings": warnings}


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
