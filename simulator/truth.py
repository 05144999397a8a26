"""The truth of a virtual scan, as it stands in the header of its file."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.files import attempt
from pulsespec.simulator.chances import Chances
from pulsespec.simulator.faults import Faults, as_json, from_json

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

PARAMETER = "truth"
"""Name of the user parameter of an ISMRMRD header that holds the truth as JSON."""


@dataclass(frozen=True, kw_only=True)
class Truth(Chances):
    """What a virtual scan was made of. Pulseq sense, as the raw data; `in_nifti_sense` turns it.

    A sample of a metabolite shot of condition c is, before noise, clipping and the receiver's first samples,
    sensitivity x exp(i (2 pi frequency t + phase + eddy)) x [gain x exp(-pi broadening t) x
    (metabolite_fid[c] + residual water) + lipid + echo].
    """

    phantom: str
    concentrations_mm: Mapping[str, float]
    broad_mm: Mapping[str, float]
    water_mm: float
    seed: int
    faults: Faults
    sequence_hash: str
    dwell_s: float
    receiver_hz: Real
    """Offset of the receiver in each shot, which is not in `frequency_hz`; shape (n_shots,)."""
    is_water: NDArray[np.bool_]
    """Whether each shot is a water reference; shape (n_shots,)."""
    condition: NDArray[np.int64]
    """Editing condition of each shot; shape (n_shots,)."""
    clipped: NDArray[np.int64]
    """Samples that the ADC clipped in each shot, of all coils; shape (n_shots,)."""
    sensitivities: Complex
    """Of each coil to the voxel; shape (n_coils,)."""
    outside: Complex
    """What is added to them for lipid and echo; shape (n_coils,)."""
    noise_covariance: Complex
    """Covariance of the coils' noise in one sample, E[n n^H]; shape (n_coils, n_coils)."""
    metabolite_fids: Complex
    """Metabolites and macromolecules of each condition, with the scan's linewidth, without faults, of a coil of
    sensitivity 1; in the order of the conditions' numbers; shape (n_conditions, samples)."""
    water_fid: Complex
    """The same of unsuppressed water; shape (samples,)."""
    eddy_rad: Real
    """Phase of eddy currents in a water reference; metabolites have `faults.eddy_metabolite` of it; (samples,)."""
    snr_shot: Real
    """Reference peak over noise of one shot that nothing corrupts, coils combined optimally, of each condition."""
    snr_mean: Real
    """The same of the mean of all shots of the condition that motion spares, aligned without error."""

    @property
    def is_corrupted(self) -> NDArray[np.bool_]:
        """Whether motion spoils each shot; shape (n_shots,)."""
        return np.array([bool(kind) for kind in self.corrupted])

    @property
    def noise_variance(self) -> float:
        """E[|n|^2] of one sample after optimal combination to a sensitivity of 1: 1 / (s^H C^-1 s)."""
        if not np.any(self.noise_covariance):
            return 0.0
        weights = np.linalg.solve(self.noise_covariance, self.sensitivities)
        return 1.0 / float(np.real(self.sensitivities.conj() @ weights))


def in_nifti_sense(truth: Truth) -> Truth:
    """Return the truth in the NIfTI-MRS sense, which FIDs in `Transients` have."""
    turned: dict[str, Any] = {name: -getattr(truth, name) for name in _SIGNED}
    turned |= {name: swap_sense(getattr(truth, name)) for name in _COMPLEX}
    return replace(truth, **turned)


def shot_bounds(truth: Truth, condition: int = 0) -> tuple[float, float]:
    """Return the Cramer-Rao bounds of frequency in Hz and phase in rad of one shot, both unknown.

    For a known FID s of known amplitude in white noise of variance v: the Fisher information of phase and
    frequency is 2 / v [[sum |s|^2, 2 pi sum t |s|^2], [2 pi sum t |s|^2, 4 pi^2 sum t^2 |s|^2]]
    (Rife and Boorstyn 1974, doi:10.1109/TIT.1974.1055282, for a single line). The signal is that of metabolites
    and macromolecules; an estimator that also uses residual water can do better.
    """
    row = sorted(set(truth.condition[~truth.is_water].tolist())).index(condition)
    power = np.abs(truth.metabolite_fids[row]) ** 2
    rate = 2 * np.pi * np.arange(power.size) * truth.dwell_s
    zeroth, first, second = power.sum(), power @ rate, power @ rate**2
    fisher = 2 / truth.noise_variance * np.array([[zeroth, first], [first, second]])
    phase, frequency = np.sqrt(np.diag(np.linalg.inv(fisher)))
    return float(frequency), float(phase)


def to_json(truth: Truth) -> dict[str, Any]:
    """Return the truth as JSON has it: numbers of shots as lists, complex and long arrays in base64."""
    return {one.name: _encoded(one.name, getattr(truth, one.name)) for one in fields(truth)}


def truth_from_json(values: Mapping[str, Any]) -> Truth:
    """Return what `to_json` made; `KeyError`, `TypeError` or `ValueError` where it is something else."""
    return Truth(**{one.name: _decoded(one.name, values[one.name]) for one in fields(Truth)})


def read_truth(path: Path) -> Truth:
    """Read the truth of a virtual scan from its ISMRMRD file.

    Raises
    ------
    DataError
        The file cannot be read, or is none of the virtual scanner.

    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    text, words = attempt(lambda: _header_of(path))
    if text is None:
        raise DataError(f"{path}: cannot be read as ISMRMRD ({words})")
    header, words = attempt(lambda: ismrmrd.xsd.CreateFromDocument(text))
    if header is None:
        raise DataError(f"{path}: damaged ISMRMRD header ({words})")
    found = header.userParameters.userParameterString if header.userParameters else []
    truths = [parameter.value for parameter in found if parameter.name == PARAMETER]
    if not truths:
        raise DataError(f"{path}: has no truth in its header, so the virtual scanner did not make it")
    values, words = attempt(lambda: json.loads(truths[0]))
    if isinstance(values, dict) and values.get("kind") == "image":
        raise DataError(
            f"{path}: its truth is of an image, whose maps `acquire` wrote into a folder of their own"
        )
    truth, words = attempt(lambda: truth_from_json(values)) if values is not None else (None, words)
    if truth is None:
        raise DataError(f"{path}: damaged truth in its header ({words})")
    return truth


def _header_of(path: Path) -> bytes:
    with h5py.File(path, "r") as file:
        name = next(name for name, group in file.items() if "xml" in group and "data" in group)
        return bytes(file[name]["xml"][0])


_SIGNED = ("frequency_hz", "phase_rad", "receiver_hz", "echo_rad", "eddy_rad")
_COMPLEX = (
    "lipid", "residual_water", "sensitivities", "outside", "noise_covariance", "metabolite_fids", "water_fid",
)  # fmt: skip
_PACKED = (*_COMPLEX, "eddy_rad")
_ARRAYS = {
    "is_water": np.bool_, "condition": np.int64, "clipped": np.int64, "frequency_hz": float, "phase_rad": float,
    "gain": float, "broadening_hz": float, "echo_rad": float, "receiver_hz": float, "snr_shot": float,
    "snr_mean": float,
}  # fmt: skip


def _encoded(name: str, value: Any) -> Any:
    if name == "faults":
        return as_json(value)
    if name in _PACKED:
        kind = "complex128" if name in _COMPLEX else "float64"
        data = np.ascontiguousarray(value, dtype=f"<{np.dtype(kind).str[1:]}")
        return {
            "dtype": kind,
            "shape": list(data.shape),
            "base64": base64.b64encode(data.tobytes()).decode("ascii"),
        }
    if isinstance(value, np.ndarray):
        return [None if isinstance(one, float) and np.isinf(one) else one for one in value.tolist()]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _decoded(name: str, value: Any) -> Any:
    if name == "faults":
        return from_json(value)
    if name in _PACKED:
        data = np.frombuffer(base64.b64decode(value["base64"]), dtype=f"<{np.dtype(value['dtype']).str[1:]}")
        return data.reshape(value["shape"]).astype(value["dtype"])
    if name in _ARRAYS:
        return np.array([np.inf if one is None else one for one in value], dtype=_ARRAYS[name])
    return tuple(value) if name == "corrupted" else value
