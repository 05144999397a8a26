"""Whether macromolecules and lipids may be upside down beside metabolites: by the inversion of the `.seq`."""

from collections.abc import Sequence
from pathlib import Path

from pulsespec.conventions import field_from_larmor
from pulsespec.recon.constants import BRAIN
from pulsespec.simulator.image_response import longitudinal_shares
from pulsespec.simulator.tissue_library import load_tissue

_SPREAD = 0.25
"""Of T1 of macromolecules and lipids, relative: it differs between peaks, tissues and studies (Cudalbu et al. 2021,
doi:10.1002/nbm.4393, has no consensus on single peaks); ours."""


def either_sign(
    path: Path, broad: Sequence[str], f0_hz: float, nucleus: str = "1H"
) -> tuple[tuple[str, ...], str]:
    """Return the broad components that may have the other sign than metabolites, and a word on it.

    Behind an inversion metabolites (T1 above a second) are still upside down while macromolecules and lipids (a
    quarter of a second) have passed zero or are near it. Their sign is then not known beforehand, and a fit that takes
    it for that of metabolites puts the difference into all amounts.

    Parameters
    ----------
    path
        The `.seq` that was played.
    broad
        Names of macromolecules and lipids.
    f0_hz, nucleus
        Of the data.

    """
    field_t = field_from_larmor(f0_hz, nucleus)
    white = load_tissue(BRAIN["wm"])
    usual, short = (white.times(name, field_t).t1_s for name in ("NAA", next(iter(white.broad))))
    alike, *others = longitudinal_shares(path, [usual, short, (1 - _SPREAD) * short, (1 + _SPREAD) * short])
    relative = [one / alike for one in others]
    if not broad or min(relative) >= 0:
        return (), ""
    words = (
        f"behind the inversion macromolecules and lipids are {relative[0]:+.2f} of metabolites "
        f"({min(relative):+.2f} to {max(relative):+.2f} as T1 varies): they may be negative in the fit"
    )
    return tuple(broad), words
