"""How strongly scalp lipid is to be removed from images: the trade-off over the weight, and the choice from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.recon.image_masks import LIPID_PPM, Mask, Masks
from pulsespec.recon.lipid_operator import LipidOperator, lipid_operator, survival
from pulsespec.recon.lipid_spatial import k_weights, lipid_from_scalp
from pulsespec.recon.lipid_voxels import VoxelOperators, voxel_operators
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
OFFSETS_HZ = (-5.0, 0.0, 5.0)
"""Shifts of the test signals where the field is not known."""
_NAA_PPM = (1.9, 2.15)
_QUANTILE = 0.95
_LEFT_BY_PLACE = 0.3
"""Share of what was carried in that may be left: 0.1 to 0.25 in synthetic heads of one coil."""
BAND_PPM = (0.3, 1.7)
"""Where scalp lipid is recognised: methyl and methylene, clear of NAA."""
_ELSEWHERE = 0.01
"""Weight of the rest of the spectrum in that."""
_HELPS, _MUCH = 0.7, 10.0
_GUARDED_SURVIVAL = 0.98
"""What must be left of guarded metabolites in every voxel, whatever less is asked for."""
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
    least_survival: float = 0.93,
    goal: float = 0.02,
    band_ppm: tuple[float, float] | None = BAND_PPM,
    width_hz: float = 8.0,
    offsets_hz: tuple[float, ...] = OFFSETS_HZ,
) -> tuple[LipidOperator, TradeOff]:
    """Return the operator with the weight that is chosen, and the whole curve.

    Weights are allowed up to the first that changes NAA, creatine or choline, at any of the offsets, by more than 1 -
    `least_survival`. What the strongest of them removes is taken for the scalp's lipid in a voxel; what a weaker
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
    offsets_hz
        By how much the field moves them, in the NIfTI-MRS sense; the worst counts.

    """
    scalp = np.asarray(data.data[masks.scalp], np.complex128)
    band = None if band_ppm is None else _band(data, band_ppm)
    operator = lipid_operator(scalp / np.abs(scalp).max(), 0.0, band)
    left = {name: _survival(operator, name, data, width_hz, offsets_hz) for name in PATTERNS}
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


def _band(data: Transients, window_ppm: tuple[float, float]) -> Real:
    """Return the weights of the spectrum by which lipid is recognised, bins as of `numpy.fft.fft`."""
    return np.asarray(np.fft.ifftshift(np.where(_between(data, window_ppm), 1.0, _ELSEWHERE)))


def _survival(
    operator: LipidOperator, name: str, data: Transients, width_hz: float, offsets_hz: tuple[float, ...]
) -> Real:
    """Return the worst survival of a signal over small shifts, for each weight."""
    signals = np.array([pattern(name, data, width_hz, offset) for offset in offsets_hz])
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


@dataclass(frozen=True)
class LipidLimits:
    """What lipid removal must leave and may leave."""

    least_survival: float = 0.93
    """Share of NAA, creatine and choline that must be left."""
    goal: float = 0.02
    """Peak of scalp lipid over that of NAA that may be left in 95 % of the voxels."""
    band_ppm: tuple[float, float] | None = BAND_PPM
    """Where scalp lipid is recognised; `None`: everywhere, the method as published."""
    weight: float | None = None
    """Weight of the L2 penalty in place of the one that is chosen."""
    offsets_hz: tuple[float, ...] = OFFSETS_HZ
    """Shifts of the metabolites in the brain that their survival is judged at."""
    by_place: bool = False
    """Subtract first what the point-spread function carried in from the scalp, where it is known."""
    guard: bool = True
    """Guard metabolites at the field of each voxel, where it is known and `band_ppm` is not `None`."""


@dataclass(frozen=True)
class LipidRemoval:
    """Images without scalp lipid, and how they came about."""

    data: Transients
    operator: LipidOperator | None
    """Of the L2 penalty, with its weight; that of a typical voxel where each has its own; `None` without a scalp."""
    curve: TradeOff | None
    """`None` where each voxel has a weight of its own."""
    voxels: Mask
    """Where the L2 penalty was applied: elsewhere a lesion's own lipid is all there; shape (x, y, z)."""
    by_voxel: VoxelOperators | None = None
    """What was applied to each of `voxels`, in their order, where metabolites were guarded."""


def remove_scalp_lipid(
    data: Transients,
    masks: Masks,
    limits: LipidLimits | None = None,
    jobs: int = 1,
    shifts_hz: Real | None = None,
) -> LipidRemoval:
    """Remove scalp lipid from the brain; voxels outside it stay as they are.

    With `shifts_hz`, by how much the field moves the signals of each voxel in the NIfTI-MRS sense, shape (x, y, z),
    metabolites are guarded and each voxel has a weight of its own (`lipid_voxels`); without, one operator serves all.

    Where the record of the images says what weights k-space had, what the point-spread function carried in from the
    scalp can be subtracted first (`lipid_spatial`). The L2 penalty is then applied only to voxels in which more than
    the goal may be left: 0.3 of what was carried in. That needs images that are shown by one blur: of one coil, not yet
    aligned; where it leaves more than 0.7 of the lipid band, it is not used.
    """
    limits = limits or LipidLimits()
    if not masks.scalp.any():
        record = Record("Lipid removal", "none: no scalp lipid was found")
        return LipidRemoval(data.with_data(data.data, record), None, None, np.zeros_like(masks.brain))
    weights = k_weights(data) if limits.by_place else None
    carried = None
    if weights is not None:
        plain = lipid_operator(np.asarray(data.data[masks.scalp], np.complex128), 0.0, _band(data, BAND_PPM))
        carried = lipid_from_scalp(data, weights, masks.head, masks.brain, plain, jobs)
        nearer = np.array(data.data)
        nearer[masks.brain] -= carried
        gain = _gain(data, nearer[masks.brain], carried, masks.brain, limits.goal)
        if gain < _HELPS:
            data = data.with_data(nearer)
        else:
            words = (
                f"by place not used: it would leave {gain:.2f} of the signal at 0.5 to 1.8 ppm in the median of "
                "the voxels that it would change; several coils, or another point-spread function than is recorded"
            )
            data, carried = data.with_data(data.data, Record("Lipid removal", words)), None
    if limits.guard and shifts_hz is not None and limits.band_ppm is not None:
        return _guarded(data, masks, limits, carried, shifts_hz)
    operator, curve = trade_off(
        data, masks, limits.least_survival, limits.goal, limits.band_ppm, offsets_hz=limits.offsets_hz
    )
    if limits.weight is not None:
        operator = operator.with_weight(limits.weight)
    voxels = masks.brain
    if carried is not None:
        voxels, words = _where_more_is_left(data, masks, operator, carried, limits.goal)
        data = data.with_data(data.data, Record("Lipid removal", words))
    cleaned = np.array(data.data)
    before = np.asarray(cleaned[voxels], np.complex128)
    cleaned[voxels] = operator.apply(before)
    record = _record(data, operator, curve, limits, masks, voxels, (before, operator.apply(before)))
    return LipidRemoval(data.with_data(cleaned, record), operator, curve, voxels)


def _guarded(
    data: Transients,
    masks: Masks,
    limits: LipidLimits,
    carried: NDArray[np.complexfloating] | None,
    shifts_hz: Real,
) -> LipidRemoval:
    """Return images from which lipid is removed by operators of each voxel's own field and weight."""
    voxels = masks.brain
    brain = np.asarray(data.data[voxels], np.complex128)
    scalp = np.asarray(data.data[masks.head & ~masks.brain], np.complex128)  # marrow and muscle's fat, too
    signals = {name: pattern(name, data, 8.0) for name in PATTERNS}
    guarded = tuple(signals[name] for name in _GUARDED)
    least = max(limits.least_survival, _GUARDED_SURVIVAL)
    operators = voxel_operators(data, scalp, brain, shifts_hz[voxels], guarded, least, limits.weight)
    if carried is not None:
        plain = operators.typical()
        chosen, words = _where_more_is_left(data, masks, plain, carried, limits.goal)
        data = data.with_data(data.data, Record("Lipid removal", words))
        operators, brain, voxels = operators.only(chosen[voxels]), brain[chosen[voxels]], chosen
    after = operators.apply(brain)
    cleaned = np.array(data.data)
    cleaned[voxels] = after
    record = _guarded_record(
        data, operators, masks, voxels, signals, (brain, after), limits.weight is not None
    )
    typical = operators.typical() if operators.which.size else None
    return LipidRemoval(data.with_data(cleaned, record), typical, None, voxels, operators)


def _guarded_record(
    data: Transients,
    operators: VoxelOperators,
    masks: Masks,
    voxels: Mask,
    signals: dict[str, Complex],
    parts: tuple[Complex, Complex],
    given: bool,
) -> Record:
    left = {name: operators.survival(fid) for name, fid in signals.items()}
    maps = {"naa_noise": operators.noise_gain(signals["NAA"]), "weight": operators.weights}
    maps |= {f"survival_{name}": values for name, values in left.items()}
    figures: dict[str, Any] = {"voxels": voxels, "survival": {}}
    for name, values in maps.items():
        figures[name] = np.full(voxels.shape, np.nan)
        figures[name][voxels] = values
    inside = _between(data, LIPID_PPM)
    sizes = [float(np.linalg.norm(to_spectrum(part)[:, inside])) for part in parts]
    words = "no voxel needs it"
    if operators.which.size:
        figures["survival"] = {name: float(np.median(values)) for name, values in left.items()}
        worst = min(float(left[name].min()) for name in _GUARDED)
        shares = ", ".join(f"{name} {share:.3f}" for name, share in figures["survival"].items())
        weights = np.quantile(operators.weights, (0.05, 0.5, 0.95))
        noise = np.quantile(maps["naa_noise"], (0.5, 0.95))
        strong = f"{weights[0]:.3g}, {weights[1]:.3g}, {weights[2]:.3g} (5, 50, 95 %)"
        words = (
            f"weight {'given' if given else 'by the lipid in each voxel'} {strong}; there is left of {shares} (median; "
            f"NAA, Cr and Cho at least {worst:.3f}); noise at NAA {noise[0]:.2f} of before in the median, "
            f"{noise[1]:.2f} in 95 %"
        )
    details = (
        f"L2 penalty of {int((masks.head & ~masks.brain).sum())} voxels of the head outside the brain "
        f"(doi:10.1002/jmri.24365) in {int(voxels.sum())} of {int(masks.brain.sum())} voxels of the brain, "
        f"metabolites guarded at each one's field, {words}; signal at {LIPID_PPM[0]:g} to {LIPID_PPM[1]:g} ppm "
        f"{sizes[1] / max(sizes[0], 1e-300):.3f} of before"
    )
    return Record("Lipid removal", details, figures)


def _peaks(data: Transients, fids: NDArray[np.complexfloating], window_ppm: tuple[float, float]) -> Real:
    """Return the largest point of each spectrum between two shifts; (n,)."""
    return np.asarray(
        np.abs(to_spectrum(fids))[:, _between(data, window_ppm)].max(axis=1, initial=0.0), np.float64
    )


def _gain(
    data: Transients,
    nearer: NDArray[np.complexfloating],
    carried: NDArray[np.complexfloating],
    brain: Mask,
    goal: float,
) -> float:
    """Return what is left, as a share, of the lipid band where much is subtracted by place: median over voxels."""
    naa = float(np.median(_peaks(data, nearer, _NAA_PPM)))
    much = _peaks(data, carried, LIPID_PPM) > _MUCH * goal * naa
    if not much.any():
        return 0.0
    before, after = (_peaks(data, part[much], LIPID_PPM) for part in (data.data[brain], nearer))
    return float(np.median(after / np.maximum(before, 1e-300)))


def _where_more_is_left(
    data: Transients,
    masks: Masks,
    operator: LipidOperator,
    carried: NDArray[np.complexfloating],
    goal: float,
) -> tuple[Mask, str]:
    """Return the voxels of the brain in which scalp lipid may be left beyond the goal, and words on it."""
    brain = np.asarray(data.data[masks.brain], np.complex128)
    naa = max(float(np.median(_peaks(data, operator.apply(brain), _NAA_PPM))), 1e-300)
    came = _peaks(data, carried, LIPID_PPM) / naa
    voxels = np.zeros_like(masks.brain)
    voxels[masks.brain] = came * _LEFT_BY_PLACE > goal
    words = (
        f"what the point-spread function carried in from the scalp: {np.median(came):.3g} of NAA in the median voxel "
        f"of the brain, {np.quantile(came, 0.95):.3g} in 95 %; subtracted, {_LEFT_BY_PLACE:g} of it is assumed "
        f"to be left; "
        f"{int(voxels.sum())} of {came.size} voxels need more than that"
    )
    return voxels, words


def _record(
    data: Transients,
    operator: LipidOperator,
    curve: TradeOff,
    limits: LipidLimits,
    masks: Masks,
    voxels: Mask,
    parts: tuple[NDArray[np.complexfloating], NDArray[np.complexfloating]],
) -> Record:
    why = "given" if limits.weight is not None else curve.why
    left = {
        name: min(survival(operator, pattern(name, data, 8.0, offset)) for offset in limits.offsets_hz)
        for name in PATTERNS
    }
    inside = _between(data, LIPID_PPM)
    sizes = [float(np.linalg.norm(to_spectrum(part)[:, inside])) for part in parts]
    words = ", ".join(f"{name} {share:.3f}" for name, share in left.items())
    details = (
        f"L2 penalty of {int(masks.scalp.sum())} scalp voxels (doi:10.1002/jmri.24365) in {int(voxels.sum())} of "
        f"{int(masks.brain.sum())} voxels of the brain, weight {operator.weight:.3g} ({why}); there is left of "
        f"{words}; signal at {LIPID_PPM[0]:g} to {LIPID_PPM[1]:g} ppm {sizes[1] / max(sizes[0], 1e-300):.3f} of before"
    )
    figures = {"survival": left, "voxels": voxels, "weights": curve.weights, "weight": operator.weight}
    figures |= {f"survival_{name}": values for name, values in curve.survival.items()}
    return Record("Lipid removal", details, {**figures, "lipid_left": curve.lipid})
