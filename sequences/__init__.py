"""The library of pulse sequences: protocols in, Pulseq files out."""

from pulsespec.sequences.bandwidths import Displacement
from pulsespec.sequences.checks import RULES, check
from pulsespec.sequences.library import build, design, displacement, pulses_of, purity, write_sequence
from pulsespec.sequences.purity import Purity, require_pure
from pulsespec.sequences.scanner import Scanner, list_scanners, load_scanner
from pulsespec.sequences.violations import Violation

__all__ = [
    "RULES",
    "Displacement",
    "Purity",
    "Scanner",
    "Violation",
    "build",
    "check",
    "design",
    "displacement",
    "list_scanners",
    "load_scanner",
    "pulses_of",
    "purity",
    "require_pure",
    "write_sequence",
]
