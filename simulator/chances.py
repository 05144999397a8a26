"""What chance gives each shot of a virtual scan: every fault draws from a stream of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.faults import Faults
from pulsespec.simulator.timeline import LabelledReadout

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Chances:
    """What befalls each shot; all arrays of shape (n_shots,), Pulseq sense."""

    frequency_hz: Real
    """Frequency of all lines over nominal, positive downfield."""
    phase_rad: Real
    """Phase of the shot, a jump by motion included."""
    gain: Real
    """What motion leaves of the signal."""
    broadening_hz: Real
    """Lorentzian width that motion adds."""
    lipid: Complex
    """Height of lipid from outside over the reference peak, with its phase."""
    residual_water: Complex
    """Share of water that is left, with its phase; 0 in water references."""
    echo_rad: Real
    """Phase of the spurious echo at its centre."""
    corrupted: tuple[str, ...]
    """What motion does to the shot: a name of `KINDS`, empty where nothing."""


def stream(faults: Faults, seed: int, name: str, *more: int) -> np.random.Generator:
    """Return the generator of one fault (and one shot): independent of those of all others."""
    key = (crc32(name.encode()), *more)
    return np.random.default_rng(np.random.SeedSequence(faults.seeds.get(name, seed), spawn_key=key))


def draw_chances(readouts: Sequence[LabelledReadout], faults: Faults, seed: int) -> Chances:
    """Draw what befalls each shot of a scan."""
    n = len(readouts)
    along = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1)
    water = np.array([readout.is_water_reference for readout in readouts])
    kind, severity = _corruption(water, faults, seed)
    where = {name: np.array([one == name for one in kind]) for name in set(kind)}

    def only(name: str, values: Real) -> Real:
        return np.where(where.get(name, np.zeros(n, bool)), values, 0.0)

    turn = np.sign(severity[1] - 0.5) * (faults.phase_jump_deg + (180 - faults.phase_jump_deg) * severity[0])
    jitter = stream(faults, seed, "phase").standard_normal(n) * faults.phase_jitter_deg
    phase_deg = along * faults.phase_drift_deg + jitter + only("phase", turn)
    burst = only("lipid", faults.lipid_burst * (1 + severity[0])) * np.exp(2j * np.pi * severity[1])
    steady = faults.lipid * np.exp(2j * np.pi * stream(faults, seed, "lipid").uniform()) * ~water
    return Chances(
        frequency_hz=faults.offset_hz + along * faults.drift_hz + _wander(n, faults, seed),
        phase_rad=np.deg2rad(phase_deg),
        gain=1 - only("loss", faults.loss + (1 - faults.loss) * severity[0]),
        broadening_hz=only("broadening", faults.broadening_hz * (1 + severity[0])),
        lipid=steady + burst,
        residual_water=_residual(n, faults, seed) * ~water,
        echo_rad=_echo(n, faults, seed),
        corrupted=kind,
    )


def _wander(n: int, faults: Faults, seed: int) -> Real:
    steps = stream(faults, seed, "walk").standard_normal(n)
    steps[0] = 0.0
    walk = np.cumsum(steps) * faults.walk_hz / np.sqrt(max(n - 1, 1))
    return np.asarray(
        walk + stream(faults, seed, "frequency").standard_normal(n) * faults.frequency_jitter_hz
    )


def _corruption(water: NDArray[np.bool_], faults: Faults, seed: int) -> tuple[tuple[str, ...], Real]:
    """Return the kind of each shot and two even draws for each: the same shots first whatever their number."""
    rng = stream(faults, seed, "corruption")
    severity = rng.uniform(size=(water.size, 2)).T
    shots = rng.permutation(np.flatnonzero(~water))
    kind = [""] * water.size
    for number, shot in enumerate(shots[: round(faults.corrupted * shots.size)]):
        kind[shot] = faults.corrupted_kinds[number % len(faults.corrupted_kinds)]
    return tuple(kind), severity


def _residual(n: int, faults: Faults, seed: int) -> Complex:
    draws = stream(faults, seed, "residual-water", 1).standard_normal((n, 2))
    size = np.maximum(1 + faults.residual_water_spread * draws[:, 0], 0.0)
    turn = np.exp(1j * np.deg2rad(faults.residual_water_phase_deg * draws[:, 1]))
    return np.asarray(faults.residual_water * size * turn)


def _echo(n: int, faults: Faults, seed: int) -> Real:
    rng = stream(faults, seed, "echo")
    start = rng.uniform(0, 2 * np.pi)
    return np.asarray(start + np.deg2rad(faults.echo_phase_deg) * rng.standard_normal(n))
