"""The virtual scanner on every shipped single-voxel protocol, and its time and memory for 64 coils.

For each protocol: editing conditions, shots, seconds to set up (bases of three metabolites included) and to play
with the set "trial" on 8 coils, and the SNR of the mean that was measured with the true weights, frequencies and
phases over the one that the truth promises. Then 64 coils x 128 shots x 4096 points, in memory and as a file.

Run: python benchmarks/virtual_scanner.py [PROTOCOL ...]
"""

import resource
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsespec.protocols import list_protocols, load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.acquire import write_scan
from pulsespec.simulator.conditions import simulate_conditions
from pulsespec.simulator.faults import load_faults
from pulsespec.simulator.phantom import Phantom
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import Setup, set_up
from pulsespec.simulator.signals import reference_height
from pulsespec.simulator.timeline import LabelledReadout

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
PHANTOM = Phantom(
    "three", {"NAA": 12.0, "Cr": 8.0, "GPC": 1.5}, 40000.0, {"MM09": 3.0, "MM20": 4.0}, "", (1.85, 2.15)
)


def single_voxel(name):
    return not any(part in name for part in ("epsi", "mrsi", "calibrate"))


def measured_over_promised(scan):
    """SNR of the mean of the spared shots of the tallest condition, by the truth, over what the truth says."""
    truth, t = scan.truth, scan.setup.time_s
    row = int(np.argmax(truth.snr_shot))
    condition = sorted(scan.setup.bases)[row]
    shots = np.flatnonzero(~truth.is_corrupted & ~truth.is_water & (truth.condition == condition))
    weights = np.linalg.solve(truth.noise_covariance, truth.sensitivities)
    weights /= np.vdot(weights, truth.sensitivities)
    turn = (
        2 * np.pi * (truth.frequency_hz - truth.receiver_hz)[shots, None] * t + truth.phase_rad[shots, None]
    )
    fids = np.einsum("c,sct->st", weights.conj(), scan.data[shots]) * np.exp(-1j * (turn + truth.eddy_rad))
    water = truth.residual_water[shots].mean() * scan_water(scan)
    mean = fids.mean(axis=0) - water
    noise = np.fft.fft(mean - truth.metabolite_fids[row]).real
    return reference_height(scan.setup, mean) / np.std(noise) / truth.snr_mean[row]


def scan_water(scan):
    """Residual water before its share, which the truth does not hold where it has several lines."""
    from pulsespec.simulator.signals import signals

    return signals(scan.setup, scan.truth.faults, scan.truth.seed).residual


def row_of(name, folder):
    protocol = load_protocol(name)
    field = min(SCANNERS, key=lambda one: abs(one - protocol.field_t))
    path = folder / f"{name}.seq"
    write_sequence(build(protocol, load_scanner(SCANNERS[field])), path)
    start = time.perf_counter()
    setup = set_up(path, simulate_conditions(path, list(PHANTOM.concentrations_mm)), PHANTOM)
    middle = time.perf_counter()
    scan = play(setup, seed=1, faults=load_faults("trial", coils=8))
    end = time.perf_counter()
    return len(setup.bases), len(setup.readouts), middle - start, end - middle, measured_over_promised(scan)


def large():
    some = [LabelledReadout(4096, 2.5e-4, 0.0, shot >= 128, 0) for shot in range(132)]
    from pulsespec.simulator.basis import Basis, Lines

    line = Lines(np.array([-340.0]), np.array([3.0 + 0j]))
    water = Lines(np.zeros(1), np.array([2.0 + 0j]))
    basis = Basis(
        lines={"NAA": line}, f0_hz=127.7e6, nucleus="1H", te_s=0.03, tr_s=2.0, water=water, sequence="large"
    )
    phantom = Phantom("NAA", {"NAA": 12.0}, 40000.0, {}, "", (1.85, 2.15))
    return Setup(readouts=tuple(some), bases={0: basis}, phantom=phantom)


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        faults = replace(load_faults("poor"), coils=64, clip_water=0.9)
        setup, before = large(), memory_mb()
        start = time.perf_counter()
        write_scan(setup, Path(folder) / "large.h5", faults=faults)
        middle, peak = time.perf_counter(), memory_mb()
        scan = play(setup, faults=faults)
        print(
            f"64 coils x 132 shots x 4096 points ({scan.data.nbytes / 2**20:.0f} MB): file {middle - start:.1f} s "
            f"with {peak - before:.0f} MB, memory {time.perf_counter() - middle:.1f} s"
        )
        print(f"{'protocol':28s} conditions shots  set up   play  SNR over truth")
        for name in sys.argv[1:] or filter(single_voxel, list_protocols()):
            try:
                conditions, shots, prepared, played, ratio = row_of(name, Path(folder))
            except Exception as error:
                print(f"{name:28s} {type(error).__name__}: {error}", flush=True)
                continue
            print(
                f"{name:28s} {conditions:10d} {shots:5d} {prepared:6.1f} s {played:5.2f} s {ratio:8.3f}",
                flush=True,
            )


main()
