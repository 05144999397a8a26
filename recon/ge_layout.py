"""Where the facts stand in the header of a GE P-file, revision by revision.

The revision is that of GE's `rdbm.h`, the first float of the file: 9 is product release 11, 11 is release 12, 26
is DV26. The offsets of revisions 9 to 25 agree between SIVIC (`svkGEPFileReader.cc`, doi:10.1155/2013/169526)
and Vespa (`ge_hdr_fields.py`, also in spec2nii); those of 14.3, 16, 20, 24 and 26 agree with Gannet's `GELoad.m`
(doi:10.1002/jmri.24478) too, which states them as the n-th value of a header. Up to revision 25 the raw header
opens with the facts; from 26 on the pointers come first and the rest moved. Only the fields that are named here
are ever read: none of them is about the patient.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError

LONGEST_HEADER = 300_000
"""No header of these revisions is longer (31: 228 324 bytes)."""


@dataclass(frozen=True)
class Layout:
    """Byte offsets: of the raw header's fields from the start of the file, of the image's from its header."""

    raw: dict[str, tuple[int, str]]
    """Offset and `struct` type of each field of the raw header."""
    image: dict[str, tuple[int, str]]
    """Offset and type of each field of the image header."""
    image_at: int
    """Where the image header begins, unless a pointer in the raw header says so; 0 where only that does."""
    field_at: int
    """Where the field strength stands, in units of 1e-4 T; from the start of the file."""
    data_at: int = 0
    """Where the data begin; 0 where the header says so."""


_RAW = {
    "nechoes": (70, "h"),
    "navs": (72, "h"),
    "nframes": (74, "h"),
    "frame_size": (80, "H"),
    "point_size": (82, "h"),
    "da_yres": (104, "h"),
    "user0": (216, "f"),
    "user4": (232, "f"),
    "user19": (292, "f"),
    "spectral_width": (368, "f"),
    "xcsi": (374, "h"),
    "ycsi": (376, "h"),
    "zcsi": (378, "h"),
    "f0": (424, "I"),
} | {f"rcv{n}": (200 + 2 * n, "h") for n in range(8)}
_POINTERS = {"off_data": (1468, "i"), "off_image": (1504, "i")}
_RAW_26 = (
    {name: (at + 76, kind) for name, (at, kind) in _RAW.items() if at < 200}
    | {name: (at + 64, kind) for name, (at, kind) in _RAW.items() if at >= 200}
    | {"off_data": (4, "i"), "off_image": (40, "i")}
)


def _image(te: int, user8: int, nex: int, corners: int, sequence: int) -> dict[str, tuple[int, str]]:
    fields = {"te": (te, "i"), "tr": (te - 8, "i"), "nex": (nex, "f"), "sequence": (sequence, "33s")}
    fields |= {f"user{8 + n}": (user8 + 4 * n, "f") for n in range(6)}
    names = [f"{corner}_{axis}" for corner in ("tlhc", "trhc", "brhc") for axis in "RAS"]
    return fields | {name: (corners + 4 * n, "f") for n, name in enumerate(names)}


_IMAGE_9 = _image(208, 456, 224, 160, 320)
_IMAGE_11 = _image(560, 148, 92, 480, 902)
_IMAGE_14 = _image(720, 148, 92, 480, 1272)
_IMAGE_16 = _image(768, 196, 140, 528, 1320)
_IMAGE_20 = _image(1064, 388, 332, 720, 1632)
_RAW_11 = _RAW | {"off_data": _POINTERS["off_data"]}

_LAYOUTS: tuple[tuple[float, float, Layout], ...] = (
    (9.0, 9.0, Layout(_RAW, _IMAGE_9, 59928, 57436, 61464)),
    (10.0, 10.0, Layout(_RAW_11, _IMAGE_20, 147888, 143940)),
    (11.0, 11.0, Layout(_RAW_11, _IMAGE_11, 64472, 61560, 66072)),
    (14.0, 15.999, Layout(_RAW | _POINTERS, _IMAGE_14, 143860, 140980)),
    (16.0, 16.0, Layout(_RAW | _POINTERS, _IMAGE_16, 143860, 140980)),
    (20.0, 25.999, Layout(_RAW | _POINTERS, _IMAGE_20, 147340, 143392)),
    (26.0, 27.0, Layout(_RAW_26, _IMAGE_20, 198180, 194232)),
    (27.001, 30.999, Layout(_RAW_26, _IMAGE_20, 206372, 202424)),
    (31.0, 31.0, Layout(_RAW_26, _IMAGE_20, 206676, 202728)),
)
KNOWN_REVISIONS = "9, 10, 11, 14 to 16 and 20 to 31"


@dataclass(frozen=True)
class Header:
    """The named fields of one P-file."""

    revision: float
    order: str
    """Byte order as `struct` writes it: "<" or ">"."""
    values: dict[str, float]
    sequence: str
    data_at: int
    field_t: float

    def integer(self, name: str) -> int:
        """Return a field as a whole number."""
        return int(self.values[name])


def revision_of(start: bytes) -> tuple[float, str] | None:
    """Return revision and byte order of a P-file from its first bytes; `None` if it cannot be one.

    Revisions below 11 exist in both orders (SGI and PC), later ones in little-endian alone.
    """
    if len(start) < 4:
        return None
    for order, last in (("<", 40.0), (">", 11.0)):
        revision = float(struct.unpack(f"{order}f", start[:4])[0])
        if 9.0 <= revision < last and abs(revision * 1000 - round(revision * 1000)) < 0.01:
            return round(revision, 3), order
    return None


def read_header(path: Path) -> Header:
    """Read the fields that the layout of the file's revision names.

    Raises
    ------
    DataError
        The revision is not known, or the file ends within its header.

    """
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    found = revision_of(start)
    if found is None:
        raise DataError(f"{path}: is not a GE P-file (its first four bytes are no revision)")
    revision, order = found
    layout = next((each for low, high, each in _LAYOUTS if low <= revision <= high), None)
    if layout is None:
        raise DataError(f"{path}: P-file of revision {revision:g}, expected one of {KNOWN_REVISIONS}")
    try:
        return _header(start, layout, revision, order)
    except struct.error as error:
        raise DataError(
            f"{path}: {len(start)} bytes, ends within its header: truncated or damaged"
        ) from error


def _header(start: bytes, layout: Layout, revision: float, order: str) -> Header:
    values = {n: float(struct.unpack_from(order + k, start, at)[0]) for n, (at, k) in layout.raw.items()}
    pointer = int(values.get("off_image", 0))
    image_at = pointer if 0 < pointer < len(start) else layout.image_at
    sequence = b""
    for name, (at, kind) in layout.image.items():
        value = struct.unpack_from(order + kind, start, image_at + at)[0]
        if name == "sequence":
            sequence = value
        else:
            values[name] = float(value)
    field = struct.unpack_from(f"{order}i", start, layout.field_at)[0]
    return Header(
        revision,
        order,
        values,
        sequence.split(b"\0")[0].decode("latin-1").replace("\\", "/").split("/")[-1].strip(),
        layout.data_at or int(values["off_data"]),
        field * 1e-4,
    )
