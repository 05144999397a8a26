"""The engine against a Monte Carlo Bloch simulation, for an uncoupled spin in every shipped sequence.

    python benchmarks/engine_bloch.py [--points N] [--error E] [PROTOCOL ...]

The reference (tests/reference.py) turns spins at random positions by every event of the file, sample by sample, and
knows nothing of pathways, axes or steps. Each row has the amplitude of both, for one phase cycle, and the statistical
error of the reference; the largest difference may be a few of those. The public Pulseq files follow where
`PULSESPEC_DATA` is set.
"""

import argparse
import os
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import library_for_tests as library

from pulsespec.protocols import list_protocols

PUBLIC_F0_HZ = 123.2e6


def main() -> None:
    """Print a row for each protocol."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--points", type=int, default=16000, help="points that are added at a time")
    arguments.add_argument("--error", type=float, default=0.002, help="statistical error that is wanted")
    chosen = arguments.parse_args()
    print(f"{'protocol':28s} {'engine':>9s} {'Bloch':>9s} {'error':>8s} {'difference':>10s}")
    for name in chosen.names or list_protocols():
        seed = zlib.crc32(name.encode())  # the same places would err alike
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs, error = library.both(
                library.written(name, Path(folder)), chosen.points, seed, chosen.error
            )
        _print(name, ours, theirs, error)
    folder = os.environ.get("PULSESPEC_DATA")
    for path in sorted(Path(folder, "siemens-3t-pulseq-phantom").glob("*.seq")) if folder else ():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pypulseq on the age of the file
            found = library.foreign(
                path, PUBLIC_F0_HZ, chosen.points, zlib.crc32(path.name.encode()), chosen.error
            )
        _print(path.stem, *found)


def _print(name: str, ours: float, theirs: float, error: float) -> None:
    print(f"{name:28s} {ours:9.5f} {theirs:9.5f} {error:8.5f} {ours - theirs:10.5f}", flush=True)


if __name__ == "__main__":
    main()
