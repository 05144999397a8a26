"""What `recon` does with raw data of a spectroscopic image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec.console import Notify, silent
from pulsespec.errors import InputError
from pulsespec.files import refuse_existing

if TYPE_CHECKING:
    from pulsespec.recon.image_read import Source
    from pulsespec.recon.image_settings import ImageSettings


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
    jobs: int = 1,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Reconstruct an image and write it to `output`, water and the map of the field beside it."""
    from pulsespec.recon.image_files import names_of, write_images
    from pulsespec.recon.image_recon import known_sequence, reconstruct_source

    for path in names_of(output).values():
        refuse_existing(path, overwrite)
    if dry_run:
        return {"inputs": [str(source.stream.path)], "output": str(output), "matrix": source.plan.grid.matrix}
    scan = reconstruct_source(source, settings, jobs=jobs, say=notify)
    scan = known_sequence(scan, sequence, source.played)
    written = write_images(scan, output, overwrite)
    part = scan.metabolite or scan.water
    assert part is not None
    return {
        "output": str(output),
        "written": {name: str(path) for name, path in written.items()},
        "voxels": list(part.data.shape[:3]),
        "steps": [record.details for record in part.records],
    }


def settings_of(
    filter_name: str, echo_mode: str, coils: str | None, zero_fill: str | None, no_eddy: bool
) -> "ImageSettings":
    """Return the settings of an image as the command line has them."""
    from pulsespec.recon.image_settings import ImageSettings

    return ImageSettings(
        filter=filter_name,
        echo_mode=echo_mode,
        coil_combination=coils or "walsh",
        zero_fill=None if zero_fill is None else voxels_of(zero_fill),
        eddy_current_correction=not no_eddy,
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
