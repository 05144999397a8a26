"""Time of a fit: one spectrum with its water, the whole command, and an image; memory against the number of voxels.

    python benchmarks/fit_speed.py                       # a simulated scan
    PULSESPEC_DATA=... python benchmarks/fit_speed.py    # also one in vivo scan

CPU time of one core, so that others on the machine do not count. Beside them in the same run: a plain fit of a like
model by scipy's `least_squares` (all amplitudes, splines and lines as parameters, derivatives by differences), and the
start of Python with scipy, so that figures from one machine mean something on another. Memory is the peak of a process
of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from calibration import basis_of
from scipy.optimize import least_squares
from threadpoolctl import threadpool_limits

from pulsespec import analysis
from pulsespec.recon import fit as fits
from pulsespec.recon import floor, guards, subspace
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.pipeline import recon
from pulsespec.recon.quantify import quantify
from pulsespec.recon.read import read
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.expect import Quality, water_fid
from pulsespec.simulator.tissue_library import load_tissue
from pulsespec.simulator.trials import Stage, set_stage, trial

RUN = "from pulsespec.cli import main; main()"
START = "import numpy, scipy.optimize, scipy.interpolate, scipy.linalg"
SNR, DIFFERENT = 30.0, 64
SPLINES_PER_PPM = 4.0


def median_s(work: Callable[[], object], times: int = 5) -> float:
    """Return the median CPU time after one run that does not count; what is kept of the same spectrum is forgotten."""
    work()
    taken = []
    for _ in range(times):
        for kept in (guards._modelled, subspace.band, subspace._span):
            kept.cache_clear()
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def simulated(stage: Stage, number: int) -> Scan:
    """Return a simulated scan with its water."""
    scene = stage.scene
    common = {
        "dims": ("t",),
        "dwell_s": scene.dwell_s,
        "f0_hz": scene.f0_hz,
        "te_s": scene.te_s,
        "tr_s": scene.tr_s,
    }
    common |= {"reference_ppm": scene.reference_ppm, "sign_is_defined": True}
    fid = trial(stage, SNR, 0, number).fid
    return Scan(
        Transients(data=fid, header={"water_suppressed": True}, **common),
        Transients(data=water_fid(scene, Quality()), header={"water_suppressed": False}, **common),
    )


def one_scan(scan: Scan, basis: Basis, words: str) -> None:
    """Print the time of each step of one scan."""
    whole = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    done = recon(scan)
    assert done.metabolite is not None
    spectrum = done.metabolite
    found = fits.fit(spectrum, whole)
    taken = {
        "processing": median_s(lambda: recon(scan)),
        "fit": median_s(lambda: fits.fit(spectrum, whole)),
        "quantification": median_s(lambda: quantify(found, spectrum, done.water, whole)),
    }
    plain, points = plain_fit(spectrum, whole)
    parts = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in taken.items())
    print(
        f"{words}: {1e3 * sum(taken.values()):.0f} ms ({parts}); {len(whole.names)} components, {found.message}"
    )
    print(
        f"  plain least_squares on {points} points: {plain:.2f} s, {plain / taken['fit']:.1f} times our fit",
        flush=True,
    )


def plain_fit(spectrum: Transients, basis: Basis) -> tuple[float, int]:
    """Return the seconds that scipy takes for a like model, and the points fitted."""
    readout = floor.Readout(
        spectrum.samples, spectrum.dwell_s, spectrum.f0_hz, spectrum.reference_ppm, (0.2, 4.0)
    )
    fids = np.array([basis.fid(name, spectrum.samples, spectrum.dwell_s) for name in basis.names])
    group = [int(name in basis.broad) for name in basis.names]
    smooth = floor.smooth_columns(readout.ppm, SPLINES_PER_PPM)
    n, m = len(fids), smooth.shape[1]
    measured = readout.spectrum(spectrum.data).real
    scale = np.abs(measured).max()

    def residual(x: np.ndarray) -> np.ndarray:
        line = floor.Line(x[2:4], np.abs(x[4:6]), np.abs(x[6:8]), float(x[0]), float(x[1]))
        spectra = floor.columns(fids, group, line, readout).real
        return (x[8 : 8 + n] @ spectra + smooth @ x[8 + n :] - measured) / scale

    unit = floor.columns(fids, group, floor.Line(np.zeros(2), np.full(2, 4.0), np.full(2, 3.0)), readout).real
    first = np.linalg.lstsq(np.concatenate([unit, smooth.T]).T, measured, rcond=None)[0]
    x = np.concatenate([np.zeros(4), np.full(2, 4.0), np.full(2, 3.0), np.maximum(first[:n], 0.0), first[n:]])
    low = np.concatenate([np.full(8, -np.inf), np.zeros(n), np.full(m, -np.inf)])
    start = time.process_time()
    least_squares(residual, x, bounds=(low, np.inf), x_scale="jac", ftol=1e-5)
    return time.process_time() - start, measured.size


def command(scan: Scan, basis: Basis, files: list[Path] | None = None) -> None:
    """Print the time of `pulsespec run`, beside the start of Python with scipy."""
    with tempfile.TemporaryDirectory() as folder:
        if files is None:
            assert scan.metabolite is not None
            assert scan.water is not None
            files = [Path(folder) / "act.nii.gz", Path(folder) / "ref.nii.gz"]
            write_nifti(scan.metabolite, files[0])
            write_nifti(scan.water, files[1])
        basis.write(Path(folder) / "basis.h5")
        arguments = [
            "run",
            *map(str, files),
            "--basis",
            f"{folder}/basis.h5",
            "-o",
            f"{folder}/out",
            "--overwrite",
        ]
        run = min(_process([sys.executable, "-c", RUN, *arguments, "--quiet"]) for _ in range(3))
        start = min(_process([sys.executable, "-c", START]) for _ in range(3))
    print(
        f"whole command: {run[0]:.2f} s, CPU {run[1]:.2f} s; python with scipy: {start[0]:.2f} s, CPU {start[1]:.2f} s"
    )


def _process(line: list[str]) -> tuple[float, float]:
    """Return wall and CPU time."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line[:6])}...: {done.stderr.strip().splitlines()[-1:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used


def image(stage: Stage, voxels: int) -> Transients:
    """Return an image: different voxels again and again, each with noise of its own."""
    scene, rng = stage.scene, np.random.default_rng(0)
    quiet = [trial(stage, None, 1, number) for number in range(min(DIFFERENT, voxels))]
    fids = np.empty((voxels, scene.samples), dtype=complex)
    for number in range(voxels):
        one = quiet[number % len(quiet)]
        noise = rng.standard_normal((2, scene.samples)) * one.height / SNR / np.sqrt(scene.samples)
        fids[number] = one.fid + noise[0] + 1j * noise[1]
    return Transients(
        data=fids,
        dims=("x", "t"),
        dwell_s=scene.dwell_s,
        f0_hz=scene.f0_hz,
        te_s=scene.te_s,
        tr_s=scene.tr_s,
        reference_ppm=scene.reference_ppm,
    )


def worker(voxels: int, basis_path: Path) -> None:
    """Fit an image in this process and print seconds and peak memory as JSON."""
    basis = Basis.read(basis_path)
    stage = set_stage(basis, load_tissue("grey-matter"))
    data = image(stage, voxels)
    whole = basis.with_broad(fit_lines(basis.f0_hz, basis.reference_ppm))
    batch = getattr(fits, "fit_batch", None)
    fits.fit(data.with_data(data.data[0], drop=("x",)), whole)
    start = time.process_time()
    if batch is not None:
        found = batch(data, whole)
        converged = float(np.mean(found.converged))
    else:
        each = [fits.fit(data.with_data(data.data[k], drop=("x",)), whole) for k in range(voxels)]
        converged = float(np.mean([one.converged for one in each]))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"seconds": seconds, "peak_mib": peak, "mib": data.data.nbytes / 2**20, "converged": converged}
        )
    )


def imaging(basis: Basis, counts: list[int]) -> None:
    """Print voxels a second and memory for several sizes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "basis.h5"
        basis.write(path)
        for voxels in counts:
            line = [sys.executable, __file__, "--worker", str(voxels), str(path)]
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"image of {voxels} voxels: {voxels / found['seconds']:.1f} a second, {found['converged']:.0%} "
                f"converged, peak {found['peak_mib']:.0f} MiB, of which the data are {found['mib']:.0f}",
                flush=True,
            )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--voxels", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--only", choices=("one", "command", "image"))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.worker:
            worker(int(options.worker[0]), Path(options.worker[1]))
            return
        tissue = load_tissue("grey-matter")
        basis = basis_of(list(tissue.concentrations))
        scan = simulated(set_stage(basis, tissue), 0)
        if options.only in (None, "one"):
            one_scan(scan, basis, "simulated, PRESS TE 30")
            in_vivo()
        if options.only in (None, "command"):
            command(scan, basis)
        if options.only in (None, "image"):
            imaging(basis, options.voxels)


def in_vivo() -> None:
    """Print the time of one in vivo scan, where there are data."""
    if "PULSESPEC_DATA" not in os.environ:
        print("in vivo: PULSESPEC_DATA is not set")
        return
    folder = Path(os.environ["PULSESPEC_DATA"]) / "philips-3t-press35" / "P1-S01"
    scan = read(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".sdat"))
    assert scan.metabolite is not None
    basis = basis_of(list(analysis.BRAIN_METABOLITES), "press-3t-te35", scan.metabolite.f0_hz)
    one_scan(scan, basis, "in vivo, PRESS TE 35")


if __name__ == "__main__":
    main()
