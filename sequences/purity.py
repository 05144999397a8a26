r"""How much of what the receiver sees has not taken the wanted coherence pathway.

A pathway is the order of coherence after each pulse: -1 is what the receiver sees (M_x + i M_y), 0 longitudinal,
+1 the conjugate. Its signal, for magnetisation 1 before, is the integral over all that the pulses excite of

    product over pulses of T(new order, old order; r) x exp(-i 2 pi r . sum of order x moment)

where T is a pulse's rotation with the B1 and the gradient of the file. Every pulse selects along one axis of
the voxel or along none, so the integral is a product of three. What limits the object is a smooth density of
the size of a head: the slab that a refocusing pulse excites reaches to its ends. The phase cycle multiplies a
pathway by the mean of its phase factors. Crushed is not zero, and nothing is assumed of what crushers do.

Pathways of water that begin in a pulse of the suppression go through all pulses that follow; those that begin in
outer-volume bands are not counted. The object is smooth: sharp edges of tissue, flow and motion let more through, so
the sums say whether a design is sound, not what a scan will show.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences.voxel import GRID_M, Profile, Transfer, Vector, Voxel, wanted_pathway
from pulsespec.simulator.timeline import Pulse, Shot, Timeline, read_timeline

METABOLITES_PPM = (2.0, 3.0, 3.2, 3.9)
"""Resonances for which the weights are computed: of NAA, creatine, choline and creatine's CH2."""

LIMIT = 0.01
"""Largest sum of the unwanted signal of metabolites over the wanted one."""

_WATER_PPM = 4.65
_WATER_T1_S = (0.8, 1.5, 4.0)
_TISSUE_T1_S = 1.2
"""T1 of water while the suppression is played; it changes what each of its pulses excites but little."""
_B1_SCALES = (0.8, 1.0, 1.2)
_PADDING = 6
"""Zeros beside a profile, in its lengths: how finely its spectrum is sampled."""
_ORDERS = (-1, 0, 1)
_NO_SIGNAL = 1e-12
_ALIVE = 1e-7
"""Pathways whose largest possible weight is below this are left out; their sum is reported."""


@dataclass(frozen=True)
class PathwayWeight:
    """One pathway through the localisation pulses."""

    orders: tuple[int, ...]
    """Order after each of them."""
    metabolites: float
    """Signal over that of the wanted pathway, with the phase cycle; the largest over `METABOLITES_PPM`."""
    water: float
    """The same for water, as if there were no suppression."""


@dataclass(frozen=True)
class Purity:
    """What a sequence measures beside what it is meant to."""

    name: str
    wanted: tuple[int, ...]
    rows: tuple[PathwayWeight, ...]
    """All unwanted pathways of weight, the largest first."""
    metabolite_sum: float
    """Sum of the unwanted signal of metabolites over the wanted one, for the worst resonance."""
    water_sum: float
    """Unwanted water with the suppression played, over unsuppressed water along the wanted pathway."""
    water_residual: float | None
    """Longitudinal water that the suppression leaves at worst, over T1 0.8 to 4 s and 80 to 120 % of B1; `None`
    without suppression."""
    dropped: float
    """Sum of what was left out as too small."""


def purity(source: Path | Timeline) -> Purity:
    """Return the weight of every unwanted coherence pathway of a `.seq`; its first editing condition.

    Raises
    ------
    SequenceError
        The file does not say its pathway (definition `Pathway`), or a pulse selects along no axis of the voxel.

    """
    timeline = source if isinstance(source, Timeline) else read_timeline(Path(source))
    wanted = wanted_pathway(timeline)
    shots = _central(timeline.select(water_reference=False), wanted)
    if not shots:
        shots = _central(timeline.select(water_reference=True), wanted)
    metabolites = [_Resonance(timeline, shots, wanted, ppm).weights() for ppm in METABOLITES_PPM]
    at_water = _Resonance(timeline, shots, wanted, _WATER_PPM)
    water = at_water.weights()
    unwanted = [orders for orders in water if orders != wanted]
    rows = [PathwayWeight(o, max(m[o] for m in metabolites), water[o]) for o in unwanted]
    rows.sort(key=lambda row: -max(row.metabolites, row.water))
    metabolite_sum = max(sum(m[o] for o in unwanted) for m in metabolites)
    water_sum, dropped, residual = sum(water[o] for o in unwanted), 0.0, None
    if timeline.select(water_reference=False):
        before = shots[0].pulses[: -len(wanted)]
        if any(at_water.voxel.axis_of(pulse) is None for pulse in before):
            left = [
                abs(_longitudinal(before, at_water.voxel, at_water.spin_hz, t1_s, scale)[-1])
                for t1_s in _WATER_T1_S
                for scale in _B1_SCALES
            ]
            residual = max(left)
            begun, dropped = at_water.begun_before(
                _longitudinal(before, at_water.voxel, at_water.spin_hz, _TISSUE_T1_S)
            )
            water_sum = water_sum * residual + begun
    return Purity(timeline.name, wanted, tuple(rows), metabolite_sum, water_sum, residual, dropped)


def require_pure(found: Purity, name: str) -> None:
    """Raise `SequenceError` where the unwanted signal of a sequence is too much.

    That of metabolites must be below 1 % of the wanted one, and unwanted water below what the suppression
    leaves along the wanted pathway.
    """
    worst = ", ".join(f"{row.orders} {max(row.metabolites, row.water):.2g}" for row in found.rows[:3])
    if found.metabolite_sum >= LIMIT:
        raise SequenceError(
            f"{name}: unwanted pathways make {found.metabolite_sum:.2%} of the metabolite signal: expected less "
            f"than {LIMIT:.0%}; the largest are {worst}: raise crushers.cycles or phase_cycle"
        )
    if found.water_residual is not None and found.water_sum >= found.water_residual:
        raise SequenceError(
            f"{name}: unwanted pathways leave {found.water_sum:.2%} of water: expected less than the "
            f"{found.water_residual:.2%} of its suppression; the largest are {worst}: raise crushers.cycles or "
            "phase_cycle"
        )


def central(protocol: Protocol) -> Protocol:
    """Return a protocol with one phase cycle of the centre of k-space: all that `purity` looks at."""
    averages = min(protocol.averages, protocol.phase_cycle)
    changes: dict[str, object] = {"averages": averages, "dummies": 0, "water_dummies": 0}
    changes["water_averages"] = min(protocol.water_averages, 0 if averages else protocol.phase_cycle)
    if protocol.encoding is not None:
        nx, ny, nz = protocol.encoding.matrix
        fx, fy, fz = protocol.encoding.fov_mm
        crossed = protocol.train is not None and protocol.train.kind != "rings"
        matrix = (nx if crossed else min(nx, 2), min(ny, 2), min(nz, 2))
        fov = (fx * matrix[0] / nx, fy * matrix[1] / ny, fz * matrix[2] / nz)
        changes["encoding"] = protocol.encoding.model_copy(
            update={"matrix": matrix, "fov_mm": fov, "water_flip_deg": None}
        )
    return protocol.model_copy(update=changes)


def _central(shots: Sequence[Shot], wanted: tuple[int, ...]) -> list[Shot]:
    """Return the shots at the centre of k-space, those of one interleave: all that add up to one signal."""
    if not shots:
        return []

    def moment(shot: Shot) -> Vector:
        pulses = shot.pulses[-len(wanted) :]
        return np.asarray(np.sum([o * p.moment_per_m for o, p in zip(wanted, pulses, strict=True)], axis=0))

    size = [float(np.linalg.norm(moment(shot))) for shot in shots]
    nearest = shots[int(np.argmin(size))]
    delay = nearest.pulses[-1].delay_s
    return [
        shot
        for shot, one in zip(shots, size, strict=True)
        if one < min(size) + 1e-3 and abs(shot.pulses[-1].delay_s - delay) < 1e-9
    ]


class _Resonance:
    """All pathways of one resonance through shots that add up."""

    def __init__(
        self, timeline: Timeline, shots: Sequence[Shot], wanted: tuple[int, ...], ppm: float
    ) -> None:
        self.wanted, self.shots, self.voxel = wanted, shots, Voxel.of(timeline)
        self.spin_hz = (ppm - timeline.reference_ppm) * 1e-6 * timeline.f0_hz
        self.suffixes = [(*orders, -1) for orders in product(_ORDERS, repeat=len(wanted) - 1)]
        self.prephasing = float(np.ravel(timeline.definitions.get("Prephasing", 0.0))[0])
        self._transfers: dict[tuple[object, ...], Transfer] = {}

    def weights(self) -> dict[tuple[int, ...], float]:
        """Return the magnitude of every pathway from longitudinal order over that of the wanted one."""
        repeats = sum(shot.phases.shape[0] for shot in self.shots)
        total = dict.fromkeys(self.suffixes, 0j)
        for shot in self.shots:
            spectra = _Spectra(self.voxel, self._of(shot))
            for orders in self.suffixes:
                k = self._moment(shot, orders)
                value = spectra.amplitudes(0, orders, k[None])[0] * self._cycle(shot, (0, *orders))
                total[orders] += value * shot.phases.shape[0] / repeats
        self.reference = abs(total[self.wanted])
        if self.reference < _NO_SIGNAL:
            raise SequenceError(f"purity: the wanted pathway {self.wanted} has no signal")
        return {orders: abs(value) / self.reference for orders, value in total.items()}

    def begun_before(self, longitudinal: Vector) -> tuple[float, float]:
        """Return the water that began in a pulse of the suppression, and the sum of what was left out.

        These are up to a million pathways whose phases have nothing to do with each other: their signals add
        up by their squares.

        `longitudinal` is that of water before each of those pulses. Both are over unsuppressed water along the
        wanted pathway.
        """
        shot = max(self.shots, key=lambda one: one.phases.shape[0])
        before = [p for p in shot.pulses[: -len(self.wanted)] if self.voxel.axis_of(p) is None]
        number = {id(p): k for k, p in enumerate(before)}
        entries, values, moments, dropped = self._prefixes(shot, number, longitudinal)
        spectra, total = _Spectra(self.voxel, self._of(shot)), 0.0
        for entry in (-1, 0, 1):
            chosen = entries == entry
            if not chosen.any():
                continue
            for orders in self.suffixes:
                k = moments[chosen] + self._moment(shot, orders)
                factor = abs(self._cycle(shot, (entry, *orders)))
                if factor > _ALIVE:
                    signal = np.abs(spectra.amplitudes(entry, orders, k) * values[chosen]) * factor
                    total += float(np.sum(signal**2))
        return float(np.sqrt(total)) / self.reference, dropped

    def _prefixes(
        self, shot: Shot, number: dict[int, int], longitudinal: Vector
    ) -> tuple[NDArray[np.int64], Profile, Vector, float]:
        """Return order, signal and moment (m, 3) before the localisation of all that a pulse has excited."""
        orders, values = np.zeros(0, np.int64), np.zeros(0, complex)
        moments, dropped = np.zeros((0, 3)), 0.0
        for pulse in shot.pulses[: -len(self.wanted)]:
            if id(pulse) in number:
                table = {key: complex(one[0]) for key, one in self._transfer(pulse).items()}
                grown = [
                    np.array([v * table[(new, int(old))] for v, old in zip(values, orders, strict=True)])
                    for new in _ORDERS
                ]
                start = longitudinal[number[id(pulse)]]
                fresh = np.array([start * table[(-1, 0)], start * table[(1, 0)]])
                orders = np.concatenate([*(np.full(values.size, new) for new in _ORDERS), [-1, 1]])
                moments = np.concatenate([moments, moments, moments, np.zeros((2, 3))])
                values = np.concatenate([*grown, fresh])
                alive = np.abs(values) > _ALIVE
                dropped += float(np.abs(values[~alive]).sum())
                orders, values, moments = orders[alive], values[alive], moments[alive]
            moments = moments + orders[:, None] * (pulse.moment_per_m @ self.voxel.axes)
        return orders, values, moments, dropped

    def _moment(self, shot: Shot, orders: tuple[int, ...]) -> Vector:
        """Return the moment of a pathway along the voxel's axes, without what a train begins with; (3,)."""
        pulses = shot.pulses[-len(self.wanted) :]
        moment = np.sum([o * p.moment_per_m for o, p in zip(orders, pulses, strict=True)], axis=0)
        return np.asarray(moment @ self.voxel.axes - orders[-1] * np.array([self.prephasing, 0.0, 0.0]))

    def _cycle(self, shot: Shot, orders: tuple[int, ...]) -> complex:
        """Return the mean phase factor of a pathway, from the order before the localisation on."""
        changes = np.diff(orders)
        phases = shot.phases[:, -len(changes) - 1 : -1]
        return complex(np.mean(np.exp(-1j * (phases @ changes + shot.phases[:, -1]))))

    def _of(self, shot: Shot) -> list[tuple[int | None, Transfer]]:
        pulses = shot.pulses[-len(self.wanted) :]
        return [(self.voxel.axis_of(pulse), self._transfer(pulse)) for pulse in pulses]

    def _transfer(self, pulse: Pulse) -> Transfer:
        rf = pulse.rf
        key = (rf.b1_hz.tobytes(), rf.offset_hz, rf.duration_s, rf.gradient_hz_per_m.tobytes())
        if key not in self._transfers:
            self._transfers[key] = self.voxel.transfer(pulse, self.spin_hz)
        return self._transfers[key]


class _Spectra:
    """The integrals over position of the transfers of a localisation, as functions of the moment."""

    def __init__(self, voxel: Voxel, pulses: list[tuple[int | None, Transfer]]) -> None:
        self.voxel, self.pulses = voxel, pulses
        self._spectra: dict[tuple[object, ...], Profile] = {}

    def amplitudes(self, entry: int, orders: tuple[int, ...], k_per_m: Vector) -> Profile:
        """Return the signal of a pathway that enters with order `entry`, for moments (m, 3); (m,)."""
        steps: list[list[tuple[int, int, int]]] = [[], [], []]
        value, old = 1.0 + 0j, entry
        for number, ((axis, transfer), order) in enumerate(zip(self.pulses, orders, strict=True)):
            if axis is None:
                value *= complex(transfer[(order, old)][0])
            else:
                steps[axis].append((number, order, old))
            old = order
        result = np.full(k_per_m.shape[0], value)
        for axis in range(3):
            if abs(value) > _ALIVE:
                result = result * self._at(tuple(steps[axis]), axis, k_per_m[:, axis])
        return result

    def _at(self, steps: tuple[tuple[int, int, int], ...], axis: int, k_per_m: Vector) -> Profile:
        """Return the integral of the profile times exp(-i 2 pi k x), by interpolation of its spectrum."""
        x = self.voxel.positions[axis]
        if (steps, axis) not in self._spectra:
            profile = self.voxel.density.astype(complex)
            for number, order, old in steps:
                profile = profile * self.pulses[number][1][(order, old)]
            self._spectra[(steps, axis)] = np.fft.fft(
                np.fft.ifftshift(np.pad(profile, _PADDING * x.size // 2))
            )
        spectrum = self._spectra[(steps, axis)]
        step = 1 / (spectrum.size * GRID_M)
        index = k_per_m / step
        low = np.floor(index).astype(np.int64)
        share = index - low
        outside = np.abs(k_per_m) > 0.5 / GRID_M
        value = (1 - share) * spectrum[low % spectrum.size] + share * spectrum[(low + 1) % spectrum.size]
        # Only the phase that the place of the voxel gives is left out: it is the same for all of a pathway.
        return np.where(outside, 0.0, value)


def _longitudinal(
    pulses: Sequence[Pulse], voxel: Voxel, spin_hz: float, t1_s: float, b1_scale: float = 1.0
) -> Vector:
    """Return longitudinal magnetisation before each pulse without a gradient and, last, at the excitation.

    It starts at 1. Each pulse turns it in its middle, and it recovers in between; slabs elsewhere leave the
    voxel alone, and what pulses excite is taken to be spoiled (`purity` counts what is not).
    """
    found, mz = [], 1.0
    for pulse in pulses:
        half_s = pulse.rf.duration_s / 2
        mz = 1 - (1 - mz) * float(np.exp(-half_s / t1_s))
        if voxel.axis_of(pulse) is None:
            found.append(mz)
            rf = dataclasses.replace(pulse.rf, b1_hz=pulse.rf.b1_hz * b1_scale)
            turned = voxel.transfer(dataclasses.replace(pulse, rf=rf), spin_hz)
            mz *= float(turned[(0, 0)][0].real)
        mz = 1 - (1 - mz) * float(np.exp(-(half_s + pulse.delay_s) / t1_s))
    return np.array([*found, mz])
