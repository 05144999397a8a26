"""The picture of one shot shows what is in the file."""

import itertools

import numpy as np
import pytest

from pulsespec.errors import InputError, SequenceError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.diagram import figure
from pulsespec.simulator.timeline import read_timeline


def written(folder, name):
    protocol = load_protocol(name).model_copy(update={"averages": 1, "phase_cycle": 1})
    path = folder / "x.seq"
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path, overwrite=True)
    return path


@pytest.mark.parametrize("name", ["press-3t-te30", "steam-3t-te20-tm10"])
def test_every_row_shows_the_file(tmp_path, name):
    path = written(tmp_path, name)
    timeline = read_timeline(path)
    made = figure(path)
    made.canvas.draw()
    rows = {axes.get_ylabel().split("\n")[0]: axes for axes in made.axes}
    assert {"B1 (uT)", "Gx", "Gy", "Gz", "ADC", "order"} <= set(rows)
    uses = [text.get_text() for text in rows["B1 (uT)"].texts]
    pressed = [("excitation", 90), ("refocusing", 180), ("refocusing", 180)]
    expected = {"press": pressed, "steam": [("excitation", 90)] * 3}[name.split("-")[0]]
    found = [text.split("\n") for text in uses if "°" in text]
    assert [use for use, _ in found] == [use for use, _ in expected]
    for (_, angle), (_, nominal) in zip(found, expected, strict=True):
        assert float(angle.rstrip("°")) == pytest.approx(nominal, abs=20)
    assert any(f"TE {timeline.seconds('TE') * 1e3:g} ms" in text for text in uses)
    (staircase,) = [line for line in rows["order"].lines if len(line.get_xdata()) > 2]
    levels = [value for value, _ in itertools.groupby(staircase.get_ydata())]
    assert levels == [0, *(int(order) for order in np.ravel(timeline.definitions["Pathway"]))]
    end_ms = staircase.get_xdata()[-1]
    low, high = rows["order"].get_xlim()
    assert low < staircase.get_xdata()[0] < end_ms < high


def test_words_over_the_pulses_do_not_overlap(tmp_path):
    made = figure(written(tmp_path, "press-3t-te30"))
    made.canvas.draw()
    (row,) = [axes for axes in made.axes if axes.get_ylabel() == "B1 (uT)"]
    boxes = [text.get_window_extent() for text in row.texts if text.get_text()]
    assert len(boxes) >= 4
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("shot", [-1, 9999])
def test_a_readout_that_is_not_there_is_refused(tmp_path, shot):
    path = written(tmp_path, "press-3t-te30")
    with pytest.raises(InputError, match=f"--shot: got {shot}"):
        figure(path, shot=shot)


def test_a_file_that_is_no_sequence_is_refused(tmp_path):
    path = tmp_path / "x.seq"
    path.write_text("no sequence")
    with pytest.raises(SequenceError, match=r"x\.seq"):
        figure(path)
