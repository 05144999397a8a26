"""What a Siemens gradient file (`.asc`) of one's own scanner says: resonances and the SAFE model of stimulation.

Read by pypulseq. The files belong to the vendor and are not public; a user of the scanner has them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsespec.errors import InputError


@dataclass(frozen=True)
class GradientFile:
    """The parts of a gradient file that `check` uses."""

    bands_hz: tuple[tuple[float, float], ...]
    """Forbidden bands (from, to) on all axes."""
    hardware: Any
    """Parameters of the SAFE model, as pypulseq takes them; `None` where the file has none."""


def read_gradient_file(path: Path) -> GradientFile:
    """Return resonances and stimulation parameters; `InputError` where the file has neither."""
    from pypulseq.utils.siemens.asc_to_hw import asc_to_acoustic_resonances, asc_to_hw
    from pypulseq.utils.siemens.readasc import readasc

    try:
        contents, _ = readasc(str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # pypulseq raises whatever the damage makes of it
        raise InputError(f"{path}: is not a gradient file of Siemens ({error})") from error
    try:
        found = asc_to_acoustic_resonances(contents)
        bands = tuple(
            (one["frequency"] - one["bandwidth"] / 2, one["frequency"] + one["bandwidth"] / 2)
            for one in found
        )
    except (KeyError, TypeError):
        bands = ()
    try:
        hardware = asc_to_hw(contents)
    except (KeyError, TypeError, AttributeError, ValueError):
        hardware = None
    if not bands and hardware is None:
        raise InputError(
            f"{path}: expected a Siemens gradient file with resonances or stimulation parameters"
        )
    return GradientFile(bands, hardware)
