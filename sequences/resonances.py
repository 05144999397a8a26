"""Whether gradients oscillate at a mechanical resonance of their coil.

The spectrum of each gradient is taken over 50 ms (the window of pypulseq's own spectra) with a Hann window, half of it
beyond the next. A line within a forbidden band is a violation from 4.8 mT/m on: the amplitude of a lasting
oscillation at which GE's check of the gradient spectrum stops (a threshold of 0.3 mT/m on a spectrum diluted eight
times by zeros, of which a real oscillation has half on either side; read in a public copy). Single lobes, such as
crushers, have no line.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.sequences.block_table import AXES, Blocks, Waveforms
from pulsespec.sequences.scanner import Scanner
from pulsespec.sequences.violations import Violation, violation_at

_WINDOW_S = 50e-3
_LIMIT_MT_PER_M = 4.8
_STEP_HZ = 2.5
_BATCH = 32
_SAMPLES_A_PERIOD = 8

Band = tuple[float, float]


def check_resonances(
    blocks: Blocks, bands_hz: Sequence[Sequence[Band]], scanner: Scanner
) -> Iterator[Violation]:
    """Yield for each axis and band the first block from which a gradient oscillates in it.

    Parameters
    ----------
    blocks
        The sequence.
    bands_hz
        For x, y and z the forbidden bands (from, to).
    scanner
        For its raster and nucleus.

    """
    wanted = [(axis, band) for axis, bands in enumerate(bands_hz) for band in bands]
    if not wanted:
        return
    waves = Waveforms(blocks, scanner.waveform_step_s)
    highest_hz = max(high for _, (_, high) in wanted)
    together = max(int(1 / (_SAMPLES_A_PERIOD * highest_hz * waves.step_s)), 1)
    groups = round(_WINDOW_S / (together * waves.step_s))
    probes = [_probe(band, groups, together * waves.step_s) for _, band in wanted]
    found: set[int] = set()
    windows = list(_windows(blocks, waves))
    for start in range(0, len(windows), _BATCH):
        batch = windows[start : start + _BATCH]
        stack = np.stack([_means(waves.window(at_s, groups * together), together) for _, at_s in batch])
        stack *= 1e3 / gamma_hz_per_t(scanner.nucleus)
        for number, ((axis, (low, high)), (frequencies, kernel)) in enumerate(
            zip(wanted, probes, strict=True)
        ):
            if number in found:
                continue
            lines = _lines(np.abs(stack[:, :, axis] @ kernel))
            if not lines.any():
                continue
            found.add(number)
            which, line = (int(value) for value in np.argwhere(lines)[0])
            at_hz = frequencies[line + 1]
            message = f"{AXES[axis]} oscillates at {at_hz:.0f} Hz: forbidden from {low:.0f} to {high:.0f} Hz"
            yield violation_at(blocks, batch[which][0], "resonance", message)


def _means(waveform: NDArray[np.float64], together: int) -> NDArray[np.float64]:
    """Return the means of so many samples at a time; shape (samples / together, 3)."""
    return np.asarray(sum(waveform[first::together] for first in range(together)) / together)


def _probe(band: Band, samples: int, step_s: float) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return frequencies over a band and one step beyond, and what turns a waveform into its amplitudes there.

    The samples are means over their step, which is made good. Shapes (m,) and (samples, m).
    """
    low, high = band
    inside = np.linspace(low, high, max(int(np.ceil((high - low) / _STEP_HZ)), 2) + 1)
    width = inside[1] - inside[0]
    frequencies = np.concatenate([[low - width], inside, [high + width]])
    times = (np.arange(samples) + 0.5) * step_s
    hann = 1 - np.cos(2 * np.pi * times / (samples * step_s))
    kernel = 2 / samples * hann[:, None] * np.exp(-2j * np.pi * times[:, None] * frequencies)
    return frequencies, np.asarray(kernel / np.sinc(frequencies * step_s))


def _lines(amplitudes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where, between its first and last column, each spectrum has a line above the limit."""
    middle = amplitudes[:, 1:-1]
    peak = (middle >= amplitudes[:, :-2]) & (middle >= amplitudes[:, 2:])
    return np.asarray(peak & (middle > _LIMIT_MT_PER_M))


def _windows(blocks: Blocks, waves: Waveforms) -> Iterator[tuple[int, float]]:
    """Yield block and start in s of distinct windows that overlap by half wherever there are gradients."""
    codes, ends = blocks.codes, blocks.starts + blocks.durations
    seen: set[tuple[int, bytes]] = set()
    playing = np.array([index for index, ids in enumerate(blocks.ids) if any(ids[1:4])], dtype=int)
    at_s, position = 0.0, 0
    while position < playing.size:
        index = int(playing[position])
        at_s = max(at_s, float(blocks.starts[index]))
        last = int(np.searchsorted(blocks.starts, at_s + _WINDOW_S, "left"))
        key = (round((at_s - blocks.starts[index]) * 1e9), codes[index:last].tobytes())
        if key not in seen:
            seen.add(key)
            yield index, at_s
        next_s = at_s + _WINDOW_S / 2
        later = int(np.searchsorted(ends[playing], next_s + waves.step_s, "right"))
        # From a start of a block where there is one in this half, so that repetitions look alike.
        if later < playing.size and at_s < blocks.starts[playing[later]] < next_s:
            next_s = float(blocks.starts[playing[later]])
        at_s, position = next_s, max(later, position)
