"""Nuclei, units and signs, decided once for the whole project.

Two senses of frequency exist in spectroscopy software, and each has its place here:

* the *Pulseq sense*: a positive offset is a higher Larmor frequency, downfield. It holds in `.seq` files,
  inside the simulator (`Lines`) and in raw scanner data;
* the *NIfTI-MRS sense*: with `numpy.fft.fft`, what lies upfield of the reference has positive frequency
  (Clarke et al. 2022, doi:10.1002/mrm.29418). Every FID that a public function takes or returns is in it.

`swap_sense` goes from one to the other and is the only place where an FID is conjugated for that reason;
`ppm_axis` and `ppm_to_hz` are the only places where frequency (NIfTI-MRS sense) and chemical shift meet.
"""

from typing import Any

import numpy as np
import scipy.constants
from numpy.typing import NDArray

from pulsespec.errors import InputError

_SHIELDED_PROTON = "shielded proton gyromag. ratio in MHz/T"

GAMMA_HZ_PER_T: dict[str, float] = {
    # Protons of water (sphere, 25 degrees Celsius): CODATA through scipy.constants.
    "1H": scipy.constants.physical_constants[_SHIELDED_PROTON][0] * 1e6,
}
"""Gyromagnetic ratio over 2 pi of each supported nucleus, in Hz/T."""

RECEIVER_PPM = 4.65
"""Chemical shift at the receiver's centre unless the data say otherwise: water at body temperature."""

DEVICE_FROM_LPS: dict[tuple[str, str], NDArray[np.float64]] = {
    ("Siemens", "HFS"): np.diag([1.0, -1.0, -1.0]),
    ("Siemens", "HFP"): np.diag([-1.0, 1.0, -1.0]),
}
"""Gradient axes from patient axes (left, posterior, head), by vendor and patient position.

Siemens: X, Y, Z of the device from sagittal, coronal, transverse of the patient, as independent public programs
have them (the coordinate transforms of N. G. Lee, and of C. Mirkes and A. Aghaeifar). Not tried on a scanner.
"""


def larmor_hz(field_t: float, nucleus: str = "1H") -> float:
    """Return the Larmor frequency in Hz of `nucleus` at `field_t` tesla."""
    return gamma_hz_per_t(nucleus) * field_t


def field_from_larmor(f0_hz: float, nucleus: str = "1H") -> float:
    """Return the field in tesla at which `nucleus` precesses at `f0_hz`."""
    return f0_hz / gamma_hz_per_t(nucleus)


def gamma_hz_per_t(nucleus: str) -> float:
    """Return gamma / 2 pi of `nucleus` in Hz/T; `InputError` where the nucleus is not supported."""
    if nucleus not in GAMMA_HZ_PER_T:
        raise InputError(f"nucleus: got {nucleus!r}, expected one of {sorted(GAMMA_HZ_PER_T)}")
    return GAMMA_HZ_PER_T[nucleus]


def swap_sense(fid: NDArray[Any], *, in_place: bool = False) -> NDArray[Any]:
    """Turn FIDs (any shape, time last) from the Pulseq sense to the NIfTI-MRS sense, or back.

    With `in_place` complex FIDs are overwritten, which raw data of gigabytes need.
    """
    return np.asarray(np.conj(fid, out=fid) if in_place else np.conj(fid))


def ppm_axis(
    samples: int, dwell_s: float, f0_hz: float, reference_ppm: float = RECEIVER_PPM
) -> NDArray[np.float64]:
    """Return the chemical shift in ppm of each bin of `fftshift(fft(fid))`, descending; shape (samples,)."""
    frequency_hz = np.fft.fftshift(np.fft.fftfreq(samples, dwell_s))
    return reference_ppm - frequency_hz / f0_hz * 1e6


def ppm_to_hz(ppm: Any, f0_hz: float, reference_ppm: float = RECEIVER_PPM) -> Any:
    """Return the NIfTI-MRS-sense frequency in Hz (upfield positive) of chemical shift `ppm`."""
    return (reference_ppm - ppm) * f0_hz * 1e-6


def to_spectrum(fid: NDArray[Any]) -> NDArray[Any]:
    """Return the spectrum of NIfTI-MRS-sense FIDs over the last axis, on the bins of `ppm_axis`."""
    return np.fft.fftshift(np.fft.fft(fid, axis=-1), axes=-1)
