"""Which `.seq` was played, in the header of the data: hash and timing, for a basis to be held against."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nifti_mrs.hdr_ext import Hdr_Ext

from pulsespec.simulator.timeline import Played

HASH = "SequenceHash"
TIMING = "SequenceTiming"
TIMES = ("TE1", "TE2", "TM")
"""Definitions in s that set the evolution under couplings beside TE."""
_HASH_DOC = "SHA-256 of the Pulseq file that was played."
_TIMING_DOC = "TE1, TE2 and TM in s as the Pulseq file that was played defines them, 0 for none."


def sequence_facts(path: Path, played: Played) -> dict[str, Any]:
    """Return hash and timing of the `.seq` for `Transients.header`."""
    times = {key: float(played.numbers(key)[0]) for key in TIMES if played.numbers(key).size}
    return {"sequence_hash": hashlib.sha256(path.read_bytes()).hexdigest(), "timing_s": times}


def write_sequence(header: Mapping[str, Any], extension: Hdr_Ext) -> None:
    """State hash and timing in a NIfTI-MRS header extension, where they are known."""
    if header.get("sequence_hash"):
        extension.set_user_def(HASH, header["sequence_hash"], _HASH_DOC)
    if header.get("timing_s"):
        extension.set_user_def(TIMING, [header["timing_s"].get(key, 0.0) for key in TIMES], _TIMING_DOC)


def read_sequence(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a NIfTI-MRS header says of the sequence, the mixing time of the standard included."""
    found: dict[str, Any] = {}
    said, times = (_value(header.get(key)) for key in (HASH, TIMING))
    if isinstance(said, str) and len(said) == 64:
        found["sequence_hash"] = said
    timing = {}
    if isinstance(times, list) and len(times) == len(TIMES):
        timing = {key: float(t) for key, t in zip(TIMES, times, strict=True) if _is_time(t)}
    mixing = header.get("MixingTime")
    if _is_time(mixing):
        timing.setdefault("TM", float(mixing))  # type: ignore[arg-type]
    return found | ({"timing_s": timing} if timing else {})


def _value(entry: Any) -> Any:
    return entry.get("Value", entry.get("value")) if isinstance(entry, dict) else entry


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 10
