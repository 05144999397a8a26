"""A virtual scan of a head: everything that decides it, and its raw data shot by shot.

    setup = set_up_image(Path("epsi.seq"), load_head_settings("brain"))      # once
    show = prepare_image(setup, faults=load_image_faults("typical"), seed=3)  # for each seed
    data, noise = play_image(show)

`image_acquire` writes the same into an ISMRMRD file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.basis import Lines
from pulsespec.simulator.head import middle_mm
from pulsespec.simulator.head_coils import loops_around, noise_covariance, sensitivities
from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_noise import gain_map, noise_variance
from pulsespec.simulator.image_paths import Paths, along_paths
from pulsespec.simulator.image_setup import ImageSetup
from pulsespec.simulator.image_signal import (
    SAME_PER_M,
    Encodes,
    Evolution,
    Stage,
    encoded,
    evolution,
    profiles_at,
)
from pulsespec.simulator.receiver import add_noise
from pulsespec.simulator.trajectory import Train, Trajectory, echoes, read_trajectory

Real = NDArray[np.float64]
Raw = NDArray[np.complex64]
Indices = NDArray[np.int64]

NOISE_SAMPLES = 16384
"""Samples of the noise scan that precedes the shots."""
_COIL_GRID_MM = 6.0
_AT_ONCE = 2048
"""Samples that are handed on together, at least."""
_ACROSS_PER_M = 0.05
"""Largest k that a train may have across its own axis: a field of view of 1 m is turned by 0.05."""


@dataclass(frozen=True, kw_only=True)
class Shots:
    """What befalls each shot; Pulseq sense."""

    frequency_hz: Real
    """Over nominal, positive downfield; shape (n_shots,)."""
    phase_rad: Real
    """Shape (n_shots,)."""
    moved_m: Real
    """By how much the head has moved along the axes of the gradients; shape (n_shots, 3)."""


@dataclass(frozen=True, kw_only=True)
class ImagePerformance:
    """Everything that decides a scan, before its samples are made."""

    setup: ImageSetup
    faults: ImageFaults
    seed: int
    trajectory: Trajectory
    """With the delays of the gradients and the shift of odd against even echoes."""
    shots: Shots
    sensitivities: Raw
    """Of the coils on the head's grid, the root of the sum of squares 1 in the mean over the brain;
    (n_coils, *grid)."""
    covariance: Real
    """Of the coils' noise, before it is scaled to the ratio; shape (n_coils, n_coils)."""
    noise_variance: float
    """Of one sample of a coil whose noise has shape 1."""
    gains: Real
    """SNR squared over that of one such coil of sensitivity 1, on the acquisition's grid."""


def prepare_image(setup: ImageSetup, *, seed: int = 0, faults: ImageFaults | None = None) -> ImagePerformance:
    """Draw all chances of a scan, and find the noise that its ratio asks for."""
    faults = faults or ImageFaults()
    coils, covariance = coils_of(setup, faults.coils)
    gains = gain_map(setup, coils, covariance)
    return ImagePerformance(
        setup=setup,
        faults=faults,
        seed=seed,
        trajectory=played_trajectory(setup, faults),
        shots=_draw(setup, faults, seed),
        sensitivities=coils,
        covariance=covariance,
        noise_variance=noise_variance(setup, faults.snr, gains),
        gains=gains,
    )


def coils_of(setup: ImageSetup, count: int) -> tuple[Raw, Real]:
    """Return sensitivities on the head's grid and the covariance of the noise.

    Fields of the loops are worked out on a grid of 6 mm and read between by cubic splines.
    """
    from scipy.ndimage import map_coordinates

    head, grid = setup.head, setup.head.grid
    centre_mm, half_mm = middle_mm(head.settings)
    loops = loops_around(count, half_mm, centre_mm)
    points = grid.points_mm()
    every = [max(int(_COIL_GRID_MM * 1e-3 / spacing), 1) for spacing in grid.spacing_m]
    taken = [
        np.unique(np.append(np.arange(0, n, step), n - 1)) for n, step in zip(grid.shape, every, strict=True)
    ]
    rough = sensitivities(loops, points[np.ix_(*taken)])
    at = np.meshgrid(
        *(
            np.interp(np.arange(n), nodes, np.arange(nodes.size))
            for n, nodes in zip(grid.shape, taken, strict=True)
        ),
        indexing="ij",
    )
    found = np.stack(
        [
            map_coordinates(one.real, at, order=3, mode="nearest")
            + 1j * map_coordinates(one.imag, at, order=3, mode="nearest")
            for one in rough
        ]
    )
    brain = head.brain > 0.5
    within = points[brain]
    found /= np.sqrt((np.abs(found[:, brain]) ** 2).sum(axis=0)).mean()
    return found.astype(np.complex64), noise_covariance(loops, within[:: max(len(within) // 3000, 1)])


def played_trajectory(setup: ImageSetup, faults: ImageFaults) -> Trajectory:
    """Return where samples lie in k-space when gradients come late and echoes of two polarities lie apart."""
    x, y, z = (delay * 1e-6 for delay in faults.gradient_delay_us)
    late = read_trajectory(setup.path, (x, y, z)) if any((x, y, z)) else setup.trajectory
    if not faults.echo_shift:
        return late
    fov = setup.grid.spacing_m[0] * setup.grid.shape[0]
    trains = tuple(
        Train(
            train.k_per_m
            + 0.5 * faults.echo_shift / fov * np.outer(polarity(setup, train), setup.grid.axes[:, 0]),
            train.times_s,
            train.gradient_hz_per_m,
        )
        for train in late.trains
    )
    return Trajectory(**{**vars(late), "trains": trains})


def polarity(setup: ImageSetup, train: Train) -> Real:
    """Return +1 for each sample of an echo along which k grows, -1 where it falls, else 0; shape (n_samples,).

    A train that leaves the first axis of the field of view has no echoes.
    """
    found = np.zeros(train.times_s.size)
    if leaves_axis(setup, train):
        return found
    for echo in echoes(train, setup.grid.axes[:, 0]):
        found[echo.samples] = echo.direction
    return found


def _draw(setup: ImageSetup, faults: ImageFaults, seed: int) -> Shots:
    n = len(setup.played.readouts)
    along = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1)
    steps = faults.stream(seed, "motion").standard_normal((n, 3))
    steps[0] = 0.0
    jitter = faults.stream(seed, "frequency").standard_normal(n) * faults.frequency_jitter_hz
    phase = faults.stream(seed, "phase").standard_normal(n) * np.deg2rad(faults.phase_jitter_deg)
    walk = np.cumsum(steps, axis=0) * faults.motion_mm * 1e-3 / np.sqrt(max(n - 1, 1))
    return Shots(frequency_hz=along * faults.drift_hz + jitter, phase_rad=phase, moved_m=walk)


def joined(lines: Lines, more: Lines, factor: float) -> Lines:
    """Return lines and a share of others, with their widths."""
    columns = {}
    for name in ("frequency_hz", "amplitude", "lorentz_hz", "gauss_hz"):
        values = [getattr(one, name) for one in (lines, more)]
        columns[name] = np.concatenate([v if v is not None else np.zeros(0) for v in values])
    columns["amplitude"][lines.frequency_hz.size :] *= factor
    return Lines(**columns)


def stage_of(show: ImagePerformance) -> Stage:
    """Return the head as the sums need it: without air and without columns that have nothing."""
    head, grid = show.setup.head, show.setup.head.grid
    names = list(head.tissues)
    anything = head.total(names) > 0
    boxes = [np.flatnonzero(anything.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(one[0]), int(one[-1]) + 1) for one in boxes)
    inside = anything[box]
    columns = np.flatnonzero(inside.any(axis=2))
    volume = float(np.prod(grid.spacing_m / show.setup.grid.spacing_m))

    def packed(values: NDArray[np.generic]) -> NDArray[np.generic]:
        part = np.moveaxis(values[..., box[0], box[1], box[2]], -1, -3)
        return np.ascontiguousarray(part.reshape(*part.shape[:-2], -1)[..., columns])

    shares = np.stack([packed(head.shares[name]) for name in names], axis=-1) * np.float32(volume)
    x, y, z = (grid.along(axis)[box[axis]] for axis in range(3))
    return Stage(
        columns,
        np.ascontiguousarray(shares, np.float32),
        packed(np.where(anything, head.field_hz, 0)).astype(np.float32),
        packed(head.gauss_hz).astype(np.float32),
        packed(show.sensitivities).astype(np.complex64),
        (x, y, z),
    )


def leaves_axis(setup: ImageSetup, train: Train) -> bool:
    """Return whether a readout moves along more than the first axis of the field of view, as rings do."""
    return bool(np.abs((train.k_per_m @ setup.grid.axes)[:, 1:]).max() > _ACROSS_PER_M)


def _paths_of(show: ImagePerformance) -> Indices:
    """Return for each train the first that is sampled at the same times, where readouts leave the first axis."""
    trains = show.trajectory.trains
    if not any(leaves_axis(show.setup, train) for train in trains):
        return np.arange(len(trains))
    times = [train.times_s for train in trains]
    return np.array(
        [
            next(
                k for k, other in enumerate(times) if np.array_equal(np.rint(other * 1e9), np.rint(own * 1e9))
            )
            for own in times
        ]
    )


@dataclass(frozen=True)
class Kind:
    """Readouts that differ in their phase encodes alone, or in where they go at the same times."""

    number: int
    is_water: bool
    train: int
    first: int
    """One of them."""


def kinds_of(show: ImagePerformance) -> tuple[tuple[Kind, ...], Indices]:
    """Return the kinds of readouts, and which each is of; shape (n_shots,)."""
    trajectory, water = show.trajectory, show.setup.is_water
    trains = _paths_of(show)[trajectory.kinds]
    rows = np.stack(
        [water, trains, np.rint(trajectory.starts_s * 1e9), np.rint(trajectory.evolution_s * 1e9)],
        axis=1,
    ).astype(np.int64)
    _, first, of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    found = [
        Kind(number, bool(water[shot]), int(trains[shot]), int(shot)) for number, shot in enumerate(first)
    ]
    return tuple(found), of.reshape(-1).astype(np.int64)


def evolution_of(show: ImagePerformance, stage: Stage, kind: Kind) -> Evolution:
    """Return how the tissues evolve in readouts of one kind."""
    setup, trajectory = show.setup, show.trajectory
    begins = setup.first_s[int(kind.is_water)]
    times_s = trajectory.times_s(kind.first) - begins
    later_s = float(trajectory.evolution_s[kind.first] - trajectory.starts_s[kind.first]) + begins
    lines = dict(setup.response.water if kind.is_water else setup.response.metabolite)
    if not kind.is_water and show.faults.residual_water:
        lines = {
            name: joined(one, setup.response.residual[name], show.faults.residual_water)
            for name, one in lines.items()
        }
    widest = float(np.abs(stage.field_hz).max(initial=0.0)) + 2 * float(stage.gauss_hz.max(initial=0.0))
    places = tuple(
        along + middle
        for along, middle in zip(stage.places_m, setup.grid.centre_m @ setup.grid.axes, strict=True)
    )
    box = setup.water_box if kind.is_water else setup.box
    across = profiles_at(box, places, setup.head.grid.spacing_m, stage.columns)
    return evolution(lines, across, times_s, later_s, widest)


def encodes_of(show: ImagePerformance, kind: Kind, shots: Indices) -> Encodes | Paths:
    """Return the k of some shots of one kind along the axes of the field of view."""
    axes, trajectory = show.setup.grid.axes, show.trajectory
    places = np.rint(trajectory.offsets_per_m[shots] @ axes / SAME_PER_M).astype(np.int64)
    played = np.unique(trajectory.kinds[shots])
    if any(leaves_axis(show.setup, trajectory.trains[one]) for one in played):
        starts, start = np.unique(places, axis=0, return_inverse=True)
        return Paths(
            np.stack([trajectory.trains[one].k_per_m @ axes for one in played]),
            np.asarray(starts * SAME_PER_M, float),
            np.stack([np.searchsorted(played, trajectory.kinds[shots]), start.reshape(-1)], axis=1),
        )
    found = [np.unique(places[:, axis], return_inverse=True) for axis in range(3)]
    x, y, z = (np.asarray(values * SAME_PER_M, float) for values, _ in found)
    return Encodes(
        trajectory.trains[played[0]].k_per_m @ axes[:, 0],
        x,
        y,
        z,
        np.stack([inverse.reshape(-1) for _, inverse in found], axis=1).astype(np.int64),
    )


Sink = Callable[[Indices, slice, Raw], None]
"""Takes the numbers of readouts, the run of samples, and the samples (n_readouts, n_coils, n)."""


@dataclass(frozen=True)
class Task:
    """Readouts of one kind, equal ones worked out once."""

    evolution: Evolution
    encodes: Encodes | Paths
    shots: Indices
    """Their numbers; shape (n_shots,)."""
    again: Indices
    """Which of the encodes each has; shape (n_shots,)."""


def tasks_of(show: ImagePerformance, known: Mapping[int, Evolution], shots: Indices) -> tuple[Task, ...]:
    """Return what is to be worked out for some shots, given how each kind evolves."""
    kinds, of = kinds_of(show)
    found = []
    for kind in kinds:
        mine = shots[of[shots] == kind.number]
        if mine.size:
            encodes = encodes_of(show, kind, mine)
            _, first, again = np.unique(encodes.of, axis=0, return_index=True, return_inverse=True)
            alone = replace(encodes, of=encodes.of[first])
            found.append(Task(known[kind.number], alone, mine, again.reshape(-1)))
    return tuple(found)


def evolutions(show: ImagePerformance, stage: Stage) -> dict[int, Evolution]:
    """Return how the tissues evolve in readouts of each kind."""
    return {kind.number: evolution_of(show, stage, kind) for kind in kinds_of(show)[0]}


def make_signals(stage: Stage, tasks: Sequence[Task], sink: Sink) -> None:
    """Work out what coils receive, before what befalls each shot."""
    for task in tasks:
        way = task.encodes
        runs = (
            along_paths(stage, task.evolution, way)
            if isinstance(way, Paths)
            else encoded(stage, task.evolution, way)
        )
        for part, samples in _gathered(runs):
            sink(task.shots, part, samples[task.again])


def _gathered(runs: Iterator[tuple[slice, Raw]]) -> Iterator[tuple[slice, Raw]]:
    """Yield runs of samples that follow each other as fewer and longer ones."""
    start, kept = 0, []
    for part, samples in runs:
        kept.append(samples)
        if part.stop - start >= _AT_ONCE:
            yield slice(start, part.stop), np.concatenate(kept, axis=-1)
            start, kept = part.stop, []
    if kept:
        whole = np.concatenate(kept, axis=-1)
        yield slice(start, start + whole.shape[-1]), whole


def befallen(show: ImagePerformance, shot: int, data: Raw) -> Raw:
    """Return what becomes of the signal of one shot: frequency, phases, motion, noise; (n_coils, n_samples)."""
    setup, faults, trajectory = show.setup, show.faults, show.trajectory
    train = trajectory.trains[trajectory.kinds[shot]]
    field_s = trajectory.field_times_s(shot)
    turn = 2 * np.pi * show.shots.frequency_hz[shot] * field_s + show.shots.phase_rad[shot]
    turn -= 2 * np.pi * setup.played.readouts[shot].offset_hz * (train.times_s - train.times_s[0])
    if faults.eddy_rad:
        turn += faults.eddy_rad * (1 - np.exp(-(train.times_s - train.times_s[0]) / faults.eddy_time_s))
    if faults.echo_phase_deg:
        turn += np.deg2rad(faults.echo_phase_deg) / 2 * polarity(setup, train)
    # The sums over the head count places from the middle of the box, gradients from the isocentre.
    places = setup.grid.centre_m + (show.shots.moved_m[shot] if faults.motion_mm else 0.0)
    if np.any(places):
        turn += 2 * np.pi * (trajectory.k_per_m(shot) @ places)
    found: Raw = data * np.exp(1j * turn).astype(np.complex64)
    factor = noise_factor(show)
    if factor is not None:
        add_noise(found, factor, faults.stream(show.seed, "noise", shot + 1))
    return found


def noise_factor(show: ImagePerformance) -> NDArray[np.float32] | None:
    """Return the matrix that makes white noise that of the coils; `None` without noise."""
    if show.noise_variance == 0:
        return None
    return np.linalg.cholesky(show.noise_variance * show.covariance).astype(np.float32)


def image_noise_scan(show: ImagePerformance) -> Raw | None:
    """Return samples of noise alone, shape (n_coils, n); `None` where there is none."""
    factor = noise_factor(show)
    if factor is None:
        return None
    data = np.zeros((show.faults.coils, NOISE_SAMPLES), np.complex64)
    add_noise(data, factor, show.faults.stream(show.seed, "noise", 0))
    return data


def play_image(show: ImagePerformance) -> tuple[list[Raw], Raw | None]:
    """Return the raw data of all shots in memory, (n_coils, n_samples) each, and the noise scan: for small images."""
    trajectory = show.trajectory
    sizes = [trajectory.trains[kind].times_s.size for kind in trajectory.kinds]
    data = [np.zeros((show.faults.coils, size), np.complex64) for size in sizes]

    def put(shots: Indices, part: slice, samples: Raw) -> None:
        for shot, row in zip(shots, samples, strict=True):
            data[shot][:, part] = row

    stage = stage_of(show)
    make_signals(stage, tasks_of(show, evolutions(show, stage), np.arange(len(data))), put)
    return [befallen(show, shot, row) for shot, row in enumerate(data)], image_noise_scan(show)
