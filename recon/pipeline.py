"""From raw FIDs to one clean spectrum and its water reference: the steps, in order."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

import pulsespec
from pulsespec.errors import DataError
from pulsespec.recon.align import align, average
from pulsespec.recon.coils import coil_weights, combine_coils, whiten
from pulsespec.recon.eddy import correct_eddy_currents
from pulsespec.recon.edit_order import with_conditions
from pulsespec.recon.edited import align_conditions, align_shots, average_conditions, one_water
from pulsespec.recon.first_points import repair_first_points, spoiled_points
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.recon.water_removal import remove_water


@dataclass(frozen=True)
class ReconSettings:
    """Which steps are taken."""

    whitening: bool = True
    """Whiten coils where the scan has noise samples."""
    first_point_repair: bool = True
    """Predict first samples that the receiver spoiled, where the water reference shows it."""
    eddy_current_correction: bool = True
    """Use the phase of the water reference, where there is one of the same dwell time."""
    alignment: bool = True
    """Align shots in frequency and phase."""
    water_removal: bool = True
    """Subtract residual water."""
    water_half_width_ppm: float = 0.4
    """Half the width of the window about 4.65 ppm in which signal counts as water."""


def recon(scan: Scan, settings: ReconSettings | None = None) -> Scan:
    """Process a scan to a single metabolite FID and a single water FID, each with dims ("t",).

    Edited data keep their conditions, dims ("edit", "t"), in one frame; `edited.combined` makes the differences.

    A scan that is a water reference alone gives its spectrum, water not removed.

    Raises
    ------
    DataError
        The scan is empty, has data that are not finite or zero, or dimensions that single-voxel
        processing does not know.

    """
    settings = settings or ReconSettings()
    metabolite, water = scan.metabolite, scan.water
    if metabolite is None:
        if water is None:
            raise DataError("scan: has neither metabolite data nor a water reference")
        alone = replace(settings, water_removal=False)
        return Scan(None, recon(Scan(water), alone).metabolite)
    for data in (metabolite, water):
        if data is not None:
            _check(data)
    metabolite, water = _coils(metabolite, water, settings)
    water = None if water is None else one_water(water)
    if water is not None:
        water = average(align(water))
    if settings.first_point_repair and water is not None:
        points = spoiled_points(water)
        water = repair_first_points(water, points)
        metabolite = repair_first_points(metabolite, points)
    if settings.eddy_current_correction and water is not None:
        metabolite, water = _eddy(metabolite, water)
    metabolite = with_conditions(metabolite)
    if "edit" in metabolite.dims:
        metabolite = _edited(metabolite, settings)
        return Scan(_stamped(metabolite), None if water is None else _stamped(water))
    if settings.alignment:
        metabolite = align(metabolite)
    metabolite = average(metabolite)
    if settings.water_removal:
        metabolite = remove_water(metabolite, settings.water_half_width_ppm)
    return Scan(_stamped(metabolite), None if water is None else _stamped(water))


def _edited(data: Transients, settings: ReconSettings) -> Transients:
    """Return one FID a condition, all in one frame."""
    if settings.alignment:
        data = align_shots(data)
    data = average_conditions(data)
    if settings.water_removal:
        data = remove_water(data, settings.water_half_width_ppm)
    return align_conditions(data) if settings.alignment else data


def _check(data: Transients) -> None:
    name = data.source or "data"
    if not np.all(np.isfinite(data.data)):
        raise DataError(f"{name}: has values that are not finite numbers")
    if not np.any(data.data):
        raise DataError(f"{name}: all samples are zero")
    extra = [dim for dim in data.dims if dim not in ("edit", "average", "coil", "t")]
    if extra:
        raise DataError(f"{name}: has dimensions {extra}, expected a single voxel")


def _coils(
    metabolite: Transients, water: Transients | None, settings: ReconSettings
) -> tuple[Transients, Transients | None]:
    if "coil" not in metabolite.dims:
        return metabolite, water
    noise = metabolite.noise
    if settings.whitening and noise is not None:
        metabolite = whiten(metabolite, noise)
        water = whiten(water, noise) if water is not None and "coil" in water.dims else water
    same_coils = water is not None and water.size("coil") == metabolite.size("coil")
    weights = coil_weights(water if water is not None and same_coils else metabolite)
    if water is not None and "coil" in water.dims:
        water = combine_coils(water, weights if same_coils else coil_weights(water))
    return combine_coils(metabolite, weights), water


def _eddy(metabolite: Transients, water: Transients) -> tuple[Transients, Transients]:
    try:
        return correct_eddy_currents(metabolite, water), correct_eddy_currents(water, water)
    except DataError as error:
        note = Record("Eddy current correction", f"not done: {error}")
        return metabolite.with_data(metabolite.data, note), water


def _stamped(data: Transients) -> Transients:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    version = pulsespec.__version__
    records = tuple(replace(r, version=r.version or version, time=r.time or now) for r in data.records)
    return replace(data, records=records)
