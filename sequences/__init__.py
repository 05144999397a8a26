"""The library of pulse sequences: protocols in, Pulseq files out."""

from pulsespec.sequences.bandwidths import Displacement
from pulsespec.sequences.checks import Violation, check
from pulsespec.sequences.library import build, design, displacement, write_sequence
from pulsespec.sequences.scanner import Scanner, list_scanners, load_scanner

__all__ = [
    "Displacement",
    "Scanner",
    "Violation",
    "build",
    "check",
    "design",
    "displacement",
    "list_scanners",
    "load_scanner",
    "write_sequence",
]
