"""What LCModel wrote, read back: files of its layout made here, and real ones where there are any."""

import json

import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.recon.fit_beside import beside
from pulsespec.recon.lcmodel_results import read_lcmodel_results
from pulsespec.recon.quantify import COLUMNS
from pulsespec.recon.results import write_table

ROWS = [
    ("Cr", 4.0, 10, 0.5),
    ("PCr", 4.0, 12, 0.5),
    ("mI", 6.0, 5, 0.75),
    ("GABA", 0.0, 999, 0.0),
    ("NAA", 12.34, 2, 1.543),
    ("-CrCH2", 0.0, 999, 0.0),
    ("PCr+Cr", 8.0, 3, 1.0),
]
MISC = [
    "  FWHM = 0.038 ppm    S/N =  41",
    "  Data shift =-0.004 ppm",
    "  Ph: -17 deg      -3.5 deg/ppm",
    "  alphaB,S = 2.6E-02,   9.0E+01",
]
INPUT = [
    " filraw = '/home/jdoe/Jane Doe/a.RAW'",
    "   name = 'continued'",
    " title = 'Jane Doe'",
    " hzpppm = 1.277509e+02",
]


def lines_of_concentrations():
    """Lines as LCModel prints them: small values in exponential notation."""
    shown = [f"{value:9.3f}" if value == 0 or value >= 0.1 else f" {value:.2E}" for _, value, _, _ in ROWS]
    return ["    Conc.  %SD /Cr+PCr  Metabolite"] + [
        f"{number} {sd:3d}%{ratio:8.3f} {name:24s}"
        for number, (name, _, sd, ratio) in zip(shown, ROWS, strict=True)
    ]


def coord(ppm, data, fit, baseline, components):
    """Text of a .coord with ten numbers a line."""

    def numbers(values):
        cells = [f"{value:13.6f}" for value in values]
        return ["".join(cells[k : k + 10]) for k in range(0, len(cells), 10)]

    concentrations = lines_of_concentrations()
    lines = [
        " LCModel (Version 6.3-1N) Copyright: S.W. Provencher.",
        " Jane Doe",
        f" {len(concentrations)} lines in following concentration table = NCONC+1",
        *concentrations,
        f"   {len(MISC)} lines in following misc. output table",
        *MISC,
        f" {len(ppm):4d} points on ppm-axis = NY",
        *numbers(ppm),
        " NY phased data points follow",
        *numbers(data),
        " NY points of the fit to the data follow",
        *numbers(fit),
        " NY background values follow",
        *numbers(baseline),
    ]
    for name, values in components.items():
        lines += [f" {name:8s} Conc. = 1.00E+00", *numbers(values)]
    lines += [
        "   1 lines in following diagnostic table:",
        "   1 info      STARTV 24",
        f"  {len(INPUT)} lines in following table of input changes:",
        *INPUT,
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def curves():
    ppm = np.linspace(4.0, 0.5, 47)
    baseline = 0.1 * ppm
    components = {"NAA": np.exp(-(((ppm - 2.0) / 0.1) ** 2)), "Cr": np.exp(-(((ppm - 3.0) / 0.1) ** 2))}
    fit = baseline + sum(components.values())
    return ppm, fit + 0.01 * np.cos(40 * ppm), fit, baseline, {k: v + baseline for k, v in components.items()}


def test_a_coord_is_read_whole(tmp_path, curves):
    path = tmp_path / "a.coord"
    path.write_text(coord(*curves))
    (found,) = read_lcmodel_results(path)
    assert [(r.name, r.concentration, r.sd_percent, r.ratio) for r in found.rows] == ROWS
    assert (found.ratio_to, found.version, found.source) == ("Cr+PCr", "6.3-1N", "a.coord")
    assert (found.fwhm_ppm, found.snr, found.shift_ppm) == (0.038, 41, -0.004)
    assert (found.phase0_deg, found.phase1_deg_per_ppm) == (-17, -3.5)
    ppm, data, fit, baseline, _ = curves
    for got, want in ((found.ppm, ppm), (found.data, data), (found.fit, fit), (found.baseline, baseline)):
        np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(sum(found.components.values()) + found.baseline, fit, atol=5e-6)
    assert found.settings == {"hzpppm": "1.277509e+02"}
    assert found.diagnostics == ("1 info STARTV 24",)
    assert "oe" not in repr(found)  # neither Doe nor jdoe


def test_a_table_is_read_without_curves(tmp_path):
    rows = lines_of_concentrations()
    path = tmp_path / "a.table"
    path.write_text(
        "\n".join([" LCModel (Version 6.3-1N)", "", f"$$CONC {len(rows)} lines in following concentration table", *rows,
                   "", f"$$MISC {len(MISC)} lines in following misc. output table", *MISC, ""])
    )  # fmt: skip
    (found,) = read_lcmodel_results(path)
    assert len(found.rows) == len(ROWS)
    assert found.ppm is None
    assert found.row("Cr+PCr").concentration == found.row("PCr+Cr").concentration == 8
    with pytest.raises(InputError, match="has no Lac, only Cr, PCr"):
        found.row("Lac")


def table_csv():
    lines = ["Row, Col, " + ", ".join(f"{n}, {n} %SD, {n}/Cr+PCr" for n, *_ in ROWS)]
    for col in (2, 1):
        lines.append(f"  1,   {col}," + ",".join(f"  {k * col:g}, {sd}, {ratio}" for _, k, sd, ratio in ROWS))
    return "\n".join(lines) + "\n"


def test_a_csv_has_a_result_a_voxel(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table_csv())
    found = read_lcmodel_results(path)
    assert [r.voxel for r in found] == [(1, 2), (1, 1)]
    assert [r.row("NAA").concentration for r in found] == pytest.approx([24.68, 12.34])
    assert found[0].ratio_to == "Cr+PCr"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "truncated|expected"),
        (lambda text: text.replace("  12%", "  1x%"), "not value, %SD, ratio, name"),
        (lambda text: text.replace("Metabolite", "Metal"), "no table of concentrations"),
    ],
)
def test_a_damaged_coord_is_refused(tmp_path, curves, change, words):
    path = tmp_path / "a.coord"
    path.write_text(change(coord(*curves)))
    with pytest.raises(DataError, match=words):
        read_lcmodel_results(path)


def test_a_truncated_csv_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table_csv()[:-12])
    with pytest.raises(DataError, match="line 3 has"):
        read_lcmodel_results(path)


@pytest.mark.parametrize("change", [("  1,   2,", "  ***,   2,"), ("NAA %SD", "NAA %"), ("24.68", "24.6x8")])
def test_a_damaged_csv_is_refused(tmp_path, change):
    path = tmp_path / "a.csv"
    path.write_text(table_csv().replace(*change))
    with pytest.raises(DataError, match="damaged"):
        read_lcmodel_results(path)


def our_row(name, ratio, sd):
    return dict.fromkeys(COLUMNS, 1.0) | {"metabolite": name, "ratio_tCr": ratio, "ratio_tCr_sd": sd}


def test_two_fits_meet_by_name(tmp_path, curves, pulsespec):
    path = tmp_path / "a.coord"
    path.write_text(coord(*curves))
    ours = [
        our_row("Ins", 0.825, 0.03),
        our_row("tCr", 1.0, 0.0),
        our_row("tNAA", 1.5, 0.1),
        our_row("Lac", 1, 1),
    ]
    rows = {row["metabolite"]: row for row in beside(ours, read_lcmodel_results(path)[0])}
    assert set(rows) == {"Ins", "tCr", "tNAA"}  # LCModel's mI, its sum, and NAA alone as the sum
    assert rows["Ins"]["lcmodel_ratio_tCr"] == pytest.approx(6 / 8)
    assert rows["Ins"]["difference_percent"] == pytest.approx(10)
    assert rows["Ins"]["difference_over_sd"] == pytest.approx(0.075 / np.hypot(0.03, 0.75 * 0.05))
    assert rows["tNAA"]["lcmodel_ratio_tCr"] == pytest.approx(12.34 / 8)
    write_table(ours, tmp_path / "concentrations.tsv")
    code, shown, _ = pulsespec("lcmodel", "compare", tmp_path, path, "--json")
    assert code == 0
    assert [row["metabolite"] for row in json.loads(shown)] == ["Ins", "tCr", "tNAA"]
    code, _, error = pulsespec("lcmodel", "compare", tmp_path, path, "--voxel", 2)
    assert (code, "--voxel: got 2" in error) == (2, True)
    assert pulsespec("lcmodel", "show", path)[0] == 0


def test_without_creatine_there_is_nothing_to_compare(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Row, Col, NAA, NAA %SD, NAA/Cr\n1, 1, 12.0, 3, 1.2\n")
    with pytest.raises(DataError, match="no creatine"):
        beside([our_row("NAA", 1, 1)], read_lcmodel_results(path)[0])


def test_real_coord_table_and_csv_agree(data_folder):
    folder = data_folder / "philips-3t-press35" / "P3-S01"
    (curves,), (table,), (cells,) = (
        read_lcmodel_results(folder / name)
        for name in ("lcmodel.coord", "lcmodel.table", "lcmodel-concentrations.csv")
    )
    assert curves.rows == table.rows == cells.rows
    assert len(curves.rows) == 31
    assert (curves.fwhm_ppm, curves.snr, curves.phase0_deg) == (table.fwhm_ppm, table.snr, -17)
    whole = sum(curves.components.values()) + curves.baseline
    np.testing.assert_allclose(whole, curves.fit, atol=2e-3)  # five digits of some twenty curves
    at = curves.ppm[np.argmax(curves.data)]
    assert abs(at - curves.ppm[np.argmax(curves.components["NAA"])]) < 0.005  # the axis belongs to both
    assert not [key for key in curves.settings if key.startswith(("fil", "src"))]


def test_a_page_of_postscript_is_read(tmp_path):
    """Its first table cuts long names, the second has them whole."""
    rows = lines_of_concentrations()
    shown = [
        "Jane Doe",
        "LCModel \\(Version 6.3-1R\\) Copyright",
        *[row[:34] for row in rows],
        "DIAGNOSTICS",
        *MISC[:3],
    ]
    shown += [*rows, "INPUT CHANGES", "filraw='/home/jdoe/a.raw'", "nunfil=1024"]
    path = tmp_path / "a.ps"
    path.write_text("%!PS-Adobe-2.0\n/s {show} def\n" + "".join(f"{{({line})s}}lst\n" for line in shown))
    (found,) = read_lcmodel_results(path)
    assert [(r.name, r.concentration, r.sd_percent, r.ratio) for r in found.rows] == ROWS
    assert (found.version, found.fwhm_ppm, found.snr, found.phase0_deg) == ("6.3-1R", 0.038, 41, -17)
    assert found.settings == {"nunfil": "1024"}
    path.write_text("%!PS-Adobe-2.0\n{(hello)s}lst\n")
    with pytest.raises(DataError, match="not of LCModel"):
        read_lcmodel_results(path)


def test_the_page_of_lcmodels_test_case(data_folder):
    (found,) = read_lcmodel_results(data_folder / "lcmodel-testcase" / "out_ref_build.ps")
    assert (found.fwhm_ppm, found.snr, found.shift_ppm) == (0.084, 21, 0.008)
    assert len(found.rows) == 35
    assert found.row("NAA").concentration == pytest.approx(1.91e-6)
    assert found.row("MM14+Lip13a+Lip13b+MM12").sd_percent == 17
    assert float(found.settings["hzpppm"]) == pytest.approx(127.786142)


def test_real_csv_of_voxels(data_folder):
    found = read_lcmodel_results(data_folder / "lcmodel-csi-3t" / "test-reference-multi-voxel.csv")
    assert sorted(r.voxel for r in found) == [(1, k) for k in range(1, 11)]
    for result in found:
        assert result.row("NAA").concentration / result.row("Cr").concentration == pytest.approx(
            result.row("NAA").ratio, rel=0.01
        )


def test_amplitudes_of_lcmodels_test_case_are_its_concentrations(tmp_path, data_folder, pulsespec):
    """Without water LCModel's concentrations are amplitudes in units of its basis, as ours are: one scale."""
    case = data_folder / "lcmodel-testcase"
    code, _, error = pulsespec("fit", case / "data.raw", "--basis", case / "3t.basis", "-o", tmp_path / "out")
    assert code == 0, error
    code, shown, _ = pulsespec("lcmodel", "compare", tmp_path / "out", case / "out_ref_build.ps", "--json")
    assert code == 0
    rows = {row["metabolite"]: row for row in json.loads(shown)}
    for name in ("tNAA", "tCr", "Ins"):
        assert rows[name]["amplitude"] == pytest.approx(rows[name]["lcmodel_concentration"], rel=0.12)
