"""Macromolecules and lipids as parametrised groups of Gaussian peaks."""

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import InputError
from pulsespec.simulator.basis import Lines


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(files("pulsespec.simulator").joinpath("macromolecules.toml").read_text())


def list_broad() -> list[str]:
    """Return the names of all macromolecule and lipid components."""
    return list(_table()["components"])


def broad_lines(
    f0_hz: float, names: Sequence[str] | None = None, reference_ppm: float = RECEIVER_PPM
) -> dict[str, Lines]:
    """Return the lines of macromolecules and lipids at a field; widths in ppm scale with it.

    Amplitudes count protons as for a metabolite whose signal suffers no loss; the peaks have no phase from
    coupling, which for these widths cannot be told from their shape.

    Raises
    ------
    InputError
        A name is not in the table.

    """
    components = _table()["components"]
    found = {}
    for name in components if names is None else names:
        if name not in components:
            raise InputError(f"broad component {name!r}: expected one of {', '.join(components)}")
        ppm, width_ppm, protons = np.array(components[name]["peaks"], dtype=float).T
        to_hz = f0_hz * 1e-6
        found[name] = Lines(
            (ppm - reference_ppm) * to_hz, protons.astype(complex), np.zeros(ppm.size), width_ppm * to_hz
        )
    return found


def ratio_priors() -> tuple[tuple[str, str, float, float], ...]:
    """Return the published soft ratios: (component, sum of references joined by "+", ratio, its SD)."""
    return tuple((row["of"], row["to"], row["ratio"], row["sd"]) for row in _table()["ratios"])
