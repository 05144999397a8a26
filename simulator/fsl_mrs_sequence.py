"""FSL-MRS's JSON description of a sequence (the input of `fsl_mrs_sim`) as a timeline of one shot.

What the keys mean is from FSL-MRS's documentation (docs/user_docs/seq_file_params.rst and simulation.rst of
wtclarke/fsl_mrs); the senses are from a public copy of its simulator, of which nothing is copied here. They are ours:
shifts, gradients and carriers turn downfield positive (H = shift Iz + gamma G r Iz, U = exp(-2 pi i H t)), B1 of phase
p lies along cos(p) x + sin(p) y, and order -1 is detected. One thing differs: it turns no spin back from the frame of
a pulse's carrier to that of the receiver. The phases of later pulses and of the receiver hold what that amounts to.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import gamma_hz_per_t, larmor_hz
from pulsespec.errors import SequenceError
from pulsespec.simulator.blocks import Rf
from pulsespec.simulator.orders import LARGEST_ORDER
from pulsespec.simulator.timeline import Pulse, Readout, Shot, Timeline, read_timeline

Real = NDArray[np.float64]

_NEEDED = ("B0", "Rx_Points", "Rx_SW", "x", "y", "z", "CoherenceFilter", "RF", "delays", "rephaseAreas")
_KNOWN = {
    *_NEEDED,
    *("sequenceName", "description", "Nucleus", "centralShift", "Rx_LW", "Rx_Phase", "resolution"),
    *("RFUnits", "GradUnits", "spaceUnits", "method", "spatiallyResolve"),
}
_OF_PULSE = {"time", "frequencyOffset", "phaseOffset", "amp", "phase", "grad", "ampScale", "ulim"}
_TESLA = {"t": 1.0, "mt": 1e-3, "ut": 1e-6}
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}


def is_description(path: Path) -> bool:
    """Return whether a file is JSON rather than Pulseq, by its first character."""
    try:
        with Path(path).open("rb") as file:
            return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except OSError:
        return False


def read_sequence(path: Path, f0_hz: float | None = None) -> Timeline:
    """Read what the simulator can play: a `.seq` file or an FSL-MRS description, told apart by content."""
    return read_description(path, f0_hz) if is_description(path) else read_timeline(path, f0_hz)


def read_description(path: Path, f0_hz: float | None = None) -> Timeline:
    """Read an FSL-MRS sequence description, or the one inside a basis function that FSL-MRS wrote.

    Parameters
    ----------
    path
        The JSON file.
    f0_hz
        Larmor frequency in Hz; by default that of the file's `B0`.

    Returns
    -------
    One shot without a nominal voxel: a slice is as thick as its profile. `resolution`, `Rx_LW` and `Rx_Phase` are
    not used, and all that pulses excite is integrated.

    Raises
    ------
    SequenceError
        The file is damaged, lacks a key, or has one that is not known, of a wrong length or in an unknown unit.

    """
    return _Description(Path(path)).timeline(f0_hz)


class _Description:
    """The content of a file, checked as it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw = path.read_bytes()
            content = json.loads(raw.decode("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise SequenceError(f"{path}: cannot be read as JSON ({error})") from error
        if isinstance(content, dict) and "RF" not in content and isinstance(content.get("seq"), dict):
            content = content["seq"]  # a basis function keeps the sequence that made it
        if not isinstance(content, dict):
            raise SequenceError(f"{path}: is not an FSL-MRS sequence description, but a {type(content)}")
        self.hash = hashlib.sha256(raw).hexdigest()
        renamed = {key: "Rx_" + key[3:] if key.startswith("RX_") else key for key in content}
        self.content: dict[str, Any] = {renamed[key]: value for key, value in content.items()}
        self._known(self.content, _KNOWN, "")
        for key in _NEEDED:
            self._of(self.content, key, "")
        self.nucleus = str(self.content.get("Nucleus", "1H"))
        self.gamma = gamma_hz_per_t(self.nucleus)

    def timeline(self, f0_hz: float | None) -> Timeline:
        """Return the description as a timeline."""
        rf = self.content["RF"]
        if not isinstance(rf, list) or not rf:
            raise self._error("RF", rf, "a list of at least one block")
        pulses = self._pulses(rf)
        points, width_hz = self._number("Rx_Points"), self._number("Rx_SW")
        if points < 1 or points != int(points) or width_hz <= 0:
            raise self._error("Rx_Points, Rx_SW", (points, width_hz), "a number of points and a width in Hz")
        if self.content.get("spatiallyResolve"):
            raise self._error("spatiallyResolve", True, "false: a basis is the sum over the voxel")
        readout = Readout(int(points), 1 / width_hz, 0.0)
        f0_hz = f0_hz or larmor_hz(self._number("B0"), self.nucleus)
        centre_ppm = self._number("centralShift", 0.0)
        carrier_ppm = centre_ppm + pulses[0].rf.offset_hz / f0_hz * 1e6
        shot = Shot(pulses, readout, self._phases(pulses, rf), False, 0, self._orders(len(pulses)))
        definitions = {"Name": str(self.content.get("sequenceName", "")), "CarrierPPM": carrier_ppm}
        return Timeline((shot,), f0_hz, self.nucleus, centre_ppm, definitions, self.hash)

    def _pulses(self, blocks: list[Any]) -> tuple[Pulse, ...]:
        count = len(blocks)
        delays = self._array(self.content["delays"], "delays", (count,))
        areas = self._array(self.content["rephaseAreas"], "rephaseAreas", (count, 3))
        if (delays < 0).any():
            raise self._error("delays", delays.tolist(), "times of at least 0 s")
        per_unit = self._gradient_unit()
        pulses = tuple(
            Pulse(self._rf(block, f"RF[{number}]"), area * per_unit, float(delay))
            for number, (block, area, delay) in enumerate(zip(blocks, areas, delays, strict=True))
        )
        self._within(pulses)
        return pulses

    def _rf(self, block: Any, where: str) -> Rf:
        if not isinstance(block, dict):
            raise self._error(where, block, "an object with time, amp, phase and grad")
        self._known(block, _OF_PULSE, f"{where}.")
        amp = self._array(self._of(block, "amp", f"{where}."), f"{where}.amp", None)
        phase = self._array(block.get("phase", np.zeros(amp.size)), f"{where}.phase", (amp.size,))
        time_s = self._scalar(self._of(block, "time", f"{where}."), f"{where}.time")
        if time_s <= 0:
            raise self._error(f"{where}.time", time_s, "a duration in s above 0")
        scale = self._rf_unit() * self._scalar(block.get("ampScale", 1.0), f"{where}.ampScale")
        grad = np.asarray(self._of(block, "grad", f"{where}."), dtype=object)
        shape = (3, amp.size) if grad.ndim == 2 else (3,)
        grad = self._array(grad.tolist(), f"{where}.grad", shape)
        gradient = np.broadcast_to(grad.reshape(3, -1).T * self._gradient_unit(), (amp.size, 3)).copy()
        offset_hz = self._scalar(block.get("frequencyOffset", 0.0), f"{where}.frequencyOffset")
        return Rf(scale * amp * np.exp(1j * phase), time_s, 0.0, offset_hz, gradient)

    def _phases(self, pulses: tuple[Pulse, ...], blocks: list[Any]) -> Real:
        """Return the phases of pulses and receiver in rad, (1, n + 1), with what carriers have turned before."""
        turned = np.cumsum([0.0, *(2 * np.pi * p.rf.offset_hz * p.rf.duration_s for p in pulses)])
        stated = [
            self._scalar(block.get("phaseOffset", 0.0), f"RF[{number}].phaseOffset")
            for number, block in enumerate(blocks)
        ]
        return np.asarray((turned + np.array([*stated, 0.0]))[None, :])

    def _orders(self, count: int) -> tuple[int | None, ...]:
        """Return the order after each pulse, `None` for any."""
        given = self.content["CoherenceFilter"]
        expected = (
            f"{count} orders from -{LARGEST_ORDER} to {LARGEST_ORDER} or null, one a block, the last -1"
        )
        if not isinstance(given, list) or len(given) != count:
            raise self._error("CoherenceFilter", given, expected)
        for order in given:
            whole = isinstance(order, (int, float)) and not isinstance(order, bool) and order == int(order)
            if order is not None and not (whole and abs(order) <= LARGEST_ORDER):
                raise self._error("CoherenceFilter", given, expected)
        if given[-1] not in (-1, None):
            raise self._error("CoherenceFilter", given, expected)
        return tuple(None if order is None else int(order) for order in given)

    def _within(self, pulses: tuple[Pulse, ...]) -> None:
        """Check that the middle of each slice lies in the range of its direction."""
        unit = self._unit("spaceUnits", "m", _METRES)
        ranges = np.array([self._array(self.content[key], key, (2,)) for key in "xyz"]) * unit
        for number, pulse in enumerate(pulses):
            gradient = pulse.rf.gradient_hz_per_m.mean(axis=0)
            if np.count_nonzero(gradient) != 1:
                continue
            axis = int(np.flatnonzero(gradient)[0])
            at_m = pulse.rf.offset_hz / gradient[axis]
            if not ranges[axis].min() <= at_m <= ranges[axis].max():
                limits = ", ".join(f"{1e3 * limit:g}" for limit in ranges[axis])
                raise SequenceError(
                    f"{self.path}: {'xyz'[axis]}: covers [{limits}] mm, but the slice of RF[{number}] lies "
                    f"at {1e3 * at_m:.4g} mm (frequencyOffset over grad)"
                )

    def _rf_unit(self) -> float:
        """Return Hz for each unit of B1."""
        return self._unit("RFUnits", "Hz", {"hz": 1.0} | {key: self.gamma * t for key, t in _TESLA.items()})

    def _gradient_unit(self) -> float:
        """Return Hz/m for each unit of gradient.

        Hz/m is refused: the documentation allows it, the program takes it for a thousand times as much.
        """
        return self.gamma * self._unit("GradUnits", "T", {"t": 1.0, "mt": 1e-3})

    def _unit(self, key: str, default: str, units: dict[str, float]) -> float:
        given = str(self.content.get(key, default))
        if given.lower() not in units:
            raise self._error(key, given, f"one of {', '.join(units)}")
        return units[given.lower()]

    def _number(self, key: str, default: float | None = None) -> float:
        return self._scalar(self.content.get(key, default), key)

    def _scalar(self, value: Any, where: str) -> float:
        return float(self._array(value, where, ()))

    def _array(self, value: Any, where: str, shape: tuple[int, ...] | None) -> Real:
        """Return finite numbers of a shape, or of any length of at least one where it is `None`."""
        expected = f"numbers of shape {shape}" if shape is not None else "a list of at least one number"
        try:
            found = np.asarray(value, dtype=float)
        except (TypeError, ValueError) as error:
            raise self._error(where, value, expected) from error
        right = found.shape == shape if shape is not None else found.ndim == 1 and found.size > 0
        if not right or not np.isfinite(found).all():
            raise self._error(where, value, expected)
        return found

    def _of(self, content: dict[str, Any], key: str, where: str) -> Any:
        if key not in content:
            raise SequenceError(f"{self.path}: has no {where}{key}, which a description of a sequence needs")
        return content[key]

    def _known(self, content: dict[str, Any], known: set[str], where: str) -> None:
        unknown = sorted(set(content) - known)
        if unknown:
            raise SequenceError(
                f"{self.path}: {where}{unknown[0]}: is not known; known are {', '.join(sorted(known))}"
            )

    def _error(self, where: str, got: Any, expected: str) -> SequenceError:
        words = repr(got)
        return SequenceError(
            f"{self.path}: {where}: got {words if len(words) < 80 else words[:77] + '...'}, expected {expected}"
        )
