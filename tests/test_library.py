"""Every protocol on one scanner a vendor: it builds, the scanner can play it, and a second reader agrees."""

import pytest
from second_reader import require_agreement

from pulsespec.errors import SequenceError
from pulsespec.protocols import list_protocols, load_protocol
from pulsespec.sequences import build, check, load_scanner, write_sequence

SCANNERS = {
    1.5: ("siemens-aera", "nexus-console"),
    3.0: ("siemens-skyra", "ge-xrmw", "nexus-console"),
    7.0: ("siemens-terra", "nexus-console"),
}
FAST_ENOUGH = (
    "calibrate-flip-1.5t",
    "calibrate-flip-3t",
    "calibrate-flip-7t",
    "calibrate-frequency-1.5t",
    "calibrate-frequency-3t",
    "calibrate-frequency-7t",
    "pulse-acquire-1.5t",
    "pulse-acquire-3t",
    "pulse-acquire-7t",
)
"""What an open console can play with 2 ms of ringdown after every pulse."""

PAIRS = [(name, scanner) for name in list_protocols() for scanner in SCANNERS[load_protocol(name).field_t]]


def machine(protocol, name):
    console = name == "nexus-console"
    return load_scanner(name, field_t=protocol.field_t, max_b1_ut=20.0) if console else load_scanner(name)


def few(name):
    """Return a protocol with one phase cycle and, for images, a few phase encodes."""
    protocol = load_protocol(name)
    changes = {"averages": min(protocol.averages, protocol.phase_cycle), "dummies": 1}
    if protocol.encoding is not None:
        nx, ny, nz = protocol.encoding.matrix
        fov = protocol.encoding.fov_mm
        matrix = (nx, min(ny, 4), min(nz, 4))
        shrunk = tuple(extent * m / n for extent, m, n in zip(fov, matrix, (nx, ny, nz), strict=True))
        update = {"matrix": matrix, "fov_mm": shrunk}
        changes["encoding"] = protocol.encoding.model_copy(update=update)
    return protocol.model_copy(update=changes)


@pytest.mark.parametrize(("name", "scanner"), PAIRS)
def test_what_is_built_can_be_played_and_read(tmp_path, name, scanner):
    protocol = few(name)
    scanner = machine(protocol, scanner)
    path = tmp_path / "x.seq"
    if scanner.name == "nexus-console" and name not in FAST_ENOUGH:
        with pytest.raises(SequenceError, match=r"expected .*at (least|most)|the nearest is"):
            build(protocol, scanner)
        return
    sequence = build(protocol, scanner)
    assert check(sequence, scanner) == []
    write_sequence(sequence, path)
    assert require_agreement(path) > 3
    assert check(path, scanner) == []


@pytest.mark.parametrize("name", ["press-3t-te30", "steam-3t-te20-tm10", "semi-laser-3t-te30"])
def test_stated_shortest_echo_time_can_be_built(name):
    scanner = load_scanner("siemens-skyra")
    protocol = few(name).model_copy(update={"te_ms": 4.0})
    with pytest.raises(SequenceError, match="te_ms = 4 is too short") as caught:
        build(protocol, scanner)
    shortest = float(str(caught.value).rsplit(" ", 1)[1])
    assert build(protocol.model_copy(update={"te_ms": shortest}), scanner).block_events
    with pytest.raises(SequenceError):
        build(protocol.model_copy(update={"te_ms": shortest - 0.02}), scanner)


@pytest.mark.parametrize("scanner", ["siemens-terra", "siemens-freemax"])
def test_protocols_are_for_a_field(scanner):
    with pytest.raises(SequenceError, match="is for 3 T"):
        build(load_protocol("press-3t-te30"), load_scanner(scanner))


def test_no_number_is_minus_nothing(tmp_path):
    # Strict readers refuse "-0" where a number of microseconds has to stand.
    protocol = few("pulse-acquire-3t")
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, machine(protocol, "nexus-console")), path)
    rows = path.read_text().partition("[ADC]")[2].partition("\n\n")[0].split("\n")
    assert all(" -0 " not in f"{row} " for row in rows)
