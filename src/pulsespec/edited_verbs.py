"""What `run` does with edited data: every condition simulated and fitted, together and as differences."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pulsespec
from pulsespec import commands
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import DataError, InputError

if TYPE_CHECKING:
    from pulsespec.recon.edited_fit import EditedFit
    from pulsespec.recon.editing import Condition
    from pulsespec.recon.fit import FitResult
    from pulsespec.recon.quantify import Amounts, QuantifySettings
    from pulsespec.recon.transients import Scan, Transients
    from pulsespec.recon.verdict import Assessment
    from pulsespec.simulator import Basis
    from pulsespec.simulator.sampled import SampledBasis


def bases_for(
    data: "Transients", path: Path, names: Sequence[str], jobs: int, notify: Notify = silent
) -> "list[Basis]":
    """Return the basis of each condition of the data, macromolecules included, simulated from the `.seq`.

    Raises
    ------
    MismatchError
        The conditions of data and sequence are not the same.

    """
    from pulsespec.recon.edited import scheme_of
    from pulsespec.recon.editing import from_definitions, matched
    from pulsespec.simulator.coedited import with_macromolecules
    from pulsespec.simulator.conditions import simulate_conditions
    from pulsespec.simulator.timeline import read_played

    notify(f"simulating the basis set of each condition at {data.f0_hz * 1e-6:.4f} MHz")
    order = matched(data.source or "data", scheme_of(data), from_definitions(read_played(path)[1]))
    made = simulate_conditions(path, list(names), f0_hz=data.f0_hz, jobs=jobs)
    made = with_macromolecules(path, made)
    labels = sorted(made)
    return [made[labels[k]] for k in order]


def split(basis: "Basis | SampledBasis", data: "Transients") -> "list[SampledBasis]":
    """Return the basis of each condition from one whose components are named by it: GABA_ON and GABA_OFF.

    Raises
    ------
    InputError
        A component is not named so, or not there in every condition.

    """
    from pulsespec.recon.edited import scheme_of
    from pulsespec.simulator.sampled import sampled

    scheme = scheme_of(data)
    labels = [] if scheme is None else [_label(one) for one in scheme.conditions]
    whole = sampled(basis)
    found = []
    for label in labels:
        own = {n[: -len(label) - 1]: fid for n, fid in whole.fids.items() if n.upper().endswith(f"_{label}")}
        broad = tuple(name for name in own if f"{name}_{label}" in whole.broad)
        found.append(dataclasses.replace(whole, fids=own, broad=broad))
    if not found or not found[0].fids or any(set(one.fids) != set(found[0].fids) for one in found):
        wanted = " and ".join(f"GABA_{label}" for label in labels) or "GABA_ON and GABA_OFF"
        raise InputError(
            f"{data.source or 'data'}: has {data.size('edit')} editing conditions; expected a basis with components of "
            f"each, named such as {wanted}, got {', '.join(basis.names)}. With --protocol or --seq they are simulated; "
            "`fit` takes a difference that `recon` wrote with a basis of `simulate --conditions`"
        )
    return found


def _label(condition: "Condition") -> str:
    """Return what components of a condition end in."""
    if condition.is_on is None:
        return condition.name.upper()
    return "ON" if condition.is_on else "OFF"


def analyse_edited(
    scan: "Scan",
    bases: "Sequence[Basis | SampledBasis]",
    folder: Path,
    settings: Mapping[str, Any],
    notify: Notify = silent,
    assumptions: "QuantifySettings | None" = None,
    judged: "Assessment | None" = None,
    gaba_model: str = "soft",
) -> dict[str, Any]:
    """Fit and quantify all conditions of one processed scan, write all results into `folder`, return the table."""
    from pulsespec.recon.constants import write_constants
    from pulsespec.recon.edited import combined
    from pulsespec.recon.edited_fit import fit_edited
    from pulsespec.recon.fit import FitSettings
    from pulsespec.recon.fit_nifti import write_fit
    from pulsespec.recon.in_voxel import in_the_voxel
    from pulsespec.recon.joint import settings_of
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.recon.pdf_report import write_pdf
    from pulsespec.recon.quantify import QuantifySettings, quantify
    from pulsespec.recon.report import fit_report, write_report
    from pulsespec.recon.results import fit_facts, write_table
    from pulsespec.recon.table_flags import flagged

    data = scan.metabolite
    assert data is not None
    assumptions, words = in_the_voxel(assumptions or QuantifySettings(), data, folder)
    notices = [*_compared(data, bases), *words]
    notify(f"fitting {len(bases[0].names)} components to {len(bases)} conditions")
    relaxed = assumptions is None or assumptions.relaxation
    found = fit_edited(data, bases, gaba_model, FitSettings(t2_widths=relaxed))
    parts = combined(data)
    amounts = quantify(found.first, data, scan.water, bases[0], assumptions)
    amounts = dataclasses.replace(amounts, rows=flagged(amounts.rows, found.first, judged))
    warnings = list(dict.fromkeys([*notices, *amounts.warnings, *found.warnings]))
    facts = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": dict(settings) | {"gaba_model": found.gaba_model},
        "basis": commands.describe(bases[0]) | {"provenance": dict(bases[0].provenance)},
        "quantification": amounts.settings,
    }
    write_table(amounts.rows, folder / "concentrations.tsv")
    if amounts.constants is not None:
        write_constants(amounts.constants, folder / "constants.toml")
    write_nifti(data, folder / "spectrum.nii.gz")
    for name, part in parts.items():
        write_nifti(part, folder / f"spectrum_{name}.nii.gz")
    alone = {
        name: flagged(_alone(one, found, scan, bases, assumptions), one, judged)
        for name, one in found.alone.items()
    }
    for name, rows in alone.items():
        write_table(rows, folder / f"concentrations_{name}.tsv")
    peaks = _peaks(data, scan.water, found, folder, warnings)
    pages = {}
    for number, (name, view) in enumerate(found.views.items()):
        page = fit_report(
            view,
            parts[name],
            amounts.rows,
            title=f"{data.source or 'edited data'}: {name}",
            warnings=warnings,
            provenance=facts,
            judged=judged,
        )
        pages[name] = "report.html" if number == 0 else f"report_{name}.html"
        write_report(page, folder / pages[name])
        write_pdf(page, (folder / pages[name]).with_suffix(".pdf"))
        write_fit(view, parts[name], folder / f"fit_{name}.nii.gz")
    result = {
        **facts,
        "warnings": warnings,
        "quality": judged.as_dict() if judged else None,
        "fit": settings_of(found.joint) | fit_facts(found.first),
        "fit_settings": dataclasses.asdict(found.first.settings),
        "steps": [{"method": r.method, "details": r.details, "time": r.time} for r in data.records],
        "concentrations": list(amounts.rows),
        "ratios": amounts.ratios,
        "differences_alone": alone,
        "peaks": peaks,
        "reports": pages,
    }
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    for warning in warnings:
        notify(f"warning: {warning}")
    return {
        "concentrations": list(amounts.rows),
        "peaks": peaks["rows"],
        "warnings": warnings,
        "quality": judged.as_dict() if judged else None,
        "converged": found.first.converged,
    }


def _compared(data: "Transients", bases: "Sequence[Basis | SampledBasis]") -> list[str]:
    """Compare each condition with its basis; return notices, on functions that are alike only where all have it."""
    from pulsespec.recon.guard_basis import compare

    pairs = zip(data.data, bases, strict=True)
    said = [compare(data.with_data(fid, drop=("edit",)), basis) for fid, basis in pairs]
    heads = [{words.partition(" (correlation")[0] for words in one} for one in said]
    everywhere = set.intersection(*heads)
    found = [
        words
        for one in said
        for words in one
        if "(correlation" not in words or words.partition(" (correlation")[0] in everywhere
    ]
    return list({words.partition(" (correlation")[0]: words for words in found}.values())


def _alone(
    one: "FitResult",
    found: "EditedFit",
    scan: "Scan",
    bases: "Sequence[Basis | SampledBasis]",
    assumptions: "QuantifySettings | None",
) -> list[dict[str, Any]]:
    """Return the table of a difference fitted alone; ratios are to the creatine of the fit of all conditions.

    What subtraction leaves of creatine measures nothing.
    """
    from pulsespec.recon.fit import SUMS
    from pulsespec.recon.quantify import quantify

    assert scan.metabolite is not None
    amounts: Amounts = quantify(one, scan.metabolite, scan.water, bases[0], assumptions)
    whole, sd = found.first.combine(dict.fromkeys(SUMS["tCr"], 1.0))
    rows = []
    for row in amounts.rows:
        ratio, spread = (row["amplitude"] / whole, row["sd"] / whole) if whole > 0 else (np.nan, np.nan)
        rows.append(
            {
                **row,
                "ratio_tCr": ratio,
                "ratio_tCr_sd": float(np.hypot(spread, ratio * sd / max(whole, 1e-300))),
            }
        )
    return rows


def _peaks(
    data: "Transients", water: "Transients | None", found: "EditedFit", folder: Path, warnings: list[str]
) -> dict[str, Any]:
    """Write and return the simple peaks of the first difference, for comparison with Gannet."""
    from pulsespec.recon.edited import scheme_of
    from pulsespec.recon.editing import combinations
    from pulsespec.recon.peaks import COLUMNS, constants, peaks_of, table
    from pulsespec.recon.results import write_table

    scheme = scheme_of(data)
    assert scheme is not None
    first = combinations(scheme)[0]
    if not first.edits_gaba(scheme):
        return {"rows": [], "constants": {}}
    off = found.first.parameters
    try:
        peaks = peaks_of(
            data,
            np.array(first.weights),
            water,
            phase_deg=off["phase0_deg"],
            shift_ppm=off["shift_ppm"],
        )
    except DataError as error:
        warnings.append(f"simple peaks: {error}")
        return {"rows": [], "constants": {}}
    rows = table(peaks, data.te_s, data.tr_s)
    write_table(rows, folder / "peaks.tsv", columns=COLUMNS)
    return {"rows": rows, "constants": constants()}
