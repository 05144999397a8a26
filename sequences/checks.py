"""Whether a scanner can play a sequence: every rule that is known to stop one, each with its own name."""

import re
from pathlib import Path
from typing import Any

import pypulseq

from pulsespec.errors import SequenceError
from pulsespec.sequences.block_table import Blocks
from pulsespec.sequences.check_blocks import check_blocks
from pulsespec.sequences.check_whole import check_whole
from pulsespec.sequences.energy import check_energy
from pulsespec.sequences.gradient_file import read_gradient_file
from pulsespec.sequences.labels import check_labels
from pulsespec.sequences.resonances import check_resonances
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.segments import check_segments
from pulsespec.sequences.stimulation import Model, Safe, check_stimulation, model_of
from pulsespec.sequences.violations import Violation

RULES = (
    "max_b1",
    "max_gradient",
    "max_slew",
    "gradient_raster",
    "gradient_ends",
    "block_raster",
    "block_length",
    "rf_raster",
    "rf_dead_time",
    "rf_ringdown",
    "rf_use",
    "adc_raster",
    "adc_start",
    "adc_dead_time",
    "adc_samples",
    "adc_lengths",
    "no_adc",
    "field",
    "definitions",
    "file_size",
    "repetitions",
    "geometry_labels",
    "label_repeated",
    "label_flag",
    "label_counter",
    "segment_label",
    "segment_structure",
    "segment_gradient",
    "rf_energy",
    "duty_cycle",
    "stimulation",
    "resonance",
)
"""Every rule there is. Those whose limit is not known of a scanner do not run."""

_USE_SINCE_MINOR = 5


def check(source: Any, scanner: Scanner, *, gradient_file: Path | None = None) -> list[Violation]:
    """Return every rule of the scanner (`RULES`) that a sequence, or the `.seq` file of that path, breaks.

    A rule that many blocks break is reported once for each distinct block. Nerve stimulation follows the model of
    the scanner's preset, or the SAFE model where a Siemens `gradient_file` of one's own scanner gives its parameters;
    that file also has the forbidden bands of the gradients (see `stimulation` and `resonances`).

    Raises
    ------
    SequenceError
        The file cannot be read as Pulseq.
    InputError
        The gradient file cannot be read.

    """
    path = Path(source) if isinstance(source, str | Path) else None
    blocks = Blocks(source if path is None else _read(path, scanner))
    model: Model | None = model_of(scanner)
    bands_hz = scanner.forbidden_hz or ()
    if gradient_file is not None:
        own = read_gradient_file(gradient_file)
        bands_hz = (own.bands_hz,) * 3 if own.bands_hz else bands_hz
        model = model if own.hardware is None else Safe(own.hardware)
    found = list(check_whole(blocks, path, scanner))
    found += check_blocks(blocks, scanner, named_use=path is None or not _is_old(path))
    found += check_labels(blocks)
    if scanner.needs_trid:
        found += check_segments(blocks)
    found += check_energy(blocks, scanner)
    found += check_stimulation(blocks, scanner, model)
    found += check_resonances(blocks, bands_hz, scanner)
    return found


def _is_old(path: Path) -> bool:
    """Return whether a file is of a version that has no `use` of pulses: before 1.5."""
    with path.open("rb") as file:
        head = file.read(400)
    minor = re.search(rb"minor\s+(\d+)", head)
    return minor is not None and int(minor.group(1)) < _USE_SINCE_MINOR


def _read(path: Path, scanner: Scanner) -> Any:
    sequence = pypulseq.Sequence(scanner.opts)
    try:
        sequence.read(str(path))
    except Exception as error:  # pypulseq raises whatever the damage makes of it
        raise SequenceError(f"{path}: cannot be read as a Pulseq file ({error})") from error
    if not sequence.block_events:
        raise SequenceError(f"{path}: has no blocks")
    return sequence
