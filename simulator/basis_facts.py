"""What a basis file may leave unsaid, and how what a user says is held against what the file says."""

import math
from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError, MismatchError


@dataclass(frozen=True, kw_only=True)
class Given:
    """Facts that a user states about a basis file; `None` leaves them to the file."""

    f0_hz: float | None = None
    dwell_s: float | None = None
    te_s: float | None = None
    reference_ppm: float | None = None
    part: int | None = None
    """Which sub-spectrum of an edited basis (off, on, difference, ...), from 1."""
    only_missing: bool = False
    """Use what is given only where the file is silent, whatever it says elsewhere (for two files at once)."""


_FIT_FLAGS = {"f0_hz": "--f0-mhz", "dwell_s": "--dwell-s"}
_FLAGS = {"f0_hz": "--f0-mhz", "dwell_s": "--dwell-us", "te_s": "--te-ms", "reference_ppm": "--reference-ppm"}
_TOLERANCE = 2e-3
"""Files round: a dwell time of 333 us for 1 s / 3000 is met in the wild, and a frequency of five digits."""


def needed(path: Path, fact: str, stored: float | None, given: Given) -> float:
    """Return the fact, from the file or from the user; see `known`; `DataError` where neither says it."""
    value = known(path, fact, stored, given)
    if value is None:
        fit = f", or {_FIT_FLAGS[fact]} to `fit`" if fact in _FIT_FLAGS else ""
        raise DataError(
            f"{path}: does not say {fact}, which its format does not store; give {_FLAGS[fact]} to "
            f"`pulsespec basis`{fit}"
        )
    if not 0 < value < math.inf:
        raise DataError(f"{path}: {fact} is {value}, expected a number above 0")
    return value


def known(path: Path, fact: str, stored: float | None, given: Given) -> float | None:
    """Return the fact as the user gave it, who may know more digits, or else as the file stores it.

    Raises
    ------
    MismatchError
        Both say it and differ by more than two thousandths.

    """
    stated: float | None = getattr(given, fact)
    if stated is None or stored is None:
        return stored if stated is None else stated
    if given.only_missing:
        return stored
    if fact == "reference_ppm":
        return stated  # few formats define it, so a user who knows better is believed
    if abs(stated - stored) > _TOLERANCE * abs(stored):
        raise MismatchError(f"{path}: says {fact} = {stored:.7g}, but {_FLAGS[fact]} gives {stated:.7g}")
    return stated
