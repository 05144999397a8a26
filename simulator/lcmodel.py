"""LCModel basis files: sampled spectra, read and written.

A `.basis` holds for each metabolite the Fourier transform of its FID, zero-filled to NDATAB points and divided by
the square root of NDATAB, in the sense of NIfTI-MRS and without conjugation; found by comparing such a file
with the RAW files it was made from, as the format has no published definition beyond LCModel's manual
(Provencher 1993, doi:10.1002/mrm.1910300604).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis, Lines, render

Complex = NDArray[np.complex128]

_NUMBERS_A_LINE = 6
_BROAD = re.compile(r"^(mac|mm|lip)", re.IGNORECASE)
_SECTION = re.compile(r"\$(\w+)(.*?)\$END([^$]*)", re.DOTALL)


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
            `dwell_s` is not that of the file: sampled FIDs are not resampled.

        """
        if name not in self.fids:
            raise InputError(f"basis: has no component {name!r}, only {', '.join(self.fids)}")
        if dwell_s is not None and abs(dwell_s - self.dwell_s) > 1e-4 * self.dwell_s:
            raise MismatchError(
                f"basis: sampled at a dwell time of {self.dwell_s * 1e6:.2f} us, but the data at "
                f"{dwell_s * 1e6:.2f} us; simulate a basis instead, which renders at any"
            )
        n = self.samples if samples is None else samples
        padded = np.zeros(n, dtype=complex)
        stored = self.fids[name][:n]
        padded[: stored.size] = stored
        t = np.arange(n) * self.dwell_s
        decay = np.exp(-np.pi * linewidth_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2)))
        return np.asarray(padded * decay)

    def subset(self, names: Sequence[str]) -> "SampledBasis":
        """Return the basis with only the named components."""
        fids = {name: self.fid(name) for name in names}
        return replace(self, fids=fids, broad=tuple(name for name in self.broad if name in fids))

    def with_broad(self, components: Mapping[str, Lines]) -> "SampledBasis":
        """Return the basis with macromolecule and lipid components added."""
        added = {
            name: swap_sense(render(lines, self.samples, self.dwell_s)) for name, lines in components.items()
        }
        return replace(self, fids={**self.fids, **added}, broad=(*self.broad, *added))


def write_basis(basis: Basis, path: Path, overwrite: bool = False, linewidth_hz: float = 1.0) -> None:
    """Write an LCModel `.basis` at the readout of the basis, lines broadened by `linewidth_hz`."""
    points = 2 * basis.samples
    te_ms = 0.0 if basis.te_s is None else basis.te_s * 1e3
    text = [
        f" $SEQPAR\n FWHMBA = {linewidth_hz / basis.f0_hz * 1e6:.6f},\n HZPPPM = {basis.f0_hz * 1e-6:.6f},",
        f" ECHOT = {te_ms:.3f},\n SEQ = '{basis.sequence[:20]}'\n $END",
        f" $BASIS1\n IDBASI = 'pulsespec {basis.sequence_hash[:12]}',\n FMTBAS = '({_NUMBERS_A_LINE}E13.5)',",
        f" BADELT = {basis.dwell_s:.9g},\n NDATAB = {points}\n $END",
    ]
    for name in basis.names:
        fid = basis.fid(name, linewidth_hz=linewidth_hz)
        spectrum = np.fft.fft(fid, points) / np.sqrt(points)
        text.append(f" $NMUSED\n FILRAW = '{name}',\n PPMSEP = {basis.reference_ppm:.6f}\n $END")
        text.append(
            f" $BASIS\n ID = '{name}',\n METABO = '{name}',\n CONC = 1.,\n TRAMP = 1.,\n VOLUME = 1.,"
        )
        text.append(" ISHIFT = 0\n $END")
        text.append(_numbers(spectrum))
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="ascii")


def _numbers(values: Complex) -> str:
    flat = np.stack([values.real, values.imag], axis=1).ravel()
    cells = [f"{value:13.5E}" for value in flat]
    return "\n".join("".join(cells[i : i + _NUMBERS_A_LINE]) for i in range(0, len(cells), _NUMBERS_A_LINE))


def read_basis(path: Path) -> SampledBasis:
    """Read an LCModel `.basis`.

    Raises
    ------
    DataError
        The file is damaged, truncated or not of this format.

    """
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    facts: dict[str, str] = {}
    fids: dict[str, Complex] = {}
    for kind, head, body in _SECTION.findall(text):
        values = _namelist(head)
        if kind in ("SEQPAR", "BASIS1", "NMUSED"):
            facts |= {f"{kind}.{key}": value for key, value in values.items()}
        elif kind == "BASIS":
            fids[values.get("METABO", "").strip("' ")] = _fid(path, values, body, facts)
    if not fids or "BASIS1.BADELT" not in facts:
        raise DataError(f"{path}: is not an LCModel basis file (no $BASIS1 or no $BASIS)")
    echo_ms = _number(path, facts, "SEQPAR.ECHOT", 0.0)
    return SampledBasis(
        fids=fids,
        dwell_s=_number(path, facts, "BASIS1.BADELT"),
        f0_hz=_number(path, facts, "SEQPAR.HZPPPM") * 1e6,
        te_s=echo_ms * 1e-3 if echo_ms > 0 else None,
        reference_ppm=_number(path, facts, "NMUSED.PPMSEP", RECEIVER_PPM),
        broad=tuple(name for name in fids if _BROAD.match(name)),
        sequence=facts.get("SEQPAR.SEQ", "").strip("' "),
    )


def _namelist(text: str) -> dict[str, str]:
    pairs = re.findall(r"(\w+)\s*=\s*('[^']*'|[^,\n]*)", text)
    return {key.upper(): value.strip() for key, value in pairs}


def _number(path: Path, facts: Mapping[str, str], key: str, default: float | None = None) -> float:
    cell = facts.get(key, "")
    if not cell and default is not None:
        return default
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"{path}: {key} is {cell!r}, expected a number") from error


def _fid(path: Path, values: Mapping[str, str], body: str, facts: Mapping[str, str]) -> Complex:
    points = int(_number(path, facts, "BASIS1.NDATAB"))
    name = values.get("METABO", "?")
    try:
        flat = np.array(body.split(), dtype=float)
    except ValueError as error:
        raise DataError(f"{path}: {name}: data are not numbers ({error})") from error
    if flat.size != 2 * points:
        raise DataError(f"{path}: {name}: {flat.size} numbers, expected {2 * points}: truncated or damaged")
    spectrum = flat[::2] + 1j * flat[1::2]
    shift = int(float(values.get("ISHIFT") or 0))
    return np.asarray(np.fft.ifft(np.roll(spectrum, -shift)) * np.sqrt(points))[: points // 2]
