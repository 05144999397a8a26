"""Which shot is which, from the data: an editing pulse on 1.9 ppm takes NAA away, and nothing else does.

Shots that differ in NAA over creatine by more than a factor of two, in two groups of one regular order, are edited.
What header or `.seq` say is held against the same figure. What stays unclear is refused, not guessed.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.editing import Condition, Scheme
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_NAA_PPM, _CREATINE_PPM = (1.86, 2.16), (2.88, 3.15)
_NOISE_PPM = (-2.0, 0.0)
_BELL_S = 0.25
_GONE = 0.5
"""NAA over creatine, relative to where it is largest, below which a pulse has taken NAA away."""
_SEEN = 0.4
"""Least NAA over creatine of a brain whose NAA is there: its ratio is above 1 at any echo time in use."""
_APART, _FAR_APART = 3.0, 6.0
"""Distance of two groups over their spread: in a regular order, and in none."""
_LEAST_SNR = 3.0
_LEAST_SHARE, _AGREE = 0.3, 0.85
_ON_PPM, _SAME_PPM = 1.9, 0.15


@dataclass(frozen=True)
class Naa:
    """NAA and creatine in each of some FIDs, in the magnitude spectrum without tails."""

    ratio: Real
    """NAA over creatine; shape (n,)."""
    snr: Real
    """Creatine over the root mean square of the noise; shape (n,)."""


def naa(fids: Complex, data: Transients) -> Naa:
    """Measure NAA and creatine in FIDs of shape (n, samples); phase and drift do not matter.

    A bell over the first quarter of a second keeps the tails of water and lipids out. Where the spectral width ends
    above -2 to 0 ppm, there is no noise to measure by: both are 0 then.
    """
    n = min(data.samples, max(16, round(_BELL_S / data.dwell_s)))
    shaped = np.zeros((len(fids), data.samples), complex)
    shaped[:, :n] = fids[:, :n] * np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    size = np.abs(to_spectrum(shaped))
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)

    def inside(span: tuple[float, float]) -> Real:
        return np.asarray(size[:, (ppm > span[0]) & (ppm < span[1])])

    creatine = inside(_CREATINE_PPM).max(axis=1, initial=0.0)
    empty = inside(_NOISE_PPM)
    if not empty.size:
        return Naa(np.zeros(len(fids)), np.zeros(len(fids)))
    noise = np.sqrt(np.mean(empty**2, axis=1))
    return Naa(
        inside(_NAA_PPM).max(axis=1, initial=0.0) / np.maximum(creatine, 1e-300),
        creatine / np.maximum(noise, 1e-300),
    )


def keep_naa(data: Transients) -> NDArray[np.bool_]:
    """Return in which editing conditions of data with dims ("edit", "t") no pulse takes NAA away; shape (n,)."""
    ratio = naa(data.data, data).ratio
    return np.asarray(ratio > _GONE * ratio.max())


def with_conditions(data: Transients) -> Transients:
    """Return data whose dimension "edit", if they have conditions, is there and named.

    Parameters
    ----------
    data
        Combined coils: dims ("average", "t"), ("edit", "average", "t") and the like.

    Raises
    ------
    DataError
        The data contradict their header, or have conditions whose order or meaning is not clear.

    """
    if data.nucleus != "1H" or data.size("coil") > 1:
        return data
    if "edit" in data.dims:
        return _named(data)
    return _split(data) if data.dims == ("average", "t") and data.size("average") >= 4 else data


def _named(data: Transients) -> Transients:
    """Return data whose conditions have names and bands, checked against NAA over creatine."""
    fids = np.moveaxis(data.data, data.axis("edit"), 0).reshape(data.size("edit"), -1, data.samples)
    ratio = np.array([float(np.median(naa(one, data).ratio)) for one in fids])
    scheme, words = _scheme(data.header.get("editing"), ratio, data.source or "data")
    record = Record("Editing conditions", words, {"naa_over_creatine": ratio.tolist()})
    return _stated(data, scheme, record)


def _scheme(said: object, ratio: Real, name: str) -> tuple[Scheme, str]:
    """Return the conditions as header and NAA over creatine agree on them, and how that was found."""
    measured = ", ".join(f"{one:.2f}" for one in ratio)
    gone = ratio < _GONE * ratio.max()
    tells = bool(ratio.max() > _SEEN and gone.any())
    known = said if isinstance(said, Scheme) else None
    if known and any(known.bands_ppm):
        wanted = np.array(
            [any(abs(band - _ON_PPM) < _SAME_PPM for band in bands) for bands in known.bands_ppm]
        )
        mixed = tells and bool(wanted.any()) and not wanted.all()
        if mixed and np.all(gone == ~wanted):
            raise DataError(
                f"{name}: {known.origin} has editing conditions {known.words}, but NAA over creatine is {measured}: "
                "it is gone where nothing edits 1.9 ppm; conditions swapped?"
            )
        says = "agrees" if mixed and np.all(gone == wanted) else "does not tell"
        return known, f"{known.words}, from {known.origin}; NAA over creatine {measured} {says}"
    on = [one.is_on for one in known.conditions] if known else [None] * len(ratio)
    if len(ratio) == 2 and tells:
        names = [one.name for one in known.conditions] if known else ["ON" if one else "OFF" for one in gone]
        if any(one is not None and one != there for one, there in zip(on, gone, strict=True)):
            raise DataError(
                f"{name}: its conditions are called {', '.join(names)}, but NAA over creatine is {measured}: it is "
                "gone where the name says that nothing is edited; conditions swapped?"
            )
        bands: list[tuple[float, ...]] = [(_ON_PPM,) if one else () for one in gone]
        found = Scheme(tuple(map(Condition, names, bands)), "the data")
        return (
            found,
            f"{', '.join(names)}: NAA over creatine is {measured}, so {names[int(gone[1])]} edits 1.9 ppm",
        )
    if known and sorted(map(str, on)) == ["False", "True"]:
        return known, f"{known.words}, by their names alone; NAA over creatine {measured} does not tell"
    raise DataError(
        f"{name}: has {len(ratio)} editing conditions, and neither header nor data (NAA over creatine {measured}) "
        "say which edits what; pass the .seq that was played (--seq)"
    )


def _split(data: Transients) -> Transients:
    """Sort the shots of one series into conditions where they alternate, singly or in blocks."""
    found = naa(data.data, data)
    low, apart = _groups(found)
    if apart < _APART:
        return data
    n = len(low)
    orders = [
        (block, first, ((np.arange(n) // block) % 2 == 0) == first)
        for block in _blocks(n)
        for first in (True, False)
    ]
    block, first, order = max(orders, key=lambda one: float(np.mean(one[2] == low)))
    agree = int(np.sum(order == low))
    means = f"{np.median(found.ratio[low]):.2f} and {np.median(found.ratio[~low]):.2f}"
    if agree < (_AGREE * n if n >= 8 else n):
        if apart < _FAR_APART:
            return data
        raise DataError(
            f"{data.source or 'data'}: NAA over creatine is {means} in {low.sum()} and {n - low.sum()} of {n} shots, "
            "as when 1.9 ppm is edited in some of them, but in no regular order; pass the .seq that was played (--seq)"
        )
    how = "alternating" if block == 1 else f"in blocks of {block}"
    record = Record(
        "Editing conditions",
        f"found in the data: ON and OFF {how}, {'ON' if first else 'OFF'} first; NAA over creatine {means}, "
        f"{agree} of {n} shots agree",
        {"naa_over_creatine": found.ratio.tolist(), "agree": agree},
    )
    scheme = Scheme((Condition("ON", (_ON_PPM,)), Condition("OFF")), "the data")
    shots = np.stack([data.data[order], data.data[~order]])
    return _stated(replace(data, data=shots, dims=("edit", "average", "t")), scheme, record)


def _stated(data: Transients, scheme: Scheme, record: Record) -> Transients:
    header = {
        **data.header,
        "editing": scheme,
        "edit_conditions": [one.name for one in scheme.conditions],
    }
    return replace(data, header=header, records=(*data.records, record))


def _groups(found: Naa) -> tuple[NDArray[np.bool_], float]:
    """Return which shots are without NAA, and the distance of the groups over their spread, 0 where there are none."""
    ratio = found.ratio
    low = ratio < 0.5 * (np.quantile(ratio, 0.1) + np.quantile(ratio, 0.9))
    if np.median(found.snr) < _LEAST_SNR or not _LEAST_SHARE <= low.mean() <= 1 - _LEAST_SHARE:
        return low, 0.0
    groups = (ratio[low], ratio[~low])
    centres = [float(np.median(group)) for group in groups]
    spread = max(1.4826 * float(np.median(np.abs(g - c))) for g, c in zip(groups, centres, strict=True))
    clear = centres[1] > _SEEN and centres[0] < _GONE * centres[1]
    return low, (centres[1] - centres[0]) / max(spread, 1e-3) if clear else 0.0


def _blocks(n: int) -> list[int]:
    """Return the lengths of blocks in which two conditions of equal number can follow each other."""
    return [block for block in range(1, n // 2 + 1) if n % (2 * block) == 0]
