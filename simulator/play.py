"""A virtual scan in memory: what a sequence, a phantom and faults give, with its truth.

    setup = set_up(sequence, basis, phantom)          # once
    scan = play(setup, faults=load_faults("trial"), seed=7)    # for each seed

`acquire` writes the same into an ISMRMRD file.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.chances import Chances, draw_chances, stream
from pulsespec.simulator.faults import Faults
from pulsespec.simulator.receiver import Coils, Raw, add_noise, clip, draw_coils, first_samples
from pulsespec.simulator.setup import Setup
from pulsespec.simulator.signals import Signals, shot_signals, signals
from pulsespec.simulator.truth import Truth

NOISE_SAMPLES = 16384
"""Samples of the noise scan that precedes the shots."""


@dataclass(frozen=True, kw_only=True)
class VirtualScan:
    """Raw data of a virtual scan, Pulseq sense, as a receiver stores them."""

    setup: Setup
    data: Raw
    """All shots in the order of the file; shape (n_shots, n_coils, samples)."""
    noise: Raw | None
    """The noise scan, shape (n_coils, n_noise); `None` where there is no noise."""
    truth: Truth


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Everything that decides a scan, before its samples are made."""

    setup: Setup
    faults: Faults
    seed: int
    chances: Chances
    coils: Coils
    parts: Signals
    noise_variance: float
    """Of one sample of a coil whose noise has shape 1."""


def play(setup: Setup, *, seed: int = 0, faults: Faults | None = None) -> VirtualScan:
    """Play a sequence on a phantom in memory.

    Parameters
    ----------
    setup
        Sequence and phantom: `set_up`.
    seed
        Of coils, noise and faults: the same seed gives the same scan.
    faults
        What the scan suffers from.

    """
    show = prepare(setup, seed=seed, faults=faults)
    data = np.empty((len(setup.readouts), show.faults.coils, setup.samples), np.complex64)
    clipped = np.zeros(len(setup.readouts), np.int64)
    for shot, samples, count in shots_of(show):
        data[shot], clipped[shot] = samples, count
    return VirtualScan(setup=setup, data=data, noise=noise_scan(show), truth=truth_of(show, clipped))


def prepare(setup: Setup, *, seed: int = 0, faults: Faults | None = None) -> Performance:
    """Draw all chances of a scan and make its signals."""
    faults = faults or Faults()
    coils, parts = draw_coils(faults, seed), signals(setup, faults, seed)
    return Performance(
        setup=setup,
        faults=faults,
        seed=seed,
        chances=draw_chances(setup.readouts, faults, seed),
        coils=coils,
        parts=parts,
        noise_variance=_noise_variance(setup, faults, coils, float(parts.height.max())),
    )


def shots_of(show: Performance) -> Iterator[tuple[int, Raw, int]]:
    """Yield number, samples (n_coils, samples) and count of clipped samples of each shot, one at a time."""
    setup, faults = show.setup, show.faults
    start = first_samples(setup.samples, faults)
    factor = _noise_factor(show)
    scales = _full_scales(show)
    for shot in range(len(setup.readouts)):
        fid, outside = shot_signals(setup, show.parts, show.chances, faults, slice(shot, shot + 1))
        data = np.multiply.outer(show.coils.sensitivity, fid[0] * start).astype(np.complex64)
        if faults.elsewhere:
            data += np.multiply.outer(show.coils.outside, outside[0] * start).astype(np.complex64)
        if factor is not None:
            add_noise(data, factor, stream(faults, show.seed, "noise", shot + 1))
        scale = scales[int(setup.readouts[shot].is_water_reference)]
        yield shot, data, 0 if scale is None else clip(data, scale)


def noise_scan(show: Performance) -> Raw | None:
    """Return samples of noise alone, shape (n_coils, n_noise); `None` where there is none."""
    factor = _noise_factor(show)
    if factor is None:
        return None
    data = np.zeros((show.faults.coils, NOISE_SAMPLES), np.complex64)
    add_noise(data, factor, stream(show.faults, show.seed, "noise", 0))
    return data


def truth_of(show: Performance, clipped: NDArray[np.int64]) -> Truth:
    """Return the truth of a scan, given what the ADC clipped."""
    setup, chances, phantom = show.setup, show.chances, show.setup.phantom
    single = np.full(show.parts.height.shape, np.inf)
    if show.noise_variance > 0:
        noise = np.sqrt(setup.samples / 2 * show.noise_variance / show.coils.gain)
        single = show.parts.height / noise
    spared = np.array([not kind for kind in chances.corrupted]) & ~setup.is_water
    counts = np.array([np.count_nonzero(spared & (setup.condition == one)) for one in sorted(setup.bases)])
    return Truth(
        phantom=phantom.name,
        concentrations_mm=dict(phantom.concentrations_mm),
        broad_mm=dict(phantom.broad_mm),
        water_mm=phantom.water_mm,
        seed=show.seed,
        faults=show.faults,
        sequence_hash=setup.basis.sequence_hash,
        dwell_s=setup.dwell_s,
        receiver_hz=np.array([readout.offset_hz for readout in setup.readouts]),
        is_water=setup.is_water,
        condition=setup.condition,
        **vars(chances),
        clipped=clipped,
        sensitivities=show.coils.sensitivity,
        outside=show.coils.outside,
        noise_covariance=(show.noise_variance * show.coils.shape).astype(complex),
        metabolite_fids=show.parts.metabolite,
        water_fid=show.parts.water,
        eddy_rad=show.parts.eddy_rad,
        snr_shot=single,
        snr_mean=np.where(counts > 0, single * np.sqrt(np.maximum(counts, 1)), 0.0),
    )


def _noise_variance(setup: Setup, faults: Faults, coils: Coils, height: float) -> float:
    """Return the variance of a sample of unit noise, so that the tallest condition has the SNR.

    Noise of variance v in each sample has the standard deviation sqrt(samples v / 2) in a real spectrum.
    """
    if np.isinf(faults.snr):
        return 0.0
    counts = np.bincount(setup.condition[~setup.is_water])
    shots = int(counts.max()) if faults.snr_of == "mean" else 1
    return float((height / faults.snr) ** 2 / (setup.samples / 2) * shots * coils.gain)


def _noise_factor(show: Performance) -> NDArray[np.float32] | None:
    if show.noise_variance == 0:
        return None
    return np.linalg.cholesky(show.noise_variance * show.coils.shape).astype(np.float32)


def _full_scales(show: Performance) -> tuple[float | None, float | None]:
    """Return the ADC's full scale in metabolite and water shots."""
    shares = (show.faults.clip_metabolite, show.faults.clip_water)
    if shares == (None, None):
        return None, None
    largest, loudest = [0.0, 0.0], float(np.abs(show.coils.sensitivity).max())
    for shot, readout in enumerate(show.setup.readouts):
        fid, _ = shot_signals(show.setup, show.parts, show.chances, show.faults, slice(shot, shot + 1))
        kind = int(readout.is_water_reference)
        largest[kind] = max(largest[kind], loudest * float(np.abs(fid).max()))
    metabolite, water = (
        None if share is None else share * size for share, size in zip(shares, largest, strict=True)
    )
    return metabolite, water
