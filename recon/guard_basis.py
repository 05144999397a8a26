"""Whether a basis belongs to the data, by what both say of themselves, before any fit."""

import re
from typing import Any

from pulsespec.errors import MismatchError
from pulsespec.recon.guard_functions import functions
from pulsespec.recon.transients import Transients

_FIELD_TOLERANCE = 0.005
_FIELD_NOTICE = 0.001
_TE_TOLERANCE_S = 0.001
_UNITS = (1e3, 1e6, 1e9)
_KINDS = {
    "PRESS": r"press|svs_se|probe-?p",
    "STEAM": r"steam|svs_st|probe-?s",
    "semi-LASER": r"s(emi)?[-_ ]?laser",
    "MEGA-PRESS": r"mega|mpress|svs_edit",
    "SPECIAL": r"special",
}
"""Words by which the names of sequences tell their kind; svs_* is Siemens', PROBE GE's."""


def compare(data: Transients, basis: Any) -> tuple[str, ...]:
    """Return notices on small differences between data and basis.

    Raises
    ------
    MismatchError
        Nucleus, field (by more than 0.5 %), echo time, TE1, TE2 or mixing time (by more than 1 ms) or the editing
        conditions differ, or the functions are not what they should be (see `guard_functions`); the message has both
        values.

    """
    name = data.source or "data"
    if data.nucleus != basis.nucleus:
        raise MismatchError(f"{name}: nucleus {data.nucleus}, but the basis is for {basis.nucleus}")
    notices = [*_field(data, basis), *_timing(data, basis), *_sequence(data, basis)]
    notices += _conditions(data, basis)
    if abs(data.reference_ppm - basis.reference_ppm) > 0.01:
        notices.append(
            f"the data are centred on {data.reference_ppm} ppm, the basis on {basis.reference_ppm} ppm"
        )
    return (*notices, *functions(data, basis))


def _field(data: Transients, basis: Any) -> list[str]:
    ratio = basis.f0_hz / data.f0_hz
    if abs(ratio - 1) > _FIELD_TOLERANCE:
        raise MismatchError(
            f"{data.source or 'data'}: spectrometer frequency {data.f0_hz * 1e-6:.3f} MHz, but the basis is for "
            f"{basis.f0_hz * 1e-6:.3f} MHz (another field)"
        )
    if abs(ratio - 1) > _FIELD_NOTICE:
        return [
            f"the basis is for {basis.f0_hz * 1e-6:.3f} MHz, the data are at {data.f0_hz * 1e-6:.3f} MHz: "
            "simulate it at the frequency of the data"
        ]
    return []


def _timing(data: Transients, basis: Any) -> list[str]:
    """Compare echo times and, where both are known, the times within them."""
    of_data, of_basis = (
        _times(data.te_s, data.header.get("timing_s")),
        _times(basis.te_s, getattr(basis, "provenance", {}).get("timing_s")),
    )
    for what in of_data.keys() & of_basis.keys():
        ours, theirs = of_data[what], of_basis[what]
        if abs(ours - theirs) <= _TE_TOLERANCE_S:
            continue
        factor = max(ours, theirs) / max(min(ours, theirs), 1e-300)
        units = any(abs(factor / unit - 1) < 0.2 for unit in _UNITS)
        raise MismatchError(
            f"{data.source or 'data'}: {what} {_ms(ours)}, but the basis is for {_ms(theirs)}"
            + (f" (a factor of {factor:.3g}: one of them is in another unit)" if units else "")
        )
    if "echo time" not in of_data.keys() & of_basis.keys():
        return ["echo time of data or basis is not known, so they could not be compared"]
    return []


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if 1e-4 < seconds < 10 else f"{seconds * 1e3:.6g} ms"


def _times(te_s: float | None, more: Any) -> dict[str, float]:
    times = {str(key): float(value) for key, value in more.items()} if isinstance(more, dict) else {}
    return times if te_s is None else {"echo time": te_s} | times


def _sequence(data: Transients, basis: Any) -> list[str]:
    """Compare the files that were played, or the kinds that the names of the sequences tell."""
    ours, theirs = data.header.get("sequence_hash"), getattr(basis, "sequence_hash", "")
    if ours and theirs:
        if ours == theirs:
            return []
        return [
            f"the data are of the sequence file {ours[:12]}, the basis is of {theirs[:12]} "
            f"({getattr(basis, 'sequence', '') or 'no name'}): another voxel or another sequence"
        ]
    kinds = [_kinds(data.sequence), _kinds(getattr(basis, "sequence", ""))]
    if all(kinds) and not kinds[0] & kinds[1]:
        first, second = (" or ".join(sorted(kind)) for kind in kinds)
        return [f"the data are called {first} ({data.sequence}), the basis {second} ({basis.sequence})"]
    return []


def _kinds(name: str) -> set[str]:
    return {kind for kind, words in _KINDS.items() if re.search(words, name, re.IGNORECASE)}


def _conditions(data: Transients, basis: Any) -> list[str]:
    """Compare the factors with which data and basis add editing conditions, where both say them.

    A basis of one condition, {0: 1}, is also what sequences without editing have, so without factors the data
    are taken as unedited.
    """
    name = data.source or "data"
    weights = data.header.get("condition_weights")
    of_data = None if weights is None else {k: float(w) for k, w in enumerate(weights) if w}
    said = getattr(basis, "provenance", {}).get("conditions")
    of_basis = {int(k): float(w) for k, w in said.items() if w} if isinstance(said, dict) else None
    if of_data is None:
        if of_basis is not None and len(of_basis) > 1:
            return [f"the basis is of editing conditions {_words(of_basis)}, and the data do not say theirs"]
        return []
    if of_basis is None:
        return [
            f"the data are editing conditions {_words(of_data)}, and the basis does not say which it is computed for"
        ]
    if not _proportional(of_data, of_basis):
        raise MismatchError(
            f"{name}: is of editing conditions {_words(of_data)}, but the basis of {_words(of_basis)}: simulate it "
            f"with --conditions {_words(of_data)}"
        )
    factor = next(of_data[k] / of_basis[k] for k in of_data)
    if abs(factor - 1) > 1e-6:
        return [
            f"the data are {factor:g} times the basis in their editing conditions: concentrations are, too"
        ]
    return []


def _proportional(first: dict[int, float], second: dict[int, float]) -> bool:
    if first.keys() != second.keys():
        return False
    ratios = [first[k] / second[k] for k in first]
    return ratios[0] > 0 and max(ratios) - min(ratios) < 1e-6 * max(ratios)


def _words(weights: dict[int, float]) -> str:
    return ",".join(f"{k}:{weight:g}" for k, weight in weights.items())
