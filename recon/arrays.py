"""Plain arrays of samples, as open consoles leave them: `.npy`, `.mat` and HDF5, told by the `.seq` what they are.

Nothing in such a file says which axis is which. The number of readouts and of samples in the `.seq` does; where
it fits in two ways, the array is refused. Samples are taken to be demodulated with frequency and phase of their
readout, as the Pulseq specification asks of an interpreter.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from pulsespec.conventions import larmor_hz
from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.recon.sorting import sort_by_sequence
from pulsespec.recon.stream import AdcStream
from pulsespec.recon.transients import Record, Scan
from pulsespec.simulator.timeline import Played

_NPY, _MAT5, _MAT73 = b"\x93NUMPY", b"MATLAB 5.0", b"MATLAB 7.3"
_REOPEN = 16


@dataclass(frozen=True)
class Layout:
    """Which axes of an array are what."""

    coil: int | None
    readout: int | None
    """Axis of the readouts; `None` where they follow each other along `sample`, or there is one."""
    sample: int
    parts: int | None
    """Axis of real and imaginary parts, where the numbers are real."""
    flat: bool
    """Whether the samples of all readouts follow each other along `sample`."""

    @property
    def words(self) -> str:
        """The axes in words."""
        names = {self.coil: "coil", self.readout: "readout", self.parts: "real and imaginary"}
        names[self.sample] = "samples of all readouts" if self.flat else "sample"
        return ", ".join(f"axis {axis} {names[axis]}" for axis in sorted(a for a in names if a is not None))


def is_array(path: Path) -> bool:
    """Return whether the file is a `.npy`, a MATLAB file or HDF5 with an array of numbers."""
    with path.open("rb") as file:
        start = file.read(16)
    return start.startswith((_NPY, _MAT5, _MAT73)) or bool(h5py.is_hdf5(path))


def read_arrays(
    path: Path, played: Played | None, name: str = "the sequence", f0_hz: float | None = None
) -> Scan:
    """Read an array of samples as the readouts of a sequence.

    Parameters
    ----------
    path
        The file; the array in it that fits the sequence is taken.
    played
        Readouts and definitions of the `.seq` that was played.
    name
        Of the `.seq`, for messages.
    f0_hz
        Spectrometer frequency; by default that of the sequence's `B0`.

    Raises
    ------
    DataError
        No array fits the sequence, or it fits in more than one way, or no frequency is known.

    """
    if played is None:
        raise DataError(f"{path}: is an array without a header; pass the .seq that was played (--seq)")
    f0_hz = f0_hz or _frequency(path, played)
    arrays, words = attempt(lambda: _arrays(path))
    if arrays is None:
        raise DataError(f"{path}: cannot be read as an array ({words})")
    fitting = [
        (key, layout) for key, (shape, real, _) in arrays.items() for layout in _layouts(shape, real, played)
    ]
    key, layout = _only(path, arrays, fitting, played, name)
    shape, _, open_array = arrays[key]
    coils = 1 if layout.coil is None else shape[layout.coil]
    stream = AdcStream(
        path,
        np.array([(coils, readout.samples) for readout in played.readouts], dtype=np.int64),
        lambda rows: _fetch(open_array, layout, played, rows),
        {"f0_hz": f0_hz, "dwell_s": 0.0},
        np.zeros(len(played.readouts), dtype=bool),
        records=(Record("Reading of an array", f"{key or path.name}, shape {shape}: {layout.words}"),),
    )
    return sort_by_sequence(stream, played, name)


def _frequency(path: Path, played: Played) -> float:
    field = played.numbers("B0")
    if not field.size:
        raise DataError(f"{path}: no spectrometer frequency is known; pass it (--f0-mhz)")
    return larmor_hz(float(field[0]), str(played.definitions.get("Nucleus", "1H")))


def _only(
    path: Path, arrays: dict[str, Any], fitting: Sequence[tuple[str, Layout]], played: Played, name: str
) -> tuple[str, Layout]:
    if len(fitting) == 1:
        return fitting[0]
    samples = sorted({readout.samples for readout in played.readouts})
    asked = f"{len(played.readouts)} readouts of {' or '.join(map(str, samples))} samples, as {name} has"
    if not fitting:
        shapes = ", ".join(f"{key or 'array'} {shape}" for key, (shape, _, _) in list(arrays.items())[:8])
        raise DataError(f"{path}: has {shapes or 'no array of numbers'}, expected {asked}")
    ways = "; ".join(f"{key or 'array'}: {layout.words}" for key, layout in fitting[:4])
    raise DataError(f"{path}: can be {asked}, in {len(fitting)} ways ({ways}); leave it only one")


def _layouts(shape: tuple[int, ...], is_real: bool, played: Played) -> list[Layout]:
    """Return every way in which an array can be the readouts of a sequence."""
    lengths = [readout.samples for readout in played.readouts]
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    parts = [axis for axis in axes if shape[axis] == 2 and axis in (0, len(shape) - 1)] if is_real else [None]
    found = []
    for part in parts:
        rest = [axis for axis in axes if axis != part]
        if len(set(lengths)) == 1 and len(lengths) > 1:
            for readout, sample in itertools.permutations(rest, 2):
                if (shape[readout], shape[sample]) == (len(lengths), lengths[0]) and len(rest) <= 3:
                    coil = next((axis for axis in rest if axis not in (readout, sample)), None)
                    found.append(Layout(coil, readout, sample, part, False))
        for sample in rest if len(rest) <= 2 else ():
            if shape[sample] == sum(lengths):
                coil = next((axis for axis in rest if axis != sample), None)
                found.append(Layout(coil, None, sample, part, True))
    return found


def _fetch(
    open_array: Callable[[], Any], layout: Layout, played: Played, rows: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """Yield readouts; the array is opened anew now and then, so that a mapped file does not stay in memory."""
    ends = np.cumsum([readout.samples for readout in played.readouts])
    array = None
    for number, row in enumerate(rows):
        if array is None or number % _REOPEN == 0:
            array = open_array()
        index: list[Any] = [slice(None) if array.shape[axis] > 1 else 0 for axis in range(array.ndim)]
        if layout.flat:
            index[layout.sample] = slice(int(ends[row]) - played.readouts[row].samples, int(ends[row]))
        elif layout.readout is not None:
            index[layout.readout] = row
        yield _complex(np.asarray(array[tuple(index)]), layout)


def _complex(shot: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return one readout, cut out of its array, as (coils, samples)."""
    kept = sorted(a for a in (layout.coil, layout.sample, layout.parts) if a is not None)
    if shot.ndim < len(kept):  # a readout of a single sample
        shot = shot.reshape(*shot.shape, *[1] * (len(kept) - shot.ndim))
    if shot.dtype.names:
        real, imaginary = shot.dtype.names
        shot = shot[real] + 1j * shot[imaginary]
    wanted = [a for a in (layout.parts, layout.coil, layout.sample) if a is not None]
    shot = np.transpose(shot, [kept.index(axis) for axis in wanted])
    if layout.parts is not None:
        shot = shot[0] + 1j * shot[1]
    return shot.reshape(-1, shot.shape[-1])


Entry = tuple[tuple[int, ...], bool, Callable[[], Any]]


def _arrays(path: Path) -> dict[str, Entry]:
    """Return the arrays of numbers in a file: shape, whether they are real, and how to open them."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_NPY):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"": (array.shape, array.dtype.kind != "c", partial(np.load, path, mmap_mode="r"))}
    if start.startswith(_MAT5):
        found = scipy.io.loadmat(path)
        return {
            key: (value.shape, value.dtype.kind != "c", partial(np.asarray, value))
            for key, value in found.items()
            if isinstance(value, np.ndarray) and value.dtype.kind in "iufc"
        }
    entries: dict[str, Entry] = {}
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
        for key in names:
            kind = file[key].dtype
            pair = kind.names is not None and len(kind.names) == 2
            if pair or kind.kind in "iufc":
                entries[key] = (file[key].shape, not pair and kind.kind != "c", partial(_opened, path, key))
    return entries


def _opened(path: Path, key: str) -> Any:
    return h5py.File(path, "r")[key]
