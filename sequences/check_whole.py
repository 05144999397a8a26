"""Rules for a sequence as a whole: definitions, size, repetitions, lengths of readouts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pulsespec.sequences.block_table import Blocks
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation, violation_at

_FIELD_TOLERANCE = 1e-3
_MB = 1e6


def check_whole(blocks: Blocks, path: Path | None, scanner: Scanner) -> Iterator[Violation]:
    """Yield what the sequence as a whole breaks; block 0 is given for what is true of all of it."""
    yield from _definitions(blocks, scanner)
    size_mb = (estimated_bytes(blocks) if path is None else path.stat().st_size) / _MB
    if scanner.max_file_mb is not None and size_mb > scanner.max_file_mb:
        message = f"file of {size_mb:.1f} MB: expected at most {scanner.max_file_mb:g} MB"
        yield Violation("file_size", 0, message)
    readouts = [index for index, ids in enumerate(blocks.ids) if ids[4]]
    if not readouts:
        yield Violation("no_adc", 0, "the sequence has no readout: expected one at least")
    limit = scanner.max_repetitions
    if limit is not None and len(readouts) > limit:
        message = f"{len(readouts)} repetitions: expected at most {limit}"
        yield violation_at(blocks, readouts[limit], "repetitions", message)
    if scanner.one_readout_length:
        first: dict[int, int] = {}
        for index in readouts:
            first.setdefault(blocks.readout(blocks.ids[index][4])[0], index)
        for samples, index in list(first.items())[1:]:
            message = (
                f"readout of {samples} samples: expected the {next(iter(first))} of the first in all the file"
            )
            yield violation_at(blocks, index, "adc_lengths", message)


def _definitions(blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    definitions = blocks.sequence.definitions
    if "B0" in definitions and scanner.b0_t is not None:
        field_t = float(np.ravel(definitions["B0"])[0])
        if abs(field_t / scanner.b0_t - 1) > _FIELD_TOLERANCE:
            message = f"frequencies are for {field_t:g} T: expected {scanner.b0_t:g} T for {scanner.name}"
            yield Violation("field", 0, message)
    nucleus = definitions.get("Nucleus", scanner.nucleus)
    if nucleus != scanner.nucleus:
        yield Violation("definitions", 0, f"Nucleus is {nucleus}: expected {scanner.nucleus}")
    rasters = {
        "BlockDurationRaster": scanner.block_raster_s,
        "GradientRasterTime": scanner.grad_raster_s,
        "RadiofrequencyRasterTime": scanner.rf_raster_s,
        "AdcRasterTime": scanner.adc_raster_s,
    }
    for key, raster_s in rasters.items():
        ratio = float(np.ravel(definitions.get(key, raster_s))[0]) / raster_s
        if round(ratio) < 1 or not np.isclose(ratio, round(ratio), rtol=1e-6):
            message = f"{key} is {ratio * raster_s * 1e6:g} us: expected a multiple of {raster_s * 1e6:g} us"
            yield Violation("definitions", 0, f"{message} for {scanner.name}")


def estimated_bytes(blocks: Blocks) -> int:
    """Return about how large the file of a sequence will be: a line for each block, event and value of a shape."""
    sequence = blocks.sequence
    columns = ("{:3d}",) * 5 + ("{:2d}",) * 2
    block_lines = sum(
        sum(max(len(str(i)), int(c[2])) + 1 for i, c in zip(ids, columns[1:], strict=True))
        + len(str(len(blocks)))
        + 5
        for ids in set(blocks.ids)
    ) / max(len(set(blocks.ids)), 1)
    libraries = (
        sequence.rf_library,
        sequence.grad_library,
        sequence.adc_library,
        sequence.extensions_library,
    )
    events = sum(len(f"{value:g}") + 1 for one in libraries for data in one.data.values() for value in data)
    shapes = sum(len(f"{value:.9g}") + 1 for data in sequence.shape_library.data.values() for value in data)
    return round(len(blocks) * block_lines + events + shapes + 2000)
