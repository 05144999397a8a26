"""What is played before the localisation: when, where, and what a water reference leaves out of it."""

import re

import numpy as np
import pypulseq
import pytest

from pulsespec.errors import SequenceError
from pulsespec.protocols import FlipSeries, Inversion, OuterVolume, load_protocol
from pulsespec.protocols.schema import Band
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.library import frame_of
from pulsespec.sequences.preparation import preparation
from pulsespec.sequences.purity import central
from pulsespec.sequences.steady_state import longitudinal_at_excitation
from pulsespec.simulator.timeline import read_timeline

BEFORE_S = 2e-3
SCANNER = {3.0: "siemens-prisma", 7.0: "siemens-terra"}
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))


def of(name, **changes):
    return load_protocol(name).model_copy(update=changes)


def with_suppression(protocol, **changes):
    return protocol.model_copy(
        update={"water_suppression": protocol.water_suppression.model_copy(update=changes)}
    )


def timeline(folder, protocol, scanner):
    path = folder / "x.seq"
    write_sequence(build(protocol, scanner), path, overwrite=True)
    return read_timeline(path)


def pulses(blocks):
    """Return (time of the centre to that of the excitation, use, frequency) of each pulse."""
    lengths = [pypulseq.calc_duration(*block.events) for block in blocks]
    found, now = [], -sum(lengths) - BEFORE_S
    for block, length in zip(blocks, lengths, strict=True):
        for event in block.events:
            if event.type == "rf":
                found.append((now + event.delay + event.center, event.use, event.freq_offset))
        now += length
    return found


CASES = [
    ("press-1.5t-te30", "siemens-aera"),
    ("press-3t-te30", "siemens-prisma"),
    ("press-3t-te30", "ge-xrm"),
    ("press-7t-te30", "siemens-terra"),
    ("epsi-3t-whole-brain", "siemens-prisma"),
    ("epsi-3t-whole-brain", "ge-xrm"),
    ("press-3t-te30-ovs", "siemens-prisma"),
]


@pytest.mark.parametrize(("name", "scanner"), CASES)
def test_every_pulse_stands_where_its_delay_or_inversion_time_says(name, scanner):
    protocol, scanner = of(name), load_scanner(scanner)
    blocks = preparation(protocol, scanner, frame_of(protocol), BEFORE_S)
    for block in blocks:
        raster = pypulseq.calc_duration(*block.events) / scanner.block_raster_s
        assert raster == pytest.approx(round(raster), abs=1e-6)
    played = pulses(blocks)
    at = {use: [time for time, one, _ in played if one == use] for use in ("saturation", "inversion")}
    delays = protocol.water_suppression.delays_ms
    for expected_ms in (sum(delays[k:]) for k in range(len(delays))):
        assert min(abs(time * 1e3 + expected_ms) for time in at["saturation"]) < 0.05
    if protocol.inversion is not None:
        assert at["inversion"] == [pytest.approx(-protocol.inversion.ti_ms * 1e-3, abs=5e-5)]


def overlapping():
    plain = of("press-3t-te30")
    short = list(plain.water_suppression.delays_ms)
    yield with_suppression(plain, delays_ms=(*short[:3], 12.0, *short[4:])), "pulse 4", "pulse 5"
    yield with_suppression(plain, delays_ms=(*short[:-1], 10.0)), "pulse 8", "the localisation"
    yield of("epsi-3t-whole-brain", inversion=Inversion(ti_ms=100.0)), "inversion", "pulse 1"
    alone = of("press-3t-te30", water_suppression=None, inversion=Inversion(ti_ms=7.0))
    yield alone, "inversion", "the localisation"


def set_key(protocol, key, value):
    section, name = key.split(".")
    settings = getattr(protocol, section)
    place = re.fullmatch(r"(\w+)\[(\d+)\]", name)
    if place:
        values = list(getattr(settings, place[1]))
        values[int(place[2])] = value
        name, value = place[1], tuple(values)
    return protocol.model_copy(update={section: settings.model_copy(update={name: value})})


@pytest.mark.parametrize("case", range(4))
def test_items_that_overlap_are_both_named_and_the_value_that_is_named_works(case):
    protocol, first, second = list(overlapping())[case]
    scanner, frame = load_scanner("siemens-prisma"), Frame.identity()
    with pytest.raises(SequenceError, match=rf"{first}.* ends .* after {second}") as caught:
        preparation(protocol, scanner, frame, BEFORE_S)
    key, least = re.search(r"expected (\S+) of at least ([\d.]+)", str(caught.value)).groups()
    preparation(set_key(protocol, key, float(least)), scanner, frame, BEFORE_S)
    with pytest.raises(SequenceError, match=re.escape(key)):
        preparation(set_key(protocol, key, float(least) - 0.1), scanner, frame, BEFORE_S)


def test_a_water_reference_leaves_out_the_suppression_pulses_and_nothing_else():
    protocol = of("press-3t-te30-ovs", inversion=Inversion(ti_ms=850.0))
    blocks = preparation(protocol, load_scanner("siemens-prisma"), Frame.identity(), BEFORE_S)
    left_out = 0
    for block in blocks:
        kept = [event for event in block.events if event in block.for_water]
        missing = [event for event in block.events if event not in block.for_water]
        assert kept == block.for_water
        assert pypulseq.calc_duration(*block.events) == pypulseq.calc_duration(*block.for_water)
        assert all(event.type == "rf" and event.use == "saturation" for event in missing)
        left_out += len(missing)
    assert left_out == len(protocol.water_suppression.flips_deg)
    assert len(pulses(blocks)) == left_out + 6 + 1


def test_bands_stand_in_the_last_gap_that_has_room_or_before_a_short_suppression():
    bands = OuterVolume(sides=("+x", "-x"))
    scanner, frame = load_scanner("siemens-prisma"), Frame.identity()
    for scheme_of, first in (("press-3t-te30", False), ("epsi-3t-2d-flyback", True)):
        played = pulses(preparation(of(scheme_of, outer_volume=bands), scanner, frame, BEFORE_S))
        water = [abs(hz) < 1.0 for _, _, hz in played]
        assert water.count(False) == 2
        assert (not water[0]) is first
        assert played[water.index(False)][0] > -0.25


def test_bands_that_have_no_room_are_an_error():
    protocol = of("press-3t-te30", outer_volume=OuterVolume())
    crowded = with_suppression(protocol, delays_ms=(40.0,) * 8)
    with pytest.raises(SequenceError, match=r"outer_volume: its bands take .* expected fewer bands"):
        preparation(crowded, load_scanner("siemens-prisma"), Frame.identity(), BEFORE_S)


def test_bands_and_a_series_of_flips_follow_each_other():
    changes = {"water_suppression": None, "outer_volume": OuterVolume()}
    protocol = of(
        "press-3t-te30", flip_series=FlipSeries(flips_deg=(0.0, 45.0, 90.0), pulse_us=500.0), **changes
    )
    played = pulses(preparation(protocol, load_scanner("siemens-prisma"), Frame.identity(), BEFORE_S))
    assert [use for _, use, _ in played] == ["saturation"] * 6 + ["preparation"]


SIDES = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}


@pytest.mark.parametrize(
    "place", [{}, {"orientation": TURNED, "position_mm": (12.0, -7.0, 20.0)}], ids=["straight", "turned"]
)
def test_lipids_in_every_band_are_saturated_and_those_in_the_voxel_are_not(tmp_path, place):
    protocol = central(of("press-3t-te30-ovs", water_suppression=None, **place))
    scanner = load_scanner("siemens-prisma")

    made = timeline(tmp_path, protocol, scanner)

    def lipids(position_m):
        return longitudinal_at_excitation(made, None, 1.3, [0.3], position_m=position_m).item()

    for direction in SIDES.values():
        # 20 mm voxel, 5 mm gap, 40 mm thick: the band is from 15 to 55 mm; half of the signal at its edges.
        inside = lipids(tuple(0.035 * d for d in direction))
        near = lipids(tuple(0.006 * d for d in direction))
        assert abs(inside) < 0.25
        assert near > 0.9
        assert inside < lipids(tuple(0.015 * d for d in direction)) < near


def test_a_band_of_any_direction_lies_where_its_normal_points():
    normal = (0.6, 0.0, -0.8)
    bands = OuterVolume(sides=(), bands=(Band(normal=normal, distance_mm=20.0),), thickness_mm=30.0)
    protocol = central(of("press-3t-te30", water_suppression=None, outer_volume=bands))
    scanner = load_scanner("siemens-prisma")
    across = np.array([0.8, 0.0, 0.6]) * 0.03
    for distance_m, low in ((0.035, True), (0.005, False), (-0.035, False)):
        position = np.array(normal) * distance_m + across
        mz = longitudinal_at_excitation(protocol, scanner, 1.3, [0.3], position_m=position).item()
        assert (abs(mz) < 0.1) is low


@pytest.mark.parametrize("name", ["press-3t-te30", "press-7t-te30"])
def test_bands_of_metabolites_lie_further_from_the_voxel_than_those_of_lipids(tmp_path, name):
    protocol = central(of(name, water_suppression=None, outer_volume=OuterVolume()))
    scanner = load_scanner(SCANNER[protocol.field_t])
    alone = timeline(tmp_path, protocol.model_copy(update={"outer_volume": None}), scanner)
    banded = timeline(tmp_path, protocol, scanner)
    for direction in SIDES.values():
        edge, band = (tuple(at * d for d in direction) for at in (0.0099, 0.017))
        for ppm in (2.01, 3.03, 4.05):
            kept, full = (
                longitudinal_at_excitation(one, None, ppm, [1.2], position_m=edge).item()
                for one in (banded, alone)
            )
            assert kept == pytest.approx(full, rel=0.01)
        lipid, metabolite = (
            longitudinal_at_excitation(banded, None, ppm, [1.2], position_m=band).item()
            for ppm in (1.3, 4.05)
        )
        assert metabolite > lipid + 0.2


def test_inversion_nulls_lipids_at_its_time():
    ti_s = 0.2
    protocol = central(of("press-3t-te30", water_suppression=None, inversion=Inversion(ti_ms=ti_s * 1e3)))
    scanner = load_scanner("siemens-prisma")
    t1_s = np.array([0.2, ti_s / np.log(2), 0.4])
    for ppm in (0.9, 1.3, 2.0):
        mz = longitudinal_at_excitation(protocol, scanner, ppm, t1_s, b1_scale=[0.85, 1.0, 1.2])[:, :, 0]
        np.testing.assert_allclose(mz, np.tile(1 - 2 * np.exp(-ti_s / t1_s)[:, None], 3), atol=0.05)


def test_a_pulse_that_needs_too_much_b1_is_an_error():
    protocol = with_suppression(of("press-3t-te30"), pulse_ms=2.0, flips_deg=(360.0,) * 8)
    with pytest.raises(SequenceError, match=r"flips_deg.* needs too much B1"):
        build(protocol, load_scanner("siemens-prisma"))
