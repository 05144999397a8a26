"""Editing conditions in the header of NIfTI-MRS (Clarke et al. 2022, doi:10.1002/mrm.29418).

`EditPulse` has the pulses of each condition by its name, the dynamic header of `DIM_EDIT` the names in order
(`EditCondition`). Sums and differences carry the factors of the conditions in a key of ours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from nifti_mrs.hdr_ext import Hdr_Ext

from pulsespec.recon.editing import Condition, Scheme

WEIGHTS = "EditConditionWeights"
"""Key with the factor of each condition in a sum or difference."""
_WEIGHTS_DOC = "Factor of each editing condition (label SET from 0) in this sum or difference."


def read_editing(header: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return what a header says of the editing of data with `count` conditions: for `Transients.header`."""
    found: dict[str, Any] = {}
    scheme = _scheme(header, count)
    if scheme is not None:
        found["editing"] = scheme
    stated = header.get(WEIGHTS)
    values = stated.get("Value", stated.get("value")) if isinstance(stated, dict) else stated
    if isinstance(values, list) and values and all(_is_number(one) for one in values):
        found["condition_weights"] = tuple(float(one) for one in values)
    return found


def _scheme(header: Mapping[str, Any], count: int) -> Scheme | None:
    names = header.get("EditCondition")
    for key, dynamic in header.items():
        if key.startswith("dim_") and key.endswith("_header") and isinstance(dynamic, dict):
            names = dynamic.get("EditCondition", names)
    if isinstance(names, dict):
        names = names.get("Value", names.get("value"))
    weighted = WEIGHTS in header
    if not isinstance(names, list) or (len(names) != count and not weighted):
        return None
    pulses = header.get("EditPulse")
    table = pulses if isinstance(pulses, dict) else {}
    return Scheme(tuple(Condition(str(name), _offsets(table.get(str(name)))) for name in names), "the header")


def _offsets(pulse: Any) -> tuple[float, ...]:
    """Return the offsets of an entry of `EditPulse`; those that are not numbers (null: no pulse) are left out."""
    values = pulse.get("PulseOffset") if isinstance(pulse, dict) else None
    values = values if isinstance(values, list) else [values]
    return tuple(float(one) for one in values if _is_number(one))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def dynamic_header(header: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the dynamic header of `DIM_EDIT`; `None` where the conditions are not known."""
    scheme = header.get("editing")
    if not isinstance(scheme, Scheme):
        return None
    return {"EditCondition": [one.name for one in scheme.conditions]}


def write_editing(header: Mapping[str, Any], extension: Hdr_Ext) -> None:
    """State pulses, conditions and, of a sum or difference, factors in a NIfTI-MRS header extension."""
    scheme, weights = header.get("editing"), header.get("condition_weights")
    if isinstance(scheme, Scheme):
        pulses = {one.name: {"PulseOffset": list(one.bands_ppm)} for one in scheme.conditions}
        extension.set_standard_def("EditPulse", pulses)
        if weights is not None:
            extension.set_standard_def("EditCondition", [one.name for one in scheme.conditions])
    if weights is not None:
        extension.set_user_def(WEIGHTS, [float(one) for one in weights], _WEIGHTS_DOC)
