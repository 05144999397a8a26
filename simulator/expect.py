"""Expected spectra: what a tissue gives through the sequence of a basis set, with everything a scan adds to it.

An FID in the NIfTI-MRS sense is

    s(t) = exp(i phase - 2 pi i shift t) [V(t) sum_k c_k w_k b_k(t) exp(-t / T2_k - 2 pi i shift_k t)
           + residual water + baseline] + noise,

with the concentration c_k in mM, the basis function b_k, the weight
w_k = exp(-TE / T2_k) (1 - exp(-TR / T1_k)), and V the line that an inhomogeneous field gives all of them:
exp(-pi lorentz t - (pi gauss t)^2 / (4 ln 2)). Shifts are positive downfield. Amplitudes are in mM of protons.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor, ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.errors import InputError
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.tissue import WATER, Amount, Tissue, assumed

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

WATER_LINES = 4
"""Lines that residual water consists of."""
BASELINE_PPM = np.arange(-0.5, 5.6, 0.5)
"""Centres of the bumps that a baseline consists of."""
BASELINE_WIDTH_PPM = 0.8
"""Full width at half maximum of a bump of the baseline."""
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
class Contents:
    """What is in one voxel; arrays have one number a component of the `Scene`."""

    concentrations_mm: Real
    t2_s: Real
    """T2 of each component in s, infinite where the basis holds relaxation itself."""
    shift_hz: Real
    """Shift of each component alone in Hz, positive downfield."""


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


@dataclass(frozen=True)
class Scene:
    """Everything that the spectra of one tissue through one sequence have in common."""

    tissue: Tissue
    names: tuple[str, ...]
    """Metabolites, then broad components."""
    amounts: tuple[Amount, ...]
    """Concentration of each component as the tissue has it."""
    fids: Complex
    """Function of each component without relaxation, NIfTI-MRS sense; shape (n_components, samples)."""
    t1_s: Real
    t2_s: Real
    """Infinite where the component's lines have their whole width already, or the basis has relaxation."""
    te_s: float
    tr_s: float
    """Infinite where the repetition time is not known."""
    decays: NDArray[np.bool_]
    """Whether T2 broadens a component: broad components have their whole width in their lines."""
    water_amplitude: float
    """Water in mM of protons, relaxation included."""
    gauss_hz: float
    """Gaussian width of the tissue at this field."""
    f0_hz: float
    dwell_s: float
    reference_ppm: float
    water_ppm: float = 4.65
    missing: tuple[str, ...] = ()
    """Components of the tissue that the basis lacks."""
    warnings: tuple[str, ...] = ()
    bumps: Complex = field(default_factory=lambda: np.zeros((0, 0), dtype=complex))
    """FIDs of the baseline's bumps, each of height 1 in the spectrum; shape (n_bumps, samples)."""

    @property
    def samples(self) -> int:
        """Points of an FID."""
        return int(self.fids.shape[1])

    @property
    def time_s(self) -> Real:
        """Sampling times; shape (samples,)."""
        return np.asarray(np.arange(self.samples) * self.dwell_s)

    def contents(self) -> Contents:
        """Return the mean of the tissue."""
        means = np.array([amount.mm for amount in self.amounts])
        return Contents(means, self.t2_s, np.zeros(len(self.names)))

    def weights(self, t2_s: Real) -> Real:
        """Return what T1 and T2 leave of each component; shape (n_components,)."""
        saturated = np.where(np.isinf(self.t1_s), 1.0, 1 - np.exp(-self.tr_s / self.t1_s))
        return np.asarray(np.exp(-self.te_s / t2_s) * saturated)


def prepare(
    basis: Basis,
    tissue: Tissue,
    *,
    samples: int | None = None,
    dwell_s: float | None = None,
    strict: bool = False,
) -> Scene:
    """Return what all spectra of a tissue through the sequence of a basis set have in common.

    Parameters
    ----------
    basis
        Where its provenance says `relaxation`, it is taken as it is: no weights, no natural widths.
    tissue
        Its macromolecules and lipids are made here, unless the basis has components of their names.
    samples, dwell_s
        Readout; by default that of the sequence.
    strict
        Whether a component that the basis lacks is an error rather than a warning.

    Raises
    ------
    InputError
        The basis has none of the tissue's metabolites, or with `strict` not all of them.

    """
    field_t = field_from_larmor(basis.f0_hz, basis.nucleus)
    basis = basis.with_broad(_broad_of(basis, tissue))
    wanted = {**tissue.concentrations, **tissue.broad}
    found = {name: _name_in(basis, tissue, name) for name in wanted}
    names = tuple(name for name in wanted if found[name])
    missing = tuple(name for name in wanted if not found[name])
    _refuse_missing(tissue, names, missing, strict)
    relaxed = bool(basis.provenance.get("relaxation"))
    rows = [tissue.times(name, field_t) for name in names]
    infinite = np.full(len(names), np.inf)
    samples, dwell_s = samples or basis.samples, dwell_s or basis.dwell_s
    water = tissue.times(WATER, field_t)
    te_s, tr_s = basis.te_s or 0.0, basis.tr_s or math.inf
    kept = 1.0 if relaxed else math.exp(-te_s / water.t2_s) * -math.expm1(-tr_s / water.t1_s)
    unit = 2.0 if basis.water is None else float(np.abs(basis.water.amplitude.sum()))
    return Scene(
        tissue=tissue,
        names=names,
        amounts=tuple(wanted[name] for name in names),
        fids=np.array([basis.fid(found[name], samples, dwell_s) for name in names]),
        t1_s=infinite if relaxed else np.array([row.t1_s for row in rows]),
        t2_s=infinite if relaxed else np.array([row.t2_s for row in rows]),
        te_s=te_s,
        tr_s=tr_s,
        decays=np.array([name not in tissue.broad for name in names]),
        water_amplitude=tissue.water.mm * unit * kept,
        gauss_hz=tissue.width(field_t).gauss_hz,
        f0_hz=basis.f0_hz,
        dwell_s=dwell_s,
        reference_ppm=basis.reference_ppm,
        missing=missing,
        warnings=_warnings(basis, tissue, missing, field_t, relaxed),
        bumps=_bumps(samples, dwell_s, basis.f0_hz, basis.reference_ppm),
    )


def _name_in(basis: Basis, tissue: Tissue, name: str) -> str:
    """Return what a basis calls a component; empty where it has none."""
    return next((key for key in (name, *tissue.aliases.get(name, ())) if key in basis.names), "")


def _broad_of(basis: Basis, tissue: Tissue) -> Mapping[str, Lines]:
    wanted = tuple(name for name in tissue.broad if name not in basis.names)
    return broad_lines(basis.f0_hz, wanted, basis.reference_ppm)


def _refuse_missing(tissue: Tissue, names: tuple[str, ...], missing: tuple[str, ...], strict: bool) -> None:
    if strict and missing:
        raise InputError(f"basis: lacks {', '.join(missing)}, which tissue {tissue.name} has (--strict)")
    if not any(name in tissue.concentrations for name in names):
        raise InputError(f"basis: has none of the metabolites of tissue {tissue.name}")


def _warnings(
    basis: Basis, tissue: Tissue, missing: tuple[str, ...], field_t: float, relaxed: bool
) -> tuple[str, ...]:
    words = []
    if missing:
        words.append(f"the basis lacks {', '.join(missing)}: the spectrum of {tissue.name} is without them")
    unmeasured = [name for name in assumed(tissue) if name not in missing]
    if unmeasured:
        words.append(f"{tissue.name}: amounts of {', '.join(unmeasured)} are assumed, not measured")
    if not relaxed:
        nominal = tissue.at_field(field_t)
        if abs(math.log(nominal / field_t)) > math.log(1.15):
            words.append(f"relaxation times of {tissue.name} at {field_t:.2f} T are those of {nominal:g} T")
        if basis.te_s is None:
            words.append("the basis states no TE: no decay before the readout")
        if basis.tr_s is None:
            words.append("the basis states no TR: no saturation")
    if basis.water is None:
        words.append("the basis has no water: residual water is a share of two protons without loss")
    return tuple(words)


def _bumps(samples: int, dwell_s: float, f0_hz: float, reference_ppm: float) -> Complex:
    """Return Gaussian lines of height 1 at `BASELINE_PPM`; shape (n_bumps, samples)."""
    t = np.arange(samples) * dwell_s
    decay = np.exp(-((np.pi * BASELINE_WIDTH_PPM * f0_hz * 1e-6 * t) ** 2) / (4 * np.log(2)))
    frequency = ppm_to_hz(BASELINE_PPM, f0_hz, reference_ppm)
    return np.asarray(np.exp(2j * np.pi * frequency[:, None] * t) * decay / decay.sum())


def clean_fid(scene: Scene, contents: Contents, lorentz_hz: float, gauss_hz: float) -> Complex:
    """Return the signal of the tissue alone, without noise, water, baseline, phase and shift; shape (samples,).

    Exact for any T2 and shift of each component: the factor of a component is a geometric series, cut into a
    coarse and a fine part, so that its samples need no exponentials of their own.
    """
    fine = math.ceil(math.sqrt(scene.samples))
    coarse = math.ceil(scene.samples / fine)
    rate = -2j * np.pi * contents.shift_hz - np.where(scene.decays, 1 / contents.t2_s, 0.0)
    scale = contents.concentrations_mm * scene.weights(contents.t2_s)
    starts = scale[:, None] * np.exp(rate[:, None] * scene.dwell_s * fine * np.arange(coarse))
    steps = np.exp(rate[:, None] * scene.dwell_s * np.arange(fine))
    padded = np.zeros((len(scene.names), coarse * fine), dtype=complex)
    padded[:, : scene.samples] = scene.fids
    parts = padded.reshape(-1, coarse, fine) * steps[:, None, :]
    total = np.matmul(starts.T[:, None, :], parts.transpose(1, 0, 2))[:, 0, :].ravel()[: scene.samples]
    t = scene.time_s
    return np.asarray(total * np.exp(-np.pi * lorentz_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2))))


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
    lines = np.exp(rate[:, None] * scene.time_s)
    return np.asarray(scene.water_amplitude * (accidents.water_share @ lines))


def water_fid(scene: Scene, quality: Quality) -> Complex:
    """Return the FID of unsuppressed water with the width of the field; shape (samples,)."""
    gauss_hz = scene.gauss_hz if quality.gauss_hz is None else quality.gauss_hz
    centre = ppm_to_hz(scene.water_ppm, scene.f0_hz, scene.reference_ppm) - quality.shift_hz
    t = scene.time_s
    times = scene.tissue.times(WATER, field_from_larmor(scene.f0_hz))
    decay = -t / times.t2_s - np.pi * quality.lorentz_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2))
    return np.asarray(scene.water_amplitude * np.exp(2j * np.pi * centre * t + decay))
