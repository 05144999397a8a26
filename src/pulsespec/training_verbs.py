"""Training sets on the command line: one HDF5 file, or a folder of NIfTI-MRS files."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import InputError
from pulsespec.expect_verbs import Scan, scene_of, transients
from pulsespec.files import atomic_directory

if TYPE_CHECKING:
    from pulsespec.simulator import Basis
    from pulsespec.simulator.scene import Scene
    from pulsespec.simulator.training import Distributions

FORMATS = ("hdf5", "nifti")
"""What a training set can be written as."""


def training_set(
    basis: Path,
    tissue: str,
    output: Path,
    count: int,
    *,
    scan: Scan | None = None,
    amounts: Mapping[str, float] | None = None,
    samples: int | None = None,
    seed: int = 0,
    distributions: Path | None = None,
    file_format: str = "hdf5",
    precision: str = "complex64",
    strict: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Write `count` spectra with drawn parameters and the truth beside each.

    What `scan` does not fix is drawn as the TOML file `distributions` says, or by default. `output` is one HDF5
    file, or with `file_format="nifti"` a folder of NIfTI-MRS files with `truth.tsv`.
    """
    from pulsespec.simulator.training_file import write_training

    if count < 1:
        raise InputError(f"--count: got {count}, expected at least 1")
    if file_format not in FORMATS:
        raise InputError(f"--format: got {file_format!r}, expected one of {', '.join(FORMATS)}")
    if file_format == "hdf5" and output.suffix not in (".h5", ".hdf5"):
        raise InputError(f"{output}: expected a name that ends in .h5, or --format nifti and a folder")
    scene, loaded = scene_of(basis, tissue, amounts, samples=samples, strict=strict)
    drawn = (scan or Scan()).distributions(scene.f0_hz, distributions)
    for word in scene.warnings:
        notify(f"warning: {word}")
    made = {"output": str(output), "count": count, "warnings": list(scene.warnings)}
    if dry_run:
        return made

    def progress(done: int) -> None:
        if done == count or done % 10240 == 0:
            notify(f"{done} of {count} spectra")

    if file_format == "nifti":
        _write_folder(output, scene, loaded, drawn, count, seed, jobs, overwrite, progress)
    else:
        write_training(
            output,
            scene,
            loaded,
            drawn,
            count,
            seed,
            precision=precision,
            jobs=jobs,
            overwrite=overwrite,
            progress=progress,
        )
    return made


def _write_folder(
    output: Path,
    scene: "Scene",
    basis: "Basis",
    distributions: "Distributions",
    count: int,
    seed: int,
    jobs: int,
    overwrite: bool,
    progress: Callable[[int], None],
) -> None:
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.simulator.training import SCAN_COLUMNS, training_blocks
    from pulsespec.simulator.training_file import facts

    digits = max(6, len(str(count - 1)))
    head = facts(scene, basis, seed) | {"distributions": dataclasses.asdict(distributions)}
    with atomic_directory(output, overwrite) as folder:
        (folder / "set.json").write_text(to_json(head), encoding="utf-8")
        with (folder / "truth.tsv").open("w", encoding="utf-8") as table:
            print("file", *SCAN_COLUMNS, *(f"{name}_mM" for name in scene.names), sep="\t", file=table)
            for block in training_blocks(scene, distributions, count, seed, jobs=jobs):
                for row, fid in enumerate(block.fids):
                    name = f"spectrum-{block.start + row:0{digits}d}.nii.gz"
                    write_nifti(transients(scene, basis, fid), folder / name)
                    values = [*block.scan[row], *block.concentrations_mm[row]]
                    print(name, *(f"{value:.9g}" for value in values), sep="\t", file=table)
                progress(block.start + len(block.fids))
