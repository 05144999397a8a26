"""What the user knows beside a file, for formats whose headers do not say it."""

from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError

_TOLERANCE = 2e-3
"""Files round: a dwell time of 333 us for 1 s / 3000 is met, and a frequency of five digits."""


@dataclass(frozen=True)
class Known:
    """What the user knows beside the file, for formats whose headers do not say it."""

    sequence: Path | None = None
    """The `.seq` that was played: its labels and timing then count, not the scanner's counters."""
    dwell_s: float | None = None
    """Time between samples, where the format has none (LCModel RAW, arrays)."""
    f0_hz: float | None = None
    """Spectrometer frequency, where the format has none."""
    keep_identifiers: bool = False
    """Carry what names the person or the device, where a format has a place for it; else it is dropped."""
    series: bool = False
    """Keep a dimension along which spectra differ by design, where a format has one; else such data are refused."""
    dimension: str | None = None
    """What the format calls that dimension, where its header leaves it open."""


_FLAGS = {"dwell time": "--dwell-s", "spectrometer frequency": "--f0-mhz"}


def settled(path: Path, fact: str, stored: float | None, given: float | None) -> float:
    """Return "dwell time" or "spectrometer frequency" from the file or the user.

    Raises
    ------
    DataError
        Neither says it, it is not above 0, or the two contradict each other.

    """
    flag = _FLAGS[fact]
    value = stored if stored is not None else given
    if value is None:
        raise DataError(f"{path}: does not say its {fact}, which its format does not store; pass {flag}")
    if not 0 < value < float("inf"):
        raise DataError(f"{path}: {fact} is {value:g}, expected a number above 0")
    if stored is not None and given is not None and abs(given / stored - 1) > _TOLERANCE:
        raise DataError(f"{path}: says {fact} {stored:g}, but {flag} says {given:g}; expected one of them")
    return value
