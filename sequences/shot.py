"""From a design to a sequence: preparation, localisation, readout and rest, for every shot there is."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import pypulseq

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol, protocol_hash
from pulsespec.sequences import parts, pulse_acquire, readouts
from pulsespec.sequences.design import Cycle, Design, crusher_unit
from pulsespec.sequences.encoding import Encode, encodes, largest_radius
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.preparation import PreparedBlock, preparation
from pulsespec.sequences.pulses import on_raster, shift_hz, silent
from pulsespec.sequences.scanner import Scanner

_SPOILER = 2.0
"""Area of the spoiler after the readout of an image, in crushers."""


@dataclass(frozen=True)
class Kind:
    """What tells one shot from another beside its phases."""

    water: bool
    condition: int
    dummy: bool


@dataclass(frozen=True)
class Place:
    """Where a shot stands: its average, its phase encode and its interleave."""

    average: int
    encode: Encode
    interleave: int


def assemble(protocol: Protocol, scanner: Scanner, design: Design, frame: Frame) -> Any:
    """Return a design with its dummies, averages and water references as a `pypulseq.Sequence`.

    Innermost are the interleaves of a train, then the phase encodes, then the editing conditions; the phase
    cycle goes on with the averages.
    """
    before_s = excitation_s(design)
    sequence = pypulseq.Sequence(scanner.opts)
    flips = protocol.flip_series.flips_deg if protocol.flip_series else ()
    prepared = tuple(
        preparation(protocol, scanner, frame, before_s, condition) for condition in range(max(1, len(flips)))
    )
    maker = _Maker(protocol, scanner, design, frame, prepared, _Registry(sequence))
    for key, value in definitions(protocol, scanner, design, frame).items():
        sequence.set_definition(key, value)
    start = {"NOPOS": 1, "NOROT": 1, "NOSCL": 1}
    segments: dict[tuple[Kind, bool], int] = {}
    for kind, place in shots(protocol, design):
        if scanner.needs_trid:
            still = design.readout.scale(place.encode.radius_per_m) == 0  # a ring that has no gradient
            start["TRID"] = segments.setdefault((kind, still), len(segments) + 1)
        for block in maker.shot(kind, place):
            sequence.add_block(*block, *parts.labels(start))
            start = {}
    return sequence


def shots(protocol: Protocol, design: Design) -> Iterator[tuple[Kind, Place]]:
    """Yield every shot in the order in which it is played, dummies (at the centre of k-space) first."""
    all_encodes = encodes(protocol)
    middle = min(all_encodes, key=lambda one: sum(map(abs, one.areas_per_m)) + one.radius_per_m)
    kinds = [
        (False, protocol.dummies, protocol.averages),
        (True, protocol.water_dummies, protocol.water_averages),
    ]
    for water, dummies, averages in kinds:
        conditions = design.conditions
        if water:
            conditions = len(protocol.flip_series.flips_deg) if protocol.flip_series else 1
        if averages:
            for _ in range(dummies):
                yield Kind(water, 0, dummy=True), Place(0, middle, 0)
        for average, condition, encode, interleave in product(
            range(averages), range(conditions), all_encodes, range(design.readout.interleaves)
        ):
            yield Kind(water, condition, dummy=False), Place(average, encode, interleave)


def excitation_s(design: Design) -> float:
    """Return the time from the start of the first pulse's block to the centre of the excitation."""
    time_s = 0.0
    for slot, gap_s, order in zip(design.slots, design.gaps_s, design.orders, strict=True):
        if order:
            return time_s + slot.first.before_s
        time_s += slot.first.block_s + gap_s
    raise SequenceError("design: has no excitation")


def definitions(protocol: Protocol, scanner: Scanner, design: Design, frame: Frame) -> dict[str, Any]:
    """Return what the readers of the file need to know."""
    special: dict[str, Any] = {}
    if protocol.encoding is not None:
        special = {
            "Matrix": list(protocol.encoding.matrix),
            "FOV": [mm * 1e-3 for mm in protocol.encoding.fov_mm],
        }
        if protocol.encoding.water_flip_deg is not None:
            special["WaterPathway"] = list(pulse_acquire.ORDERS)
    if protocol.editing is not None:
        bands = [(*ppm, ppm[0])[:2] for ppm in protocol.editing.conditions_ppm]
        special["EditingPPM"] = [one for pair in bands for one in pair]
    if protocol.flip_series is not None:
        special = {"PreparationFlips": list(protocol.flip_series.flips_deg)}
    return {
        "Name": protocol.sequence,
        "B0": scanner.field_t,
        "Nucleus": protocol.nucleus,
        **design.times_s,
        "TR": protocol.tr_ms * 1e-3,
        "Pathway": list(design.orders),
        "Conditions": design.conditions,
        "VoxelSize": [mm * 1e-3 for mm in protocol.voxel_mm],
        "VoxelPosition": [float(m) for m in frame.position_m],
        "VoxelOrientation": [float(value) for value in frame.rotation.ravel()],
        **special,
        "SpectralWidth": protocol.spectral_width_hz,
        "CarrierPPM": protocol.carrier_ppm.metabolite,
        "WaterCarrierPPM": protocol.carrier_ppm.water,
        "ReceiverPPM": RECEIVER_PPM,
        "ProtocolName": protocol.name,
        "ProtocolHash": protocol_hash(protocol),
        "Scanner": scanner.name,
        **dict(design.readout.definitions),
    }


class _Registry:
    """Events that are made once, and once put into the libraries of a sequence."""

    def __init__(self, sequence: Any) -> None:
        self._register = {
            "rf": sequence.register_rf_event,
            "grad": sequence.register_grad_event,
            "trap": sequence.register_grad_event,
            "adc": sequence.register_adc_event,
            "labelset": sequence.register_label_event,
        }
        self._made: dict[Hashable, list[Any]] = {}
        self._shapes: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], list[Any]]) -> list[Any]:
        """Return what `make` returned when it was called for `key`, known to the sequence by number."""
        if key not in self._made:
            self._made[key] = [self._numbered(event) for event in make()]
        return self._made[key]

    def _numbered(self, event: Any) -> Any:
        if event.type in self._register and not hasattr(event, "id"):
            like = getattr(event, "like", None)
            if like in self._shapes:
                event.shape_IDs = self._shapes[like]
            number = self._register[event.type](event)
            event.id = number[0] if isinstance(number, tuple) else number
            if like is not None:
                self._shapes[like] = number[1]
        return event


@dataclass(frozen=True)
class _Maker:
    protocol: Protocol
    scanner: Scanner
    design: Design
    frame: Frame
    prepared: tuple[tuple[PreparedBlock, ...], ...]
    registry: _Registry

    def shot(self, kind: Kind, place: Place) -> list[list[Any]]:
        """Return the blocks of one repetition; a dummy has no readout."""
        step = self.design.cycle[place.average % len(self.design.cycle)]
        blocks = [
            self.registry(
                ("preparation", k, kind.water, kind.condition if len(self.prepared) > 1 else 0),
                partial(block.select, kind.water),
            )
            for k, block in enumerate(self.prepared[kind.condition % len(self.prepared)])
        ]
        blocks += self._acquire(self.design, kind, step, place)
        water = self.water
        if water is not None:
            blocks += self._acquire(water, replace(kind, water=True), water.cycle[0], place)
        busy_s = sum(pypulseq.calc_duration(*events) for events in blocks)
        rest_s = rest_of_tr_s(self.protocol, self.scanner, busy_s)
        return [*blocks, [pypulseq.make_delay(rest_s)]] if rest_s > 0 else blocks

    @cached_property
    def water(self) -> Design | None:
        """What measures water in every repetition of an image."""
        encoding = self.protocol.encoding
        if encoding is None or encoding.water_flip_deg is None:
            return None
        orders = self.design.orders
        return pulse_acquire.water(self.protocol, self.scanner, self.frame, encoding.water_flip_deg, orders)

    def _acquire(self, design: Design, kind: Kind, step: Cycle, place: Place) -> list[list[Any]]:
        """Return localisation, readout and, where images are made, the spoiler after it."""
        blocks = self._localisation(design, kind, step, place)
        blocks.append(self._readout(design, kind, step, place))
        if self.protocol.encoding is not None:
            blocks.append(self._spoiler(design, place))
        return blocks

    def _spoiler(self, design: Design, place: Place) -> list[Any]:
        """Return the spoiler after a readout, which also brings k back from where the readout has left it."""
        readout = design.readout
        unit, back = _SPOILER * crusher_unit(self.protocol), np.array(readout.after_per_m)
        scales = (0.0, readout.scale(largest_radius(self.protocol)))
        lobe_s = max(parts.shortest_lobe_s(tuple(unit + s * back), self.frame, self.scanner) for s in scales)
        scale = readout.scale(place.encode.radius_per_m)
        areas = tuple(float(area) for area in unit + scale * back)
        make = partial(parts.lobes, areas, lobe_s, self.frame, self.scanner, every_axis=readout.ring)
        return self.registry(("spoiler", areas), make)

    def _localisation(self, design: Design, kind: Kind, step: Cycle, place: Place) -> list[list[Any]]:
        """Return the pulses, each with the crushers after it; the last with the phase encode."""
        ppm = self.protocol.carrier_ppm.water if kind.water else self.protocol.carrier_ppm.metabolite
        blocks, last = [], len(design.slots) - 1
        for k, (slot, areas, gap_s) in enumerate(
            zip(design.slots, design.crushers, design.gaps_s, strict=True)
        ):
            played, own_ppm = slot.select(kind.condition, kind.water)
            if k in step.silent:
                played = silent(played)
            carrier_hz = shift_hz(ppm if own_ppm is None else own_ppm, self.scanner)
            phase = step.pulses[k]
            key = (id(design), k, kind.condition, kind.water, phase, k in step.silent)
            make = partial(parts.pulse_events, played, self.frame, carrier_hz, phase, self.scanner)
            blocks.append(self.registry(key, make))
            lobe_s = design.last_lobe_s
            if k < last:
                lobe_s = parts.shortest_lobe_s(areas, self.frame, self.scanner)
            else:
                scale = design.readout.scale(place.encode.radius_per_m)
                before = scale * np.array(design.readout.before_per_m)
                x, y, z = np.add(areas, place.encode.areas_per_m) + before
                areas = (float(x), float(y), float(z))
                gap_s += place.interleave * design.readout.interleave_s
            if gap_s > 0:
                varies = k == last and self.protocol.encoding is not None
                make = partial(parts.lobes, areas, lobe_s, self.frame, self.scanner, every_axis=varies)
                lobes = self.registry((areas, lobe_s, varies), make) if lobe_s else []
                blocks.append([*lobes, pypulseq.make_delay(gap_s)])
        return blocks

    def _readout(self, design: Design, kind: Kind, step: Cycle, place: Place) -> list[Any]:
        """Return the block of the readout with its labels; a dummy plays its gradient only."""
        readout, scale = design.readout, design.readout.scale(place.encode.radius_per_m)
        make = partial(
            readouts.events, readout, scale, self.frame, self.scanner, design.readout_delay_s, step.receiver
        )
        made = self.registry(("readout", id(design), step.receiver, scale), make)
        if kind.dummy:
            return made[1:]
        values = {"AVG": place.average, "SET": kind.condition, "REF": int(kind.water)}
        if self.protocol.encoding is not None:
            encode = place.encode
            values |= {"LIN": encode.line, "PAR": encode.partition, "PHS": encode.column}
            values["SEG"] = place.interleave
        return [*made, *self._labels(values)]

    def _labels(self, values: dict[str, int]) -> list[Any]:
        """Return an event for each label, made once for each value."""
        return [
            self.registry((label, value), partial(parts.labels, {label: value}))[0]
            for label, value in values.items()
        ]


def rest_of_tr_s(protocol: Protocol, scanner: Scanner, busy_s: float) -> float:
    """Return what is left of TR; `SequenceError` where nothing is, or TR is off the raster."""
    rest_s = round((protocol.tr_ms * 1e-3 - busy_s) / scanner.block_raster_s) * scanner.block_raster_s
    if rest_s < -1e-9:
        raise SequenceError(
            f"{protocol.name}: tr_ms = {protocol.tr_ms} is too short: expected at least {busy_s * 1e3:.2f}"
        )
    if not on_raster(protocol.tr_ms * 1e-3, scanner.block_raster_s):
        raise SequenceError(
            f"{protocol.name}: tr_ms = {protocol.tr_ms}: expected a multiple of "
            f"{scanner.block_raster_s * 1e3:g} ms"
        )
    return rest_s
