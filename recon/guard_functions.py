"""Whether the functions of a basis are what they should be for the data: by their content, whatever the file says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis
from pulsespec.errors import MismatchError
from pulsespec.recon.editing import is_difference
from pulsespec.recon.transients import Record, Transients
from pulsespec.simulator.basis_guard import SINGLETS_PPM, guard
from pulsespec.simulator.sampled import ratio_of

Real = NDArray[np.float64]

_SAME = 0.999
_WIDTH_HZ = 4.0
"""Lines are broadened to a good linewidth in vivo before functions are compared."""
_HALF_WINDOW_PPM = 0.06
_AWAY, _THERE = 0.1, 0.3
_CUT = 0.01
_EXACT = 1e-4


def functions(data: Transients, basis: Any) -> tuple[str, ...]:
    """Return notices on the functions of a basis.

    Raises
    ------
    MismatchError
        Singlets lie mirrored or elsewhere; or they are whole though the data are a difference of editing conditions,
        which cancels those of creatine and choline, or the other way round.

    """
    if basis.nucleus != "1H" or not basis.names:
        return ()
    notices = [words for words in guard(basis, "basis") if "no singlet" not in words]
    spectra = _spectra(data, basis)
    _refuse_other_editing(data, spectra, basis)
    return (*notices, *_dwell(data, basis), *_copies(tuple(basis.names), spectra))


def _dwell(data: Transients, basis: Any) -> list[str]:
    """Return a word on a dwell time of sampled functions that is not that of the data, nor a whole part of it."""
    if getattr(basis, "fids", None) is None:
        return []
    exact, taken = data.dwell_s / basis.dwell_s, ratio_of(basis.dwell_s, data.dwell_s)
    if abs(exact / taken - 1) < _EXACT and taken == round(taken):
        return []
    done = "the difference is taken for rounding in a header"
    if taken != round(taken):
        done = (
            f"its functions were interpolated, with an error below {basis.resampling_error(data.dwell_s):.1e}"
        )
    return [
        f"the basis is sampled every {basis.dwell_s * 1e6:.2f} us, the data every {data.dwell_s * 1e6:.2f} us: {done}"
    ]


def _spectra(data: Transients, basis: Any) -> NDArray[np.complex128]:
    """Return the broadened spectrum of each function, receiver's centre that of the basis; shape (n, samples)."""
    t = np.arange(data.samples) * data.dwell_s
    fids = np.array([basis.fid(name, data.samples, data.dwell_s) for name in basis.names])
    fids = fids * np.exp(-np.pi * _WIDTH_HZ * t)
    fids[:, 0] *= 0.5
    return np.asarray(np.fft.fftshift(np.fft.fft(fids, axis=1), axes=1))


def _refuse_other_editing(data: Transients, spectra: NDArray[np.complex128], basis: Any) -> None:
    """Raise where the singlets say that the basis is no difference and the data are, or the reverse.

    Creatine or choline decides: pulses of editing do not touch their methyls, so a difference has nothing of them.
    """
    names = tuple(basis.names)
    here = [name for name in ("Cr", "PCr", "GPC", "PCh") if name in names]
    narrow = [k for k, name in enumerate(names) if name not in getattr(basis, "broad", ())]
    if not here or len(narrow) < 3:
        return
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, basis.reference_ppm)
    tallest = float(np.abs(spectra[narrow]).max())
    share = max(_height(spectra[names.index(name)], ppm, SINGLETS_PPM[name]) for name in here) / tallest
    name = data.source or "data"
    if is_difference(data.header) and share > _THERE:
        raise MismatchError(
            f"{name}: a difference of editing conditions, but {' and '.join(here)} of the basis have their singlets "
            "(a difference cancels them): this basis is of one condition; simulate it with --conditions"
        )
    if (
        not is_difference(data.header)
        and "NAA" in names
        and share < _AWAY * _naa(spectra, names, ppm, tallest)
    ):
        raise MismatchError(
            f"{name}: not said to be a difference of editing conditions, but {' and '.join(here)} of the basis have "
            "no singlets beside that of NAA, as in a difference: this basis is not of these data"
        )


def _naa(spectra: NDArray[np.complex128], names: tuple[str, ...], ppm: Real, tallest: float) -> float:
    return _height(spectra[names.index("NAA")], ppm, SINGLETS_PPM["NAA"]) / tallest


def _height(spectrum: NDArray[np.complex128], ppm: Real, at_ppm: float) -> float:
    return float(np.abs(spectrum[np.abs(ppm - at_ppm) < _HALF_WINDOW_PPM]).max(initial=0.0))


def cut(data: Transients, basis: Any) -> tuple[Transients, tuple[str, ...]]:
    """Return the data no longer than sampled functions that have not decayed when they end, with a notice."""
    fids = getattr(basis, "fids", None)
    ends_s = 0.0 if fids is None else basis.samples * basis.dwell_s
    if fids is None or ends_s > 0.999 * data.samples * data.dwell_s:
        return data, ()
    left = {name: _left(fid, ends_s) for name, fid in fids.items()}
    worst = max(left, key=lambda name: left[name])
    if left[worst] < _CUT:
        return data, ()
    points = int(ends_s / data.dwell_s + 1e-6)
    words = (
        f"the functions of the basis end after {ends_s * 1e3:.0f} ms, where {worst} still has {left[worst]:.1%} of its "
        f"signal at a linewidth of {_WIDTH_HZ:g} Hz: the data were cut there, at {points} of {data.samples} points"
    )
    shorter = data.data[..., :points].copy()
    return data.with_data(shorter, Record("Truncation", words)), (words,)


def _left(fid: NDArray[np.complex128], ends_s: float) -> float:
    """Return how much of a function is left at its end, once it is broadened."""
    tail = np.abs(fid[-max(1, fid.size // 50) :]).mean() / max(np.abs(fid).max(), 1e-300)
    return float(tail * np.exp(-np.pi * _WIDTH_HZ * ends_s))


def _copies(names: tuple[str, ...], spectra: NDArray[np.complex128]) -> list[str]:
    """Return a word on functions that are nothing, or the same but for their size."""
    size = np.linalg.norm(spectra, axis=1)
    empty = [name for name, one in zip(names, size, strict=True) if one < 1e-9 * size.max(initial=0.0)]
    unit = spectra.real / (np.linalg.norm(spectra.real, axis=1, keepdims=True) + 1e-300)
    likeness = np.triu(unit @ unit.T, 1)
    words = [f"{name} of the basis has no signal: its amplitude means nothing" for name in empty]
    return words + [
        f"{names[i]} and {names[k]} of the basis are the same function (correlation {likeness[i, k]:.5f}): "
        "only their sum is known"
        for i, k in zip(*np.nonzero(likeness > _SAME), strict=True)
    ]
