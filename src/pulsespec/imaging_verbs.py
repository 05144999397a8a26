"""What `recon` does with raw data of a spectroscopic image."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec.console import Notify, silent
from pulsespec.errors import DataError, InputError
from pulsespec.files import refuse_existing

if TYPE_CHECKING:
    from pulsespec.recon.image_cleaning import CleaningSettings
    from pulsespec.recon.image_read import Source
    from pulsespec.recon.image_settings import ImageSettings
    from pulsespec.recon.transients import Scan


def image_source(raws: Sequence[Path], sequence: Path | None, notify: Notify = silent) -> "Source | None":
    """Return raw data as an image where the `.seq` makes one, told by its encodes, else `None`."""
    if sequence is None or len(raws) != 1 or not raws[0].is_file() or not sequence.is_file():
        return None
    if b"\nFOV " not in sequence.read_bytes():  # a file without it makes no image, and need not be read twice
        return None
    from pulsespec.recon.image_plan import encodes_space
    from pulsespec.recon.image_read import image_stream, source_of
    from pulsespec.simulator.timeline import read_played
    from pulsespec.simulator.trajectory import read_trajectory

    played, trajectory = read_played(sequence), read_trajectory(sequence)
    if not encodes_space(played, trajectory):
        return None
    notify(f"reading {raws[0].name} by {sequence.name}")
    stream = image_stream(raws[0])
    return source_of(stream, read_played(sequence, float(stream.facts["f0_hz"])), trajectory, sequence.name)


def recon_image(
    source: "Source",
    sequence: Path,
    output: Path,
    settings: "ImageSettings | None" = None,
    *,
    cleaning: "CleaningSettings | None" = None,
    jobs: int = 1,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Reconstruct an image and write it to `output`, water, brain and the map of the field beside it."""
    from pulsespec.recon.image_recon import known_sequence

    _refuse_outputs(output, overwrite)
    if dry_run:
        return {"inputs": [str(source.stream.path)], "output": str(output), "matrix": source.plan.grid.matrix}
    scan, brain = clean_source(source, settings, cleaning, jobs, notify)
    return _written(known_sequence(scan, sequence, source.played), brain, output, overwrite)


def clean_source(
    source: "Source",
    settings: "ImageSettings | None" = None,
    cleaning: "CleaningSettings | None" = None,
    jobs: int = 1,
    notify: Notify = silent,
) -> "tuple[Scan, Any]":
    """Return clean images of raw data, aligned by their water, and the brain that was found, if one was.

    Lipid that the scalp casts into a voxel has the scalp's frequency, so it is removed before the alignment.
    """
    from pulsespec.recon.image_alignment import with_field
    from pulsespec.recon.image_recon import reconstruct_source
    from pulsespec.recon.image_settings import ImageSettings

    settings = settings or ImageSettings()
    if cleaning is None:
        return reconstruct_source(source, settings, jobs=jobs, say=notify), None
    plain = replace(settings, b0_alignment=False, eddy_current_correction=False)
    scan, brain = _cleaned(reconstruct_source(source, plain, jobs=jobs, say=notify), cleaning, jobs, notify)
    done = with_field(scan, settings, jobs)
    before, after = ((part.metabolite or part.water) for part in (scan, done))
    if before is not None and after is not None:
        for record in after.records[len(before.records) :]:
            notify(record.details)
    return done, brain


def is_rings(raws: Sequence[Path]) -> bool:
    """Return whether the raw data are concentric rings that say themselves where they lie."""
    from pulsespec.recon.twix_rings import is_rings as says_rings

    return len(raws) == 1 and says_rings(raws[0])


def recon_rings(
    raw: Path,
    output: Path,
    settings: "ImageSettings | None" = None,
    *,
    cleaning: "CleaningSettings | None" = None,
    jobs: int = 1,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Reconstruct concentric rings and write the image to `output`, water, brain and the map of the field beside it."""
    from pulsespec.recon.image_settings import ImageSettings
    from pulsespec.recon.ring_images import images_of, with_field
    from pulsespec.recon.twix_rings import read_rings

    _refuse_outputs(output, overwrite)
    notify(f"reading {raw.name}")
    rings = read_rings(raw)
    if dry_run:
        return {"inputs": [str(raw)], "output": str(output), "matrix": [*rings.matrix, 1]}
    settings = settings or ImageSettings()
    if cleaning is None:
        return _written(images_of(rings, raw.name, settings, notify), None, output, overwrite)
    plain = images_of(rings, raw.name, replace(settings, b0_alignment=False), notify)
    scan, brain = _cleaned(plain, cleaning, jobs, notify)
    return _written(with_field(scan) if settings.b0_alignment else scan, brain, output, overwrite)


def _refuse_outputs(output: Path, overwrite: bool) -> None:
    from pulsespec.recon.image_files import names_of

    for path in (*names_of(output).values(), _brain_of(output)):
        refuse_existing(path, overwrite)


def _brain_of(output: Path) -> Path:
    suffix = ".nii.gz" if output.name.endswith(".nii.gz") else ".nii"
    return output.with_name(f"{output.name.removesuffix(suffix)}_brain{suffix}")


def _cleaned(scan: "Scan", cleaning: "CleaningSettings", jobs: int, notify: Notify) -> "tuple[Scan, Any]":
    """Return clean images and the brain; images without a head, such as of a point, stay as they are."""
    from pulsespec.recon.image_cleaning import clean_images

    part = scan.metabolite
    if part is None:
        return scan, None
    try:
        done = clean_images(scan, cleaning, jobs=jobs)
    except (DataError, InputError) as error:
        if cleaning.brain_mask is not None:
            raise
        notify(f"warning: neither water nor lipid is removed: {error}")
        return scan, None
    assert done.scan.metabolite is not None
    for record in done.scan.metabolite.records[len(part.records) :]:
        notify(record.details)
    return done.scan, done.masks.brain


def _written(scan: "Scan", brain: Any, output: Path, overwrite: bool) -> dict[str, Any]:
    """Write images, and the brain where there is one; return what was written."""
    from pulsespec.recon.image_files import write_images
    from pulsespec.recon.image_masks import write_mask

    written = write_images(scan, output, overwrite)
    shown = scan.metabolite or scan.water
    assert shown is not None
    if brain is not None:
        written["brain"] = _brain_of(output)
        write_mask(brain, shown, written["brain"], overwrite)
    return {
        "output": str(output),
        "written": {name: str(path) for name, path in written.items()},
        "voxels": list(shown.data.shape[:3]),
        "steps": [record.details for record in shown.records],
    }


def cleaning_of(keep_water: bool, keep_lipid: bool, brain_mask: Path | None) -> "CleaningSettings":
    """Return the settings of cleaning as the command line has them."""
    from pulsespec.recon.image_cleaning import CleaningSettings

    return CleaningSettings(water_removal=not keep_water, lipid_removal=not keep_lipid, brain_mask=brain_mask)


def settings_of(
    filter_name: str,
    echo_mode: str,
    coils: str | None,
    zero_fill: str | None,
    no_eddy: bool,
    drift: bool = True,
) -> "ImageSettings":
    """Return the settings of an image as the command line has them."""
    from pulsespec.recon.image_settings import ImageSettings

    return ImageSettings(
        filter=filter_name,
        echo_mode=echo_mode,
        coil_combination=coils or "walsh",
        zero_fill=None if zero_fill is None else voxels_of(zero_fill),
        eddy_current_correction=not no_eddy,
        drift_correction=drift,
    )


def points_of(text: str | None) -> int | None:
    """Return the points of a FID; `InputError` where it is no count."""
    if text is None:
        return None
    if not text.strip().isdigit():
        raise InputError(f"--zero-fill: got {text!r}, expected a number of samples")
    return int(text)


def voxels_of(text: str) -> tuple[int, int, int]:
    """Return voxels along x, y, z of `64x64x18`; `InputError` where it is none."""
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise InputError(
            f"--zero-fill: got {text!r}, expected points of the FID, or of images voxels such as 64x64x18"
        )
    x, y, z = (int(part) for part in parts)
    return x, y, z
