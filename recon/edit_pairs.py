"""Which editing conditions are compared with which, so that as little as can be differs between them."""

from collections.abc import Sequence

Group = tuple[int, ...]

NEAR_PPM = 0.25
"""Pulses nearer to a target than this edit it."""


def pairs(
    group: Group, bands_ppm: Sequence[Sequence[float]], targets_ppm: Sequence[float]
) -> list[tuple[Group, Group]]:
    """Return which groups of conditions are compared, in order: the last pair is that of the two halves.

    Parameters
    ----------
    group
        Conditions, as indices of `bands_ppm`.
    bands_ppm
        Where the editing pulses of each condition stand.
    targets_ppm
        What pulses may be meant for; the first that half of the conditions edit splits them.

    """
    if len(group) < 2:
        return []
    first, second = _halves(group, bands_ppm, targets_ppm)
    within = [*pairs(first, bands_ppm, targets_ppm), *pairs(second, bands_ppm, targets_ppm)]
    return [*within, (first, second)]


def _halves(
    group: Group, bands_ppm: Sequence[Sequence[float]], targets_ppm: Sequence[float]
) -> tuple[Group, Group]:
    """Split conditions by the first target that half of them edit; else the last one from the others."""
    for target in targets_ppm:
        on = tuple(k for k in group if _edits(bands_ppm, k, target))
        if 2 * len(on) == len(group):
            off = tuple(k for k in group if k not in on)
            return (on, off) if group[0] in on else (off, on)
    return group[:-1], group[-1:]


def shared(
    first: Group, second: Group, bands_ppm: Sequence[Sequence[float]], targets_ppm: Sequence[float]
) -> list[float]:
    """Return the targets that the same share of both groups edits: they cancel in the difference of their means."""

    def share(group: Group, target: float) -> float:
        return sum(_edits(bands_ppm, k, target) for k in group) / len(group)

    return [target for target in targets_ppm if share(first, target) == share(second, target)]


def _edits(bands_ppm: Sequence[Sequence[float]], condition: int, target: float) -> bool:
    own = bands_ppm[condition] if condition < len(bands_ppm) else ()
    return any(abs(band - target) < NEAR_PPM for band in own)
