"""How near the cleaning of a virtual scan comes to its truth.

Every step before the fit is linear in the data once its numbers are found, so each part of the signal can be sent
through the steps by itself: what becomes of metabolites, water and noise is computed, not read off a noisy
spectrum.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.recon.pipeline import ReconSettings, recon
from pulsespec.recon.transients import Record, Transients
from pulsespec.recon.virtual import scan_of
from pulsespec.recon.water_removal import water_fit
from pulsespec.simulator.play import VirtualScan, prepare
from pulsespec.simulator.truth import Truth, in_nifti_sense, shot_bounds

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_WATER_PPM = 4.65
_SPARED_PPM = 0.5
_NAA_PPM = (1.9, 2.12)


@dataclass(frozen=True)
class Score:
    """One scan of one editing condition; shots that motion spares, unless said otherwise."""

    frequency_rms_hz: float
    frequency_bound_hz: float
    """Cramer-Rao bound: known signal without residual water, all points, frequency and phase unknown."""
    phase_rms_rad: float
    phase_bound_rad: float
    found: int
    """Corrupted shots that were left out."""
    missed: tuple[str, ...]
    """What spoiled the corrupted shots that were kept."""
    false: tuple[str, ...]
    """Reasons for which good shots were left out."""
    snr_share: float
    """SNR of NAA over what all spared shots give with known coils, noise, frequency and phase."""
    water_before: float
    """Largest point of residual water over NAA before its removal."""
    water_left: float
    """The same after."""
    touched: float
    """Largest change of the metabolites' spectrum beyond 0.5 ppm from water by its removal, over NAA."""


def score(played: VirtualScan, settings: ReconSettings | None = None) -> Score:
    """Clean a virtual scan with water references and one editing condition, and hold it against its truth."""
    settings = replace(settings or ReconSettings(), water_removal=False, phasing=False)
    done = recon(scan_of(played), settings).metabolite
    assert done is not None
    truth = in_nifti_sense(played.truth)
    records = {record.method: record for record in done.records}
    shots = ~truth.is_water
    good = ~truth.is_corrupted[shots]
    steps = records["Frequency and phase correction"].figures
    frequency = (steps["frequency_hz"] - truth.frequency_hz[shots])[good]
    phase = np.exp(1j * (steps["phase_rad"] - truth.phase_rad[shots])[good])
    phase = np.angle(phase * np.exp(-1j * np.angle(phase.mean())))
    bound_hz, bound_rad = shot_bounds(played.truth)
    keep = records["Outlier rejection"].figures["keep"]
    reasons = records["Outlier rejection"].figures["reasons"]
    kinds = [kind for kind, one in zip(truth.corrupted, shots, strict=True) if one]
    metabolite, water, noise = _parts(played, truth, records, done)
    ppm = ppm_axis(done.samples, done.dwell_s, done.f0_hz, done.reference_ppm)
    naa = _largest(metabolite, (ppm > _NAA_PPM[0]) & (ppm < _NAA_PPM[1]))
    fit = water_fit(np.asarray(done.data), done, settings.water_half_width_ppm)
    everywhere, spared = ppm > -np.inf, np.abs(ppm - _WATER_PPM) > _SPARED_PPM
    return Score(
        frequency_rms_hz=float(np.std(frequency)),
        frequency_bound_hz=bound_hz,
        phase_rms_rad=float(np.sqrt(np.mean(phase**2))),
        phase_bound_rad=bound_rad,
        found=int(np.count_nonzero(~keep & ~good)),
        missed=tuple(str(kinds[n]) for n in np.flatnonzero(keep & ~good)),
        false=tuple(reasons[str(n)] for n in np.flatnonzero(~keep & good)),
        snr_share=naa / (noise * np.sqrt(done.samples / 2)) / float(truth.snr_mean[0]),
        water_before=_largest(water, everywhere) / naa,
        water_left=_largest(fit.without(water), everywhere) / naa,
        touched=_largest(fit.without(metabolite) - metabolite, spared) / naa,
    )


def _parts(
    played: VirtualScan, truth: Truth, records: dict[str, Record], done: Transients
) -> tuple[Complex, Complex, float]:
    """Return metabolites and residual water as the steps leave them, and the noise of a sample."""
    shots, t = ~truth.is_water, played.setup.time_s
    steps = records["Frequency and phase correction"].figures
    coils = records["RF coil combination"].figures["weights"]
    weights = records["Signal averaging"].figures["weights"]
    left_hz = truth.frequency_hz[shots] - steps["frequency_hz"] - truth.receiver_hz[shots]
    left_rad = truth.phase_rad[shots] - steps["phase_rad"]
    turn = np.exp(1j * (2 * np.pi * left_hz[:, None] * t + left_rad[:, None]))
    eddy = np.zeros(t.size)
    if "Eddy current correction" in records:
        eddy = records["Eddy current correction"].figures.get("phase_rad", eddy)
    common = coils @ truth.sensitivities * np.exp(1j * (truth.faults.eddy_metabolite * truth.eddy_rad - eddy))
    residual = swap_sense(prepare(played.setup, seed=truth.seed, faults=truth.faults).parts.residual)
    gain = weights * truth.gain[shots]
    metabolite = gain @ turn * common * truth.metabolite_fids[0]
    water = (gain * truth.residual_water[shots]) @ turn * common * residual
    variance = np.sum(weights**2) * np.real(coils @ truth.noise_covariance @ coils.conj())
    return metabolite, water, float(np.sqrt(variance))


def _largest(fid: Complex, where: NDArray[np.bool_]) -> float:
    return float(np.abs(to_spectrum(fid))[where].max())
