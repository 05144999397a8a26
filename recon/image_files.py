"""Images written: metabolites and water as NIfTI-MRS, the map of the field as NIfTI beside them."""

from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np

from pulsespec.files import atomic_path, refuse_existing
from pulsespec.recon.image_alignment import b0_map
from pulsespec.recon.nifti import write_nifti
from pulsespec.recon.transients import Scan


def names_of(output: Path) -> dict[str, Path]:
    """Return where metabolites, water and the map of the field are written: beside `output`, with endings."""
    suffix = ".nii.gz" if output.name.endswith(".nii.gz") else ".nii"
    stem = output.name.removesuffix(suffix)
    return {"metabolite": output} | {
        name: output.with_name(f"{stem}_{name}{suffix}") for name in ("water", "b0")
    }


def write_images(scan: Scan, output: Path, overwrite: bool = False) -> dict[str, Path]:
    """Write the images of a scan; return what was written where, by "metabolite", "water" and "b0".

    A scan of water alone is written to `output` itself. The map is in Hz, positive where the field is higher.

    Raises
    ------
    InputError
        A file exists and `overwrite` is not set.

    """
    names, written = names_of(output), {}
    alone = scan.metabolite is None
    parts = {"metabolite": scan.water if alone else scan.metabolite, "water": None if alone else scan.water}
    found = b0_map(scan)
    kinds = [name for name, part in parts.items() if part is not None] + (["b0"] if found else [])
    for name in kinds:
        refuse_existing(names[name], overwrite)
        written[name] = names[name]
    for name, part in parts.items():
        if part is not None:
            write_nifti(part, names[name], overwrite=overwrite)
    if found is not None:
        offset_hz, geometry = found
        image = cast("Any", nibabel).Nifti1Image(offset_hz.astype(np.float32), geometry.affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["descrip"] = b"offset of the field in Hz"
        with atomic_path(names["b0"], overwrite) as temporary:
            nibabel.save(image, temporary)
    return written
