"""Edited scans fitted as a whole: known truth, what conditions share, GABA and the macromolecule under it."""

from dataclasses import replace

import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.recon.edited_fit import fit_edited, square
from pulsespec.recon.edited_model import _USUAL
from pulsespec.recon.editing import Condition, Scheme
from pulsespec.recon.fit import FitSettings
from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines

F0, DWELL, SAMPLES, TO_HZ = 127.7e6, 4e-4, 1024, 127.7
T = np.arange(SAMPLES) * DWELL
MEGA = Scheme((Condition("ON", (1.9,)), Condition("OFF", (7.46,))), "the header")
HERMES = Scheme(tuple(map(Condition, "ABCD", [(1.9, 4.56), (1.9,), (4.56,), (7.5,)])), "the header")
SETTINGS = FitSettings(line_sd=0.0, stiffness=0.5, t2_widths=False)
TRUTH = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5, "Glu": 9.0, "Ins": 6.0, "GABA": 2.0, "GSH": 1.5}


def lines(rows, gauss_hz=0.0):
    ppm, size = np.array(rows).T
    place = (ppm - 4.65) * TO_HZ
    return Lines(place, size.astype(complex), np.zeros(ppm.size), np.full(ppm.size, gauss_hz))


def basis(gaba, gsh, macromolecule=True):
    """Return a hand-made condition; `gaba` and `gsh` say whether a pulse edits them."""
    turn = 1.0 if gaba else -1.0
    found = {
        "NAA": lines([(2.01, 0.05 if gaba else 3.0), (2.6, 0.8)]),
        "Cr": lines([(3.03, 3.0), (3.92, 2.0)]),
        "GPC": lines([(3.21, 9.0)]),
        "Glu": lines([(2.35, 0.1 if gaba else 1.5), (3.72, turn * 0.5), (3.78, turn * 0.5)]),
        "Ins": lines([(3.52, 2.0), (3.61, 2.0), (3.27, 1.0)]),
        "GABA": lines([(2.95, turn * 0.5), (3.01, 1.0), (3.07, turn * 0.5), (2.28, 0.05 if gaba else 1.2)]),
        "GSH": lines([(2.93, 1.0 if gsh else -0.4), (2.98, 1.0 if gsh else -0.4), (3.77, 2.0)]),
    }
    if macromolecule:
        found["MM3co"] = lines([(3.0, 1.2 if gaba else 0.2)], gauss_hz=16.0)
    broad = ("MM3co",) if macromolecule else ()
    return Basis(lines=found, f0_hz=F0, nucleus="1H", te_s=0.068, tr_s=2.0, broad=broad)


def conditions(scheme, macromolecule=True):
    def has(one, band):
        return any(abs(b - band) < 0.1 for b in one.bands_ppm)

    return [basis(has(one, 1.9), has(one, 4.56), macromolecule) for one in scheme.conditions]


def scan(scheme=MEGA, seed=0, sd=0.5, macromolecule=1.0, amounts=TRUTH, turn_deg=0.0, shift_ppm=0.0):
    rng = np.random.default_rng(seed)
    amounts = {**amounts, "MM3co": macromolecule}
    fids = []
    for k, one in enumerate(conditions(scheme)):
        fid = sum(value * one.fid(name, SAMPLES, DWELL) for name, value in amounts.items())
        fid = fid * np.exp(-np.pi * 4.0 * T - (np.pi * 3.0 * T) ** 2 / (4 * np.log(2)))
        fid = fid * np.exp(1j * np.deg2rad(turn_deg) * (k % 2) - 2j * np.pi * shift_ppm * TO_HZ * T)
        fids.append(fid + sd / np.sqrt(2) * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)))
    return Transients(
        data=np.array(fids),
        dims=("edit", "t"),
        dwell_s=DWELL,
        f0_hz=F0,
        te_s=0.068,
        tr_s=2.0,
        header={"editing": scheme},
        source="x.nii",
    )


def test_one_concentration_explains_all_conditions():
    found = fit_edited(scan(), conditions(MEGA), "free", SETTINGS)
    assert found.joint.converged
    assert list(found.views) == ["diff", "sum"]
    for name, value in TRUTH.items():
        estimate, sd = found.first.combine({name: 1.0})
        assert abs(estimate - value) < 4 * sd
        assert sd < 0.1 * value
    view = found.first
    np.testing.assert_allclose(view.fit, view.baseline + sum(view.components.values()), atol=1e-9)
    assert np.std(view.residual) == pytest.approx(view.noise_sd, rel=0.2)


def test_both_conditions_know_more_of_gaba_than_their_difference():
    found = fit_edited(scan(), conditions(MEGA), "free", SETTINGS)
    for name in ("GABA", "GABA+", "Glu"):
        joint, alone = (one.combine({name: 1.0})[1] for one in (found.first, found.alone["diff"]))
        assert joint < alone
    assert "GPC" not in found.alone["diff"].names  # the same in both conditions
    assert found.alone["diff"].combine({"Glu": 1.0})[0] == pytest.approx(TRUTH["Glu"], rel=0.05)


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(25):
        found = fit_edited(scan(seed=seed, sd=1.0), conditions(MEGA), "free", SETTINGS).first
        for name in ("NAA", "Cr", "Glu", "Ins", "GABA"):
            estimate, sd = found.combine({name: 1.0})
            inside.append(abs(estimate - TRUTH[name]) < 1.96 * sd)
    assert 0.88 <= np.mean(inside) <= 0.995


@pytest.mark.parametrize(("turn_deg", "shift_ppm"), [(2.0, 0.0), (-2.0, 0.1)])
def test_conditions_have_a_phase_of_their_own(turn_deg, shift_ppm):
    """What is left of creatine where subtraction is out of phase is not taken for GABA."""
    found = fit_edited(
        scan(turn_deg=turn_deg, shift_ppm=shift_ppm, sd=0.3), conditions(MEGA), "free", SETTINGS
    )
    first, second = found.first.parameters["condition_phase_deg"]
    assert second - first == pytest.approx(turn_deg, abs=0.3)
    assert found.first.combine({"GABA": 1.0})[0] == pytest.approx(2.0, abs=0.2)
    assert any("off the reference" in words for words in found.warnings) == (shift_ppm != 0)


def test_gaba_plus_is_the_sum_in_every_model():
    data, bases = scan(sd=0.3), conditions(MEGA)
    ratio = (1.2 - 0.2) / (4 * 0.5)  # area of macromolecule over GABA's in the difference, a unit each
    for model in ("fixed", "soft", "free"):
        found = fit_edited(data, bases, model, SETTINGS).first
        gaba, macromolecule, both = (found.combine({name: 1.0})[0] for name in ("GABA", "MM3co", "GABA+"))
        assert both == pytest.approx(gaba + macromolecule)
        if model == "fixed":
            assert macromolecule == pytest.approx(gaba * ratio / _USUAL, rel=0.02)
        if model == "free":
            assert gaba == pytest.approx(2.0, abs=0.2)
            assert macromolecule == pytest.approx(1.0 * ratio, abs=0.25)
    told = fit_edited(data, bases, "gaba+", SETTINGS)
    for one in (told.first, told.alone["diff"]):
        assert not {"GABA", "MM3co"} & set(one.names)
    assert told.first.combine({"GABA+": 1.0}) == pytest.approx(found.combine({"GABA+": 1.0}))
    assert "MM3co" not in told.alone["diff"].components


def test_without_a_macromolecule_to_edit_gaba_is_called_gaba_plus():
    bare = fit_edited(scan(macromolecule=0.0), conditions(MEGA, False), "soft", SETTINGS)
    assert bare.gaba_model == "gaba+"
    assert any("no macromolecule" in words for words in bare.warnings)
    assert bare.first.combine({"GABA+": 1.0})[0] == pytest.approx(2.0, abs=0.2)
    alike = [
        replace(one, lines={**one.lines, "MM3co": lines([(3.0, 1.0)], 16.0)}) for one in conditions(MEGA)
    ]
    suppressed = fit_edited(scan(macromolecule=0.0), alike, "soft", SETTINGS)
    assert "MM3co" not in suppressed.first.names


def test_where_gaba_is_not_edited_nothing_is_said_of_its_macromolecule():
    scheme = Scheme((Condition("ON", (4.56,)), Condition("OFF", (7.5,))), "the header")
    found = fit_edited(scan(scheme), conditions(scheme), "soft", SETTINGS)
    assert found.gaba_model == "apart"
    assert "GABA+" not in found.first.names
    assert list(found.alone["diff"].names) == ["GSH"]
    assert found.first.combine({"GSH": 1.0})[0] == pytest.approx(1.5, abs=0.2)


def test_four_conditions_are_one_fit():
    found = fit_edited(scan(HERMES), conditions(HERMES), "free", SETTINGS)
    assert list(found.views) == ["diff-gaba", "diff-gsh", "sum"]
    assert list(found.alone) == ["diff-gaba", "diff-gsh"]
    for name in ("GABA", "GSH", "NAA", "Glu"):
        estimate, sd = found.first.combine({name: 1.0})
        assert abs(estimate - TRUTH[name]) < 4 * sd
    assert len(found.joint.stiffness) == 4


def test_combinations_are_completed():
    rows = square([np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1]), np.ones(4)])
    assert np.linalg.matrix_rank(rows) == 4
    np.testing.assert_allclose(np.abs(rows[2]), 0.5)


def test_noise_alone_is_no_result():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, SAMPLES)) + 1j * rng.normal(size=(2, SAMPLES))
    found = fit_edited(replace(scan(), data=noise), conditions(MEGA), "free", SETTINGS)
    assert not found.first.converged
    assert any("did not converge" in words for words in found.warnings)


def test_what_does_not_belong_together_is_refused():
    data, bases = scan(), conditions(MEGA)
    with pytest.raises(InputError, match="gaba\\+, fixed, soft, free"):
        fit_edited(data, bases, "1to1")
    with pytest.raises(InputError, match="one for each of 2"):
        fit_edited(data, bases[:1])
    with pytest.raises(InputError, match="components differ"):
        fit_edited(data, [bases[0], bases[1].subset(["NAA"])])
    with pytest.raises(InputError, match="dims"):
        fit_edited(replace(data, data=data.data[0], dims=("t",)), bases)
    with pytest.raises(DataError, match="nothing says"):
        fit_edited(replace(data, header={}), bases)
    with pytest.raises(DataError, match=r"x\.nii"):
        fit_edited(replace(data, data=0 * data.data), bases)
