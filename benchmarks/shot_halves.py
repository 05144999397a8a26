"""Test and retest: 24 shots of 7 T STEAM (b = 0 of a diffusion series) in random halves, each half processed by itself.

    PULSESPEC_DATA=... python benchmarks/shot_halves.py --splits 10

Every tenth shot of the series is without diffusion gradients, as the amplitudes of its water references show. A half
is aligned, cleaned and fitted without a look at the other. The difference of both, over what their stated standard
deviations predict, should be 1 in the root mean square. Splits of the same shots are not independent: with ten of them
a figure is known to some 20 %.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from priors import add_options, settings_from
from scores import table

from pulsespec.executor import map_blocks
from pulsespec.recon.fit import SUMS, FitResult, FitSettings, fit
from pulsespec.recon.pipeline import recon
from pulsespec.recon.read import read
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import AnyBasis, read_basis

Real = NDArray[np.float64]

CONDITIONS = 10
"""Diffusion weightings that take turns; the first is none."""


def load(folder: Path) -> tuple[Scan, AnyBasis]:
    """Return the shots without diffusion weighting, and the basis."""
    scan = read(sorted(folder.glob("*.SDAT")))
    assert scan.metabolite is not None
    assert scan.water is not None

    def unweighted(data: Transients) -> Transients:
        return data.with_data(data.data[::CONDITIONS])

    basis = read_basis(folder / "basis_STEAM_TE45_TM60.BASIS", Given(dwell_s=scan.metabolite.dwell_s)).basis
    return Scan(unweighted(scan.metabolite), unweighted(scan.water)), basis


def half(scan: Scan, basis: AnyBasis, settings: FitSettings, shots: NDArray[np.intp]) -> FitResult:
    """Process and fit some of the shots."""
    assert scan.metabolite is not None
    part = scan.metabolite.with_data(scan.metabolite.data[np.sort(shots)])
    done = recon(Scan(part, scan.water)).metabolite
    assert done is not None
    return fit(done, basis, settings)


def split(scan: Scan, basis: AnyBasis, settings: FitSettings, seed: int) -> tuple[FitResult, FitResult]:
    """Return the fits of two random halves."""
    assert scan.metabolite is not None
    shots = np.random.default_rng(seed).permutation(scan.metabolite.size("average"))
    both = np.array_split(shots, 2)
    return half(scan, basis, settings, both[0]), half(scan, basis, settings, both[1])


def pairs(found: list[tuple[FitResult, FitResult]], name: str, ratio: bool) -> Real:
    """Return value and standard deviation in both halves; shape (n_splits, 2, 2)."""
    of = [part for part in SUMS.get(name, (name,)) if part in found[0][0].names]
    creatine = [part for part in SUMS["tCr"] if part in found[0][0].names]

    def one(result: FitResult) -> tuple[float, float]:
        return result.ratio(of, creatine) if ratio else result.combine(dict.fromkeys(of, 1.0))

    return np.array([[one(result) for result in both] for both in found])


def over_predicted(values: Real) -> float:
    """Return the root mean square of differences over what the standard deviations predict."""
    difference = values[:, 0, 0] - values[:, 1, 0]
    return float(np.sqrt(np.mean(difference**2 / np.sum(values[..., 1] ** 2, axis=1))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    scan, basis = load(Path(os.environ["PULSESPEC_DATA"]) / "philips-7t-dw-steam")
    work = partial(split, scan, basis, settings_from(options))
    found = map_blocks(work, range(options.splits), options.jobs)
    names = [
        *found[0][0].names,
        *(name for name, of in SUMS.items() if len(set(of) & set(found[0][0].names)) > 1),
    ]
    rows = [("metabolite", "ratio to tCr", "SD of a half %", "difference over predicted", "amplitudes")]
    ratios, amplitudes = [], []
    for name in names:
        ratio, amplitude = pairs(found, name, True), pairs(found, name, False)
        mean = float(np.mean(ratio[..., 0]))
        sd = 100 * float(np.sqrt(np.mean(ratio[..., 1] ** 2))) / mean if mean > 0 else float("nan")
        amplitudes.append(over_predicted(amplitude))
        ratios.append(over_predicted(ratio) if name != "tCr" else float("nan"))
        rows.append((name, f"{mean:.3f}", f"{sd:.1f}", f"{ratios[-1]:.2f}", f"{amplitudes[-1]:.2f}"))
    print(table(rows))
    whole = np.sqrt(np.nanmean(np.square(ratios))), np.sqrt(np.mean(np.square(amplitudes)))
    rest = [one.parameters.get("residual_over_noise", float("nan")) for both in found for one in both]
    print(
        f"rms over metabolites: ratios {whole[0]:.2f}, amplitudes {whole[1]:.2f}; largest {np.nanmax(ratios):.2f}"
    )
    print(f"residual over noise {min(rest):.2f} to {max(rest):.2f}")


if __name__ == "__main__":
    main()
