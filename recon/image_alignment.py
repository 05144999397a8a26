"""Voxels of an image aligned by the field that their water shows, and the phase of water taken away."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.image_b0 import Field, aligned, field_of, noise_of_image, turned_back, water_phases
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.transients import Geometry, Record, Scan, Transients


def with_field(scan: Scan, settings: ImageSettings | None = None, jobs: int = 1) -> Scan:
    """Return images, dims ("x", "y", "z", "t"), aligned by their water, its phase taken away where it is strong.

    `header["precession_s"]` says for how long the field had turned metabolites and water by their first sample (0).
    The map of the field is in the figures of the record, "b0_hz", shape (x, y, z), positive where the field is higher.
    """
    settings = settings or ImageSettings()
    water = scan.water
    if water is None or not (settings.b0_alignment or settings.eddy_current_correction):
        return scan
    fids = swap_sense(water.data).astype(np.complex64, copy=False)
    centre_hz = (RECEIVER_PPM - water.reference_ppm) * water.f0_hz * 1e-6
    field = field_of(fids, water.dwell_s, water.f0_hz, centre_hz)
    aligned(fids, field, water.dwell_s)
    phases, where = np.zeros((0, water.samples)), np.zeros_like(field.strong)
    if settings.eddy_current_correction:
        phases, where = water_phases(fids, field, water.dwell_s, jobs)
    done = []
    for part in (scan.metabolite, scan.water):
        done.append(None if part is None else _corrected(part, water, field, (phases, where)))
    return Scan(*done)


def _corrected(
    part: Transients,
    water: Transients,
    field: Field,
    phases: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> Transients:
    if part.samples != water.samples or abs(part.dwell_s / water.dwell_s - 1) > 1e-6:
        raise DataError(
            f"{part.source}: water has {water.samples} points of {water.dwell_s * 1e6:g} us, expected those of the "
            f"metabolites: {part.samples} of {part.dwell_s * 1e6:g} us"
        )
    fids = swap_sense(part.data).astype(np.complex64, copy=False)
    aligned(fids, field, part.dwell_s)
    # The weights of the coils have made water real at its first sample: with the phase that the field made until then.
    own_s, water_s = (float(one.header.get("precession_s", 0.0)) for one in (part, water))
    turned_back(fids, field, own_s - water_s)
    values, where = phases
    if where.any():
        fids[where] *= np.exp(-1j * values).astype(np.complex64)
    offsets = field.offset_hz[field.strong]
    span = (
        f"{np.percentile(offsets, 5):+.1f} to {np.percentile(offsets, 95):+.1f} Hz"
        if offsets.size
        else "unknown"
    )
    record = Record(
        "Frequency and phase correction",
        f"every voxel aligned by its water: {span} (5th to 95th percentile) in {int(field.strong.sum())} of "
        f"{field.strong.size} voxels, the others by their neighbours",
        {"b0_hz": field.offset_hz, "water_strong": field.strong, "noise": noise_of_image(fids)},
    )
    eddy = Record(
        "Eddy current correction",
        f"phase of water (Klose) in {int(where.sum())} of {where.size} voxels",
        {"voxels": int(where.sum())},
    )
    return part.with_data(swap_sense(fids, in_place=True), record, *([eddy] if where.any() else []))


def b0_map(scan: Scan) -> tuple[NDArray[np.float64], Geometry] | None:
    """Return the map of the field in Hz and where it lies, or `None` where none was made."""
    for part in (scan.metabolite, scan.water):
        for record in part.records if part is not None else ():
            if "b0_hz" in record.figures and part is not None and part.geometry is not None:
                return np.asarray(record.figures["b0_hz"]), part.geometry
    return None
