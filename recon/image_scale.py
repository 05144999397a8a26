"""Water scaling of images: what `water_scale` says of one voxel, for all of them, each with its own tissue."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.recon.constants import Constants, constants_at
from pulsespec.recon.fit import BatchResult
from pulsespec.recon.image_tables import rows_of
from pulsespec.recon.played_shares import PlayedShares, played_shares
from pulsespec.recon.quantify_settings import QuantifySettings
from pulsespec.recon.transients import Transients
from pulsespec.recon.water_scale import acquisition_of, assumptions, without_scale
from pulsespec.recon.water_scaling import Acquisition, factors, scaled, weights
from pulsespec.recon.water_size import water_sizes

Real = NDArray[np.float64]

QUANTITIES = ("mM", "mM_sd", "molal", "molal_sd")


@dataclass(frozen=True)
class ImageScale:
    """What turns amplitudes of an image into concentrations."""

    constants: Constants
    acquisition: Acquisition
    in_basis: float
    """Amplitude of water of 1 mM in units of the basis."""
    fraction_sd: float
    water_mm: float | None
    words: tuple[str, ...]
    settings: Mapping[str, Any]
    """For the result."""
    played: PlayedShares | None = None
    """What the `.seq` leaves beside relaxation by TE and TR; `None` where it is not known."""


def image_scale(
    names: Sequence[str],
    image: Transients,
    water: Transients | None,
    basis: Any,
    settings: QuantifySettings,
    segmented: bool,
    sequence: Path | None = None,
) -> ImageScale | str:
    """Return what amplitudes are multiplied by, or why there is nothing to scale with.

    Parameters
    ----------
    names
        Components that are fitted.
    image, water
        The data.
    basis
        What is fitted.
    settings
        Assumptions.
    segmented
        Whether each voxel has fractions of tissue of its own.
    sequence
        The `.seq` that was played: its inversions, its water pulses and its slab count then.

    """
    why = without_scale(water, basis, settings)
    if why or water is None:
        return why
    in_basis = settings.basis_water if basis.water is None else float(np.abs(basis.water.amplitude.sum()))
    assert in_basis is not None
    field_t = field_from_larmor(image.f0_hz, image.nucleus)
    constants, words = constants_at(field_t, names, settings.constants, tuple(getattr(basis, "broad", ())))
    acquisition, more, relaxed = acquisition_of(image, water, basis, settings)
    played = None
    if sequence is not None and settings.relaxation:
        played = played_shares(sequence, basis, image, constants, acquisition)
        more = (*more, played.words)
    elif image.header.get("sequence_hash"):
        more = (*more, "without --seq an inversion, water pulses and the slab of the sequence are not in mM")
    assumed = () if segmented else assumptions(settings)
    return ImageScale(
        constants,
        acquisition,
        in_basis,
        settings.fraction_sd,
        settings.water_mm,
        (*words, *more, *assumed),
        {
            "fractions": "of each voxel, from the segmentation"
            if segmented
            else {"gm": settings.gm, "wm": settings.wm, "csf": settings.csf, "sd": settings.fraction_sd},
            "relaxation": settings.relaxation,
            "field_of_relaxation_times_t": constants.field_t,
            "amplitude_of_1_mm_in_basis": in_basis,
            "stated_mm": settings.water_mm,
            "basis_includes_relaxation": relaxed,
            "played": None if played is None else played.words,
        },
        played,
    )


def concentrations(
    batch: BatchResult,
    scale: ImageScale,
    water: NDArray[np.complexfloating],
    fractions: Real,
    places: NDArray[np.intp] | None = None,
    of_plane: bool = False,
) -> dict[str, Real]:
    """Return molar (mM) and molal (mmol/kg) concentrations with standard deviations, each of shape (v, r).

    NaN where a voxel has no water above the noise, or no grey or white matter.

    Parameters
    ----------
    batch
        The fits.
    scale
        Of the image.
    water
        Water FIDs of the same voxels; shape (v, samples).
    fractions
        Volume fractions of gm, wm and csf; shape (v, 3).
    places
        Numbers of each voxel along x, y, z, where slab or box has a profile; shape (v, 3).
    of_plane
        Whether the basis was that of each voxel's plane, so that the profile of water alone is left to divide by.

    """
    played = scale.played
    columns = [] if played is None else played.columns(batch.names)
    size, size_sd = water_sizes(water)
    found = factors(
        scale.constants,
        batch.names,
        fractions,
        scale.acquisition,
        fraction_sd=scale.fraction_sd,
        water_mm=scale.water_mm,
        beside=None if played is None else (played.metabolite[columns], played.water),
    )
    parts = weights(rows_of(batch.names), batch.names)
    relative = np.hypot(size_sd / size, batch.settings.line_sd)
    made = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = (size / scale.in_basis)[:, None]
        if played is not None and places is not None:
            unit = unit * played.at(places, of_plane)[:, columns]
        for name, factor, effects in (
            ("mM", found.molar, found.molar_effects),
            ("molal", found.molal, found.molal_effects),
        ):
            made[name], made[f"{name}_sd"] = scaled(
                batch.amplitudes, batch.covariance + batch.beyond, factor / unit, effects, parts, relative
            )
    return made


def nothing(shape: tuple[int, int]) -> dict[str, Real]:
    """Return NaN for all quantities."""
    return {name: np.full(shape, math.nan) for name in QUANTITIES}
