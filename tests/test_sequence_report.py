"""The page about a sequence is one file that shows what was measured."""

import re
from html.parser import HTMLParser

import pytest

from pulsespec.errors import PulsespecError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.localisation import localisation
from pulsespec.sequences.report import write_report


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_page_shows_what_was_measured_and_asks_for_nothing_outside(tmp_path):
    protocol = load_protocol("press-3t-te30").model_copy(update={"averages": 1, "phase_cycle": 1})
    path, output = tmp_path / "x.seq", tmp_path / "x.html"
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path)
    write_report(path, output)
    text = output.read_text(encoding="utf-8")
    page, found = Page(text), localisation(path)
    assert not page.open
    assert len(page.sources) >= 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://", text)
    assert ["echo time, measured", f"{found.echo_time_s * 1e3:.2f} ms"] in page.rows
    for pulse in found.pulses:
        (row,) = [row for row in page.rows if row[:2] == [str(pulse.number), pulse.axis]]
        assert row[-1] == f"{pulse.percent_per_ppm:.2f}"
    (naa,) = [row for row in page.rows if row[0].startswith("NAA")]
    assert [float(value) for value in naa[1:4]] == pytest.approx(found.displacement_mm["NAA"], abs=0.006)
    assert len([row for row in page.rows if re.fullmatch(r"[0-9.]+", row[0]) and "%" in row[-1]]) == 4
    with pytest.raises(PulsespecError, match=r"x\.html"):
        write_report(path, output)
    write_report(path, output, overwrite=True)
