"""From a design to a sequence: preparation, localisation, readout and rest, for every shot there is."""

from dataclasses import dataclass
from typing import Any

import pypulseq

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol, protocol_hash
from pulsespec.sequences import parts
from pulsespec.sequences.design import Cycle, Design
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.preparation import PreparedBlock, preparation
from pulsespec.sequences.pulses import on_raster, shift_hz, silent
from pulsespec.sequences.scanner import Scanner


@dataclass(frozen=True)
class Kind:
    """What tells one shot from another beside its phases."""

    water: bool
    condition: int
    dummy: bool


def assemble(protocol: Protocol, scanner: Scanner, design: Design, frame: Frame) -> Any:
    """Return a design with its dummies, averages and water references as a `pypulseq.Sequence`.

    Editing conditions are interleaved; the phase cycle goes on once all of them have been played.
    """
    before_s = design.slots[0].first.before_s
    maker = _Maker(protocol, scanner, design, frame, preparation(protocol, scanner, frame, before_s))
    sequence = pypulseq.Sequence(scanner.opts)
    for key, value in definitions(protocol, scanner, design, frame).items():
        sequence.set_definition(key, value)
    start = parts.fixed_geometry_labels()
    kinds = [(False, protocol.dummies, protocol.averages)]
    if protocol.water_averages:
        kinds.append((True, protocol.water_dummies, protocol.water_averages))
    for water, dummies, averages in kinds:
        for number in range(-dummies, averages):
            for condition in range(1 if water or number < 0 else design.conditions):
                step = design.cycle[number % len(design.cycle)]
                for block in maker.shot(Kind(water, condition, number < 0), step, number):
                    sequence.add_block(*block, *start)
                    start = []
    return sequence


def definitions(protocol: Protocol, scanner: Scanner, design: Design, frame: Frame) -> dict[str, Any]:
    """Return what the readers of the file need to know."""
    return {
        "Name": protocol.sequence,
        "B0": scanner.b0_t,
        "Nucleus": protocol.nucleus,
        **design.times_s,
        "TR": protocol.tr_ms * 1e-3,
        "Pathway": list(design.orders),
        "Conditions": design.conditions,
        "VoxelSize": [mm * 1e-3 for mm in protocol.voxel_mm],
        "VoxelPosition": [float(m) for m in frame.position_m],
        "VoxelOrientation": [float(value) for value in frame.rotation.ravel()],
        "SpectralWidth": protocol.spectral_width_hz,
        "CarrierPPM": protocol.carrier_ppm.metabolite,
        "WaterCarrierPPM": protocol.carrier_ppm.water,
        "ReceiverPPM": RECEIVER_PPM,
        "ProtocolName": protocol.name,
        "ProtocolHash": protocol_hash(protocol),
        "Scanner": scanner.name,
        **design.definitions,
    }


@dataclass(frozen=True)
class _Maker:
    protocol: Protocol
    scanner: Scanner
    design: Design
    frame: Frame
    prepared: tuple[PreparedBlock, ...]

    def shot(self, kind: Kind, step: Cycle, number: int) -> list[list[Any]]:
        """Return the blocks of one repetition; a dummy has no readout."""
        blocks = [block.for_water if kind.water else block.events for block in self.prepared]
        blocks += self.localisation(kind, step)
        blocks.append(self.readout(kind, step, number))
        busy_s = sum(pypulseq.calc_duration(*events) for events in blocks)
        rest_s = rest_of_tr_s(self.protocol, self.scanner, busy_s)
        return [*blocks, [pypulseq.make_delay(rest_s)]] if rest_s > 0 else blocks

    def localisation(self, kind: Kind, step: Cycle) -> list[list[Any]]:
        """Return the pulses, each with the crushers after it."""
        ppm = self.protocol.carrier_ppm.water if kind.water else self.protocol.carrier_ppm.metabolite
        design, blocks = self.design, []
        for k, (slot, areas, gap_s) in enumerate(
            zip(design.slots, design.crushers, design.gaps_s, strict=True)
        ):
            played, own_ppm = slot.select(kind.condition, kind.water)
            carrier_hz = shift_hz(ppm if own_ppm is None else own_ppm, self.scanner)
            if k in step.silent:
                played = silent(played)
            rf, gradients = parts.pulse_events(played, self.frame, carrier_hz, step.pulses[k], self.scanner)
            blocks.append([rf, *gradients, pypulseq.make_delay(played.block_s)])
            if gap_s > 0:
                lobe_s = parts.shortest_lobe_s(areas, self.frame, self.scanner)
                lobes = parts.lobes(areas, lobe_s, self.frame, self.scanner) if lobe_s else []
                blocks.append([*lobes, pypulseq.make_delay(gap_s)])
        return blocks

    def readout(self, kind: Kind, step: Cycle, number: int) -> list[Any]:
        """Return the block of the readout with its labels."""
        adc, block_s = parts.readout(self.protocol, self.scanner, self.design.adc_delay_s, step.receiver)
        pause = pypulseq.make_delay(block_s)
        labels = parts.readout_labels(number, kind.water, kind.condition)
        return [pause] if kind.dummy else [adc, pause, *labels]


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
