"""From raw data of a spectroscopic image and its `.seq` to images of metabolites and water.

Order of steps: whitening, odd and even echoes, weights of the coils (all from water), then for each kind untilting,
regridding, Fourier transform and coil combination in one pass over the file, and last the field of each voxel. What is
held at once are the images and one plane of k-space of all coils.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import InputError
from pulsespec.executor import iter_blocks
from pulsespec.recon.coils import whitening_record
from pulsespec.recon.image_alignment import with_field
from pulsespec.recon.image_coils import coil_weights, weights_record
from pulsespec.recon.image_drift import without_drift
from pulsespec.recon.image_echoes import (
    Polarity,
    Readout,
    readout,
    sample_weights,
    series_of,
    shifted,
    spectra,
    start_s,
)
from pulsespec.recon.image_fourier import Fourier, combined, fourier, plane_blocks
from pulsespec.recon.image_place import image_geometry
from pulsespec.recon.image_plan import Encodes, Indices
from pulsespec.recon.image_polarity import ECHOES, find_polarity
from pulsespec.recon.image_psf import PointSpread, point_spread
from pulsespec.recon.image_read import Source, image_stream, noise_of, shots, source_of
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.noise import CoilNoise
from pulsespec.recon.sequence_header import sequence_facts
from pulsespec.recon.sorting import facts_of
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.simulator.timeline import Played, read_played
from pulsespec.simulator.trajectory import read_trajectory

Samples = NDArray[np.complex64]
Say = Callable[[str], None]

_BLOCK_BYTES = 1 << 27
"""Spectra of all coils that are held at once, as far as a single encode is smaller."""
_REFERENCE_ECHOES = 16
_EVENLY = 0.02
_CENTRE = 64
"""Encodes about the middle of k-space that odd and even echoes are compared by."""


@dataclass(frozen=True)
class Common:
    """What metabolites and water share."""

    source: Source
    settings: ImageSettings
    matrix: tuple[int, int, int]
    whitening: Samples | None
    polarity: Polarity
    records: tuple[Record, ...]
    jobs: int


def reconstruct(
    raw: Path,
    sequence: Path,
    settings: ImageSettings | None = None,
    *,
    jobs: int = 1,
    say: Say = lambda _: None,
) -> Scan:
    """Return the images of a raw file, dims ("x", "y", "z", "t"), NIfTI-MRS sense, complex64.

    Parameters
    ----------
    raw
        ISMRMRD or Siemens twix, one readout an ADC event of the sequence.
    sequence
        The `.seq` that was played.
    settings
        Which steps are taken.
    jobs
        Processes.
    say
        Called with a line on what is done.

    Raises
    ------
    DataError
        The raw data are damaged or were not played from this sequence.
    SequenceError
        The sequence cannot be read, or makes no echo-planar or phase-encoded image.
    InputError
        A setting does not fit the data.

    """
    stream = image_stream(raw)
    played = read_played(sequence, float(stream.facts["f0_hz"]))
    source = source_of(stream, played, read_trajectory(sequence), sequence.name)
    return known_sequence(reconstruct_source(source, settings, jobs=jobs, say=say), sequence, played)


def known_sequence(scan: Scan, sequence: Path, played: Played) -> Scan:
    """Return images that say which `.seq` was played, for a basis to be held against."""
    facts = sequence_facts(sequence, played)
    parts = (scan.metabolite, scan.water)
    return Scan(*(None if p is None else replace(p, header={**p.header, **facts}) for p in parts))


def reconstruct_source(
    source: Source,
    settings: ImageSettings | None = None,
    *,
    jobs: int = 1,
    say: Say = lambda _: None,
    clean: Callable[[Scan], Scan] | None = None,
) -> Scan:
    """Return the images of raw data that are opened already, as `reconstruct` does.

    `clean` is done before voxels are aligned: what leaks from other voxels has still their frequency and phase there.
    """
    from pulsespec.recon.ring_sequence import RingSource, images_of_rings  # which builds on this file

    if isinstance(source, RingSource):
        return images_of_rings(source, settings, jobs=jobs, say=say, clean=clean)
    common = prepared(source, settings or ImageSettings(), jobs)
    plan = source.plan
    for record in common.records:
        say(record.details)
    reference = plan.water or plan.metabolite
    assert reference is not None
    weights, record = _weights(common, reference)
    say(record.details)
    common = replace(common, records=(*common.records, record))
    images = []
    for kind in (plan.metabolite, plan.water):
        if kind is not None:
            say(f"{'water' if kind.is_water else 'metabolites'}: {len(kind.readouts)} encodes")
        images.append(None if kind is None else _image(common, kind, weights))
    scan = Scan(*images)
    if clean is not None:
        scan = clean(scan)
    done = with_field(scan, common.settings, jobs)
    parts = [part for part in (done.metabolite, done.water) if part is not None]
    for words in dict.fromkeys(r.details for part in parts for r in part.records if r not in common.records):
        say(words)
    return done


def prepared(source: Source, settings: ImageSettings, jobs: int = 1) -> Common:
    """Return what both kinds share: whitening, and delay and phase of odd and even echoes."""
    matrix = settings.zero_fill or source.plan.grid.matrix
    if any(n < m for n, m in zip(matrix, source.plan.grid.matrix, strict=True)):
        raise InputError(
            f"zero fill: got {matrix}, expected not fewer than the encoded {source.plan.grid.matrix} voxels"
        )
    records: list[Record] = []
    noise = noise_of(source) if settings.whitening else None
    if noise is not None:
        records.append(whitening_record(noise))
    if settings.drift_correction:
        source, drift = without_drift(source, _whitener(noise))
        records += [drift] if drift is not None else []
    polarity = Polarity()
    water = source.plan.water
    reads_both = any(len(kind.combs) == 2 for kind in source.plan.kinds)
    if settings.polarity_correction and reads_both:
        if water is None or len(water.combs) != 2:
            words = "not corrected: there is no water reference with the train of the metabolites"
            records.append(Record("Odd and even echoes", words))
        else:
            end = max(int(comb.index[:ECHOES].max()) for comb in water.combs) + 1
            chosen = middle(water, _CENTRE)
            raws = [raw[..., :end].copy() for raw in shots(source, water, chosen)]
            polarity, record = find_polarity(raws, water, source.plan.grid)
            records.append(record)
    return Common(source, settings, matrix, _whitener(noise), polarity, tuple(records), jobs)


def _whitener(noise: CoilNoise | None) -> Samples | None:
    return None if noise is None else np.linalg.inv(noise.factor).conj().astype(np.complex64)


def middle(encodes: Encodes, count: int) -> Indices:
    """Return the numbers of the encodes nearest to the middle of k-space."""
    extent = np.ptp(encodes.k_per_m, axis=0)
    radius = np.linalg.norm(encodes.k_per_m / np.where(extent > 0, extent, 1.0), axis=1)
    return np.sort(np.argsort(radius, kind="stable")[:count]).astype(np.int64)


@dataclass(frozen=True)
class _Block:
    source: Source
    encodes: Encodes
    numbers: Indices
    made: Readout


def _spectra_of(block: _Block) -> tuple[Indices, Samples]:
    """Return the spectra along x of some encodes; (n, n_coils, n_columns, n_x)."""
    found = [spectra(raw, block.made) for raw in shots(block.source, block.encodes, block.numbers)]
    stacked = np.stack(found)
    return block.numbers, stacked.reshape(*stacked.shape[:2], -1, stacked.shape[-1])


def _parts(common: Common, encodes: Encodes, made: Readout) -> Iterator[tuple[Indices, Samples]]:
    each = 8 * common.source.coils * int(np.prod(made.shape))
    most = max(1, _BLOCK_BYTES // each)
    numbers = plane_blocks(encodes, common.source.plan.grid, most)
    blocks = (_Block(common.source, encodes, chosen, made) for chosen in numbers)
    return iter_blocks(_spectra_of, blocks, common.jobs)


def _operators(common: Common, encodes: Encodes, echoes: int | None = None) -> tuple[Readout, Fourier]:
    settings, grid = common.settings, common.source.plan.grid
    made = readout(
        encodes,
        grid,
        points_x=common.matrix[0],
        filter_name=settings.filter,
        echo_mode="even" if echoes else settings.echo_mode,
        polarity=common.polarity,
        untilt=settings.untilt and not echoes,
        whitening=common.whitening,
        echoes=echoes,
    )
    return made, fourier(encodes, grid, settings.filter, common.matrix)


def _weights(common: Common, reference: Encodes) -> tuple[Samples, Record]:
    """Return the weights of the coils in each voxel, from the first echoes of a reference."""
    made, transform = _operators(common, reference, echoes=_REFERENCE_ECHOES)
    image = combined(_parts(common, reference, made), transform, None)
    fill = [n / m for n, m in zip(common.matrix, common.source.plan.grid.matrix, strict=True)]
    weights = coil_weights(image, common.settings.coil_combination, (fill[0], fill[1], fill[2]))
    origin = f"the first {_REFERENCE_ECHOES} points of " + ("water" if reference.is_water else "metabolites")
    method = common.settings.coil_combination
    return weights, weights_record(weights, method, origin, common.whitening is not None)


def _image(common: Common, encodes: Encodes, weights: Samples) -> Transients:
    made, transform = _operators(common, encodes)
    columns = combined(_parts(common, encodes, made), transform, weights)
    polarities, points, _ = made.shape
    mode, shift = common.settings.echo_mode, 0.0
    if polarities > 1:
        shift = (start_s(made.operators[1].comb) - start_s(made.operators[0].comb)) / encodes.dwell_s
        if mode == "interlaced" and abs(shift - 0.5) > _EVENLY:
            raise InputError(
                f"echo mode: got 'interlaced', but the second polarity of {common.source.name} comes {shift:.3f} "
                "points later than the first, expected half a point (no interleaves)"
            )
    wide = polarities if mode == "interlaced" else 1
    fids = np.empty((*columns.shape[:3], wide * points), np.complex64)
    for x in range(fids.shape[0]):
        apart = columns[x].reshape(*columns.shape[1:3], polarities, points)
        fids[x] = series_of(apart, mode, shift)
    dwell_s = encodes.dwell_s / (polarities if mode == "interlaced" else 1)
    return _transients(
        common, encodes, swap_sense(fids, in_place=True), dwell_s, spread_of(common, transform)
    )


def spread_of(common: Common, transform: Fourier) -> PointSpread:
    """Return the point-spread function of an image: of one polarity, the other's is its mirror image at most."""
    comb, grid = transform.encodes.combs[0], transform.grid
    if not transform.reads_x:
        return point_spread(transform, np.zeros(1), np.ones(1))
    k = shifted(comb, common.polarity.delay_s)
    weights = sample_weights(k, grid.matrix[0] / (2 * grid.fov_m[0]), common.settings.filter)
    return point_spread(transform, k, weights)


def _transients(
    common: Common, encodes: Encodes, fids: Samples, dwell_s: float, spread: PointSpread
) -> Transients:
    source, facts = common.source, common.source.stream.facts
    played, f0_hz = source.played, float(facts["f0_hz"])
    known = facts_of(played, encodes.is_water, f0_hz, facts.get("te_s"), facts.get("tr_s"))
    suppressed = not encodes.is_water
    header = dict(facts.get("header", {})) | {"water_suppressed": suppressed, "WaterSuppressed": suppressed}
    header["precession_s"] = encodes.precession_s
    place, placed = image_geometry(source, common.matrix)
    if encodes.is_water:
        known["te_s"] = encodes.te_s
    return Transients(
        data=fids,
        dims=("x", "y", "z", "t"),
        dwell_s=dwell_s,
        f0_hz=f0_hz,
        nucleus=str(played.definitions.get("Nucleus", facts.get("nucleus", "1H"))),
        geometry=place,
        source=source.stream.path.name,
        sign_is_defined=False,
        header=header,
        records=(*source.stream.records, *placed, *common.records, _record(common, encodes, spread)),
        **({"sequence": str(facts.get("sequence", ""))} | known),
    )


def _record(common: Common, encodes: Encodes, spread: PointSpread) -> Record:
    settings, grid = common.settings, common.source.plan.grid
    averages = sorted({int(shot.shape[0]) for shot in encodes.readouts})
    mm = ", ".join(f"{width * 1e3:.2f}" for width in spread.fwhm_m)
    how = "phase encoding"
    if common.source.plan.train:
        used = (
            f"{len(encodes.combs)} polarities ({settings.echo_mode})"
            if len(encodes.combs) > 1
            else "one polarity"
        )
        how = (
            f"echo-planar train, {encodes.combs[0].samples} samples an echo regridded with the density of "
            f"k, {used}, {'untilted' if settings.untilt else 'not untilted'}"
        )
    details = (
        f"{how}; {len(encodes.readouts)} encodes of {' or '.join(map(str, averages))} averages on "
        f"{grid.matrix[0]} x {grid.matrix[1]} x {grid.matrix[2]}, made {common.matrix[0]} x {common.matrix[1]} "
        f"x {common.matrix[2]}, filter {settings.filter}; point-spread function {mm} mm wide at half maximum along "
        f"x, y, z, effective voxel {spread.volume_m3 * 1e6:.3f} ml"
    )
    figures: dict[str, Any] = {
        "psf_offsets_m": spread.offsets_m,
        "psf": spread.curves,
        "psf_fwhm_m": spread.fwhm_m,
        "effective_volume_m3": spread.volume_m3,
        "encodes": len(encodes.readouts),
        "filter": settings.filter,
        "matrix": grid.matrix,
        "echo_mode": settings.echo_mode,
    }
    return Record("Spatial Fourier transform", details, figures)
