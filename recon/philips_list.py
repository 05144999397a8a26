"""Philips raw data: `NAME.data` (complex floats) and `NAME.list` (an index of its vectors in text).

The layout is described in the comments of every `.list` file: a line for each vector with its type, counters, size and
offset in bytes, the names of the counters in the line that begins `# typ`. Types: STD (data), REJ (rejected shots,
which are left out), NOI (noise); others are of imaging. Mix 0 is the voxel with water suppressed, mix 1 its water
reference (as in spec2nii, doi:10.1002/mrm.29418). The samples are in the sense of the scanner and are conjugated.
Dwell time and frequency stand in a SPAR beside them, or come from the user.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.known import Known, settled
from pulsespec.recon.sdat import facts, read_spar
from pulsespec.recon.transients import Record, Scan, Transients

_BYTES = 8
_SNIFFED = 65536
_END = "END OF DATA DESCRIPTION FILE"
_SHOT = ("dyn", "aver")
_SINGLE = ("card", "echo", "loca", "extr1", "extr2", "kx", "ky", "kz", "x", "y", "z")

Vector = dict[str, int]


def is_philips_list(path: Path) -> bool:
    """Return whether the file is a `.list` index, or the `.data` beside one."""
    index = path if path.suffix.lower() == ".list" else _beside(path, ".list")
    if path.suffix.lower() not in (".list", ".data") or index is None:
        return False
    with index.open("rb") as file:
        return b"# typ " in file.read(_SNIFFED)


def _beside(path: Path, suffix: str) -> Path | None:
    others = (other for other in path.parent.iterdir() if other.suffix.lower() == suffix)
    return next((other for other in others if other.stem == path.stem and other.is_file()), None)


def read_philips_list(path: Path, known: Known) -> Scan:
    """Read the raw data of a single voxel, noise included.

    Raises
    ------
    DataError
        A partner is missing, a line is damaged, the data are truncated or of an image, or nobody says dwell
        time or frequency.

    """
    index, data = (_beside(path, suffix) for suffix in (".list", ".data"))
    if index is None or data is None:
        raise DataError(
            f"{path}: its partner {'.list' if index is None else '.data'} is not in the same folder"
        )
    vectors = _vectors(index)
    common = _facts(path, known)
    size = data.stat().st_size
    last = max((v["offset"] + v["size"] for _, v in vectors), default=0)
    if size < last:
        raise DataError(f"{data}: {size} bytes, expected {last} as {index.name} says: truncated or damaged")
    rejected = sum(kind == "REJ" for kind, _ in vectors)
    details = f"{len(vectors)} vectors" + (
        f", {rejected} of them rejected by the scanner" if rejected else ""
    )
    common |= {"source": data.name, "records": (Record("Reading", details),)}
    noise = _noise(data, [v for kind, v in vectors if kind == "NOI"])
    parts = []
    for mix in (0, 1):
        chosen = [v for kind, v in vectors if kind == "STD" and v.get("mix", 0) == mix]
        header = common["header"] | {"water_suppressed": mix == 0}
        parts.append(_part(data, chosen, common | {"header": header, "noise": noise}) if chosen else None)
    if parts == [None, None]:
        raise DataError(f"{index}: lists no vector of type STD in mix 0 or 1")
    return Scan(*parts)


def _vectors(index: Path) -> list[tuple[str, Vector]]:
    """Return type and counters of every vector, in the order of the file."""
    names: list[str] = []
    found = []
    text = index.read_text(encoding="latin-1")
    if _END not in text:
        raise DataError(f"{index}: ends before its line {_END!r}: truncated")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words[:2] == ["#", "typ"]:
            names = words[2:]
        elif names and len(words) > 1 and words[0].isalpha() and words[0].isupper() and len(words[0]) == 3:
            try:
                counters = dict(zip(names, map(int, words[1:]), strict=True))
            except ValueError as error:
                raise DataError(f"{index}: line {number} is not {len(names)} numbers: damaged") from error
            found.append((words[0], _checked(index, number, counters)))
    return found


def _checked(index: Path, number: int, counters: Vector) -> Vector:
    size, offset = counters.get("size", 0), counters.get("offset", -1)
    if (
        size < 2 * _BYTES
        or size % _BYTES
        or offset < 0
        or min(counters.get(n, 0) for n in (*_SHOT, "chan")) < 0
    ):
        raise DataError(f"{index}: line {number} has size {size} at offset {offset}: damaged")
    return counters


def _facts(path: Path, known: Known) -> dict[str, Any]:
    """Return dwell time, frequency and what else a SPAR says: that of the same name, or the only one there."""
    spars = [other for other in sorted(path.parent.iterdir()) if other.suffix.lower() == ".spar"]
    same = [other for other in spars if other.stem == path.stem]
    chosen = same or (spars if len(spars) == 1 else [])
    found: dict[str, Any] = {"header": {"manufacturer": "Philips"}}
    if chosen:
        found = facts(read_spar(chosen[0]))
        found["header"].pop("averages")
    return found | {
        "dwell_s": settled(path, "dwell time", found.get("dwell_s"), known.dwell_s),
        "f0_hz": settled(path, "spectrometer frequency", found.get("f0_hz"), known.f0_hz),
    }


def _part(data: Path, vectors: Sequence[Vector], common: dict[str, Any]) -> Transients:
    for name in _SINGLE:
        values = {v.get(name, 0) for v in vectors}
        if len(values) > 1:
            raise DataError(
                f"{data}: counter {name!r} takes {len(values)} values, expected a single voxel of one echo"
            )
    shots = sorted({tuple(v.get(name, 0) for name in _SHOT) for v in vectors})
    coils = sorted({v.get("chan", 0) for v in vectors})
    sizes = {v["size"] for v in vectors}
    if len(vectors) != len(shots) * len(coils) or len(sizes) != 1:
        raise DataError(
            f"{data}: {len(vectors)} vectors of {len(sizes)} sizes, expected {len(shots)} shots of {len(coils)} "
            "coils, one size: incomplete or damaged"
        )
    found = np.zeros((len(shots), len(coils), sizes.pop() // _BYTES), dtype=np.complex64)
    place = {shot: n for n, shot in enumerate(shots)}
    with data.open("rb") as file:
        for v in vectors:
            target = found[place[tuple(v.get(name, 0) for name in _SHOT)], coils.index(v.get("chan", 0))]
            target[:] = _samples(file, v)
    swap_sense(found, in_place=True)
    if len(coils) == 1:
        return Transients(data=found[:, 0], dims=("average", "t"), **common | {"noise": None})
    return Transients(data=found, dims=("average", "coil", "t"), **common)


def _samples(file: Any, vector: Vector) -> NDArray[np.complex64]:
    file.seek(vector["offset"])
    return np.fromfile(file, "<c8", vector["size"] // _BYTES)


def _noise(data: Path, vectors: Sequence[Vector]) -> NDArray[np.complex128] | None:
    """Return the noise of each coil, shape (n_coils, n_noise); `None` where there is none, or not of equal length."""
    coils: dict[int, list[NDArray[np.complex64]]] = {}
    with data.open("rb") as file:
        for v in vectors:
            coils.setdefault(v.get("chan", 0), []).append(_samples(file, v))
    rows = [np.concatenate(coils[coil]) for coil in sorted(coils)]
    if not rows or len({row.size for row in rows}) > 1:
        return None
    noise = np.stack(rows)
    if not np.all(np.isfinite(noise)):
        raise DataError(f"{data}: its noise has values that are not finite numbers: damaged")
    return swap_sense(noise).astype(np.complex128)
