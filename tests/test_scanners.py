"""Scanner presets."""

import dataclasses

import pytest

from pulsespec.errors import InputError
from pulsespec.sequences import list_scanners, load_scanner


@pytest.mark.parametrize("name", list_scanners())
def test_presets_reach_pypulseq_with_their_limits(name):
    scanner = load_scanner(name)
    if scanner.b0_t is None:
        with pytest.raises(InputError, match="--field"):
            _ = scanner.f0_hz
        with pytest.raises(InputError, match="--max-b1-ut"):
            _ = scanner.max_b1_hz
        scanner = load_scanner(name, field_t=0.05, max_b1_ut=100.0)
    opts = scanner.opts
    assert scanner.source
    assert scanner.b0_t == opts.B0
    assert opts.max_grad / opts.gamma * 1e3 == pytest.approx(scanner.max_grad_mt_per_m)
    assert opts.max_slew / opts.gamma == pytest.approx(scanner.max_slew_t_per_m_per_s)
    assert opts.rf_dead_time == scanner.rf_dead_time_s > 0
    assert scanner.max_b1_hz / opts.gamma * 1e6 == pytest.approx(scanner.max_b1_ut)


def test_terra_ships_the_lower_figures():
    terra = load_scanner("siemens-terra")
    assert (terra.max_grad_mt_per_m, terra.max_slew_t_per_m_per_s) == (42.0, 200.0)


def test_field_can_be_that_of_data():
    scanner = dataclasses.replace(load_scanner("siemens-prisma"), b0_t=3.0)
    assert scanner.f0_hz == pytest.approx(127.729e6, rel=1e-4)


@pytest.mark.parametrize("change", [{"b0_t": 0.0}, {"max_b1_ut": -1.0}, {"max_grad_mt_per_m": float("nan")}])
def test_impossible_limits_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(load_scanner("siemens-prisma"), **change)


def test_unknown_scanner_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean 'siemens-prisma'"):
        load_scanner("siemens-prism")


def test_another_field_than_the_scanners_is_refused():
    assert load_scanner("ge-xrm", field_t=2.95).b0_t == 2.95
    with pytest.raises(InputError, match="got 7 T, and ge-xrm has 3 T"):
        load_scanner("ge-xrm", field_t=7.0)
