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

        Raises
        ------
        InputError
            There is no such component.
        MismatchError
            `dwell_s` is no whole multiple of that of the file, or too long for its band.

        """
        if name not in self.fids:
            raise InputError(f"basis: has no component {name!r}, only {', '.join(self.fids)}")
        step = _step(self.dwell_s, dwell_s)
        _refuse_folding(name, self.fids[name], step)
        n = -(-self.samples // step) if samples is None else samples
        padded = np.zeros(n, dtype=complex)
        stored = self.fids[name][::step][:n]
        padded[: stored.size] = stored
        t = np.arange(n) * self.dwell_s * step
        decay = np.exp(-np.pi * linewidth_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2)))
        return np.asarray(padded * decay)

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
        Lines, which are rendered exactly, or FIDs, which are cut, decimated or (once decayed) zero-filled.
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
    """Return the FIDs every k-th point and cut or zero-filled; refuse what that would spoil."""
    step = _step(basis.dwell_s, dwell_s)
    fids = {name: basis.fid(name, dwell_s=dwell_s) for name in basis.names}
    thin = replace(basis, fids=fids, dwell_s=basis.dwell_s * step)
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
"""Files round: 333 us for 1 s / 3000 is met; two dwell times that differ by less are one."""


def _step(stored_s: float, wanted_s: float | None) -> int:
    """Return how many stored points one wanted point is; `MismatchError` where that is no whole number."""
    if wanted_s is None:
        return 1
    step = round(wanted_s / stored_s)
    if step < 1 or abs(wanted_s - step * stored_s) > _ROUNDED * wanted_s:
        raise MismatchError(
            f"basis: sampled at a dwell time of {stored_s * 1e6:.2f} us, {wanted_s * 1e6:.2f} us wanted: sampled "
            "FIDs can be thinned to whole multiples only; a simulated basis (.h5) renders at any"
        )
    return step


def _refuse_folding(name: str, fid: Complex, step: int) -> None:
    """Raise where more than `_OUTSIDE` of the largest peak lies outside the band that thinning leaves."""
    if step == 1:
        return
    spectrum = np.abs(np.fft.fft(fid * np.hanning(fid.size)))  # from zero: a step at t = 0 has wide wings
    outside = np.abs(np.fft.fftfreq(fid.size)) > 0.5 / step
    if spectrum[outside].max() > _OUTSIDE * spectrum.max():
        raise MismatchError(
            f"basis: {name} has lines outside the band that a {step} times longer dwell time leaves"
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


def conjugated(basis: SampledBasis) -> SampledBasis:
    """Return the basis with every FID complex conjugate: its spectra mirrored about the reference."""
    return replace(basis, fids={name: swap_sense(fid) for name, fid in basis.fids.items()})
