"""What `check` finds: one broken rule."""

from dataclasses import dataclass

from pulsespec.sequences.block_table import Blocks


@dataclass(frozen=True)
class Violation:
    """One rule that a sequence breaks, at the first block where it does."""

    rule: str
    """Name of the rule, such as `max_b1` or `adc_raster`."""
    block: int
    """Number of the block, from 1; 0 for the sequence as a whole."""
    message: str
    """What came and what was expected."""
    time_s: float = 0.0
    """Start of that block from the start of the sequence."""


def violation_at(blocks: Blocks, index: int, rule: str, message: str) -> Violation:
    """Return the violation of a rule by the block at `index`, counted from 0."""
    return Violation(rule, blocks.numbers[index], message, float(blocks.starts[index]))
