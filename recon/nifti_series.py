"""Series in NIfTI-MRS: which dimension counts them, and the values that the dynamic header gives them.

Two notations of values exist (Clarke et al. 2022, doi:10.1002/mrm.29418): a list, or a start and an increment;
user-defined keys have them under "Value".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError

Real = NDArray[np.float64]

SERIES = ("DIM_INDIRECT", "DIM_USER")
"""Beginnings of tags whose entries differ by design, whatever the header says of them."""
TAG = "DIM_USER_0"
"""Tag that a series is written with."""
_STANDARD_KEYS = ("EchoTime", "InversionTime", "MixingTime", "RepetitionTime")


def dynamic_values(changes: Any, length: int, path: Path) -> dict[str, Real]:
    """Return the values along one dimension by the key of its header; what is no number is left out.

    Raises
    ------
    DataError
        A list has another length than the dimension.

    """
    found = {}
    for key, stated in changes.items() if isinstance(changes, dict) else ():
        values = stated.get("Value", stated) if isinstance(stated, dict) else stated
        if isinstance(values, dict) and {"start", "increment"} <= set(values):
            begin, step = values["start"], values["increment"]
            if _is_number(begin) and _is_number(step):
                found[str(key)[:60]] = begin + step * np.arange(length, dtype=float)
            continue
        if not isinstance(values, list) or not all(_is_number(value) for value in values):
            continue
        if len(values) != length:
            raise DataError(f"{path}: {str(key)[:40]} has {len(values)} values for {length} entries")
        found[str(key)[:60]] = np.array(values, dtype=float)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def series_numbers(header: Mapping[str, Any], tagged: Sequence[tuple[int, str]], shape: Sequence[int], path: Path,
                   asked: str | None) -> list[int]:  # fmt: skip
    """Return the numbers of the dimensions along which spectra differ by design.

    Those that the user asks for by their tag; else those whose header has values that differ; else indirect and
    user-defined ones; else measurements (DIM_MEAS), where shots are counted by another dimension.

    Raises
    ------
    DataError
        There is no dimension of the tag that was asked for.

    """
    if asked is not None:
        chosen = [number for number, tag in tagged if tag == asked]
        if not chosen:
            raise DataError(
                f"{path}: has no dimension {asked}, only {', '.join(tag for _, tag in tagged) or 'none'}"
            )
        return chosen
    changing = []
    for number, tag in tagged:
        values = dynamic_values(header.get(f"dim_{number}_header"), shape[number - 1], path)
        if tag != "DIM_EDIT" and any(np.ptp(one) > 0 for one in values.values()):
            changing.append(number)
    named = [number for number, tag in tagged if tag.startswith(SERIES)]
    if changing or named:
        return sorted({*changing, *named})
    tags = [tag for _, tag in tagged]
    return [number for number, tag in tagged if tag == "DIM_MEAS" and "DIM_DYN" in tags]


def values_of(
    header: Mapping[str, Any], numbers: Sequence[int], shape: Sequence[int], path: Path
) -> dict[str, Real]:
    """Return what the header says of each member, all dimensions of the series taken as one in C order."""
    sizes = [shape[number - 1] for number in numbers]
    found = {}
    for axis, number in enumerate(numbers):
        index = np.indices(sizes)[axis].ravel()
        for key, values in dynamic_values(header.get(f"dim_{number}_header"), sizes[axis], path).items():
            found[key] = values[index]
    return found


def dynamic_header(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the dynamic header of a series: standard keys as lists, others as the standard wants them."""
    made: dict[str, Any] = {}
    for key, numbers in values.items():
        plain = [float(number) for number in numbers]
        made[key] = (
            plain
            if key in _STANDARD_KEYS
            else {"Value": plain, "Description": f"{key} of each spectrum of the series"}
        )
    return made or None
