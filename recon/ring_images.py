"""From raw data of concentric rings to images of metabolites and water."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.recon.coils import whitening_record
from pulsespec.recon.hankel import continued_backwards
from pulsespec.recon.image_b0 import aligned, field_of, noise_of_image
from pulsespec.recon.image_coils import coil_weights, weights_record
from pulsespec.recon.image_nonuniform import ImageGrid, KSpace, reconstruct_samples, width_m
from pulsespec.recon.image_regrid import filter_of
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.noise import CoilNoise, scanned_noise
from pulsespec.recon.rings import ring_areas, rings_k_space
from pulsespec.recon.transients import Geometry, Record, Scan, Transients
from pulsespec.recon.twix_rings import RingData, RingScan, read_rings

Samples = NDArray[np.complex64]
Say = Callable[[str], None]

_REFERENCE_POINTS = slice(2, 10)
"""Points of the FID that coils are weighed by, behind those that the correction in time cannot know."""
_ROWS = 64


def reconstruct_rings(path: Path, settings: ImageSettings | None = None, say: Say = lambda _: None) -> Scan:
    """Return the images of a Siemens twix file with concentric rings, dims ("x", "y", "z", "t"), complex64.

    Coils are whitened by the noise scan, samples brought to one time, rings weighed by the area between their
    neighbours, coils combined with weights from water, and every voxel shifted so that its water lies at 4.65 ppm.

    Raises
    ------
    DataError
        The file is damaged, or what it holds is not known to lie on one plane of rings.
    InputError
        A setting does not fit.

    """
    return images_of(read_rings(path), path.name, settings, say)


def images_of(
    raw: RingScan, name: str, settings: ImageSettings | None = None, say: Say = lambda _: None
) -> Scan:
    """Return the images of rings that are read already, as `reconstruct_rings` does."""
    settings = settings or ImageSettings()
    grid, place = grid_of(raw, settings.zero_fill)
    noise = None
    if settings.whitening and raw.noise is not None:
        noise = scanned_noise(raw.noise, raw.metabolite.fids.shape[1])
    reference = raw.water or raw.metabolite
    k = weighted(rings_k_space(reference.rings, raw.dwell_s), settings.filter)
    parts = [image[..., _REFERENCE_POINTS] for image in _coil_images(reference, k, grid, noise)]
    fill = tuple(n / m for n, m in zip(grid.shape, (*raw.matrix, 1), strict=True))
    weights = coil_weights(np.stack(parts, axis=3), settings.coil_combination, (fill[0], fill[1], fill[2]))
    origin = "water" if raw.water is not None else "metabolites"
    record = weights_record(
        weights, settings.coil_combination, f"the first points of {origin}", noise is not None
    )
    common = _Common(raw, name, settings, grid, place, noise, weights, record)
    images = [None if data is None else _image(common, data) for data in (raw.metabolite, raw.water)]
    scan = with_field(Scan(*images)) if settings.b0_alignment else Scan(*images)
    for done in (scan.metabolite,):
        for one in done.records if done is not None else ():
            say(one.details)
    return scan


@dataclass(frozen=True)
class _Common:
    """What metabolites and water share."""

    raw: RingScan
    name: str
    settings: ImageSettings
    grid: ImageGrid
    place: Geometry
    noise: CoilNoise | None
    weights: Samples
    combination: Record


def grid_of(raw: RingScan, zero_fill: tuple[int, int, int] | None = None) -> tuple[ImageGrid, Geometry]:
    """Return the voxels along read, phase and the normal, from the isocentre, and where they lie in the patient."""
    shape = zero_fill or (*raw.matrix, 1)
    axes = raw.volume.affine[:3, :3] / raw.volume.voxel_mm
    centre_mm = raw.volume.affine[:3, 3]
    voxel_mm = raw.volume.voxel_mm / np.array([shape[0], shape[1], 1])
    affine = np.eye(4)
    affine[:3, :3] = axes * voxel_mm
    if raw.centred:
        centre_mm = centre_mm - affine[:3, :3] @ (np.array(shape) // 2 - (np.array(shape) - 1) / 2)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = ImageGrid(axes.T @ centre_mm * 1e-3, voxel_mm * 1e-3, (shape[0], shape[1], 1))
    return grid, Geometry(affine)


def weighted(k: KSpace, filter_name: str) -> KSpace:
    """Return positions weighed by a filter over |k|."""
    radius = np.linalg.norm(k.k_per_m, axis=1)
    return replace(k, weights=k.weights * filter_of(filter_name)(radius / radius.max()))


def _coil_images(data: RingData, k: KSpace, grid: ImageGrid, noise: CoilNoise | None) -> Any:
    """Yield the image of each coil, whitened, in the sense of the scanner; (x, y, z, t)."""
    coils = data.fids.shape[1]
    whitener = np.eye(coils) if noise is None else np.linalg.inv(noise.factor)
    for coil in range(coils):
        fids = np.einsum("c,nct->nt", whitener[coil], data.fids)
        yield reconstruct_samples(fids[:, None], k, grid)[..., 0, :].astype(np.complex64)


def _image(common: _Common, data: RingData) -> Transients:
    raw = common.raw
    k = weighted(rings_k_space(data.rings, raw.dwell_s), common.settings.filter)
    fids = np.zeros((*common.grid.shape, data.fids.shape[-1]), np.complex64)
    for coil, image in enumerate(_coil_images(data, k, common.grid, common.noise)):
        fids += common.weights[..., coil, None] * image
    wrapped = max(ring.interleaves for ring in data.rings)
    for plane in fids:
        for start in range(0, plane.shape[0], _ROWS):
            rows = plane[start : start + _ROWS].reshape(-1, fids.shape[-1])
            plane[start : start + _ROWS] = continued_backwards(
                rows.astype(np.complex128), raw.dwell_s, wrapped
            ).reshape(-1, *plane.shape[1:])
    facts = dict(raw.facts)
    header = facts.pop("header") | {"water_suppressed": data is raw.metabolite}
    whitening = () if common.noise is None else (whitening_record(common.noise),)
    return Transients(
        data=swap_sense(fids, in_place=True),
        dims=("x", "y", "z", "t"),
        dwell_s=raw.dwell_s,
        geometry=common.place,
        source=common.name,
        sign_is_defined=False,
        header=header,
        records=(*whitening, common.combination, _record(common, data, k)),
        **facts,
    )


def _record(common: _Common, data: RingData, k: KSpace) -> Record:
    rings, grid = data.rings, common.grid
    radii = np.array([ring.radius_per_m for ring in rings])
    interleaves = "/".join(str(ring.interleaves) for ring in rings)
    widths = [width_m(k, axis) * 1e3 for axis in (0, 1)]
    details = (
        f"{len(rings)} concentric rings of {radii.min():.2f} to {radii.max():.2f} cycles/m, {rings[0].points} "
        f"samples a turn, {interleaves} temporal interleaves, {data.fids.shape[-1]} points of "
        f"{common.raw.dwell_s * 1e6:g} us; time along the ring corrected in the spectrum, the first "
        f"{max(ring.interleaves for ring in rings)} points then predicted from the rest; weights by the area of each "
        f"ring, filter {common.settings.filter}; {grid.shape[0]} x {grid.shape[1]} voxels; point-spread function "
        f"{widths[0]:.2f}, {widths[1]:.2f} mm wide at half maximum; assumed: rings turn from the read to the phase "
        "direction, k as the sequence states it, no gradient delay"
    )
    figures = {
        "psf_fwhm_m": np.array([*np.multiply(widths, 1e-3), np.nan]),
        "radii_per_m": radii,
        "edge_per_m": float(np.sqrt(np.sum(ring_areas(radii)) / np.pi)),
        "filter": common.settings.filter,
    }
    return Record("Spatial Fourier transform", details, figures)


def with_field(scan: Scan) -> Scan:
    """Return images whose water lies at 4.65 ppm in every voxel; as they are without a water reference."""
    water = scan.water
    if water is None or scan.metabolite is None:
        return scan
    field = field_of(swap_sense(water.data), water.dwell_s, water.f0_hz)
    strong = field.offset_hz[field.strong]
    span = (
        f"{np.percentile(strong, 5):+.1f} to {np.percentile(strong, 95):+.1f} Hz"
        if strong.size
        else "unknown"
    )
    done = []
    for part in (scan.metabolite, water):
        fids = swap_sense(part.data)
        aligned(fids, field, part.dwell_s)
        record = Record(
            "Frequency and phase correction",
            f"every voxel aligned by its water: {span} (5th to 95th percentile) in {int(field.strong.sum())} of "
            f"{field.strong.size} voxels, the others by their neighbours",
            {"b0_hz": field.offset_hz, "water_strong": field.strong, "noise": noise_of_image(fids)},
        )
        done.append(part.with_data(swap_sense(fids, in_place=True), record))
    return Scan(*done)
