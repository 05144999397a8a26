"""One HDF5 file for a training set: spectra, truth, axes, units and what everything was drawn from."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pulsespec.conventions import ppm_axis
from pulsespec.errors import InputError
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.scene import Scene
from pulsespec.simulator.tissue import used_sources
from pulsespec.simulator.training import SCAN_COLUMNS, Block, Distributions, training_blocks

FORMAT, FORMAT_VERSION = "pulsespec-training", 1
PRECISIONS = ("complex64", "complex128")
_TRUTH = {
    "concentrations_mm": "mM (broad components: units of their lines)",
    "t2_s": "s",
    "shift_hz": "Hz, of each component alone, positive downfield",
    "weights": "1, what T1 and T2 leave",
}
SCAN_UNITS = {
    "lorentz_hz": "Hz, full width at half maximum",
    "gauss_hz": "Hz, full width at half maximum",
    "snr": "height of the reference peak over the standard deviation of the noise",
    "residual_water": "share of the water",
    "baseline": "standard deviation of a bump's height over the reference peak",
    "phase_deg": "degrees",
    "shift_hz": "Hz, positive downfield",
}


def read_distributions(path: Path) -> Distributions:
    """Read distributions from a TOML file whose keys are the fields of `Distributions`.

    Raises
    ------
    InputError
        There is no such file, it is not TOML, or a key or value is not what is expected.

    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error})") from error
    known = {one.name: one.default for one in fields(Distributions)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise InputError(f"{path}: {key}: unknown key, expected one of {', '.join(known)}")
        numbers = value if isinstance(value, list) else [value]
        single = isinstance(known[key], float)
        fits = not isinstance(value, list) if single else isinstance(value, list) and len(value) == 2
        if not fits or not all(type(number) in (int, float) for number in numbers):
            raise InputError(
                f"{path}: {key} = {value!r}: expected {'a number' if single else 'a list of two numbers'}"
            )
        values[key] = float(value) if single else tuple(float(number) for number in numbers)
    return Distributions(**values)


def write_training(
    path: Path,
    scene: Scene,
    basis: Basis,
    distributions: Distributions,
    count: int,
    seed: int,
    *,
    precision: str = "complex64",
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a set of `count` spectra; memory stays that of a few blocks.

    Raises
    ------
    InputError
        `path` exists and `overwrite` is not set, or `precision` is not one of `PRECISIONS`.

    """
    if precision not in PRECISIONS:
        raise InputError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    with atomic_path(path, overwrite) as temporary, h5py.File(temporary, "w") as file:
        _write_facts(file, scene, basis, distributions, seed)
        _create(file, scene, count, precision)
        for block in training_blocks(scene, distributions, count, seed, jobs=jobs):
            _write_block(file, block)
            progress(block.start + len(block.fids))


def facts(scene: Scene, basis: Basis, seed: int) -> dict[str, Any]:
    """Return what a reader of spectra and truth has to know beside them."""
    return {
        "tissue": scene.tissue.name,
        "notes": scene.tissue.notes,
        "seed": seed,
        "f0_hz": scene.f0_hz,
        "dwell_s": scene.dwell_s,
        "samples": scene.samples,
        "reference_ppm": scene.reference_ppm,
        "nucleus": basis.nucleus,
        "te_s": basis.te_s,
        "tr_s": basis.tr_s,
        "sequence": basis.sequence,
        "sequence_hash": basis.sequence_hash,
        "water_amplitude": scene.water_amplitude,
        "amplitude_unit": "mM of protons: concentration x weight x basis function",
        "frequency_sense": "NIfTI-MRS: with numpy.fft.fft, upfield is positive",
        "snr_ppm": list(scene.tissue.snr_ppm),
        "missing": list(scene.missing),
        "warnings": list(scene.warnings),
        "sources": {key: asdict(source) for key, source in used_sources(scene.tissue).items()},
    }


def _write_facts(file: Any, scene: Scene, basis: Basis, distributions: Distributions, seed: int) -> None:
    file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
    for key, value in facts(scene, basis, seed).items():
        if value is not None:
            file.attrs[key] = json.dumps(value) if isinstance(value, list | dict) else value
    file.attrs["distributions"] = json.dumps(asdict(distributions))
    amounts = {name: asdict(amount) for name, amount in zip(scene.names, scene.amounts, strict=True)}
    file.attrs["amounts"] = json.dumps(amounts)
    file["time_s"] = scene.time_s
    file["ppm"] = ppm_axis(scene.samples, scene.dwell_s, scene.f0_hz, scene.reference_ppm)
    file["ppm"].attrs["of"] = "numpy.fft.fftshift(numpy.fft.fft(fid))"
    file.create_dataset("names", data=list(scene.names), dtype=h5py.string_dtype())


def _create(file: Any, scene: Scene, count: int, precision: str) -> None:
    chunk = min(count, 64)
    fids = file.create_dataset(
        "fid", (count, scene.samples), np.dtype(precision), chunks=(chunk, scene.samples)
    )
    fids.attrs["unit"] = "mM of protons"
    for name, unit in _TRUTH.items():
        table = file.create_dataset(f"truth/{name}", (count, len(scene.names)), "f8")
        table.attrs["unit"], table.attrs["columns"] = unit, list(scene.names)
    scan = file.create_dataset("truth/scan", (count, len(SCAN_COLUMNS)), "f8")
    scan.attrs["columns"] = list(SCAN_COLUMNS)
    scan.attrs["units"] = [SCAN_UNITS[column] for column in SCAN_COLUMNS]


def _write_block(file: Any, block: Block) -> None:
    rows = slice(block.start, block.start + len(block.fids))
    file["fid"][rows] = block.fids
    file["truth/scan"][rows] = block.scan
    for name in _TRUTH:
        file[f"truth/{name}"][rows] = getattr(block, name)
