"""LCModel basis files: sampled spectra, read and written.

A `.basis` holds for each metabolite the Fourier transform of its FID, zero-filled to NDATAB points and divided by
the square root of NDATAB, in the sense of NIfTI-MRS and without conjugation. What LCModel makes of it was read from
its source (`MYBASI` in `LCModel.f`, BSD-3): spectra are multiplied by TRAMP / (VOLUME CONC), moved by ISHIFT points
to the left, and taken to be centred on 4.65 ppm; a negative BADELT says that they are encrypted; namelist groups
that it does not know, as its own NMUSED, are passed over. The program: Provencher 1993,
doi:10.1002/mrm.1910300604.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.sampled import Complex, SampledBasis, at_reference, sampled

_NUMBERS_A_LINE = 6
_CENTRE_PPM = 4.65
"""Chemical shift of the centre of every basis, in `MYBASI`; PPMSEP is a note of MakeBasis."""
_ROUNDING = 1e-3
"""What the five digits of the format may leave where a FID was zero-filled, as a share of its maximum."""
_BROAD = re.compile(r"^(mac|mm|lip)", re.IGNORECASE)
_SECTION = re.compile(r"\$(\w+)(.*?)\$END([^$]*)", re.DOTALL)


def _dwell_s(path: Path, facts: Mapping[str, str]) -> float:
    dwell_s = _number(path, facts, "BASIS1.BADELT")
    if dwell_s < 0:
        raise DataError(
            f"{path}: BADELT is negative, which says that LCModel encrypted the spectra; only it reads them"
        )
    return dwell_s


def broad_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that mean macromolecules or lipids, as LCModel and Osprey call them."""
    return tuple(name for name in names if _BROAD.match(name))


def write_basis(
    basis: Basis | SampledBasis, path: Path, overwrite: bool = False, linewidth_hz: float = 1.0
) -> None:
    """Write an LCModel `.basis` at the readout of the basis; lines are broadened by `linewidth_hz`."""
    fids = sampled(basis, linewidth_hz=linewidth_hz) if isinstance(basis, Basis) else basis
    written = at_reference(fids, _CENTRE_PPM)
    points = 2 * written.samples
    te_ms = -1.0 if written.te_s is None else written.te_s * 1e3
    width_ppm = written.linewidth_hz / written.f0_hz * 1e6 if written.linewidth_hz else -1.0
    text = [
        f" $SEQPAR\n FWHMBA = {width_ppm:.6f},\n HZPPPM = {written.f0_hz * 1e-6:.6f},",
        f" ECHOT = {te_ms:.3f},\n SEQ = '{word(written.sequence)}'\n $END",
        f" $PULSESPEC\n SEQHASH = '{written.sequence_hash}'\n $END",
        f" $BASIS1\n IDBASI = 'pulsespec {written.sequence_hash[:12]}',\n FMTBAS = '({_NUMBERS_A_LINE}E13.5)',",
        f" BADELT = {written.dwell_s:.9g},\n NDATAB = {points}\n $END",
    ]
    for name in written.names:
        spectrum = np.fft.fft(written.fid(name), points) / np.sqrt(points)
        text.append(f" $NMUSED\n FILRAW = '{name}',\n PPMSEP = {_CENTRE_PPM}\n $END")
        text.append(
            f" $BASIS\n ID = '{name}',\n METABO = '{name}',\n CONC = 1.,\n TRAMP = 1.,\n VOLUME = 1.,"
        )
        text.append(" ISHIFT = 0\n $END")
        text.append(_numbers(spectrum))
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="ascii")


def _numbers(values: Complex) -> str:
    flat = flushed(np.stack([values.real, values.imag], axis=1)).ravel()
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
        values = namelist(head)
        if kind in ("SEQPAR", "BASIS1", "PULSESPEC"):
            facts |= {f"{kind}.{key}": value for key, value in values.items()}
        elif kind == "BASIS":
            fids[values.get("METABO", "").strip("' ")] = _fid(path, values, body, facts)
    if not fids or "BASIS1.BADELT" not in facts:
        raise DataError(f"{path}: is not an LCModel basis file (no $BASIS1 or no $BASIS)")
    echo_ms = _number(path, facts, "SEQPAR.ECHOT", 0.0)
    width_ppm = _number(path, facts, "SEQPAR.FWHMBA", -1.0)
    return SampledBasis(
        fids=_unfilled(fids),
        dwell_s=_dwell_s(path, facts),
        f0_hz=_number(path, facts, "SEQPAR.HZPPPM") * 1e6,
        te_s=echo_ms * 1e-3 if echo_ms > 0 else None,
        reference_ppm=_CENTRE_PPM,
        broad=broad_names(fids),
        linewidth_hz=width_ppm * _number(path, facts, "SEQPAR.HZPPPM") if width_ppm > 0 else None,
        sequence=facts.get("SEQPAR.SEQ", "").strip("' "),
        sequence_hash=facts.get("PULSESPEC.SEQHASH", "").strip("' "),
    )


def flushed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers with zero for those whose exponent has three digits, which would not fit a column."""
    return np.where(np.abs(values) < 1e-90, 0.0, values)


def word(text: str) -> str:
    """Return the text as a string of a Fortran namelist can hold it: 20 plain characters."""
    return re.sub(r"[^ -~]|['$]", "", text)[:20]


def namelist(text: str) -> dict[str, str]:
    """Return the keys (upper case) and values of a Fortran namelist group."""
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
    spectrum = (flat[::2] + 1j * flat[1::2]) * _scale(path, values)
    shift = int(float(values.get("ISHIFT") or 0))
    return np.asarray(np.fft.ifft(np.roll(spectrum, -shift)) * np.sqrt(points))


def _scale(path: Path, values: Mapping[str, str]) -> float:
    tramp, volume, conc = (_number(path, values, key, 1.0) for key in ("TRAMP", "VOLUME", "CONC"))
    if min(tramp, volume, conc) <= 0:
        raise DataError(f"{path}: TRAMP {tramp}, VOLUME {volume}, CONC {conc}: expected numbers above 0")
    return tramp / (volume * conc)


def _unfilled(fids: Mapping[str, Complex]) -> dict[str, Complex]:
    """Return the FIDs without the half that LCModel zero-fills; spant and Osprey fill nothing and keep all."""
    filled = all(_is_zero(fid[fid.size // 2 :], fid) for fid in fids.values())
    return {name: fid[: fid.size // 2] if filled else fid for name, fid in fids.items()}


def _is_zero(part: Complex, whole: Complex) -> bool:
    return bool(np.abs(part).max() <= _ROUNDING * np.abs(whole).max())
