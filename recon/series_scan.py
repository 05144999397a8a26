"""From raw data to one clean spectrum for each member of a series: as `pipeline`, with one dimension kept.

Members may differ in amplitude, phase and frequency by design (diffusion weighting, inversion), so by default shots
are aligned, judged and averaged within their member alone: what diffusion takes away is no outlier then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulsespec.errors import DataError, InputError
from pulsespec.recon.averaging import average
from pulsespec.recon.outliers import METHOD as OUTLIERS
from pulsespec.recon.outliers import kept
from pulsespec.recon.pipeline import STEPS, ReconSettings, check
from pulsespec.recon.series_order import Order, of_water
from pulsespec.recon.transients import Record, Scan, Transients

_MOST_LISTED = 20
_REFERENCES = ("water averaging", "first point repair", "spike removal", "eddy current correction")
_SHOTS = ("alignment", "outlier rejection", "averaging")
_AFTER = ("water removal", "lipid removal", "shaping")


@dataclass(frozen=True)
class Series:
    """Spectra of one voxel that differ by design."""

    spectra: Transients
    """Clean FIDs; dims ("series", "t")."""
    order: Order
    water: Transients | None = None
    """Water reference: dims ("series", "t") where each member has one, else ("t",)."""


def recon_series(
    scan: Scan, order: Order, settings: ReconSettings | None = None, alignment: str = "each"
) -> Series:
    """Process the shots of a scan to one spectrum for each member of the series.

    Parameters
    ----------
    scan
        All shots in the order in which they were acquired: dims ("average", "t") or ("average", "coil", "t").
    order
        Which member each shot belongs to.
    settings
        Steps, as for a single spectrum; the phase is left to the fit.
    alignment
        "each": shots of each member among themselves. "all": all shots, which then differ by little.

    Raises
    ------
    DataError
        The data are empty, not finite, or have other dimensions than shots and coils.

    """
    settings = settings or ReconSettings()
    scan = _checked(scan, order)
    steps = dict(STEPS)

    def through(one: Scan, names: Sequence[str]) -> Scan:
        for name in names:
            one = steps[name](one, settings)
        return one

    scan = through(scan, ("coil combination",))
    own_water = alignment == "each" and _has_own_water(scan, order)
    if not own_water:
        scan = through(scan, _REFERENCES)
    if alignment == "all":
        members = [Scan(part, scan.water) for part in _averaged(through(scan, _SHOTS[:-1]), order, settings)]
    else:
        names = (*_REFERENCES, *_SHOTS) if own_water else _SHOTS
        members = [through(member, names) for member in _members(scan, order, own_water)]
    spectra = _stacked([member.metabolite for member in members])
    done = through(Scan(spectra), _AFTER).metabolite
    assert done is not None
    if own_water:
        return Series(done, order, _stacked([member.water for member in members]))
    return Series(done, order, scan.water)


def _checked(scan: Scan, order: Order) -> Scan:
    data = scan.metabolite
    if data is None:
        raise InputError("series: a water reference alone, expected metabolite data")
    if "edit" in data.dims:
        raise InputError(
            f"{data.source or 'data'}: is a series of edited spectra; series of one condition are fitted alone"
        )
    if "series" in data.dims:
        data = _flat(data)
    if "average" not in data.dims:
        data = replace(data, data=data.data[np.newaxis], dims=("average", *data.dims))
    if data.size("average") != order.entry.size:
        raise DataError(
            f"{data.source or 'data'}: {data.size('average')} shots, the series counts {order.entry.size}"
        )
    for part in (data, scan.water, scan.coil_reference, scan.eddy_reference):
        if part is not None:
            check(part)
    record = Record("Series", order.words, {"shots": order.counts.tolist()})
    return replace(scan, metabolite=replace(data, records=(*data.records, record)))


def _flat(data: Transients) -> Transients:
    """Return data with the members of the series and their shots as one dimension of shots."""
    at = data.axis("series")
    if "average" not in data.dims:
        dims = tuple("average" if name == "series" else name for name in data.dims)
        return replace(data, data=data.data, dims=dims)
    shape = (*data.data.shape[:at], -1, *data.data.shape[at + 2 :])
    return replace(data, data=data.data.reshape(shape), dims=tuple(d for d in data.dims if d != "series"))


def _has_own_water(scan: Scan, order: Order) -> bool:
    """Return whether the shots of every water reference follow each other as those of the metabolites do."""
    waters = [part for part in (scan.water, scan.eddy_reference) if part is not None]
    return bool(waters) and all(
        "average" in water.dims and of_water(order, water.size("average")) is not None for water in waters
    )


def _members(scan: Scan, order: Order, own_water: bool) -> list[Scan]:
    """Return the shots of each member, with its own water where the reference was acquired in the same cycle."""
    data = scan.metabolite
    assert data is not None
    found = []
    for k in range(order.size):
        own = _shots(data, order.entry == k)
        water, eddy = (
            _water(part, order, k) if own_water else part for part in (scan.water, scan.eddy_reference)
        )
        found.append(Scan(own, water, None, eddy))
    return found


def _water(water: Transients | None, order: Order, member: int) -> Transients | None:
    if water is None:
        return None
    entry = of_water(order, water.size("average"))
    return _shots(water, entry == member)


def _shots(data: Transients, which: Any) -> Transients:
    return replace(data, data=np.compress(which, data.data, axis=data.axis("average")))


def _averaged(scan: Scan, order: Order, settings: ReconSettings) -> list[Transients]:
    """Return the mean of the shots of each member that were kept among all; all of them where none was."""
    data = scan.metabolite
    assert data is not None
    keep = kept(data)
    plain = replace(data, records=tuple(r for r in data.records if r.method != OUTLIERS))
    found = []
    for k in range(order.size):
        own = order.entry == k
        which = own & keep if np.any(own & keep) else own
        found.append(average(_shots(plain, which), settings.averaging))
    judged = [record for record in data.records if record.method == OUTLIERS]
    return [replace(part, records=(*part.records[:-1], *judged, part.records[-1])) for part in found]


def _stacked(parts: Sequence[Transients | None]) -> Transients:
    """Return the spectra of all members in one array, and one record for each step that was taken on them."""
    given = [part for part in parts if part is not None]
    first = given[0]
    data = np.stack([part.data for part in given])
    by_step: dict[tuple[str, int], list[tuple[int, Record]]] = {}
    for k, part in enumerate(given):
        seen: Counter[str] = Counter()
        for record in part.records:
            by_step.setdefault((record.method, seen[record.method]), []).append((k, record))
            seen[record.method] += 1
    records = [_merged(found, len(given)) for found in by_step.values()]
    return replace(first, data=data, dims=("series", "t"), records=tuple(records))


def _merged(found: Sequence[tuple[int, Record]], count: int) -> Record:
    """Return one record of a step that was taken on some or all of the members."""
    first = found[0][1]
    if len(found) == count and all(record.details == first.details for _, record in found):
        return first
    each = [f"spectrum {k + 1}: {record.details}" for k, record in found]
    more = f"; and so on for {len(each)} spectra" if len(each) > _MOST_LISTED else ""
    return Record(first.method, "; ".join(each[:_MOST_LISTED]) + more)
