"""Receive coils around a head: fields of current loops by the law of Biot and Savart, and their noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SEGMENTS = 24
_GAP_MM = 25.0
"""Distance of the loops from the scalp."""
_OVERLAP = 1.15
"""Diameter of a loop over its share of the circumference."""
_ROW_OF = 12
"""Most loops in a row."""
_PREAMPLIFIER = 0.2
"""Share of a loop's noise that is its own and not the head's: a choice of ours."""
_CHUNK = 20000


@dataclass(frozen=True)
class Loops:
    """Closed polygons of wire."""

    corners_mm: Real
    """Corners of each, the first one not repeated; shape (n_loops, n_corners, 3)."""


def loops_around(count: int, outer_mm: Real, centre_mm: Real) -> Loops:
    """Return loops in rows about the third axis, evenly spread over an ellipsoid a little larger than the head."""
    rows = -(-count // _ROW_OF)
    size = outer_mm + _GAP_MM
    heights = (np.arange(rows) + 0.5) / rows * 2 - 1
    found: list[Real] = []
    for row, share in enumerate(heights):
        many = count // rows + (row < count % rows)
        z = 0.55 * share * size[2] if rows > 1 else 0.0
        ring = size * np.sqrt(1 - (z / size[2]) ** 2)
        radius = min(_OVERLAP * np.pi * ring[:2].mean() / max(many, 3), 0.75 * size[2])
        for turn in (np.arange(many) + 0.5 * (row % 2)) / many * 2 * np.pi:
            middle = np.array([ring[0] * np.cos(turn), ring[1] * np.sin(turn), z])
            found.append(_loop(middle, middle / size**2, radius) + centre_mm)
    return Loops(np.array(found))


def _loop(middle: Real, normal: Real, radius: float) -> Real:
    normal = normal / np.linalg.norm(normal)
    first = np.cross(normal, [0.0, 0.0, 1.0] if abs(normal[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    angle = np.arange(_SEGMENTS) / _SEGMENTS * 2 * np.pi
    circle = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    return np.asarray(middle + radius * circle)


def magnetic_field(corners_mm: Real, points_mm: Real) -> Real:
    """Return the field at points of 1 A mm in a closed polygon over mu0 / 4 pi; shape (n_points, 3).

    Each straight piece of wire from a to b contributes (A x B) (|A| + |B|) / (|A| |B| (|A| |B| + A . B)) with
    A = r - a and B = r - b (Hanson and Hirshman 2002, doi:10.1063/1.1507589, recalled).
    """
    total = np.zeros_like(points_mm)
    for first, last in zip(corners_mm, np.roll(corners_mm, -1, axis=0), strict=True):
        a, b = points_mm - first, points_mm - last
        r_a, r_b = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
        product = r_a * r_b
        factor = (r_a + r_b) / np.maximum(product * (product + (a * b).sum(axis=-1)), 1e-9)
        for axis in range(3):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            total[:, axis] += (a[:, i] * b[:, j] - a[:, j] * b[:, i]) * factor
    return total


def vector_potential(corners_mm: Real, points_mm: Real) -> Real:
    """Return the vector potential of the same polygon over mu0 / 4 pi, each piece of wire in its middle; (n, 3)."""
    total = np.zeros_like(points_mm)
    for first, last in zip(corners_mm, np.roll(corners_mm, -1, axis=0), strict=True):
        away = np.linalg.norm(points_mm - (first + last) / 2, axis=-1)
        total += (last - first) / np.maximum(away, 1e-3)[:, None]
    return total


def sensitivities(loops: Loops, points_mm: Real) -> Complex:
    """Return what each loop receives from transverse magnetisation at points; shape (n_loops, *points).

    By reciprocity its field across the magnet's, Bx - i By (Hoult 2000, doi:10.1002/1099-0534(2000)12:4<173, recalled),
    at frequencies at which wavelengths are far longer than a head; not scaled.
    """
    flat = points_mm.reshape(-1, 3)
    found = np.empty((len(loops.corners_mm), len(flat)), complex)
    for start in range(0, len(flat), _CHUNK):
        part = slice(start, start + _CHUNK)
        for number, corners in enumerate(loops.corners_mm):
            field = magnetic_field(corners, flat[part])
            found[number, part] = field[:, 0] - 1j * field[:, 1]
    return found.reshape(len(found), *points_mm.shape[:-1])


def noise_covariance(loops: Loops, points_mm: Real) -> Real:
    """Return the covariance of the loops' noise, the mean of its diagonal 1; shape (n_loops, n_loops).

    What a conducting head adds is the overlap of the electric fields of two loops in it (Roemer et al. 1990,
    doi:10.1002/mrm.1910160203), which is taken to be that of their vector potentials; a share of each loop's own
    is added.
    """
    potentials = np.array([vector_potential(corners, points_mm).ravel() for corners in loops.corners_mm])
    shared = potentials @ potentials.T
    shared /= np.diag(shared).mean()
    return np.asarray((1 - _PREAMPLIFIER) * shared + _PREAMPLIFIER * np.eye(len(shared)))
