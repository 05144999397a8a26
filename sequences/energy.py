"""What a sequence asks of transmitter and gradients on average: B1+rms and the root mean square of gradients.

Both over the worst ten seconds: the time over which scanners average B1+rms (IEC 60601-2-33; recalled, not read), or
over the whole of a sequence that is shorter.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.block_table import Blocks
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation, violation_at

_WINDOW_S = 10.0


def rf_energy(sequence: Any, scanner: Scanner) -> float:
    """Return B1+rms in uT over the worst ten seconds of a `pypulseq.Sequence`."""
    return _worst_b1(Blocks(sequence), scanner)[0]


def check_energy(blocks: Blocks, scanner: Scanner) -> Iterator[Violation]:
    """Yield whether B1 or gradients are more, on average, than a limit that is known."""
    if scanner.max_b1_rms_ut is not None:
        value, index = _worst_b1(blocks, scanner)
        if value > scanner.max_b1_rms_ut:
            message = f"B1 of {value:.2f} uT rms in 10 s: expected at most {scanner.max_b1_rms_ut:g} uT"
            yield violation_at(blocks, index, "rf_energy", message)
    if scanner.max_grad_rms_mt_per_m is not None:
        squares = _gradient_squares(blocks)
        for axis, squared in zip("xyz", squares.T, strict=True):
            total, index = _worst(blocks, squared)
            value = total**0.5 / gamma_hz_per_t(scanner.nucleus) * 1e3
            if value > scanner.max_grad_rms_mt_per_m:
                limit = scanner.max_grad_rms_mt_per_m
                message = f"g{axis} of {value:.2f} mT/m rms in 10 s: expected at most {limit:g} mT/m"
                yield violation_at(blocks, index, "duty_cycle", message)


def _worst_b1(blocks: Blocks, scanner: Scanner) -> tuple[float, int]:
    """Return the largest B1+rms in uT and the index of the block where its ten seconds start."""
    known: dict[tuple[Any, ...], float] = {}
    squared = np.zeros(len(blocks))
    for index, (rf, *_) in enumerate(blocks.ids):
        if rf:
            key = blocks.pulse_key(rf)
            if key not in known:
                known[key] = _b1_squared_s(blocks.pulse(rf))
            squared[index] = known[key]
    mean, index = _worst(blocks, squared)
    return mean**0.5 / gamma_hz_per_t(scanner.nucleus) * 1e6, index


def _b1_squared_s(rf: Any) -> float:
    """Return the integral of |B1|^2 in Hz^2 s of a pulse."""
    power = np.abs(np.asarray(rf.signal)) ** 2
    times = np.asarray(rf.t, dtype=float)
    if power.size == 1:
        return float(power[0] * rf.shape_dur)
    steps = np.diff(times)
    if np.allclose(steps, steps[0]) and np.isclose(times[0], steps[0] / 2):
        return float(power.sum() * steps[0])  # samples in the middle of equal steps
    return float(np.trapezoid(power, times))


def _gradient_squares(blocks: Blocks) -> NDArray[np.float64]:
    """Return the integral of each gradient squared in (Hz/m)^2 s for each block; shape (n, 3)."""
    known: dict[int, float] = {0: 0.0}
    for ids in blocks.ids:
        for number in ids[1:4]:
            if number not in known:
                times, values = blocks.corners(number)
                a, b = values[:-1], values[1:]
                known[number] = float(np.sum(np.diff(times) * (a * a + a * b + b * b) / 3))
    return np.array([[known[number] for number in ids[1:4]] for ids in blocks.ids])


def _worst(blocks: Blocks, squared: NDArray[np.float64]) -> tuple[float, int]:
    """Return the largest mean over ten seconds of what blocks add up to, and at which block those start."""
    window_s = min(_WINDOW_S, blocks.duration_s)
    total = np.concatenate([[0.0], np.cumsum(squared)])
    ends = np.searchsorted(blocks.starts, blocks.starts + window_s * (1 - 1e-12), "left")
    sums = total[ends] - total[:-1]
    index = int(np.argmax(sums))
    return float(sums[index]) / window_s, index
