"""Frequency and phase of shots against their common signal, by maximum likelihood.

Spectral registration (Near et al. 2015, doi:10.1002/mrm.25094) fits each shot to a reference in the time
domain. Near its Cramer-Rao bound the reference must be better than a shot: here it is the mean of what has been
aligned, without the shot itself (else a shot is drawn to its own noise), without shots that are unlike the rest
(the robust form: Mikkelsen et al. 2020, doi:10.1002/nbm.4368), and damped where it is noise (Wiener's weights).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.subspace import outside

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

LARGEST_HZ = 30.0
"""Drift and breathing at 7 T stay below; a wider search finds noise in weak shots."""
_PASSES = 5
_NEWTON = 4
_FINER = 4
_BLOCK = 16
_SMOOTHING_S = 0.02
_DROWNED = 3.0
_ABOVE_EDGE = 1.05
_SHORTEST = 16
_MEDIAN = float(np.log(2))
_TAIL = 8
_UNLIKE = 0.3


@dataclass(frozen=True)
class Registration:
    """Where each shot lies relative to the common signal: shot = amplitude e^(i phase) reference e^(2 pi i f t)."""

    frequency_hz: Real
    """Shape (n,)."""
    phase_rad: Real
    """Shape (n,), from -pi to pi."""
    amplitude: Real
    """Of each shot, the reference being 1; shape (n,)."""
    sd_hz: Real
    """Cramer-Rao bound of the frequency of each shot; shape (n,)."""
    sd_rad: Real
    """Cramer-Rao bound of the phase of each shot at t = 0; shape (n,)."""
    misfit: Real
    """Mean square of what the reference leaves of each shot, noise being 1; shape (n,)."""
    usual: NDArray[np.bool_]
    """Whether a shot has about the usual amplitude and residual, so that it counts in the reference; (n,)."""
    reference: Complex
    """The common signal, damped where it is noise; shape (samples,)."""
    noise: float
    """Standard deviation of a complex sample of one shot."""


def register(
    fids: Complex,
    dwell_s: float,
    reference: Complex | None = None,
    *,
    nuisance: Complex | None = None,
    largest_hz: float = LARGEST_HZ,
    noise: float | None = None,
) -> Registration:
    """Return frequency and phase of each of `fids`, shape (n, samples).

    Parameters
    ----------
    fids
        Shots of one signal.
    dwell_s
        Time between samples in s.
    reference
        The signal itself, shape (samples,); by default the mean of the shots as they become aligned, and
        then the median frequency and the mean phase are 0.
    nuisance
        Orthonormal basis of what is not to count, such as residual water: shape (m, samples). It is projected
        out of the shots; once they lie on each other, only those of its directions are in which they vary by
        more than noise, so that it costs the metabolites little and cuts the same of each shot.
        Bounds and the common signal are those without all of it: what is left of water would seem to tell more
        of a shift than it can.
    largest_hz
        How far a shot may lie from the reference.
    noise
        Standard deviation of a complex sample of one shot; by default of the last eighth of the FIDs, `nuisance`
        left out: residual water that lasts to the end is no noise.

    """
    noise = noise_of(fids, nuisance) if noise is None else noise
    if nuisance is None:
        return _registered(fids, dwell_s, reference, largest_hz, noise)
    if reference is not None:
        reference = outside(reference, nuisance)
    first = _registered(outside(fids, nuisance), dwell_s, reference, largest_hz, noise)
    if not first.reference.any():
        return first
    turned = turn(fids, dwell_s, -first.frequency_hz, -first.phase_rad)
    turned = outside(turned, varying(turned[first.usual], nuisance, noise))
    second = _registered(turned, dwell_s, reference, largest_hz / 4, noise)
    phase = np.angle(np.exp(1j * (first.phase_rad + second.phase_rad)))
    return replace(
        second,
        frequency_hz=first.frequency_hz + second.frequency_hz,
        phase_rad=phase,
        sd_hz=first.sd_hz,
        sd_rad=first.sd_rad,
        reference=first.reference,
    )


def varying(fids: Complex, basis: Complex, noise: float) -> Complex:
    """Return the directions within a space in which aligned FIDs differ; orthonormal, shape (k, samples).

    Those are the right singular vectors of the deviations from the mean whose singular values exceed the
    largest that noise alone gives (Marchenko and Pastur 1967, doi:10.1070/SM1967v001n04ABEH001994).
    """
    inner = fids @ basis.conj().T
    _, size, directions = np.linalg.svd(inner - inner.mean(axis=0), full_matrices=False)
    edge = noise * (np.sqrt(len(fids)) + np.sqrt(len(basis)))
    return np.asarray(directions[size > _ABOVE_EDGE * edge] @ basis)


def turn(fids: Complex, dwell_s: float, frequency_hz: Real, phase_rad: Real) -> Complex:
    """Return FIDs of shape (n, samples) with frequencies and phases of shape (n,) added."""
    t = np.arange(fids.shape[-1]) * dwell_s
    turned = np.empty(fids.shape, dtype=np.complex128)
    for n, fid in enumerate(fids):
        turned[n] = fid * np.exp(1j * (2 * np.pi * frequency_hz[n] * t + phase_rad[n]))
    return turned


def _registered(
    fids: Complex, dwell_s: float, reference: Complex | None, largest_hz: float, noise: float
) -> Registration:
    t = np.arange(fids.shape[1], dtype=np.float64) * dwell_s
    if reference is not None:
        frequency, phase = _search(fids, reference, t, largest_hz)
        return _judged(fids, reference, reference, t, frequency, phase, noise)
    damping = _damping(np.median(np.abs(fids) ** 2, axis=0) / _MEDIAN, dwell_s, noise, len(fids))
    if not damping.any():
        return _noise_alone(fids, noise)
    common: Complex = fids[most_typical(fids[:, damping > 0])] * damping
    end = min(t.size, 2 * max(_SHORTEST, int(np.count_nonzero(damping))))
    part, common, keep = fids[:, :end], common[:end], np.ones(len(fids))
    whole = common
    for _ in range(_PASSES if len(fids) > 1 else 1):
        frequency, phase = _search(part, common, t[:end], largest_hz)
        aligned = turn(part, dwell_s, -frequency, -phase)
        common, whole = _means(aligned, keep, dwell_s, noise)
        keep = usual_shots(aligned, whole).astype(float)
    del aligned
    centre, middle = float(np.median(frequency)), float(np.angle(np.mean(np.exp(1j * phase))))
    back = np.exp(2j * np.pi * centre * t[:end] + 1j * middle)
    frequency, phase = frequency - centre, np.angle(np.exp(1j * (phase - middle)))
    reference = np.zeros(t.size, dtype=np.complex128)
    reference[:end] = whole * back
    common = common * back
    return _judged(part, common, reference, t, frequency, phase, noise)


def _noise_alone(fids: Complex, noise: float) -> Registration:
    """Return that nothing is known of shots in which nothing is seen."""
    zeros, unknown = np.zeros(len(fids)), np.full(len(fids), np.inf)
    misfit = np.mean(np.abs(fids) ** 2, axis=1) / noise**2
    nothing = np.zeros(fids.shape[1], dtype=np.complex128)
    usual = np.ones(len(fids), dtype=bool)
    return Registration(zeros, zeros, zeros + 1, unknown, unknown, misfit, usual, nothing, noise)


def most_typical(fids: Complex) -> int:
    """Return the index of the FID that is most like the others, whatever their phases."""
    size = np.linalg.norm(fids, axis=1) + 1e-150
    likeness = np.abs(fids @ fids.conj().T) / np.outer(size, size)
    return int(np.argmax(np.median(likeness, axis=1)))


def noise_of(fids: Complex, nuisance: Complex | None = None) -> float:
    """Return the standard deviation of a complex sample in the last eighth of FIDs, the median over shots.

    What lies in the space `nuisance`, shape (m, samples), is left out, and what noise loses by that is given back.
    """
    last = slice(-max(8, fids.shape[1] // _TAIL), None)
    tail, share = fids[:, last], 1.0
    if nuisance is not None:
        tail = outside(fids, nuisance)[:, last]
        share = 1 - float(np.mean(np.sum(np.abs(nuisance[:, last]) ** 2, axis=0)))
    return float(np.sqrt(np.median(np.mean(np.abs(tail) ** 2, axis=1)) / max(share, 1e-3))) + 1e-300


def _search(fids: Complex, common: Complex, t: Real, largest_hz: float) -> tuple[Real, Real]:
    """Return where |sum fid conj(common e^(2 pi i f t))| is largest, and its phase there."""
    heard = np.flatnonzero(np.abs(np.atleast_2d(common)).max(axis=0))
    end = max(_SHORTEST, int(heard[-1]) + 1 if heard.size else 0)
    found = []
    for start in range(0, len(fids), _BLOCK):
        block = slice(start, start + _BLOCK)
        part = common[block, :end] if common.ndim > 1 else common[:end]
        found.append(_peak(fids[block, :end] * part.conj(), t[:end], largest_hz))
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def _peak(product: Complex, t: Real, largest_hz: float) -> tuple[Real, Real]:
    """Return frequency and phase of the largest peak of the spectrum of each row, by Newton's method."""
    size = 1 << int(np.ceil(np.log2(_FINER * t.size)))
    grid = np.fft.fftfreq(size, t[1])
    near = np.flatnonzero(np.abs(grid) <= largest_hz)
    overlap = np.abs(np.fft.fft(product, size, axis=1)[:, near])
    frequency = grid[near][np.argmax(overlap, axis=1)]
    moments = np.stack([np.ones_like(t), t, t**2], axis=1)
    for _ in range(_NEWTON):
        zeroth, first, second = (
            (product * np.exp(-2j * np.pi * frequency[:, None] * t)) @ moments
        ).T * np.array([[1.0], [-2j * np.pi], [-4 * np.pi**2]])
        slope = np.real(zeroth.conj() * first)
        bend = np.abs(first) ** 2 + np.real(zeroth.conj() * second)
        step = np.divide(-slope, bend, out=np.zeros_like(slope), where=bend < 0)
        frequency = frequency + np.clip(step, -2 * grid[1], 2 * grid[1])
    turned = product * np.exp(-2j * np.pi * frequency[:, None] * t)
    return frequency, np.angle(turned.sum(axis=1))


def registered_mean(aligned: Complex, dwell_s: float, noise: float) -> Complex:
    """Return the mean of the usual ones among aligned shots, damped where it is noise; shape (samples,)."""
    keep = np.ones(len(aligned))
    for _ in range(_PASSES):
        _, whole = _means(aligned, keep, dwell_s, noise)
        keep = usual_shots(aligned, whole).astype(float)
    return whole


def _means(aligned: Complex, keep: Real, dwell_s: float, noise: float) -> tuple[Complex, Complex]:
    """Return for each shot the damped mean of the others, and that of all that are kept."""
    count = max(float(keep.sum()), 1.0)
    total = keep @ aligned
    damping = _damping(np.abs(total / count) ** 2, dwell_s, noise / np.sqrt(count))
    if count < 2:
        return np.broadcast_to(total * damping, aligned.shape), total * damping / count
    others = total - keep[:, None] * aligned
    others *= damping
    others /= count - keep[:, None]
    return others, total / count * damping


def _damping(power: Real, dwell_s: float, noise: float, count: int = 1) -> Real:
    """Return Wiener's weight of each sample, 0 from where the signal first drowns.

    `power` is the mean over `count` FIDs of the squared magnitude, `noise` the standard deviation in it.
    """
    width = max(1, min(power.size // 4, round(_SMOOTHING_S / dwell_s)))
    padded = np.pad(power, width // 2, mode="reflect")
    smooth = np.convolve(padded, np.ones(width) / width, mode="same")[width // 2 :][: power.size]
    ratio = smooth / noise**2
    drowned = np.flatnonzero(ratio < 1 + _DROWNED / np.sqrt(width * count))
    ratio[max(_SHORTEST, int(drowned[0])) if drowned.size else power.size :] = 1.0
    return np.maximum(1 - 1 / np.maximum(ratio, 1e-300), 0.0)


def _energies(fids: Complex) -> Real:
    return np.array([np.vdot(fid, fid).real for fid in fids])


def usual_shots(aligned: Complex, whole: Complex) -> NDArray[np.bool_]:
    """Return which shots have about the usual amplitude and residual; all, where too few do."""
    power = float(np.vdot(whole, whole).real) + 1e-300
    gain = (aligned @ whole.conj()).real / power
    rest = np.sqrt(np.maximum(_energies(aligned) - gain**2 * power, 0.0))
    middle = np.median(rest)
    spread = 1.4826 * np.median(np.abs(rest - middle)) + 1e-3 * middle
    usual = float(np.median(gain))
    like = (np.abs(gain - usual) < _UNLIKE * abs(usual)) & (rest < middle + 5 * spread)
    return like if like.sum() >= max(2, len(aligned) // 3) else np.ones(len(aligned), dtype=bool)


def _judged(
    fids: Complex, common: Complex, reference: Complex, t: Real, frequency: Real, phase: Real, noise: float
) -> Registration:
    dwell_s = float(t[1])
    turned = turn(fids, dwell_s, -frequency, -phase)
    each = np.broadcast_to(common, turned.shape)
    power = _energies(each) + 1e-300
    amplitude = np.array([np.vdot(*pair).real for pair in zip(each, turned, strict=True)]) / power
    rest = np.maximum(_energies(turned) - amplitude**2 * power, 0.0)
    sd_hz, sd_rad = cramer_rao(reference, dwell_s, noise)
    size = np.maximum(np.abs(amplitude), 1e-6)
    return Registration(
        frequency_hz=frequency,
        phase_rad=phase,
        amplitude=amplitude,
        sd_hz=sd_hz / size,
        sd_rad=sd_rad / size,
        misfit=rest / turned.shape[1] / noise**2,
        usual=usual_shots(turned, reference[: turned.shape[1]]),
        reference=reference,
        noise=noise,
    )


def cramer_rao(signal: Complex, dwell_s: float, noise: float) -> tuple[float, float]:
    """Return the least standard deviations of frequency (Hz) and phase at t = 0 (rad) of a known signal.

    Both are unknown; `noise` is the standard deviation of a complex sample, half of its power in each part.
    The information on phase is 2 sum |s|^2 / noise^2, on frequency (2 pi)^2 that of t about its mean weighted
    with |s|^2 (Rife and Boorstyn 1974, doi:10.1109/TIT.1974.1055282, for a sinusoid).
    """
    weight = np.abs(signal) ** 2
    t = np.arange(signal.size) * dwell_s
    total = float(weight.sum()) + 1e-300
    centre = float(weight @ t) / total
    spread = float(weight @ (t - centre) ** 2) + 1e-300
    scale = noise**2 / 2
    return (
        float(np.sqrt(scale / spread) / (2 * np.pi)),
        float(np.sqrt(scale * (1 / total + centre**2 / spread))),
    )
