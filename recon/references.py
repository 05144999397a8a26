"""Several water references of one scan: which is used for the coils, the eddy currents, the quantities."""

import re
from dataclasses import dataclass, replace

import numpy as np

from pulsespec.recon.transients import Record, Scan, Transients

_SAME_TE_S = 1e-4
_SAME_DWELL = 1e-3
_WORDS = {
    "eddy": ("ecc", "eddy", "eddycurrent"),
    "quantity": ("quant", "conc", "quantification"),
    "coil": ("wref", "coil", "coils", "cc"),
}
"""What names of files call a reference's use, as whole words."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    data: Transients
    words: frozenset[str]
    signal: float
    """Largest magnitude at the start of the FIDs."""
    fits: bool
    """Same echo and dwell time as the metabolites and no fewer samples."""
    same_protocol: bool
    """The header calls the measurement what it calls that of the metabolites."""


def with_references(metabolite: Transients, waters: list[Transients]) -> Scan:
    """Return a scan with each water reference where it serves best, and say so in a record.

    The one for coils must have the coils of the metabolites; of several the one with most shots. The one for
    eddy currents should have the echo time, dwell time and protocol name of the metabolites. The one for
    quantities is the strongest of those left. A name that says its use (ecc, quant, wref) decides
    between those that would do.
    """
    if len(waters) == 1:
        return Scan(metabolite, waters[0])
    known = [_candidate(water, metabolite) for water in waters]
    eddy = max(known, key=lambda c: (c.fits, _said(c, "eddy"), c.same_protocol, c.signal))
    left = [c for c in known if c is not eddy] or known
    quantity = max(left, key=lambda c: (c.fits, _said(c, "quantity"), c.data.size("average") > 1, c.signal))
    n_coils = metabolite.size("coil")
    able = [c for c in known if "coil" in c.data.dims and c.data.size("coil") == n_coils] or known
    coil = max(able, key=lambda c: (_said(c, "coil"), c.data.size("average"), c.signal))
    why = {
        "coils": f"{coil.data.source} ({coil.data.size('average')} shots, {coil.data.size('coil')} coils)",
        "eddy currents": f"{eddy.data.source} ({_likeness(eddy)})",
        "quantities": f"{quantity.data.source} ({quantity.data.size('average')} shots)",
    }
    details = "; ".join(f"{use}: {choice}" for use, choice in why.items())
    unused = [c.data.source for c in known if c not in (coil, eddy, quantity)]
    details += f"; not used: {', '.join(unused)}" if unused else ""
    record = Record("Water references", f"{len(waters)} of them. {details}")
    return Scan(
        replace(metabolite, records=(*metabolite.records, record)),
        quantity.data,
        None if coil is quantity else coil.data,
        None if eddy is quantity else eddy.data,
    )


def _candidate(water: Transients, metabolite: Transients) -> _Candidate:
    apart = None if water.te_s is None or metabolite.te_s is None else abs(water.te_s - metabolite.te_s)
    same_time = abs(water.dwell_s / metabolite.dwell_s - 1) < _SAME_DWELL
    protocol = water.header.get("protocol")
    return _Candidate(
        water,
        frozenset(re.split(r"[^a-z]+", water.source.lower())),
        float(max(np.abs(water.data[index][..., :16]).max() for index in np.ndindex(water.data.shape[:-1]))),
        same_time and water.samples >= metabolite.samples and (apart is None or apart < _SAME_TE_S),
        protocol is not None and protocol == metabolite.header.get("protocol"),
    )


def _said(candidate: _Candidate, use: str) -> bool:
    return not candidate.words.isdisjoint(_WORDS[use])


def _likeness(candidate: _Candidate) -> str:
    same = "timing of the metabolites" if candidate.fits else "timing differs from the metabolites'"
    return f"{same}{', same protocol' if candidate.same_protocol else ''}"
