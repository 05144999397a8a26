"""Which shots are unlike the rest, and why: lost signal, phase, lipid, broadened, stronger, or just unlike.

Each shot is compared with the mean of the usual ones after alignment, residual water left out. A shot is
left out only where it differs by much *and* by more than its noise explains.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.align import METHOD as ALIGNMENT
from pulsespec.recon.align import water_band
from pulsespec.recon.registration import noise_of, registered_mean, usual_shots
from pulsespec.recon.subspace import outside
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

METHOD = "Outlier rejection"
_FEWEST = 4
_LOST = 0.7
_TURNED_DEG = 85.0
"""Jitter of 30 degrees reaches it in one shot of two hundred; a turn by 90 degrees and more stays beyond."""
_TURNED_SD = 2.5
_LIPID = 0.5
_LIPID_PPM = (0.6, 1.75)
_NAA_PPM = (1.9, 2.12)
_LIPID_HZ = 15.0
_BROADER_HZ = 4.0
_WIDEST_HZ = 30
_STRONGER = 1.5
_SD = 5.0
_UNLIKE_SD = 6.0
_UNLIKE = 0.3
_SEVERAL = 4
_MOST = 0.5


@dataclass(frozen=True)
class Likeness:
    """How each of n shots differs from the usual one; arrays of shape (n,)."""

    amplitude: Real
    """Of its signal, the usual being 1."""
    amplitude_sd: float
    phase_rad: Real
    """That alignment took away, from the mean of the usual shots."""
    broadening_hz: Real
    """Lorentzian width it has more than the usual, 0 where that is no more than its noise."""
    height: Real
    """Its amplitude at t = 0, that width allowed for."""
    lipid: Real
    """Height at 0.6 to 1.75 ppm of what the usual shot does not explain, over the height of NAA."""
    lipid_sd: float
    rest: Real
    """Norm of what the usual shot does not explain, over the norm of the usual shot, noise subtracted."""
    rest_sd: Real
    """The same in standard deviations of its noise."""

    def reasons(self) -> list[str]:
        """Return for each shot why it is unlike the rest, empty where it is not."""
        loss, turned = 1 - self.amplitude, np.abs(np.rad2deg(self.phase_rad))
        spread = 1.4826 * float(np.median(turned))
        marks = {
            "lipid": self.lipid > max(_LIPID, _SD * self.lipid_sd),
            "stronger": (self.amplitude > _STRONGER) & (-loss > _SD * self.amplitude_sd),
            "broadened": (self.broadening_hz > _BROADER_HZ) & (self.height > _LOST),
            "lost signal": (self.amplitude < _LOST) & (loss > _SD * self.amplitude_sd),
            "phase": turned > max(_TURNED_DEG, _TURNED_SD * spread),
            "unlike the rest": (self.rest > _UNLIKE) & (self.rest_sd > _UNLIKE_SD),
        }
        return [next((why for why, mark in marks.items() if mark[n]), "") for n in range(turned.size)]


def likeness(shots: Complex, phase_rad: Real, data: Transients) -> Likeness:
    """Compare aligned shots, shape (n, samples), with their usual mean.

    Parameters
    ----------
    shots
        Aligned FIDs.
    phase_rad
        Phase that alignment took from each; shape (n,).
    data
        Gives dwell time, frequency and nucleus.

    """
    water = water_band(data) if data.nucleus == "1H" else None
    noise = noise_of(shots, water)
    t = np.arange(shots.shape[1], dtype=np.float64) * data.dwell_s
    clean = shots if water is None else outside(shots, water)
    usual = registered_mean(clean, data.dwell_s, noise)
    power = float(np.vdot(usual, usual).real) + 1e-300
    amplitude = (clean @ usual.conj()).real / power
    scale = float(np.median(amplitude)) or 1.0
    broadening, height = _broadening(clean, usual, t, noise)
    left = clean - amplitude[:, None] * usual
    heard = np.abs(usual) > 0
    freedom = max(int(heard.sum()), 1)
    energy = np.sum(np.abs(left[:, heard]) ** 2, axis=1) - freedom * noise**2
    lipid, lipid_sd = _lipid(left, usual, data, noise)
    good = usual_shots(clean, usual)
    middle = float(np.angle(np.sum(np.exp(1j * phase_rad[good]))))
    return Likeness(
        amplitude=amplitude / scale,
        amplitude_sd=float(noise / np.sqrt(2 * power)) / abs(scale),
        height=height / scale,
        phase_rad=np.angle(np.exp(1j * (phase_rad - middle))),
        broadening_hz=broadening,
        lipid=lipid,
        lipid_sd=lipid_sd,
        rest=np.sqrt(np.maximum(energy, 0) / power),
        rest_sd=energy / (noise**2 * np.sqrt(freedom)),
    )


def _broadening(clean: Complex, usual: Complex, t: Real, noise: float) -> tuple[Real, Real]:
    """Return the Lorentzian width in Hz that fits each shot better than none, and the amplitude it then has."""
    widths = np.arange(0.0, _WIDEST_HZ + 1)
    family = usual * np.exp(-np.pi * widths[:, None] * t)
    power = np.sum(np.abs(family) ** 2, axis=1) + 1e-300
    overlap = np.maximum((clean @ family.conj().T).real, 0.0)
    explained = overlap**2 / power
    best = np.argmax(explained, axis=1)
    rows = np.arange(len(clean))
    best[explained[rows, best] - explained[:, 0] < _SD**2 * noise**2 / 2] = 0
    return widths[best], overlap[rows, best] / power[best]


def _lipid(left: Complex, usual: Complex, data: Transients, noise: float) -> tuple[Real, float]:
    """Return the height of lipid over that of NAA, lines broadened as lipid is, and its standard deviation."""
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    where = (ppm > _LIPID_PPM[0]) & (ppm < _LIPID_PPM[1])
    peak = (ppm > _NAA_PPM[0]) & (ppm < _NAA_PPM[1])
    if data.nucleus != "1H" or not where.any() or not peak.any():
        return np.zeros(len(left)), 0.0
    window = np.exp(-np.pi * _LIPID_HZ * np.arange(data.samples) * data.dwell_s)
    naa = float(np.abs(to_spectrum(usual * window))[peak].max()) + 1e-300
    height = np.abs(to_spectrum(left * window))[:, where].max(axis=1)
    return height / naa, noise * float(np.linalg.norm(window)) / naa


def find_outliers(data: Transients) -> Transients:
    """Find shots that are unlike the rest; the data stay as they are, the record says which and why.

    `averaging.average` leaves those shots out. Shots much stronger than the rest, or unlike it at one interval, are
    no accidents but another condition (such as b = 0), and more than half of the shots cannot be unlike the rest:
    then all are kept.

    Parameters
    ----------
    data
        Aligned FIDs with dims (..., "average", "t").

    """
    if data.size("average") < _FEWEST or data.dims[-2:] != ("average", "t"):
        return data
    phase = _phases(data)
    keep = np.ones(data.data.shape[:-1], dtype=bool)
    why: list[tuple[int | str, ...]] = []
    notes: list[str] = []
    found: list[Likeness] = []
    for index in product(*(range(n) for n in data.data.shape[:-2])):
        one = likeness(np.asarray(data.data[index], dtype=np.complex128), phase[index], data)
        reasons = one.reasons()
        marked = [n for n, reason in enumerate(reasons) if reason]
        found.append(one)
        note = ""
        if any(reason == "stronger" for reason in reasons) or _regular(reasons):
            note = (
                f"{marked} are unlike the rest, some stronger or at regular intervals: several conditions in one "
                "average? All were kept"
            )
        elif len(marked) > _MOST * len(reasons):
            note = (
                f"{len(marked)} of {len(reasons)} shots are unlike the rest: no outliers then; all were kept"
            )
        else:
            keep[index][marked] = False
            why += [(*index, n, reasons[n]) for n in marked]
        notes += [note] if note else []
    return data.with_data(data.data, _record(keep, why, notes, found))


def _regular(reasons: list[str]) -> bool:
    """Return whether shots that are unlike the rest come at one interval, as another condition does."""
    unlike = [n for n, reason in enumerate(reasons) if reason == "unlike the rest"]
    return len(unlike) >= _SEVERAL and len(set(np.diff(unlike).tolist())) == 1


def _phases(data: Transients) -> Real:
    """Return what alignment says it took away, zeros where there was none."""
    for record in reversed(data.records):
        if record.method == ALIGNMENT:
            phase = np.asarray(record.figures["phase_rad"])
            return phase if phase.shape == data.data.shape[:-1] else np.zeros(data.data.shape[:-1])
    return np.zeros(data.data.shape[:-1])


def _record(
    keep: NDArray[np.bool_], why: list[tuple[int | str, ...]], notes: list[str], found: list[Likeness]
) -> Record:
    listed = "; ".join(
        f"{reason}: {', '.join(_name(one[:-1]) for one in why if one[-1] == reason)}"
        for reason in dict.fromkeys(one[-1] for one in why)
    )
    left_out = [one[0] if len(one) == 2 else one[:-1] for one in why]
    words = [f"{len(why)} of {keep.size} shots left out" + (f" ({listed})" if listed else ""), *notes]
    figures = {
        "left_out": left_out,
        "reasons": {_name(one[:-1]): one[-1] for one in why},
        "keep": keep,
        "amplitude": np.array([one.amplitude for one in found]),
        "lipid_over_naa": np.array([one.lipid for one in found]),
        "broadening_hz": np.array([one.broadening_hz for one in found]),
        "unlike": np.array([one.rest for one in found]),
    }
    return Record(METHOD, "; ".join(words), figures)


def _name(index: tuple[int | str, ...]) -> str:
    return "/".join(str(part) for part in index)


def kept(data: Transients) -> NDArray[np.bool_]:
    """Return which shots the last search for outliers keeps; shape of the data without time."""
    for record in reversed(data.records):
        if record.method == METHOD and record.figures["keep"].shape == data.data.shape[:-1]:
            return np.asarray(record.figures["keep"], dtype=bool)
    return np.ones(data.data.shape[:-1], dtype=bool)
