"""Macromolecules and lipids in the phase of a basis whose readout begins after the excitation, without an echo."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.broad import broad_lines, fit_lines

_SINGLETS = ("NAA", "Cr", "PCr", "GPC", "PCh", "Gly", "Scyllo")
_RANGE_PPM = (1.9, 4.1)
_STRONG = 0.3
"""Of the strongest line of a metabolite: what counts as one of its singlets."""
_CLEARLY = 0.02
"""By how much lines must agree better after the echo time than at once."""


def lines_for(basis: Any, model: str | None = None) -> dict[str, Lines]:
    """Return the macromolecules and lipids that a fit adds to a basis, in the phase of its metabolites.

    At an echo all lines have the same phase. Where a readout begins after the excitation alone (FID), offsets have
    turned until then, by 139 degrees a ppm in 1.3 ms at 7 T: macromolecules that have not would not fit.

    Parameters
    ----------
    basis
        What is fitted. One of sampled FIDs does not show its phases line by line: its components are taken to be in
        phase.
    model
        Of macromolecules, see `broad.list_models`; by default those measured nearest to the field.

    """
    if model is None:
        lines = fit_lines(basis.f0_hz, basis.reference_ppm)
    else:
        lines = broad_lines(basis.f0_hz, reference_ppm=basis.reference_ppm, model=model)
    return in_phase_of(basis, lines) if isinstance(basis, Basis) else lines


def in_phase_of(basis: Basis, lines: Mapping[str, Lines]) -> dict[str, Lines]:
    """Return lines turned as those of the basis are, in Pulseq sense; as they are where its singlets are in phase."""
    frequency_hz, amplitude = _singlets(basis)
    if basis.te_s is None or not amplitude.size:
        return dict(lines)
    later = amplitude * np.exp(-2j * np.pi * frequency_hz * basis.te_s)
    if abs(later.sum()) < abs(amplitude.sum()) + _CLEARLY * np.abs(amplitude).sum():
        return dict(lines)
    turn = later.sum() / abs(later.sum())
    return {
        name: replace(
            one, amplitude=one.amplitude * turn * np.exp(2j * np.pi * one.frequency_hz * basis.te_s)
        )
        for name, one in lines.items()
    }


def _singlets(basis: Basis) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in Hz and amplitudes of the singlets of a basis."""
    found = []
    for name in _SINGLETS:
        if name in basis.lines:
            one = basis.lines[name]
            ppm = basis.reference_ppm + one.frequency_hz / (basis.f0_hz * 1e-6)
            near = (ppm > _RANGE_PPM[0]) & (ppm < _RANGE_PPM[1])
            strong = near & (np.abs(one.amplitude) > _STRONG * np.abs(one.amplitude).max())
            found.append(np.stack([one.frequency_hz[strong].astype(complex), one.amplitude[strong]]))
    whole = np.concatenate(found, axis=1) if found else np.zeros((2, 0), complex)
    return whole[0].real, whole[1]
