"""Comparison of basis sets: known differences are found again, other programs' sets agree where they must."""

import numpy as np
import pytest

from pulsespec.errors import InputError, MismatchError
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.basis_compare import CompareSettings, compare
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import read_basis
from pulsespec.simulator.sampled import SampledBasis, at_reference, sampled

F0_HZ = 123.25e6


def made(shifts, **facts):
    lines = {
        name: Lines((np.atleast_1d(ppm) - 4.65) * F0_HZ * 1e-6, np.ones(np.size(ppm), dtype=complex))
        for name, ppm in shifts.items()
    }
    return Basis(lines=lines, f0_hz=F0_HZ, nucleus="1H", te_s=0.03, samples=2048, dwell_s=2.5e-4, **facts)


@pytest.fixture
def basis():
    return made({"NAA": [2.008, 2.6, 2.7], "Cr": [3.027, 3.913], "Lac": [1.28, 1.34]})


def changed(basis, ratio, phase_deg, shift_hz, width_hz):
    """The basis as FIDs that differ from it in a known way."""
    fids = sampled(basis, linewidth_hz=width_hz)
    t = np.arange(fids.samples) * fids.dwell_s
    turn = ratio * np.exp(1j * np.radians(phase_deg) + 2j * np.pi * shift_hz * t)
    return fids.with_fids({name: fid * turn for name, fid in fids.fids.items()})


@pytest.mark.parametrize("seed", range(5))
def test_what_was_changed_is_found(basis, seed):
    random = np.random.default_rng(seed)
    ratio, phase, shift, width = random.uniform([0.2, -170, -5, 0.3], [5, 170, 5, 4])
    for row in compare(changed(basis, ratio, phase, shift, width), basis).rows:
        assert row.correlation == pytest.approx(1, abs=1e-7)
        assert (row.ratio, row.phase_deg) == pytest.approx((ratio, phase), rel=1e-3)
        assert (row.shift_hz, row.width_hz) == pytest.approx((shift, width), abs=2e-3)
        assert row.relative == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(row.second, row.first, atol=2e-3 * np.abs(row.first).max())
    for row in compare(basis, changed(basis, ratio, phase, shift, width)).rows:
        assert (row.ratio, row.phase_deg) == pytest.approx((1 / ratio, -phase), rel=1e-3)
        assert (row.shift_hz, row.width_hz) == pytest.approx((-shift, -width), abs=2e-3)


def test_half_the_lines_correlate_by_the_root_of_a_half():
    """Two far lines of equal height against one of them: <a, b> / |a||b| = 1 / sqrt 2."""
    found = compare(made({"X": [2.0, 3.5]}), made({"X": [2.0]}), CompareSettings(match_width=False))
    assert found.rows[0].correlation == pytest.approx(np.sqrt(0.5), abs=2e-3)
    assert found.rows[0].width_hz == 0


def test_one_metabolite_of_another_amplitude_stands_out(basis):
    fids = sampled(basis, linewidth_hz=1.0)
    odd = fids.with_fids({**{n: 7 * f for n, f in fids.fids.items()}, "Lac": 14 * fids.fids["Lac"]})
    found = compare(odd, basis)
    assert found.median_ratio == pytest.approx(7, rel=1e-3)
    assert {row.name: row.relative for row in found.rows} == pytest.approx(
        {"NAA": 1, "Cr": 1, "Lac": 2}, rel=1e-3
    )


def test_readout_and_reference_do_not_matter(basis):
    one = at_reference(sampled(basis, 1000, 5e-4, linewidth_hz=2.0), 3.0)
    other = sampled(basis, 4096, 2e-4, linewidth_hz=2.0)
    for row in compare(one, other).rows:
        assert row.correlation == pytest.approx(1, abs=1e-5)
        assert (row.ratio, row.shift_hz, row.phase_deg) == pytest.approx((1, 0, 0), abs=3e-3)


def test_a_shift_is_looked_for_only_so_far(basis):
    far = changed(basis, 1, 0, 12.0, 1.0)
    assert max(row.correlation for row in compare(far, basis, CompareSettings(max_shift_ppm=0.02)).rows) < 0.9
    assert (
        min(row.correlation for row in compare(far, basis, CompareSettings(max_shift_ppm=0.15)).rows) > 0.999
    )


def test_what_is_not_shared_is_said(basis):
    found = compare(basis, made({"Cr": [3.027, 3.913], "Gly": [3.548]}))
    assert [row.name for row in found.rows] == ["Cr"]
    assert (found.only_first, found.only_second) == (("NAA", "Lac"), ("Gly",))
    assert found.notices == ()
    late = SampledBasis(fids=sampled(basis).fids, dwell_s=2.5e-4, f0_hz=123.5e6, te_s=0.05)
    assert len(compare(basis, late).notices) == 2


def test_bases_that_cannot_be_compared(basis):
    with pytest.raises(InputError, match="share no metabolite"):
        compare(basis, made({"Gly": [3.548]}))
    with pytest.raises(InputError, match="band of the readout"):
        compare(basis, basis, CompareSettings(ppm=(0, 40)))
    narrow = sampled(basis, 512, 1e-3)
    with pytest.raises(InputError, match=r"0\.59 to 8\.71 ppm"):
        compare(sampled(basis), narrow)
    other = Basis(lines=basis.lines, f0_hz=F0_HZ, nucleus="31P", te_s=None)
    with pytest.raises(MismatchError, match="31P"):
        compare(basis, other)


def test_one_set_in_two_formats_is_the_same(data_folder):
    folder = data_folder / "fitting-challenge-2016"
    raw = read_basis(folder / "basisset_LCModel", Given(dwell_s=2.5e-4, f0_hz=123.2617e6)).basis
    jmrui = read_basis(folder / "basisset_JMRUI", Given(f0_hz=123.2617e6)).basis
    for row in compare(raw, jmrui).rows:
        assert row.correlation == pytest.approx(1, abs=1e-6)
        assert (row.ratio, row.phase_deg, row.shift_hz) == pytest.approx((1, 0, 0), abs=2e-3)


def test_singlets_of_two_programs_have_one_shape(data_folder):
    """MARSS with Siemens pulses against ideal pulses: singlets must agree, and their shifts to 0.01 ppm."""
    marss = read_basis(
        data_folder / "basis-marss-siemens-3t/press-te30", Given(dwell_s=4e-4, f0_hz=F0_HZ)
    ).basis
    ideal = read_basis(data_folder / "fitting-challenge-2016/basisset_LCModel/press3T_30ms.BASIS").basis
    rows = {row.name: row for row in compare(marss, ideal).rows}
    for name in ("Cr", "PCr", "Gly", "Scyllo"):
        assert rows[name].correlation > 0.999
        assert abs(rows[name].shift_hz) < 1.2
    assert rows["Lac"].correlation < rows["Cr"].correlation
