"""A head on the virtual scanner, from the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsespec.console import Notify, silent
from pulsespec.errors import InputError


@dataclass(frozen=True)
class ImageScan:
    """What is measured, and how."""

    phantom: str = "brain"
    """A shipped head or a TOML file."""
    truth: Path | None = None
    """Folder for the maps; beside the output where `None`."""
    seed: int = 0
    faults: str | None = None
    """A shipped set or a TOML file."""
    coils: int | None = None
    """Counts more than what is in the faults, as does `snr`."""
    snr: float | None = None


def acquire_image(
    sequence: Path,
    output: Path,
    scan: ImageScan,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Play an imaging `.seq` on a head: ISMRMRD raw data, and maps of the truth as NIfTI images.

    Returns
    -------
    Paths of the raw data and of the folder of maps, and the names of the maps.

    """
    from pulsespec.simulator.grid import acquisition_grid
    from pulsespec.simulator.head_settings import load_head_settings
    from pulsespec.simulator.image_acquire import write_image
    from pulsespec.simulator.image_faults import load_image_faults
    from pulsespec.simulator.image_maps import write_truth
    from pulsespec.simulator.image_setup import set_up_image
    from pulsespec.simulator.timeline import read_played

    settings = load_head_settings(scan.phantom)
    faults = load_image_faults(scan.faults or "plain", coils=scan.coils, snr=scan.snr)
    folder = scan.truth or output.with_name(output.name.partition(".")[0] + "-truth")
    acquisition_grid(read_played(sequence), sequence)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"{folder}: folder exists and is not empty; pass --overwrite to write into it")
    made: dict[str, Any] = {"sequence": str(sequence), "output": str(output), "truth": str(folder)}
    if dry_run:
        return made
    notify(f"simulating {sequence.name} for every tissue of {scan.phantom}")
    setup = set_up_image(sequence, settings)
    notify(f"acquiring {scan.phantom}")
    show = write_image(setup, output, seed=scan.seed, faults=faults, overwrite=overwrite, jobs=jobs)
    return made | {"maps": write_truth(show, folder, overwrite=overwrite)}
