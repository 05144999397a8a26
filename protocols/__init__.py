"""Validated descriptions of what is to be measured, and the shipped library of them."""

from pulsespec.protocols.library import change, changed_keys, list_protocols, load_protocol, protocol_hash
from pulsespec.protocols.schema import (
    Adiabatic,
    Band,
    CarrierPpm,
    Crushers,
    Editing,
    Encoding,
    FlipSeries,
    ImportedPulse,
    Inversion,
    OuterVolume,
    Protocol,
    Pulses,
    SelectivePulse,
    Train,
    WaterSuppression,
)

__all__ = [
    "Adiabatic",
    "Band",
    "CarrierPpm",
    "Crushers",
    "Editing",
    "Encoding",
    "FlipSeries",
    "ImportedPulse",
    "Inversion",
    "OuterVolume",
    "Protocol",
    "Pulses",
    "SelectivePulse",
    "Train",
    "WaterSuppression",
    "change",
    "changed_keys",
    "list_protocols",
    "load_protocol",
    "protocol_hash",
]
