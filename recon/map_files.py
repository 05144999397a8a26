"""The maps that a fit of an image wrote, read again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError
from pulsespec.recon.transients import Geometry
from pulsespec.recon.volumes import read_volume

Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MapFolder:
    """A folder that `fit` or `run` wrote of an image."""

    folder: Path
    geometry: Geometry
    shape: tuple[int, int, int]
    quality: NDArray[np.bool_]
    """Which voxels pass the quality mask; shape (x, y, z)."""
    believed: NDArray[np.bool_]
    """Which fits can be believed; shape (x, y, z)."""
    result: Mapping[str, Any]
    """Of `result.json`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Metabolites and sums that have maps."""
        return tuple(self.result["rows"])

    def has(self, name: str) -> bool:
        """Whether there is such a map."""
        return (self.folder / "maps" / f"{name}.nii.gz").is_file()

    def read(self, name: str) -> Real:
        """Return a map; shape (x, y, z). `InputError` where there is none."""
        path = self.folder / "maps" / f"{name}.nii.gz"
        if not path.is_file():
            near = ", ".join(self.names)
            raise InputError(f"{path}: there is no such map; metabolites that were fitted: {near}")
        return np.asarray(read_volume(path).values, dtype=np.float64)


def open_maps(folder: Path) -> MapFolder:
    """Open a folder of maps.

    Raises
    ------
    InputError
        It is none that a fit of an image wrote.
    DataError
        Its maps have no place in the scanner, so that nothing can be laid over them.

    """
    folder = Path(folder)
    facts, quality = folder / "result.json", folder / "maps" / "quality.nii.gz"
    if not facts.is_file() or not quality.is_file():
        raise InputError(
            f"{folder}: has no result.json and maps/, expected a folder that `fit` wrote of an image"
        )
    result = json.loads(facts.read_text(encoding="utf-8"))
    if result["data"].get("affine") is None:
        raise DataError(
            f"{folder}: its image has no position in the scanner, so nothing can be laid over its maps"
        )
    passing = read_volume(quality)
    verdict = read_volume(folder / "maps" / "verdict.nii.gz")
    x, y, z = passing.values.shape
    return MapFolder(
        folder, Geometry(passing.affine), (x, y, z), passing.values > 0, verdict.values == 0, result
    )
