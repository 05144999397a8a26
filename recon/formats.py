"""The file formats that can be read, each recognised by what is in the file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError
from pulsespec.recon.mrd import is_mrd, read_mrd
from pulsespec.recon.nifti import is_nifti, read_nifti
from pulsespec.recon.sdat import is_sdat, read_sdat
from pulsespec.recon.transients import Scan
from pulsespec.recon.twix import is_twix, read_twix
from pulsespec.simulator.timeline import read_readouts


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


@dataclass(frozen=True)
class Format:
    """One file format: how it is recognised and read."""

    name: str
    """What its users call it."""
    recognises: Callable[[Path], bool]
    """Whether a file is of this format, from its content; raises only `OSError`."""
    read: Callable[[Path, Known], Scan]
    """Read a file; a damaged one, or one that needs what is not known, is a `DataError`."""


FORMATS = (
    Format("Philips SDAT/SPAR", is_sdat, lambda path, _: Scan(read_sdat(path))),
    Format("NIfTI-MRS", is_nifti, lambda path, known: Scan(read_nifti(path, known.keep_identifiers))),
    Format("ISMRMRD", is_mrd, lambda path, _: read_mrd(path)),
    Format(
        "Siemens twix",
        is_twix,
        lambda path, known: read_twix(path, read_readouts(known.sequence) if known.sequence else None),
    ),
)
"""All of them, the surest mark first: a format that is recognised by little stands last."""


def format_of(path: Path) -> Format:
    """Return the format of a file.

    Raises
    ------
    DataError
        There is no such file, it is empty or damaged, or no format recognises it.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    try:
        found = next((form for form in FORMATS if form.recognises(path)), None)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened as any format, a damaged file ({error})") from error
    if found is None:
        raise DataError(
            f"{path}: format not recognised, expected one of {', '.join(form.name for form in FORMATS)}"
        )
    return found
