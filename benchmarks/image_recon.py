"""Time and peak memory of reconstructing a whole-brain EPSI scan, with its point-spread function and ghost.

Points shine through the shipped protocol (50 x 50 x 18, 512 echoes of each polarity, metabolites and water); each
shot is summed when it is asked for, so that no raw data of tens of gigabytes are written. The time of that is stated.
"""

import argparse
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsespec.protocols import load_protocol
from pulsespec.recon.image_read import source_of
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.image_settings import ImageSettings
from pulsespec.recon.stream import AdcStream
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

POINTS, DELAY_S, PHASE_RAD, DECAY_S = 24, 2e-6, 0.2, 0.04


@dataclass(frozen=True)
class Shots:
    """Shots of points, noise first: yields rows as a file does."""

    places_m: np.ndarray
    coils: np.ndarray
    offsets_per_m: np.ndarray
    water: np.ndarray
    courses: tuple
    noise: np.ndarray

    def __call__(self, rows):
        for row in rows:
            if row == 0:
                yield self.noise
                continue
            turn = np.exp(2j * np.pi * self.places_m @ self.offsets_per_m[row - 1]).astype(np.complex64)
            yield (self.coils * turn) @ self.courses[int(self.water[row - 1])]


def scene(path, coils):
    """Return the stream of the scan, what the sequence says, its trajectory and the places of the points."""
    played, trajectory = read_played(path), read_trajectory(path)
    rng = np.random.default_rng(1)
    places = rng.uniform(-1, 1, (POINTS, 3)) * [0.08, 0.1, 0.06]
    train = trajectory.trains[0]
    late = np.interp(train.times_s - DELAY_S, train.times_s, train.k_per_m[:, 0])
    back = np.exp(1j * PHASE_RAD * (train.gradient_hz_per_m[:, 0] < 0))
    t = train.times_s - train.times_s[0]
    courses = []
    for hz, size in ((rng.uniform(-400, -100, POINTS), 1.0), (rng.uniform(-15, 15, POINTS), 30.0)):
        rate = 2j * np.pi * hz[:, None] - 1 / DECAY_S
        courses.append(
            (size * back * np.exp(rate * t + 2j * np.pi * np.outer(places[:, 0], late))).astype(np.complex64)
        )
    sensitivity = (rng.normal(size=(coils, POINTS, 2)) @ [1, 1j]).astype(np.complex64)
    noise = (rng.normal(size=(coils, 4096, 2)) @ [0.05, 0.05j]).astype(np.complex64)
    shots = Shots(
        places, sensitivity, trajectory.offsets_per_m, trajectory.labels["REF"], tuple(courses), noise
    )
    count = len(trajectory.kinds)
    shapes = np.array([(coils, 4096), *[(coils, t.size)] * count], np.int64)
    flags = np.array([True, *[False] * count])
    facts = {"f0_hz": 123.25e6, "header": {"manufacturer": "pulsespec"}}
    return AdcStream(Path("points.h5"), shapes, shots, facts, flags), played, trajectory


def peak_gb():
    """Return the largest memory this process has had, in GB (Linux)."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024 / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--protocol", default="epsi-3t-whole-brain")
    parser.add_argument("--echo-mode", default="average")
    parser.add_argument("--filter", default="none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.seq"
        write_sequence(build(load_protocol(given.protocol), load_scanner("siemens-prisma")), path)
        start = time.perf_counter()
        stream, played, trajectory = scene(path, given.coils)
        source = source_of(stream, played, trajectory, path.name)
        print(f"sequence read and planned: {time.perf_counter() - start:.1f} s")
    raw_gb = float(np.prod(stream.shapes[1:], axis=1).sum()) * 8 / 1e9
    start = time.perf_counter()
    for _ in stream.fetch(range(1, 41)):
        pass
    each = (time.perf_counter() - start) / 40
    before, start = peak_gb(), time.perf_counter()
    last = [start]

    def say(words):
        now = time.perf_counter()
        print(f"  {now - start:7.1f} s  {words}")
        last[0] = now

    scan = reconstruct_source(
        source, ImageSettings(echo_mode=given.echo_mode, filter=given.filter), jobs=given.jobs, say=say
    )
    took = time.perf_counter() - start
    shape = scan.metabolite.data.shape
    print(
        f"{shape} metabolites and water, {given.coils} coils, {raw_gb:.1f} GB of samples, {given.jobs} jobs"
    )
    print(
        f"time {took:.0f} s, of which making {3 * len(trajectory.kinds) // 2} shots about "
        f"{1.5 * len(trajectory.kinds) * each / given.jobs:.0f} s; peak memory of the main process {peak_gb():.2f} GB "
        f"({before:.2f} GB before)"
    )
    for record in scan.metabolite.records:
        if record.method in ("Odd and even echoes", "Spatial Fourier transform"):
            print(record.details)


if __name__ == "__main__":
    main()
