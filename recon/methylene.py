"""Creatine whose methylene line, at 3.92 ppm, suppression of water has taken part of.

Without it, the methylene pulls the amplitude of creatine down, and with it raises every ratio. LCModel fits the same
component, "-CrCH2" (LCModel manual, simulated components; recalled).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import InputError
from pulsespec.recon.water_removal import hsvd
from pulsespec.simulator.basis import Basis, Lines

NAME = "-CrCH2"
_LOW_PPM, _HIGH_PPM = 3.8, 4.05
"""Methylene lies at 3.913 (creatine) and 3.930 ppm (phosphocreatine), the methyl at 3.03: Govindaraju, Young, Maudsley
2000, doi:10.1002/1099-1492(200005)13:3<129::AID-NBM619>3.0.CO;2-V."""
_COMPONENTS = 12
_POINTS = 1024


def with_suppressed_methylene(basis: Any) -> Any:
    """Return the basis with the negative of the methylene line of its creatine as a component of its own.

    Amplitudes are those of the creatine whose methylene is missing.

    Parameters
    ----------
    basis
        A `Basis` or `SampledBasis`.

    Raises
    ------
    InputError
        It has no creatine, or none with a line between 3.8 and 4.05 ppm.

    """
    source = next((name for name in ("Cr", "PCr", "tCr") if name in basis.names), None)
    if source is None:
        raise InputError(
            f"basis: has no creatine whose methylene {NAME} would be, only {', '.join(basis.names)}"
        )
    if isinstance(basis, Basis):
        lines = _lines(basis, source)
        found: Any = replace(basis, lines={**basis.lines, NAME: lines}) if lines.amplitude.size else None
    else:
        fid = _fid(basis, source)
        found = basis.with_fids({**basis.fids, NAME: fid}) if np.any(fid) else None
    if found is None:
        raise InputError(
            f"basis: {source} has no line between {_LOW_PPM} and {_HIGH_PPM} ppm, expected its methylene"
        )
    return found


def _lines(basis: Basis, name: str) -> Lines:
    of = basis.lines[name]
    ppm = basis.reference_ppm + of.frequency_hz / basis.f0_hz * 1e6
    kept = (ppm > _LOW_PPM) & (ppm < _HIGH_PPM)
    widths = [None if width is None else width[kept] for width in (of.lorentz_hz, of.gauss_hz)]
    return Lines(of.frequency_hz[kept], -of.amplitude[kept], *widths)


def _fid(basis: Any, name: str) -> NDArray[np.complex128]:
    """Return the negative of what the stored FID has there; its first point, which some programs halve, is left out."""
    stored = basis.fids[name]
    lines = hsvd(stored[1 : 1 + _POINTS], basis.dwell_s, _COMPONENTS)
    ends = ppm_to_hz(np.array([_HIGH_PPM, _LOW_PPM]), basis.f0_hz, basis.reference_ppm)
    kept = (lines.frequency_hz > ends[0]) & (lines.frequency_hz < ends[1])
    rate = 2j * np.pi * lines.frequency_hz[kept] - lines.damping_per_s[kept]
    t = (np.arange(stored.size) - 1) * basis.dwell_s
    return np.asarray(-np.exp(np.outer(t, rate)) @ lines.amplitude[kept])
