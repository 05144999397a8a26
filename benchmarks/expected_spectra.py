"""Time to render expected spectra in a batch, beside rendering them one by one from the basis, on one core."""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import simulate
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.training import SCAN_COLUMNS, Distributions, render_block
from pulsespec.simulator.training_file import write_training

COUNT, ONE_BY_ONE = 1000, 50
QUIET = Distributions(residual_water=(0, 0), baseline=(0, 0), snr=(1e12, 1e12))


def one_by_one(scene, basis, block, rows):
    """The same spectra with `Basis.fid` for every component of every spectrum."""
    t = scene.time_s
    made = np.empty((rows, scene.samples), dtype=complex)
    for row in range(rows):
        scan = dict(zip(SCAN_COLUMNS, block.scan[row], strict=True))
        total = np.zeros(scene.samples, dtype=complex)
        for k, name in enumerate(scene.names):
            natural = 1 / (np.pi * block.t2_s[row, k]) if scene.decays[k] else 0.0
            fid = basis.fid(
                name, scene.samples, scene.dwell_s, scan["lorentz_hz"] + natural, scan["gauss_hz"]
            )
            shift = np.exp(-2j * np.pi * block.shift_hz[row, k] * t)
            total += block.concentrations_mm[row, k] * block.weights[row, k] * fid * shift
        turn = np.deg2rad(scan["phase_deg"]) - 2 * np.pi * scan["shift_hz"] * t
        made[row] = total * np.exp(1j * turn)
    return made


def seconds(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def main() -> None:
    tissue = load_tissue("grey-matter")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = Path(folder) / "press.seq"
        write_sequence(build(load_protocol("press-3t-te30"), load_scanner("siemens-prisma")), path)
        basis = simulate(path, list(tissue.concentrations))
        scene = prepare(basis, tissue, samples=2048)
        full = basis.with_broad(broad_lines(basis.f0_hz, tuple(tissue.broad), basis.reference_ppm))
        render_block(scene, Distributions(), 0, (0, 10))
        block, batch = seconds(render_block, scene, QUIET, 0, (0, COUNT))
        plain, single = seconds(one_by_one, scene, full, block, ONE_BY_ONE)
        difference = np.abs(block.fids[:ONE_BY_ONE] - plain).max() / np.abs(plain).max()
        _, everything = seconds(render_block, scene, Distributions(), 0, (0, COUNT))
        target = Path(folder) / "set.h5"
        _, written = seconds(write_training, target, scene, basis, Distributions(), COUNT, 0)
        print(f"{COUNT} spectra of {scene.samples} points, {len(scene.names)} components, one core, CPU time")
        print(f"batch, signal and noise: {batch:.2f} s")
        print(f"one by one: {single / ONE_BY_ONE * COUNT:.1f} s, from {ONE_BY_ONE} of them", end="")
        print(f"; ratio {single / ONE_BY_ONE * COUNT / batch:.0f}, largest difference {difference:.1e}")
        print(f"batch with residual water and baseline: {everything:.2f} s; and written: {written:.2f} s")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
