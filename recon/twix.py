"""Siemens raw data (twix), read by pymapvbvd; sorted by the labels of a `.seq` where one was played."""

import contextlib
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mapvbvd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.transients import Scan, Transients
from pulsespec.simulator.timeline import LabelledReadout

_SHORTEST = 10_000
_VB_HEADER, _DMA_LENGTH, _ACQEND = 128, 0x1FFFFFF, 1  # Siemens IDEA, mdh.h of VB


def is_twix(path: Path) -> bool:
    """Return whether the file begins as a VB header (its length) or a VD/VE/XA one (0 and a count) does."""
    with path.open("rb") as file:
        start = file.read(40)
    if len(start) < 40:
        return False
    first, second = struct.unpack("<II", start[:8])
    measurements = int(second)
    return 1 <= measurements <= 64 and (first < _SHORTEST or b"Config" in start[8:])


def read_twix(path: Path, readouts: Sequence[LabelledReadout] | None = None) -> Scan:
    """Read a twix file; oversampling is left as it is.

    Parameters
    ----------
    path
        The file.
    readouts
        ADC events of the `.seq` that was played, whose labels and dwell time then count.

    Raises
    ------
    DataError
        The file is damaged, truncated, not single-voxel data, or has another number of ADCs than the `.seq`.

    """
    if not _is_complete(path):
        raise DataError(f"{path}: truncated twix file: it ends before its last measurement does")
    twix = _open(path)
    found, words = attempt(lambda: _contents(twix, path))
    if found is None:
        raise DataError(f"{path}: damaged or truncated twix file ({words})")
    acquired, noise, facts = found
    fids = swap_sense(acquired)
    common = facts | {
        "noise": None if noise is None else swap_sense(noise).transpose(1, 0, 2).reshape(noise.shape[1], -1),
        "source": path.name,
    }
    if readouts is None:
        _refuse_unknown(path, twix.image, facts)
        return Scan(_transients(fids, common))
    return _sorted(path, fids, readouts, common)


def _is_complete(path: Path) -> bool:
    """Return whether the file is as long as its headers say.

    VD and later state the length of each measurement; VB ends with a scan that carries the flag ACQEND.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first, count = struct.unpack("<II", file.read(8))
        if first < _SHORTEST:
            entries = [struct.unpack("<IIQQ", file.read(152)[:24]) for _ in range(count)]
            return all(offset + length <= size for _, _, offset, length in entries)
        position = first
        while position + _VB_HEADER <= size:
            file.seek(position)
            header = file.read(_VB_HEADER)
            length = struct.unpack("<I", header[:4])[0] & _DMA_LENGTH
            if struct.unpack("<I", header[20:24])[0] & _ACQEND:
                return True
            if length < _VB_HEADER:
                return False
            position += length
    return False


def _refuse_unknown(path: Path, image: Any, facts: dict[str, Any]) -> None:
    if "pulseq" in facts["sequence"].lower():
        raise DataError(
            f"{path}: was acquired with a Pulseq sequence, whose timing the header does not know; "
            "pass the .seq that was played (--seq)"
        )
    sizes = dict(zip(image.dataDims, image.dataSize, strict=True))
    encoded = {name: int(sizes[name]) for name in ("Lin", "Par", "Sli") if sizes.get(name, 1) > 1}
    if encoded:
        raise DataError(f"{path}: is an imaging scan (counters {encoded}), expected a single voxel")


def _contents(twix: Any, path: Path) -> tuple[Any, Any, dict[str, Any]]:
    noise = _shots(twix.noise, path) if "noise" in twix.keys() else None  # noqa: SIM118 (no mapping)
    return _shots(twix.image, path), noise, _facts(twix.hdr, path)


def _open(path: Path) -> Any:
    twix, words = attempt(lambda: _mapped(path))
    if twix is None:
        raise DataError(f"{path}: no complete measurement in it, a damaged or truncated twix file ({words})")
    if isinstance(twix, list):
        if not twix:
            raise DataError(f"{path}: has no measurement that could be read as twix")
        twix = twix[-1]
    if "image" not in twix.keys() or twix.image.NAcq == 0:  # noqa: SIM118 (no mapping)
        raise DataError(f"{path}: truncated twix file: it has a header but no complete measurement")
    return twix


def _mapped(path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return mapvbvd.mapVBVD(str(path), quiet=True)


def _shots(image: Any, path: Path) -> NDArray[np.complex128]:
    """Return all ADCs in the order of acquisition; shape (n_adcs, n_coils, samples)."""
    image.flagRemoveOS = False
    image.squeeze = False
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        data = image.unsorted()
    values = np.asarray(data, dtype=np.complex128)
    if values.ndim != 3 or not values.size:
        raise DataError(f"{path}: data of shape {values.shape}, expected (samples, coils, ADCs)")
    return values.transpose(2, 1, 0)


def _facts(header: Any, path: Path) -> dict[str, Any]:
    yaps = header["MeasYaps"]

    def value(*key: str) -> Any:
        return yaps.get(key)

    frequency = value("sTXSPEC", "asNucleusInfo", "0", "lFrequency") or header["Dicom"].get("lFrequency")
    if not frequency:
        raise DataError(f"{path}: its header has no spectrometer frequency")
    dwell_ns = value("sRXSPEC", "alDwellTime", "0")
    te_us, tr_us = value("alTE", "0"), value("alTR", "0")
    return {
        "f0_hz": float(frequency),
        "nucleus": str(value("sTXSPEC", "asNucleusInfo", "0", "tNucleus") or "1H").strip('"'),
        "dwell_s": float(dwell_ns) * 1e-9 if dwell_ns else 0.0,
        "te_s": float(te_us) * 1e-6 if te_us else None,
        "tr_s": float(tr_us) * 1e-6 if tr_us else None,
        "sequence": str(value("tSequenceFileName") or "").strip('"').split("\\")[-1],
        "header": {"manufacturer": "Siemens"},
    }


def _transients(fids: NDArray[np.complex128], facts: dict[str, Any]) -> Transients:
    return Transients(data=fids, dims=("average", "coil", "t"), **facts)


def _sorted(
    path: Path, fids: NDArray[np.complex128], readouts: Sequence[LabelledReadout], facts: dict[str, Any]
) -> Scan:
    """Return metabolite and water shots as the labels of the `.seq` have them."""
    if len(readouts) != len(fids):
        raise DataError(
            f"{path}: has {len(fids)} ADCs, but the sequence has {len(readouts)}: not played from it"
        )
    first = readouts[0]
    if any((r.samples, r.dwell_s) != (first.samples, first.dwell_s) for r in readouts):
        raise DataError(
            f"{path}: the ADCs of the sequence differ in length or dwell time, which is not supported"
        )
    if first.samples != fids.shape[-1]:
        raise DataError(f"{path}: {fids.shape[-1]} samples an ADC, but {first.samples} in the sequence")
    facts = facts | {"dwell_s": first.dwell_s, "te_s": None, "tr_s": None}
    water = np.array([r.is_water_reference for r in readouts])
    return Scan(
        _transients(fids[~water], facts) if (~water).any() else None,
        _transients(fids[water], facts) if water.any() else None,
    )
