"""What the preparation of a written `.seq` leaves of longitudinal magnetisation in the voxel."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pulsespec.sequences.voxel import Vector, Voxel, wanted_pathway
from pulsespec.simulator.timeline import Pulse, Timeline, read_timeline


def longitudinal(
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


def residual(
    source: Path | Timeline,
    ppm: float,
    t1_s: Sequence[float],
    b1_scales: Sequence[float] = (1.0,),
    offsets_ppm: Sequence[float] = (0.0,),
) -> Vector:
    """Return what the preparation leaves of a resonance in the voxel, over equilibrium.

    Parameters
    ----------
    source
        The file; its first metabolite shot.
    ppm
        The resonance, such as 4.65 for water.
    t1_s, b1_scales, offsets_ppm
        T1, B1 over the nominal one and shifts of the resonance.

    Returns
    -------
    Longitudinal magnetisation at the excitation; shape (n_t1, n_b1, n_offsets).

    """
    timeline = source if isinstance(source, Timeline) else read_timeline(Path(source))
    shots = timeline.select(water_reference=False) or timeline.select(water_reference=True)
    pulses = shots[0].pulses[: -len(wanted_pathway(timeline))]
    voxel = Voxel.of(timeline)
    return np.array(
        [
            [
                [
                    longitudinal(
                        pulses,
                        voxel,
                        (ppm + offset - timeline.reference_ppm) * 1e-6 * timeline.f0_hz,
                        t1,
                        scale,
                    )[-1]
                    for offset in offsets_ppm
                ]
                for scale in b1_scales
            ]
            for t1 in t1_s
        ]
    )
