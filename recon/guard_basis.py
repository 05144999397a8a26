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
        Nucleus, field (by more than 0.5 %) or echo time (by more than 1 ms) differ; the message has both values.

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
    if abs(data.reference_ppm - basis.reference_ppm) > 0.01:
        notices.append(
            f"the data are centred on {data.reference_ppm} ppm, the basis on {basis.reference_ppm} ppm"
        )
    return tuple(notices)
