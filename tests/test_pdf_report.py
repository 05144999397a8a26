"""The page of PDF: the same bytes for the same result, text that can be found, everything inside the paper."""

import re
import subprocess
import sys
import zlib
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pulsespec.errors import InputError
from pulsespec.recon.pdf_report import draw, write_pdf
from pulsespec.recon.quantify import COLUMNS
from pulsespec.recon.report import Report
from pulsespec.recon.verdict import Assessment

SUMS = ("tNAA", "tCr", "tCho", "Glx")


def report(components=30, warnings=("GPC and PCh trade against each other",), molar=True, gap=False):
    ppm = np.linspace(4.2, 0.2, 900)
    if gap:
        ppm = ppm[(ppm < 1.2) | (ppm > 1.9)]
    fit = sum(np.exp(-(((ppm - at) / 0.03) ** 2)) for at in (2.01, 3.03, 3.21, 3.92))
    noise = np.random.default_rng(1).normal(size=ppm.size) * 0.02
    names = [f"Metab{k}" for k in range(components - len(SUMS))] + list(SUMS)
    rows = []
    for number, name in enumerate(names):
        mm = (number + 0.5, 0.1) if molar else (float("nan"), float("nan"))
        value = 1234567.0 if number == 1 else 3.2 * number
        row = dict.fromkeys(COLUMNS, 0.5) | {
            "metabolite": name,
            "amplitude": value,
            "sd": 0.1,
            "ratio_tCr_sd": 0.01,
        }
        row |= {
            "crlb_percent": 2500.0 if number == 2 else 3.0,
            "concentration_mM": mm[0],
            "concentration_mM_sd": mm[1],
        }
        rows.append(row)
    return Report(
        title="a $5 spectrum of a phantom",
        ppm=ppm,
        layers={"data": fit + noise, "fit": fit, "baseline": 0.05 * ppm, "residual": noise},
        components={},
        table=rows,
        quality={"signal-to-noise ratio (NAA)": 40.0},
        judged=Assessment("usable", ("linewidth 0.09 ppm ± 0.01",), ()),
        warnings=warnings,
        provenance={"data": {"te_ms": 35.0, "f0_mhz": 127.750912}, "fit": {"ppm_range": (0.2, 4.2)}}
        | {"quantification": {"fractions": {"gm": 0.6, "wm": 0.3, "csf": 0.1, "from": "a segmentation"}}},
        fit_range_ppm=(0.2, 4.2),
    )  # fmt: skip


def text_of(path):
    """Text that the page shows, from its decompressed streams: strings in brackets before Tj, or in arrays."""
    raw = path.read_bytes()
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL):
        try:
            content = zlib.decompress(stream).decode("latin-1")
        except zlib.error:
            continue
        for line in re.findall(r"\[((?:\([^)]*\)|[-.\d\s])*)\] TJ|\(((?:\\.|[^)\\])*)\) Tj", content):
            joined = "".join(re.findall(r"\(([^)]*)\)", line[0])) if line[0] else line[1]
            found.append(joined)
    return found, len(re.findall(rb"/Type /Page\b", raw))


def test_the_page_is_one_and_its_text_can_be_found(tmp_path):
    write_pdf(report(), tmp_path / "a.pdf")
    text, pages = text_of(tmp_path / "a.pdf")
    assert pages == 1
    for expected in (
        "Metab0",
        "tNAA",
        "mM",
        "residual",
        "chemical shift / ppm",
        ">999",
        "TE / ms: 35",
        "Warnings",
    ):
        assert expected in text, expected
    assert any(line.startswith("quality: usable") for line in text)
    assert "frequency / MHz: 127.75091" in text
    assert "tissue: gm 0.6, wm 0.3, csf 0.1 \\(a segmentation\\)" in text
    assert "a $5 spectrum of a phantom" in text


def test_the_same_result_gives_the_same_bytes(tmp_path):
    for name in ("a.pdf", "b.pdf"):
        write_pdf(report(), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


def extents(page):
    """Boxes of all texts in fractions of the page, drawn with the font that stands in for Helvetica, which is wider."""
    canvas = FigureCanvasAgg(page)
    canvas.draw()
    size = page.bbox.size
    return [
        (text.get_text(), text.get_window_extent().extents / np.tile(size, 2)) for text in page.texts if text.get_text()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("components", "warnings"), [(12, ()), (34, ("short",) * 3), (70, ("a long warning " * 30,) * 12)]
)
def test_nothing_leaves_the_paper_or_covers_the_table(components, warnings):
    boxes = extents(draw(report(components, warnings)))
    for text, (left, bottom, right, top) in boxes:
        assert left >= 0, text
        assert bottom >= 0, text
        assert right <= 1, text
        assert top <= 1, text
    cells = [box for text, box in boxes if text.startswith("Metab")]
    heights = sorted((box[1], box[3]) for box in cells)
    for (_, below), (above, _) in pairwise(heights):
        assert above > below - 0.35 * (
            heights[0][1] - heights[0][0]
        )  # letters may touch, lines may not overlap
    notes = [box for text, box in boxes if box[3] < 0.3 and box[2] < 0.6 and not text.startswith("Metab")]
    assert max(box[2] for box in notes) < 0.65  # left of the table


def test_what_there_is_no_room_for_is_counted():
    shown = [text for text, _ in extents(draw(report(warnings=("a long warning " * 30,) * 12)))]
    assert any(re.match(r"\.\.\. and \d+ more in result.json", text) for text in shown)


def test_without_water_amplitudes_are_shown(tmp_path):
    write_pdf(report(molar=False), tmp_path / "a.pdf")
    text, _ = text_of(tmp_path / "a.pdf")
    assert "amplitude" in text
    assert "mM" not in text
    assert "1.23e+06" in text


def test_what_was_left_out_of_the_fit_is_a_hole():
    line = draw(report(gap=True)).axes[0].lines[0]
    ppm, values = line.get_xdata(), line.get_ydata()
    assert np.isnan(values).sum() == 1
    hole = np.flatnonzero(np.isnan(values))[0]
    assert ppm[hole - 1] < 1.21
    assert ppm[hole + 1] > 1.89


def test_other_names_and_files_that_exist_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends in .pdf"):
        write_pdf(report(), tmp_path / "a.txt")
    (tmp_path / "a.pdf").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_pdf(report(), tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_text() == "mine"
    write_pdf(report(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_no_words_of_the_drawing_library_reach_the_user(tmp_path):
    """Matplotlib logs fonts that it does not find, once a process, to standard error."""
    code = (
        "from pathlib import Path; import numpy as np; from pulsespec.recon.report import Report;"
        "from pulsespec.recon.pdf_report import write_pdf; x = np.linspace(4, 1, 9);"
        "write_pdf(Report(title='a', ppm=x, layers={'data': x, 'residual': x}, components={}, table=[]), Path('a.pdf'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert (tmp_path / "a.pdf").is_file()
