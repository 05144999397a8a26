"""A basis set as transition lines: frequencies and complex amplitudes, rendered on demand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, swap_sense
from pulsespec.errors import DataError, InputError
from pulsespec.files import atomic_path


@dataclass(frozen=True)
class Lines:
    """A spectrum as a sum of lines, at the first ADC sample, in the Pulseq sense (downfield positive).

    s(t) = sum_j a_j exp(i 2 pi f_j t - pi lorentz_hz_j t - (pi gauss_hz_j t)^2 / (4 ln 2)).
    """

    frequency_hz: NDArray[np.float64]
    """Offset from the reference in Hz, downfield positive; shape (n_lines,)."""
    amplitude: NDArray[np.complex128]
    """Complex amplitude; one fully excited proton in the nominal voxel sums to 1; shape (n_lines,)."""
    lorentz_hz: NDArray[np.float64] | None = None
    """Intrinsic Lorentzian full width at half maximum of each line; `None` is zero; shape (n_lines,)."""
    gauss_hz: NDArray[np.float64] | None = None
    """Intrinsic Gaussian full width at half maximum of each line; `None` is zero; shape (n_lines,)."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What a sequence makes of each metabolite: transition lines and where they came from."""

    lines: Mapping[str, Lines]
    """Lines of each metabolite (and macromolecule or lipid component), by name."""
    f0_hz: float
    """Frequency in Hz at `reference_ppm`, for which the basis was computed."""
    nucleus: str
    te_s: float | None
    tr_s: float | None = None
    reference_ppm: float = RECEIVER_PPM
    water: Lines | None = None
    """Unsuppressed water (two protons) through the same sequence: the absolute reference."""
    broad: tuple[str, ...] = ()
    """Names in `lines` that are macromolecules or lipids."""
    samples: int = 2048
    """Points of the readout in the sequence."""
    dwell_s: float = 2.5e-4
    """Dwell time of the readout in the sequence, in s."""
    sequence: str = ""
    """Name of the sequence."""
    sequence_hash: str = ""
    """SHA-256 of the bytes of the `.seq` file."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts: program, version, tolerance, convergence statement, pathway weights, sources."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all metabolites and broad components."""
        return tuple(self.lines)

    def fid(
        self,
        name: str,
        samples: int | None = None,
        dwell_s: float | None = None,
        linewidth_hz: float = 0.0,
        gauss_hz: float = 0.0,
    ) -> NDArray[np.complex128]:
        """Return the FID of one component in the NIfTI-MRS sense; shape (samples,).

        Parameters
        ----------
        name
            One of `names`.
        samples, dwell_s
            Readout; by default that of the sequence.
        linewidth_hz, gauss_hz
            Lorentzian and Gaussian full width at half maximum that are added to intrinsic widths.

        Raises
        ------
        InputError
            The basis has no component of that name.

        """
        if name not in self.lines:
            raise InputError(f"basis: has no component {name!r}, only {', '.join(self.lines)}")
        return self._render(self.lines[name], samples, dwell_s, linewidth_hz, gauss_hz)

    def water_fid(
        self, samples: int | None = None, dwell_s: float | None = None, linewidth_hz: float = 0.0
    ) -> NDArray[np.complex128]:
        """Return the FID of unsuppressed water (two protons) in the NIfTI-MRS sense; shape (samples,)."""
        if self.water is None:
            raise InputError("basis: has no water reference (its sequence has no unsuppressed shot)")
        return self._render(self.water, samples, dwell_s, linewidth_hz, 0.0)

    def _render(
        self, lines: Lines, samples: int | None, dwell_s: float | None, linewidth_hz: float, gauss_hz: float
    ) -> NDArray[np.complex128]:
        samples = self.samples if samples is None else samples
        dwell_s = self.dwell_s if dwell_s is None else dwell_s
        if samples < 1 or not dwell_s > 0:
            raise InputError(f"samples {samples}, dwell_s {dwell_s}: expected at least 1 and above 0")
        t = np.arange(samples) * dwell_s
        decay = np.exp(-np.pi * linewidth_hz * t - (np.pi * gauss_hz * t) ** 2 / (4 * np.log(2)))
        return np.asarray(swap_sense(_rendered(*_as_bytes(lines), samples, dwell_s)) * decay)

    def subset(self, names: Sequence[str]) -> "Basis":
        """Return the basis with only the named components, in that order."""
        missing = [name for name in names if name not in self.lines]
        if missing:
            raise InputError(f"basis: has no component {', '.join(missing)}, only {', '.join(self.lines)}")
        lines = {name: self.lines[name] for name in names}
        return replace(self, lines=lines, broad=tuple(name for name in self.broad if name in lines))

    def with_broad(self, components: Mapping[str, Lines]) -> "Basis":
        """Return the basis with macromolecule and lipid components added."""
        added = (*self.broad, *(name for name in components if name not in self.broad))
        return replace(self, lines={**self.lines, **components}, broad=added)

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Write the basis as HDF5; never half-written, never over an existing file without `overwrite`."""
        with atomic_path(Path(path), overwrite) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"], file.attrs["format_version"] = _FORMAT, _FORMAT_VERSION
            for key in _FACTS:
                value = getattr(self, key)
                file.attrs[key] = np.nan if value is None else value
            file.attrs["broad"] = json.dumps(self.broad)
            file.attrs["provenance"] = json.dumps(dict(self.provenance))
            file.attrs["order"] = json.dumps(self.names)
            for name, lines in self.lines.items():
                _write_lines(file.create_group(f"components/{name}"), lines)
            if self.water is not None:
                _write_lines(file.create_group("water"), self.water)

    @classmethod
    def read(cls, path: Path) -> "Basis":
        """Read a basis that `write` wrote; `DataError` where the file is damaged or something else."""
        path = Path(path)
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != _FORMAT:
                    raise DataError(f"{path}: is an HDF5 file but not a pulsespec basis")
                if file.attrs["format_version"] != _FORMAT_VERSION:
                    version = file.attrs["format_version"]
                    raise DataError(f"{path}: has basis format {version}, expected {_FORMAT_VERSION}")
                facts = {key: _fact(key, file.attrs[key]) for key in _FACTS}
                names = json.loads(file.attrs["order"])
                return cls(
                    lines={name: _read_lines(file[f"components/{name}"]) for name in names},
                    water=_read_lines(file["water"]) if "water" in file else None,
                    broad=tuple(json.loads(file.attrs["broad"])),
                    provenance=json.loads(file.attrs["provenance"]),
                    **facts,
                )
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise DataError(f"{path}: cannot be read as a basis file ({error})") from error


_FORMAT, _FORMAT_VERSION = "pulsespec-basis", 1
_FACTS = (
    "f0_hz",
    "nucleus",
    "te_s",
    "tr_s",
    "reference_ppm",
    "samples",
    "dwell_s",
    "sequence",
    "sequence_hash",
)
_COLUMNS = ("frequency_hz", "amplitude", "lorentz_hz", "gauss_hz")


def _fact(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if key == "samples":
        return int(value)
    return None if np.isnan(value) else float(value)


def _write_lines(group: Any, lines: Lines) -> None:
    for column in _COLUMNS:
        values = getattr(lines, column)
        if values is not None:
            group.create_dataset(column, data=values)


def _read_lines(group: Any) -> Lines:
    return Lines(**{column: group[column][()] for column in _COLUMNS if column in group})


def _as_bytes(lines: Lines) -> tuple[bytes, bytes, bytes | None, bytes | None]:
    lorentz, gauss = (
        None if width is None else width.tobytes() for width in (lines.lorentz_hz, lines.gauss_hz)
    )
    return lines.frequency_hz.tobytes(), lines.amplitude.astype(complex).tobytes(), lorentz, gauss


@lru_cache(maxsize=64)
def _rendered(
    frequency: bytes,
    amplitude: bytes,
    lorentz: bytes | None,
    gauss: bytes | None,
    samples: int,
    dwell_s: float,
) -> NDArray[np.complex128]:
    """Return what `render` does; the same lines are asked for by each guard and by the fit."""
    widths = [None if width is None else np.frombuffer(width) for width in (lorentz, gauss)]
    return render(
        Lines(np.frombuffer(frequency), np.frombuffer(amplitude, complex), *widths), samples, dwell_s
    )


def render(lines: Lines, samples: int, dwell_s: float) -> NDArray[np.complex128]:
    """Return the FID of lines in the Pulseq sense; shape (samples,).

    Exact: each line is a geometric series, cut into a coarse and a fine factor whose outer product is the
    whole, so that sums over lines are matrix products.
    """
    fine = int(np.ceil(np.sqrt(samples)))
    coarse = int(np.ceil(samples / fine))
    total = np.zeros(samples, dtype=complex)
    lorentz = np.zeros(lines.frequency_hz.size) if lines.lorentz_hz is None else lines.lorentz_hz
    gauss = np.zeros(lines.frequency_hz.size) if lines.gauss_hz is None else lines.gauss_hz
    t = np.arange(samples) * dwell_s
    for width in np.unique(gauss):
        chosen = gauss == width
        rate = (2j * np.pi * lines.frequency_hz[chosen] - np.pi * lorentz[chosen]) * dwell_s
        steps = np.exp(rate[:, None] * np.arange(fine))
        blocks = lines.amplitude[chosen][:, None] * np.exp(rate[:, None] * fine * np.arange(coarse))
        part = (blocks.T @ steps).ravel()[:samples]
        total += part * np.exp(-((np.pi * width * t) ** 2) / (4 * np.log(2)))
    return total


def merge_lines(lines: Lines, tolerance_hz: float) -> Lines:
    """Return lines in which neighbours not more than `tolerance_hz` apart are one, at their mean frequency.

    Lines with intrinsic widths are returned as they are.
    """
    if lines.lorentz_hz is not None or lines.gauss_hz is not None or lines.frequency_hz.size == 0:
        return lines
    order = np.argsort(lines.frequency_hz)
    frequency, amplitude = lines.frequency_hz[order], lines.amplitude[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(frequency) > tolerance_hz]))
    weight = np.abs(amplitude) + 1e-300
    mean = np.add.reduceat(weight * frequency, starts) / np.add.reduceat(weight, starts)
    return Lines(mean, np.add.reduceat(amplitude, starts))
