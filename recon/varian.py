"""Varian and Agilent data: the folder `NAME.fid` with `fid` (big-endian blocks) and `procpar` (text).

The layout is that of Varian's "VnmrJ User Programming", chapter 5 (as nmrglue's `varian.py` states it too,
doi:10.1007/s10858-013-9718-x): a file header of 32 bytes; for each block one or more headers of 28 bytes and its
traces. Our own lines, since nmrglue reads every parameter, the names of patients too, and ours are streamed.
Several receivers are separate blocks, the receiver varying fastest (recalled; no file of several was at hand). The
numbers stand in the NIfTI-MRS sense: macromolecules of the real files lie upfield of water as they are.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import DataError
from pulsespec.recon.transients import Record, Scan, Transients

_FILE_HEADER, _BLOCK_HEADER = struct.Struct(">6i2hi"), 28
_DATA, _SPECTRUM, _INT32, _FLOAT, _COMPLEX = 0x1, 0x2, 0x4, 0x8, 0x10
_TEXTS = ("tn", "seqfil", "rcvrs", "array", "ws")
_NUMBERS = ("sfrq", "sw", "te", "tr", "reffrq", "vox1", "vox2", "vox3")
_FARTHEST_PPM = 0.5
"""A centre that the header puts farther than this from water is a stale reference, not the receiver's."""


def is_varian(path: Path) -> bool:
    """Return whether a folder holds `fid` and `procpar`, or the file is that `fid`."""
    fid = _fid_of(path)
    return fid is not None and fid.with_name("procpar").is_file() and _sound(fid) is not None


def _fid_of(path: Path) -> Path | None:
    fid = path / "fid" if path.is_dir() else path.with_name("fid") if path.name == "procpar" else path
    return fid if fid.is_file() else None


def _sound(fid: Path) -> tuple[int, ...] | None:
    """Return the file header where its counts agree with each other."""
    with fid.open("rb") as file:
        start = file.read(_FILE_HEADER.size)
    if len(start) < _FILE_HEADER.size:
        return None
    header = _FILE_HEADER.unpack(start)
    blocks, traces, points, size, trace_bytes, block_bytes, _, _, headers = header
    sound = size in (2, 4) and min(blocks, traces, points) > 0 and headers >= 1
    agreed = trace_bytes == points * size and block_bytes == traces * trace_bytes + headers * _BLOCK_HEADER
    return header if sound and agreed else None


def read_varian(path: Path) -> Scan:
    """Read a folder, or the `fid` in it, of a single voxel.

    Raises
    ------
    DataError
        A file is missing, damaged or truncated, a parameter is missing, or the data are spectra.

    """
    fid = _fid_of(path)
    header = _sound(fid) if fid is not None else None
    if fid is None or header is None:
        raise DataError(f"{path}: holds no sound Varian `fid`: damaged or truncated")
    parameters = _procpar(fid.with_name("procpar"))
    fids = _traces(fid, header)
    coils = max(1, _text(parameters, "rcvrs").count("y"))
    if len(fids) % coils:
        raise DataError(f"{fid}: {len(fids)} traces of {coils} receivers: truncated or damaged")
    common = _facts(fid, parameters)
    if coils > 1:
        shots = fids.reshape(-1, coils, fids.shape[-1])
        return _split(shots, ("average", "coil", "t"), parameters, common)
    return _split(fids, ("average", "t"), parameters, common)


def _traces(fid: Path, header: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return all traces, a block at a time; shape (n_traces, samples)."""
    blocks, traces, points, _, _, block_bytes, _, status, headers = header
    if not status & _DATA or status & _SPECTRUM:
        raise DataError(f"{fid}: status {status:#x} is not that of time-domain data")
    kind = np.dtype(">f4" if status & _FLOAT else ">i4" if status & _INT32 else ">i2")
    expected = _FILE_HEADER.size + blocks * block_bytes
    there = fid.stat().st_size
    if there < expected or points % 2 or kind.itemsize != header[3]:
        raise DataError(
            f"{fid}: {there} bytes, expected {expected} ({blocks} blocks of {traces} traces of {points} "
            f"numbers, {header[3]} bytes each): truncated or damaged"
        )
    found = np.empty((blocks, traces, points // 2), dtype=np.complex64)
    with fid.open("rb") as file:
        file.seek(_FILE_HEADER.size)
        for block in found:
            scale = struct.unpack(">h", file.read(headers * _BLOCK_HEADER)[:2])[0]
            if scale:
                raise DataError(f"{fid}: a block is scaled by {scale}, expected blocks that are not")
            values = np.fromfile(file, kind, traces * points).reshape(traces, -1, 2)
            block.real, block.imag = values[..., 0], values[..., 1]
    return found.reshape(blocks * traces, -1)


def _procpar(path: Path) -> dict[str, list[str]]:
    """Return the values of the parameters that are needed; no other is kept."""
    if not path.is_file():
        raise DataError(f"{path}: no such file beside the `fid`")
    lines = path.read_text(encoding="latin-1").splitlines()
    found = {}
    for number, line in enumerate(lines[:-1]):
        words = line.split()
        if len(words) >= 10 and words[0] in _TEXTS + _NUMBERS and words[0] not in found:
            found[words[0]] = _values(path, lines[number + 1 :], words[2] == "2")
    return found


def _values(path: Path, lines: list[str], is_text: bool) -> list[str]:
    first = lines[0].split(maxsplit=1)
    try:
        count = int(first[0])
        rest = [first[1], *lines[1:count]]
        return [line.split('"')[1] for line in rest] if is_text else rest[0].split()
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: the line after a parameter is not a count and values: damaged") from error


def _text(parameters: dict[str, list[str]], name: str) -> str:
    return (parameters.get(name) or [""])[0]


def _number(path: Path, parameters: dict[str, list[str]], name: str) -> float | None:
    values = parameters.get(name)
    if not values:
        return None
    try:
        return float(values[0])
    except ValueError as error:
        raise DataError(f"{path}: {name} is {values[0]!r}, expected a number") from error


def _facts(fid: Path, parameters: dict[str, list[str]]) -> dict[str, Any]:
    path = fid.with_name("procpar")
    numbers = {name: _number(path, parameters, name) for name in _NUMBERS}
    for name in ("sfrq", "sw"):
        value = numbers[name]
        if value is None or not 0 < value < 1e7:
            raise DataError(f"{path}: {name} is {value}, expected a number above 0")
    f0_mhz, width_hz = numbers["sfrq"] or 0.0, numbers["sw"] or 0.0
    nucleus = _text(parameters, "tn") or "H1"
    digits = nucleus.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    centre_ppm, words = _centre(f0_mhz, numbers["reffrq"])
    sizes = [numbers[name] for name in ("vox1", "vox2", "vox3")]
    voxel = {"voxel_mm": [10 * size for size in sizes if size is not None]} if all(sizes) else {}
    return {
        "dwell_s": 1 / width_hz,
        "f0_hz": f0_mhz * 1e6,
        "nucleus": digits + nucleus[: len(nucleus) - len(digits)],
        "te_s": numbers["te"] or None,
        "tr_s": numbers["tr"] or None,
        "reference_ppm": centre_ppm,
        "sequence": _text(parameters, "seqfil"),
        "source": f"{fid.parent.name}/fid" if fid.parent.name.endswith(".fid") else fid.name,
        "header": {"manufacturer": "Varian"} | voxel,
        "records": (Record("Reading", words),),
    }


def _centre(f0_mhz: float, reference_mhz: float | None) -> tuple[float, str]:
    """Return the chemical shift at the centre: `reffrq` is the frequency of 0 ppm, unless it was never set."""
    if not reference_mhz or reference_mhz == f0_mhz:
        return RECEIVER_PPM, f"receiver's centre taken as {RECEIVER_PPM} ppm, the header does not say it"
    centre = (f0_mhz / reference_mhz - 1) * 1e6
    if abs(centre - RECEIVER_PPM) > _FARTHEST_PPM:
        return RECEIVER_PPM, (
            f"receiver's centre taken as {RECEIVER_PPM} ppm; {centre:.2f} ppm (`reffrq`) was not believed"
        )
    return centre, f"receiver's centre at {centre:.2f} ppm, from `reffrq`"


def _split(
    shots: NDArray[np.complex64],
    dims: tuple[str, ...],
    parameters: dict[str, list[str]],
    common: dict[str, Any],
) -> Scan:
    """Return metabolite and water shots, apart where water suppression is what is arrayed."""
    array, switch = _text(parameters, "array"), parameters.get("ws", [])
    if array == "ws" and len(shots) % len(switch) == 0 and set(switch) == {"y", "n"}:
        water = np.tile([each == "n" for each in switch], len(shots) // len(switch))
        header = common["header"]
        parts = [
            Transients(
                data=shots[which], dims=dims, **common | {"header": header | {"water_suppressed": said}}
            )
            for which, said in ((~water, True), (water, False))
        ]
        return Scan(*parts)
    if array and len(shots) > 1:
        note = Record("Reading", f"{len(shots)} shots arrayed over {array} were taken as averages")
        common = common | {"records": (*common["records"], note)}
    alone = len(shots) == 1
    return Scan(Transients(data=shots[0] if alone else shots, dims=dims[1:] if alone else dims, **common))
