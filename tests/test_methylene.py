"""Creatine whose methylene suppression of water has taken part of."""

from dataclasses import replace

import numpy as np
import pytest

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitSettings, fit
from pulsespec.recon.methylene import NAME, with_suppressed_methylene
from pulsespec.recon.transients import Transients
from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.sampled import sampled

F0_HZ = 123.2e6
SHIFTS = {"Cr": ((3.027, 3.0), (3.913, 2.0)), "NAA": ((2.008, 3.0),), "GPC": ((3.212, 9.0),)}


def lines(*peaks):
    ppm, protons = np.array(peaks).T
    return Lines((ppm - 4.65) * F0_HZ * 1e-6, protons.astype(complex))


@pytest.fixture(scope="module")
def basis():
    made = {name: lines(*peaks) for name, peaks in SHIFTS.items()}
    return Basis(lines=made, f0_hz=F0_HZ, te_s=0.03, nucleus="1H", samples=2048, dwell_s=5e-4)


@pytest.mark.parametrize("width_hz", [1.0, 4.0])
@pytest.mark.parametrize("first", [1.0, 0.5])
def test_the_methylene_is_found_in_stored_functions(basis, width_hz, first):
    stored = sampled(basis, linewidth_hz=width_hz)
    fids = {name: fid.copy() for name, fid in stored.fids.items()}
    fids["Cr"][0] *= first  # some programs halve it
    found = with_suppressed_methylene(stored.with_fids(fids)).fid(NAME)
    truth = replace(basis, lines={"x": lines((3.913, 2.0))})
    np.testing.assert_allclose(found, -truth.fid("x", linewidth_hz=width_hz), atol=1e-6)


def test_lines_and_functions_agree(basis):
    of_lines = with_suppressed_methylene(basis).fid(NAME, linewidth_hz=2.0)
    of_fids = with_suppressed_methylene(sampled(basis, linewidth_hz=2.0)).fid(NAME)
    np.testing.assert_allclose(of_lines, of_fids, atol=1e-6)


def test_creatine_is_right_where_its_methylene_is_suppressed(basis):
    rng = np.random.default_rng(1)
    truth = {"Cr": 8.0, "NAA": 12.0, "GPC": 2.0}
    fid = sum(size * basis.fid(name, linewidth_hz=3.0, gauss_hz=3.0) for name, size in truth.items())
    lost = with_suppressed_methylene(basis).fid(NAME, linewidth_hz=3.0, gauss_hz=3.0)
    fid = fid + 0.6 * 8.0 * lost + 0.3 * (rng.standard_normal(2048) + 1j * rng.standard_normal(2048))
    data = Transients(data=fid, dims=("t",), dwell_s=5e-4, f0_hz=F0_HZ, nucleus="1H", te_s=0.03, tr_s=2.0)
    settings = FitSettings(metabolite_priors=False, t2_widths=False)
    with_it = fit(data, with_suppressed_methylene(basis), settings)
    without = fit(data, basis, settings)
    found, sd = with_it.combine({"Cr": 1.0})
    assert abs(found - 8.0) < min(3 * sd, 0.3)
    assert with_it.combine({NAME: 1.0})[0] == pytest.approx(4.8, rel=0.1)
    assert without.combine({"Cr": 1.0})[0] < 7.6


def test_a_basis_without_creatine_or_its_methylene_is_refused(basis):
    with pytest.raises(InputError, match="no creatine"):
        with_suppressed_methylene(basis.subset(["NAA"]))
    methyl = replace(basis, lines={"Cr": lines((3.027, 3.0))})
    for one in (methyl, sampled(methyl, linewidth_hz=2.0)):
        with pytest.raises(InputError, match="no line between"):
            with_suppressed_methylene(one)
