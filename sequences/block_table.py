"""The blocks of a Pulseq sequence by what they play: what is equal is taken apart once, however often it comes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.blocks import corners

AXES = ("gx", "gy", "gz")
_NS = 1e9


class Blocks:
    """Numbers, starts and events of all blocks of a `pypulseq.Sequence`.

    pypulseq unpacks the shape of a pulse for each block anew; here only one block is unpacked for each event.
    """

    def __init__(self, sequence: Any) -> None:
        self.sequence = sequence
        self.numbers = [int(number) for number in sequence.block_events]
        """Numbers of the blocks, from 1."""
        self.durations = np.array([float(sequence.block_durations[number]) for number in self.numbers])
        """Durations in s; shape (n,)."""
        self.starts = np.concatenate([[0.0], np.cumsum(self.durations)])[:-1]
        """Starts in s from the start of the sequence; shape (n,)."""
        self.ids = [tuple(int(i) for i in sequence.block_events[number][1:7]) for number in self.numbers]
        """Of each block the numbers of its pulse, x, y and z gradient, readout and extensions; 0 for none."""
        self._corners: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._pulses: dict[tuple[Any, ...], Any] = {}
        self._holders: list[dict[int, int]] = [{}, {}]
        for index, (rf, *gradients, _, _) in enumerate(self.ids):
            self._holders[0].setdefault(rf, index)
            for gradient in gradients:
                self._holders[1].setdefault(gradient, index)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.numbers)

    @property
    def duration_s(self) -> float:
        """Duration of the sequence."""
        return float(self.durations.sum())

    @property
    def codes(self) -> NDArray[np.int64]:
        """Return a number for each block, shape (n,), equal where gradients and duration are."""
        known: dict[tuple[int, ...], int] = {}
        keys = ((*ids[1:4], ns) for ids, ns in zip(self.ids, np.rint(self.durations * _NS), strict=True))
        return np.array([known.setdefault(key, len(known)) for key in keys])

    def pulse_key(self, rf: int) -> tuple[Any, ...]:
        """Return what is equal for pulses that differ in nothing but frequency and phase."""
        kind = self.sequence.rf_library.type.get(rf, "u")
        return (*self.sequence.rf_library.data[rf][:6], kind)

    def pulse(self, rf: int) -> Any:
        """Return a pulse of pypulseq; frequency and phase may be those of an otherwise equal one."""
        key = self.pulse_key(rf)
        if key not in self._pulses:
            self._pulses[key] = self.sequence.get_block(self.numbers[self._holders[0][rf]]).rf
        return self._pulses[key]

    def gradient(self, number: int) -> Any:
        """Return a gradient of pypulseq."""
        index = self._holders[1][number]
        axis = AXES[self.ids[index][1:4].index(number)]
        return getattr(self.sequence.get_block(self.numbers[index]), axis)

    def corners(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return times in s from the start of the block and values in Hz/m at the corners of a gradient."""
        if number not in self._corners:
            self._corners[number] = corners(self.gradient(number) if number else None)
        return self._corners[number]

    def readout(self, adc: int) -> tuple[int, float, float]:
        """Return samples, dwell time and delay in s of a readout."""
        samples, dwell_s, delay_s = self.sequence.adc_library.data[adc][:3]
        return int(samples), float(dwell_s), float(delay_s)


class Waveforms:
    """The gradients of a sequence on a raster, put together for any stretch of time."""

    def __init__(self, blocks: Blocks, step_s: float) -> None:
        self.blocks = blocks
        self.step_s = step_s
        self._known: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def window(self, start_s: float, samples: int) -> NDArray[np.float64]:
        """Return the gradients in Hz/m from a time on, zero outside the sequence; shape (samples, 3)."""
        result = np.zeros((samples, 3))
        starts = self.blocks.starts
        first = max(int(np.searchsorted(starts, start_s + self.step_s / 2, "right")) - 1, 0)
        last = int(np.searchsorted(starts, start_s + samples * self.step_s, "left"))
        for index in range(first, last):
            if any(self.blocks.ids[index][1:4]):
                wave = self._of(index)
                offset = round((starts[index] - start_s) / self.step_s)
                low, high = max(offset, 0), min(offset + wave.shape[0], samples)
                if high > low:
                    result[low:high] = wave[low - offset : high - offset]
        return result

    def _of(self, index: int) -> NDArray[np.float64]:
        """Return the gradients of a block from its start to its end; shape (n + 1, 3)."""
        intervals = round(self.blocks.durations[index] / self.step_s)
        gradients = self.blocks.ids[index][1:4]
        key = (intervals, *gradients)
        if key not in self._known:
            times = np.arange(intervals + 1) * self.step_s
            wave = np.zeros((times.size, 3))
            for axis, number in enumerate(gradients):
                if number:
                    wave[:, axis] = np.interp(times, *self.blocks.corners(number), left=0.0, right=0.0)
            self._known[key] = wave
        return self._known[key]
