"""Bruker ParaVision 5, 6, 7 and 360: a scan's folder with `fid`, `ser` or `rawdata.job0`, `acqp` and `method`.

The layout is that of brukerapi's and spec2nii's properties files (doi:10.5281/zenodo.4048286, doi:10.1002/mrm.29418)
and of suspect's reader: interleaved integers or floats, `rawdata.job0` shot by shot with the coils of a shot one after
the other, `fid` averaged, a repetition each. Our own lines, since nmrglue reads only TopSpin's files and brukerapi
whole folders with every name in them. The samples are in the sense of the scanner and are conjugated. The receiver's
filter delays the signal by `PVM_DigShift` points (5 to 7) or by the first number of `ACQ_RxFilterInfo` (360), which may
be broken: the delay is taken off through the Fourier transform, and as many last points are dropped.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.transients import Geometry, Record, Scan, Transients

_DATA_NAMES = ("rawdata.job0", "fid", "ser")
_WATER_NAMES = ("fid.refscan", "fid.ref")
_KINDS = {"GO_32BIT_SGN_INT": "i4", "GO_16BIT_SGN_INT": "i2", "GO_32BIT_FLOAT": "f4", "_32_BIT": "i4"}
_WANTED = frozenset(
    (
        *("ACQ_sw_version", "ACQ_dim_desc", "ACQ_size", "ACQ_jobs", "ACQ_RxFilterInfo", "ACQ_word_size"),
        *("ACQ_ReceiverSelect", "BF1", "SFO1", "BYTORDA", "GO_block_size", "GO_raw_data_format", "NUCLEUS"),
        *("NR", "SW_h", "Method", "PVM_DigNp", "PVM_DigShift", "PVM_EchoTime", "PVM_EncNReceivers"),
        *("PVM_FrqWorkPpm", "PVM_RepetitionTime", "PVM_SpecMatrix", "PVM_SpecSWH"),
        *("PVM_VoxArrGradOrient", "PVM_VoxArrPosition", "PVM_VoxArrSize"),
    )
)
"""The parameters that are kept; none of them is about the subject."""
_PARAMETER = re.compile(r"^##\$(\w+)=(.*?)(?=^##|^\$\$|\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = 1024
_POINTS = ("ACQ_jobs", "ACQ_size", "PVM_DigNp", "PVM_SpecMatrix")
_READ_BYTES = 1 << 20


def is_bruker(path: Path) -> bool:
    """Return whether a folder holds data, `acqp` and `method`, or the file is one of those data."""
    data = _data_of(path)
    return data is not None and all(data.with_name(name).is_file() for name in ("acqp", "method"))


def _data_of(path: Path) -> Path | None:
    if path.is_dir():
        return next((path / name for name in _DATA_NAMES if (path / name).is_file()), None)
    if path.name in ("acqp", "method"):
        return _data_of(path.parent)
    return path if path.name in _DATA_NAMES and path.is_file() else None


def read_bruker(path: Path) -> Scan:
    """Read a scan's folder, or the data file in it, of a single voxel; its reference scan is the water.

    Raises
    ------
    DataError
        A file or parameter is missing, the data are truncated, or of an image.

    """
    data = _data_of(path)
    if data is None:
        raise DataError(f"{path}: holds none of {', '.join(_DATA_NAMES)}")
    parameters = _parameters(data.with_name("acqp")) | _parameters(data.with_name("method"))
    described = _text(parameters, "ACQ_dim_desc")
    if described and described.split() != ["Spectroscopic"]:
        raise DataError(f"{path}: dimensions are {described!r}, expected a single voxel (Spectroscopic)")
    metabolite = _transients(data, parameters)
    reference = next((data.with_name(n) for n in _WATER_NAMES if data.with_name(n).is_file()), None)
    if reference is None:
        return Scan(metabolite)
    return Scan(metabolite, _transients(reference, parameters, is_reference=True))


def _parameters(path: Path) -> dict[str, str]:
    """Return the wanted parameters of a JCAMP-DX file as text, the sizes of arrays taken off."""
    if not path.is_file():
        raise DataError(f"{path}: no such file beside the data")
    text = path.read_text(encoding="latin-1")
    found = {}
    for name, value in _PARAMETER.findall(text):
        if name in _WANTED:
            first, _, rest = value.strip().partition("\n")
            is_array = re.fullmatch(r"\(\s*[\d, ]+\)", first.strip()) is not None
            found[name] = _unpacked(rest if is_array else value.strip())
    return found


def _unpacked(text: str) -> str:
    """Return text on one line with `@3*(0)` written out as `0 0 0`."""
    return re.sub(r"@(\d+)\*\(([^()]*)\)", lambda m: " ".join([m[2]] * min(int(m[1]), 9999)), text).replace(
        "\n", " "
    )


def _text(parameters: dict[str, str], name: str) -> str:
    return parameters.get(name, "").strip().strip("<>").strip()


def _numbers(path: Path, parameters: dict[str, str], name: str) -> list[float]:
    """Return the numbers in a parameter, structures flattened; an empty list where it is missing."""
    words = re.split(r"[\s,()]+", re.sub(r"<[^>]*>", " ", parameters.get(name, "")))
    found = []
    for word in filter(None, words):
        try:
            found.append(float(word))
        except ValueError:
            continue
    if name in parameters and not all(math.isfinite(number) for number in found):
        raise DataError(f"{path}: {name} is not finite: damaged")
    return found


def _first(path: Path, parameters: dict[str, str], *names: str) -> float | None:
    """Return the first number of the first of the parameters that has a number that is not 0."""
    for name in names:
        numbers = _numbers(path, parameters, name)
        if numbers and numbers[0]:
            return numbers[0]
    return None


def _transients(data: Path, parameters: dict[str, str], is_reference: bool = False) -> Transients:
    folder = data.parent
    width = _first(folder, parameters, "PVM_SpecSWH", "SW_h")
    f0_mhz = _first(folder, parameters, "BF1", "SFO1")
    if not width or not f0_mhz or width < 0 or f0_mhz < 0:
        raise DataError(f"{folder}: spectral width {width} Hz and frequency {f0_mhz} MHz, expected both")
    te_ms, tr_ms = (_first(folder, parameters, f"PVM_{name}Time") for name in ("Echo", "Repetition"))
    shots, contradiction = _shots(data, parameters)
    coils = shots.shape[1]
    fids, words = _without_delay(shots, _delay(folder, parameters))
    notes = [Record("Reading", contradiction)] if contradiction and not is_reference else []
    dims: tuple[str, ...] = ("average", "coil", "t")
    if coils == 1:
        fids, dims = fids[:, 0], ("average", "t")
    if len(fids) == 1:
        fids, dims = fids[0], dims[1:]
    return Transients(
        data=swap_sense(fids, in_place=True),
        dims=dims,
        dwell_s=1 / width,
        f0_hz=f0_mhz * 1e6,
        reference_ppm=_first(folder, parameters, "PVM_FrqWorkPpm") or RECEIVER_PPM,
        nucleus=_text(parameters, "NUCLEUS") or "1H",
        te_s=te_ms * 1e-3 if te_ms else None,
        tr_s=tr_ms * 1e-3 if tr_ms else None,
        geometry=_geometry(folder, parameters),
        sequence=_text(parameters, "Method"),
        source=data.name,
        header={"manufacturer": "Bruker"} | ({"water_suppressed": False} if is_reference else {}),
        records=(*notes, Record("Group delay", words)),
    )


def _shots(data: Path, parameters: dict[str, str]) -> tuple[NDArray[np.complex64], str]:
    """Return the samples as they stand, shape (n_shots, n_coils, samples), and what contradicts the header."""
    kind, folder = _kind(data.parent, parameters), data.parent
    is_job = data.name.startswith("rawdata")
    size, lengths = data.stat().st_size, _lengths(folder, parameters, is_job)
    jobs = _numbers(folder, parameters, "ACQ_jobs")
    expected = int(jobs[3]) if is_job and len(jobs) > 3 else int(_first(folder, parameters, "NR") or 1)
    fitting: list[tuple[bool, int, tuple[int, int, int], int]] = []
    for points in lengths:
        for coils in dict.fromkeys((_coils(folder, parameters), 1)):
            used = coils * points * 2
            block = used if is_job else _padded(used, kind.itemsize, parameters)
            shots, rest = divmod(size, block * kind.itemsize)
            if shots and not rest:
                fitting.append((shots != expected, len(fitting), (shots, coils, points), block))
    if fitting:
        differs, _, shape, block = min(fitting)
        words = f"{data.name} holds {shape[0]} shots, its header states {expected}" if differs else ""
        return _blocks(data, kind, shape, block), words
    raise DataError(
        f"{data}: {size} bytes, expected a multiple of {' or '.join(map(str, lengths))} points of "
        f"{2 * kind.itemsize} bytes: truncated or damaged"
    )


def _lengths(folder: Path, parameters: dict[str, str], is_job: bool) -> list[int]:
    """Return the points a FID may have, the likeliest first.

    `ACQ_size` counts real numbers in ParaVision 5 to 7, but not in every method of 360 (spec2nii's
    `bruker_fid_override.json`), where `ACQ_jobs` does.
    """
    numbers = {name: _first(folder, parameters, name) or 0.0 for name in _POINTS}
    has_jobs = is_job or "360" in _text(parameters, "ACQ_sw_version")
    found = [numbers["ACQ_jobs"] / 2] if has_jobs else []
    found += [numbers["ACQ_size"] / 2, numbers["PVM_DigNp"], numbers["PVM_SpecMatrix"]]
    lengths = [points for points in dict.fromkeys(map(int, found)) if points > 1]
    if not lengths:
        raise DataError(f"{folder}: states no number of points: damaged header")
    return lengths


def _kind(folder: Path, parameters: dict[str, str]) -> "np.dtype[Any]":
    order = ">" if _text(parameters, "BYTORDA") == "big" else "<"
    word = _text(parameters, "GO_raw_data_format") or _text(parameters, "ACQ_word_size")
    if word not in _KINDS:
        raise DataError(
            f"{folder}: samples are {word or 'of no stated kind'}, expected one of {', '.join(_KINDS)}"
        )
    return np.dtype(order + _KINDS[word])


def _coils(folder: Path, parameters: dict[str, str]) -> int:
    selected = _text(parameters, "ACQ_ReceiverSelect").split().count("Yes")
    return max(1, selected, int(_first(folder, parameters, "PVM_EncNReceivers") or 1))


def _padded(numbers: int, itemsize: int, parameters: dict[str, str]) -> int:
    """Return the length of a block of `fid` in numbers: padded to whole kilobytes where `acqp` says so."""
    if _text(parameters, "GO_block_size") != "Standard_KBlock_Format":
        return numbers
    return math.ceil(numbers * itemsize / _BLOCK) * _BLOCK // itemsize


def _blocks(
    data: Path, kind: "np.dtype[Any]", shape: tuple[int, int, int], block: int
) -> NDArray[np.complex64]:
    shots = np.empty(shape, dtype=np.complex64)
    used = shape[1] * shape[2] * 2
    with data.open("rb") as file:
        step = max(1, _READ_BYTES // (block * kind.itemsize))
        for first in range(0, shape[0], step):
            part = shots[first : first + step]
            values = np.fromfile(file, kind, len(part) * block).reshape(len(part), block)[:, :used]
            values = values.reshape(*part.shape, 2)
            part.real, part.imag = values[..., 0], values[..., 1]
    return shots


def _delay(folder: Path, parameters: dict[str, str]) -> float:
    """Return the delay of the receiver's filter in points."""
    is_360 = "360" in _text(parameters, "ACQ_sw_version")
    names = ("ACQ_RxFilterInfo", "PVM_DigShift") if is_360 else ("PVM_DigShift", "ACQ_RxFilterInfo")
    return max(0.0, _first(folder, parameters, *names) or 0.0)


def _without_delay(shots: NDArray[np.complex64], delay: float) -> tuple[NDArray[np.complex64], str]:
    """Take off the delay; whole points are cut, the rest is a phase linear in frequency."""
    samples = shots.shape[-1]
    last = math.ceil(delay)
    if last == 0:
        return shots, "the header states none"
    if last >= samples // 2:
        raise DataError(f"group delay of {delay:g} points in FIDs of {samples}: damaged header")
    words = f"{delay:g} points taken off, of {samples}"
    if delay == last:
        return shots[..., last:], words
    ramp = np.exp(2j * np.pi * scipy.fft.fftfreq(samples) * delay).astype(np.complex64)
    for shot in shots:
        shot[:] = scipy.fft.ifft(scipy.fft.fft(shot) * ramp)
    return shots[..., : samples - last], words


def _geometry(folder: Path, parameters: dict[str, str]) -> Geometry | None:
    """Return the voxel: ParaVision's axes are left, posterior, superior (as in DICOM), NIfTI's right, anterior.

    Rows of `PVM_VoxArrGradOrient` are taken as the voxel's axes; tested on no real file.
    """
    found = [_numbers(folder, parameters, f"PVM_VoxArr{name}") for name in ("GradOrient", "Position", "Size")]
    if [len(numbers) for numbers in found] != [9, 3, 3]:
        return None
    axes, centre, size = (np.array(numbers) for numbers in found)
    flip = np.array([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = flip[:, None] * axes.reshape(3, 3).T * size
    affine[:3, 3] = flip * centre
    return Geometry(affine)
