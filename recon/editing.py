"""What was edited: the conditions of a scan, and the sums and differences that are made of them.

MEGA has two conditions (Mescher et al. 1998, doi:10.1002/(SICI)1099-1492(199810)11:6<266::AID-NBM530>3.0.CO;2-J),
HERMES and HERCULES four in a Hadamard scheme (Chan et al. 2016, doi:10.1002/mrm.26233, recalled). Each frequency that
some conditions edit and as many do not gives one difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulsespec.errors import DataError, MismatchError

_TARGETS = ((1.9, "gaba"), (4.56, "gsh"), (4.1, "lac"))
"""What a difference is called by where its pulse stands (consensus: Choi et al. 2021, doi:10.1002/nbm.4411)."""
_NEAR_PPM = 0.1
"""Bands nearer than this are the same."""
_NOTHING_PPM = 5.5
"""Editing pulses above it are on no metabolite; they only balance what the others do to the rest."""


@dataclass(frozen=True)
class Condition:
    """One editing condition."""

    name: str
    """What the header calls it, such as ON, or A."""
    bands_ppm: tuple[float, ...] = ()
    """Where its editing pulses stand; empty where that is not known."""

    @property
    def is_on(self) -> bool | None:
        """Whether its name says that it edits; `None` where the name says nothing."""
        word = self.name.replace("-", "_").upper().split("_")
        return True if "ON" in word else False if "OFF" in word else None


@dataclass(frozen=True)
class Scheme:
    """The conditions of a scan, in the order of the dimension "edit"."""

    conditions: tuple[Condition, ...]
    origin: str
    """Where this is known from, in words."""

    @property
    def bands_ppm(self) -> tuple[tuple[float, ...], ...]:
        """Where the pulses of each condition stand."""
        return tuple(one.bands_ppm for one in self.conditions)

    @property
    def words(self) -> str:
        """The conditions in one line."""
        return ", ".join(
            f"{one.name} ({' + '.join(f'{band:g}' for band in one.bands_ppm) or 'unknown'} ppm)"
            for one in self.conditions
        )


@dataclass(frozen=True)
class Combination:
    """A sum or difference of conditions."""

    name: str
    """For the name of its file: sum, diff, diff-gaba."""
    weights: tuple[float, ...]
    """Factor of each condition: of a basis, `--conditions 0:1,1:-1`."""

    def edits_gaba(self, scheme: Scheme) -> bool:
        """Return whether what is edited here, and not in the others, is GABA; also where bands are not known."""
        bands = [
            one.bands_ppm for one, weight in zip(scheme.conditions, self.weights, strict=True) if weight > 0
        ]
        target = _TARGETS[0][0]
        return not any(bands) or all(_has(one, target) for one in bands)


def is_difference(header: Mapping[str, Any]) -> bool:
    """Return whether data with this header are a difference of conditions: singlets cancel or are upside down in it."""
    weights = header.get("condition_weights", ())
    return any(weight < 0 for weight in weights)


def combinations(scheme: Scheme) -> tuple[Combination, ...]:
    """Return the sum of all conditions and each difference that the scheme allows.

    Raises
    ------
    DataError
        It is not known which condition edits what, or no frequency is edited in half of the conditions.

    """
    count = len(scheme.conditions)
    found = _by_bands(scheme) if any(scheme.bands_ppm) else _by_names(scheme)
    if not found:
        raise DataError(
            f"editing conditions {scheme.words}: expected a frequency that half of them edit and half do not"
        )
    names = ["diff"] if len(found) == 1 else [f"diff-{name}" for name, _ in found]
    differences = [Combination(name, row) for name, (_, row) in zip(names, found, strict=True)]
    return (*differences, Combination("sum", (1.0,) * count))


def _by_bands(scheme: Scheme) -> list[tuple[str, tuple[float, ...]]]:
    rows: list[tuple[str, tuple[float, ...]]] = []
    bands = {band for bands in scheme.bands_ppm for band in bands if band < _NOTHING_PPM}
    for band in sorted(bands, key=_rank):
        signs = [1.0 if _has(bands, band) else -1.0 for bands in scheme.bands_ppm]
        known = {row for _, row in rows} | {tuple(-one for one in row) for _, row in rows}
        if sum(signs) == 0 and tuple(signs) not in known:
            rows.append((_called(band), tuple(signs)))
    return rows


def _rank(band: float) -> tuple[float, float]:
    """Return the order in which bands name a difference: the nearest to a known target first."""
    return min(abs(band - target) for target, _ in _TARGETS), band


def _has(bands: Sequence[float], band: float) -> bool:
    return any(abs(one - band) < _NEAR_PPM for one in bands)


def _called(band: float) -> str:
    near = [name for target, name in _TARGETS if abs(band - target) < _NEAR_PPM]
    return near[0] if near else f"{band:g}ppm"


def _by_names(scheme: Scheme) -> list[tuple[str, tuple[float, ...]]]:
    on = [one.is_on for one in scheme.conditions]
    if len(on) != 2 or sorted(map(str, on)) != ["False", "True"]:
        raise DataError(
            f"editing conditions {scheme.words}: neither header nor data say which edits what; "
            "pass the .seq that was played (--seq)"
        )
    return [("on", tuple(1.0 if one else -1.0 for one in on))]


def matched(source: str, data: Scheme | None, sequence: Scheme | None) -> tuple[int, ...]:
    """Return which condition of the sequence each condition of the data is.

    Raises
    ------
    MismatchError
        The frequencies that are edited, or names of on and off, do not say so without doubt.

    """
    said = "nothing" if data is None else data.words
    played = "no editing" if sequence is None else sequence.words
    found: list[list[int]] = []
    if data is not None and sequence is not None and len(data.conditions) == len(sequence.conditions):
        found = [
            [k for k, other in enumerate(sequence.conditions) if _same(one, other)] for one in data.conditions
        ]
    if not found or any(len(row) != 1 for row in found) or len({row[0] for row in found}) != len(found):
        raise MismatchError(f"{source}: has conditions {said}, but the sequence has {played}")
    return tuple(row[0] for row in found)


def _same(first: Condition, second: Condition) -> bool:
    """Compare what is edited; where the bands of one are not known, whether both are on or both are off."""
    if not (first.bands_ppm and second.bands_ppm):
        return first.is_on is not None and first.is_on == second.is_on
    mine, other = (sorted(b for b in one.bands_ppm if b < _NOTHING_PPM) for one in (first, second))
    return len(mine) == len(other) and all(abs(a - b) < _NEAR_PPM for a, b in zip(mine, other, strict=True))


def from_definitions(definitions: Mapping[str, Any]) -> Scheme | None:
    """Return the conditions that a `.seq` of ours defines, or `None` where it edits nothing."""
    ppm = np.ravel(definitions.get("EditingPPM", ())).astype(float)
    if ppm.size < 4 or ppm.size % 2:
        return None
    pairs = [tuple(dict.fromkeys(float(one) for one in pair)) for pair in ppm.reshape(-1, 2)]
    names = ["ABCDEFGH"[k] if k < 8 else str(k) for k in range(len(pairs))]
    if len(pairs) == 2:
        first, second = sorted((0, 1), key=lambda k: min(map(_rank, pairs[k])))
        names[first], names[second] = "ON", "OFF"
    return Scheme(tuple(map(Condition, names, pairs)), "the .seq")
