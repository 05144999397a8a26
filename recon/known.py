"""What the user knows beside a file, for formats whose headers do not say it."""

from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError

_TOLERANCE = 2e-3
"""Files round: a dwell time of 333 us for 1 s / 3000 is met, and a frequency of five digits."""
ASSUMED = "Readout taken from the basis"
"""Method of the record that says so."""


@dataclass(frozen=True)
class Readout:
    """What a basis knows of the readout, for data that know nothing."""

    name: str
    """Of the basis file."""
    f0_hz: float
    dwell_s: float | None
    """`None` where the basis stores lines, which have none."""
    samples: int | None = None
    """Points of its functions."""


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
    basis: Readout | None = None
    """The basis that will be fitted: the last resort, used with a notice."""
    series: bool = False
    """Keep a dimension along which spectra differ by design, where a format has one; else such data are refused."""
    dimension: str | None = None
    """What the format calls that dimension, where its header leaves it open."""


_FLAGS = {"dwell time": "--dwell-s", "spectrometer frequency": "--f0-mhz"}


def settled(path: Path, fact: str, stored: float | None, given: float | None, why: str = "") -> float:
    """Return "dwell time" or "spectrometer frequency" from the user, who may know more digits, or the file.

    Raises
    ------
    DataError
        Neither says it (then `why` ends the message), it is not above 0, or the two contradict each other.

    """
    flag = _FLAGS[fact]
    value = stored if given is None else given
    if value is None:
        raise DataError(f"{path}: does not say its {fact}, which its format does not store; pass {flag}{why}")
    for number in (stored, given):
        if number is not None and not 0 < number < float("inf"):
            raise DataError(f"{path}: {fact} is {number:g}, expected a number above 0")
    if stored is not None and given is not None and abs(given / stored - 1) > _TOLERANCE:
        raise DataError(f"{path}: says {fact} {stored:g}, but {flag} says {given:g}; expected one of them")
    return value


def readout(
    path: Path, dwell_s: float | None, f0_hz: float | None, samples: int, known: Known
) -> tuple[float, float, str]:
    """Return dwell time in s, frequency in Hz, and words on what was taken from the basis, empty where nothing was.

    Parameters
    ----------
    path
        The data, for messages.
    dwell_s, f0_hz
        What the file says; `None` where it does not.
    samples
        Points of the data, said beside those of the basis.
    known
        What the user and the basis say.

    Raises
    ------
    DataError
        Nobody says one of them.

    """
    basis = known.basis
    if basis is None:
        return _settled(path, dwell_s, f0_hz, known, "")
    taken = []
    if dwell_s is None and known.dwell_s is None and basis.dwell_s is not None:
        dwell_s = basis.dwell_s
        taken.append(f"dwell time {dwell_s * 1e6:.6g} us ({samples} points here, {basis.samples} there)")
    if f0_hz is None and known.f0_hz is None:
        f0_hz = basis.f0_hz
        taken.append(f"spectrometer frequency {f0_hz * 1e-6:.7g} MHz")
    words = f"does not say its readout; assumed are those of the basis {basis.name}: {' and '.join(taken)}"
    why = f"; the basis {basis.name} stores lines, which have no dwell time" if basis.dwell_s is None else ""
    return _settled(path, dwell_s, f0_hz, known, words if taken else "", why)


def _settled(
    path: Path, dwell_s: float | None, f0_hz: float | None, known: Known, words: str, why: str = ""
) -> tuple[float, float, str]:
    return (
        settled(path, "dwell time", dwell_s, known.dwell_s, why),
        settled(path, "spectrometer frequency", f0_hz, known.f0_hz),
        words,
    )
