"""A head on the virtual scanner with an imaging sequence: what all scans of the two have in common."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.simulator.grid import RAS_FROM_GRADIENT, Grid, acquisition_grid, finer_grid
from pulsespec.simulator.head import Head, extent_mm, make_head, tissue_of, tissues_in
from pulsespec.simulator.head_settings import HeadSettings
from pulsespec.simulator.image_response import Response, responses
from pulsespec.simulator.image_slab import NO_BOX, Box, box_of
from pulsespec.simulator.setup import WATER_ALONE
from pulsespec.simulator.timeline import Played, Timeline, read_played, read_timeline
from pulsespec.simulator.tissue import Tissue
from pulsespec.simulator.trajectory import Trajectory, read_trajectory

Real = NDArray[np.float64]

_WATER_PPM = (0.5, 5.5)


@dataclass(frozen=True, kw_only=True)
class ImageSetup:
    """An imaging sequence and a head in it."""

    path: Path
    played: Played
    timeline: Timeline
    trajectory: Trajectory
    """As the file says, without delays."""
    grid: Grid
    """Of the acquisition."""
    head: Head
    """On a finer grid, as far as the slab reaches."""
    response: Response
    box: Box
    """Of metabolite shots, along the axes of the field of view."""
    water_box: Box
    """Of water shots; nothing where there are none."""
    sequence_hash: str

    @property
    def is_water(self) -> NDArray[np.bool_]:
        """Whether each shot is a water reference; shape (n_shots,)."""
        return np.array([readout.is_water_reference for readout in self.played.readouts])

    @property
    def first_s(self) -> tuple[float, float]:
        """Time from the excitation to what a basis calls the first sample, of metabolite and of water shots."""
        water = self.is_water
        metabolite = first_echo_s(self.trajectory, int(np.flatnonzero(~water)[0]))
        return metabolite, first_echo_s(
            self.trajectory, int(np.flatnonzero(water)[0])
        ) if water.any() else 0.0


def set_up_image(path: Path, settings: HeadSettings | None = None) -> ImageSetup:
    """Put a head on the virtual scanner.

    Parameters
    ----------
    path
        The `.seq` file of an image: phase-encoded, or with an echo-planar train.
    settings
        The head.

    Raises
    ------
    SequenceError
        The file makes no images, has water references alone, or does what the virtual scanner does not.
    InputError
        A tissue of the head is not known, or no brain lies in the field of view.

    """
    path, settings = Path(path), settings or HeadSettings()
    played = read_played(path)
    grid = acquisition_grid(played, path)
    if all(one.is_water_reference for one in played.readouts):
        raise SequenceError(f"{path}: {WATER_ALONE}")
    timeline, trajectory = read_timeline(path), read_trajectory(path)
    points, tissues = _low_high(grid, settings), _tissues(settings)
    response = responses(
        path,
        timeline,
        trajectory,
        tissues,
        relaxation=settings.relaxation,
        macromolecules=settings.macromolecules,
        lipid=settings.lipid,
    )
    lines = [*response.metabolite.values(), *response.residual.values()]
    used = np.concatenate([one.frequency_hz for one in lines])
    box = box_of(path, response.plan, timeline, float(used.min()), float(used.max()))
    water_box = NO_BOX
    if response.water_plan is not None:
        low, high = ((ppm - timeline.reference_ppm) * timeline.f0_hz * 1e-6 for ppm in _WATER_PPM)
        water_box = box_of(path, response.water_plan, timeline, low, high)
    low_m, high_m = _within(*points, (box, water_box), grid.centre_m @ grid.axes)
    factors = np.maximum(np.ceil(grid.spacing_m * 1e3 / np.asarray(settings.fine_mm) - 1e-9), 2).astype(int)
    fine = finer_grid(grid, factors.tolist(), low_m, high_m)
    return ImageSetup(
        path=path,
        played=played,
        timeline=timeline,
        trajectory=trajectory,
        grid=grid,
        head=make_head(settings, fine, timeline.f0_hz),
        response=response,
        box=box,
        water_box=water_box,
        sequence_hash=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def first_echo_s(trajectory: Trajectory, readout: int) -> float:
    """Return the time from the excitation to the first sample of a readout, or to the first echo of a train.

    An echo is where a train passes the middle of its range. One that turns in k-space has none.
    """
    train = trajectory.trains[trajectory.kinds[readout]]
    reach = np.ptp(train.k_per_m, axis=0)
    if not reach.any() or np.linalg.matrix_rank(train.k_per_m - train.k_per_m[0], 1e-3 * reach.max()) > 1:
        return float(trajectory.starts_s[readout] + train.times_s[0])
    along = (train.k_per_m - (train.k_per_m.max(axis=0) + train.k_per_m.min(axis=0)) / 2) @ reach
    crossing = int(np.flatnonzero(np.sign(along[:-1]) * np.sign(along[1:]) < 0)[0])
    share = along[crossing] / (along[crossing] - along[crossing + 1])
    step = train.times_s[crossing + 1] - train.times_s[crossing]
    return float(trajectory.starts_s[readout] + train.times_s[crossing] + share * step)


def _tissues(settings: HeadSettings) -> dict[str, Tissue]:
    return {name: tissue_of(name) for name in tissues_in(settings)}


def _low_high(grid: Grid, settings: HeadSettings) -> tuple[Real, Real]:
    """Return the box of the head along the axes of the field of view, from its centre."""
    low, high = extent_mm(settings)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T * 1e-3
    places = (corners @ RAS_FROM_GRADIENT - grid.centre_m) @ grid.axes
    return places.min(axis=0), places.max(axis=0)


def _within(low_m: Real, high_m: Real, boxes: tuple[Box, Box], centre_m: Real) -> tuple[Real, Real]:
    """Return the extent of the head cut to what slabs reach."""
    low, high = low_m.copy(), high_m.copy()
    for axis in range(3):
        ranges = [slab.range_m for slab in (box[axis] for box in boxes) if slab is not None]
        if ranges:
            low[axis] = max(low[axis], min(first for first, _ in ranges) - centre_m[axis])
            high[axis] = min(high[axis], max(last for _, last in ranges) - centre_m[axis])
    return low, np.maximum(high, low + 1e-6)
