"""A whole study: every scan of a BIDS dataset from raw data to concentrations, then one table and one page."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulsespec
from pulsespec import analysis, commands
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import DataError, InputError, PulsespecError, WorkerError
from pulsespec.executor import iter_blocks
from pulsespec.files import atomic_path
from pulsespec.kept import beside, count, stamp, work_on

if TYPE_CHECKING:
    from pulsespec.recon.bids import Entry
    from pulsespec.recon.quantify import QuantifySettings

DONE, REFUSED, FAILED = "done", "refused", "failed"
MOST_GROUPS = 8


@dataclasses.dataclass(frozen=True)
class Study:
    """How every scan of a study is analysed: what `analysis.run` is told."""

    protocol: str | None = None
    sequence: Path | None = None
    basis: Path | None = None
    scanner: str | None = None
    metabolites: tuple[str, ...] | None = None
    conjugate: bool = False
    dwell_s: float | None = None
    f0_mhz: float | None = None
    phantom: bool = False
    gaba_model: str = "soft"
    assumptions: "QuantifySettings | None" = None
    files: str = ""
    """Hash of the files that these settings name."""

    def options(self) -> dict[str, Any]:
        """Return the settings as arguments of `analysis.run`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "files"}


@dataclasses.dataclass(frozen=True)
class Task:
    """One scan of a study."""

    entry: "Entry"
    fractions: tuple[float, float, float] | None
    """Shares of grey matter, white matter and CSF, where a table has them."""
    files: str
    """Hash of the files of the scan."""


def cohort(
    folder: Path,
    output: Path,
    study: Study,
    *,
    group: str | None = None,
    fractions: Path | None = None,
    include_poor: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Analyse every single-voxel scan of the BIDS dataset `folder` and write results, tables and a page into `output`.

    A scan that fails is named with its reason and does not stop the others. Finished scans are kept beside `output`
    until all are, so that the same call resumes what was interrupted.

    Parameters
    ----------
    folder, output
        The dataset; the folder for results, one folder for each scan in it.
    study
        What every scan is analysed with.
    group
        A column of `participants.tsv` by which groups are compared.
    fractions
        A table with columns participant_id, gm, wm, csf and optionally session_id: tissue of each voxel.
    include_poor
        Let scans of poor quality count in the statistics.

    Raises
    ------
    InputError
        `output` exists, or the options contradict each other.
    DataError
        The dataset has no scan, or every scan failed.

    """
    from pulsespec.recon.bids import is_bids, sorted_entries

    if not is_bids(folder):
        raise InputError(
            f"{folder}: is no BIDS dataset: no dataset_description.json, no sub-*/mrs/*_svs.nii.gz"
        )
    _check(study, output, folder, overwrite)
    entries, unread = sorted_entries(folder)
    groups = _groups(folder, group)
    shares = _shares(fractions)
    if dry_run:
        return {"output": str(output), "scans": [entry.label for entry in entries], "failed": unread}
    study = _stamped(study)
    tasks = [Task(entry, _share(entry, shares), stamp(*entry.files)) for entry in entries]
    output.mkdir(exist_ok=True)
    with work_on(output, notify) as keep:
        found = _analysed(study, tasks, output, jobs, keep, notify)
        found += [_failed(label, reason, folder) for label, reason in unread.items()]
        for scan in found:
            scan["group"] = groups.get(scan["subject"], "") if group else ""
        if all(scan["status"] == FAILED for scan in found):
            raise DataError(f"{folder}: all {len(found)} scans failed; the first: {found[0]['reason']}")
        settings = _said(study) | {"group": group, "include_poor": include_poor}
        return _write(found, output, settings, include_poor, notify)


def _check(study: Study, output: Path, folder: Path, overwrite: bool) -> None:
    given = [study.protocol, study.sequence, study.basis]
    if sum(value is not None for value in given) != 1:
        raise InputError("cohort: expected one of --protocol, --seq and --basis")
    for path in (study.sequence, study.basis):
        if path is not None:
            commands.require_data(path)
    if study.assumptions is not None and study.assumptions.segmentation is not None:
        raise InputError("cohort: a segmentation is of one subject; give tissue as a table with --fractions")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: its folder {output.absolute().parent} does not exist")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file, expected a folder")
    if output.resolve() == folder.resolve():
        raise InputError(f"{output}: is the dataset itself, expected a folder for results")
    resumes = count(beside(output)) > 0
    if output.is_dir() and any(output.iterdir()) and not overwrite and not resumes:
        raise InputError(f"{output}: folder exists and is not empty; pass --overwrite to write into it")


def _stamped(study: Study) -> Study:
    protocol = Path(study.protocol) if study.protocol else None
    named = protocol if protocol is not None and protocol.is_file() else None
    absolute = {
        name: path.absolute() for name in ("sequence", "basis") if (path := getattr(study, name)) is not None
    }
    if named is not None:
        absolute["protocol"] = str(named.absolute())
    return dataclasses.replace(study, **absolute, files=stamp(study.sequence, study.basis, named))


def _said(study: Study) -> dict[str, Any]:
    """Return the settings that are not the default, files by their names alone."""
    given = {
        key: value.name if isinstance(value, Path) else value
        for key, value in study.options().items()
        if key != "assumptions" and value != getattr(Study(), key)
    }
    if study.protocol:
        given["protocol"] = Path(study.protocol).name
    if study.assumptions is None:
        return given
    usual = type(study.assumptions)()
    assumed = {f.name: getattr(study.assumptions, f.name) for f in dataclasses.fields(usual)}
    return given | {key: value for key, value in assumed.items() if value != getattr(usual, key)}


def _groups(folder: Path, column: str | None) -> dict[str, str]:
    """Return the group of each subject, as a column of `participants.tsv` has it; n/a is none."""
    from pulsespec.recon.bids import participants

    if column is None:
        return {}
    rows = participants(folder)
    if not rows:
        raise InputError(f"--group: {folder} has no participants.tsv with a row for each subject")
    columns = list(next(iter(rows.values())))
    if column not in columns or column == "participant_id":
        raise InputError(f"--group: participants.tsv has no column {column!r}, only {', '.join(columns[1:])}")
    found = {label: row[column] for label, row in rows.items() if row[column] not in ("", "n/a")}
    distinct = set(found.values())
    if not 2 <= len(distinct) <= MOST_GROUPS:
        raise InputError(
            f"--group: column {column!r} has {len(distinct)} different values, expected 2 to {MOST_GROUPS} groups"
        )
    return found


def _shares(path: Path | None) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Return tissue fractions by subject and session ("" for all of them)."""
    from pulsespec.recon.bids import read_rows
    from pulsespec.recon.quantify import QuantifySettings

    if path is None:
        return {}
    commands.require_file(path)
    found = {}
    for row in read_rows(path, ("participant_id", "gm", "wm", "csf")):
        who = row["participant_id"].removeprefix("sub-"), row.get("session_id", "").removeprefix("ses-")
        try:
            gm, wm, csf = (float(row[name]) for name in ("gm", "wm", "csf"))
            QuantifySettings(gm=gm, wm=wm, csf=csf)
        except (ValueError, InputError) as error:
            raise InputError(f"{path}: sub-{who[0]}: {error}") from error
        found[who] = (gm, wm, csf)
    return found


def _share(
    entry: "Entry", shares: Mapping[tuple[str, str], tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    known = dict(entry.entities)
    return shares.get((known["sub"], known.get("ses", "")), shares.get((known["sub"], "")))


def _analysed(
    study: Study, tasks: Sequence[Task], output: Path, jobs: int, keep: Path, notify: Notify
) -> list[dict[str, Any]]:
    """Return what became of each scan, in order; each is said as it is known."""
    one_scan = partial(_one_scan, study, output.absolute())

    def lost(task: Task, error: WorkerError) -> dict[str, Any]:
        return _outcome(task.entry.entities, FAILED, str(error))

    found = []
    given = iter_blocks(
        one_scan,
        tasks,
        jobs,
        keep=keep,
        name="scans",
        label=lambda task: task.entry.label,
        instead=lost,
        ahead=len(tasks),
    )
    for task, scan in zip(tasks, given, strict=True):
        if scan["status"] != FAILED and not (_place(output, task.entry) / "result.json").is_file():
            scan = one_scan(task)  # kept, but its files are gone
        notify(f"{task.entry.label}: {scan['status']}" + (f": {scan['reason']}" if scan["reason"] else ""))
        found.append(scan)
    return found


def _place(output: Path, entry: "Entry") -> Path:
    known = dict(entry.entities)
    place = output / f"sub-{known['sub']}"
    return (place / f"ses-{known['ses']}" if "ses" in known else place) / entry.label


def _one_scan(study: Study, output: Path, task: Task) -> dict[str, Any]:
    """Analyse one scan into its own folder; whatever goes wrong is in what is returned."""
    entry = task.entry
    target = _place(output, entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".*.{target.name}"):  # of a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    options = study.options()
    if task.fractions is not None:
        options["assumptions"] = _with_fractions(study.assumptions, task.fractions)
    raws = [entry.metabolite, *([entry.water] if entry.water else [])]
    try:
        made = analysis.run(raws, target, overwrite=True, **options)
    except Exception as error:
        for folder in (target.parent, target.parent.parent):
            with suppress(OSError):
                folder.rmdir()  # where nothing is in it
        known = isinstance(error, PulsespecError)
        words = f"{error}" if known else f"fault of the program: {type(error).__name__}: {error}"
        return _outcome(entry.entities, FAILED, _without_paths(words, entry.metabolite))
    why = (
        ""
        if made["converged"]
        else next((w for w in made["warnings"] if "refus" in w), "the fit was refused")
    )
    return _outcome(entry.entities, DONE if made["converged"] else REFUSED, why, made)


def _with_fractions(
    assumptions: "QuantifySettings | None", shares: tuple[float, float, float]
) -> "QuantifySettings":
    from pulsespec.recon.quantify import QuantifySettings

    gm, wm, csf = shares
    return dataclasses.replace(
        assumptions or QuantifySettings(), gm=gm, wm=wm, csf=csf, fractions_from="--fractions"
    )


def _without_paths(words: str, scan: Path) -> str:
    """Return an error without the folders above the dataset, which may say more than labels do."""
    top = next((p.parent for p in scan.parents if p.name.startswith("sub-")), scan.parent)
    for path in (top.absolute(), top.resolve(), top):
        words = words.replace(f"{path}/", "")
    return " ".join(words.split())


def _failed(label: str, reason: str, folder: Path) -> dict[str, Any]:
    pairs = [(part.split("-")[0], part.split("-")[1]) for part in label.split("_")]
    return _outcome(pairs, FAILED, _without_paths(reason, folder / "sub-" / "x"))


def _outcome(
    entities: Sequence[tuple[str, str]], status: str, reason: str, made: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the tables say of a scan: whose it is, what became of it, how good it is, its concentrations."""
    from pulsespec.recon.group_tables import FIGURES

    known = dict(entities)
    judged = (made or {}).get("quality") or {"verdict": "", "measures": {}}
    figures = {name: judged["measures"].get(name, {}).get("value") for name in FIGURES}
    return {
        "subject": known["sub"],
        "session": known.get("ses", ""),
        "scan": "_".join(
            f"{key}-{value}" for key, value in entities if key not in ("sub", "ses", "run", "desc")
        ),
        "run": known.get("run", ""),
        "label": "_".join(f"{key}-{value}" for key, value in entities),
        "status": status,
        "reason": reason,
        "verdict": judged["verdict"],
        **{name: math.nan if value is None else float(value) for name, value in figures.items()},
        "warnings": list((made or {}).get("warnings", ())),
        "concentrations": [dict(row) for row in (made or {}).get("concentrations", ())],
    }


def _write(
    scans: Sequence[dict[str, Any]],
    output: Path,
    settings: Mapping[str, Any],
    include_poor: bool,
    notify: Notify,
) -> dict[str, Any]:
    """Write tables and page of a study, and return what the command line prints."""
    from pulsespec.recon import group, group_page, group_tables
    from pulsespec.recon.results import write_table

    counted = [
        scan for scan in scans if scan["status"] == DONE and (include_poor or scan["verdict"] != "poor")
    ]
    values = group.gather(group_tables.long_rows(counted, ()))
    summary, compared, far = group.summaries(values), group.comparisons(values), group.outliers(values)
    _mark(scans)
    long = group_tables.long_rows(scans, far)
    wide_columns, wide = group_tables.wide_rows(scans)
    tables: dict[str, tuple[Sequence[Mapping[str, Any]], Sequence[str]]] = {
        "scans.tsv": (scans, group_tables.SCANS),
        "group.tsv": (long, group_tables.LONG),
        "group_wide.tsv": (wide, wide_columns),
        "statistics.tsv": (summary, group_tables.SUMMARY),
        "outliers.tsv": (far, ("scan", "subject", "group", "metabolite", "quantity", "value", "z")),
    }
    if settings["group"]:
        tables["comparisons.tsv"] = (compared, group_tables.COMPARISON)
    for name, (rows, columns) in tables.items():
        write_table(rows, output / name, overwrite=True, columns=columns)
    shown = {key: str(value) for key, value in settings.items() if value not in (None, False, "")}
    page = group_page.Page(scans, values, summary, compared, far, shown, len(counted))
    _text(output / "group.html", group_page.render(page))
    facts = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": shown,
        "counted": len(counted),
        "scans": [{k: v for k, v in scan.items() if k != "concentrations"} for scan in scans],
    }
    _text(output / "group.json", to_json(facts) + "\n")
    notify(f"{len(counted)} of {len(scans)} scans count in the statistics")
    rows = [{name: scan[name] for name in ("label", "status", "verdict", "snr", "reason")} for scan in scans]
    return {"output": str(output), "scans": rows, "statistics": summary, "comparisons": compared}


def _text(path: Path, content: str) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _mark(scans: Sequence[dict[str, Any]]) -> None:
    """Say of each scan in which figures of quality it stands out of its kind."""
    import numpy as np

    from pulsespec.recon.group import FAR, modified_z

    for scan in scans:
        scan["outlier"] = ""
    is_known: Callable[[float], bool] = math.isfinite
    for kind in {scan["scan"] for scan in scans}:
        for name in ("snr", "linewidth_ppm"):
            some = [scan for scan in scans if scan["scan"] == kind and is_known(scan[name])]
            z = modified_z(np.array([scan[name] for scan in some]))
            for scan, one in zip(some, z, strict=True):
                if abs(one) > FAR:
                    scan["outlier"] = ",".join(filter(None, [scan["outlier"], name]))
