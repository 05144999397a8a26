"""Macromolecules for the fit of edited spectra: those of any spectrum, and those that are edited with the target.

What is fitted in a difference at 3.0 ppm beside GABA is M3.00, coupled to M1.70, which a pulse at 1.9 ppm reaches in
part; M0.94 is edited with it by its coupling to M2.05 (Cudalbu et al. 2021, doi:10.1002/nbm.4393).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.broad import broad_lines
from pulsespec.simulator.broad_response import lines_through

MM3CO, MM09CO = "MM3co", "MM09co"
"""Names of the co-edited components."""
_PEAKS = {MM3CO: (3.00, 14.0 / 127.7, 2.0), MM09CO: (0.91, 0.14, 3.0)}
"""Position and full width in ppm, protons. M3.00: a Gaussian of 14 Hz at 3 T and two protons, as in the comparison of
models by Zollner et al. 2022, doi:10.1002/nbm.4618 (numbers from Osprey's documentation). M0.94: as MM09 of LCModel.
Both widths were measured without regard to couplings, so the peak is one line with the area of its multiplet."""
_EXPLICIT_PPM = (2.9, 3.1)
"""Peaks of the usual components here are left out: they have a component of their own."""


def with_macromolecules(sequence: Path, bases: Mapping[int, Basis]) -> dict[int, Basis]:
    """Return bases of editing conditions with macromolecules and lipids through the same `.seq`.

    Components are LCModel's, each peak an uncoupled spin at its place, without what they have at 3.0 ppm, and
    `MM3co` and `MM09co`, whose couplings evolve and are edited.
    """
    basis = bases[min(bases)]
    to_hz = basis.f0_hz * 1e-6
    usual = broad_lines(basis.f0_hz, reference_ppm=basis.reference_ppm)
    lines = {name: _without(one, basis) for name, one in usual.items()}
    for name, (ppm, width_ppm, protons) in _PEAKS.items():
        place = np.array([(ppm - basis.reference_ppm) * to_hz])
        lines[name] = Lines(place, np.array([protons + 0j]), np.zeros(1), np.array([width_ppm * to_hz]))
    played = lines_through(sequence, bases, lines, tuple(_PEAKS), whole=True)
    return {condition: one.with_broad(played[condition]) for condition, one in bases.items()}


def _without(lines: Lines, basis: Basis) -> Lines:
    ppm = basis.reference_ppm + lines.frequency_hz / (basis.f0_hz * 1e-6)
    keep = (ppm < _EXPLICIT_PPM[0]) | (ppm > _EXPLICIT_PPM[1])
    gauss = None if lines.gauss_hz is None else lines.gauss_hz[keep]
    lorentz = None if lines.lorentz_hz is None else lines.lorentz_hz[keep]
    return Lines(lines.frequency_hz[keep], lines.amplitude[keep], lorentz, gauss)
