"""How much noise a reconstructed voxel has, and which noise of a sample gives it the wanted ratio."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.grid import on_coarse
from pulsespec.simulator.image_setup import ImageSetup
from pulsespec.simulator.image_signal import rendered
from pulsespec.simulator.timeline import Played
from pulsespec.simulator.trajectory import echoes

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_ZERO_FILLING = 8
_PEAK_PPM = (1.85, 2.15)
NAA_PPM = 2.0
_FLAT = 0.9
"""Least share of the largest signal in the slab that counts as its middle."""
_WHITE = 0.7
"""Least share of white matter of the voxels that the ratio is that of."""


@dataclass(frozen=True)
class Readout:
    """The FID that the echoes of a voxel make, and how much noise of a sample is in it."""

    points: int
    dwell_s: float
    variance: float
    """Of a point of the FID of a voxel, for noise of variance 1 in each sample of one coil."""


def readout_of(setup: ImageSetup) -> Readout:
    """Return what reconstruction without filter makes of the readouts of metabolite shots.

    A voxel is the sum over samples with weights that are the same for all of k-space (those of a train in proportion
    to the gradient), 1 in sum for each echo and 1 / N for each of the N phase encodes of the full matrix. Echoes of
    both polarities, and averages, make one FID together; interleaves follow each other in time.
    """
    played, trajectory = setup.played, setup.trajectory
    shots = np.flatnonzero(~setup.is_water)
    train = trajectory.trains[trajectory.kinds[shots[0]]]
    direction = setup.grid.axes[:, 0]
    labels = {name: trajectory.labels[name][shots] for name in ("LIN", "PAR", "PHS", "SEG", "AVG")}
    encodes = len(np.unique(np.stack([labels[name] for name in ("LIN", "PAR", "PHS")]), axis=1).T)
    averages = np.unique(labels["AVG"]).size
    nx, ny, nz = setup.grid.shape
    if plays_rings(played):
        return _readout_of_rings(setup, shots)
    if not np.ptp(train.k_per_m @ direction):
        whole = nx * ny * nz
        first = played.readouts[int(shots[0])]
        return Readout(first.samples, first.dwell_s, encodes / whole**2 / averages)
    strength = train.gradient_hz_per_m @ direction
    found = echoes(train, direction)
    signs = {echo.direction for echo in found}
    used = (
        [echo for echo in found if echo.direction == found[0].direction] if len(signs) == 1 else list(found)
    )
    if len(signs) == 2:  # flying back is no echo
        longest = max(echo.samples.stop - echo.samples.start for echo in found)
        used = [echo for echo in found if echo.samples.stop - echo.samples.start > 0.7 * longest]
    weights = np.abs(strength[used[0].samples])
    inside = np.abs(_k_in_echo(setup, int(shots[0]), used[0].samples)) <= 0.5 / setup.grid.spacing_m[0] + 1e-6
    weights = weights * inside
    alone = float((weights**2).sum() / weights.sum() ** 2)
    polarities = len({echo.direction for echo in used})
    interleaves = np.unique(labels["SEG"]).size
    starts = train.times_s[[echo.samples.start for echo in used]]
    period_s = float((starts[-1] - starts[0]) / max(len(used) - 1, 1)) * polarities
    points = len(used) // polarities * interleaves
    variance = alone / polarities * encodes / (ny * nz) ** 2 / averages
    return Readout(points, period_s / interleaves, variance)


def plays_rings(played: Played) -> bool:
    """Return whether a `.seq` says that its readouts turn around rings."""
    return str(played.definitions.get("Readout", "")).strip() == "rings"


def _readout_of_rings(setup: ImageSetup, shots: NDArray[np.int64]) -> Readout:
    """Return what reconstruction makes of rings: each sample of a turn weighs the area that it stands for.

    Rings are closed half-way to their neighbours, the outermost as far outwards as inwards; each partition of a stack
    weighs the same.
    """
    played, trajectory = setup.played, setup.trajectory
    turn, interleaves = (int(played.numbers(key)[0]) for key in ("TurnSamples", "Interleaves"))
    one = {int(trajectory.labels["LIN"][shot]): int(shot) for shot in shots}
    k = np.array([(trajectory.k_per_m(shot)[0] @ setup.grid.axes)[:2] for shot in one.values()])
    edges = ring_edges(np.sort(np.linalg.norm(k, axis=1)))
    shares = np.pi * np.diff(edges**2) * np.prod(setup.grid.spacing_m[:2])
    averages = np.unique(trajectory.labels["AVG"][shots]).size
    first = trajectory.trains[trajectory.kinds[shots[0]]]
    turn_s = float(first.times_s[turn] - first.times_s[0])
    points = played.readouts[int(shots[0])].samples // turn * interleaves
    return Readout(
        points, turn_s / interleaves, float((shares**2).sum() / turn / setup.grid.shape[2] / averages)
    )


def ring_edges(radii_per_m: Real) -> Real:
    """Return the radii between which rings of rising radius lie, 0 first; shape (n_rings + 1,)."""
    middle = (radii_per_m[1:] + radii_per_m[:-1]) / 2
    last = 2 * radii_per_m[-1] - middle[-1] if middle.size else 2 * radii_per_m[-1]
    return np.concatenate([[0.0], middle, [last]])


def _k_in_echo(setup: ImageSetup, readout: int, samples: slice) -> Real:
    return np.asarray((setup.trajectory.k_per_m(readout) @ setup.grid.axes[:, 0])[samples])


def reference_height(setup: ImageSetup, readout: Readout) -> float:
    """Return the height at 2 ppm of the spectrum of a voxel full of white matter, in the middle of a slab.

    Of the magnitude, eight times zero-filled, with all that white matter has there.
    """
    times_s = np.asarray(np.arange(readout.points) * readout.dwell_s, float)
    lines = setup.response.metabolite[setup.response.reference]
    fid = rendered(lines, times_s, 0.0)
    fid = fid * _in_voxel(setup)
    gauss = float(np.median(setup.head.gauss_hz))
    later = setup.trajectory.evolution_s - setup.trajectory.starts_s + setup.first_s[0]
    at = times_s + float(later[np.flatnonzero(~setup.is_water)[0]])
    fid = fid * np.exp(-((np.pi * gauss * at) ** 2) / (4 * np.log(2)))
    spectrum = np.abs(np.fft.fft(fid, _ZERO_FILLING * fid.size))
    ppm = (
        setup.timeline.reference_ppm
        + np.fft.fftfreq(spectrum.size, readout.dwell_s) / setup.timeline.f0_hz * 1e6
    )
    folded = (ppm >= _PEAK_PPM[0]) & (ppm <= _PEAK_PPM[1])
    return float(spectrum[folded].max(initial=0.0))


def _in_voxel(setup: ImageSetup) -> float:
    """Return the signal of a voxel over the mean over slab or box: of all of a slab along what is not encoded."""
    found = 1.0
    for axis, slab in enumerate(setup.box):
        if slab is None:
            continue
        row = np.abs(slab.values[slab.nearest(np.array([ppm_hz(setup, NAA_PPM)]))[0]])
        if setup.grid.shape[axis] == 1:
            found *= float(row.sum() * (slab.places_m[1] - slab.places_m[0]) / setup.grid.spacing_m[axis])
        else:
            found *= float(np.median(row[row > _FLAT * row.max()]))
    return found


def ppm_hz(setup: ImageSetup, ppm: float) -> float:
    """Return the offset of a chemical shift from the receiver's reference in Hz, downfield positive."""
    return (ppm - setup.timeline.reference_ppm) * setup.timeline.f0_hz * 1e-6


def gain_map(setup: ImageSetup, coils: NDArray[np.complexfloating], covariance: Real) -> Real:
    """Return the square of the SNR over that of a coil of sensitivity 1 and noise 1, on the acquisition's grid.

    s^H C^-1 s (Roemer et al. 1990, doi:10.1002/mrm.1910160203) of the mean sensitivity s of each voxel.
    """
    fine = setup.head.grid
    means = np.stack(
        [
            on_coarse(np.real(one), fine, setup.grid) + 1j * on_coarse(np.imag(one), fine, setup.grid)
            for one in coils
        ]
    )
    flat = means.reshape(len(means), -1)
    gains = np.einsum("cv,cv->v", flat.conj(), np.linalg.solve(covariance, flat)).real
    return np.asarray(gains.reshape(setup.grid.shape))


def white_matter(setup: ImageSetup) -> NDArray[np.bool_]:
    """Return the voxels of white matter within the slab that the ratio is defined by; those with most if none.

    The slab is that of NAA: at 7 T lines far away from it lie elsewhere.
    """
    share = on_coarse(setup.head.shares[setup.response.reference], setup.head.grid, setup.grid)
    for axis, slab in enumerate(setup.box):
        if slab is not None:
            places = setup.grid.along(axis) + float(setup.grid.centre_m @ setup.grid.axes[:, axis])
            row = slab.nearest(np.array([ppm_hz(setup, NAA_PPM)]))[0]
            size = np.abs(slab.at(places, float(setup.grid.spacing_m[axis]))[row])
            others = tuple({0, 1, 2} - {axis})
            within = np.where(share.max(axis=others) > 0, size, 0.0)
            share = share * np.expand_dims(within > _FLAT * within.max(), others)
    return np.asarray(share > min(_WHITE, 0.9 * share.max()))


def noise_variance(setup: ImageSetup, snr: float, gains: Real) -> float:
    """Return the variance of one sample of a coil whose noise has shape 1.

    Of a FID of N points, each with the variance v, the real spectrum has the standard deviation sqrt(N v / 2).
    """
    if np.isinf(snr):
        return 0.0
    readout = readout_of(setup)
    gain = float(np.median(gains[white_matter(setup)]))
    wanted = (reference_height(setup, readout) / snr) ** 2 / (readout.points / 2)
    return wanted * gain / readout.variance
