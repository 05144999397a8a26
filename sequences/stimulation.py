"""Peripheral nerve stimulation by two published models.

*Linear response* (Schulte and Noeske 2015, doi:10.1002/mrm.25440): the response to the slew rate S of one axis is
R(t) = L / r integral S(t') c / (c + t - t')^2 dt', with the rheobase r in T/s, the chronaxie c in s and the effective
length L of the coil in m. Verified: this form, and that it is the one of IEC 60601-2-33:2022 (equation AA.21), as
GE's interpreter `pge2` states them in public source; the paper itself was not read.

*SAFE* (Hebrank and Gebhardt, Proc. ISMRM 2000, 2007): three low-pass filters of an axis, with the time constants and
weights of a Siemens gradient file. Verified against pypulseq's own implementation, in the tests.

The axes add up as the root of the sum of their squares, each with full weight (the standard allows 0.8 and 0.7 for x
and z). 1 is the limit of the first-level controlled mode; scanners stop at 0.8 in the normal mode.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.block_table import Blocks, Waveforms
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation, violation_at

LIMIT = 1.0
"""First-level controlled mode."""

_BATCH = 64


class Model(Protocol):
    """How nerves respond to slew rates."""

    @property
    def memory_s(self) -> float:
        """Time after which a slew is forgotten."""

    def response(self, slew: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
        """Return the response, 1 for the limit, to slew rates in T/m/s on a raster; (n, t, 3) to (n, t)."""


@dataclass(frozen=True)
class LinearResponse:
    """The model of Schulte and Noeske."""

    rheobase_t_per_s: float
    chronaxie_s: float
    length_m: float
    memory_s: float = 5e-3
    """Slew rates of 80 mT/m in 3 ms, 5 ms ago, count 2 % at most."""

    def response(self, slew: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
        """Return the response to slew rates in T/m/s; shape (n, t, 3) to (n, t)."""
        edges = np.arange(round(self.memory_s / step_s) + 1) * step_s
        # The integral of the kernel over each step of the raster, so that its sharp rise is not sampled away.
        kernel = -np.diff(self.chronaxie_s / (self.chronaxie_s + edges))
        each = scipy.signal.oaconvolve(slew, kernel[None, :, None], axes=1)[:, : slew.shape[1]]
        return np.asarray(np.linalg.norm(each, axis=2) * self.length_m / self.rheobase_t_per_s)


@dataclass(frozen=True)
class Safe:
    """The SAFE model with the parameters of one scanner."""

    hardware: Any
    """As `pypulseq.utils.siemens.asc_to_hw` gives them."""

    @property
    def memory_s(self) -> float:
        """Four of the longest time constants."""
        axes = (getattr(self.hardware, axis) for axis in "xyz")
        return 4e-3 * float(max(max(axis.tau1, axis.tau2, axis.tau3) for axis in axes))

    def response(self, slew: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
        """Return the response to slew rates in T/m/s; shape (n, t, 3) to (n, t)."""
        each = [
            self._axis(slew[..., k], getattr(self.hardware, axis), step_s) for k, axis in enumerate("xyz")
        ]
        return np.asarray(np.linalg.norm(each, axis=0))

    def _axis(self, slew: NDArray[np.float64], axis: Any, step_s: float) -> NDArray[np.float64]:
        def low_pass(signal: NDArray[np.float64], tau_ms: float) -> NDArray[np.float64]:
            weight = step_s / (tau_ms * 1e-3 + step_s)
            return np.asarray(scipy.signal.lfilter([weight], [1, weight - 1], signal, axis=1))

        total = (
            axis.a1 * np.abs(low_pass(slew, axis.tau1))
            + axis.a2 * low_pass(np.abs(slew), axis.tau2)
            + axis.a3 * np.abs(low_pass(slew, axis.tau3))
        )
        return np.asarray(total * axis.g_scale / axis.stim_limit)


def model_of(scanner: Scanner) -> LinearResponse | None:
    """Return the linear response of a scanner's gradient coil, where its parameters are known."""
    rheobase, chronaxie = scanner.stimulation_rheobase_t_per_s, scanner.stimulation_chronaxie_s
    length = scanner.stimulation_length_m
    if rheobase is None or chronaxie is None or length is None:
        return None
    return LinearResponse(rheobase, chronaxie, length)


def check_stimulation(blocks: Blocks, scanner: Scanner, model: Model | None) -> Iterator[Violation]:
    """Yield the block with the strongest response of all, where it is above the limit."""
    if model is None:
        return
    value, index = strongest(blocks, model, scanner)
    if value > LIMIT:
        message = f"nerve stimulation of {value:.0%} of the limit: expected at most {LIMIT:.0%}"
        yield violation_at(blocks, index, "stimulation", message)


def strongest(blocks: Blocks, model: Model, scanner: Scanner) -> tuple[float, int]:
    """Return the strongest response of a sequence and the index of the block in which it is.

    Each distinct block is looked at once after each distinct history as long as the model's memory; what of a
    block lies later than that, once.
    """
    waves = Waveforms(blocks, scanner.waveform_step_s)
    memory = round(model.memory_s / waves.step_s)
    worst = (0.0, 0)
    pending = []
    for window in _windows(blocks, waves, memory):
        pending.append(window)
        if window.samples > 2 * memory or len(pending) == _BATCH:
            worst = max(worst, _respond(pending, waves, model, scanner))
            pending = []
    return max(worst, _respond(pending, waves, model, scanner)) if pending else worst


@dataclass(frozen=True)
class _Window:
    """A stretch of gradients that is looked at."""

    index: int
    """The block in question."""
    before: int
    """Samples before the start of the block."""
    skipped: int
    """Samples from the start of the window whose response does not count."""
    samples: int


def _windows(blocks: Blocks, waves: Waveforms, memory: int) -> Iterator[_Window]:
    """Yield each distinct block with what came before it; of a long block also what comes later, once."""
    codes = blocks.codes
    since = np.searchsorted(blocks.starts, blocks.starts - memory * waves.step_s, "right") - 1
    heads: set[bytes] = set()
    wholes: set[int] = set()
    for index, ids in enumerate(blocks.ids):
        if not any(ids[1:4]):
            continue
        key = codes[max(since[index], 0) : index + 1].tobytes()
        if key not in heads:
            heads.add(key)
            yield _Window(index, memory, memory - 1, 2 * memory)
        samples = round(blocks.durations[index] / waves.step_s)
        if samples > memory and codes[index] not in wholes:
            wholes.add(int(codes[index]))
            yield _Window(index, 0, memory, max(samples + 1, 2 * memory + 1))


def _respond(windows: list[_Window], waves: Waveforms, model: Model, scanner: Scanner) -> tuple[float, int]:
    """Return the strongest response within the blocks of some windows, the last of which may be longer."""
    blocks = waves.blocks
    worst = (0.0, 0)
    for group in (windows[:-1], windows[-1:]):
        if not group:
            continue
        starts = [blocks.starts[one.index] - one.before * waves.step_s for one in group]
        stack = np.stack([waves.window(at_s, one.samples) for at_s, one in zip(starts, group, strict=True)])
        slew = np.diff(stack, axis=1) / waves.step_s / gamma_hz_per_t(scanner.nucleus)
        response = model.response(slew, waves.step_s)
        for one, levels in zip(group, response, strict=True):
            end = one.before + round(blocks.durations[one.index] / waves.step_s)
            worst = max(worst, (float(levels[one.skipped : end].max(initial=0.0)), one.index))
    return worst
