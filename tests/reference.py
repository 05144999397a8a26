"""Slow, plainly written simulators that share no code with the engine: what it must agree with.

Both read the `.seq` through pypulseq, play every event as it stands in the file and know nothing of
pathways. Pulseq sense: a positive offset is a higher frequency, exp(-i w t Iz), and s(t) = Tr(rho F+).

**The grid.** `brute_force` sums over cell centres. By Poisson's formula a sum over cells of width h of a
profile times exp(i 2 pi K x) is its integral at K plus what the integral has at K + n / h for all n != 0. It is
therefore exact (to the tail of the profile's transform) where, along every axis, (1) 1 / h is well above
1 / (width of the transition band), for wanted signal at K = 0, and (2) no K of an unwanted pathway (sums of
order x moment, orders up to the number of spins) comes within some bandwidths of a multiple of 1 / h. And a box of
length L cuts off what a pulse excites outside it: the crushers see that edge as sinc(K L), which vanishes for a
flat profile where K L is an integer. Halving h and changing L must leave the result alone; the tests do it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypulseq
import scipy.constants

GAMMA_HZ_PER_T = scipy.constants.physical_constants["shielded proton gyromag. ratio in MHz/T"][0] * 1e6


@dataclass(frozen=True)
class Step:
    """A time step: RF constant for `duration_s` (a pulse sample), or free precession where `b1_hz` is 0."""

    duration_s: float
    b1_hz: complex
    moment_per_m: np.ndarray  # integral of the gradients over the step, cycles/m, (3,)


@dataclass(frozen=True)
class Played:
    """One shot: pulses (lists of steps) and free intervals in order, up to the first ADC sample."""

    parts: list[list[Step]]
    sample_times_s: np.ndarray  # from the first sample
    sample_moments: np.ndarray  # cycles/m since the first sample, (n, 3)
    receiver: np.ndarray  # factor that demodulates each sample
    f0_hz: float
    reference_ppm: float


def _gradient(event):
    """Corner times (from the start of the block) and values of one gradient event."""
    if event is None:
        return np.array([0.0, 1e-9]), np.zeros(2)
    if event.type == "trap":
        times = event.delay + np.cumsum([0.0, event.rise_time, event.flat_time, event.fall_time])
        return times, event.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    times, values = np.asarray(event.tt, float), np.asarray(event.waveform, float)
    if times[0] > 0:
        times = np.r_[0.0, times, event.shape_dur]
        values = np.r_[event.first, values, event.last]
    return event.delay + times, values


def _integrals(corners, edges):
    """Exact integrals of a piecewise linear waveform, zero outside its corners, between edges; shape (n - 1,)."""
    times, values = corners
    edges = np.clip(edges, times[0], times[-1])
    knots = np.union1d(edges, times)
    at = np.interp(knots, times, values)
    areas = np.r_[0.0, np.cumsum(np.diff(knots) * (at[1:] + at[:-1]) / 2)]
    return np.diff(areas[np.searchsorted(knots, edges)])


def _pulse(rf, f0_hz, step_s):
    """Edges (from the block's start) and complex B1 of the pulse's constant pieces."""
    t, signal = np.asarray(rf.t, float), np.asarray(rf.signal, complex)
    centred = t[0] > 0
    piece = 2 * t[0] if centred else 1e-6
    if step_s is not None:
        piece = step_s
    # pypulseq states the length of a shape on a coarser raster without its last half sample
    duration_s = 2 * t[0] * t.size if centred else float(rf.shape_dur)
    n = max(1, round(duration_s / piece))
    middle = (np.arange(n) + 0.5) * duration_s / n
    if centred and step_s is None:
        b1 = signal
    else:
        b1 = np.interp(middle, t, signal.real) + 1j * np.interp(middle, t, signal.imag)
    offset_hz = rf.freq_offset + getattr(rf, "freq_ppm", 0.0) * 1e-6 * f0_hz
    phase = rf.phase_offset + getattr(rf, "phase_ppm", 0.0) * 1e-6 * f0_hz
    edges = rf.delay + np.arange(b1.size + 1) * duration_s / b1.size
    return edges, b1 * np.exp(1j * (phase + 2 * np.pi * offset_hz * middle))


def play(seq_path, *, f0_hz=None, rf_step_s=None):
    """Return the shots of a file, one an ADC, each from the end of the preceding ADC's block."""
    seq = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    seq.read(str(Path(seq_path)))
    if f0_hz is None:
        f0_hz = GAMMA_HZ_PER_T * float(np.ravel(seq.definitions["B0"])[0])
    reference_ppm = float(np.ravel(seq.definitions.get("ReceiverPPM", 4.65))[0])
    shots, parts = [], []
    for index in seq.block_events:
        block = seq.get_block(index)
        corners = [_gradient(getattr(block, f"g{axis}", None)) for axis in "xyz"]

        def between(edges, corners=corners):
            return np.stack([_integrals(corner, edges) for corner in corners], axis=1)

        def moment(start, end, between=between):
            return between([start, end])[0]

        time = 0.0
        rf, adc = getattr(block, "rf", None), getattr(block, "adc", None)
        assert rf is None or adc is None, "a block with RF and ADC is beyond this reference"
        if rf is not None:
            edges, b1 = _pulse(rf, f0_hz, rf_step_s)
            parts.append([Step(edges[0], 0.0, moment(0.0, edges[0]))])
            pieces = zip(np.diff(edges), b1, between(edges), strict=True)
            parts.append([Step(*piece) for piece in pieces])
            time = edges[-1]
        if adc is None:
            parts.append([Step(block.block_duration - time, 0.0, moment(time, block.block_duration))])
            continue
        within = (np.arange(adc.num_samples) + 0.5) * adc.dwell
        samples = adc.delay + within
        parts.append([Step(samples[0], 0.0, moment(0.0, samples[0]))])
        offset_hz = adc.freq_offset + getattr(adc, "freq_ppm", 0.0) * 1e-6 * f0_hz
        phase = adc.phase_offset + getattr(adc, "phase_ppm", 0.0) * 1e-6 * f0_hz
        if all(corner[0][-1] <= samples[0] or not np.any(corner[1]) for corner in corners):
            moments = np.zeros((samples.size, 3))
        else:
            moments = np.cumsum(np.r_[np.zeros((1, 3)), between(samples)], axis=0)
        shots.append(
            Played(
                parts,
                samples - samples[0],
                moments,
                np.exp(-1j * (phase + 2 * np.pi * offset_hz * within)),
                f0_hz,
                reference_ppm,
            )
        )
        parts = []
    return shots


def spin_operators(n):
    """Ix, Iy, Iz of n spins 1/2, shape (n, 3, 2**n, 2**n)."""
    pauli = [np.array([[0, 1], [1, 0]]) / 2, np.array([[0, -1j], [1j, 0]]) / 2, np.diag([0.5, -0.5])]
    return np.array(
        [[np.kron(np.kron(np.eye(2**i), p), np.eye(2 ** (n - i - 1))) for p in pauli] for i in range(n)]
    ).astype(complex)


def _exponential(hamiltonian):
    """exp(-i H) of Hermitian matrices, shape (..., d, d), through their eigenvectors."""
    energy, vectors = np.linalg.eigh(hamiltonian)
    return (vectors * np.exp(-1j * energy)[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))


def cell_centres(extent_m, points, centre_m=(0.0, 0.0, 0.0)):
    """Centres of the cells of a box, shape (n, 3)."""
    axes = [
        centre + ((np.arange(n) + 0.5) / n - 0.5) * length
        for length, n, centre in zip(extent_m, points, centre_m, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def brute_force(
    seq_path,
    shifts_ppm,
    j_hz,
    *,
    extent_m,
    points,
    voxel_m,
    f0_hz=None,
    centre_m=(0.0, 0.0, 0.0),
    n_samples=None,
    rf_step_s=None,
    taper=0.0,
):
    """Density matrix at every point of a full grid; the mean over the file's ADCs; shape (n_samples,).

    The object fills the box; over the outer share `taper` of every axis its density falls off smoothly, so that
    what has been dephased cancels without edges.
    """
    positions = cell_centres(extent_m, points, centre_m)
    weight = np.prod(np.asarray(extent_m) / np.asarray(points)) / np.prod(voxel_m)
    inside = 2 * np.abs(positions - np.asarray(centre_m)) / np.asarray(extent_m)
    edge = np.clip((inside - 1 + taper) / taper, 0, 1) if taper else np.zeros_like(inside)
    density = np.prod(np.where(np.asarray(points) > 1, np.cos(np.pi / 2 * edge) ** 2, 1.0), axis=1)
    shots = play(seq_path, f0_hz=f0_hz, rf_step_s=rf_step_s)
    shifts, couplings = np.asarray(shifts_ppm, float), np.asarray(j_hz, float)
    fids = [_shot(shot, shifts, couplings, positions, n_samples, density) for shot in shots]
    return weight * np.mean(fids, axis=0)


def _shot(shot, shifts_ppm, j_hz, positions, n_samples, density):
    n = shifts_ppm.size
    single = spin_operators(n)
    fx, fy, fz = single.sum(0)
    free = np.einsum("i,iab->ab", (shifts_ppm - shot.reference_ppm) * 1e-6 * shot.f0_hz, single[:, 2])
    upper = np.triu(j_hz + np.tril(j_hz, -1).T * (np.triu(j_hz, 1) == 0), 1) if n > 1 else np.zeros((1, 1))
    for i, k in zip(*np.nonzero(upper), strict=True):
        free = free + upper[i, k] * np.einsum("aij,ajk->ik", single[i], single[k])
    m = np.diag(fz).real
    rho = density[:, None, None] * fz
    for part in shot.parts:
        if any(step.b1_hz for step in part):
            u = _pulse_propagator(part, positions, free, fx, fy, fz)
            rho = u @ rho @ np.conj(np.swapaxes(u, -1, -2))
            continue
        duration = sum(step.duration_s for step in part)
        u = _exponential(2 * np.pi * duration * free)
        turn = positions @ sum(step.moment_per_m for step in part)
        phase = np.exp(-2j * np.pi * turn[:, None] * m)
        rho = phase[:, :, None] * (u @ rho @ u.conj().T) * np.conj(phase)[:, None, :]
    return _read(shot, rho, positions, free, m, fx + 1j * fy, n_samples)


def _pulse_propagator(part, positions, free, fx, fy, fz):
    """Product of one exponential a sample; positions with the same gradient history are done once."""
    axes = np.any([step.moment_per_m != 0 for step in part], axis=0)
    distinct, inverse = np.unique(positions * axes, axis=0, return_inverse=True)
    u = np.broadcast_to(np.eye(len(fz), dtype=complex), (len(distinct), *fz.shape))
    for step in part:
        turns = distinct @ step.moment_per_m
        still = free + step.b1_hz.real * fx + step.b1_hz.imag * fy
        u = _exponential(2 * np.pi * (step.duration_s * still + turns[:, None, None] * fz)) @ u
    return u[inverse.ravel()]


def _read(shot, rho, positions, free, m, raising, n_samples):
    count = slice(n_samples)
    times, moments = shot.sample_times_s[count], shot.sample_moments[count]
    energy, vectors = np.linalg.eigh(free)
    detect = vectors.conj().T @ raising @ vectors
    signal = np.empty(times.size, complex)
    total = rho.sum(0)
    for index, (time, moment) in enumerate(zip(times, moments, strict=True)):
        if moment.any():
            phase = np.exp(-2j * np.pi * (positions @ moment)[:, None] * m)
            total = np.einsum("pa,pab,pb->ab", phase, rho, phase.conj())
        turn = np.exp(-2j * np.pi * energy * time)
        evolved = turn[:, None] * (vectors.conj().T @ total @ vectors) * turn.conj()
        signal[index] = np.sum(evolved * detect.T)
    return signal * shot.receiver[count] * 4 / len(free)


def bloch_amplitude(shot, offset_hz, positions):
    """First sample of one spin 1/2 at each position, full excitation 1, by Cayley-Klein; shape (n,)."""
    a, b = np.ones(len(positions), complex), np.zeros(len(positions), complex)
    for part in shot.parts:
        steps = part if any(step.b1_hz for step in part) else [_joined(part)]
        for step in steps:
            z = offset_hz * step.duration_s + positions @ step.moment_per_m
            transverse = step.b1_hz * step.duration_s
            if not step.b1_hz:
                turn = np.exp(-1j * np.pi * z)
                a, b = turn * a, turn.conj() * b
                continue
            angle = np.sqrt(z**2 + abs(transverse) ** 2)
            cosine, over = np.cos(np.pi * angle), np.pi * np.sinc(angle)
            alpha, beta = cosine - 1j * z * over, -1j * transverse * over
            a, b = alpha * a - np.conj(beta) * b, beta * a + np.conj(alpha) * b
    return 2 * np.conj(a) * b * shot.receiver[0]


def _joined(part):
    return Step(sum(s.duration_s for s in part), 0.0, sum(s.moment_per_m for s in part))


def voxel_amplitude(
    shots, offset_hz, n, seed, extent_m, *, voxel_m, axes=None, centre_m=(0.0, 0.0, 0.0), later_s=0.0
):
    """Mean over shots of the voxel's amplitude of one spin, and its standard error, from random positions.

    The box, along `axes` (columns), must enclose all that survives. It is divided into about n / 2 cells with two
    uniform random positions in each (stratified sampling): unbiased, and the two give the variance of each cell.
    The signal is that of the first sample, or of the time `later_s` after it.
    """
    rng = np.random.default_rng(seed)
    per_axis = max(1, round((n / 2) ** (1 / 3)))
    cell = np.asarray(extent_m) / per_axis
    centres = cell_centres(extent_m, (per_axis,) * 3)
    turn = np.eye(3) if axes is None else axes
    values = np.zeros((2, len(centres)), complex)
    for row in values:
        where = (centres + rng.uniform(-0.5, 0.5, centres.shape) * cell) @ turn.T + np.asarray(centre_m)
        row[:] = np.mean([_later(shot, offset_hz, where, later_s) for shot in shots], axis=0)
    scale = np.prod(cell) / np.prod(voxel_m)
    error = scale * np.sqrt(np.sum(np.abs(values[0] - values[1]) ** 2) / 4)
    return scale * values.mean(0).sum(), float(error)


def _later(shot, offset_hz, positions, later_s):
    signal = bloch_amplitude(shot, offset_hz, positions)
    if not later_s:
        return signal
    moment = [np.interp(later_s, shot.sample_times_s, shot.sample_moments[:, axis]) for axis in range(3)]
    return signal * np.exp(2j * np.pi * (offset_hz * later_s + positions @ np.array(moment)))


def monte_carlo_bloch(
    seq_path, offset_hz, n, seed, extent_m, *, voxel_m, centre_m=(0.0, 0.0, 0.0), f0_hz=None
):
    """Voxel amplitude at the first sample of one spin, and its standard error: mean over all ADCs of a file."""
    shots = play(seq_path, f0_hz=f0_hz)
    return voxel_amplitude(shots, offset_hz, n, seed, extent_m, voxel_m=voxel_m, centre_m=centre_m)
