"""Longitudinal magnetisation that a preparation leaves at the excitation, in the steady state of the repetitions.

All pulses of a repetition are played to one place as the written file has them, with recovery during and
between them. Spoilers and crushers are taken to leave no transverse magnetisation; what they do leave is
weighed in `purity`. The water that an image measures beside the metabolites, by a small flip angle, is left out.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulsespec.errors import InputError, SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences.library import build, write_sequence
from pulsespec.sequences.purity import central
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.voxel import wanted_pathway
from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.rotations import hard, vector_matrix
from pulsespec.simulator.timeline import Pulse, Timeline, read_timeline

WATER_PPM = 4.65

Real = NDArray[np.float64]


def residual_water(
    source: Protocol | Path | Timeline,
    scanner: Scanner | None,
    t1_s: ArrayLike,
    b1_scale: ArrayLike,
    offset_hz: ArrayLike,
) -> Real:
    """Return longitudinal water at the excitation over that in equilibrium, in the centre of the voxel.

    Parameters
    ----------
    source
        A protocol, a `.seq` file or a timeline that was read from one.
    scanner
        For a protocol, what plays it; not used for a file.
    t1_s
        T1 of water in s; shape (n,).
    b1_scale
        B1 over its nominal value, of every pulse; shape (m,).
    offset_hz
        Of water from 4.65 ppm; shape (k,).

    Returns
    -------
    Signed, shape (n, m, k).

    Raises
    ------
    InputError
        A T1 is not positive, or a protocol comes without a scanner.
    SequenceError
        The protocol cannot be built, or the file has no definition of TR or of its pathway.

    """
    return longitudinal_at_excitation(source, scanner, WATER_PPM, t1_s, b1_scale, offset_hz)


def longitudinal_at_excitation(
    source: Protocol | Path | Timeline,
    scanner: Scanner | None,
    ppm: float,
    t1_s: ArrayLike,
    b1_scale: ArrayLike = (1.0,),
    offset_hz: ArrayLike = (0.0,),
    position_m: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    water_reference: bool = False,
) -> Real:
    """Return the same for any resonance, such as a metabolite beside water or a lipid in a saturated band.

    `position_m` is along the voxel's axes from its centre; `water_reference` asks for the shots with the flag
    `REF`. Other parameters and errors as for `residual_water`; shape (n, m, k).
    """
    timeline = _timeline(source, scanner)
    t1, scale, offset = (np.atleast_1d(np.asarray(one, float)) for one in (t1_s, b1_scale, offset_hz))
    if not (t1 > 0).all():
        raise InputError(f"t1_s: got {t1.tolist()}, expected positive times")
    shots = timeline.select(water_reference=water_reference)
    if not shots:
        raise SequenceError(f"{timeline.name}: has no shots with REF = {int(water_reference)}")
    tr_s = timeline.seconds("TR")
    if tr_s is None:
        raise SequenceError(f"{timeline.name}: has no TR definition")
    pulses = shots[0].pulses
    spins = _Spins(
        t1, scale, (ppm - timeline.reference_ppm) * 1e-6 * timeline.f0_hz + offset,
        timeline.voxel_centre_m + timeline.voxel_axes @ np.asarray(position_m, float),
    )  # fmt: skip
    first = _excitation(timeline, pulses)
    before = spins.after(pulses[:first], spins.start())
    rest_s = tr_s - sum(pulse.rf.duration_s + pulse.delay_s for pulse in pulses[:-1])
    end = spins.after(pulses[first:-1], before)
    end = spins.recovered(spins.pulsed(pulses[-1].rf, end), rest_s - pulses[-1].rf.duration_s)
    # Both maps are affine: their values for 0 and 1 at the start of a repetition say all of them.
    steady = end[0] / (1 - (end[1] - end[0]))
    rf = pulses[first].rf
    at = spins.recovered(before, _middle_s(rf))
    return np.asarray(at[0] + (at[1] - at[0]) * steady)


def _timeline(source: Protocol | Path | Timeline, scanner: Scanner | None) -> Timeline:
    if isinstance(source, Timeline):
        return source
    if not isinstance(source, Protocol):
        return read_timeline(Path(source))
    if scanner is None:
        raise InputError("scanner: got None, expected the scanner that plays the protocol")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "central.seq"
        few = {"water_averages": min(source.water_averages, source.phase_cycle)}
        write_sequence(build(central(source).model_copy(update=few), scanner), path)
        return read_timeline(path)


def _excitation(timeline: Timeline, pulses: Sequence[Pulse]) -> int:
    """Return the number of the pulse after which the wanted pathway is first transverse."""
    wanted = wanted_pathway(timeline)
    return len(pulses) - len(wanted) + next(k for k, order in enumerate(wanted) if order)


def _middle_s(rf: Rf) -> float:
    """Return the time from the start of a pulse to the centre of gravity of its B1."""
    weight = np.abs(rf.b1_hz)
    return float(weight @ (np.arange(weight.size) + 0.5) / weight.sum()) * rf.duration_s / weight.size


class _Spins:
    """Spins of each T1, B1 and frequency at one place; their M_z begins as 0 and as 1: shape (2, n, m, k)."""

    def __init__(self, t1_s: Real, b1_scale: Real, shift_hz: Real, position_m: Real) -> None:
        self.t1_s, self.b1_scale, self.shift_hz = t1_s[:, None, None], b1_scale[:, None], shift_hz
        self.position_m = position_m
        self.shape = (2, t1_s.size, b1_scale.size, shift_hz.size)

    def start(self) -> Real:
        return np.stack([np.zeros(self.shape[1:]), np.ones(self.shape[1:])])

    def recovered(self, mz: Real, time_s: float) -> Real:
        return np.asarray(1 - (1 - mz) * np.exp(-time_s / self.t1_s))

    def after(self, pulses: Sequence[Pulse], mz: Real) -> Real:
        """Return M_z after pulses, each with the time to the next one."""
        for pulse in pulses:
            mz = self.recovered(self.pulsed(pulse.rf, mz), pulse.delay_s)
        return mz

    def pulsed(self, rf: Rf, mz: Real) -> Real:
        """Return M_z at the end of a pulse, with recovery during each of its steps."""
        step_s = rf.duration_s / rf.b1_hz.size
        kept = np.exp(-step_s / self.t1_s)
        m = np.zeros((*self.shape, 3))
        m[..., 2] = mz
        for b1, gradient in zip(rf.b1_hz, rf.gradient_hz_per_m, strict=True):
            total = self.shift_hz - rf.offset_hz + float(gradient @ self.position_m)
            turn = vector_matrix(hard(np.broadcast_to(total, self.shape[2:]), b1 * self.b1_scale, step_s))
            m = np.einsum("...ij,...j->...i", turn, m)
            m[..., 2] = 1 - (1 - m[..., 2]) * kept
        return m[..., 2]
