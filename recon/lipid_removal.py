"""How strongly scalp lipid is to be removed from images: the trade-off over the weight, and the choice from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.recon.image_masks import LIPID_PPM, Masks
from pulsespec.recon.lipid_operator import LipidOperator, lipid_operator, survival
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

PATTERNS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "NAA": ((2.008,), (1.0,)),
    "Cr": ((3.027,), (1.0,)),
    "Cho": ((3.185,), (1.0,)),
    "Lac": ((1.302, 1.325), (0.5, 0.5)),
    "lipid": ((0.9, 1.3), (0.25, 0.75)),
}
"""Signals whose survival is reported: shifts in ppm and shares. Singlets and lactate's doublet (6.93 Hz, drawn at 3 T)
by Govindaraju et al. 2000, doi:10.1002/1099-1492(200005)13:3<129::AID-NBM619>3.0.CO;2-V; lipid as that of necrosis,
methyl and methylene (shares assumed)."""
_WIDTH_HZ = {"lipid": 25.0}
_GUARDED = ("NAA", "Cr", "Cho")
_OFFSETS_HZ = (-5.0, 0.0, 5.0)
_NAA_PPM = (1.9, 2.15)
_QUANTILE = 0.95
BAND_PPM = (0.3, 1.7)
"""Where scalp lipid is recognised: methyl and methylene, clear of NAA."""
WEIGHTS: tuple[float, ...] = tuple(float(w) for w in np.logspace(-1, 8, 37))
"""beta times the largest eigenvalue of the scalp's L L^H."""


@dataclass(frozen=True)
class TradeOff:
    """What each weight leaves."""

    weights: Real
    """Shape (n,)."""
    survival: dict[str, Real]
    """Share of each of `PATTERNS` that is left, the worst within 5 Hz; (n,) each."""
    lipid: Real
    """Scalp lipid still in the brain, as its peak over that of NAA, in 95 % of voxels; (n,)."""
    chosen: int
    """Number of the weight that is used."""
    why: str


def pattern(name: str, data: Transients, width_hz: float, offset_hz: float = 0.0) -> Complex:
    """Return the FID of one of `PATTERNS` as it would stand in the images; shape (samples,)."""
    t = np.arange(data.samples) * data.dwell_s
    shifts, shares = PATTERNS[name]
    lines = [
        share * np.exp(2j * np.pi * (ppm_to_hz(ppm, data.f0_hz, data.reference_ppm) + offset_hz) * t)
        for ppm, share in zip(shifts, shares, strict=True)
    ]
    return np.asarray(np.sum(lines, axis=0) * np.exp(-np.pi * _WIDTH_HZ.get(name, width_hz) * t))


def trade_off(
    data: Transients,
    masks: Masks,
    least_survival: float = 0.95,
    goal: float = 0.01,
    band_ppm: tuple[float, float] | None = BAND_PPM,
    width_hz: float = 8.0,
) -> tuple[LipidOperator, TradeOff]:
    """Return the operator with the weight that is chosen, and the whole curve.

    Weights are allowed up to the first that changes NAA, creatine or choline, at any of -5, 0 and 5 Hz, by more than
    1 - `least_survival`. What the strongest of them removes is taken for the scalp's lipid in a voxel; what a weaker
    one leaves of that, its largest point within 0.5 to 1.8 ppm, is known exactly, for both are linear. The weakest
    weight is chosen that leaves less than `goal` of the median peak of NAA in 95 % of the brain's voxels, so that no
    more of a lesion's own lipid is lost than must be; where none does, the strongest allowed.

    Parameters
    ----------
    data
        Images without water, dims ("x", "y", "z", "t").
    masks
        With a scalp.
    least_survival
        Share of the metabolites that must be left.
    goal
        Peak of scalp lipid over that of NAA that may be left.
    band_ppm
        Where scalp lipid is recognised (see `lipid_operator`); `None` for the method as published.
    width_hz
        Linewidth of the test signals.

    """
    scalp = np.asarray(data.data[masks.scalp], np.complex128)
    inside = None if band_ppm is None else np.fft.ifftshift(_between(data, band_ppm))
    operator = lipid_operator(scalp / np.abs(scalp).max(), 0.0, inside)
    left = {name: _survival(operator, name, data, width_hz) for name in PATTERNS}
    changed = np.max([np.abs(1 - left[name]) for name in _GUARDED], axis=0)
    allowed = np.flatnonzero(np.cumsum(changed > 1 - least_survival) == 0)
    if allowed.size == 0:
        chosen, why = 0, f"no weight leaves {least_survival:g} of NAA, Cr and Cho: the weakest is used"
        return operator.with_weight(WEIGHTS[0]), TradeOff(
            np.array(WEIGHTS), left, np.full(len(WEIGHTS), np.nan), 0, why
        )
    strongest = int(allowed[-1])
    lipid = _left_in_brain(operator, data, masks, WEIGHTS[strongest])
    enough = np.flatnonzero(lipid[: strongest + 1] <= goal)
    chosen = int(enough[0]) if enough.size else strongest
    why = f"the weakest that leaves scalp lipid below {goal:g} of NAA in 95 % of the brain's voxels"
    if not enough.size:
        why = f"the strongest that leaves {least_survival:g} of NAA, Cr and Cho; the goal of {goal:g} is not met"
    curve = TradeOff(np.array(WEIGHTS), left, lipid, chosen, why)
    return operator.with_weight(WEIGHTS[chosen]), curve


def _survival(operator: LipidOperator, name: str, data: Transients, width_hz: float) -> Real:
    """Return the worst survival of a signal over small shifts, for each weight."""
    signals = np.array([pattern(name, data, width_hz, offset) for offset in _OFFSETS_HZ])
    size = np.sum(np.abs(signals) ** 2, axis=1)[:, None]
    inside = (operator.amounts(signals) * (signals.conj() @ operator.lipids)).real / size
    return np.asarray([1 - np.max(inside @ operator.with_weight(weight).gains) for weight in WEIGHTS])


def _left_in_brain(operator: LipidOperator, data: Transients, masks: Masks, strongest: float) -> Real:
    """Return the peak of the scalp's lipid over NAA's that each weight leaves in the brain; (n_weights,)."""
    brain = np.asarray(data.data[masks.brain], np.complex128)
    full = operator.with_weight(strongest)
    naa = float(np.median(np.abs(to_spectrum(full.apply(brain)))[:, _between(data, _NAA_PPM)].max(axis=1)))
    lines = to_spectrum(operator.lipids.T)[:, _between(data, LIPID_PPM)]
    amounts = operator.amounts(brain) * full.gains
    found = []
    for weight in WEIGHTS:
        left = amounts * (1 - operator.with_weight(weight).gains)
        found.append(np.quantile(np.abs(left @ lines).max(axis=1), _QUANTILE))
    return np.asarray(found) / max(naa, 1e-300)


def _between(data: Transients, window_ppm: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which bins of `to_spectrum` lie between two shifts; shape (samples,)."""
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    return np.asarray((ppm > window_ppm[0]) & (ppm < window_ppm[1]))


def remove_scalp_lipid(
    data: Transients,
    masks: Masks,
    least_survival: float = 0.95,
    goal: float = 0.01,
    band_ppm: tuple[float, float] | None = BAND_PPM,
    weight: float | None = None,
) -> tuple[Transients, LipidOperator | None, TradeOff | None]:
    """Return images whose brain has no scalp lipid, with the operator and the curve that its weight is from.

    Voxels outside the brain stay as they are. Without a scalp nothing is removed. A `weight` that is given is used as
    it is.
    """
    if not masks.scalp.any():
        record = Record("Lipid removal", "none: no scalp lipid was found")
        return data.with_data(data.data, record), None, None
    operator, curve = trade_off(data, masks, least_survival, goal, band_ppm)
    if weight is not None:
        operator = operator.with_weight(weight)
    cleaned = np.array(data.data)
    brain = cleaned[masks.brain]
    cleaned[masks.brain] = operator.apply(brain)
    return (
        data.with_data(cleaned, _record(data, operator, curve, weight, masks, brain, cleaned[masks.brain])),
        operator,
        curve,
    )


def _record(
    data: Transients,
    operator: LipidOperator,
    curve: TradeOff,
    weight: float | None,
    masks: Masks,
    before: NDArray[np.complexfloating],
    after: NDArray[np.complexfloating],
) -> Record:
    why = "given" if weight is not None else curve.why
    left = {
        name: min(survival(operator, pattern(name, data, 8.0, offset)) for offset in _OFFSETS_HZ)
        for name in PATTERNS
    }
    inside = _between(data, LIPID_PPM)
    sizes = [
        float(np.median(np.linalg.norm(to_spectrum(part)[:, inside], axis=1))) for part in (before, after)
    ]
    words = ", ".join(f"{name} {share:.3f}" for name, share in left.items())
    details = (
        f"L2 penalty of {int(masks.scalp.sum())} scalp voxels (doi:10.1002/jmri.24365), weight {operator.weight:.3g} "
        f"({why}); share that is left of {words}; signal of brain voxels at {LIPID_PPM[0]:g} to {LIPID_PPM[1]:g} ppm "
        f"{sizes[1] / max(sizes[0], 1e-300):.3f} of what it was (median)"
    )
    figures = {"survival": left, "band_before": sizes[0], "band_after": sizes[1], "weights": curve.weights}
    figures |= {f"survival_{name}": values for name, values in curve.survival.items()}
    return Record("Lipid removal", details, {**figures, "lipid_left": curve.lipid, "weight": operator.weight})
