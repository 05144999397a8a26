"""LCModel RAW: one text file of an FID for each metabolite, as MakeBasis takes them; read and written.

The FID is in the sense of NIfTI-MRS, so nothing is conjugated. That is how the RAW files of the ISMRM fitting
challenge and of MARSS lie, how FID-A writes them (conjugated on the way out of its own, opposite sense), and what
LCModel's own `.basis` of the former is the Fourier transform of. The format stores neither dwell time nor, for
MakeBasis, a frequency: what is written here adds them in groups that a Fortran namelist reader passes over. TRAMP
and VOLUME scale an FID as they scale a spectrum of a `.basis`; BRUKER says that it is conjugated, and SEQACQ that real
and imaginary points alternate in time, which is refused (`MYDATA` in `LCModel.f`, BSD-3).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError
from pulsespec.files import atomic_directory
from pulsespec.simulator.basis_facts import Given, known, needed
from pulsespec.simulator.lcmodel import broad_names, flushed, namelist, word
from pulsespec.simulator.sampled import Complex, SampledBasis, joined

_GROUP = re.compile(r"\$(\w+)(.*?)\$END", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(r"^\s*(Sweep Width|B0 Field|Apodization)\s*=\s*([-+.\dEe]+)", re.MULTILINE)
_FID_A_GAMMA_HZ_PER_T = 42.577e6
"""What FID-A, whose comments give a field only, takes for protons (its `io_readlcmraw_dotraw.m`)."""


def is_raw(path: Path) -> bool:
    """Return whether a file is LCModel RAW, or a folder holds some."""
    if path.is_dir():
        return bool(_files(path))
    with path.open("rb") as file:
        return b"$NMID" in file.read(4096).upper()


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".raw" and p.is_file())


def read(path: Path, given: Given) -> SampledBasis:
    """Read one RAW file or a folder of them; a metabolite has the name of its file.

    Raises
    ------
    DataError
        A file is damaged, or neither it nor `given` says dwell time and frequency.

    """
    files = _files(path) if path.is_dir() else [path]
    return joined(path, [_one(file, given) for file in files])


def parts(path: Path) -> tuple[str, dict[str, dict[str, str]], Complex]:
    """Return the text before the first group, the namelist groups, and the FID times TRAMP / VOLUME.

    Raises
    ------
    DataError
        The file has no group $NMID, what follows the groups is not pairs of numbers, or SEQACQ is set.

    """
    text = path.read_text(encoding="latin-1")
    groups = {name.upper(): dict(namelist(body)) for name, body in _GROUP.findall(text)}
    if "NMID" not in groups:
        raise DataError(f"{path}: is not LCModel RAW (no $NMID)")
    scale = (_float(path, groups["NMID"], "TRAMP") or 1.0) / (_float(path, groups["NMID"], "VOLUME") or 1.0)
    if _is_true(groups["NMID"], "SEQACQ"):
        raise DataError(f"{path}: SEQACQ is true, real and imaginary points in turn: not read")
    fid = _numbers(path, text[list(_GROUP.finditer(text))[-1].end() :]) * scale
    return text.split("$")[0], groups, swap_sense(fid) if _is_true(groups["NMID"], "BRUKER") else fid


def _is_true(group: Mapping[str, str], key: str) -> bool:
    """Return a Fortran logical: T, .T., TRUE or .TRUE."""
    return group.get(key, "").strip().lstrip(".").upper().startswith("T")


def frequency_and_echo(
    path: Path, groups: Mapping[str, Mapping[str, str]]
) -> tuple[float | None, float | None]:
    """Return what group $SEQPAR says: spectrometer frequency in Hz and echo time in s; `None` where it does not."""
    sequence = groups.get("SEQPAR", {})
    mhz, te_ms = _float(path, sequence, "HZPPPM"), _float(path, sequence, "ECHOT")
    return None if mhz is None else mhz * 1e6, None if te_ms is None or te_ms <= 0 else te_ms * 1e-3


def _one(path: Path, given: Given) -> SampledBasis:
    opening, groups, fid = parts(path)
    sequence, ours = groups.get("SEQPAR", {}), groups.get("PULSESPEC", {})
    comments = {name: float(value) for name, value in _COMMENT.findall(opening)}
    dwell_s = _float(path, ours, "DWELLTIME")
    f0_hz, te_s = frequency_and_echo(path, groups)
    if dwell_s is None and "Sweep Width" in comments:
        dwell_s = 1 / comments["Sweep Width"]
    if f0_hz is None and "B0 Field" in comments:
        f0_hz = comments["B0 Field"] * _FID_A_GAMMA_HZ_PER_T
    return SampledBasis(
        fids={path.stem: fid},
        dwell_s=needed(path, "dwell_s", dwell_s, given),
        f0_hz=needed(path, "f0_hz", f0_hz, given),
        te_s=known(path, "te_s", te_s, given),
        reference_ppm=known(path, "reference_ppm", _float(path, ours, "PPMREF"), given) or RECEIVER_PPM,
        linewidth_hz=(_float(path, ours, "LINEWIDTH") if ours else comments.get("Apodization")) or None,
        broad=broad_names([path.stem]),
        sequence=_word(sequence, "SEQ"),
        sequence_hash=_word(ours, "SEQHASH"),
    )


def _word(group: Mapping[str, str], key: str) -> str:
    return group.get(key, "").strip("' ")


def _float(path: Path, group: Mapping[str, str], key: str) -> float | None:
    if not group.get(key):
        return None
    try:
        return float(group[key].upper().replace("D", "E"))
    except ValueError as error:
        raise DataError(f"{path}: {key} is {group[key]!r}, expected a number") from error


def _numbers(path: Path, text: str) -> Complex:
    try:
        flat = np.array(text.upper().replace("D", "E").split(), dtype=float)
    except ValueError as error:
        raise DataError(f"{path}: data are not numbers alone: damaged") from error
    if flat.size < 2 or flat.size % 2:
        raise DataError(
            f"{path}: {flat.size} numbers, expected pairs of real and imaginary: truncated or damaged"
        )
    return np.asarray(flat[::2] + 1j * flat[1::2])


def write(basis: SampledBasis, path: Path, overwrite: bool = False) -> None:
    """Write a folder with one RAW file for each metabolite."""
    with atomic_directory(path, overwrite) as folder:
        for name, fid in basis.fids.items():
            (folder / f"{name}.RAW").write_text(_text(basis, name, fid), encoding="ascii")


def _text(basis: SampledBasis, name: str, fid: Complex) -> str:
    te_ms = -1.0 if basis.te_s is None else basis.te_s * 1e3
    lines = [
        f" $SEQPAR\n HZPPPM = {basis.f0_hz * 1e-6:.7f},\n ECHOT = {te_ms:.3f},\n SEQ = '{word(basis.sequence)}'\n $END",
        f" $PULSESPEC\n DWELLTIME = {basis.dwell_s:.10g},\n PPMREF = {basis.reference_ppm:.6f},",
        f" LINEWIDTH = {basis.linewidth_hz or 0.0:.6f},\n SEQHASH = '{basis.sequence_hash}'\n $END",
        f" $NMID\n ID = '{name}',\n FMTDAT = '(2E16.8)',\n VOLUME = 1.,\n TRAMP = 1.\n $END",
        *(
            f"{real:16.8E}{imaginary:16.8E}"
            for real, imaginary in flushed(np.stack([fid.real, fid.imag], axis=1))
        ),
    ]
    return "\n".join(lines) + "\n"
