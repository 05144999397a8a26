"""Tissue fractions of the voxel that a spectrum was measured in, from the segmentation that the settings name."""

from dataclasses import replace
from pathlib import Path

from pulsespec.errors import DataError, InputError
from pulsespec.recon.constants import TISSUES
from pulsespec.recon.quantify_settings import QuantifySettings
from pulsespec.recon.segmentation import read_segmentation
from pulsespec.recon.transients import Transients
from pulsespec.recon.voxel_fractions import fraction_warnings, voxel_fractions, write_mask

MASK = "voxel_mask.nii.gz"
"""Name of the file that has the voxel on the grid of the segmentation."""


def in_the_voxel(
    settings: QuantifySettings, spectrum: Transients, folder: Path | None = None
) -> tuple[QuantifySettings, tuple[str, ...]]:
    """Return the settings with the fractions of the voxel, and what is to be said of them.

    Without a segmentation the settings are returned as they are. A mask, where one is asked for, is written
    into `folder`.

    Raises
    ------
    InputError
        There are several voxels.
    DataError
        The spectrum has no position, or the segmentation does not cover it.

    """
    if settings.segmentation is None:
        return settings, ()
    if spectrum.geometry is None:
        raise DataError(
            f"{spectrum.source or 'spectrum'}: has no position in the scanner, so its tissue cannot be taken from a "
            "segmentation; expected fractions (--gm, --wm and --csf)"
        )
    grid = [spectrum.size(name) for name in ("x", "y", "z")]
    if max(grid) > 1:
        raise InputError(
            f"{spectrum.source or 'spectrum'}: has {' x '.join(map(str, grid))} voxels, expected one"
        )
    segmentation = read_segmentation(settings.segmentation)
    found = voxel_fractions(spectrum.geometry, segmentation)
    words = (*segmentation.notices, *fraction_warnings(found, segmentation.name))
    shares = dict(zip(TISSUES, found.whole[0, 0, 0].tolist(), strict=True))
    if settings.voxel_mask and folder is not None:
        write_mask(spectrum.geometry, segmentation, folder / MASK)
    if not shares["csf"] < 1:
        raise DataError(
            f"{segmentation.name}: the voxel holds nothing but CSF: there are no metabolites in it"
        )
    said = (
        f"segmentation {segmentation.name}: {100 * found.inside[0, 0, 0]:.1f} % of the voxel in the image, shares sum "
        f"to {found.tissue.sum():.4f}, error of the overlap at most {found.error.max():.1g}"
    )
    return replace(settings, **shares, fractions_from=said, segmentation=None, voxel_mask=False), words
