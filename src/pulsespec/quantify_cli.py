"""Options of the command line that say what amplitudes are made into concentrations with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pulsespec.errors import InputError

if TYPE_CHECKING:
    from pulsespec.recon.quantify import QuantifySettings

Gm = Annotated[float | None, typer.Option("--gm", help="Volume fraction of grey matter in the voxel.")]
Wm = Annotated[float | None, typer.Option("--wm", help="Volume fraction of white matter.")]
Csf = Annotated[float | None, typer.Option("--csf", help="Volume fraction of cerebrospinal fluid.")]
Labels = Annotated[
    Path | None,
    typer.Option("--segmentation", help="Image of labels (FSL FAST, FreeSurfer) to take the fractions from."),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        "--labels", help="What the labels are: fast, freesurfer or a TOML file; by default by content."
    ),
]
GmMap = Annotated[Path | None, typer.Option("--gm-map", help="Image with the share of grey matter, 0 to 1.")]
WmMap = Annotated[Path | None, typer.Option("--wm-map", help="The same of white matter.")]
CsfMap = Annotated[Path | None, typer.Option("--csf-map", help="The same of cerebrospinal fluid.")]
VoxelMask = Annotated[
    bool, typer.Option("--voxel-mask", help="Write the voxel on the grid of the segmentation too.")
]
FractionSd = Annotated[
    float, typer.Option("--fraction-sd", min=0.0, help="Standard deviation of each fraction, for that of mM.")
]
WaterMm = Annotated[
    float | None,
    typer.Option("--water-mm", help="Concentration of water in mM, in place of tissue fractions."),
]
BasisWater = Annotated[
    float | None,
    typer.Option("--basis-water", help="Signal of 1 mM of water in units of a basis without water."),
]
ConstantsFile = Annotated[
    Path | None, typer.Option("--constants", help="TOML with constants in place of shipped ones.")
]
NoRelaxation = Annotated[bool, typer.Option("--no-relaxation", help="Do not correct mM for T1 and T2.")]


def settings_of(
    *,
    gm: float | None,
    wm: float | None,
    csf: float | None,
    segmentation: Path | None,
    labels: str | None,
    gm_map: Path | None,
    wm_map: Path | None,
    csf_map: Path | None,
    voxel_mask: bool,
    fraction_sd: float,
    water_mm: float | None,
    basis_water: float | None,
    constants: Path | None,
    no_relaxation: bool,
) -> "QuantifySettings":
    """Return the settings that the options make; `InputError` where they contradict each other."""
    from pulsespec.recon.constants import read_constants
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.segmentation import Source

    stated = [value for value in (gm, wm, csf) if value is not None]
    images = any(path is not None for path in (segmentation, gm_map, wm_map, csf_map))
    if stated and images:
        raise InputError("--gm, --wm and --csf: are fractions, expected either these or a segmentation")
    if water_mm is not None and images:
        raise InputError("--water-mm: stands in place of the water of tissue, expected it or a segmentation")
    if (labels or voxel_mask) and not images:
        raise InputError(f"{'--labels' if labels else '--voxel-mask'}: only with --segmentation or maps")
    shares = {"gm": gm or 0.0, "wm": wm or 0.0, "csf": csf or 0.0} if stated else {}
    return QuantifySettings(
        **shares,
        fractions_from="given" if stated else "",
        relaxation=not no_relaxation,
        water_mm=water_mm,
        fraction_sd=fraction_sd,
        constants=None if constants is None else read_constants(constants),
        basis_water=basis_water,
        segmentation=Source(segmentation, gm_map, wm_map, csf_map, labels or "") if images else None,
        voxel_mask=voxel_mask,
    )
