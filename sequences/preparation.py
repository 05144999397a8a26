r"""What a repetition plays before its localisation: water suppression, outer-volume saturation, inversion.

    inversion ... ~90~ spoil ~150~ spoil  |bands, each with a spoiler|  ~150~ spoil   excitation
        |<---------------------------- TI ------------------------------------------->|

Each of them is an item with a time relative to the centre of the excitation; what is left between two items is
a pause. The bands stand in the last gap of the suppression that has room for them, or before a short one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import gamma_hz_per_t
from pulsespec.errors import SequenceError
from pulsespec.protocols import FlipSeries, Inversion, OuterVolume, Protocol, WaterSuppression
from pulsespec.sequences import parts
from pulsespec.sequences.adiabatic import hyperbolic_secant
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulse import Pulse
from pulsespec.sequences.pulses import (
    SILENT,
    Played,
    ceil_to,
    everywhere,
    hard,
    on_slice,
    peak_b1_hz,
    scaled,
    selective,
    selective_step_s,
    shift_hz,
    slr_design,
)
from pulsespec.sequences.scanner import Scanner

_SPOILER_S, _BAND_SPOILER_S, _SPOILER_T_PER_M = 3.4e-3, 1.6e-3, 25e-3
_BANDS_HOLD_S = 0.2
"""How long before the excitation bands may end: a lipid of T1 0.29 s, nulled by as long an inversion time, has
then regained a half."""
_SUPPRESSION_STEP_S = 50e-6
"""Aim for the length of a step of a suppression pulse, whose band is narrow."""

SPOILERS = (
    (0.96, -0.43, -0.38),
    (-0.92, 1.0, 0.43),
    (-0.43, -0.91, 0.99),
    (-0.77, 0.65, -0.9),
    (-0.97, 0.4, 0.49),
    (0.99, 0.93, 0.61),
    (-0.49, 0.42, -0.44),
    (-0.79, -0.47, -0.93),
)
"""Amplitudes (x, y, z) of the spoiler after each suppression pulse, the last ones where there are fewer.

Found by a random search for the set whose smallest sum over all coherence pathways, through the suppression
and the PRESS after it, is largest.
"""

BAND_SPOILERS = (
    (0.9, 0.3, -0.8),
    (-0.7, 0.95, 0.35),
    (0.45, -0.85, 0.9),
    (0.95, 0.75, 0.4),
    (-0.35, 0.6, -0.95),
    (0.8, -0.5, -0.65),
    (-0.9, -0.75, 0.55),
    (0.55, 0.9, 0.8),
)
"""The same after each outer-volume band."""


@dataclass(frozen=True)
class PreparedBlock:
    """A block of the preparation."""

    events: list[Any]
    for_water: list[Any]
    """What a water reference plays instead: the same without the pulses that suppress water."""

    def select(self, water: bool) -> list[Any]:
        """Return what a water reference plays, or any other shot."""
        return self.for_water if water else self.events


@dataclass(frozen=True)
class _Item:
    """Blocks that start at a time."""

    name: str
    start_s: float
    """From the centre of the excitation; negative."""
    blocks: tuple[PreparedBlock, ...]
    key: str = ""
    """What in the protocol moves it, and all of its section that comes before, further from the excitation."""
    value_ms: float = 0.0
    """The value of that key."""

    @property
    def end_s(self) -> float:
        return self.start_s + sum(float(pypulseq.calc_duration(*block.events)) for block in self.blocks)


def preparation(
    protocol: Protocol, scanner: Scanner, frame: Frame, before_excitation_s: float, condition: int = 0
) -> tuple[PreparedBlock, ...]:
    """Return the blocks before the localisation, in the order in which they are played.

    `before_excitation_s` is the time from the start of the localisation to the excitation's centre;
    `condition` chooses the flip angle of a series.

    Raises
    ------
    SequenceError
        Two items overlap, or one needs more B1 or gradient than there is; the message says what to change.

    """
    items = _suppression(protocol, scanner, frame)
    if protocol.inversion is not None:
        items.append(_inversion(protocol, scanner, frame))
    if protocol.flip_series is not None:
        items.append(_flip(protocol.flip_series, scanner, frame, -before_excitation_s, condition))
    items.sort(key=lambda item: item.start_s)
    if protocol.outer_volume is not None:
        blocks = _bands(protocol, protocol.outer_volume, scanner, frame)
        items.append(_placed(protocol, blocks, items, -before_excitation_s))
        items.sort(key=lambda item: item.start_s)
    return _joined(protocol, scanner, items, -before_excitation_s)


def _joined(
    protocol: Protocol, scanner: Scanner, items: Sequence[_Item], end_s: float
) -> tuple[PreparedBlock, ...]:
    """Return the blocks of all items, the last of each as long as it takes to the next item."""
    if not items:
        return ()
    blocks: list[PreparedBlock] = []
    for item, next_start_s, next_name in zip(
        items,
        [*(item.start_s for item in items[1:]), end_s],
        [*(item.name for item in items[1:]), "the localisation"],
        strict=True,
    ):
        rest_s = round((next_start_s - item.end_s) / scanner.block_raster_s) * scanner.block_raster_s
        if rest_s < -1e-9:
            least_ms = np.ceil((item.value_ms - rest_s * 1e3) * 100 - 1e-6) / 100
            raise SequenceError(
                f"{protocol.name}: {item.name} ends {-rest_s * 1e3:.2f} ms after {next_name} starts: "
                f"expected {item.key} of at least {least_ms:.2f}, got {item.value_ms:g}"
            )
        last = item.blocks[-1]
        pause = pypulseq.make_delay(float(pypulseq.calc_duration(*last.events)) + rest_s)
        blocks += item.blocks[:-1]
        blocks.append(PreparedBlock([*last.events, pause], [*last.for_water, pause]))
    return tuple(blocks)


def _spoiler(share: tuple[float, ...], duration_s: float, frame: Frame, scanner: Scanner) -> PreparedBlock:
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    duration_s = ceil_to(duration_s, raster)
    amplitude, slew = parts.gentle(scanner)
    amplitude = min(amplitude, _SPOILER_T_PER_M * gamma_hz_per_t(scanner.nucleus), slew * duration_s / 4)
    full = amplitude * (duration_s - ceil_to(amplitude / slew, raster))
    # On turned axes a part of the gradients may be asked for more than one of them has.
    most = max(1.0, float(np.abs(frame.rotation @ np.asarray(share)).max()))
    events = parts.lobes([full * one / most for one in share], duration_s, frame, scanner)
    return PreparedBlock(events, events)


def _pulse(
    played: Played, frame: Frame, carrier_hz: float, scanner: Scanner, *, in_water: bool
) -> PreparedBlock:
    events = parts.pulse_events(played, frame, carrier_hz, 0.0, scanner)
    return PreparedBlock(events, events if in_water else events[1:])


def _suppression(protocol: Protocol, scanner: Scanner, frame: Frame) -> list[_Item]:
    settings = protocol.water_suppression
    if settings is None:
        return []
    if len(settings.flips_deg) > len(SPOILERS):
        raise SequenceError(f"{protocol.name}: water_suppression has more than {len(SPOILERS)} pulses")
    carrier_hz = shift_hz(settings.carrier_ppm, scanner)
    base = suppression_pulse(settings, scanner)
    centre_s, items = -sum(settings.delays_ms) * 1e-3, []
    spoilers = SPOILERS[-len(settings.flips_deg) :]
    for k, (flip, delay, spoiler) in enumerate(
        zip(settings.flips_deg, settings.delays_ms, spoilers, strict=True)
    ):
        pulse = scaled(base, flip / 90)
        if pulse.peak_hz > scanner.max_b1_hz:
            raise SequenceError(
                f"{protocol.name}: water_suppression.flips_deg[{k}] = {flip} needs too much B1"
            )
        played = everywhere(pulse, scanner)
        blocks = (
            _pulse(played, frame, carrier_hz, scanner, in_water=False),
            _spoiler(spoiler, _SPOILER_S, frame, scanner),
        )
        name, key = f"pulse {k + 1} of water_suppression", f"water_suppression.delays_ms[{k}]"
        items.append(_Item(name, centre_s - played.before_s, blocks, key, delay))
        centre_s += delay * 1e-3
    return items


def suppression_pulse(settings: WaterSuppression, scanner: Scanner) -> Pulse:
    """Return the frequency-selective 90-degree pulse of the suppression, from which all flips are scaled."""
    step_s = scanner.rf_raster_s * max(1, round(_SUPPRESSION_STEP_S / scanner.rf_raster_s))
    step_s = ceil_to(step_s, selective_step_s(scanner))
    samples = 2 * round(settings.pulse_ms * 1e-3 / step_s / 2)
    design = slr_design(np.pi / 2, settings.time_bandwidth, settings.transition, samples)
    duration_s = samples * step_s
    return Pulse(
        "water suppression",
        "saturation",
        design.b1_hz(duration_s).astype(complex),
        duration_s,
        design.time_bandwidth / duration_s,
        round(duration_s / 2, 10),
    )


def preparation_pulses(protocol: Protocol, scanner: Scanner) -> tuple[Pulse, ...]:
    """Return each kind of pulse that the preparation of a protocol plays, once."""
    made = []
    if protocol.water_suppression is not None:
        made.append(suppression_pulse(protocol.water_suppression, scanner))
    if protocol.inversion is not None:
        made.append(inversion_pulse(protocol, protocol.inversion, scanner))
    if protocol.outer_volume is not None:
        made.append(band_pulse(protocol, protocol.outer_volume, scanner))
    return tuple(made)


def inversion_pulse(protocol: Protocol, settings: Inversion, scanner: Scanner) -> Pulse:
    """Return the adiabatic inversion."""
    step_s = selective_step_s(scanner)
    samples = 2 * round(settings.pulse_ms * 1e-3 / step_s / 2)
    return hyperbolic_secant(samples * step_s, settings.bandwidth_hz, step_s, peak_b1_hz(protocol, scanner))


def band_pulse(protocol: Protocol, settings: OuterVolume, scanner: Scanner) -> Pulse:
    """Return the pulse of the outer-volume bands."""
    return selective(
        "outer volume",
        "saturation",
        settings.pulse,
        peak_b1_hz(protocol, scanner),
        scanner,
        np.deg2rad(settings.flip_deg),
    )


def _inversion(protocol: Protocol, scanner: Scanner, frame: Frame) -> _Item:
    settings = protocol.inversion
    assert settings is not None
    played = everywhere(inversion_pulse(protocol, settings, scanner), scanner)
    blocks = (
        _pulse(played, frame, shift_hz(settings.carrier_ppm, scanner), scanner, in_water=True),
        _spoiler((1.0, 1.0, 1.0), _SPOILER_S, frame, scanner),
    )
    start_s = -settings.ti_ms * 1e-3 - played.before_s
    return _Item("inversion", start_s, blocks, "inversion.ti_ms", settings.ti_ms)


def _flip(settings: FlipSeries, scanner: Scanner, frame: Frame, end_s: float, condition: int) -> _Item:
    """Return the hard pulse of one condition and its spoiler, right before the localisation."""
    largest = hard(
        "flip series", "preparation", np.deg2rad(max(settings.flips_deg)), settings.pulse_us * 1e-6, scanner
    )
    share = settings.flips_deg[condition] / max(settings.flips_deg)
    played = everywhere(scaled(largest, max(share, SILENT)), scanner)
    carrier_hz = shift_hz(settings.carrier_ppm, scanner)
    blocks = (
        _pulse(played, frame, carrier_hz, scanner, in_water=True),
        _spoiler(SPOILERS[-1], _SPOILER_S, frame, scanner),
    )
    length_s = _Item("", 0.0, blocks).end_s
    return _Item("flip_series", end_s - length_s, blocks)


def _bands(
    protocol: Protocol, settings: OuterVolume, scanner: Scanner, frame: Frame
) -> tuple[PreparedBlock, ...]:
    """Return the blocks of all outer-volume bands."""
    played = on_slice(band_pulse(protocol, settings, scanner), "z", settings.thickness_mm * 1e-3, scanner)
    carrier_hz = shift_hz(settings.carrier_ppm, scanner)
    blocks = []
    for (normal, distance_m), spoiler in zip(band_positions(protocol, settings), BAND_SPOILERS, strict=False):
        # The gradient rises towards the voxel: what resonates above the lipids has its band further outside.
        outwards = frame.rotation @ normal
        placed = Frame(_turned(-outwards), frame.position_m + outwards * distance_m)
        blocks.append(_pulse(played, placed, carrier_hz, scanner, in_water=True))
        blocks.append(_spoiler(spoiler, _BAND_SPOILER_S, frame, scanner))
    return tuple(blocks)


def band_positions(
    protocol: Protocol, settings: OuterVolume
) -> list[tuple[np.ndarray[Any, np.dtype[np.float64]], float]]:
    """Return normal (along the voxel's axes) and distance of the centre in m of each band."""
    found = []
    for side in settings.sides:
        axis = "xyz".index(side[1])
        edge_mm = protocol.voxel_mm[axis] / 2 + settings.gap_mm
        normal = np.eye(3)[axis] * (1.0 if side[0] == "+" else -1.0)
        found.append((normal, (edge_mm + settings.thickness_mm / 2) * 1e-3))
    for band in settings.bands:
        found.append((np.array(band.normal), (band.distance_mm + settings.thickness_mm / 2) * 1e-3))
    return found


def _turned(normal: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return axes whose z is `normal`; shape (3, 3), columns."""
    other = np.eye(3)[int(np.argmin(np.abs(normal)))]
    x = np.cross(other, normal)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(normal, x), normal], axis=1)


def _placed(
    protocol: Protocol, blocks: tuple[PreparedBlock, ...], items: Sequence[_Item], end_s: float
) -> _Item:
    """Return the bands in the last gap between the items that has room, or before all of them.

    Before them they must still end within `_BANDS_HOLD_S` of the excitation.
    """
    length_s = _Item("outer_volume", 0.0, blocks).end_s
    if not items:
        return _Item("outer_volume", end_s - length_s, blocks)
    gaps = [*((one.end_s, other.start_s) for one, other in pairwise(items)), (items[-1].end_s, end_s)]
    for start_s, stop_s in reversed(gaps):
        if stop_s - start_s >= length_s - 1e-9:
            return _Item("outer_volume", stop_s - length_s, blocks)
    if items[0].start_s >= -_BANDS_HOLD_S:
        return _Item("outer_volume", items[0].start_s - length_s, blocks)
    longest = max(stop_s - start_s for start_s, stop_s in gaps)
    raise SequenceError(
        f"{protocol.name}: outer_volume: its bands take {length_s * 1e3:.1f} ms, and the longest gap of the "
        f"preparation is {longest * 1e3:.1f} ms: expected fewer bands or longer delays"
    )
