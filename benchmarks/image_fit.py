"""An image of expected spectra fitted in blocks: voxels a second, memory against block size, bits, errors.

    python benchmarks/image_fit.py --voxels 1024 --protocol press-3t-te30

Grey and white matter are mixed in every voxel, as the tissues of the expected spectra have them, with water beside
them; lines are 8 Hz wide in all (T2 included, roughly) and SNR is that of NAA. Every measurement runs in a process of
its own, so that its peak memory is its own; amounts are mM by the tissue of each voxel, errors against what was put in.
"""

import argparse
import hashlib
import resource
import time
from multiprocessing import get_context

import numpy as np

from pulsespec import commands
from pulsespec.analysis import BRAIN_METABOLITES
from pulsespec.map_verbs import matched_image
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.image_fit import Plan, fit_image
from pulsespec.recon.image_grid import Chosen
from pulsespec.recon.image_scale import image_scale
from pulsespec.recon.map_quality import reasons
from pulsespec.recon.quantify import QuantifySettings
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.expect import Quality, clean_fid, reference_height, water_fid
from pulsespec.simulator.scene import prepare
from pulsespec.simulator.tissue_library import load_tissue

SUMS = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr"),
    "tCho": ("GPC", "PCh"),
    "Ins": ("Ins",),
    "Glx": ("Glu", "Gln"),
}
SAMPLES, DWELL_S = 512, 8e-4
LORENTZ_HZ, GAUSS_HZ = 1.0, 5.0


def image(basis, voxels, snr, seed=0):
    """Return a scan, the share of grey matter of each voxel, and the truth in mM by sum."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 1, voxels)
    mix = np.stack([share, 1 - share], axis=1)
    scenes = [
        prepare(basis, load_tissue(name), samples=SAMPLES, dwell_s=DWELL_S)
        for name in ("grey-matter", "white-matter")
    ]
    clean = np.array([clean_fid(one, one.contents(), LORENTZ_HZ, GAUSS_HZ) for one in scenes])
    water = mix @ np.array([water_fid(one, Quality(LORENTZ_HZ, GAUSS_HZ)) for one in scenes])
    sd = reference_height(scenes[1], clean[1]) / snr / np.sqrt(SAMPLES)
    noise = rng.standard_normal((voxels, SAMPLES)) + 1j * rng.standard_normal((voxels, SAMPLES))
    fids = ((mix @ clean + sd * noise)[:, None, None]).astype(np.complex64)
    facts = {"dwell_s": DWELL_S, "f0_hz": basis.f0_hz, "te_s": basis.te_s, "tr_s": basis.tr_s or 2.0}
    dims = ("x", "y", "z", "t")
    scan = Scan(
        Transients(data=fids, dims=dims, **facts),
        Transients(data=water[:, None, None].astype(np.complex64), dims=dims, **facts),
    )
    amounts = [dict(zip(one.names, (a.mm for a in one.amounts), strict=True)) for one in scenes]
    truth = {
        total: mix @ np.array([sum(of.get(part, 0.0) for part in parts) for of in amounts])
        for total, parts in SUMS.items()
    }
    return scan, mix, truth


def measure(basis, options, block, jobs):
    """Return voxels a second, peak memory in MB of this process and its children, a hash, and the fit."""
    scan, mix, truth = image(basis, options.voxels, options.snr)
    chosen = Chosen(np.argwhere(np.ones(scan.metabolite.data.shape[:3], bool)), "all")
    scan, full, _ = matched_image(scan, chosen, basis)
    scale = image_scale(full.names, scan.metabolite, scan.water, full, QuantifySettings(), segmented=True)
    nothing = np.zeros((1, 1, 1, SAMPLES), np.complex64)
    plan = Plan(scan.metabolite.with_data(nothing), full, FitSettings(), options.water_removal, scale)
    fractions = np.hstack([mix, np.zeros((len(mix), 1))])
    before = peak_mb()
    start = time.perf_counter()
    found = fit_image(scan, chosen, plan, fractions, block_voxels=block, jobs=jobs)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256(b"".join(v.tobytes() for v in found.numbers.values())).hexdigest()[:12]
    errors = {}
    bits = reasons(found, basis.f0_hz)
    for name, values in truth.items():
        here = found.numbers["mM"][:, found.rows.index(name)][bits == 0]
        errors[name] = 100 * (here / values[bits == 0] - 1)
    return {
        "rate": options.voxels / seconds,
        "peak": peak_mb(),
        "before": before,
        "hash": digest,
        "passing": float(np.mean(bits == 0)),
        "errors": errors,
    }


def peak_mb():
    """Return the largest memory so far of this process, or of the largest of its children, in MB."""
    return (
        max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 1024
    )


def _apart(queue, *given):
    queue.put(measure(*given))


def apart(*given):
    """Return what `measure` finds in a process of its own."""
    context = get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_apart, args=(queue, *given))
    process.start()
    found = queue.get()
    process.join()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--voxels", type=int, default=512)
    parser.add_argument("--snr", type=float, default=25.0)
    parser.add_argument("--protocol", default="press-3t-te30")
    parser.add_argument("--blocks", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--water-removal", action="store_true", help="with removal of residual water")
    options = parser.parse_args()
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = commands.sequence_of(options.protocol, Path(folder), None, 123.25e6)
        basis = commands.basis_of(path, list(BRAIN_METABOLITES), 123.25e6)
    print(f"{options.voxels} voxels, {options.protocol}, SNR {options.snr:g}, {len(basis.names)} metabolites")
    print(f"{'block':>6s} {'jobs':>5s} {'voxels/s':>9s} {'peak MB':>8s} {'(before)':>9s}  hash")
    runs = [(block, options.jobs[0]) for block in options.blocks]
    runs += [(options.blocks[min(1, len(options.blocks) - 1)], jobs) for jobs in options.jobs[1:]]
    for block, jobs in runs:
        found = apart(basis, options, block, jobs)
        print(
            f"{block:6d} {jobs:5d} {found['rate']:9.1f} {found['peak']:8.0f} {found['before']:9.0f}  {found['hash']}",
            flush=True,
        )
    print(f"\n{100 * found['passing']:.0f} % pass the quality mask; in these, mM against truth in percent:")
    for name, error in found["errors"].items():
        print(
            f"{name:5s} median error {np.median(error):+6.1f}, median absolute error {np.median(np.abs(error)):5.1f}, "
            f"scatter {1.4826 * np.median(np.abs(error - np.median(error))):5.1f}"
        )


if __name__ == "__main__":
    main()
