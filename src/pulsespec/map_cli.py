"""Options and verbs of the command line for spectroscopic images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsespec.console import Console
from pulsespec.errors import InputError

if TYPE_CHECKING:
    from pulsespec.map_verbs import ImageOptions

Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="NIfTI image: voxels of which more than half lies in it are fitted."),
]
BlockVoxels = Annotated[
    int | None,
    typer.Option("--block-voxels", min=1, help="Voxels that are fitted at once: memory is in proportion."),
]
PpmRange = Annotated[
    str | None,
    typer.Option(
        "--ppm-range",
        help="Chemical shifts to fit, such as 1.9,4.0 where lipid was filtered out [0.2,4.0].",
    ),
]
Components = Annotated[
    str | None,
    typer.Option("--components", help="Components to fit, separated by commas; by default all."),
]
Methylene = Annotated[
    bool,
    typer.Option(
        "--suppressed-methylene",
        help="Fit creatine's line at 3.9 ppm by itself: water suppression took part of it.",
    ),
]
Macromolecules = Annotated[
    str | None,
    typer.Option(
        "--macromolecules", help="Model in place of the default one: lcmodel, birch-3t, bell-7t, ..."
    ),
]
PlayedSequence = Annotated[
    Path | None,
    typer.Option(
        "--seq", help="Images: the .seq that was played; what it leaves of T1 and its slab count in mM."
    ),
]
KeepLipid = Annotated[
    bool, typer.Option("--keep-lipid", help="Images: leave scalp lipid in the voxels of the brain.")
]
Filter = Annotated[
    str,
    typer.Option(
        "--filter", help="Images of raw data: none, hamming, hann, cosine or gaussian over k-space."
    ),
]
LesionMask = Annotated[
    Path | None, typer.Option("--lesion", help="NIfTI mask of a lesion, compared with the other side.")
]
Contralateral = Annotated[
    Path | None,
    typer.Option("--contralateral", help="Mask of tissue on the other side; else the lesion's mirror image."),
]
Midplane = Annotated[
    Path | None,
    typer.Option(
        "--midplane", help="Image (brain mask, segmentation, head) whose plane of symmetry is the midline."
    ),
]
Normal = Annotated[Path | None, typer.Option("--normal", help="Mask of normal-appearing tissue.")]


def limits_of(ppm_range: str | None, components: str | None) -> dict[str, Any]:
    """Return what is fitted, as fields of `FitSettings`; `InputError` where the range of `1.9,4.0` is none."""
    found: dict[str, Any] = {}
    if components is not None:
        found["names"] = tuple(name.strip() for name in components.split(","))
    if ppm_range is None:
        return found
    try:
        low, high = (float(one) for one in ppm_range.split(","))
    except ValueError as error:
        raise InputError(f"--ppm-range: got {ppm_range!r}, expected two numbers such as 1.9,4.0") from error
    if not low < high:
        raise InputError(f"--ppm-range: got {ppm_range!r}, expected the lower chemical shift first")
    return found | {"ppm_range": (low, high)}


def options_of(
    mask: Path | None,
    block_voxels: int | None,
    jobs: int,
    lesion: Path | None = None,
    contralateral: Path | None = None,
    midplane: Path | None = None,
    keep_lipid: bool = False,
    sequence: Path | None = None,
    filter_name: str = "hamming",
) -> "ImageOptions":
    """Return the options of an image."""
    from pulsespec.map_verbs import ImageOptions
    from pulsespec.region_verbs import LesionMasks

    if lesion is None and (contralateral or midplane):
        raise InputError("--contralateral and --midplane: belong to --lesion")
    masks = None if lesion is None else LesionMasks(lesion, contralateral, midplane)
    return ImageOptions(
        mask,
        block_voxels,
        jobs,
        lesion=masks,
        lipid_removal=not keep_lipid,
        filter=filter_name,
        sequence=sequence,
    )


def regions(
    folder: Annotated[Path, typer.Argument(help="Folder that `fit` or `run` wrote of an image.")],
    atlas: Annotated[Path | None, typer.Option("--atlas", help="NIfTI image of labels.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Table of the labels: number and name.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="NIfTI mask, in place of an atlas.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Table to write; by default regions.tsv in the folder."),
    ] = None,
    quantity: Annotated[
        str | None,
        typer.Option(
            "--quantity", help="amplitude, mM, molal, ratio_tCr or ratio_tNAA; by default mM or amplitude."
        ),
    ] = None,
    names: Annotated[str | None, typer.Option("--metabolites", help="Names, separated by commas.")] = None,
    least_share: Annotated[
        float, typer.Option("--least-share", help="Least share of a voxel that must lie in its region.")
    ] = 0.5,
    lesion: LesionMask = None,
    contralateral: Contralateral = None,
    midplane: Midplane = None,
    normal: Normal = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
) -> None:
    """Statistics of maps in the regions of an atlas or in a mask; or a lesion beside the other side."""
    from pulsespec import region_verbs

    if lesion is None and (contralateral or midplane or normal):
        raise InputError("--contralateral, --midplane and --normal: belong to --lesion")
    if lesion is not None and (atlas or mask or labels or output or quantity or names):
        raise InputError(
            "--lesion: writes a table of its own, expected no --atlas, --mask or what belongs to these"
        )
    console = Console(as_json, quiet)
    with console.progress() as notify:
        if lesion is not None:
            masks = region_verbs.LesionMasks(lesion, contralateral, midplane, normal)
            made = region_verbs.lesion(folder, masks, overwrite, notify)
        else:
            made = region_verbs.regions(
                folder,
                output,
                atlas=atlas,
                labels=labels,
                mask=mask,
                quantity=quantity,
                metabolites=names.split(",") if names else None,
                least_share=least_share,
                overwrite=overwrite,
                notify=notify,
            )
    console.table(made["rows"], made)
