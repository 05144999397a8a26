"""From the mean FID of each editing condition to sums and differences.

Shots are registered within their condition before (`align`): across conditions spectra differ by what is edited, and a
common reference would turn that into frequency and phase (Mikkelsen et al. 2018, doi:10.1002/mrm.27027, for HERMES).
Each condition has its own unlike shots left out and its own residual water taken out; then the means are brought to one
frame by what must cancel (`edit_align`). A shot left out of one condition is not left out of the others: all
have one frame by then, and each mean stands for one shot, whatever its number of shots.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.align import METHOD as ALIGNMENT
from pulsespec.recon.edit_align import between, continued, turned, windows
from pulsespec.recon.editing import Combination, Scheme, combinations, is_difference
from pulsespec.recon.outliers import METHOD as OUTLIERS
from pulsespec.recon.phasing import phase_spectrum
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_ALIKE = 0.05
_CONTRADICTS_HZ = 1.0
"""Difference between drift and spectra beyond which conditions were measured one after the other."""
_USUAL_PPM = ((1.9,), (4.56,))


def scheme_of(data: Transients) -> Scheme | None:
    """Return the editing conditions that the reader found, or `None` where nothing says what they are."""
    found = data.header.get("editing")
    return found if isinstance(found, Scheme) else None


def align_conditions(data: Transients) -> Transients:
    """Bring the means of all conditions, dims ("edit", "t"), to the frame of the first.

    Where not all editing pulses are known, only what none of the usual ones touches is compared.
    """
    if data.dims != ("edit", "t"):
        return data
    scheme = scheme_of(data)
    bands_ppm = scheme.bands_ppm if scheme else ()
    if not any(bands_ppm):
        bands_ppm = _USUAL_PPM
    noise = np.array([_noise(fid) for fid in data.data])
    frequency, phase = between(data.data, data, bands_ppm, noise)
    expected, why = _expected(data), ""
    if expected is not None and np.all(np.abs(frequency - expected[0]) < _CONTRADICTS_HZ + 3 * expected[1]):
        frequency, phase = between(data.data, data, bands_ppm, noise, expected)
        why = f" and by one drift of alternating shots ({expected[1].max():.2f} Hz)"
    fids = [turned(*one, data.dwell_s) for one in zip(data.data, frequency, phase, strict=True)]
    spans = ", ".join(f"{low:.2f}-{high:.2f}" for low, high in windows(bands_ppm))
    moved = ", ".join(
        f"{hz:+.2f} Hz {np.rad2deg(rad):+.1f} degrees" for hz, rad in zip(frequency, phase, strict=True)
    )
    record = Record(
        "Alignment of subtraction sub-spectra",
        f"conditions to the first by the singlets that no pulse touches ({spans} ppm){why}: {moved}",
        {"frequency_hz": frequency, "phase_rad": phase},
    )
    return data.with_data(np.array(fids), record)


def _expected(data: Transients) -> tuple[Real, Real] | None:
    """Return what the drift that alignment found says of the frequencies of the conditions."""
    found = {record.method: record.figures for record in data.records}
    frequency = np.asarray(found.get(ALIGNMENT, {}).get("frequency_hz", ()))
    if frequency.ndim != 2 or len(frequency) != data.size("edit"):
        return None
    keep = np.asarray(found.get(OUTLIERS, {}).get("keep", np.ones(frequency.shape, bool)))
    return continued(frequency, keep) if keep.shape == frequency.shape else None


def phased(data: Transients) -> Transients:
    """Return data whose singlets stand upright; conditions are all turned by the phase of their sum.

    A difference has been turned with its conditions, and has no singlets of its own.
    """
    if is_difference(data.header):
        return data
    if "edit" not in data.dims:
        return phase_spectrum(data)
    whole = phase_spectrum(data.with_data(data.data.sum(axis=data.axis("edit")), drop=("edit",)))
    turn = np.deg2rad(whole.records[-1].figures.get("phase_deg", 0.0))
    return replace(data, data=data.data * np.exp(1j * turn), records=(*data.records, whole.records[-1]))


def _noise(fid: Complex) -> float:
    tail = fid[-max(16, fid.size // 8) :]
    return float(np.sqrt(np.mean(np.abs(tail - tail.mean()) ** 2))) + 1e-12 * float(np.abs(fid).max())


def combine(data: Transients, which: Combination) -> Transients:
    """Return a sum or difference of conditions; dims ("t",).

    The factors stand in the header: a basis for it is simulated with the same ones.
    """
    scheme = scheme_of(data)
    fid = np.tensordot(np.array(which.weights), data.data, axes=(0, data.axis("edit")))
    factors = ", ".join(f"{weight:+g}" for weight in which.weights)
    asked = ",".join(f"{k}:{weight:g}" for k, weight in enumerate(which.weights))
    names = f" of {scheme.words}" if scheme else ""
    record = Record(
        "Addition" if min(which.weights) > 0 else "Subtraction",
        f"{which.name}: factors {factors}{names}; its basis: pulsespec simulate --conditions {asked}",
        {"weights": which.weights},
    )
    header = {**data.header, "condition_weights": which.weights}
    return data.with_data(fid, record, drop=("edit",), header=header)


def combined(data: Transients) -> dict[str, Transients]:
    """Return every sum and difference of the conditions by name, differences first."""
    scheme = scheme_of(data)
    if scheme is None:
        raise DataError(f"{data.source or 'data'}: nothing says what its editing conditions are")
    return {which.name: combine(data, which) for which in combinations(scheme)}


def one_water(water: Transients) -> Transients:
    """Return a water reference without the dimension "edit".

    Conditions whose water is within 5 % of the strongest count as repetitions of one shot; weaker ones, whose
    editing pulses touch water, are left out.
    """
    if "edit" not in water.dims:
        return water
    moved = np.moveaxis(water.data, water.axis("edit"), 0)
    sizes = np.sqrt(
        np.mean(np.abs(moved[..., : max(8, water.samples // 32)]) ** 2, axis=tuple(range(1, moved.ndim)))
    )
    same = sizes > (1 - _ALIKE) * sizes.max()
    left = "" if same.all() else f"; weaker, left out: {[int(k) + 1 for k in np.flatnonzero(~same)]}"
    record = Record(
        "Water reference", f"editing conditions as repetitions: {int(same.sum())} of {same.size}{left}"
    )
    header = {key: value for key, value in water.header.items() if key != "editing"}
    if "average" in water.dims:
        data = np.concatenate(list(moved[same]), axis=water.axis("average") - 1)
        return water.with_data(data, record, drop=("edit",), header=header)
    dims = tuple("average" if name == "edit" else name for name in water.dims)
    return replace(water, data=np.compress(same, water.data, axis=water.axis("edit")), dims=dims,
                   header=header, records=(*water.records, record))  # fmt: skip
