"""What a spectrum is of: what holds for brain is expected of brain only."""

import numpy as np

from pulsespec.conventions import field_from_larmor
from pulsespec.recon.fit_settings import FitSettings
from pulsespec.recon.transients import Transients
from pulsespec.recon.verdict import NOT_APPLICABLE, Assessment
from pulsespec.simulator.tissue_library import load_tissue

_SHIM_HZ = 0.5
"""The least that a field in tissue adds to the width that T2 gives."""


def settings_for(
    data: Transients, judged: Assessment | None, phantom: bool = False
) -> tuple[FitSettings, tuple[str, ...]]:
    """Return how to fit, and a notice where what holds for brain is not expected of the data.

    The user says that it is a phantom, or the spectrum does: it has nothing like NAA, Cr and Cho though signal is
    there, or lines narrower than T2 in brain allows.
    """
    why = "asked for" if phantom else _narrow(data, judged)
    if not why and judged is not None and judged.verdict == NOT_APPLICABLE and data.nucleus == "1H":
        why = "; ".join(judged.reasons[:1])
    if not why:
        return FitSettings(), ()
    words = f"fitted as no brain, without its T2 and its usual amounts of metabolites: {why}"
    return FitSettings(t2_widths=False, metabolite_priors=False), (words,)


def _narrow(data: Transients, judged: Assessment | None) -> str:
    """Return in words that lines are too narrow for brain, or nothing."""
    if judged is None or data.nucleus != "1H":
        return ""
    width_hz = judged.get("linewidth_ppm").value * data.f0_hz * 1e-6
    t2_s = load_tissue("grey-matter").times("Cr", field_from_larmor(data.f0_hz, "1H")).t2_s
    least_hz = 1 / (np.pi * t2_s) + _SHIM_HZ
    if not width_hz < least_hz:
        return ""
    return f"lines are {width_hz:.1f} Hz wide, less than T2 of creatine in brain and a shim allow ({least_hz:.1f} Hz)"
