"""The reading of calibration shots: where water is, how wide its line is, and how strong B1 is in the voxel."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from pulsespec.errors import DataError, InputError
from pulsespec.recon.coils import coil_weights, combine_coils, whiten
from pulsespec.recon.formats import Known
from pulsespec.recon.read import read
from pulsespec.recon.transients import Transients

_WINDOW_PPM = 1.5
"""Half of the range around 4.65 ppm in which water is looked for."""
_WATER_PPM = 4.65
_LEAST_SNR = 10.0
_LEAST_FLIPS = 3
_SCALE_BOUNDS = (0.3, 2.0)
_STARTS = np.linspace(0.4, 1.9, 31)

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class WaterCalibration:
    """What a water line says of frequency and shim."""

    offset_hz: float
    """Of water from the receiver's frequency for 4.65 ppm, downfield positive: add it to the scanner's."""
    offset_sd_hz: float
    linewidth_hz: float
    """Full width at half maximum of the Lorentzian line that fits best."""
    linewidth_sd_hz: float
    snr: float
    """Amplitude of the FID over the standard deviation of its noise."""


@dataclass(frozen=True)
class FlipCalibration:
    """What a series of flip angles says of B1."""

    scale: float
    """B1 in the voxel over the nominal one."""
    scale_sd: float
    reference_factor: float
    """By which to multiply the transmitter's reference voltage for nominal flip angles: 1 / scale."""


def frequency_and_linewidth(
    fid: Complex, dwell_s: float, f0_hz: float, reference_ppm: float = _WATER_PPM
) -> WaterCalibration:
    """Fit one Lorentzian line to the FID of unsuppressed water.

    Parameters
    ----------
    fid
        In the NIfTI-MRS sense; shape (n,).
    dwell_s, f0_hz, reference_ppm
        Time between samples, spectrometer frequency and the shift at the centre of the spectrum.

    Returns
    -------
    Frequency, linewidth and their standard errors from the residual.

    Raises
    ------
    DataError
        Nothing stands out of the noise within 1.5 ppm of water.

    """
    t = np.arange(fid.size) * dwell_s
    shape = np.sin(np.pi * (np.arange(fid.size) + 0.5) / fid.size)
    spectrum = np.fft.fft(fid * shape, 8 * fid.size)
    frequency = np.fft.fftfreq(spectrum.size, dwell_s)
    # In the NIfTI-MRS sense what lies upfield has a positive frequency.
    ppm = reference_ppm - frequency / f0_hz * 1e6
    near = np.abs(ppm - _WATER_PPM) < _WINDOW_PPM
    peak_hz = float(frequency[near][int(np.argmax(np.abs(spectrum[near])))])
    tail = fid[-fid.size // 4 :]
    noise = float(np.sqrt(np.mean(np.abs(np.diff(tail)) ** 2) / 4))
    amplitude = complex(np.mean(fid[:4] * np.exp(-2j * np.pi * peak_hz * t[:4])))
    if abs(amplitude) < _LEAST_SNR * noise:
        raise DataError(
            f"calibration: nothing within {_WINDOW_PPM:g} ppm of water is {_LEAST_SNR:g} times the noise"
        )

    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        model = (x[0] + 1j * x[1]) * abs(amplitude) * np.exp((2j * np.pi * x[2] - np.pi * x[3]) * t)
        return np.asarray((model - fid).view(float))

    start = [np.cos(np.angle(amplitude)), np.sin(np.angle(amplitude)), peak_hz, _first_width(fid, dwell_s)]
    scale = [1.0, 1.0, 1.0, 1.0]
    found = least_squares(residual, start, x_scale=scale, bounds=([-np.inf, -np.inf, -np.inf, 0], np.inf))
    sd = _standard_errors(found.jac, found.fun)
    centre_hz = (reference_ppm - _WATER_PPM) * 1e-6 * f0_hz
    snr = abs(amplitude) / max(noise, 1e-300)
    return WaterCalibration(
        centre_hz - float(found.x[2]), float(sd[2]), float(found.x[3]), float(sd[3]), float(snr)
    )


def _first_width(fid: Complex, dwell_s: float) -> float:
    """Return a linewidth in Hz from the time in which the FID falls to 1 / e."""
    size = np.abs(fid)
    below = np.flatnonzero(size < size[:4].mean() / np.e)
    return 1 / (np.pi * dwell_s * max(int(below[0]) if below.size else fid.size, 1))


def _standard_errors(jacobian: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standard errors of least squares from the residual."""
    freedom = max(residual.size - jacobian.shape[1], 1)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * float(residual @ residual) / freedom
    return np.asarray(np.sqrt(np.diag(covariance)))


def flip_angle(amplitudes: Complex, nominal_rad: NDArray[np.float64]) -> FlipCalibration:
    """Fit S cos(scale x nominal) to the signal behind hard pulses of several flip angles.

    A hard pulse and a spoiler leave the cosine of its angle of the longitudinal magnetisation, whatever the
    localisation that follows; the localisation saturates the voxel, so each repetition begins alike.

    Parameters
    ----------
    amplitudes
        Complex signal of each repetition, of one phase; shape (k,).
    nominal_rad
        Nominal flip angle of each; shape (k,).

    Raises
    ------
    InputError
        The shapes differ, or there are fewer than three flip angles.

    """
    nominal = np.asarray(nominal_rad, float)
    if amplitudes.shape != nominal.shape or np.unique(nominal).size < _LEAST_FLIPS:
        raise InputError(
            f"flip angles: got amplitudes of shape {amplitudes.shape} and angles of shape {nominal.shape}, "
            f"expected equal shapes and at least {_LEAST_FLIPS} different angles"
        )
    phase = np.exp(-0.5j * np.angle(np.sum(amplitudes**2)))
    size = float(np.abs(amplitudes).max())

    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        model = (x[0] + 1j * x[1]) * np.cos(x[2] * nominal)
        return np.asarray((model - amplitudes * phase / size).view(float))

    def projected(scale: float) -> float:
        cosine = np.cos(scale * nominal)
        fitted = cosine * (cosine @ amplitudes) / float(cosine @ cosine)
        return float(np.linalg.norm(amplitudes - fitted))

    start = min(_STARTS, key=projected)
    cosine = np.cos(start * nominal)
    first = complex(cosine @ (amplitudes * phase / size) / float(cosine @ cosine))
    low, high = _SCALE_BOUNDS
    found = least_squares(
        residual,
        [first.real, first.imag, start],
        bounds=([-np.inf, -np.inf, low], [np.inf, np.inf, high]),
    )
    scale = float(found.x[2])
    return FlipCalibration(scale, float(_standard_errors(found.jac, found.fun)[2]), 1 / scale)


def calibrate(raw: Path, sequence: Path) -> dict[str, float | str]:
    """Return what the raw data of a calibration protocol say: see `WaterCalibration`, `FlipCalibration`.

    Raises
    ------
    DataError
        The data have no water, or not as many readouts as the series has flip angles.

    """
    scan = read([raw], known=Known(sequence))
    water = scan.water or scan.metabolite
    assert water is not None
    combined = _combined(water)
    if "edit" in combined.dims and "average" in combined.dims:
        averaged = combined.data.mean(axis=combined.axis("average"))
        combined = combined.with_data(averaged, drop=("average",))
    fids = combined.data.reshape(-1, combined.samples)
    flips_deg = _flips_deg(sequence)
    if flips_deg.size == 0:
        found = frequency_and_linewidth(
            fids.mean(axis=0), combined.dwell_s, combined.f0_hz, combined.reference_ppm
        )
        return {"kind": "frequency", **asdict(found)}
    if fids.shape[0] % flips_deg.size:
        raise DataError(
            f"{raw}: has {fids.shape[0]} readouts, expected a multiple of the {flips_deg.size} flip angles"
        )
    series = fids.reshape(-1, flips_deg.size, combined.samples).mean(axis=0)
    reference = series[int(np.argmax(np.abs(series[:, :8]).mean(axis=1)))]
    amplitudes = series @ reference.conj() / np.linalg.norm(reference)
    return {"kind": "flip angle", **asdict(flip_angle(amplitudes, np.deg2rad(flips_deg)))}


def _combined(water: Transients) -> Transients:
    """Return the readouts of all coils as one."""
    if "coil" not in water.dims:
        return water
    if water.noise is not None:
        water = whiten(water, water.noise)
    # The strongest readout decides the weights: near 90 degrees there is nothing to decide by.
    coils = np.moveaxis(water.data, water.axis("coil"), 0).reshape(water.size("coil"), -1, water.samples)
    strongest = int(np.argmax(np.linalg.norm(coils, axis=(0, 2))))
    return combine_coils(water, coil_weights(replace(water, data=coils[:, strongest], dims=("coil", "t"))))


def _flips_deg(path: Path) -> NDArray[np.float64]:
    import pypulseq  # a second to import, with all of matplotlib: only where a .seq is read

    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    return np.ravel(sequence.definitions.get("PreparationFlips", ())).astype(float)
