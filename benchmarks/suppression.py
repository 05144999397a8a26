"""Search for flips and delays of the schemes of water suppression, beside those that are shipped.

    python benchmarks/suppression.py [--off-ppm 0.15] [--scheme vapor] [--field 3]

For each scheme and field: the largest longitudinal water that is left over T1, B1 and frequency, from
equilibrium and from 30 % of it, of what `protocols/suppression.toml` says and of what the search finds from
there with the same pulse, and what is left of myo-inositol at 4.05 ppm.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution

from pulsespec.protocols import WaterSuppression
from pulsespec.protocols.schema import scheme_values
from pulsespec.sequences.preparation import suppression_pulse
from pulsespec.sequences.pulses import shift_hz
from pulsespec.sequences.scanner import Scanner, load_scanner
from pulsespec.sequences.slr import longitudinal

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
T1_S = np.array([0.8, 1.0, 1.3, 1.8, 2.6, 4.0])
B1_SPREAD = {"vapor": 0.2, "wet": 0.15, "chess": 0.15}
OFF_PPM = {"vapor": 0.15, "wet": 0.08, "chess": 0.08}
RELATIVE = np.array([1, 1, 1.78, 1, 1.78, 1, 1.78, 1.78])
"""Flips of VAPOR over its base flip (Tkac et al. 1999)."""
LAST_GAP_S = 5e-3
"""From the end of the last pulse: its spoiler and the first half of the excitation."""
GAP_S = 3.9e-3
"""Between other pulses: spoiler, dead and ringdown times."""
STARTS = (1.0, 0.3)


@dataclass(frozen=True)
class Table:
    """M_z that the pulse leaves of M_z = 1, by flip angle and frequency."""

    flips_deg: NDArray[np.float64]
    kept: NDArray[np.float64]
    """Shape (n_flips, n_frequencies)."""

    @classmethod
    def of(cls, settings: WaterSuppression, scanner: Scanner, offsets_hz: NDArray[np.float64]) -> "Table":
        pulse, flips = suppression_pulse(settings, scanner), np.linspace(0, 260, 131)
        kept = [longitudinal(pulse.b1_hz * flip / 90, pulse.step_s, offsets_hz) for flip in flips]
        return cls(flips, np.array(kept))

    def at(self, flips_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values at flips (n,), interpolated; shape (n, n_frequencies)."""
        columns = [np.interp(flips_deg, self.flips_deg, column) for column in self.kept.T]
        return np.stack(columns, axis=-1)


def worst(
    table: Table, flips_deg: NDArray[np.float64], delays_ms: NDArray[np.float64], spread: float
) -> float:
    """Return the largest longitudinal water that is left."""
    scale, left = np.linspace(1 - spread, 1 + spread, 9), 0.0
    for start in STARTS:
        mz = np.full((T1_S.size, scale.size, table.kept.shape[1]), start)
        for flip, delay in zip(flips_deg, delays_ms, strict=True):
            mz = mz * table.at(flip * scale)
            mz = 1 - (1 - mz) * np.exp(-delay * 1e-3 / T1_S)[:, None, None]
        left = max(left, float(np.abs(mz).max()))
    return left


def search(scheme: str, settings: WaterSuppression, table: Table) -> tuple[float, list[float], list[float]]:
    """Return the residual, the flips and the delays that the search finds, from those that are shipped."""
    spread, n = B1_SPREAD[scheme], len(settings.flips_deg)
    shortest = np.full(n, settings.pulse_ms + GAP_S * 1e3)
    shortest[-1] = settings.pulse_ms / 2 + LAST_GAP_S * 1e3
    if scheme == "vapor":
        bounds = [(75.0, 95.0), *((least, 240.0) for least in shortest[:-1])]

        def unpack(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return x[0] * RELATIVE, np.append(x[1:], shipped_delays[-1])

        x0 = np.array([settings.flips_deg[0], *settings.delays_ms[:-1]])
    else:
        bounds = [(60.0, 160.0)] * n

        def unpack(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return x, shipped_delays

        x0 = np.array(settings.flips_deg)
    shipped_delays = np.array(settings.delays_ms)
    x0 = np.clip(x0, *np.array(bounds).T)
    found = differential_evolution(
        lambda x: worst(table, *unpack(x), spread), bounds, x0=x0, maxiter=60, popsize=6, seed=1, polish=False
    )
    flips, delays = unpack(found.x)
    return float(found.fun), flips.round(1).tolist(), delays.round(1).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--off-ppm", type=float, help="how far water may be off (default: 0.15, short schemes 0.08)"
    )
    parser.add_argument("--scheme", choices=list(OFF_PPM), action="append")
    parser.add_argument("--field", type=float, choices=list(SCANNERS), action="append")
    given = parser.parse_args()
    for scheme in given.scheme or OFF_PPM:
        for field_t in given.field or SCANNERS:
            scanner = load_scanner(SCANNERS[field_t])
            settings = WaterSuppression(scheme=scheme, **scheme_values(scheme, field_t))
            off_ppm = OFF_PPM[scheme] if given.off_ppm is None else given.off_ppm
            hz_per_ppm = shift_hz(settings.carrier_ppm + 1, scanner) - shift_hz(settings.carrier_ppm, scanner)
            water = Table.of(settings, scanner, np.linspace(0, off_ppm, 4) * hz_per_ppm)
            inositol = Table.of(settings, scanner, np.array([(4.05 - settings.carrier_ppm) * hz_per_ppm]))
            flips, delays = np.array(settings.flips_deg), np.array(settings.delays_ms)
            shipped = worst(water, flips, delays, B1_SPREAD[scheme])
            kept = float(np.prod(inositol.at(flips)))
            print(f"{scheme} {field_t:g} T: {shipped:.2%} up to {off_ppm:g} ppm, 4.05 ppm keeps {kept:.1%}")
            if scheme != "chess":
                left, flips_found, delays_found = search(scheme, settings, water)
                print(f"  found {left:.2%}: flips {flips_found}, delays {delays_found}")


if __name__ == "__main__":
    main()
