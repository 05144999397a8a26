"""Water scaling for arrays of voxels: from amplitudes to molar and molal concentrations with their uncertainty.

With volume fractions f of grey matter, white matter and CSF, water content c in kg/l, molality of water
m = 55 509 mmol/kg and what relaxation leaves of a signal, R = exp(-TE/T2) (1 - exp(-TR/T1)), an amplitude a over
that of water w, each over its amplitude of 1 mM through the same sequence, is a concentration of

    molar  (mmol in a litre of tissue)        a/w m sum(f c R_water) / (R_metabolite (1 - f_csf))
    molal  (mmol in a kg of tissue water)     a/w m sum(f c R_water) / (R_metabolite (f_gm c_gm + f_wm c_wm))

the second of which is Gasparovic et al. 2006, doi:10.1002/mrm.20901, in volume fractions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.constants import TISSUES, Constants, Times

Real = NDArray[np.float64]

_STEP = 1e-30
"""Complex step: the derivative is exact, as nothing is subtracted."""


@dataclass(frozen=True)
class Timing:
    """When a signal was measured."""

    te_s: float
    tr_s: float
    tm_s: float | None = None
    """Mixing time of a stimulated echo."""
    flip_deg: float = 90.0
    """Angle of excitation; it is heeded where there is no mixing time."""


@dataclass(frozen=True)
class Acquisition:
    """Timing of water and of metabolites; `None` where relaxation is not corrected for."""

    water: Timing | None
    metabolite: Timing | None


@dataclass(frozen=True)
class Factors:
    """What turns a ratio of amplitudes into concentrations, for any number of voxels."""

    molar: Real
    """mM for each component, shape (..., n); NaN where a voxel has no tissue."""
    molal: Real
    """mmol/kg of tissue water; shape (..., n)."""
    molar_effects: Real
    """Relative change of `molar` by one standard deviation of each uncertain constant; shape (k, ..., n)."""
    molal_effects: Real
    uncertain: tuple[str, ...]
    """The k fractions and constants that have a standard deviation."""


@dataclass(frozen=True)
class _Numbers:
    """Constants as arrays; complex where a derivative is taken."""

    fractions: NDArray[Any]
    """Shape (..., 3)."""
    content: NDArray[Any]
    """kg/l; shape (3,)."""
    water: NDArray[Any]
    """T1 and T2 in s; shape (3, 2)."""
    metabolites: NDArray[Any]
    """T1 and T2 in s of each row of the tables that is used; shape (rows, 2)."""


def factors(
    constants: Constants,
    names: Sequence[str],
    fractions: Real,
    acquisition: Acquisition,
    *,
    fraction_sd: float = 0.0,
    water_mm: float | None = None,
    beside: tuple[Real, Real] | None = None,
) -> Factors:
    """Return the factors of components for arrays of tissue fractions.

    Parameters
    ----------
    constants
        Water content and relaxation times.
    names
        Components, each in `constants.metabolites`.
    fractions
        Volume fractions of gm, wm and csf, of any common scale; shape (..., 3).
    acquisition
        Timing of water and of metabolites.
    fraction_sd
        Standard deviation of each fraction before they are made to sum to 1.
    water_mm
        Concentration of water in the whole voxel in mM, as in a phantom: it then has no CSF.
    beside
        What the sequence leaves of components in gm and wm, shape (n, 2), and of water, shape (3,), over what
        relaxation by `acquisition` leaves (`played_shares`).

    """
    numbers, deviations, rows = _numbers(constants, names, fractions, fraction_sd)

    def both(at: _Numbers) -> tuple[NDArray[Any], NDArray[Any]]:
        return _factors(at, rows, acquisition, constants.mm_per_kg, water_mm, beside)

    with np.errstate(divide="ignore", invalid="ignore"):
        molar, molal = (np.asarray(value, dtype=np.float64) for value in both(numbers))
        moved = [(both(other), sd / _STEP) for other, sd in _moved(numbers, deviations)]
        first = [np.imag(np.asarray(pair[0])) * scale / molar for pair, scale in moved]
        second = [np.imag(np.asarray(pair[1])) * scale / molal for pair, scale in moved]
    shape = (0, *molar.shape)
    return Factors(
        molar,
        molal,
        np.array(first) if first else np.zeros(shape),
        np.array(second) if second else np.zeros(shape),
        tuple(name for name, *_ in deviations),
    )


Deviation = tuple[str, str, tuple[int, ...], float]
"""What is uncertain, the array that holds it, where in the last axes, and its standard deviation."""


def _numbers(
    constants: Constants, names: Sequence[str], fractions: Real, fraction_sd: float
) -> tuple[_Numbers, list[Deviation], NDArray[np.intp]]:
    """Return constants as arrays, those with an uncertainty, and the rows (n, 2) of components in gm and wm."""
    used: dict[Times, int] = {}
    label: dict[int, str] = {}
    rows = np.zeros((len(names), 2), dtype=np.intp)
    for number, name in enumerate(names):
        for k, tissue in enumerate(("gm", "wm")):
            times = constants.metabolites[name][tissue]
            rows[number, k] = used.setdefault(times, len(used))
            label.setdefault(used[times], f"{name} in {tissue}")
    water = [constants.water[tissue] for tissue in TISSUES]
    numbers = _Numbers(
        np.asarray(fractions, dtype=np.float64),
        np.array([one.kg_per_l for one in water]),
        np.array([(one.t1_s, one.t2_s) for one in water]),
        np.array([(one.t1_s, one.t2_s) for one in used]).reshape(-1, 2),
    )
    found: list[Deviation] = [
        (f"fraction of {t}", "fractions", (k,), fraction_sd) for k, t in enumerate(TISSUES)
    ]
    for k, (tissue, one) in enumerate(zip(TISSUES, water, strict=True)):
        found.append((f"water content of {tissue}", "content", (k,), one.kg_per_l_sd))
        found.append((f"T1 of water in {tissue}", "water", (k, 0), one.t1_sd_s))
        found.append((f"T2 of water in {tissue}", "water", (k, 1), one.t2_sd_s))
    for times, row in used.items():
        found.append((f"T1 of {label[row]}", "metabolites", (row, 0), times.t1_sd_s))
        found.append((f"T2 of {label[row]}", "metabolites", (row, 1), times.t2_sd_s))
    return numbers, [one for one in found if one[-1] > 0], rows


def _moved(numbers: _Numbers, deviations: Sequence[Deviation]) -> Iterator[tuple[_Numbers, float]]:
    """Yield the numbers with one of them a little along the imaginary axis, and its standard deviation."""
    for _, name, where, sd in deviations:
        array = getattr(numbers, name).astype(np.complex128)
        array[(..., *where)] += 1j * _STEP
        yield replace(numbers, **{name: array}), sd


def _factors(
    at: _Numbers,
    rows: NDArray[np.intp],
    acquisition: Acquisition,
    mm_per_kg: float,
    water_mm: float | None,
    beside: tuple[Real, Real] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    of_metabolites, of_water = beside if beside is not None else (np.ones((1, 2)), np.ones(3))
    share = at.fractions / at.fractions.sum(axis=-1, keepdims=True)
    water = share * at.content
    seen = (water * _kept(at.water, acquisition.water) * of_water).sum(axis=-1)
    in_tissue, solid = water[..., :2].sum(axis=-1), share[..., :2]
    tissue = solid.sum(axis=-1)
    if water_mm is not None:
        seen = seen / water.sum(axis=-1) * water_mm / mm_per_kg
        in_tissue, tissue = np.full(seen.shape, water_mm / mm_per_kg), np.ones(seen.shape)
    kept = _kept(at.metabolites, acquisition.metabolite)[rows] * of_metabolites
    kept = (solid[..., np.newaxis, :] * kept).sum(axis=-1) / solid.sum(axis=-1)[..., np.newaxis]
    whole = mm_per_kg * seen[..., np.newaxis] / kept
    return whole / tissue[..., np.newaxis], whole / in_tissue[..., np.newaxis]


def kept_shares(constants: Constants, names: Sequence[str], acquisition: Acquisition) -> tuple[Real, Real]:
    """Return what relaxation leaves of components in gm and wm, shape (n, 2), and of water, shape (3,)."""
    numbers, _, rows = _numbers(constants, names, np.ones(3), 0.0)
    of_metabolites = _kept(numbers.metabolites, acquisition.metabolite)[rows]
    return np.asarray(of_metabolites), np.asarray(_kept(numbers.water, acquisition.water))


def _kept(times: NDArray[Any], timing: Timing | None) -> NDArray[Any]:
    """Return what saturation and decay leave of a signal with T1 and T2 along the last axis."""
    if timing is None:
        return np.ones(times.shape[:-1])
    t1, t2 = times[..., 0], times[..., 1]
    decay = np.exp(-timing.te_s / t2)
    if timing.tm_s is None:
        recovered = np.exp(-timing.tr_s / t1)
        return np.asarray(decay * (1 - recovered) / (1 - np.cos(np.radians(timing.flip_deg)) * recovered))
    recovery = timing.tr_s - timing.tm_s - timing.te_s / 2
    return np.asarray(decay * np.exp(-timing.tm_s / t1) * (1 - np.exp(-recovery / t1)))


def weights(parts: Mapping[str, Sequence[str]], names: Sequence[str]) -> Real:
    """Return which components each row of a table sums; shape (rows, n)."""
    return np.array([[float(name in of) for name in names] for of in parts.values()]).reshape(-1, len(names))


def scaled(
    amplitudes: Real,
    covariance: Real,
    factor: Real,
    effects: Real,
    parts: Real,
    relative_sd: Real | float = 0.0,
) -> tuple[Real, Real]:
    """Return sums of amplitudes times factors, and their standard deviations to first order.

    Where a component has no factor (NaN, one that is nulled), the sums that it is part of have no value.

    Parameters
    ----------
    amplitudes
        Shape (..., n).
    covariance
        Of the amplitudes; shape (..., n, n).
    factor
        Shape (..., n) or (n,).
    effects
        Relative changes of the factors by one standard deviation of what they rest on; shape (k, ..., n).
    parts
        Which components each row sums; shape (rows, n).
    relative_sd
        Relative standard deviation that all components share, such as that of water; shape (...).

    Returns
    -------
    Values and standard deviations, each of shape (..., rows).

    """
    gain = np.where(parts != 0, parts * factor[..., np.newaxis, :], 0.0)
    value = np.einsum("...rn,...n->...r", gain, amplitudes)
    variance = ((gain @ covariance) * gain).sum(axis=-1)
    for effect in effects:
        known = np.where(np.isnan(effect), 0.0, effect)
        variance = variance + np.einsum("...rn,...n,...n->...r", gain, amplitudes, known) ** 2
    variance = variance + (value * np.asarray(relative_sd)[..., np.newaxis]) ** 2
    return value, np.sqrt(np.maximum(variance, 0.0))
