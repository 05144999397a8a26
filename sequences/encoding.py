"""Which points of k-space a spectroscopic image measures by phase encoding, and in which order."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from pulsespec.protocols import Protocol
from pulsespec.protocols.schema import Encoding


@dataclass(frozen=True)
class Encode:
    """One phase encode."""

    line: int
    """Index along y of the matrix, from 0; zero frequency is at half of the matrix."""
    partition: int
    """Index along z."""
    column: int
    """Index along x; always 0 where a train encodes x."""
    areas_per_m: tuple[float, float, float]
    """Gradient areas along x, y, z of the voxel in cycles/m."""
    radius_per_m: float = 0.0
    """Radius of a ring in k-space in cycles/m, whose number then is the line."""


def encodes(protocol: Protocol) -> tuple[Encode, ...]:
    """Return the phase encodes of a protocol, z outermost; one without gradient where it has no encoding."""
    settings = protocol.encoding
    if settings is None:
        return (Encode(0, 0, 0, (0.0, 0.0, 0.0)),)
    nx, ny, nz = settings.matrix
    if protocol.train is not None and protocol.train.kind == "rings":
        return _rings(settings)
    columns = range(1) if protocol.train is not None else range(nx)
    found = []
    for partition, line, column in product(range(nz), range(ny), columns):
        index = (nx // 2 if protocol.train is not None else column, line, partition)
        if settings.elliptical and not _inside(index, settings):
            continue
        x, y, z = (
            (i - n // 2) / (fov * 1e-3)
            for i, n, fov in zip(index, settings.matrix, settings.fov_mm, strict=True)
        )
        found.append(Encode(line, partition, column, (x, y, z)))
    return tuple(found)


def _rings(settings: Encoding) -> tuple[Encode, ...]:
    """Return the rings of a stack of them, the centre of each first."""
    nx, _, nz = settings.matrix
    fov_x, _, fov_z = (mm * 1e-3 for mm in settings.fov_mm)
    return tuple(
        Encode(ring, partition, 0, (0.0, 0.0, (partition - nz // 2) / fov_z), ring / fov_x)
        for partition, ring in product(range(nz), range(nx // 2 + 1))
        if not settings.elliptical or _inside((nx // 2 + ring, nx // 2, partition), settings)
    )


def largest_radius(protocol: Protocol) -> float:
    """Return the radius of the outermost ring in cycles/m; 0 where there are none."""
    return max(one.radius_per_m for one in encodes(protocol))


def _inside(index: tuple[int, int, int], settings: Encoding) -> bool:
    """Return whether a point lies inside the ellipsoid that touches the faces of k-space."""
    radius = [(i - n // 2) / (n / 2) for i, n in zip(index, settings.matrix, strict=True) if n > 1]
    return float(np.sum(np.square(radius))) <= 1.0 + 1e-9


def largest_areas(protocol: Protocol) -> tuple[float, float, float]:
    """Return the largest magnitude of the areas along x, y, z."""
    areas = np.abs([one.areas_per_m for one in encodes(protocol)]).max(axis=0)
    return float(areas[0]), float(areas[1]), float(areas[2])
