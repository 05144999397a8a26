"""The layout of Siemens raw data files (twix): measurements, headers and readouts, VB and VD/VE/XA.

Byte positions are those of the scan headers of Siemens IDEA as pymapvbvd and siemens_to_ismrmrd read them.
Only the table of readouts is read here: `fetch` reads samples of one readout at a time, so that no more than
what is wanted is ever in memory.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError

COUNTERS = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")
"""Loop counters of a readout, in the order of its header."""
ACQEND, RTFEEDBACK, HPFEEDBACK, SYNCDATA = 1 << 0, 1 << 1, 1 << 2, 1 << 5
PHASCOR, PATREFSCAN, NOISEADJSCAN = 1 << 21, 1 << 22, 1 << 25

_SHORTEST = 10_000
_ENTRY = 152
_DMA_LENGTH = 0x1FFFFFF
_LARGEST_HEADER = 1 << 28
_VB_HEADER, _VD_HEADER, _VD_CHANNEL = 128, 192, 32
_ICE = 128


@dataclass(frozen=True)
class Mdh:
    """The header of one readout."""

    position: int
    """Of the header in the file, in bytes."""
    flags: int
    samples: int
    coils: int
    counters: tuple[int, ...]
    """By `COUNTERS`."""
    centre_column: int
    """Sample of the echo's top; half the samples in imaging."""
    time_ms: float
    """Time of day."""
    ice: tuple[int, ...] = ()
    """What the sequence tells its own reconstruction (IceProgramPara), 24 whole numbers; VD and later."""

    def __getitem__(self, counter: str) -> int:
        return self.counters[COUNTERS.index(counter)]


@dataclass(frozen=True)
class Measurement:
    """One measurement of a file."""

    path: Path
    is_vd: bool
    header: dict[str, Any]
    """Buffers of the header by name, each as pymapvbvd parses it."""
    readouts: tuple[Mdh, ...]

    def fetch(self, indices: Sequence[int]) -> Iterator[NDArray[np.complex64]]:
        """Yield the samples of readouts: shape (coils, samples), sense of the scanner."""
        with self.path.open("rb") as file:
            for index in indices:
                yield self._shot(file, self.readouts[index])

    def _shot(self, file: BinaryIO, mdh: Mdh) -> NDArray[np.complex64]:
        lead = _VD_CHANNEL if self.is_vd else _VB_HEADER
        line = np.dtype([("header", f"V{lead}"), ("samples", "<c8", (mdh.samples,))])
        file.seek(mdh.position + (_VD_HEADER if self.is_vd else 0))
        rows = np.fromfile(file, dtype=line, count=mdh.coils)
        if len(rows) != mdh.coils:
            raise DataError(f"{self.path}: truncated twix file: it ends within a readout")
        return np.asarray(rows["samples"])

    def value(self, *key: str) -> Any:
        """Return a value of the protocol (buffer MeasYaps), or `None`."""
        return self.header.get("MeasYaps", {}).get(key)

    def number(self, *key: str) -> float:
        """Return a number of the protocol, 0 where it is not there: what is 0 is left out of it."""
        found = self.value(*key)
        return float(found) if isinstance(found, float | int) else 0.0


def is_twix(path: Path) -> bool:
    """Return whether the file begins as a VB header (its length) or a VD/VE/XA one (0 and a count) does."""
    with path.open("rb") as file:
        start = file.read(40)
    if len(start) < 40:
        return False
    first, second = struct.unpack("<II", start[:8])
    return bool(1 <= second <= 64 and (first < _SHORTEST or b"Config" in start[8:]))


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """Return the measurements of a file with the tables of their readouts.

    Raises
    ------
    DataError
        The file ends before its last measurement does, or is damaged.

    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first, count = struct.unpack("<II", file.read(8))
        is_vd = first < _SHORTEST
        if not is_vd:
            return (_measurement(path, file, 0, size, is_vd=False),)
        table = file.read(_ENTRY * count)
        if len(table) < _ENTRY * count:
            raise _truncated(path)
        spans = [struct.unpack_from("<QQ", table, _ENTRY * number + 8) for number in range(count)]
        if any(offset + length > size for offset, length in spans):
            raise _truncated(path)
        return tuple(_measurement(path, file, at, at + length, is_vd=True) for at, length in spans)


def _truncated(path: Path) -> DataError:
    return DataError(f"{path}: truncated twix file: it ends before its last measurement does")


def _damaged(path: Path, words: str) -> DataError:
    return DataError(f"{path}: damaged or truncated twix file ({words})")


def _measurement(path: Path, file: BinaryIO, start: int, end: int, is_vd: bool) -> Measurement:
    file.seek(start)
    length, buffers = struct.unpack("<II", _bytes(path, file, 8))
    if 8 <= length <= _LARGEST_HEADER and length > end - start:
        raise _truncated(path)
    if not 8 <= length <= _LARGEST_HEADER or buffers > 64:
        raise _damaged(path, f"a header of {length} bytes and {buffers} parts at byte {start}")
    header = _header(path, file.read(length - 8), buffers)
    readouts = tuple(_table(path, file, start + length, end, is_vd))
    return Measurement(path, is_vd, header, readouts)


def _bytes(path: Path, file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise _truncated(path)
    return found


def _header(path: Path, raw: bytes, buffers: int) -> dict[str, Any]:
    """Return the parts that are needed: a name that ends in 0, a length, and text, each after the other."""
    from mapvbvd.read_twix_hdr import parse_buffer  # brings asyncio and more: only where a twix file is read

    found: dict[str, Any] = {}
    at = 0
    for _ in range(buffers):
        stop = raw.find(b"\0", at, at + 64)
        if stop < 0 or stop + 5 > len(raw):
            raise _damaged(path, "the parts of its header do not follow each other")
        name = raw[at:stop].decode("latin-1")
        (length,) = struct.unpack_from("<I", raw, stop + 1)
        if stop + 5 + length > len(raw):
            raise _damaged(path, f"part {name!r} of its header is longer than the header")
        if name in ("MeasYaps", "Dicom"):
            text = raw[stop + 5 : stop + 5 + length].decode("latin-1")
            lines = (line.strip() for line in text.split("\n"))
            found[name] = dict(parse_buffer("\n".join(line for line in lines if line)))
        at = stop + 5 + length
    return found


def _table(path: Path, file: BinaryIO, at: int, end: int, is_vd: bool) -> Iterator[Mdh]:
    """Yield the headers of all readouts, up to the one that ends the measurement."""
    size = _VD_HEADER if is_vd else _VB_HEADER
    while at + size <= end:
        file.seek(at)
        raw = _bytes(path, file, size)
        mdh = _mdh(raw, at, is_vd)
        length = struct.unpack_from("<I", raw)[0] & _DMA_LENGTH
        if mdh.flags & ACQEND:
            return
        if not mdh.flags & SYNCDATA:
            length = _length(mdh, is_vd)
            if not (mdh.samples and mdh.coils):
                raise _damaged(path, f"a readout of {mdh.coils} coils x {mdh.samples} samples at byte {at}")
            if at + length > end:
                raise _truncated(path)
            yield mdh
        if length < size:
            raise _damaged(path, f"a block of {length} bytes at byte {at}")
        at += length
    raise _truncated(path)


def _length(mdh: Mdh, is_vd: bool) -> int:
    if is_vd:
        return _VD_HEADER + mdh.coils * (_VD_CHANNEL + 8 * mdh.samples)
    return mdh.coils * (_VB_HEADER + 8 * mdh.samples)


def _mdh(raw: bytes, position: int, is_vd: bool) -> Mdh:
    shift = 20 if is_vd else 0
    (ticks,) = struct.unpack_from("<I", raw, 12)
    (flags,) = struct.unpack_from("<Q", raw, 20 + shift)
    samples, coils, *counters = struct.unpack_from("<16H", raw, 28 + shift)
    (centre,) = struct.unpack_from("<H", raw, 64 + shift)
    ice = struct.unpack_from("<24h", raw, _ICE) if is_vd else ()
    return Mdh(position, flags, samples, coils, tuple(counters), centre, ticks * 2.5, ice)
