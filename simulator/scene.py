"""What all spectra of one tissue through one sequence have in common: functions, amounts, relaxation, water."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor, ppm_to_hz
from pulsespec.errors import InputError
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.tissue import WATER, Amount, Tissue, assumed
from pulsespec.simulator.tissue_lines import tissue_lines

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

BASELINE_PPM = np.arange(-0.5, 5.6, 0.5)
"""Centres of the bumps that a baseline consists of."""
BASELINE_WIDTH_PPM = 0.8
"""Full width at half maximum of a bump of the baseline."""


@dataclass(frozen=True)
class Contents:
    """What is in one voxel; arrays have one number a component of the `Scene`."""

    concentrations_mm: Real
    t2_s: Real
    """T2 of each component in s, infinite where the basis holds relaxation itself."""
    shift_hz: Real
    """Shift of each component alone in Hz, positive downfield."""


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
    return tissue_lines(basis.f0_hz, wanted, basis.reference_ppm)


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
