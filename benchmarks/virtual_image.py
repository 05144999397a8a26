"""A whole-brain scan of the numerical head: time, memory and size of the file.

Designs the protocol for a Prisma, puts a head into it and writes the raw data of metabolites and water with the set
"typical"; prints the seconds to set up and to write, processor time, the largest memory of this process and of a
worker, and the size of the file. A file of 8 coils is 19 GB and needs 10 GB more while it is written.

Run: python benchmarks/virtual_image.py [--protocol epsi-3t-whole-brain] [--coils 8] [--jobs 2] [--folder DIR]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.head_settings import load_head_settings
from pulsespec.simulator.image_acquire import write_image
from pulsespec.simulator.image_faults import load_image_faults
from pulsespec.simulator.image_setup import set_up_image

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol", default="epsi-3t-whole-brain")
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    protocol = load_protocol(given.protocol)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        sequence = folder / "x.seq"
        write_sequence(build(protocol, load_scanner(SCANNERS[protocol.field_t])), sequence)
        begin = time.perf_counter()
        setup = set_up_image(sequence, load_head_settings("brain-tumour"))
        ready = time.perf_counter()
        faults = load_image_faults("typical", coils=given.coils)
        write_image(setup, folder / "raw.h5", faults=faults, jobs=given.jobs)
        done = time.perf_counter()
        size = (folder / "raw.h5").stat().st_size
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = sum(one.ru_utime + one.ru_stime for one in (own, workers))
    print(
        f"{given.protocol}: matrix {setup.grid.shape}, {len(setup.played.readouts)} readouts, {given.coils} coils"
    )
    print(f"set up in {ready - begin:.1f} s, written in {done - ready:.1f} s with {given.jobs} processes")
    print(
        f"processor time {used:.0f} s; memory {own.ru_maxrss / 1e3:.0f} MB, a worker {workers.ru_maxrss / 1e3:.0f} MB"
    )
    print(f"file {size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
