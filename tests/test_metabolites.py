"""The table of metabolites: what every entry must satisfy, lines by hand, another program's table, a user's own."""

import json
import re
from pathlib import Path

import gissmo
import numpy as np
import pytest
from spins_for_tests import fid_after_echoes, hamiltonian, spin_matrices

from pulsespec.errors import InputError
from pulsespec.simulator import list_metabolites, load_metabolites
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.spinsystem import brain_metabolites, load_sources

F0 = 123.25e6
DOCS = Path(__file__).resolve().parent.parent / "docs" / "spin-systems.md"

BRAIN = (
    *("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Cho", "Ins", "Scyllo", "Glu", "Gln", "GABA", "GSH", "Lac"),
    *("Ala", "Asp", "Asc", "Tau", "Gly", "PE", "Glc", "Ser", "Ace", "bHB", "2HG"),
)
"""What a basis set holds unless other metabolites are named: a change here changes everybody's fits."""

OTHERS = (
    *("Cit", "Thr", "Val", "Ile", "Leu", "Suc", "Pyr", "HCar", "EtOH", "Tyr", "Phe"),
    *("His", "Hist", "Trp", "ATP", "EA", "Glyc", "Acn", "AcAc", "Pgc", "MSM", "Crn"),
)


@pytest.fixture(scope="module")
def table():
    return load_metabolites(list_metabolites())


def lines_of(metabolite, f0_hz):
    """Frequencies in Hz from DSS and amplitudes of the lines after a hard pulse: by diagonalisation."""
    frequencies, amplitudes = [], []
    for part in (part for found in metabolite.systems for part in reduce_system(found)):
        energy, states = np.linalg.eigh(hamiltonian(part, f0_hz))
        raising = states.T @ spin_matrices(part.spins)[1].sum(axis=0) @ states
        frequencies.append((energy[:, None] - energy[None, :]).ravel())
        amplitudes.append(part.weight * (np.abs(raising) ** 2).ravel() / 2)
    return np.concatenate(frequencies), np.concatenate(amplitudes)


def multiplet(metabolite, lo_ppm, hi_ppm, f0_hz=F0):
    """Return positions in ppm and areas in protons of what is left after lines within 0.5 Hz are one."""
    frequency, amplitude = lines_of(metabolite, f0_hz)
    ppm = frequency / f0_hz * 1e6
    chosen = (ppm > lo_ppm) & (ppm < hi_ppm) & (amplitude > 1e-3)
    order = np.argsort(ppm[chosen])
    ppm, amplitude = ppm[chosen][order], amplitude[chosen][order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ppm) * f0_hz * 1e-6 > 0.5]))
    area = np.add.reduceat(amplitude, starts)
    return np.add.reduceat(amplitude * ppm, starts) / area, area


def test_the_default_set_is_the_brain_of_old(table):
    assert brain_metabolites() == BRAIN
    assert tuple(load_metabolites()) == BRAIN
    assert set(OTHERS) <= set(table)
    assert len(table) >= 45


def test_every_number_has_a_source(table):
    used = {source.key for metabolite in table.values() for source in metabolite.sources}
    assert used <= set(load_sources()), "a source of the shipped table that is only a text"
    assert set(load_sources()) - used == set(), "a source that nothing uses"
    for source in load_sources().values():
        assert source.through, source.key
        assert source.doi_verified == bool(source.doi), f"{source.key}: a DOI that nobody has seen"
        assert source.doi == "" or source.doi.startswith("10."), source.key


def test_protons_are_those_of_the_molecule(table):
    for name, metabolite in table.items():
        assert metabolite.protons == pytest.approx(metabolite.ch_protons + metabolite.nh_protons), name


def test_couplings_are_symmetric_and_plausible(table):
    for name, metabolite in table.items():
        for found in metabolite.systems:
            np.testing.assert_array_equal(found.j_hz, found.j_hz.T, err_msg=name)
            assert not found.j_hz.diagonal().any(), name
            assert found.j_hz.min() > -18.0, name
            assert found.j_hz.max() < 12.0, name
            assert np.all((found.shifts_ppm >= 0) & (found.shifts_ppm < 9)), name


def test_geminal_couplings_are_negative_and_only_they(table):
    """J below zero belongs to protons on one carbon, which are at most 0.4 ppm apart."""
    for name, metabolite in table.items():
        for found in metabolite.systems:
            for one, other in zip(*np.nonzero(found.j_hz < 0), strict=True):
                assert found.j_hz[one, other] < -9, name
                assert abs(found.shifts_ppm[one] - found.shifts_ppm[other]) < 0.4, name


def test_parts_stay_small(table):
    """No matrix is larger than 128 but those of leucine and isoleucine, two methyls and four protons in a chain."""
    for name, metabolite in table.items():
        parts = [part for found in metabolite.systems for part in reduce_system(found)]
        size = max(round(np.prod([2 * spin + 1 for spin in part.spins])) for part in parts)
        assert size <= (256 if name in ("Leu", "Ile") else 128), name


def test_a_hard_pulse_shows_every_proton(table):
    for name, metabolite in table.items():
        if name not in ("Leu", "Ile"):
            assert lines_of(metabolite, F0)[1].sum() == pytest.approx(metabolite.protons), name


def test_lactate_is_a_doublet_and_a_quartet(table):
    ppm, area = multiplet(table["Lac"], 1.0, 1.6)
    np.testing.assert_allclose(ppm, [1.3142 - 6.933 / 2 / 123.25, 1.3142 + 6.933 / 2 / 123.25], atol=1e-3)
    np.testing.assert_allclose(area, [1.5, 1.5], atol=0.08)
    ppm, area = multiplet(table["Lac"], 3.8, 4.4)
    np.testing.assert_allclose(np.diff(ppm) * 123.25, [6.933] * 3, atol=0.2)
    np.testing.assert_allclose(area, [0.125, 0.375, 0.375, 0.125], atol=0.03)


def test_alanine_is_a_doublet(table):
    ppm, area = multiplet(table["Ala"], 1.2, 1.7)
    np.testing.assert_allclose(ppm, [1.4667 - 7.234 / 2 / 123.25, 1.4667 + 7.234 / 2 / 123.25], atol=1e-3)
    assert area.sum() == pytest.approx(3.0)


def test_ethanol_is_a_triplet_and_a_quartet_at_high_field(table):
    ppm, area = multiplet(table["EtOH"], 0.9, 1.4, 600e6)
    np.testing.assert_allclose(ppm, 1.1696 + np.array([-1, 0, 1]) * 7.0943 / 600, atol=2e-4)
    np.testing.assert_allclose(area, [0.75, 1.5, 0.75], atol=0.03)
    _, area = multiplet(table["EtOH"], 3.3, 3.9, 600e6)
    np.testing.assert_allclose(area, [0.25, 0.75, 0.75, 0.25], atol=0.03)


def test_rings_are_not_first_order(table):
    """Two separate AX pairs would show two doublets, four lines of one proton each; AA'XX' shows more."""
    _, area = multiplet(table["Tyr"], 6.5, 7.5, 600e6)
    assert area.sum() == pytest.approx(4.0, abs=0.02)
    assert area.size > 8
    assert area.max() < 0.9


@pytest.mark.parametrize("name", gissmo.SYSTEMS)
def test_another_laboratory_measured_the_same(table, name):
    """Shifts within 0.02 ppm at 25 degrees, and each coupling between the same protons within 1.1 Hz."""
    _, index, shifts, couplings = gissmo.SYSTEMS[name]
    found = table[name].systems[index]
    np.testing.assert_allclose(found.shifts_ppm, shifts, atol=0.02)
    for one, other, j_hz in couplings:
        assert found.j_hz[one, other] == pytest.approx(j_hz, abs=1.1), (one, other)


def test_the_other_anomer_was_measured_too(table):
    shifts, couplings = gissmo.BETA_GLUCOSE
    found = table["Glc"].systems[1]
    np.testing.assert_allclose(found.shifts_ppm, shifts, atol=0.02)
    for one, other, j_hz in couplings:
        assert found.j_hz[one, other] == pytest.approx(j_hz, abs=1.1), (one, other)


SAME_NAMES = {"Ch": "Cho", "Phenyl": "Phe", "Tyros": "Tyr", "bHG": "2HG"}
NOT_OURS = {
    "GABA_gov": "GABA of 2000",
    "GSH_v2": "without a source",
    "hTau": "without a source",
    "Ref0ppm": "",
}
EXCHANGING = "exchanging protons that are left out here"
DIFFERENCES = {
    "Cr": EXCHANGING,
    "PCr": EXCHANGING,
    "GSH": EXCHANGING,
    "Gln": EXCHANGING,
    "Asc": "4.6 Hz is a slip for 7.6 Hz; numbers of Terpstra et al. 2006 here",
    "Cho": "couplings of 14N to CH2 and geminal couplings of the corrigendum are here",
    "Tau": "geminal couplings of the corrigendum are here",
    "PCh": "2.68 Hz of the corrigendum to 14N here, 2.86 Hz there",
    "Cit": "GISSMO's fit here; no source there",
    "EtOH": "GISSMO's fit here; no source there",
    "H2O": "4.65 ppm here, 4.7 there",
}
"""Where FID-A's table has other numbers, and why they are not ours."""


def numbers(shifts, couplings):
    return {round(float(x), 3) for x in shifts}, {round(float(x), 2) for x in couplings if x}


def ours(metabolite):
    shifts = [shift for found in metabolite.systems for shift in found.shifts_ppm]
    couplings = [j for found in metabolite.systems for j in found.j_hz.ravel()]
    partners = [j for found in metabolite.systems for partner in found.partners for j in partner.j_hz]
    return numbers(shifts, couplings + partners)


def test_what_differs_from_another_table_is_known(table, data_folder):
    """FID-A writes partners as protons at 100 and 40 ppm."""
    theirs = json.loads((data_folder / "spin-systems" / "fid-a.json").read_text())
    found = set()
    for name, systems in theirs.items():
        if name in NOT_OURS:
            continue
        shifts = [x for system in systems for x in system["shifts_ppm"] if x not in (100, 40)]
        couplings = [x for system in systems for x in system["J_hz_column_major"]]
        if numbers(shifts, couplings) != ours(table[SAME_NAMES.get(name, name)]):
            found.add(SAME_NAMES.get(name, name))
    assert found == set(DIFFERENCES)


MARSS = {"PA": "Phe", "PCho": "PCh", "mI": "Ins", "sI": "Scyllo", "Eth": "EA", "Try": "Trp"}
MARSS |= {
    name: name
    for name in ("2HG", "Asc", "Asp", "Cho", "GABA", "GPC", "Gln", "Glu", "NAA", "PE", "Tau", "Val")
}


@pytest.mark.parametrize("theirs", MARSS)
def test_another_program_has_these_systems_too(table, data_folder, theirs):
    """MARSS, Siemens 3 T, semi-LASER TE 20 ms with real pulses, against ideal pulses; 4 Hz lines, 0.5 to 4.4 ppm.

    A singlet reaches 0.994 for its lineshape alone; the 4.6 Hz of FID-A's ascorbate give 0.975.
    """
    text = (data_folder / "basis-marss-siemens-3t" / "slaser-te20" / f"{theirs}.raw").read_text()
    real, imaginary = np.array(text.rpartition("$END")[2].split(), dtype=float).reshape(-1, 2).T
    t = np.arange(1024) / 2500.0
    delays = np.array([1, 2, 2, 2, 1]) * 0.020 / 8
    ours = fid_after_echoes(table[MARSS[theirs]], F0, 4.65, delays, t).conj()
    spectra = np.fft.fft(np.stack([real + 1j * imaginary, ours]) * np.exp(-np.pi * 4.0 * t))
    ppm = 4.65 - np.fft.fftfreq(1024, 1 / 2500.0) / F0 * 1e6
    one, other = spectra[:, (ppm > 0.5) & (ppm < 4.4)]
    assert np.abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other) > 0.985


def test_names_are_checked_with_a_hint():
    with pytest.raises(InputError, match=r"'naa'.*NAA"):
        load_metabolites(["naa"])


def test_a_user_table_adds_and_overrides(tmp_path):
    extra = tmp_path / "mine.toml"
    extra.write_text(
        '[NAA]\nsource = "me"\n[[NAA.systems]]\nshifts_ppm = [2.0]\n'
        '[New]\nsource = "me"\n[[New.systems]]\nshifts_ppm = [1.0, 1.0]\n'
    )
    mine = load_metabolites(extra=extra)
    assert mine["NAA"].protons == 1
    assert mine["NAA"].source == "me"
    assert mine["New"].protons == 2
    assert mine["Cr"].protons == 5
    assert tuple(mine) == (*BRAIN, "New")
    assert list(load_metabolites(["New", "Val"], extra)) == ["New", "Val"]


def test_a_user_table_has_sources_of_its_own(tmp_path):
    extra = tmp_path / "mine.toml"
    extra.write_text(
        '[sources.ours]\ntext = "Us 2030"\ntemperature_c = 20.0\n'
        '[X]\nsource = "ours"\ncouplings_source = "govind-2015"\ntemperature_c = 10.0\n'
        "[[X.systems]]\nshifts_ppm = [1.0, 3.0]\ncouplings_hz = [[0, 1, 7.0]]\n"
        '[[X.systems]]\nshifts_ppm = [5.0]\nshifts_source = "near-2013"\n'
    )
    found = load_metabolites(["X"], extra)["X"]
    assert [system.shifts_source.key for system in found.systems] == ["ours", "near-2013"]
    assert found.systems[0].couplings_source.doi == "10.1002/nbm.3336"
    assert found.systems[0].shifts_source.temperature_c == 10.0
    assert found.source.startswith("Us 2030; Near")
    assert "couplings: Govind" in found.source


def test_the_documented_table_is_one(tmp_path):
    """The example in the documentation: GABA of the corrigendum in place of ours."""
    extra = tmp_path / "mine.toml"
    extra.write_text(re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.S).group(1))
    found = load_metabolites(extra=extra)["GABA"]
    assert found.protons == found.ch_protons == 6
    assert found.systems[0].j_hz[2, 4] == 7.755
    assert found.sources[0].doi == "10.1002/nbm.3336"


def test_the_documented_list_is_the_table(table):
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \| (.+?) \|$", DOCS.read_text(), re.M)
    expected = [
        (name, m.full_name, ", ".join(source.key for source in m.sources), "; ".join(m.left_out) or "-")
        for name, m in table.items()
    ]
    assert [row for row in rows if row[0] in table] == expected, "run docs/spin_systems_table.py"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[X]\nsource = 'a'\n[[X.systems]]\nshift_ppm = [1.0]\n", "shift"),
        ("[X]\n[[X.systems]]\nshifts_ppm = [1.0]\n", "source"),
        (
            "[X]\nsource = 'a'\n[[X.systems]]\nshifts_ppm = [1.0]\ncouplings_hz = [[0, 1, 7.0]]\n",
            "spins 0 and 1",
        ),
        ("[X]\nsource = 'a'\ncouplings_source = 'b'\n[[X.systems]]\nshifts_ppm = [1.0]\n", "source 'b'"),
        ("[X]\nsource = 'a'\nph = 70\n[[X.systems]]\nshifts_ppm = [1.0]\n", "X.ph"),
        ("[sources.a]\ntitle = 'b'\n", "sources.a"),
        ("[sets]\nbrain = ['X']\n", "sets"),
        ("sources = 3\n", "sources"),
        ("X = 3\n", "X"),
        ("[X", "TOML"),
    ],
)
def test_a_wrong_table_says_where(tmp_path, text, words):
    extra = tmp_path / "mine.toml"
    extra.write_text(text)
    with pytest.raises(InputError, match=rf"mine\.toml.*{words}"):
        load_metabolites(extra=extra)


def test_a_table_that_is_not_there_says_so(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml"):
        load_metabolites(extra=tmp_path / "none.toml")
