"""Expected spectra: what a tissue gives through the sequence of a basis set, with everything a scan adds to it.

An FID in the NIfTI-MRS sense is

    s(t) = exp(i phase - 2 pi i shift t) [V(t) sum_k c_k w_k b_k(t) exp(-t / T2_k - 2 pi i shift_k t)
           + residual water + baseline] + noise,

with the concentration c_k in mM, the basis function b_k, the weight
w_k = exp(-TE / T2_k) (1 - exp(-TR / T1_k)), and V the line that an inhomogeneous field gives all of them:
exp(-pi lorentz t - (pi gauss t)^2 / (4 ln 2)). Shifts are positive downfield. Amplitudes are in mM of protons.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor, ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import InputError
from pulsespec.simulator.scene import Contents, Scene
from pulsespec.simulator.tissue import WATER

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

WATER_LINES = 4
"""Lines that residual water consists of."""
_ZERO_FILLING = 4


@dataclass(frozen=True)
class Quality:
    """What a scan adds to the signal of the tissue; the defaults add nothing."""

    lorentz_hz: float = 0.0
    """Lorentzian width that the field adds to all lines, full width at half maximum in Hz."""
    gauss_hz: float | None = None
    """Gaussian width, full width at half maximum in Hz; that of the tissue at this field where `None`."""
    snr: float | None = None
    """Height of the tissue's reference peak over the standard deviation of the noise; no noise where `None`."""
    residual_water: float = 0.0
    """Amplitude that suppression leaves, as a share of the water."""
    baseline: float = 0.0
    """Standard deviation of the height of a bump of the baseline, as a share of the reference peak."""
    phase_deg: float = 0.0
    """Phase that the FID is turned by, in degrees."""
    shift_hz: float = 0.0
    """Shift of the whole spectrum in Hz, positive downfield."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, least in (
            ("lorentz_hz", 0.0),
            ("gauss_hz", 0.0),
            ("residual_water", 0.0),
            ("baseline", 0.0),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise InputError(f"{name}: got {value}, expected a number of at least {least:g}")
        if self.snr is not None and not 0 < self.snr < math.inf:
            raise InputError(f"snr: got {self.snr}, expected a number above 0")
        if not (math.isfinite(self.phase_deg) and math.isfinite(self.shift_hz)):
            raise InputError(f"phase_deg {self.phase_deg}, shift_hz {self.shift_hz}: expected finite numbers")


@dataclass(frozen=True)
class Accidents:
    """What chance gives one spectrum, before it is scaled."""

    water_shift_hz: Real
    """Of each line of residual water from the water's frequency, in Hz, positive downfield."""
    water_share: Complex
    """Complex shares of the lines of residual water; their magnitudes sum to 1."""
    water_lorentz_hz: Real
    baseline: Complex
    """Height of each bump of the baseline, standard normal in both parts."""
    noise: Complex
    """Standard normal in both parts; shape (samples,)."""


def clean_fid(scene: Scene, contents: Contents, lorentz_hz: float, gauss_hz: float) -> Complex:
    """Return the signal of the tissue alone, without noise, water, baseline, phase and shift; shape (samples,).

    Exact for any T2 and shift of each component.
    """
    rate = -2j * np.pi * contents.shift_hz - np.where(scene.decays, 1 / contents.t2_s, 0.0)
    scale = contents.concentrations_mm * scene.weights(contents.t2_s)
    starts, steps = _series(scale, rate, scene)
    coarse, fine = starts.shape[1], steps.shape[1]
    padded = np.zeros((len(scene.names), coarse * fine), dtype=complex)
    padded[:, : scene.samples] = scene.fids
    parts = padded.reshape(-1, coarse, fine) * steps[:, None, :]
    total = np.matmul(starts.T[:, None, :], parts.transpose(1, 0, 2))[:, 0, :].ravel()[: scene.samples]
    t = scene.time_s
    return np.asarray(total * np.exp(-np.pi * lorentz_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2))))


def _series(scale: NDArray[Any], rate: NDArray[Any], scene: Scene) -> tuple[Complex, Complex]:
    """Return scale exp(rate t) as a coarse and a fine factor whose outer product it is.

    A geometric series needs exponentials for its starts and its steps only; shapes (n, coarse), (n, fine).
    """
    fine = math.ceil(math.sqrt(scene.samples))
    coarse = math.ceil(scene.samples / fine)
    starts = scale[:, None] * np.exp(rate[:, None] * scene.dwell_s * fine * np.arange(coarse))
    return starts, np.exp(rate[:, None] * scene.dwell_s * np.arange(fine))


def reference_height(scene: Scene, clean: Complex) -> float:
    """Return the height of the tissue's reference peak in the magnitude spectrum of a clean FID."""
    samples = _ZERO_FILLING * scene.samples
    spectrum = np.abs(to_spectrum(np.concatenate([clean, np.zeros(samples - clean.size)])))
    ppm = ppm_axis(samples, scene.dwell_s, scene.f0_hz, scene.reference_ppm)
    low, high = scene.tissue.snr_ppm
    inside = spectrum[(ppm >= low) & (ppm <= high)]
    if inside.size == 0 or inside.max() <= 0:
        raise InputError(f"tissue {scene.tissue.name}: no signal from {low} to {high} ppm to measure SNR by")
    return float(inside.max())


def draw_accidents(scene: Scene, rng: np.random.Generator) -> Accidents:
    """Draw what chance gives one spectrum; always the same number of draws."""
    shift = rng.normal(0.0, 0.05, WATER_LINES) * scene.f0_hz * 1e-6
    share = rng.uniform(0.1, 1.0, WATER_LINES)
    phase = rng.uniform(0.0, 2 * np.pi, WATER_LINES)
    width = rng.uniform(0.03, 0.12, WATER_LINES) * scene.f0_hz * 1e-6
    bumps = rng.standard_normal((2, scene.bumps.shape[0]))
    noise = rng.standard_normal((2, scene.samples))
    turned = share / share.sum() * np.exp(1j * phase)
    return Accidents(shift, turned, width, bumps[0] + 1j * bumps[1], noise[0] + 1j * noise[1])


def expected_fid(scene: Scene, contents: Contents, quality: Quality, accidents: Accidents) -> Complex:
    """Return one FID in the NIfTI-MRS sense; shape (samples,).

    The noise is white; its standard deviation in the real part of the spectrum is the height of the tissue's
    reference peak over `quality.snr` (Kreis et al. 2021, doi:10.1002/nbm.4347).
    """
    gauss_hz = scene.gauss_hz if quality.gauss_hz is None else quality.gauss_hz
    fid = clean_fid(scene, contents, quality.lorentz_hz, gauss_hz)
    height = reference_height(scene, fid) if quality.baseline or quality.snr is not None else 0.0
    if quality.residual_water:
        fid = fid + quality.residual_water * residual_water(scene, accidents)
    if quality.baseline:
        fid = fid + quality.baseline * height * (accidents.baseline @ scene.bumps)
    turn = np.deg2rad(quality.phase_deg) - 2 * np.pi * quality.shift_hz * scene.time_s
    fid = fid * np.exp(1j * turn)
    if quality.snr is not None:
        fid = fid + height / quality.snr / math.sqrt(scene.samples) * accidents.noise
    return np.asarray(fid)


def residual_water(scene: Scene, accidents: Accidents) -> Complex:
    """Return lines about the water's frequency whose amplitudes sum to that of the water; shape (samples,)."""
    centre = ppm_to_hz(scene.water_ppm, scene.f0_hz, scene.reference_ppm)
    rate = 2j * np.pi * (centre - accidents.water_shift_hz) - np.pi * accidents.water_lorentz_hz
    starts, steps = _series(scene.water_amplitude * accidents.water_share, rate, scene)
    return np.asarray((starts.T @ steps).ravel()[: scene.samples])


def water_fid(scene: Scene, quality: Quality) -> Complex:
    """Return the FID of unsuppressed water with the width, phase and shift of the scan; shape (samples,)."""
    gauss_hz = scene.gauss_hz if quality.gauss_hz is None else quality.gauss_hz
    centre = ppm_to_hz(scene.water_ppm, scene.f0_hz, scene.reference_ppm) - quality.shift_hz
    t = scene.time_s
    times = scene.tissue.times(WATER, field_from_larmor(scene.f0_hz))
    decay = -t / times.t2_s - np.pi * quality.lorentz_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2))
    turn = np.exp(1j * np.deg2rad(quality.phase_deg))
    return np.asarray(scene.water_amplitude * turn * np.exp(2j * np.pi * centre * t + decay))
