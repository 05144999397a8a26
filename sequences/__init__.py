"""The library of pulse sequences: protocols in, Pulseq files out."""

from pulsespec.sequences.checks import Violation, check
from pulsespec.sequences.library import build, write_sequence
from pulsespec.sequences.press import displacement
from pulsespec.sequences.pulses import Displacement
from pulsespec.sequences.scanner import Scanner, list_scanners, load_scanner

__all__ = [
    "Displacement",
    "Scanner",
    "Violation",
    "build",
    "check",
    "displacement",
    "list_scanners",
    "load_scanner",
    "write_sequence",
]
