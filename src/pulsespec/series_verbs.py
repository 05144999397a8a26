"""The verb that fits a series: spectra that differ by design, with one model of what changes between them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pulsespec
from pulsespec.analysis import known, load, measured, read_basis
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import InputError, MismatchError
from pulsespec.files import atomic_directory

if TYPE_CHECKING:
    from pulsespec.recon.series_fit import SeriesResult
    from pulsespec.recon.series_order import Order
    from pulsespec.recon.series_scan import Series
    from pulsespec.recon.series_schema import SeriesModel
    from pulsespec.recon.transients import Scan, Transients

_DWELL_TOLERANCE = 2e-3
"""Headers round: a basis of 333 us for 1 s / 3000 is met; lines at 500 Hz are off by 0.5 Hz then."""


@dataclasses.dataclass(frozen=True)
class Shots:
    """How shots make up the series, as the user says it."""

    values: str | None = None
    """A table, or numbers with commas between them."""
    cycle: int | None = None
    block: int | None = None
    events: Path | None = None
    dimension: str | None = None


def series(
    spectra: Sequence[Path],
    bases: Sequence[Path],
    output: Path,
    *,
    model: str,
    shots: Shots | None = None,
    water: Path | None = None,
    metabolites: Sequence[str] | None = None,
    conjugate: bool = False,
    dwell_s: float | None = None,
    f0_mhz: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Fit all spectra of a series together, linked by a model, and write tables, picture and report into `output`.

    Parameters
    ----------
    spectra
        One file with all shots or spectra, or one for each spectrum, in order.
    bases
        One basis for all spectra, or one for each, in order.
    output
        Folder.
    model
        Name of a shipped model, or a TOML file.
    shots
        How shots make up the series.
    water
        Water reference for eddy currents.
    metabolites
        Components to fit, by default all of the basis.
    conjugate, dwell_s, f0_mhz, overwrite, dry_run, notify
        As for `fit`.

    """
    from pulsespec.recon.series_design import design, read_events
    from pulsespec.recon.series_fit import series_fit
    from pulsespec.recon.series_models import load_model
    from pulsespec.recon.series_values import values_of

    shots = shots or Shots()
    stated = load_model(model)
    beside = dataclasses.replace(known(None, dwell_s, f0_mhz), series=True, dimension=shots.dimension)
    scans = [load([path], beside, conjugate, notify) for path in spectra]
    references = load([water], beside, conjugate, notify).water if water else None
    scans = [_with_water(scan, references) for scan in scans]
    orders = _orders(scans, stated, shots)
    whole = _whole(orders)
    tr_s = measured(scans[0]).tr_s
    x, origin = values_of(whole, stated.variable, tr_s)
    events = read_events(shots.events) if shots.events else None
    regressors = design(stated, whole, x, tr_s, events)
    notify(
        f"{x.size} spectra; {stated.variable.name} {x.min():g} to {x.max():g} {stated.variable.unit}, {origin}"
    )
    if dry_run:
        return {"output": str(output), "spectra": int(x.size), stated.variable.name: x.tolist()}
    with atomic_directory(output, overwrite) as folder:
        done = _processed(scans, orders, stated, notify)
        functions, notices = _bases(bases, done, x, metabolites, stated, notify)
        notify(f"fitting {len(functions[0].names)} components in {x.size} spectra")
        found = series_fit(done.spectra, functions, stated, x, regressors, columns=done.order.columns)
        settings = {
            "spectra": [path.name for path in spectra],
            "basis": [str(path) for path in bases],
            "model": stated.model_dump(mode="json"),
            "values": origin,
            "shots": done.order.counts.tolist(),
        }
        return _write(found, done, folder, settings, notices, regressors, notify) | {"output": str(output)}


def _with_water(scan: "Scan", water: "Transients | None") -> "Scan":
    if water is None:
        return scan
    if scan.water is not None:
        raise InputError(
            f"--water: {measured(scan).source} has a water reference of its own; expected one of them"
        )
    return dataclasses.replace(scan, water=water)


def _orders(scans: "Sequence[Scan]", model: "SeriesModel", shots: Shots) -> "list[Order]":
    """Return how the shots of each file make up the series, values of the user's included."""
    from pulsespec.recon.series_order import read_values, with_columns
    from pulsespec.recon.series_values import order_of, order_of_file

    variable = model.variable
    table = read_values(shots.values, variable.name) if shots.values else None
    if len(scans) == 1:
        return [order_of(measured(scans[0]), variable, table, shots.cycle, shots.block)]
    if shots.cycle is not None or shots.block is not None:
        raise InputError("--cycle and --block are for one file of shots, each file is one spectrum here")
    orders = [order_of_file(measured(scan), variable) for scan in scans]
    if table is None:
        return orders
    starts = np.cumsum([0, *(order.size for order in orders)])
    if table.rows != starts[-1]:
        raise InputError(f"{table.source}: {table.rows} rows of values for {starts[-1]} spectra")
    return [
        with_columns(order, {name: values[first:last] for name, values in table.columns.items()})
        for order, first, last in zip(orders, starts[:-1], starts[1:], strict=True)
    ]


def _whole(orders: "Sequence[Order]") -> "Order":
    from pulsespec.recon.series_order import joined

    return orders[0] if len(orders) == 1 else joined(orders)


def _processed(
    scans: "Sequence[Scan]", orders: "Sequence[Order]", model: "SeriesModel", notify: Notify
) -> "Series":
    """Return one clean spectrum for each member; what holds one finished spectrum for each is not corrected again."""
    from pulsespec.recon.pipeline import ReconSettings
    from pulsespec.recon.series_scan import Series, recon_series
    from pulsespec.recon.series_values import is_processed

    parts = []
    for scan, order in zip(scans, orders, strict=True):
        data = measured(scan)
        settings = ReconSettings()
        notify(f"processing {data.source or 'data'}: {order.words}")
        if is_processed(data, order):
            settings = dataclasses.replace(settings, eddy_current_correction=False, alignment=False)
        parts.append(recon_series(scan, order, settings, model.alignment))
    if len(parts) == 1:
        return parts[0]
    first = parts[0].spectra
    for part in parts[1:]:
        _same_measurement(first, part.spectra)
    fids = np.concatenate([part.spectra.data for part in parts])
    return Series(dataclasses.replace(first, data=fids), _whole([part.order for part in parts]))


def _same_measurement(first: "Transients", other: "Transients") -> None:
    """Refuse files whose spectra cannot be members of one series."""
    for name, one, two, tolerance in (
        ("dwell time in s", first.dwell_s, other.dwell_s, 1e-4),
        ("spectrometer frequency in Hz", first.f0_hz, other.f0_hz, 1e-4),
        ("number of samples", first.samples, other.samples, 0.0),
        ("centre in ppm", first.reference_ppm, other.reference_ppm, 1e-4),
    ):
        if abs(one - two) > tolerance * abs(one):
            raise MismatchError(
                f"{other.source}: {name} {two:.10g}, but {first.source} has {one:.10g}; expected spectra of one "
                "measurement"
            )
    if first.nucleus != other.nucleus:
        raise MismatchError(
            f"{other.source}: nucleus {other.nucleus}, but {first.source} has {first.nucleus}"
        )


def _bases(
    paths: Sequence[Path],
    done: "Series",
    x: Any,
    metabolites: Sequence[str] | None,
    model: "SeriesModel",
    notify: Notify,
) -> tuple[list[Any], list[str]]:
    """Return the basis sets that are fitted and what is to be said of them."""
    from pulsespec.recon.guard_basis import compare
    from pulsespec.simulator.broad_phase import lines_for

    if len(paths) not in (1, x.size):
        raise InputError(f"--basis: got {len(paths)} for {x.size} spectra, expected one, or one for each")
    notices: list[str] = []
    functions = []
    times = x * 1e-3 if model.variable.key == "EchoTime" and model.variable.unit == "ms" else None
    for k, path in enumerate(paths):
        basis: Any = read_basis(path, notify)
        basis, words = _dwell_of(basis, done.spectra)
        data = done.spectra
        if times is not None:
            data = dataclasses.replace(data, te_s=float(times[k]))
        notices += [*words, *compare(data, basis)]
        if metabolites:
            basis = basis.subset([*metabolites, *basis.broad])
        if not basis.broad:
            basis = basis.with_broad(lines_for(basis))
        functions.append(basis)
    if times is not None and len(paths) == 1:
        notices.append(
            "one basis for all echo times: coupled spins change with TE, so only singlets can be trusted"
        )
    return functions, list(dict.fromkeys(notices))


def _dwell_of(basis: Any, data: "Transients") -> tuple[Any, list[str]]:
    """Return a sampled basis whose dwell time was rounded in its file with that of the data."""
    stored = getattr(basis, "dwell_s", None)
    if stored is None or stored == data.dwell_s or abs(stored / data.dwell_s - 1) > _DWELL_TOLERANCE:
        return basis, []
    said, taken = stored * 1e6, data.dwell_s * 1e6
    words = f"the basis says a dwell time of {said:.2f} us, taken as the {taken:.2f} us of the data"
    return dataclasses.replace(basis, dwell_s=data.dwell_s), [words]


def _write(
    found: "SeriesResult",
    done: "Series",
    folder: Path,
    settings: dict[str, Any],
    notices: Sequence[str],
    regressors: Any,
    notify: Notify,
) -> dict[str, Any]:
    """Write all results into `folder` and return the table of the model."""
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.recon.report import fit_report, write_report
    from pulsespec.recon.series_picture import draw
    from pulsespec.recon.series_tables import amplitude_rows, model_rows, spectrum_rows, write_rows

    rows = model_rows(found)
    tables = {"model": rows, "amplitudes": amplitude_rows(found), "spectra": spectrum_rows(found)}
    for name, table in tables.items():
        write_rows(table, folder / f"{name}.tsv")
    variable = found.model.variable
    header = {
        **done.spectra.header,
        "series_values": {variable.key or variable.name: found.plan.x / variable.factor},
    }
    write_nifti(dataclasses.replace(done.spectra, header=header), folder / "spectra.nii.gz")
    draw(found, folder / "series.png")
    warnings = list(dict.fromkeys([*notices, *found.warnings]))
    facts: dict[str, Any] = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": settings,
        "verdict": found.verdict.words,
        "joint_fit": {"converged": found.joint.converged, "message": found.joint.message},
    }
    one = dataclasses.replace(done.spectra, data=done.spectra.data[found.reference], dims=("t",))
    at = found.plan.x[found.reference]
    title = f"{found.model.name}: {done.spectra.source or 'series'}, {variable.name} = {at:g} {variable.unit}"
    page = fit_report(found.one(found.reference), one, rows, title=title, warnings=warnings, provenance=facts)
    write_report(page, folder / "report.html")
    verdict = found.verdict
    test = {**dataclasses.asdict(verdict), "probability": verdict.probability, "aic": verdict.aic}
    result: dict[str, Any] = {
        **facts,
        "warnings": warnings,
        "chi_square": test,
        "regressors": {name: list(values) for name, values in regressors.items()},
        "fit_settings": dataclasses.asdict(found.settings),
        "steps": [{"method": r.method, "details": r.details} for r in done.spectra.records],
        **tables,
    }
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    notify(found.verdict.words)
    for warning in warnings:
        notify(f"warning: {warning}")
    return {"model": rows, "warnings": warnings, "verdict": found.verdict.words}


def list_models() -> list[dict[str, str]]:
    """Return the shipped models with what they are for."""
    from pulsespec.recon.series_models import list_models as names
    from pulsespec.recon.series_models import load_model

    return [{"name": name, "description": load_model(name).description} for name in names()]
