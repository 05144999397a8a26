"""A basis set as sampled FIDs: what every format but our own stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.simulator.basis import Basis, Lines, render
from pulsespec.simulator.resample import expected_first, resample

Complex = NDArray[np.complex128]


@dataclass(frozen=True, kw_only=True)
class SampledBasis:
    """A basis set as sampled FIDs, as other programs store it; offers what a fit needs of a `Basis`."""

    fids: Mapping[str, Complex]
    """FIDs in the NIfTI-MRS sense by name; each of shape (samples,)."""
    dwell_s: float
    f0_hz: float
    te_s: float | None
    nucleus: str = "1H"
    tr_s: float | None = None
    reference_ppm: float = RECEIVER_PPM
    broad: tuple[str, ...] = ()
    """Names that are macromolecules or lipids."""
    water: Lines | None = None
    """Always `None`: these files have no water of the same sequence."""
    sequence: str = ""
    sequence_hash: str = ""
    linewidth_hz: float | None = None
    """Lorentzian full width at half maximum that the FIDs were broadened by, where the file says it."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all components."""
        return tuple(self.fids)

    @property
    def samples(self) -> int:
        """Points of the longest FID."""
        return max(fid.size for fid in self.fids.values())

    def fid(
        self,
        name: str,
        samples: int | None = None,
        dwell_s: float | None = None,
        linewidth_hz: float = 0.0,
        gauss_hz: float = 0.0,
    ) -> Complex:
        """Return the FID of one component, cut or zero-filled to `samples`; widths are added.

        A dwell time that is no whole multiple of that of the file is reached by interpolation, see `resampling_error`.

        Raises
        ------
        InputError
            There is no such component.
        MismatchError
            The component has lines that the band of `dwell_s`, or interpolation in its own, does not hold.

        """
        if name not in self.fids:
            raise InputError(f"basis: has no component {name!r}, only {', '.join(self.fids)}")
        ratio = ratio_of(self.dwell_s, dwell_s)
        _refuse_folding(name, self.fids[name], ratio)
        n = int((self.samples - 1) / ratio + 1e-9) + 1 if samples is None else samples
        if ratio == round(ratio):
            stored = self.fids[name][:: round(ratio)][:n]
            padded = np.zeros(n, dtype=complex)
            padded[: stored.size] = stored
        else:
            padded, error = resample(self.fids[name], ratio, n)
            _refuse_edge(name, error, self.dwell_s, dwell_s)
        t = np.arange(n) * self.dwell_s * ratio
        decay = np.exp(-np.pi * linewidth_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2)))
        return np.asarray(padded * decay)

    def resampling_error(self, dwell_s: float) -> float:
        """Return the largest error of any component at `dwell_s`, at its worst point and relative to its largest."""
        ratio = ratio_of(self.dwell_s, dwell_s)
        if ratio == round(ratio):
            return 0.0
        return max(resample(fid, ratio, 1)[1] for fid in self.fids.values())

    def subset(self, names: Sequence[str]) -> "SampledBasis":
        """Return the basis with only the named components."""
        fids = {name: self.fid(name) for name in names}
        return replace(self, fids=fids, broad=tuple(name for name in self.broad if name in fids))

    def with_fids(self, fids: Mapping[str, Complex]) -> "SampledBasis":
        """Return the basis with other FIDs."""
        return replace(self, fids=fids)

    def with_broad(self, components: Mapping[str, Lines]) -> "SampledBasis":
        """Return the basis with macromolecule and lipid components added."""
        added = {
            name: swap_sense(render(lines, self.samples, self.dwell_s)) for name, lines in components.items()
        }
        return replace(self, fids={**self.fids, **added}, broad=(*self.broad, *added))


def sampled(
    basis: Basis | SampledBasis,
    samples: int | None = None,
    dwell_s: float | None = None,
    linewidth_hz: float = 0.0,
    gauss_hz: float = 0.0,
) -> SampledBasis:
    """Return the basis as FIDs at the given readout, by default its own, broadened by the given widths.

    Parameters
    ----------
    basis
        Lines, which are rendered exactly, or FIDs, which are cut, thinned, interpolated or (once decayed) zero-filled.
    samples, dwell_s
        Readout wanted.
    linewidth_hz, gauss_hz
        Lorentzian and Gaussian full width at half maximum that are added.

    Raises
    ------
    MismatchError
        Sampled FIDs cannot be brought to that readout without inventing or losing signal.

    """
    if isinstance(basis, SampledBasis):
        fids = {name: basis.fid(name, None, None, linewidth_hz, gauss_hz) for name in basis.names}
        width = None if basis.linewidth_hz is None else basis.linewidth_hz + linewidth_hz
        return _resampled(replace(basis, fids=fids, linewidth_hz=width), samples, dwell_s)
    return SampledBasis(
        fids={n: basis.fid(n, samples, dwell_s, linewidth_hz, gauss_hz) for n in basis.names},
        dwell_s=basis.dwell_s if dwell_s is None else dwell_s,
        f0_hz=basis.f0_hz,
        te_s=basis.te_s,
        tr_s=basis.tr_s,
        nucleus=basis.nucleus,
        reference_ppm=basis.reference_ppm,
        broad=basis.broad,
        sequence=basis.sequence,
        sequence_hash=basis.sequence_hash,
        linewidth_hz=linewidth_hz,
        provenance=basis.provenance,
    )


_DECAYED = 1e-3
"""A FID may be zero-filled where its end is below this share of its maximum."""
_OUTSIDE = 1e-2
"""Points may be left out where the spectrum outside the new band is below this share of its maximum."""


def _resampled(basis: SampledBasis, samples: int | None, dwell_s: float | None) -> SampledBasis:
    """Return the FIDs at another dwell time and cut or zero-filled; refuse what that would spoil."""
    fids = {name: basis.fid(name, dwell_s=dwell_s) for name in basis.names}
    thin = replace(basis, fids=fids, dwell_s=basis.dwell_s * ratio_of(basis.dwell_s, dwell_s))
    wanted = thin.samples if samples is None else samples
    for name, fid in thin.fids.items():
        tail = np.abs(fid[-max(1, fid.size // 50) :]).max()
        if wanted > fid.size and tail > _DECAYED * np.abs(fid).max():
            raise MismatchError(
                f"basis: {name} has {fid.size} points and has not decayed at their end ({tail:.2g} of "
                f"{np.abs(fid).max():.2g} is left), {wanted} points wanted: take at most "
                f"{fid.size}, or broaden it first"
            )
    return replace(thin, fids={name: thin.fid(name, wanted) for name in thin.names})


_ROUNDED = 2e-3
"""Files round: 333 us for 1 s / 3000 is met, and the shifts between its singlets are right at the latter only. Two
dwell times that differ by less are one."""
_NOT_FOLLOWED = 1e-2
"""Interpolation may be off by this share of the largest point."""


def ratio_of(stored_s: float, wanted_s: float | None) -> float:
    """Return how many stored points one wanted point is: a whole number where it is one but for rounding."""
    if wanted_s is None:
        return 1.0
    whole = round(wanted_s / stored_s)
    if whole >= 1 and abs(wanted_s - whole * stored_s) <= _ROUNDED * wanted_s:
        return float(whole)
    return wanted_s / stored_s


def _refuse_folding(name: str, fid: Complex, ratio: float) -> None:
    """Raise where more than `_OUTSIDE` of the largest peak lies outside the band of a longer dwell time."""
    if ratio <= 1:
        return
    spectrum = np.abs(np.fft.fft(fid * np.hanning(fid.size)))  # from zero: a step at t = 0 has wide wings
    outside = np.abs(np.fft.fftfreq(fid.size)) > 0.5 / ratio
    if spectrum[outside].max(initial=0.0) > _OUTSIDE * spectrum.max():
        raise MismatchError(
            f"basis: {name} has lines outside the band that a {ratio:g} times longer dwell time leaves"
        )


def _refuse_edge(name: str, error: float, stored_s: float, wanted_s: float | None) -> None:
    """Raise where interpolation does not follow the lines of a component."""
    if error > _NOT_FOLLOWED:
        raise MismatchError(
            f"basis: {name} is sampled at a dwell time of {stored_s * 1e6:.2f} us, {(wanted_s or 0) * 1e6:.2f} us "
            f"wanted: it has lines too near the edge of its band to be interpolated (error {error:.1%}); a simulated "
            "basis (.h5) renders at any"
        )


def joined(path: Path, parts: Sequence[SampledBasis]) -> SampledBasis:
    """Return one basis of the functions that a folder holds in a file each.

    Raises
    ------
    DataError
        There are none, two have one name, or they differ in points, dwell time, frequency or reference.

    """
    if not parts:
        raise DataError(f"{path}: holds no basis functions")
    first = parts[0]
    for part in parts:
        for fact in ("dwell_s", "f0_hz", "reference_ppm"):
            value, expected = getattr(part, fact), getattr(first, fact)
            if abs(value - expected) > 1e-6 * abs(expected):
                raise DataError(
                    f"{path}: {part.names[0]} has {fact} {value:.8g}, but {first.names[0]} has {expected:.8g}"
                )
    names = [name for part in parts for name in part.names]
    sizes = {fid.size: name for part in parts for name, fid in part.fids.items()}
    if len(sizes) > 1:
        points = ", ".join(f"{name} has {size}" for size, name in sorted(sizes.items()))
        raise DataError(f"{path}: functions differ in their points ({points}): truncated or damaged")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: holds {', '.join(twice)} more than once")
    fids = {name: fid for part in parts for name, fid in part.fids.items()}
    return replace(first, fids=fids, broad=tuple(name for part in parts for name in part.broad))


def at_reference(basis: SampledBasis, reference_ppm: float) -> SampledBasis:
    """Return the basis with the receiver's centre moved to `reference_ppm`: each FID turns by the difference."""
    shift_hz = (reference_ppm - basis.reference_ppm) * basis.f0_hz * 1e-6
    if shift_hz == 0:
        return basis
    turn = np.exp(2j * np.pi * shift_hz * basis.dwell_s * np.arange(basis.samples))
    fids = {name: np.asarray(fid * turn[: fid.size]) for name, fid in basis.fids.items()}
    return replace(basis, fids=fids, reference_ppm=reference_ppm)


_HALF = 0.1
"""How far the first points may be from half of what follows from the others."""


def with_whole_first_points(basis: SampledBasis) -> tuple[SampledBasis, tuple[str, ...]]:
    """Return the basis with the first point of every FID as it was, where the program that made it halved them.

    Some halve it before the Fourier transform (the trapezoidal rule) and store the spectra: LCModel's own simulated
    bases are met so. All components must have half of what follows from their other points.
    """
    expected = np.array([expected_first(fid) for fid in basis.fids.values()])
    first = np.array([fid[0] for fid in basis.fids.values()])
    share = first / np.where(expected == 0, np.inf, expected)
    if not share.size or np.max(np.abs(share - 0.5)) > _HALF:
        return basis, ()
    fids = {name: np.concatenate([2 * fid[:1], fid[1:]]) for name, fid in basis.fids.items()}
    half = float(np.median(share.real))
    words = f"first points of the FIDs are {half:.2f} of what follows from the others: they were doubled"
    return replace(basis, fids=fids), (words,)


def conjugated(basis: SampledBasis) -> SampledBasis:
    """Return the basis with every FID complex conjugate: its spectra mirrored about the reference."""
    return replace(basis, fids={name: swap_sense(fid) for name, fid in basis.fids.items()})
