"""The engine against the closed forms: pulses of a microsecond without slices, crushers on all axes, Gaussian editing.

What is left between the two is the length of the pulses and the strong coupling, J / shift difference. Long echo
times make up for a small J: nothing relaxes.
"""

import numpy as np
import pypulseq
import pytest
import sequences_for_tests as seqs

from pulsespec.simulator import closed_forms, simulate
from pulsespec.simulator.basis import render
from pulsespec.simulator.closed_forms import lines, multiplets
from pulsespec.simulator.product_operators import spin_system

F0_HZ = 5e8
J_HZ, SHIFT_HZ = 0.5, 500.0
VALUES = {"J": J_HZ, "nu_A": -SHIFT_HZ, "nu_X": SHIFT_HZ, "TE": 0.6, "TE1": 0.25, "TE2": 0.35, "TM": 0.0507}
VALUES |= {"d1": 0.08, "d2": 0.17, "d3": 0.14, "tau1": 0.12, "tau2": 0.05}
EDIT_S, HARD_S, DWELL_S, SAMPLES = 20e-3, 1e-6, 5e-4, 256
WHOLE = 1 / seqs.VOXEL_M[0]
"""A moment in cycles/m that is one cycle across the voxel."""
ONE, TWO, THREE, FOUR = (
    np.array(cycles) * WHOLE for cycles in ([7, -11, 13], [17, 19, -5], [3, 29, 23], [-31, 2, 37])
)
RIGHT, HALF = np.pi / 2, np.pi


def distances_of_slaser():
    te, d1, d2, d3 = (VALUES[key] for key in ("TE", "d1", "d2", "d3"))
    return [d1, d2, d3, te / 2 - d2, te / 2 - d1 - d3]


TE1, TE2, TAU1, TAU2 = (VALUES[key] for key in ("TE1", "TE2", "tau1", "tau2"))
PLAYED = {
    "press": (
        [(RIGHT, RIGHT), (HALF, 0.0), (HALF, 0.0)],
        [TE1 / 2, (TE1 + TE2) / 2, TE2 / 2],
        [ONE, ONE + TWO, TWO],
    ),
    "steam": (
        [(RIGHT, RIGHT), (RIGHT, -RIGHT), (RIGHT, RIGHT)],
        [VALUES["TE"] / 2, VALUES["TM"], VALUES["TE"] / 2],
        [ONE, TWO, ONE],
    ),
    "mega_press": (
        [(RIGHT, RIGHT), (HALF, 0.0), None, (HALF, 0.0), None],
        [TE1 / 2, TAU1, (TE1 + TE2) / 2 - TAU1, TAU2, TE2 / 2 - TAU2],
        [ONE, ONE + THREE, TWO, FOUR, TWO + THREE - FOUR],
    ),
    "semi_laser": (
        [(RIGHT, RIGHT)] + [(HALF, 0.0)] * 4,
        distances_of_slaser(),
        [ONE, ONE + TWO, TWO + THREE, THREE + FOUR, FOUR],
    ),
}
"""Flips and phases, distances of pulse centres up to the first sample, moments of the intervals."""


def hard(opts, flip, phase, use):
    """A pulse of a microsecond in the middle of a block of 20; the events and the length of the block."""
    rf = pypulseq.make_block_pulse(
        flip, duration=HARD_S, delay=1e-5 - HARD_S / 2, phase_offset=phase, system=opts, use=use
    )
    return rf, 2e-5


def editing(opts):
    """A Gaussian 180 of 20 ms on X, in the middle of its block; A is 1000 Hz away."""
    rf = pypulseq.make_gauss_pulse(
        HALF,
        duration=EDIT_S,
        dwell=1e-4,
        time_bw_product=3.0,
        freq_offset=SHIFT_HZ,
        system=opts,
        use="refocusing",
    )
    return rf, EDIT_S


def write(path, pulses, distances, moments):
    """Write pulses (flip and phase, or `None` for an editing pulse) with the distances of their centres."""
    opts = seqs.system(F0_HZ, 1e-7)
    sequence = pypulseq.Sequence(opts)
    uses = ["excitation"] + ["refocusing"] * (len(pulses) - 1)
    played = [
        editing(opts) if p is None else hard(opts, *p, use) for p, use in zip(pulses, uses, strict=True)
    ]
    ends = [block_s / 2 for _, block_s in played] + [DWELL_S / 2]
    crush_s = 2e-3
    for (rf, block_s), distance, moment, *edges in zip(
        played, distances, moments, ends, ends[1:], strict=False
    ):
        sequence.add_block(rf, pypulseq.make_delay(block_s))
        gradients = [
            pypulseq.make_trapezoid(axis, area=area, duration=crush_s, system=opts)
            for axis, area in zip("xyz", moment, strict=True)
        ]
        sequence.add_block(*gradients)
        sequence.add_block(pypulseq.make_delay(round((distance - crush_s - sum(edges)) * 1e5) * 1e-5))
    sequence.add_block(seqs.adc(opts, SAMPLES, DWELL_S))
    return seqs.write(sequence, path, F0_HZ, TE=VALUES["TE"], CarrierPPM=4.65)


def table(path):
    """AX, A2X and A3X as full spin systems in a user's own table."""
    a, x = (4.65 + sign * SHIFT_HZ / F0_HZ * 1e6 for sign in (-1, 1))
    text = []
    for n in (1, 2, 3):
        couplings = [[k, n, J_HZ] for k in range(n)]
        text += [f"[A{n}X]", 'source = "a test"', f"[[A{n}X.systems]]", f"shifts_ppm = {[a] * n + [x]}"]
        text.append(f"couplings_hz = {couplings}")
    path.write_text("\n".join(text))
    return path


@pytest.mark.parametrize("sequence", PLAYED)
def test_the_engine_agrees_with_closed_forms(sequence, tmp_path):
    path = write(tmp_path / f"{sequence}.seq", *PLAYED[sequence])
    basis = simulate(path, ["A1X", "A2X", "A3X"], extra=table(tmp_path / "mine.toml"))
    for name in basis.names:
        state = getattr(closed_forms, sequence)(spin_system(name))
        expected = render(lines(multiplets(state), VALUES), SAMPLES, DWELL_S)
        got = render(basis.lines[name], SAMPLES, DWELL_S)
        assert np.linalg.norm(got - expected) < 2e-3 * np.linalg.norm(expected), name
