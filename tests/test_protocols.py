"""Protocols: the shipped library, and one clear message for each thing that can be wrong in a file."""

from importlib.resources import files

import pydantic
import pytest

from pulsespec.errors import ProtocolError
from pulsespec.protocols import Protocol, list_protocols, load_protocol, protocol_hash

TEXT = (files("pulsespec.protocols") / "press-3t-te30.toml").read_text()


def test_every_shipped_protocol_is_valid_named_and_sourced():
    names = list_protocols()
    assert {"press-1.5t-te30", "press-3t-te30", "press-3t-te35", "press-3t-te144"} <= set(names)
    assert any(name.startswith("press-7t") for name in names)
    for name in names:
        protocol = load_protocol(name)
        assert protocol.name == name
        assert protocol.source
        if "-te" in name:
            assert f"te{protocol.te_ms:g}" in name.split("-")
        assert f"{protocol.field_t:g}t" in name.split("-")
        assert protocol.averages % protocol.phase_cycle == 0
        assert protocol.water_averages > 0 or protocol.encoding.water_flip_deg
    assert len(names) >= 30


def test_shipped_protocols_differ_in_their_hash():
    assert len({protocol_hash(load_protocol(name)) for name in list_protocols()}) == len(list_protocols())


def test_hash_ignores_layout_but_no_value(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("# a comment\n" + TEXT.replace("te_ms = 30.0", "te_ms   =   30"))
    assert protocol_hash(load_protocol(path)) == protocol_hash(load_protocol("press-3t-te30"))
    path.write_text(TEXT.replace("te_ms = 30.0", "te_ms = 30.02"))
    assert protocol_hash(load_protocol(path)) != protocol_hash(load_protocol("press-3t-te30"))


def test_protocols_are_frozen():
    protocol = load_protocol("press-3t-te30")
    with pytest.raises(pydantic.ValidationError):
        protocol.te_ms = 20.0
    with pytest.raises(pydantic.ValidationError):
        protocol.carrier_ppm.metabolite = 3.0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("te_ms = 30.0", "te_s = 0.03", ["te_s = 0.03", "unknown key", "did you mean 'te_ms'", "voxel_mm"]),
        ("averages = 64", "avrages = 64", ["avrages", "did you mean 'averages'"]),
        ("te_ms = 30.0", 'te_ms = "30"', ["te_ms = '30'", "number"]),
        ("te_ms = 30.0", "te_ms = true", ["te_ms = True", "number"]),
        ("te_ms = 30.0", "te_ms = -1", ["te_ms = -1", "greater than 0"]),
        ("te_ms = 30.0", "te_ms = nan", ["te_ms = nan"]),
        ("te_ms = 30.0", "te_ms = 35000000.0", ["te_ms = 35000000.0", "2000"]),
        ("te_ms = 30.0", "", ["te_ms", "missing"]),
        ("tr_ms = 2000.0", "tr_ms = 20.0", ["te_ms is 30.0", "tr_ms, 20.0"]),
        ("averages = 64", "averages = 60", ["averages is 60", "multiple of phase_cycle, 16"]),
        ("averages = 64", "averages = 64.5", ["averages = 64.5", "integer"]),
        ("phase_cycle = 16", "phase_cycle = 7", ["phase_cycle = 7", "1, 2, 4, 8 or 16"]),
        ("[20.0, 20.0, 20.0]", "[20.0, 20.0]", ["voxel_mm.2", "missing"]),
        ("[20.0, 20.0, 20.0]", '["a", 20.0, 20.0]', ["voxel_mm.0 = 'a'", "number"]),
        ("metabolite = 2.7", "metabolite = 270", ["carrier_ppm.metabolite = 270", "20"]),
        ('sequence = "press"', 'sequence = "pres"', ["sequence = 'pres'", "'press'"]),
        ('nucleus = "1H"', 'nucleus = "31P"', ["nucleus = '31P'", "'1H'"]),
        ("{ time_bandwidth = 5.0, ", "{ bandwidth = 5.0, ", ["pulses.refocusing.time_bandwidth: is missing"]),
        ("{ time_bandwidth = 5.0, ", "{ ", ["pulses.refocusing.time_bandwidth"]),
        (
            "transition = 0.45 }",
            "transitions = 0.45 }",
            ["unknown key; did you mean 'transition'", "passband"],
        ),
        ("transition = 0.45 }", "passband_ripple = 0.01 }", ["expected either transition, or both"]),
        (
            "{ time_bandwidth = 5.0, transition = 0.45 }",
            '{ file = "x.pta" }',
            ["refocusing.duration_ms: is mis"],
        ),
        ('scheme = "vapor"', 'scheme = "vapour"', ["water_suppression.scheme = 'vapour'", "'vapor'"]),
        (
            'scheme = "vapor"',
            'pulse_us = 26.0\nscheme = "vapor"',
            ["suppression.pulse_us", "mean 'pulse_ms'"],
        ),
        ('scheme = "vapor"', 'flips_deg = [90.0]\nscheme = "vapor"', ["flips_deg has 1", "delays_ms 8"]),
        (
            "[pulses]",
            "[pulses]\nrefocusing_slab = 1.6",
            ["pulses.refocusing_slab belongs to spin-echo, not to press"],
        ),
        ("te_ms = 30.0", "te_ms = 30.0 30.0", ["not valid TOML"]),
    ],
)
def test_each_error_names_file_key_value_and_what_is_allowed(tmp_path, old, new, words):
    path = tmp_path / "mine.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ProtocolError) as caught:
        load_protocol(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ProtocolError, match=r"did you mean 'press-3t-te3"):
        load_protocol("press-3t-te3")


def test_a_folder_is_no_protocol(tmp_path):
    with pytest.raises(ProtocolError, match="neither a file nor a shipped protocol"):
        load_protocol(tmp_path)


def test_a_copy_with_another_value_is_validated_again():
    values = load_protocol("press-3t-te30").model_dump() | {"te_ms": 0.0}
    with pytest.raises(pydantic.ValidationError):
        Protocol.model_validate(values)


def test_the_short_echo_image_has_one_like_it_that_keeps_lipids():
    nulled, kept = (load_protocol(f"epsi-3t-te17.6-{name}whole-brain") for name in ("", "no-inversion-"))
    assert nulled.inversion is not None
    differing = {key for key, value in nulled.model_dump().items() if value != kept.model_dump()[key]}
    assert differing == {"name", "description", "source", "inversion"}
    assert load_protocol("epsi-3t-te144-no-inversion-whole-brain").inversion is None
