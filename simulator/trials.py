"""Trials of a fit: spectra with known amplitudes that its model cannot follow exactly, as real ones are.

A spectrum depends on the seed and its own number alone. Each cause of misfit (`misfits`) has random numbers of its own,
so that one can be switched off and everything else, noise included, stays as it was: what an estimate then changes by
is the share of that cause.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import InputError
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.expect import clean_fid, draw_accidents, reference_height, residual_water
from pulsespec.simulator.misfits import Misfits, baseline, field_line, macromolecules, shifts_hz
from pulsespec.simulator.scene import Contents, Scene, prepare
from pulsespec.simulator.tissue import Tissue
from pulsespec.simulator.training import cut_normal

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_GAP_PPM = 0.1
"""Lines that are further apart belong to different multiplets."""
_SOURCES = ("contents", "lineshape", "shifts", "macromolecules", "baseline", "noise", "scan")
"""What has random numbers of its own, in the order of their seeds."""


@dataclass(frozen=True)
class Ranges:
    """What one spectrum differs in from the next, besides its misfits."""

    residual_water: tuple[float, float] = (1e-5, 3e-4)
    """Share of the water that is left, log-uniform; part of the baseline."""
    phase_sd_deg: float = 10.0
    shift_sd_ppm: float = 0.01
    t2_relative_sd: float = 0.1
    """Of each metabolite's T2: the logarithm is normal with this standard deviation; part of the lineshape."""
    broad_model: str = "birch-3t"
    """Published macromolecules (`broad.list_models`) that spectra have."""


@dataclass(frozen=True)
class Stage:
    """What all trials of one sequence and tissue have in common."""

    scene: Scene
    pieces: Scene
    """The same with every multiplet a component of its own."""
    of: NDArray[np.int64]
    """Number of the component in `scene` that each piece belongs to; shape (n_pieces,)."""
    names: tuple[str, ...]
    """Metabolites; the truth is of these."""
    ranges: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True)
class Trial:
    """One spectrum and its truth."""

    fid: Complex
    """NIfTI-MRS sense; shape (samples,)."""
    amplitudes: Real
    """Of each metabolite in units of the basis, relaxation included; shape (n,)."""
    concentrations_mm: Real
    """Shape (n,)."""
    height: float
    """Of the reference peak of the metabolites alone, in the spectrum."""
    noise_sd: float
    """Standard deviation of the noise in the real part of the spectrum; `height` over the SNR."""


def set_stage(basis: Basis, tissue: Tissue, ranges: Ranges | None = None) -> Stage:
    """Return what all trials of a tissue through the sequence of a basis set have in common.

    Raises
    ------
    InputError
        The basis has none of the tissue's metabolites.

    """
    scene = prepare(basis, tissue)
    metabolites = tuple(name for name in scene.names if name in tissue.concentrations)
    fids, of = [], []
    for number, name in enumerate(scene.names):
        parts = _multiplets(basis, name, tissue) if name in metabolites else None
        for part in parts or ():
            alone = replace(basis, lines={name: part})
            fids.append(alone.fid(name, scene.samples, scene.dwell_s))
            of.append(number)
        if parts is None:
            fids.append(scene.fids[number])
            of.append(number)
    at = np.array(of)
    pieces = replace(
        scene,
        names=tuple(f"{scene.names[number]}/{k}" for k, number in enumerate(of)),
        amounts=tuple(scene.amounts[number] for number in of),
        fids=np.array(fids),
        t1_s=scene.t1_s[at],
        t2_s=scene.t2_s[at],
        decays=scene.decays[at],
    )
    return Stage(scene, pieces, at, metabolites, ranges or Ranges())


def _multiplets(basis: Basis, name: str, tissue: Tissue) -> list[Lines]:
    """Return the lines of a metabolite, divided where there is a gap."""
    key = next(key for key in (name, *tissue.aliases.get(name, ())) if key in basis.names)
    lines = basis.lines[key]
    order = np.argsort(lines.frequency_hz)
    cuts = np.flatnonzero(np.diff(lines.frequency_hz[order]) > _GAP_PPM * basis.f0_hz * 1e-6) + 1

    def part(index: NDArray[np.intp]) -> Lines:
        widths = [None if width is None else width[index] for width in (lines.lorentz_hz, lines.gauss_hz)]
        return Lines(lines.frequency_hz[index], lines.amplitude[index], *widths)

    return [part(index) for index in np.split(order, cuts)]


def trial(stage: Stage, snr: float | None, seed: int, number: int, misfits: Misfits | None = None) -> Trial:
    """Return spectrum `number` of the set with that seed.

    Parameters
    ----------
    stage
        Sequence and tissue.
    snr
        Height of the reference peak of the metabolites over one standard deviation of the noise in the real part of the
        spectrum (Kreis et al. 2021, doi:10.1002/nbm.4347); no noise where `None`.
    seed, number
        What the spectrum depends on.
    misfits
        How far it is from the model of a fit; all causes by default.

    Raises
    ------
    InputError
        `snr` is not above 0.

    """
    if snr is not None and not 0 < snr < np.inf:
        raise InputError(f"snr: got {snr}, expected a number above 0")
    chosen = misfits or Misfits()
    rngs = {name: np.random.default_rng([seed, number, k]) for k, name in enumerate(_SOURCES)}
    scene, t = stage.scene, stage.scene.time_s
    amounts = _amounts(scene, rngs["contents"])
    metabolites, line = _metabolites(stage, amounts, chosen, rngs)
    height = reference_height(scene, metabolites)
    broad = _broad(stage, amounts, chosen, rngs["macromolecules"])
    under = _baseline(stage, height, chosen, rngs["baseline"])
    scan = rngs["scan"].standard_normal(2)
    phase = np.deg2rad(stage.ranges.phase_sd_deg * scan[0])
    shift_hz = stage.ranges.shift_sd_ppm * scan[1] * scene.f0_hz * 1e-6
    fid = (metabolites + broad * line + under) * np.exp(1j * phase - 2j * np.pi * shift_hz * t)
    noise_sd = 0.0 if snr is None else height / snr
    draws = rngs["noise"].standard_normal((2, scene.samples))
    fid = fid + noise_sd / np.sqrt(scene.samples) * (draws[0] + 1j * draws[1])
    n = len(stage.names)
    return Trial(fid, (amounts * scene.weights(scene.t2_s))[:n], amounts[:n], height, noise_sd)


def _amounts(scene: Scene, rng: np.random.Generator) -> Real:
    """Return concentrations, drawn from those of the tissue and cut at zero; shape (n_components,)."""
    means = np.array([amount.mm for amount in scene.amounts])
    sds = np.array([amount.sd_mm for amount in scene.amounts])
    return cut_normal(rng.random(means.size), means, sds)


def _metabolites(
    stage: Stage, amounts: Real, misfits: Misfits, rngs: dict[str, np.random.Generator]
) -> tuple[Complex, Complex]:
    """Return the signal of the metabolites and the line that the field gives everything."""
    scene, rng, size = stage.scene, rngs["lineshape"], misfits.lineshape
    width = scene.tissue.width(field_from_larmor(scene.f0_hz))
    fwhm_hz = float(cut_normal(rng.random(), np.array(width.gauss_hz), np.array(width.sd_hz)))
    line = field_line(rng, scene.time_s, fwhm_hz, size)
    spread = stage.ranges.t2_relative_sd * rng.standard_normal(scene.t2_s.size)
    t2_s = scene.t2_s * np.where(scene.decays, np.exp(size * spread), 1.0)
    only = np.where(np.arange(amounts.size) < len(stage.names), amounts * scene.weights(scene.t2_s), 0.0)
    shifts = shifts_hz(rngs["shifts"], stage.of, scene.f0_hz, misfits.shifts)
    unit = replace(stage.pieces, te_s=0.0, tr_s=np.inf)  # weights are in the amplitudes already
    found = clean_fid(unit, Contents(only[stage.of], t2_s[stage.of], shifts), 0.0, 0.0)
    return found * line, line


def _broad(stage: Stage, amounts: Real, misfits: Misfits, rng: np.random.Generator) -> Complex:
    """Return macromolecules without the line of the field; shape (samples,)."""
    scene, n = stage.scene, len(stage.names)
    scaled = (amounts * scene.weights(scene.t2_s))[n:]
    if not scaled.size:
        return np.zeros(scene.samples, dtype=complex)
    model, size = stage.ranges.broad_model, misfits.macromolecules
    peaks = macromolecules(rng, scene.time_s, scene.f0_hz, scene.reference_ppm, model, size)
    return np.asarray(scaled[0] * peaks)


def _baseline(stage: Stage, height: float, misfits: Misfits, rng: np.random.Generator) -> Complex:
    scene, (low, high) = stage.scene, stage.ranges.residual_water
    share = low * (high / low) ** rng.random()
    water = share * residual_water(scene, draw_accidents(scene, rng))
    humps = baseline(rng, scene.time_s, scene.f0_hz, scene.reference_ppm, height)
    return np.asarray(misfits.baseline * (water + humps))
