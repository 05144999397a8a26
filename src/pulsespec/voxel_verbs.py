"""What `fit` does with spectra of several voxels: all fitted at once, one table."""

import dataclasses
from collections import Counter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pulsespec
from pulsespec import commands
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import DataError, InputError, MismatchError, PulsespecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pulsespec.recon.fit import BatchResult
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.transients import Scan, Transients

SPACE = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class Voxel:
    """A voxel that is fitted."""

    index: dict[str, int]
    """Where it is in the data, from 0, by dimension."""
    scan: "Scan"
    """As it is fitted."""


def is_image(scan: "Scan") -> bool:
    """Return whether the metabolite data are of several voxels."""
    return scan.metabolite is not None and any(name in scan.metabolite.dims for name in SPACE)


def fit_voxels(
    scan: "Scan",
    basis: Any,
    folder: Path,
    settings: "Mapping[str, Any]",
    notify: Notify = silent,
    assumptions: "QuantifySettings | None" = None,
) -> dict[str, Any]:
    """Fit all voxels of a scan with one basis, write `concentrations.tsv` and `result.json` and return the table.

    Its first columns say which voxel a row is of. What was converged of several voxels is "any of them"; rows of one
    that did not are empty and flagged.

    Raises
    ------
    InputError
        A segmentation is named: where single voxels lie in it is not known here.
    MismatchError
        The water reference has other voxels.
    DataError
        Nothing is in any voxel.

    """
    from pulsespec.recon.fit import FitSettings, fit_batch
    from pulsespec.recon.results import TABLE, write_table
    from pulsespec.simulator.broad import fit_lines

    if assumptions is not None and assumptions.segmentation is not None:
        raise InputError("--segmentation: got several voxels, expected a single voxel for tissue fractions")
    voxels, notices = separate(scan, notify)
    spectra, said = _together(voxels, basis)
    if not basis.broad:
        basis = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    how = FitSettings()
    if assumptions is not None and not assumptions.relaxation:
        how = dataclasses.replace(how, t2_widths=False)
    notify(f"fitting {len(basis.names)} components in {len(voxels)} voxels")
    batch = fit_batch(spectra, basis, how)
    rows, facts = _tables(voxels, batch, basis, assumptions)
    warnings = [*notices, *said, *_in_how_many(facts)]
    where = tuple(voxels[0].index)
    write_table(rows, folder / "concentrations.tsv", columns=(*where, *TABLE))
    result = {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": dict(settings),
        "data": {"source": spectra.source, "samples": spectra.samples, "dwell_s": spectra.dwell_s},
        "basis": commands.describe(basis) | {"provenance": dict(basis.provenance)},
        "fit_settings": dataclasses.asdict(batch.settings),
        "warnings": warnings,
        "voxels": facts,
    }
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    for words in warnings:
        notify(f"warning: {words}")
    return {"concentrations": rows, "warnings": warnings, "converged": bool(np.any(batch.converged))}


def separate(scan: "Scan", notify: Notify = silent) -> tuple[list[Voxel], list[str]]:
    """Return every voxel as a single one is prepared for its fit, and a word on each that is left out."""
    from pulsespec.recon.pipeline import ReconSettings, recon

    data = scan.metabolite
    assert data is not None
    where = tuple(name for name in SPACE if name in data.dims)
    sizes = [data.size(name) for name in where]
    water = scan.water
    if water is not None and [water.size(n) if n in water.dims else 0 for n in where] != sizes:
        raise MismatchError(
            f"{water.source or 'water'}: dims {water.dims} of shape {water.data.shape}, expected the voxels of "
            f"{data.source or 'the data'}: {', '.join(map(str, sizes))} along {', '.join(where)}"
        )
    notify(f"processing {data.source or 'data'}: {', '.join(f'{d} {data.size(d)}' for d in data.dims)}")
    how = ReconSettings(eddy_current_correction=False, alignment=False, phasing=False)
    found, notices = [], []
    for index in product(*map(range, sizes)):
        at = dict(zip(where, index, strict=True))
        one = dataclasses.replace(
            scan, metabolite=_at(data, at), water=None if water is None else _at(water, at)
        )
        try:
            if not np.any(one.metabolite.data if one.metabolite is not None else 0):
                raise DataError("no signal")
            found.append(Voxel(at, recon(one, how)))
        except PulsespecError as error:
            notices.append(f"voxel {', '.join(f'{n} {k}' for n, k in at.items())} is left out: {error}")
    if not found:
        raise DataError(f"{data.source or 'data'}: no voxel can be fitted: {notices[0]}")
    return found, notices


def _at(data: "Transients", index: "Mapping[str, int]") -> "Transients":
    part = tuple(index.get(name, slice(None)) for name in data.dims)
    return data.with_data(data.data[part], drop=tuple(index))


def _together(voxels: "Sequence[Voxel]", basis: Any) -> "tuple[Transients, tuple[str, ...]]":
    """Return the spectra of all voxels, dims ("x", "t"), held against the basis by the one of most signal."""
    from pulsespec.recon.guard_pair import matched

    spectra = [_spectrum(voxel) for voxel in voxels]
    fids = np.array([one.data for one in spectra])
    strongest = int(np.argmax(np.sum(np.abs(fids) ** 2, axis=1)))
    as_is = spectra[strongest]
    checked, said = matched(as_is, basis)
    fids = fids[:, : checked.samples]
    if np.array_equal(checked.data, fids[strongest].conj()) and not np.array_equal(
        checked.data, fids[strongest]
    ):
        fids = fids.conj()
    return dataclasses.replace(checked, data=fids.copy(), dims=("x", "t")), said


def _spectrum(voxel: Voxel) -> "Transients":
    assert voxel.scan.metabolite is not None
    return voxel.scan.metabolite


def _in_how_many(facts: "Sequence[Mapping[str, Any]]") -> list[str]:
    """Return every warning once, with the number of voxels that have it."""
    found = Counter(word for one in facts for word in dict.fromkeys(one["warnings"]))
    return [f"{word} ({count} of {len(facts)} voxels)" for word, count in found.items()]


def _tables(
    voxels: "Sequence[Voxel]", batch: "BatchResult", basis: Any, assumptions: "QuantifySettings | None"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of all voxels, and what `result.json` says of each."""
    from pulsespec.recon.quantify import quantify
    from pulsespec.recon.table_flags import flagged

    rows: list[dict[str, Any]] = []
    facts = []
    for number, voxel in enumerate(voxels):
        found = batch.one(number)
        amounts = quantify(found, _spectrum(voxel), voxel.scan.water, basis, assumptions)
        rows += [dict(voxel.index) | row for row in flagged(list(amounts.rows), found)]
        facts.append(
            {
                "voxel": dict(voxel.index),
                "converged": found.converged,
                "message": found.message,
                "parameters": dict(found.parameters),
                "noise_sd": found.noise_sd,
                "warnings": [*amounts.warnings, *found.warnings],
            }
        )
    return rows, facts
