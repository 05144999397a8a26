"""Data as text: jMRUI, LCModel RAW and H2O, and plain columns of numbers.

None of them defines the sense of frequency well enough to refuse a file over it: what they are taken for (jMRUI
scanner sense, the others NIfTI-MRS sense) is how the files of the ISMRM fitting challenge lie, and `guards` corrects
the rest with a notice. RAW stores neither dwell time nor the number of points; the control file that LCModel is
started with does, so one in the same folder that names the file is read too. Names of patients are not.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import GAMMA_HZ_PER_T
from pulsespec.errors import DataError
from pulsespec.recon.known import ASSUMED, Known, readout, settled
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.simulator import jmrui, lcmodel_raw
from pulsespec.simulator.lcmodel import namelist

_GAMMA_TOLERANCE = 0.03
_LONGEST_CONTROL = 100_000
_CONTROL = re.compile(r"\$LCMODL(.*?)\$END", re.DOTALL | re.IGNORECASE)
_SNIFFED = 4096
_STRETCH = 16


def is_jmrui_text(path: Path) -> bool:
    """Return whether a file opens with the title of jMRUI text."""
    return path.is_file() and jmrui.is_jmrui(path)


def read_jmrui(path: Path, known: Known) -> Scan:
    """Read jMRUI text; several signals are a dimension "average".

    Raises
    ------
    DataError
        The file is damaged, not of protons, or lacks sampling interval or frequency.

    """
    header, fids = jmrui.signals(path)
    interval_s, f0_hz, field_t = jmrui.facts(path, header)
    f0_hz = settled(path, "spectrometer frequency", f0_hz, known.f0_hz)
    if field_t is not None and abs(f0_hz / field_t / GAMMA_HZ_PER_T["1H"] - 1) > _GAMMA_TOLERANCE:
        raise DataError(
            f"{path}: {f0_hz * 1e-6:.3f} MHz at {field_t:g} T is not the frequency of protons, "
            "the only nucleus that is read from jMRUI text"
        )
    data = np.stack(fids) if len(fids) > 1 else fids[0]
    dims = ("average", "t") if len(fids) > 1 else ("t",)
    dwell_s = settled(path, "dwell time", interval_s, known.dwell_s)
    return Scan(Transients(data=data, dims=dims, dwell_s=dwell_s, f0_hz=f0_hz, source=path.name))


def is_lcmodel_raw(path: Path) -> bool:
    """Return whether a file has the group $NMID that opens LCModel's data."""
    return path.is_file() and lcmodel_raw.is_raw(path)


def read_lcmodel_raw(path: Path, known: Known) -> Scan:
    """Read RAW or H2O; more points than a FID has are voxels: columns are "x", rows "y", slices "z".

    Raises
    ------
    DataError
        The file is damaged, has not whole FIDs, holds several voxels and nothing says so, or nobody says dwell
        time or frequency.

    """
    _, groups, values = lcmodel_raw.parts(path)
    f0_hz, te_s = lcmodel_raw.frequency_and_echo(path, groups)
    control, name = _control(path)
    mhz = control.get("HZPPPM")
    f0_hz = f0_hz if f0_hz is not None or mhz is None else mhz * 1e6
    ours = groups.get("PULSESPEC", {}).get("DWELLTIME")
    dwell_s = control.get("DELTAT") if ours is None else float(ours)
    points = int(control.get("NUNFIL", values.size))
    if points < 1 or values.size % points:
        raise DataError(f"{path}: {values.size} points, expected a multiple of NUNFIL = {points} in {name}")
    if points == values.size:
        _refuse_beginnings(path, values)
    data, dims = _grid(path, values.reshape(-1, points), control)
    dwell_s, f0_hz, assumed = readout(path, dwell_s, f0_hz, points, known)
    records = [Record("Reading", f"dwell time and points from {name} beside it")] if control else []
    records += [Record(ASSUMED, assumed)] if assumed else []
    return Scan(
        Transients(
            data=data,
            dims=dims,
            dwell_s=dwell_s,
            f0_hz=f0_hz,
            te_s=te_s,
            source=path.name,
            records=tuple(records),
        )
    )


def _grid(
    path: Path, fids: NDArray[np.complex128], control: dict[str, float]
) -> tuple[NDArray[np.complex128], tuple[str, ...]]:
    """Return the FIDs on their grid: LCModel takes slices, then rows, then columns, the last fastest."""
    if len(fids) == 1:
        return fids[0], ("t",)
    shape = [int(control.get(key, 1)) for key in ("NDSLIC", "NDROWS", "NDCOLS")]
    if np.prod(shape) != len(fids):
        if "NDCOLS" in control:
            raise DataError(
                f"{path}: {len(fids)} voxels, but NDCOLS, NDROWS and NDSLIC of its control file make "
                f"{np.prod(shape)}"
            )
        shape = [1, 1, len(fids)]
    grid = fids.reshape(*shape, -1).transpose(2, 1, 0, 3)
    kept = [k for k in range(3) if grid.shape[k] > 1]
    data = grid.reshape(*(grid.shape[k] for k in kept), -1)
    return data, (*("xyz"[k] for k in kept), "t")


def _refuse_beginnings(path: Path, values: NDArray[np.complex128]) -> None:
    """Refuse an FID that rises again where it has decayed, and stays up: the next voxel of several."""
    if values.size < 8 * _STRETCH:
        return
    pieces = np.abs(values[: values.size // _STRETCH * _STRETCH]).reshape(-1, _STRETCH)
    height = np.median(pieces, axis=1)
    risen = (height[3:] > 5 * height[1:-2]) & (height[3:] > 0.3 * height[0])
    if risen.any():
        raise DataError(
            f"{path}: rises again after {(np.flatnonzero(risen)[0] + 2) * _STRETCH} points or so: holds several "
            "voxels. How many points each has (NUNFIL) is in LCModel's control file, which must lie beside it"
        )


def _control(path: Path) -> tuple[dict[str, float], str]:
    """Return what is `_WANTED` of the control file beside `path` that names it, and its name."""
    for other in sorted(path.parent.iterdir()):
        if other == path or not other.is_file() or other.stat().st_size > _LONGEST_CONTROL:
            continue
        found = _CONTROL.search(other.read_text(encoding="latin-1"))
        group = dict(namelist(found.group(1))) if found else {}
        files = [group.get(key, "").strip("' ").split("/")[-1] for key in ("FILRAW", "FILH2O")]
        if path.name in files:
            return {key: _real(other, key, group[key]) for key in _WANTED if key in group}, other.name
    return {}, ""


_WANTED = ("DELTAT", "HZPPPM", "NUNFIL", "NDCOLS", "NDROWS", "NDSLIC")


def _real(path: Path, key: str, text: str) -> float:
    try:
        return float(text.upper().replace("D", "E"))
    except ValueError as error:
        raise DataError(f"{path}: {key} is {text!r}, expected a number") from error


def is_columns(path: Path) -> bool:
    """Return whether a file opens with lines of two or four numbers."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_SNIFFED)
    if b"\0" in start:
        return False
    lines = start.decode("latin-1").splitlines()
    whole = lines if len(start) < _SNIFFED else lines[:-1]
    widths = {_width(line) for line in whole if line.strip()}
    return widths in ({2}, {4})


def _width(line: str) -> int:
    try:
        return len([float(word) for word in line.replace(",", " ").split()])
    except ValueError:
        return 0


def read_columns(path: Path, known: Known) -> Scan:
    """Read real and imaginary part in two columns; two more are the water reference.

    Raises
    ------
    DataError
        Rows differ in length, or dwell time or frequency were not given.

    """
    try:
        table = np.loadtxt(
            (line.replace(",", " ") for line in path.read_text(encoding="latin-1").splitlines()), ndmin=2
        )
    except ValueError as error:
        raise DataError(f"{path}: is not columns of numbers: truncated or damaged ({error})") from error
    if table.shape[1] not in (2, 4) or len(table) < 2:
        raise DataError(f"{path}: {table.shape} numbers, expected rows of two or four")
    dwell_s, f0_hz, assumed = readout(path, None, None, len(table), known)
    common: dict[str, Any] = {"dims": ("t",), "dwell_s": dwell_s, "f0_hz": f0_hz, "source": path.name}
    common["records"] = (Record(ASSUMED, assumed),) if assumed else ()

    def fid(first: int) -> NDArray[np.complex128]:
        return np.asarray(table[:, first] + 1j * table[:, first + 1])

    water = Transients(data=fid(2), **common) if table.shape[1] == 4 else None
    return Scan(Transients(data=fid(0), **common), water)
