"""The header extension of NIfTI-MRS: what it must say, what may be kept of it and what names a person."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nifti_mrs.definitions import standard_defined

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError

_EXTENSION_CODE = 44
_NUCLEUS = re.compile(r"^\d{1,3}[A-Z]{1,2}$")
_F0_MHZ = (1.0, 2000.0)
_LONGEST_S = {"EchoTime": 5.0, "RepetitionTime": 300.0}
_KEPT = (
    *(
        "InversionTime",
        "MixingTime",
        "AcquisitionStartTime",
        "ExcitationFlipAngle",
        "TxOffset",
        "WaterSuppressed",
    ),
    *("WaterSuppressionType", "SequenceTriggered", "Manufacturer", "SoftwareVersions", "TxCoil", "RxCoil"),
    *("PatientPosition", "EditPulse", "VOI"),
)
"""Fields of the standard that hold for what is made of the data too, none of which names a person."""

Header = dict[str, Any]


def extension(image: Any, path: Path) -> Header:
    """Return the header extension of a NIfTI image as read; `DataError` where it is none of NIfTI-MRS."""
    found = [e for e in getattr(image.header, "extensions", ()) if e.get_code() == _EXTENSION_CODE]
    if not found:
        raise DataError(f"{path}: is NIfTI but has no NIfTI-MRS header extension (code {_EXTENSION_CODE})")
    content = found[0].get_content()
    text = content.decode("utf-8", errors="replace") if isinstance(content, bytes) else str(content)
    try:
        header = json.loads(text.rstrip("\0 \n"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its NIfTI-MRS header extension is not JSON ({_kind(error)})") from error
    if not isinstance(header, dict):
        raise DataError(f"{path}: its NIfTI-MRS header extension is no JSON object")
    return header


def _kind(error: Exception) -> str:
    """Return what went wrong with JSON without any of its text, which may name a person."""
    return getattr(error, "msg", type(error).__name__)


def one_number(header: Header, key: str, path: Path) -> float | None:
    """Return the number under `key`, `None` where there is none; a list of one is a number too."""
    value = header.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{path}: {key} is no single number, expected one")
    return float(value)


def spectrometer_mhz(header: Header, path: Path) -> float:
    """Return the frequency in MHz; `DataError` where it is missing, in other units or one of several."""
    value = one_number(header, "SpectrometerFrequency", path)
    if value is None:
        raise DataError(f"{path}: its NIfTI-MRS header extension lacks SpectrometerFrequency")
    if not _F0_MHZ[0] <= value <= _F0_MHZ[1]:
        raise DataError(
            f"{path}: SpectrometerFrequency is {value:g}, expected MHz ({_F0_MHZ[0]:g} to {_F0_MHZ[1]:g})"
        )
    return value


def nucleus(header: Header, path: Path) -> str:
    """Return the nucleus, such as 1H; `DataError` where it is missing, ill-named or one of several."""
    value = header.get("ResonantNucleus")
    names = value if isinstance(value, list) else [value]
    if value is None or not names:
        raise DataError(f"{path}: its NIfTI-MRS header extension lacks ResonantNucleus")
    if len(names) != 1 or not isinstance(names[0], str) or not _NUCLEUS.match(names[0]):
        raise DataError(f"{path}: ResonantNucleus is {str(names)[:60]}, expected one name such as 1H or 31P")
    return names[0]


def seconds(header: Header, key: str, path: Path) -> float | None:
    """Return a time in s; `DataError` where it can only be in other units."""
    value = one_number(header, key, path)
    if value is not None and not 0 <= value <= _LONGEST_S[key]:
        raise DataError(f"{path}: {key} is {value:g}, expected s from 0 to {_LONGEST_S[key]:g}")
    return value


def check_width(header: Header, dwell_s: float, path: Path) -> None:
    """Refuse a dwell time that is none, or that the spectral width contradicts."""
    if not 1e-7 < dwell_s <= 1.0:
        raise DataError(f"{path}: dwell time is {dwell_s:g} s, expected 1e-7 to 1 s")
    width_hz = one_number(header, "SpectralWidth", path)
    if width_hz is not None and abs(width_hz * dwell_s - 1) > 1e-3:
        raise DataError(
            f"{path}: SpectralWidth is {width_hz:g} Hz but the dwell time {dwell_s:g} s gives {1 / dwell_s:g} Hz"
        )


def centre_ppm(header: Header, path: Path) -> float:
    """Return the shift at the centre of the spectrum: that of the spectrometer's frequency and receiver's offset."""
    at_f0 = one_number(header, "SpecFreqChemShift", path)
    return (RECEIVER_PPM if at_f0 is None else at_f0) + (one_number(header, "RxOffset", path) or 0.0)


def kept(header: Header) -> Header:
    """Return the fields that are carried from a file to what is made of it; none names a person."""
    return {key: header[key] for key in _KEPT if header.get(key) is not None}


def identifiers(header: Mapping[str, Any]) -> Header:
    """Return the fields that the standard marks for removal: its own list, and user-defined `private_` ones."""
    found = {
        key: value for key, value in header.items() if key in standard_defined and standard_defined[key].anon
    }
    for key, value in header.items():
        if key.startswith("private_"):
            found[key] = value
        elif isinstance(value, dict) and key not in standard_defined:
            inner = {name: part for name, part in value.items() if name.startswith("private_")}
            if inner:
                found[key] = {"Description": "identifiers that were kept", **inner}
    return found


def earlier_steps(header: Header, whole: bool) -> list[dict[str, Any]]:
    """Return what was done before, from `ProcessingApplied`.

    Details and links of other programs may hold paths and names of persons (the standard's tables mark the field
    for removal), so they are kept only where the whole is asked for.
    """
    steps = header.get("ProcessingApplied")
    told = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    own = ("Time", "Program", "Version", "Method")
    return [
        step
        if whole or step.get("Program") == "pulsespec"
        else {key: step[key] for key in own if key in step}
        for step in told
    ]
