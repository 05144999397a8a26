"""A picture of one shot of a `.seq`: pulses, gradients, readout, echo times and the wanted pathway."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import InputError, SequenceError
from pulsespec.files import attempt
from pulsespec.sequences.slr import longitudinal
from pulsespec.simulator.blocks import corners

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES = ("gx", "gy", "gz")
_COLOURS = {"rf": "#1f4e79", "gx": "#b5482a", "gy": "#3b7d3b", "gz": "#6a4c93", "adc": "#444444"}
_SHOWN_READOUT_S = 12e-3
"""Length of a readout that is drawn; the rest is cut off."""


@dataclass(frozen=True)
class _Window:
    """The blocks of a shot with their start times in s."""

    blocks: list[Any]
    starts: list[float]
    definitions: dict[str, Any]

    @property
    def pulses(self) -> list[int]:
        """Indices of the blocks that have a pulse."""
        return [k for k, block in enumerate(self.blocks) if block.rf is not None]


def figure(path: Path, *, shot: int = 0) -> "Figure":
    """Return a picture of the shot that ends with readout number `shot`, from 0.

    Above the whole repetition with its preparation, below the localisation with its echo times and the wanted
    coherence pathway.

    Raises
    ------
    SequenceError
        The file cannot be read.
    InputError
        It has no readout of that number.

    """
    from matplotlib.figure import Figure

    window = _window(Path(path), shot)
    orders = [int(order) for order in np.ravel(window.definitions.get("Pathway", ()))]
    localised = window.pulses[-len(orders) :] if orders else window.pulses[-1:]
    begin, end = window.starts[localised[0]], window.starts[-1] + _readout_end(window.blocks[-1])
    made = Figure(figsize=(12, 9), layout="constrained")
    title = f"{window.definitions.get('ProtocolName', path.name)} on {window.definitions.get('Scanner', '?')}"
    made.suptitle(title, fontsize=13)
    above, below = np.ravel(np.asarray(made.subfigures(2, 1, height_ratios=[2, 5])))
    whole = above.subplots(2, 1, sharex=True)
    _overview(whole, window, end)
    rows = below.subplots(6, 1, sharex=True, height_ratios=[2, 1, 1, 1, 0.6, 1.2])
    _draw(rows[:5], window, begin, end)
    _pathway(rows[5], window, localised, orders, end)
    _times(rows[0], window, begin)
    margin = 0.02 * (end - begin)
    rows[5].set_xlim((begin - margin) * 1e3, (end + margin) * 1e3)
    rows[5].set_xlabel("time from the first pulse of the repetition (ms)")
    return made


def _window(path: Path, shot: int) -> _Window:
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    _, words = attempt(lambda: sequence.read(str(path)))
    if words:
        raise SequenceError(f"{path}: cannot be read as a Pulseq file ({words})")
    numbers = list(sequence.block_events)
    readouts = [k for k, n in enumerate(numbers) if sequence.block_events[n][5]]
    if not 0 <= shot < len(readouts):
        raise InputError(f"--shot: got {shot}, and {path} has {len(readouts)} readouts, counted from 0")
    last = readouts[shot]
    first = readouts[shot - 1] + 1 if shot else 0
    durations = [float(sequence.block_durations[n]) for n in numbers]
    repetition_s = float(np.ravel(sequence.definitions.get("TR", np.inf))[0])
    while sum(durations[first : last + 1]) > repetition_s + 1e-9:
        first += 1
    while first < last and not sequence.block_events[numbers[first]][1]:
        first += 1  # what is left of the repetition before
    blocks = [sequence.get_block(n) for n in numbers[first : last + 1]]
    starts = np.concatenate([[0.0], np.cumsum(durations[first : last + 1])])[:-1]
    return _Window(blocks, [float(s) for s in starts], dict(sequence.definitions))


def _readout_end(block: Any) -> float:
    length = float(block.adc.num_samples * block.adc.dwell)
    return float(block.adc.delay) + min(length, _SHOWN_READOUT_S)


def _b1_ut(rf: Any, window: _Window) -> NDArray[np.complex128]:
    gamma = gamma_hz_per_t(str(window.definitions.get("Nucleus", "1H")))
    return np.asarray(np.asarray(rf.signal, np.complex128) / gamma * 1e6, np.complex128)


def _overview(axes: Any, window: _Window, end: float) -> None:
    rf, gradients = axes
    for block, start in zip(window.blocks, window.starts, strict=True):
        if block.rf is not None:
            t = (start + block.rf.delay + np.asarray(block.rf.t)) * 1e3
            rf.fill_between(t, np.abs(_b1_ut(block.rf, window)), color=_COLOURS["rf"], lw=0)
        for name in _AXES:
            _gradient(gradients, block, name, start, window, end)
    rf.set_ylabel("|B1| (uT)")
    gradients.set_ylabel("G (mT/m)")
    gradients.set_xlabel("the whole repetition up to its readout (ms)")
    gradients.set_xlim(0, end * 1e3)


def _gradient(axes: "Axes", block: Any, name: str, start: float, window: _Window, end: float) -> None:
    gradient = getattr(block, name)
    if gradient is None:
        return
    times, values = corners(gradient)
    gamma = gamma_hz_per_t(str(window.definitions.get("Nucleus", "1H")))
    shown = start + times <= end + 1e-6
    axes.plot((start + times[shown]) * 1e3, values[shown] / gamma * 1e3, color=_COLOURS[name], lw=1)


def _draw(axes: Any, window: _Window, begin: float, end: float) -> None:
    rf, x, y, z, adc = axes
    for block, start in zip(window.blocks, window.starts, strict=True):
        if start + float(block.block_duration) < begin - 1e-9:
            continue
        if block.rf is not None:
            _pulse(rf, block.rf, start, window)
        for name, axis in zip(_AXES, (x, y, z), strict=True):
            _gradient(axis, block, name, start, window, end)
        if block.adc is not None:
            edge = start + float(block.adc.delay)
            adc.axvspan(edge * 1e3, end * 1e3, color=_COLOURS["adc"], alpha=0.35, lw=0)
    for axis, name in zip((x, y, z), ("Gx", "Gy", "Gz"), strict=True):
        axis.axhline(0, color="0.8", lw=0.6)
        axis.set_ylabel(f"{name}\n(mT/m)")
    rf.set_ylabel("B1 (uT)")
    adc.set_ylabel("ADC")
    adc.set_yticks([])


def _pulse(axes: "Axes", rf: Any, start: float, window: _Window) -> None:
    b1 = _b1_ut(rf, window)
    t = (start + rf.delay + np.asarray(rf.t)) * 1e3
    real = np.abs(b1.imag).max(initial=0) < 1e-6 * max(np.abs(b1).max(initial=0), 1e-12)
    drawn: NDArray[np.float64] = np.asarray(b1.real if real else np.abs(b1), np.float64)
    axes.plot(t, drawn, color=_COLOURS["rf"], lw=1.2)
    axes.axhline(0, color="0.8", lw=0.6)
    centre = (start + rf.delay + rf.center) * 1e3
    top = float(np.abs(b1).max(initial=0))
    flip = _flip_deg(rf)
    axes.annotate(
        f"{rf.use}\n{flip:.0f}°" if flip >= 1 else f"{rf.use}\n(silent)",
        (centre, top),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color="0.3",
    )


def _flip_deg(rf: Any) -> float:
    """Return the angle by which a pulse turns what resonates at its carrier."""
    step_s = float(rf.t[1] - rf.t[0]) if len(rf.t) > 1 else float(rf.shape_dur)
    left = float(longitudinal(np.asarray(rf.signal), step_s, np.zeros(1))[0])
    return float(np.rad2deg(np.arccos(np.clip(left, -1, 1))))


def _pathway(axes: "Axes", window: _Window, localised: list[int], orders: list[int], end: float) -> None:
    axes.set_ylabel("order")
    axes.set_yticks([-1, 0, 1])
    axes.set_ylim(-1.6, 1.6)
    axes.grid(axis="y", color="0.9")
    if not orders:
        return
    centres = [
        window.starts[k] + float(window.blocks[k].rf.delay + window.blocks[k].rf.center) for k in localised
    ]
    times = np.repeat([*centres, end], 2)[1:-1]
    levels = np.repeat(orders, 2)
    axes.plot(
        np.concatenate([[centres[0]], times]) * 1e3,
        np.concatenate([[0], levels]),
        color=_COLOURS["rf"],
        lw=1.8,
        drawstyle="default",
    )


def _times(axes: "Axes", window: _Window, begin: float) -> None:
    """Draw the definitions TE, TE1 and TM over the pulses."""
    orders = [int(order) for order in np.ravel(window.definitions.get("Pathway", ()))]
    if not orders or "TE" not in window.definitions:
        return
    localised = window.pulses[-len(orders) :]
    centres = [
        window.starts[k] + float(window.blocks[k].rf.delay + window.blocks[k].rf.center) for k in localised
    ]
    excitation = next(c for c, order in zip(centres, orders, strict=True) if order)
    te, tm = (float(np.ravel(window.definitions.get(key, 0.0))[0]) for key in ("TE", "TM"))
    top = axes.get_ylim()[1]
    axes.set_ylim(axes.get_ylim()[0], 2.15 * top)
    level = 1.85 * top
    spans = [
        (excitation, excitation + te + tm, f"TE {te * 1e3:g} ms" + (f" + TM {tm * 1e3:g} ms" if tm else ""))
    ]
    te1 = window.definitions.get("TE1")
    if te1 is not None:
        te1_s = float(np.ravel(te1)[0])
        spans.append((excitation, excitation + te1_s, f"TE1 {te1_s * 1e3:g} ms"))
    for number, (low, high, text) in enumerate(spans):
        height = level - 0.22 * top * number
        axes.annotate(
            "", (low * 1e3, height), (high * 1e3, height), arrowprops={"arrowstyle": "<->", "color": "0.4"}
        )
        axes.text(high * 1e3, height, f" {text}", fontsize=8, color="0.3", va="center")
