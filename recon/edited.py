"""From single shots of edited data to one clean FID a condition, and to sums and differences of them.

Shots are registered within their condition first: across conditions spectra differ by what is edited, and a common
reference would turn that into frequency and phase (Mikkelsen et al. 2018, doi:10.1002/mrm.26619, for HERMES; Evans et
al. 2013, doi:10.1002/jmri.23923). Unlike shots are left out, residual water is taken out of each mean, and the means are
brought to one frame by what must cancel (`edit_align`).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.align import spectral_registration
from pulsespec.recon.edit_align import between, turned, windows
from pulsespec.recon.editing import Combination, Scheme, combinations
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_SEEN_PPM = (0.5, 4.2)
_LINE_HZ = 5.0
_ROBUST = 5.0
_LEAST_GAIN_OFF = 0.1
_MAD = 1.4826
_ALIKE = 0.05
_USUAL_PPM = ((1.9,), (4.56,))


@dataclass(frozen=True)
class Likeness:
    """How one condition's shots compare with their median."""

    gain: Real
    """Share of the median signal that each shot has; shape (n,)."""
    rest: Real
    """Root mean square of what else is in it, relative to the median shot's; shape (n,)."""
    reasons: tuple[str, ...]
    """Why a shot is left out; empty where it is kept; length n."""

    @property
    def keep(self) -> NDArray[np.bool_]:
        """Whether each shot is kept; shape (n,)."""
        return np.array([not reason for reason in self.reasons])


def scheme_of(data: Transients) -> Scheme | None:
    """Return the editing conditions that the reader found, or `None` where nothing says what they are."""
    found = data.header.get("editing")
    return found if isinstance(found, Scheme) else None


def align_shots(data: Transients) -> Transients:
    """Align the shots of each condition with each other; dims ("edit", "average", "t")."""
    if data.size("average") < 2:
        return data
    found = [spectral_registration(fids, data.dwell_s) for fids in data.data]
    frequency, phase = np.array([f for f, _ in found]), np.array([p for _, p in found])
    t = np.arange(data.samples) * data.dwell_s
    aligned = data.data * np.exp(-1j * (2 * np.pi * frequency[..., None] * t + phase[..., None]))
    record = Record(
        "Frequency and phase correction",
        f"spectral registration of {data.size('average')} shots within each of {data.size('edit')} editing conditions; "
        f"drift {np.ptp(frequency):.2f} Hz, phase {np.rad2deg(np.std(phase)):.1f} degrees (standard deviation)",
        {"frequency_hz": frequency, "phase_rad": phase},
    )
    return data.with_data(aligned, record)


def likeness(fids: Complex, data: Transients) -> Likeness:
    """Compare aligned shots of one condition, shape (n, samples), with their median between 0.5 and 4.2 ppm.

    A shot is unlike the rest where its gain or what it has beside the median signal is more than five robust
    standard deviations (and, for the gain, more than 10 %) from the median over shots.
    """
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    seen = (ppm > _SEEN_PPM[0]) & (ppm < _SEEN_PPM[1])
    decay = np.exp(-np.pi * _LINE_HZ * np.arange(data.samples) * data.dwell_s)
    spectra = to_spectrum(fids * decay)[:, seen]
    typical = np.median(spectra.real, axis=0) + 1j * np.median(spectra.imag, axis=0)
    gain = (spectra @ typical.conj()).real / max(np.vdot(typical, typical).real, 1e-300)
    rest = np.linalg.norm(spectra - typical * gain[:, None], axis=1)
    rest = rest / max(float(np.median(rest)), 1e-300)
    off_gain, off_rest = gain - np.median(gain), rest - 1
    weak = np.abs(off_gain) > max(_ROBUST * _MAD * np.median(np.abs(off_gain)), _LEAST_GAIN_OFF)
    strange = off_rest > max(_ROBUST * _MAD * np.median(np.abs(off_rest)), _LEAST_GAIN_OFF)
    reasons = [
        f"gain {g:.2f}" if w else f"{r:.1f} times the usual rest" if s else ""
        for g, r, w, s in zip(gain, rest, weak, strange, strict=True)
    ]
    return Likeness(gain, rest, tuple(reasons))


def average_conditions(data: Transients) -> Transients:
    """Return the mean of each condition over its shots but those unlike the rest; dims ("edit", "t").

    What is left out of one condition is not left out of the others: all have the same frame by then, and each mean
    is for one shot, whatever its number of shots.
    """
    if "average" not in data.dims:
        return data
    found = [likeness(fids, data) for fids in data.data] if data.size("average") >= 4 else None
    keeps = [one.keep for one in found] if found else [np.ones(data.size("average"), bool)] * data.size("edit")
    means = np.array([fids[keep].mean(axis=0) for fids, keep in zip(data.data, keeps, strict=True)])
    words = "; ".join(
        f"condition {c + 1}: mean of {keep.sum()} of {keep.size}"
        + "".join(f", left out {k} ({found[c].reasons[k]})" for k in np.flatnonzero(~keep) if found)
        for c, keep in enumerate(keeps)
    )
    left_out = [[int(k) for k in np.flatnonzero(~keep)] for keep in keeps]
    record = Record("Signal averaging", words, {"left_out": left_out, "kept": [int(keep.sum()) for keep in keeps]})
    return data.with_data(means, record, drop=("average",))


def align_conditions(data: Transients) -> Transients:
    """Bring the means of all conditions, dims ("edit", "t"), to the frame of the first.

    Where not all editing pulses are known, only what none of the usual ones touches is compared.
    """
    scheme = scheme_of(data)
    bands_ppm = scheme.bands_ppm if scheme else ()
    if not any(bands_ppm):
        bands_ppm = _USUAL_PPM
    noise = np.array([_noise(fid) for fid in data.data])
    frequency, phase = between(data.data, data, bands_ppm, noise)
    fids = [turned(*one, data.dwell_s) for one in zip(data.data, frequency, phase, strict=True)]
    spans = ", ".join(f"{low:.2f}-{high:.2f}" for low, high in windows(bands_ppm))
    moved = ", ".join(
        f"{hz:+.2f} Hz {np.rad2deg(rad):+.1f} degrees" for hz, rad in zip(frequency, phase, strict=True)
    )
    record = Record(
        "Alignment of subtraction sub-spectra",
        f"conditions to the first by the singlets that no pulse touches ({spans} ppm): {moved}",
        {"frequency_hz": frequency, "phase_rad": phase},
    )
    return data.with_data(np.array(fids), record)


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
    sizes = np.sqrt(np.mean(np.abs(moved[..., : max(8, water.samples // 32)]) ** 2, axis=tuple(range(1, moved.ndim))))
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
