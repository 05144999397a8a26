"""Macromolecules for the fit of edited spectra: those of any spectrum, and those that are edited with the target.

What is fitted in a difference at 3.0 ppm beside GABA is M3.00, coupled to M1.70, which a pulse at 1.9 ppm reaches in
part; M0.94 is edited with it by its coupling to M2.05 (Cudalbu et al. 2021, doi:10.1002/nbm.4393).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.broad_response import lines_through

MM3CO, MM09CO = "MM3co", "MM09co"
"""Names of the co-edited components."""
_PEAKS = {MM3CO: (3.00, 0.076, 2.0), MM09CO: (0.91, 0.12, 3.0)}
"""Position, full width of one line of the multiplet in ppm, protons. Published widths are of whole multiplets; their
variance less that of the lines' places is left. M3.00: 26 Hz at 7 T (Bell et al. 2024, see `macromolecules.toml`) with
a triplet of 7.8 Hz; the 14 Hz at 3 T of a Gaussian in Zollner et al. 2022, doi:10.1002/nbm.4618 (number from Osprey's
documentation), would leave 0.04 ppm. M0.94: 0.14 ppm (MM09 of LCModel) with a doublet of 7.7 Hz at 3 T."""
_EXPLICIT_PPM = (2.9, 3.05)
"""Peaks of the usual components here are left out: they have a component of their own."""


def with_macromolecules(sequence: Path, bases: Mapping[int, Basis]) -> dict[int, Basis]:
    """Return bases of editing conditions with macromolecules and lipids through the same `.seq`.

    Components are those of any fit (`broad.fit_lines`: as measured at their field), each peak an uncoupled spin at its
    place, without what they have at 3.0 ppm, and `MM3co` and `MM09co`, multiplets that evolve and are edited. A single
    line of the right area, as others take, does not follow what the conditions without editing have of them.
    """
    basis = bases[min(bases)]
    to_hz = basis.f0_hz * 1e-6
    usual = {name: _without(one, basis) for name, one in fit_lines(basis.f0_hz, basis.reference_ppm).items()}
    lines = {name: one for name, one in usual.items() if one.frequency_hz.size}
    for name, (ppm, width_ppm, protons) in _PEAKS.items():
        place = np.array([(ppm - basis.reference_ppm) * to_hz])
        lines[name] = Lines(place, np.array([protons + 0j]), np.zeros(1), np.array([width_ppm * to_hz]))
    played = lines_through(sequence, bases, lines, tuple(_PEAKS))
    return {condition: one.with_broad(played[condition]) for condition, one in bases.items()}


def _without(lines: Lines, basis: Basis) -> Lines:
    ppm = basis.reference_ppm + lines.frequency_hz / (basis.f0_hz * 1e-6)
    keep = (ppm < _EXPLICIT_PPM[0]) | (ppm > _EXPLICIT_PPM[1])
    gauss = None if lines.gauss_hz is None else lines.gauss_hz[keep]
    lorentz = None if lines.lorentz_hz is None else lines.lorentz_hz[keep]
    return Lines(lines.frequency_hz[keep], lines.amplitude[keep], lorentz, gauss)
