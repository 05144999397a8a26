"""Where the singlets of a basis set lie: the check that every basis file passes, against mirrored frequency.

A basis whose FIDs are complex conjugates looks sane, and a fit with it returns a confident table of nothing. The
known singlets give it away: they then lie as far on the other side of the receiver's centre.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import MismatchError
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.sampled import Complex, SampledBasis, sampled

SINGLETS_PPM = {
    "NAA": 2.008,
    "NAAG": 2.042,
    "Cr": 3.027,
    "PCr": 3.029,
    "GPC": 3.212,
    "PCh": 3.208,
    "Cho": 3.185,
    "Scyllo": 3.340,
    "Gly": 3.548,
    "Ace": 1.904,
}
"""Shifts of methyl, methylene and ring singlets: Govindaraju, Young, Maudsley 2000,
doi:10.1002/1099-1492(200005)13:3<129::AID-NBM619>3.0.CO;2-V."""

_WINDOW_PPM = 0.25
_FAINT = 0.02
"""A singlet below this share of the largest of the set (edited away) says nothing."""
_CLEARLY = 3.0
_NOTABLE_PPM = 0.03
_LOST_PPM = 0.1
_WIDTH_HZ = 2.0


@dataclass(frozen=True)
class Singlet:
    """Where a singlet of known shift was found."""

    name: str
    expected_ppm: float
    found_ppm: float
    """Highest point within a quarter of a ppm of where it is expected."""
    mirrored: bool
    """The spectrum is at least three times higher as far on the other side of the receiver's centre."""


def find_singlets(basis: Basis | SampledBasis) -> tuple[Singlet, ...]:
    """Return the known singlets of the basis that are strong enough, and far enough from the centre, to tell."""
    known = [name for name in basis.names if _metabolite(name) in SINGLETS_PPM]
    far = [n for n in known if abs(SINGLETS_PPM[_metabolite(n)] - basis.reference_ppm) > 2 * _WINDOW_PPM]
    if not far:
        return ()
    fids = sampled(basis.subset(far), linewidth_hz=_WIDTH_HZ)
    heights = [_one(fids, name, fids.fids[name]) for name in far]
    largest = max(max(height) for _, *height in heights)
    return tuple(
        Singlet(name, SINGLETS_PPM[_metabolite(name)], ppm, mirror > _CLEARLY * true)
        for name, (ppm, true, mirror) in zip(far, heights, strict=True)
        if max(true, mirror) > _FAINT * largest
    )


def _metabolite(name: str) -> str:
    """Return the name without the editing condition that FID-A users put behind it."""
    return re.sub(r"_(on|off)$", "", name, flags=re.IGNORECASE)


def _one(basis: SampledBasis, name: str, fid: Complex) -> tuple[float, float, float]:
    """Return where the highest point near the expected shift is, its height, and that near the mirrored shift."""
    samples = 8 * fid.size
    padded = np.zeros(samples, dtype=complex)
    padded[: fid.size] = fid
    ppm = ppm_axis(samples, basis.dwell_s, basis.f0_hz, basis.reference_ppm)
    height = np.abs(to_spectrum(padded))
    expected = SINGLETS_PPM[_metabolite(name)]
    true = np.abs(ppm - expected) < _WINDOW_PPM
    mirror = np.abs(ppm - (2 * basis.reference_ppm - expected)) < _WINDOW_PPM
    if not true.any() or not mirror.any():
        return expected, 0.0, 0.0
    return float(ppm[true][np.argmax(height[true])]), float(height[true].max()), float(height[mirror].max())


def guard(basis: Basis | SampledBasis, source: str, conjugated: bool = False) -> tuple[str, ...]:
    """Return notices about singlets that do not lie where they should.

    Parameters
    ----------
    basis
        What was read (and conjugated, if that was asked for).
    source
        Name for messages.
    conjugated
        The user asked for complex conjugates, so the advice is the other way round.

    Raises
    ------
    MismatchError
        Most singlets lie mirrored about the receiver's centre, or nowhere near where they should.

    """
    found = find_singlets(basis)
    if not found:
        return (f"{source}: has no singlet of known shift, so the sense of its frequencies was not checked",)
    mirrored = [s for s in found if s.mirrored]
    if 2 * len(mirrored) > len(found):
        raise MismatchError(f"{source}: {_mirrored(mirrored, basis.reference_ppm, conjugated)}")
    lost = [s for s in found if abs(s.found_ppm - s.expected_ppm) > _LOST_PPM]
    if 2 * len(lost) > len(found):
        raise MismatchError(
            f"{source}: {', '.join(s.name for s in lost)} do not lie where they should ({lost[0].name}: no peak within "
            f"{_LOST_PPM} ppm of {lost[0].expected_ppm:.2f} ppm): check frequency {basis.f0_hz * 1e-6:.4f} MHz, "
            f"dwell time {basis.dwell_s * 1e6:.2f} us and reference {basis.reference_ppm} ppm"
        )
    away = [s for s in found if abs(s.found_ppm - s.expected_ppm) > _NOTABLE_PPM]
    return tuple(
        f"{source}: {s.name} lies at {s.found_ppm:.3f} ppm, expected {s.expected_ppm:.3f} ppm: "
        "check frequency, dwell time and reference"
        for s in away
    )


def _mirrored(singlets: Sequence[Singlet], reference_ppm: float, conjugated: bool) -> str:
    first = singlets[0]
    advice = (
        "leave --conjugate away"
        if conjugated
        else "pass --conjugate if its frequencies are meant to be reversed"
    )
    return (
        f"is mirrored about {reference_ppm} ppm: {first.name} lies near "
        f"{2 * reference_ppm - first.expected_ppm:.2f} ppm, expected {first.expected_ppm:.2f} ppm; {advice}"
    )
