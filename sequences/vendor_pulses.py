"""Pulses from files: Siemens `.pta` and text of two columns, scaled and resampled for a scanner."""

import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from pulsespec.errors import DataError, InputError
from pulsespec.sequences.pulse import Pulse, Use
from pulsespec.sequences.slr import cayley_klein, longitudinal, width_hz

_HEADER = re.compile(r"^([A-Z_]+)\s*:\s*(.*)$")
_COUNTER = re.compile(r"^\(\s*(\d+)\s*\)$")
_SUM_TOLERANCE = 0.01
"""How far the sum of amplitudes may be from the header's `ABSINT`, as part of it: more means missing rows."""
_LOST_ENERGY = 0.02
"""Part of a pulse's energy that resampling may lose before its steps are called too long."""
_TRIALS = np.linspace(0.02, 3, 150)
"""B1 at which a phase-modulated pulse is tried, over the B1 at which its |B1| would integrate to the flip."""


def read_pulse(
    path: str | Path,
    *,
    duration_s: float,
    step_s: float,
    use: Use,
    flip_rad: float | None = None,
    peak_b1_hz: float | None = None,
    phase_unit: Literal["rad", "deg"] = "rad",
) -> Pulse:
    """Read a pulse from a file, play it in `duration_s` and scale it.

    A `.pta` file has header lines `KEY: value` (`PULSENAME`, `ABSINT`, ...) and rows `amplitude phase ; (k)`
    with the phase in rad. Any other file has rows of amplitude and phase, separated by blanks, tabs or a comma,
    and comments after `#`; a row of one column has no phase. The phase is taken in the Pulseq sense, that of
    exp(+i phase).

    Parameters
    ----------
    path
        File to read.
    duration_s, step_s
        Length of the pulse and of its steps on the scanner; B1 is averaged over each step.
    use
        What the pulse is for, in the words of Pulseq.
    flip_rad
        Flip angle on resonance, more than 0 and at most pi: the least B1 that gives it is taken.
    peak_b1_hz
        Peak gamma B1 / 2 pi instead of a flip angle: for adiabatic pulses.
    phase_unit
        Unit of the second column of a file that is not `.pta`.

    Raises
    ------
    DataError
        The file cannot be read as a pulse; the message names file and line.
    InputError
        An argument is wrong, or the pulse cannot have this flip angle or these steps.

    """
    path = Path(path)
    steps = _steps(duration_s, step_s)
    if (flip_rad is None) == (peak_b1_hz is None):
        raise InputError("read_pulse: expected one of flip_rad and peak_b1_hz")
    if flip_rad is not None and not 0 < flip_rad <= np.pi:
        raise InputError(f"flip_rad: got {flip_rad}, expected more than 0 and at most pi")
    if peak_b1_hz is not None and not 0 < peak_b1_hz < np.inf:
        raise InputError(f"peak_b1_hz: got {peak_b1_hz}, expected a positive number")
    if phase_unit not in ("rad", "deg"):
        raise InputError(f"phase_unit: got {phase_unit!r}, expected 'rad' or 'deg'")
    name, shape = _read(path, phase_unit)
    shape = _resampled(path, shape, steps)
    if flip_rad is not None:
        shape = shape * _scale(path, shape, duration_s / steps, flip_rad)
    elif peak_b1_hz is not None:
        shape = shape * (peak_b1_hz / np.abs(shape).max())
    width, centre_s = _profile(path, shape, duration_s, use)
    return Pulse(name, use, shape, duration_s, width, centre_s)


def _steps(duration_s: float, step_s: float) -> int:
    """Return the number of steps of a pulse; `InputError` where the duration is not a multiple of one."""
    steps = round(duration_s / step_s) if duration_s > 0 and step_s > 0 else 0
    if steps < 2 or abs(steps * step_s - duration_s) > 1e-9:
        raise InputError(
            f"duration_s: got {duration_s}, expected a multiple, 2 or more, of step_s = {step_s}"
        )
    return steps


def _read(path: Path, phase_unit: str) -> tuple[str, NDArray[np.complex128]]:
    """Return name and complex shape of a file, with peak 1; shape (n,)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error
    pta = path.suffix.lower() == ".pta"
    header: dict[str, str] = {}
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(lines, 1):
        found = _HEADER.match(line.strip()) if pta and not rows else None
        if found:
            header[found[1]] = found[2].strip()
            continue
        data, _, counter = line.partition(";" if pta else "#")
        if data.strip():
            rows.append(_row(path, number, data, pta))
            _check_counter(path, number, counter.strip() if pta else "", len(rows))
    table = np.array(rows).reshape(-1, 2)
    if len(table) < 2 or not table[:, 0].any():
        raise DataError(f"{path}: {len(table)} rows, none or all zero: expected rows of amplitude and phase")
    _check_sum(path, header.get("ABSINT", ""), float(np.abs(table[:, 0]).sum()))
    phase = table[:, 1] if pta or phase_unit == "rad" else np.radians(table[:, 1])
    shape = table[:, 0] * np.exp(1j * phase)
    if np.abs(shape.imag).max() < 1e-4 * np.abs(shape).max():  # phases of 0 and pi in a few digits
        shape = shape.real.astype(complex)
    return header.get("PULSENAME") or path.stem, shape / np.abs(shape).max()


def _row(path: Path, number: int, data: str, pta: bool) -> tuple[float, float]:
    fields = data.replace(",", " ").split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = []
    if len(values) not in ((2,) if pta else (1, 2)) or not np.all(np.isfinite(values)):
        raise DataError(
            f"{path}, line {number}: got {data.strip()!r}, expected amplitude and phase as numbers"
        )
    return values[0], values[1] if len(values) == 2 else 0.0


def _check_counter(path: Path, number: int, counter: str, row: int) -> None:
    """Refuse a row whose counter, from 0 or 1, says that rows are missing before it."""
    found = _COUNTER.match(counter)
    if found and int(found[1]) not in (row - 1, row):
        raise DataError(
            f"{path}, line {number}: row {row} is numbered ({found[1]}): rows are missing or doubled"
        )


def _check_sum(path: Path, stated: str, total: float) -> None:
    """Refuse a file whose amplitudes do not add up to what its header says, where it says it."""
    try:
        expected = float(stated) if stated else 0.0
    except ValueError as error:
        raise DataError(f"{path}: ABSINT: got {stated!r}, expected a number") from error
    if expected > 0 and abs(total - expected) > _SUM_TOLERANCE * expected:
        raise DataError(
            f"{path}: the amplitudes add up to {total:.3f}, the header's ABSINT says {expected:.3f}: "
            "rows are missing, or the header is another pulse's"
        )


def _resampled(path: Path, shape: NDArray[np.complex128], steps: int) -> NDArray[np.complex128]:
    """Return the mean over each of `steps` equal parts, which keeps the integral; shape (steps,)."""
    if steps == shape.size:
        return shape
    knots = np.arange(shape.size + 1.0)
    total = np.concatenate([[0.0], np.cumsum(shape)])
    edges = np.linspace(0, shape.size, steps + 1)
    made = np.diff(np.interp(edges, knots, total.real) + 1j * np.interp(edges, knots, total.imag))
    made = np.asarray(made * steps / shape.size)
    before, after = np.mean(np.abs(shape) ** 2), np.mean(np.abs(made) ** 2)
    if after < (1 - _LOST_ENERGY) * before:
        raise InputError(
            f"{path}: {steps} steps lose {100 * (1 - after / before):.0f} % of the pulse's energy, which has "
            f"{shape.size}: expected shorter steps"
        )
    return made


def _scale(path: Path, shape: NDArray[np.complex128], step_s: float, flip_rad: float) -> float:
    """Return the least factor at which a spin on resonance is turned by `flip_rad`."""
    if not shape.imag.any():
        area = abs(float(shape.real.sum())) * step_s
        if area < 1e-3 * float(np.abs(shape).sum()) * step_s:
            raise InputError(f"{path}: B1 integrates to zero: no flip angle on resonance; give peak_b1_hz")
        return flip_rad / (2 * np.pi * area)
    unit = flip_rad / (2 * np.pi * float(np.abs(shape).sum()) * step_s)
    zero = np.zeros(1)

    def missing(factor: float) -> float:
        turned = np.arccos(np.clip(longitudinal(factor * unit * shape, step_s, zero)[0], -1, 1))
        return float(turned - flip_rad)

    left = np.array([missing(factor) for factor in _TRIALS])
    reached = np.flatnonzero(left >= 0)
    if reached.size and reached[0] > 0:
        low, high = _TRIALS[reached[0] - 1], _TRIALS[reached[0]]
        return float(brentq(missing, low, high, xtol=1e-9)) * unit
    raise InputError(
        f"{path}: turns a spin on resonance by at most {np.degrees(left.max() + flip_rad):.1f} degrees where "
        f"{np.degrees(flip_rad):.1f} are asked for; give peak_b1_hz"
    )


def _profile(path: Path, b1_hz: NDArray[np.complex128], duration_s: float, use: Use) -> tuple[float, float]:
    """Return the width in Hz of what the pulse is used for, and its centre in s from its start."""
    step_s, turning = duration_s / b1_hz.size, use in ("refocusing", "inversion")
    span = 4 / duration_s
    while True:
        offset = np.linspace(-span, span, 2 * int(20 * span * duration_s) + 1)
        a, b = cayley_klein(b1_hz, step_s, offset)
        effect = -(b**2) if turning else 2 * np.conj(a) * b
        try:
            width = width_hz(offset, effect)
            break
        except InputError as error:
            span *= 2
            if span > 0.5 / step_s:
                raise InputError(f"{path}: as {use} pulse it has no band around its carrier") from error
    middle = np.abs(offset) <= 0.3 * width
    turns = np.unwrap(np.angle(effect[middle])) / (2 * np.pi)
    slope = float(np.polyfit(offset[middle], turns, 1)[0])
    return width, round((duration_s - slope) / 2 if turning else duration_s - slope, 10)
