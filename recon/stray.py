"""Signal that is not of the voxel's spins in their phase: lipid from elsewhere, spurious echoes.

Their phase is their own. Amplitudes in a fit are not negative, so each is offered as three functions 120 degrees apart:
non-negative sums of these reach every phase.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_to_hz
from pulsespec.errors import InputError
from pulsespec.recon.transients import Transients
from pulsespec.recon.verdict import LEVELS, Assessment
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.broad import broad_lines

Real = NDArray[np.float64]

STRAY_LIPIDS = ("Lip09", "Lip13a")
"""Methyl and methylene of fat: what reaches a voxel from the scalp."""
_PHASES = {"a": 0.0, "b": 2 * np.pi / 3, "c": 4 * np.pi / 3}
_WINDOW_S = 0.04
_SPANS = 2.0
"""The series of lines that makes an echo repeats after twice the readout."""
_FAINT = 1e-3


def completed(
    basis: Any, data: Transients, judged: Assessment | None, spurious: Sequence[float] = ()
) -> tuple[Any, tuple[str, ...]]:
    """Return the basis with stray lipid, where the data have much lipid, and with spurious signal; and notices."""
    lipid = None if judged is None else judged.get("lipid_over_naa")
    words = []
    if lipid is not None and lipid.level in LEVELS[1:] and set(STRAY_LIPIDS) & set(basis.names):
        basis = with_stray_lipid(basis)
        words.append(
            f"{lipid.words}: lipid was given a phase of its own ({', '.join(STRAY_LIPIDS)} at three phases), as from "
            "outside the voxel"
        )
    basis, more = with_spurious(basis, data, spurious)
    return basis, (*words, *more)


def with_stray_lipid(basis: Any) -> Any:
    """Return the basis with lipid in the two phases that, beside those it has, make its phase free."""
    names = [name for name in STRAY_LIPIDS if name in basis.names]
    lines = broad_lines(basis.f0_hz, names, reference_ppm=basis.reference_ppm)
    return basis.with_broad(
        {f"{name}_{key}": _turned(lines[name], _PHASES[key]) for name in names for key in ("b", "c")}
    )


def with_spurious(basis: Any, data: Transients, ppm: Sequence[float]) -> tuple[Any, tuple[str, ...]]:
    """Return the basis with a Gaussian in time of free phase at each chemical shift, and a word on each.

    Parameters
    ----------
    basis
        What is fitted.
    data
        One FID, dims ("t",): where in time the echo lies and how long it is, is measured on it.
    ppm
        Where the spurious signal is seen in the spectrum.

    Raises
    ------
    InputError
        A shift is outside the spectrum.

    """
    words = []
    for at_ppm in ppm:
        centre_s, length_s = find_echo(data, at_ppm)
        lines = _echo(data, basis, at_ppm, centre_s, length_s)
        name = f"Spur{at_ppm:.2f}"
        basis = basis.with_broad({f"{name}{key}": _turned(lines, phase) for key, phase in _PHASES.items()})
        words.append(
            f"spurious signal at {at_ppm:.2f} ppm was fitted as a Gaussian in time, at {centre_s * 1e3:.0f} ms and "
            f"{length_s * 1e3:.0f} ms long (full width at half maximum), of free phase"
        )
    return basis, tuple(words)


def find_echo(data: Transients, ppm: float) -> tuple[float, float]:
    """Return centre and full width at half maximum in s of the strongest burst at a chemical shift.

    The FID is turned so that the shift stands still and smoothed with a Gaussian of 40 ms, whose width is then taken
    out. What decays from the start on has its centre at zero.
    """
    offset_hz = float(ppm_to_hz(ppm, data.f0_hz, data.reference_ppm))
    if abs(offset_hz) > 0.5 / data.dwell_s:
        raise InputError(f"--spurious: {ppm:g} ppm is outside the spectrum of {data.source or 'the data'}")
    t = np.arange(data.samples) * data.dwell_s
    still = data.data * np.exp(-2j * np.pi * offset_hz * t)
    window = np.exp(-4 * np.log(2) * ((t - t[data.samples // 2]) / _WINDOW_S) ** 2)
    size = np.abs(np.convolve(still, window, mode="same"))
    at = int(np.argmax(size))
    above = size > 0.5 * size[at]
    first = at - int(np.argmin(above[at::-1])) if not above[: at + 1].all() else 0
    last = at + int(np.argmin(above[at:])) if not above[at:].all() else data.samples
    seen_s = (last - first - 1) * data.dwell_s
    return float(t[at]), float(np.sqrt(max(seen_s**2 - _WINDOW_S**2, (_WINDOW_S / 4) ** 2)))


def _echo(data: Transients, basis: Any, ppm: float, centre_s: float, length_s: float) -> Lines:
    """Return a Gaussian in time as a Fourier series of lines: in the sense of `Lines`, downfield positive."""
    span_s = _SPANS * data.samples * data.dwell_s
    width_hz = 4 * np.log(2) / (np.pi * length_s)  # FWHM of its spectrum
    most = int(np.ceil(width_hz * span_s * np.sqrt(np.log(1 / _FAINT) / (4 * np.log(2)))))
    order = np.arange(-most, most + 1)
    size = np.exp(-4 * np.log(2) * (order / span_s / width_hz) ** 2)
    phase = np.exp(-2j * np.pi * order * centre_s / span_s)
    offset_hz = (ppm - basis.reference_ppm) * data.f0_hz * 1e-6
    return Lines(offset_hz + order / span_s, size * phase / size.sum())


def _turned(lines: Lines, phase: float) -> Lines:
    return replace(lines, amplitude=lines.amplitude * np.exp(1j * phase))
