"""Data, fit, baseline, residual and components as one NIfTI-MRS file.

What is fitted are real spectra on a range of chemical shift. Each is stored as an FID as long as what was fitted,
whose Fourier transform, zero-filled to twice its length, has that real part on the range and nothing beside it: of a
signal that starts at time zero, the real part of the spectrum tells the whole (Kramers and Kronig). The centre of the
file is that of the fit's axis, so that NAA lies at 2.01 ppm in it whatever the scanner thought.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nifti_mrs.create_nmrs import gen_nifti_mrs_hdr_ext
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.files import atomic_path
from pulsespec.recon.fit import FitResult
from pulsespec.recon.nifti import header_extension, place
from pulsespec.recon.transients import Record, Transients

_OFF_GRID = 0.01
PARTS = ("data", "fit", "baseline", "residual")
"""First entries along the fifth dimension; the components follow."""


def write_fit(found: FitResult, spectrum: Transients, path: Path, overwrite: bool = False) -> None:
    """Write all curves of a fit, one entry of `DIM_USER_0` each, named in its dynamic header under `FitPart`.

    Parameters
    ----------
    found
        The fit.
    spectrum
        What was fitted; its header and records are carried on.
    path
        File to write, .nii or .nii.gz.
    overwrite
        Replace a file that exists.

    Raises
    ------
    DataError
        The fitted points are no bins of the fitted samples, zero-filled to twice their number.

    """
    curves = {name: getattr(found, name) for name in PARTS} | dict(found.components)
    samples = found.parameters.get("fitted_samples", spectrum.samples)
    spectrum = spectrum.with_data(spectrum.data[..., :samples])
    bins, centre_ppm = _bins(found, spectrum)
    fids = np.stack([_fid(values, bins, samples) for values in curves.values()], axis=-1)
    one = spectrum.with_data(fids[..., 0], _record(found), reference_ppm=centre_ppm)
    header = header_extension(one, [])
    header.set_dim_info(0, "DIM_USER_0", info="curves of a fit", hdr=_named(list(curves)))
    image = gen_nifti_mrs_hdr_ext(
        fids[None, None, None], spectrum.dwell_s, header, no_conj=True, affine=place(one)
    )
    with atomic_path(path, overwrite) as temporary:
        image.save(temporary)


def _named(names: list[str]) -> dict[str, Any]:
    return {"FitPart": {"Value": names, "Description": "Data, model and its parts; components by name."}}


def _record(found: FitResult) -> Record:
    low, high = found.settings.ppm_range
    return Record(
        "Fit",
        f"linear combination of {len(found.names)} components from {low:g} to {high:g} ppm, baseline apart; real part "
        f"on that range, nothing beside it; {found.message}",
    )


def _bins(found: FitResult, spectrum: Transients) -> tuple[NDArray[np.int64], float]:
    """Return the bins (0 at the centre) that the points are, and the shift at the centre that makes them so."""
    points = 2 * spectrum.samples
    ppm_a_bin = 1e6 / (points * spectrum.dwell_s * spectrum.f0_hz)
    place = (spectrum.reference_ppm - found.ppm) / ppm_a_bin
    rest = float(place[0] - np.round(place[0]))
    bins = np.round(place - rest).astype(np.int64)
    if np.abs(place - rest - bins).max() > _OFF_GRID or np.unique(bins % points).size < bins.size:
        raise DataError(
            f"{spectrum.source or 'fit'}: its points are no bins of a spectrum of {points} points"
        )
    return bins, spectrum.reference_ppm - rest * ppm_a_bin


def _fid(values: NDArray[np.float64], bins: NDArray[np.int64], samples: int) -> NDArray[np.complex128]:
    full = np.zeros(2 * samples)
    full[bins] = values
    fid = 2 * np.fft.ifft(full)[:samples] * np.sqrt(2 * samples)
    fid[0] /= 2
    return np.asarray(fid)
