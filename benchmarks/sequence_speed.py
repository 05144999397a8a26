"""Time to build, check and write a sequence, beside pypulseq's own check of the same sequence.

    python benchmarks/sequence_speed.py

The ratio of the two checks is taken in one run, on one core.
"""

import tempfile
import time
from pathlib import Path

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, check, load_scanner, write_sequence

CASES = {"press-3t-te30": {"averages": 128}, "epsi-3t-whole-brain": {}}


def clock(function, *arguments):
    """Return the processor time of a call in s, and its result."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def main():
    """Print a row for each case."""
    scanner = load_scanner("siemens-prisma")
    build(load_protocol("press-3t-te30"), scanner)  # imports and designs once
    for name, changes in CASES.items():
        protocol = load_protocol(name).model_copy(update=changes)
        built_s, sequence = clock(build, protocol, scanner)
        checked_s, broken = clock(check, sequence, scanner)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.seq"
            written_s, _ = clock(write_sequence, sequence, path)
            size_mb = path.stat().st_size * 1e-6
        timing_s, (fine, _) = clock(sequence.check_timing)
        print(
            f"{name}: {len(sequence.block_events)} blocks, {size_mb:.2f} MB: build {built_s:.2f} s, check "
            f"{checked_s:.2f} s ({len(broken)} violations), write {written_s:.2f} s; pypulseq check_timing "
            f"{timing_s:.2f} s ({'fine' if fine else 'errors'}), {timing_s / checked_s:.1f} times our check"
        )


if __name__ == "__main__":
    main()
