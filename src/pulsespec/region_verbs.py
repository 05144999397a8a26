"""The verb `regions`: what maps say of the regions of an atlas, of a mask, or of a lesion."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import InputError
from pulsespec.files import refuse_existing

if TYPE_CHECKING:
    from pulsespec.recon.lesion import Lesion
    from pulsespec.recon.map_files import MapFolder
    from pulsespec.recon.maps_report import Part
    from pulsespec.recon.midplane import Plane

QUANTITIES = {
    "amplitude": "",
    "mM": "_mM",
    "molal": "_molal",
    "ratio_tCr": "_ratio_tCr",
    "ratio_tNAA": "_ratio_tNAA",
}
"""What regional statistics can be of, and the suffix of its maps."""


@dataclass(frozen=True)
class LesionMasks:
    """What a lesion is compared with."""

    lesion: Path
    contralateral: Path | None = None
    """Mask of tissue on the other side; the mirror image of the lesion where `None`."""
    midplane: Path | None = None
    """Image whose plane of symmetry divides left and right: brain mask, segmentation or head; the voxels that pass the
    quality mask where `None`."""
    normal: Path | None = None
    """Mask of normal-appearing tissue; everything away from the lesion where `None`."""


def regions(
    folder: Path,
    output: Path | None = None,
    *,
    atlas: Path | None = None,
    labels: Path | None = None,
    mask: Path | None = None,
    quantity: str | None = None,
    metabolites: list[str] | None = None,
    least_share: float = 0.5,
    overwrite: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Write statistics of every metabolite in every region of an atlas or in a mask as a table.

    Parameters
    ----------
    folder
        What `fit` or `run` wrote of an image.
    output
        Table to write; `regions.tsv` in the folder where `None`.
    atlas, labels
        Image of labels, and a table of their names.
    mask
        A mask, in place of an atlas.
    quantity
        One of `QUANTITIES`; mM where there are such maps, else amplitudes.
    metabolites
        Those of these names; all where `None`.
    least_share
        Voxels of which less lies in a region do not belong to it.
    overwrite
        Replace a table that exists.
    notify
        Takes lines on progress.

    """
    from pulsespec.recon.map_files import open_maps
    from pulsespec.recon.regions import COLUMNS, Region, read_names, regions_of, statistics
    from pulsespec.recon.results import write_table
    from pulsespec.recon.volumes import Volume, read_labels

    if (atlas is None) == (mask is None):
        raise InputError(
            f"got {'neither' if atlas is None else 'both'} of --atlas and --mask, expected one of them"
        )
    if labels is not None and atlas is None:
        raise InputError("--labels: names the regions of an atlas, expected --atlas")
    if quantity is not None and quantity not in QUANTITIES:
        raise InputError(f"--quantity: got {quantity!r}, expected one of {', '.join(QUANTITIES)}")
    maps = open_maps(folder)
    output = output or Path(folder) / "regions.tsv"
    refuse_existing(output, overwrite)
    names = _names(maps, metabolites)
    chosen = QUANTITIES[quantity] if quantity else "_mM" if maps.has(f"{names[0]}_mM") else ""
    if atlas is not None:
        volume = read_labels(atlas)
        wanted = regions_of(volume, read_names(labels) if labels else None)
    else:
        assert mask is not None
        image = read_labels(mask)
        volume = Volume((image.values > 0).astype("int64"), image.affine, image.name)
        wanted = [Region(1, mask.name.split(".")[0])]
    notify(f"{len(wanted)} regions of {volume.name}, {maps.quality.sum()} voxels that pass the quality mask")
    rows = statistics(maps, volume, wanted, names, chosen, least_share)
    write_table(rows, output, overwrite, COLUMNS)
    return {"output": str(output), "rows": rows}


def _names(maps: "MapFolder", wanted: list[str] | None) -> list[str]:
    missing = [name for name in wanted or () if name not in maps.names]
    if missing:
        raise InputError(
            f"--metabolites: {', '.join(missing)} not among what was fitted: {', '.join(maps.names)}"
        )
    return list(wanted or maps.names)


def lesion(
    folder: Path, masks: LesionMasks, overwrite: bool = False, notify: Notify = silent
) -> dict[str, Any]:
    """Compare a lesion with the other side and with normal-appearing tissue.

    Writes `lesion.tsv`, `lesion.json`, `maps/lesion_z_NAME.nii.gz`, `maps/lesion_sides.nii.gz` and `lesion.html` into
    the folder.
    """
    from pulsespec.recon.maps_report import Page, write_page

    folder = Path(folder)
    for name in ("lesion.tsv", "lesion.json", "lesion.html"):
        refuse_existing(folder / name, overwrite)
    maps, found, parts = lesion_of(folder, masks, overwrite, notify)
    title = f"Lesion in {maps.result['data'].get('source') or 'the image'}"
    write_page(Page(title, parts), folder / "lesion.html")
    return {"output": str(folder), "rows": list(found.rows), "warnings": list(found.sides.words)}


def lesion_of(
    folder: Path, masks: LesionMasks, overwrite: bool = False, notify: Notify = silent
) -> "tuple[MapFolder, Lesion, list[Part]]":
    """Write table and maps of z of a lesion into a folder of maps; return them and the parts of a page."""
    from pulsespec.recon.lesion import COLUMNS, compare, sides_of, write_z
    from pulsespec.recon.lesion_report import lesion_parts
    from pulsespec.recon.map_files import open_maps
    from pulsespec.recon.results import write_table
    from pulsespec.recon.volumes import read_labels

    maps = open_maps(folder)
    mask = read_labels(masks.lesion)
    other = None if masks.contralateral is None else read_labels(masks.contralateral)
    usual = None if masks.normal is None else read_labels(masks.normal)
    plane = None if other is not None else _plane(maps, masks.midplane)
    sides = sides_of(maps, mask, plane, other, usual)
    for words in sides.words:
        notify(words)
    found = compare(maps, sides)
    write_table(found.rows, folder / "lesion.tsv", overwrite, COLUMNS)
    names = write_z(found, maps, folder / "maps", overwrite)
    facts = {
        "lesion": masks.lesion.name,
        "words": list(sides.words),
        "plane": None
        if plane is None
        else {"normal": plane.normal, "offset_mm": plane.offset_mm, "likeness": plane.likeness},
        "maps": names,
        "rows": list(found.rows),
    }
    (folder / "lesion.json").write_text(to_json(facts) + "\n", encoding="utf-8")
    return maps, found, lesion_parts(found, maps)


def _plane(maps: "MapFolder", image: Path | None) -> "Plane":
    """Return the plane of symmetry of an image, or of the voxels that pass the quality mask."""
    from pulsespec.recon.midplane import symmetry_plane
    from pulsespec.recon.volumes import Volume, read_volume

    if image is not None:
        return symmetry_plane(read_volume(image))
    return symmetry_plane(Volume(maps.quality.astype("uint8"), maps.geometry.affine, "the quality mask"))
