"""Concentric rings played from a `.seq`: raw data to images, k and times of every sample from the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, SequenceError
from pulsespec.recon.image_alignment import with_field
from pulsespec.recon.image_place import image_geometry
from pulsespec.recon.image_plan import Grid, ImagePlan, grid_of
from pulsespec.recon.image_read import Source, joined
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.ring_images import images_of
from pulsespec.recon.rings import Ring
from pulsespec.recon.sorting import facts_of, matched, with_noise
from pulsespec.recon.stream import AdcStream
from pulsespec.recon.transients import Record, Scan
from pulsespec.recon.twix_rings import RingData, RingScan
from pulsespec.simulator.timeline import Played
from pulsespec.simulator.trajectory import Trajectory

Samples = NDArray[np.complex64]
Say = Callable[[str], None]

_OFF_RING = 0.05
"""Largest distance of a sample from its ring, over the spacing of rings."""


@dataclass(frozen=True, kw_only=True)
class RingSource(Source):
    """Raw data of rings, sorted by what their `.seq` says; its plan has the box and no encodes."""

    scan: RingScan
    records: tuple[Record, ...]
    """What had to be decided about where the rings lie in the patient."""


def plays_rings(played: Played) -> bool:
    """Return whether a `.seq` says that its readouts turn around rings."""
    return str(played.definitions.get("Readout", "")).strip() == "rings"


def images_of_rings(
    source: RingSource,
    settings: ImageSettings | None = None,
    *,
    jobs: int = 1,
    say: Say = lambda _: None,
    clean: Callable[[Scan], Scan] | None = None,
) -> Scan:
    """Return the images of rings as `ring_images.images_of` does; averages are averaged as they are.

    Voxels are aligned as those of other images are, after `clean`.
    """
    settings = settings or ImageSettings()
    scan = images_of(source.scan, source.stream.path.name, replace(settings, b0_alignment=False), say)
    parts = (scan.metabolite, scan.water)
    scan = Scan(*(p and replace(p, records=(*source.records, *p.records)) for p in parts))
    return with_field(scan if clean is None else clean(scan), settings, jobs)


def ring_source(stream: AdcStream, played: Played, trajectory: Trajectory, name: str) -> RingSource:
    """Return rings and FIDs of raw data.

    Parameters
    ----------
    stream
        One readout an ADC event of the sequence.
    played, trajectory
        Of the `.seq`.
    name
        Of the `.seq`, for messages.

    Raises
    ------
    DataError
        The raw data are damaged or were not played from this sequence.
    SequenceError
        The sequence is a stack of rings, lacks a definition, or its samples are not where it says.

    """
    grid = grid_of(played, name)
    if grid.matrix[2] > 1:
        raise SequenceError(
            f"{name}: a stack of {grid.matrix[2]} partitions of rings; expected one partition"
        )
    stream = joined(stream, played)
    rows = matched(stream, played.readouts, name)
    silent = np.array([bool(readout.labels.get("NOISE")) for readout in played.readouts])
    stream = with_noise(stream, rows[silent])
    kinds: list[RingData | None] = []
    for water in (False, True):
        members = [
            n
            for n, one in enumerate(played.readouts)
            if one.is_water_reference == water and not (one.labels.get("NOISE") or one.labels.get("NAV"))
        ]
        kinds.append(_data(stream, rows, played, trajectory, grid, members, name) if members else None)
    metabolite, water_data = kinds
    if metabolite is None:
        raise SequenceError(f"{name}: has no readout of metabolites")
    plan = ImagePlan(grid, None, None, True)
    place, records = image_geometry(Source(stream, rows, played, plan, name, trajectory), (1, 1, 1))
    facts = stream.facts
    f0_hz = float(facts["f0_hz"])
    known = {
        "f0_hz": f0_hz,
        "nucleus": str(played.definitions.get("Nucleus", facts.get("nucleus", "1H"))),
        "header": dict(facts.get("header", {})),
        **facts_of(played, False, f0_hz, facts.get("te_s"), facts.get("tr_s")),
    }
    noise = stream.noise(metabolite.fids.shape[1])
    scan = RingScan(
        metabolite,
        water_data,
        None if noise is None else np.conj(noise),
        _dwell_s(played, trajectory, name),
        grid.matrix[:2],
        place,
        known,
        centred=True,
    )
    return RingSource(
        stream, rows, played, plan, name, trajectory, scan=scan, records=(*stream.records, *records)
    )


def _number(played: Played, key: str, name: str) -> int:
    found = played.numbers(key)
    if found.size != 1 or found[0] < 1:
        raise SequenceError(f"{name}: rings need the definition {key}, got {found.tolist() or 'none'}")
    return int(found[0])


def _dwell_s(played: Played, trajectory: Trajectory, name: str) -> float:
    """Return the time between two points of a FID in s, from the times of samples a turn apart."""
    times = trajectory.trains[0].times_s
    turn_s = float(times[_number(played, "TurnSamples", name)] - times[0])
    return turn_s / _number(played, "Interleaves", name)


def _data(
    stream: AdcStream,
    rows: NDArray[np.int64],
    played: Played,
    trajectory: Trajectory,
    grid: Grid,
    members: Sequence[int],
    name: str,
) -> RingData:
    """Return the rings of one kind, by their label LIN, and their FIDs."""
    by_ring: dict[int, dict[int, list[int]]] = {}
    for number in members:
        labels = played.readouts[number].labels
        by_ring.setdefault(labels.get("LIN", 0), {}).setdefault(labels.get("SEG", 0), []).append(number)
    rings, fids = [], []
    for _, parts in sorted(by_ring.items()):
        shots = [parts[part] for part in sorted(parts, key=lambda p: trajectory.starts_s[parts[p][0]])]
        rings.append(_ring(played, trajectory, grid, shots, name))
        fids.append(_fids(stream, rows, shots, rings[-1].points))
    if len({part.shape[1:] for part in fids}) > 1:
        raise DataError(
            f"{stream.path}: rings differ in coils x points: {sorted({p.shape[1:] for p in fids})}"
        )
    return RingData(tuple(rings), np.concatenate(fids))


def _ring(
    played: Played, trajectory: Trajectory, grid: Grid, shots: Sequence[Sequence[int]], name: str
) -> Ring:
    """Return a ring from k of its samples; `SequenceError` where they do not turn around the centre."""
    points = _number(played, "TurnSamples", name)
    if len(shots) != _number(played, "Interleaves", name):
        raise SequenceError(f"{name}: a ring has {len(shots)} interleaves, not what Interleaves says")
    k = trajectory.k_per_m(shots[0][0]) @ grid.axes
    turned = k[0, 0] * k[1, 1] - k[0, 1] * k[1, 0]
    found = Ring((float(k[0, 0]), float(k[0, 1])), points, len(shots), -1 if turned < 0 else 1)
    allowed = _OFF_RING / grid.fov_m[0]
    expected = np.tile(found.k_per_m[:, :2], (k.shape[0] // points, 1))
    if k.shape[0] % points or np.abs(k[:, :2] - expected).max() > allowed:
        raise SequenceError(
            f"{name}: readout {shots[0][0] + 1} does not turn around a ring in {points} samples"
        )
    return found


def _fids(stream: AdcStream, rows: NDArray[np.int64], shots: Sequence[Sequence[int]], points: int) -> Samples:
    """Return the FIDs of a ring, averages averaged; shape (points, n_coils, n_turns), interleaves merged."""
    merged = []
    for averages in shots:
        total = sum(np.asarray(shot) for shot in stream.fetch([int(rows[n]) for n in averages]))
        mean = np.asarray(total / len(averages), np.complex64)
        if not np.isfinite(mean.view(np.float32)).all():
            raise DataError(f"{stream.path}: has values that are not finite numbers: damaged")
        merged.append(mean.reshape(mean.shape[0], -1, points))
    stacked = np.stack(merged, axis=2)  # coils, turns, interleaves, points
    return np.moveaxis(stacked.reshape(stacked.shape[0], -1, points), 2, 0)
