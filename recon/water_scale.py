"""The factor between an amplitude and a concentration, by the water of the same voxel, and all that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulsespec.conventions import field_from_larmor
from pulsespec.recon.constants import TISSUES, Constants, constants_at
from pulsespec.recon.quantify_settings import QuantifySettings
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scaling import Acquisition, Factors, Timing, factors
from pulsespec.recon.water_size import water_amplitude
from pulsespec.simulator.relaxation import WATER

ASSUMED = "assumed: half grey and half white matter, no CSF"


@dataclass(frozen=True)
class Scale:
    """What amplitudes are multiplied by."""

    factors: Factors
    unit: float
    """Amplitude of water of 1 mM over its amplitude in the basis."""
    relative_sd: float
    warnings: tuple[str, ...]
    settings: Mapping[str, Any]
    constants: Constants


def water_scale(
    names: Sequence[str],
    spectrum: Transients,
    water: Transients | None,
    basis: Any,
    settings: QuantifySettings,
) -> Scale | str:
    """Return what amplitudes are multiplied by, or why there is nothing to scale with."""
    why = without_scale(water, basis, settings)
    if why or water is None:
        return why
    in_basis = settings.basis_water if basis.water is None else float(np.abs(basis.water.amplitude.sum()))
    assert in_basis is not None
    size, size_sd = water_amplitude(water)
    field_t = field_from_larmor(spectrum.f0_hz, spectrum.nucleus)
    broad = tuple(getattr(basis, "broad", ()))
    constants, words = constants_at(field_t, names, settings.constants, broad)
    acquisition, more, relaxed = acquisition_of(spectrum, water, basis, settings)
    words = (*words, *more, *assumptions(settings))
    fractions = np.array([settings.gm, settings.wm, settings.csf])
    found = factors(
        constants,
        names,
        fractions,
        acquisition,
        fraction_sd=settings.fraction_sd,
        water_mm=settings.water_mm,
    )
    used = _used(names, settings, constants, acquisition, found, (size, size_sd, in_basis))
    return Scale(
        found,
        size / in_basis,
        size_sd / size,
        words,
        used | {"basis_includes_relaxation": relaxed},
        constants,
    )


def without_scale(water: Transients | None, basis: Any, settings: QuantifySettings) -> str:
    """Return why there is nothing to scale with; empty where there is."""
    if water is None:
        return "no water reference: concentrations in mM are not given"
    if basis.water is None and settings.basis_water is None:
        return (
            "the basis has no water of its own sequence: concentrations in mM are not given; where a proton that "
            "is fully excited gives a signal of 1 in it, --basis-water 2 says so"
        )
    return ""


def assumptions(settings: QuantifySettings) -> tuple[str, ...]:
    """Return a word on what nobody said of the voxel."""
    if settings.water_mm is not None:
        if settings.relaxation and settings.constants is None:
            return (
                "water of a stated concentration is corrected with relaxation times of brain; a phantom has its own: "
                "give them with --constants, or --no-relaxation",
            )
        return ()
    if settings.assumed:
        return (
            "tissue fractions are not known: half grey and half white matter without CSF are assumed for mM "
            "(--segmentation, or --gm, --wm and --csf)",
        )
    return ()


def acquisition_of(
    spectrum: Transients, water: Transients, basis: Any, settings: QuantifySettings
) -> tuple[Acquisition, tuple[str, ...], bool]:
    """Return the timings to correct with, a warning where one is not known, and whether the basis has relaxation."""
    times = getattr(basis, "provenance", {}).get("relaxation") or {}
    if not settings.relaxation:
        return Acquisition(None, None), (), bool(times)
    mine, its = _timing(spectrum, water), _timing(water, spectrum)
    if mine is None or its is None:
        words = "TE or TR is not known: concentrations are not corrected for relaxation"
        return Acquisition(None, None), (words,), bool(times)
    acquisition = Acquisition(None if WATER in times else its, None if times else mine)
    return acquisition, _borrowed(spectrum, water), bool(times)


def _borrowed(spectrum: Transients, water: Transients) -> tuple[str, ...]:
    """Return a word on each time that one of the two files does not say and that is taken from the other."""
    words = []
    for key, name in (("te_s", "TE"), ("tr_s", "TR")):
        silent = [
            what for part, what in ((spectrum, "metabolites"), (water, "water")) if not getattr(part, key)
        ]
        if len(silent) == 1:
            words.append(f"{name} of the {silent[0]} is not in the file: taken as that of the other")
    return tuple(words)


def _timing(data: Transients, other: Transients) -> Timing | None:
    """Return when data were measured; what their header does not say is as in the `other`."""
    te_s = data.te_s if data.te_s is not None else other.te_s
    tr_s = data.tr_s if data.tr_s is not None else other.tr_s
    if te_s is None or tr_s is None:
        return None
    times = [part.header.get("timing_s") or {} for part in (data, other)]
    tm_s = next((float(known["TM"]) for known in times if known.get("TM")), None)
    flip = data.header.get("ExcitationFlipAngle", other.header.get("ExcitationFlipAngle"))
    flip_deg = float(flip) if isinstance(flip, (int, float)) and 0 < flip < 90 else 90.0
    return Timing(
        te_s,
        tr_s,
        tm_s if tm_s is not None and tm_s + te_s < tr_s else None,
        flip_deg,
    )


def _used(
    names: Sequence[str],
    settings: QuantifySettings,
    constants: Constants,
    acquisition: Acquisition,
    found: Factors,
    water: tuple[float, float, float],
) -> dict[str, Any]:
    """Return the summary that stands in the result."""
    size, size_sd, in_basis = water
    still = replace(acquisition, metabolite=None)
    fractions = np.array([settings.gm, settings.wm, settings.csf])
    plain = factors(constants, names[:1], fractions, still, water_mm=settings.water_mm)
    tissue = 1.0 if settings.water_mm is not None else (settings.gm + settings.wm) / fractions.sum()
    contents = fractions * [constants.water[t].kg_per_l for t in TISSUES]
    return {
        "fractions": {
            **dict(zip(TISSUES, fractions.tolist(), strict=True)),
            "sd": settings.fraction_sd,
            "from": settings.fractions_from or (ASSUMED if settings.assumed else "given"),
            "of_water": dict(zip(TISSUES, (contents / contents.sum()).tolist(), strict=True)),
        },
        "relaxation": settings.relaxation,
        "field_of_relaxation_times_t": constants.field_t,
        "timing": {"water": _stated(acquisition.water), "metabolites": _stated(acquisition.metabolite)},
        "water": {
            "amplitude": size,
            "amplitude_sd": size_sd,
            "amplitude_of_1_mm_in_basis": in_basis,
            "stated_mm": settings.water_mm,
        },
        "visible_water_mm": float(plain.molar[0]) * tissue,
        "mm_per_amplitude": dict(zip(names, (found.molar * in_basis / size).tolist(), strict=True)),
        "mmol_per_kg_per_amplitude": dict(zip(names, (found.molal * in_basis / size).tolist(), strict=True)),
        "sd_includes": ["fit", "lines unlike the model", "amplitude of water", *found.uncertain],
    }


def _stated(timing: Timing | None) -> dict[str, float | None] | str:
    if timing is None:
        return "not corrected here"
    return {"te_s": timing.te_s, "tr_s": timing.tr_s, "tm_s": timing.tm_s, "flip_deg": timing.flip_deg}
