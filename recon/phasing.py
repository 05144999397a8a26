"""Automatic zero-order phase from the singlets."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.recon.pictures import before_after
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_SINGLETS_PPM = ((1.9, 2.12), (2.95, 3.12), (3.14, 3.3))
_CURVATURE_PPM = 0.03
_LEAST_SNR = 5.0
_FINER = 8


def automatic_phase(data: Transients) -> float | None:
    """Return the phase in rad that makes NAA, Cr and Cho stand upright; `None` where they cannot be seen.

    The spectrum, smoothed by 0.03 ppm, is differentiated twice, which leaves singlets and takes baseline and
    macromolecules away. An upright line has a real, negative curvature at its centre; the phase is that of the
    curvature at the largest point of each singlet's range, summed with its magnitude as weight.
    """
    ppm = ppm_axis(_FINER * data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    fid = np.asarray(data.data, dtype=np.complex128)
    t = np.arange(fid.size) * data.dwell_s
    width = _CURVATURE_PPM * data.f0_hz * 1e-6
    shaped = fid * -(t**2) * np.exp(-((np.pi * width * t) ** 2) / (4 * np.log(2)))
    sharp = to_spectrum(np.pad(shaped, (0, (_FINER - 1) * fid.size)))
    empty = (ppm < -1.0) | (ppm > 9.5)
    noise = float(np.sqrt(np.mean(np.abs(sharp[empty]) ** 2))) if empty.any() else 0.0
    total, seen = 0j, False
    for low, high in _SINGLETS_PPM:
        inside = (ppm > low) & (ppm < high)
        if not inside.any():
            continue
        peak = sharp[inside][np.argmax(np.abs(sharp[inside]))]
        if abs(peak) > _LEAST_SNR * noise:
            seen = True
            total += abs(peak) * -peak
    return float(-np.angle(total)) if seen else None


def phase_spectrum(data: Transients) -> Transients:
    """Return the FID, dims ("t",), turned so that its singlets stand upright; unchanged where none is seen."""
    turn = automatic_phase(data) if data.dims == ("t",) and data.nucleus == "1H" else None
    if turn is None:
        return data.with_data(data.data, Record("Phasing", "not done: no singlet to see the phase by"))
    turned = data.data * np.exp(1j * turn)
    return data.with_data(
        turned,
        Record(
            "Phasing",
            f"zero-order phase of {np.rad2deg(turn):.1f} degrees, so that NAA, Cr and Cho stand upright",
            {"phase_deg": float(np.rad2deg(turn)), "spectra": before_after(data, data.data, turned)},
        ),
    )
