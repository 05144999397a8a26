"""Options and verbs of the command line for spectroscopic images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pulsespec.image_verbs import ImageOptions

Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="NIfTI image: voxels of which more than half lies in it are fitted."),
]
BlockVoxels = Annotated[
    int | None,
    typer.Option("--block-voxels", min=1, help="Voxels that are fitted at once: memory is in proportion."),
]


def options_of(mask: Path | None, block_voxels: int | None, jobs: int) -> "ImageOptions":
    """Return the options of an image."""
    from pulsespec.image_verbs import ImageOptions

    return ImageOptions(mask, block_voxels, jobs)
