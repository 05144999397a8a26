"""NIfTI-MRS files written with nibabel alone, whatever they say."""

import json

import nibabel
import numpy as np

BASE = {
    "SpectrometerFrequency": [127.736713],
    "ResonantNucleus": ["1H"],
    "EchoTime": 0.035,
    "RepetitionTime": 2.0,
}


def write_raw(
    path, data, header=None, dwell=5e-4, units=("mm", "sec"), kind=nibabel.Nifti2Image, affine=None
):
    """A file of the standard, written with nibabel alone; `data` of shape (x, y, z, t, ...)."""
    image = kind(
        np.asarray(data, dtype=np.complex64), np.eye(4) * [20, 20, 20, 1] if affine is None else affine
    )
    image.header["pixdim"][4] = dwell
    image.header.set_xyzt_units(*units)
    image.header["intent_name"] = b"mrs_v0_9"
    content = json.dumps(BASE | (header or {})).encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(44, content))
    image.to_filename(path)
    return path
