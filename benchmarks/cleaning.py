"""The cleaning of single-voxel data beside its truth, over many seeds of the virtual scanner; time and memory.

python benchmarks/cleaning.py --seeds 20
python benchmarks/cleaning.py --speed
"""

import argparse
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsespec import commands
from pulsespec.recon.pipeline import recon
from pulsespec.recon.score import Score, score
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.faults import load_faults
from pulsespec.simulator.phantom import load_phantom
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import Setup, set_up

F0_HZ = 123.25e6


def virtual(protocol: str, shots: int) -> Setup:
    """Return grey matter measured with a shipped protocol, its metabolite shots repeated or cut to `shots`."""
    phantom = load_phantom("grey-matter")
    with tempfile.TemporaryDirectory() as folder:
        path = commands.sequence_of(protocol, Path(folder), "siemens-prisma", F0_HZ)
        basis = commands.basis_of(path, list(phantom.concentrations_mm), F0_HZ, 1)
        setup = set_up(path, basis, phantom)
    kinds = {w: [one for one in setup.readouts if one.is_water_reference == w] for w in (False, True)}
    metabolite = (kinds[False] * -(-shots // len(kinds[False])))[:shots]
    return replace(setup, readouts=(*metabolite, *kinds[True]))


def truth(protocol: str, faults: str, shots: int, seeds: int) -> None:
    setup, suffers = virtual(protocol, shots), load_faults(faults)
    scores = []
    for seed in range(seeds):
        scores.append(score(play(setup, seed=seed, faults=suffers)))
        print(line(f"seed {seed}", [scores[-1]]), flush=True)
    print(line(f"{protocol}, {faults}, {shots} shots, {seeds} seeds", scores))


def line(title: str, scores: list[Score]) -> str:
    found = sum(one.found for one in scores)
    missed, false = (sum((getattr(one, name) for one in scores), ()) for name in ("missed", "false"))
    frequency = rms([one.frequency_rms_hz / one.frequency_bound_hz for one in scores])
    phase = rms([one.phase_rms_rad / one.phase_bound_rad for one in scores])
    share = [one.snr_share for one in scores]
    left, touched = [one.water_left for one in scores], [one.touched for one in scores]
    return (
        f"{title}: frequency {frequency:.2f}, phase {phase:.2f} of their Cramer-Rao bounds; outliers: precision "
        f"{found / max(found + len(false), 1):.3f}, recall {found / max(found + len(missed), 1):.3f} (missed "
        f"{', '.join(missed) or 'none'}; false {', '.join(false) or 'none'}); SNR {np.mean(share):.4f} of the optimum "
        f"(worst {min(share):.4f}); water left {np.median(left):.4f} of NAA (worst {max(left):.4f}, before "
        f"{np.median([one.water_before for one in scores]):.2f}); metabolites touched {np.median(touched):.4f} "
        f"(worst {max(touched):.4f})"
    )


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def speed(coils: int = 32, shots: int = 128, samples: int = 4096) -> None:
    """Time and peak memory of the steps beyond reading, on raw data in memory."""
    rng = np.random.default_rng(0)
    dwell_s = 2.5e-4
    t = np.arange(samples) * dwell_s
    shifts = (2.01, 3.03, 3.21, 3.56, 3.92)
    fid = sum(np.exp(2j * np.pi * (4.65 - ppm) * F0_HZ * 1e-6 * t) for ppm in shifts) * np.exp(-np.pi * 5 * t)
    water = np.exp(-np.pi * 7 * t)
    sensitivity = rng.uniform(0.1, 1, coils) * np.exp(2j * np.pi * rng.uniform(size=coils))

    def raw(signal: np.ndarray, count: int) -> Transients:
        data = np.empty((count, coils, samples), np.complex64)
        for shot in range(count):
            turn = np.exp(2j * np.pi * (shot / count - 0.5) * 10 * t)
            noise = rng.standard_normal((2, coils, samples), np.float32)
            data[shot] = np.outer(sensitivity, signal * turn) + 0.5 * (noise[0] + 1j * noise[1])
        return Transients(data=data, dims=("average", "coil", "t"), dwell_s=dwell_s, f0_hz=F0_HZ)

    scan = Scan(raw(fid + 20 * water, shots), raw(4000 * water, 2))
    size = sum(part.data.nbytes for part in (scan.metabolite, scan.water) if part is not None)
    started = time.perf_counter(), time.process_time()
    recon(scan)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    tracemalloc.start()
    recon(scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"{coils} coils, {shots} shots, {samples} points: {wall:.2f} s ({cpu:.2f} s of processor); raw data "
        f"{size / 1e6:.0f} MB, steps add at most {peak / 1e6:.0f} MB: {(size + peak) / size:.2f} times the raw data"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--protocol", default="press-3t-te30")
    parser.add_argument("--faults", default="trial")
    parser.add_argument("--shots", type=int, default=128)
    parser.add_argument("--speed", action="store_true", help="time and memory instead")
    chosen = parser.parse_args()
    if chosen.speed:
        speed()
    else:
        truth(chosen.protocol, chosen.faults, chosen.shots, chosen.seeds)


if __name__ == "__main__":
    main()
