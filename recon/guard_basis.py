"""Whether a basis belongs to the data, before any fit."""

from typing import Any

from pulsespec.errors import MismatchError
from pulsespec.recon.transients import Transients

_FIELD_TOLERANCE = 0.005
_FIELD_NOTICE = 0.001
_TE_TOLERANCE_S = 0.001


def compare(data: Transients, basis: Any) -> tuple[str, ...]:
    """Return notices on small differences between data and basis.

    Raises
    ------
    MismatchError
        Nucleus, field (by more than 0.5 %), echo time (by more than 1 ms) or the factors of the editing conditions
        differ; the message has both values.

    """
    name = data.source or "data"
    if data.nucleus != basis.nucleus:
        raise MismatchError(f"{name}: nucleus {data.nucleus}, but the basis is for {basis.nucleus}")
    ratio = basis.f0_hz / data.f0_hz
    if abs(ratio - 1) > _FIELD_TOLERANCE:
        raise MismatchError(
            f"{name}: spectrometer frequency {data.f0_hz * 1e-6:.3f} MHz, but the basis is for "
            f"{basis.f0_hz * 1e-6:.3f} MHz (another field)"
        )
    notices = []
    if abs(ratio - 1) > _FIELD_NOTICE:
        notices.append(
            f"the basis is for {basis.f0_hz * 1e-6:.3f} MHz, the data are at {data.f0_hz * 1e-6:.3f} MHz: "
            "simulate it at the frequency of the data"
        )
    if data.te_s is None or basis.te_s is None:
        notices.append("echo time of data or basis is not known, so they could not be compared")
    elif abs(data.te_s - basis.te_s) > _TE_TOLERANCE_S:
        raise MismatchError(
            f"{name}: echo time {data.te_s * 1e3:.2f} ms, but the basis is for {basis.te_s * 1e3:.2f} ms"
        )
    notices += _conditions(data, basis)
    if abs(data.reference_ppm - basis.reference_ppm) > 0.01:
        notices.append(
            f"the data are centred on {data.reference_ppm} ppm, the basis on {basis.reference_ppm} ppm"
        )
    return tuple(notices)


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
