"""Every shipped protocol on every scanner of its field: built, checked, written, and read by a second reader.

    python benchmarks/sequence_library.py [--few]

Prints a table of pairs; an open console is given 20 uT of B1. With `--few` only one phase cycle and a few phase
encodes of each protocol are built. pypulseqpp reads every event of every file; where MRzeroCore is installed
(`pip install -r benchmarks/requirements-verification.txt`, AGPL-3), it reads the files too: length, pulses, samples
and the gradients' moments have to agree. Exit code 1 where a file that was built breaks a rule or readers differ.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from second_reader import require_agreement
from test_library import few

from pulsespec.errors import SequenceError
from pulsespec.protocols import list_protocols, load_protocol
from pulsespec.sequences import build, check, list_scanners, load_scanner, write_sequence
from pulsespec.simulator.trajectory import sums

try:
    import MRzeroCore
except ImportError:
    MRzeroCore = None


def main() -> int:
    """Print a row a pair and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", action="store_true")
    short = parser.parse_args().few
    counts = {"plays": 0, "infeasible": 0, "FAILS": 0}
    for name in list_protocols():
        protocol = few(name) if short else load_protocol(name)
        for scanner_name in list_scanners():
            scanner = load_scanner(scanner_name)
            if scanner.b0_t is None:
                scanner = dataclasses.replace(scanner, b0_t=protocol.field_t, max_b1_ut=20.0)
            if abs(scanner.field_t / protocol.field_t - 1) > 0.1:
                continue
            outcome, words = one(protocol, scanner)
            counts[outcome] += 1
            print(f"{name:28s} {scanner_name:16s} {outcome:10s} {words}", flush=True)
    print(counts)
    return 1 if counts["FAILS"] else 0


def one(protocol, scanner):
    """Return what became of a pair, and in words."""
    try:
        sequence = build(protocol, scanner)
    except SequenceError as error:
        return "infeasible", str(error).removeprefix(f"{protocol.name}: ")
    broken = check(sequence, scanner)
    if broken:
        rules = {violation.rule for violation in broken}
        if rules <= {"resonance"}:
            return "infeasible", broken[0].message
        return "FAILS", "; ".join(f"{one.rule}: {one.message}" for one in broken[:3])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.seq"
        write_sequence(sequence, path)
        size_mb = path.stat().st_size * 1e-6
        try:
            kinds = require_agreement(path)
            if MRzeroCore is not None:
                third_reader(path)
        except AssertionError as error:
            return "FAILS", f"readers differ: {str(error).splitlines()[0]}"
    return "plays", f"{len(sequence.block_events)} blocks of {kinds} kinds, {size_mb:.2f} MB"


def third_reader(path):
    """Raise `AssertionError` unless MRzero sees the pulses, samples, length and moments that we see."""
    theirs = MRzeroCore.Sequence.import_file(str(path))
    ours = sums(path)
    samples = sum(int((part.adc_usage > 0).sum()) for part in theirs)
    length_s = sum(float(part.event_time.double().sum()) for part in theirs)
    moments = sum(part.gradm.double().sum(dim=0).numpy() for part in theirs)
    assert len(theirs) == ours.pulses, f"MRzero sees {len(theirs)} pulses, expected {ours.pulses}"
    assert samples == ours.samples, f"MRzero sees {samples} samples, expected {ours.samples}"
    assert abs(length_s - ours.length_s) < 1e-3, f"MRzero lasts {length_s} s, expected {ours.length_s} s"
    # MRzero begins in the middle of the first pulse, we at its centre: tens of microseconds of its gradient.
    slack = max(10.0, 1e-4 * float(np.abs(moments).max()))
    assert np.abs(moments - ours.moment_per_m).max() < slack, f"MRzero: {moments}, {ours.moment_per_m}"


if __name__ == "__main__":
    sys.exit(main())
