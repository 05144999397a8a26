"""GE P-files of single voxels: water and suppressed frames apart, coils and editing conditions as dimensions.

Frames are stored coil by coil, within a coil echo by echo (an editing condition each), within an echo one after
the other, the first of them a baseline frame that carries no signal of the voxel; reference (water) frames come
before the suppressed ones. `user19` counts the reference frames and `user4` the suppressed shots, of which the
scanner adds `navs` to one frame unless the user asked it not to (Gannet's `GELoad.m`, doi:10.1002/jmri.24478).
Shots that are not added keep the alternating sign of their phase cycle. The numbers are in the NIfTI-MRS sense as
they stand.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import GAMMA_HZ_PER_T
from pulsespec.errors import DataError
from pulsespec.recon.ge_layout import Header, read_header, revision_of
from pulsespec.recon.transients import Geometry, Record, Scan, Transients

_KINDS = {2: "i2", 4: "i4"}
_READ_BYTES = 1 << 20
_START = 64
_ALTERNATES = -0.5
_PROTON_TOLERANCE = 0.03


def is_pfile(path: Path) -> bool:
    """Return whether the file begins with the revision of a P-file and has its kind of samples."""
    with path.open("rb") as file:
        start = file.read(160)
    found = revision_of(start)
    if found is None or len(start) < 160:
        return False
    revision, order = found
    at = 82 if revision < 26 else 158
    return int(np.frombuffer(start[at : at + 2], f"{order}i2")[0]) in _KINDS


def read_pfile(path: Path) -> Scan:
    """Read a P-file of a single voxel.

    Raises
    ------
    DataError
        The revision is not known, the file is damaged, truncated or holds an image.

    """
    path = Path(path)
    header = read_header(path)
    _refuse(path, header)
    frames = _frames(path, header)
    n_water, words = _references(path, header, frames.shape[1])
    common = _facts(path, header)
    signs, said = _signs(frames, n_water)
    frames *= signs[:, None, None]
    record = Record("GE frames", f"{words}{said}")
    kinds = ((frames[:, n_water:], True), (frames[:, :n_water], False))
    parts = [
        _part(values, suppressed, common, record) if values.size else None for values, suppressed in kinds
    ]
    return Scan(*parts)


def _refuse(path: Path, header: Header) -> None:
    v = header.values
    size = path.stat().st_size
    if header.integer("point_size") not in _KINDS or not v["frame_size"] > 1 or not v["da_yres"] > 0:
        raise DataError(
            f"{path}: {v['frame_size']:.0f} points of {v['point_size']:.0f} bytes in {v['da_yres']:.0f} frames, "
            "expected points of 2 or 4 bytes: damaged header"
        )
    if not 0 < header.data_at < size:
        raise DataError(f"{path}: data begin at byte {header.data_at} of {size}: truncated or damaged")
    voxels = [max(1, header.integer(name)) for name in ("xcsi", "ycsi", "zcsi")]
    if np.prod(voxels) > 1:
        raise DataError(
            f"{path}: is an imaging scan of {'x'.join(map(str, voxels))}, expected a single voxel"
        )


def _coils(header: Header) -> int:
    pairs = [(header.integer(f"rcv{2 * n}"), header.integer(f"rcv{2 * n + 1}")) for n in range(4)]
    return max(1, sum(stop - start + 1 for start, stop in pairs if (start or stop) and stop >= start))


def _frames(path: Path, header: Header) -> NDArray[np.complex64]:
    """Return all frames without the baselines; shape (n_echoes, n_frames, n_coils, samples)."""
    coils, echoes = _coils(header), max(1, header.integer("nechoes"))
    rows, samples = header.integer("da_yres"), header.integer("frame_size")
    kind = np.dtype(header.order + _KINDS[header.integer("point_size")])
    expected = coils * echoes * rows * samples * 2 * kind.itemsize
    there = path.stat().st_size - header.data_at
    if there < expected:
        raise DataError(
            f"{path}: {there} bytes of data, expected {expected} ({coils} coils, {echoes} echoes, {rows} frames "
            f"of {samples} points): truncated or damaged"
        )
    baseline = 1 if rows > header.integer("nframes") else 0
    if rows == baseline:
        raise DataError(f"{path}: holds a baseline frame alone, expected frames with signal")
    frames = np.empty((echoes, rows - baseline, coils, samples), dtype=np.complex64)
    with path.open("rb") as file:
        file.seek(header.data_at)
        for coil in range(coils):
            for echo in range(echoes):
                file.seek(baseline * samples * 2 * kind.itemsize, 1)
                _fill(file, frames[echo, :, coil], kind)
    return frames


def _fill(file: Any, target: NDArray[np.complex64], kind: np.dtype[Any]) -> None:
    """Read frames into `target`, shape (n_frames, samples), some at a time."""
    samples = target.shape[1]
    step = max(1, _READ_BYTES // (2 * samples * kind.itemsize))
    for first in range(0, len(target), step):
        block = target[first : first + step]
        values = np.fromfile(file, kind, block.size * 2).reshape(len(block), samples, 2)
        block.real, block.imag = values[..., 0], values[..., 1]


def _references(path: Path, header: Header, n_frames: int) -> tuple[int, str]:
    """Return the number of reference frames, the first ones, and how it was found."""
    said = max(0, round(header.values["user19"]))
    shots, added = max(0, round(header.values["user4"])), max(1, header.integer("navs"))
    for data, how in ((shots / added, f"{added} shots added to a frame"), (shots, "one shot a frame")):
        if data + said == n_frames:
            return said, f"{said} water and {data:.0f} suppressed frames, {how}"
    for data in (shots, shots // added):
        if 0 < data <= n_frames:
            return n_frames - data, (
                f"the header states {said} water frames, which with {data} suppressed ones is not the {n_frames} "
                f"there are: the first {n_frames - data} were taken as water"
            )
    raise DataError(
        f"{path}: {n_frames} frames, but the header states {shots} shots and {said} water frames: damaged"
    )


def _signs(frames: NDArray[np.complex64], n_water: int) -> tuple[NDArray[np.float32], str]:
    """Return +1 or -1 for each frame: frames that were not added alternate, as the data themselves show."""
    n_frames = frames.shape[1]
    signs = np.ones(n_frames, dtype=np.float32)
    part = frames[:, :n_water] if n_water > 1 else frames[:, n_water:]
    start = part[..., :_START].astype(np.complex128)
    power = float(np.sum(np.abs(start[:, 1:]) * np.abs(start[:, :-1])))
    if part.shape[1] < 2 or power == 0:
        return signs, ""
    likeness = float(np.sum((start[:, 1:] * start[:, :-1].conj()).real)) / power
    if likeness > _ALTERNATES:
        return signs, ""
    for first, last in ((0, n_water), (n_water, n_frames)):
        signs[first + 1 : last : 2] = -1
    return signs, "; every second frame was inverted, since their signs alternate"


def _facts(path: Path, header: Header) -> dict[str, Any]:
    v = header.values
    width = v["spectral_width"] if v["spectral_width"] > 0 else v["user0"]
    if not (width > 0 and np.isfinite(width)):
        raise DataError(f"{path}: spectral width is {width:g} Hz, expected a number above 0: damaged header")
    if not v["f0"] > 0:
        raise DataError(f"{path}: has no spectrometer frequency: damaged header")
    return {
        "dwell_s": 1.0 / width,
        "f0_hz": v["f0"] * 0.1,
        "nucleus": _nucleus(path, v["f0"] * 0.1, header.field_t),
        "te_s": v["te"] * 1e-6 if v["te"] > 0 else None,
        "tr_s": v["tr"] * 1e-6 if v["tr"] > 0 else None,
        "sequence": header.sequence,
        "source": path.name,
        "geometry": _geometry(v),
    }


def _nucleus(path: Path, f0_hz: float, field_t: float) -> str:
    """Return "1H" where frequency over field is that of protons, or where the header states no field."""
    if not 0.1 < field_t < 25:
        return "1H"
    ratio = f0_hz / field_t / GAMMA_HZ_PER_T["1H"]
    if abs(ratio - 1) > _PROTON_TOLERANCE:
        raise DataError(
            f"{path}: {f0_hz * 1e-6:.3f} MHz at {field_t:.2f} T is not the frequency of protons, "
            "the only nucleus that is read from P-files"
        )
    return "1H"


def _part(
    frames: NDArray[np.complex64], suppressed: bool, common: dict[str, Any], record: Record
) -> Transients:
    edited = frames.shape[0] > 1
    coils = frames.shape[2] > 1
    data = frames if edited else frames[0]
    data = data if coils else data[..., 0, :]
    dims = (*(("edit",) if edited else ()), "average", *(("coil",) if coils else ()), "t")
    header = {"manufacturer": "GE", "water_suppressed": suppressed}
    return Transients(data=data, dims=dims, header=header, records=(record,), **common)


def _geometry(v: dict[str, float]) -> Geometry | None:
    """Return the voxel; sizes are along the axes nearest to left-right, front-back and head-foot.

    Positions and corners of the slice are in mm, right, anterior and superior positive.
    """
    size = np.array([v["user8"], v["user9"], v["user10"]])
    centre = np.array([v["user11"], v["user12"], v["user13"]])
    corner = {c: np.array([v[f"{c}_{axis}"] for axis in "RAS"]) for c in ("tlhc", "trhc", "brhc")}
    rows, columns = corner["trhc"] - corner["tlhc"], corner["brhc"] - corner["trhc"]
    numbers = np.concatenate([size, centre, rows, columns])
    if not (np.all(np.isfinite(numbers)) and np.all(size > 0) and np.any(rows) and np.any(columns)):
        return None
    first, second = rows / np.linalg.norm(rows), columns / np.linalg.norm(columns)
    axes = np.stack([first, second, np.cross(first, second)])
    nearest = np.argmax(np.abs(axes), axis=0)
    if len(set(nearest)) < 3:
        return None
    directions = np.stack([axes[n] * np.sign(axes[n][k]) for k, n in enumerate(nearest)], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = directions * size
    affine[:3, 3] = centre
    return Geometry(affine)
